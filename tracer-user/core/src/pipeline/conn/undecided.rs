//! Connections of which it never becomes known what they speak: how much went by, and what the first bytes look like.

use super::Conn;
use crate::event::{Bytes, Segment};
use crate::frame::head::Head;
use crate::pipeline::{FirstBytes, Protocol, Undecided};

/// Bytes that are looked at.
const LOOKED_AT: usize = 16;

impl FirstBytes {
    fn of(bytes: &[u8]) -> FirstBytes {
        let looks_like_frame = bytes
            .first_chunk()
            .is_some_and(|head| Head::parse(head).is_plausible(None));
        let is_text = |byte: &u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~');
        let looked_at = bytes.get(..LOOKED_AT).unwrap_or(bytes);
        match looked_at {
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
        if self.spoken.is_announced() {
            return;
        }
        self.undecided.bytes = self.undecided.bytes.saturating_add(u64::from(bytes.total));
        if self.undecided.first == FirstBytes::Unseen
            && let Some(Segment::Bytes(first)) = bytes.segments().next()
        {
            self.undecided.first = FirstBytes::of(first);
        }
    }

    /// What is told of it when nothing proves what it speaks.
    pub(super) fn as_undecided(&self) -> Option<Protocol> {
        let is_undecided = !self.info.beginning_seen && self.undecided.bytes > 0;
        is_undecided.then_some(Protocol::Undecided(self.undecided))
    }
}

impl Default for Undecided {
    fn default() -> Undecided {
        Undecided {
            bytes: 0,
            first: FirstBytes::Unseen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
