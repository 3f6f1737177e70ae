//! Traffic that has something for (almost) every panel: the incident, proxies with defects, errors, cancels,
//! connections that are not HTTP/2, and a server that is killed.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use tracer_tests::call::{Calls, Mode};
use tracer_tests::envoy::{self, Envoy};
use tracer_tests::faulty_proxy::Running;
use tracer_tests::peer::{Client, Listen, Peer, Server};

/// How long one part of it may take.
const RUN: Duration = Duration::from_secs(120);

/// The reference incident's.
pub(crate) const ENVOY: envoy::Version = envoy::Version("1.36.2");

/// A ClientHello as far as it needs to be one (RFC 8446 section 5.1).
const TLS: &[u8] = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03";

/// Everything that runs.
pub(crate) struct Traffic {
    server: Server,
    doomed: Server,
    envoy: Envoy,
    /// One that drops trailers, and one that drops what it holds back.
    faulty: [Running; 2],
    clients: Vec<Client>,
    /// The same once more.
    again: Vec<Client>,
    waiting: Client,
}

impl Traffic {
    pub(crate) fn start() -> Self {
        let server = Server::start(Peer::GrpcGo1_70, Listen::Ipv4, &[]);
        let doomed = Server::start(Peer::GrpcGo1_70, Listen::Ipv4, &[]);
        let options = envoy::EnvoyOptions {
            version: ENVOY,
            concurrency: 1,
            half_close: false,
            hide_ids: false,
        };
        let envoy = Envoy::start(options, server.port());
        let faulty = ["end-for-trailers", "forget-tail"]
            .map(|defect| Running::start(&server.address, &["--defect", defect]));
        let mut incident = Calls::new(Mode::Unary, 500).at_once(50).bytes(16, 11_000);
        incident.think_ms = 3;
        let large = Calls::new(Mode::Unary, 200).at_once(50).bytes(16, 40_000);
        let clients = || {
            vec![
                Client::start(Peer::GrpcJs1_12, &envoy.address, &incident),
                Client::start(Peer::GrpcJs1_12, &faulty[0].address, &large),
                Client::start(Peer::GrpcJs1_12, &faulty[1].address, &large),
                Client::start(
                    Peer::GrpcGo1_85,
                    &server.address,
                    &Calls::new(Mode::Status, 200),
                ),
                Client::start(
                    Peer::GrpcGo1_85,
                    &server.address,
                    &Calls::new(Mode::Cancel, 100),
                ),
            ]
        };
        let (clients, again) = (clients(), clients());
        let mut slow = Calls::new(Mode::ServerStream, 4).at_once(4);
        (slow.messages, slow.interval_us) = (1_000, 500_000);
        let waiting = Client::start(Peer::GrpcGo1_85, &doomed.address, &slow);
        Traffic {
            server,
            doomed,
            envoy,
            faulty,
            clients,
            again,
            waiting,
        }
    }

    /// All processes of it, and this one.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let mut pids = vec![std::process::id(), self.waiting.pid()];
        pids.extend([self.server.pid(), self.doomed.pid()]);
        pids.push(self.envoy.pid());
        pids.extend(self.faulty.iter().map(Running::pid));
        let clients = self.clients.iter().chain(&self.again);
        pids.extend(clients.map(Client::pid));
        pids
    }

    /// Everything happens; the channels stay open.
    pub(crate) fn happen(&mut self) {
        self.waiting.go();
        run(&mut self.clients);
        say_tls();
        self.doomed.process.end(libc::SIGKILL);
        self.waiting.wait_until_done(RUN);
        self.clients[3].close();
    }

    /// The clients' calls happen once more: what began and ended between two scrapes was counted, but at no rate,
    /// because no sample of it is 0.
    pub(crate) fn happen_again(&mut self) {
        run(&mut self.again);
    }
}

/// All their calls, at once.
fn run(clients: &mut [Client]) {
    for client in &mut *clients {
        client.go();
    }
    for client in clients {
        client.wait_until_done(RUN);
    }
}

/// A connection on which TLS begins.
fn say_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("cannot bind a loopback port");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    let mut client = TcpStream::connect(address).expect("cannot connect to ourselves");
    let (mut server, _) = listener.accept().expect("cannot accept");
    for _ in 0..3 {
        client.write_all(TLS).expect("cannot write");
        let mut hello = [0; TLS.len()];
        server.read_exact(&mut hello).expect("cannot read");
    }
}
