//! Which part of a request's way used its deadline up.

use std::time::Duration;

use super::facts::cut_at;
use super::{Alone, Ended, Hop, ended};
use crate::event::Timestamp;
use crate::stream::record::{Outcome, RequestPhase, ResponsePhase, StreamRecord, Windows};

/// A part of a request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The proxy had not sent the request on.
    NotSent,
    /// The request was on its way, and not whole at the server.
    Request,
    /// A flow-control window was used up.
    Window,
    /// The server had the whole request, and had not answered all of it.
    Server,
    /// The server's answer was whole, and the client did not have all of it.
    WayBack,
}

impl Part {
    /// All, in the order of the way.
    pub const ALL: [Part; 5] = [
        Part::NotSent,
        Part::Request,
        Part::Window,
        Part::Server,
        Part::WayBack,
    ];

    /// JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Part::NotSent => "not_sent",
            Part::Request => "request",
            Part::Window => "window",
            Part::Server => "server",
            Part::WayBack => "way_back",
        }
    }
}

/// What became of the time that a request had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadlineUse {
    /// `grpc-timeout`.
    pub timeout: Duration,
    /// From the request to its end, in ns, where the request was seen.
    pub elapsed_ns: u64,
    /// The part that took the most of it; None where that is not known.
    pub part: Option<Part>,
    /// In the proxy, before it sent the request on, in ns.
    pub not_sent_ns: Option<u64>,
    /// Until the request was whole at the server.
    pub request_ns: Option<u64>,
    /// Until the server's answer was whole.
    pub server_ns: Option<u64>,
    /// Until the request was over.
    pub way_back_ns: Option<u64>,
}

impl DeadlineUse {
    /// Of one stream whose deadline had come: what is known without its other side.
    #[must_use]
    pub fn of_stream(record: &StreamRecord) -> Option<DeadlineUse> {
        let mut spent = DeadlineUse::over(record)?;
        let (from, to) = life(record)?;
        let request_ns = record.request.end_stream_at.unwrap_or(to).since(from);
        spent.request_ns = Some(request_ns);
        spent.part = if is_blocked(record) {
            Some(Part::Window)
        } else if request_ns > spent.elapsed_ns / 2 {
            Some(Part::Request)
        } else {
            // The server, or what is on the way to it.
            None
        };
        Some(spent)
    }

    /// None when the request had no deadline, or ended well or before it.
    fn over(record: &StreamRecord) -> Option<DeadlineUse> {
        let timeout = record.timeout?;
        let (from, to) = life(record)?;
        let went_well = record.outcome == Outcome::Ok;
        (!went_well && record.deadline_had_come(to)).then(|| DeadlineUse {
            timeout,
            elapsed_ns: to.since(from),
            ..DeadlineUse::default()
        })
    }

    /// Both sides of it.
    fn passed_on(mut self, down: &StreamRecord, up: &StreamRecord, sent_at: Timestamp) -> Self {
        let Some((from, to)) = life(down) else {
            return self;
        };
        let within = |at: Timestamp| at.clamp(from, to);
        let sent_at = within(sent_at);
        let whole_at = within(up.request.end_stream_at.unwrap_or(to)).max(sent_at);
        let answered_at = within(up.response.end_stream_at.unwrap_or(to)).max(whole_at);
        let parts = [
            (Part::NotSent, sent_at.since(from)),
            (Part::Request, whole_at.since(sent_at)),
            (Part::Server, answered_at.since(whole_at)),
            (Part::WayBack, to.since(answered_at)),
        ];
        let [not_sent, request, server, way_back] = parts.map(|(_, ns)| Some(ns));
        (self.not_sent_ns, self.request_ns) = (not_sent, request);
        (self.server_ns, self.way_back_ns) = (server, way_back);
        let most = parts.into_iter().rev().max_by_key(|(_, ns)| *ns);
        self.part = most.map(|(part, _)| match part {
            Part::Request | Part::Server | Part::WayBack if is_blocked(down) || is_blocked(up) => {
                Part::Window
            }
            part => part,
        });
        self
    }
}

impl<T> Hop<T> {
    /// What used the deadline of this request up, if that had come.
    #[must_use]
    pub fn deadline(&self) -> Option<DeadlineUse> {
        let down = &*self.downstream.record;
        let spent = DeadlineUse::over(down)?;
        let Some(first) = self.upstream.first() else {
            // Where it may have gone on unseen, no more is known than of the stream alone.
            if self.why_alone() != Some(Alone::NoUpstream) || !self.others_known {
                return DeadlineUse::of_stream(down);
            }
            let part = Some(Part::NotSent);
            let not_sent_ns = Some(spent.elapsed_ns);
            return Some(DeadlineUse {
                part,
                not_sent_ns,
                ..spent
            });
        };
        let both = self.whichever(|up| spent.passed_on(down, up, first.began_at));
        both.or_else(|| DeadlineUse::of_stream(down))
    }
}

/// From the request's HEADERS until nothing more was to be expected.
fn life(record: &StreamRecord) -> Option<(Timestamp, Timestamp)> {
    let from = record.request.headers_at?;
    let to = match ended(record) {
        Ended::Complete => record.response.end_stream_at?,
        _ => cut_at(record),
    };
    (from <= to).then_some((from, to))
}

/// Whoever had more to send had no window for it when the stream ended.
fn is_blocked(record: &StreamRecord) -> bool {
    let none_left = |windows: Windows| {
        let used_up = |left: Option<i64>| left.is_some_and(|left| left <= 0);
        used_up(windows.stream) || used_up(windows.connection)
    };
    let request_waits = record.request_phase < Some(RequestPhase::Q2)
        && record.request_phase.is_some()
        && none_left(record.request.windows_at_end);
    let response_waits = record.response.headers_at.is_some()
        && record.response_phase != Some(ResponsePhase::R3)
        && record.resets.first().map_or_else(
            || none_left(record.response.windows_at_end),
            |cut| cut.response_blocked_since.is_some(),
        );
    request_waits || response_waits
}
