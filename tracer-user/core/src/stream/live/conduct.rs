//! Frames on a stream that come too late or too early (RFC 9113 section 5.1).

use super::Stream;
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::{ErrorCode, FrameKind, Rule};
use crate::stream::record::Seen;
use crate::stream::state::{HalfEnd, HalfState};
use crate::stream::violation::{Answer, Conduct, Offence, OffenceKind};

/// What is known of the sender of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Every frame of it was seen.
    pub(crate) certain: bool,
    /// It breaks rules again and again, and that is told: single frames are not.
    pub(crate) told_as_flood: bool,
    /// It has certainly processed its peer's reset of the stream.
    pub(crate) processed_reset: bool,
}

impl Stream {
    /// HEADERS or DATA of `sender`, before anything is made of it. Only the order of its sender's own
    /// frames decides: how the frames of the two ends are ordered is not known so exactly.
    pub(crate) fn check_frame_allowed(
        &mut self,
        sender: Endpoint,
        frame: FrameKind,
        view: View,
        at: Timestamp,
    ) {
        if !view.certain {
            return;
        }
        if self.pushed && sender == Endpoint::Client {
            // Without a promise that the client opened it is told already.
            if self.beginning_seen {
                let code = match self.response.state {
                    HalfState::Idle => ErrorCode::PROTOCOL_ERROR,
                    _ => ErrorCode::STREAM_CLOSED,
                };
                let rule = (code, Rule::OnPromisedStream);
                self.offend(OffenceKind::Framing, sender, rule, frame, at);
            }
            return;
        }
        let state = match sender {
            Endpoint::Client => self.request.state,
            Endpoint::Server => self.response.state,
        };
        let closed = ErrorCode::STREAM_CLOSED;
        let (kind, code, rule) = match state {
            HalfState::Ended(HalfEnd::EndStream { .. }) => {
                (OffenceKind::AfterEndStream, closed, Rule::AfterEndStream)
            }
            _ if self.resets.iter().any(|reset| reset.sender == sender) => {
                (OffenceKind::AfterReset, closed, Rule::AfterOwnReset)
            }
            _ if view.processed_reset => {
                (OffenceKind::AfterReset, closed, Rule::AfterProcessedReset)
            }
            // What crosses a reset is not followed any more, HEADERS either.
            HalfState::Idle if frame == FrameKind::Data && self.resets.is_empty() => (
                OffenceKind::Unexpected,
                ErrorCode::PROTOCOL_ERROR,
                Rule::DataBeforeHeaders,
            ),
            _ => return,
        };
        if view.told_as_flood {
            return self.conduct_mut().broke(sender, at);
        }
        self.offend(kind, sender, (code, rule), frame, at);
    }

    /// A PUSH_PROMISE came on the stream. True when it is a gRPC call, which takes none.
    pub(crate) fn takes_no_push(&self) -> bool {
        self.content.grpc() == Seen::Value(())
    }

    /// `sender` broke a rule on the stream.
    pub(crate) fn offend(
        &mut self,
        kind: OffenceKind,
        sender: Endpoint,
        (code, rule): (ErrorCode, Rule),
        frame: FrameKind,
        at: Timestamp,
    ) {
        let stream_id = self.id;
        let conduct = self.conduct_mut();
        conduct.broke(sender, at);
        conduct.offence.get_or_insert(Offence {
            kind,
            sender,
            stream_id,
            at,
            code,
            connection_error: code == ErrorCode::PROTOCOL_ERROR,
            rule,
            frame,
            answer: Answer::None,
        });
    }

    /// How its endpoints behave, to note something.
    pub(crate) fn conduct_mut(&mut self) -> &mut Conduct {
        self.conduct.get_or_insert_default()
    }
}
