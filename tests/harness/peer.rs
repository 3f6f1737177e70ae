//! The gRPC peers: their programs, servers and clients.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::call::{Call, Calls};
use crate::process::Process;

/// How long a peer may take to start (a JVM on a busy machine).
const START: Duration = Duration::from_secs(60);

/// A gRPC library in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// grpc-go 1.70.0: answers before END_STREAM, then resets with NO_ERROR.
    GrpcGo1_70,
    /// grpc-go 1.85.0: waits for END_STREAM.
    GrpcGo1_85,
    /// @grpc/grpc-js 1.12.6: sends END_STREAM late.
    GrpcJs1_12,
    /// @grpc/grpc-js 1.14.7: sends END_STREAM with the message.
    GrpcJs1_14,
    /// @connectrpc/connect-node 1.4.0, gRPC transport; a client only.
    ConnectNode,
    Grpcio,
    /// grpc-java on Netty.
    GrpcJava,
    Tonic,
    /// Node's http2, breaking every call off as its metadata say; a server only.
    ResetServer,
}

/// Where `cargo xtask setup` puts the peers.
#[must_use]
pub fn installed(piece: &str) -> PathBuf {
    std::env::var_os("H2TRACE_PEERS_DIR")
        .map_or_else(|| crate::workspace().join("target/peers"), PathBuf::from)
        .join(piece)
}

fn source(path: &str) -> PathBuf {
    crate::workspace().join("tests/peers").join(path)
}

impl Peer {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Peer::GrpcGo1_70 => "grpc-go-1.70.0",
            Peer::GrpcGo1_85 => "grpc-go-1.85.0",
            Peer::GrpcJs1_12 => "grpc-js-1.12.6",
            Peer::GrpcJs1_14 => "grpc-js-1.14.7",
            Peer::ConnectNode => "connect-node",
            Peer::Grpcio => "grpcio",
            Peer::GrpcJava => "grpc-java",
            Peer::Tonic => "tonic",
            Peer::ResetServer => "reset-server",
        }
    }

    /// The piece of `cargo xtask setup` that it belongs to.
    #[must_use]
    pub const fn piece(self) -> &'static str {
        match self {
            Peer::GrpcGo1_70 | Peer::GrpcGo1_85 => "grpc-go",
            Peer::GrpcJs1_12 | Peer::GrpcJs1_14 | Peer::ConnectNode | Peer::ResetServer => "node",
            Peer::Grpcio => "grpcio",
            Peer::GrpcJava => "grpc-java",
            Peer::Tonic => "tonic",
        }
    }

    /// A file that is there when the peer is installed.
    #[must_use]
    pub fn file(self) -> PathBuf {
        let piece = installed(self.piece());
        match self {
            Peer::GrpcGo1_70 | Peer::GrpcGo1_85 => piece.join(self.name()),
            Peer::GrpcJs1_12 | Peer::GrpcJs1_14 | Peer::ConnectNode | Peer::ResetServer => {
                piece.join("node_modules")
            }
            Peer::Grpcio => piece.join("generated"),
            Peer::GrpcJava => piece.join("classes"),
            Peer::Tonic => piece.join("tonic-peer"),
        }
    }

    /// Its program, up to `server`, `client` or (grpc-go) `proxy`.
    #[must_use]
    pub fn command(self, role: &str) -> Command {
        let file = self.file();
        let node = |script: &str| {
            let mut command = Command::new("node");
            command
                .arg(source("node").join(script))
                .env("NODE_PATH", &file);
            command
        };
        let mut command = match self {
            Peer::GrpcGo1_70 | Peer::GrpcGo1_85 | Peer::Tonic => Command::new(&file),
            Peer::GrpcJs1_12 | Peer::GrpcJs1_14 => {
                let mut command = node("grpc-js.cjs");
                command.arg(self.name().trim_start_matches("grpc-js-"));
                command
            }
            Peer::ConnectNode => node("connect.cjs"),
            Peer::ResetServer => node("reset-server.cjs"),
            Peer::Grpcio => {
                let mut command = Command::new(installed("grpcio").join("bin/python"));
                command
                    .arg(source("grpcio/peer.py"))
                    .env("PYTHONPATH", &file);
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            Peer::GrpcJava => {
                let mut command = Command::new("java");
                let folder = installed("grpc-java");
                let path = format!("{}:{}/lib/*", file.display(), folder.display());
                command.args([
                    "-XX:TieredStopAtLevel=1",
                    "-XX:+UseSerialGC",
                    "-Xmx512m",
                    "-cp",
                    &path,
                ]);
                command.arg("h2trace.Peer");
                command
            }
        };
        command.arg(role);
        command
    }
}

