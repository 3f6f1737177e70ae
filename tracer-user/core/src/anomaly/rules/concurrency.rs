//! The limit of concurrent streams (RFC 9113 section 5.1.2).

use std::time::Duration;

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::flow_control::ConditionFinding;
use crate::anomaly::rules::{finding, words};
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::ErrorCode;
use crate::stream::condition::OverCap;
use crate::stream::record::StreamRecord;

/// Calls wait in the client.
pub(super) fn saturated(
    cap: u32,
    since: Timestamp,
    n_reopened: u32,
    now: Timestamp,
) -> ConditionFinding {
    ConditionFinding {
        kind: Kind::ConcurrencySaturated,
        verdict: Verdict::Suspicious,
        sender: Some(Endpoint::Client),
        summary: format!(
            "{cap} streams, as many as the server allows (SETTINGS_MAX_CONCURRENT_STREAMS), have been open \
             for {}, and {} another one was opened at once when one ended: further calls wait in the client",
            words::duration(Duration::from_nanos(now.since(since))),
            words::count(n_reopened, "time", "times"),
        ),
    }
}

/// The client does not keep to the limit.
pub(super) fn over_cap(over: &OverCap) -> ConditionFinding {
    ConditionFinding {
        kind: Kind::ConcurrencyExceeded,
        verdict: if over.acknowledged {
            Verdict::Anomaly
        } else {
            Verdict::Benign
        },
        sender: Some(Endpoint::Client),
        summary: format!(
            "the client opened {} streams where the server allows {} (SETTINGS_MAX_CONCURRENT_STREAMS), {}",
            over.n_open,
            over.cap,
            if over.acknowledged {
                "which it had acknowledged"
            } else {
                "before it could know that"
            }
        ),
    }
}

/// The server reset the stream because it was one too many.
pub(super) fn answered(record: &StreamRecord) -> Option<Finding> {
    let over = record.flow.over_cap?;
    let reset = record.resets.first()?;
    // Of a client that knew the limit any error is the answer: servers differ in the code, and proxies change it.
    let answers = reset.sender == Endpoint::Server
        && match reset.code {
            ErrorCode::REFUSED_STREAM
            | ErrorCode::PROTOCOL_ERROR
            | ErrorCode::ENHANCE_YOUR_CALM => true,
            ErrorCode::NO_ERROR | ErrorCode::CANCEL | ErrorCode::STREAM_CLOSED => false,
            _ => over.acknowledged,
        };
    answers.then(|| {
        let said = over_cap(&over);
        let code = reset.code;
        let summary = format!("{}; the server reset this one with {code}", said.summary);
        let mut found = finding(record, said.kind, said.verdict, summary);
        found.sender = said.sender;
        found.code = Some(reset.code);
        found.request_phase = reset.request_phase;
        found.response_phase = reset.response_phase;
        found
    })
}
