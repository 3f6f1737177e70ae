//! Every way of sending and receiving gives the same bytes.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2trace_core::event::{Address, Direction, Opened, ProtocolConfidence};
use tracer_ebpf::http2::frame_type;
use tracer_tests::require;

use super::{
    capture::{Capture, Tracing, assert_is, copied, inode},
    io::{RECEIVES, SENDS, begun, exchange, pair, pass, receive, send},
    wire::{PREFACE, call, data, frame, headers, message, settings, split},
};

/// The client's side of a small conversation that has every kind of frame.
pub(super) fn request(large: u32) -> Vec<u8> {
    let mut padded = vec![3];
    padded.extend(message(40));
    padded.extend([0; 3]);
    [
        PREFACE.to_vec(),
        settings(),
        frame(frame_type::SETTINGS, 1, 0, &[]),
        call(1, 10),
        call(3, 11),
        call(5, 12),
        call(7, 3_000),
        frame(frame_type::PING, 0, 0, &[7; 8]),
        frame(frame_type::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
        headers(9, false),
        // Two messages in one frame, one over two frames, a prefix over two frames, padding.
        data(9, false, &[message(100), message(200)].concat()),
        data(9, false, &message(500)[..300]),
        data(9, false, &message(500)[300..]),
        data(9, false, &message(77)[..3]),
        frame(0xbb, 0xff, 0, &[1; 30]),
        data(9, false, &message(77)[3..]),
        frame(frame_type::DATA, 8, 9, &padded),
        data(9, true, &[]),
        frame(frame_type::RST_STREAM, 0, 9, &[0, 0, 0, 8]),
        headers(11, false),
        split(11, true, &message(large)),
        frame(frame_type::GOAWAY, 0, 0, &[0; 8]),
    ]
    .concat()
}

pub(super) fn response(large: u32) -> Vec<u8> {
    [
        settings(),
        headers(1, false),
        split(1, false, &message(large)),
        headers(1, true),
        headers(3, false),
        data(3, false, &message(2)),
        headers(3, true),
    ]
    .concat()
}

/// Both directions of a connection, each call in the given way.
fn conversation(kind: &str, send: &str, receive: &str) {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server) = pair(kind);
    // A record for each byte would fill the ring before it is drained.
    let large = if send.ends_with("_1") || receive.ends_with("_1") {
        400
    } else {
        40_000
    };
    let (request, response) = (request(large), response(large));
    exchange(&client, &server, (send, receive), &request);
    exchange(&server, &client, (send, receive), &response);
    for (end, tx, rx, client_end) in [
        (&client, &request, &response, true),
        (&server, &response, &request, false),
    ] {
        let seen = capture.of(end);
        assert!(seen.open.from_start);
        assert_eq!(seen.confidence, Some(ProtocolConfidence::Preface));
        assert_is(seen.stream(Direction::Tx), tx, client_end);
        assert_is(seen.stream(Direction::Rx), rx, !client_end);
        assert!(seen.unrecognised.is_empty() && seen.ends.is_empty());
        match (&seen.open.local, kind) {
            (Address::Inet(local), "ipv4" | "ipv6") => {
                assert_eq!(local.is_ipv4(), kind == "ipv4");
                assert!(local.ip().is_loopback());
                let opened = if client_end {
                    Opened::Active
                } else {
                    Opened::Passive
                };
                assert_eq!(seen.open.opened, opened);
            }
            (Address::Unix(_), "unix") => assert_ne!(seen.open.unix_peer_sk, 0),
            other => panic!("{other:?}"),
        }
    }
    capture.assert_no_loss(&[]);
}

#[test]
fn every_way_of_sending_over_ipv4_is_seen() {
    for send in SENDS {
        println!("{send}");
        conversation("ipv4", send, "read");
    }
}

#[test]
fn every_way_of_receiving_over_ipv4_is_seen() {
    for receive in RECEIVES {
        println!("{receive}");
        conversation("ipv4", "write", receive);
    }
}

#[test]
fn single_bytes_both_ways_are_seen() {
    conversation("ipv4", "write_1", "read_1");
    conversation("unix", "write_1", "read_1");
}

#[test]
fn every_way_over_ipv6_is_seen() {
    for (send, receive) in SENDS.into_iter().zip(RECEIVES.into_iter().cycle().skip(2)) {
        println!("{send} {receive}");
        conversation("ipv6", send, receive);
    }
}

#[test]
fn every_way_over_unix_sockets_is_seen() {
    for (send, receive) in SENDS.into_iter().zip(RECEIVES.into_iter().cycle().skip(1)) {
        println!("{send} {receive}");
        conversation("unix", send, receive);
    }
}

#[test]
fn data_is_counted_and_not_copied() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server) = pair("ipv4");
    let opening = [PREFACE.to_vec(), settings(), headers(1, true)].concat();
    let response = [
        settings(),
        headers(1, false),
        split(1, false, &message(250_000)),
        headers(1, true),
    ]
    .concat();
    pass(&client, &server, &opening);
    pass(&server, &client, &response);
    let seen = capture.of(&client);
    assert_is(seen.stream(Direction::Rx), &response, false);
    // 16 frame headers, one prefix, HEADERS twice, SETTINGS.
    assert_eq!(copied(seen.stream(Direction::Rx)), 16 * 9 + 5 + 2 * 15 + 9);
    capture.assert_no_loss(&[]);
}

