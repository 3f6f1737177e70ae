//! How a stream leaves the table: finished, after its linger; given up; or lost from sight.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Context, DOUBT_LOOK_NS, StreamTable};
use crate::event::Timestamp;
use crate::field::{BlockReading, Entry};
use crate::frame::StreamId;
use crate::limits::{self, Limit};
use crate::stream::end;
use crate::stream::flow::Flow;
use crate::stream::live::{Env, Stream};
use crate::stream::record::{StreamEnd, StreamEvent, StreamRecord};
use crate::stream::table::streams::SPARE;

/// Streams that are finished and may still get a frame.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    /// When their linger is over. Some of them are open again.
    pub(super) queue: VecDeque<(Timestamp, StreamId)>,
    /// How many there are.
    pub(super) n: usize,
}

impl Lingering {
    /// A stream that is finished begins its linger; one that turns out not to be is open again. True when it
    /// has just finished.
    pub(super) fn settle(&mut self, stream: &mut Stream, at: Timestamp, flow: &Flow) -> bool {
        match (stream.is_finished(), stream.finished_at.is_some()) {
            (true, false) => {
                stream.finish(at, flow);
                self.n += 1;
                self.queue.push_back((due(at), stream.id));
                true
            }
            (false, true) => {
                stream.finished_at = None;
                self.n = self.n.saturating_sub(1);
                false
            }
            (true, true) | (false, false) => false,
        }
    }
}

impl StreamTable {
    /// Gives up one stream because all connections together have too many ([`limits::STREAMS`]).
    pub fn relieve(&mut self, at: Timestamp) {
        self.out.push_back(StreamEvent::Limit(Limit::Streams));
        if let Some(oldest) = self.streams.oldest() {
            self.leave(oldest, StreamEnd::Evicted, at);
        }
    }

    /// Gives up all streams, because all connections together take too much memory ([`limits::MEMORY`]).
    pub fn give_up_all(&mut self, at: Timestamp) {
        while let Some(oldest) = self.streams.oldest() {
            self.leave(oldest, StreamEnd::Evicted, at);
        }
        self.spare_records = Vec::new();
        self.spare_facts = Vec::new();
        self.spare_entries = Vec::new();
    }

    /// Makes room: a finished stream ends its linger early, or else the oldest stream is given up.
    pub(super) fn evict(&mut self, at: Timestamp) {
        self.out
            .push_back(StreamEvent::Limit(Limit::StreamsPerConnection));
        while let Some((due, id)) = self.lingering.queue.pop_front() {
            if self.is_due(id, due) {
                self.hand_out(id, None);
                return;
            }
        }
        if let Some(oldest) = self.streams.oldest() {
            self.leave(oldest, StreamEnd::Evicted, at);
        }
    }

    /// A stream that is finished begins its linger; one that turns out not to be is open again.
    pub(super) fn settle(&mut self, id: StreamId, at: Timestamp) {
        if let Some(stream) = self.streams.get_calm(id)
            && self.lingering.settle(stream, at, &self.flow)
        {
            self.finished(id, at);
        }
    }

    /// The same where what ended it may have gone by unseen: when is not known, so that its last frame was its last.
    pub(super) fn settle_unseen(&mut self, id: StreamId, at: Timestamp) {
        let last_at = self.streams.get(id).map(|stream| stream.last_at);
        self.settle(id, at);
        if let (Some(stream), Some(last_at)) = (self.streams.get_calm(id), last_at) {
            stream.last_at = last_at;
        }
    }

    /// Where many streams linger, those that ended in good order leave early, oldest first.
    fn leave_early(&mut self) {
        while self.lingering.n > limits::LINGERING_STREAMS
            && let Some((due, id)) = self.lingering.queue.front().copied()
        {
            let in_good_order = |stream: &Stream| stream.has_ended_in_good_order();
            if !self.is_due(id, due) {
                // It is open again.
                self.lingering.queue.pop_front();
            } else if self.streams.get(id).is_some_and(in_good_order) {
                self.lingering.queue.pop_front();
                self.hand_out(id, None);
            } else {
                return;
            }
        }
    }

    /// A stream has just finished.
    pub(super) fn finished(&mut self, id: StreamId, at: Timestamp) {
        self.leave_early();
        self.keep_one_stalled_end(id);
        if self.tells_openings()
            && let Some(stream) = self.streams.get(id).filter(|stream| stream.beginning_seen)
        {
            self.out.push_back(StreamEvent::Finished {
                connection: self.connection,
                stream_id: id,
                at,
                cancelled: stream.is_cancelled(),
            });
        }
    }

