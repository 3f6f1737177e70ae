//! The rules, and what they remember between streams.
//!
//! One root cause, one finding: a reset in the middle of a message is a reset, not also a truncated
//! message and missing trailers. What a gap may have changed is never worse than unknown.

mod completion;
mod connection;
mod hop;
mod reset;
mod shape;
mod words;

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::hop::Hop;
use crate::stream::record::{ResponsePhase, StreamEnd, StreamEvent, StreamRecord};

use connection::Connections;
use shape::Shapes;

/// Judges what stage 4 says.
#[derive(Debug, Default)]
pub struct Rules {
    connections: Connections,
    shapes: Shapes,
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
            StreamEvent::Opened { .. } | StreamEvent::Requested(_) | StreamEvent::Limit(_) => {
                Vec::new()
            }
        }
    }

    /// What is to be said about a request at a proxy, now that both its sides are over.
    pub fn judge_hop<T>(&mut self, request: &Hop<T>) -> Vec<Finding> {
        hop::judge(request)
    }

    /// Bounds of [`limits`](crate::limits) that were reached since the last call: name and how often.
    pub fn take_limit_hits(&mut self) -> Vec<(&'static str, u32)> {
        let hits = [
            (
                "go_away_connections",
                std::mem::take(&mut self.connections.n_forgotten),
            ),
            ("method_shapes", std::mem::take(&mut self.shapes.n_left_out)),
        ];
        hits.into_iter().filter(|(_, n)| *n > 0).collect()
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
            StreamEnd::Reset => findings.extend(reset::judge(record)),
            StreamEnd::Complete | StreamEnd::Connection(_) => {}
        }
        if findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Anomaly)
        {
            findings.extend(completion::judge(record, &self.shapes));
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
