//! Whole conversations: those of an RFC, and others that are made here.

mod both;
mod handover;
mod lost;
pub(in crate::tls) mod rfc8448;
mod scan;
mod secrets;
mod talk;

use proptest::prelude::*;

use super::session::Epoch;
use super::{KeyLog, KeySource, TlsInfo, Version, Why};
use crate::endpoint::Endpoint;
use talk::{Talk, heard, heard_whole, key_log_without, message};

const TLS13: [u16; 3] = [0x1301, 0x1302, 0x1303];
const TLS12: [u16; 3] = [0xc02f, 0xc030, 0xcca8];

/// Every version and suite that is decoded.
fn every() -> impl Iterator<Item = (Version, u16)> {
    let of = |version, suites: [u16; 3]| suites.into_iter().map(move |suite| (version, suite));
    of(Version::TLS1_3, TLS13).chain(of(Version::TLS1_2, TLS12))
}

/// A conversation with something of everything.
fn long_talk(version: Version, suite: u16) -> Talk {
    let mut talk = Talk::begun(version, suite);
    talk.say(Endpoint::Client, b"a question, ");
    talk.say(Endpoint::Server, b"an answer, ");
    talk.say(Endpoint::Server, &[b'x'; 3_000]);
    if version == Version::TLS1_3 {
        // A ticket, in two records.
        let ticket = message(4, &[7; 200]);
        talk.handshake(Endpoint::Server, &ticket[..100]);
        talk.handshake(Endpoint::Server, &ticket[100..]);
        talk.key_update(Endpoint::Client);
        talk.key_update(Endpoint::Server);
        talk.key_update(Endpoint::Server);
        talk.padding = 40;
    }
    talk.say(Endpoint::Client, b"another one");
    talk.say(Endpoint::Client, b"");
    talk.say(Endpoint::Server, b"the end");
    talk
}

fn wanted() -> [Vec<u8>; 2] {
    [
        b"a question, another one".to_vec(),
        [&b"an answer, "[..], &[b'x'; 3_000], b"the end"].concat(),
    ]
}

#[test]
fn the_handshake_of_rfc_8448_is_opened() {
    let [client, server] = [&rfc8448::CLIENT[..], &rfc8448::SERVER].map(|records| {
        let records = records.iter().map(|record| rfc8448::bytes(record));
        records.collect::<Vec<_>>()
    });
    let order = [
        (Endpoint::Client, &client[..1]),
        (Endpoint::Server, &server[..2]),
        (Endpoint::Client, &client[1..2]),
        (Endpoint::Server, &server[2..3]),
        (Endpoint::Client, &client[2..3]),
        (Endpoint::Server, &server[3..]),
        (Endpoint::Client, &client[3..]),
    ];
    let sent = order.into_iter().flat_map(|(side, records)| {
        let of = move |record: &Vec<u8>| (side, record.clone());
        records.iter().map(of)
    });
    let heard = heard_whole(&rfc8448::key_log(), &sent.collect::<Vec<_>>());
    let fifty: Vec<u8> = (0..50).collect();
    assert_eq!(heard.text(Endpoint::Client), fifty);
    assert_eq!(heard.text(Endpoint::Server), fifty);
    let info = TlsInfo {
        version: Some(Version::TLS1_3),
        suite: Some(super::Suite(0x1301)),
        client_random: heard.info.client_random,
        sni: Some("server".into()),
        key: KeySource::KeyLog,
        ..TlsInfo::default()
    };
    assert_eq!(heard.info, info);
}

