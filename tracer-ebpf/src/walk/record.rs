//! The BYTES record of a call: built in the scratch space, while the call is walked.

use core::mem::offset_of;

use super::{
    Machine,
    state::{CHUNK, LENGTH_MASK, POSITION_MASK, Scratch, mode, segment},
};
use crate::{
    counter::Counter,
    event::{BOUNDARY_UNKNOWN, Bytes, Header, SEGMENT_HOLE, confidence, kind},
    instruction::bound,
};

const HEADER: u32 = size_of::<Header>() as u32;
const BYTES_START: u32 = HEADER + size_of::<Bytes>() as u32;

/// A record that has grown beyond this is written before more is copied: what is left holds one more
/// length word and [`CHUNK`] bytes.
pub const FLUSH_ABOVE: u32 = POSITION_MASK as u32 - CHUNK - 2 * 4;

/// The header of a record of the call in the scratch space.
#[inline(always)]
#[must_use]
pub fn header(s: &Scratch, kind: u8, len: u32) -> Header {
    Header {
        kind,
        direction: s.direction as u8,
        _reserved: 0,
        len,
        at_ns: s.at_ns,
        sk: s.sk,
        born_ns: s.born_ns,
        tgid: (s.task >> 32) as u32,
        tid: s.task as u32,
        cgroup: s.cgroup,
    }
}

/// Begins a BYTES record at the walker's place.
#[inline(never)]
pub fn begin(s: &mut Scratch) {
    let walk = &s.walk;
    let (to_boundary, partial_len, in_frame) = match walk.mode {
        mode::HEADER | mode::RECORD => (0, walk.partial_len, false),
        mode::PAYLOAD | mode::DATA => (walk.left, 0, true),
        // Behind a header that was told nobody.
        mode::FRAGMENT if walk.partial_len != 0 => (0, walk.partial_len, false),
        mode::PREFACE | mode::SKIP | mode::FRAGMENT => (walk.left, 0, false),
        _ => (BOUNDARY_UNKNOWN, 0, false),
    };
    let body = Bytes {
        offset: walk.offset,
        total: 0,
        to_boundary,
        partial_len,
        partial: walk.partial,
        confidence: s.confidence,
        unseen: s.unseen,
        records: if walk.mode >= mode::RECORD {
            walk.stream
        } else {
            0
        },
        in_frame_stream: if in_frame {
            walk.stream
        } else if walk.mode >= mode::RECORD && s.slot != 0 {
            s.place.frames.offset as u32
        } else {
            0
        },
        in_frame_type: if in_frame {
            walk.frame_type
        } else {
            NOT_A_FRAME
        },
        in_frame_flags: if in_frame { walk.flags } else { 0 },
        unsure: 0,
        _pad: 0,
    };
    let head = header(s, kind::BYTES, 0);
    let out = s.out.as_mut_ptr();
    // SAFETY: both lie within `out`; unaligned because it is a byte array.
    unsafe {
        out.cast::<Header>().write_unaligned(head);
        out.add(HEADER as usize)
            .cast::<Bytes>()
            .write_unaligned(body);
    }
    s.position = BYTES_START;
    s.ahead = 0;
    s.total = 0;
    s.segment_kind = segment::NONE;
    s.begun = 1;
}

/// [`Bytes::in_frame_type`] of the preface, of skipped bytes and of TLS: type 0xff is not assigned.
const NOT_A_FRAME: u8 = 0xff;

/// Writes the record that was begun, unless it is empty.
#[inline(always)]
pub fn flush<M: Machine>(m: M, s: &mut Scratch) {
    s.begun = 0;
    if s.total == 0 && !(M::OPENS && s.confirms != 0) {
        return;
    }
    let len = bound::<POSITION_MASK>(s.position as u64);
    let out = s.out.as_mut_ptr();
    // SAFETY: within `out`.
    unsafe {
        out.add(offset_of!(Header, len))
            .cast::<u32>()
            .write_unaligned(len as u32);
        out.add(HEADER as usize + offset_of!(Bytes, total))
            .cast::<u32>()
            .write_unaligned(s.total);
        // What these bytes proved counts for them too: the preface itself is PREFACE.
        *out.add(HEADER as usize + offset_of!(Bytes, confidence)) = if M::OPENS {
            confidence::OPENED
        } else if s.walk.mode >= mode::RECORD {
            confidence::TLS
        } else {
            s.confidence
        };
        if M::OPENS {
            *out.add(HEADER as usize + offset_of!(Bytes, unsure)) = s.place.unsure;
            s.confirms = 0;
        }
    }
    if !M::OPENS || s.silent == 0 {
        m.write(out, len);
    }
}

