//! How often the kernel did not run a program because it ran already.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `BPF_OBJ_GET_INFO_BY_FD` of `enum bpf_cmd` (`linux/bpf.h`).
const GET_INFO: libc::c_long = 15;

/// `struct bpf_prog_info` as a list of 64-bit words, up to `recursion_misses`, which kernels have since 5.12.
const WORDS: usize = 27;
/// The word that is `recursion_misses`.
const MISSES: usize = 26;

/// The member of `union bpf_attr` for this command.
#[repr(C)]
struct Attributes {
    fd: u32,
    len: u32,
    info: u64,
}

/// Runs of the program behind `fd` that were left out since it was loaded.
///
/// # Errors
/// The kernel does not say.
pub(super) fn runs(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // All zero: nothing but numbers is asked for.
    let mut info = [0_u64; WORDS];
    let attributes = Attributes {
        fd: fd.as_raw_fd().unsigned_abs(),
        len: u32::try_from(size_of_val(&info)).unwrap_or(u32::MAX),
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: the kernel reads the attributes, and writes at most `len` bytes to `info`; both outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            GET_INFO,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    match (done, info.get(MISSES)) {
        (0, Some(misses)) => Ok(*misses),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use aya_obj::generated::bpf_prog_info;

    use super::*;

    #[test]
    fn word_is_that_of_the_kernels_structure() {
        assert_eq!(MISSES * 8, offset_of!(bpf_prog_info, recursion_misses));
        assert!(WORDS * 8 <= size_of::<bpf_prog_info>());
        // What is no program says nothing.
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(runs(std::os::fd::AsFd::as_fd(&file)).is_err());
    }
}
