//! The bytes of one call, whose socket is known and whose buffers were looked for.

use super::{
    Machine, Part, Step, TURNS_MAX, frames,
    recognise::{Recognised, recognise},
    record,
    state::{CALLS_MAX, Scratch, Socket, mode, told, verdict},
    tls,
};
use crate::{
    config,
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
    if s.walk.mode >= mode::RECORD {
        return located_tls(m, s, socket);
    }
    m.count(Counter::BytesSeen, s.returned as u64);
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
}

/// The call's bytes are records of TLS: what can be opened of them is told as frames.
#[inline(always)]
fn located_tls<M: Machine>(m: M, s: &mut Scratch, socket: &mut Socket) {
    s.slot = if m.tls() == config::tls::FULL {
        m.slot(s)
    } else {
        0
    };
    let mut turn = 0;
    while turn < TURNS_OF_A_CALL {
        let behind = if s.slot != 0 {
            m.run(s, Part::Opened) as u32
        } else {
            0
        };
        if s.remaining != 0 {
            m.run(s, Part::Records);
        }
        if s.desync != 0 {
            s.walk.offset = s.walk.offset.wrapping_add((s.remaining + behind) as u64);
            return;
        }
        if behind == 0 {
            break;
        }
        s.remaining = behind;
        turn += 1;
    }
    if s.multi != 0 && s.direction == direction::TX as u32 {
        m.cut_short(s);
    }
    tls::judge(s, socket);
}

/// Parts of one call that are told as records, and as frames, in turn: the end of a record, frames, and what begins
/// with something unusual.
const TURNS_OF_A_CALL: u32 = 2;

/// Tells what remains of the call as records.
#[inline(always)]
pub fn records<M: Machine>(m: M, s: &mut Scratch) -> u64 {
    record::begin(s);
    m.repeat(s, TURNS_MAX, Step::Walk);
    if s.desync == 0 && s.remaining != 0 {
        if s.iovecs == 0 && s.chunk_len == 0 {
            m.count(Counter::IovecLimit, 1);
        } else {
            m.count(Counter::StepLimit, 1);
        }
        rest(m, s);
    }
    record::flush(m, s);
    0
}

/// The call's buffers are not known, or hold nothing of it.
#[inline(always)]
pub fn unlocated<M: Machine>(m: M, s: &mut Scratch, socket: &mut Socket) {
    if s.unseen == unseen::NONE {
        // The call is known, and its arguments could not be read.
        s.unseen = unseen::OTHER;
    }
    count_unseen(m, s);
    s.slot = 0;
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
