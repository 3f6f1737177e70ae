//! Servers of HTTP/2 with every sort of TLS, each over TLS or in clear.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tracer_tests::identity::Identity;
use tracer_tests::peer::{Peer, installed};
use tracer_tests::process::Process;
use tracer_tests::skip::{Need, Program};
use tracer_tests::tls_server::{self, ENVOY};
use tracer_tests::{eventually, free_port, workspace};

/// How long a program may take to come up.
const START: Duration = Duration::from_secs(60);

const GRPC: &str = "grpc.testing.TestService/EmptyCall";

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsServer {
    GrpcGo,
    GrpcJs,
    Grpcio,
    /// With the JVM's own TLS.
    GrpcJavaJsse,
    /// With Netty's BoringSSL.
    GrpcJavaTcnative,
    TonicRing,
    TonicAwsLc,
    Nginx,
    Haproxy,
    Nghttpd,
    Envoy,
    Etcd,
}

/// What it is, for people.
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) tls: &'static str,
}

/// One that listens.
pub(crate) struct Served {
    process: Process,
    _behind: Option<Process>,
    pub(crate) url: String,
    _folder: TempDir,
}

impl Served {
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// The first number with a point in what a program says of itself.
fn version(program: impl AsRef<std::ffi::OsStr>, argument: &str) -> String {
    let said = Command::new(program).arg(argument).output();
    let said = said.map_or_else(
        |_| String::new(),
        |said| String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned(),
    );
    let is_other = |c: char| !(c.is_ascii_digit() || c == '.');
    let mut words = said.split(is_other).map(|word| word.trim_matches('.'));
    words
        .find(|word| word.contains('.'))
        .unwrap_or("?")
        .to_owned()
}

fn own(name: &str) -> PathBuf {
    workspace().join("tests/tls_peers").join(name)
}

impl Need for TlsServer {
    fn missing(&self) -> Option<String> {
        let there = |piece: &str, file: PathBuf| {
            let how = format!("{piece} is not installed: cargo xtask setup --only {piece}");
            (!file.exists()).then_some(how)
        };
        match self {
            TlsServer::GrpcGo => there("grpc-go", Peer::GrpcGo1_85.file()),
            TlsServer::GrpcJs => there("node", Peer::GrpcJs1_14.file()),
            TlsServer::Grpcio => there("grpcio", Peer::Grpcio.file()),
            TlsServer::GrpcJavaJsse => there("grpc-java", Peer::GrpcJava.file()),
            TlsServer::GrpcJavaTcnative => there("netty-tcnative", installed("netty-tcnative/lib")),
            TlsServer::TonicRing => there("tonic-tls", installed("tonic-tls/tonic-ring")),
            TlsServer::TonicAwsLc => there("tonic-tls", installed("tonic-tls/tonic-aws-lc")),
            TlsServer::Nginx => Program("nginx").missing(),
            TlsServer::Haproxy => Program("haproxy").missing(),
            TlsServer::Nghttpd => Program("nghttpd").missing(),
            TlsServer::Envoy => ENVOY.missing(),
            TlsServer::Etcd => Program("etcd").missing(),
        }
    }
}

impl TlsServer {
    pub(crate) const ALL: [TlsServer; 12] = [
        TlsServer::GrpcGo,
        TlsServer::GrpcJs,
        TlsServer::Grpcio,
        TlsServer::GrpcJavaJsse,
        TlsServer::GrpcJavaTcnative,
        TlsServer::TonicRing,
        TlsServer::TonicAwsLc,
        TlsServer::Nginx,
        TlsServer::Haproxy,
        TlsServer::Nghttpd,
        TlsServer::Envoy,
        TlsServer::Etcd,
    ];

    /// It has a function to which the secrets of a handshake go.
    pub(crate) const fn can_be_probed(self) -> bool {
        use TlsServer::{GrpcJavaJsse, TonicAwsLc, TonicRing};
        !matches!(self, GrpcJavaJsse | TonicRing | TonicAwsLc)
    }

