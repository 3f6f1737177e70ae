//! Streams on which nothing happens, and streams that are ended for it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::flow_control::ConditionFinding;
use crate::anomaly::rules::methods::Methods;
use crate::anomaly::rules::shape::Shapes;
use crate::anomaly::rules::{finding, words};
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::ErrorCode;
use crate::limits;
use crate::stream::record::{Outcome, Reset, ResponsePhase, Seen, StreamEnd, StreamRecord, Tier};

/// Resets of one method that are compared.
const RESETS: usize = 16;

/// So many of them, and at least half of them, must have come at the same age or idle time.
const ALIKE: usize = 5;

/// Below it, equal times are chance.
const LEAST: Duration = Duration::from_secs(1);

/// Times that differ by no more than this are the same: a timer fires late by some milliseconds.
const SAME: Duration = Duration::from_millis(50);

/// The same as a share of the time itself.
const SAME_PERCENT: u32 = 2;

/// The resets must be spread over more time than this: what is reset all at once has another cause.
const SPREAD: Duration = Duration::from_millis(100);

/// A stream is left open for long.
pub(super) fn left_open(since: Timestamp, now: Timestamp) -> ConditionFinding {
    ConditionFinding {
        kind: Kind::StreamLeftOpen,
        verdict: Verdict::Suspicious,
        sender: Some(Endpoint::Client),
        summary: format!(
            "the response is complete, the client has not ended its request, and neither end has reset the \
             stream: nothing for {}, and it takes up a concurrent stream",
            words::duration(Duration::from_nanos(now.since(since)))
        ),
    }
}

/// One reset in the middle of a stream.
#[derive(Clone, Copy, Debug)]
struct Kill {
    at: Timestamp,
    age: Duration,
    idle: Duration,
}

/// The resets of one method by one end.
#[derive(Debug, Default)]
struct Kills {
    last: VecDeque<Kill>,
    /// Times that were told.
    told: Vec<Duration>,
}

/// What is remembered of silent streams.
#[derive(Debug)]
pub(super) struct Idle {
    /// Methods whose shape is not known, of which a call was overdue.
    overdue: Methods<()>,
    /// By who sent the resets.
    kills: [Methods<Kills>; 2],
    /// Methods that were forgotten to make room.
    pub(super) n_forgotten: u32,
}

impl Default for Idle {
    fn default() -> Idle {
        Idle {
            overdue: Methods::new(limits::METHOD_SHAPES),
            kills: [(); 2].map(|()| Methods::new(limits::KILLED_METHODS)),
            n_forgotten: 0,
        }
    }
}

impl Idle {
    /// A call without a deadline is not answered. Nothing where the method is known to stream; once
    /// where it is not known whether it does (a subscription waits for its first event).
    pub(super) fn overdue(
        &mut self,
        record: &StreamRecord,
        since: Timestamp,
        now: Timestamp,
        shapes: &Shapes,
    ) -> Option<ConditionFinding> {
        let path = record.path.as_deref()?;
        let waited = words::duration(Duration::from_nanos(now.since(since)));
        let note = match shapes.of(record) {
            Some(shape) if !shape.one_response => return None,
            Some(_) => "its other calls are answered with one message",
            None => {
                if self.overdue.get(record.pid, path).is_some() {
                    return None;
                }
                let forgot = self.overdue.insert(record.pid, path, ());
                self.n_forgotten = self.n_forgotten.saturating_add(u32::from(forgot));
                "said once for this method: whether it streams is not known"
            }
        };
        Some(ConditionFinding {
            kind: Kind::ResponseOverdue,
            verdict: Verdict::Suspicious,
            sender: Some(Endpoint::Server),
            summary: format!(
                "the request was complete {waited} ago and has no deadline, and nothing of a response has \
                 come ({note})"
            ),
        })
    }

