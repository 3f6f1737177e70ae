//! Connections that user space has opened: their records are opened here, too, as far as frames have to be read, and
//! frames are told instead of records.
//!
//! AES-GCM in counter mode: the key stream is made where bytes are copied, and nowhere else. Nothing is authenticated:
//! that these are the keys has been proven by who handed them over, and where frames begin is believed when it has seen
//! the same. Whatever is unusual is told as records again, from where it begins, for who has the whole engine.
//!
//! What a record of TLS 1.3 carries stands behind its content. Of one that is not at hand as a whole frames are told
//! all the same, and that it is not known yet whether they are any.

use core::mem::offset_of;

use super::{
    Machine, Step, TURNS_MAX,
    frames::{self, copied, least},
    record,
    state::{Message, MessageKey, POSITION_MASK, Scratch, Socket, Walk, mode, trusted},
    stream::{unseal, unseal_here},
};
use crate::{
    counter::Counter,
    event::confidence,
    http2::{DEFAULT_MAX_FRAME_SIZE, Head},
    instruction::bound,
    opened::{Cursor, Keys, phase, stage},
    tls::{RecordHead, content},
};

/// Length of a record's header.
const HEAD: u32 = RecordHead::LEN as u32;

/// Bytes of a record's tag.
const TAG: u32 = 16;

/// Bytes of the nonce that a record of TLS 1.2 brings (RFC 5288 section 3).
const EXPLICIT: u32 = 8;

/// The same machine, where what is read has to be opened.
#[derive(Clone, Copy)]
struct Opening<M>(M);

impl<M: Machine> Machine for Opening<M> {
    const OPENS: bool = true;

    #[inline(always)]
    unsafe fn read_user(self, target: *mut u8, len: u32, address: u64) -> bool {
        // SAFETY: as the caller promises.
        unsafe { self.0.read_user(target, len, address) }
    }

    #[inline(always)]
    unsafe fn copy(self, target: *mut u8, len: u32, source: *const u8) -> bool {
        // SAFETY: as the caller promises.
        unsafe { self.0.copy(target, len, source) }
    }

    #[inline(always)]
    fn full_payload(self) -> bool {
        false
    }

    #[inline(always)]
    fn tls(self) -> u32 {
        self.0.tls()
    }

    #[inline(always)]
    fn message(self, key: &MessageKey) -> Option<Message> {
        self.0.message(key)
    }

    #[inline(always)]
    fn keep_message(self, key: &MessageKey, message: &Message) -> bool {
        self.0.keep_message(key, message)
    }

    #[inline(always)]
    fn forget_message(self, key: &MessageKey) -> bool {
        self.0.forget_message(key)
    }

    #[inline(always)]
    fn count(self, counter: Counter, n: u64) {
        self.0.count(counter, n);
    }

    #[inline(always)]
    fn write(self, record: *const u8, len: u64) {
        self.0.write(record, len);
    }

    #[inline(always)]
    fn announce(self, _: &mut Scratch, _: &mut Socket) {}

    #[inline(always)]
    fn unrecognised(self, _: &mut Scratch, _: u8, _: bool) {}

    #[inline(always)]
    fn cut_short(self, _: &mut Scratch) {}

    #[inline(always)]
    fn slot(self, _: &Scratch) -> u32 {
        0
    }

    #[inline(always)]
    fn keys(self, s: &Scratch) -> Option<*const Keys> {
        self.0.keys(s)
    }

    #[inline(always)]
    fn place(self, s: &Scratch) -> Option<*mut Cursor> {
        self.0.place(s)
    }

    /// What is read must be opened, so nothing is read that is not asked for.
    #[inline(always)]
    fn ahead(self) -> u32 {
        0
    }

    #[inline(always)]
    fn unseal(self, s: &mut Scratch, at: u64, n: u32) {
        unseal(self.0, s, at, n);
    }
}

/// Takes of a call what can be taken here. How many bytes of it come behind those that are still to be told as records.
///
/// In three parts, of which the first and the last have stack frames of their own: below the middle one there is no room
/// for theirs.
#[inline(always)]
pub fn walk<M: Machine>(m: M, s: &mut Scratch) -> u64 {
    if !prepare(m, s) {
        return 0;
    }
    m.repeat(s, TURNS_MAX, Step::Opened);
    finish(m, s)
}

