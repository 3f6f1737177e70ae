//! recvmmsg and sendmmsg: which of the vector's messages a hook is of.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here is one system call whose buffers outlive it"
)]

use std::os::fd::{AsRawFd, RawFd};

use h2trace_core::event::Direction;
use tracer_tests::require;

use super::{
    super::{
        capture::Tracing,
        io::{receive, send},
    },
    Connection, Foreign, PIECE, inside, letters,
};

/// A vector of messages of one buffer each, all foreign until something is put in.
struct Messages {
    memory: Vec<Vec<u8>>,
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

impl Messages {
    fn new(n: usize, len: usize) -> Messages {
        let mut memory = vec![Foreign::Log.memory(len); n];
        let mut vectors: Vec<_> = memory
            .iter_mut()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: len,
            })
            .collect();
        let messages = vectors
            .iter_mut()
            .map(|vector| {
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_iov = vector;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        Messages {
            memory,
            vectors,
            messages,
        }
    }

    fn receive(&mut self, fd: RawFd, timeout: Option<&mut libc::timespec>) -> usize {
        let timeout = timeout.map_or(std::ptr::null_mut(), |timeout| &raw mut *timeout);
        let n = self.messages.len() as u32;
        let got = unsafe { libc::recvmmsg(fd, self.messages.as_mut_ptr(), n, 0, timeout) };
        usize::try_from(got).unwrap_or_else(|_| panic!("{}", std::io::Error::last_os_error()))
    }

    fn send(&mut self, fd: RawFd, n: usize) -> usize {
        let sent = unsafe { libc::sendmmsg(fd, self.messages.as_mut_ptr(), n as u32, 0) };
        usize::try_from(sent).unwrap_or_else(|_| panic!("{}", std::io::Error::last_os_error()))
    }
}

/// It ends after the first message, with no error that says so; the vector is used again.
#[test]
fn recvmmsg_that_its_timeout_ends_begins_anew() {
    require!(Tracing);
    for kind in ["ipv4", "unix"] {
        println!("{kind}");
        let mut messages = Messages::new(3, PIECE);
        inside(kind, Direction::Rx, 50, &mut |connection, pieces| {
            for piece in pieces {
                send(connection.client.as_raw_fd(), "write", piece);
                let mut timeout = libc::timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                let got = messages.receive(connection.server.as_raw_fd(), Some(&mut timeout));
                assert_eq!(got, 1);
                assert_eq!(messages.memory[0], *piece);
            }
        });
    }
}

/// The kernel looks at the first 1,024 messages; the vector is used again.
#[test]
fn sendmmsg_of_more_than_the_kernel_takes_begins_anew() {
    require!(Tracing);
    const TAKEN: usize = 1_024;
    let mut connection = Connection::within_a_frame("ipv4", Direction::Tx, (TAKEN + 10) * PIECE);
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    let mut messages = Messages::new(TAKEN + 20, PIECE);
    let mut at = 0;
    for (asked, taken) in [(TAKEN + 20, TAKEN), (10, 10)] {
        let expected = letters(at, taken * PIECE);
        for (memory, piece) in messages.memory.iter_mut().zip(expected.chunks(PIECE)) {
            memory.copy_from_slice(piece);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(receive(server, "read", expected.len()) == expected));
            assert_eq!(messages.send(client, asked), taken);
        });
        at += expected.len();
        for piece in expected.chunks(PIECE) {
            connection.note_piece(piece);
        }
        connection.capture.drain();
        for memory in &mut messages.memory {
            memory.copy_from_slice(&Foreign::Log.memory(PIECE));
        }
    }
    connection.assert_truth();
}

/// Two threads send messages over one socket at once: each message is one piece, in whatever order. Whoever
/// comes second in a direction is counted, and its next message is not taken for the one before.
#[test]
fn messages_of_two_threads_are_not_mixed_up() {
    require!(Tracing);
    const ROUNDS: usize = 300;
    const EACH: usize = 8;
    let mut connection =
        Connection::within_a_frame("ipv4", Direction::Tx, 2 * ROUNDS * EACH * PIECE);
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || {
                let mut messages = Messages::new(EACH, PIECE);
                for round in 0..ROUNDS {
                    for (i, memory) in messages.memory.iter_mut().enumerate() {
                        let number = (round * EACH + i) * 2 + thread;
                        memory.copy_from_slice(&letters(number * PIECE, PIECE));
                    }
                    assert_eq!(messages.send(client, EACH), EACH);
                    assert!(messages.vectors.iter().all(|v| v.iov_len == PIECE));
                }
            });
        }
        received = receive(server, "read", 2 * ROUNDS * EACH * PIECE);
    });
    for piece in received.chunks(PIECE) {
        connection.note_piece(piece);
    }
    // A thread that is interrupted between its send and its hook lets the other one's message come before its own.
    connection.assert_truth_but_for(ROUNDS * EACH / 100);
}
