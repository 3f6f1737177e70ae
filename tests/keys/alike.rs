//! Many connections of one process that are all alike: none of their records is ever opened by another one's key.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use h2trace_core::connection::Endpoint;
use h2trace_core::tls::KeySource;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::{require, scaled};

use crate::peers::{self, Files, Pinger};
use crate::relay::Relay;
use crate::{BOTH, Connection, PING, PREFACE, TLS12, TLS13, Watched, scanner};

/// How long the greater run may take.
const LIMIT: Duration = Duration::from_secs(900);

/// Bytes of a PING.
const LEN: usize = 17;

/// What the client says before its PINGs: the preface and SETTINGS.
const HELLO: usize = PREFACE.len() + 9;

/// The application data of one direction, as its records' headers tell.
#[derive(Default)]
struct Records {
    /// Bytes until the next header.
    left: usize,
    head: Vec<u8>,
    n: u64,
}

impl Records {
    fn count(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let n = bytes.len().min(5 - self.head.len());
            self.head.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if let [content, _, _, high, low] = self.head[..] {
                self.n += u64::from(content == 23);
                self.left = usize::from(u16::from_be_bytes([high, low]));
                self.head.clear();
            }
        }
    }
}

/// The number of the connection that says this, if it is all that it says and whole: PINGs, each counted one further.
fn number_of(connection: &Connection, side: Endpoint, count: usize) -> u32 {
    let mut text = connection.plain[side.index()].as_slice();
    assert!(text.starts_with(PREFACE), "it begins with something else");
    text = &text[HELLO..];
    assert_eq!(text.len(), count * LEN);
    let word = |ping: &[u8], at: usize| u32::from_be_bytes(*ping[at..].first_chunk().unwrap());
    let number = word(text, 13);
    for (n, ping) in text.chunks(LEN).enumerate() {
        assert!(ping.starts_with(&PING), "PING {n}: {ping:?}");
        assert_eq!((word(ping, 9), word(ping, 13)), (n as u32 + 1, number));
    }
    number
}

#[test]
fn no_record_of_connections_that_are_alike_is_opened_by_another_key() {
    require!(Privileges, Program("node"), Program("openssl"));
    // Of the server's records some hold several PINGs: what waits is written together.
    let (n, count, least) = scaled((40, 50, 2_000), (500, 1_500, 1_000_000));
    let files = Files::new();
    for options in scaled(&[TLS13][..], &[TLS13, TLS12]) {
        let server = peers::node(&files);
        let scanner = scanner();
        let mut watched = Watched::new(Relay::to(server.port), server.pid(), &scanner);
        let _client = Pinger::counting(watched.relay.port, n, *options, count);
        let mut records: Vec<[Records; 2]> = Vec::new();
        let end = Instant::now() + LIMIT;
        let whole = HELLO + count * LEN;
        let is_whole = |c: &Connection| c.plain.iter().all(|text| text.len() >= whole);
        loop {
            watched.listen(|(id, side, bytes)| {
                let id = usize::try_from(*id).unwrap();
                records.resize_with(records.len().max(id + 1), Default::default);
                records[id][side.index()].count(bytes);
            });
            let all = watched.connections.values();
            let n_whole = all.filter(|connection| is_whole(connection)).count();
            if n_whole == n {
                break;
            }
            assert!(Instant::now() < end, "{n_whole} of {n} are whole");
        }
        let mut numbers = BTreeSet::new();
        for connection in watched.connections.values() {
            let info = connection.session.info();
            assert_eq!((info.key, info.why), (KeySource::Scan, None));
            let [client, server] = BOTH.map(|side| number_of(connection, side, count));
            assert_eq!(client, server);
            numbers.insert(client);
        }
        assert_eq!(numbers.len(), n);
        let n_records: u64 = records.iter().flatten().map(|records| records.n).sum();
        println!(
            "{n} connections, {n_records} records, 0 opened by another key: {}",
            options.1
        );
        assert!(n_records >= least, "{n_records} records");
    }
}