/// False: there are no keys.
#[inline(never)]
fn prepare<M: Machine>(m: M, s: &mut Scratch) -> bool {
    let Some(keys) = m.keys(s) else { return false };
    let Some(place) = m.place(s) else {
        return false;
    };
    // SAFETY: both point to values of the map; the keys are read once for each decision, and may change in between.
    let (generation, confirmed, rejected) = unsafe {
        s.place = *place;
        ((*keys).generation, (*keys).confirmed, (*keys).rejected)
    };
    if generation == 0 {
        return false;
    }
    take_up(s, generation);
    s.behind_kept = 0;
    let trial = s.place.trial.wrapping_add(1);
    if s.place.phase == phase::TRIAL && rejected == trial {
        s.place.phase = phase::IDLE;
    }
    if s.place.phase == phase::TRIAL && confirmed == trial {
        // Up to the end of the record at hand the bytes are told as they are.
        let n = if s.place.stage != stage::HEADER {
            s.place.left
        } else if s.place.gathered != 0 {
            s.remaining
        } else {
            0
        };
        if n == 0 {
            s.place.phase = phase::OPENED;
            s.place.frames.trusted = trusted::YES;
        } else if n < s.remaining {
            s.behind_kept = s.remaining - n;
            s.remaining = n;
        }
    }
    s.outer = s.walk;
    s.walk = s.place.frames;
    s.outer_confidence = s.confidence;
    s.confidence = confidence::PREFACE;
    s.trial = s.place.trial.wrapping_add(1);
    s.stream_block = 0;
    s.confirms = 0;
    s.silent = (s.place.phase != phase::OPENED) as u8;
    s.kept = [s.chunk, s.chunk_len, s.iovec];
    s.kept_len = [s.iovecs, s.remaining];
    record::begin(s);
    true
}

/// How many bytes come behind those that are told as records.
#[inline(never)]
fn finish<M: Machine>(m: M, s: &mut Scratch) -> u64 {
    s.desync = 0;
    if s.silent != 0 {
        after_silence(s);
    } else {
        record::flush(Opening(m), s);
        if s.remaining != 0 {
            s.place.phase = phase::IDLE;
            s.place.unsure = 0;
        }
        set_outer(s);
    }
    s.silent = 0;
    s.trial = 0;
    s.stream = [0; 4];
    s.confidence = s.outer_confidence;
    s.place.frames = s.walk;
    s.walk = s.outer;
    if let Some(place) = m.place(s) {
        // SAFETY: a value of the map, of which this is the only writer: who walks a direction has it for itself.
        unsafe { *place = s.place };
    }
    s.behind_kept as u64
}

