//! Whether a gRPC response is what gRPC demands (gRPC over HTTP/2, "Responses").

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::shape::{Shape, Shapes};
use crate::anomaly::rules::{finding, words};
use crate::connection::Endpoint;
use crate::stream::record::{
    EndStreamOn, OpenMessage, RequestPhase, ResponsePhase, Seen, StreamEnd, StreamRecord,
};

/// `INTERNAL`: what servers answer to a request whose message did not come.
const GRPC_INTERNAL: u32 = 13;

/// The media type of gRPC.
const GRPC: &str = "application/grpc";

/// What is wrong with the stream, if it is gRPC and one may know: at most one finding.
pub(super) fn judge(record: &StreamRecord, shapes: &Shapes) -> Option<Finding> {
    if record.grpc != Seen::Value(()) {
        return None;
    }
    let complete = record.response_phase == Some(ResponsePhase::R3);
    if record.response.headers_at.is_some()
        && let Some(found) = non_grpc(record)
    {
        return Some(found);
    }
    // The request is the older cause.
    let shape = shapes.of(record);
    truncated_request(record, shape)
        .or_else(|| complete.then(|| response(record, shape)).flatten())
        .or_else(|| without_type(record))
}

/// A call of gRPC as nearly all are, whole and answered with one message and status 0: no rule has anything to say of
/// it.
pub(super) fn is_healthy(record: &StreamRecord) -> bool {
    let (asked, answered) = (&record.request.messages, &record.response.messages);
    let is_untroubled = record.end == StreamEnd::Complete
        && record.malformed.is_none()
        && record.conduct.offence.is_none()
        && record.flow.fault.is_none()
        && record.resets.is_empty();
    let is_answered = record.grpc == Seen::Value(())
        && record.http_status == Seen::Value(200)
        && record.trailers == Seen::Value(())
        && record.grpc_status == Seen::Value(0)
        && !record.grpc_status_malformed
        && !record.trailers_only
        && record.response_content_type.as_deref() == Some(GRPC);
    let has_messages = asked.open.is_none()
        && asked.complete > 0
        && answered.known
        && answered.open.is_none()
        && answered.complete == 1;
    let has_no_length =
        record.request.content_length.is_none() && record.response.content_length.is_none();
    is_untroubled && is_answered && has_messages && has_no_length
}

/// An answer that is not gRPC.
fn non_grpc(record: &StreamRecord) -> Option<Finding> {
    let status = record.http_status.value();
    let odd_status = status.filter(|status| *status != 200);
    let odd_type = record
        .response_content_type
        .as_deref()
        .filter(|media| !is_grpc(media));
    let what = match (odd_status, odd_type) {
        (None, None) => return None,
        (Some(status), Some(media)) => format!(":status {status} and content-type {media}"),
        (Some(status), None) => format!(":status {status}"),
        (None, Some(media)) => format!("content-type {media}"),
    };
    let (verdict, rest) = match record.grpc_status.value() {
        Some(status) => (
            Verdict::Suspicious,
            format!(", though it carries grpc-status {status}"),
        ),
        None => (Verdict::Anomaly, "; most likely a proxy made it".to_owned()),
    };
    let summary = format!("the answer to a gRPC request is not gRPC: {what}{rest}");
    Some(by(
        Endpoint::Server,
        finding(record, Kind::NonGrpcResponse, verdict, summary),
    ))
}

/// An answer that does not say that it is gRPC, and is in all else: common clients refuse it all the same.
fn without_type(record: &StreamRecord) -> Option<Finding> {
    if !record.response_has_no_type || record.http_status != Seen::Value(200) {
        return None;
    }
    let summary = "the answer to a gRPC request has no content-type, and common clients refuse it \
                   for that"
        .to_owned();
    let verdict = Verdict::Suspicious;
    Some(by(
        Endpoint::Server,
        finding(record, Kind::NonGrpcResponse, verdict, summary),
    ))
}

