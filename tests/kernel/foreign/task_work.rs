//! io_uring completes a receive, or a send that had to wait, in the task that asked for it, at the end of
//! whatever system call it is in.

use std::{
    os::fd::{AsRawFd, RawFd},
    sync::atomic::{AtomicI32, AtomicUsize, Ordering},
};

use h2trace_core::event::Direction;
use tracer_tests::{require, scaled, skip::IoUring};

use super::{
    super::{
        capture::Tracing,
        io::{pass, receive, send},
        wire::settings,
    },
    Connection, Foreign, PIECE, another_protocol, between, first_bytes, inside, letters,
    ring::{Receive, Ring, Sending},
    waiting::{Call, Thread, Waiting, at_once_until, set, small, tid, unread, until},
};

const RX: Direction = Direction::Rx;
const TX: Direction = Direction::Tx;

/// Receives each piece while the task waits in a call of another descriptor.
fn received_in(
    connection: &Connection,
    pieces: &[Vec<u8>],
    how: Receive,
    waiting: &Waiting,
    ring: impl FnOnce() -> Ring + Send,
) {
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    let (id, started) = (AtomicI32::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut ring = ring();
            id.store(tid(), Ordering::Release);
            for (i, piece) in pieces.iter().enumerate() {
                waiting.prepare();
                ring.receive(how, server, i);
                started.store(i + 1, Ordering::Release);
                waiting.wait();
                assert_eq!(ring.received(), *piece);
            }
        });
        until("the thread runs", || id.load(Ordering::Acquire) != 0);
        let mut thread = Thread::of(std::process::id(), id.load(Ordering::Acquire));
        for (i, piece) in pieces.iter().enumerate() {
            until("the thread has asked", || {
                started.load(Ordering::Acquire) == i + 1
            });
            waiting.until_waiting(&mut thread);
            send(client, "write", piece);
            until("the piece is received", || unread(server) == 0);
            waiting.release();
        }
    });
}

/// The same, as a way to pass pieces.
fn while_in(call: Call, foreign: Foreign) -> impl FnMut(&Connection, &[Vec<u8>]) {
    let waiting = Waiting::new(call, foreign);
    move |connection, pieces| {
        received_in(connection, pieces, Receive::Recv, &waiting, Ring::plain);
    }
}

/// A tenth each, over TCP and AF_UNIX in turns: 2,000 receives (20,000).
#[test]
fn a_receive_that_completes_in_another_call_takes_nothing_of_it() {
    require!(Tracing, IoUring);
    for (i, call) in Call::ALL.into_iter().enumerate() {
        let (kind, foreign) = (
            ["ipv4", "unix"][i % 2],
            [Foreign::Log, Foreign::Frames, Foreign::Opening][i % 3],
        );
        println!("{call:?} {kind} {foreign:?}");
        inside(kind, RX, scaled(200, 2_000), &mut while_in(call, foreign));
    }
}

#[test]
fn frames_in_another_calls_memory_are_not_the_connections() {
    require!(Tracing, IoUring);
    for call in [Call::Write, Call::Readv, Call::Sendmsg] {
        for kind in ["ipv4", "unix"] {
            println!("{call:?} {kind}");
            between(kind, RX, 100, &mut while_in(call, Foreign::Frames));
        }
    }
}

#[test]
fn a_preface_in_another_calls_memory_makes_no_connection() {
    require!(Tracing, IoUring);
    for kind in ["ipv4", "unix"] {
        another_protocol(kind, RX, &mut while_in(Call::Write, Foreign::Opening));
        another_protocol(kind, RX, &mut while_in(Call::Recvmsg, Foreign::Opening));
    }
}

#[test]
fn text_in_another_calls_memory_ends_no_connection() {
    require!(Tracing, IoUring);
    for kind in ["ipv4", "unix"] {
        first_bytes(kind, RX, &mut while_in(Call::Write, Foreign::Log));
    }
}

