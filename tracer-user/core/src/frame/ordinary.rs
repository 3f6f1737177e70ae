//! Frames as nearly all are: whole, in a certain place, with nothing open. They are read where they lie, without steps.

use std::sync::Arc;

use super::field_block::{Encoded, FieldBlock};
use super::head::{Head, flag, frame_type};
use super::reader::{FramePosition, FrameReader};
use super::{DataHead, HeaderBlock, StreamId};
use crate::field::BlockReading;
use crate::limits;

/// A frame that breaks no rule and hides nothing.
#[derive(Debug)]
pub(crate) enum Ordinary<'a> {
    /// DATA: its payload, of which the last bytes were counted, not copied.
    Data {
        head: DataHead,
        bytes: &'a [u8],
        hole: u32,
    },
    /// HEADERS in one frame, without priority fields.
    Headers {
        stream_id: StreamId,
        end_stream: bool,
        block: Arc<HeaderBlock>,
    },
    /// There is more to say of the frame: steps say it.
    Steps,
}

impl FrameReader {
    /// It stands between two frames, in a place that is certain, and no step waits.
    #[inline]
    pub(crate) fn is_between_frames(&self) -> bool {
        matches!(self.position, FramePosition::Head { have: 0, .. })
            && self.proven
            && !self.first
            && self.block.is_none()
            && !self.may_be_in_block
            && self.has_no_steps()
    }

    /// Takes the ordinary frame that begins here, [between two frames](FrameReader::is_between_frames), and what follows it of `bytes`. `hole`: bytes that were only counted,
    /// behind them. None: it is none, and nothing was taken.
    #[inline]
    pub(crate) fn take_ordinary<'a>(
        &mut self,
        bytes: &'a [u8],
        hole: u32,
        reading: BlockReading<'_>,
    ) -> Option<(Ordinary<'a>, &'a [u8])> {
        let (head, rest) = bytes.split_first_chunk::<{ Head::LEN }>()?;
        let head = Head::parse(head);
        if !self.is_ordinary_head(&head) {
            return None;
        }
        let (payload, rest) = rest
            .split_at_checked(head.len as usize)
            .unwrap_or((rest, &[]));
        // No payload is longer than 2^24.
        let missing = head.len - payload.len() as u32;
        let end_stream = head.has(flag::END_STREAM);
        if head.frame_type == frame_type::DATA {
            if missing > hole || (head.len == 0 && !end_stream) {
                return None;
            }
            self.pass(head);
            let head = DataHead {
                stream_id: head.stream_id,
                flow_len: head.len,
                end_stream,
                padded: false,
            };
            let data = Ordinary::Data {
                head,
                bytes: payload,
                hole: missing,
            };
            return Some((data, rest));
        }
        let is_alone = head.has(flag::END_HEADERS) && !head.has(flag::PRIORITY);
        if missing > 0 || !is_alone || payload.is_empty() || payload.len() > limits::FRAME_PAYLOAD {
            return None;
        }
        self.pass(head);
        let block = self.decode_block(Encoded::whole(&head), payload, Some(reading));
        if !self.has_no_steps() {
            self.tell_block(&FieldBlock::whole(&head), block);
            return Some((Ordinary::Steps, rest));
        }
        let headers = Ordinary::Headers {
            stream_id: head.stream_id,
            end_stream,
            block,
        };
        Some((headers, rest))
    }

    #[inline]
    fn pass(&mut self, head: Head) {
        self.current = head;
        self.plausible_frames = self.plausible_frames.saturating_add(1);
    }
}
