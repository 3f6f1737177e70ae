//! What a byte stream looks like that is HTTP/2, and what one that is not: the one table that the kernel
//! programs, user space and the tests share.
//!
//! The kernel's verifier follows every branch on its own. So what depends on the frame type stands in a
//! table, and [`Opening`] takes one byte at a time.

use crate::instruction::bound;

/// The client's connection preface (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Largest payload that a peer may send before it was allowed more: the default SETTINGS_MAX_FRAME_SIZE
/// (RFC 9113 section 6.5.2).
pub const DEFAULT_MAX_FRAME_SIZE: u32 = 16_384;

/// Frame types of RFC 9113 section 6, and those of RFC 7838, 8336 and 9218.
pub mod frame_type {
    /// DATA.
    pub const DATA: u8 = 0x0;
    /// HEADERS.
    pub const HEADERS: u8 = 0x1;
    /// PRIORITY.
    pub const PRIORITY: u8 = 0x2;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 0x3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 0x4;
    /// PUSH_PROMISE.
    pub const PUSH_PROMISE: u8 = 0x5;
    /// PING.
    pub const PING: u8 = 0x6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 0x7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 0x8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 0x9;
    /// ALTSVC (RFC 7838).
    pub const ALTSVC: u8 = 0xa;
    /// ORIGIN (RFC 8336).
    pub const ORIGIN: u8 = 0xc;
    /// PRIORITY_UPDATE (RFC 9218).
    pub const PRIORITY_UPDATE: u8 = 0x10;
}

/// Frame flags.
pub mod flag {
    /// END_STREAM: DATA, HEADERS.
    pub const END_STREAM: u8 = 0x1;
    /// ACK: SETTINGS, PING.
    pub const ACK: u8 = 0x1;
    /// END_HEADERS: HEADERS, PUSH_PROMISE, CONTINUATION.
    pub const END_HEADERS: u8 = 0x4;
    /// PADDED: DATA, HEADERS, PUSH_PROMISE.
    pub const PADDED: u8 = 0x8;
    /// PRIORITY: HEADERS.
    pub const PRIORITY: u8 = 0x20;
}

/// What a frame of one type may look like.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Flags that the type defines; senders must leave the others unset (RFC 9113 section 4.1).
    pub flags: u8,
    /// Bits of [`place`]; 0: the type is unknown.
    places: u8,
    /// An empty frame that carries none of these flags says nothing, and is not believed; 0: it may.
    empty: u8,
    /// Smallest payload.
    least: u8,
    /// Largest payload that is believed; where the type has one size, that one.
    most: u32,
}

/// Bits of [`Rule::places`].
mod place {
    pub(super) const STREAM: u8 = 1;
    pub(super) const CONNECTION: u8 = 2;
    pub(super) const BOTH: u8 = STREAM | CONNECTION;
}

impl Rule {
    /// A payload of any length.
    const ANY: u32 = u32::MAX;
    /// No peer has more than some ten settings to tell.
    const SETTINGS: u32 = 6 * 64;
    /// A priority field value is some ten characters long (RFC 9218 section 4).
    const PRIORITY_UPDATE: u32 = 1_024;

    const fn new(places: u8, flags: u8, least: u8, most: u32) -> Rule {
        Rule {
            flags,
            places,
            empty: 0,
            least,
            most,
        }
    }

    /// Whether the type is one of the table.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.places != 0
    }

    /// Whether the frame may stand on this stream; 0 is the connection.
    #[must_use]
    pub const fn may_stand_on(self, stream: u32) -> bool {
        let place = if stream == 0 {
            place::CONNECTION
        } else {
            place::STREAM
        };
        self.places & place != 0
    }

    /// Whether the payload is too short for what must stand in it, or, where the type has one size, of
    /// another one.
    #[must_use]
    pub const fn is_wrong_size(self, len: u32) -> bool {
        len < self.least as u32 || (self.least as u32 == self.most && len != self.most)
    }
}

/// Types of the table: one more than the highest one, up to a power of two.
const TYPES: usize = 32;

