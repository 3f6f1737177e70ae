//! What stands on the connection or on its streams for longer than it should ([`ConditionReport`]).

use super::StreamTable;
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::{ErrorCode, StreamId};
use crate::stream::concurrency::Concurrency;
use crate::stream::condition::{
    Condition, ConditionReport, FlowBreach, FlowFault, Stall, WINDOW_STALL_NS, WindowOf,
};
use crate::stream::end;
use crate::stream::live::conditions::fault;
use crate::stream::record::{StreamEnd, StreamEvent};

use Endpoint::{Client, Server};

/// The longest time between two looks at a connection with open streams, in event time. Short, so that
/// no far wake-up outlives a connection that is long gone.
const LOOK_NS: u64 = 10_000_000_000;

/// The shortest: a look goes through all streams.
const LOOK_AGAIN_NS: u64 = 1_000_000_000;

/// What to look for on one connection, and when.
#[derive(Debug, Default)]
pub(super) struct ConditionTimers {
    /// When to look next.
    pub(super) next_at: Option<Timestamp>,
    concurrency: Concurrency,
    /// Streams whose response is complete and whose request is not.
    n_answered: usize,
    /// Streams that the server promised: they do not count against the client's limit.
    pub(super) pushes: bool,
    /// The stream that this step opened.
    pub(super) opened: Option<StreamId>,
}

impl ConditionTimers {
    /// A stream was, or was not, answered only; and what it is now.
    pub(super) fn recount_answered(&mut self, change: (bool, bool)) {
        match change {
            (false, true) => self.n_answered = self.n_answered.saturating_add(1),
            (true, false) => self.n_answered = self.n_answered.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
    }
}

impl StreamTable {
    /// After each step: what it may have begun is looked at in time.
    #[inline]
    pub(super) fn look_out(&mut self, at: Timestamp) {
        let opened = self.condition_timers.opened.take();
        if let Some(cap) = self.settings.server.max_concurrent_streams {
            self.count_streams(cap, opened, at);
        }
        if self.condition_timers.next_at.is_none() && self.live() > 0 {
            self.condition_timers.next_at = Some(Timestamp(at.0.saturating_add(LOOK_NS)));
        }
        for sender in [Client, Server] {
            if let Some(due) = self.flow.window(sender).breach_due() {
                self.look_by(due);
            }
        }
        let concurrency = &self.condition_timers.concurrency;
        if !concurrency.is_calm()
            && let Some(due) = concurrency.next_due()
        {
            self.look_by(due.max(at));
        }
    }

    /// There may be something to tell at that time.
    pub(super) fn look_by(&mut self, due: Timestamp) {
        let next_at = &mut self.condition_timers.next_at;
        *next_at = Some(next_at.map_or(due, |next_at| next_at.min(due)));
    }

    /// Tells what stands for too long.
    pub(super) fn look(&mut self, now: Timestamp) {
        let mut next = Timestamp(now.0.saturating_add(LOOK_NS));
        let mut found = Vec::new();
        for stream in self.streams.iter_mut() {
            if let Some(what) = stream.take_condition(now, &self.flow, &mut next) {
                found.push((stream.id, what));
            }
        }
        found.sort_unstable_by_key(|(id, _)| *id);
        for (id, what) in found {
            self.report_condition(id, what, now);
        }
        for sender in [Client, Server] {
            if let Some(breach) = self.flow.window_mut(sender).take_breach(now) {
                let fault = fault(sender, breach, WindowOf::Connection, true);
                self.connection_fault(breach.stream_id, fault, now);
            }
            self.look_for_connection_stall(sender, now, &mut next);
        }
        if let Some(what) = self.condition_timers.concurrency.take_condition(now) {
            self.report_condition(StreamId(0), what, now);
        }
        let again = Timestamp(now.0.saturating_add(LOOK_AGAIN_NS));
        self.condition_timers.next_at = (self.live() > 0).then_some(next.max(again));
    }

    fn look_for_connection_stall(
        &mut self,
        sender: Endpoint,
        now: Timestamp,
        next: &mut Timestamp,
    ) {
        let Some(since) = self.flow.window(sender).used_up_since() else {
            return;
        };
        let due = Timestamp(since.0.saturating_add(WINDOW_STALL_NS));
        if due > now {
            *next = due.min(*next);
            return;
        }
        if self.flow.stall_told(sender) {
            return;
        }
        let waiting = self
            .streams
            .iter()
            .filter(|stream| stream.finished_at.is_none() && stream.waits_to_send(sender));
        let n_waiting = u32::try_from(waiting.count()).unwrap_or(u32::MAX);
        if n_waiting > 0 && self.flow.tell_stall(sender) {
            let stall = Stall {
                sender,
                window: WindowOf::Connection,
                since,
                n_waiting,
            };
            self.report_condition(StreamId(0), Condition::Stalled(stall), now);
        }
    }

