//! Sockets that the filter does not want, so that each of their calls costs one look into an array.
//!
//! Apart from the sockets that are followed, whose entries nobody outside of the filter can push out. A mark that gives
//! way to another one costs no more than the filter's answer once again.

use tracer_ebpf::instruction::bound;

use crate::{kernel_struct::inode, maps::UNWANTED};

/// Number of marks, a power of two.
pub(crate) const MARKS: u32 = 65_536;

/// One mark.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    /// Which socket, judged for which process at which epoch of the filter: one word, so that two tasks never mix two
    /// marks. 0: none.
    word: u64,
    /// AF_UNIX: the socket's inode number, since its address may be another socket's by now. Otherwise 0.
    inode: u64,
}

/// The golden ratio's bits, and those of another such number: consecutive values come apart.
const SPREAD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93];

#[inline(always)]
fn word(sk: u64, tgid: u32, epoch: u32) -> u64 {
    let judged = (epoch as u64) << 32 | tgid as u64;
    (sk.wrapping_mul(SPREAD[0]) ^ judged.wrapping_mul(SPREAD[1])) | 1
}

#[inline(always)]
fn mark(sk: u64) -> Option<*mut Mark> {
    let index = bound::<{ MARKS as u64 - 1 }>(sk.wrapping_mul(SPREAD[1]) >> 40);
    UNWANTED.get_ptr_mut(index as u32)
}

/// Is the socket marked, for this process at this epoch?
#[inline(always)]
pub(crate) fn is_unwanted(sk: u64, tgid: u32, epoch: u32) -> bool {
    let Some(mark) = mark(sk) else { return false };
    // SAFETY: an element of the array; volatile because other processors write it.
    let (is_same, number) = unsafe {
        let is_same = (&raw const (*mark).word).read_volatile() == word(sk, tgid, epoch);
        (is_same, (&raw const (*mark).inode).read_volatile())
    };
    is_same && (number == 0 || inode(sk) == Some(number))
}

/// Marks it. `number` is its inode number if it is an AF_UNIX socket, otherwise 0.
#[inline(always)]
pub(crate) fn unwanted(sk: u64, tgid: u32, epoch: u32, number: u64) {
    if let Some(mark) = mark(sk) {
        // SAFETY: as above.
        unsafe {
            (&raw mut (*mark).word).write_volatile(0);
            (&raw mut (*mark).inode).write_volatile(number);
            (&raw mut (*mark).word).write_volatile(word(sk, tgid, epoch));
        }
    }
}

/// The socket is wanted by somebody, or gone.
#[inline(always)]
pub(crate) fn clear(sk: u64) {
    if let Some(mark) = mark(sk) {
        // SAFETY: as above.
        unsafe { (&raw mut (*mark).word).write_volatile(0) };
    }
}
