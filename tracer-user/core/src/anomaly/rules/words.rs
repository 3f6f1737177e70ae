//! Findings in plain words, with the numbers, without payload.

use std::time::Duration;

use crate::anomaly::rules::receivers;
use crate::connection::{ConnectionEnd, Endpoint};
use crate::frame::ErrorCode;
use crate::stream::record::{
    Messages, OpenMessage, RequestPhase, Reset, ResponsePhase, Seen, StreamRecord, Windows,
};

/// `1 stream waits`, `8 streams wait`.
pub(super) fn count(n: u32, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

/// `1 whole message`.
pub(super) fn messages(messages: &Messages) -> String {
    let at_least = if messages.known { "" } else { "at least " };
    match messages.complete {
        1 => format!("{at_least}1 whole message"),
        n => format!("{at_least}{n} whole messages"),
    }
}

/// `message of 11117 bytes announced, 9920 arrived, 1197 missing`.
pub(super) fn open_message(open: OpenMessage, came: &str) -> String {
    match open.promised {
        Some(promised) => format!(
            "message of {promised} bytes announced, {} {came}, {} missing",
            open.got,
            promised.saturating_sub(open.got)
        ),
        None => format!("{} of the 5 bytes of a message prefix {came}", open.got),
    }
}

/// A time, to the millisecond or better.
pub(super) fn duration(duration: Duration) -> String {
    let rounded = match duration.as_micros() {
        0..10_000 => Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        _ => Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
    };
    format!("{rounded:?}")
}

/// What a RST_STREAM did.
pub(super) fn reset(record: &StreamRecord, reset: &Reset) -> String {
    let mut text = format!("the {} reset the stream with {}", reset.sender, reset.code);
    text.push_str(&match (reset.response_phase, reset.request_phase) {
        (None, _) => "; how far the response was could not be seen".to_owned(),
        (Some(ResponsePhase::R3), Some(RequestPhase::Q2)) => {
            " after both sides had ended: redundant".to_owned()
        }
        (Some(ResponsePhase::R3), Some(_)) => {
            " after a complete response, while the request had not ended: the call is complete"
                .to_owned()
        }
        (Some(ResponsePhase::R3), None) => " after a complete response".to_owned(),
        (Some(phase), _) => format!(" {}", progress(record, phase, true)),
    });
    if reset.code == ErrorCode::REFUSED_STREAM && reset.response_phase == Some(ResponsePhase::R0) {
        text.push_str(": not processed, safe to retry");
    }
    let complete = matches!(reset.response_phase, Some(ResponsePhase::R3) | None);
    let mut text = text + &timeout(record, reset);
    if !complete {
        text.push_str(&windows(reset.response_windows));
    }
    text + &receivers::hint(record, reset)
}

/// How far the response of a stream was that did not end by END_STREAM. `by_reset`: the words follow a verb.
pub(super) fn progress(record: &StreamRecord, phase: ResponsePhase, by_reset: bool) -> String {
    let came = match record.role {
        _ if !record.response.data_known => "seen",
        Some(Endpoint::Server) => "sent",
        Some(Endpoint::Client) | None => "arrived",
    };
    let grpc = record.grpc == Seen::Value(());
    let no_trailers = if grpc { ", no trailers" } else { "" };
    let bytes = record.response.data_bytes;
    let (place, detail) = match phase {
        ResponsePhase::R0 => ("before any response", String::new()),
        ResponsePhase::R1 => (
            "after the response's HEADERS",
            format!(": no message byte {came}{no_trailers}"),
        ),
        ResponsePhase::Rm => (
            "in the middle of the response",
            match record.response.messages.open {
                Some(open) => format!(": {}{no_trailers}", open_message(open, came)),
                None => format!(": {bytes} bytes {came}{no_trailers}"),
            },
        ),
        ResponsePhase::Rb if grpc && record.response.messages.known => (
            "before the response's trailers",
            format!(
                ": {} {came}, {bytes} bytes{no_trailers}",
                messages(&record.response.messages)
            ),
        ),
        ResponsePhase::Rb => (
            "in the middle of the response",
            format!(": {bytes} bytes {came}{no_trailers}"),
        ),
        ResponsePhase::R3 => ("after a complete response", String::new()),
    };
    if by_reset {
        format!("{place}{detail}")
    } else {
        format!("it stood {place}{detail}")
    }
}

/// `, 1.5s after the request (grpc-timeout 1s)` for a CANCEL.
fn timeout(record: &StreamRecord, reset: &Reset) -> String {
    if reset.code != ErrorCode::CANCEL {
        return String::new();
    }
    let Some(began_at) = record.request.headers_at else {
        return String::new();
    };
    let elapsed = duration(Duration::from_nanos(reset.at.since(began_at)));
    match record.timeout {
        Some(timeout) => format!(
            ", {elapsed} after the request (grpc-timeout {})",
            duration(timeout)
        ),
        None => format!(", {elapsed} after the request"),
    }
}

/// `; the client's connection window was used up (0 bytes left)`.
pub(super) fn windows(windows: Windows) -> String {
    match (windows.connection, windows.stream) {
        (Some(connection), _) if connection <= 0 => {
            format!("; the client's connection window was used up ({connection} bytes left)")
        }
        (_, Some(stream)) if stream <= 0 => {
            format!("; the client's window of this stream was used up ({stream} bytes left)")
        }
        (Some(connection), Some(stream)) => format!(
            "; the client's windows were open ({connection} bytes left on the connection, {stream} on the stream)"
        ),
        (Some(connection), None) => {
            format!("; the client's connection window was open ({connection} bytes left)")
        }
        (None, _) => String::new(),
    }
}

/// At the deadline the client was still sending its request, and why: empty where it was not, or that is not known.
pub(super) fn unsent(record: &StreamRecord, reset: &Reset) -> String {
    let open = record.request.messages.open;
    let open = open.filter(|_| reset.request_phase == Some(RequestPhase::Q0));
    let Some((promised, got)) = open.and_then(|open| Some((open.promised?, open.got))) else {
        return String::new();
    };
    let Windows { connection, stream } = record.request.windows_at_end;
    let is_used_up = |left: Option<i64>| left.is_some_and(|left| left <= 0);
    let why = if is_used_up(connection) {
        ": the server's connection window was used up"
    } else if is_used_up(stream) {
        ": the server's window of this stream was used up"
    } else {
        ""
    };
    format!("; {got} of the {promised} bytes of the request's message had been sent by then{why}")
}

/// Who ended the connection, and how.
pub(super) const fn connection_end(why: ConnectionEnd, role: Option<Endpoint>) -> &'static str {
    match (why, role) {
        (ConnectionEnd::LocalClose, Some(Endpoint::Client)) => "the client closed the connection",
        (ConnectionEnd::LocalClose, Some(Endpoint::Server)) => "the server closed the connection",
        (ConnectionEnd::LocalClose, None) => "the observed end closed the connection",
        (ConnectionEnd::PeerFin, Some(Endpoint::Client)) => {
            "the server's end closed the connection (FIN)"
        }
        (ConnectionEnd::PeerFin, Some(Endpoint::Server)) => {
            "the client's end closed the connection (FIN)"
        }
        (ConnectionEnd::PeerFin, None) => "the peer closed the connection (FIN)",
        (ConnectionEnd::PeerReset, Some(Endpoint::Client)) => {
            "the server's end reset the connection (TCP RST)"
        }
        (ConnectionEnd::PeerReset, Some(Endpoint::Server)) => {
            "the client's end reset the connection (TCP RST)"
        }
        (ConnectionEnd::PeerReset, None) => "the peer reset the connection (TCP RST)",
        (ConnectionEnd::LocalReset, Some(Endpoint::Client)) => {
            "the client reset the connection (TCP RST)"
        }
        (ConnectionEnd::LocalReset, Some(Endpoint::Server)) => {
            "the server reset the connection (TCP RST)"
        }
        (ConnectionEnd::LocalReset, None) => "the observed end reset the connection (TCP RST)",
        (ConnectionEnd::Unknown, _) => "the connection was lost from sight",
    }
}
