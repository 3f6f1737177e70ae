//! Keys found in the memory of real programs: each direction of each connection finds the one that opens it.
//!
//! The ciphertext passes through a relay of the test's own, and nothing but the memory of the process tells the keys.
//! Every client sends HTTP/2 PINGs with a number of its own, so that a key of another connection would be seen.

mod alike;
mod functions;
mod peers;
mod relay;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use h2trace::key_scan::{Answer, KeyScanner, Settings, Wanted};
use h2trace_core::connection::Endpoint;
use h2trace_core::tls::{Context, KeyLog, KeySource, Scratch, Session, Version};
use tracer_tests::require;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::tls_server::ENVOY;

use peers::{Files, Pinger, Server};
use relay::{Passed, Relay};

const BOTH: [Endpoint; 2] = [Endpoint::Client, Endpoint::Server];

/// How long anything may take here.
const LIMIT: Duration = Duration::from_secs(120);

/// So many PINGs of each connection are waited for.
const PINGS: usize = 3;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Header of a PING, of a client and of who answers it.
const PING: [u8; 9] = [0, 0, 8, 6, 0, 0, 0, 0, 0];
const PONG: [u8; 9] = [0, 0, 8, 6, 1, 0, 0, 0, 0];

/// One connection, and what was opened of it.
#[derive(Default)]
struct Connection {
    session: Session,
    offsets: [u64; 2],
    plain: [Vec<u8>; 2],
    /// The key of a direction is looked for.
    asked: [bool; 2],
    found: [u32; 2],
}

impl Connection {
    fn with(&mut self, scratch: &mut Scratch, act: impl FnOnce(&mut Session, &mut Context<'_>)) {
        let plain = &mut self.plain;
        let mut context = Context {
            keys: &KeyLog::default(),
            scratch,
            out: &mut |said| plain[said.sender.index()].extend_from_slice(said.bytes),
        };
        act(&mut self.session, &mut context);
    }

    /// Payloads of the frames with that header, as far as they are whole.
    fn payloads(&self, side: Endpoint, header: [u8; 9]) -> Vec<[u8; 8]> {
        let text = &self.plain[side.index()];
        let at = text.windows(17).filter(|part| part.starts_with(&header));
        at.map(|part| *part.last_chunk().unwrap()).collect()
    }

    fn is_heard(&self, answer: [u8; 9]) -> bool {
        self.payloads(Endpoint::Client, PING).len() >= PINGS
            && self.payloads(Endpoint::Server, answer).len() >= PINGS
    }
}

/// Connections that pass through a relay, and the process in whose memory their keys are.
struct Watched<'a> {
    relay: Relay,
    pid: u32,
    scanner: &'a KeyScanner,
    is_late: bool,
    connections: BTreeMap<u64, Connection>,
    scratch: Scratch,
    last_sweep: Instant,
}

impl<'a> Watched<'a> {
    fn new(relay: Relay, pid: u32, scanner: &'a KeyScanner) -> Self {
        Watched {
            relay,
            pid,
            scanner,
            is_late: false,
            connections: BTreeMap::new(),
            scratch: Scratch::default(),
            last_sweep: Instant::now(),
        }
    }

    /// Listens until `n` connections are heard in both directions.
    fn run(&mut self, n: usize, answer: [u8; 9]) {
        let end = Instant::now() + LIMIT;
        let heard = |watched: &Self| {
            let all = watched.connections.values();
            all.filter(|connection| connection.is_heard(answer)).count()
        };
        while heard(self) < n {
            let told = self
                .connections
                .values()
                .map(|c| (c.session.info(), c.found));
            assert!(
                Instant::now() < end,
                "{} of {n} are heard: {:?}",
                heard(self),
                told.take(3).collect::<Vec<_>>()
            );
            self.listen(|_| {});
        }
    }

