//! Tunnels as meshes make them (HBONE): the connections of an application are the content of CONNECT streams between two
//! Envoys, in clear or in mutual TLS.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::call::{Calls, Mode};
use tracer_tests::identity::Identity;
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::process::Process;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::tls_server::ENVOY;
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, free_port, require, scaled, workspace};

use crate::tls::seen;
use crate::{RUN, SETTLE};

/// Both ends of the tunnels, each a process.
struct Tunnels {
    into: Process,
    out_of: Process,
    /// Where the application's client connects to.
    port: u16,
    /// Where the tunnels end.
    tunnel: u16,
    folder: TempDir,
}

/// Something listens there. To connect would make a tunnel.
fn listens(port: u16) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let place = format!(":{port:04X} 00000000:0000 0A");
    sockets.lines().any(|line| line.contains(&place))
}

/// The TLS of one side, whose peer has to show a certificate too.
fn tls(of: &str, identity: &Identity, keys: &Path) -> String {
    let [key, certificate] = identity.files().map(Path::display);
    format!(
        "transport_socket: {{ name: envoy.transport_sockets.tls, typed_config: {{ \
         \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{of}, \
         common_tls_context: {{ alpn_protocols: [h2], tls_params: {{ tls_maximum_protocol_version: TLSv1_3 }}, \
         key_log: {{ path: \"{}\" }}, \
         tls_certificates: [{{ certificate_chain: {{ filename: \"{certificate}\" }}, private_key: {{ filename: \"{key}\" }} }}], \
         validation_context: {{ trusted_ca: {{ filename: \"{certificate}\" }} }} }} }} }}",
        keys.display()
    )
}

impl Tunnels {
    fn to(server: u16, is_tls: bool) -> Tunnels {
        let folder = TempDir::new().expect("cannot make a folder for Envoy");
        let identity = is_tls.then(|| Identity::new(folder.path()));
        let tls = |of| {
            let identity = identity.as_ref();
            identity.map_or_else(String::new, |identity| {
                tls(of, identity, &folder.path().join("keys"))
            })
        };
        let (into, tunnel) = (free_port(), free_port());
        let path = workspace().join("tests/live/tunnel.yaml");
        let text = std::fs::read_to_string(path).expect("the test's own file");
        let text = text
            .replace("@INTO@", &into.to_string())
            .replace("@TUNNEL@", &tunnel.to_string())
            .replace("@SERVER@", &server.to_string())
            .replace("@DOWNSTREAM_TLS@", &tls("DownstreamTlsContext"))
            .replace("@UPSTREAM_TLS@", &tls("UpstreamTlsContext"));
        // Each process has one of the two listeners.
        let listeners = text.find("  - address").zip(text.rfind("  - address"));
        let (first, second) = listeners.expect("two listeners");
        let clusters = text.find("  clusters:").expect("clusters");
        let (begin, end) = (&text[..first], &text[clusters..]);
        let start = |name: &str, port: u16, listener: &str| {
            let file = folder.path().join(format!("{name}.yaml"));
            std::fs::write(&file, [begin, listener, end].concat()).expect("a file of the test's");
            let mut command = Command::new(ENVOY.binary());
            command.arg("--config-path").arg(file);
            command.args(["--log-level", "warn", "--concurrency", "1"]);
            command.args(["--use-dynamic-base-id", "--file-flush-interval-msec", "50"]);
            let process = Process::start(format!("Envoy, {name}"), &mut command);
            let is_up = eventually(SETTLE, || listens(port));
            assert!(is_up, "Envoy does not listen{}", process.complaint());
            process
        };
        let out_of = start("out_of", tunnel, &text[second..clusters]);
        Tunnels {
            into: start("into", into, &text[first..second]),
            out_of,
            port: into,
            tunnel,
            folder,
        }
    }

    fn pids(&self) -> [u32; 2] {
        [self.into.pid(), self.out_of.pid()]
    }

    fn keys(&self) -> std::path::PathBuf {
        self.folder.path().join("keys")
    }
}

/// What is told of some calls through them; both Envoys and the server are traced.
fn traced(
    tunnels: &Tunnels,
    server: &Server,
    (calls, is_seen): (&Calls, bool),
    tracer: impl FnOnce(&[u32]) -> Tracer,
) -> Trace {
    let [into, out_of] = tunnels.pids();
    let tracer = tracer(&[into, out_of, server.pid()]);
    let target = format!("127.0.0.1:{}", tunnels.port);
    let mut client = Client::start(Peer::GrpcGo1_85, &target, calls);
    client.go();
    let made = client.wait_until_done(RUN);
    assert!(made.iter().all(|call| call.code == 0), "{made:?}");
    let n = made.len();
    tracer.wait_for_streams(server.pid(), "server", n, SETTLE);
    if is_seen {
        tracer.wait_for_streams(into, "client", n, SETTLE);
        tracer.wait_for_streams(out_of, "server", n, SETTLE);
    }
    client.close();
    let is_over = || {
        let trace = Trace::read(&tracer.process.lines());
        in_tunnels(&trace).len() == 2
    };
    assert!(eventually(SETTLE, is_over), "the tunnels are not told of");
    tracer.finish()
}

/// Connections that are the content of a stream.
fn in_tunnels(trace: &Trace) -> Vec<&Value> {
    let connections = seen(trace).into_iter();
    connections
        .filter(|line| !line["tunnel"].is_null())
        .collect()
}

