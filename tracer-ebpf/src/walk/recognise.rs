//! What does this direction speak? Asked at the start of a call, while the place within the frames is
//! not known.

use super::{
    Machine, Part,
    frames::PADDED_PREFACE,
    search::{self, proxied},
    state::{CALLS_MAX, Scratch, Socket, mode, told, trusted, verdict},
    tls,
};
use crate::{
    event::{class, direction, family::UNIX},
    http2::{DEFAULT_MAX_FRAME_SIZE, Head, Opening, PREFACE, Protocol},
    instruction::{bound, mask_below},
    proxy_header::ProxyHeader,
};

/// Calls of an undecided socket that are searched for a frame; of all others the beginning is looked at alone.
const SEARCHES_MAX: u8 = 8;

/// Calls of an HTTP/1 connection that are checked for an upgrade.
const HTTP1_CALLS_MAX: u8 = 16;

/// What was recognised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Recognised {
    /// The walker knows where it stands.
    Frames,
    /// Nothing; perhaps in the next call.
    Nothing,
    /// Another protocol; [`Scratch::class`] says which.
    Other,
}

/// Reads the first bytes of the call; how many.
#[inline(always)]
fn peek<M: Machine>(m: M, s: &mut Scratch) -> u32 {
    let mut n = 63;
    if s.chunk_len < n {
        n = s.chunk_len;
    }
    if (s.remaining as u64) < n {
        n = s.remaining as u64;
    }
    let n = bound::<63>(n);
    // SAFETY: at most 63 of 64 bytes.
    if unsafe { m.read_user(s.peek.as_mut_ptr(), n as u32, s.chunk) } {
        n as u32
    } else {
        0
    }
}

/// Length of [`PREFACE`].
const PREFACE_LEN: u32 = PREFACE.len() as u32;

/// What a direction speaks that began with so many bytes of the preface and went on otherwise.
static AFTER_PREFACE: [Opening; 32] = {
    let mut openings = [Opening::NEW; 32];
    let mut i = 1;
    while i < openings.len() {
        let matched = if i < PREFACE.len() { i } else { PREFACE.len() };
        openings[i] = Opening::of(PREFACE.split_at(matched).0);
        i += 1;
    }
    openings
};

/// What a direction speaks that began with so many bytes of [`ProxyHeader::V1`] and went on otherwise.
static AFTER_LETTERS: [Opening; 8] = {
    let mut openings = [Opening::NEW; 8];
    let mut i = 1;
    while i < openings.len() {
        let letters = if i < ProxyHeader::V1.len() {
            i
        } else {
            ProxyHeader::V1.len()
        };
        openings[i] = Opening::of(ProxyHeader::V1.split_at(letters).0);
        i += 1;
    }
    openings
};

/// 1 when all of the first `n` bytes are the preface's behind its first `matched` ones, as far as it goes.
#[inline(always)]
#[must_use]
pub fn is_preface(s: &Scratch, n: u32, matched: u32) -> u64 {
    let mut different = 0;
    let mut i = 0;
    while i < PREFACE_LEN as u64 {
        let want = bound::<31>(matched as u64 + i);
        // SAFETY: within the padded preface.
        let want = unsafe { *PADDED_PREFACE.as_ptr().add(want as usize) };
        let compared = mask_below(i, n as u64) & mask_below(matched as u64 + i, PREFACE_LEN as u64);
        different |= (s.peek[i as usize] ^ want) & compared as u8;
        i += 1;
    }
    (different == 0) as u64
}

/// What the call speaks, when it is no HTTP/2: one of [`class`], or 0 while that is not certain.
#[inline(always)]
fn class_of(s: &Scratch) -> u8 {
    match s.walk.opening.protocol() {
        Some(Protocol::Http1Request | Protocol::Http1Response) => class::HTTP1,
        Some(Protocol::Tls) => class::TLS,
        Some(Protocol::Other) => class::OTHER,
        None => 0,
    }
}

#[inline(always)]
fn other(s: &mut Scratch, class: u8) -> Recognised {
    s.class = class;
    s.walk.opening = Opening::NEW;
    s.walk.proxy = ProxyHeader::NEW;
    Recognised::Other
}

/// Nothing was recognised in a call of unknown place.
#[inline(always)]
fn nothing(s: &mut Scratch) -> Recognised {
    s.walk.mode = mode::SEEK;
    s.walk.opening = Opening::NEW;
    Recognised::Nothing
}

