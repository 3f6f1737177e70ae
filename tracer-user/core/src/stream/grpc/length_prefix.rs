//! Length-Prefixed-Message: Compressed-Flag (1 byte), Message-Length (4 bytes, big endian), Message.

use crate::limits;
use crate::stream::record::{Messages, OpenMessage, Sizes};
use smallvec::SmallVec;

/// Length of Compressed-Flag and Message-Length.
const PREFIX: usize = 5;

/// Where the reader is.
#[derive(Clone, Copy, Debug)]
enum MessagePosition {
    /// In a prefix, of which these bytes came.
    Prefix {
        bytes: [u8; PREFIX],
        have: usize,
    },
    Message {
        promised: u32,
        got: u32,
    },
    /// Message boundaries are not known any more.
    Lost,
}

/// The first bytes of what stands where a message prefix, or a field's name, had to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stray {
    bytes: [u8; limits::STRAY_BYTES],
    n: u8,
}

impl Stray {
    /// How this begins.
    pub(crate) fn of(bytes: &[u8]) -> Stray {
        let mut stray = Stray {
            bytes: [0; limits::STRAY_BYTES],
            n: 0,
        };
        stray.add(bytes);
        stray
    }

    const fn new(first: u8) -> Stray {
        let mut bytes = [0; limits::STRAY_BYTES];
        bytes[0] = first;
        Stray { bytes, n: 1 }
    }

    /// They.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.n)).unwrap_or_default()
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let Some(slot) = self.bytes.get_mut(usize::from(self.n)) else {
                return;
            };
            *slot = *byte;
            self.n += 1;
        }
    }
}

/// They are payload.
impl std::fmt::Debug for Stray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.n)
    }
}

const BOUNDARY: MessagePosition = MessagePosition::Prefix {
    bytes: [0; PREFIX],
    have: 0,
};

/// Follows the messages of one direction of one stream through bytes and counted holes.
#[derive(Clone, Debug)]
pub(crate) struct MessageReader {
    position: MessagePosition,
    n_complete: u64,
    n_begun: u64,
    sizes: Sizes,
    stray: Option<Stray>,
    /// More of it than its first byte may be kept.
    keeps_stray: bool,
    compressed: bool,
}

impl MessageReader {
    /// A reader that does not know where messages begin, until [`MessageReader::begin`].
    pub(crate) fn new() -> Self {
        MessageReader {
            position: MessagePosition::Lost,
            n_complete: 0,
            n_begun: 0,
            sizes: SmallVec::new(),
            stray: None,
            keeps_stray: false,
            compressed: false,
        }
    }

    /// The same in the memory of an earlier one.
    pub(crate) fn renew(&mut self) {
        let MessageReader {
            position,
            n_complete,
            n_begun,
            sizes,
            stray,
            keeps_stray,
            compressed,
        } = self;
        *position = MessagePosition::Lost;
        (*n_complete, *n_begun) = (0, 0);
        sizes.clear();
        (*stray, *keeps_stray, *compressed) = (None, false, false);
    }

    /// The next byte is the first one of the direction. `keeps_stray`: bytes of bodies may be kept.
    pub(crate) const fn begin(&mut self, keeps_stray: bool) {
        self.position = BOUNDARY;
        self.keeps_stray = keeps_stray;
    }

    /// Boundaries are unknown from here on.
    pub(crate) const fn lose(&mut self) {
        self.position = MessagePosition::Lost;
        self.keeps_stray = false;
    }

    /// Messages begun (their prefix is whole).
    pub(crate) const fn n_begun(&self) -> u64 {
        self.n_begun
    }

    /// Length of the message that was begun as the `nth`, if it was kept.
    pub(crate) fn size(&self, nth: u64) -> Option<u32> {
        usize::try_from(nth)
            .ok()
            .and_then(|nth| self.sizes.get(nth))
            .copied()
    }

    /// Boundaries are known.
    pub(crate) const fn known(&self) -> bool {
        !matches!(self.position, MessagePosition::Lost)
    }

    /// What stood where a Compressed-Flag had to be, if that was neither 0 nor 1: the first byte, and more where bytes
    /// of bodies may be kept.
    pub(crate) const fn stray(&self) -> Option<Stray> {
        self.stray
    }