    pub(super) fn is_due(&self, id: StreamId, at: Timestamp) -> bool {
        self.streams.get(id).is_some_and(|stream| {
            stream
                .finished_at
                .is_some_and(|finished| due(finished) == at)
        })
    }

    /// Streams of which nothing was heard for long after a gap are given up.
    pub(super) fn look_for_silent(&mut self, now: Timestamp) {
        let mut doubtful = false;
        let mut silent = Vec::new();
        for stream in self.streams.iter() {
            if let (Some(lost_at), None) = (stream.lost_at, stream.finished_at) {
                doubtful = true;
                // What was lost last it was not told again.
                let lost_at = self.lost_at.map_or(lost_at, |last| last.max(lost_at));
                if now.since(lost_at) >= limits::STREAM_DOUBT_NS {
                    silent.push(stream.id);
                }
            }
        }
        silent.sort_unstable();
        for id in silent {
            self.leave(id, StreamEnd::Unseen, now);
        }
        self.doubt_at = doubtful.then(|| Timestamp(now.0.saturating_add(DOUBT_LOOK_NS)));
    }

    /// Ends a stream that did not end by itself.
    pub(super) fn leave(&mut self, id: StreamId, end: StreamEnd, at: Timestamp) {
        if let Some(stream) = self.streams.get_mut(id)
            && stream.finished_at.is_none()
        {
            let before = stream.is_answered();
            let context = Context { at, tid: 0, pid: 0 };
            stream.stop(
                end,
                Env {
                    flow: &self.flow,
                    shown: &self.shown,
                    role: self.role,
                    context,
                },
            );
            self.lingering.n += 1;
            let answered = (before, stream.is_answered());
            self.condition_timers.recount_answered(answered);
        }
        self.hand_out(id, Some(end));
    }

    /// Hands out a finished stream.
    pub(super) fn hand_out(&mut self, id: StreamId, forced: Option<StreamEnd>) {
        let Some(mut stream) = self.streams.remove(id) else {
            return;
        };
        self.lingering.n = self.lingering.n.saturating_sub(1);
        self.ids.on_end(id);
        let of = (self.connection, self.role);
        let mut spare = self.spare_records.pop();
        // To ask whether nobody else holds it is not free: once.
        let record = match spare.as_mut().and_then(Arc::get_mut) {
            Some(record) => {
                end::record(record, &mut stream, of, &self.settings, forced);
                spare.unwrap_or_default()
            }
            None => {
                let mut record = StreamRecord::default();
                end::record(&mut record, &mut stream, of, &self.settings, forced);
                Arc::new(record)
            }
        };
        self.streams.spare(stream);
        self.out.push_back(StreamEvent::Ended(record));
    }

    /// A record that was handed out is not needed any more: its memory may be used for the next one.
    pub fn give_back(&mut self, mut record: Arc<StreamRecord>) {
        if self.spare_records.len() >= self.streams.len().min(SPARE) {
            return;
        }
        let Some(known) = Arc::get_mut(&mut record) else {
            return;
        };
        let shown = std::mem::take(&mut known.shown);
        for mut facts in [shown.request, shown.response, shown.trailers]
            .into_iter()
            .flatten()
        {
            if self.spare_facts.len() < SPARE
                && Arc::strong_count(&facts) == 1
                && let Some(spare) = Arc::get_mut(&mut facts)
            {
                spare.spare_entries(&mut self.spare_entries, SPARE);
                self.spare_facts.push(facts);
            }
        }
        self.spare_records.push(record);
    }

    /// What it takes to read what a header block of this connection says.
    pub(crate) fn block_reading(&mut self) -> BlockReading<'_> {
        BlockReading {
            shown: &self.shown,
            spare: &mut self.spare_facts,
        }
    }

    /// Fields of streams that were told of, which nobody needs any more.
    pub(crate) const fn spare_entries(&mut self) -> &mut Vec<Arc<Entry>> {
        &mut self.spare_entries
    }
}

/// When a stream that finished then is handed out.
const fn due(finished: Timestamp) -> Timestamp {
    Timestamp(finished.0.saturating_add(limits::STREAM_LINGER_NS))
}
