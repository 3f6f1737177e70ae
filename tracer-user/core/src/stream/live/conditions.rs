//! What of a stream stands for longer than it should.

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::stream::condition::{
    Condition, FlowBreach, FlowFault, LEFT_OPEN_NS, RESPONSE_OVERDUE_NS, Stall, WINDOW_STALL_NS,
    WindowOf,
};
use crate::stream::flow::{Breach, Flow};
use crate::stream::live::Stream;
use crate::stream::record::Seen;
use crate::stream::state::HalfState;

use Endpoint::{Client, Server};

/// What was told of a stream while it stood: each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reported {
    stalled: bool,
    left_open: bool,
    overdue: bool,
}

impl Stream {
    /// `sender` is in the middle of a message and not in the middle of a frame: it has more to send and
    /// does not. (What waits at a message boundary can't be seen.)
    pub(crate) fn waits_to_send(&self, sender: Endpoint) -> bool {
        let direction = self.direction(sender);
        direction.messages.inside()
            && direction.frame.is_none()
            && matches!(direction.state, HalfState::Open { .. })
            && self.content.grpc() == Seen::Value(())
    }

    /// The response is complete, and the request is not.
    pub(crate) fn is_answered(&self) -> bool {
        self.finished_at.is_none() && self.response.state.end_stream_sent()
    }

    /// Who waits for which window, for so long that it is stalled.
    pub(crate) fn stalled(&self, now: Timestamp, flow: &Flow) -> Option<Stall> {
        [Client, Server].into_iter().find_map(|sender| {
            let (window, since) = self.waits_for_window(sender, flow)?;
            (now.since(since) >= WINDOW_STALL_NS).then_some(Stall {
                sender,
                window,
                since,
                n_waiting: 1,
            })
        })
    }

    fn waits_for_window(&self, sender: Endpoint, flow: &Flow) -> Option<(WindowOf, Timestamp)> {
        let waits = || self.whole && self.waits_to_send(sender);
        if let Some(since) = flow.window(sender).used_up_since() {
            return waits().then_some((WindowOf::Connection, since.max(self.first_at)));
        }
        let since = self.direction(sender).window.used_up_since()?;
        let waits = flow.connection(sender).is_some() && waits();
        waits.then_some((WindowOf::Stream, since.max(self.first_at)))
    }

    /// A window of this stream is against the rules, and when that is certain.
    pub(crate) fn breach_due(&self) -> Option<Timestamp> {
        let (request, response) = (&self.request.window, &self.response.window);
        match (request.breach_due(), response.breach_due()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// What is to be told now. `next`: lowered to the time of what may be to be told next.
    pub(crate) fn take_condition(
        &mut self,
        now: Timestamp,
        flow: &Flow,
        next: &mut Timestamp,
    ) -> Option<Condition> {
        if self.finished_at.is_some() {
            return None;
        }
        let mut wait_until = |since: Timestamp, ns: u64| {
            let due = Timestamp(since.0.saturating_add(ns));
            if due > now {
                *next = due.min(*next);
            }
            due <= now
        };
        for sender in [Client, Server] {
            if let Some(breach) = self.direction_mut(sender).window.take_breach(now) {
                let fault = self.fault(sender, breach, WindowOf::Stream, true);
                return Some(Condition::Fault(fault));
            }
            if !self.reported.stalled
                && let Some((WindowOf::Stream, since)) = self.waits_for_window(sender, flow)
                && wait_until(since, WINDOW_STALL_NS)
            {
                self.reported.stalled = true;
                return Some(Condition::Stalled(Stall {
                    sender,
                    window: WindowOf::Stream,
                    since,
                    n_waiting: 1,
                }));
            }
        }
        if !self.whole || !self.beginning_seen || self.pushed {
            return None;
        }
        let request_open = matches!(self.request.state, HalfState::Open { .. });
        if !self.reported.left_open
            && request_open
            && self.response.state.end_stream_sent()
            && wait_until(self.last_at, LEFT_OPEN_NS)
        {
            self.reported.left_open = true;
            let since = self.last_at;
            return Some(Condition::LeftOpen { since });
        }
        let waits = self.has_no_response() && self.request.state.end_stream_sent();
        if waits
            && !self.reported.overdue
            // A deadline that was not seen may be there.
            && self.blocks_complete
            && self.content.timeout.is_none()
            && self.content.grpc() == Seen::Value(())
            && let Some(since) = self.request.half.end_stream_at
            && wait_until(since, RESPONSE_OVERDUE_NS)
        {
            self.reported.overdue = true;
            return Some(Condition::Overdue { since });
        }
        None
    }

    /// The end that suffers it has said FLOW_CONTROL_ERROR: no crossing frame explains it.
    pub(crate) fn answered_breach(&mut self, by: Endpoint) {
        for (sender, too_large) in [(by.peer(), false), (by, true)] {
            if let Some(breach) = self
                .direction_mut(sender)
                .window
                .take_answered_breach(too_large)
            {
                self.fault(sender, breach, WindowOf::Stream, false);
            }
        }
    }

    /// Nothing more comes that could explain it.
    pub(crate) fn settle_breaches(&mut self, flow: &Flow) {
        for sender in [Client, Server] {
            let spoke_at = flow.spoke_at_by(sender);
            let window = &mut self.direction_mut(sender).window;
            if let Some(breach) = window.take_final_breach(spoke_at) {
                self.fault(sender, breach, WindowOf::Stream, false);
            }
        }
    }

    /// The window of what `sender` sends is against the rules: who did that. The first one is kept.
    pub(crate) fn fault(
        &mut self,
        sender: Endpoint,
        breach: Breach,
        window: WindowOf,
        told: bool,
    ) -> FlowFault {
        let fault = fault(sender, breach, window, told);
        self.flow.fault.get_or_insert(fault);
        fault
    }

    /// WINDOW_UPDATE with increment 0.
    pub(super) fn zero_increment(&mut self, sender: Endpoint, at: Timestamp) {
        self.flow.fault.get_or_insert(FlowFault {
            sender,
            window: WindowOf::Stream,
            at,
            breach: FlowBreach::ZeroIncrement,
            told: false,
        });
    }
}

/// Who broke the rule about the window of what `sender` sends.
pub(crate) const fn fault(
    sender: Endpoint,
    breach: Breach,
    window: WindowOf,
    told: bool,
) -> FlowFault {
    FlowFault {
        sender: match breach.what {
            FlowBreach::Overrun { .. } => sender,
            FlowBreach::TooLarge | FlowBreach::ZeroIncrement => sender.peer(),
        },
        window,
        at: breach.since,
        breach: breach.what,
        told,
    }
}
