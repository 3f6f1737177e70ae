//! What the story of a stream says of its frames.

use crate::connection::Endpoint;
use crate::frame::{FrameKind, HeaderBlock};
use crate::stream::live::direction::DataProgress;
use crate::stream::live::{Env, Stream};
use crate::stream::record::{Moment, Seen};
use crate::stream::story::DataMoment;

impl Stream {
    pub(super) fn path_note(&self, env: Env<'_>) -> String {
        match (&self.content.path, env.shown.stories()) {
            (Some(path), true) => path.clone(),
            _ => String::new(),
        }
    }

    pub(super) fn response_note(
        &self,
        is_response: bool,
        end_stream: bool,
        env: Env<'_>,
    ) -> String {
        let mut note = String::new();
        if !env.shown.stories() {
            return note;
        }
        if is_response {
            match self.content.http_status {
                Seen::Value(status) => note = format!(":status {status}"),
                Seen::Unknown => note.push_str(":status unseen"),
                Seen::Absent => {}
            }
        }
        if end_stream && self.content.grpc() != Seen::Absent {
            push(
                &mut note,
                if is_response {
                    "Trailers-Only"
                } else {
                    "trailers"
                },
            );
            match self.content.grpc_status {
                Seen::Value(status) => note.push_str(&format!(" grpc-status {status}")),
                Seen::Absent => note.push_str(" without grpc-status"),
                Seen::Unknown if self.content.grpc_status_malformed => {
                    note.push_str(" grpc-status malformed");
                }
                Seen::Unknown => note.push_str(" grpc-status unseen"),
            }
        } else if end_stream && !is_response {
            push(&mut note, "trailers");
        }
        note
    }

    pub(super) fn headers_moment(
        &mut self,
        sender: Endpoint,
        block: &HeaderBlock,
        end_stream: bool,
        mut note: String,
        env: Env<'_>,
    ) {
        if !self.resets.is_empty() {
            push(&mut note, "after the reset");
        }
        let (sender, frame) = if self.pushed && sender == Endpoint::Client {
            (Endpoint::Server, FrameKind::PushPromise)
        } else {
            (sender, FrameKind::Headers)
        };
        self.moment(
            sender,
            frame,
            u64::from(block.encoded_len),
            end_stream,
            note,
            env,
        );
    }

    pub(super) fn moment(
        &mut self,
        sender: Endpoint,
        frame: FrameKind,
        bytes: u64,
        end_stream: bool,
        note: String,
        env: Env<'_>,
    ) {
        if !env.shown.stories() {
            return;
        }
        let windows = self.windows(sender, env.flow);
        let at = env.context.at;
        self.story.frame(Moment {
            at,
            sender,
            frame,
            n_frames: 1,
            bytes,
            end_stream,
            windows,
            note,
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
        let direction = self.direction_mut(sender);
        let Some(frame) = direction.frame.take() else {
            return;
        };
        if !env.shown.stories() {
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

/// Adds to a note.
pub(super) fn push(note: &mut String, more: &str) {
    if !note.is_empty() && !more.is_empty() {
        note.push_str(", ");
    }
    note.push_str(more);
}
