//! One socket's receives or sends by io_uring.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "every unsafe block here is one system call, or an entry whose buffers live as long as the ring"
)]

use std::{io, os::fd::RawFd};

use io_uring::{Builder, IoUring, cqueue, opcode, squeue, types::Fd};

use super::PIECE;

/// Slots of a ring: pieces that may be on their way at once.
pub(super) const SLOTS: usize = 256;
const GROUP: u16 = 7;

/// How a receive is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    Recv,
    Read,
    Readv,
    Recvmsg,
    /// IORING_OP_READ_FIXED: a registered buffer.
    Fixed,
    /// IORING_OP_RECV into one of the provided buffers.
    Provided,
    /// IORING_OP_RECV into a buffer of a ring of buffers.
    BufferRing,
    Multishot,
}

impl Receive {
    pub(super) const ALL: [Receive; 8] = [
        Receive::Recv,
        Receive::Read,
        Receive::Readv,
        Receive::Recvmsg,
        Receive::Fixed,
        Receive::Provided,
        Receive::BufferRing,
        Receive::Multishot,
    ];
}

/// How a send is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    Send,
    Write,
    Writev,
    Sendmsg,
    /// IORING_OP_WRITE_FIXED.
    Fixed,
    ZeroCopy,
    /// IORING_OP_SEND_ZC from a registered buffer.
    ZeroCopyFixed,
}

impl Sending {
    pub(super) const ALL: [Sending; 7] = [
        Sending::Send,
        Sending::Write,
        Sending::Writev,
        Sending::Sendmsg,
        Sending::Fixed,
        Sending::ZeroCopy,
        Sending::ZeroCopyFixed,
    ];
}

/// One entry of a ring of provided buffers (`struct io_uring_buf`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Provided {
    addr: u64,
    len: u32,
    bid: u16,
    /// Of entry 0: the ring's tail.
    tail: u16,
}

/// The ring of provided buffers, which begins with a page: of 64 KiB, the largest.
#[repr(C, align(65536))]
struct BufferRing([Provided; SLOTS]);

/// A ring, and the memory of what it does.
pub(super) struct Ring {
    ring: IoUring,
    memory: Box<[[u8; PIECE]; SLOTS]>,
    vectors: Box<[libc::iovec; SLOTS]>,
    headers: Vec<libc::msghdr>,
    buffers: Box<BufferRing>,
    flags: squeue::Flags,
    armed: bool,
}

