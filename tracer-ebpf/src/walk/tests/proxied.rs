//! PROXY headers before a connection.

use proptest::prelude::*;

use super::{opening::pieces, *};
use crate::http2::PREFACE;

fn headers() -> impl Strategy<Value = Vec<u8>> {
    let v2 = |len: u16| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
        header.extend(len.to_be_bytes());
        header.extend(vec![b'P'; len.into()]);
        header
    };
    prop_oneof![
        Just(b"PROXY TCP4 10.0.0.7 10.0.0.8 40000 8080\r\n".to_vec()),
        Just(b"PROXY UNKNOWN\r\n".to_vec()),
        (0u16..400).prop_map(v2),
    ]
}

fn connection() -> Vec<u8> {
    let request = frame(
        frame_type::HEADERS,
        flag::END_HEADERS,
        1,
        &[0x82, 0x86, 0x84],
    );
    [&PREFACE[..], &settings(), &request].concat()
}

proptest! {
    #[test]
    fn a_connection_behind_a_header_is_read_as_without_one(
        header in headers(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        buffers in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let bytes = [&header[..], &connection()].concat();
        let mut walked = Walked::from_start();
        let (mut gone_by, mut split) = (0, false);
        for piece in pieces(&bytes, &cuts) {
            // The preface is looked for in one buffer, and its first letters go by as it.
            split |= gone_by < 3 && gone_by + piece.len() < 3;
            let end = gone_by + piece.len();
            let crosses = end > header.len() && gone_by < header.len() + PREFACE.len();
            let buffers = if crosses || gone_by < 3 { Vec::new() } else { buffers.clone() };
            walked.call(&pieces(piece, &buffers));
            prop_assert_ne!(walked.socket.verdict, verdict::OTHER);
            gone_by = end;
        }
        prop_assert_eq!(walked.socket.confidence, confidence::PREFACE);
        if !split {
            let told = walked.told();
            prop_assert!(told.iter().eq(connection().iter().map(|byte| Some(Some(*byte))).collect::<Vec<_>>().iter()));
        }
    }
}

#[test]
fn http1_and_tls_behind_a_header_are_known() {
    for (bytes, want) in [
        (&b"GET / HTTP/1.1\r\n"[..], verdict::HTTP1),
        (b"\x16\x03\x01\x02", verdict::OTHER),
    ] {
        for apart in [false, true] {
            let mut walked = Walked::from_start();
            let header = &b"PROXY TCP4 10.0.0.7 10.0.0.8 40000 8080\r\n"[..];
            if apart {
                walked.call(&[header]);
                assert_eq!(walked.socket.verdict, verdict::UNDECIDED);
                walked.call(&[bytes]);
            } else {
                walked.call(&[&[header, bytes].concat()]);
            }
            assert_eq!(walked.socket.verdict, want);
        }
    }
}

#[test]
fn what_only_begins_like_a_header_is_what_it_is() {
    for calls in [
        &[&b"PRO"[..], b"PFIND / HTTP/1.1\r\n"][..],
        &[b"P", b"ROXY", b" / HTTP/1.1\r\n"],
        &[b"PROXY ", b"/ HTTP/1.1\r\n"],
        &[b"\r\n", b"GET / HTTP/1.1\r\n"],
    ] {
        let mut walked = Walked::from_start();
        for call in calls {
            walked.call(&[call]);
        }
        assert_eq!(walked.socket.verdict, verdict::HTTP1, "{calls:?}");
    }
}

#[test]
fn a_header_in_pieces_of_any_length() {
    let header = &b"PROXY TCP4 10.0.0.7 10.0.0.8 40000 8080\r\n"[..];
    for length in 1..header.len() {
        let mut walked = Walked::from_start();
        for piece in header.chunks(length).chain([&connection()[..]]) {
            walked.call(&[piece]);
            assert_ne!(walked.socket.verdict, verdict::OTHER, "{length}: {piece:?}");
        }
        assert_eq!(walked.socket.confidence, confidence::PREFACE, "{length}");
    }
}
