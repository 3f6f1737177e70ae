//! What the two sides of a request say together.

use super::{Alone, Attempt, Confidence, Hop, Join};
use crate::connection::{ConnectionEnd, Endpoint};
use crate::event::Timestamp;
use crate::frame::ErrorCode;
use crate::stream::record::{RequestPhase, Reset, ResponsePhase, Seen, StreamEnd, StreamRecord};

/// How a stream came to its end, as the proxy's two sides need it told: by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The response carried END_STREAM.
    Complete,
    /// The client reset it, or closed the connection, before the response was complete.
    ByClient,
    /// The server reset it, or closed the connection, before the response was complete.
    ByServer,
    /// GOAWAY said that it was not processed.
    Unprocessed,
    /// Not known.
    Unknown,
}

#[must_use]
pub fn ended(record: &StreamRecord) -> Ended {
    if record.response_phase == Some(ResponsePhase::R3) {
        return Ended::Complete;
    }
    match record.end {
        StreamEnd::Unprocessed => Ended::Unprocessed,
        StreamEnd::Reset => match record.resets.first() {
            Some(reset) if reset.response_phase.is_some() => by(reset.sender),
            _ => Ended::Unknown,
        },
        StreamEnd::Connection(why) => match (why, record.role) {
            (ConnectionEnd::Unknown, _) | (_, None) => Ended::Unknown,
            (ConnectionEnd::LocalClose | ConnectionEnd::LocalReset, Some(role)) => by(role),
            (ConnectionEnd::PeerFin | ConnectionEnd::PeerReset, Some(role)) => by(role.peer()),
        },
        StreamEnd::Complete | StreamEnd::Evicted | StreamEnd::Unseen => Ended::Unknown,
    }
}

const fn by(endpoint: Endpoint) -> Ended {
    match endpoint {
        Endpoint::Client => Ended::ByClient,
        Endpoint::Server => Ended::ByServer,
    }
}

/// How long after its last DATA the client ended its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndStreamLag {
    /// So many ns.
    After(u64),
    /// It did not until the stream was over, so many ns later.
    Never(u64),
    /// Not known.
    Unknown,
}

impl<T> Hop<T> {
    /// Why it stands alone; None when it does not.
    #[must_use]
    pub fn why_alone(&self) -> Option<Alone> {
        let why = self.other_side.map_or(Alone::NoUpstream, Alone::OtherSide);
        self.upstream.is_empty().then_some(why)
    }

    /// The upstream stream whose response was passed on, as far as one can say: the last that answered, else
    /// the last that was opened.
    #[must_use]
    pub fn serving(&self) -> Option<&Attempt<T>> {
        let answered = self
            .upstream
            .iter()
            .filter(|attempt| {
                let record = attempt.record();
                record.is_some_and(|record| record.response_phase == Some(ResponsePhase::R3))
            })
            .max_by_key(|attempt| {
                attempt
                    .record()
                    .and_then(|record| record.response.headers_at)
            });
        answered.or_else(|| self.upstream.last())
    }

    /// The stream whose response was passed on is certainly its own, though an earlier one may not be.
    #[must_use]
    pub fn is_served_certainly(&self) -> bool {
        let is_open = |join: Join| join.confidence == Confidence::Ambiguous;
        let serving = self.serving().filter(|_| self.upstream.len() > 1);
        !self.join.is_some_and(is_open) || serving.is_some_and(|serving| !is_open(serving.join))
    }

    /// What the stream whose response was passed on says, if all that it may have been say the same.
    pub(super) fn whichever<V: PartialEq>(&self, says: impl Fn(&StreamRecord) -> V) -> Option<V> {
        let value = says(self.serving()?.record()?);
        let certain = self.is_served_certainly()
            || (self.others_known && self.others.iter().all(|other| says(other) == value));
        certain.then_some(value)
    }

    /// Bytes of response DATA that came to the proxy and did not leave it; None when they cannot be compared, or
    /// the response may have been another one. Where not all that came was seen, it is at least so many.
    #[must_use]
    pub fn missing_bytes(&self) -> Option<u64> {
        self.missing().map(|missing| missing.bytes)
    }

    /// The same, and whether it is more or just so many.
    #[must_use]
    pub fn missing(&self) -> Option<MissingBytes> {
        self.whichever(|up| missing(&self.downstream.record, up))?
    }

    /// Bytes of response DATA that came to the proxy; None when it is not known which response it was.
    #[must_use]
    pub fn received_bytes(&self) -> Option<u64> {
        self.whichever(|up| up.response.data_bytes)
    }

    /// Trailers came to the proxy; unknown when it is not known which response it was.
    #[must_use]
    pub fn received_trailers(&self) -> Seen<()> {
        self.whichever(|up| up.trailers).unwrap_or(Seen::Unknown)
    }

    /// The server's trailers came to the proxy and did not leave it, whichever response it was.
    #[must_use]
    pub fn trailers_dropped(&self) -> bool {
        let dropped = self.whichever(|up| trailers_dropped(&self.downstream.record, up));
        dropped == Some(true)
    }

