//! Lost bytes: they cost the records that they touch, and no others.

use proptest::prelude::*;

use super::talk::{Heard, Piece, Talk, heard, key_log_without};
use super::{TLS12, TLS13, every};
use crate::endpoint::Endpoint;
use crate::tls::{Version, Why};

/// A server that says each letter for a while, in records of different lengths.
fn letters(version: Version, suite: u16, n: u8) -> (Talk, Vec<u8>) {
    let mut talk = Talk::begun(version, suite);
    let mut said = Vec::new();
    for n in 0..n {
        let text = vec![b'a' + n % 26; 40 + 97 * usize::from(n % 7)];
        talk.say(Endpoint::Server, &text);
        said.extend(text);
    }
    (talk, said)
}

/// What is heard without `len` bytes at `from` of the server's, counted from its first letter on.
fn heard_without(talk: &Talk, from: usize, len: usize) -> Heard {
    let is_letters =
        |(side, record): &&(Endpoint, Vec<u8>)| *side == Endpoint::Server && record[0] == 23;
    let handshake = match talk.version {
        // The flight is three records.
        Version::TLS1_3 => 3,
        _ => 0,
    };
    let first = talk.sent.iter().filter(is_letters).nth(handshake).unwrap();
    let at = talk.sent.iter().position(|it| std::ptr::eq(it, first));
    let (before, after) = talk.sent.split_at(at.unwrap());
    let bytes: Vec<u8> = after
        .iter()
        .flat_map(|(_, record)| record.clone())
        .collect();
    let whole = before
        .iter()
        .map(|(side, record)| (*side, Some(record.as_slice()), record.len()));
    let (from, to) = (from.min(bytes.len()), (from + len).min(bytes.len()));
    let mut pieces: Vec<Piece<'_>> = whole.collect();
    for part in bytes[..from].chunks(500) {
        pieces.push((Endpoint::Server, Some(part), part.len()));
    }
    pieces.push((Endpoint::Server, None, to - from));
    for part in bytes[to..].chunks(500) {
        pieces.push((Endpoint::Server, Some(part), part.len()));
    }
    heard(&key_log_without(talk.suite, talk.version, &[]), pieces)
}

/// Every stretch that was heard stands where it was said.
fn stands_in_place(heard: &Heard, said: &[u8]) -> bool {
    heard.server.iter().all(|(offset, text)| {
        let at = usize::try_from(*offset).unwrap();
        said.get(at..at + text.len()) == Some(text)
    })
}

