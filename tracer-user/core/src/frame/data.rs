//! DATA (RFC 9113 section 6.1), streamed: where its data ends and its padding begins.

use super::head::{Broken, Head, flag};
use super::{DataHead, ErrorCode, Rule};

/// What is known of the padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    /// The next payload byte tells its length.
    Untold,
    /// That many bytes at the end.
    Known(u32),
    /// Its length was not captured: what is left is data and padding.
    Unseen,
}

/// A DATA frame that is going by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) head: Head,
    /// Payload bytes that have not come yet.
    pub(super) left: u32,
    padding: Padding,
}

/// What to make of the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataPart {
    /// The next byte is the pad length.
    PadLength,
    /// So many bytes of data.
    Data(u32),
    /// So many bytes of which it is not known whether they are data or padding.
    Either(u32),
    /// So many bytes of padding.
    Padding(u32),
}

impl Data {
    /// A frame at its first payload byte.
    pub(super) fn new(head: Head) -> Data {
        // A PADDED frame without payload lacks the pad length; the reader reports it.
        let padded = head.has(flag::PADDED) && head.len > 0;
        let padding = if padded {
            Padding::Untold
        } else {
            Padding::Known(0)
        };
        Data {
            head,
            left: head.len,
            padding,
        }
    }

    /// A frame whose header was not seen: `head.len` is what is left of it.
    pub(super) fn rest(head: Head) -> Data {
        let padding = if head.has(flag::PADDED) {
            Padding::Unseen
        } else {
            Padding::Known(0)
        };
        Data {
            head,
            left: head.len,
            padding,
        }
    }

    /// The form that leaves this module.
    pub(super) fn data_head(&self) -> DataHead {
        DataHead {
            stream_id: self.head.stream_id,
            flow_len: self.head.len,
            end_stream: self.head.has(flag::END_STREAM),
            padded: self.head.has(flag::PADDED),
        }
    }

    /// What the next bytes are; never more than `left`.
    pub(super) fn next(&self) -> DataPart {
        match self.padding {
            Padding::Untold => DataPart::PadLength,
            Padding::Unseen => DataPart::Either(self.left),
            Padding::Known(pad) if self.left > pad => DataPart::Data(self.left - pad),
            Padding::Known(_) => DataPart::Padding(self.left),
        }
    }

    /// The pad length was read.
    pub(super) fn pad_length(&mut self, pad: u8) -> Option<Broken> {
        self.left = self.left.saturating_sub(1);
        let pad = u32::from(pad);
        if pad > self.left {
            // Nothing of it can be told from padding; count it all as such.
            self.padding = Padding::Known(self.left);
            return Some(Broken::connection(
                ErrorCode::PROTOCOL_ERROR,
                Rule::DataPadding,
            ));
        }
        self.padding = Padding::Known(pad);
        None
    }

    /// The pad length is in a hole.
    pub(super) fn pad_length_unseen(&mut self) {
        self.padding = Padding::Unseen;
    }

    /// So many bytes went by.
    pub(super) fn advance(&mut self, n: u32) {
        self.left = self.left.saturating_sub(n);
    }
}

/// The first `n` bytes (or all there are) and the rest.
pub(super) fn split(bytes: &[u8], n: u32) -> (&[u8], &[u8]) {
    bytes.split_at_checked(n as usize).unwrap_or((bytes, &[]))
}
