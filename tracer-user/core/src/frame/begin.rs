//! What a complete frame header begins, and whether a frame may stand there at all.

use super::data::Data;
use super::head::{Broken, DEFAULT_MAX_FRAME_SIZE, Head, flag, frame_type};
use super::reader::{FramePosition, FrameReader, Missing};
use super::{ErrorCode, PREFACE, Rule, Step, StreamId};

impl FrameReader {
    /// A frame header is complete.
    pub(super) fn begin_frame(&mut self, bytes: &[u8; Head::LEN]) {
        let head = Head::parse(bytes);
        self.current = head;
        if head.len > 0 && self.is_ordinary(&head) {
            self.plausible_frames = self.plausible_frames.saturating_add(1);
            if head.frame_type == frame_type::DATA {
                let data = Data::new(head);
                self.push_step(Step::DataBegin(data.data_head()));
                return self.go_on(data);
            }
            self.position = FramePosition::Payload {
                head,
                left: head.len,
                missing: None,
            };
            return;
        }
        self.position = FramePosition::BOUNDARY;
        // Extensions are legal, but a long frame of no known type is rather a sign of a wrong place.
        let longest = self.max_frame_size.unwrap_or(0).max(DEFAULT_MAX_FRAME_SIZE);
        let believed = if head.is_known_type() {
            self.proven || head.is_plausible(self.max_frame_size)
        } else {
            head.len <= longest || self.is_certainly_too_long(&head, bytes)
        };
        let begins = head.frame_type == frame_type::SETTINGS && !head.has(flag::ACK);
        if std::mem::take(&mut self.first) && !begins {
            let rule = Rule::NotBegunWithSettings;
            let stream_id = if believed {
                head.stream_id
            } else {
                StreamId(0)
            };
            let broken = Broken::connection(ErrorCode::PROTOCOL_ERROR, rule);
            self.broken(broken, stream_id);
        } else if !believed
            && self.proven
            && let Some(rule) = text_in_place_of_a_frame(bytes)
        {
            let broken = Broken::connection(ErrorCode::FRAME_SIZE_ERROR, rule);
            self.broken(broken, StreamId(0));
        }
        if !believed {
            self.implausible();
            self.push(bytes);
            return;
        }
        if !self.keeps_block_discipline(&head) {
            return;
        }
        if let Some(broken) = head.broken_rule() {
            self.plausible_frames = 0;
            if !self.broken(broken, head.stream_id) {
                return;
            }
            if !head.carries_field_block() {
                return self.skip(head, head.len, true);
            }
        } else if head.is_known_type() {
            self.plausible_frames = self.plausible_frames.saturating_add(1);
            self.proven |= self.plausible_frames >= self.frames_to_prove;
        }
        if self.is_longer_than_allowed(&head) {
            self.broken(head.too_long(), head.stream_id);
        }
        match head.frame_type {
            frame_type::DATA => {
                let data = Data::new(head);
                self.push_step(Step::DataBegin(data.data_head()));
                if head.len == 0 && head.has(flag::PADDED) {
                    let rule = Rule::NoPadLength;
                    let broken = Broken::stream(ErrorCode::FRAME_SIZE_ERROR, rule);
                    if !self.broken(broken, head.stream_id) {
                        return;
                    }
                }
                self.go_on(data);
            }
            frame_type::ALTSVC | frame_type::ORIGIN => self.skip(head, head.len, false),
            _ if !head.is_known_type() => self.skip(head, head.len, false),
            _ if head.len == 0 => self.end_frame(&head, &[], Missing::Hole),
            _ => {
                self.position = FramePosition::Payload {
                    head,
                    left: head.len,
                    missing: None,
                }
            }
        }
    }

    /// The receiver is known not to allow it.
    fn is_longer_than_allowed(&self, head: &Head) -> bool {
        self.longest_allowed().is_some_and(|max| head.len > max)
    }

    /// A frame of no known type, and as the place is certain it is one, however long.
    fn is_certainly_too_long(&self, head: &Head, bytes: &[u8; Head::LEN]) -> bool {
        self.proven
            && !self.first
            && self.is_longer_than_allowed(head)
            && text_in_place_of_a_frame(bytes).is_none()
    }

    /// It is one of those that nearly all are: of what is asked below, every answer is known.
    fn is_ordinary(&self, head: &Head) -> bool {
        self.proven
            && !self.first
            && self.block.is_none()
            && !self.may_be_in_block
            && self.is_ordinary_head(head)
    }

    /// The same where the place is certain, and no header block goes on.
    #[inline]
    pub(super) fn is_ordinary_head(&self, head: &Head) -> bool {
        matches!(head.frame_type, frame_type::DATA | frame_type::HEADERS)
            && head.stream_id.0 != 0
            && !head.has(flag::PADDED)
            && self.longest_allowed().is_none_or(|max| head.len <= max)
    }

    /// Section 6.10: nothing comes between the frames of a header block, and CONTINUATION comes nowhere
    /// else. False when the frame needs no further looking at.
    fn keeps_block_discipline(&mut self, head: &Head) -> bool {
        let continuation = head.frame_type == frame_type::CONTINUATION;
        // What interrupts a block breaks the stream whose block it is.
        let (mut broken, mut of) = (None, head.stream_id);
        match &self.block {
            Some(block) if continuation && block.stream_id == head.stream_id => return true,
            Some(block) => {
                of = block.stream_id;
                self.abandon_block(true);
                let rule = Rule::BlockInterrupted;
                broken = Some(rule);
            }
            None if continuation && !self.may_be_in_block => {
                let rule = Rule::ContinuationWithoutBlock;
                broken = Some(rule);
            }
            None => {}
        }
        if let Some(rule) = broken {
            self.hpack.forget();
            self.plausible_frames = 0;
            let broken = Broken::connection(ErrorCode::PROTOCOL_ERROR, rule);
            if !self.broken(broken, of) {
                return false;
            }
            if continuation {
                self.skip(*head, head.len, true);
                return false;
            }
        }
        self.may_be_in_block &= continuation;
        true
    }
}

/// Text that stands where a frame has to begin. Read as one it would be of no known type, and millions of bytes long.
fn text_in_place_of_a_frame(bytes: &[u8; Head::LEN]) -> Option<Rule> {
    if bytes.starts_with(b"HTTP/1.") {
        return Some(Rule::Http1InPlaceOfFrame);
    }
    PREFACE
        .starts_with(bytes)
        .then_some(Rule::PrefaceInPlaceOfFrame)
}
