//! Bytes that the kernel moves without a buffer of a socket call: sendfile, splice, asynchronous I/O.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here is one system call whose buffers outlive it"
)]

use std::{
    io::{Read, Seek, Write},
    os::fd::{AsRawFd, RawFd},
};

use h2trace_core::event::{Direction, Unseen};
use tracer_tests::require;

use super::{
    super::{
        capture::Tracing,
        io::{receive, send},
    },
    Connection, Foreign, Judged, PIECE, Way, another_protocol, between, inside,
};

const RX: Direction = Direction::Rx;
const TX: Direction = Direction::Tx;
const NONE: *mut libc::loff_t = std::ptr::null_mut();

fn check(done: isize, n: usize) {
    let error = std::io::Error::last_os_error();
    assert_eq!(done, n as isize, "{error}");
}

/// The file's bytes in front of the piece are foreign.
fn sendfile(connection: &Connection, pieces: &[Vec<u8>]) {
    for piece in pieces {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(&Foreign::Opening.memory(100)).expect("file");
        file.write_all(piece).expect("file");
        file.rewind().expect("file");
        let mut offset = 100;
        let client = connection.client.as_raw_fd();
        let sent = unsafe { libc::sendfile(client, file.as_raw_fd(), &mut offset, piece.len()) };
        check(sent, piece.len());
        taken(connection.server.as_raw_fd(), piece);
    }
}

fn taken(fd: RawFd, piece: &[u8]) {
    assert!(receive(fd, "read", piece.len()) == piece);
}

/// By a pipe, into which the piece is written.
fn splice_to(connection: &Connection, pieces: &[Vec<u8>]) {
    let (reader, mut writer) = std::io::pipe().expect("pipe");
    for piece in pieces {
        writer.write_all(piece).expect("pipe");
        let (from, to) = (reader.as_raw_fd(), connection.client.as_raw_fd());
        check(
            unsafe { libc::splice(from, NONE, to, NONE, piece.len(), 0) },
            piece.len(),
        );
        taken(connection.server.as_raw_fd(), piece);
    }
}

/// The pipe names the piece's own memory, in which something else stands before it is received.
fn vmsplice_to(connection: &Connection, pieces: &[Vec<u8>]) {
    let (reader, writer) = std::io::pipe().expect("pipe");
    for piece in pieces {
        let vector = libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        };
        let (from, to) = (reader.as_raw_fd(), connection.client.as_raw_fd());
        check(
            unsafe { libc::vmsplice(writer.as_raw_fd(), &vector, 1, 0) },
            piece.len(),
        );
        check(
            unsafe { libc::splice(from, NONE, to, NONE, piece.len(), 0) },
            piece.len(),
        );
        taken(connection.server.as_raw_fd(), piece);
    }
}

fn splice_from(connection: &Connection, pieces: &[Vec<u8>]) {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    for piece in pieces {
        send(connection.client.as_raw_fd(), "write", piece);
        let (from, to) = (connection.server.as_raw_fd(), writer.as_raw_fd());
        check(
            unsafe { libc::splice(from, NONE, to, NONE, piece.len(), 0) },
            piece.len(),
        );
        let mut got = vec![0; piece.len()];
        reader.read_exact(&mut got).expect("pipe");
        assert_eq!(got, *piece);
    }
}

fn nothing_is_copied(judged: Judged) {
    assert_eq!(judged.unseen, judged.pieces * PIECE);
}

