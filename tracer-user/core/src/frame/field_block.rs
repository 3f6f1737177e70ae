//! Header blocks: HEADERS or PUSH_PROMISE and their CONTINUATIONs, put together and decoded
//! (RFC 9113 sections 4.3, 6.2, 6.6, 6.10).

use std::sync::Arc;

use crate::field::BlockReading;
use crate::limits::{self, Limit};

use super::head::{Broken, Head, flag, frame_type};
use super::reader::{FramePosition, FrameReader, Missing};
use super::{
    ErrorCode, Fault, Frame, HeaderBlock, Priority, Rule, Step, StreamId, Violation, headers,
};

/// Frames of a header block without END_HEADERS that are still ordinary: half a megabyte of fields in
/// frames of the default size. nghttp2 takes 8 CONTINUATION frames.
pub const LONG_BLOCK_FRAMES: u32 = 32;

/// What the block becomes.
#[derive(Clone, Copy, Debug)]
enum BlockKind {
    Headers {
        end_stream: bool,
        priority: Option<Priority>,
    },
    PushPromise {
        promised: StreamId,
    },
    /// Decoded for the table's sake only.
    Discard,
}

/// A header block that is going by.
#[derive(Debug)]
pub(super) struct FieldBlock {
    pub(super) stream_id: StreamId,
    kind: BlockKind,
    flags: u8,
    /// Payload lengths added up.
    len: u32,
    /// Fragment lengths added up.
    encoded_len: u32,
    n_frames: u32,
    /// The captured beginning of the block.
    pub(super) fragment: Vec<u8>,
    /// Something of it was not captured: `fragment` does not grow any more.
    cut: bool,
    /// A fault or a violation has said so.
    told: bool,
}

/// What is to be decoded: see [`FieldBlock`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded {
    stream_id: StreamId,
    len: u32,
    n_frames: u32,
    cut: bool,
    told: bool,
}

impl Encoded {
    /// HEADERS in one frame, without anything around the fragment.
    pub(super) const fn whole(head: &Head) -> Encoded {
        Encoded {
            stream_id: head.stream_id,
            len: head.len,
            n_frames: 1,
            cut: false,
            told: false,
        }
    }
}

impl FieldBlock {
    fn new(head: &Head, kind: BlockKind) -> FieldBlock {
        FieldBlock {
            stream_id: head.stream_id,
            kind,
            flags: head.flags,
            len: 0,
            encoded_len: 0,
            n_frames: 0,
            fragment: Vec::new(),
            cut: false,
            told: false,
        }
    }

    /// HEADERS in one frame, without anything around the fragment.
    pub(super) fn whole(head: &Head) -> FieldBlock {
        let end_stream = head.has(flag::END_STREAM);
        let priority = None;
        let mut block = FieldBlock::new(
            head,
            BlockKind::Headers {
                end_stream,
                priority,
            },
        );
        block.count(head.len, head.len);
        block
    }

    fn count(&mut self, frame_len: u32, fragment_len: u32) {
        self.len = self.len.saturating_add(frame_len);
        self.encoded_len = self.encoded_len.saturating_add(fragment_len);
        self.n_frames = self.n_frames.saturating_add(1);
    }
}

