//! Connections that are older than the tracer, and places that were lost.

use std::os::fd::{AsRawFd, OwnedFd};

use h2trace_core::event::{Direction, EndCause, ProtocolConfidence};
use tracer_ebpf::counter::Counter;
use tracer_ebpf::http2::frame_type;
use tracer_tests::require;

use super::{
    capture::{Capture, Seen, Tracing, assert_is, own},
    io::{begun, pair, pass, receive, send},
    wire::{PREFACE, call, data, frame, headers, message, settings, split},
};

/// A connection that has spoken before the tracer starts.
fn attached_late(kind: &str, before: &[u8]) -> (Capture, OwnedFd, OwnedFd) {
    attached_later(kind, before, &[])
}

/// A connection of which both ends have spoken before the tracer starts.
fn attached_later(kind: &str, before: &[u8], reply: &[u8]) -> (Capture, OwnedFd, OwnedFd) {
    let guard = Capture::lock();
    let (client, server) = pair(kind);
    let opening = [PREFACE.to_vec(), settings(), before.to_vec()].concat();
    pass(&client, &server, &opening);
    pass(&server, &client, &[settings(), reply.to_vec()].concat());
    (Capture::under(guard, &own()), client, server)
}

#[test]
fn a_late_attach_at_a_frame_is_plausible_after_three_frames() {
    require!(Tracing);
    for kind in ["ipv4", "unix"] {
        let (mut capture, client, server) = attached_late(kind, &call(1, 100));
        let first = call(3, 100);
        pass(&client, &server, &first);
        assert_eq!(
            capture.of(&client).confidence,
            Some(ProtocolConfidence::Tentative)
        );
        let second = call(5, 100);
        pass(&client, &server, &second);
        // Four headers in a row; the next call's records say so.
        let third = call(7, 30_000);
        pass(&client, &server, &third);
        let sent = [first, second, third].concat();
        for (end, direction) in [(&client, Direction::Tx), (&server, Direction::Rx)] {
            let seen = capture.of(end);
            assert!(!seen.open.from_start);
            assert_eq!(seen.confidence, Some(ProtocolConfidence::Plausible));
            assert_is(seen.stream(direction), &sent, false);
        }
        capture.assert_no_loss(&[]);
    }
}

#[test]
fn a_late_attach_within_a_frame_waits_for_the_next_call_that_begins_with_one() {
    require!(Tracing);
    let large = data(1, false, &message(10_000));
    let (mut capture, client, server) = attached_late(
        "ipv4",
        &[headers(1, false), large[..5_000].to_vec()].concat(),
    );
    pass(&client, &server, &large[5_000..]);
    let rest = [call(3, 50), call(5, 50)].concat();
    pass(&client, &server, &rest);
    let stream = capture.of(&server).stream(Direction::Rx);
    let skipped = large.len() - 5_000;
    assert_eq!(stream.gaps, [(0, skipped as u64)]);
    let copied: Vec<u8> = stream.bytes[skipped..]
        .iter()
        .map(|b| b.unwrap_or(0))
        .collect();
    assert_eq!(copied.len(), rest.len());
    assert_eq!(copied[..15], rest[..15]);
}

#[test]
fn a_direction_in_the_middle_of_long_data_finds_the_next_frame() {
    require!(Tracing);
    // The client reads long DATA in pieces that never begin with a frame.
    let response = split(1, false, &message(200_000));
    let (before, after) = response.split_at(30_000);
    let opening = [headers(1, true), settings()].concat();
    let (mut capture, client, server) = attached_later("ipv4", &opening, before);
    let small: Vec<u8> = (0..4)
        .flat_map(|_| frame(frame_type::WINDOW_UPDATE, 0, 1, &[0, 0, 16, 0]))
        .collect();
    pass(&client, &server, &small);
    assert_eq!(
        capture.of(&client).confidence,
        Some(ProtocolConfidence::Plausible)
    );
    std::thread::scope(|scope| {
        scope.spawn(|| send(server.as_raw_fd(), "write", after));
        let mut got = 0;
        while got < after.len() {
            let n = (after.len() - got).min(40_000);
            // The buffer is full at each call, so that no call ends with a frame.
            got += receive_whole(client.as_raw_fd(), n);
        }
    });
    let seen = capture.of(&client);
    let stream = seen.stream(Direction::Rx);
    assert_eq!(stream.bytes.len(), after.len());
    let headers: Vec<usize> = (0..200_005 / 16_384)
        .map(|i| i * (16_384 + 9))
        .filter(|at| *at >= before.len())
        .collect();
    for at in headers {
        let got: Vec<_> = stream.bytes[at - before.len()..][..9]
            .iter()
            .map(|b| b.expect("copied"))
            .collect();
        assert_eq!(got, response[at..at + 9]);
    }
    assert_eq!(seen.ends, []);
}

