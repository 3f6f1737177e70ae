//! The frame walker: follows RFC 9113 frames through the bytes of one direction, call by call, and
//! decides what is copied and what is only counted.
//!
//! A loop calls [`step`] until the call's bytes are used up. A step does one small thing: take the
//! next buffer of the vector, read (a piece of) a frame header, copy a chunk, count a run. All state is
//! in the scratch space, of which the verifier knows nothing, so that one step is all it must prove.

use core::mem::offset_of;

use super::{
    Machine, Step, TURNS_MAX, record,
    state::{CHUNK, Message, MessageKey, POSITION_MASK, Scratch, Walk, mode, trusted},
    tls,
};
use crate::{
    counter::Counter,
    event::{DATA_COPY_WHOLE_MAX, FRAME_COPY_MAX, class, confidence},
    http2::{
        DEFAULT_MAX_FRAME_SIZE, Head, Opening, PREFACE,
        flag::{END_STREAM, PADDED},
        frame_type,
    },
    instruction::{bound, mask_below},
    proxy_header::ProxyHeader,
    tls::Offer,
};

/// Length of a frame header.
const HEAD: u32 = Head::LEN as u32;

/// Steps of one call at most. A call of 64 KiB in 9-byte frames takes 15,000.
const STEPS: u32 = TURNS_MAX;

/// Message prefixes of one DATA frame at most; a stream with more is followed no further.
const PREFIXES_MAX: u16 = 1_024;

/// Plausible headers in a row after which a late attach counts as HTTP/2.
const PLAUSIBLE: u8 = 3;

/// Plausible headers in a row after which anything is believed (frames longer than the default
/// maximum, unknown types).
const BELIEVED: u8 = 24;

/// [`PREFACE`], long enough for a masked index.
pub static PADDED_PREFACE: [u8; 32] = {
    let mut padded = [0; 32];
    let mut i = 0;
    while i < PREFACE.len() {
        padded[i] = PREFACE[i];
        i += 1;
    }
    padded
};

/// Walks the bytes of the call.
#[inline(always)]
pub fn walk<M: Machine>(m: M, s: &mut Scratch) -> u64 {
    m.repeat(s, STEPS, Step::Walk);
    0
}

/// Goes to the next buffer of the vector. False when there is none.
#[inline(always)]
pub fn next_chunk<M: Machine>(m: M, s: &mut Scratch) -> bool {
    if s.iovecs == 0 {
        return false;
    }
    let Some([base, len]) = m.read::<[u64; 2]>(s.iovec) else {
        m.count(Counter::Fault, 1);
        s.iovecs = 0;
        return false;
    };
    s.chunk = base;
    s.chunk_len = len;
    s.iovec += 16;
    s.iovecs -= 1;
    true
}

/// One step; false ends the walk.
#[inline(always)]
pub fn step<M: Machine>(m: M, s: &mut Scratch) -> bool {
    if s.remaining == 0 {
        return false;
    }
    if s.chunk_len == 0 {
        return next_chunk(m, s);
    }
    if s.position > record::FLUSH_ABOVE {
        record::flush(m, s);
        record::begin(s);
    }
    let available = record::available(s);
    match s.walk.mode {
        mode::PREFACE => preface(m, s, available),
        mode::SKIP => skip(s, available),
        mode::RECORD => tls::header(m, s, available),
        mode::FRAGMENT => tls::fragment(m, s, available),
        _ => walk_on(m, s, available),
    }
}

/// A step in a frame, of which so many bytes are at hand.
#[inline(always)]
pub(super) fn walk_on<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    match s.walk.mode {
        mode::HEADER => header(m, s, available),
        mode::DATA => data(m, s, available),
        mode::PAYLOAD => payload(m, s, available),
        _ => false,
    }
}

