//! Searches through the beginning of a call: for what it speaks, for the end of an HTTP/1 head, for a frame.
//!
//! In the kernel each is a function of its own for the verifier, reached by [`Machine::run`].

use super::{Machine, Step, frames, state::Scratch};
use crate::{
    http2::{DEFAULT_MAX_FRAME_SIZE, Head, Opening},
    instruction::bound,
    proxy_header::ProxyHeader,
};

/// Bytes of `101 Switching Protocols` that are searched for the head's end.
const HEAD_MAX: u32 = 1_024;

/// Bytes that are searched for a frame: one frame of the default maximum size, so that a call in the
/// middle of long DATA frames shows the next header.
const FRAME_MAX: u32 = 16_383;

/// Bytes that are read at once for what the call speaks.
const PIECE: u64 = 255;

/// Steps of [`opening`]: a byte or a buffer each.
const OPENING_STEPS: u32 = 2 * Opening::LINE_MAX as u32;

/// Reads on in [`Walk::opening`](super::state::Walk::opening), over all buffers of the call, until it is decided or
/// nothing is left. 1 when nothing is left.
#[inline(always)]
pub fn read_opening<M: Machine>(m: M, s: &mut Scratch) -> u64 {
    let at = (s.chunk, s.chunk_len, s.iovec, s.iovecs, s.remaining);
    s.searched = 0;
    s.found = 0;
    m.repeat(s, OPENING_STEPS, Step::Opening);
    let left = s.remaining;
    (s.chunk, s.chunk_len, s.iovec, s.iovecs, s.remaining) = at;
    (left == 0) as u64
}

/// Byte [`Scratch::found`] of the [`Scratch::searched`] ones that were read, or the next piece; false ends the search.
#[inline(always)]
pub fn opening_step<M: Machine>(m: M, s: &mut Scratch) -> bool {
    if s.found < s.searched {
        let at = bound::<PIECE>(s.found as u64);
        // SAFETY: within `out`.
        let byte = unsafe { *s.out.as_ptr().add(at as usize) };
        s.found += 1;
        s.walk.opening = s.walk.opening.next(byte);
        return s.walk.opening.protocol().is_none();
    }
    if s.remaining == 0 {
        return false;
    }
    if s.chunk_len == 0 {
        return frames::next_chunk(m, s);
    }
    let mut n = PIECE;
    if s.chunk_len < n {
        n = s.chunk_len;
    }
    if (s.remaining as u64) < n {
        n = s.remaining as u64;
    }
    let n = bound::<PIECE>(n);
    // SAFETY: `out` is larger.
    if !unsafe { m.read_user(s.out.as_mut_ptr(), n as u32, s.chunk) } {
        return false;
    }
    s.found = 0;
    s.searched = n as u32;
    s.chunk += n;
    s.chunk_len -= n;
    s.remaining -= n as u32;
    true
}

/// Steps of [`proxy_header_step`]: a byte or a buffer each.
const PROXY_HEADER_STEPS: u32 = 2 * ProxyHeader::LINE_MAX as u32;

/// Values of [`read_proxy_header`].
pub mod proxied {
    /// There is no PROXY header.
    pub const ABSENT: u64 = 0;
    /// All of the call is one's, which goes on.
    pub const WITHIN: u64 = 1;
    /// It has ended: the call is what follows it.
    pub const BEHIND: u64 = 2;
}

/// Reads on in [`Walk::proxy`](super::state::Walk::proxy), over all buffers of the call: one of [`proxied`].
#[inline(always)]
pub fn read_proxy_header<M: Machine>(m: M, s: &mut Scratch) -> u64 {
    let at = (s.chunk, s.chunk_len, s.iovec, s.iovecs, s.remaining);
    m.repeat(s, PROXY_HEADER_STEPS, Step::ProxyHeader);
    if s.walk.proxy.is_whole() {
        s.searched = at.4.wrapping_sub(s.remaining);
        if s.chunk_len == 0 {
            frames::next_chunk(m, s);
        }
        return proxied::BEHIND;
    }
    let within = s.remaining == 0 && !s.walk.proxy.is_decided();
    (s.chunk, s.chunk_len, s.iovec, s.iovecs, s.remaining) = at;
    if within {
        proxied::WITHIN
    } else {
        s.walk.proxy = ProxyHeader::ABSENT;
        proxied::ABSENT
    }
}