/// The place must be where the records are.
#[inline(always)]
fn take_up(s: &mut Scratch, generation: u32) {
    let place = &mut s.place;
    let walk = &s.walk;
    if place.generation == generation && place.offset == walk.offset {
        return;
    }
    place.generation = generation;
    place.phase = phase::IDLE;
    place.offset = walk.offset;
    place.records = walk.stream;
    place.unsure = 0;
    if walk.mode == mode::RECORD {
        place.stage = stage::HEADER;
        place.gathered = walk.partial_len;
        let [h0, h1, h2, h3, h4, ..] = walk.partial;
        place.head = [h0, h1, h2, h3, h4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    } else {
        place.stage = stage::PASSED;
        place.left = walk.left;
        place.gathered = 0;
    }
}

/// Frames were followed, and nothing was told. The call's bytes are as they were before.
#[inline(always)]
fn after_silence(s: &mut Scratch) {
    if s.remaining != 0 {
        // Memory that cannot be read, or too many steps: told by who goes next.
        s.place.phase = phase::IDLE;
        s.place.generation = 0;
    }
    [s.chunk, s.chunk_len, s.iovec] = s.kept;
    [s.iovecs, s.remaining] = s.kept_len;
    s.total = 0;
    s.ahead = 0;
    s.begun = 0;
}

/// Frames were told. What remains of the call is for who tells records: the records' walker goes on where they ended.
#[inline(always)]
fn set_outer(s: &mut Scratch) {
    let [_, all] = s.kept_len;
    let outer = &mut s.outer;
    let place = &s.place;
    outer.offset = outer.offset.wrapping_add((all - s.remaining) as u64);
    outer.stream = place.records;
    let [h0, h1, h2, h3, h4, ..] = place.head;
    outer.partial = [h0, h1, h2, h3, h4, 0, 0, 0, 0];
    outer.copy_left = 0;
    if place.stage == stage::HEADER {
        outer.mode = mode::RECORD;
        outer.partial_len = place.gathered;
    } else {
        outer.mode = mode::FRAGMENT;
        outer.left = place.left;
        outer.frame_type = content::APPLICATION_DATA;
        // Its header was told nobody.
        outer.partial_len = if place.left == place.len {
            HEAD as u8
        } else {
            0
        };
    }
}

/// One step; false ends the walk.
#[inline(always)]
pub fn step<M: Machine>(m: M, s: &mut Scratch) -> bool {
    if s.remaining == 0 {
        return false;
    }
    if s.chunk_len == 0 {
        return frames::next_chunk(m, s);
    }
    if s.position > record::FLUSH_ABOVE {
        record::flush(Opening(m), s);
        record::begin(s);
    }
    let available = record::available(s);
    match s.place.stage {
        stage::HEADER => header(m, s, available),
        stage::NONCE => nonce(m, s, available),
        stage::BEGIN => begin(m, s, available),
        stage::CONTENT => content_of(m, s, available),
        stage::TRAILER => trailer(m, s, available),
        _ => {
            pass(s, least(s.place.left, available));
            end(s);
            true
        }
    }
}

/// `n` bytes went by that belong to no frame.
#[inline(always)]
fn consume(s: &mut Scratch, n: u32) {
    s.chunk = s.chunk.wrapping_add(n as u64);
    s.chunk_len = s.chunk_len.wrapping_sub(n as u64);
    s.remaining = s.remaining.wrapping_sub(n);
    s.place.offset = s.place.offset.wrapping_add(n as u64);
    s.ahead = 0;
}

/// The same behind a record's header.
#[inline(always)]
fn pass(s: &mut Scratch, n: u32) {
    consume(s, n);
    s.place.left = s.place.left.wrapping_sub(n);
}

/// The record's last byte may have gone by.
#[inline(always)]
fn end(s: &mut Scratch) {
    if s.place.left == 0 {
        s.place.records = s.place.records.wrapping_add(1);
        s.place.stage = stage::HEADER;
        s.place.gathered = 0;
        s.confirms |= s.place.unsure;
        s.place.unsure = 0;
    }
}

/// What the record carries is not for here. Whether the walk goes on.
///
/// A trial is over, too: with keys that have changed since, user space sees frames where none are seen here.
#[inline(always)]
fn leave(s: &mut Scratch) -> bool {
    let was_opened = s.place.phase == phase::OPENED;
    s.place.phase = phase::IDLE;
    if was_opened {
        return false;
    }
    s.place.stage = stage::PASSED;
    true
}

/// Reads the next bytes of a field of the place that has `all`; None when they cannot be read.
#[inline(always)]
fn gather<M: Machine>(
    m: M,
    s: &mut Scratch,
    field: usize,
    all: u32,
    available: u32,
) -> Option<u32> {
    let have = least(s.place.gathered as u32, all);
    let n = least(all - have, available);
    let have = bound::<7>(have as u64);
    let len = bound::<15>(n as u64) as u32;
    // SAFETY: the field has 16 bytes; what the masks allow beyond them is inside the scratch space.
    let read = unsafe {
        let target = (&raw mut s.place).cast::<u8>().add(field + have as usize);
        m.read_user(target, len, s.chunk)
    };
    if !read {
        m.count(Counter::Fault, 1);
        return None;
    }
    s.place.gathered = (have as u32 + n) as u8;
    Some(n)
}

#[inline(always)]
fn header<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let Some(n) = gather(m, s, offset_of!(Cursor, head), HEAD, available) else {
        return false;
    };
    consume(s, n);
    if (s.place.gathered as u32) < HEAD {
        return true;
    }
    let Some(keys) = m.keys(s) else { return false };
    // SAFETY: a value of the map.
    let (until, is_tls12) = unsafe { ((*keys).until, (*keys).is_tls12 != 0) };
    let [h0, h1, h2, h3, h4, ..] = s.place.head;
    let head = RecordHead::parse([h0, h1, h2, h3, h4]);
    let around = if is_tls12 { EXPLICIT + TAG } else { 1 + TAG };
    let place = &mut s.place;
    place.len = head.len;
    place.left = head.len;
    place.gathered = 0;
    place.unsure = 0;
    place.stage = if is_tls12 { stage::NONCE } else { stage::BEGIN };
    let is_usual = head.kind == content::APPLICATION_DATA
        && head.len >= around
        && head.len <= RecordHead::LONGEST
        && place.records < until;
    if is_usual {
        return true;
    }
    leave(s)
}

#[inline(always)]
fn nonce<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let Some(n) = gather(m, s, offset_of!(Cursor, nonce), EXPLICIT, available) else {
        return false;
    };
    pass(s, n);
    if s.place.gathered as u32 == EXPLICIT {
        s.place.stage = stage::BEGIN;
    }
    true
}

