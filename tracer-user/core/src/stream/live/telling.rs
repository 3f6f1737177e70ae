//! What the story of a stream says of its frames.

use crate::connection::Endpoint;
use crate::frame::{FrameKind, HeaderBlock};
use crate::stream::live::direction::DataProgress;
use crate::stream::live::{Env, Stream};
use crate::stream::record::Seen;
use crate::stream::story::{DataMoment, EndNote, Note, Told};

impl Stream {
    /// What the server's HEADERS say.
    pub(super) fn response_note(&self, is_response: bool, end_stream: bool) -> Note {
        let content = &self.content;
        let end = if !end_stream {
            EndNote::None
        } else if content.grpc() != Seen::Absent {
            match content.grpc_status {
                Seen::Value(status) => EndNote::Status(status),
                Seen::Absent => EndNote::NoStatus,
                Seen::Unknown if content.grpc_status_malformed => EndNote::Malformed,
                Seen::Unknown => EndNote::Unseen,
            }
        } else if is_response {
            EndNote::None
        } else {
            EndNote::Trailers
        };
        Note::Response {
            status: is_response.then_some(content.http_status),
            end,
        }
    }

    /// Tells of HEADERS. `remark`: what is wrong with them.
    pub(super) fn headers_moment(
        &mut self,
        sender: Endpoint,
        block: &HeaderBlock,
        end_stream: bool,
        (note, remark): (Note, &'static str),
        env: Env<'_>,
    ) {
        if !self.has_story {
            return;
        }
        let after = if self.resets.is_empty() {
            ""
        } else {
            "after the reset"
        };
        let (sender, frame) = if self.pushed && sender == Endpoint::Client {
            (Endpoint::Server, FrameKind::PushPromise)
        } else {
            (sender, FrameKind::Headers)
        };
        let bytes = u64::from(block.encoded_len);
        self.tell(
            sender,
            frame,
            bytes,
            end_stream,
            (note, [remark, after]),
            env,
        );
    }

    /// Tells of a frame of 4 bytes.
    pub(super) fn moment(&mut self, sender: Endpoint, frame: FrameKind, note: Note, env: Env<'_>) {
        self.tell(sender, frame, 4, false, (note, [""; 2]), env);
    }

    pub(super) fn tell(
        &mut self,
        sender: Endpoint,
        frame: FrameKind,
        bytes: u64,
        end_stream: bool,
        (note, remarks): (Note, [&'static str; 2]),
        env: Env<'_>,
    ) {
        if !self.has_story {
            return;
        }
        let windows = self.windows(sender, env.flow);
        self.story.frame(&Told {
            at: env.context.at,
            sender,
            frame,
            bytes,
            end_stream,
            windows,
            note,
            remarks,
        });
    }

    /// Tells of DATA that came of frames that are not whole (yet).
    pub(super) fn tell_partial_frames(&mut self, note: &'static str, env: Env<'_>) {
        for sender in [Endpoint::Client, Endpoint::Server] {
            let frame = self.direction_mut(sender).frame;
            if frame.is_some_and(|frame| frame.bytes > 0) {
                self.data_moment(sender, false, note, env);
                let direction = self.direction_mut(sender);
                direction.frame = Some(DataProgress {
                    bytes: 0,
                    n_begun_before: direction.messages.n_begun(),
                });
            }
        }
    }

    /// Tells of the DATA frame that is going by.
    pub(super) fn data_moment(
        &mut self,
        sender: Endpoint,
        end_stream: bool,
        note: &'static str,
        env: Env<'_>,
    ) {
        let has_story = self.has_story;
        let direction = self.direction_mut(sender);
        let Some(frame) = direction.frame.take() else {
            return;
        };
        if !has_story {
            return;
        }
        let n_begun = direction
            .messages
            .n_begun()
            .saturating_sub(frame.n_begun_before);
        let first_size = match n_begun {
            0 => None,
            _ => direction.messages.size(frame.n_begun_before),
        };
        let note = if self.resets.is_empty() {
            note
        } else {
            "after the reset"
        };
        self.story.data(DataMoment {
            at: env.context.at,
            sender,
            bytes: frame.bytes,
            end_stream,
            windows: self.windows(sender, env.flow),
            n_begun: u32::try_from(n_begun).unwrap_or(u32::MAX),
            first_size,
            note,
        });
    }
}
