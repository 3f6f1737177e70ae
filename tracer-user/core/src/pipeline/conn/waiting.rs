//! Steps that wait until it is known what they mean.

use std::sync::Arc;

use super::Conn;
use super::protocol::Spoken;
use crate::event::{Direction, Timestamp};
use crate::frame::Step;
use crate::limits::{self, Limit};
use crate::pipeline::{LossCause, Output, Protocol, Sink};
use crate::stream::table::Context;

/// A step that waits until the connection's role is proven and it is believed to be HTTP/2.
pub(super) struct Waiting {
    pub(super) direction: Direction,
    pub(super) step: Step,
    pub(super) context: Context,
}

impl Conn {
    pub(super) fn wait(&mut self, waiting: Waiting, sink: &mut dyn Sink) {
        let n = waiting.step.weight();
        for (full, limit) in [
            (
                self.waiting.len() >= limits::UNDECIDED_STEPS,
                Limit::UndecidedSteps,
            ),
            (
                self.n_waiting_bytes + n > limits::UNDECIDED_BYTES,
                Limit::UndecidedBytes,
            ),
        ] {
            if full && !self.waiting.is_empty() {
                self.forget_waiting(waiting.context.at, limit, sink);
            }
        }
        self.n_waiting_bytes += n;
        self.waiting.push(waiting);
    }

    /// Gives up the steps that wait, because of a limit.
    pub(crate) fn forget_waiting(&mut self, at: Timestamp, limit: Limit, sink: &mut dyn Sink) {
        self.waiting = Vec::new();
        self.n_waiting_bytes = 0;
        self.loss(at, LossCause::Limit(limit), None, sink);
    }

    /// Bytes of memory that its waiting steps take, about.
    pub(crate) fn n_waiting_bytes(&self) -> usize {
        self.n_waiting_bytes
    }

    /// Lets the waiting steps go on when the connection is known well enough.
    pub(super) fn flush(&mut self, sink: &mut dyn Sink) {
        // Not before there is a step: the first may prove another role than the opening made believe, and
        // it must not matter how many records it came in.
        let is_known = self.spoken == Spoken::Believed && self.role.get().is_some();
        if !is_known || self.waiting.is_empty() {
            return;
        }
        if let Some(context) = self.waiting.last().map(|waiting| waiting.context) {
            self.gather_whole_frames(context);
        }
        self.spoken = Spoken::Http2 { at_hops: false };
        let mut info = (*self.info).clone();
        info.protocol = Protocol::Http2;
        info.role = self.role.get();
        info.upgraded = self.upgrade.is_some();
        self.info = Arc::new(info);
        self.streams.set_role(self.role.get());
        sink.accept(&Output::Connection(Arc::clone(&self.info)));
        let mut waiting = std::mem::take(&mut self.waiting);
        // What was found late stands where it went by.
        waiting.sort_by_key(|waiting| waiting.context.at);
        self.n_waiting_bytes = 0;
        if let (Some(request), Some(first)) = (&self.upgrade, waiting.first()) {
            self.streams
                .upgraded(&request.path, &request.fields, first.context);
        }
        for Waiting {
            direction,
            step,
            context,
        } in waiting
        {
            if let Some(sender) = self.role.sender(direction) {
                self.hand(sender, &step, context, sink);
            }
        }
    }
}