/// At the first byte of a call, mode START, SEEK or PREFACE. `socket` is the call's.
#[inline(never)]
pub fn recognise<M: Machine>(m: M, s: &mut Scratch, socket: &mut Socket) -> Recognised {
    let mut n = peek(m, s);
    if n == 0 {
        return nothing(s);
    }
    s.certain = (s.walk.mode != mode::SEEK && socket.from_start != 0) as u8;
    if s.walk.mode == mode::PREFACE {
        let matched = PREFACE_LEN.wrapping_sub(s.walk.left);
        if m.run(s, Part::Preface { n, matched }) != 0 {
            return Recognised::Frames;
        }
        let at = bound::<31>(matched as u64);
        s.walk.mode = if s.certain != 0 {
            mode::START
        } else {
            mode::SEEK
        };
        // They were told: see `proxy_header`.
        s.walk.left = matched;
        // SAFETY: the table has 32 entries.
        s.walk.opening = unsafe { *AFTER_PREFACE.as_ptr().add(at as usize) };
        s.walk.proxy = if matched < 3 {
            ProxyHeader::after_letters(matched as u8)
        } else {
            ProxyHeader::ABSENT
        };
    }
    match proxy_header(m, s, socket) {
        proxied::ABSENT => {}
        proxied::BEHIND if s.remaining != 0 => {
            n = peek(m, s);
            if n == 0 {
                return nothing(s);
            }
        }
        _ => return Recognised::Nothing,
    }
    let starting = s.walk.mode == mode::START;
    if s.walk.opening.is_new() {
        if tls::begins(m, s, socket, n) {
            return Recognised::Frames;
        }
        if socket.verdict == verdict::TLS && !starting {
            return nothing(s);
        }
        let told = http2(m, s, socket, n, starting);
        if !matches!(told, Recognised::Other) {
            return told;
        }
    }
    if socket.calls >= CALLS_MAX {
        return nothing(s);
    }
    let whole = m.run(s, Part::Opening) != 0;
    let class = class_of(s);
    if class == class::TLS || class == class::HTTP1 {
        return other(s, class);
    }
    if socket.verdict == verdict::TLS && !tls::may_begin(s.peek[0]) {
        // Whatever it is, it is no answer to what the other side said.
        return other(s, class::OTHER);
    }
    if starting {
        let gone_by = s.walk.offset + s.remaining as u64;
        if class == class::OTHER || gone_by > Opening::LINE_MAX as u64 {
            return other(s, class::OTHER);
        }
        return if whole {
            Recognised::Nothing
        } else {
            nothing(s)
        };
    }
    socket.calls += 1;
    if socket.calls >= CALLS_MAX {
        other(s, class::OTHER)
    } else {
        nothing(s)
    }
}

/// Without sequence numbers (AF_UNIX), the first call that was ever seen may begin the connection.
#[inline(always)]
fn is_first_call(s: &Scratch, socket: &Socket) -> bool {
    socket.placed == 0 && s.walk.offset == 0 && socket.told & told::OPEN == 0
}

/// The connection is seen from its first byte, as this call shows.
#[inline(always)]
fn begins(socket: &mut Socket) {
    socket.from_start = 1;
    socket.walks[0].mode = mode::START;
    socket.walks[1].mode = mode::START;
}

/// Passes a PROXY header, where the connection begins: its bytes are not counted, the direction begins behind it.
/// (Unless the first ones were told, because they are the preface's too.) One of [`proxied`].
#[inline(always)]
fn proxy_header<M: Machine>(m: M, s: &mut Scratch, socket: &mut Socket) -> u64 {
    let starting = s.walk.mode == mode::START;
    let may_begin = starting || (s.walk.mode == mode::SEEK && is_first_call(s, socket));
    let before = s.walk.proxy;
    if !may_begin || before.is_decided() {
        return proxied::ABSENT;
    }
    if before.is_new() && s.peek[0] != b'P' && s.peek[0] != b'\r' {
        s.walk.proxy = ProxyHeader::ABSENT;
        return proxied::ABSENT;
    }
    let found = m.run(s, Part::ProxyHeader);
    if found == proxied::ABSENT {
        let letters = bound::<7>(before.letters() as u64);
        if letters != 0 {
            // SAFETY: the table has 8 entries.
            s.walk.opening = unsafe { *AFTER_LETTERS.as_ptr().add(letters as usize) };
        }
        return found;
    }
    if found == proxied::WITHIN && !s.walk.proxy.is_certain() {
        // Up to two letters are left to the preface; and nothing is known of a call that may be any.
        let letters = s.walk.proxy.letters();
        if !starting || (before.is_new() && letters != 0 && letters < 3) {
            s.walk.proxy = ProxyHeader::NEW;
            return proxied::ABSENT;
        }
        return found;
    }
    if !starting {
        begins(socket);
        s.walk.mode = mode::START;
        s.certain = 1;
    }
    if found == proxied::BEHIND {
        s.walk.opening = Opening::NEW;
        s.walk.offset = if s.walk.left == 0 {
            0
        } else {
            s.walk.offset.wrapping_add(s.searched as u64)
        };
        s.walk.left = 0;
    }
    found
}

