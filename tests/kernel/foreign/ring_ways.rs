//! io_uring otherwise: at once, in worker threads, in its own polling thread.

use std::{
    io::Write,
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::{AtomicI32, AtomicUsize, Ordering},
};

use h2trace_core::event::Direction;
use io_uring::{opcode, squeue::Flags, types::Fd};
use tracer_tests::{require, scaled, skip::IoUring};

use super::{
    super::{
        capture::Tracing,
        io::{receive, send},
    },
    Connection, Foreign, PIECE, between, inside,
    ring::{Receive, Ring, Sending},
    waiting::{Call, Thread, Waiting, tid, unread, until},
};

const RX: Direction = Direction::Rx;
const TX: Direction = Direction::Tx;

/// Writes foreign memory to where it is thrown away, so that it stands in the registers.
fn write_elsewhere() {
    let mut null = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .expect("/dev/null");
    null.write_all(&Foreign::Frames.memory(PIECE))
        .expect("/dev/null");
}

/// Each piece is there when it is asked for.
fn received_at_once(ring: &mut Ring, how: Receive, connection: &Connection, pieces: &[Vec<u8>]) {
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    for (i, piece) in pieces.iter().enumerate() {
        send(client, "write", piece);
        ring.receive(how, server, i);
        write_elsewhere();
        assert_eq!(ring.received(), *piece);
    }
}

fn sent_at_once(ring: &mut Ring, how: Sending, connection: &Connection, pieces: &[Vec<u8>]) {
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    for (i, piece) in pieces.iter().enumerate() {
        ring.send(how, client, i, piece);
        write_elsewhere();
        assert!(receive(server, "read", piece.len()) == *piece);
        assert_eq!(ring.sent(), piece.len());
    }
}

/// What runs a ring's entries, and how such a ring is made.
type RingKind = (&'static str, fn() -> Ring);

fn rings() -> [RingKind; 4] {
    [
        ("at once", Ring::plain),
        ("at its own time", || {
            Ring::new(
                |builder| {
                    builder.setup_single_issuer().setup_defer_taskrun();
                },
                Flags::empty(),
            )
        }),
        ("by workers", || Ring::new(|_| {}, Flags::ASYNC)),
        ("by the polling thread", || {
            Ring::new(
                |builder| {
                    builder.setup_sqpoll(1_000);
                },
                Flags::empty(),
            )
        }),
    ]
}

#[test]
fn receives_by_io_uring_are_right_or_counted() {
    require!(Tracing, IoUring);
    for (name, ring) in rings() {
        for (i, how) in Receive::ALL.into_iter().enumerate() {
            println!("{name}: {how:?}");
            inside(
                ["ipv4", "unix"][i % 2],
                RX,
                scaled(100, 1_000),
                &mut |connection, pieces| {
                    received_at_once(&mut ring(), how, connection, pieces);
                },
            );
        }
        between("ipv4", RX, 50, &mut |connection, pieces| {
            received_at_once(&mut ring(), Receive::Recv, connection, pieces);
        });
    }
}

#[test]
fn sends_by_io_uring_are_right_or_counted() {
    require!(Tracing, IoUring);
    for (name, ring) in rings() {
        for (i, how) in Sending::ALL.into_iter().enumerate() {
            // AF_UNIX has no sends without a copy.
            let unix = i % 2 == 1 && !matches!(how, Sending::ZeroCopy | Sending::ZeroCopyFixed);
            println!("{name}: {how:?}");
            inside(
                if unix { "unix" } else { "ipv4" },
                TX,
                scaled(100, 1_000),
                &mut |connection, pieces| {
                    sent_at_once(&mut ring(), how, connection, pieces);
                },
            );
        }
        between("ipv4", TX, 50, &mut |connection, pieces| {
            sent_at_once(&mut ring(), Sending::Send, connection, pieces);
        });
    }
}

/// A worker of io_uring begins with a copy of its maker's registers, and one that is wanted because all
/// others sleep is made in whatever call the task is in: it keeps that call's registers for its life.
#[test]
fn a_worker_that_was_made_in_another_call_takes_nothing_of_it() {
    require!(Tracing, IoUring);
    for call in [Call::Write, Call::Read] {
        println!("{call:?}");
        inside("ipv4", RX, scaled(30, 300), &mut |connection, pieces| {
            for piece in pieces {
                received_by_a_late_worker(connection, piece, call);
            }
        });
    }
}

fn received_by_a_late_worker(connection: &Connection, piece: &[u8], call: Call) {
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    send(client, "write", piece);
    let waiting = Waiting::new(call, Foreign::Log);
    let (reader, writer) = std::io::pipe().expect("pipe");
    let (into, out) = std::io::pipe().expect("pipe");
    let (reader, out): (OwnedFd, OwnedFd) = (reader.into(), out.into());
    let (id, started) = (AtomicI32::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // Each thread has its own workers.
        scope.spawn(|| {
            let mut ring = Ring::new(|_| {}, Flags::ASYNC);
            id.store(tid(), Ordering::Release);
            // The first worker sleeps in this: nothing comes from the pipe.
            let sleeps = opcode::Splice::new(
                Fd(reader.as_raw_fd()),
                -1,
                Fd(out.as_raw_fd()),
                -1,
                PIECE as u32,
            );
            ring.submit(&sleeps.build().user_data(u64::MAX).flags(Flags::ASYNC));
            ring.receive(Receive::Recv, server, 0);
            started.store(1, Ordering::Release);
            waiting.wait();
            assert_eq!(ring.received(), piece);
            (&writer).write_all(b"x").expect("pipe");
            ring.finish();
        });
        until("the thread has asked", || {
            started.load(Ordering::Acquire) == 1
        });
        let mut thread = Thread::of(std::process::id(), id.load(Ordering::Acquire));
        waiting.until_waiting(&mut thread);
        until("the piece is received", || unread(server) == 0);
        waiting.release();
    });
    drop(into);
}
