//! What is no HTTP/2, in any pieces.

use proptest::prelude::*;
use std::string::String;

use super::*;
use crate::{
    http2::{Opening, PREFACE, Protocol},
    proxy_header::ProxyHeader,
};

fn any_method() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::from("GET")),
        Just(String::from("POST")),
        Just(String::from("PRI")),
        Just(String::from("HTTP")),
        "[A-Z!#$%&'*+.^_`|~0-9a-z-]{1,32}",
    ]
}

/// Cuts in ascending order, and the last byte.
pub(super) fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect()
}

proptest! {
    #[test]
    fn a_request_in_any_pieces_is_http1(
        method in any_method(),
        target in "/[!-~]{0,300}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        buffers in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let line = std::format!("{method} {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        prop_assert_eq!(Opening::of(line.as_bytes()).protocol(), Some(Protocol::Http1Request));
        let mut walked = Walked::from_start();
        let end = line.find('\r').unwrap();
        let mut gone_by = 0;
        for piece in pieces(line.as_bytes(), &cuts) {
            // A buffer that holds the first letters of the preface and no more is taken for its beginning.
            let buffers = if gone_by < 4 { Vec::new() } else { buffers.clone() };
            walked.call(&pieces(piece, &buffers));
            gone_by += piece.len();
            let verdict = walked.socket.verdict;
            let decided = if gone_by > end { verdict::HTTP1 } else { verdict::UNDECIDED };
            prop_assert_eq!(verdict, decided, "{:?} behind {:?}", piece, gone_by);
            if gone_by > end {
                break;
            }
        }
        prop_assert_eq!(&walked.world.borrow().told, &[class::HTTP1]);
    }

    #[test]
    fn bytes_in_any_pieces_are_what_they_are_in_one(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 1..40),
            "[A-Z]{1,5} [a-z]{0,3} ?(HTTP/[12].[0-9]|SIP/2.0)?\r?\n?".prop_map(String::into_bytes),
            (0x13u8..0x19, 2u8..5, 0u8..6).prop_map(|(a, b, c)| vec![a, b, c, 0, 1]),
        ],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        prop_assume!(bytes[0] != 0 && !PREFACE.starts_with(&bytes));
        prop_assume!(ProxyHeader::of(&bytes) == ProxyHeader::ABSENT);
        let want = match Opening::of(&bytes).protocol() {
            None => verdict::UNDECIDED,
            Some(Protocol::Http1Request | Protocol::Http1Response) => verdict::HTTP1,
            Some(Protocol::Tls | Protocol::Other) => verdict::OTHER,
        };
        let mut walked = Walked::from_start();
        for piece in pieces(&bytes, &cuts) {
            if walked.socket.verdict == verdict::UNDECIDED {
                walked.call(&[piece]);
            }
        }
        prop_assert_eq!(walked.socket.verdict, want);
    }
}

#[test]
fn an_endless_request_line_is_given_up() {
    let mut walked = Walked::from_start();
    walked.call(&[b"GET /"]);
    for _ in 0..Opening::LINE_MAX / 1_024 - 1 {
        walked.call(&[&[b'a'; 1_024]]);
        assert_eq!(walked.socket.verdict, verdict::UNDECIDED);
    }
    walked.call(&[&[b'a'; 1_024]]);
    assert_eq!(walked.socket.verdict, verdict::OTHER);
}

#[test]
fn a_line_that_lost_bytes_is_not_read_on() {
    let mut walked = Walked::from_start();
    walked.call(&[b"GET /"]);
    walked.unhooked(10);
    walked.call(&[b" HTTP/1.1\r\n"]);
    assert_eq!(walked.socket.verdict, verdict::UNDECIDED);
    walked.call(&[b"GET / HTTP/1.1\r\n"]);
    assert_eq!(walked.socket.verdict, verdict::HTTP1);
}