/// Is it HTTP/2, or does it become it? Other when it looks like neither.
#[inline(always)]
fn http2<M: Machine>(
    m: M,
    s: &mut Scratch,
    socket: &mut Socket,
    n: u32,
    starting: bool,
) -> Recognised {
    let first_call = is_first_call(s, socket);
    if m.run(s, Part::Preface { n, matched: 0 }) != 0 && (n >= 3 || starting || first_call) {
        if first_call {
            begins(socket);
        }
        s.walk.mode = mode::PREFACE;
        s.walk.left = PREFACE_LEN;
        return Recognised::Frames;
    }
    if socket.verdict == verdict::HTTP1 {
        return upgrade(m, s, socket, n);
    }
    let [h0, h1, h2, h3, h4, h5, h6, h7, h8, ..] = s.peek;
    let head = Head::parse([h0, h1, h2, h3, h4, h5, h6, h7, h8]);
    let is_frame = n >= Head::LEN as u32 && head.is_plausible(DEFAULT_MAX_FRAME_SIZE);
    let is_first = is_frame && head.begins_connection();
    if starting {
        if is_first || (n < Head::LEN as u32 && h0 == 0) {
            s.walk.mode = mode::HEADER;
            s.walk.first = 1;
            s.walk.trusted = trusted::FROM_START;
            return Recognised::Frames;
        }
        return Recognised::Other;
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
    let certain = socket.verdict != verdict::UNDECIDED;
    if certain || socket.calls < SEARCHES_MAX {
        // The place in this direction was lost or never known.
        let found = m.run(s, Part::Frame);
        if found != search::NOT_FOUND {
            s.walk.mode = mode::SKIP;
            s.walk.left = found as u32;
            s.walk.plausible = 0;
            s.walk.trusted = trusted::NO;
            return Recognised::Frames;
        }
        if certain {
            return nothing(s);
        }
    }
    Recognised::Other
}

/// HTTP/1: does it become HTTP/2 here (RFC 7540 section 3.2)?
#[inline(always)]
fn upgrade<M: Machine>(m: M, s: &mut Scratch, socket: &mut Socket, n: u32) -> Recognised {
    let told = if s.direction == direction::TX as u32 {
        told::HTTP1_TX
    } else {
        told::HTTP1_RX
    };
    if socket.told & told == 0 {
        socket.told |= told;
        m.unrecognised(s, class::HTTP1, true);
    }
    let switching = n >= 12
        && u64::from_be_bytes([
            s.peek[0], s.peek[1], s.peek[2], s.peek[3], s.peek[4], s.peek[5], s.peek[6], s.peek[7],
        ]) == u64::from_be_bytes(*b"HTTP/1.1")
        && u32::from_be_bytes([s.peek[8], s.peek[9], s.peek[10], s.peek[11]])
            == u32::from_be_bytes(*b" 101");
    if switching {
        let head_len = m.run(s, Part::Head);
        if head_len != 0 {
            // The frames of this direction begin behind the head, those of the other at its preface.
            s.walk.mode = mode::SKIP;
            s.walk.left = head_len as u32;
            s.walk.first = 1;
            s.walk.trusted = trusted::FROM_START;
            socket.verdict = verdict::HTTP2;
            return Recognised::Frames;
        }
    }
    socket.calls += 1;
    if socket.calls >= HTTP1_CALLS_MAX {
        if socket.proven != 0 {
            socket.verdict = verdict::OTHER;
        } else {
            rest(socket);
        }
    }
    nothing(s)
}

/// The call is no HTTP/2, as [`Scratch::class`] says: what that says of the socket. True when it is to be told.
#[inline(always)]
pub fn judge(s: &Scratch, socket: &mut Socket) -> bool {
    if s.class == class::HTTP1 {
        socket.verdict = verdict::HTTP1;
        socket.proven = s.certain;
        socket.calls = 0;
        socket.walks[0].mode = mode::SEEK;
        socket.walks[1].mode = mode::SEEK;
        socket.told |= if s.direction == direction::TX as u32 {
            told::HTTP1_TX
        } else {
            told::HTTP1_RX
        };
        return false;
    }
    if s.certain != 0 {
        socket.verdict = verdict::OTHER;
    } else {
        rest(socket);
    }
    true
}

/// Nothing proves what it speaks: it is taken up, and announced anew, when a call begins with a frame.
#[inline(always)]
fn rest(socket: &mut Socket) {
    socket.verdict = verdict::UNDECIDED;
    socket.calls = CALLS_MAX;
    socket.told &= !told::OPEN;
    socket.walks[0].mode = mode::SEEK;
    socket.walks[1].mode = mode::SEEK;
}

/// Is this call of a socket that rests, and looked at already at this time?
#[inline(always)]
#[must_use]
pub fn rests(socket: &Socket, way: usize, now: u32) -> bool {
    socket.looked[way & 1] == now && socket.walks[way & 1].mode == mode::SEEK
}