    pub(crate) fn about(self) -> About {
        let (name, version, tls) = match self {
            TlsServer::GrpcGo => ("grpc-go", "1.85.0".to_owned(), "Go crypto/tls"),
            TlsServer::GrpcJs => ("grpc-js", "1.14.7".to_owned(), "Node's OpenSSL, static"),
            TlsServer::Grpcio => {
                let python = installed("grpcio").join("bin/python");
                let mut said = Command::new(python);
                said.args(["-c", "import grpc; print(grpc.__version__)"]);
                let said = said.output().map(|said| said.stdout).unwrap_or_default();
                let said = String::from_utf8_lossy(&said).trim().to_owned();
                ("grpcio", said, "BoringSSL, static")
            }
            TlsServer::GrpcJavaTcnative => (
                "grpc-java",
                "1.76.0".to_owned(),
                "netty-tcnative (BoringSSL)",
            ),
            TlsServer::TonicRing => ("tonic", "0.14.9".to_owned(), "rustls, ring; LTO, stripped"),
            TlsServer::TonicAwsLc => (
                "tonic",
                "0.14.9".to_owned(),
                "rustls, aws-lc-rs; LTO, stripped",
            ),
            TlsServer::GrpcJavaJsse => ("grpc-java", "1.76.0".to_owned(), "JSSE"),
            TlsServer::Nginx => ("nginx", version("nginx", "-v"), "OpenSSL"),
            TlsServer::Haproxy => ("HAProxy", version("haproxy", "-v"), "OpenSSL"),
            TlsServer::Nghttpd => ("nghttpd", version("nghttpd", "--version"), "OpenSSL"),
            TlsServer::Envoy => ("Envoy", "1.40.0".to_owned(), "BoringSSL, static, stripped"),
            TlsServer::Etcd => ("etcd", version("etcd", "--version"), "Go crypto/tls"),
        };
        About { name, version, tls }
    }

    /// Starts it, over TLS or in clear.
    pub(crate) fn start(self, is_tls: bool) -> Served {
        let folder = TempDir::new().expect("cannot make a folder for a server");
        let to = folder.path();
        let identity = is_tls.then(|| Identity::new(to));
        let port = free_port();
        let mut behind = None;
        let (mut command, path) = match self {
            TlsServer::Nghttpd => (nghttpd(to, port, identity.as_ref()), "page"),
            TlsServer::Haproxy => {
                let server = free_port();
                let mut command = nghttpd(to, server, None);
                behind = Some(Process::start("nghttpd", &mut command));
                (haproxy(to, (port, server), identity.as_ref()), "page")
            }
            TlsServer::Nginx => (nginx(to, port, identity.as_ref()), "page"),
            TlsServer::Envoy => (tls_server::envoy(to, port, identity.as_ref()), "page"),
            TlsServer::Etcd => (
                tls_server::etcd(to, port, identity.as_ref()),
                "etcdserverpb.KV/Range",
            ),
            TlsServer::GrpcGo => {
                let mut command = Peer::GrpcGo1_85.command("server");
                command.args(["--listen", &format!("127.0.0.1:{port}")]);
                if let Some(identity) = &identity {
                    command.arg("--tls-key").arg(&identity.key);
                    command.arg("--tls-cert").arg(&identity.certificate);
                }
                (command, GRPC)
            }
            TlsServer::GrpcJs => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", Peer::GrpcJs1_14.file());
                command.arg(own("grpc_js.cjs"));
                (with_files(command, port, identity.as_ref()), GRPC)
            }
            TlsServer::Grpcio => {
                let mut command = Command::new(installed("grpcio").join("bin/python"));
                command.arg(own("grpcio.py"));
                (with_files(command, port, identity.as_ref()), GRPC)
            }
            TlsServer::GrpcJavaJsse => (java(port, identity.as_ref(), "JDK"), GRPC),
            TlsServer::GrpcJavaTcnative => (java(port, identity.as_ref(), "OPENSSL"), GRPC),
            TlsServer::TonicRing | TlsServer::TonicAwsLc => {
                let name = match self {
                    TlsServer::TonicRing => "tonic-ring",
                    _ => "tonic-aws-lc",
                };
                let command = Command::new(installed("tonic-tls").join(name));
                (with_files(command, port, identity.as_ref()), GRPC)
            }
        };
        let mut process = Process::start(self.about().name, &mut command);
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        let is_up = eventually(START, || listens() || !process.is_running());
        let is_up = is_up && process.is_running();
        assert!(is_up, "{self:?} does not listen{}", process.complaint());
        let scheme = if is_tls { "https" } else { "http" };
        Served {
            process,
            _behind: behind,
            url: format!("{scheme}://localhost:{port}/{path}"),
            _folder: folder,
        }
    }
}

