//! Frames in such numbers that they look like an attack (RFC 9113 section 10.5).

use std::time::Duration;

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::{on_connection, words};
use crate::connection::{ConnectionId, Endpoint};
use crate::frame::LONG_BLOCK_FRAMES;
use crate::stream::rate::{Flood, FloodKind};

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Too much of something.
pub(super) fn flood(connection: ConnectionId, role: Option<Endpoint>, flood: &Flood) -> Finding {
    let (kind, verdict, what) = match flood.kind {
        FloodKind::RapidReset => (
            Kind::RapidReset,
            Verdict::Anomaly,
            "streams opened and reset within a second",
        ),
        FloodKind::NearResetLimit => (
            Kind::NearResetLimit,
            Verdict::Suspicious,
            "resets more than nghttp2's limit lets drain away (1000 and 33 a second)",
        ),
        FloodKind::MadeYouReset => (
            Kind::MadeYouReset,
            Verdict::Anomaly,
            "resets by the server, each provoked by a frame that breaks a rule",
        ),
        FloodKind::Continuation => (
            Kind::ContinuationFlood,
            Verdict::Anomaly,
            "frames of one header block without END_HEADERS",
        ),
        FloodKind::Ping => control("PING frames"),
        FloodKind::Settings => control("SETTINGS frames"),
        FloodKind::EmptyData => control("empty DATA frames without END_STREAM"),
        FloodKind::EmptyHeaders => control("HEADERS frames without a field"),
        FloodKind::Priority => control("PRIORITY frames"),
        FloodKind::WindowUpdate => control("WINDOW_UPDATE frames of a few bytes"),
    };
    let Flood { sender, n, .. } = *flood;
    let summary = match flood.kind {
        FloodKind::Continuation => format!(
            "the {sender} sent {n} {what}: more than {LONG_BLOCK_FRAMES} are no ordinary header list, \
             and servers that keep them run out of memory"
        ),
        FloodKind::NearResetLimit => format!(
            "the {sender} sent {n} {what}: servers with that limit close the connection soon, and all \
             its streams with it"
        ),
        _ => format!(
            "the {sender} caused {n} {what}{}; in the same time {} HEADERS by the client and {} DATA \
             frames by the {}",
            rate(flood),
            flood.n_headers_of_client,
            flood.n_data_of_peer,
            sender.peer()
        ),
    };
    let mut found = on_connection((connection, role), flood.at, (kind, verdict, summary));
    found.stream_id = flood.stream_id;
    found.sender = Some(sender);
    found
}

const fn control(what: &'static str) -> (Kind, Verdict, &'static str) {
    (Kind::ControlFlood, Verdict::Anomaly, what)
}

/// ` in 1.2s (4166 a second)`.
fn rate(flood: &Flood) -> String {
    if flood.within_ns == 0 {
        return String::new();
    }
    let within = words::duration(Duration::from_nanos(flood.within_ns));
    let a_second = u128::from(flood.n) * u128::from(SECOND_NS) / u128::from(flood.within_ns);
    format!(" in {within} ({a_second} a second)")
}
