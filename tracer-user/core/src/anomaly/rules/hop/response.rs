//! What became of the response on its way through the proxy.

use super::{HopFinding, Upstream, words};
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::Endpoint;
use crate::frame::ErrorCode;
use crate::hop::facts::{
    MissingBytes, cut_at, early_response, missing, reset_by, trailers_dropped, transcoded,
};
use crate::hop::{Ended, ended};
use crate::stream::record::{Messages, ResponsePhase, Seen, StreamRecord};

/// The response came to the proxy whole and did not leave it whole.
pub(super) fn cut(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<HopFinding> {
    let up = upstream.serving?;
    let missing = missing(down, up);
    if ended(up) == Ended::Unknown {
        return lost(down, up, missing?);
    }
    if ended(up) != Ended::Complete {
        return None;
    }
    let came_at = up.response.end_stream_at?;
    let kind = match ended(down) {
        // It had come before the proxy gave up: what is missing was in the proxy.
        Ended::ByServer if came_at <= cut_at(down) => {
            let all_data = missing.is_some_and(|missing| missing.bytes == 0)
                && down.response.headers_at.is_some();
            if all_data
                && down.response_phase != Some(ResponsePhase::R0)
                && up.trailers == Seen::Value(())
            {
                Kind::ProxyDroppedTrailers
            } else {
                Kind::ProxyTruncatedCompleteResponse
            }
        }
        Ended::Complete if !transcoded(down, up) => in_order(down, up, missing?)?,
        _ => return None,
    };
    let reset = reset_by(down, Endpoint::Server);
    let summary = words::cut(kind, down, up, missing);
    let found = HopFinding::new(kind, Verdict::Anomaly, summary);
    Some(found.by(Endpoint::Server, reset.map(|reset| reset.code)))
}

/// The proxy ended the response with END_STREAM.
fn in_order(down: &StreamRecord, up: &StreamRecord, missing: MissingBytes) -> Option<Kind> {
    let both_grpc = down.grpc == Seen::Value(()) && up.grpc == Seen::Value(());
    if !both_grpc {
        return None;
    }
    if trailers_dropped(down, up) {
        return Some(match missing.bytes {
            0 => Kind::ProxyDroppedTrailers,
            _ => Kind::ProxyTruncatedCompleteResponse,
        });
    }
    let same_status = match (down.grpc_status, up.grpc_status) {
        (Seen::Value(a), Seen::Value(b)) => a == b,
        _ => true,
    };
    let fewer = missing.bytes > 0 && lost_messages(&down.response.messages, &up.response.messages);
    (same_status && fewer && !down.trailers_only && down.trailers == Seen::Value(()))
        .then_some(Kind::ProxyLostBytes)
}

/// How the server ended the response was not seen, and more of it came than the proxy passed on, which ended it in
/// order: whatever was not seen, that is lost.
fn lost(down: &StreamRecord, up: &StreamRecord, missing: MissingBytes) -> Option<HopFinding> {
    let both_grpc = down.grpc == Seen::Value(()) && up.grpc == Seen::Value(());
    // What came later was not the proxy's to pass on, and an error tells the client.
    let came_before = up.response.last_data_at <= down.response.end_stream_at;
    let tells = matches!(down.grpc_status, Seen::Value(status) if status != 0);
    let in_order = ended(down) == Ended::Complete && !down.trailers_only && !tells;
    if !both_grpc || !came_before || !in_order || missing.bytes == 0 {
        return None;
    }
    let summary = words::lost(down, up, missing);
    let found = HopFinding::new(Kind::ProxyLostBytes, Verdict::Suspicious, summary);
    Some(found.whatever_was_lost().by(Endpoint::Server, None))
}

/// Messages are missing, or shorter: by their number, or by the lengths of those that are kept.
fn lost_messages(down: &Messages, up: &Messages) -> bool {
    down.known
        && up.known
        && (down.complete < up.complete || down.sizes.iter().zip(&up.sizes).any(|(d, u)| d < u))
}

/// Towards the server: the client's code and what the proxy made of it.
pub(super) fn cancel_translated(
    down: &StreamRecord,
    upstream: &Upstream<'_>,
) -> Option<HopFinding> {
    let came = reset_by(down, Endpoint::Client)?.code;
    let sent = reset_by(upstream.serving?, Endpoint::Client)?.code;
    translated(came, sent, "client", "server", Endpoint::Client)
}

/// Towards the client: the server's code and what the proxy made of it.
pub(super) fn reset_translated(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<HopFinding> {
    if ended(down) != Ended::ByServer {
        return None;
    }
    let came = reset_by(upstream.serving?, Endpoint::Server)?.code;
    let sent = reset_by(down, Endpoint::Server)?.code;
    translated(came, sent, "server", "client", Endpoint::Server)
}

fn translated(
    came: ErrorCode,
    sent: ErrorCode,
    from: &str,
    to: &str,
    sender: Endpoint,
) -> Option<HopFinding> {
    if came == sent {
        return None;
    }
    // An error that becomes NO_ERROR reads like a good end; a cancel is none, whatever it is called.
    let hidden = sent == ErrorCode::NO_ERROR && came != ErrorCode::CANCEL;
    let verdict = if hidden {
        Verdict::Suspicious
    } else {
        Verdict::Expected
    };
    let summary = format!(
        "the {from} reset its stream with {came}, and the proxy reset the {to}'s with {sent}"
    );
    Some(HopFinding::new(Kind::ProxyTranslatedCode, verdict, summary).by(sender, Some(sent)))
}

/// An answer without a response of a server.
pub(super) fn synthesized(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<HopFinding> {
    let answered = |up: &&StreamRecord| up.response_phase != Some(ResponsePhase::R0);
    if ended(down) != Ended::Complete || upstream.n_open > 0 || upstream.ended.iter().any(answered)
    {
        return None;
    }
    let why = upstream.serving.map_or_else(String::new, words::end);
    let summary = format!(
        "the proxy answered by itself ({}): no server had answered{why}",
        words::answer(down)
    );
    Some(HopFinding::new(
        Kind::SynthesizedAnswer,
        Verdict::Expected,
        summary,
    ))
}

/// Another grpc-status than the server's.
pub(super) fn status_changed(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<HopFinding> {
    let up = upstream.serving?;
    let (told, said) = (down.grpc_status.value()?, up.grpc_status.value()?);
    if told == said || ended(down) != Ended::Complete || ended(up) != Ended::Complete {
        return None;
    }
    // What came after the proxy had answered was not passed on.
    if up.response.end_stream_at > down.response.end_stream_at {
        return None;
    }
    let (verdict, rest) = match told {
        0 => (Verdict::Anomaly, ": an error became a success"),
        _ => (Verdict::Expected, ""),
    };
    let summary =
        format!("the server said grpc-status {said}, and the proxy told the client {told}{rest}");
    Some(HopFinding::new(Kind::StatusChanged, verdict, summary).by(Endpoint::Server, None))
}

/// The response was complete before the proxy had ended the request.
pub(super) fn early(upstream: &Upstream<'_>) -> Option<HopFinding> {
    let up = upstream.serving.filter(|up| early_response(up))?;
    let summary = format!(
        "the server's response was complete before the proxy had ended the request{}",
        words::end_stream_after(up)
    );
    let found = HopFinding::new(Kind::EarlyResponseUpstream, Verdict::Benign, summary);
    Some(found.by(Endpoint::Server, None))
}