#[inline(always)]
pub(super) fn least(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

/// Copies or counts up to `n` bytes; how many went by, or None when memory could not be read.
#[inline(always)]
pub(super) fn take<M: Machine>(m: M, s: &mut Scratch, n: u32, copied: bool) -> Option<u32> {
    if copied {
        let n = least(n, CHUNK);
        record::copy(m, s, n)?;
        Some(n)
    } else {
        record::hole(s, n);
        Some(n)
    }
}

/// Adds `n` bytes that were copied to `at` to those gathered in a field of the walk. A helper does it,
/// because the verifier would follow each number of turns of a loop on its own.
#[inline(always)]
pub(super) fn gather<M: Machine>(
    m: M,
    s: &mut Scratch,
    at: u64,
    field: usize,
    have: u32,
    n: u32,
) -> bool {
    let from = bound::<POSITION_MASK>(at);
    let have = bound::<15>(have as u64);
    let n = bound::<15>(n as u64);
    // SAFETY: `have + n` is at most the field's length, and the masks, which only the verifier needs,
    // stay within `Scratch`.
    unsafe {
        let source = s.out.as_ptr().add(from as usize);
        let target = (&raw mut s.walk).cast::<u8>().add(field + have as usize);
        m.copy(target, n as u32, source)
    }
}

/// What was copied to `at`.
#[inline(always)]
pub(super) fn copied<T: Copy>(s: &Scratch, at: u64) -> T {
    const { assert!(size_of::<T>() <= CHUNK as usize) };
    let at = bound::<POSITION_MASK>(at);
    // SAFETY: within `out`, all of it initialised; the callers' types are arrays of bytes.
    unsafe { s.out.as_ptr().add(at as usize).cast::<T>().read_unaligned() }
}

#[inline(always)]
fn header<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let have = s.walk.partial_len as u32;
    let n = least(HEAD - least(have, HEAD), available);
    let Some(at) = record::copy(m, s, n) else {
        return false;
    };
    let head = if n == HEAD {
        Head::parse(copied(s, at))
    } else {
        if !gather(m, s, at, offset_of!(Walk, partial), have, n) {
            return false;
        }
        if have + n < HEAD {
            s.walk.partial_len = (have + n) as u8;
            return true;
        }
        Head::parse(s.walk.partial)
    };
    s.walk.partial_len = 0;
    if !believe(s, &head) {
        record::take_back(s, n);
        return false;
    }
    let walk = &mut s.walk;
    walk.frame_type = head.frame_type;
    walk.flags = head.flags;
    walk.stream = head.stream();
    walk.left = head.len;
    if head.frame_type == frame_type::DATA {
        begin_data(m, s, head.len);
    } else {
        walk.mode = mode::PAYLOAD;
        walk.copy_left = least(head.len, FRAME_COPY_MAX);
        let ends = head.frame_type == frame_type::RST_STREAM
            || (head.frame_type == frame_type::HEADERS && head.flags & END_STREAM != 0);
        if ends && walk.tracked != 0 {
            forget_message(m, s);
        }
    }
    if head.len == 0 {
        end_frame(m, s);
    }
    true
}

/// Is this header believed? Sets the reason when not.
#[inline(always)]
fn believe(s: &mut Scratch, head: &Head) -> bool {
    if s.walk.first != 0 {
        s.walk.first = 0;
        if !head.begins_connection() {
            s.class = class::OTHER;
            s.certain = (s.walk.trusted == trusted::FROM_START) as u8;
            return false;
        }
    }
    let trusts = s.walk.trusted;
    if trusts == trusted::YES
        || (trusts == trusted::FROM_START && s.confidence == confidence::PREFACE)
    {
        return true;
    }
    if !head.is_plausible(DEFAULT_MAX_FRAME_SIZE) {
        s.desync = 1;
        return false;
    }
    s.walk.plausible = s.walk.plausible.saturating_add(1);
    if s.walk.plausible >= PLAUSIBLE && s.confidence == confidence::TENTATIVE {
        s.confidence = confidence::PLAUSIBLE;
    }
    if s.walk.plausible >= BELIEVED && trusts == trusted::NO {
        s.walk.trusted = trusted::YES;
    }
    true
}

#[inline(always)]
fn payload<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let n = least(s.walk.left, available);
    let copied = s.walk.copy_left != 0 || m.full_payload();
    let n = if copied && !m.full_payload() {
        least(n, s.walk.copy_left)
    } else {
        n
    };
    let Some(n) = take(m, s, n, copied) else {
        return false;
    };
    s.walk.copy_left = s.walk.copy_left.saturating_sub(n);
    s.walk.left = s.walk.left.wrapping_sub(n);
    if s.walk.left == 0 {
        end_frame(m, s);
    }
    true
}