/// Bytes of the record that come before its content, and behind it.
#[inline(always)]
fn around(keys: &Keys) -> (u32, u32) {
    if keys.is_tls12 != 0 {
        (EXPLICIT, TAG)
    } else {
        (0, 1 + TAG)
    }
}

/// Before the content's first byte, which is at hand.
#[inline(always)]
fn begin<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let Some(keys) = m.keys(s) else { return false };
    // SAFETY: a value of the map.
    let keys = unsafe { &*keys };
    let (before, _) = around(keys);
    s.content_at = before;
    s.stream_block = 0;
    s.place.stage = stage::CONTENT;
    if keys.is_tls12 == 0 {
        if available < s.place.left {
            if s.place.phase == phase::OPENED && (s.total != 0 || s.confirms != 0) {
                // What is certain is told by itself.
                record::flush(Opening(m), s);
                record::begin(s);
            }
            s.place.unsure = 1;
        } else if kind(m, s) != content::APPLICATION_DATA {
            return leave(s);
        }
    }
    if s.place.phase == phase::IDLE {
        if !begins_frame(m, s, available) {
            s.place.stage = stage::PASSED;
            return true;
        }
        s.place.phase = phase::TRIAL;
        s.place.trial = s.place.records;
        s.trial = s.place.trial.wrapping_add(1);
        begin_frames(&mut s.walk);
    }
    true
}

/// A frame comes next.
#[inline(always)]
fn begin_frames(walk: &mut Walk) {
    frames::lose(walk);
    walk.mode = mode::HEADER;
    walk.offset = 0;
    walk.tracked = 0;
}

/// Reads and opens `n` bytes of the record's content, which stand so far `ahead` of the next byte: to where the record of
/// the ring goes on, until something else is copied there. None when they cannot be read.
#[inline(always)]
fn look<M: Machine>(m: M, s: &mut Scratch, ahead: u32, n: u32) -> Option<u64> {
    let at = bound::<POSITION_MASK>(s.position as u64 + 4);
    let n = bound::<15>(n as u64) as u32;
    let address = s.chunk + ahead as u64;
    // SAFETY: `out` has more room behind that place.
    if !unsafe { m.read_user(s.out.as_mut_ptr().add(at as usize), n, address) } {
        return None;
    }
    let place = s.place.len - s.place.left - s.content_at + ahead;
    unseal_here(m, s, at, place, n);
    Some(at)
}

/// What a whole record of TLS 1.3 carries; 0 when it cannot be read, or is padded.
#[inline(always)]
fn kind<M: Machine>(m: M, s: &mut Scratch) -> u8 {
    let ahead = s.place.left.wrapping_sub(1 + TAG);
    match look(m, s, ahead, 1) {
        Some(at) => copied(s, at),
        None => 0,
    }
}

/// The content at hand begins like a frame.
#[inline(always)]
fn begins_frame<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let there = least(s.place.left.wrapping_sub(1 + TAG), available);
    if there < Head::LEN as u32 {
        return false;
    }
    match look(m, s, 0, Head::LEN as u32) {
        Some(at) => Head::parse(copied(s, at)).is_plausible(DEFAULT_MAX_FRAME_SIZE),
        None => false,
    }
}

#[inline(always)]
fn content_of<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let Some(keys) = m.keys(s) else { return false };
    // SAFETY: a value of the map.
    let (before, behind) = around(unsafe { &*keys });
    s.content_at = before;
    let left = s.place.left.wrapping_sub(behind);
    if left == 0 {
        s.place.stage = stage::TRAILER;
        return true;
    }
    let remaining = s.remaining;
    let goes_on = frames::walk_on(Opening(m), s, least(left, available));
    let n = remaining.wrapping_sub(s.remaining);
    s.place.left = s.place.left.wrapping_sub(n);
    s.place.offset = s.place.offset.wrapping_add(n as u64);
    if goes_on && s.desync == 0 {
        return true;
    }
    // It is no frame, or cannot be read.
    s.desync = 0;
    leave(s)
}

#[inline(always)]
fn trailer<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let mut n = least(s.place.left, available);
    if s.place.unsure != 0 && s.place.left == 1 + TAG {
        s.content_at = 0;
        let Some(at) = look(m, s, 0, 1) else {
            m.count(Counter::Fault, 1);
            return false;
        };
        n = 1;
        if copied::<u8>(s, at) != content::APPLICATION_DATA {
            // No frames, all of it.
            pass(s, 1);
            return leave(s);
        }
    }
    pass(s, n);
    end(s);
    true
}
