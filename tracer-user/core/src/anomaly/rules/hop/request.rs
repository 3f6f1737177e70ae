//! What became of the request on its way through the proxy.

use super::{HopFinding, Upstream, words};
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::ErrorCode;
use crate::hop::facts::{cut_at, reset_by, transcoded};
use crate::hop::{Ended, ended};
use crate::limits;
use crate::stream::record::{RequestPhase, Reset, ResponsePhase, Seen, StreamEnd, StreamRecord};

/// The request came to the proxy whole and did not leave it whole.
pub(super) fn truncated(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<HopFinding> {
    let up = upstream.serving?;
    if down.request_phase != Some(RequestPhase::Q2) || transcoded(down, up) {
        return None;
    }
    let known = down.request.data_known && up.request.data_known;
    let (came, passed) = (down.request.data_bytes, up.request.data_bytes);
    let sender = Endpoint::Client;
    let (how, code) = match up.request_phase? {
        RequestPhase::Q2 => {
            let both_grpc = down.grpc == Seen::Value(()) && up.grpc == Seen::Value(());
            let fewer = up.request.messages.known
                && down.request.messages.known
                && up.request.messages.complete < down.request.messages.complete;
            if !(known && both_grpc && fewer && passed < came) {
                return None;
            }
            ("ended it in order".to_owned(), None)
        }
        RequestPhase::Q0 | RequestPhase::Q1 => {
            // A server that has answered, or has reset the stream itself, needs no more of the request; a
            // proxy that answers by itself has given up on the server.
            let answered = up.response_phase != Some(ResponsePhase::R0);
            let first = up.resets.first()?;
            if answered || first.sender != sender || ended(down) == Ended::Complete {
                return None;
            }
            (
                format!("reset the stream with {}", first.code),
                Some(first.code),
            )
        }
    };
    let much = if known {
        format!("{passed} of its {came} bytes of DATA")
    } else {
        "part of it".to_owned()
    };
    let summary = format!(
        "the client's request was complete at the proxy, which passed on {much} and then {how}"
    );
    Some(HopFinding::new(Kind::ProxyTruncatedRequest, Verdict::Anomaly, summary).by(sender, code))
}

/// The client gave up, and the stream to the server is still open long after.
pub(super) fn cancel_not_propagated(
    down: &StreamRecord,
    upstream: &Upstream<'_>,
) -> Option<HopFinding> {
    if upstream.n_open == 0 {
        return None;
    }
    let how = match reset_by(down, Endpoint::Client) {
        Some(reset) => format!("reset its stream with {}", reset.code),
        None => "closed its connection".to_owned(),
    };
    let summary = format!(
        "the client {how}, and {} s later the proxy's stream to the server was still open",
        limits::HOP_WAIT_NS / 1_000_000_000
    );
    let code = reset_by(down, Endpoint::Client).map(|reset| reset.code);
    let found = HopFinding::new(Kind::CancelNotPropagated, Verdict::Suspicious, summary);
    Some(found.by(Endpoint::Server, code))
}

/// The other way round: the stream to the server was over, and the client, whose request was whole and whose
/// windows were open, was told nothing until `now`.
pub(super) fn left_waiting(
    down: &StreamRecord,
    upstream: &Upstream<'_>,
    now: Timestamp,
) -> Option<HopFinding> {
    let up = upstream.serving.filter(|_| upstream.n_open == 0)?;
    let over_at = match ended(up) {
        Ended::Complete => up.response.end_stream_at?,
        Ended::ByServer => cut_at(up),
        Ended::Unprocessed => up.last_at,
        Ended::ByClient | Ended::Unknown => return None,
    };
    let asked_at = down.request.end_stream_at?;
    let (response, cut) = (&down.response, down.resets.first());
    let sent_at = response.last_data_at.max(response.headers_at);
    let waited = now.since(over_at.max(asked_at).max(sent_at.unwrap_or(asked_at)));
    let windows = cut.map_or(response.windows_at_end, |cut| cut.response_windows);
    let is_blocked = cut.is_some_and(|cut| cut.response_blocked_since.is_some())
        || windows.stream.is_some_and(|window| window <= 0)
        || windows.connection.is_some_and(|window| window <= 0);
    if waited < limits::HOP_HELD_NS || is_blocked {
        return None;
    }
    let what = match ended(up) {
        Ended::Complete => format!("the server answered {}", words::answer(up)),
        _ => "the server had ended its stream without a whole answer".to_owned(),
    };
    let told = match down.response_phase {
        Some(ResponsePhase::R0) => "told the client nothing".to_owned(),
        _ => format!("passed on {} bytes of DATA and no end", response.data_bytes),
    };
    let then = match down.end {
        StreamEnd::Reset | StreamEnd::Connection(_) => ", until the client gave up",
        _ => ", and the client is still waiting",
    };
    let waited = words::ns(waited);
    let summary = format!("{what}, and for {waited} after it the proxy {told}{then}");
    let found = HopFinding::new(Kind::ProxyLeftClientWaiting, Verdict::Suspicious, summary);
    Some(found.by(Endpoint::Server, None))
}

/// An attempt failed that the client never saw.
pub(super) fn retried(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<HopFinding> {
    let up = upstream.serving?;
    let went_well = ended(down) == Ended::Complete && ended(up) == Ended::Complete;
    let failed: Vec<&StreamRecord> = upstream
        .ended
        .iter()
        .copied()
        .filter(|attempt| !std::ptr::eq(*attempt, up) && failed(attempt))
        .collect();
    let first = failed.first().filter(|_| went_well)?;
    let summary = format!(
        "the proxy tried {} times; {} of them failed, and the client did not see it{}",
        upstream.ended.len() + upstream.n_open,
        failed.len(),
        words::end(first)
    );
    Some(HopFinding::new(
        Kind::RetryHiddenFailure,
        Verdict::Expected,
        summary,
    ))
}

/// The attempt failed by itself: the proxy did not call it off.
fn failed(attempt: &StreamRecord) -> bool {
    match ended(attempt) {
        Ended::ByServer | Ended::Unprocessed => true,
        Ended::Complete => {
            matches!(attempt.grpc_status, Seen::Value(status) if status != 0)
                || matches!(attempt.http_status, Seen::Value(status) if status >= 500)
        }
        Ended::ByClient | Ended::Unknown => false,
    }
}

/// Refused or left unprocessed, so that it was safe to try again, and passed on as a failure.
pub(super) fn refused(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<HopFinding> {
    let [up] = upstream.ended.as_slice() else {
        return None;
    };
    let is_refused =
        |reset: &Reset| reset.code == ErrorCode::REFUSED_STREAM && up.response.headers_at.is_none();
    let how = if ended(up) == Ended::Unprocessed {
        "the server's GOAWAY had left the stream unprocessed"
    } else {
        reset_by(up, Endpoint::Server).filter(|reset| is_refused(reset))?;
        "the server refused the stream unprocessed"
    };
    if upstream.n_open > 0 || went_well(down) {
        return None;
    }
    let told = match reset_by(down, Endpoint::Server) {
        Some(reset) => format!("reset the client's stream with {}", reset.code),
        None => format!("answered the client ({})", words::answer(down)),
    };
    let summary = format!("{how}, and the proxy {told} instead of trying again, which was safe");
    Some(HopFinding::new(
        Kind::RefusedNotRetried,
        Verdict::Suspicious,
        summary,
    ))
}

/// The client got an answer that is no error.
fn went_well(down: &StreamRecord) -> bool {
    let is_error = match (down.grpc_status, down.http_status) {
        (Seen::Value(status), _) => status != 0,
        (_, Seen::Value(status)) => status >= 500,
        _ => false,
    };
    ended(down) == Ended::Complete && !is_error
}