    /// A reset in the middle of a stream, at an age or after an idle time at which others came too.
    pub(super) fn killed(&mut self, record: &StreamRecord) -> Option<Finding> {
        let (reset, kill) = kill(record)?;
        let path = record.path.as_deref().unwrap_or_default();
        let of_sender = self.kills.get_mut(reset.sender.index())?;
        if of_sender.get(record.pid, path).is_none() {
            let forgot = of_sender.insert(record.pid, path, Kills::default());
            self.n_forgotten = self.n_forgotten.saturating_add(u32::from(forgot));
        }
        let kills = of_sender.get_mut(record.pid, path)?;
        if kills.last.len() >= RESETS {
            kills.last.pop_front();
        }
        kills.last.push_back(kill);
        // What idles from its beginning has the same age and idle time: the idle time says more.
        let (what, time, n) = [
            (
                "after the same time without a frame",
                kills.alike(kill.idle, |kill| kill.idle),
            ),
            ("at the same age", kills.alike(kill.age, |kill| kill.age)),
        ]
        .into_iter()
        .find_map(|(what, alike)| alike.map(|(time, n)| (what, time, n)))?;
        if kills.told.iter().any(|told| same(*told, time)) {
            return None;
        }
        if kills.told.len() >= RESETS {
            kills.told.clear();
        }
        kills.told.push(time);
        let mut found = finding(
            record,
            Kind::KilledWhileIdle,
            Verdict::Suspicious,
            format!(
                "{n} of the last {} streams that the {} reset in their middle ended {what}, {}: a timeout \
                 on the way",
                kills.last.len(),
                reset.sender,
                words::duration(time)
            ),
        );
        found.sender = Some(reset.sender);
        found.request_phase = reset.request_phase;
        found.response_phase = reset.response_phase;
        Some(found)
    }
}

impl Kills {
    /// How many came at this time, if they are enough for a timer.
    fn alike(&self, time: Duration, of: impl Fn(&Kill) -> Duration) -> Option<(Duration, usize)> {
        if time <= LEAST {
            return None;
        }
        let alike = || self.last.iter().filter(|kill| same(of(kill), time));
        let n = alike().count();
        let first = alike().map(|kill| kill.at).min()?;
        let last = alike().map(|kill| kill.at).max()?;
        let spread = Duration::from_nanos(last.since(first));
        (n >= ALIKE && n * 2 >= self.last.len() && spread >= SPREAD).then_some((time, n))
    }
}

/// The reset, if it may be a timeout on the way: it came in the middle, and neither the deadline nor the
/// client's user explains it.
fn kill(record: &StreamRecord) -> Option<(&Reset, Kill)> {
    let reset = record.resets.first()?;
    let began = record.request.headers_at?;
    let in_the_middle = record.end == StreamEnd::Reset
        && record.whole
        && record.beginning_seen
        && !matches!(reset.response_phase, None | Some(ResponsePhase::R3));
    // Where fields are unseen, a deadline may be among them.
    let deadline = record.timeout.is_some()
        || record.outcome == Outcome::Deadline
        || (record.tier == Tier::T0 && record.grpc != Seen::Absent);
    let decided = reset.code == ErrorCode::REFUSED_STREAM
        || (reset.sender == Endpoint::Client && reset.code == ErrorCode::CANCEL);
    if !in_the_middle || deadline || decided {
        return None;
    }
    let frames = [
        record.request.last_data_at,
        record.request.end_stream_at,
        record.response.headers_at,
        record.response.last_data_at,
    ];
    let heard = frames.into_iter().flatten().max()?.max(began);
    Some((
        reset,
        Kill {
            at: reset.at,
            age: Duration::from_nanos(reset.at.since(began)),
            idle: Duration::from_nanos(reset.at.since(heard)),
        },
    ))
}

fn same(a: Duration, b: Duration) -> bool {
    a.abs_diff(b) <= SAME.max(a.max(b) / 100 * SAME_PERCENT)
}