#[test]
fn every_suite_is_opened() {
    for (version, suite) in every() {
        let talk = long_talk(version, suite);
        let heard = heard_whole(&key_log_without(suite, version, &[]), &talk.sent);
        let [client, server] = wanted();
        assert_eq!(heard.text(Endpoint::Client), client, "{suite:x}");
        assert_eq!(heard.text(Endpoint::Server), server, "{suite:x}");
        assert_eq!(heard.ends, (client.len() as u64, server.len() as u64));
        assert_eq!(heard.info.why, None);
        assert_eq!(heard.info.alpn.as_deref(), Some("h2"));
        assert_eq!(heard.info.alpn_offered, ["h2"]);
        assert_eq!(heard.info.sni.as_deref(), Some("shop.example"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_division_gives_the_same(
        lens in prop::collection::vec(1_usize..400, 1..40),
        which in 0_usize..6,
    ) {
        let (version, suite) = every().nth(which).unwrap();
        let sent = long_talk(version, suite).sent;
        // Neighbours of one side are one run, as far as TCP is concerned.
        let mut runs: Vec<(Endpoint, Vec<u8>)> = Vec::new();
        for (side, record) in sent {
            match runs.last_mut() {
                Some((last, bytes)) if *last == side => bytes.extend(record),
                _ => runs.push((side, record)),
            }
        }
        let mut lens = lens.iter().cycle();
        let mut pieces = Vec::new();
        for (side, run) in &runs {
            let mut rest = run.as_slice();
            while !rest.is_empty() {
                let (part, after) = rest.split_at(lens.next().unwrap().min(&rest.len()).to_owned());
                pieces.push((*side, Some(part), part.len()));
                rest = after;
            }
        }
        let heard = heard(&key_log_without(suite, version, &[]), pieces);
        let [client, server] = wanted();
        prop_assert_eq!(heard.text(Endpoint::Client), client);
        prop_assert_eq!(heard.text(Endpoint::Server), server);
    }

    #[test]
    fn garbage_opens_nothing_and_breaks_nothing(
        garbage in prop::collection::vec(any::<u8>(), 0..600),
        at in 0_usize..12,
        which in 0_usize..6,
    ) {
        let (version, suite) = every().nth(which).unwrap();
        let mut sent = long_talk(version, suite).sent;
        let at = at.min(sent.len());
        sent.insert(at, (Endpoint::Server, garbage));
        let heard = heard_whole(&key_log_without(suite, version, &[]), &sent);
        let [_, server] = wanted();
        for (_, text) in &heard.server {
            let found = server.windows(text.len().max(1)).any(|part| part == text);
            prop_assert!(found, "{:?}", text);
        }
    }
}

#[test]
fn early_data_counts_if_the_server_takes_it() {
    for taken in [true, false] {
        let mut talk = Talk::new(Version::TLS1_3, 0x1301);
        talk.client_hello(true);
        talk.enter(Endpoint::Client, Epoch::Early);
        talk.say(Endpoint::Client, b"early, ");
        talk.say(Endpoint::Client, b"early too, ");
        talk.server_hello();
        talk.server_flight(taken);
        talk.say(Endpoint::Server, b"welcome");
        if taken {
            talk.handshake(Endpoint::Client, &message(5, &[]));
        }
        talk.finished(Endpoint::Client);
        if !taken {
            talk.say(Endpoint::Client, b"early, early too, ");
        }
        talk.say(Endpoint::Client, b"late");
        let log = key_log_without(0x1301, Version::TLS1_3, &[]);
        let told = heard_whole(&log, &talk.sent);
        assert_eq!(told.text(Endpoint::Client), b"early, early too, late");
        assert_eq!(told.text(Endpoint::Server), b"welcome");
        assert_eq!(told.info.why, None, "taken: {taken}");
        // The hello and everything early in one segment.
        let mut sent = talk.sent.clone();
        let early: Vec<u8> = sent.drain(..3).flat_map(|(_, record)| record).collect();
        sent.insert(0, (Endpoint::Client, early));
        assert_eq!(heard_whole(&log, &sent), told);
    }
}

#[test]
fn early_data_without_its_secret_is_missing() {
    let mut talk = Talk::new(Version::TLS1_3, 0x1301);
    talk.client_hello(true);
    talk.enter(Endpoint::Client, Epoch::Early);
    talk.say(Endpoint::Client, b"early, ");
    talk.server_hello();
    talk.server_flight(true);
    talk.handshake(Endpoint::Client, &message(5, &[]));
    talk.finished(Endpoint::Client);
    talk.say(Endpoint::Client, b"late");
    let left_out = ["CLIENT_EARLY_TRAFFIC_SECRET"];
    let log = key_log_without(0x1301, Version::TLS1_3, &left_out);
    let heard = heard_whole(&log, &talk.sent);
    assert_eq!(heard.client, [(1, b"late".to_vec())]);
    assert_eq!(heard.info.why, Some(Why::LostBytes));
}

#[test]
fn a_retried_hello_begins_anew() {
    for early in [false, true] {
        let mut talk = Talk::new(Version::TLS1_3, 0x1303);
        talk.client_hello(early);
        if early {
            talk.enter(Endpoint::Client, Epoch::Early);
            talk.say(Endpoint::Client, b"nobody reads this");
        }
        talk.retry();
        // Nothing is chosen yet.
        let log = key_log_without(0x1303, Version::TLS1_3, &[]);
        assert_eq!(heard_whole(&log, &talk.sent).info.version, None);
        talk.change_cipher_spec(Endpoint::Server);
        talk.change_cipher_spec(Endpoint::Client);
        talk.client_hello(false);
        talk.server_hello();
        talk.server_flight(false);
        talk.finished(Endpoint::Client);
        talk.say(Endpoint::Client, b"question");
        talk.say(Endpoint::Server, b"answer");
        let log = key_log_without(0x1303, Version::TLS1_3, &[]);
        let heard = heard_whole(&log, &talk.sent);
        assert_eq!(heard.text(Endpoint::Client), b"question", "early: {early}");
        assert_eq!(heard.text(Endpoint::Server), b"answer");
        assert_eq!(heard.info.why, None);
    }
}

#[test]
fn application_secrets_alone_are_enough() {
    let talk = long_talk(Version::TLS1_3, 0x1302);
    let left_out = [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
    ];
    let log = key_log_without(0x1302, Version::TLS1_3, &left_out);
    let heard = heard_whole(&log, &talk.sent);
    let [client, server] = wanted();
    assert_eq!(heard.text(Endpoint::Client), client);
    assert_eq!(heard.text(Endpoint::Server), server);
    // What the server chose is encrypted in the handshake.
    assert_eq!((heard.info.alpn, heard.info.why), (None, None));
}

#[test]
fn one_side_may_have_no_key() {
    let talk = long_talk(Version::TLS1_3, 0x1301);
    let left_out = ["CLIENT_TRAFFIC_SECRET_0"];
    let log = key_log_without(0x1301, Version::TLS1_3, &left_out);
    let heard = heard_whole(&log, &talk.sent);
    assert_eq!(heard.text(Endpoint::Client), b"");
    assert_eq!(heard.text(Endpoint::Server), wanted()[1]);
    assert_eq!(heard.info.why, Some(Why::NoKey));
    assert_eq!(heard.info.key, KeySource::KeyLog);
}

#[test]
fn what_is_not_opened_has_its_reason() {
    let cases: [(Version, u16, KeyLog, Why); 6] = [
        (Version::TLS1_3, 0x1301, KeyLog::default(), Why::NoKey),
        (Version::TLS1_2, 0xc02f, KeyLog::default(), Why::NoKey),
        // Another connection's, as it were.
        (
            Version::TLS1_3,
            0x1301,
            key_log_without(0x1302, Version::TLS1_3, &[]),
            Why::NoKey,
        ),
        (Version::TLS1_2, 0xc027, KeyLog::default(), Why::Cbc),
        (
            Version::TLS1_2,
            0xc0ac,
            KeyLog::default(),
            Why::UnknownSuite,
        ),
        (
            Version(0x0302),
            0xc014,
            KeyLog::default(),
            Why::UnknownVersion,
        ),
    ];
    for (version, suite, log, why) in cases {
        let mut talk = Talk::new(version, suite);
        talk.client_hello(false);
        talk.server_hello();
        if version == Version(0x0302) {
            let (_, hello) = talk.sent.last_mut().unwrap();
            hello[9..11].copy_from_slice(&[3, 2]);
        }
        talk.change_cipher_spec(Endpoint::Server);
        for side in [Endpoint::Server, Endpoint::Client, Endpoint::Server] {
            talk.send(side, talk::clear(23, &[9; 60]));
        }
        let heard = heard_whole(&log, &talk.sent);
        assert_eq!(heard.info.why, Some(why), "{suite:x}");
        assert_eq!(heard.info.key, KeySource::None);
        assert_eq!(heard.info.version, Some(version));
        assert_eq!(heard.info.suite, Some(super::Suite(suite)));
        assert!(heard.client.is_empty() && heard.server.is_empty());
    }
}

#[test]
fn a_wrong_secret_opens_nothing() {
    let mut talk = Talk::begun(Version::TLS1_3, 0x1301);
    for _ in 0..400 {
        talk.say(Endpoint::Client, b"question");
        talk.say(Endpoint::Server, b"answer");
    }
    // Of the right length, and of another handshake.
    for (_, record) in &mut talk.sent {
        if record[0] == 23 {
            record[20] ^= 1;
        }
    }
    let log = key_log_without(0x1301, Version::TLS1_3, &[]);
    let heard = heard_whole(&log, &talk.sent);
    assert_eq!(heard.info.why, Some(Why::KeyDoesNotFit));
    assert!(heard.client.is_empty() && heard.server.is_empty());
}

#[test]
fn a_handshake_that_fails_or_was_not_seen_is_told() {
    let log = key_log_without(0x1301, Version::TLS1_3, &[]);
    let mut talk = Talk::new(Version::TLS1_3, 0x1301);
    talk.client_hello(false);
    // handshake_failure.
    talk.send(Endpoint::Server, talk::clear(21, &[2, 40]));
    let told = heard_whole(&log, &talk.sent);
    assert_eq!(told.info.why, Some(Why::HandshakeUnfinished));
    assert_eq!(told.info.sni.as_deref(), Some("shop.example"));
    // In the middle of a connection; a ServerHello without a ClientHello; half a ClientHello.
    let whole = long_talk(Version::TLS1_3, 0x1301).sent;
    let late = heard_whole(&log, &whole[8..]);
    assert_eq!(late.info.why, Some(Why::HandshakeUnseen));
    assert_eq!(
        heard_whole(&log, &whole[1..]).info.why,
        Some(Why::HandshakeUnseen)
    );
    let (_, hello) = &whole[0];
    let half = [(Endpoint::Client, Some(&hello[..40]), 40)];
    assert_eq!(heard(&log, half).info.why, Some(Why::HandshakeUnfinished));
}
