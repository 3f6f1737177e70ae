//! The header of the PROXY protocol, which a load balancer puts before everything else of a connection: version 1 is a
//! line, version 2 a signature, a length and so many bytes.

/// What was read of a PROXY header, byte by byte, from the first byte of a direction on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// One of [`reads`].
    reads: u8,
    /// How much of it was read.
    have: u8,
    /// Version 2: bytes still to come behind its length.
    left: u16,
}

/// Values of [`ProxyHeader::reads`].
mod reads {
    pub(super) const NOTHING: u8 = 0;
    /// [`super::ProxyHeader::V1`]; its first letter is the preface's too.
    pub(super) const V1: u8 = 1;
    /// The rest of that line.
    pub(super) const LINE: u8 = 2;
    /// The signature, the version and the length.
    pub(super) const V2: u8 = 3;
    /// Addresses and what follows them.
    pub(super) const BLOCK: u8 = 4;
    // What it came to.
    pub(super) const WHOLE: u8 = 5;
    pub(super) const ABSENT: u8 = 6;
}

impl ProxyHeader {
    /// Before the first byte.
    pub const NEW: ProxyHeader = ProxyHeader::at(reads::NOTHING, 0);

    /// There is none.
    pub const ABSENT: ProxyHeader = ProxyHeader::at(reads::ABSENT, 0);

    /// How version 1 begins.
    pub const V1: &[u8; 6] = b"PROXY ";

    /// The longest line of version 1, its end included.
    pub const LINE_MAX: u8 = 107;

    const fn at(reads: u8, have: u8) -> ProxyHeader {
        ProxyHeader {
            reads,
            have,
            left: 0,
        }
    }

    /// Reads bytes until it is decided.
    #[must_use]
    pub const fn of(bytes: &[u8]) -> ProxyHeader {
        let mut header = ProxyHeader::NEW;
        let mut rest = bytes;
        while let [byte, after @ ..] = rest {
            if header.is_decided() {
                break;
            }
            header = header.next(*byte);
            rest = after;
        }
        header
    }

    /// So many bytes of [`ProxyHeader::V1`] were read, all of them at most.
    #[inline(always)]
    #[must_use]
    pub const fn after_letters(letters: u8) -> ProxyHeader {
        if letters == 0 {
            ProxyHeader::NEW
        } else {
            ProxyHeader::at(reads::V1, letters)
        }
    }

    /// True before the first byte.
    #[inline(always)]
    #[must_use]
    pub const fn is_new(self) -> bool {
        self.reads == reads::NOTHING
    }

    /// The header has gone by, its last byte too.
    #[inline(always)]
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.reads == reads::WHOLE
    }

    /// Nothing that comes changes it.
    #[inline(always)]
    #[must_use]
    pub const fn is_decided(self) -> bool {
        self.reads >= reads::WHOLE
    }

    /// What was read begins a PROXY header and nothing else.
    #[inline(always)]
    #[must_use]
    pub const fn is_certain(self) -> bool {
        match self.reads {
            reads::LINE | reads::BLOCK | reads::WHOLE => true,
            reads::V2 => self.have >= SIGNATURE_LEN,
            _ => false,
        }
    }

    /// How many bytes of [`ProxyHeader::V1`] were read, while it may still become something else.
    #[inline(always)]
    #[must_use]
    pub const fn letters(self) -> u8 {
        if self.reads == reads::V1 {
            self.have
        } else {
            0
        }
    }

    /// Bytes that may go by unread.
    #[inline(always)]
    #[must_use]
    pub const fn passes(self) -> u32 {
        if self.reads == reads::BLOCK {
            self.left as u32
        } else {
            0
        }
    }

    /// So many of them have gone by, [`ProxyHeader::passes`] at most.
    #[inline(always)]
    #[must_use]
    pub const fn pass(self, n: u32) -> ProxyHeader {
        if n as u16 == self.left {
            return ProxyHeader::at(reads::WHOLE, 0);
        }
        ProxyHeader {
            left: self.left.wrapping_sub(n as u16),
            ..self
        }
    }

    /// The next byte.
    #[inline(always)]
    #[must_use]
    pub const fn next(self, byte: u8) -> ProxyHeader {
        let have = self.have;
        match self.reads {
            reads::NOTHING if byte == b'P' => ProxyHeader::at(reads::V1, 1),
            reads::NOTHING if byte == b'\r' => ProxyHeader::at(reads::V2, 1),
            reads::V1 if have < 6 && byte == letter(have) => ProxyHeader::at(reads::V1, have + 1),
            // TCP4, TCP6 or UNKNOWN: no target of an HTTP/1 request begins so.
            reads::V1 if have == 6 && (byte == b'T' || byte == b'U') => {
                ProxyHeader::at(reads::LINE, 7)
            }
            reads::LINE if byte == b'\n' => ProxyHeader::at(reads::WHOLE, 0),
            reads::LINE if have < ProxyHeader::LINE_MAX - 1 && is_of_line(byte) => {
                ProxyHeader::at(reads::LINE, have + 1)
            }
            reads::V2 => self.signature(byte),
            reads::BLOCK => self.pass(1),
            _ => ProxyHeader::ABSENT,
        }
    }

    #[inline(always)]
    const fn signature(self, byte: u8) -> ProxyHeader {
        let have = self.have;
        let left = self.left << 8 | byte as u16;
        if have < SIGNATURE_LEN {
            if byte != signature(have) {
                return ProxyHeader::ABSENT;
            }
        } else if have == SIGNATURE_LEN {
            // Version 2, LOCAL or PROXY.
            if byte != 0x20 && byte != 0x21 {
                return ProxyHeader::ABSENT;
            }
        } else if have == SIGNATURE_LEN + 3 {
            return if left == 0 {
                ProxyHeader::at(reads::WHOLE, 0)
            } else {
                ProxyHeader {
                    reads: reads::BLOCK,
                    have: 0,
                    left,
                }
            };
        }
        ProxyHeader {
            reads: reads::V2,
            have: have + 1,
            left: if have == SIGNATURE_LEN + 2 { left } else { 0 },
        }
    }
}

