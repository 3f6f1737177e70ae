//! Connections of which it never becomes known what they speak: how much went by, and what the first bytes look like.

use smallvec::SmallVec;

use super::Conn;
use crate::event::{Bytes, Direction, Segment};
use crate::frame::head::Head;
use crate::pipeline::{FirstBytes, Protocol, Undecided};

/// Bytes that are looked at.
const LOOKED_AT: usize = 16;

/// What went by before it was known what a connection speaks.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// In both directions.
    bytes: u64,
    /// The first of them that were captured, however they were divided. Never told.
    first: SmallVec<[u8; LOOKED_AT]>,
    /// Where the next of these stands; None before the first, and when a gap came behind them.
    next: Option<(Direction, u64)>,
}

impl Before {
    fn count(&mut self, bytes: &Bytes<'_>) {
        self.bytes = self.bytes.saturating_add(u64::from(bytes.total));
        let mut offset = bytes.offset;
        for segment in bytes.segments() {
            let room = LOOKED_AT.saturating_sub(self.first.len());
            if room == 0 {
                return;
            }
            let here = (bytes.direction, offset);
            match segment {
                Segment::Bytes(some) => {
                    offset = offset.wrapping_add(some.len() as u64);
                    if self.first.is_empty() || self.next == Some(here) {
                        self.first.extend(some.iter().take(room).copied());
                        self.next = Some((bytes.direction, offset));
                    }
                }
                Segment::Hole(n) => offset = offset.wrapping_add(u64::from(n)),
            }
        }
    }

    fn told(&self) -> Undecided {
        Undecided {
            bytes: self.bytes,
            first: FirstBytes::of(&self.first),
        }
    }
}

impl FirstBytes {
    fn of(bytes: &[u8]) -> FirstBytes {
        let looks_like_frame = bytes
            .first_chunk()
            .is_some_and(|head| Head::parse(head).is_plausible(None));
        let is_text = |byte: &u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~');
        match bytes {
            [] => FirstBytes::Unseen,
            _ if looks_like_frame => FirstBytes::Frame,
            text if text.iter().all(is_text) => FirstBytes::Text,
            _ => FirstBytes::Binary,
        }
    }
}

impl Conn {
    /// Counts what goes by before it is known.
    pub(super) fn count_undecided(&mut self, bytes: &Bytes<'_>) {
        if !self.spoken.is_announced() {
            self.undecided.count(bytes);
        }
    }

    /// What is told of it when nothing proves what it speaks.
    pub(super) fn as_undecided(&self) -> Option<Protocol> {
        let is_undecided = !self.info.beginning_seen && self.undecided.bytes > 0;
        is_undecided.then(|| Protocol::Undecided(self.undecided.told()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Boundary, ProtocolConfidence};

    /// Both directions in turn; None is a byte that was not captured.
    fn first_of(pieces: &[(Direction, u64, &[Option<u8>])]) -> FirstBytes {
        let mut before = Before::default();
        for &(direction, offset, piece) in pieces {
            let mut encoded = Vec::new();
            for byte in piece {
                match byte {
                    Some(byte) => encoded.extend([1, 0, 0, 0, *byte]),
                    None => encoded.extend([1, 0, 0, 0x80]),
                }
            }
            before.count(&Bytes {
                direction,
                offset,
                total: piece.len() as u32,
                boundary: Boundary::Unknown,
                confidence: ProtocolConfidence::Tentative,
                unseen: None,
                encoded: &encoded,
            });
        }
        before.told().first
    }

    #[test]
    fn first_bytes_are_the_same_however_they_are_divided() {
        let frame = b"\0\0\x05\0\x01\0\0\0\x01hello".map(Some);
        let other = [Some(b'x'); 3];
        for at in 1..frame.len() {
            let (one, two) = frame.split_at(at);
            let first = first_of(&[
                (Direction::Tx, 7, one),
                (Direction::Rx, 0, &other),
                (Direction::Tx, 7 + at as u64, two),
            ]);
            assert_eq!(first, FirstBytes::Frame, "{at}");
        }
        // What stands behind a gap is no longer the beginning.
        let gap = [Some(0), Some(0), None, Some(0), Some(0)];
        let divided = [(Direction::Tx, 0, &gap[..2]), (Direction::Tx, 3, &gap[3..])];
        assert_eq!(first_of(&[(Direction::Tx, 0, &gap)]), first_of(&divided));
    }

    #[test]
    fn first_bytes_are_told_apart() {
        for (bytes, want) in [
            (&b""[..], FirstBytes::Unseen),
            (b"*1\r\n$4\r\nPING\r\n", FirstBytes::Text),
            (b"\0\0\x05\0\x01\0\0\0\x01hello", FirstBytes::Frame),
            (b"\0\0\x05\x77\x01\0\0\0\x01", FirstBytes::Binary),
            (b"\xff\xfe", FirstBytes::Binary),
        ] {
            assert_eq!(FirstBytes::of(bytes), want, "{bytes:?}");
        }
    }
}