    /// Takes what passes now, and looks for the keys that it wants.
    fn listen(&mut self, mut passes: impl FnMut(&Passed)) {
        if let Ok(passed) = self.relay.passed.recv_timeout(Duration::from_millis(5)) {
            passes(&passed);
            self.take(passed);
            while let Ok(passed) = self.relay.passed.try_recv() {
                passes(&passed);
                self.take(passed);
            }
        }
        if self.last_sweep.elapsed() > Duration::from_millis(20) {
            self.ask();
            self.last_sweep = Instant::now();
        }
        self.answers();
        assert!(!self.scanner.is_stuck());
    }

    fn take(&mut self, (id, side, bytes): Passed) {
        let is_late = self.is_late;
        let connection = self.connections.entry(id).or_insert_with(|| Connection {
            session: if is_late {
                Session::late()
            } else {
                Session::awaiting_keys()
            },
            ..Connection::default()
        });
        let offset = connection.offsets[side.index()];
        connection.offsets[side.index()] += bytes.len() as u64;
        connection.with(&mut self.scratch, |session, context| {
            session.take(side, 0, (offset, &bytes, 0), context);
        });
    }

    fn ask(&mut self) {
        for (id, connection) in &mut self.connections {
            for side in BOTH {
                if connection.asked[side.index()] {
                    continue;
                }
                let Some(sample) = connection.session.wanted(side) else {
                    continue;
                };
                connection.asked[side.index()] = self.scanner.ask(
                    self.pid,
                    Wanted {
                        id: *id,
                        sender: side,
                        sample,
                    },
                );
            }
        }
    }

    fn answers(&mut self) {
        for answer in self.scanner.answers() {
            match answer {
                Answer::Found(found) => {
                    let connection = self.connections.get_mut(&found.id).expect("it has asked");
                    connection.asked[found.sender.index()] = false;
                    connection.found[found.sender.index()] += 1;
                    connection.with(&mut self.scratch, |session, context| {
                        session.give_key(found.sender, found.key, context);
                    });
                }
                Answer::Missed { id, sender, .. } => {
                    let connection = self.connections.get_mut(&id).expect("it has asked");
                    connection.asked[sender.index()] = false;
                }
                Answer::Searched { pid, .. } => assert_eq!(pid, self.pid),
            }
        }
    }

    /// Each connection is heard, and is no other one.
    fn check(&self, n: usize, answer: [u8; 9]) {
        assert_eq!(self.connections.len(), n);
        let mut numbers = BTreeSet::new();
        for connection in self.connections.values() {
            let info = connection.session.info();
            assert_eq!((info.key, info.why), (KeySource::Scan, None));
            let of_client: BTreeSet<_> = connection
                .payloads(Endpoint::Client, PING)
                .into_iter()
                .collect();
            let of_server: BTreeSet<_> = connection
                .payloads(Endpoint::Server, answer)
                .into_iter()
                .collect();
            // All of one connection are alike.
            assert_eq!((of_client.len(), &of_server), (1, &of_client));
            numbers.extend(of_client);
            if !self.is_late {
                assert!(connection.plain[0].starts_with(PREFACE));
                assert_eq!(
                    connection.session.end(Endpoint::Client),
                    connection.plain[0].len() as u64
                );
            }
        }
        assert_eq!(numbers.len(), n);
    }
}

fn scanner() -> KeyScanner {
    KeyScanner::start(Settings {
        share: 1.0,
        ..Settings::default()
    })
    .expect("the thread that looks for keys starts")
}

/// Every direction of `n` connections to a server finds its key in the server's memory.
fn all_are_opened(server: &Server, n: usize, (version, ciphers): (&str, &str)) {
    let scanner = scanner();
    let mut watched = Watched::new(Relay::to(server.port), server.pid(), &scanner);
    let _client = Pinger::start(watched.relay.port, n, version, ciphers);
    watched.run(n, server.answer);
    watched.check(n, server.answer);
    // Those of the handshake may be in memory still, where nobody overwrites them: then they are found first.
    let mut found = watched.connections.values().flat_map(|c| c.found);
    assert!(found.all(|keys| (1..=2).contains(&keys)));
    let negotiated = match version {
        "TLSv1.2" => Version::TLS1_2,
        _ => Version::TLS1_3,
    };
    for connection in watched.connections.values() {
        let info = connection.session.info();
        assert_eq!(info.version, Some(negotiated));
        let suite = info.suite.map(|suite| suite.to_string());
        assert!(
            ciphers.is_empty()
                || suite.is_some_and(|suite| {
                    // OpenSSL has its own names up to TLS 1.2.
                    suite
                        .replace('_', "-")
                        .contains(&ciphers[ciphers.len() - 6..].replace('_', "-"))
                })
        );
    }
}

