//! TLS servers of every sort, and the client of all of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tracer_tests::identity::Identity;
use tracer_tests::process::Process;
use tracer_tests::tls_server;
use tracer_tests::{eventually, free_port, workspace};

use crate::{PING, PONG};

/// How long a program may take to come up.
const START: Duration = Duration::from_secs(60);

/// A key and its certificate, in a folder of the test's own.
pub(crate) struct Files {
    folder: TempDir,
    identity: Identity,
}

impl Files {
    pub(crate) fn new() -> Files {
        let folder = TempDir::new().expect("a folder for a certificate");
        let identity = Identity::new(folder.path());
        Files { folder, identity }
    }

    /// Both in one file, as Java wants them; the password is `secret`.
    fn store(&self) -> PathBuf {
        let store = self.folder.path().join("store.p12");
        let mut command = Command::new("openssl");
        command.args(["pkcs12", "-export", "-passout", "pass:secret"]);
        command.arg("-inkey").arg(&self.identity.key);
        command.arg("-in").arg(&self.identity.certificate);
        let name = "openssl pkcs12";
        let mut process = Process::start(name, command.arg("-out").arg(&store));
        let status = process.wait(START);
        assert!(status.success(), "{name}: {status}{}", process.complaint());
        store
    }
}

fn script(name: &str) -> PathBuf {
    workspace().join("tests/keys").join(name)
}

/// A server that listens.
pub(crate) struct Server {
    process: Process,
    pub(crate) port: u16,
    /// Header of the frames in which a client's PINGs come back.
    pub(crate) answer: [u8; 9],
    _folder: Option<TempDir>,
}

impl Server {
    fn started(name: &str, port: u16, command: &mut Command, answer: [u8; 9]) -> Server {
        let mut process = Process::start(name, command);
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        let is_up = eventually(START, || listens() || !process.is_running());
        assert!(
            is_up && process.is_running(),
            "{name} does not listen{}",
            process.complaint()
        );
        Server {
            process,
            port,
            answer,
            _folder: None,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Sends back what it gets.
pub(crate) fn node(files: &Files) -> Server {
    let port = free_port();
    let mut command = Command::new("node");
    command.arg(script("echo.cjs")).arg(port.to_string());
    command.args(files.identity.files());
    Server::started("node", port, &mut command, PING)
}

/// Sends back what it gets, by JSSE.
pub(crate) fn jvm(files: &Files) -> Server {
    let port = free_port();
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"]);
    command.arg(script("Echo.java")).arg(port.to_string());
    command.arg(files.store());
    Server::started("java", port, &mut command, PING)
}

pub(crate) fn nghttpd(files: &Files) -> Server {
    let port = free_port();
    let mut command = Command::new("nghttpd");
    command.arg("--address=127.0.0.1");
    command.arg(port.to_string());
    command.args(files.identity.files());
    Server::started("nghttpd", port, &mut command, PONG)
}

/// A program in Go.
pub(crate) fn etcd(files: &Files) -> Server {
    of_files("etcd", files, tls_server::etcd)
}

/// A listener that answers everything by itself.
pub(crate) fn envoy(files: &Files) -> Server {
    of_files("Envoy", files, tls_server::envoy)
}

/// One that has a folder of its own.
fn of_files(
    name: &str,
    files: &Files,
    command: impl FnOnce(&Path, u16, Option<&Identity>) -> Command,
) -> Server {
    let folder = TempDir::new().expect("a folder for a server");
    let port = free_port();
    let mut command = command(folder.path(), port, Some(&files.identity));
    let server = Server::started(name, port, &mut command, PONG);
    Server {
        _folder: Some(folder),
        ..server
    }
}

/// Many connections of one process, which send PINGs.
pub(crate) struct Pinger(Process);

impl Pinger {
    pub(crate) fn start(port: u16, n: usize, version: &str, ciphers: &str) -> Pinger {
        Pinger::with(port, n, [version, ciphers, ""])
    }

    /// Each of them sends `count` PINGs and no more.
    pub(crate) fn counting(
        port: u16,
        n: usize,
        (version, ciphers): (&str, &str),
        count: usize,
    ) -> Pinger {
        Pinger::with(port, n, [version, ciphers, &count.to_string()])
    }

    fn with(port: u16, n: usize, arguments: [&str; 3]) -> Pinger {
        let mut command = Command::new("node");
        command.arg(script("pings.cjs")).arg(port.to_string());
        command.arg(n.to_string()).args(arguments);
        Pinger(Process::start("node, client", &mut command))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }
}
