//! TLS as it goes by in clear: the headers of records, and whether a ClientHello offers HTTP/2.
//!
//! As in [`http2`](crate::http2), [`Offer`] takes one byte at a time, because the kernel's verifier follows every branch
//! on its own.

/// What a record carries (RFC 8446 section 5.1).
pub mod content {
    /// ChangeCipherSpec.
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    /// An alert.
    pub const ALERT: u8 = 21;
    /// Handshake messages, or a piece of one.
    pub const HANDSHAKE: u8 = 22;
    /// What the application says; from TLS 1.3 on, all that is encrypted.
    pub const APPLICATION_DATA: u8 = 23;
}

/// A record's header: type, version, length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// One of [`content`].
    pub kind: u8,
    version: [u8; 2],
    /// Bytes that follow.
    pub len: u32,
}

impl RecordHead {
    /// Length of a record's header.
    pub const LEN: usize = 5;

    /// The longest that is believed where the place is not known: 2^14 bytes, and what TLS 1.3 adds.
    pub const LONGEST: u32 = 16_640;

    /// The longest that TLS 1.2 allows (RFC 5246 section 6.2.3).
    pub const LONGEST_EVER: u32 = 18_432;

    /// Reads a header.
    #[inline(always)]
    #[must_use]
    pub const fn parse(bytes: [u8; RecordHead::LEN]) -> RecordHead {
        let [kind, major, minor, high, low] = bytes;
        RecordHead {
            kind,
            version: [major, minor],
            len: (high as u32) << 8 | low as u32,
        }
    }

    /// Whether it may be a record's header. `certain`: it stands where one must stand.
    #[inline(always)]
    #[must_use]
    pub const fn is_plausible(&self, certain: bool) -> bool {
        let [major, minor] = self.version;
        let is_known =
            self.kind >= content::CHANGE_CIPHER_SPEC && self.kind <= content::APPLICATION_DATA;
        if !is_known || major != 3 {
            return false;
        }
        if certain {
            minor <= 4 && self.len <= RecordHead::LONGEST_EVER
        } else {
            minor >= 1 && minor <= 3 && self.len != 0 && self.len <= RecordHead::LONGEST
        }
    }
}

/// What a direction's first handshake message says of the application protocols that it offers (RFC 7301), read byte by
/// byte from the type of the message on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// One of [`reads`].
    reads: u8,
    /// Bytes of a protocol's name still to come.
    name: u8,
    /// Bytes of what is passed over, or of the list of protocols, still to come.
    left: u16,
}

/// Values of [`Offer::reads`].
mod reads {
    pub(super) const MESSAGE: u8 = 0;
    // What is passed over.
    pub(super) const HEAD: u8 = 1;
    pub(super) const SESSION: u8 = 2;
    pub(super) const SUITES: u8 = 3;
    pub(super) const COMPRESSIONS: u8 = 4;
    pub(super) const EXTENSION: u8 = 5;
    // Lengths, of two bytes but for two.
    pub(super) const SESSION_LEN: u8 = 6;
    pub(super) const SUITES_LEN: u8 = 7;
    pub(super) const SUITES_LEN_LOW: u8 = 8;
    pub(super) const COMPRESSIONS_LEN: u8 = 9;
    pub(super) const EXTENSIONS_LEN: u8 = 10;
    pub(super) const EXTENSIONS_LEN_LOW: u8 = 11;
    pub(super) const KIND: u8 = 12;
    /// The first byte of the extension's number was 0.
    pub(super) const KIND_LOW: u8 = 13;
    pub(super) const OTHER_KIND_LOW: u8 = 14;
    pub(super) const EXTENSION_LEN: u8 = 15;
    pub(super) const EXTENSION_LEN_LOW: u8 = 16;
    pub(super) const ALPN_LEN: u8 = 17;
    pub(super) const ALPN_LEN_LOW: u8 = 18;
    pub(super) const LIST_LEN: u8 = 19;
    pub(super) const LIST_LEN_LOW: u8 = 20;
    pub(super) const NAME_LEN: u8 = 21;
    pub(super) const NAME: u8 = 22;
    /// The name's last byte was an `h`.
    pub(super) const NAME_AFTER_H: u8 = 23;
    /// It was an `i`.
    pub(super) const NAME_AFTER_I: u8 = 24;
    // What it came to.
    pub(super) const OTHERS: u8 = 25;
    pub(super) const UNTOLD: u8 = 26;
}

/// Number of the extension (RFC 7301 section 3.1).
const ALPN: u8 = 16;

/// Bytes between a ClientHello's type and its session: length, version, random.
const HEAD_LEN: u16 = 3 + 2 + 32;

impl Offer {
    /// Before the first byte.
    pub const NEW: Offer = Offer::at(reads::MESSAGE, 0);

    /// Nothing is read of it: it offers HTTP/2, or does not say what it offers.
    pub const UNTOLD: Offer = Offer::at(reads::UNTOLD, 0);

