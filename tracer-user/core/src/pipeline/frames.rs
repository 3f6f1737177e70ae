//! Frame by frame: what the steps of one connection say of single frames, for those who ask for it.

use std::sync::Arc;

use super::output::{FieldSeen, FrameSeen};
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::field::Shown;
use crate::frame::head::{Head, flag, frame_type};
use crate::frame::{Field, Frame, HeaderBlock, Step, StreamId, Violation};

/// Which frames the pipeline tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frames {
    /// None.
    #[default]
    Untold,
    /// All; of the fields that are not allowed to be shown, the names alone.
    Redacted,
    /// All, with all fields: payload of the user's own file.
    Whole,
}

/// What is open of one sender's frames.
#[derive(Debug, Default)]
struct UnfinishedFrames {
    /// DATA that is going by, and when it began.
    data: Option<FrameSeen>,
    /// A broken rule whose frame may still be told.
    violation: Option<(Timestamp, Violation)>,
}

/// Follows the frames of one connection.
#[derive(Debug, Default)]
pub(super) struct FrameTeller {
    frames: Frames,
    open: [UnfinishedFrames; 2],
}

impl FrameTeller {
    pub(super) fn new(frames: Frames) -> FrameTeller {
        FrameTeller {
            frames,
            open: Default::default(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.frames != Frames::Untold
    }

    /// Takes a step of `sender` and gives the frames that are complete with it.
    pub(super) fn step(
        &mut self,
        sender: Endpoint,
        step: &Step,
        at: Timestamp,
        shown: &Shown,
    ) -> Vec<FrameSeen> {
        let frames = self.frames;
        let [client, server] = &mut self.open;
        let open = match sender {
            Endpoint::Client => client,
            Endpoint::Server => server,
        };
        let mut told = Vec::new();
        match step {
            Step::DataBegin(data) => {
                open.flush(sender, &mut told);
                let head = Head {
                    len: data.flow_len,
                    frame_type: frame_type::DATA,
                    flags: (u8::from(data.end_stream) * flag::END_STREAM)
                        | (u8::from(data.padded) * flag::PADDED),
                    stream_id: data.stream_id,
                };
                let mut seen = seen(at, sender, head);
                seen.violation = open.violation_of(&head);
                open.data = Some(seen);
            }
            Step::DataEnd(_) => told.extend(open.data.take()),
            Step::Violation(violation) => open.breaks(violation, at, sender, &mut told),
            Step::Frame { len, flags, frame } => {
                let head = Head {
                    len: *len,
                    frame_type: type_of(frame),
                    flags: *flags,
                    stream_id: stream_of(frame),
                };
                let violation = open.violation_of(&head);
                open.flush(sender, &mut told);
                let mut seen = seen(at, sender, head);
                seen.violation = violation;
                let mut frame = frame.clone();
                if let Frame::Headers { block, .. } | Frame::PushPromise { block, .. } = &mut frame
                {
                    seen.n_frames = block.n_frames;
                    seen.fields = Some(fields(block, frames, shown));
                    *block = Arc::new(block.without_fields());
                }
                seen.frame = Some(frame);
                told.push(seen);
            }
            Step::Preface | Step::Fault(_) | Step::Resynced { .. } => open.flush(sender, &mut told),
            Step::DataBody { .. } | Step::LongBlock { .. } => {}
        }
        told
    }

    /// The run of bytes is at its end: a broken rule whose frame is not told stands alone.
    pub(super) fn settle(&mut self, sender: Endpoint) -> Option<FrameSeen> {
        let [client, server] = &mut self.open;
        let open = match sender {
            Endpoint::Client => client,
            Endpoint::Server => server,
        };
        open.violation
            .take()
            .map(|(at, violation)| alone(at, sender, violation))
    }
}

impl UnfinishedFrames {
    /// A rule was broken: by the DATA that is going by, or by a frame that may still be told.
    fn breaks(
        &mut self,
        violation: &Violation,
        at: Timestamp,
        sender: Endpoint,
        told: &mut Vec<FrameSeen>,
    ) {
        let data = self.data.as_mut().filter(|data| {
            violation.frame.frame_type == frame_type::DATA
                && data.head.stream_id == violation.frame.stream_id
        });
        match data {
            Some(data) => {
                data.violation.get_or_insert_with(|| violation.clone());
            }
            // Of several rules that one frame breaks, the first counts.
            None if self
                .violation
                .as_ref()
                .is_some_and(|(_, v)| v.frame == violation.frame) => {}
            None => {
                self.flush(sender, told);
                self.violation = Some((at, violation.clone()));
            }
        }
    }

    /// The violation that `head` is the frame of.
    fn violation_of(&mut self, head: &Head) -> Option<Violation> {
        let (_, violation) = self.violation.as_ref()?;
        let block = |frame_type| {
            matches!(
                frame_type,
                frame_type::HEADERS | frame_type::PUSH_PROMISE | frame_type::CONTINUATION
            )
        };
        let same = violation.frame.stream_id == head.stream_id
            && (violation.frame.frame_type == head.frame_type
                || block(violation.frame.frame_type) && block(head.frame_type));
        if same {
            self.violation.take().map(|(_, violation)| violation)
        } else {
            None
        }
    }

    fn flush(&mut self, sender: Endpoint, told: &mut Vec<FrameSeen>) {
        // DATA whose end was not seen: its header was.
        told.extend(self.data.take());
        if let Some((at, violation)) = self.violation.take() {
            told.push(alone(at, sender, violation));
        }
    }
}

fn seen(at: Timestamp, sender: Endpoint, head: Head) -> FrameSeen {
    FrameSeen {
        at,
        sender,
        head,
        n_frames: 1,
        frame: None,
        fields: None,
        violation: None,
    }
}

/// A frame of which nothing is known but its header and what is wrong with it.
fn alone(at: Timestamp, sender: Endpoint, violation: Violation) -> FrameSeen {
    let mut seen = seen(at, sender, violation.frame);
    seen.violation = Some(violation);
    seen
}

fn fields(block: &HeaderBlock, frames: Frames, shown: &Shown) -> Vec<FieldSeen> {
    block
        .fields
        .iter()
        .map(|field| field_seen(field, frames, shown))
        .collect()
}

fn field_seen(field: &Field, frames: Frames, shown: &Shown) -> FieldSeen {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (name, value) = (field.name(), field.value());
    let may = frames == Frames::Whole || shown.allows_field(field);
    FieldSeen {
        name: name.map(text),
        value: value.filter(|_| may).map(text),
        unseen: name.is_none() || value.is_none(),
        redacted: value.is_some() && !may,
    }
}

const fn type_of(frame: &Frame) -> u8 {
    match frame {
        Frame::Headers { .. } => frame_type::HEADERS,
        Frame::Priority { .. } => frame_type::PRIORITY,
        Frame::RstStream { .. } => frame_type::RST_STREAM,
        Frame::Settings(_) | Frame::SettingsAck => frame_type::SETTINGS,
        Frame::PushPromise { .. } => frame_type::PUSH_PROMISE,
        Frame::Ping { .. } => frame_type::PING,
        Frame::GoAway { .. } => frame_type::GOAWAY,
        Frame::WindowUpdate { .. } => frame_type::WINDOW_UPDATE,
        Frame::PriorityUpdate { .. } => frame_type::PRIORITY_UPDATE,
        Frame::Unknown { frame_type, .. } => *frame_type,
    }
}

const fn stream_of(frame: &Frame) -> StreamId {
    match frame {
        Frame::Headers { stream_id, .. }
        | Frame::Priority { stream_id, .. }
        | Frame::RstStream { stream_id, .. }
        | Frame::PushPromise { stream_id, .. }
        | Frame::WindowUpdate { stream_id, .. }
        | Frame::Unknown { stream_id, .. } => *stream_id,
        Frame::Settings(_)
        | Frame::SettingsAck
        | Frame::Ping { .. }
        | Frame::GoAway { .. }
        // The stream it prioritizes stands in its payload.
        | Frame::PriorityUpdate { .. } => StreamId(0),
    }
}