#[test]
fn a_hole_costs_the_records_that_it_touches() {
    for (version, suite) in every() {
        let (talk, said) = letters(version, suite, 20);
        for (from, len) in [(0, 10), (30, 20), (100, 500), (500, 2_000), (40, 3)] {
            let heard = heard_without(&talk, from, len);
            assert!(
                stands_in_place(&heard, &said),
                "{suite:x} {from} {len}: {:?}",
                heard.server
            );
            let n: usize = heard.server.iter().map(|(_, text)| text.len()).sum();
            // The longest record is 622 bytes.
            assert!(
                n + len + 2 * 622 >= said.len(),
                "{suite:x} {from} {len}: {n}"
            );
            assert_eq!(heard.info.why, Some(Why::LostBytes));
            assert_eq!(heard.ends.1, said.len() as u64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn after_any_hole_reading_goes_on(
        which in 0_usize..6,
        from in 0_usize..9_000,
        len in 1_usize..4_000,
    ) {
        let (version, suite) = every().nth(which).unwrap();
        let (talk, said) = letters(version, suite, 30);
        let heard = heard_without(&talk, from, len);
        prop_assert!(stands_in_place(&heard, &said), "{:?}", heard.server);
        let n: usize = heard.server.iter().map(|(_, text)| text.len()).sum();
        prop_assert!(n + len + 2 * 622 >= said.len(), "{}", n);
    }
}

#[test]
fn a_key_update_may_be_lost() {
    let mut talk = Talk::begun(Version::TLS1_3, TLS13[0]);
    talk.say(Endpoint::Server, b"before");
    let from = talk.sent.len();
    talk.key_update(Endpoint::Server);
    talk.say(Endpoint::Server, b"lost");
    let to = talk.sent.len();
    talk.say(Endpoint::Server, b"behind");
    talk.say(Endpoint::Server, b" it");
    let pieces = talk.sent.iter().enumerate().map(|(n, (side, record))| {
        let bytes = (!(from..to).contains(&n)).then_some(record.as_slice());
        (*side, bytes, record.len())
    });
    let heard = heard(&key_log_without(TLS13[0], Version::TLS1_3, &[]), pieces);
    let texts: Vec<_> = heard
        .server
        .iter()
        .map(|(_, text)| text.as_slice())
        .collect();
    assert_eq!(texts, [&b"before"[..], b"behind it"]);
    // How much is missing is not known: the offset is one that cannot be.
    assert_eq!(heard.server[1].0, 5);
}

#[test]
fn padding_makes_a_loss_one_of_unknown_length() {
    let mut talk = Talk::begun(Version::TLS1_3, TLS13[2]);
    talk.padding = 30;
    talk.say(Endpoint::Server, b"before");
    talk.say(Endpoint::Server, b"lost");
    talk.say(Endpoint::Server, b"behind");
    let n = talk.sent.len();
    let pieces = talk.sent.iter().enumerate().map(|(at, (side, record))| {
        let bytes = (at != n - 2).then_some(record.as_slice());
        (*side, bytes, record.len())
    });
    let heard = heard(&key_log_without(TLS13[2], Version::TLS1_3, &[]), pieces);
    assert_eq!(
        heard.server,
        [(0, b"before".to_vec()), (5, b"behind".to_vec())]
    );
}

#[test]
fn a_lost_hello_is_the_reason() {
    for (version, suite) in [(Version::TLS1_3, TLS13[0]), (Version::TLS1_2, TLS12[0])] {
        let (talk, _) = letters(version, suite, 5);
        for lost in [0, 1] {
            let pieces = talk.sent.iter().enumerate().map(|(n, (side, record))| {
                let bytes = (n != lost).then_some(record.as_slice());
                (*side, bytes, record.len())
            });
            let heard = heard(&key_log_without(suite, version, &[]), pieces);
            assert!(heard.server.is_empty());
            let why = heard.info.why;
            assert!(
                why == Some(Why::LostBytes) || why == Some(Why::HandshakeUnseen),
                "{suite:x} {lost}: {why:?}"
            );
        }
    }
}

#[test]
fn a_handshake_may_have_holes() {
    for (version, suite) in every() {
        let (talk, said) = letters(version, suite, 5);
        // Everything between the hellos and the letters.
        let first = talk.sent.len() - 5;
        let pieces = talk.sent.iter().enumerate().map(|(n, (side, record))| {
            let bytes = (!(2..first).contains(&n)).then_some(record.as_slice());
            (*side, bytes, record.len())
        });
        let heard = heard(&key_log_without(suite, version, &[]), pieces);
        let texts: Vec<u8> = heard
            .server
            .iter()
            .flat_map(|(_, text)| text.clone())
            .collect();
        assert_eq!(texts, said, "{suite:x}");
    }
}

#[test]
fn a_search_in_vain_is_bounded() {
    let (mut talk, _) = letters(Version::TLS1_3, TLS13[1], 3);
    let record = [&[23, 3, 3, 0x40, 0][..], &[0xaa; 16_384]].concat();
    for _ in 0..200 {
        talk.send(Endpoint::Server, record.clone());
    }
    let n = talk.sent.len();
    let pieces = talk.sent.iter().enumerate().map(|(at, (side, record))| {
        // A hole before each, as long as can be.
        let hole = if at + 200 < n { 0 } else { 1 << 30 };
        [
            (*side, Some(record.as_slice()), record.len()),
            (*side, None, hole),
        ]
    });
    let began = std::time::Instant::now();
    let heard = heard(
        &key_log_without(TLS13[1], Version::TLS1_3, &[]),
        pieces.flatten(),
    );
    // Without a bound it is a matter of days.
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    assert_eq!(heard.server.len(), 1);
    assert_eq!(heard.info.why, Some(Why::LostBytes));
}
