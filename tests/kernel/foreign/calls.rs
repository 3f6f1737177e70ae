//! Calls within calls: what a signal handler does while a receive waits.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here is one system call whose buffers outlive it"
)]

use std::{
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicI32, AtomicUsize, Ordering},
};

use h2trace_core::event::Direction;
use tracer_tests::require;

use super::{
    super::{
        capture::Tracing,
        io::{pair, receive, send},
    },
    Connection, Foreign, PIECE, letters,
    waiting::{Thread, tid, until},
};

/// What the handler uses: a connection's two ends, and where things are thrown away.
static FDS: [AtomicI32; 3] = [const { AtomicI32::new(-1) }; 3];
static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn handler(_: libc::c_int) {
    let [from, to, null] = [0, 1, 2].map(|i| FDS[i].load(Ordering::Relaxed));
    let memory = *b"@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@";
    let mut taken = [0u8; 100];
    unsafe {
        libc::write(null, memory.as_ptr().cast(), memory.len());
        libc::send(from, memory.as_ptr().cast(), memory.len(), 0);
        libc::recv(to, taken.as_mut_ptr().cast(), taken.len(), 0);
    }
    HANDLED.fetch_add(1, Ordering::Release);
}

/// Receives by these ways; EINTR is followed by the same once more.
fn received(fd: RawFd, how: usize, buffer: &mut [u8; PIECE]) {
    let mut iov = [libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: PIECE,
    }];
    let mut message: [libc::mmsghdr; 2] = unsafe { std::mem::zeroed() };
    for message in &mut message {
        message.msg_hdr.msg_iov = iov.as_mut_ptr();
        message.msg_hdr.msg_iovlen = 1;
    }
    loop {
        let got = match how {
            0 => unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), PIECE, 0) },
            1 => unsafe { libc::readv(fd, iov.as_ptr(), 1) },
            2 => unsafe { libc::recvmsg(fd, &mut message[0].msg_hdr, 0) },
            _ => {
                let none = std::ptr::null_mut();
                let flags = libc::MSG_WAITFORONE;
                let n = unsafe { libc::recvmmsg(fd, message.as_mut_ptr(), 2, flags, none) };
                if n < 0 {
                    -1
                } else {
                    message[0].msg_len as isize
                }
            }
        };
        if got >= 0 {
            assert_eq!(got, PIECE as isize);
            return;
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "{error}");
    }
}

#[test]
fn what_a_signal_handler_sends_is_not_what_the_interrupted_call_receives() {
    require!(Tracing);
    let calls = [
        libc::SYS_recvfrom,
        libc::SYS_readv,
        libc::SYS_recvmsg,
        libc::SYS_recvmmsg,
    ];
    for (flags, kind) in [(0, "ipv4"), (libc::SA_RESTART, "ipv4"), (0, "unix")] {
        let mut connection = Connection::within_a_frame(kind, Direction::Rx, 40 * PIECE);
        let (from, to) = pair("unix");
        let null: OwnedFd = std::fs::File::options()
            .write(true)
            .open("/dev/null")
            .expect("/dev/null")
            .into();
        for (slot, fd) in FDS.iter().zip([&from, &to, &null]) {
            slot.store(fd.as_raw_fd(), Ordering::Relaxed);
        }
        let before = on_signal(handler as *const () as usize, flags);
        let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
        for i in 0..40 {
            let (how, piece) = (i % 4, letters(i * PIECE, PIECE));
            let handled = HANDLED.load(Ordering::Acquire);
            let id = AtomicI32::new(0);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    id.store(tid(), Ordering::Release);
                    let mut buffer: [u8; PIECE] =
                        Foreign::Log.memory(PIECE).try_into().expect("PIECE");
                    received(server, how, &mut buffer);
                    assert_eq!(buffer[..], piece);
                });
                until("the thread runs", || id.load(Ordering::Acquire) != 0);
                let tid = id.load(Ordering::Acquire);
                let mut thread = Thread::of(std::process::id(), tid);
                for n in 1..=3 {
                    until("the thread waits", || thread.is_in(calls[how], server));
                    let pid = std::process::id() as libc::pid_t;
                    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, libc::SIGUSR1) };
                    until("the signal is handled", || {
                        HANDLED.load(Ordering::Acquire) == handled + n
                    });
                }
                until("the thread waits", || thread.is_in(calls[how], server));
                send(client, "write", &piece);
            });
            connection.note_piece(&piece);
        }
        on_signal(before, 0);
        connection.assert_whole();
    }
}

/// What SIGUSR1 does; returns what it did before.
fn on_signal(handler: libc::sighandler_t, flags: libc::c_int) -> libc::sighandler_t {
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut before: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, &mut before), 0);
        before.sa_sigaction
    }
}

/// The handler runs while a receive has taken a part of what it waits for.
#[test]
fn a_receive_that_a_signal_cuts_short_is_whole() {
    require!(Tracing);
    let mut connection = Connection::within_a_frame("ipv4", Direction::Rx, PIECE);
    let before = on_signal(nothing as *const () as usize, 0);
    let (client, server) = (connection.client.as_raw_fd(), connection.server.as_raw_fd());
    let piece = letters(0, PIECE);
    let id = AtomicI32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            id.store(tid(), Ordering::Release);
            let mut buffer = [b'@'; PIECE];
            let got =
                unsafe { libc::recv(server, buffer.as_mut_ptr().cast(), PIECE, libc::MSG_WAITALL) };
            assert_eq!(got, 30);
        });
        until("the thread runs", || id.load(Ordering::Acquire) != 0);
        let tid = id.load(Ordering::Acquire);
        let mut thread = Thread::of(std::process::id(), tid);
        let waits = |thread: &mut Thread| thread.is_in(libc::SYS_recvfrom, server);
        until("the thread waits", || waits(&mut thread));
        send(client, "write", &piece[..30]);
        until("the bytes are taken, and the thread waits", || {
            super::waiting::unread(server) == 0 && waits(&mut thread)
        });
        let pid = std::process::id() as libc::pid_t;
        unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, libc::SIGUSR1) };
    });
    send(client, "write", &piece[30..]);
    assert!(receive(server, "read", PIECE - 30) == piece[30..]);
    connection.note_piece(&piece);
    on_signal(before, 0);
    connection.assert_whole();
}

extern "C" fn nothing(_: libc::c_int) {}