/// Marks `n` bytes as gone by: in the call, in the direction, in the record.
#[inline(always)]
fn consume(s: &mut Scratch, n: u32) {
    s.chunk = s.chunk.wrapping_add(n as u64);
    s.chunk_len = s.chunk_len.wrapping_sub(n as u64);
    s.remaining = s.remaining.wrapping_sub(n);
    s.total = s.total.wrapping_add(n);
    s.walk.offset = s.walk.offset.wrapping_add(n as u64);
}

/// Copies the next `n` bytes (at most [`CHUNK`]) of the user's memory into the record; the position
/// of the copy in `out`, or None when the memory could not be read.
#[inline(always)]
pub fn copy<M: Machine>(m: M, s: &mut Scratch, n: u32) -> Option<u64> {
    let fresh = s.segment_kind != segment::COPIED;
    let at = if fresh { s.position + 4 } else { s.position };
    let at = bound::<POSITION_MASK>(at as u64);
    if n > s.ahead && !read(m, s, at, n) {
        m.count(Counter::Fault, 1);
        return None;
    }
    m.unseal(s, at, n);
    s.ahead = s.ahead.wrapping_sub(n);
    if fresh {
        s.segment = s.position;
        s.segment_len = 0;
        s.segment_kind = segment::COPIED;
    }
    s.segment_len = s.segment_len.wrapping_add(n);
    write_word(s, s.segment_len);
    s.position = at as u32 + n;
    consume(s, n);
    Some(at)
}

/// Bytes of the call that stand in the buffer at hand.
#[inline(always)]
#[must_use]
pub fn available(s: &Scratch) -> u32 {
    if s.chunk_len < s.remaining as u64 {
        s.chunk_len as u32
    } else {
        s.remaining
    }
}

/// Reads the next `n` bytes of the user's memory to `at`, and what follows them as far as [`Machine::ahead`]. False when the
/// `n` bytes could not be read.
#[inline(always)]
fn read<M: Machine>(m: M, s: &mut Scratch, at: u64, n: u32) -> bool {
    let there = available(s);
    let ahead = m.ahead();
    let mut len = if there < ahead { there } else { ahead };
    if len < n {
        len = n;
    }
    s.ahead = len;
    let out = s.out.as_mut_ptr();
    let len = bound::<LENGTH_MASK>(len as u64) as u32;
    // SAFETY: at most POSITION_MASK + LENGTH_MASK, which is inside `out`.
    if unsafe { m.read_user(out.add(at as usize), len, s.chunk) } {
        return true;
    }
    // What is not asked for may stand on a page that is not there.
    s.ahead = n;
    let len = bound::<LENGTH_MASK>(n as u64) as u32;
    // SAFETY: as above.
    if unsafe { m.read_user(out.add(at as usize), len, s.chunk) } {
        return true;
    }
    s.ahead = 0;
    false
}

/// Takes back the last `n` bytes that were copied: they belong to nothing that is known.
#[inline(always)]
pub fn take_back(s: &mut Scratch, n: u32) {
    if s.segment_kind != segment::COPIED || s.segment_len < n || s.total < n {
        return;
    }
    s.position -= n;
    s.ahead = 0;
    s.total -= n;
    s.remaining += n;
    s.walk.offset = s.walk.offset.wrapping_sub(n as u64);
    s.segment_len -= n;
    write_word(s, s.segment_len);
    if s.segment_len == 0 {
        s.position = s.segment;
        s.segment_kind = segment::NONE;
    }
}

/// Counts the next `n` bytes without copying them.
#[inline(always)]
pub fn hole(s: &mut Scratch, n: u32) {
    s.ahead = 0;
    if s.segment_kind != segment::HOLE {
        s.segment = s.position;
        s.position += 4;
        s.segment_len = 0;
        s.segment_kind = segment::HOLE;
    }
    s.segment_len = s.segment_len.wrapping_add(n);
    write_word(s, SEGMENT_HOLE | s.segment_len);
    consume(s, n);
}

#[inline(always)]
fn write_word(s: &mut Scratch, word: u32) {
    let at = bound::<POSITION_MASK>(s.segment as u64);
    // SAFETY: within `out`.
    unsafe {
        s.out
            .as_mut_ptr()
            .add(at as usize)
            .cast::<u32>()
            .write_unaligned(word);
    }
}