/// By frame type.
static RULES: [Rule; TYPES] = {
    use flag::{ACK, END_HEADERS, END_STREAM, PADDED, PRIORITY};
    use place::{BOTH, CONNECTION, STREAM};
    const ANY: u32 = Rule::ANY;
    let mut rules = [Rule::new(0, 0, 0, 0); TYPES];
    rules[frame_type::DATA as usize] = Rule::new(STREAM, END_STREAM | PADDED, 0, ANY);
    // Without a field it can only end the stream.
    rules[frame_type::HEADERS as usize] = Rule {
        empty: END_STREAM,
        ..Rule::new(STREAM, END_STREAM | END_HEADERS | PADDED | PRIORITY, 0, ANY)
    };
    rules[frame_type::PRIORITY as usize] = Rule::new(STREAM, 0, 5, 5);
    rules[frame_type::RST_STREAM as usize] = Rule::new(STREAM, 0, 4, 4);
    rules[frame_type::SETTINGS as usize] = Rule::new(CONNECTION, ACK, 0, Rule::SETTINGS);
    rules[frame_type::PUSH_PROMISE as usize] = Rule::new(STREAM, END_HEADERS | PADDED, 4, ANY);
    rules[frame_type::PING as usize] = Rule::new(CONNECTION, ACK, 8, 8);
    rules[frame_type::GOAWAY as usize] = Rule::new(CONNECTION, 0, 8, ANY);
    rules[frame_type::WINDOW_UPDATE as usize] = Rule::new(BOTH, 0, 4, 4);
    rules[frame_type::CONTINUATION as usize] = Rule::new(STREAM, END_HEADERS, 0, ANY);
    rules[frame_type::ALTSVC as usize] = Rule::new(BOTH, 0, 2, ANY);
    rules[frame_type::ORIGIN as usize] = Rule::new(CONNECTION, 0, 2, ANY);
    rules[frame_type::PRIORITY_UPDATE as usize] =
        Rule::new(CONNECTION, 0, 4, Rule::PRIORITY_UPDATE);
    rules
};

/// The rule of a frame type.
#[inline(always)]
#[must_use]
pub fn rule(frame_type: u8) -> Rule {
    const MASK: u64 = TYPES as u64 - 1;
    // A type beyond the table: of an entry that is not known.
    let unknown = if frame_type > MASK as u8 { MASK } else { 0 };
    let index = bound::<MASK>(frame_type as u64 | unknown);
    // SAFETY: the index is below TYPES.
    unsafe { *RULES.as_ptr().add(index as usize) }
}
const _: () = assert!(RULES[TYPES - 1].places == 0);

/// A frame header (RFC 9113 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Payload length.
    pub len: u32,
    /// Type.
    pub frame_type: u8,
    /// Flags.
    pub flags: u8,
    /// The stream's word: the reserved bit, and the stream id.
    word: u32,
}

impl Head {
    /// Length of a frame header.
    pub const LEN: usize = 9;

    /// Reads a frame header.
    #[inline(always)]
    #[must_use]
    pub const fn parse(bytes: [u8; Head::LEN]) -> Head {
        let [l2, l1, l0, frame_type, flags, s3, s2, s1, s0] = bytes;
        Head {
            len: (l2 as u32) << 16 | (l1 as u32) << 8 | l0 as u32,
            frame_type,
            flags,
            word: (s3 as u32) << 24 | (s2 as u32) << 16 | (s1 as u32) << 8 | s0 as u32,
        }
    }

    /// A header of these fields, the reserved bit unset.
    #[must_use]
    pub const fn new(len: u32, frame_type: u8, flags: u8, stream: u32) -> Head {
        Head {
            len,
            frame_type,
            flags,
            word: stream & 0x7fff_ffff,
        }
    }

    /// The stream id, without the reserved bit.
    #[inline(always)]
    #[must_use]
    pub const fn stream(&self) -> u32 {
        self.word & 0x7fff_ffff
    }

