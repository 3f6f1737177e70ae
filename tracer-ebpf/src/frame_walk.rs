//! The frame walker: follows RFC 9113 frames through the bytes of one direction, call by call, and
//! decides what is copied and what is only counted.
//!
//! `bpf_loop` calls [`step`] until the call's bytes are used up. A step does one small thing: take the
//! next buffer of the vector, read (a piece of) a frame header, copy a chunk, count a run. All state is
//! in the scratch space, of which the verifier knows nothing, so that one step is all it must prove.

use core::{ffi::c_void, mem::offset_of};

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_kernel};

use tracer_ebpf::{
    event::{DATA_COPY_WHOLE_MAX, FRAME_COPY_MAX, class, confidence},
    http2::{
        DEFAULT_MAX_FRAME_SIZE, Head, Opening, PREFACE,
        flag::{END_STREAM, PADDED},
        frame_type,
    },
    instruction::{bound, mask_below},
};

use crate::{
    maps::{MESSAGES, SCRATCH, config},
    record,
    state::{CHUNK, Message, MessageKey, POSITION_MASK, Scratch, Walk, mode, trusted},
    user_memory,
};

/// Length of a frame header.
const HEAD: u32 = Head::LEN as u32;

/// Steps of one call at most. A call of 64 KiB in 9-byte frames takes 15,000.
const STEPS: u32 = 65_536;

/// Message prefixes of one DATA frame at most; a stream with more is followed no further.
const PREFIXES_MAX: u16 = 1_024;

/// Plausible headers in a row after which a late attach counts as HTTP/2.
const PLAUSIBLE: u8 = 3;

/// Plausible headers in a row after which anything is believed (frames longer than the default
/// maximum, unknown types).
const BELIEVED: u8 = 24;

/// [`PREFACE`], long enough for a masked index.
pub(crate) static PADDED_PREFACE: [u8; 32] = {
    let mut padded = [0; 32];
    let mut i = 0;
    while i < PREFACE.len() {
        padded[i] = PREFACE[i];
        i += 1;
    }
    padded
};

/// The scratch space of this CPU.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: the slot is this CPU's; its busy flag keeps other programs out.
    SCRATCH.get_ptr_mut(0).map(|s| unsafe { &mut *s })
}

/// Walks the bytes of the call in the scratch space. Not inlined, and not static: the verifier proves
/// such a function once, on its own, and not anew for each way that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn walk_call() -> u64 {
    // SAFETY: the callback uses the scratch space alone.
    let steps = unsafe { bpf_loop(STEPS, step as *mut c_void, core::ptr::null_mut(), 0) };
    steps as u64
}

/// One step; 1 ends the loop.
extern "C" fn step(_index: u64, _context: *mut c_void) -> i64 {
    let Some(s) = scratch() else { return 1 };
    if s.remaining == 0 {
        return 1;
    }
    if s.chunk_len == 0 {
        return if user_memory::next_chunk(s) { 0 } else { 1 };
    }
    if s.position > record::FLUSH_ABOVE {
        record::flush(s);
        record::begin(s);
    }
    let available = if s.chunk_len < s.remaining as u64 {
        s.chunk_len as u32
    } else {
        s.remaining
    };
    let goes_on = match s.walk.mode {
        mode::HEADER => header(s, available),
        mode::DATA => data(s, available),
        mode::PAYLOAD => payload(s, available),
        mode::PREFACE => preface(s, available),
        mode::SKIP => skip(s, available),
        _ => false,
    };
    if goes_on { 0 } else { 1 }
}

