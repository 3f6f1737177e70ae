//! What each system call does with the user's memory, by number, for the architecture of this build.

use tracer_ebpf::config::access::{
    BUFFER, FLAGS, IO_URING, IOVEC, MMSGHDR, MSGHDR, PIPE, SENDFILE, SENDS, SPLICE,
};

/// (number, access) of every call whose buffers are known, or are known to be none.
pub(super) const TABLE: &[(i64, u8)] = &[
    (libc::SYS_read, BUFFER),
    (libc::SYS_write, SENDS | BUFFER),
    (libc::SYS_recvfrom, FLAGS | BUFFER),
    (libc::SYS_sendto, SENDS | FLAGS | BUFFER),
    (libc::SYS_readv, IOVEC),
    (libc::SYS_writev, SENDS | IOVEC),
    (libc::SYS_preadv2, IOVEC),
    (libc::SYS_pwritev2, SENDS | IOVEC),
    (libc::SYS_recvmsg, MSGHDR),
    (libc::SYS_sendmsg, SENDS | MSGHDR),
    (libc::SYS_recvmmsg, FLAGS | MMSGHDR),
    (libc::SYS_sendmmsg, SENDS | FLAGS | MMSGHDR),
    (libc::SYS_sendfile, SENDS | SENDFILE),
    (libc::SYS_splice, SENDS | SPLICE),
    (libc::SYS_vmsplice, PIPE),
    (libc::SYS_tee, PIPE),
    (libc::SYS_io_uring_enter, IO_URING),
];

/// Where a call's result will stand, x86 keeps -ENOSYS until it is there; arm64 keeps the first argument.
pub(super) const RESULT_IS_ENOSYS: u32 = cfg!(target_arch = "x86_64") as u32;

/// A call is a 32-bit one when the mode word and this ...
#[cfg(target_arch = "x86_64")]
pub(super) const COMPAT_MASK: u32 = 0xffff;
/// ... equals this: the 32-bit code segment (`__USER32_CS`).
#[cfg(target_arch = "x86_64")]
pub(super) const COMPAT_VALUE: u32 = 0x23;

/// `PSR_MODE32_BIT` of PSTATE.
#[cfg(target_arch = "aarch64")]
pub(super) const COMPAT_MASK: u32 = 0x10;
/// Set in AArch32 state.
#[cfg(target_arch = "aarch64")]
pub(super) const COMPAT_VALUE: u32 = 0x10;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("h2trace knows the system calls of x86_64 and aarch64 alone");
