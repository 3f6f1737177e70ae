//! What is lost is counted, and the walker goes on.

use std::os::fd::AsRawFd;

use h2trace::kernel::Options;
use h2trace_core::event::Direction;
use tracer_ebpf::counter::Counter;
use tracer_ebpf::http2::frame_type;
use tracer_tests::require;

use super::{
    capture::{Capture, Tracing, assert_is, own},
    io::{begun, pair, pass, receive, send},
    wire::{call, frame, settings},
};

#[test]
fn a_full_ring_is_counted_and_what_follows_is_in_place() {
    require!(Tracing);
    let mut capture = Capture::with(&Options {
        ring_bytes: 64 * 1024,
        ..own()
    });
    let (client, server, mut sent) = begun("ipv4");
    capture.drain();
    // Ten times what the ring holds, in frames that are copied whole.
    for _ in 0..60 {
        let unknown = frame(0xee, 0, 0, &[7; 10_000]);
        pass(&client, &server, &unknown);
        sent.extend(unknown);
    }
    assert!(capture.count(Counter::RingFull) > 0);
    capture.drain();
    let last = call(1, 100);
    pass(&client, &server, &last);
    sent.extend(&last);
    let stream = capture.of(&client).stream(Direction::Tx);
    assert!(!stream.gaps.is_empty());
    assert_eq!(stream.bytes.len(), sent.len());
    let tail = stream.bytes.len() - last.len();
    let got: Vec<_> = stream.bytes[tail..][..15]
        .iter()
        .map(|b| b.expect("copied"))
        .collect();
    assert_eq!(got, last[..15]);
    assert_eq!(
        stream.starts.last(),
        Some(&(
            tail as u64,
            h2trace_core::event::Boundary::At {
                after: 0,
                frame_type: 0xff,
                flags: 0,
                stream_id: 0
            }
        ))
    );
    assert!(capture.of(&client).ends.is_empty());
    capture.assert_no_loss(&[Counter::RingFull]);
}

/// Few are ever missed, so that nobody would see it if they were not counted.
#[test]
fn the_kernel_says_of_each_program_how_many_runs_it_left_out() {
    require!(Tracing);
    let capture = Capture::start();
    let missed = capture.tracer.missed_runs();
    assert!(missed.is_ok(), "{missed:?}");
}

#[test]
fn a_socket_that_is_let_go_is_not_looked_at_until_it_is_taken_up() {
    require!(Tracing);
    for family in ["ipv4", "unix"] {
        let mut capture = Capture::start();
        let (client, server, _) = begun(family);
        let (key, seen) = {
            let seen = capture.of(&client);
            (seen.key, seen.stream(Direction::Tx).bytes.len())
        };
        assert!(capture.tracer.let_go(&key), "{family}");
        assert!(!capture.tracer.let_go(&key), "{family}: it is gone already");
        pass(&client, &server, &call(1, 100));
        let gone = capture.of(&client);
        assert_eq!(gone.key, key);
        assert_eq!(gone.stream(Direction::Tx).bytes.len(), seen, "{family}");
        // The other end is another socket.
        assert!(capture.of(&server).stream(Direction::Rx).bytes.len() > seen);
        capture.tracer.take_up(&key);
        let again = [call(3, 100), call(5, 100), call(7, 100)].concat();
        pass(&client, &server, &again);
        let back = capture.of(&client);
        assert_eq!((back.key.sk, back.open.from_start), (key.sk, false));
        assert!(back.key.born_ns > key.born_ns);
        let stream = back.stream(Direction::Tx);
        assert_eq!(stream.bytes.len(), again.len(), "{family}");
        assert!(stream.bytes[..9].iter().all(Option::is_some), "{family}");
        // It was of the socket as it was before.
        assert!(!capture.tracer.let_go(&key), "{family}");
        capture.assert_no_loss(&[]);
    }
}

#[test]
fn records_tell_where_the_next_frame_begins() {
    require!(Tracing);
    use h2trace_core::event::Boundary;
    let mut capture = Capture::start();
    let (client, server, opening) = begun("ipv4");
    let unknown = frame(0xee, 5, 9, &[7; 100]);
    for cut in [&unknown[..4], &unknown[4..30], &unknown[30..]] {
        pass(&client, &server, cut);
    }
    let starts = &capture.of(&client).stream(Direction::Tx).starts;
    let at = opening.len() as u64;
    let here = |after, frame_type, flags, stream_id| Boundary::At {
        after,
        frame_type,
        flags,
        stream_id,
    };
    let mut partial = [0; 9];
    partial[..4].copy_from_slice(&unknown[..4]);
    assert_eq!(starts[1], (at, here(0, 0xff, 0, 0)));
    match starts[2] {
        (offset, Boundary::InHeader { len: 4, bytes }) => {
            assert_eq!(offset, at + 4);
            assert_eq!(bytes[..4], partial[..4]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(starts[3], (at + 30, here(79, 0xee, 5, 9)));
}

#[test]
fn a_call_of_thousands_of_frames_is_walked_to_its_end() {
    require!(Tracing);
    let mut capture = Capture::start();
    let (client, server, opening) = begun("ipv4");
    // A long call in tiny frames is walked to its end.
    let many: Vec<u8> = (0..3_000)
        .flat_map(|_| frame(frame_type::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))
        .collect();
    pass(&client, &server, &many);
    let sent = [opening, many].concat();
    assert_is(capture.of(&client).stream(Direction::Tx), &sent, true);
    send(client.as_raw_fd(), "write", &settings());
    receive(server.as_raw_fd(), "read", 9);
    capture.assert_no_loss(&[]);
}

/// Keeps what is logged.
struct Lines(std::sync::Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0
            .lock()
            .expect("lines")
            .push(record.args().to_string());
    }

    fn flush(&self) {}
}

#[test]
fn the_kernel_programs_speak_only_when_asked() {
    require!(Tracing);
    static LINES: Lines = Lines(std::sync::Mutex::new(Vec::new()));
    log::set_logger(&LINES).expect("the only logger");
    log::set_max_level(log::LevelFilter::Debug);
    for kernel_log in [false, true] {
        let mut capture = Capture::with(&Options {
            kernel_log,
            ..own()
        });
        let (client, server) = pair("ipv4");
        pass(&client, &server, b"no HTTP/2 at all");
        assert_eq!(capture.of(&client).unrecognised.len(), 1);
        let spoke = LINES
            .0
            .lock()
            .expect("lines")
            .iter()
            .any(|line| line.contains("not HTTP/2"));
        assert_eq!(spoke, kernel_log, "{:?}", LINES.0);
    }
}
