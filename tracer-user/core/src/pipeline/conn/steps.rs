//! What the frame readers say of a connection, step by step.

use super::Conn;
use crate::connection::Endpoint;
use crate::event::{Direction, Timestamp};
use crate::frame::settings::setting;
use crate::frame::{Frame, FrameReader, Step};
use crate::limits;
use crate::pipeline::{LossCause, Sink};
use crate::stream::table::Context;

impl Conn {
    /// Takes the steps that a reader has ready.
    pub(super) fn steps(&mut self, direction: Direction, context: Context, sink: &mut dyn Sink) {
        let reader = self.lane(direction).reader.as_ref();
        if reader.is_none_or(FrameReader::has_no_steps) {
            return;
        }
        let mut steps = std::mem::take(&mut self.steps);
        let Some(reader) = self.lane(direction).reader.as_mut() else {
            return;
        };
        reader.swap_steps(&mut steps);
        let late = reader.take_late();
        if !steps.is_empty() && reader.plausible_frames() >= limits::PLAUSIBLE_FRAMES {
            self.spoken.believe();
        }
        // What was found late is told with what waits for it, each in its place.
        if !late.is_empty() {
            self.tell_skipped(direction, &steps, context, sink);
            self.late_steps(direction, &steps, late, context, sink);
        } else {
            self.steps_now(direction, &steps, context, sink);
        }
        steps.clear();
        self.steps = steps;
    }

    /// Takes steps that went by now.
    fn steps_now(
        &mut self,
        direction: Direction,
        steps: &[Step],
        context: Context,
        sink: &mut dyn Sink,
    ) {
        // Asked for with the first DATA, and again behind other steps, which may change it.
        let mut data_of = None;
        for step in steps {
            if let Step::DataBegin(_) | Step::DataBody { .. } | Step::DataEnd(_) = step
                && let Some(sender) = *data_of.get_or_insert_with(|| self.data_sender(direction))
            {
                // As all steps, without asking again.
                self.streams.step(sender, step, context);
                continue;
            }
            self.learn_of(direction, step, context, sink);
            self.take(direction, step, context, sink);
            data_of = None;
        }
    }

    /// Takes steps of which some went by before: all wait for their place.
    fn late_steps(
        &mut self,
        direction: Direction,
        steps: &[Step],
        late: Vec<(usize, Timestamp)>,
        now: Context,
        sink: &mut dyn Sink,
    ) {
        let mut late = late.into_iter().peekable();
        for (nth, step) in steps.iter().enumerate() {
            while late.next_if(|(n_steps, _)| *n_steps <= nth).is_some() {}
            let at = late.peek().map_or(now.at, |(_, at)| *at);
            let context = Context { at, ..now };
            self.learn_of(direction, step, context, sink);
            self.wait(direction, step.clone(), context, sink);
        }
        self.flush(sink);
    }

    /// What a step says of the connection, before it is taken.
    fn learn_of(
        &mut self,
        direction: Direction,
        step: &Step,
        context: Context,
        sink: &mut dyn Sink,
    ) {
        match step {
            Step::DataBegin(_) | Step::DataBody { .. } | Step::DataEnd(_) => {}
            Step::Fault(fault) => {
                self.is_blinded = true;
                self.loss(context.at, LossCause::from(*fault), None, sink);
            }
            _ => self.learn(direction, step),
        }
    }

    /// Who sends DATA in this direction, if nothing is made of its steps but what the streams make of them.
    fn data_sender(&self, direction: Direction) -> Option<Endpoint> {
        let is_at_once = self.spoken.is_announced()
            && !self.frames.is_on()
            && self.tunnels.is_none()
            && self.tells_at_once();
        self.role.sender(direction).filter(|_| is_at_once)
    }

    /// Hands a step on, or keeps it until it is known what it means.
    pub(super) fn take(
        &mut self,
        direction: Direction,
        step: &Step,
        context: Context,
        sink: &mut dyn Sink,
    ) {
        match self.role.sender(direction) {
            Some(sender) if self.spoken.is_announced() && self.tells_at_once() => {
                self.hand(sender, step, context, sink);
            }
            _ => {
                self.wait(direction, step.clone(), context, sink);
                // Not only behind the record: one may hold more frames than may wait.
                self.flush(sink);
            }
        }
    }

    /// Learns from a step who is the client, and what one side allows the other.
    pub(super) fn learn(&mut self, direction: Direction, step: &Step) {
        match step {
            Step::Preface => {
                self.spoken.believe();
                self.role.prove(direction, Endpoint::Client);
            }
            Step::Frame {
                frame: Frame::Headers { block, .. },
                ..
            } if self.role.get().is_none() => {
                if block.has(b":status") {
                    self.role.prove(direction, Endpoint::Server);
                } else if block.has(b":method") || block.has(b":scheme") {
                    self.role.prove(direction, Endpoint::Client);
                }
            }
            // Later it may be a client's, against the rules.
            Step::Frame {
                frame: Frame::PushPromise { .. },
                ..
            } if self.role.get().is_none() => {
                self.role.prove(direction, Endpoint::Server);
            }
            Step::Frame {
                frame: Frame::Settings(settings),
                ..
            } => {
                let other = self.lane(direction.opposite());
                other.n_settings = other.n_settings.saturating_add(1);
                for (id, value) in settings {
                    match *id {
                        setting::HEADER_TABLE_SIZE => other.hpack_limit = Some(*value),
                        setting::MAX_FRAME_SIZE => other.max_frame_size = Some(*value),
                        _ => {}
                    }
                }
                other.tell_settings();
            }
            _ => {}
        }
    }
}