    /// A message had Compressed-Flag 1.
    pub(crate) const fn compressed(&self) -> bool {
        self.compressed
    }

    /// Inside a message or a prefix.
    pub(crate) const fn inside(&self) -> bool {
        match self.position {
            MessagePosition::Prefix { have, .. } => have > 0,
            MessagePosition::Message { .. } => true,
            MessagePosition::Lost => false,
        }
    }

    /// Whole messages.
    pub(crate) const fn n_complete(&self) -> u64 {
        self.n_complete
    }

    /// Bytes that were copied.
    pub(crate) fn bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // A whole prefix at once: most are.
            if let MessagePosition::Prefix { have: 0, .. } = self.position
                && let Some(([flag @ (0 | 1), a, b, c, d], rest)) =
                    bytes.split_first_chunk::<PREFIX>()
            {
                bytes = rest;
                self.compressed |= *flag == 1;
                self.message_begins(u32::from_be_bytes([*a, *b, *c, *d]));
                continue;
            }
            match self.position {
                MessagePosition::Lost => {
                    if let Some(stray) = self.stray.as_mut().filter(|_| self.keeps_stray) {
                        stray.add(bytes);
                    }
                    return;
                }
                MessagePosition::Message { .. } => {
                    let n = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    let took = self.message_bytes(n);
                    bytes = bytes.get(took as usize..).unwrap_or_default();
                }
                MessagePosition::Prefix {
                    bytes: mut prefix,
                    have,
                } => {
                    let Some((&byte, rest)) = bytes.split_first() else {
                        return;
                    };
                    bytes = rest;
                    // The only flags are 0 and 1 (G "Compressed-Flag"). Anything else is no prefix, or one
                    // of another protocol: boundaries can't be trusted.
                    if have == 0 && byte > 1 {
                        self.stray = Some(Stray::new(byte));
                        self.position = MessagePosition::Lost;
                        continue;
                    }
                    if let Some(slot) = prefix.get_mut(have) {
                        *slot = byte;
                    }
                    self.position = MessagePosition::Prefix {
                        bytes: prefix,
                        have: have + 1,
                    };
                    if have + 1 == PREFIX {
                        let [flag, a, b, c, d] = prefix;
                        self.compressed |= flag == 1;
                        self.message_begins(u32::from_be_bytes([a, b, c, d]));
                    }
                }
            }
        }
    }

    /// Bytes that were counted only.
    pub(crate) fn hole(&mut self, mut n: u32) {
        while n > 0 {
            match self.position {
                MessagePosition::Lost => {
                    self.keeps_stray = false;
                    return;
                }
                MessagePosition::Message { .. } => n -= self.message_bytes(n),
                MessagePosition::Prefix { .. } => {
                    self.position = MessagePosition::Lost;
                    return;
                }
            }
        }
    }

    /// What is known.
    pub(crate) fn messages(&mut self) -> Messages {
        Messages {
            complete: self.n_complete,
            open: self.open(),
            sizes: std::mem::take(&mut self.sizes),
            known: self.known(),
        }
    }

    /// The message that was begun and is not whole.
    pub(crate) fn open(&self) -> Option<OpenMessage> {
        match self.position {
            MessagePosition::Prefix { have: 0, .. } | MessagePosition::Lost => None,
            MessagePosition::Prefix { have, .. } => Some(OpenMessage {
                promised: None,
                got: u32::try_from(have).unwrap_or(u32::MAX),
            }),
            MessagePosition::Message { promised, got } => Some(OpenMessage {
                promised: Some(promised),
                got,
            }),
        }
    }

    /// Takes up to `n` bytes of the open message; returns how many.
    fn message_bytes(&mut self, n: u32) -> u32 {
        let MessagePosition::Message { promised, got } = self.position else {
            return n;
        };
        let took = n.min(promised.saturating_sub(got));
        let got = got.saturating_add(took);
        self.position = MessagePosition::Message { promised, got };
        if got >= promised {
            self.message_ends();
        }
        took
    }

    fn message_begins(&mut self, promised: u32) {
        self.n_begun = self.n_begun.saturating_add(1);
        if self.sizes.len() < limits::MESSAGE_SIZES {
            self.sizes.push(promised);
        }
        self.position = MessagePosition::Message { promised, got: 0 };
        if promised == 0 {
            self.message_ends();
        }
    }

    const fn message_ends(&mut self) {
        self.n_complete = self.n_complete.saturating_add(1);
        self.position = BOUNDARY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> MessageReader {
        let mut reader = MessageReader::new();
        reader.begin(false);
        reader
    }

    #[test]
    fn every_chunking_gives_the_same_messages() {
        let wire = [
            0, 0, 0, 0, 3, 7, 7, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9, 0, 0, 0, 0,
        ];
        for chunk in 1..=wire.len() {
            let mut reader = reader();
            for piece in wire.chunks(chunk) {
                reader.bytes(piece);
            }
            let messages = reader.messages();
            assert_eq!(messages.complete, 3, "chunks of {chunk}");
            assert_eq!(messages.sizes[..], [3, 0, 1]);
            assert_eq!(
                messages.open,
                Some(OpenMessage {
                    promised: None,
                    got: 4
                })
            );
            assert!(messages.known);
        }
    }

    #[test]
    fn a_hole_inside_a_message_is_counted() {
        let mut reader = reader();
        reader.bytes(&[0, 0, 0, 0x2b, 0x6d, 1, 2]);
        reader.hole(9918);
        assert_eq!(
            reader.messages().open,
            Some(OpenMessage {
                promised: Some(11117),
                got: 9920
            })
        );
        reader.hole(11117 - 9920);
        assert_eq!(reader.messages().complete, 1);
        assert!(reader.known());
    }

    #[test]
    fn a_hole_over_a_boundary_makes_messages_unknown() {
        let mut reader = reader();
        reader.bytes(&[0, 0, 0, 0, 4]);
        reader.hole(5);
        let messages = reader.messages();
        assert_eq!(
            messages,
            Messages {
                complete: 1,
                open: None,
                sizes: [4].into_iter().collect(),
                known: false
            }
        );
    }

    #[test]
    fn a_flag_that_is_none_makes_messages_unknown() {
        let mut reader = reader();
        assert_eq!(reader.stray(), None);
        reader.bytes(b"<html>");
        assert!(!reader.known() && !reader.inside());
        assert_eq!(reader.stray().unwrap().bytes(), b"<");
        assert!(!reader.compressed());
    }

    #[test]
    fn what_stands_in_place_of_a_prefix_is_kept_where_it_may_be() {
        let page = b"<html><head><title>502</title>";
        for chunk in 1..=page.len() {
            let mut reader = MessageReader::new();
            reader.begin(true);
            for piece in page.chunks(chunk) {
                reader.bytes(piece);
            }
            let stray = reader.stray().unwrap();
            assert_eq!(stray.bytes(), &page[..limits::STRAY_BYTES]);
            assert_eq!(format!("{stray:?}"), "16 bytes");
        }
        // Not what comes behind bytes that were not copied.
        let mut reader = MessageReader::new();
        reader.begin(true);
        reader.bytes(b"<html");
        reader.hole(10);
        reader.bytes(b"later");
        assert_eq!(reader.stray().unwrap().bytes(), b"<html");
        reader.renew();
        assert_eq!(reader.stray(), None);
    }

    #[test]
    fn sizes_are_bounded_and_counting_goes_on() {
        let mut reader = reader();
        for _ in 0..100 {
            reader.bytes(&[0, 0, 0, 0, 0]);
        }
        let messages = reader.messages();
        assert_eq!(messages.complete, 100);
        assert_eq!(messages.sizes.len(), limits::MESSAGE_SIZES);
    }

    #[test]
    fn the_longest_message_does_not_overflow() {
        let mut reader = reader();
        reader.bytes(&[0, 0xff, 0xff, 0xff, 0xff]);
        reader.hole(u32::MAX - 1);
        assert!(reader.inside());
        reader.hole(2);
        let messages = reader.messages();
        assert_eq!((messages.complete, messages.known), (1, false));
    }
}
