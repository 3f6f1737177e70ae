//! What a proxy made of a request, in plain words with the numbers.

use std::time::Duration;

use crate::anomaly::kind::Kind;
use crate::anomaly::rules::words::{connection_end, duration, messages, windows};
use crate::connection::Endpoint;
use crate::hop::facts::{early_response, end_stream_lag, reset_by};
use crate::hop::{EndStreamLag, Ended, MissingBytes, ended};
use crate::stream::record::{ResponsePhase, Seen, StreamEnd, StreamRecord};

pub(super) fn ns(ns: u64) -> String {
    duration(Duration::from_nanos(ns))
}

/// A cut response in whole: what came, what was passed on, what was in the way, and what it was not.
pub(super) fn cut(
    kind: Kind,
    down: &StreamRecord,
    up: &StreamRecord,
    missing: Option<MissingBytes>,
) -> String {
    let mut text = format!("the proxy got the whole response ({})", came(up));
    text.push_str(&match kind {
        Kind::ProxyDroppedTrailers => " and passed on all of it but the trailers".to_owned(),
        _ => format!(" and passed on {}", passed(down)),
    });
    if let Some(missing) = missing.filter(|missing| missing.bytes > 0) {
        text.push_str(&format!(": {missing} bytes are missing"));
        if down.trailers == Seen::Absent && up.trailers == Seen::Value(()) {
            text.push_str(", and the trailers");
        }
    }
    how_it_ended(&mut text, down, up);
    text
}

/// A response of which less was passed on than came, and its end was not seen.
pub(super) fn lost(down: &StreamRecord, up: &StreamRecord, missing: MissingBytes) -> String {
    let came = up.response.data_bytes;
    let least = if missing.is_least { "at least " } else { "" };
    let trailers = match down.trailers {
        Seen::Value(()) => "",
        _ => ", without trailers",
    };
    format!(
        "the proxy got {least}{came} bytes of DATA of the response and passed on {}: {missing} bytes are missing. It \
         ended the response in order{trailers}. How the server ended it was not seen; the client \
         had not cancelled",
        passed(down)
    )
}

/// How the proxy ended the client's stream, what was in the way, and what it was not.
pub(super) fn how_it_ended(text: &mut String, down: &StreamRecord, up: &StreamRecord) {
    match (reset_by(down, Endpoint::Server), down.end) {
        (Some(reset), _) => {
            text.push_str(&format!(
                ". It reset the client's stream with {}",
                reset.code
            ));
            text.push_str(&windows(reset.response_windows).replacen(';', ",", 1));
            let blocked = reset.response_blocked_since;
            let blocked_ns = blocked.map_or(0, |since| reset.at.since(since));
            if blocked_ns > 0 {
                text.push_str(&format!(", and had been for {}", ns(blocked_ns)));
            }
        }
        (None, StreamEnd::Connection(why)) => {
            text.push_str(&format!(". Then {}", connection_end(why, down.role)));
        }
        (None, _) => text.push_str(". It ended the response in order"),
    }
    if early_response(up) {
        text.push_str(". The response was complete before the request had ended");
    }
    text.push_str(&match end_stream_lag(down) {
        EndStreamLag::After(lag) => format!(
            ". The client's END_STREAM came {} after its last DATA",
            ns(lag)
        ),
        EndStreamLag::Never(lag) => format!(
            ". The client's END_STREAM had not come {} after its last DATA",
            ns(lag)
        ),
        EndStreamLag::Unknown => String::new(),
    });
    text.push_str(
        ". It was not the server (its trailers came), not the client (it had not cancelled)",
    );
    if matches!(down.end, StreamEnd::Reset | StreamEnd::Complete) {
        text.push_str(", and the connection stayed open");
    }
}

