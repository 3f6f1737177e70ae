//! The rules, and what they remember between streams.
//!
//! One root cause, one finding: a reset in the middle of a message is a reset, not also a truncated
//! message and missing trailers. What a gap may have changed is never worse than unknown.

mod abuse;
mod completion;
mod concurrency;
mod connection;
mod content_length;
mod fields;
mod flow_control;
mod framing;
mod header_list;
mod hop;
mod idle;
mod methods;
mod ping;
mod protocol;
mod receivers;
mod reset;
mod shape;
pub(crate) mod tls;
mod words;

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::connection::{ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::frame::{ErrorCode, StreamId};
use crate::hop::Hop;
use crate::limits::{Limit, LimitHits};
use crate::stream::condition::{Condition, ConditionReport};
use crate::stream::record::{
    ResponsePhase, Seen, Story, StreamEnd, StreamEvent, StreamRecord, Tier, Windows,
};

use connection::Connections;
use flow_control::ConditionFinding;
use idle::Idle;
use protocol::Foreign;
use shape::Shapes;

/// Judges what stage 4 says.
#[derive(Debug, Default)]
pub struct Rules {
    connections: Connections,
    foreign: Foreign,
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
        let mut findings = self.event(event);
        self.foreign.silence(&mut findings);
        if let StreamEvent::ConnectionEnded { connection, .. } = event {
            self.foreign.ended(*connection);
        }
        findings
    }

    /// The same of a stream that ended.
    pub(crate) fn judge_stream(&mut self, record: &StreamRecord) -> Vec<Finding> {
        let mut findings = self.stream(record);
        self.foreign.silence(&mut findings);
        findings
    }

    fn event(&mut self, event: &StreamEvent) -> Vec<Finding> {
        match event {
            StreamEvent::Ended(record) => self.stream(record),
            StreamEvent::GoAway {
                connection,
                role,
                go_away,
                before,
            } => self
                .connections
                .go_away(*connection, *role, go_away, before)
                .into_iter()
                .collect(),
            StreamEvent::ConnectionEnded {
                connection,
                role,
                why,
                at,
                unanswered_pings,
                ..
            } => {
                let of = (*connection, *role);
                let closer = connection::closer(*why, *role);
                let silent = ping::unanswered(of, closer, *at, unanswered_pings);
                let abrupt = self.connections.ended(*connection, *role, *at);
                silent.into_iter().chain(abrupt).collect()
            }
            StreamEvent::Offence {
                connection,
                role,
                offence,
            } => vec![framing::offence(*connection, *role, offence)],
            StreamEvent::Flood {
                connection,
                role,
                flood,
            } => vec![abuse::flood(*connection, *role, flood)],
            StreamEvent::NotHttp2 {
                connection,
                role,
                sender,
                spoke,
                at,
            } => self
                .foreign
                .found((*connection, *role), *at, *sender, *spoke)
                .into_iter()
                .collect(),
            StreamEvent::Condition(condition) => self.condition(condition).into_iter().collect(),
            StreamEvent::Opened { .. }
            | StreamEvent::Requested(_)
            | StreamEvent::Finished { .. }
            | StreamEvent::Limit(_) => Vec::new(),
        }
    }

    /// What is to be said about a request at a proxy, now that both its sides are over.
    pub fn judge_hop<T>(&mut self, request: &Hop<T>) -> Vec<Finding> {
        hop::judge(request)
    }

    /// What is to be said about a request to which no response has come for long, and whose streams to servers
    /// are all over.
    pub fn judge_waiting(
        &mut self,
        request: &StreamRecord,
        upstream: &[&StreamRecord],
        now: Timestamp,
    ) -> Option<Finding> {
        hop::judge_waiting(request, upstream, now)
    }

    /// The limits that were reached since the last call.
    pub fn take_limit_hits(&mut self) -> LimitHits {
        let mut hits = LimitHits::default();
        for (limit, n) in [
            (Limit::GoAwayConnections, &mut self.connections.n_forgotten),
            (Limit::ForeignConnections, &mut self.foreign.n_forgotten),
            (Limit::MethodShapes, &mut self.shapes.n_forgotten),
            (Limit::KilledMethods, &mut self.idle.n_forgotten),
        ] {
            hits.add(limit, std::mem::take(n));
        }
        hits
    }

    /// What stands for longer than it should.
    fn condition(&mut self, condition: &ConditionReport) -> Option<Finding> {
        let at = condition.at;
        let stream = condition.stream.as_deref();
        let said = match condition.what {
            Condition::Stalled(stall) => flow_control::stalled(&stall, at, stream),
            Condition::Fault(fault) => flow_control::fault(&fault),
            Condition::Saturated {
                cap,
                since,
                n_reopened,
            } => concurrency::saturated(cap, since, n_reopened, at),
            Condition::OverCap(over) => concurrency::over_cap(&over),
            Condition::LeftOpen { since } => idle::left_open(since, at),
            Condition::Overdue { since } => self.idle.overdue(stream?, since, at, &self.shapes)?,
        };
        let waits = match condition.what {
            Condition::Stalled(stall) => stall.sender,
            _ => Endpoint::Server,
        };
        Some(condition_finding(condition, said, waits))
    }

    fn stream(&mut self, record: &StreamRecord) -> Vec<Finding> {
        if completion::is_healthy(record) {
            self.shapes.learn(record);
            return Vec::new();
        }
        let complete = record.response_phase == Some(ResponsePhase::R3);
        let offence = framing::on_stream(record);
        let mut findings = Vec::new();
        match record.end {
            StreamEnd::Evicted => return findings,
            StreamEnd::Unseen => return broken_before(record, offence),
            StreamEnd::Unprocessed => {
                findings.push(self.connections.unprocessed(record));
                findings.extend(offence.or_else(|| of_message(record)));
                return findings;
            }
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
        // A server that broke the rules did not make what gRPC demands of a response either.
        let by_server = offence
            .as_ref()
            .is_some_and(|offence| offence.sender == Some(Endpoint::Server));
        if !by_server {
            self.content(record, &mut findings);
        }
        if !flow_control::is_answered(record) {
            findings.extend(flow_control::unanswered(record));
        }
        findings.extend(offence);
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

    /// What the content of the stream shows, and which of the findings before follow from it.
    fn content(&self, record: &StreamRecord, findings: &mut Vec<Finding>) {
        let mut malformed = fields::judge(record);
        if let Some(malformed) = &mut malformed
            && findings.iter().any(|finding| {
                finding.code == Some(ErrorCode::PROTOCOL_ERROR) && refuses(finding, malformed)
            })
        {
            // Others bear it; this receiver does not.
            malformed.verdict = Verdict::Anomaly;
        }
        let grave = || malformed.clone().filter(is_anomaly);
        let mut found = header_list::judge(record)
            .or_else(grave)
            .or_else(|| completion::judge(record, &self.shapes))
            .or_else(|| content_length::judge(record));
        if let (Some(found), Some(malformed)) = (&mut found, &malformed)
            && found.kind == Kind::NonGrpcResponse
            && matches!(record.http_status, Seen::Value(400..=499))
            && malformed.sender == Some(Endpoint::Client)
        {
            // Others bear it; this receiver may not.
            found.summary.push_str(&format!("; {}", malformed.summary));
        }
        if let Some(cause) = found.as_ref().filter(|found| is_anomaly(found)) {
            // The reset is how it was refused.
            findings.retain(|finding| !refuses(finding, cause));
        }
        for finding in findings.iter_mut() {
            content_length::in_place_of(record, finding);
        }
        if worst(findings) < Verdict::Anomaly {
            findings.extend(found);
        }
        if worst(findings) <= Verdict::Expected {
            findings.extend(malformed);
        }
    }
}

fn is_anomaly(finding: &Finding) -> bool {
    finding.verdict == Verdict::Anomaly
}

fn worst(findings: &[Finding]) -> Verdict {
    let verdicts = findings.iter().map(|finding| finding.verdict);
    verdicts.max().unwrap_or(Verdict::Benign)
}

/// What is to be said of a stream whose end was not seen: the rules that were broken before.
fn broken_before(record: &StreamRecord, offence: Option<Finding>) -> Vec<Finding> {
    if !record.whole {
        return Vec::new();
    }
    let broken = offence.or_else(|| flow_control::unanswered(record));
    let broken = broken.or_else(|| of_message(record));
    broken.into_iter().collect()
}

/// What is wrong with what was sent, whatever became of the stream.
fn of_message(record: &StreamRecord) -> Option<Finding> {
    let of_fields = fields::judge(record).filter(is_anomaly);
    of_fields.or_else(|| content_length::judge(record))
}

/// The finding is how a receiver refused what is the cause.
fn refuses(finding: &Finding, cause: &Finding) -> bool {
    if matches!(
        finding.kind,
        Kind::ConnectionLostStreams | Kind::GoAwayLostStreams
    ) {
        return matches!(
            cause.kind,
            Kind::MalformedFields | Kind::ContentLengthMismatch
        );
    }
    let refusal = matches!(
        finding.kind,
        Kind::ClientRejectedResponse
            | Kind::ResetBeforeResponse
            | Kind::ResponseCutByReset
            | Kind::ResetAfterResponse
            | Kind::StreamThrottled
    );
    let by_sender = finding.sender == cause.sender;
    // A list that is too large is told of by whoever refused it.
    refusal && (by_sender == (cause.kind == Kind::HeaderListTooLarge))
}

/// A finding about a connection, nobody's fault yet.
fn on_connection(
    (connection, role): (ConnectionId, Option<Endpoint>),
    at: Timestamp,
    (kind, verdict, summary): (Kind, Verdict, String),
) -> Finding {
    Finding {
        kind,
        verdict,
        tier: Tier::T0,
        connection,
        role,
        stream_id: StreamId(0),
        at,
        sender: None,
        code: None,
        request_phase: None,
        response_phase: None,
        windows: Windows::default(),
        summary,
        story: Story::default(),
    }
}

/// The finding about the RST_STREAM: what it answered, if that is known.
fn of_reset(record: &StreamRecord) -> Option<Finding> {
    if flow_control::is_answered(record) {
        return flow_control::answer(record);
    }
    if reset::is_provoked(record) {
        // The rule that the other end had broken is the finding.
        return None;
    }
    concurrency::answered(record).or_else(|| reset::judge(record))
}

/// A finding about what stands. `waits`: whose windows are of interest.
fn condition_finding(
    condition: &ConditionReport,
    said: ConditionFinding,
    waits: Endpoint,
) -> Finding {
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
        None => on_connection(
            (condition.connection, condition.role),
            condition.at,
            (said.kind, said.verdict, said.summary),
        ),
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