impl FrameReader {
    /// A HEADERS, PUSH_PROMISE or CONTINUATION frame ends here. `captured` is the beginning of its payload;
    /// `missing` says why it is not all of it, when it is not.
    pub(super) fn field_block_frame(&mut self, head: &Head, captured: &[u8], missing: Missing) {
        let split = match missing {
            Missing::Beginning => Ok(headers::Parts::unseen(head)),
            Missing::Hole | Missing::Limit | Missing::Gap => headers::split(head, captured),
        };
        let parts = match split {
            Ok(parts) => parts,
            Err(broken) => return self.malformed_field_block_frame(head, broken),
        };
        let mut block = if head.frame_type == frame_type::CONTINUATION {
            let Some(block) = self.block.take() else {
                return self.orphan_continuation(head);
            };
            block
        } else {
            let Some(kind) = self.kind_of(head, &parts) else {
                return;
            };
            FieldBlock::new(head, kind)
        };
        block.count(head.len, parts.fragment_len);
        let whole = parts.is_whole();
        if !whole && !block.cut {
            match missing {
                Missing::Hole => self.push_step(Step::Fault(Fault::HoleInFrame)),
                Missing::Limit => {
                    block.told = true;
                    self.push_step(Step::Fault(Fault::Limit(Limit::FramePayload)));
                }
                Missing::Gap | Missing::Beginning => {}
            }
        }
        let ends = head.has(flag::END_HEADERS);
        if ends && whole && !block.cut && block.fragment.is_empty() {
            // The common case: one frame, decoded where it lies.
            return self.finish_block(&block, parts.fragment);
        }
        if !ends && block.n_frames == LONG_BLOCK_FRAMES + 1 {
            self.push_step(Step::LongBlock {
                stream_id: block.stream_id,
                n_frames: block.n_frames,
            });
        }
        self.append(&mut block, parts.fragment, whole);
        block.cut |= missing == Missing::Gap && !ends;
        if ends || missing == Missing::Gap {
            self.finish_block(&block, &block.fragment);
        } else {
            self.block = Some(block);
        }
    }

    /// The beginning of a frame is here, and `left` bytes of it are not. What already breaks a rule is told: its
    /// receiver may give up and never read the rest. In a place that is not certain nothing is told, and the frame is
    /// judged at its end, however its bytes are divided.
    pub(super) fn tell_early(&mut self, head: Head, left: u32) {
        let may_be_told = self.proven && head.carries_field_block();
        if !may_be_told || headers::split(&head, &self.buffer).is_ok() {
            return;
        }
        let beginning = std::mem::take(&mut self.buffer);
        self.position = FramePosition::Skip {
            head,
            left,
            told: true,
        };
        self.field_block_frame(&head, &beginning, Missing::Hole);
    }

    /// The frame's padding or fixed fields do not fit its length: where its fragment lies is not known,
    /// but its flags are.
    fn malformed_field_block_frame(&mut self, head: &Head, broken: Broken) {
        if !self.broken(broken, head.stream_id) {
            return;
        }
        let kind = match head.frame_type {
            frame_type::HEADERS if head.stream_id.0 != 0 => BlockKind::Headers {
                end_stream: head.has(flag::END_STREAM),
                priority: None,
            },
            _ => BlockKind::Discard,
        };
        let mut block = FieldBlock::new(head, kind);
        block.count(head.len, 0);
        block.cut = true;
        block.told = true;
        if head.has(flag::END_HEADERS) {
            self.finish_block(&block, &[]);
        } else {
            self.block = Some(block);
        }
    }

    /// What the block becomes. None when the place is lost over it.
    fn kind_of(&mut self, head: &Head, parts: &headers::Parts<'_>) -> Option<BlockKind> {
        if head.stream_id.0 == 0 {
            return Some(BlockKind::Discard);
        }
        if head.frame_type == frame_type::HEADERS {
            let end_stream = head.has(flag::END_STREAM);
            return Some(BlockKind::Headers {
                end_stream,
                priority: parts.priority,
            });
        }
        let Some(promised) = parts.promised else {
            return Some(BlockKind::Discard);
        };
        if promised.0 == 0 || promised.0 % 2 == 1 {
            let rule = Rule::PushOfClientStream;
            let broken = Broken::connection(ErrorCode::PROTOCOL_ERROR, rule);
            return self
                .broken(broken, head.stream_id)
                .then_some(BlockKind::Discard);
        }
        Some(BlockKind::PushPromise { promised })
    }

