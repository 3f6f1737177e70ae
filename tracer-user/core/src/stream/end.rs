//! What is said of a stream when it ends.

use std::time::Duration;

use crate::connection::{ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::frame::ErrorCode;
use crate::stream::live::{Phases, Stream};
use crate::stream::pair::Pair;
use crate::stream::phase;
use crate::stream::record::{
    EndStreamOn, Malformed, Messages, Outcome, Reset, ResponsePhase, Seen, StreamEnd, StreamRecord,
    Tier,
};
use crate::stream::settings::PeerSettings;
use crate::stream::violation::Conduct;

/// A reset counts as made by the deadline when it comes this share of grpc-timeout before it, or later.
/// The two ends start their clocks at different moments, and grpc-timeout is rounded to its unit.
const DEADLINE_TOLERANCE_PERCENT: u32 = 5;

/// The least tolerance: short timeouts are computed some milliseconds before HEADERS are written.
/// (At most half of the timeout.)
const DEADLINE_TOLERANCE_MIN: Duration = Duration::from_millis(5);

/// `elapsed` since the request's HEADERS is so near `timeout`, or beyond, that the deadline is the cause.
fn deadline_reached(timeout: Duration, elapsed: Duration) -> bool {
    let tolerance =
        (timeout / 100 * DEADLINE_TOLERANCE_PERCENT).max(DEADLINE_TOLERANCE_MIN.min(timeout / 2));
    elapsed.saturating_add(tolerance) >= timeout
}

impl StreamRecord {
    /// The request has a deadline (`grpc-timeout`), and it had come by then.
    #[must_use]
    pub fn deadline_had_come(&self, by: Timestamp) -> bool {
        let began_at = self.request.headers_at.unwrap_or(self.first_at);
        let elapsed = Duration::from_nanos(by.since(began_at));
        let is_reached = |timeout| deadline_reached(timeout, elapsed);
        self.timeout.is_some_and(is_reached)
    }
}

/// Makes the record of a stream that ended, of whatever record is there; `forced` says why it ended if not by itself.
pub(super) fn record(
    record: &mut StreamRecord,
    stream: &mut Stream,
    (connection, role): (ConnectionId, Option<Endpoint>),
    announced: &Pair<PeerSettings>,
    forced: Option<StreamEnd>,
) {
    let grpc = grpc(stream);
    let phases = stream.stopped_at.unwrap_or_else(|| Phases {
        request: phase::of_request(&stream.request, grpc),
        response: phase::of_response(&stream.response, grpc),
    });
    // Nobody answers a stream that was not opened: its opening, at least, went by unseen.
    let opened = stream.beginning_seen || stream.pushed || stream.request.half.data_frames > 0;
    if !opened && phases.response == Some(ResponsePhase::R0) {
        stream.whole = false;
    }
    let end = end(stream, forced);
    let answer = ResponseHead::of(stream, grpc, phases.response, end);
    let tier =
        if stream.beginning_seen && stream.whole && stream.n_blocks > 0 && stream.blocks_complete {
            Tier::T1
        } else {
            Tier::T0
        };
    stream.check_data();
    if grpc == Seen::Value(()) {
        stream.check_prefixes();
    }
    fill_halves(record, stream, grpc, announced);
    record.connection = connection;
    record.role = role;
    record.stream_id = stream.id;
    record.pid = stream.pid;
    record.first_at = stream.first_at;
    record.last_at = stream.last_at;
    record.beginning_seen = stream.beginning_seen;
    record.whole = stream.whole;
    record.pushed = stream.pushed;
    record.request_phase = phases.request;
    record.response_phase = phases.response;
    record.trailers = answer.trailers;
    record.trailers_only = answer.trailers_only;
    record.grpc = grpc;
    record.grpc_web = stream.content.grpc_web();
    record.path = stream.content.path.take();
    record.http_status = answer.http_status;
    record.response_content_type = stream.content.response_content_type.take();
    record.response_has_no_type = stream.content.response_type == Seen::Absent;
    record.user_agent = stream.content.user_agent;
    record.response_coding = stream.content.response_coding;
    record.grpc_status = answer.grpc_status;
    record.grpc_status_malformed = stream.content.grpc_status_malformed;
    record.malformed = stream.content.malformed;
    record.timeout = stream.content.timeout;
    record.shown = std::mem::take(&mut stream.content.shown);
    record.resets = std::mem::take(&mut stream.resets);
    let is_borne = |told: Malformed| told.rule.is_borne_unless_refused();
    if record.malformed.is_some_and(is_borne) && !was_refused(record) {
        record.malformed = None;
    }
    record.flow = stream.flow;
    record.end = end;
    record.tier = tier;
    record.conduct = match stream.conduct.take() {
        Some(conduct) => *conduct,
        None => Conduct::default(),
    };
    // The memory of an earlier story goes to a later stream.
    std::mem::swap(&mut record.story, &mut stream.story);
    record.story.end(grpc != Seen::Absent);
    record.outcome = outcome(record);
}

/// The server did not do what the client asked for.
fn was_refused(record: &StreamRecord) -> bool {
    let by_server =
        |reset: &Reset| reset.sender == Endpoint::Server && reset.code != ErrorCode::NO_ERROR;
    matches!(record.http_status, Seen::Value(400..)) || record.resets.iter().any(by_server)
}

/// What the client and the server sent, with what is only known at the end.
fn fill_halves(
    record: &mut StreamRecord,
    stream: &mut Stream,
    grpc: Seen<()>,
    announced: &Pair<PeerSettings>,
) {
    std::mem::swap(&mut record.request, &mut stream.request.half);
    std::mem::swap(&mut record.response, &mut stream.response.half);
    let (request, response) = (&mut record.request, &mut record.response);
    (request.content_length, response.content_length) = stream.content.content_length();
    request.header_list_limit = announced.server.max_header_list_size;
    response.header_list_limit = announced.client.max_header_list_size;
    request.windows_at_end = stream.windows_at_end.client;
    response.windows_at_end = stream.windows_at_end.server;
    let messages = [
        (&mut request.messages, &mut stream.request.messages),
        (&mut response.messages, &mut stream.response.messages),
    ];
    for (told, read) in messages {
        *told = match grpc {
            Seen::Absent => Messages::default(),
            Seen::Value(()) | Seen::Unknown => read.messages(),
        };
    }
}

/// What the server's HEADERS said, as far as they were seen or certainly did not come.
struct ResponseHead {
    http_status: Seen<u16>,
    trailers: Seen<()>,
    trailers_only: bool,
    grpc_status: Seen<u32>,
}

impl ResponseHead {
    fn of(
        stream: &Stream,
        grpc: Seen<()>,
        response: Option<ResponsePhase>,
        end: StreamEnd,
    ) -> ResponseHead {
        let out_of_sight = matches!(end, StreamEnd::Evicted | StreamEnd::Unseen);
        let trailers_only = stream.trailers_only && grpc != Seen::Absent;
        let trailers = match (stream.trailers_seen, response) {
            // A response of one HEADERS frame has trailers only in gRPC.
            (true, _) if !stream.trailers_only || trailers_only => Seen::Value(()),
            (true, _) | (false, Some(ResponsePhase::R3)) => Seen::Absent,
            (false, Some(_)) if !out_of_sight => Seen::Absent,
            (false, _) => Seen::Unknown,
        };
        ResponseHead {
            http_status: match (stream.response.half.headers_at, response) {
                (Some(_), _) => stream.content.http_status,
                (None, Some(ResponsePhase::R0)) if !out_of_sight => Seen::Absent,
                (None, _) => Seen::Unknown,
            },
            trailers,
            trailers_only,
            grpc_status: match trailers {
                Seen::Value(()) => stream.content.grpc_status,
                Seen::Absent => Seen::Absent,
                Seen::Unknown => Seen::Unknown,
            },
        }
    }
}

/// Whether the stream is gRPC. Where no field tells, its framing may: a request of whole length-prefixed
/// messages and nothing else, and a response that is one too as far as it came. (gRPC-Web and Connect have
/// the same prefix, but flags of their own at the end of the response.)
fn grpc(stream: &Stream) -> Seen<()> {
    let said = stream.content.grpc();
    let (request, response) = (&stream.request.messages, &stream.response.messages);
    let framed = request.known()
        && request.n_complete() > 0
        && !request.inside()
        && response.known()
        && (response.n_complete() > 0 || response.inside());
    match said {
        Seen::Unknown if framed && stream.content.response_type == Seen::Unknown => Seen::Value(()),
        _ => said,
    }
}

fn end(stream: &Stream, forced: Option<StreamEnd>) -> StreamEnd {
    if stream.unprocessed {
        StreamEnd::Unprocessed
    } else if !stream.resets.is_empty() {
        StreamEnd::Reset
    } else {
        forced.unwrap_or(StreamEnd::Complete)
    }
}

fn outcome(record: &StreamRecord) -> Outcome {
    let complete = record.response_phase == Some(ResponsePhase::R3);
    match record.end {
        StreamEnd::Evicted | StreamEnd::Unseen => Outcome::Unknown,
        StreamEnd::Unprocessed => Outcome::Unprocessed,
        StreamEnd::Complete => of_response(record),
        StreamEnd::Reset | StreamEnd::Connection(_) if complete => of_response(record),
        StreamEnd::Connection(_) => Outcome::ConnectionLost,
        StreamEnd::Reset => record
            .resets
            .first()
            .map_or(Outcome::Unknown, |reset| of_reset(record, reset)),
    }
}

/// The response is not known to be complete.
fn of_reset(record: &StreamRecord, reset: &Reset) -> Outcome {
    if reset.code == ErrorCode::REFUSED_STREAM && reset.sender == Endpoint::Server {
        return Outcome::Refused;
    }
    if reset.response_phase.is_none() {
        return Outcome::Unknown;
    }
    // grpclib's client says NO_ERROR where it gives up.
    let gives_up = match reset.sender {
        Endpoint::Client => matches!(reset.code, ErrorCode::CANCEL | ErrorCode::NO_ERROR),
        Endpoint::Server => reset.code == ErrorCode::CANCEL,
    };
    if !gives_up {
        return Outcome::Reset;
    }
    if record.deadline_had_come(reset.at) {
        return Outcome::Deadline;
    }
    match (reset.sender, reset.code) {
        (Endpoint::Client, ErrorCode::CANCEL) => Outcome::Cancelled,
        _ => Outcome::Reset,
    }
}

/// The response is complete.
fn of_response(record: &StreamRecord) -> Outcome {
    match record.grpc {
        Seen::Absent => return Outcome::Ok,
        Seen::Unknown => return Outcome::CompleteUnknown,
        Seen::Value(()) => {}
    }
    let messages = &record.response.messages;
    if messages.known && messages.open.is_some() {
        return Outcome::Truncated;
    }
    match (record.trailers, record.grpc_status) {
        (Seen::Absent, _) if record.response.end_stream_on == Some(EndStreamOn::Data) => {
            Outcome::MissingTrailers
        }
        _ if record.grpc_status_malformed && record.grpc_status == Seen::Unknown => {
            Outcome::MissingTrailers
        }
        (_, Seen::Value(0)) => Outcome::Ok,
        (_, Seen::Value(_)) => Outcome::ErrorStatus,
        (_, Seen::Absent) => Outcome::MissingTrailers,
        (_, Seen::Unknown) => Outcome::CompleteUnknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_may_be_reached_a_little_early() {
        for (timeout_ms, elapsed_ms, want) in [
            (1000, 949, false),
            (1000, 950, true),
            (1000, 2000, true),
            (20, 14, false),
            (20, 15, true),
            (1, 0, false),
            (1, 1, true),
            (0, 0, true),
        ] {
            let timeout = Duration::from_millis(timeout_ms);
            let elapsed = Duration::from_millis(elapsed_ms);
            assert_eq!(
                deadline_reached(timeout, elapsed),
                want,
                "{timeout_ms} {elapsed_ms}"
            );
        }
        assert!(!deadline_reached(Duration::MAX, Duration::ZERO));
    }
}
