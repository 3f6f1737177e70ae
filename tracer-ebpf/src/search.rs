//! Searches through the beginning of a call: for the end of an HTTP/1 head, for a frame.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};

use crate::{
    frame_walk::{plausible, scratch},
    instruction::bound,
    state::Scratch,
    user_memory,
};

/// Bytes of `101 Switching Protocols` that are searched for the head's end.
const HEAD_MAX: u32 = 1_024;

/// Bytes that are searched for a frame: one frame of the default maximum size, so that a call in the
/// middle of long DATA frames shows the next header.
const FRAME_MAX: u32 = 16_383;

/// Looks for `\r\n\r\n` and `h2c` at the beginning of the call.
#[inline(always)]
pub(crate) fn head(s: &mut Scratch) {
    let mut n = HEAD_MAX as u64;
    if s.chunk_len < n {
        n = s.chunk_len;
    }
    if (s.remaining as u64) < n {
        n = s.remaining as u64;
    }
    let n = bound::<2_047>(n);
    s.window = 0;
    s.head_len = 0;
    s.h2c = 0;
    s.searched = n as u32;
    // SAFETY: `out` is far larger; the callback uses the scratch space alone.
    unsafe {
        if bpf_probe_read_user(s.out.as_mut_ptr().cast(), n as u32, s.chunk as *const _) == 0 {
            bpf_loop(HEAD_MAX, head_step as *mut c_void, core::ptr::null_mut(), 0);
        }
    }
}

extern "C" fn head_step(index: u64, _context: *mut c_void) -> i64 {
    let Some(s) = scratch() else { return 1 };
    if index >= s.searched as u64 {
        return 1;
    }
    let at = bound::<1_023>(index);
    // SAFETY: within `out`.
    let byte = unsafe { *s.out.as_ptr().add(at as usize) };
    s.window = s.window << 8 | byte as u32;
    if s.window & 0x00ff_ffff == 0x0068_3263 {
        s.h2c = 1;
    }
    if s.window == 0x0d0a_0d0a {
        s.head_len = at as u32 + 1;
        return 1;
    }
    0
}

/// Looks for two frame headers, the second where the first one's length says: `found` is the offset of
/// the first, or `u32::MAX`. Stricter than [`plausible`]: on the connection, or on a stream that a
/// client opened, because numbers in binary payload make plausible headers now and then.
#[inline(always)]
pub(crate) fn frame(s: &mut Scratch) {
    let mut n = FRAME_MAX as u64;
    if s.chunk_len < n {
        n = s.chunk_len;
    }
    if (s.remaining as u64) < n {
        n = s.remaining as u64;
    }
    let n = bound::<16_383>(n);
    s.found = u32::MAX;
    s.searched = n as u32;
    // SAFETY: `out` is larger; the callback uses the scratch space alone.
    unsafe {
        if bpf_probe_read_user(s.out.as_mut_ptr().cast(), n as u32, s.chunk as *const _) == 0 {
            bpf_loop(
                FRAME_MAX,
                frame_step as *mut c_void,
                core::ptr::null_mut(),
                0,
            );
        }
    }
}

/// The length of the frame whose header this is; None when it is not one.
#[inline(always)]
fn frame_len(header: [u8; 9]) -> Option<u32> {
    let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = header;
    let len = (l2 as u32) << 16 | (l1 as u32) << 8 | l0 as u32;
    let stream = u32::from_be_bytes([s3, s2, s1, s0]);
    let opened_by_client = stream & 1 == 1 || stream == 0;
    if opened_by_client && plausible(len, kind, flags, stream) {
        Some(len)
    } else {
        None
    }
}

extern "C" fn frame_step(index: u64, _context: *mut c_void) -> i64 {
    let Some(s) = scratch() else { return 1 };
    if index + 9 > s.searched as u64 {
        return 1;
    }
    let at = bound::<16_383>(index);
    // SAFETY: nine bytes within `out`, which is larger than the mask by more than that.
    let header = unsafe { s.out.as_ptr().add(at as usize).cast::<[u8; 9]>().read() };
    let Some(len) = frame_len(header) else {
        return 0;
    };
    let next = index + 9 + len as u64;
    if next + 9 > s.chunk_len || next + 9 > s.remaining as u64 {
        return 0;
    }
    let Some(following) = user_memory::read::<[u8; 9]>(s.chunk + next) else {
        return 1;
    };
    if frame_len(following).is_none() {
        return 0;
    }
    s.found = index as u32;
    1
}