/// What happened whichever of several streams was this request's. `same_words`: all say the same of it, their bytes too.
pub(super) fn whichever(kind: Kind, summary: &str, same_words: bool) -> String {
    let what = match kind {
        Kind::ProxyTruncatedCompleteResponse if !same_words => {
            "the proxy passed on less of a whole response than came to it"
        }
        Kind::ProxyLostBytes if !same_words => {
            "the proxy passed on less of a response than came to it"
        }
        Kind::ProxyDroppedTrailers if !same_words => "the proxy dropped the server's trailers",
        Kind::ProxyTruncatedRequest if !same_words => {
            "the proxy passed on less of the request than came to it"
        }
        _ => summary,
    };
    format!(
        "{what}. Several requests that were in flight cannot be told apart; it is so whichever of them this was"
    )
}

/// What may have happened, where it depends on which of several streams was this request's: without the bytes that
/// would be compared.
pub(super) fn perhaps(kind: Kind, summary: &str) -> String {
    let what = match kind {
        Kind::ProxyTruncatedCompleteResponse => {
            "the proxy may have passed on less of a whole response than came to it"
        }
        Kind::ProxyLostBytes => "the proxy may have passed on less of a response than came to it",
        Kind::ProxyDroppedTrailers => "the proxy may have dropped the server's trailers",
        Kind::ProxyTruncatedRequest => {
            "the proxy may have passed on less of the request than came to it"
        }
        _ => summary,
    };
    format!(
        "{what}. Several requests that were in flight cannot be told apart, and it depends on which of them this was"
    )
}

pub(super) fn came(up: &StreamRecord) -> String {
    let grpc = up.grpc == Seen::Value(());
    let mut text = format!("{} bytes of DATA", up.response.data_bytes);
    if grpc && up.response.messages.known {
        text.push_str(&format!(" in {}", messages(&up.response.messages)));
    }
    match (up.trailers, up.grpc_status) {
        (Seen::Value(()), Seen::Value(status)) => {
            text.push_str(&format!(", trailers with grpc-status {status}"));
        }
        (Seen::Value(()), _) => text.push_str(", trailers"),
        _ => {}
    }
    text
}

pub(super) fn passed(down: &StreamRecord) -> String {
    match down.response_phase {
        Some(ResponsePhase::R0) => "nothing".to_owned(),
        Some(ResponsePhase::R1) => "its HEADERS alone".to_owned(),
        _ => match down.response.messages.open {
            Some(open) if down.response.messages.known => match open.promised {
                Some(promised) => format!(
                    "{} bytes, {} of a message of {promised}",
                    down.response.data_bytes, open.got
                ),
                None => format!("{} bytes", down.response.data_bytes),
            },
            _ => format!("{} bytes", down.response.data_bytes),
        },
    }
}

/// `grpc-status 14`, or `:status 503`.
pub(super) fn answer(down: &StreamRecord) -> String {
    match (down.grpc_status, down.http_status) {
        (Seen::Value(status), _) => format!("grpc-status {status}"),
        (_, Seen::Value(status)) => format!(":status {status}"),
        _ => "its status was not seen".to_owned(),
    }
}

/// `; the server's stream was reset with INTERNAL_ERROR`.
pub(super) fn end(up: &StreamRecord) -> String {
    if let Some(reset) = up.resets.first() {
        let who = match reset.sender {
            Endpoint::Server => "the server reset its stream",
            Endpoint::Client => "the proxy had reset the server's stream",
        };
        return format!("; {who} with {}", reset.code);
    }
    match up.end {
        StreamEnd::Connection(_) if ended(up) == Ended::ByClient => {
            "; the proxy had closed its connection to the server".to_owned()
        }
        StreamEnd::Connection(why) => format!("; {}", connection_end(why, up.role)),
        StreamEnd::Unprocessed => "; its GOAWAY says that it did not process it".to_owned(),
        StreamEnd::Complete if up.response_phase == Some(ResponsePhase::R3) => {
            format!("; the server answered {}", answer(up))
        }
        _ => String::new(),
    }
}

/// `, which came 5ms later`.
pub(super) fn end_stream_after(up: &StreamRecord) -> String {
    match (up.response.end_stream_at, up.request.end_stream_at) {
        (Some(response), Some(request)) => {
            format!(
                ": END_STREAM followed {} later",
                ns(request.since(response))
            )
        }
        _ => ": END_STREAM never came".to_owned(),
    }
}
