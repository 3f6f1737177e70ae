//! The rules, and what they remember between streams.
//!
//! One root cause, one finding: a reset in the middle of a message is a reset, not also a truncated
//! message and missing trailers. What a gap may have changed is never worse than unknown.

mod completion;
mod concurrency;
mod connection;
mod flow_control;
mod idle;
mod reset;
mod shape;
mod words;

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::connection::Endpoint;
use crate::frame::StreamId;
use crate::stream::condition::{Condition, Standing};
use crate::stream::record::{ResponsePhase, StreamEnd, StreamEvent, StreamRecord, Tier, Windows};

use connection::Connections;
use flow_control::Said;
use idle::Idle;
use shape::Shapes;

/// Judges what stage 4 says.
#[derive(Debug, Default)]
pub struct Rules {
    connections: Connections,
    shapes: Shapes,
    idle: Idle,
}

impl Rules {
    /// Rules that have seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Rules::default()
    }

    /// What is to be said about this event. Most streams: nothing.
    pub fn judge(&mut self, event: &StreamEvent) -> Vec<Finding> {
        match event {
            StreamEvent::Ended(record) => self.stream(record),
            StreamEvent::GoAway {
                connection,
                role,
                go_away,
            } => self
                .connections
                .go_away(*connection, *role, go_away)
                .into_iter()
                .collect(),
            StreamEvent::ConnectionEnded {
                connection,
                role,
                at,
                ..
            } => self
                .connections
                .ended(*connection, *role, *at)
                .into_iter()
                .collect(),
            StreamEvent::Condition(condition) => self.condition(condition).into_iter().collect(),
            StreamEvent::Opened { .. } | StreamEvent::Limit(_) => Vec::new(),
        }
    }

    /// Bounds of [`limits`](crate::limits) that were reached since the last call: name and how often.
    pub fn take_limit_hits(&mut self) -> Vec<(&'static str, u32)> {
        let hits = [
            (
                "go_away_connections",
                std::mem::take(&mut self.connections.n_forgotten),
            ),
            ("method_shapes", std::mem::take(&mut self.shapes.n_left_out)),
            ("idle_methods", std::mem::take(&mut self.idle.n_left_out)),
        ];
        hits.into_iter().filter(|(_, n)| *n > 0).collect()
    }

    /// What stands for longer than it should.
    fn condition(&mut self, condition: &Condition) -> Option<Finding> {
        let at = condition.at;
        let stream = condition.stream.as_deref();
        let said = match condition.what {
            Standing::Stalled(stall) => flow_control::stalled(&stall, at, stream),
            Standing::Fault(fault) => flow_control::fault(&fault),
            Standing::Saturated {
                cap,
                since,
                n_reopened,
            } => concurrency::saturated(cap, since, n_reopened, at),
            Standing::OverCap(over) => concurrency::over_cap(&over),
            Standing::LeftOpen { since } => idle::left_open(since, at),
            Standing::Overdue { since } => self.idle.overdue(stream?, since, at, &self.shapes)?,
        };
        let waits = match condition.what {
            Standing::Stalled(stall) => stall.sender,
            _ => Endpoint::Server,
        };
        Some(standing(condition, said, waits))
    }

    fn stream(&mut self, record: &StreamRecord) -> Vec<Finding> {
        let complete = record.response_phase == Some(ResponsePhase::R3);
        let mut findings = Vec::new();
        match record.end {
            StreamEnd::Evicted | StreamEnd::Unseen => return findings,
            StreamEnd::Unprocessed => return vec![self.connections.unprocessed(record)],
            StreamEnd::Connection(why) if !complete => {
                if !record.pushed {
                    findings.push(self.connections.lost(record, why));
                }
            }
            StreamEnd::Reset => {
                findings.extend(of_reset(record));
                flow_control::ended_by_stall(record, &mut findings);
                findings.extend(self.idle.killed(record));
            }
            StreamEnd::Complete | StreamEnd::Connection(_) => {}
        }
        if findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Anomaly)
        {
            findings.extend(completion::judge(record, &self.shapes));
        }
        if flow_control::answered(record).is_none() {
            findings.extend(flow_control::unanswered(record));
        }
        self.shapes.learn(record);
        if !record.whole {
            for finding in &mut findings {
                if finding.verdict > Verdict::Unknown {
                    finding.verdict = Verdict::Unknown;
                }
            }
        }
        findings
    }
}

/// The finding about the RST_STREAM: what it answered, if that is known.
fn of_reset(record: &StreamRecord) -> Option<Finding> {
    if let Some(fault) = flow_control::answered(record) {
        return fault;
    }
    concurrency::answered(record).or_else(|| reset::judge(record))
}

/// A finding about what stands. `waits`: whose windows are of interest.
fn standing(condition: &Condition, said: Said, waits: Endpoint) -> Finding {
    let mut found = match condition.stream.as_deref() {
        Some(record) => {
            let place = record.path.as_deref().unwrap_or_default();
            let mut summary = said.summary;
            if !place.is_empty() {
                summary.push_str(&format!(" ({place})"));
            }
            let mut found = finding(record, said.kind, said.verdict, summary);
            found.windows = flow_control::windows(record, waits);
            found
        }
        None => Finding {
            kind: said.kind,
            verdict: said.verdict,
            tier: Tier::T0,
            connection: condition.connection,
            role: condition.role,
            stream_id: StreamId(0),
            at: condition.at,
            sender: None,
            code: None,
            request_phase: None,
            response_phase: None,
            windows: Windows::default(),
            summary: said.summary,
            story: Vec::new(),
        },
    };
    found.at = condition.at;
    found.sender = said.sender;
    found
}

/// A finding about a stream, nobody's fault yet.
fn finding(record: &StreamRecord, kind: Kind, verdict: Verdict, summary: String) -> Finding {
    Finding {
        kind,
        verdict,
        tier: record.tier,
        connection: record.connection,
        role: record.role,
        stream_id: record.stream_id,
        at: record.last_at,
        sender: None,
        code: None,
        request_phase: record.request_phase,
        response_phase: record.response_phase,
        windows: record.response.windows_at_end,
        summary,
        story: record.story.clone(),
    }
}