/// A request with END_STREAM inside a message, or without the message that the method takes.
fn truncated_request(record: &StreamRecord, shape: Option<Shape>) -> Option<Finding> {
    let messages = &record.request.messages;
    if record.request_phase != Some(RequestPhase::Q2) || !messages.known {
        return None;
    }
    // Nobody needs the rest of a request that is answered (RFC 9113 section 8.1).
    let (asked, answered) = (record.request.end_stream_at, record.response.end_stream_at);
    if answered.is_some() && answered < asked {
        return None;
    }
    let (verdict, summary) = match messages.open {
        Some(open) => {
            (Verdict::Anomaly, format!("the client ended its request inside a message: {}", inside(open)))
        }
        None if messages.complete > 0 => return None,
        // A stream of no messages is legal; that this one is none is seen from the answer, or from what the
        // method did before.
        None => match record.grpc_status.value() {
            Some(GRPC_INTERNAL) if record.response.messages.complete == 0 => (
                Verdict::Anomaly,
                "the client ended its request without a message, and the server answered grpc-status 13"
                    .to_owned(),
            ),
            Some(status) if status != 0 && shape.is_some_and(|shape| shape.one_request) => (
                Verdict::Suspicious,
                format!(
                    "the client ended its request without a message (grpc-status {status}); \
                     all earlier calls of the method had one"
                ),
            ),
            _ => return None,
        },
    };
    Some(by(
        Endpoint::Client,
        finding(record, Kind::TruncatedRequest, verdict, summary),
    ))
}

/// A response that carried END_STREAM and is not complete as gRPC.
fn response(record: &StreamRecord, shape: Option<Shape>) -> Option<Finding> {
    let messages = &record.response.messages;
    let (kind, verdict, summary) = if let (true, Some(open)) = (messages.known, messages.open) {
        let on = match record.response.end_stream_on {
            Some(EndStreamOn::Data) | None => "DATA, without trailers",
            Some(EndStreamOn::Headers | EndStreamOn::Trailers) => "trailers",
        };
        let summary = format!(
            "the server ended the response inside a message: {}; END_STREAM came on {on}",
            inside(open)
        );
        (Kind::TruncatedResponse, Verdict::Anomaly, summary)
    } else if record.trailers == Seen::Absent {
        let summary = format!(
            "the server ended the response on a DATA frame, without trailers: {}, no grpc-status",
            words::messages(messages)
        );
        (Kind::MissingTrailers, Verdict::Anomaly, summary)
    } else if record.grpc_status == Seen::Absent {
        let summary = if record.trailers_only {
            "the server's only HEADERS ended the response, without grpc-status".to_owned()
        } else {
            format!(
                "the response's trailers came without grpc-status, after {}",
                words::messages(messages)
            )
        };
        (Kind::MissingGrpcStatus, Verdict::Anomaly, summary)
    } else if record.grpc_status_malformed {
        let summary =
            "the response's trailers came with a grpc-status that is no number of 0 to 16 \
                       without leading zeros"
                .to_owned();
        (Kind::MalformedGrpcStatus, Verdict::Anomaly, summary)
    } else if record.trailers_only && record.grpc_status == Seen::Value(0) {
        trailers_only_ok(shape)?
    } else if record.grpc_status == Seen::Value(0)
        && messages.known
        && messages.complete != 1
        && shape.is_some_and(|shape| shape.one_response && shape.sure)
    {
        let summary = format!(
            "grpc-status 0 after {}; all earlier calls of the method had exactly one",
            words::messages(messages)
        );
        (Kind::WrongMessageCount, Verdict::Anomaly, summary)
    } else {
        return None;
    };
    Some(by(
        Endpoint::Server,
        finding(record, kind, verdict, summary),
    ))
}

/// A response without a message and with status 0: wrong for a unary method, right for an empty stream. The wire
/// does not say which it is.
fn trailers_only_ok(shape: Option<Shape>) -> Option<(Kind, Verdict, String)> {
    let (verdict, why) = match shape {
        Some(Shape {
            one_response: true,
            sure,
            ..
        }) => (
            if sure {
                Verdict::Anomaly
            } else {
                Verdict::Suspicious
            },
            "all earlier calls of the method had one message",
        ),
        Some(_) => return None,
        None => (
            Verdict::Unknown,
            "wrong for a unary method, right for an empty stream",
        ),
    };
    let summary =
        format!("the response was Trailers-Only with grpc-status 0, without a message: {why}");
    Some((Kind::TrailersOnlyOk, verdict, summary))
}

fn by(sender: Endpoint, mut finding: Finding) -> Finding {
    finding.sender = Some(sender);
    finding
}

fn is_grpc(media: &str) -> bool {
    media
        .split_at_checked(GRPC.len())
        .is_some_and(|(media, rest)| {
            media.eq_ignore_ascii_case(GRPC) && (rest.is_empty() || rest.starts_with('+'))
        })
}

fn inside(open: OpenMessage) -> String {
    words::open_message(open, "came")
}
