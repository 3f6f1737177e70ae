//! A connection's end, and what may have gone by unseen before it.

use super::protocol::Spoken;
use super::{Conn, Waiting};
use crate::event::{Boundary, Direction, End, EndCause, Event, Timestamp};
use crate::frame::FrameReader;
use crate::limits::{self, Limit};
use crate::pipeline::analysis::Analysis;
use crate::pipeline::lane::Lane;
use crate::pipeline::{LossCause, Sink};
use crate::stream::table::Context;

impl Conn {
    /// Who closes the connection says nothing more, and where all of it was seen, nothing more is to come.
    pub(super) fn note_closer(&mut self, end: &End, at: Timestamp) {
        let (direction, offset) = match end.cause {
            EndCause::LocalClose | EndCause::LocalReset => (Direction::Tx, end.tx_offset),
            EndCause::PeerFin | EndCause::Eof | EndCause::PeerReset => {
                (Direction::Rx, end.rx_offset)
            }
            EndCause::Broken | EndCause::Closed | EndCause::Desync(_) => return,
        };
        let Some(closer) = self.role.sender(direction) else {
            return;
        };
        let lane = self.lane(direction);
        let is_read = lane
            .reader
            .as_ref()
            .is_some_and(FrameReader::is_synchronised);
        if is_read && offset.is_some_and(|offset| lane.order.missing_until(offset) == 0) {
            self.streams.closed(closer, at);
        }
    }

    /// The connection is over: records at the very end of a direction may have been lost, and nothing else
    /// would tell.
    pub(super) fn miss_the_end(&mut self, at: Timestamp, sink: &mut dyn Sink) {
        if self.spoken == Spoken::Foreign {
            return;
        }
        let context = Context {
            at,
            tid: 0,
            pid: self.info.pid,
        };
        for direction in [Direction::Tx, Direction::Rx] {
            let lane = self.lane(direction);
            let Some(missing) = lane.missing_at_end() else {
                continue;
            };
            if direction == Direction::Rx {
                self.streams.reads_on();
            }
            let lane = self.lane(direction);
            match lane.reader.as_mut() {
                Some(reader) => {
                    reader.gap(Some(missing), Boundary::Unknown);
                    self.steps(direction, context, sink);
                }
                None => {
                    self.loss(at, LossCause::Gap, Some(missing), sink);
                    if let Some(sender) = self.role.sender(direction) {
                        self.streams.lost(sender, at);
                    }
                }
            }
        }
        self.end_search(context, sink);
    }

    /// Nothing more is to come in which frames could be found: what is whole frames is taken for them, and of the rest it is
    /// not known what it said.
    fn end_search(&mut self, context: Context, sink: &mut dyn Sink) {
        if self.spoken.is_announced() || self.spoken == Spoken::Believed {
            self.gather_whole_frames(context);
        }
        self.let_go(sink);
        if !self.spoken.is_announced() {
            return;
        }
        for direction in [Direction::Tx, Direction::Rx] {
            let is_lost = self
                .lane(direction)
                .reader
                .as_ref()
                .is_some_and(|reader| !reader.is_synchronised());
            if let Some(sender) = self.role.sender(direction).filter(|_| is_lost) {
                self.streams.lost(sender, context.at);
            }
        }
    }

    /// One whole call on an old connection is too few frames to find in either direction by itself. It is HTTP/2 when
    /// all that was seen of both directions is whole frames.
    pub(super) fn believe_whole_frames(&mut self, context: Context) {
        if self.spoken != Spoken::Undecided {
            return;
        }
        let whole = |lane: &Lane| lane.reader.as_ref().and_then(FrameReader::whole_frames);
        let [Some(tx), Some(rx)] = self.lanes.each_ref().map(whole) else {
            return;
        };
        if tx + rx >= limits::PLAUSIBLE_FRAMES {
            self.spoken.believe();
            self.gather_whole_frames(context);
        }
    }

    /// The connection is HTTP/2: what was not found of a direction so far, and is whole frames, waits with the rest.
    pub(super) fn gather_whole_frames(&mut self, context: Context) {
        for direction in [Direction::Tx, Direction::Rx] {
            let Some(reader) = self.lane(direction).reader.as_mut() else {
                continue;
            };
            if reader.whole_frames().is_none() {
                continue;
            }
            reader.set_now(context.at);
            reader.believe_whole_frames();
            let (steps, late) = (reader.steps(), reader.take_late());
            let mut late = late.into_iter().peekable();
            for (nth, step) in steps.into_iter().enumerate() {
                while late.next_if(|(n_steps, _)| *n_steps <= nth).is_some() {}
                let at = late.peek().map_or(context.at, |(_, at)| *at);
                self.learn(direction, &step);
                self.n_waiting_bytes += step.weight();
                self.waiting.push(Waiting {
                    direction,
                    step,
                    context: Context { at, ..context },
                });
            }
        }
    }

    /// The kernel's walker lost its place: what follows in this direction starts anew.
    pub(super) fn desync(&mut self, direction: Direction, at: Timestamp, sink: &mut dyn Sink) {
        if self.spoken.is_announced() {
            self.loss(at, LossCause::Desync, None, sink);
        }
        self.lose_place(direction, at);
    }

    /// From here on nothing is known of this direction.
    fn lose_place(&mut self, direction: Direction, at: Timestamp) {
        self.lose_requests(self.role.sender(direction));
        self.lose_place_in_tunnels(direction, at);
        if self.spoken.is_announced() {
            if let Some(sender) = self.role.sender(direction) {
                self.streams.lost(sender, at);
            }
        } else {
            // It only looked like frames: nothing of it counts.
            self.waiting
                .retain(|waiting| waiting.direction != direction);
            self.n_waiting_bytes = self
                .waiting
                .iter()
                .map(|waiting| waiting.step.weight())
                .sum();
            self.spoken.doubt();
        }
        if let Some(reader) = self.lane(direction).reader.as_mut() {
            reader.gap(None, Boundary::Unknown);
            drop(reader.steps());
        }
    }

