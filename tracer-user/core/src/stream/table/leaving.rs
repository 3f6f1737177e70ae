//! How a stream leaves the table: finished, after its linger; given up; or lost from sight.

use std::sync::Arc;

use super::{Context, DOUBT_LOOK_NS, StreamTable};
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::limits::{self, Limit};
use crate::stream::end;
use crate::stream::live::Env;
use crate::stream::record::{StreamEnd, StreamEvent};

impl StreamTable {
    /// Gives up one stream because all connections together have too many ([`limits::STREAMS`]).
    pub fn relieve(&mut self, at: Timestamp) {
        self.out.push_back(StreamEvent::Limit(Limit::Streams));
        if let Some(oldest) = self.streams.keys().next().copied() {
            self.leave(oldest, StreamEnd::Evicted, at);
        }
    }

    /// Makes room: a finished stream ends its linger early, or else the oldest stream is given up.
    pub(super) fn evict(&mut self, at: Timestamp) {
        self.out
            .push_back(StreamEvent::Limit(Limit::StreamsPerConnection));
        while let Some((due, id)) = self.lingering.pop_front() {
            if self.is_due(id, due) {
                self.hand_out(id, None);
                return;
            }
        }
        if let Some(oldest) = self.streams.keys().next().copied() {
            self.leave(oldest, StreamEnd::Evicted, at);
        }
    }

    /// A stream that is finished begins its linger; one that turns out not to be is open again.
    pub(super) fn settle(&mut self, id: StreamId, at: Timestamp) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        match (stream.is_finished(), stream.finished_at.is_some()) {
            (true, false) => {
                stream.finish(at, &self.flow);
                self.n_lingering += 1;
                self.lingering.push_back((due(at), id));
                self.keep_one_stalled_end(id);
            }
            (false, true) => {
                stream.finished_at = None;
                self.n_lingering = self.n_lingering.saturating_sub(1);
            }
            (true, true) | (false, false) => {}
        }
    }

    pub(super) fn is_due(&self, id: StreamId, at: Timestamp) -> bool {
        self.streams.get(&id).is_some_and(|stream| {
            stream
                .finished_at
                .is_some_and(|finished| due(finished) == at)
        })
    }

    /// Streams of which nothing was heard for long after a gap are given up.
    pub(super) fn look_for_silent(&mut self, now: Timestamp) {
        let mut doubtful = false;
        let mut silent = Vec::new();
        for (id, stream) in &self.streams {
            if let (Some(lost_at), None) = (stream.lost_at, stream.finished_at) {
                doubtful = true;
                if now.since(lost_at) >= limits::STREAM_DOUBT_NS {
                    silent.push(*id);
                }
            }
        }
        for id in silent {
            self.leave(id, StreamEnd::Unseen, now);
        }
        self.doubt_at = doubtful.then(|| Timestamp(now.0.saturating_add(DOUBT_LOOK_NS)));
    }

    /// Ends a stream that did not end by itself.
    pub(super) fn leave(&mut self, id: StreamId, end: StreamEnd, at: Timestamp) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.finished_at.is_none()
        {
            let answered = stream.is_answered();
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
            self.n_lingering += 1;
            self.recount_answered(id, answered);
        }
        self.hand_out(id, Some(end));
    }

    /// Hands out a finished stream.
    pub(super) fn hand_out(&mut self, id: StreamId, forced: Option<StreamEnd>) {
        if let Some(stream) = self.streams.remove(&id) {
            self.n_lingering = self.n_lingering.saturating_sub(1);
            self.ids.on_end(id);
            let record = end::record(*stream, self.connection, self.role, &self.settings, forced);
            self.out.push_back(StreamEvent::Ended(Arc::new(record)));
        }
    }
}

/// When a stream that finished then is handed out.
const fn due(finished: Timestamp) -> Timestamp {
    Timestamp(finished.0.saturating_add(limits::STREAM_LINGER_NS))
}