#[test]
fn full_payload_copies_everything() {
    require!(Tracing);
    let options = h2trace::kernel::Options {
        full_payload: true,
        ..super::capture::own()
    };
    let mut capture = Capture::with(&options);
    let (client, server) = pair("ipv4");
    let request = request(40_000);
    exchange(&client, &server, ("writev", "readv"), &request);
    for (end, direction) in [(&client, Direction::Tx), (&server, Direction::Rx)] {
        let stream = capture.of(end).stream(direction);
        assert_is(stream, &request, true);
        assert_eq!(copied(stream), request.len());
    }
    capture.assert_no_loss(&[]);
}

#[test]
fn threads_that_share_a_connection_are_seen() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server) = pair("ipv4");
    let mut all = [PREFACE.to_vec(), settings()].concat();
    pass(&client, &server, &all);
    // Writers take turns, as those of one connection must; readers are another thread each time.
    for turn in 0..50 {
        let call = call(2 * turn + 1, 30 * turn);
        exchange(&client, &server, ("send", "recv"), &call);
        all.extend(call);
    }
    assert_is(capture.of(&client).stream(Direction::Tx), &all, true);
    assert_is(capture.of(&server).stream(Direction::Rx), &all, true);
    capture.assert_no_loss(&[]);
}

#[test]
fn many_connections_at_once_are_kept_apart() {
    require!(Tracing);
    let mut capture = Capture::start();
    let pairs: Vec<_> = (0..40).map(|i| pair(["ipv4", "unix"][i % 2])).collect();
    let request = |i: usize| [PREFACE.to_vec(), settings(), call(1, 1_000 + i as u32)].concat();
    std::thread::scope(|scope| {
        for (i, (client, server)) in pairs.iter().enumerate() {
            let request = &request;
            scope.spawn(move || pass(client, server, &request(i)));
        }
    });
    for (i, (client, server)) in pairs.iter().enumerate() {
        assert_is(capture.of(client).stream(Direction::Tx), &request(i), true);
        assert_is(capture.of(server).stream(Direction::Rx), &request(i), true);
    }
    capture.assert_no_loss(&[]);
}

/// The peer's first bytes may be received, and recorded, while another task still is in the call that sends
/// the first ones.
#[test]
fn two_tasks_at_the_first_calls_make_one_connection_that_is_seen_from_its_start() {
    const CONNECTIONS: usize = 500;
    require!(Tracing);
    let mut capture = Capture::start();
    let opening = [PREFACE.to_vec(), settings()].concat();
    let pairs: Vec<_> = (0..CONNECTIONS).map(|_| pair("ipv4")).collect();
    let (turn, ready) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (i, (client, _)) in pairs.iter().enumerate() {
                ready.store(i + 1, Ordering::Release);
                while turn.load(Ordering::Acquire) <= i {
                    std::hint::spin_loop();
                }
                receive(client.as_raw_fd(), "read", settings().len());
            }
        });
        for (i, (client, server)) in pairs.iter().enumerate() {
            send(server.as_raw_fd(), "write", &settings());
            while ready.load(Ordering::Acquire) <= i {
                std::thread::yield_now();
            }
            turn.store(i + 1, Ordering::Release);
            send(client.as_raw_fd(), "write", &opening);
        }
    });
    for (client, _) in &pairs {
        let seen = capture.of(client);
        assert!(seen.open.from_start);
        assert_is(seen.stream(Direction::Tx), &opening, true);
        assert_is(seen.stream(Direction::Rx), &settings(), false);
    }
    let inodes: Vec<u64> = pairs.iter().map(|(client, _)| inode(client)).collect();
    let opened = capture
        .seen
        .iter()
        .filter(|seen| inodes.contains(&seen.open.inode));
    assert_eq!(opened.count(), CONNECTIONS);
    capture.assert_no_loss(&[]);
}

/// Header lists in one frame, where SETTINGS allow long ones. What exceeds the bound is counted.
#[test]
fn a_long_header_frame_is_copied_up_to_its_bound() {
    require!(Tracing);
    let mut capture = Capture::start();
    let bound = tracer_ebpf::event::FRAME_COPY_MAX as usize;
    for len in [20_000, bound, bound + 100] {
        let (client, server, mut sent) = begun("ipv4");
        // Entry 6 of the static table, over and over.
        let block = frame(frame_type::HEADERS, 5, 1, &vec![0x86; len]);
        let after = call(3, 10);
        for bytes in [&block, &after] {
            pass(&client, &server, bytes);
            sent.extend(bytes);
        }
        for (end, direction) in [(&client, Direction::Tx), (&server, Direction::Rx)] {
            let stream = capture.of(end).stream(direction);
            if len <= bound {
                assert_is(stream, &sent, true);
            }
            let missing = stream.bytes.iter().filter(|byte| byte.is_none()).count();
            assert_eq!(missing, len.saturating_sub(bound), "{len}");
        }
    }
    capture.assert_no_loss(&[]);
}