    /// It took more than its share, and is let go for a while: what goes by until [`Conn::resume`] is not known.
    pub(crate) fn look_away(
        &mut self,
        at: Timestamp,
        analysis: &mut Analysis,
        sink: &mut dyn Sink,
    ) {
        if self.spoken == Spoken::Foreign {
            return;
        }
        self.let_go(sink);
        self.loss(at, LossCause::Limit(Limit::LetGo), None, sink);
        for direction in [Direction::Tx, Direction::Rx] {
            self.lose_place(direction, at);
        }
        (self.is_blinded, self.is_let_go) = (true, true);
        self.events(analysis, sink);
    }

    /// Nobody looks at its socket any more.
    pub(crate) const fn is_let_go(&self) -> bool {
        self.is_let_go
    }

    /// The other end read end of file: this end was closed by its owner.
    pub(crate) fn closed_by_owner(&mut self, at: Timestamp) {
        self.ending.sign(EndCause::LocalClose, at);
        self.ending.sign(EndCause::Closed, at);
    }

    /// Where both directions stood at a sign of the end.
    pub(super) fn tell_end(&mut self, end: &End) {
        for (lane, offset) in self.lanes.iter_mut().zip([end.tx_offset, end.rx_offset]) {
            lane.told_end = lane.told_end.max(offset);
        }
        // Nothing goes by after that one.
        let is_last = end.cause == EndCause::Closed;
        self.is_end_told |= is_last && end.tx_offset.and(end.rx_offset).is_some();
    }

    /// Records were lost since the last of this connection, and nothing told where it stood at its end: what the last ones
    /// said is not known.
    pub(super) fn doubt_the_end(&mut self, analysis: &Analysis, at: Timestamp) {
        let lost_at = analysis.records_lost_at;
        let is_known = self.is_end_told || lost_at.is_none_or(|lost| lost < self.last_bytes);
        if is_known || !self.spoken.is_announced() {
            return;
        }
        for direction in [Direction::Tx, Direction::Rx] {
            self.lose_place(direction, at);
        }
    }

    /// The socket is gone, and nothing told how.
    pub(crate) fn gone(&mut self, at: Timestamp) {
        self.ending.sign(EndCause::Closed, at);
    }

    /// An end of an AF_UNIX connection that has been quiet for a while and has not ended: the process that used it last.
    pub(crate) fn quiet_unix(&self, now: Timestamp) -> Option<u32> {
        let quiet = now.since(self.last_bytes) >= limits::UNIX_QUIET_NS;
        (self.is_unix() && quiet && !self.ending.begun()).then_some(self.last_pid)
    }

    /// The kernel programs had forgotten this socket, or were told to, and met it again: what went by meanwhile is not known, and they
    /// count its bytes anew.
    pub(crate) fn resume(
        &mut self,
        event: &Event<'_>,
        analysis: &mut Analysis,
        sink: &mut dyn Sink,
    ) {
        let (at, task) = (event.at, event.task);
        if !std::mem::take(&mut self.is_let_go) {
            self.loss(at, LossCause::SocketEvicted, None, sink);
        }
        let context = Context {
            at,
            tid: task.tid,
            pid: task.pid,
        };
        for direction in [Direction::Tx, Direction::Rx] {
            self.lose_requests(self.role.sender(direction));
            self.lane(direction).begin_anew();
            self.steps(direction, context, sink);
        }
        self.scheduled = None;
        self.events(analysis, sink);
    }

    /// All connections together take too much memory, and this one the most: it gives up what it can, and is followed on
    /// like one that is older than the tracer.
    pub(crate) fn shed(&mut self, at: Timestamp, analysis: &mut Analysis, sink: &mut dyn Sink) {
        self.loss(at, LossCause::Limit(Limit::Memory), None, sink);
        self.waiting = Vec::new();
        self.n_waiting_bytes = 0;
        self.streams.give_up_all(at);
        self.end_tunnels(None, at);
        let context = Context {
            at,
            tid: 0,
            pid: self.last_pid,
        };
        for direction in [Direction::Tx, Direction::Rx] {
            self.lose_requests(self.role.sender(direction));
            self.lane(direction).begin_late();
            self.steps(direction, context, sink);
        }
        self.steps = Vec::new();
        self.events(analysis, sink);
    }

    /// This connection has to go for another one.
    pub(crate) fn evict(
        &mut self,
        limit: Limit,
        now: Timestamp,
        analysis: &mut Analysis,
        sink: &mut dyn Sink,
    ) {
        self.loss(now, LossCause::Limit(limit), None, sink);
        self.finish(now, analysis, sink);
        self.end_tunnels(None, now);
    }

    /// The trace ends.
    pub(crate) fn finish(&mut self, now: Timestamp, analysis: &mut Analysis, sink: &mut dyn Sink) {
        self.let_go(sink);
        self.streams.advance(now);
        if self.ending.begun() {
            let (why, at) = self.ending.verdict(now);
            self.miss_the_end(at, sink);
            self.doubt_the_end(analysis, at);
            self.streams.connection_ended(why, at);
        } else {
            let context = Context {
                at: now,
                tid: 0,
                pid: self.info.pid,
            };
            self.end_search(context, sink);
            self.streams.trace_ended(now);
            self.conclude_unseen(sink);
        }
        self.events(analysis, sink);
        self.leave_hops(now, analysis, sink);
    }
}