    /// The header as it goes over the wire.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; Head::LEN] {
        let [_, l2, l1, l0] = self.len.to_be_bytes();
        let [s3, s2, s1, s0] = self.word.to_be_bytes();
        [l2, l1, l0, self.frame_type, self.flags, s3, s2, s1, s0]
    }

    /// Whether nine bytes found anywhere may be a frame header: stricter than RFC 9113 is to a receiver,
    /// since it is asked where the place in the stream is not known. 1 in some 10^8 random nine bytes passes,
    /// if `longest` is the default.
    #[inline(always)]
    #[must_use]
    pub fn is_plausible(&self, longest: u32) -> bool {
        if self.word & 0x8000_0000 != 0 || self.len > longest {
            return false;
        }
        let rule = rule(self.frame_type);
        if !rule.may_stand_on(self.word) || self.flags & !rule.flags != 0 {
            return false;
        }
        if self.len < rule.least as u32 || self.len > rule.most {
            return false;
        }
        if self.len == 0 {
            return rule.empty == 0 || self.flags & rule.empty != 0;
        }
        self.frame_type != frame_type::SETTINGS
            || (self.len.is_multiple_of(6) && self.flags & flag::ACK == 0)
    }

    /// Whether an end may begin with it: its first frame is SETTINGS without ACK (RFC 9113 section 3.4).
    #[inline(always)]
    #[must_use]
    pub fn begins_connection(&self) -> bool {
        self.frame_type == frame_type::SETTINGS
            && self.flags & flag::ACK == 0
            && self.is_plausible(DEFAULT_MAX_FRAME_SIZE)
    }
}

/// What a direction speaks whose first bytes are no HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// An HTTP/1 request.
    Http1Request,
    /// An HTTP/1 response.
    Http1Response,
    /// TLS records.
    Tls,
    /// None of these.
    Other,
}

/// The first bytes of a direction that are no HTTP/2, read one by one until they show what it speaks.
///
/// HTTP/1 is a request line or the beginning of a status line (RFC 9112 sections 3 and 4); any token is a
/// method. TLS is a record's content type and version (RFC 8446 section 5.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// One of [`reads`].
    reads: u8,
    /// How much of it was read.
    have: u8,
}

/// Values of [`Opening::reads`].
mod reads {
    pub(super) const NOTHING: u8 = 0;
    pub(super) const METHOD: u8 = 1;
    pub(super) const TARGET: u8 = 2;
    /// `HTTP/1.`, a digit and a line's end.
    pub(super) const VERSION: u8 = 3;
    /// `HTTP/1.`, a digit and a space; its first letters may be those of a method.
    pub(super) const STATUS: u8 = 4;
    pub(super) const RECORD_TYPE: u8 = 5;
    pub(super) const RECORD_VERSION: u8 = 6;
    // What it came to.
    pub(super) const REQUEST: u8 = 7;
    pub(super) const RESPONSE: u8 = 8;
    pub(super) const TLS: u8 = 9;
    pub(super) const OTHER: u8 = 10;
}

impl Opening {
    /// Before the first byte.
    pub const NEW: Opening = Opening::at(reads::NOTHING, 0);

    /// Longest method; the registered ones have up to 17 characters.
    pub const METHOD_MAX: u8 = 32;

    /// Longest request line that is waited for; a server should take one of 8,000 bytes (RFC 9112 section 3).
    pub const LINE_MAX: usize = 8_192;

    const fn at(reads: u8, have: u8) -> Opening {
        Opening { reads, have }
    }

    /// Reads bytes until it is decided.
    #[must_use]
    pub const fn of(bytes: &[u8]) -> Opening {
        let mut opening = Opening::NEW;
        let mut rest = bytes;
        while let [byte, after @ ..] = rest {
            if opening.protocol().is_some() {
                break;
            }
            opening = opening.next(*byte);
            rest = after;
        }
        opening
    }

