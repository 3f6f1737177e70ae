//! TLS: what is copied of its records, and when a connection is given up.

use proptest::prelude::*;
use std::string::String;

use super::{opening::pieces, *};
use crate::{
    config,
    event::{ALERT_COPY_MAX, HANDSHAKE_COPY_MAX},
    tls::content::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE},
};

fn record(kind: u8, len: usize) -> Vec<u8> {
    let [.., high, low] = (len as u32).to_be_bytes();
    // 2: no ClientHello.
    [&[kind, 3, 3, high, low][..], &vec![2; len]].concat()
}

/// A record with a ClientHello that offers this protocol, or none.
fn hello(alpn: Option<&str>) -> Vec<u8> {
    let mut extensions = vec![0, 0x2b, 0, 3, 2, 3, 4];
    if let Some(name) = alpn {
        let len = name.len() as u8;
        extensions.extend([0, 16, 0, len + 3, 0, len + 1, len]);
        extensions.extend(name.bytes());
    }
    let mut body = vec![1, 0, 0, 0, 3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0, 0]);
    body.push(extensions.len() as u8);
    body.extend(extensions);
    let mut bytes = vec![HANDSHAKE, 3, 1, 0, body.len() as u8];
    bytes.extend(body);
    bytes
}

fn following(mut walked: Walked, tls: u32) -> Walked {
    walked.world.get_mut().tls = tls;
    walked
}

/// A connection whose client says this, and whose server answers with `answer`.
fn conversation(says: &[u8], answer: &[u8]) -> Walked {
    let mut walked = following(Walked::from_start(), config::tls::FACTS);
    walked.call(&[says]);
    walked.way = direction::RX;
    walked.call(&[answer]);
    walked
}

/// Whether each byte of a record is copied, where facts are enough.
fn copied_of(kind: u8, len: usize) -> Vec<bool> {
    let copied = match kind {
        APPLICATION_DATA => 0,
        HANDSHAKE => len,
        _ => len.min(ALERT_COPY_MAX as usize),
    };
    let counted = len - copied;
    [vec![true; 5 + copied], vec![false; counted]].concat()
}

fn any_record() -> impl Strategy<Value = (u8, usize)> {
    prop_oneof![
        (Just(APPLICATION_DATA), 0usize..9_000),
        (Just(HANDSHAKE), 0usize..300),
        (Just(CHANGE_CIPHER_SPEC), Just(1usize)),
        (Just(ALERT), 0usize..100),
    ]
}

proptest! {
    #[test]
    fn records_in_any_pieces_are_copied_as_their_kind_says(
        records in prop::collection::vec(any_record(), 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        buffers in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        is_full in any::<bool>(),
    ) {
        let bytes: Vec<u8> = records.iter().flat_map(|(kind, len)| record(*kind, *len)).collect();
        let how = if is_full { config::tls::FULL } else { config::tls::FACTS };
        let mut walked = following(Walked::from_start(), how);
        let mut pieces_of = pieces(&bytes, &cuts);
        // What the first call shows must be a header.
        if pieces_of[0].len() < 5 {
            pieces_of = vec![&bytes];
        }
        for (nth, piece) in pieces_of.into_iter().enumerate() {
            let buffers = if nth == 0 { Vec::new() } else { pieces(piece, &buffers) };
            if nth == 0 { walked.call(&[piece]) } else { walked.call(&buffers) }
        }
        let want: Vec<_> = records
            .iter()
            .flat_map(|(kind, len)| copied_of(*kind, *len))
            .zip(&bytes)
            .map(|(copied, byte)| Some((copied || is_full).then_some(*byte)))
            .collect();
        prop_assert_eq!(walked.told(), want);
        prop_assert_eq!(walked.socket.verdict, verdict::TLS);
        prop_assert_eq!(walked.world.borrow().counters[Counter::Desync as usize], 0);
        for record in &walked.world.borrow().records {
            let event = decode::decode(record).expect("a record");
            prop_assert!(matches!(event.what, What::TlsBytes(..)));
        }
    }

    #[test]
    fn a_hello_in_any_pieces_tells_what_it_offers(
        name in prop_oneof![Just(String::from("h2")), Just(String::from("istio-h2")), "[a-g/.0-9]{1,20}"],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let bytes = hello(Some(&name));
        let mut walked = following(Walked::from_start(), config::tls::FACTS);
        let mut pieces_of = pieces(&bytes, &cuts);
        if pieces_of[0].len() < 5 {
            pieces_of = vec![&bytes];
        }
        for piece in pieces_of {
            walked.call(&[piece]);
        }
        prop_assert_eq!(walked.socket.offers_others != 0, !name.contains("h2"));
    }
}

#[test]
fn other_protocols_cost_nothing_behind_their_hellos() {
    let answer = [record(HANDSHAKE, 90), record(APPLICATION_DATA, 500)].concat();
    let mut walked = conversation(&hello(Some("http/1.1")), &answer);
    assert_eq!(walked.socket.verdict, verdict::OTHER);
    assert_eq!(walked.world.borrow().told, [class::TLS]);
    // Both hellos were told; of a socket with this verdict no call comes so far again.
    assert_eq!(walked.world.borrow().records.len(), 2);
    // An answer that has begun alone is none.
    walked = conversation(&hello(Some("http/1.1")), &answer[..5]);
    assert_eq!(walked.socket.verdict, verdict::TLS);
}

#[test]
fn what_may_be_http2_is_followed() {
    for alpn in [Some("h2"), None] {
        let walked = conversation(&hello(alpn), &record(HANDSHAKE, 90));
        assert_eq!(walked.socket.verdict, verdict::TLS, "{alpn:?}");
        assert!(walked.world.borrow().told.is_empty());
    }
}

#[test]
fn an_answer_in_clear_is_told() {
    for (answer, class) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], class::HTTP1),
        (b"SSH-2.0-OpenSSH_9.2\r\n", class::OTHER),
        // As much as some libraries read of it.
        (b"HTTP/", class::OTHER),
    ] {
        let walked = conversation(&hello(Some("h2")), answer);
        assert_eq!(walked.world.borrow().told, [class]);
    }
}