/// PORT KEY CERTIFICATE, or - and -.
fn with_files(mut command: Command, port: u16, identity: Option<&Identity>) -> Command {
    command.arg(port.to_string());
    match identity {
        Some(identity) => command.args(identity.files()),
        None => command.args(["-", "-"]),
    };
    command
}

/// With the JVM's own TLS, or another one.
fn java(port: u16, identity: Option<&Identity>, provider: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"]);
    let libraries = ["grpc-java/lib/*", "netty-tcnative/lib/*"].map(installed);
    let path = std::env::join_paths(libraries).expect("paths without colons");
    command.arg("-cp").arg(path).arg(own("GrpcJava.java"));
    let mut command = with_files(command, port, identity);
    command.arg(provider);
    command
}

fn page(folder: &Path) {
    std::fs::write(folder.join("page"), [b'x'; 2_000]).expect("cannot write a page");
}

fn nghttpd(folder: &Path, port: u16, identity: Option<&Identity>) -> Command {
    page(folder);
    let mut command = Command::new("nghttpd");
    command
        .args(["--address", "127.0.0.1", "--htdocs"])
        .arg(folder);
    match identity {
        Some(identity) => command.arg(port.to_string()).args(identity.files()),
        None => command.arg("--no-tls").arg(port.to_string()),
    };
    command
}

fn nginx(folder: &Path, port: u16, identity: Option<&Identity>) -> Command {
    page(folder);
    let to = folder.display();
    let (ssl, files) = match identity.map(Identity::files) {
        None => ("", String::new()),
        Some([key, certificate]) => (
            " ssl",
            format!(
                "ssl_certificate_key {}; ssl_certificate {}; ssl_protocols TLSv1.2 TLSv1.3;",
                key.display(),
                certificate.display()
            ),
        ),
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {to}/{name};"))
        .collect();
    let text = format!(
        "daemon off; master_process off; pid {to}/pid; error_log stderr warn; events {{}}\n\
         http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}{ssl} http2; {files} root {to}; }} }}"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text).expect("cannot write nginx's configuration");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(file);
    command
}

fn haproxy(folder: &Path, (port, server): (u16, u16), identity: Option<&Identity>) -> Command {
    let how = identity.map(|identity| {
        let both = folder.join("both.pem");
        let files = identity
            .files()
            .map(|file| std::fs::read(file).expect("it was made"));
        std::fs::write(&both, files.concat()).expect("cannot write a key");
        format!("ssl crt {} alpn h2", both.display())
    });
    let how = how.unwrap_or_else(|| "proto h2".to_owned());
    let text = format!(
        "global\n    maxconn 100\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    \
         timeout server 60s\nfrontend in\n    bind 127.0.0.1:{port} {how}\n    default_backend out\nbackend out\n    \
         server it 127.0.0.1:{server} proto h2\n"
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, text).expect("cannot write HAProxy's configuration");
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    command
}
