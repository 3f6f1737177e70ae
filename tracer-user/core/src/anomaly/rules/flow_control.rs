//! Flow control (RFC 9113 sections 5.2 and 6.9).
//!
//! A stalled sender is a suspicion while it waits: a slow reader looks the same for a while. It is an
//! anomaly when the stream was given up for it (by the deadline, or by a reset of either end). A client
//! that cancels, without a deadline, what it has not been reading itself is no anomaly: it lost interest.

use std::time::Duration;

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::{finding, words};
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::ErrorCode;
use crate::stream::condition::{FlowBreach, FlowFault, Stall, WindowOf};
use crate::stream::record::{OpenMessage, Outcome, StreamRecord, Windows};

/// A sender waits (the condition).
pub(super) fn stalled(
    stall: &Stall,
    now: Timestamp,
    stream: Option<&StreamRecord>,
) -> ConditionFinding {
    let (kind, summary) = match stall.window {
        WindowOf::Stream => {
            let open = stream.and_then(|record| open_message(record, stall.sender));
            (
                Kind::StreamWindowStall,
                format!(
                    "the {} waits for a window of the stream{}: the {} has given it none for {}, \
                     while the connection's window is open",
                    stall.sender,
                    remaining(open),
                    stall.sender.peer(),
                    waited(stall, now)
                ),
            )
        }
        WindowOf::Connection => (
            Kind::ConnectionWindowStall,
            format!(
                "the {}'s connection window is used up, and the {} has given it none for {}: {} in the \
                 middle of a message, and every other one that the {} sends on waits too",
                stall.sender,
                stall.sender.peer(),
                waited(stall, now),
                words::count(stall.n_waiting, "stream waits", "streams wait"),
                stall.sender
            ),
        ),
    };
    ConditionFinding {
        kind,
        verdict: Verdict::Suspicious,
        sender: Some(stall.sender.peer()),
        summary,
    }
}

/// A rule was broken (the condition).
pub(super) fn fault(fault: &FlowFault) -> ConditionFinding {
    let of = match fault.window {
        WindowOf::Stream => "stream",
        WindowOf::Connection => "connection",
    };
    let (sender, peer) = (fault.sender, fault.sender.peer());
    let (kind, summary) = match fault.breach {
        FlowBreach::Overrun { by } => (
            Kind::WindowOverrun,
            format!("the {sender} sent {by} bytes of DATA beyond the window of the {of}"),
        ),
        FlowBreach::TooLarge => (
            Kind::BadWindowUpdate,
            format!(
                "the {sender}'s WINDOW_UPDATE made the {peer}'s window of the {of} larger than 2^31-1"
            ),
        ),
        FlowBreach::ZeroIncrement => (
            Kind::BadWindowUpdate,
            format!("the {sender} sent a WINDOW_UPDATE of the {of} with increment 0"),
        ),
    };
    ConditionFinding {
        kind,
        verdict: Verdict::Anomaly,
        sender: Some(sender),
        summary,
    }
}

/// What a condition amounts to.
pub(super) struct ConditionFinding {
    pub(super) kind: Kind,
    pub(super) verdict: Verdict,
    pub(super) sender: Option<Endpoint>,
    pub(super) summary: String,
}

/// The stream was reset because a rule of flow control had been broken.
pub(super) fn is_answered(record: &StreamRecord) -> bool {
    let (Some(fault), Some(reset)) = (&record.flow.fault, record.resets.first()) else {
        return false;
    };
    reset.sender != fault.sender
        && matches!(
            reset.code,
            ErrorCode::FLOW_CONTROL_ERROR | ErrorCode::PROTOCOL_ERROR
        )
}

/// What is to be said of such a reset instead: the rule that was broken, unless that has been told.
pub(super) fn answer(record: &StreamRecord) -> Option<Finding> {
    let reset = record.resets.first()?;
    let mut found = of_fault(record, record.flow.fault.as_ref()?)?;
    found.summary.push_str(&format!(
        "; the {} reset the stream with {}",
        reset.sender, reset.code
    ));
    found.code = Some(reset.code);
    found.request_phase = reset.request_phase;
    found.response_phase = reset.response_phase;
    Some(found)
}

/// A rule of flow control was broken on the stream, and nothing has told it yet.
pub(super) fn unanswered(record: &StreamRecord) -> Option<Finding> {
    of_fault(record, record.flow.fault.as_ref()?)
}

fn of_fault(record: &StreamRecord, found: &FlowFault) -> Option<Finding> {
    if found.told {
        return None;
    }
    let said = fault(found);
    let mut finding = finding(record, said.kind, said.verdict, said.summary);
    finding.sender = said.sender;
    Some(finding)
}

/// The stream was reset while a sender waited for a window. Beside a finding that says as much of the
/// reset there is none of the stall: it is told with it.
pub(super) fn ended_by_stall(record: &StreamRecord, findings: &mut Vec<Finding>) {
    let (Some(stall), Some(reset)) = (record.flow.stalled, record.resets.first()) else {
        return;
    };
    let lost_interest = reset.sender == Endpoint::Client
        && stall.sender == Endpoint::Server
        && reset.code == ErrorCode::CANCEL
        && record.outcome != Outcome::Deadline;
    if lost_interest {
        return;
    }
    let waited = waited(&stall, reset.at);
    let of = match stall.window {
        WindowOf::Stream => "stream",
        WindowOf::Connection => "connection",
    };
    let why = format!(
        "the {} had waited {waited} for a window of the {of}{} that the {} did not give",
        stall.sender,
        remaining(open_message(record, stall.sender)),
        stall.sender.peer()
    );
    if let Some(anomaly) = findings.iter_mut().find(|f| f.verdict == Verdict::Anomaly) {
        anomaly.summary.push_str("; ");
        anomaly.summary.push_str(&why);
        return;
    }
    let kind = match stall.window {
        WindowOf::Stream => Kind::StreamWindowStall,
        WindowOf::Connection => Kind::ConnectionWindowStall,
    };
    let how = match record.outcome {
        Outcome::Deadline => "the deadline passed".to_owned(),
        _ => format!("the {} reset the stream with {}", reset.sender, reset.code),
    };
    let mut found = finding(record, kind, Verdict::Anomaly, format!("{how}: {why}"));
    found.sender = Some(stall.sender.peer());
    found.request_phase = reset.request_phase;
    found.response_phase = reset.response_phase;
    found.windows = windows(record, stall.sender);
    findings.push(found);
}

/// What `sender` may still send.
pub(super) const fn windows(record: &StreamRecord, sender: Endpoint) -> Windows {
    match sender {
        Endpoint::Client => record.request.windows_at_end,
        Endpoint::Server => record.response.windows_at_end,
    }
}

fn open_message(record: &StreamRecord, sender: Endpoint) -> Option<OpenMessage> {
    match sender {
        Endpoint::Client => record.request.messages.open,
        Endpoint::Server => record.response.messages.open,
    }
}

/// ` with 1040000 of 1048576 message bytes to send`.
fn remaining(open: Option<OpenMessage>) -> String {
    match open.and_then(|open| Some((open.promised?, open.got))) {
        Some((promised, got)) => format!(
            " with {} of {promised} message bytes to send",
            promised.saturating_sub(got)
        ),
        None => String::new(),
    }
}

fn waited(stall: &Stall, now: Timestamp) -> String {
    words::duration(Duration::from_nanos(now.since(stall.since)))
}