    const fn at(reads: u8, left: u16) -> Offer {
        Offer {
            reads,
            name: 0,
            left,
        }
    }

    /// Passes over `left` bytes, after which `then` is read.
    const fn over(passed: u8, left: u16, then: u8) -> Offer {
        if left == 0 {
            Offer::at(then, 0)
        } else {
            Offer::at(passed, left)
        }
    }

    /// What follows is still read.
    #[inline(always)]
    #[must_use]
    pub const fn is_read(self) -> bool {
        self.reads < reads::OTHERS
    }

    /// The client offers protocols, and none of them may carry HTTP/2: `h2` and what has it in its name, and those of a
    /// mesh (`istio`, `istio-peer-exchange`), which carry anything.
    #[inline(always)]
    #[must_use]
    pub const fn is_of_others(self) -> bool {
        self.reads == reads::OTHERS
    }

    /// Its record has ended.
    #[inline(always)]
    #[must_use]
    pub const fn ended(self) -> Offer {
        if self.is_read() { Offer::UNTOLD } else { self }
    }

    /// Bytes that come next and say nothing here; 0: the next one is for [`Offer::next`].
    #[inline(always)]
    #[must_use]
    pub const fn passes(self) -> u32 {
        if self.reads >= reads::HEAD && self.reads <= reads::EXTENSION {
            self.left as u32
        } else {
            0
        }
    }

    /// `n` of the bytes that [`Offer::passes`] has told went by.
    #[inline(always)]
    #[must_use]
    pub const fn pass(self, n: u32) -> Offer {
        if n < self.left as u32 {
            return Offer::at(self.reads, self.left - n as u16);
        }
        let next = match self.reads {
            reads::HEAD => reads::SESSION_LEN,
            reads::SESSION => reads::SUITES_LEN,
            reads::SUITES => reads::COMPRESSIONS_LEN,
            reads::COMPRESSIONS => reads::EXTENSIONS_LEN,
            _ => reads::KIND,
        };
        Offer::at(next, 0)
    }

    /// The next byte.
    #[inline(always)]
    #[must_use]
    pub const fn next(self, byte: u8) -> Offer {
        let high = (byte as u16) << 8;
        let whole = self.left | byte as u16;
        match self.reads {
            // ClientHello.
            reads::MESSAGE if byte == 1 => Offer::at(reads::HEAD, HEAD_LEN),
            reads::SESSION_LEN => Offer::over(reads::SESSION, byte as u16, reads::SUITES_LEN),
            reads::SUITES_LEN => Offer::at(reads::SUITES_LEN_LOW, high),
            reads::SUITES_LEN_LOW => Offer::over(reads::SUITES, whole, reads::COMPRESSIONS_LEN),
            reads::COMPRESSIONS_LEN => {
                Offer::over(reads::COMPRESSIONS, byte as u16, reads::EXTENSIONS_LEN)
            }
            reads::EXTENSIONS_LEN => Offer::at(reads::EXTENSIONS_LEN_LOW, 0),
            reads::EXTENSIONS_LEN_LOW => Offer::at(reads::KIND, 0),
            reads::KIND if byte == 0 => Offer::at(reads::KIND_LOW, 0),
            reads::KIND => Offer::at(reads::OTHER_KIND_LOW, 0),
            reads::KIND_LOW if byte == ALPN => Offer::at(reads::ALPN_LEN, 0),
            reads::KIND_LOW | reads::OTHER_KIND_LOW => Offer::at(reads::EXTENSION_LEN, 0),
            reads::EXTENSION_LEN => Offer::at(reads::EXTENSION_LEN_LOW, high),
            reads::EXTENSION_LEN_LOW => Offer::over(reads::EXTENSION, whole, reads::KIND),
            reads::ALPN_LEN => Offer::at(reads::ALPN_LEN_LOW, 0),
            reads::ALPN_LEN_LOW => Offer::at(reads::LIST_LEN, 0),
            reads::LIST_LEN => Offer::at(reads::LIST_LEN_LOW, high),
            reads::LIST_LEN_LOW if whole != 0 => Offer::listed(whole),
            // A name that is longer than the list of names is none.
            reads::NAME_LEN if byte == 0 || byte as u16 >= self.left => Offer::UNTOLD,
            reads::NAME_LEN => Offer {
                reads: reads::NAME,
                name: byte,
                left: self.left - 1 - byte as u16,
            },
            reads::NAME_AFTER_H if byte == b'2' => Offer::UNTOLD,
            reads::NAME_AFTER_I if byte == b's' => Offer::UNTOLD,
            reads::NAME..=reads::NAME_AFTER_I if self.name <= 1 => Offer::listed(self.left),
            reads::NAME..=reads::NAME_AFTER_I => Offer {
                reads: match byte {
                    b'h' => reads::NAME_AFTER_H,
                    b'i' => reads::NAME_AFTER_I,
                    _ => reads::NAME,
                },
                name: self.name - 1,
                left: self.left,
            },
            _ => Offer::UNTOLD,
        }
    }