/// Receives exactly `n` bytes in one call.
fn receive_whole(fd: i32, n: usize) -> usize {
    let mut buffer = vec![0u8; n];
    // SAFETY: the buffer outlives the call.
    let got = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), n, libc::MSG_WAITALL) };
    usize::try_from(got).expect("received")
}

#[test]
fn bytes_that_only_look_like_a_frame_are_given_up_as_desync() {
    require!(Tracing);
    let (mut capture, client, server) = attached_late("ipv4", &[]);
    // A PING header and payload, then text.
    let bytes = [
        frame(frame_type::PING, 0, 0, &[1; 8]),
        b"this is no frame header at all".to_vec(),
    ]
    .concat();
    pass(&client, &server, &bytes);
    let seen = capture.of(&client);
    assert!(
        seen.ends.contains(&EndCause::Desync(Direction::Tx)),
        "{seen:?}"
    );
    assert_eq!(seen.confidence, Some(ProtocolConfidence::Tentative));
    // What was emitted ends before the implausible header.
    assert_eq!(seen.stream(Direction::Tx).bytes.len(), 17);
    assert!(capture.count(Counter::Desync) >= 1);
}

#[test]
fn a_connection_of_another_protocol_is_only_looked_at_now_and_then() {
    require!(Tracing);
    for filler in [
        &b"\xff\x00binary chatter that is no HTTP/2"[..],
        b"\x18\x03\x03\x00\x20no application data",
    ] {
        let (mut capture, client, server) = attached_late("ipv4", &[]);
        let began = std::time::Instant::now();
        for _ in 0..4_000 {
            pass(&client, &server, filler);
        }
        let looks = 64 + 2 * began.elapsed().as_millis() as u64;
        for end in [&client, &server] {
            let seen = capture.of(end);
            let protocols: Vec<_> = seen.unrecognised.iter().map(|u| u.1).collect();
            assert_eq!(protocols.len(), 1, "{protocols:?}");
            assert!(seen.streams.iter().all(|s| s.bytes.is_empty()));
        }
        assert!(capture.count(Counter::CallsSkipped) >= 8_000u64.saturating_sub(2 * looks));
        assert!(capture.count(Counter::CallsSkipped) > 1_000);
        // Nothing proved it: its next call may begin with a frame.
        let calls: Vec<_> = (0..4).map(|n| call(2 * n + 1, 10)).collect();
        for call in &calls {
            std::thread::sleep(std::time::Duration::from_millis(3));
            pass(&client, &server, call);
        }
        for (end, direction) in [(&client, Direction::Tx), (&server, Direction::Rx)] {
            let seen = capture.of(end);
            assert_eq!(seen.confidence, Some(ProtocolConfidence::Plausible));
            let told = seen.stream(direction).bytes.iter().flatten().count();
            assert!(told > 3 * 9, "{told}");
        }
        capture.assert_no_loss(&[]);
    }
}

/// Moves `n` bytes from one descriptor to another in the kernel.
fn splice(from: i32, to: i32, n: usize) {
    let mut moved = 0;
    while moved < n {
        // SAFETY: plain descriptors, no offsets.
        let got = unsafe {
            libc::splice(
                from,
                std::ptr::null_mut(),
                to,
                std::ptr::null_mut(),
                n - moved,
                0,
            )
        };
        moved +=
            usize::try_from(got).unwrap_or_else(|_| panic!("{}", std::io::Error::last_os_error()));
    }
}

fn pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    std::io::pipe().expect("pipe")
}

#[test]
fn bytes_spliced_from_a_socket_show_as_a_gap_and_cost_the_place() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server, opening) = begun("ipv4");
    let spliced = call(1, 200);
    send(client.as_raw_fd(), "write", &spliced);
    let (reader, writer) = pipe();
    splice(server.as_raw_fd(), writer.as_raw_fd(), spliced.len());
    drop(reader);
    let after = [call(3, 50), call(5, 60)].concat();
    pass(&client, &server, &after);
    let seen = capture.of(&server);
    assert!(
        seen.ends.contains(&EndCause::Desync(Direction::Rx)),
        "{:?}",
        seen.ends
    );
    let stream = seen.stream(Direction::Rx);
    assert_eq!(stream.gaps, [(opening.len() as u64, spliced.len() as u64)]);
    assert_eq!(
        stream.bytes.len(),
        opening.len() + spliced.len() + after.len()
    );
    assert_eq!(capture.count(Counter::Unhooked), 1);
    let sent = [opening, spliced, after].concat();
    assert_is(capture.of(&client).stream(Direction::Tx), &sent, true);
}

