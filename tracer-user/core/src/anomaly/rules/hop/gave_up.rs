//! A proxy that gives up by itself: neither the client nor the server had ended the request.

use super::{HopFinding, Upstream, words};
use crate::anomaly::kind::{Kind, Verdict};
use crate::anomaly::rules::words::{progress, windows};
use crate::connection::{ConnectionEnd, Endpoint};
use crate::event::Timestamp;
use crate::frame::ErrorCode;
use crate::hop::facts::{cut_at, reset_by};
use crate::hop::{Ended, ended};
use crate::stream::record::{RequestPhase, ResponsePhase, Seen, StreamEnd, StreamRecord};

const S: u64 = 1_000_000_000;

/// A timer fires so much too early at most (clocks of milliseconds), and so much too late, in ns.
const EARLY: u64 = 20_000_000;
const LATE: u64 = 100_000_000;

/// What a timeout counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// The end of the request.
    Request,
    /// The last that either side sent.
    Silence,
}

/// Timeouts that proxies have unless they are told otherwise.
const KNOWN: [(Since, u64, &str); 5] = [
    (Since::Request, 15 * S, "Envoy's default route timeout"),
    (
        Since::Request,
        30 * S,
        "Google Cloud load balancers' default backend timeout",
    ),
    (
        Since::Silence,
        50 * S,
        "the timeout server of HAProxy as it is often installed",
    ),
    (
        Since::Silence,
        60 * S,
        "the default of nginx (grpc_read_timeout), Apache (ProxyTimeout) and AWS load balancers (idle timeout)",
    ),
    (
        Since::Silence,
        300 * S,
        "Envoy's default stream idle timeout",
    ),
];

/// The proxy ended both streams, and had been made to by neither the client nor the server.
pub(super) fn gave_up(down: &StreamRecord, upstream: &Upstream<'_>) -> Option<HopFinding> {
    let up = upstream.serving.filter(|_| upstream.n_open == 0)?;
    let by_proxy = ended(up) == Ended::ByClient
        && matches!(ended(down), Ended::ByServer | Ended::Complete)
        && !blames(up)
        && !is_replaced(down, up);
    let provoked = up.conduct.provoked(Endpoint::Client) || down.conduct.provoked(Endpoint::Server);
    if !by_proxy || provoked {
        return None;
    }
    let at = cut_at(up).min(told_at(down));
    let asked_at = down.request.headers_at?;
    let elapsed = at.since(asked_at);
    let is_deadline = down.deadline_had_come(at);
    let is_cut = ended(down) == Ended::ByServer && began(down);
    let verdict = if is_deadline || is_answered(down, up) {
        Verdict::Expected
    } else if is_cut {
        Verdict::Anomaly
    } else {
        Verdict::Suspicious
    };
    let mut summary = format!(
        "the proxy gave up by itself {} after the request came{}, while {}: it {} and {}",
        words::ns(elapsed),
        match upstream.ended.len() {
            1 => String::new(),
            n => format!(" and after {n} attempts"),
        },
        in_flight(up),
        to_server(up),
        to_client(down),
    );
    summary.push_str(if up.whole {
        ". Neither the server nor the client had ended the request"
    } else {
        ". Neither the server nor the client had ended the request, as far as that was seen"
    });
    if is_deadline {
        summary.push_str("; its deadline (grpc-timeout) had come");
    } else if let Some(why) = held_up(down, at).or_else(|| timeout(down, up, at)) {
        summary.push_str(&why);
    }
    let code = reset_by(down, Endpoint::Server).map(|reset| reset.code);
    Some(HopFinding::new(Kind::ProxyGaveUp, verdict, summary).by(Endpoint::Server, code))
}

/// The proxy says by its code that the server broke the rules.
fn blames(up: &StreamRecord) -> bool {
    let code = up.resets.first().map(|reset| reset.code);
    matches!(
        code,
        Some(
            ErrorCode::PROTOCOL_ERROR
                | ErrorCode::FLOW_CONTROL_ERROR
                | ErrorCode::FRAME_SIZE_ERROR
                | ErrorCode::COMPRESSION_ERROR
                | ErrorCode::STREAM_CLOSED
        )
    )
}

/// The client got a whole answer though the server's had not ended: a page in the place of an error, or all of what
/// the server had announced.
fn is_replaced(down: &StreamRecord, up: &StreamRecord) -> bool {
    let is_error = matches!(up.http_status, Seen::Value(status) if status >= 300);
    let is_all = up.response.content_length == Some(down.response.data_bytes);
    ended(down) == Ended::Complete && (is_error || is_all)
}

