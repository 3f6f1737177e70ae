//! The bytes of one call, whose socket is known and whose buffers were looked for.

use super::{
    Machine, Part, frames,
    recognise::{Recognised, recognise},
    record,
    state::{CALLS_MAX, Scratch, Socket, mode, told, verdict},
    tls,
};
use crate::{
    counter::Counter,
    event::{class, direction, unseen},
};

/// The call's buffers are known.
#[inline(always)]
pub fn located<M: Machine>(m: M, s: &mut Scratch, socket: &mut Socket) {
    if matches!(s.walk.mode, mode::START | mode::SEEK | mode::PREFACE) {
        let rested = socket.calls >= CALLS_MAX;
        let found = recognise(m, s, socket);
        if !rested || matches!(found, Recognised::Frames) {
            m.announce(s, socket);
        }
        match found {
            Recognised::Frames => {}
            Recognised::Nothing => {
                s.walk.offset = s.walk.offset.wrapping_add(s.remaining as u64);
                if socket.verdict == verdict::HTTP2 {
                    m.count(Counter::BytesSeen, s.returned as u64);
                }
                return;
            }
            Recognised::Other => {
                if s.class == class::HTTP1 {
                    m.unrecognised(s, class::HTTP1, true);
                }
                s.walk.offset = s.walk.offset.wrapping_add(s.remaining as u64);
                return;
            }
        }
    }
    let is_tls = s.walk.mode >= mode::RECORD;
    if !is_tls {
        m.count(Counter::BytesSeen, s.returned as u64);
    }
    record::begin(s);
    m.run(s, Part::Walk);
    if s.class != 0 {
        // The preface or the first frame was none: what was gathered means nothing.
        s.walk.offset = s.walk.offset.wrapping_add(s.remaining as u64);
        return;
    }
    if s.multi != 0 && s.direction == direction::TX as u32 && s.remaining == 0 {
        m.cut_short(s);
    }
    if s.desync == 0 && s.remaining != 0 {
        // Memory that could not be read was counted where it happened.
        if s.iovecs == 0 && s.chunk_len == 0 {
            m.count(Counter::IovecLimit, 1);
        } else {
            m.count(Counter::StepLimit, 1);
        }
        rest(m, s);
    }
    if s.desync != 0 {
        record::flush(m, s);
        s.walk.offset = s.walk.offset.wrapping_add(s.remaining as u64);
        return;
    }
    record::flush(m, s);
    if is_tls {
        tls::judge(s, socket);
    }
}

/// The call's buffers are not known, or hold nothing of it.
#[inline(always)]
pub fn unlocated<M: Machine>(m: M, s: &mut Scratch, socket: &mut Socket) {
    if s.unseen == unseen::NONE {
        // The call is known, and its arguments could not be read.
        s.unseen = unseen::OTHER;
    }
    count_unseen(m, s);
    m.announce(s, socket);
    if s.walk.mode == mode::START || s.walk.mode == mode::SEEK {
        m.count(Counter::NoBuffer, 1);
        frames::lose(&mut s.walk);
        // Of what may never turn out to be HTTP/2 the reason is told once.
        if socket.verdict == verdict::HTTP2 || socket.told & told::UNSEEN == 0 {
            if socket.verdict != verdict::HTTP2 {
                socket.told |= told::UNSEEN;
            }
            let n = s.remaining;
            record::begin(s);
            record::hole(s, n);
            record::flush(m, s);
        } else {
            s.walk.offset = s.walk.offset.wrapping_add(s.returned as u64);
        }
        return;
    }
    if s.walk.mode < mode::RECORD {
        m.count(Counter::BytesSeen, s.returned as u64);
    }
    record::begin(s);
    rest(m, s);
    if s.desync != 0 {
        m.count(Counter::NoBuffer, 1);
    }
    record::flush(m, s);
}

/// Counts the bytes of a call whose buffer is not known, by reason.
#[inline(always)]
fn count_unseen<M: Machine>(m: M, s: &Scratch) {
    let counter = match s.unseen {
        unseen::IO_URING => Counter::UnseenIoUring,
        unseen::SPLICE => Counter::UnseenSplice,
        unseen::COMPAT => Counter::UnseenCompat,
        unseen::THROWN_AWAY => Counter::UnseenThrownAway,
        _ => Counter::UnseenOther,
    };
    m.count(counter, s.returned as u64);
}

/// What remains of the call is a hole.
#[inline(always)]
fn rest<M: Machine>(m: M, s: &mut Scratch) {
    let n = s.remaining;
    if !frames::pass(m, s, n) {
        s.desync = 1;
    }
    record::hole(s, n);
}
