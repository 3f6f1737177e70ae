//! GOAWAY and the end of the connection (RFC 9113 section 6.8).

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::{
    content_length, finding, on_connection, ping, protocol, receivers, words,
};
use crate::connection::{ConnectionEnd, ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::frame::ErrorCode;
use crate::limits;

use crate::stream::initiator;
use crate::stream::record::{BeforeGoAway, GoAway, ResponsePhase, StreamRecord};
use crate::stream::table::EVERY_STREAM;

/// Streams that one GOAWAY without warning must leave unprocessed to be worth a finding of its own. A few
/// are the normal race of a drain.
const ABRUPT_STREAMS: u32 = 5;

/// A silence before the end that is worth saying: longer than keepalives, shorter than idle timeouts.
const LONG_SILENCE: Duration = Duration::from_secs(30);

/// The GOAWAYs of one endpoint.
#[derive(Debug, Default)]
struct SentGoAways {
    last: Option<GoAway>,
    n: u32,
    /// One answered a rule that the peer had broken.
    provoked: bool,
}

/// What is remembered of a connection on which GOAWAY was sent.
#[derive(Debug, Default)]
struct Notes {
    client: SentGoAways,
    server: SentGoAways,
    /// Streams that the server's GOAWAY left unprocessed.
    n_unprocessed: u32,
}

impl Notes {
    /// The GOAWAY that answered a rule which its receiver had broken.
    fn provoked(&self) -> Option<&GoAway> {
        [&self.client, &self.server]
            .into_iter()
            .find(|said| said.provoked)?
            .last
            .as_ref()
    }

    const fn of(&self, sender: Endpoint) -> Option<&GoAway> {
        match sender {
            Endpoint::Client => self.client.last.as_ref(),
            Endpoint::Server => self.server.last.as_ref(),
        }
    }
}

/// The connections on which GOAWAY was sent.
#[derive(Debug, Default)]
pub(super) struct Connections {
    notes: HashMap<ConnectionId, Notes, RandomState>,
    /// How often all of them had to be forgotten.
    pub(super) n_forgotten: u32,
}

impl Connections {
    /// A GOAWAY went by.
    pub(super) fn go_away(
        &mut self,
        connection: ConnectionId,
        role: Option<Endpoint>,
        go_away: &GoAway,
        came_before: &BeforeGoAway,
    ) -> Option<Finding> {
        let known = self.notes.contains_key(&connection);
        if !known && self.notes.len() >= limits::GO_AWAY_CONNECTIONS {
            self.notes.clear();
            self.n_forgotten = self.n_forgotten.saturating_add(1);
        }
        let notes = self.notes.entry(connection).or_default();
        let said = match go_away.sender {
            Endpoint::Client => &mut notes.client,
            Endpoint::Server => &mut notes.server,
        };
        said.n = said.n.saturating_add(1);
        said.provoked |= came_before.provoked;
        let before = said.last.replace(go_away.clone());
        let (kind, verdict, sender, summary) = judge(go_away, before.as_ref(), came_before)?;
        let of = (connection, role);
        let mut found = on_connection(of, go_away.at, (kind, verdict, summary));
        found.sender = Some(sender);
        found.code = Some(go_away.code);
        Some(found)
    }

    /// G2: GOAWAY said that the stream was not processed.
    pub(super) fn unprocessed(&mut self, record: &StreamRecord) -> Finding {
        let sender = initiator(record.stream_id).peer();
        let mut summary = "not processed: GOAWAY leaves the stream out; safe to retry".to_owned();
        let mut code = None;
        if let Some(notes) = self.notes.get_mut(&record.connection) {
            if sender == Endpoint::Server {
                notes.n_unprocessed = notes.n_unprocessed.saturating_add(1);
            }
            if let Some(go_away) = notes.of(sender) {
                code = Some(go_away.code);
                summary = format!(
                    "not processed: the {sender}'s GOAWAY ({}) ends at stream {}; {}",
                    go_away.code,
                    go_away.last_stream_id,
                    retry(record, go_away)
                );
                if go_away.code != ErrorCode::NO_ERROR {
                    summary.push_str(&receivers::hint_at_end(record, Some(sender)));
                }
            }
        }
        let mut found = finding(record, Kind::StreamUnprocessed, Verdict::Expected, summary);
        found.sender = Some(sender);
        found.code = code;
        found
    }

    /// G3, G6: the connection ended while the stream waited for its response.
    pub(super) fn lost(&self, record: &StreamRecord, why: ConnectionEnd) -> Finding {
        let go_away = self
            .notes
            .get(&record.connection)
            .and_then(|notes| notes.of(initiator(record.stream_id).peer()))
            .filter(|go_away| record.stream_id <= go_away.last_stream_id);
        let sender = closer(why, record.role);
        // What the client itself ends was not lost by the GOAWAY.
        let go_away = go_away.filter(|_| sender != Some(initiator(record.stream_id)));
        // A client that goes in good order gives up its calls, as with CANCEL: often its user's decision.
        let orderly = matches!(why, ConnectionEnd::LocalClose | ConnectionEnd::PeerFin);
        let verdict = match (sender, why) {
            (_, ConnectionEnd::Unknown) => Verdict::Unknown,
            (Some(Endpoint::Client) | None, _) if orderly => Verdict::Suspicious,
            _ => Verdict::Anomaly,
        };
        let mut summary = format!(
            "{} while the stream was open",
            words::connection_end(why, record.role)
        );
        if let Some(go_away) = go_away {
            summary.push_str(&format!(
                ", after a GOAWAY ({}) that had accepted it (last stream id {})",
                go_away.code, go_away.last_stream_id
            ));
        }
        if let Some(phase) = record.response_phase {
            summary.push_str("; ");
            summary.push_str(&words::progress(record, phase, false));
            if phase != ResponsePhase::R0 {
                summary.push_str(&words::windows(record.response.windows_at_end));
            }
        }
        summary.push_str(&receivers::hint_at_end(record, sender));
        if let Some(silence) = silence(record) {
            summary.push_str(&format!(
                "; nothing had gone by on the stream for {}",
                words::duration(silence)
            ));
        }
        let kind = match go_away {
            Some(_) => Kind::GoAwayLostStreams,
            None => Kind::ConnectionLostStreams,
        };
        let mut found = finding(record, kind, verdict, summary);
        found.sender = sender;
        found.code = go_away.map(|go_away| go_away.code);
        let notes = self.notes.get(&record.connection);
        if let Some(provoked) = notes.and_then(Notes::provoked) {
            // Whoever broke the rule ended the connection.
            let author = provoked.sender.peer();
            found.sender = Some(author);
            found.summary.push_str(&format!(
                "; the {}'s GOAWAY ({}) had answered a rule that the {author} broke",
                provoked.sender, provoked.code
            ));
        } else if let Some(author) = sender.map(Endpoint::peer)
            && broke_a_rule(record, author)
        {
            found.sender = Some(author);
            let summary = &mut found.summary;
            summary.push_str(&format!("; the {author} had broken a rule on it"));
        } else if let Some(author) = record.conduct.ended_connection {
            found.sender = Some(author);
            found.summary.push_str(&format!(
                "; the {author} had just broken a rule after which no connection can go on"
            ));
        }
        found
    }

    /// The connection is gone.
    pub(super) fn ended(
        &mut self,
        connection: ConnectionId,
        role: Option<Endpoint>,
        at: Timestamp,
    ) -> Option<Finding> {
        let notes = self.notes.remove(&connection)?;
        let go_away = notes.server.last?;
        let abrupt = notes.server.n == 1
            && go_away.code == ErrorCode::NO_ERROR
            && notes.n_unprocessed >= ABRUPT_STREAMS;
        let summary = format!(
            "one GOAWAY without warning (last stream id {}) left {} streams unprocessed; \
             a server that announces its drain first loses none",
            go_away.last_stream_id, notes.n_unprocessed
        );
        abrupt.then(|| {
            let what = (Kind::AbruptGoAway, Verdict::Suspicious, summary);
            let mut found = on_connection((connection, role), at, what);
            found.sender = Some(go_away.sender);
            found.code = Some(go_away.code);
            found
        })
    }
}

/// Whether a stream that was not processed may be tried again.
fn retry(record: &StreamRecord, go_away: &GoAway) -> &'static str {
    if go_away.code == ErrorCode::NO_ERROR {
        return "safe to retry";
    }
    let requester = initiator(record.stream_id);
    let too_large = go_away
        .header_list
        .is_some_and(|list| list.stream_id == record.stream_id);
    let malformed = record
        .malformed
        .is_some_and(|malformed| malformed.grave && malformed.sender == requester);
    if too_large || malformed || broke_a_rule(record, requester) {
        return "the request itself was the cause: the same again ends the same way";
    }
    // That is about how often something came, not about one request, unless it is large.
    let calm = go_away.code == ErrorCode::ENHANCE_YOUR_CALM;
    if calm && receivers::hint_at_end(record, Some(go_away.sender)).is_empty() {
        return "safe to retry";
    }
    "safe to retry, unless this request was the cause"
}