impl Ring {
    /// Set up as `how` says; `flags` go with each entry.
    pub(super) fn new(how: impl FnOnce(&mut Builder), flags: squeue::Flags) -> Ring {
        let mut builder = IoUring::builder();
        how(&mut builder);
        let ring = builder.build(SLOTS as u32).expect("io_uring_setup");
        let mut memory = Box::new([[0; PIECE]; SLOTS]);
        let vectors: Vec<_> = memory
            .iter_mut()
            .map(|slot| libc::iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: PIECE,
            })
            .collect();
        let mut vectors: Box<[libc::iovec; SLOTS]> =
            vectors.into_boxed_slice().try_into().expect("SLOTS");
        let headers: Vec<_> = vectors
            .iter_mut()
            .map(|vector| {
                let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
                header.msg_iov = vector;
                header.msg_iovlen = 1;
                header
            })
            .collect();
        let mut buffers = Box::new(BufferRing([Provided::default(); SLOTS]));
        for (bid, slot) in memory.iter_mut().enumerate() {
            buffers.0[bid] = Provided {
                addr: slot.as_mut_ptr() as u64,
                len: PIECE as u32,
                bid: bid as u16,
                tail: 0,
            };
        }
        buffers.0[0].tail = SLOTS as u16;
        Ring {
            ring,
            memory,
            vectors,
            headers,
            buffers,
            flags,
            armed: false,
        }
    }

    /// Without anything special.
    pub(super) fn plain() -> Ring {
        Ring::new(|_| {}, squeue::Flags::empty())
    }

    /// One that interrupts no running thread: what is done waits for the thread's next way out of the
    /// kernel.
    pub(super) fn cooperative() -> Ring {
        Ring::new(
            |builder| {
                builder.setup_coop_taskrun();
            },
            squeue::Flags::empty(),
        )
    }

    /// Adds an entry, and tells the kernel.
    pub(super) fn submit(&mut self, entry: &squeue::Entry) {
        unsafe { self.ring.submission().push(entry) }.expect("room");
        self.ring.submit().expect("io_uring_enter");
    }

    /// Registers or provides memory, when that is how it works.
    fn lend(&mut self, registered: bool, receive: Option<Receive>) {
        if registered {
            unsafe { self.ring.submitter().register_buffers(&self.vectors[..]) }.expect("register");
        }
        match receive {
            Some(Receive::Provided | Receive::Multishot) => {
                let entry = opcode::ProvideBuffers::new(
                    self.memory.as_mut_ptr().cast(),
                    PIECE as i32,
                    SLOTS as u16,
                    GROUP,
                    0,
                );
                self.submit(&entry.build());
                let done = self.finish().0;
                assert!(done >= 0, "{}", io::Error::from_raw_os_error(-done));
            }
            Some(Receive::BufferRing) => unsafe {
                self.ring.submitter().register_buf_ring_with_flags(
                    (&raw const *self.buffers) as u64,
                    SLOTS as u16,
                    GROUP,
                    0,
                )
            }
            .expect("register_buf_ring"),
            _ => {}
        }
    }

    /// Asks for the next piece of `fd`, number `i`.
    pub(super) fn receive(&mut self, how: Receive, fd: RawFd, i: usize) {
        if !self.armed {
            self.lend(how == Receive::Fixed, Some(how));
        }
        if self.armed && how == Receive::Multishot {
            return;
        }
        self.armed = true;
        let slot = i % SLOTS;
        let (fd, base) = (Fd(fd), self.memory[slot].as_mut_ptr());
        let len = PIECE as u32;
        let entry = match how {
            Receive::Recv => opcode::Recv::new(fd, base, len).build(),
            Receive::Read => opcode::Read::new(fd, base, len).build(),
            Receive::Readv => opcode::Readv::new(fd, &self.vectors[slot], 1).build(),
            Receive::Recvmsg => opcode::RecvMsg::new(fd, &mut self.headers[slot]).build(),
            Receive::Fixed => opcode::ReadFixed::new(fd, base, len, slot as u16).build(),
            Receive::Provided | Receive::BufferRing => {
                opcode::Recv::new(fd, std::ptr::null_mut(), len)
                    .buf_group(GROUP)
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT)
            }
            Receive::Multishot => opcode::RecvMulti::new(fd, GROUP).build(),
        };
        let flags = self.flags;
        self.submit(&entry.user_data(slot as u64).flags(flags));
    }

    /// The piece that was received.
    pub(super) fn received(&mut self) -> Vec<u8> {
        let (done, flags, slot) = self.finish();
        assert!(done >= 0, "{}", io::Error::from_raw_os_error(-done));
        let slot = cqueue::buffer_select(flags).map_or(slot as usize, usize::from);
        self.memory[slot][..done as usize].to_vec()
    }

    /// Sends a piece to `fd`.
    pub(super) fn send(&mut self, how: Sending, fd: RawFd, i: usize, piece: &[u8]) {
        if !self.armed {
            self.lend(matches!(how, Sending::Fixed | Sending::ZeroCopyFixed), None);
        }
        self.armed = true;
        let slot = i % SLOTS;
        self.memory[slot][..piece.len()].copy_from_slice(piece);
        self.vectors[slot].iov_len = piece.len();
        let (fd, base, len) = (Fd(fd), self.memory[slot].as_ptr(), piece.len() as u32);
        let entry = match how {
            Sending::Send => opcode::Send::new(fd, base, len).build(),
            Sending::Write => opcode::Write::new(fd, base, len).build(),
            Sending::Writev => opcode::Writev::new(fd, &self.vectors[slot], 1).build(),
            Sending::Sendmsg => opcode::SendMsg::new(fd, &self.headers[slot]).build(),
            Sending::Fixed => opcode::WriteFixed::new(fd, base, len, slot as u16).build(),
            Sending::ZeroCopy => opcode::SendZc::new(fd, base, len).build(),
            Sending::ZeroCopyFixed => opcode::SendZc::new(fd, base, len)
                .buf_index(Some(slot as u16))
                .build(),
        };
        let flags = self.flags;
        self.submit(&entry.user_data(slot as u64).flags(flags));
    }

    /// The piece is sent, and its memory free.
    pub(super) fn sent(&mut self) -> usize {
        let (done, flags, _) = self.finish();
        assert!(done >= 0, "{}", io::Error::from_raw_os_error(-done));
        if cqueue::more(flags) {
            self.finish();
        }
        done as usize
    }

    /// Has something been done? Asks the shared memory alone.
    pub(super) fn is_done(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// The next completion: result, flags, user data.
    pub(super) fn finish(&mut self) -> (i32, u32, u64) {
        loop {
            if let Some(done) = self.ring.completion().next() {
                return (done.result(), done.flags(), done.user_data());
            }
            self.ring.submit_and_wait(1).expect("io_uring_enter");
        }
    }
}
