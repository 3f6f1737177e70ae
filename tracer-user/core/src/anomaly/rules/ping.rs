//! PING and SETTINGS that were too many or never answered.

use std::time::Duration;

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::{on_connection, words};
use crate::connection::{ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::frame::ErrorCode;
use crate::stream::control::{Pings, UnansweredPing};
use crate::stream::go_away::GoAwayReason;
use crate::stream::record::{BeforeGoAway, GoAway};

/// A PING that waited less long is no sign of a dead peer: who closes in good order does not wait for
/// its last ACK. Keepalive timeouts are 20 s in gRPC, and no common one is shorter than this.
const UNANSWERED_NS: u64 = 1_000_000_000;

/// PINGs that are worth naming: grpc-go and grpc-java end a connection for the third that came too early.
const MANY: u32 = 3;

/// What a GOAWAY is called that is about PING or SETTINGS, and who is the cause.
pub(super) fn go_away(
    go_away: &GoAway,
    before: &BeforeGoAway,
) -> Option<(Kind, Verdict, Endpoint, String)> {
    let (sender, peer) = (go_away.sender, go_away.sender.peer());
    match (go_away.code, go_away.reason) {
        (ErrorCode::ENHANCE_YOUR_CALM, Some(GoAwayReason::TooManyPings)) => {
            let summary = format!(
                "the {sender} ended the connection with GOAWAY ENHANCE_YOUR_CALM (too_many_pings): {}",
                pings(peer, &before.pings)
            );
            Some((Kind::TooManyPings, Verdict::Anomaly, peer, summary))
        }
        (ErrorCode::SETTINGS_TIMEOUT, _) => {
            let age = match before.unacknowledged_settings {
                Some(at) => format!(
                    "its SETTINGS had waited {} for the {peer}'s ACK",
                    since(at, go_away.at)
                ),
                None => format!("it says that the {peer} did not acknowledge its SETTINGS in time"),
            };
            let summary =
                format!("the {sender} ended the connection with GOAWAY SETTINGS_TIMEOUT: {age}");
            Some((Kind::SettingsTimeout, Verdict::Suspicious, peer, summary))
        }
        _ => None,
    }
}

/// PINGs that may be why a connection was ended for too much of something that is not named.
pub(super) fn hint(go_away: &GoAway, before: &BeforeGoAway) -> String {
    let is_named = go_away.code != ErrorCode::ENHANCE_YOUR_CALM || go_away.reason.is_some();
    if is_named || before.pings.n < MANY {
        return String::new();
    }
    format!("; {}", pings(go_away.sender.peer(), &before.pings))
}

/// The connection was ended by `closer`, whose PING nobody answered.
pub(super) fn unanswered(
    of: (ConnectionId, Option<Endpoint>),
    closer: Option<Endpoint>,
    at: Timestamp,
    pings: &[UnansweredPing],
) -> Option<Finding> {
    let ping = pings.iter().find(|ping| Some(ping.sender) == closer)?;
    if at.since(ping.at) < UNANSWERED_NS {
        return None;
    }
    let (sender, peer) = (ping.sender, ping.sender.peer());
    let summary = format!(
        "the {sender} ended the connection {} after a PING that the {peer} never answered; nothing else \
         came from the {peer} since",
        since(ping.at, at)
    );
    let mut found = on_connection(of, at, (Kind::PingTimeout, Verdict::Anomaly, summary));
    found.sender = Some(peer);
    Some(found)
}

/// `the client had sent 4 PINGs in 600µs (one each 200µs, at least 100µs apart), 4 of them without a stream`.
fn pings(sender: Endpoint, pings: &Pings) -> String {
    let at_least = if pings.known { "" } else { "at least " };
    let Some(shortest) = pings.shortest_ns else {
        return match pings.n {
            0 => format!("no PING of the {sender} was seen"),
            n => format!("the {sender} had sent {at_least}{n} PING"),
        };
    };
    let within = pings.last_at.since(pings.first_at);
    let each = within / u64::from(pings.n.saturating_sub(1).max(1));
    format!(
        "the {sender} had sent {at_least}{} PINGs in {} (one each {}, {} at the shortest), {} of them \
         while no stream was open",
        pings.n,
        span(within),
        span(each),
        span(shortest),
        pings.n_without_streams
    )
}

fn since(earlier: Timestamp, later: Timestamp) -> String {
    span(later.since(earlier))
}

fn span(ns: u64) -> String {
    words::duration(Duration::from_nanos(ns))
}