    /// What it is; None before that is certain.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(self) -> Option<Protocol> {
        match self.reads {
            reads::REQUEST => Some(Protocol::Http1Request),
            reads::RESPONSE => Some(Protocol::Http1Response),
            reads::TLS => Some(Protocol::Tls),
            reads::OTHER => Some(Protocol::Other),
            _ => None,
        }
    }

    /// True before the first byte.
    #[inline(always)]
    #[must_use]
    pub const fn is_new(self) -> bool {
        self.reads == reads::NOTHING
    }

    /// The next byte.
    #[inline(always)]
    #[must_use]
    pub const fn next(self, byte: u8) -> Opening {
        const OTHER: Opening = Opening::at(reads::OTHER, 0);
        let have = self.have;
        match self.reads {
            reads::NOTHING if byte == b'H' => Opening::at(reads::STATUS, 1),
            reads::NOTHING if byte >= 0x14 && byte <= 0x17 => Opening::at(reads::RECORD_TYPE, 0),
            reads::NOTHING => Opening::method(0, byte),
            reads::METHOD => Opening::method(have, byte),
            reads::TARGET if byte == b' ' && have != 0 => Opening::at(reads::VERSION, 0),
            reads::TARGET if byte > b' ' && byte != 0x7f => Opening::at(reads::TARGET, 1),
            reads::VERSION if fits_version(have, byte) => Opening::at(reads::VERSION, have + 1),
            reads::VERSION if have == VERSION_LEN && (byte == b'\r' || byte == b'\n') => {
                Opening::at(reads::REQUEST, 0)
            }
            reads::STATUS if fits_version(have, byte) => Opening::at(reads::STATUS, have + 1),
            reads::STATUS if have == VERSION_LEN && byte == b' ' => Opening::at(reads::RESPONSE, 0),
            // `HTTP` and its beginnings are tokens.
            reads::STATUS if have <= 4 => Opening::method(have, byte),
            reads::RECORD_TYPE if byte == 3 => Opening::at(reads::RECORD_VERSION, 0),
            reads::RECORD_VERSION if byte <= 4 => Opening::at(reads::TLS, 0),
            _ => OTHER,
        }
    }

    #[inline(always)]
    const fn method(have: u8, byte: u8) -> Opening {
        if byte == b' ' && have != 0 {
            Opening::at(reads::TARGET, 0)
        } else if have < Opening::METHOD_MAX && is_token(byte) {
            Opening::at(reads::METHOD, have + 1)
        } else {
            Opening::at(reads::OTHER, 0)
        }
    }
}

/// Length of `HTTP/1.` and a digit.
const VERSION_LEN: u8 = 8;

