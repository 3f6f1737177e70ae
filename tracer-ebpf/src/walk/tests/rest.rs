//! Sockets older than the tracer: nothing proves what they speak until a frame does.

use super::*;
use crate::walk::state::CALLS_MAX;

/// In the middle of a message, in calls that begin anywhere.
fn in_a_message(n_calls: usize, filler: &[u8]) -> Walked {
    let mut walked = Walked::late();
    for _ in 0..n_calls {
        walked.call(&[filler]);
    }
    walked
}

fn request(stream: u32) -> Vec<u8> {
    let block = [0x82, 0x86, 0x84];
    let flags = flag::END_HEADERS | flag::END_STREAM;
    frame(frame_type::HEADERS, flags, stream, &block)
}

#[test]
fn it_is_taken_up_at_the_next_frame_however_long_the_message_was() {
    for filler in [
        &[7; 4_096][..],
        b"\x17\x03\x03\x01\x00",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI * and no preface, in one call",
    ] {
        for n_calls in [1, 31, 32, 33, 300] {
            let mut walked = in_a_message(n_calls, filler);
            assert_ne!(walked.socket.verdict, verdict::OTHER, "{n_calls}");
            if walked.socket.verdict == verdict::HTTP1 {
                continue;
            }
            for stream in [11, 13, 15] {
                walked.call(&[&request(stream)]);
            }
            assert_eq!(walked.socket.verdict, verdict::HTTP2, "{n_calls}");
        }
    }
}

#[test]
fn it_is_told_once() {
    for (filler, class) in [
        (&[7; 64][..], class::OTHER),
        (b"\x17\x03\x03\x01", class::TLS),
    ] {
        let walked = in_a_message(300, filler);
        assert_eq!(walked.world.borrow().told, [class]);
        assert_eq!(walked.socket.calls, CALLS_MAX);
    }
}

#[test]
fn a_frame_in_the_middle_of_a_call_is_found() {
    let mut walked = Walked::late();
    let data = frame(frame_type::DATA, 0, 1, &[7; 4_000]);
    walked.call(&[&[&[7; 300][..], &data, &data, &data].concat()]);
    assert_eq!(walked.socket.verdict, verdict::HTTP2);
}

#[test]
fn what_began_otherwise_is_given_up() {
    let mut walked = Walked::from_start();
    walked.call(&[b"\xff\xfe"]);
    assert_eq!(walked.socket.verdict, verdict::OTHER);
}
