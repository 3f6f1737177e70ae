//! What does this direction speak? Asked at the start of a call, while the place within the frames is
//! not known.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use tracer_ebpf::event::{class, direction, family::UNIX};

use crate::{
    frame_walk::{PREFACE, frame_type, plausible},
    instruction::{bound, mask_below},
    record, search,
    state::{Scratch, Socket, mode, told, trusted, verdict},
};

/// Calls without anything recognisable after which a socket is given up.
const CALLS_MAX: u8 = 32;

/// Calls of an HTTP/1 connection that are checked for an upgrade.
const HTTP1_CALLS_MAX: u8 = 16;

/// What was recognised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recognised {
    /// The walker knows where it stands.
    Frames,
    /// Nothing; perhaps in the next call.
    Nothing,
    /// Another protocol; [`Scratch::class`] says which.
    Other,
}

/// Reads the first bytes of the call; how many.
#[inline(always)]
fn peek(s: &mut Scratch) -> u32 {
    let mut n = 63;
    if s.chunk_len < n {
        n = s.chunk_len;
    }
    if (s.remaining as u64) < n {
        n = s.remaining as u64;
    }
    let n = bound::<63>(n);
    // SAFETY: at most 63 of 64 bytes.
    let result =
        unsafe { bpf_probe_read_user(s.peek.as_mut_ptr().cast(), n as u32, s.chunk as *const _) };
    if result == 0 { n as u32 } else { 0 }
}

/// True when all of the first `n` bytes, 24 at most, are the preface's.
#[inline(never)]
fn begins_preface(s: &Scratch, n: u32) -> bool {
    let mut different = 0;
    let mut i = 0;
    while i < 24 {
        different |= (s.peek[i] ^ PREFACE[i]) & mask_below(i as u64, n as u64) as u8;
        i += 1;
    }
    different == 0
}

#[inline(never)]
fn class_of(s: &Scratch, n: u32) -> u8 {
    let [b0, b1, b2, b3, ..] = s.peek;
    if n >= 3 && b0 >= 0x14 && b0 <= 0x17 && b1 == 3 && b2 <= 4 {
        return class::TLS;
    }
    if n == 1 && b0 == 0x16 {
        return class::TLS;
    }
    if n >= 4 {
        let text = u32::from_be_bytes([b0, b1, b2, b3]);
        let methods = [
            *b"GET ", *b"POST", *b"PUT ", *b"HEAD", *b"DELE", *b"OPTI", *b"PATC", *b"CONN",
            *b"TRAC", *b"HTTP",
        ];
        let mut i = 0;
        while i < methods.len() {
            if text == u32::from_be_bytes(methods[i]) {
                return class::HTTP1;
            }
            i += 1;
        }
    }
    class::OTHER
}

#[inline(always)]
fn other(s: &mut Scratch, class: u8) -> Recognised {
    s.class = class;
    Recognised::Other
}

#[inline(always)]
fn to_preface(s: &mut Scratch) -> Recognised {
    s.walk.mode = mode::PREFACE;
    s.walk.left = 24;
    Recognised::Frames
}

/// At the first byte of a call, mode START or SEEK. `socket` is the call's.
#[inline(never)]
pub(crate) fn recognise(s: &mut Scratch, socket: &mut Socket) -> Recognised {
    let n = peek(s);
    if n == 0 {
        return Recognised::Nothing;
    }
    let starting = s.walk.mode == mode::START;
    // Without sequence numbers (AF_UNIX), the first call that was ever seen may begin the connection.
    let first_call = socket.placed == 0 && s.walk.offset == 0 && socket.told & told::OPEN == 0;
    if begins_preface(s, n) && (n >= 3 || starting || first_call) {
        if first_call {
            socket.from_start = 1;
            socket.walks[0].mode = mode::START;
            socket.walks[1].mode = mode::START;
        }
        return to_preface(s);
    }
    if socket.verdict == verdict::HTTP1 {
        return upgrade(s, socket, n);
    }
    let [l2, l1, l0, kind, flags, s3, s2, s1, s0, ..] = s.peek;
    let len = (l2 as u32) << 16 | (l1 as u32) << 8 | l0 as u32;
    let stream = u32::from_be_bytes([s3, s2, s1, s0]);
    let is_frame = n >= 9 && plausible(len, kind, flags, stream);
    let is_first = is_frame && kind == frame_type::SETTINGS && flags & 1 == 0;
    if starting {
        if is_first || (n < 9 && l2 == 0) {
            s.walk.mode = mode::HEADER;
            s.walk.first = 1;
            s.walk.trusted = trusted::FROM_START;
            return Recognised::Frames;
        }
        return other(s, class_of(s, n));
    }
    if is_frame {
        s.walk.mode = mode::HEADER;
        s.walk.plausible = 0;
        // A server may send SETTINGS before it reads the preface. If the preface does come, this was
        // the beginning.
        let begins = is_first && s.walk.offset == 0 && socket.family == UNIX;
        s.walk.trusted = if begins {
            trusted::FROM_START
        } else {
            trusted::NO
        };
        return Recognised::Frames;
    }
    if socket.verdict != verdict::UNDECIDED {
        // HTTP/2 for certain, but its place in this direction was lost or never known.
        search::frame(s);
        if s.found == u32::MAX {
            return Recognised::Nothing;
        }
        s.walk.mode = mode::SKIP;
        s.walk.left = s.found;
        s.walk.plausible = 0;
        s.walk.trusted = trusted::NO;
        return Recognised::Frames;
    }
    let class = class_of(s, n);
    if class != class::OTHER {
        return other(s, class);
    }
    socket.calls += 1;
    if socket.calls >= CALLS_MAX {
        other(s, class::OTHER)
    } else {
        Recognised::Nothing
    }
}

/// HTTP/1: does it become HTTP/2 here (RFC 7540 section 3.2)?
#[inline(always)]
fn upgrade(s: &mut Scratch, socket: &mut Socket, n: u32) -> Recognised {
    let told = if s.direction == direction::TX as u32 {
        told::HTTP1_TX
    } else {
        told::HTTP1_RX
    };
    if socket.told & told == 0 {
        socket.told |= told;
        record::unrecognised(s, class::HTTP1, true);
    }
    let switching = n >= 12
        && u64::from_be_bytes([
            s.peek[0], s.peek[1], s.peek[2], s.peek[3], s.peek[4], s.peek[5], s.peek[6], s.peek[7],
        ]) == u64::from_be_bytes(*b"HTTP/1.1")
        && u32::from_be_bytes([s.peek[8], s.peek[9], s.peek[10], s.peek[11]])
            == u32::from_be_bytes(*b" 101");
    if switching {
        search::head(s);
        if s.head_len != 0 && s.h2c != 0 {
            // The frames of this direction begin behind the head, those of the other at its preface.
            s.walk.mode = mode::SKIP;
            s.walk.left = s.head_len;
            s.walk.first = 1;
            s.walk.trusted = trusted::FROM_START;
            socket.verdict = verdict::HTTP2;
            return Recognised::Frames;
        }
    }
    socket.calls += 1;
    if socket.calls >= HTTP1_CALLS_MAX {
        socket.verdict = verdict::OTHER;
    }
    Recognised::Nothing
}