#[test]
fn every_kind_of_receive_that_completes_in_another_call_takes_nothing_of_it() {
    require!(Tracing, IoUring);
    for how in Receive::ALL {
        println!("{how:?}");
        let waiting = Waiting::new(Call::Write, Foreign::Log);
        inside("ipv4", RX, 200, &mut |connection, pieces| {
            received_in(connection, pieces, how, &waiting, Ring::plain);
        });
    }
}

/// The call waits in the connection's own socket: its descriptor is the right one, its memory is not.
#[test]
fn a_receive_that_completes_in_a_send_of_the_same_socket_takes_nothing_of_it() {
    require!(Tracing, IoUring);
    for kind in ["ipv4", "unix"] {
        println!("{kind}");
        inside(kind, RX, 50, &mut |connection, pieces| {
            small(connection.server.as_raw_fd(), libc::SO_SNDBUF);
            small(connection.client.as_raw_fd(), libc::SO_RCVBUF);
            // What the server sends meanwhile lies within one frame, whatever it is.
            let opening = [&settings()[..], &[0xff, 0xff, 0xff, 0xee, 0, 0, 0, 0, 0]].concat();
            pass(&connection.server, &connection.client, &opening);
            let own = |fd: &std::os::fd::OwnedFd| fd.try_clone().expect("dup");
            for (piece, call) in pieces
                .iter()
                .zip([Call::Send, Call::Sendmsg].iter().cycle())
            {
                let waiting = Waiting::on(
                    *call,
                    own(&connection.server),
                    own(&connection.client),
                    Foreign::Log,
                );
                let piece = std::slice::from_ref(piece);
                received_in(connection, piece, Receive::Recv, &waiting, Ring::plain);
            }
        });
    }
}

/// Makes `call` again and again until a piece has been received.
fn received_beside(connection: &Connection, pieces: &[Vec<u8>], call: &(dyn Fn(RawFd) + Sync)) {
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    let started = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut ring = Ring::cooperative();
            for (i, piece) in pieces.iter().enumerate() {
                ring.receive(Receive::Recv, server, i);
                started.store(i + 1, Ordering::Release);
                at_once_until("the piece is received", || {
                    call(server);
                    ring.is_done()
                });
                assert_eq!(ring.received(), *piece);
            }
        });
        for (i, piece) in pieces.iter().enumerate() {
            until("the thread has asked", || {
                started.load(Ordering::Acquire) == i + 1
            });
            send(client, "write", piece);
        }
    });
}

/// Calls that do not wait: what completes, does so on the way out.
#[test]
fn a_receive_that_completes_behind_another_call_takes_nothing_of_it() {
    require!(Tracing, IoUring);
    let null = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .expect("/dev/null");
    let memory = Foreign::Frames.memory(PIECE);
    let vector = Vector::of(&memory);
    let write = |_: RawFd| {
        // SAFETY: the memory outlives the call.
        unsafe { libc::write(null.as_raw_fd(), memory.as_ptr().cast(), PIECE) };
    };
    // It says EAGAIN; it is of the same socket, and it receives.
    let errors = |server: RawFd| {
        let mut header = vector.header();
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: the header, its vector and the memory outlive the call.
        unsafe { libc::recvmsg(server, &mut header, flags) };
    };
    let calls: [(&str, &(dyn Fn(RawFd) + Sync)); 2] = [("write", &write), ("errors", &errors)];
    for (name, call) in calls {
        println!("{name}");
        inside("ipv4", RX, scaled(500, 5_000), &mut |connection, pieces| {
            received_beside(connection, pieces, call);
        });
        between("ipv4", RX, 100, &mut |connection, pieces| {
            received_beside(connection, pieces, call);
        });
    }
}