/// Length of version 2's signature; version and command, family, and two bytes of length follow.
const SIGNATURE_LEN: u8 = 12;

/// Byte `at` of [`ProxyHeader::V1`].
#[inline(always)]
const fn letter(at: u8) -> u8 {
    const TEXT: u64 = u64::from_be_bytes(*b"PROXY \0\0");
    (TEXT >> (56 - 8 * (at as u32 & 7))) as u8
}

/// Byte `at` of `\r\n\r\n\0\r\nQUIT\n`.
#[inline(always)]
const fn signature(at: u8) -> u8 {
    const FIRST: u64 = u64::from_be_bytes(*b"\r\n\r\n\0\r\nQ");
    const SECOND: u64 = u64::from_be_bytes(*b"UIT\n\0\0\0\0");
    let half = if at < 8 { FIRST } else { SECOND };
    (half >> (56 - 8 * (at as u32 & 7))) as u8
}

/// Printable ASCII, and the carriage return before the line's end.
#[inline(always)]
const fn is_of_line(byte: u8) -> bool {
    (byte >= b' ' && byte < 0x7f) || byte == b'\r'
}

#[cfg(test)]
mod tests {
    use std::{string::String, vec};

    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    #[test]
    fn a_header_ends_where_it_says() {
        let v2 = [SIGNATURE, &[0x21, 0x11, 0, 12], &[7; 12]].concat();
        let long = [SIGNATURE, &[0x21, 0x21, 1, 4], &[7; 260]].concat();
        let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
        for header in [
            &b"PROXY TCP4 10.0.0.7 10.0.0.8 40000 8080\r\n"[..],
            b"PROXY TCP6 ::1 ::1 1 2\r\n",
            b"PROXY UNKNOWN\r\n",
            &v2,
            &long,
            &local,
        ] {
            let text = String::from_utf8_lossy(header);
            for n in 0..header.len() {
                assert!(!ProxyHeader::of(&header[..n]).is_decided(), "{text}: {n}");
            }
            assert!(ProxyHeader::of(header).is_whole(), "{text}");
        }
    }

    #[test]
    fn what_is_no_header_is_absent() {
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        for bytes in [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            b"PROXY / HTTP/1.1\r\n",
            b"PROPFIND / HTTP/1.1\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n",
            b"PROXY TCP4 \0",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\x0c",
            b"\0",
            &endless,
        ] {
            assert_eq!(
                ProxyHeader::of(bytes),
                ProxyHeader::ABSENT,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn it_is_certain_when_nothing_else_begins_so() {
        let v2 = [SIGNATURE, &[0x21, 0x11, 0, 12]].concat();
        for (bytes, want) in [
            (&b"PROXY "[..], false),
            (b"PROXY T", true),
            (&v2[..11], false),
            (&v2[..12], true),
            (&v2[..14], true),
            (&v2, true),
        ] {
            assert_eq!(ProxyHeader::of(bytes).is_certain(), want, "{bytes:?}");
        }
        let mut block = ProxyHeader::of(&v2);
        for left in [vec![5u32, 7], vec![12]] {
            let before = block;
            for n in left {
                assert!(block.passes() >= n && !block.is_whole());
                block = block.pass(n);
            }
            assert!(block.is_whole());
            block = before;
        }
    }
}
