//! The load: which peers call which, how, and how often in a round.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tracer_tests::call::{Calls, Mode};
use tracer_tests::envoy::{Envoy, EnvoyOptions, Version};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::process::Process;
use tracer_tests::skip::{Need, Privileges, Program};
use tracer_tests::{eventually, free_port};

use crate::tally::Ends;

/// How long one job may take on a busy machine.
const JOB: Duration = Duration::from_secs(300);

/// The Envoy in the middle.
const ENVOY: Version = Version("1.40.0");

/// Age at which the draining servers close their connections. Their clients make a call anew that a
/// connection no longer takes; those of tonic (0.14) do not, so it calls none of them.
const AGE_MS: &str = "1500";

/// What is not installed, if anything.
pub(crate) fn missing() -> Option<String> {
    let peers = [
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14,
        Peer::ConnectNode,
        Peer::Grpcio,
        Peer::GrpcJava,
        Peer::Tonic,
    ];
    Privileges
        .missing()
        .or_else(|| peers.iter().find_map(Need::missing))
        .or_else(|| ENVOY.missing())
        .or_else(|| {
            ["h2load", "nghttpd"]
                .iter()
                .find_map(|name| Program(name).missing())
        })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// A server over TCP.
    Tcp(Peer),
    /// A server on a Unix socket.
    Unix(Peer),
    /// A server that drains its connections (GOAWAY) all the time.
    Draining(Peer),
    /// A server behind Envoy.
    Envoy(Peer),
    /// nghttpd, a page of 1,000 bytes.
    Nghttpd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// A gRPC client.
    Peer(Peer),
    /// h2load: so many connections. It calls a gRPC server's `UnaryCall`, or gets a page.
    H2load(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    from: From,
    to: To,
    calls: Calls,
}

impl Job {
    /// Calls that it makes.
    pub(crate) fn n_calls(&self) -> u64 {
        u64::from(self.calls.calls)
    }

    /// Who calls whom how, for people.
    pub(crate) fn name(&self) -> String {
        let from = match self.from {
            From::Peer(peer) => peer.name(),
            From::H2load(_) => "h2load",
        };
        let to = match self.to {
            To::Tcp(peer) => peer.name().to_owned(),
            To::Unix(peer) => format!("{} (Unix socket)", peer.name()),
            To::Draining(peer) => format!("{} that drains", peer.name()),
            To::Envoy(peer) => format!("Envoy -> {}", peer.name()),
            To::Nghttpd => "nghttpd".to_owned(),
        };
        format!("{from} -> {to}, {:?}", self.calls.mode)
    }
}

/// The jobs of a round: some 77,000 calls, of which h2load makes 10,000. None makes so many that what the
/// tracer has to print about it piles up.
pub(crate) fn round() -> Vec<Job> {
    let unary = |n, at_once| Calls::new(Mode::Unary, n).at_once(at_once);
    let many = |mode, n, at_once, messages| {
        let mut calls = Calls::new(mode, n).at_once(at_once).bytes(100, 1_000);
        calls.messages = messages;
        calls
    };
    let in_time = |mut calls: Calls| {
        calls.deadline_ms = 120_000;
        calls
    };
    let slow = |mut calls: Calls| {
        calls.interval_us = 2_000;
        calls
    };
    let (go, js, java) = (Peer::GrpcGo1_85, Peer::GrpcJs1_14, Peer::GrpcJava);
    let (io, tonic, connect) = (Peer::Grpcio, Peer::Tonic, Peer::ConnectNode);
    let peer = |from, to, calls| Job {
        from: From::Peer(from),
        to,
        calls,
    };
    let h2load = |connections, to, calls| Job {
        from: From::H2load(connections),
        to,
        calls,
    };
    vec![
        peer(go, To::Tcp(go), unary(5_000, 100)),
        peer(tonic, To::Tcp(tonic), unary(5_000, 100)),
        h2load(4, To::Tcp(go), unary(5_000, 10).bytes(0, 100)),
        peer(java, To::Tcp(java), unary(5_000, 100)),
        peer(go, To::Envoy(go), in_time(unary(4_000, 50))),
        peer(js, To::Tcp(js), unary(4_000, 50)),
        peer(io, To::Tcp(io), in_time(unary(2_000, 10))),
        peer(connect, To::Tcp(go), in_time(unary(4_000, 50))),
        peer(go, To::Draining(go), unary(4_000, 20)),
        h2load(10, To::Nghttpd, unary(5_000, 10)),
        peer(
            tonic,
            To::Tcp(java),
            many(Mode::ServerStream, 3_000, 20, 10),
        ),
        peer(go, To::Tcp(js), unary(4_000, 1_000)),
        peer(java, To::Tcp(go), many(Mode::ClientStream, 3_000, 20, 10)),
        peer(js, To::Envoy(go), unary(2_000, 20).bytes(10, 12_000)),
        peer(go, To::Tcp(tonic), many(Mode::Bidi, 4_000, 20, 5)),
        peer(io, To::Unix(go), many(Mode::ServerStream, 500, 5, 20)),
        peer(java, To::Draining(java), unary(4_000, 10)),
        peer(java, To::Unix(java), in_time(unary(4_000, 50))),
        peer(go, To::Tcp(go), Calls::new(Mode::Empty, 4_000).at_once(10)),
        peer(js, To::Tcp(go), many(Mode::Bidi, 1_000, 10, 5)),
        peer(
            tonic,
            To::Envoy(java),
            many(Mode::ServerStream, 2_000, 20, 10),
        ),
        peer(go, To::Tcp(java), unary(100, 4).bytes(1_000_000, 1_000_000)),
        peer(
            connect,
            To::Tcp(java),
            many(Mode::ServerStream, 500, 10, 20),
        ),
        peer(go, To::Tcp(io), unary(2_000, 20).bytes(50_000, 50_000)),
        peer(io, To::Tcp(tonic), many(Mode::ClientStream, 500, 5, 10)),
        peer(js, To::Draining(go), unary(3_000, 10)),
        peer(tonic, To::Unix(js), unary(3_000, 50)),
        peer(java, To::Draining(io), unary(1_000, 5)),
        peer(
            go,
            To::Tcp(go),
            slow(many(Mode::ServerStream, 300, 100, 200)),
        ),
        peer(
            tonic,
            To::Tcp(go),
            Calls::new(Mode::Status, 2_000).at_once(20),
        ),
        peer(java, To::Envoy(go), unary(200, 10).bytes(200_000, 200_000)),
    ]
}

/// Everything that is called.
pub(crate) struct Servers {
    servers: Vec<(To, Server)>,
    envoys: Vec<(Peer, Envoy)>,
    nghttpd: Process,
    page: String,
    folder: TempDir,
}

impl Servers {
    /// Starts all that the jobs call.
    pub(crate) fn start(jobs: &[Job]) -> Servers {
        let mut wanted: Vec<To> = Vec::new();
        for to in jobs.iter().map(|job| job.to) {
            if to != To::Nghttpd && !wanted.contains(&to) {
                wanted.push(to);
            }
        }
        let servers: Vec<(To, Server)> = wanted
            .into_iter()
            .map(|to| {
                let (peer, listen, arguments): (_, _, &[&str]) = match to {
                    To::Unix(peer) => (peer, Listen::Unix, &[]),
                    To::Draining(peer) => {
                        (peer, Listen::Ipv4, &["--max-connection-age-ms", AGE_MS])
                    }
                    To::Tcp(peer) | To::Envoy(peer) => (peer, Listen::Ipv4, &[]),
                    To::Nghttpd => unreachable!("it is started apart"),
                };
                (to, Server::start(peer, listen, arguments))
            })
            .collect();
        let envoys = servers
            .iter()
            .filter_map(|(to, server)| match to {
                To::Envoy(peer) => {
                    let options = EnvoyOptions {
                        version: ENVOY,
                        concurrency: 1,
                        half_close: false,
                        hide_ids: false,
                    };
                    Some((*peer, Envoy::start(options, server.port())))
                }
                _ => None,
            })
            .collect();
        let folder = TempDir::new().expect("cannot make a folder");
        std::fs::write(folder.path().join("page"), [b'x'; 1_000]).expect("cannot write a page");
        // SimpleRequest { response_size: 100 }, with its prefix.
        let request = [0, 0, 0, 0, 2, 0x10, 100];
        std::fs::write(folder.path().join("request"), request).expect("cannot write a request");
        let port = free_port();
        let mut command = Command::new("nghttpd");
        command.args(["--no-tls", "--address", "127.0.0.1", "--htdocs"]);
        command.arg(folder.path()).arg(port.to_string());
        let nghttpd = Process::start("nghttpd", &mut command);
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(
            eventually(Duration::from_secs(20), listens),
            "nghttpd does not listen{}",
            nghttpd.complaint()
        );
        Servers {
            servers,
            envoys,
            nghttpd,
            page: format!("http://127.0.0.1:{port}/page"),
            folder,
        }
    }

    fn server(&self, to: To) -> &Server {
        let found = self.servers.iter().find(|(which, _)| *which == to);
        &found.unwrap_or_else(|| panic!("{to:?} was not started")).1
    }

    /// Does a job; which streams it must have made at which ends, or which calls failed.
    pub(crate) fn run(&self, job: &Job) -> Result<Ends, String> {
        let mut ends = Ends::default();
        let n = job.n_calls();
        let at_least = matches!(job.to, To::Draining(_));
        let (address, server) = match job.to {
            To::Nghttpd => (self.page.clone(), self.nghttpd.pid()),
            To::Envoy(peer) => {
                let found = self.envoys.iter().find(|(which, _)| *which == peer);
                let envoy = &found.unwrap_or_else(|| panic!("no Envoy for {peer:?}")).1;
                ends.add(envoy.pid(), "server", n, false);
                ends.add(envoy.pid(), "client", n, false);
                (envoy.address.clone(), self.server(job.to).pid())
            }
            to => (self.server(to).address.clone(), self.server(to).pid()),
        };
        ends.add(server, "server", n, at_least);
        let client = match job.from {
            From::Peer(peer) => grpc(peer, &address, job)?,
            From::H2load(connections) => h2load(connections, &address, job, self.folder.path())?,
        };
        ends.add(client, "client", n, at_least);
        Ok(ends)
    }

    /// Stops all servers, and checks what they say they handled against what was asked of them.
    pub(crate) fn stop(mut self, ends: &Ends) -> Vec<String> {
        let mut wrong = Vec::new();
        for (to, server) in &mut self.servers {
            let pid = server.pid();
            let (handled, asked) = (server.stop(), ends.expected(pid, "server"));
            if handled != asked {
                wrong.push(format!("{to:?} handled {handled} calls of {asked}"));
            }
        }
        wrong
    }
}

fn grpc(peer: Peer, address: &str, job: &Job) -> Result<u32, String> {
    let mut client = Client::start(peer, address, &job.calls);
    client.go();
    let said = client.wait_until_done(JOB);
    client.close();
    // In mode `status` every call ends with the status that was asked for, FAILED_PRECONDITION.
    let want = if job.calls.mode == Mode::Status { 9 } else { 0 };
    let failed: Vec<_> = said.iter().filter(|call| call.code != want).collect();
    match failed.first() {
        None => Ok(client.pid()),
        Some(first) => Err(format!(
            "{}: {} calls failed: {first:?}",
            job.name(),
            failed.len()
        )),
    }
}

fn h2load(connections: u32, address: &str, job: &Job, folder: &Path) -> Result<u32, String> {
    let mut command = Command::new("h2load");
    let (connections, n) = (connections.to_string(), job.calls.calls.to_string());
    command.args(["-t", "1", "-c", &connections, "-n", &n]);
    command.args(["-m", &job.calls.concurrency.to_string()]);
    if job.to == To::Nghttpd {
        command.arg(address);
    } else {
        command.args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
        command.arg("-d").arg(folder.join("request"));
        command.arg(format!(
            "http://{address}/grpc.testing.TestService/UnaryCall"
        ));
    }
    let mut client = Process::start("h2load", &mut command);
    let status = client.wait(JOB);
    let said = client.lines().join("\n");
    if status.success() && said.contains(&format!(" {n} succeeded, 0 failed")) {
        Ok(client.pid())
    } else {
        Err(format!("{}: {said}", job.name()))
    }
}