#[test]
fn bytes_spliced_within_data_keep_the_place() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server) = pair("ipv4");
    let body = message(9_000);
    let opening = [
        PREFACE.to_vec(),
        settings(),
        headers(1, false),
        data(1, false, &body),
    ]
    .concat();
    let (head, tail) = opening.split_at(opening.len() - 8_000);
    // Received: head by read, the rest of DATA by splice. Sent: the rest of DATA by splice too.
    pass(&client, &server, head);
    let (reader, writer) = pipe();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::io::Write::write_all(&mut &writer, tail).expect("pipe");
        });
        splice(reader.as_raw_fd(), client.as_raw_fd(), tail.len());
    });
    splice(server.as_raw_fd(), writer.as_raw_fd(), tail.len());
    let after = [data(1, true, &message(5)), call(3, 400)].concat();
    pass(&client, &server, &after);
    let sent = [opening.clone(), after].concat();
    assert_is(capture.of(&client).stream(Direction::Tx), &sent, true);
    let stream = capture.of(&server).stream(Direction::Rx);
    assert_eq!(stream.gaps.len(), 1);
    assert_eq!(stream.gaps[0].1, tail.len() as u64);
    assert_eq!(stream.bytes.len(), sent.len());
    for (got, want) in stream.bytes.iter().zip(&sent) {
        assert!(got.is_none_or(|got| got == *want));
    }
    assert!(capture.of(&server).ends.is_empty());
    capture.assert_no_loss(&[Counter::Unhooked]);
}

#[test]
fn sendfile_within_data_is_a_normal_hole() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server) = pair("ipv4");
    let body = message(12_000);
    let whole = [
        PREFACE.to_vec(),
        settings(),
        headers(1, false),
        data(1, true, &body),
    ]
    .concat();
    let (head, tail) = whole.split_at(whole.len() - 11_000);
    let mut file = tempfile::tempfile().expect("file");
    std::io::Write::write_all(&mut file, tail).expect("file");
    pass(&client, &server, head);
    let mut offset = 0;
    while (offset as usize) < tail.len() {
        // SAFETY: plain descriptors; the offset outlives the call.
        let sent = unsafe {
            libc::sendfile(
                client.as_raw_fd(),
                file.as_raw_fd(),
                &mut offset,
                tail.len() - offset as usize,
            )
        };
        assert!(sent > 0, "{}", std::io::Error::last_os_error());
    }
    assert!(receive(server.as_raw_fd(), "read", tail.len()) == tail);
    let after = call(3, 30);
    pass(&client, &server, &after);
    assert_is(
        capture.of(&client).stream(Direction::Tx),
        &[whole, after].concat(),
        true,
    );
    capture.assert_no_loss(&[]);
}

#[test]
fn sendfile_of_frame_headers_is_counted_and_costs_the_place() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server, opening) = begun("ipv4");
    let hidden = [headers(1, false), split(1, true, &message(100))].concat();
    let mut file = tempfile::tempfile().expect("file");
    std::io::Write::write_all(&mut file, &hidden).expect("file");
    let mut offset = 0;
    // SAFETY: as above.
    let sent = unsafe {
        libc::sendfile(
            client.as_raw_fd(),
            file.as_raw_fd(),
            &mut offset,
            hidden.len(),
        )
    };
    assert_eq!(sent, hidden.len() as isize);
    assert!(receive(server.as_raw_fd(), "read", hidden.len()) == hidden);
    let desyncs = |seen: &Seen| seen.ends.contains(&EndCause::Desync(Direction::Tx));
    assert!(desyncs(capture.of(&client)));
    assert_eq!(capture.count(Counter::NoBuffer), 1);
    let after = [call(3, 30), call(5, 30)].concat();
    pass(&client, &server, &after);
    let stream = capture.of(&client).stream(Direction::Tx);
    assert_eq!(stream.gaps, []);
    assert_eq!(
        stream.bytes.len(),
        opening.len() + hidden.len() + after.len()
    );
    assert!(
        stream.bytes[opening.len()..][..hidden.len()]
            .iter()
            .all(Option::is_none)
    );
}
