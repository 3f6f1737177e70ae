//! Steps that wait until it is known what they mean.

use std::sync::Arc;

use super::Conn;
use super::protocol::Spoken;
use crate::event::{Direction, Timestamp};
use crate::frame::{Fault, FrameReader, Step};
use crate::limits::{self, Limit};
use crate::pipeline::{LossCause, Output, Protocol, Sink};
use crate::stream::table::Context;

/// How long a step waits, in event time, for what may have gone by before it in the other direction.
const HELD_NS: u64 = 1_000_000_000;

/// A step that waits until the connection's role is proven and it is believed to be HTTP/2, and until what is searched
/// for in the other direction, and may have gone by before it, is found or is none.
pub(super) struct Waiting {
    pub(super) direction: Direction,
    pub(super) step: Step,
    pub(super) context: Context,
}

impl Conn {
    pub(super) fn wait(
        &mut self,
        direction: Direction,
        step: Step,
        context: Context,
        sink: &mut dyn Sink,
    ) {
        let n = step.weight();
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
                self.relieve_waiting(context.at, limit, sink);
            }
        }
        self.n_waiting_bytes += n;
        self.waiting.push(Waiting {
            direction,
            step,
            context,
        });
    }

    /// No step waits any longer, because of a limit: what they mean is known, or they are given up.
    pub(crate) fn relieve_waiting(&mut self, at: Timestamp, limit: Limit, sink: &mut dyn Sink) {
        if self.is_known() {
            return self.let_go(sink);
        }
        self.waiting = Vec::new();
        self.n_waiting_bytes = 0;
        self.loss(at, LossCause::Limit(limit), None, sink);
    }

    /// Who is the client is known, and that it is HTTP/2.
    fn is_known(&self) -> bool {
        let is_http2 = self.spoken == Spoken::Believed || self.spoken.is_announced();
        is_http2 && self.role.get().is_some()
    }

    /// Nothing that comes has to wait for what came before it.
    pub(super) fn tells_at_once(&self) -> bool {
        self.waiting.is_empty() && !self.may_find_late()
    }

    fn may_find_late(&self) -> bool {
        let readers = self.lanes.iter().filter_map(|lane| lane.reader.as_ref());
        readers.into_iter().any(FrameReader::may_find_late)
    }

    /// When the oldest of the waiting steps went by.
    pub(super) fn oldest_waiting(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|waiting| waiting.context.at).min()
    }

    /// When steps that only wait for their place go on, whatever is found.
    pub(super) fn waits_until(&self) -> Option<Timestamp> {
        let oldest = self.oldest_waiting().filter(|_| self.is_known())?;
        Some(Timestamp(oldest.0.saturating_add(HELD_NS)))
    }

    /// Frames are searched for, and so far there are none: what went by may have been of streams that have begun.
    pub(super) fn tell_passed_over(
        &mut self,
        direction: Direction,
        context: Context,
        sink: &mut dyn Sink,
    ) {
        let lane = self.lane(direction);
        let reader = lane.reader.as_ref();
        if reader.is_none_or(FrameReader::is_synchronised) {
            (lane.searched_since, lane.passed_over) = (None, false);
            return;
        }
        let at = *lane.searched_since.get_or_insert(context.at);
        let found_none = !reader.is_some_and(FrameReader::may_find_late);
        if found_none && !std::mem::replace(&mut lane.passed_over, true) {
            let context = Context { at, ..context };
            self.take(direction, &Step::Fault(Fault::Gap), context, sink);
        }
    }

    /// Frames were found, and some bytes before them were passed over: from where the search began.
    pub(super) fn tell_skipped(
        &mut self,
        direction: Direction,
        steps: &[Step],
        context: Context,
        sink: &mut dyn Sink,
    ) {
        let skips = |step: &Step| matches!(step, Step::Resynced { skipped } if *skipped != Some(0));
        let lane = self.lane(direction);
        let since = lane.searched_since.filter(|_| !lane.passed_over);
        if let Some(at) = since.filter(|_| steps.iter().any(skips)) {
            let context = Context { at, ..context };
            self.wait(direction, Step::Fault(Fault::Gap), context, sink);
        }
    }

    /// Bytes of memory that its waiting steps take, about.
    pub(crate) fn n_waiting_bytes(&self) -> usize {
        self.n_waiting_bytes
    }

    /// Lets the waiting steps go on when the connection is known well enough, and all that went by before them.
    pub(super) fn flush(&mut self, sink: &mut dyn Sink) {
        // Not before there is a step: the first may prove another role than the opening made believe, and
        // it must not matter how many records it came in.
        if !self.is_known() || self.waiting.is_empty() {
            return;
        }
        if self.spoken == Spoken::Believed
            && let Some(context) = self.waiting.last().map(|waiting| waiting.context)
        {
            self.gather_whole_frames(context);
        }
        let is_due = self
            .waits_until()
            .is_some_and(|until| until <= self.last_bytes);
        if is_due || !self.may_find_late() {
            self.let_go(sink);
        }
    }

    /// Lets the waiting steps go on, if what they mean is known.
    pub(super) fn let_go(&mut self, sink: &mut dyn Sink) {
        if !self.is_known() || self.waiting.is_empty() {
            return;
        }
        if let Some(context) = self.waiting.last().map(|waiting| waiting.context) {
            self.gather_whole_frames(context);
        }
        if self.spoken == Spoken::Believed {
            self.announce(sink);
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        // What was found late stands where it went by.
        waiting.sort_by_key(|waiting| waiting.context.at);
        self.n_waiting_bytes = 0;
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

    /// The connection is one of HTTP/2.
    fn announce(&mut self, sink: &mut dyn Sink) {
        self.spoken = Spoken::Http2 { at_hops: false };
        let mut info = (*self.info).clone();
        info.protocol = Protocol::Http2;
        info.role = self.role.get();
        info.upgraded = self.upgrade.is_some();
        self.info = Arc::new(info);
        self.streams.set_role(self.role.get());
        sink.accept(&Output::Connection(Arc::clone(&self.info)));
        self.tell_unseen(sink);
        let first = self.waiting.iter().min_by_key(|waiting| waiting.context.at);
        if let (Some(request), Some(first)) = (&self.upgrade, first) {
            self.requests.upgraded();
            self.streams
                .upgraded(&request.path, &request.fields, first.context);
        }
    }
}
