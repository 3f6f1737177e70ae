//! A descriptor's number is a file only in one table, and only for a time.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here is one system call whose buffers outlive it"
)]

use std::{
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicI32, Ordering},
};

use h2trace_core::event::Direction;
use tracer_tests::require;

use super::{
    super::{
        capture::{Capture, Tracing, assert_is},
        io::{RECEIVES, SENDS, exchange, pair, pass, receive, send},
        wire::{PREFACE, call, settings},
    },
    Connection, Foreign, PIECE, inside, letters,
    waiting::{Thread, tid, until},
};

fn dup2(from: RawFd, to: RawFd) {
    let done = unsafe { libc::dup2(from, to) };
    assert_eq!(done, to, "{}", std::io::Error::last_os_error());
}

/// The lowest free number from `least` on, of the same file.
fn dup_from(fd: RawFd, least: RawFd) -> OwnedFd {
    let number = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) };
    assert!(number >= least, "{}", std::io::Error::last_os_error());
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// What the number means when the call returns.
#[derive(Clone, Copy, Debug)]
enum After {
    Null,
    OtherSocket,
    Nothing,
    LargerTable,
}

/// Another thread gives the number to something else while the call waits.
#[test]
fn a_number_that_changes_during_the_call_takes_nothing_foreign() {
    require!(Tracing);
    for kind in ["ipv4", "unix"] {
        for after in [
            After::Null,
            After::OtherSocket,
            After::Nothing,
            After::LargerTable,
        ] {
            println!("{kind} {after:?}");
            let judged = inside(kind, Direction::Rx, 40, &mut |connection, pieces| {
                for piece in pieces {
                    received_by_a_number_that_changes(connection, piece, after);
                }
            });
            if matches!(after, After::LargerTable) {
                assert_eq!(judged.whole, judged.pieces, "the file is the same");
            }
        }
    }
}

fn received_by_a_number_that_changes(connection: &Connection, piece: &[u8], after: After) {
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    let null = std::fs::File::open("/dev/null").expect("/dev/null");
    let (other, _peer) = pair("unix");
    let number = dup_from(server, 3);
    let fd = number.as_raw_fd();
    // Borrowed by what follows: it is closed when the call has returned, and not when its bytes were taken.
    let mut number = Some(number);
    let id = AtomicI32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            id.store(tid(), Ordering::Release);
            let mut buffer = [b'@'; PIECE];
            let got = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), PIECE, 0) };
            assert_eq!(got, PIECE as isize);
            assert_eq!(buffer[..], *piece);
        });
        until("the thread runs", || id.load(Ordering::Acquire) != 0);
        let mut thread = Thread::of(std::process::id(), id.load(Ordering::Acquire));
        until("the thread waits", || thread.is_in(libc::SYS_recvfrom, fd));
        let mut grown = None;
        match after {
            After::Null => dup2(null.as_raw_fd(), fd),
            After::OtherSocket => dup2(other.as_raw_fd(), fd),
            After::Nothing => drop(number.take()),
            After::LargerTable => grown = Some(dup_from(server, 900)),
        }
        send(client, "write", piece);
        until("the piece is received", || {
            super::waiting::unread(server) == 0
        });
        drop(grown);
    });
}

/// The same file behind another number is the same socket.
#[test]
fn a_socket_is_seen_by_each_of_its_numbers() {
    require!(Tracing);
    for kind in ["ipv4", "unix"] {
        let mut capture = Capture::start();
        let (client, server) = pair(kind);
        let numbers = |fd: &OwnedFd| {
            [
                dup_from(fd.as_raw_fd(), 3),
                dup_from(fd.as_raw_fd(), 70),
                dup_from(fd.as_raw_fd(), 900),
                passed(fd),
            ]
        };
        let (from, to) = (numbers(&client), numbers(&server));
        let mut sent = [PREFACE.to_vec(), settings()].concat();
        pass(&client, &server, &sent);
        let ways = SENDS.into_iter().zip(RECEIVES.into_iter().cycle());
        for (i, how) in ways.enumerate() {
            let bytes = call(2 * i as u32 + 1, 200);
            exchange(&from[i % 4], &to[(i + 1) % 4], how, &bytes);
            sent.extend(bytes);
        }
        assert_is(capture.of(&client).stream(Direction::Tx), &sent, true);
        assert_is(capture.of(&server).stream(Direction::Rx), &sent, true);
        capture.assert_no_loss(&[]);
    }
}

