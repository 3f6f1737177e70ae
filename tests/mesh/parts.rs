//! The parts of a mesh. Each sits at a loopback address of its own, as pods do: a capture file knows hosts by address.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tracer_tests::call::{Call, Calls, Mode};
use tracer_tests::capture::Tcpdump;
use tracer_tests::envoy::{Envoy, EnvoyOptions, More, Version};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::process::Process;
use tracer_tests::{eventually, scaled};

pub(crate) const ENVOY: Version = Version("1.40.0");

/// Where the sidecar of the client is, and that of the server.
pub(crate) const SIDECARS: [&str; 2] = ["127.0.0.2", "127.0.0.3"];

const SERVER: &str = "127.0.0.4";

/// How long a run may take.
const RUN: Duration = Duration::from_secs(180);

/// How long the tracer may take to tell of streams that have ended.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);

/// How the parts are set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// The window of the leg between the sidecars, of a stream and of the connection.
    pub(crate) window: u32,
    /// The client's sidecar takes away what tells the calls apart.
    pub(crate) hide_ids: bool,
}

/// A mesh that works.
pub(crate) struct Mesh {
    pub(crate) server: Server,
    pub(crate) sidecars: [Envoy; 2],
    folder: TempDir,
}

/// A run, recorded.
pub(crate) struct Recorded {
    pub(crate) calls: Vec<Call>,
    pub(crate) capture: PathBuf,
    pub(crate) keys: PathBuf,
    _folder: TempDir,
}

/// An authority, and what it vouches for.
const AUTHORITY: &str = "set -e
curve='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $curve -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
for name in client server; do
  openssl req $curve -subj /CN=$name -keyout $name.key -out $name.csr
  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out $name.pem
done";

fn certificates(folder: &Path) {
    let mut command = Command::new("sh");
    command.args(["-c", AUTHORITY]).current_dir(folder);
    let mut openssl = Process::start("openssl", &mut command);
    let status = openssl.wait(RUN);
    assert!(status.success(), "no certificates{}", openssl.complaint());
}

/// The TLS of one side, both ends of which show a certificate.
fn tls(folder: &Path, (of, name, more): (&str, &str, &str), keys: &Path) -> String {
    let at = |file: String| folder.join(file).display().to_string();
    let (chain, key, authority) = (
        at(format!("{name}.pem")),
        at(format!("{name}.key")),
        at("ca.pem".to_owned()),
    );
    format!(
        "transport_socket: {{ name: envoy.transport_sockets.tls, typed_config: {{ \
         \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{of}, {more}, \
         common_tls_context: {{ alpn_protocols: [h2], tls_params: {{ tls_maximum_protocol_version: TLSv1_3 }}, \
         key_log: {{ path: \"{}\" }}, \
         tls_certificates: [{{ certificate_chain: {{ filename: \"{chain}\" }}, private_key: {{ filename: \"{key}\" }} }}], \
         validation_context: {{ trusted_ca: {{ filename: \"{authority}\" }} }} }} }} }}",
        keys.display()
    )
}

fn port(address: &str) -> u16 {
    let port = address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("{address} has no port"))
}

impl Mesh {
    pub(crate) fn start(setting: Setting) -> Mesh {
        let folder = TempDir::new().expect("cannot make a folder for the mesh");
        let to = folder.path();
        certificates(to);
        let listen = format!("{SERVER}:0");
        let server = Server::start(Peer::GrpcGo1_70, Listen::Ipv4, &["--listen", &listen]);
        let options = |hide_ids| EnvoyOptions {
            version: ENVOY,
            concurrency: 1,
            half_close: false,
            hide_ids,
        };
        let bound = |host: &str| {
            format!(
                "upstream_bind_config: {{ source_address: {{ address: {host}, port_value: 0 }} }}"
            )
        };
        let [of_client, of_server] = SIDECARS;
        // The keys of both ends are the same.
        let (keys, unused) = (to.join("keys"), to.join("keys-of-the-server"));
        let at_server = More {
            host: of_server,
            upstream_host: SERVER,
            listener: tls(
                to,
                (
                    "DownstreamTlsContext",
                    "server",
                    "require_client_certificate: true",
                ),
                &unused,
            ),
            cluster: bound(of_server),
            ..More::default()
        };
        let server_side = Envoy::with(options(false), &at_server, server.port());
        let window = setting.window;
        let at_client = More {
            host: of_client,
            upstream_host: of_server,
            cluster: format!(
                "{}\n      {}",
                bound(of_client),
                tls(to, ("UpstreamTlsContext", "client", "sni: server"), &keys)
            ),
            http2: format!(
                "initial_stream_window_size: {window}, initial_connection_window_size: {window}"
            ),
            ..More::default()
        };
        let client_side = Envoy::with(
            options(setting.hide_ids),
            &at_client,
            port(&server_side.address),
        );
        Mesh {
            server,
            sidecars: [client_side, server_side],
            folder,
        }
    }

    /// The client of the incident, which waits to begin. A warm one has made some calls by then.
    fn client(&self, is_warm: bool) -> Client {
        let mut calls = Calls::new(Mode::Unary, scaled(500, 2_000))
            .at_once(50)
            .bytes(16, 11_000);
        calls.think_ms = 3;
        if is_warm {
            calls.warm = 3;
        }
        Client::start(Peer::GrpcJs1_12, &self.sidecars[0].address, &calls)
    }

    pub(crate) fn recorded(self) -> Recorded {
        self.recorded_with(false, || ())
    }

    /// As [`Mesh::recorded`]; `then` is called when the client is ready.
    pub(crate) fn recorded_with(self, is_warm: bool, then: impl FnOnce()) -> Recorded {
        let capture = self.folder.path().join("mesh.pcap");
        let [client, server] = &self.sidecars;
        let ports = [
            port(&client.address),
            port(&server.address),
            self.server.port(),
        ];
        let recorder = Tcpdump::start(&ports, &capture);
        let mut client = self.client(is_warm);
        then();
        client.go();
        let calls = client.wait_until_done(RUN);
        client.close();
        recorder.finish();
        let keys = self.folder.path().join("keys");
        // Envoy writes it every few seconds.
        let is_whole = || {
            let log = std::fs::read_to_string(&keys).unwrap_or_default();
            ["CLIENT", "SERVER"]
                .iter()
                .all(|of| log.contains(&format!("{of}_TRAFFIC_SECRET_0")))
        };
        assert!(eventually(RUN, is_whole), "Envoy wrote no key log");
        Recorded {
            calls,
            capture,
            keys,
            _folder: self.folder,
        }
    }
}