    /// `left` bytes of the list of protocols follow, none of which was HTTP/2 so far.
    const fn listed(left: u16) -> Offer {
        if left == 0 {
            Offer::at(reads::OTHERS, 0)
        } else {
            Offer::at(reads::NAME_LEN, left)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;

    fn vector(len_bytes: usize, content: &[u8]) -> Vec<u8> {
        let len = (content.len() as u32).to_be_bytes();
        [&len[4 - len_bytes..], content].concat()
    }

    fn extension(number: u16, content: &[u8]) -> Vec<u8> {
        [&number.to_be_bytes()[..], &vector(2, content)].concat()
    }

    fn alpn(names: &[&str]) -> Vec<u8> {
        let names: Vec<u8> = names
            .iter()
            .flat_map(|name| vector(1, name.as_bytes()))
            .collect();
        extension(16, &vector(2, &names))
    }

    /// A ClientHello with these extensions.
    fn hello(session: &[u8], extensions: &[u8]) -> Vec<u8> {
        let body = [
            &[3, 3][..],
            &[b'h'; 32],
            &vector(1, session),
            &vector(2, &[0x13, 1, 0x13, 2]),
            &vector(1, &[0]),
            &vector(2, extensions),
        ]
        .concat();
        [&[1][..], &vector(3, &body)].concat()
    }

    /// As the walker does, in pieces of so many bytes.
    fn read(bytes: &[u8], piece: usize) -> Offer {
        let mut offer = Offer::NEW;
        let mut rest = bytes;
        while !rest.is_empty() && offer.is_read() {
            let n = match offer.passes() as usize {
                0 => {
                    offer = offer.next(rest[0]);
                    1
                }
                run => {
                    let n = run.min(piece).min(rest.len());
                    offer = offer.pass(n as u32);
                    n
                }
            };
            rest = &rest[n..];
        }
        offer.ended()
    }

    #[test]
    fn a_hello_that_offers_other_protocols_alone_is_told() {
        let before = extension(0, &vector(2, b"\0\0\x09localhost"));
        let after = extension(0x1000, &[7; 300]);
        for (names, of_others) in [
            (&["http/1.1"][..], true),
            (&["postgresql"], true),
            (&["http/1.1", "http/1.0"], true),
            (&["h", "2"], true),
            (&["hh", "xh", "2h"], true),
            (&["h2"], false),
            (&["h2", "http/1.1"], false),
            (&["http/1.1", "h2"], false),
            (&["istio-peer-exchange", "istio"], false),
            (&["istio-h2"], false),
            (&["imap", "managesieve"], true),
            (&["hh2"], false),
        ] {
            for session in [&[][..], &[9; 32]] {
                let extensions = [&before[..], &alpn(names), &after].concat();
                let bytes = hello(session, &extensions);
                for piece in [1, 2, 7, 4_096] {
                    assert_eq!(read(&bytes, piece).is_of_others(), of_others, "{names:?}");
                }
            }
        }
    }

    #[test]
    fn what_offers_nothing_is_not_told() {
        let others = hello(&[], &alpn(&["http/1.1"]));
        let mut of_server = others.clone();
        of_server[0] = 2;
        let cut = others[..others.len() - 1].to_vec();
        for bytes in [
            vec![],
            of_server,
            cut,
            hello(&[], &[]),
            hello(&[], &extension(16, &[])),
            hello(&[], &extension(16, &[0, 0])),
            hello(&[], &extension(16, &[0, 9, 200, b'x'])),
            hello(&[], &extension(16, &[0, 1, 0])),
            hello(&[], &extension(0x0110, &vector(2, &vector(1, b"http/1.1")))),
        ] {
            assert!(!read(&bytes, 4_096).is_of_others(), "{bytes:?}");
        }
    }

    #[test]
    fn a_header_is_plausible_as_its_place_allows() {
        for (bytes, certain, late) in [
            ([22, 3, 1, 2, 0], true, true),
            ([23, 3, 3, 65, 0], true, true),
            ([23, 3, 3, 65, 1], true, false),
            ([23, 3, 3, 72, 1], false, false),
            ([20, 3, 3, 0, 1], true, true),
            ([21, 3, 0, 0, 2], true, false),
            ([21, 3, 4, 0, 2], true, false),
            ([23, 3, 3, 0, 0], true, false),
            ([24, 3, 3, 0, 9], false, false),
            ([19, 3, 3, 0, 9], false, false),
            ([22, 2, 3, 0, 9], false, false),
            ([22, 3, 5, 0, 9], false, false),
        ] {
            let head = RecordHead::parse(bytes);
            assert_eq!(head.is_plausible(true), certain, "{bytes:?}");
            assert_eq!(head.is_plausible(false), late, "{bytes:?}");
        }
    }
}