/// The file, sent through a socket to this process.
fn passed(fd: &OwnedFd) -> OwnedFd {
    let (a, b) = UnixStream::pair().expect("socketpair");
    let mut byte = *b"x";
    let mut vector = [libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    }];
    let mut control = [0u64; 4];
    let size = size_of::<RawFd>() as u32;
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = vector.as_mut_ptr();
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(size) as usize;
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = libc::SOL_SOCKET;
        (*message).cmsg_type = libc::SCM_RIGHTS;
        (*message).cmsg_len = libc::CMSG_LEN(size) as usize;
        let data = libc::CMSG_DATA(message).cast::<RawFd>();
        data.write_unaligned(fd.as_raw_fd());
        assert_eq!(libc::sendmsg(a.as_raw_fd(), &header, 0), 1);
        data.write_unaligned(-1);
        assert_eq!(libc::recvmsg(b.as_raw_fd(), &mut header, 0), 1);
        OwnedFd::from_raw_fd(data.read_unaligned())
    }
}

/// A thread with a table of its own: its number is another socket than everybody else's.
#[test]
fn a_number_means_what_the_threads_own_table_says() {
    require!(Tracing);
    let mut capture = Capture::start();
    let pairs = [pair("ipv4"), pair("ipv4")];
    let opening = [PREFACE.to_vec(), settings()].concat();
    for (client, server) in &pairs {
        pass(client, server, &opening);
    }
    let number = dup_from(pairs[0].1.as_raw_fd(), 3);
    let fd = number.as_raw_fd();
    let other = pairs[1].1.as_raw_fd();
    let id = AtomicI32::new(0);
    const ROUNDS: usize = 50;
    let bytes = |pair: usize, i: usize| call(2 * i as u32 + 1, 50 + pair as u32);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let done = unsafe { libc::unshare(libc::CLONE_FILES) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
            dup2(other, fd);
            id.store(tid(), Ordering::Release);
            for i in 0..ROUNDS {
                let expected = bytes(1, i);
                assert!(receive(fd, "recv", expected.len()) == expected);
            }
        });
        until("the thread runs", || id.load(Ordering::Acquire) != 0);
        for i in 0..ROUNDS {
            send(pairs[1].0.as_raw_fd(), "write", &bytes(1, i));
            send(pairs[0].0.as_raw_fd(), "write", &bytes(0, i));
            let expected = bytes(0, i);
            assert!(receive(fd, "recv", expected.len()) == expected);
        }
    });
    for (pair, (_, server)) in pairs.iter().enumerate() {
        let mut sent = opening.clone();
        (0..ROUNDS).for_each(|i| sent.extend(bytes(pair, i)));
        assert_is(capture.of(server).stream(Direction::Rx), &sent, true);
    }
    capture.assert_no_loss(&[]);
}

/// While a call waits with foreign memory, its number becomes that of the socket on which io_uring receives.
#[test]
fn a_number_that_becomes_the_sockets_takes_nothing_foreign() {
    require!(Tracing);
    tracer_tests::require!(tracer_tests::skip::IoUring);
    use super::ring::{Receive, Ring};
    inside("ipv4", Direction::Rx, 40, &mut |connection, pieces| {
        let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
        for pair in pieces.chunks(2) {
            let (reader, _writer) = std::io::pipe().expect("pipe");
            let fd = reader.as_raw_fd();
            let keep = dup_from(fd, 3);
            let id = AtomicI32::new(0);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut ring = Ring::plain();
                    ring.receive(Receive::Recv, server, 0);
                    id.store(tid(), Ordering::Release);
                    let mut memory = Foreign::Log.memory(PIECE);
                    let got = unsafe { libc::read(fd, memory.as_mut_ptr().cast(), PIECE) };
                    // It was begun anew, and the number is the socket's by then.
                    assert_eq!(got, PIECE as isize);
                    assert_eq!(memory, pair[1]);
                    assert_eq!(ring.received(), pair[0]);
                });
                until("the thread runs", || id.load(Ordering::Acquire) != 0);
                let mut thread = Thread::of(std::process::id(), id.load(Ordering::Acquire));
                until("the thread waits", || thread.is_in(libc::SYS_read, fd));
                dup2(server, fd);
                send(client, "write", &pair[0]);
                until("the piece is received", || {
                    super::waiting::unread(server) == 0
                });
                send(client, "write", &pair[1]);
            });
            drop(keep);
        }
    });
}

/// The sequence of letters has no period that would hide a shift.
#[test]
fn letters_tell_their_place() {
    let all = letters(0, 20_000);
    for shift in 1..200 {
        let same = all.iter().zip(&all[shift..]).filter(|(a, b)| a == b);
        assert!(same.count() < all.len() / 2, "{shift}");
    }
}