/// What is told of the stream shows that `sender` had broken a rule on it.
fn broke_a_rule(record: &StreamRecord, sender: Endpoint) -> bool {
    let of_flow = record
        .flow
        .fault
        .is_some_and(|fault| fault.sender == sender);
    let of_length = content_length::judge(record).is_some_and(|found| found.sender == Some(sender));
    let one_too_many = sender == Endpoint::Client && record.flow.over_cap.is_some();
    record.conduct.has_broken(sender) || of_flow || of_length || one_too_many
}

/// What a GOAWAY says, and what is told of PING and SETTINGS instead.
fn judge(
    go_away: &GoAway,
    before: Option<&GoAway>,
    came_before: &BeforeGoAway,
) -> Option<(Kind, Verdict, Endpoint, String)> {
    let (sender, last) = (go_away.sender, go_away.last_stream_id);
    if let Some(before) = before
        && last > before.last_stream_id
    {
        let summary = format!(
            "the {sender}'s second GOAWAY raised the last stream id from {} to {last}",
            before.last_stream_id
        );
        return Some((Kind::GoAwayRaised, Verdict::Anomaly, sender, summary));
    }
    let reason = go_away
        .reason
        .map_or_else(String::new, |reason| format!(" ({})", reason.as_str()));
    if go_away.code != ErrorCode::NO_ERROR {
        // The same error said twice is one error, and the rule that its receiver broke is told.
        if before.is_some_and(|before| before.code == go_away.code) || came_before.provoked {
            return None;
        }
        if let Some(found) = ping::go_away(go_away, came_before) {
            return Some(found);
        }
        if let Some((kind, verdict, summary)) = protocol::cause(go_away) {
            // A block that cannot be decoded is its encoder's.
            let author = match kind {
                Kind::HpackFailure => sender.peer(),
                _ => sender,
            };
            return Some((kind, verdict, author, summary));
        }
        let code = go_away.code;
        let summary = format!(
            "the {sender} ended the connection with GOAWAY {code}{reason}, last stream id {last}{}",
            ping::hint(go_away, came_before)
        );
        return Some((Kind::ErrorGoAway, Verdict::Anomaly, sender, summary));
    }
    // The second GOAWAY of a drain says the same as the first.
    if before.is_some() {
        return None;
    }
    let summary = match last {
        EVERY_STREAM => format!(
            "the {sender} drains the connection{reason}: GOAWAY NO_ERROR, all streams accepted"
        ),
        last => format!(
            "the {sender} drains the connection{reason}: GOAWAY NO_ERROR, last stream id {last}"
        ),
    };
    Some((Kind::GracefulGoAway, Verdict::Benign, sender, summary))
}

/// How long nothing went by on the stream before its end, when that is long: load balancers and firewalls
/// drop connections that are idle (an AWS NLB after 350 s).
fn silence(record: &StreamRecord) -> Option<Duration> {
    let last = [&record.request, &record.response]
        .into_iter()
        .flat_map(|half| [half.headers_at, half.last_data_at, half.end_stream_at])
        .flatten()
        .max()?;
    let silence = Duration::from_nanos(record.last_at.since(last));
    (silence >= LONG_SILENCE).then_some(silence)
}

pub(super) const fn closer(why: ConnectionEnd, role: Option<Endpoint>) -> Option<Endpoint> {
    match (why, role) {
        (ConnectionEnd::LocalClose | ConnectionEnd::LocalReset, Some(role)) => Some(role),
        (ConnectionEnd::PeerFin | ConnectionEnd::PeerReset, Some(role)) => Some(role.peer()),
        (ConnectionEnd::Unknown, _) | (_, None) => None,
    }
}