    /// Adds a fragment, within the bounds.
    fn append(&mut self, block: &mut FieldBlock, fragment: &[u8], whole: bool) {
        if block.cut {
            return;
        }
        let limit = if block.n_frames as usize > limits::CONTINUATIONS + 1 {
            Some(Limit::Continuations)
        } else if block.fragment.len() + fragment.len() > limits::HEADER_BLOCK {
            Some(Limit::HeaderBlock)
        } else {
            None
        };
        if let Some(limit) = limit {
            block.cut = true;
            block.told = true;
            self.push_step(Step::Fault(Fault::Limit(limit)));
            return;
        }
        block.fragment.extend_from_slice(fragment);
        block.cut = !whole;
    }

    /// A CONTINUATION whose block was not seen to begin.
    fn orphan_continuation(&mut self, head: &Head) {
        self.push_step(Step::Fault(Fault::HeaderBlockLost));
        self.hpack.forget();
        self.may_be_in_block = !head.has(flag::END_HEADERS);
    }

    /// The open block does not go on: what comes is no CONTINUATION of it, or bytes were lost.
    /// The frame header was seen, so the stream's state stays exact.
    pub(super) fn abandon_block(&mut self, told: bool) {
        if let Some(mut block) = self.block.take() {
            block.cut = true;
            block.told |= told;
            self.finish_block(&block, &block.fragment);
        }
    }

    fn finish_block(&mut self, block: &FieldBlock, fragment: &[u8]) {
        let encoded = Encoded {
            stream_id: block.stream_id,
            len: block.encoded_len,
            n_frames: block.n_frames,
            cut: block.cut,
            told: block.told,
        };
        let header_block = self.decode_block(encoded, fragment, None);
        self.tell_block(block, header_block);
    }

    /// Decodes a block; what is wrong with it is told.
    pub(super) fn decode_block(
        &mut self,
        block: Encoded,
        fragment: &[u8],
        reading: Option<BlockReading<'_>>,
    ) -> Arc<HeaderBlock> {
        let history_seen = self.hpack.history_seen();
        if block.cut && !block.told {
            self.push_step(Step::Fault(Fault::HeaderBlockLost));
        }
        let decoded = self.hpack.decode_and_read(fragment, block.cut, reading);
        if let Some(error) = decoded.error
            && !block.cut
        {
            // Where history is missing, trouble may be of our own making.
            self.push_step(if history_seen {
                Step::Violation(Violation {
                    stream_id: block.stream_id,
                    code: ErrorCode::COMPRESSION_ERROR,
                    connection_error: true,
                    rule: error.rule(),
                    frame: self.current,
                })
            } else {
                Step::Fault(Fault::HeaderBlockLost)
            });
        }
        if decoded.update_missing && history_seen && !block.cut {
            self.push_step(Step::Violation(Violation {
                stream_id: block.stream_id,
                code: ErrorCode::COMPRESSION_ERROR,
                connection_error: true,
                rule: Rule::SizeUpdateMissing,
                frame: self.current,
            }));
        }
        if decoded.list_limited {
            self.push_step(Step::Fault(Fault::Limit(Limit::HeaderList)));
        }
        if decoded.table_limited {
            self.push_step(Step::Fault(Fault::Limit(Limit::HpackTable)));
        }
        let mut header_block = decoded.block;
        if (header_block.encoded_len, header_block.n_frames) != (block.len, block.n_frames) {
            let header_block = Arc::make_mut(&mut header_block);
            header_block.encoded_len = block.len;
            header_block.n_frames = block.n_frames;
        }
        self.hpack.handed_out(&header_block);
        header_block
    }

    /// Tells the frame of a decoded block.
    pub(super) fn tell_block(&mut self, block: &FieldBlock, header_block: Arc<HeaderBlock>) {
        let frame = match block.kind {
            BlockKind::Headers {
                end_stream,
                priority,
            } => Frame::Headers {
                stream_id: block.stream_id,
                end_stream,
                priority,
                block: header_block,
            },
            BlockKind::PushPromise { promised } => Frame::PushPromise {
                stream_id: block.stream_id,
                promised,
                block: header_block,
            },
            BlockKind::Discard => return,
        };
        self.push_step(Step::Frame {
            len: block.len,
            flags: block.flags,
            frame,
        });
    }
}