/// Each call was seen in both tunnels, as the client made it.
fn assert_seen_within(trace: &Trace, [into, out_of]: [u32; 2], (key, n): (&str, usize)) {
    trace.assert_healthy();
    let within = in_tunnels(trace);
    let mut ends: Vec<_> = within
        .iter()
        .map(|line| (line["pid"].as_u64(), line["role"].as_str()))
        .collect();
    ends.sort_unstable();
    let mut want = vec![
        (Some(u64::from(into)), Some("client")),
        (Some(u64::from(out_of)), Some("server")),
    ];
    want.sort_unstable();
    assert_eq!(ends, want);
    for line in within {
        assert_eq!(line["protocol"], "http2", "{line}");
        assert_eq!(line["beginning_seen"], true, "{line}");
        let mut connections = seen(trace).into_iter();
        let around = connections.find(|around| around["conn"] == line["tunnel"]["conn"]);
        let around = around.expect("the connection around it is told too");
        assert_eq!(around["pid"], line["pid"]);
        assert_eq!(around["tls"]["key"], key, "{around}");
        let streams = trace.streams.iter();
        let of_this = streams.filter(|stream| line["conn"] == stream.connection());
        let calls: Vec<_> = of_this.collect();
        assert_eq!(calls.len(), n, "{line}");
        for call in calls {
            assert_eq!(call.outcome(), "ok", "{}", call.0);
            assert_eq!(call.grpc_status(), Some(0), "{}", call.0);
        }
    }
}

#[test]
fn calls_in_tunnels_of_mutual_tls_are_followed() {
    require!(Privileges, ENVOY, Peer::GrpcGo1_85, Program("openssl"));
    let n = scaled(40, 1_000);
    let mut calls = Calls::new(Mode::Unary, n as u32).at_once(4);
    calls.think_ms = 50;
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let tunnels = Tunnels::to(server.port(), true);
    let keys = tunnels.keys();
    let trace = traced(&tunnels, &server, (&calls, true), |pids| {
        Tracer::opening(pids, &keys, &[])
    });
    assert_seen_within(&trace, tunnels.pids(), ("keylog", n));
    // Either proxy passes on what is in the tunnel as a request like any other. (Of the first ones one side may be told
    // when the other is over: Envoy writes its key log now and then.)
    for proxy in tunnels.pids() {
        let mut hops = trace.hops.iter();
        let is_joined = hops.any(|hop| hop.proxy() == proxy && hop.upstream().len() == 1);
        assert!(is_joined, "no request is joined at {proxy}");
    }
}

#[test]
fn calls_in_tunnels_are_followed_by_keys_from_memory() {
    require!(Privileges, ENVOY, Peer::GrpcGo1_85, Program("openssl"));
    let n = scaled(40, 1_000);
    let mut calls = Calls::new(Mode::Unary, n as u32).at_once(4);
    calls.think_ms = 100;
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let tunnels = Tunnels::to(server.port(), true);
    let trace = traced(&tunnels, &server, (&calls, true), |pids| {
        Tracer::finding_keys(pids, &[])
    });
    assert_seen_within(&trace, tunnels.pids(), ("scan", n));
}

#[test]
fn of_tunnels_in_clear_it_is_told_how_much_went_through() {
    require!(Privileges, ENVOY, Peer::GrpcGo1_85);
    let n = scaled(40, 1_000);
    let calls = Calls::new(Mode::Unary, n as u32).at_once(4);
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let tunnels = Tunnels::to(server.port(), false);
    let trace = traced(&tunnels, &server, (&calls, false), Tracer::start);
    trace.assert_healthy();
    for line in in_tunnels(&trace) {
        assert_eq!(line["protocol"], "other", "{line}");
        assert_eq!(line["undecided"]["first"], "unseen", "{line}");
        // What they say is more than the messages.
        let bytes = line["undecided"]["bytes"].as_u64();
        assert!(bytes > Some(110 * n as u64), "{line}");
    }
}

/// At the proxy: curl reads the proxy's answer byte by byte, and after so many calls of HTTP/1 nobody looks for HTTP/2.
#[test]
fn http2_behind_a_connect_of_http1_is_followed() {
    require!(Privileges, ENVOY, Program("curl"), Program("nghttpd"));
    let folder = TempDir::new().expect("cannot make a folder");
    std::fs::write(folder.path().join("page"), [b'x'; 10_000]).expect("cannot write a page");
    let port = free_port();
    let mut command = Command::new("nghttpd");
    command.args(["--no-tls", "--address", "127.0.0.1", "--htdocs"]);
    let server = command.arg(folder.path()).arg(port.to_string());
    let server = Process::start("nghttpd", server);
    assert!(
        eventually(SETTLE, || listens(port)),
        "nghttpd does not listen"
    );
    let tunnels = Tunnels::to(port, false);
    let [_, proxy] = tunnels.pids();
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--output",
        "/dev/null",
        "--proxytunnel",
        "--proxy",
    ]);
    command.arg(format!("http://127.0.0.1:{}", tunnels.tunnel));
    let url = format!("http://127.0.0.1:{port}/page");
    command.args(["--http2-prior-knowledge", &url]);
    let mut client = Process::start_held("curl", &command);
    let tracer = Tracer::start(&[proxy, server.pid()]);
    client.write_line("go");
    assert!(
        client.wait(RUN).success(),
        "curl failed{}",
        client.complaint()
    );
    tracer.wait_for_streams(proxy, "server", 1, SETTLE);
    let trace = tracer.finish();
    let mut streams = trace.streams_of(proxy, "server");
    let stream = streams.next().expect("it was waited for");
    assert_eq!(stream.outcome(), "ok", "{}", stream.0);
    assert_eq!(stream.response_bytes(), 10_000, "{}", stream.0);
    let local = format!("127.0.0.1:{}", tunnels.tunnel);
    assert_eq!(stream.0["local"], local);
    trace.assert_healthy();
}