/// What a server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    Ipv4,
    Ipv6,
    /// A socket in the file system.
    Unix,
}

pub struct Server {
    pub process: Process,
    /// What clients dial: `host:port` or `unix:path`.
    pub address: String,
    _folder: Option<TempDir>,
}

impl Server {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    #[must_use]
    pub fn start(peer: Peer, listen: Listen, arguments: &[&str]) -> Self {
        let folder = (listen == Listen::Unix)
            .then(|| TempDir::new().expect("cannot make a folder for a socket"));
        let at = match (&folder, listen) {
            (Some(folder), _) => format!("unix:{}", folder.path().join("grpc.sock").display()),
            (None, Listen::Ipv6) => "[::1]:0".to_owned(),
            (None, _) => "127.0.0.1:0".to_owned(),
        };
        let mut command = peer.command("server");
        command.args(["--listen", &at]).args(arguments);
        Self::ready(&format!("the {} server", peer.name()), &mut command, folder)
    }

    /// Starts the peer as a proxy in front of the server on loopback port `upstream`.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    #[must_use]
    pub fn proxy(peer: Peer, upstream: u16) -> Self {
        let mut command = peer.command("proxy");
        command.args(["--upstream", &format!("127.0.0.1:{upstream}")]);
        Self::ready(&format!("the {} proxy", peer.name()), &mut command, None)
    }

    /// Starts it and waits until it says where it listens.
    #[track_caller]
    fn ready(name: &str, command: &mut Command, folder: Option<TempDir>) -> Self {
        let process = Process::start(name, command);
        let address = process.wait_for_line(0, START, |line| {
            line.strip_prefix("ready ").map(|a| a.trim().to_owned())
        });
        Server {
            process,
            address,
            _folder: folder,
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its TCP port.
    ///
    /// # Panics
    /// When it listens on a Unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self
            .address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("{} has no port", self.address))
    }

    /// Stops it and reads how many calls it handled.
    ///
    /// # Panics
    /// When it does not end, or does not say it.
    #[track_caller]
    pub fn stop(&mut self) -> u64 {
        self.process.end(libc::SIGTERM);
        self.process.wait_for_line(0, Duration::ZERO, |line| {
            let value: Value = serde_json::from_str(line).ok()?;
            Some(
                value
                    .get("handled")?
                    .as_object()?
                    .values()
                    .filter_map(Value::as_u64)
                    .sum(),
            )
        })
    }
}

pub struct Client {
    pub process: Process,
}

impl Client {
    /// Starts it; it makes its warm-up calls (if any) and waits for [`Client::go`].
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    #[must_use]
    pub fn start(peer: Peer, target: &str, calls: &Calls) -> Self {
        let mut command = peer.command("client");
        command.args(["--target", target]).args(calls.arguments());
        let process = Process::start(format!("the {} client", peer.name()), &mut command);
        process.wait_for_line(0, START, |line| line.contains("\"ready\"").then_some(()));
        Client { process }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets it begin.
    pub fn go(&mut self) {
        self.process.write_line("go");
    }

    /// Waits until `n` calls are over.
    ///
    /// # Panics
    /// When that takes longer than `limit`.
    #[track_caller]
    pub fn wait_for_calls(&self, n: usize, limit: Duration) {
        let mut seen = 0;
        self.process.wait_for_line(0, limit, |line| {
            seen += usize::from(Call::of_line(line).is_some());
            (seen >= n).then_some(())
        });
    }

    /// Waits until all calls are over. The channel stays open.
    ///
    /// # Panics
    /// When that takes longer than `limit`, or the client's own count disagrees with its lines.
    #[track_caller]
    pub fn wait_until_done(&self, limit: Duration) -> Vec<Call> {
        let (n, ok) = self.process.wait_for_line(0, limit, |line| {
            let value: Value = serde_json::from_str(line).ok()?;
            value.get("done")?;
            Some((value.get("calls")?.as_u64()?, value.get("ok")?.as_u64()?))
        });
        let calls: Vec<_> = self
            .process
            .lines()
            .iter()
            .filter_map(|line| Call::of_line(line))
            .collect();
        assert_eq!(
            calls.len() as u64,
            n,
            "the client's lines and its own count differ"
        );
        let succeeded = calls.iter().filter(|call| call.code == 0).count();
        assert_eq!(
            succeeded as u64, ok,
            "the client's lines and its own count differ"
        );
        calls
    }

    /// Closes the channel and waits for the client's end.
    #[track_caller]
    pub fn close(&mut self) {
        self.process.wait(Duration::from_secs(20));
    }
}