#[inline(always)]
fn skip(s: &mut Scratch, available: u32) -> bool {
    let n = least(s.walk.left, available);
    record::hole(s, n);
    s.walk.left = s.walk.left.wrapping_sub(n);
    if s.walk.left == 0 {
        s.walk.mode = mode::HEADER;
    }
    true
}

#[inline(always)]
fn preface<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let left = least(s.walk.left, 24);
    let n = least(left, available);
    let Some(at) = record::copy(m, s, n) else {
        return false;
    };
    let matched = 24 - left;
    let out = s.out.as_ptr();
    let mut different = 0;
    let mut i = 0;
    while i < 24 {
        let got = bound::<POSITION_MASK>(at + i);
        let want = bound::<31>(matched as u64 + i);
        // SAFETY: the first is within `out`, the second within the padded preface.
        let byte = unsafe { *out.add(got as usize) ^ *PADDED_PREFACE.as_ptr().add(want as usize) };
        different |= byte & mask_below(i, n as u64) as u8;
        i += 1;
    }
    if different != 0 {
        s.class = class::OTHER;
        return false;
    }
    s.walk.left = left - n;
    if s.walk.left == 0 {
        s.confidence = confidence::PREFACE;
        s.walk.mode = mode::HEADER;
        s.walk.trusted = trusted::YES;
    }
    true
}

#[inline(always)]
fn key(s: &Scratch) -> MessageKey {
    MessageKey {
        sk: s.sk,
        born_ns: s.born_ns,
        stream: s.walk.stream,
        direction: s.direction | s.trial << 1,
    }
}

#[inline(always)]
fn begin_data<M: Machine>(m: M, s: &mut Scratch, len: u32) {
    let walk = &mut s.walk;
    walk.mode = mode::DATA;
    walk.whole = if len <= DATA_COPY_WHOLE_MAX || m.full_payload() {
        1
    } else {
        0
    };
    walk.pad = 0;
    walk.pad_pending = if walk.flags & PADDED != 0 { 1 } else { 0 };
    walk.prefixes = 0;
    walk.message_left = 0;
    walk.prefix_len = 0;
    walk.no_messages = 0;
    walk.had_entry = 0;
    if walk.tracked == 0 {
        return;
    }
    let key = key(s);
    if let Some(message) = m.message(&key) {
        let walk = &mut s.walk;
        walk.message_left = message.left;
        walk.no_messages = message.no_messages;
        walk.prefix_len = message.prefix_len;
        walk.prefix = message.prefix;
        walk.had_entry = 1;
    }
}

#[inline(always)]
fn data<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let copied = s.walk.whole != 0;
    if s.walk.pad_pending != 0 {
        let Some(at) = record::copy(m, s, 1) else {
            return false;
        };
        let at = bound::<POSITION_MASK>(at);
        // SAFETY: within `out`.
        let pad = unsafe { *s.out.as_ptr().add(at as usize) };
        let walk = &mut s.walk;
        walk.pad_pending = 0;
        walk.left = walk.left.wrapping_sub(1);
        walk.pad = least(pad as u32, walk.left) as u8;
        if walk.left == 0 {
            end_frame(m, s);
        }
        return true;
    }
    let body = s.walk.left.wrapping_sub(s.walk.pad as u32);
    let n;
    if body == 0 || s.walk.pad as u32 > s.walk.left {
        // Padding: it is the last thing in the frame, so that `left` reaches 0 with it.
        s.walk.pad = 0;
        s.walk.no_messages |= PADDING;
        let Some(taken) = take(m, s, least(s.walk.left, available), copied) else {
            return false;
        };
        n = taken;
    } else if s.walk.no_messages != 0 {
        let Some(taken) = take(m, s, least(body, available), copied) else {
            return false;
        };
        n = taken;
    } else if s.walk.message_left == 0 {
        let Some(taken) = prefix(m, s, least(body, available)) else {
            return false;
        };
        n = taken;
    } else {
        let Some(taken) = take(
            m,
            s,
            least(least(s.walk.message_left, body), available),
            copied,
        ) else {
            return false;
        };
        s.walk.message_left = s.walk.message_left.wrapping_sub(taken);
        n = taken;
    }
    s.walk.left = s.walk.left.wrapping_sub(n);
    if s.walk.left == 0 {
        end_frame(m, s);
    }
    true
}

/// Bit of [`Walk::no_messages`] while padding goes by: it is not the stream's state.
const PADDING: u8 = 0x80;

