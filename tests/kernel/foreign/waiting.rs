//! System calls that wait, with foreign memory in their arguments, until they are let go.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here is one system call whose buffers outlive it"
)]

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use super::{Foreign, PIECE};

/// A call that can wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// From a pipe.
    Read,
    /// From a pipe.
    Readv,
    /// From a pipe.
    Preadv2,
    /// To a pipe.
    Write,
    /// To a pipe.
    Writev,
    /// From another socket.
    Recv,
    /// From another socket.
    Recvmsg,
    /// From another socket.
    Recvmmsg,
    /// To another socket.
    Send,
    /// To another socket.
    Sendmsg,
}

impl Call {
    pub(super) const ALL: [Call; 10] = [
        Call::Read,
        Call::Readv,
        Call::Preadv2,
        Call::Write,
        Call::Writev,
        Call::Recv,
        Call::Recvmsg,
        Call::Recvmmsg,
        Call::Send,
        Call::Sendmsg,
    ];

    pub(super) fn number(self) -> i64 {
        match self {
            Call::Read => libc::SYS_read,
            Call::Readv => libc::SYS_readv,
            Call::Preadv2 => libc::SYS_preadv2,
            Call::Write => libc::SYS_write,
            Call::Writev => libc::SYS_writev,
            Call::Recv => libc::SYS_recvfrom,
            Call::Recvmsg => libc::SYS_recvmsg,
            Call::Recvmmsg => libc::SYS_recvmmsg,
            Call::Send => libc::SYS_sendto,
            Call::Sendmsg => libc::SYS_sendmsg,
        }
    }

    fn reads(self) -> bool {
        !matches!(
            self,
            Call::Write | Call::Writev | Call::Send | Call::Sendmsg
        )
    }
}

/// One that is made again and again.
pub(super) struct Waiting {
    call: Call,
    /// The call's descriptor.
    pub(super) near: OwnedFd,
    far: OwnedFd,
    memory: Vec<u8>,
    returned: AtomicUsize,
    released: AtomicUsize,
    drained: AtomicUsize,
}