#[inline(always)]
fn least(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn full() -> bool {
    config!(full_payload) != 0
}

/// Copies or counts up to `n` bytes; how many went by, or None when memory could not be read.
#[inline(always)]
fn take(s: &mut Scratch, n: u32, copied: bool) -> Option<u32> {
    if copied {
        let n = least(n, CHUNK);
        record::copy(s, n)?;
        Some(n)
    } else {
        record::hole(s, n);
        Some(n)
    }
}

/// Adds `n` bytes that were copied to `at` to those gathered in a field of the walk. A helper does it,
/// because the verifier would follow each number of turns of a loop on its own.
#[inline(always)]
fn gather(s: &mut Scratch, at: u64, field: usize, have: u32, n: u32) -> bool {
    let from = bound::<POSITION_MASK>(at);
    let have = bound::<15>(have as u64);
    let n = bound::<15>(n as u64);
    // SAFETY: `have + n` is at most the field's length, and the masks, which only the verifier needs,
    // stay within `Scratch`.
    unsafe {
        let source = s.out.as_ptr().add(from as usize);
        let target = (&raw mut s.walk).cast::<u8>().add(field + have as usize);
        bpf_probe_read_kernel(target.cast(), n as u32, source.cast()) == 0
    }
}

#[inline(always)]
fn header(s: &mut Scratch, available: u32) -> bool {
    let have = s.walk.partial_len as u32;
    let n = least(HEAD - least(have, HEAD), available);
    let Some(at) = record::copy(s, n) else {
        return false;
    };
    if !gather(s, at, offset_of!(Walk, partial), have, n) {
        return false;
    }
    if have + n < HEAD {
        s.walk.partial_len = (have + n) as u8;
        return true;
    }
    s.walk.partial_len = 0;
    let head = Head::parse(s.walk.partial);
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
        begin_data(s, head.len);
    } else {
        walk.mode = mode::PAYLOAD;
        walk.copy_left = least(head.len, FRAME_COPY_MAX);
        let ends = head.frame_type == frame_type::RST_STREAM
            || (head.frame_type == frame_type::HEADERS && head.flags & END_STREAM != 0);
        if ends && walk.tracked != 0 {
            forget_message(s);
        }
    }
    if head.len == 0 {
        end_frame(s);
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
    if s.walk.plausible < u8::MAX {
        s.walk.plausible += 1;
    }
    if s.walk.plausible >= PLAUSIBLE && s.confidence == confidence::TENTATIVE {
        s.confidence = confidence::PLAUSIBLE;
    }
    if s.walk.plausible >= BELIEVED && trusts == trusted::NO {
        s.walk.trusted = trusted::YES;
    }
    true
}

#[inline(always)]
fn payload(s: &mut Scratch, available: u32) -> bool {
    let n = least(s.walk.left, available);
    let copied = s.walk.copy_left != 0 || full();
    let n = if copied && !full() {
        least(n, s.walk.copy_left)
    } else {
        n
    };
    let Some(n) = take(s, n, copied) else {
        return false;
    };
    s.walk.copy_left = s.walk.copy_left.saturating_sub(n);
    s.walk.left = s.walk.left.wrapping_sub(n);
    if s.walk.left == 0 {
        end_frame(s);
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
fn preface(s: &mut Scratch, available: u32) -> bool {
    let left = least(s.walk.left, 24);
    let n = least(left, available);
    let Some(at) = record::copy(s, n) else {
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
        direction: s.direction,
    }
}

#[inline(always)]
fn begin_data(s: &mut Scratch, len: u32) {
    let walk = &mut s.walk;
    walk.mode = mode::DATA;
    walk.whole = if len <= DATA_COPY_WHOLE_MAX || full() {
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
    // SAFETY: only this direction's walker, which holds the busy flag, uses the entry; if LRU gives it
    // to another stream in this instant, message boundaries of one stream are lost, which user space
    // notices.
    if let Some(message) = unsafe { MESSAGES.get(key) } {
        let walk = &mut s.walk;
        walk.message_left = message.left;
        walk.no_messages = message.no_messages;
        walk.prefix_len = message.prefix_len;
        walk.prefix = message.prefix;
        walk.had_entry = 1;
    }
}

#[inline(always)]
fn data(s: &mut Scratch, available: u32) -> bool {
    let copied = s.walk.whole != 0;
    if s.walk.pad_pending != 0 {
        let Some(at) = record::copy(s, 1) else {
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
            end_frame(s);
        }
        return true;
    }
    let body = s.walk.left.wrapping_sub(s.walk.pad as u32);
    let n;
    if body == 0 || s.walk.pad as u32 > s.walk.left {
        // Padding: it is the last thing in the frame, so that `left` reaches 0 with it.
        s.walk.pad = 0;
        s.walk.no_messages |= PADDING;
        let Some(taken) = take(s, least(s.walk.left, available), copied) else {
            return false;
        };
        n = taken;
    } else if s.walk.no_messages != 0 {
        let Some(taken) = take(s, least(body, available), copied) else {
            return false;
        };
        n = taken;
    } else if s.walk.message_left == 0 {
        let Some(taken) = prefix(s, least(body, available)) else {
            return false;
        };
        n = taken;
    } else {
        let Some(taken) = take(
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
        end_frame(s);
    }
    true
}

/// Bit of [`Walk::no_messages`] while padding goes by: it is not the stream's state.
const PADDING: u8 = 0x80;

/// Reads (a piece of) a gRPC message prefix: one byte flag, four bytes length, big endian.
#[inline(always)]
fn prefix(s: &mut Scratch, available: u32) -> Option<u32> {
    let have = least(s.walk.prefix_len as u32, 4);
    let n = least(5 - have, available);
    let at = record::copy(s, n)?;
    if !gather(s, at, offset_of!(Walk, prefix), have, n) {
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
fn forget_message(s: &mut Scratch) {
    let key = key(s);
    if MESSAGES.remove(key).is_ok() {
        s.walk.tracked = s.walk.tracked.saturating_sub(1);
    }
}

/// The frame's last byte went by.
#[inline(always)]
fn end_frame(s: &mut Scratch) {
    let was_data = s.walk.mode == mode::DATA;
    s.walk.mode = mode::HEADER;
    s.walk.partial_len = 0;
    if was_data {
        remember_message(s);
    }
}

/// Keeps the stream's place within its message until its next DATA frame.
#[inline(always)]
fn remember_message(s: &mut Scratch) {
    let walk = &s.walk;
    let no_messages = walk.no_messages & !PADDING;
    let at_boundary = walk.message_left == 0 && walk.prefix_len == 0 && no_messages == 0;
    if at_boundary || walk.flags & END_STREAM != 0 {
        if walk.had_entry != 0 {
            forget_message(s);
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
    if MESSAGES.insert(key(s), message, 0).is_ok() && !had_entry {
        s.walk.tracked = s.walk.tracked.saturating_add(1);
    }
}

/// `n` bytes went by that cannot be looked at. True when the place is still known.
#[inline(always)]
pub(crate) fn pass(s: &mut Scratch, n: u32) -> bool {
    let walk = &mut s.walk;
    match walk.mode {
        mode::PAYLOAD | mode::SKIP if n <= walk.left => {
            walk.copy_left = walk.copy_left.saturating_sub(n);
            walk.left -= n;
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
    if walk.left == 0 {
        end_frame(s);
    }
    true
}

/// Bytes that the walker knows nothing of any more.
#[inline(always)]
pub(crate) fn lose(walk: &mut Walk) {
    walk.mode = mode::SEEK;
    walk.trusted = trusted::NO;
    walk.plausible = 0;
    walk.partial_len = 0;
    walk.first = 0;
    walk.left = 0;
    walk.opening = Opening::NEW;
}
