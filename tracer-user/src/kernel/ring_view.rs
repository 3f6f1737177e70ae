//! The ring as others than its reader see it: when there is something in it, and how much.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::mapping::Mapping;

/// A view of the ring, for any thread.
#[derive(Debug)]
pub struct RingView {
    ring: OwnedFd,
    /// The kernel's two pages: how far it was read, and how far written (`kernel/bpf/ringbuf.c`).
    positions: Mapping,
    page: usize,
    /// Bytes of the ring.
    size: u64,
}

impl RingView {
    /// Of an open ring of so many bytes.
    pub(super) fn new(ring: RawFd, size: u32) -> io::Result<RingView> {
        // SAFETY: the caller's descriptor is open.
        let ring = unsafe { BorrowedFd::borrow_raw(ring) }.try_clone_to_owned()?;
        // SAFETY: takes a number alone.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let page = usize::try_from(page).map_err(io::Error::other)?;
        // The two pages that every ring begins with.
        let positions = Mapping::new(ring.as_fd(), 2 * page, libc::PROT_READ)?;
        Ok(RingView {
            ring,
            positions,
            page,
            size: size.into(),
        })
    }

    /// What part of the ring waits to be read.
    #[must_use]
    pub fn fill(&self) -> f64 {
        let position = |page: usize| {
            // SAFETY: within the mapping, aligned, and changed as one word.
            unsafe {
                let at = self.positions.at().byte_add(page * self.page);
                AtomicU64::from_ptr(at.cast().as_ptr())
            }
        };
        // In this order, so that it is not negative.
        let read = position(0).load(Ordering::Acquire);
        let written = position(1).load(Ordering::Acquire);
        written.wrapping_sub(read) as f64 / self.size as f64
    }

    /// Waits until the kernel programs wake the reader, because a connection opened or much waits; at most for `time`. At
    /// once when records wait already.
    pub fn wait(&self, time: Duration) {
        let mut ring = libc::pollfd {
            fd: self.ring.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let time = time.as_millis().try_into().unwrap_or(libc::c_int::MAX);
        // Whatever it returns, records are looked for next: an error (EINTR) only makes the pause shorter.
        // SAFETY: one valid pollfd, and the descriptor is open.
        unsafe { libc::poll(&raw mut ring, 1, time) };
    }
}