/// Whether it is byte `at` of `HTTP/1.` and a digit.
#[inline(always)]
const fn fits_version(at: u8, byte: u8) -> bool {
    const TEXT: u64 = u64::from_be_bytes(*b"HTTP/1.\0");
    if at < VERSION_LEN - 1 {
        byte == (TEXT >> (56 - 8 * (at as u32 & 7))) as u8
    } else {
        at < VERSION_LEN && byte >= b'0' && byte <= b'9'
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
#[inline(always)]
const fn is_token(byte: u8) -> bool {
    const fn bits(of: &[u8]) -> [u64; 2] {
        let mut bits = [0; 2];
        let mut rest = of;
        while let [byte, after @ ..] = rest {
            bits[(*byte >> 6) as usize] |= 1 << (*byte & 63);
            rest = after;
        }
        bits
    }
    const BITS: [u64; 2] =
        bits(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    let word = if byte < 64 {
        BITS[0]
    } else if byte < 128 {
        BITS[1]
    } else {
        0
    };
    word >> (byte & 63) & 1 != 0
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    #[test]
    fn first_bytes_of_other_protocols_are_told_apart() {
        use Protocol::{Http1Request, Http1Response, Other, Tls};
        let long = [b"GET /", &[b'a'; 500][..], b" HTTP/1.1\r\n"].concat();
        let long_method = [&[b'A'; 33][..], b" / HTTP/1.1\r\n"].concat();
        for (bytes, want) in [
            (&b""[..], None),
            (b"G", None),
            (b"GET", None),
            (b"GET ", None),
            (b"GET / HTTP/1.1", None),
            (b"GET / HTTP/1.1\r\nhost: a\r\n", Some(Http1Request)),
            (b"PROPFIND /dav HTTP/1.1\r\n", Some(Http1Request)),
            (b"BASELINE-CONTROL * HTTP/1.0\n", Some(Http1Request)),
            (b"M-SEARCH * HTTP/1.1\r\n", Some(Http1Request)),
            (b"HEAD / HTTP/1.1\r\n", Some(Http1Request)),
            (b"HTTP / HTTP/1.1\r\n", Some(Http1Request)),
            (b"HTTPX / HTTP/1.1\r\n", Some(Http1Request)),
            (&long, Some(Http1Request)),
            (&long_method, Some(Other)),
            (b"GET  HTTP/1.1\r\n", Some(Other)),
            (b" / HTTP/1.1\r\n", Some(Other)),
            (b"GET / HTTP/2.0\r\n", Some(Other)),
            (b"GET / HTTP/1.x\r\n", Some(Other)),
            (b"PRI * HTTP/1.0 not the preface", Some(Other)),
            (PREFACE, Some(Other)),
            (b"POST / SIP/2.0\r\n", Some(Other)),
            (b"GET /\r\n", Some(Other)),
            (b"HTTP/1.1", None),
            (b"HTTP/1.1 200 OK\r\n", Some(Http1Response)),
            (b"HTTP/1.1\r\n", Some(Other)),
            (b"HTTP/2.0 200", Some(Other)),
            (b"\x16", None),
            (b"\x16\x03", None),
            (b"\x16\x03\x01\x02", Some(Tls)),
            (b"\x17\x03\x05", Some(Other)),
            (b"\x18\x03\x03", Some(Other)),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some(Other)),
            (b"220 mail ready\r\n", Some(Other)),
            (b"*3\r\n$3\r\nSET\r\n", Some(Other)),
            (b"\0\0\0\x17postgres", Some(Other)),
            (b"\xff\xfe", Some(Other)),
        ] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(Opening::of(bytes).protocol(), want, "{text:?}");
        }
    }

    #[test]
    fn a_frame_header_is_plausible_as_its_type_allows() {
        use frame_type::*;
        let most = DEFAULT_MAX_FRAME_SIZE;
        for (len, frame_type, flags, stream, want) in [
            (0, DATA, 0, 1, true),
            (most, DATA, 0x9, 1, true),
            (most + 1, DATA, 0, 1, false),
            (1, DATA, 0x4, 1, false),
            (1, DATA, 0, 0, false),
            (1, HEADERS, 0x2d, 1, true),
            (0, HEADERS, 0x4, 1, false),
            (0, HEADERS, 0x5, 1, true),
            (5, PRIORITY, 0, 3, true),
            (4, PRIORITY, 0, 3, false),
            (6, PRIORITY, 0, 3, false),
            (4, RST_STREAM, 0, 3, true),
            (4, RST_STREAM, 0, 0, false),
            (0, SETTINGS, 1, 0, true),
            (6, SETTINGS, 1, 0, false),
            (12, SETTINGS, 0, 0, true),
            (13, SETTINGS, 0, 0, false),
            (390, SETTINGS, 0, 0, false),
            (0, SETTINGS, 0, 1, false),
            (4, PUSH_PROMISE, 4, 1, true),
            (3, PUSH_PROMISE, 4, 1, false),
            (8, PING, 1, 0, true),
            (9, PING, 1, 0, false),
            (8, GOAWAY, 0, 0, true),
            (7, GOAWAY, 0, 0, false),
            (4, WINDOW_UPDATE, 0, 0, true),
            (4, WINDOW_UPDATE, 0, 5, true),
            (0, CONTINUATION, 4, 5, true),
            (2, ALTSVC, 0, 5, true),
            (2, ORIGIN, 0, 0, true),
            (2, ORIGIN, 0, 1, false),
            (4, PRIORITY_UPDATE, 0, 0, true),
            (4, 0xb, 0, 0, false),
            (4, 0x1f, 0, 0, false),
            (4, 0x20, 0, 1, false),
            (4, 0x24, 0, 0, false),
            (4, 0xff, 0, 0, false),
        ] {
            let head = Head::new(len, frame_type, flags, stream);
            let told = head.is_plausible(most);
            assert_eq!(told, want, "{head:?}");
            assert_eq!(Head::parse(head.to_bytes()), head);
            let mut reserved = head.to_bytes();
            reserved[5] |= 0x80;
            assert!(!Head::parse(reserved).is_plausible(most), "{head:?}");
            assert_eq!(Head::parse(reserved).stream(), stream);
        }
    }

    #[test]
    fn an_end_begins_with_settings() {
        use frame_type::*;
        assert!(Head::new(18, SETTINGS, 0, 0).begins_connection());
        assert!(!Head::new(0, SETTINGS, 1, 0).begins_connection());
        assert!(!Head::new(17, SETTINGS, 0, 0).begins_connection());
        assert!(!Head::new(8, PING, 0, 0).begins_connection());
    }
}