impl Waiting {
    /// With `foreign` in its buffer.
    pub(super) fn new(call: Call, foreign: Foreign) -> Waiting {
        let mut len = PIECE;
        let (near, far): (OwnedFd, OwnedFd) = match call {
            Call::Read | Call::Readv | Call::Preadv2 => {
                let (reader, writer) = io::pipe().expect("pipe");
                (reader.into(), writer.into())
            }
            Call::Write | Call::Writev => {
                let (reader, writer) = io::pipe().expect("pipe");
                // One page, whatever its size: each call fills it.
                let size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 1) };
                len = usize::try_from(size).expect("a pipe of one page");
                (writer.into(), reader.into())
            }
            _ => {
                let (a, b) = UnixStream::pair().expect("socketpair");
                small(a.as_raw_fd(), libc::SO_SNDBUF);
                (a.into(), b.into())
            }
        };
        let waiting = Waiting {
            call,
            near,
            far,
            memory: foreign.memory(len),
            returned: AtomicUsize::new(0),
            released: AtomicUsize::new(0),
            drained: AtomicUsize::new(0),
        };
        if matches!(call, Call::Write | Call::Writev) {
            waiting.perform(0);
        }
        waiting
    }

    /// On a socket that is there already: `call` waits in it.
    pub(super) fn on(call: Call, near: OwnedFd, far: OwnedFd, foreign: Foreign) -> Waiting {
        Waiting {
            call,
            near,
            far,
            memory: foreign.memory(PIECE),
            returned: AtomicUsize::new(0),
            released: AtomicUsize::new(0),
            drained: AtomicUsize::new(0),
        }
    }

    fn vector(&self) -> libc::iovec {
        libc::iovec {
            iov_base: self.memory.as_ptr().cast_mut().cast(),
            iov_len: self.memory.len(),
        }
    }

    fn perform(&self, flags: libc::c_int) -> isize {
        let fd = self.near.as_raw_fd();
        let (base, len) = (self.memory.as_ptr(), self.memory.len());
        let mut iov = [self.vector()];
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = iov.as_mut_ptr();
        header.msg_iovlen = 1;
        match self.call {
            Call::Read => unsafe { libc::read(fd, base.cast_mut().cast(), len) },
            Call::Readv => unsafe { libc::readv(fd, iov.as_ptr(), 1) },
            Call::Preadv2 => unsafe { libc::preadv2(fd, iov.as_ptr(), 1, -1, 0) },
            Call::Write => unsafe { libc::write(fd, base.cast(), len) },
            Call::Writev => unsafe { libc::writev(fd, iov.as_ptr(), 1) },
            Call::Recv => unsafe { libc::recv(fd, base.cast_mut().cast(), len, flags) },
            Call::Recvmsg => unsafe { libc::recvmsg(fd, &mut header, flags) },
            Call::Recvmmsg => {
                let mut vector = [libc::mmsghdr {
                    msg_hdr: header,
                    msg_len: 0,
                }];
                let none = std::ptr::null_mut();
                unsafe { libc::recvmmsg(fd, vector.as_mut_ptr(), 1, flags, none) as isize }
            }
            Call::Send => unsafe { libc::send(fd, base.cast(), len, flags) },
            Call::Sendmsg => unsafe { libc::sendmsg(fd, &header, flags) },
        }
    }

    /// Makes sure that the next call waits.
    pub(super) fn prepare(&self) {
        until("nothing more is taken", || {
            self.drained.load(Ordering::Acquire) == self.returned.load(Ordering::Relaxed)
        });
        if matches!(self.call, Call::Send | Call::Sendmsg) {
            while self.perform(libc::MSG_DONTWAIT) > 0 {}
        }
    }

    /// Makes the call, and waits in it.
    pub(super) fn wait(&self) {
        let done = self.perform(0);
        assert!(done > 0, "{:?}: {}", self.call, io::Error::last_os_error());
        self.returned.fetch_add(1, Ordering::Release);
    }

    /// Lets it go.
    pub(super) fn release(&self) {
        self.let_go();
        self.drained.fetch_add(1, Ordering::Release);
    }

    fn let_go(&self) {
        let released = 1 + self.released.fetch_add(1, Ordering::Relaxed);
        let far = self.far.as_raw_fd();
        if self.call.reads() {
            let sent = unsafe { libc::write(far, self.memory.as_ptr().cast(), PIECE) };
            assert_eq!(sent, PIECE as isize);
            return;
        }
        if matches!(self.call, Call::Write | Call::Writev) {
            let mut taken = vec![0u8; self.memory.len()];
            let got = unsafe { libc::read(far, taken.as_mut_ptr().cast(), taken.len()) };
            assert_eq!(got, taken.len() as isize);
            return;
        }
        let mut taken = vec![0u8; 65_536];
        until("the call returns", || {
            unsafe {
                libc::recv(
                    far,
                    taken.as_mut_ptr().cast(),
                    taken.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            self.returned.load(Ordering::Acquire) >= released
        });
    }

    /// Waits until thread `tid` waits in the call.
    pub(super) fn until_waiting(&self, thread: &mut Thread) {
        let (number, fd) = (self.call.number(), self.near.as_raw_fd());
        until("the thread waits in its call", || thread.is_in(number, fd));
    }
}

/// What a thread does, as /proc tells it.
pub(super) struct Thread {
    file: File,
    text: String,
}

impl Thread {
    /// A thread of this process, or of a child.
    pub(super) fn of(pid: u32, tid: i32) -> Thread {
        let path = format!("/proc/{pid}/task/{tid}/syscall");
        Thread {
            file: File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}")),
            text: String::new(),
        }
    }

    /// Does it sleep in this call on this descriptor?
    pub(super) fn is_in(&mut self, number: i64, fd: RawFd) -> bool {
        self.text.clear();
        self.file.rewind().expect("rewind");
        let got = self.file.read_to_string(&mut self.text);
        got.is_ok() && self.text.starts_with(&format!("{number} {fd:#x} "))
    }
}

pub(super) fn tid() -> i32 {
    unsafe { libc::gettid() }
}

/// Polls until `done`, as [`until`], and makes no other call in between than those of `done`.
pub(super) fn at_once_until(what: &str, mut done: impl FnMut() -> bool) {
    until(what, || (0..1_000).any(|_| done()));
}

/// Polls until `done`. A failure ends the process: the thread that is waited for may never end, and
/// whoever waits would wait for it.
pub(super) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        if Instant::now() >= deadline {
            eprintln!("it took too long until {what}");
            std::process::abort();
        }
        std::thread::yield_now();
    }
}

/// Gives a socket as little room as there can be.
pub(super) fn small(fd: RawFd, buffer: libc::c_int) {
    set(fd, buffer, 4_096);
}

/// Sets a number of SOL_SOCKET.
pub(super) fn set(fd: RawFd, option: libc::c_int, value: libc::c_int) {
    let done = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// How many bytes wait to be received.
pub(super) fn unread(fd: RawFd) -> usize {
    let mut n: libc::c_int = 0;
    let done = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut n) };
    assert_eq!(done, 0, "FIONREAD: {}", io::Error::last_os_error());
    n as usize
}
