//! The same traffic gives the same records, whichever hooks on socket calls see it.

use std::os::fd::{AsRawFd, OwnedFd};

use h2trace::kernel::{Hooks, Options};
use h2trace_core::event::{Direction, EndCause, Opened, OtherProtocol, ProtocolConfidence};
use tracer_ebpf::counter::Counter;
use tracer_tests::require;

use super::{
    capture::{Capture, Tracing, own},
    io::{RECEIVES, SENDS, exchange, pair, pass, receive, send},
    ways::{request, response},
    wire::{PREFACE, settings},
};

/// What was told of one end.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    from_start: bool,
    opened: Opened,
    confidence: Option<ProtocolConfidence>,
    /// Sent and received: each byte, None where it was not copied.
    streams: [Vec<Option<u8>>; 2],
    ends: Vec<EndCause>,
    unrecognised: Vec<(Direction, OtherProtocol, Vec<u8>)>,
}

fn told(capture: &mut Capture, end: &OwnedFd) -> Told {
    let seen = capture.of(end);
    let bytes = |direction| {
        let stream = seen.stream(direction);
        assert_eq!(stream.gaps, []);
        stream.bytes.clone()
    };
    Told {
        from_start: seen.open.from_start,
        opened: seen.open.opened,
        confidence: seen.confidence,
        streams: [bytes(Direction::Tx), bytes(Direction::Rx)],
        ends: seen.ends.clone(),
        unrecognised: seen.unrecognised.clone(),
    }
}

/// Both ends of a connection from its beginning to its end, for each pair of hooks.
fn by_each(mut traffic: impl FnMut(&mut Capture) -> Vec<Told>) -> [Vec<Told>; 2] {
    Hooks::ALL.map(|hooks| {
        let mut capture = Capture::with(&Options {
            hooks: Some(hooks),
            ..own()
        });
        assert_eq!(capture.tracer.hooks(), hooks);
        let told = traffic(&mut capture);
        capture.assert_no_loss(&[]);
        told
    })
}

#[test]
fn every_way_of_sending_and_receiving_is_told_alike() {
    require!(Tracing);
    let [sockets, exits] = by_each(|capture| {
        let mut all = Vec::new();
        let ways = SENDS.into_iter().zip(RECEIVES.into_iter().cycle());
        for (i, how) in ways.enumerate() {
            let (client, server) = pair(["ipv4", "ipv6", "unix"][i % 3]);
            exchange(&client, &server, how, &request(400));
            exchange(&server, &client, how, &response(400));
            // SAFETY: no memory is passed.
            let shut = unsafe { libc::shutdown(client.as_raw_fd(), libc::SHUT_WR) };
            assert_eq!(shut, 0);
            let mut byte = 0u8;
            // SAFETY: one byte of room.
            let end = unsafe { libc::recv(server.as_raw_fd(), (&raw mut byte).cast(), 1, 0) };
            assert_eq!(end, 0);
            all.push(told(capture, &client));
            all.push(told(capture, &server));
        }
        all
    });
    assert_eq!(sockets.len(), 2 * SENDS.len());
    assert!(sockets.iter().all(|told| !told.streams[0].is_empty()));
    for (i, (socket, exit)) in sockets.iter().zip(&exits).enumerate() {
        assert_eq!(socket, exit, "{i}");
    }
}

#[test]
fn other_protocols_and_peeks_are_told_alike() {
    require!(Tracing);
    let [sockets, exits] = by_each(|capture| {
        let (client, server) = pair("ipv4");
        pass(&client, &server, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        let (tls, other) = pair("ipv4");
        pass(
            &tls,
            &other,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        );
        let (ssh, shell) = pair("ipv4");
        pass(&ssh, &shell, b"SSH-2.0-OpenSSH_9\r\n");
        let (from, to) = pair("ipv4");
        let opening = [PREFACE.to_vec(), settings()].concat();
        send(from.as_raw_fd(), "write", &opening);
        let mut buffer = [0u8; 20];
        let (at, flags) = (buffer.as_mut_ptr().cast(), libc::MSG_PEEK);
        // SAFETY: the buffer outlives the call.
        assert_eq!(unsafe { libc::recv(to.as_raw_fd(), at, 20, flags) }, 20);
        assert_eq!(receive(to.as_raw_fd(), "recv", opening.len()), opening);
        assert_eq!(capture.count(Counter::SocketsOther), 2);
        [&client, &server, &tls, &other, &ssh, &shell, &from, &to]
            .map(|end| told(capture, end))
            .into()
    });
    assert_eq!(sockets, exits);
}

/// Calls on other files return bytes too, and are none of a connection.
#[test]
fn calls_on_files_and_pipes_are_not_looked_at() {
    require!(Tracing);
    let capture = Capture::with(&Options {
        hooks: Some(Hooks::SyscallExit),
        ..own()
    });
    let (reader, writer) = std::io::pipe().expect("pipe");
    send(writer.as_raw_fd(), "write", PREFACE);
    assert_eq!(receive(reader.as_raw_fd(), "read", PREFACE.len()), PREFACE);
    assert!(!std::fs::read("/proc/self/stat").expect("file").is_empty());
    for counter in [Counter::Calls, Counter::SocketsUnwanted, Counter::NoField] {
        assert_eq!(capture.count(counter), 0, "{}", counter.name().0);
    }
}