    /// A rule about the connection's window was broken. The stream of the DATA, if it is still there, has
    /// the finding.
    fn connection_fault(&mut self, id: StreamId, fault: FlowFault, now: Timestamp) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.flow.fault.get_or_insert(fault);
        }
        self.report_condition(id, Condition::Fault(fault), now);
    }

    pub(super) fn connection_window_update(
        &mut self,
        sender: Endpoint,
        increment: u32,
        at: Timestamp,
    ) {
        self.flow.on_window_update(sender, increment, at);
        if increment == 0 {
            let fault = FlowFault {
                sender,
                window: WindowOf::Connection,
                at,
                breach: FlowBreach::ZeroIncrement,
                told: true,
            };
            self.connection_fault(StreamId(0), fault, at);
        }
    }

    /// A RST_STREAM is about to be taken: does it answer something that looked like a race until now?
    pub(super) fn before_reset(&mut self, sender: Endpoint, id: StreamId, code: ErrorCode) {
        let too_many = self.settings.server.max_concurrent_streams;
        let too_many = too_many.is_some_and(|cap| self.n_open() > cap);
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if !too_many {
            stream.flow.over_cap = None;
        }
        if code == ErrorCode::FLOW_CONTROL_ERROR {
            stream.answered_breach(sender);
            let window = self.flow.window_mut(sender.peer());
            if window.breach().is_some_and(|breach| breach.stream_id == id)
                && let Some(breach) = window.take_answered_breach(false)
            {
                stream.fault(sender.peer(), breach, WindowOf::Connection, false);
            }
        }
    }

    /// The same for a GOAWAY that says an error.
    pub(super) fn answers_breach(&mut self, by: Endpoint, code: ErrorCode, now: Timestamp) {
        let exceeded = self.condition_timers.concurrency.take_over();
        if by == Server
            && let Some(over) = exceeded
        {
            let demanded = ErrorCode::PROTOCOL_ERROR;
            self.watch.ledger.note_other(Client, demanded, over.since);
            self.report_condition(StreamId(0), Condition::OverCap(over), now);
        }
        if !matches!(
            code,
            ErrorCode::FLOW_CONTROL_ERROR | ErrorCode::PROTOCOL_ERROR
        ) {
            return;
        }
        let mut offenders = Vec::new();
        for stream in self.streams.iter_mut() {
            if stream.breach_due().is_some() && stream.flow.fault.is_none() {
                stream.answered_breach(by);
                offenders.extend(stream.flow.fault);
            }
        }
        for fault in offenders {
            let demanded = ErrorCode::FLOW_CONTROL_ERROR;
            self.watch
                .ledger
                .note_other(fault.sender, demanded, fault.at);
        }
        for (sender, too_large) in [(by.peer(), false), (by, true)] {
            let window = self.flow.window_mut(sender);
            if let Some(breach) = window.take_answered_breach(too_large) {
                let fault = fault(sender, breach, WindowOf::Connection, true);
                let demanded = ErrorCode::FLOW_CONTROL_ERROR;
                self.watch
                    .ledger
                    .note_other(fault.sender, demanded, fault.at);
                self.connection_fault(breach.stream_id, fault, now);
            }
        }
    }

    /// The linger of a stream is over: nothing more comes that could explain an overdrawn window.
    pub(super) fn settle_breaches(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id)
            && stream.breach_due().is_some()
        {
            stream.settle_breaches(&self.flow);
        }
    }

    /// The same for all, with the connection.
    pub(super) fn settle_all_breaches(&mut self, now: Timestamp) {
        for stream in self.streams.iter_mut() {
            stream.settle_breaches(&self.flow);
        }
        for sender in [Client, Server] {
            let spoke_at = self.flow.spoke_at_by(sender);
            if let Some(breach) = self.flow.window_mut(sender).take_final_breach(spoke_at) {
                let fault = fault(sender, breach, WindowOf::Connection, true);
                self.connection_fault(breach.stream_id, fault, now);
            }
        }
        if let Some(over) = self.condition_timers.concurrency.take_over()
            && self.flow.spoke_at(Server) > over.since
        {
            self.report_condition(StreamId(0), Condition::OverCap(over), now);
        }
    }

    /// Streams that ended by a lack of connection window: the first of them says it for all.
    pub(super) fn keep_one_stalled_end(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id)
            && let Some(stall) = stream.flow.stalled
            && stall.window == WindowOf::Connection
            && !stream.resets.is_empty()
            && !self.flow.tell_stalled_end(stall.sender)
        {
            stream.flow.stalled = None;
        }
    }

    fn count_streams(&mut self, cap: u32, opened: Option<StreamId>, at: Timestamp) {
        if !self.flow.is_whole() || self.condition_timers.pushes {
            self.condition_timers.concurrency.forget();
            return;
        }
        let acknowledged = self.flow.acks(Server).cap_acknowledged();
        let n_open = self.n_open();
        let over = self
            .condition_timers
            .concurrency
            .count(n_open, (cap, acknowledged), at);
        if over.is_some()
            && let Some(id) = opened
            && let Some(stream) = self.streams.get_mut(id)
        {
            stream.flow.over_cap = over;
        }
    }

    /// Streams that count against the limit. RFC 9113 section 5.1.2 counts those too whose request has not
    /// ended though the response has; common clients and servers take them for closed.
    fn n_open(&self) -> u32 {
        let n_open = self.live().saturating_sub(self.condition_timers.n_answered);
        u32::try_from(n_open).unwrap_or(u32::MAX)
    }

    fn report_condition(&mut self, id: StreamId, what: Condition, at: Timestamp) {
        let (connection, role) = (self.connection, self.role);
        let stream = self.streams.get_calm(id).map(|stream| {
            let mut stream = stream.clone();
            stream.finish(at, &self.flow);
            let (mut record, end) = (Box::default(), Some(StreamEnd::Unseen));
            let of = (connection, role);
            end::record(&mut record, &mut stream, of, &self.settings, end);
            record
        });
        self.out
            .push_back(StreamEvent::Condition(Box::new(ConditionReport {
                connection,
                role,
                at,
                what,
                stream,
            })));
    }
}