/// The second half of the piece makes the whole of it ready, in the call that sends it from this very thread,
/// as in a proxy that speaks with itself.
#[test]
fn a_receive_that_completes_behind_the_send_that_fed_it_is_not_what_was_sent_last() {
    require!(Tracing, IoUring);
    inside("ipv4", RX, scaled(200, 2_000), &mut |connection, pieces| {
        let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
        set(server, libc::SO_RCVLOWAT, PIECE as libc::c_int);
        let mut ring = Ring::plain();
        for (i, piece) in pieces.iter().enumerate() {
            ring.receive(Receive::Recv, server, i);
            let (first, second) = piece.split_at(PIECE / 2);
            send(client, "write", first);
            send(client, "write", second);
            assert_eq!(ring.received(), *piece);
        }
        set(server, libc::SO_RCVLOWAT, 1);
    });
}

/// A vector of one buffer that threads may share.
pub(super) struct Vector(libc::iovec);

// SAFETY: the memory that it names is only read, and outlives it.
unsafe impl Sync for Vector {}

impl Vector {
    pub(super) fn of(memory: &[u8]) -> Vector {
        Vector(libc::iovec {
            iov_base: memory.as_ptr().cast_mut().cast(),
            iov_len: memory.len(),
        })
    }

    pub(super) fn address(&self) -> *const libc::iovec {
        &raw const self.0
    }

    fn header(&self) -> libc::msghdr {
        // SAFETY: all zero is a valid msghdr.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = self.address().cast_mut();
        header.msg_iovlen = 1;
        header
    }
}

/// A send that waits for room completes in another call.
#[test]
fn a_send_that_completes_in_another_call_takes_nothing_of_it() {
    require!(Tracing, IoUring);
    let calls = [
        Call::Read,
        Call::Write,
        Call::Readv,
        Call::Recvmsg,
        Call::Send,
    ];
    for (i, call) in calls.into_iter().enumerate() {
        for kind in ["ipv4", "unix"] {
            println!("{call:?} {kind}");
            let foreign = [Foreign::Log, Foreign::Frames][i % 2];
            sent_in(kind, call, foreign, scaled(20, 200));
        }
    }
}

fn sent_in(kind: &str, call: Call, foreign: Foreign, n: usize) {
    // More than ever is sent: the frame does not end.
    let mut connection = Connection::within_a_frame(kind, TX, 0x00ff_ffff);
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    small(client, libc::SO_SNDBUF);
    small(server, libc::SO_RCVBUF);
    let waiting = Waiting::new(call, foreign);
    let opening = connection.len();
    for _ in 0..n {
        let at = connection.len() - opening;
        let (id, filled) = (AtomicI32::new(0), AtomicUsize::new(usize::MAX));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut ring = Ring::plain();
                let room = fill(client, at);
                waiting.prepare();
                ring.send(Sending::Send, client, 0, &letters(at + room, PIECE));
                assert!(!ring.is_done(), "there was room");
                filled.store(room, Ordering::Release);
                id.store(tid(), Ordering::Release);
                waiting.wait();
                assert_eq!(ring.sent(), PIECE);
            });
            until("the thread has asked", || id.load(Ordering::Acquire) != 0);
            let mut thread = Thread::of(std::process::id(), id.load(Ordering::Acquire));
            waiting.until_waiting(&mut thread);
            let expected = letters(at, filled.load(Ordering::Acquire) + PIECE);
            assert!(receive(server, "read", expected.len()) == expected);
            waiting.release();
        });
        let room = filled.load(Ordering::Acquire);
        connection.note(&letters(at, room));
        connection.note_piece(&letters(at + room, PIECE));
        connection.capture.drain();
    }
    let judged = connection.assert_truth();
    connection.assert_told(judged);
}

/// Sends letters until there is no room; how many.
fn fill(fd: RawFd, from: usize) -> usize {
    let mut n = 0;
    loop {
        let bytes = letters(from + n, 2_000);
        // SAFETY: the bytes outlive the call.
        let sent =
            unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) };
        match usize::try_from(sent) {
            Ok(sent) => n += sent,
            Err(_) => return n,
        }
    }
}
