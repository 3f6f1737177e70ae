//! A map of the kernel programs in this process' memory.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;

/// A map's first bytes, for as long as this lives.
#[derive(Debug)]
pub(super) struct Mapping {
    at: NonNull<libc::c_void>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone in this process, and is no thread's own.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`; whoever reads or writes what is mapped sees to it how that is shared.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes; `protection` as mmap(2) takes it.
    pub(super) fn new(
        map: BorrowedFd<'_>,
        len: usize,
        protection: libc::c_int,
    ) -> io::Result<Mapping> {
        let (null, fd) = (std::ptr::null_mut(), map.as_raw_fd());
        // SAFETY: a new mapping, wherever there is room, of an open descriptor.
        let at = unsafe { libc::mmap(null, len, protection, libc::MAP_SHARED, fd, 0) };
        match NonNull::new(at) {
            Some(at) if at.as_ptr() != libc::MAP_FAILED => Ok(Mapping { at, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Where it is.
    pub(super) const fn at(&self) -> NonNull<libc::c_void> {
        self.at
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and nothing refers to it any more.
        unsafe { libc::munmap(self.at.as_ptr(), self.len) };
    }
}