/// Reads (a piece of) a gRPC message prefix: one byte flag, four bytes length, big endian.
#[inline(always)]
fn prefix<M: Machine>(m: M, s: &mut Scratch, available: u32) -> Option<u32> {
    let have = least(s.walk.prefix_len as u32, 4);
    let n = least(5 - have, available);
    let at = record::copy(m, s, n)?;
    if n == 5 {
        s.walk.prefix = copied(s, at);
    } else if !gather(m, s, at, offset_of!(Walk, prefix), have, n) {
        return None;
    }
    let walk = &mut s.walk;
    let [flag, l3, l2, l1, l0] = walk.prefix;
    walk.prefix_len = (have + n) as u8;
    if flag > 1 {
        walk.no_messages = 1;
        walk.prefix_len = 0;
    } else if have + n == 5 {
        walk.prefix_len = 0;
        walk.message_left = (l3 as u32) << 24 | (l2 as u32) << 16 | (l1 as u32) << 8 | l0 as u32;
        walk.prefixes += 1;
        if walk.prefixes > PREFIXES_MAX {
            walk.no_messages = 1;
        }
    }
    Some(n)
}

#[inline(always)]
fn forget_message<M: Machine>(m: M, s: &mut Scratch) {
    let key = key(s);
    if m.forget_message(&key) {
        s.walk.tracked = s.walk.tracked.saturating_sub(1);
    }
}

/// The frame's last byte went by.
#[inline(always)]
fn end_frame<M: Machine>(m: M, s: &mut Scratch) {
    let was_data = s.walk.mode == mode::DATA;
    s.walk.mode = mode::HEADER;
    s.walk.partial_len = 0;
    if was_data {
        remember_message(m, s);
    }
}

/// Keeps the stream's place within its message until its next DATA frame.
#[inline(always)]
fn remember_message<M: Machine>(m: M, s: &mut Scratch) {
    let walk = &s.walk;
    let no_messages = walk.no_messages & !PADDING;
    let at_boundary = walk.message_left == 0 && walk.prefix_len == 0 && no_messages == 0;
    if at_boundary || walk.flags & END_STREAM != 0 {
        if walk.had_entry != 0 {
            forget_message(m, s);
        }
        return;
    }
    let message = Message {
        left: walk.message_left,
        no_messages,
        prefix_len: walk.prefix_len,
        prefix: walk.prefix,
        _pad: 0,
    };
    let had_entry = walk.had_entry != 0;
    // When the map refuses, the stream's next prefix is looked for in the wrong place, and user space
    // says "unknown" of its messages.
    if m.keep_message(&key(s), &message) && !had_entry {
        s.walk.tracked = s.walk.tracked.saturating_add(1);
    }
}

/// `n` bytes went by that cannot be looked at. True when the place is still known.
///
/// In a frame of its own: the message's key and state would take half of its callers'.
#[inline(never)]
pub fn pass<M: Machine>(m: M, s: &mut Scratch, n: u32) -> bool {
    let walk = &mut s.walk;
    match walk.mode {
        mode::PAYLOAD | mode::SKIP if n <= walk.left => {
            walk.copy_left = walk.copy_left.saturating_sub(n);
            walk.left -= n;
        }
        mode::FRAGMENT if n <= walk.left => {
            walk.offer = Offer::UNTOLD;
            tls::pass(walk, n);
        }
        mode::DATA if n <= walk.left => {
            if walk.pad_pending != 0 || walk.pad != 0 || n > walk.message_left {
                walk.no_messages = 1;
                walk.pad_pending = 0;
                walk.pad = 0;
            } else {
                walk.message_left -= n;
            }
            walk.left -= n;
        }
        _ => return n == 0,
    }
    if walk.left == 0 && walk.mode < mode::RECORD {
        end_frame(m, s);
    }
    true
}

/// Bytes that the walker knows nothing of any more.
#[inline(always)]
pub fn lose(walk: &mut Walk) {
    walk.mode = mode::SEEK;
    walk.trusted = trusted::NO;
    walk.plausible = 0;
    walk.partial_len = 0;
    walk.first = 0;
    walk.left = 0;
    walk.opening = Opening::NEW;
    walk.proxy = ProxyHeader::NEW;
    walk.offer = Offer::UNTOLD;
}