#[test]
fn bytes_that_are_sent_from_a_file_or_a_pipe_are_counted() {
    require!(Tracing);
    type Sends = [(&'static str, fn(&Connection, &[Vec<u8>])); 3];
    let ways: Sends = [
        ("sendfile", sendfile),
        ("splice", splice_to),
        ("vmsplice", vmsplice_to),
    ];
    for kind in ["ipv4", "unix"] {
        for (name, mut way) in ways {
            println!("{kind} {name}");
            nothing_is_copied(inside(kind, TX, 50, &mut way));
            nothing_is_copied(between(kind, TX, 20, &mut way));
            the_reason_is_told(kind, &mut way);
            another_protocol(kind, TX, &mut way);
        }
    }
}

/// In the records of the connection itself.
fn the_reason_is_told(kind: &str, way: &mut Way<'_>) {
    let mut connection = Connection::within_a_frame(kind, TX, 3 * PIECE);
    let pieces: Vec<_> = (0..3).map(|i| super::letters(i * PIECE, PIECE)).collect();
    connection.oddly(&pieces, way);
    let client = connection.client.as_raw_fd();
    let told = &connection.capture.of(&client).unseen;
    let is_splice = told.iter().all(|reason| *reason == Unseen::Splice);
    assert!(!told.is_empty() && is_splice, "{told:?}");
}

/// A socket that is spliced from fires no hook: the sequence numbers of TCP tell it later.
#[test]
fn bytes_that_are_received_into_a_pipe_are_gaps() {
    require!(Tracing);
    let mut connection = Connection::within_a_frame("ipv4", RX, 50 * PIECE);
    let pieces: Vec<_> = (0..50).map(|i| super::letters(i * PIECE, PIECE)).collect();
    connection.oddly(&pieces, &mut splice_from);
    super::settle(&mut connection);
    let judged = connection.assert_truth();
    nothing_is_copied(judged);
    let gap: u64 = connection.stream().gaps.iter().map(|gap| gap.1).sum();
    assert_eq!(gap, judged.unseen as u64);
}

/// `struct iocb` of the kernel.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    reqprio: i16,
    fd: u32,
    buf: u64,
    nbytes: u64,
    offset: i64,
    reserved2: u64,
    flags: u32,
    resfd: u32,
}

const PREAD: u16 = 0;
const PWRITE: u16 = 1;

/// One request of io_submit(2), which is the call whose registers show.
fn asynchronously(opcode: u16, fd: RawFd, buffer: *mut u8, len: usize) {
    let mut context = 0u64;
    let mut request = Iocb {
        opcode,
        fd: fd as u32,
        buf: buffer as u64,
        nbytes: len as u64,
        ..Iocb::default()
    };
    let mut requests = [&raw mut request];
    let mut events = [[0u64; 4]; 1];
    unsafe {
        check(
            libc::syscall(libc::SYS_io_setup, 4, &raw mut context) as isize,
            0,
        );
        let submitted = libc::syscall(libc::SYS_io_submit, context, 1, requests.as_mut_ptr());
        check(submitted as isize, 1);
        let none = std::ptr::null_mut::<libc::timespec>();
        let got = libc::syscall(
            libc::SYS_io_getevents,
            context,
            1,
            1,
            events.as_mut_ptr(),
            none,
        );
        check(got as isize, 1);
        assert_eq!(events[0][2], len as u64);
        libc::syscall(libc::SYS_io_destroy, context);
    }
}

#[test]
fn bytes_of_asynchronous_requests_are_right_or_counted() {
    require!(Tracing);
    for kind in ["ipv4", "unix"] {
        println!("{kind}");
        inside(kind, RX, 50, &mut |connection, pieces| {
            for piece in pieces {
                send(connection.client.as_raw_fd(), "write", piece);
                let mut buffer = [b'@'; PIECE];
                let server = connection.server.as_raw_fd();
                asynchronously(PREAD, server, buffer.as_mut_ptr(), PIECE);
                assert_eq!(buffer[..], *piece);
            }
        });
        inside(kind, TX, 50, &mut |connection, pieces| {
            for piece in pieces {
                let client = connection.client.as_raw_fd();
                asynchronously(PWRITE, client, piece.as_ptr().cast_mut(), PIECE);
                taken(connection.server.as_raw_fd(), piece);
            }
        });
    }
}
