//! What became of the request on its way through the proxy.

use super::{Found, Upstream, words};
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::Endpoint;
use crate::frame::ErrorCode;
use crate::hop::facts::{reset_by, transcoded};
use crate::hop::{Ended, ended};
use crate::limits;
use crate::stream::record::{RequestPhase, ResponsePhase, Seen, StreamRecord};

/// P5: the request came to the proxy whole and did not leave it whole.
pub(super) fn truncated(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<Found> {
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
                format!("reset the stream with {}", words::code(first.code)),
                Some(first.code),
            )
        }
    };
    let much = match known {
        true => format!("{passed} of its {came} bytes of DATA"),
        false => "part of it".to_owned(),
    };
    let summary = format!(
        "the client's request was complete at the proxy, which passed on {much} and then {how}"
    );
    Some(Found::new(Kind::ProxyTruncatedRequest, Verdict::Anomaly, summary).by(sender, code))
}

/// P6: the client gave up, and the stream to the server is still open long after.
pub(super) fn cancel_not_propagated(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<Found> {
    if upstream.n_open == 0 {
        return None;
    }
    let how = match reset_by(down, Endpoint::Client) {
        Some(reset) => format!("reset its stream with {}", words::code(reset.code)),
        None => "closed its connection".to_owned(),
    };
    let summary = format!(
        "the client {how}, and {} s later the proxy's stream to the server was still open",
        limits::HOP_WAIT_NS / 1_000_000_000
    );
    let code = reset_by(down, Endpoint::Client).map(|reset| reset.code);
    let found = Found::new(Kind::CancelNotPropagated, Verdict::Suspicious, summary);
    Some(found.by(Endpoint::Server, code))
}

/// P7: an attempt failed that the client never saw.
pub(super) fn retried(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<Found> {
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
    Some(Found::new(
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

/// P10: refused, so that it was safe to try again, and passed on as a failure.
pub(super) fn refused(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<Found> {
    let [up] = upstream.ended.as_slice() else {
        return None;
    };
    let reset = reset_by(up, Endpoint::Server)?;
    let refused = reset.code == ErrorCode::REFUSED_STREAM && up.response.headers_at.is_none();
    let went_well = ended(down) == Ended::Complete && down.grpc_status == Seen::Value(0);
    if !refused || upstream.n_open > 0 || went_well {
        return None;
    }
    let told = match reset_by(down, Endpoint::Server) {
        Some(reset) => format!("reset the client's stream with {}", words::code(reset.code)),
        None => format!("answered the client ({})", words::answer(down)),
    };
    let summary = format!(
        "the server refused the stream unprocessed, and the proxy {told} instead of trying again"
    );
    Some(Found::new(
        Kind::RefusedNotRetried,
        Verdict::Suspicious,
        summary,
    ))
}