/// The client got an answer that it understands in the place of one that had not begun.
fn is_answered(down: &StreamRecord, up: &StreamRecord) -> bool {
    let is_understood = down.grpc != Seen::Value(()) || down.grpc_status != Seen::Absent;
    ended(down) == Ended::Complete && up.response_phase == Some(ResponsePhase::R0) && is_understood
}

/// Something of the server's response had gone to the client.
fn began(down: &StreamRecord) -> bool {
    down.response_phase
        .is_some_and(|phase| phase != ResponsePhase::R0)
}

/// When the client was told.
fn told_at(down: &StreamRecord) -> Timestamp {
    match ended(down) {
        // Its own answer; behind a part of the server's, the end of it.
        Ended::Complete => down.response.end_stream_at.unwrap_or(down.last_at),
        _ => cut_at(down),
    }
}

/// What was whole, and how far the rest was.
fn in_flight(up: &StreamRecord) -> String {
    let request = match up.request_phase {
        Some(RequestPhase::Q2) => "the request had been passed on whole".to_owned(),
        Some(RequestPhase::Q1) => "the request had been passed on but for its end".to_owned(),
        Some(RequestPhase::Q0) | None => format!(
            "{} bytes of the request had been passed on",
            up.request.data_bytes
        ),
    };
    let response = match up.response_phase {
        Some(ResponsePhase::R0) => "the server had not answered".to_owned(),
        Some(phase) => format!(
            "the server's response was in flight ({})",
            progress(up, phase, false)
        ),
        None => "how far the server's response was could not be seen".to_owned(),
    };
    format!("{request} and {response}")
}

fn to_server(up: &StreamRecord) -> String {
    match (reset_by(up, Endpoint::Client), up.end) {
        (Some(reset), _) => format!("reset the server's stream with {}", reset.code),
        _ => "closed its connection to the server".to_owned(),
    }
}

fn to_client(down: &StreamRecord) -> String {
    if ended(down) == Ended::Complete {
        return match down.response_phase {
            Some(ResponsePhase::R3) => format!("answered the client ({})", words::answer(down)),
            _ => "ended the response".to_owned(),
        };
    }
    match (reset_by(down, Endpoint::Server), down.end) {
        (Some(reset), _) => format!("reset the client's with {}", reset.code),
        (None, StreamEnd::Connection(ConnectionEnd::LocalReset | ConnectionEnd::PeerReset)) => {
            "reset the client's connection (TCP RST)".to_owned()
        }
        _ => "closed the client's connection".to_owned(),
    }
}

/// The client had not taken what there was for it.
fn held_up(down: &StreamRecord, at: Timestamp) -> Option<String> {
    let cut = reset_by(down, Endpoint::Server)?;
    let since = cut.response_blocked_since?;
    Some(format!(
        "{}, and had been for {}",
        windows(cut.response_windows),
        words::ns(at.since(since))
    ))
}

/// The timeout that is as long as this took.
fn timeout(down: &StreamRecord, up: &StreamRecord, at: Timestamp) -> Option<String> {
    let whole_at = down.request.end_stream_at.or(down.request.headers_at)?;
    let last = [
        up.response.headers_at,
        up.response.last_data_at,
        up.request.headers_at,
        up.request.last_data_at,
        up.request.end_stream_at,
        down.request.last_data_at,
        down.request.end_stream_at,
    ];
    let silent_at = last
        .into_iter()
        .flatten()
        .filter(|last| *last <= at)
        .max()?;
    let of = |since: Since| match since {
        Since::Request => at.since(whole_at),
        Since::Silence => at.since(silent_at),
    };
    let near =
        |took: u64, timeout: u64| took + EARLY >= timeout && took <= timeout + LATE + timeout / 100;
    if let Some((since, timeout, whose)) = KNOWN
        .into_iter()
        .find(|(since, timeout, _)| near(of(*since), *timeout))
    {
        return Some(format!(". {}: {whose}", told(timeout, since)));
    }
    // Timeouts are whole seconds, mostly.
    [Since::Silence, Since::Request]
        .into_iter()
        .find_map(|since| {
            let took = of(since);
            let whole = (took + EARLY) / S * S;
            (whole > 0 && took <= whole + LATE / 2 && took + EARLY >= whole)
                .then(|| format!(". {}: as long as a timeout would be", told(whole, since)))
        })
}

fn told(ns: u64, since: Since) -> String {
    let ns = words::ns(ns);
    match since {
        Since::Request => format!("It was {ns} after the end of the request"),
        Since::Silence => format!("Nothing had been sent for {ns}"),
    }
}