/// The next byte of the header, or the bytes of it that hold nothing of interest; false ends the search.
#[inline(always)]
pub fn proxy_header_step<M: Machine>(m: M, s: &mut Scratch) -> bool {
    if s.remaining == 0 || s.walk.proxy.is_decided() {
        return false;
    }
    if s.chunk_len == 0 {
        return frames::next_chunk(m, s);
    }
    let mut n = s.walk.proxy.passes();
    if n != 0 {
        if s.chunk_len < n as u64 {
            n = s.chunk_len as u32;
        }
        if s.remaining < n {
            n = s.remaining;
        }
        s.walk.proxy = s.walk.proxy.pass(n);
    } else {
        let Some(byte) = m.read::<u8>(s.chunk) else {
            return false;
        };
        n = 1;
        s.walk.proxy = s.walk.proxy.next(byte);
    }
    s.chunk += n as u64;
    s.chunk_len -= n as u64;
    s.remaining -= n;
    true
}

/// Looks for `\r\n\r\n` and `h2c` at the beginning of the call: the length of a head with both, else 0.
#[inline(always)]
pub fn upgrade_head<M: Machine>(m: M, s: &mut Scratch) -> u64 {
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
    // SAFETY: `out` is far larger.
    if unsafe { m.read_user(s.out.as_mut_ptr(), n as u32, s.chunk) } {
        m.repeat(s, HEAD_MAX, Step::Head);
    }
    if s.h2c != 0 { s.head_len as u64 } else { 0 }
}

/// Byte `index` of the head; false ends the search.
#[inline(always)]
pub fn head_step(s: &mut Scratch, index: u64) -> bool {
    if index >= s.searched as u64 {
        return false;
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
        return false;
    }
    true
}

/// [`next_frame`] found nothing.
pub const NOT_FOUND: u64 = u32::MAX as u64;

/// Looks for two frame headers, the second where the first one's length says: the offset of the first, or
/// [`NOT_FOUND`]. Stricter than [`Head::is_plausible`]: on the connection, or on a stream that a
/// client opened, because numbers in binary payload make plausible headers now and then.
#[inline(always)]
pub fn next_frame<M: Machine>(m: M, s: &mut Scratch) -> u64 {
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
    // SAFETY: `out` is larger.
    if unsafe { m.read_user(s.out.as_mut_ptr(), n as u32, s.chunk) } {
        m.repeat(s, FRAME_MAX, Step::Frame);
    }
    s.found as u64
}

/// The length of the frame whose header this is; None when it is not one.
#[inline(always)]
fn frame_len(header: [u8; 9]) -> Option<u32> {
    let head = Head::parse(header);
    let opened_by_client = head.stream() & 1 == 1 || head.stream() == 0;
    if opened_by_client && head.is_plausible(DEFAULT_MAX_FRAME_SIZE) {
        Some(head.len)
    } else {
        None
    }
}

/// Is there a frame at `index`? False ends the search.
#[inline(always)]
pub fn frame_step<M: Machine>(m: M, s: &mut Scratch, index: u64) -> bool {
    if index + 9 > s.searched as u64 {
        return false;
    }
    let at = bound::<16_383>(index);
    // SAFETY: nine bytes within `out`, which is larger than the mask by more than that.
    let header = unsafe { s.out.as_ptr().add(at as usize).cast::<[u8; 9]>().read() };
    let Some(len) = frame_len(header) else {
        return true;
    };
    let next = index + 9 + len as u64;
    if next + 9 > s.chunk_len || next + 9 > s.remaining as u64 {
        return true;
    }
    let Some(following) = m.read::<[u8; 9]>(s.chunk + next) else {
        return false;
    };
    if frame_len(following).is_none() {
        return true;
    }
    s.found = index as u32;
    false
}
