//! The record walker: follows TLS records through the bytes of one direction, as the frame walker follows frames.
//!
//! What is not application data is copied, for the hellos and alerts in it; of application data the header alone, unless
//! all is wanted.

use core::mem::offset_of;

use super::{
    Machine,
    frames::{copied, gather, least, take},
    record,
    state::{CALLS_MAX, CHUNK, Scratch, Socket, Walk, mode, trusted, verdict},
};
use crate::{
    config,
    event::{ALERT_COPY_MAX, HANDSHAKE_COPY_MAX, class},
    tls::{Offer, RecordHead, content},
};

/// Length of a record's header.
const HEAD: u32 = RecordHead::LEN as u32;

/// Records in a row after which a connection that is older than the tracer counts as TLS.
const PLAUSIBLE: u8 = 3;

/// Calls of an undecided socket that may begin with a record, at most, before it rests.
const TRIES_MAX: u8 = 8;

/// Does the call begin with a record? If so, the walker stands at its header. `n` bytes were looked at.
#[inline(always)]
pub fn begins<M: Machine>(m: M, s: &mut Scratch, socket: &mut Socket, n: u32) -> bool {
    if m.tls() == config::tls::OFF || n < HEAD {
        return false;
    }
    let starting = s.walk.mode == mode::START;
    if !starting && socket.verdict != verdict::TLS && has_often_failed(socket) {
        return false;
    }
    let may_be = socket.verdict == verdict::TLS
        || (socket.verdict == verdict::UNDECIDED && !speaks_frames(s, socket));
    let [h0, h1, h2, h3, h4, ..] = s.peek;
    let head = RecordHead::parse([h0, h1, h2, h3, h4]);
    if !may_be || !head.is_plausible(starting) || !(starting || leads_on(m, s, head.len)) {
        return false;
    }
    let walk = &mut s.walk;
    walk.mode = mode::RECORD;
    walk.partial_len = 0;
    walk.plausible = 0;
    walk.message_left = HANDSHAKE_COPY_MAX;
    walk.offer = Offer::UNTOLD;
    walk.trusted = trusted::NO;
    if starting {
        walk.offer = Offer::NEW;
        walk.trusted = trusted::FROM_START;
        socket.verdict = verdict::TLS;
    }
    true
}

/// A record may begin with this byte.
#[inline(always)]
pub fn may_begin(byte: u8) -> bool {
    matches!(
        byte,
        content::CHANGE_CIPHER_SPEC..=content::APPLICATION_DATA
    )
}

/// Of a connection that is older than the tracer: what looked like records was none again and again. One that rests is
/// looked at now and then, so it may be tried there for ever.
#[inline(always)]
fn has_often_failed(socket: &Socket) -> bool {
    socket.calls >= TRIES_MAX && socket.calls < CALLS_MAX
}

/// The other direction speaks HTTP/2.
#[inline(always)]
fn speaks_frames(s: &Scratch, socket: &Socket) -> bool {
    let other = (s.direction & 1 ^ 1) as usize;
    matches!(socket.walks[other].mode, mode::PREFACE..=mode::SKIP)
}

/// Of an unknown place: another record follows where the first one of `len` bytes ends, if that can be seen.
#[inline(always)]
fn leads_on<M: Machine>(m: M, s: &Scratch, len: u32) -> bool {
    let next = (HEAD + len) as u64;
    if next + HEAD as u64 > s.chunk_len || next + HEAD as u64 > s.remaining as u64 {
        return true;
    }
    match m.read::<[u8; RecordHead::LEN]>(s.chunk + next) {
        Some(head) => RecordHead::parse(head).is_plausible(false),
        None => false,
    }
}

/// Mode RECORD.
#[inline(always)]
pub fn header<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let have = s.walk.partial_len as u32;
    let n = least(HEAD - least(have, HEAD), available);
    let Some(at) = record::copy(m, s, n) else {
        return false;
    };
    let head = if n == HEAD {
        RecordHead::parse(copied(s, at))
    } else {
        if !gather(m, s, at, offset_of!(Walk, partial), have, n) {
            return false;
        }
        if have + n < HEAD {
            s.walk.partial_len = (have + n) as u8;
            return true;
        }
        let [h0, h1, h2, h3, h4, ..] = s.walk.partial;
        RecordHead::parse([h0, h1, h2, h3, h4])
    };
    s.walk.partial_len = 0;
    if !head.is_plausible(s.walk.trusted == trusted::FROM_START) {
        record::take_back(s, n);
        s.desync = 1;
        return false;
    }
    let walk = &mut s.walk;
    walk.frame_type = head.kind;
    walk.left = head.len;
    walk.mode = mode::FRAGMENT;
    if head.kind == content::HANDSHAKE {
        walk.copy_left = least(head.len, walk.message_left);
        walk.message_left -= walk.copy_left;
    } else {
        walk.offer = walk.offer.ended();
        walk.copy_left = if head.kind == content::APPLICATION_DATA {
            0
        } else {
            least(head.len, ALERT_COPY_MAX)
        };
    }
    if head.len == 0 {
        end(walk);
    }
    true
}

/// Mode FRAGMENT.
#[inline(always)]
pub fn fragment<M: Machine>(m: M, s: &mut Scratch, available: u32) -> bool {
    let is_all = m.tls() == config::tls::FULL;
    let mut n = least(s.walk.left, available);
    if s.walk.offer.is_read() {
        let run = s.walk.offer.passes();
        n = least(n, if run == 0 { 1 } else { least(run, CHUNK) });
        let Some(at) = record::copy(m, s, n) else {
            return false;
        };
        s.walk.offer = if run == 0 {
            s.walk.offer.next(copied::<u8>(s, at))
        } else {
            s.walk.offer.pass(n)
        };
    } else {
        let is_copied = is_all || s.walk.copy_left != 0;
        if is_copied && !is_all {
            n = least(n, s.walk.copy_left);
        }
        let Some(taken) = take(m, s, n, is_copied) else {
            return false;
        };
        n = taken;
    }
    pass(&mut s.walk, n);
    true
}

/// `n` bytes of a record went by, which has so many.
#[inline(always)]
pub fn pass(walk: &mut Walk, n: u32) {
    walk.copy_left = walk.copy_left.saturating_sub(n);
    walk.left = walk.left.wrapping_sub(n);
    walk.partial_len = 0;
    if walk.left == 0 {
        end(walk);
    }
}

/// The record's last byte went by.
#[inline(always)]
fn end(walk: &mut Walk) {
    walk.mode = mode::RECORD;
    walk.stream = walk.stream.wrapping_add(1);
    walk.plausible = walk.plausible.saturating_add(1);
    walk.offer = walk.offer.ended();
}

/// After the walk of a call: what its records say of the socket. A connection of which the client offers other protocols
/// than HTTP/2 is given up when the server has answered.
#[inline(always)]
pub fn judge(s: &mut Scratch, socket: &mut Socket) {
    if s.walk.plausible >= PLAUSIBLE && socket.verdict == verdict::UNDECIDED {
        socket.verdict = verdict::TLS;
    }
    if s.walk.offer.is_of_others() {
        socket.offers_others = 1;
    } else if socket.offers_others != 0 && s.walk.plausible != 0 {
        s.class = class::TLS;
        s.certain = 1;
    }
}