const TLS13: (&str, &str) = ("TLSv1.3", "TLS_AES_128_GCM_SHA256");
const TLS13_LONG: (&str, &str) = ("TLSv1.3", "TLS_AES_256_GCM_SHA384");
const TLS12: (&str, &str) = ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256");
const TLS12_LONG: (&str, &str) = ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384");

#[test]
fn a_hundred_connections_of_node_find_two_hundred_keys() {
    require!(Privileges, Program("node"), Program("openssl"));
    let files = Files::new();
    let server = peers::node(&files);
    for options in [TLS13, TLS13_LONG, TLS12, TLS12_LONG] {
        all_are_opened(&server, 100, options);
    }
}

#[test]
fn openssl_is_opened() {
    require!(
        Privileges,
        Program("node"),
        Program("openssl"),
        Program("nghttpd")
    );
    let files = Files::new();
    let server = peers::nghttpd(&files);
    for options in [TLS13, TLS13_LONG, TLS12, TLS12_LONG] {
        all_are_opened(&server, 5, options);
    }
}

#[test]
fn go_is_opened() {
    require!(
        Privileges,
        Program("node"),
        Program("openssl"),
        Program("etcd")
    );
    let files = Files::new();
    let server = peers::etcd(&files);
    for options in [TLS13, TLS12] {
        all_are_opened(&server, 5, options);
    }
}

#[test]
fn envoy_is_opened() {
    require!(Privileges, Program("node"), Program("openssl"), ENVOY);
    let files = Files::new();
    let server = peers::envoy(&files);
    for options in [TLS13, TLS13_LONG, TLS12] {
        all_are_opened(&server, 5, options);
    }
}

#[test]
fn a_jvm_is_opened() {
    require!(
        Privileges,
        Program("node"),
        Program("openssl"),
        Program("java")
    );
    let files = Files::new();
    let server = peers::jvm(&files);
    for options in [TLS13, TLS13_LONG, TLS12] {
        all_are_opened(&server, 3, options);
    }
}

/// The connection is there, and talks, before anybody looks.
#[test]
fn connections_older_than_the_search_are_opened() {
    const N: usize = 3;
    require!(Privileges, Program("node"), Program("openssl"));
    let files = Files::new();
    let server = peers::node(&files);
    for options in [TLS13, TLS12] {
        let scanner = scanner();
        let relay = Relay::to(server.port);
        let _client = Pinger::start(relay.port, N, options.0, options.1);
        // All of them have said something by then, and what they said is let go.
        let mut begun = BTreeSet::new();
        while begun.len() < 2 * N {
            let (id, side, _) = relay.passed.recv_timeout(LIMIT).expect("they talk");
            begun.insert((id, side.index()));
        }
        std::thread::sleep(Duration::from_secs(1));
        while relay.passed.try_recv().is_ok() {}
        let mut watched = Watched::new(relay, server.pid(), &scanner);
        watched.is_late = true;
        watched.run(N, server.answer);
        watched.check(N, server.answer);
    }
}

/// The client's memory has the same two keys.
#[test]
fn the_other_end_has_them_too() {
    require!(Privileges, Program("node"), Program("openssl"));
    let files = Files::new();
    let server = peers::node(&files);
    let scanner = scanner();
    let relay = Relay::to(server.port);
    let client = Pinger::start(relay.port, 5, TLS13.0, TLS13.1);
    let mut watched = Watched::new(relay, client.pid(), &scanner);
    watched.run(5, server.answer);
    watched.check(5, server.answer);
}