    /// How late the client ended its request.
    #[must_use]
    pub fn end_stream_lag(&self) -> EndStreamLag {
        end_stream_lag(&self.downstream.record)
    }

    /// The server's response was complete before the proxy had ended the request.
    #[must_use]
    pub fn early_response(&self) -> Option<bool> {
        self.whichever(early_response)
    }

    /// For how long the proxy could send nothing to the client when the stream was cut, in ns, because a
    /// window was used up; None when it could.
    #[must_use]
    pub fn blocked_ns(&self) -> Option<u64> {
        let cut = self.downstream.record.resets.first()?;
        Some(cut.at.since(cut.response_blocked_since?))
    }

    /// The codes of the resets that went from hop to hop: towards the client, and towards the server; what
    /// came in and what went out. None where the server's stream may have been another one.
    #[must_use]
    pub fn codes(&self) -> [(Option<ErrorCode>, Option<ErrorCode>); 2] {
        let of = |record: &StreamRecord, sender| reset_by(record, sender).map(|reset| reset.code);
        let upstream = |sender| match self.serving().and_then(Attempt::record) {
            Some(_) => self.whichever(|up| of(up, sender)),
            None => Some(None),
        };
        let downstream = |sender| of(&self.downstream.record, sender);
        let [server, client] = [Endpoint::Server, Endpoint::Client];
        [
            upstream(server).map_or((None, None), |came| (came, downstream(server))),
            upstream(client).map_or((None, None), |sent| (downstream(client), sent)),
        ]
    }
}

impl<T> Attempt<T> {
    /// The stream, once it has ended.
    #[must_use]
    pub fn record(&self) -> Option<&StreamRecord> {
        self.stream.as_ref().map(|stream| &*stream.record)
    }
}

/// The first reset of this endpoint.
#[must_use]
pub fn reset_by(record: &StreamRecord, sender: Endpoint) -> Option<&Reset> {
    record.resets.iter().find(|reset| reset.sender == sender)
}

/// The content is another one on each hop: a proxy that compresses, or speaks gRPC-Web or JSON to its client.
pub(crate) fn transcoded(down: &StreamRecord, up: &StreamRecord) -> bool {
    let both = down.response.headers_at.is_some() && up.response.headers_at.is_some();
    (both
        && (down.response_coding != up.response_coding
            || down.response_content_type != up.response_content_type))
        || (down.grpc != Seen::Unknown && up.grpc != Seen::Unknown && down.grpc != up.grpc)
        || down.grpc_web != up.grpc_web
}

/// Bytes of a response that came to a proxy and did not leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingBytes {
    pub bytes: u64,
    /// Not all that came was seen: it may be more.
    pub is_least: bool,
}

impl std::fmt::Display for MissingBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let least = if self.is_least { "at least " } else { "" };
        write!(f, "{least}{}", self.bytes)
    }
}

pub(crate) fn missing(down: &StreamRecord, up: &StreamRecord) -> Option<MissingBytes> {
    let (passed, came) = (&down.response, &up.response);
    let bytes = came.data_bytes.saturating_sub(passed.data_bytes);
    let is_least = !came.data_known;
    // What both have can be compared; of more than was passed on it does not matter how much more.
    let is_proved = bytes > 0 && came.headers_at.is_some() && passed.headers_at.is_some();
    let is_known = passed.data_known && (!is_least || is_proved);
    (is_known && !transcoded(down, up)).then_some(MissingBytes { bytes, is_least })
}

pub(crate) fn trailers_dropped(down: &StreamRecord, up: &StreamRecord) -> bool {
    up.trailers == Seen::Value(())
        && down.trailers == Seen::Absent
        && (down.grpc == Seen::Value(()) || down.response_phase != Some(ResponsePhase::R3))
}

/// The server ended its response before the request had ended.
#[must_use]
pub fn early_response(up: &StreamRecord) -> bool {
    let Some(response_end) = up.response.end_stream_at else {
        return false;
    };
    match up.request.end_stream_at {
        Some(request_end) => request_end > response_end,
        None => up
            .request_phase
            .is_some_and(|phase| phase < RequestPhase::Q2),
    }
}

/// When a stream that was cut was cut.
pub(crate) fn cut_at(record: &StreamRecord) -> Timestamp {
    record
        .resets
        .first()
        .map_or(record.last_at, |reset| reset.at)
}

pub(crate) fn end_stream_lag(down: &StreamRecord) -> EndStreamLag {
    let request = &down.request;
    let Some(last) = request.last_data_at.or(request.headers_at) else {
        return EndStreamLag::Unknown;
    };
    match (request.end_stream_at, down.request_phase) {
        (Some(end), _) => EndStreamLag::After(end.since(last)),
        (None, Some(RequestPhase::Q0 | RequestPhase::Q1)) => {
            EndStreamLag::Never(cut_at(down).since(last))
        }
        (None, _) => EndStreamLag::Unknown,
    }
}