#[test]
fn http2_in_clear_is_none_of_it() {
    let mut walked = following(Walked::from_start(), config::tls::FACTS);
    walked.way = direction::RX;
    walked.call(&[&settings()]);
    walked.way = direction::TX;
    walked.call(&[&hello(Some("h2"))]);
    assert_eq!(walked.world.borrow().told, [class::TLS]);
    assert_eq!(walked.socket.verdict, verdict::OTHER);
}

#[test]
fn a_flood_of_handshakes_is_copied_in_part() {
    let mut walked = following(Walked::from_start(), config::tls::FACTS);
    for _ in 0..20 {
        walked.call(&[&record(HANDSHAKE, 16_000)]);
    }
    let copied = walked.told().into_iter().flatten().flatten().count();
    assert_eq!(copied, 20 * 5 + HANDSHAKE_COPY_MAX as usize);
}

#[test]
fn it_is_given_up_at_once_where_nobody_wants_it() {
    let mut walked = following(Walked::from_start(), config::tls::OFF);
    walked.call(&[&hello(Some("h2"))]);
    assert_eq!(walked.world.borrow().told, [class::TLS]);
    assert!(walked.world.borrow().records.is_empty());
    assert_eq!(walked.socket.verdict, verdict::OTHER);
}

#[test]
fn an_old_connection_is_taken_up_where_a_record_begins() {
    let mut walked = following(Walked::late(), config::tls::FACTS);
    walked.call(&[&[0xee; 700]]);
    assert_eq!(walked.socket.verdict, verdict::UNDECIDED);
    for n in 1..=3 {
        walked.call(&[&record(APPLICATION_DATA, 100 * n)]);
    }
    assert_eq!(walked.socket.verdict, verdict::TLS);
    assert_eq!(walked.told()[700..].len(), 3 * 5 + 600);
    // Lost, and found again.
    walked.call(&[&[0xee; 90]]);
    assert_eq!(walked.socket.walks[0].mode, mode::SEEK);
    walked.call(&[&record(APPLICATION_DATA, 40)]);
    assert_eq!(walked.socket.walks[0].mode, mode::RECORD);
    assert_eq!(walked.told().len(), 700 + 3 * 5 + 600 + 90 + 45);
}

#[test]
fn what_looks_like_a_record_once_proves_nothing() {
    let request = frame(
        frame_type::HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        11,
        &[0x82, 0x86, 0x84],
    );
    let mut walked = following(Walked::late(), config::tls::FACTS);
    walked.call(&[&record(APPLICATION_DATA, 100)]);
    for _ in 0..4 {
        walked.call(&[&request]);
    }
    assert_eq!(walked.socket.verdict, verdict::HTTP2);
    // A second one that is none, in the same call, says so at once.
    let mut walked = following(Walked::late(), config::tls::FACTS);
    walked.call(&[&[record(APPLICATION_DATA, 100), vec![0xee; 50]].concat()]);
    assert_eq!(walked.socket.walks[0].mode, mode::SEEK);
    assert!(walked.world.borrow().records.is_empty());
}
