//! What is known of a stream when it ends, and what is known of its connection.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::connection::{ConnectionEnd, ConnectionId, Endpoint};
use crate::event::{OtherProtocol, Timestamp};
pub use crate::field::Seen;
use crate::field::ShownFields;
use crate::field::digest::FieldsDigest;
use crate::field::user_agent::UserAgent;
use crate::frame::{ErrorCode, FrameKind, Rule, StreamId};
use crate::limits::Limit;
use crate::stream::condition::{ConditionReport, FlowNotes};
use crate::stream::control::{Pings, UnansweredPing};
use crate::stream::go_away::GoAwayReason;
use crate::stream::grpc::length_prefix::Stray;
use crate::stream::rate::Flood;

pub use crate::stream::story::Story;
use crate::stream::violation::{Conduct, Offence};

/// How far the request is (its sender's view of the stream's life).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestPhase {
    /// HEADERS, message(s) incomplete.
    Q0,
    /// Last message complete, END_STREAM not sent. For requests that are not gRPC, and where message
    /// boundaries are not known (`Messages::known`): END_STREAM not sent.
    Q1,
    /// END_STREAM sent.
    Q2,
}

/// How far the response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResponsePhase {
    /// Nothing (1xx does not count).
    R0,
    /// HEADERS, no DATA byte.
    R1,
    /// Inside a length-prefixed message (its prefix included).
    Rm,
    /// DATA, at a message boundary. For responses that are not gRPC, and where message boundaries are
    /// not known (`Messages::known`): some DATA.
    Rb,
    /// END_STREAM sent (trailers, Trailers-Only, or on DATA).
    R3,
}

impl RequestPhase {
    /// `Q0`, `Q1`, `Q2`: label value and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RequestPhase::Q0 => "Q0",
            RequestPhase::Q1 => "Q1",
            RequestPhase::Q2 => "Q2",
        }
    }
}

impl ResponsePhase {
    /// `R0` to `R3`: label value and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ResponsePhase::R0 => "R0",
            ResponsePhase::R1 => "R1",
            ResponsePhase::Rm => "Rm",
            ResponsePhase::Rb => "Rb",
            ResponsePhase::R3 => "R3",
        }
    }
}

/// How much of the stream could be seen (visibility tiers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Framing only: types, flags, ids, codes, lengths, presence of trailers.
    #[default]
    T0,
    /// Every header field of the stream decoded.
    T1,
    /// Both hops of a proxy.
    T2,
}

impl Tier {
    /// `T0`, `T1`, `T2`: label value and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Tier::T0 => "T0",
            Tier::T1 => "T1",
            Tier::T2 => "T2",
        }
    }
}

/// Sizes of messages, in bytes. Most directions have one message.
pub type Sizes = SmallVec<[u32; 4]>;

/// gRPC messages of one direction (length-prefixed, G "Length-Prefixed-Message").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// Whole messages.
    pub complete: u64,
    /// The message that was begun and is not whole, if any.
    pub open: Option<OpenMessage>,
    /// Sizes (without the 5-byte prefix) of the first `limits::MESSAGE_SIZES` messages begun.
    pub sizes: Sizes,
    /// False when bytes that held a prefix were not seen: `complete` is a lower bound, `open` a guess not to use.
    pub known: bool,
}

/// A message that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenMessage {
    /// Its length as announced; None while the prefix itself is incomplete.
    pub promised: Option<u32>,
    /// Bytes of it that came, prefix not counted (prefix bytes when `promised` is None).
    pub got: u32,
}

/// Flow-control windows in one direction: what the sender may still send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// The stream's window, when its history was seen. May be negative (RFC 9113 section 6.9.2).
    pub stream: Option<i64>,
    pub connection: Option<i64>,
}

/// Which frame carried END_STREAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndStreamOn {
    /// The first (only) HEADERS.
    Headers,
    Data,
    Trailers,
}

/// One direction of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Half {
    /// When its (final) HEADERS went by.
    pub headers_at: Option<Timestamp>,
    /// Their place among the header blocks of the connection, both ways: frames that one call brought have one
    /// time. 0 unknown.
    pub headers_nth: u32,
    /// DATA payload without padding.
    pub data_bytes: u64,
    /// False when a gap may have hidden DATA: `data_bytes` is a lower bound.
    pub data_known: bool,
    pub data_frames: u64,
    /// When the first DATA byte and the last DATA byte went by.
    pub first_data_at: Option<Timestamp>,
    /// See `first_data_at`.
    pub last_data_at: Option<Timestamp>,
    /// When END_STREAM went by.
    pub end_stream_at: Option<Timestamp>,
    /// On which frame.
    pub end_stream_on: Option<EndStreamOn>,
    /// gRPC messages; meaningful when the stream is gRPC.
    pub messages: Messages,
    /// What the sender might still send when the stream ended.
    pub windows_at_end: Windows,
    /// `content-length`, where DATA must be as long (RFC 9113 section 8.1.1: not of CONNECT, nor of the
    /// answer to HEAD, nor of 204 and 304); None also when it is absent, unseen, or no number.
    pub content_length: Option<u64>,
    /// The largest header list of this direction as RFC 9113 section 6.5.2 counts it (name, value and 32
    /// each), in bytes; a lower bound where not all of it could be decoded.
    pub header_list: u64,
    /// SETTINGS_MAX_HEADER_LIST_SIZE of its receiver, in bytes, if announced and seen.
    pub header_list_limit: Option<u32>,
    /// Thread of the observed process that sent or received the HEADERS.
    pub tid: u32,
}

impl Half {
    /// The block that went by now is the `nth` of the connection: its HEADERS, if they have no place yet.
    pub(crate) fn place_headers(&mut self, nth: u32) {
        if self.headers_at.is_some() && self.headers_nth == 0 {
            self.headers_nth = nth;
        }
    }

    /// Which of the HEADERS of one connection came first.
    pub(crate) fn headers_place(&self) -> Option<(Timestamp, u32)> {
        Some((self.headers_at?, self.headers_nth))
    }
}

/// A rule for header fields or message prefixes that an endpoint broke on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub sender: Endpoint,
    pub rule: Rule,
    /// False for what many receivers bear.
    pub grave: bool,
    /// The field that broke it, if it is one of those that this program asks for.
    pub field: Option<&'static str>,
    /// How the name of another one begins, if all that passes may be shown.
    pub name: Option<Stray>,
    /// What stands where a message prefix had to be, if it was that.
    pub stray: Option<Stray>,
}

/// A header list that is larger than its receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderList {
    /// The stream whose HEADERS or trailers it was.
    pub stream_id: StreamId,
    /// Its size as RFC 9113 section 6.5.2 counts it, in bytes.
    pub size: u64,
    /// What the receiver announced, in bytes.
    pub limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    pub sender: Endpoint,
    pub code: ErrorCode,
    pub at: Timestamp,
    /// How far the request was; None when unknown.
    pub request_phase: Option<RequestPhase>,
    /// How far the response was; None when unknown.
    pub response_phase: Option<ResponsePhase>,
    /// What the *response's* sender might still send at that moment.
    pub response_windows: Windows,
    /// Since when it could send nothing, because one of the two was used up; None when it could.
    pub response_blocked_since: Option<Timestamp>,
}

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamEnd {
    /// END_STREAM both ways.
    Complete,
    /// RST_STREAM by either end (see `resets`); the response may be complete all the same.
    Reset,
    /// The connection ended first.
    Connection(ConnectionEnd),
    /// The connection ended, and a GOAWAY had said before that this stream was not processed.
    Unprocessed,
    /// Our own bound was reached.
    Evicted,
    /// Lost from sight (a gap, the end of the trace).
    #[default]
    Unseen,
}

/// The outcome of a stream, for people and for the label `outcome`. A closed set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Complete; gRPC status 0, or not gRPC.
    Ok,
    /// Complete with a gRPC status other than 0.
    ErrorStatus,
    /// Complete, and whether it went well cannot be seen.
    CompleteUnknown,
    /// The client cancelled it.
    Cancelled,
    /// Reset at or after the gRPC deadline.
    Deadline,
    Refused,
    /// Reset before the response was complete.
    Reset,
    /// END_STREAM, but no trailers, or trailers without grpc-status.
    MissingTrailers,
    /// END_STREAM inside a message.
    Truncated,
    /// The connection ended first.
    ConnectionLost,
    /// Not processed, says GOAWAY.
    Unprocessed,
    /// Evicted by our own bound, or lost from sight.
    #[default]
    Unknown,
}

impl Outcome {
    /// Label value and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ErrorStatus => "error_status",
            Outcome::CompleteUnknown => "complete_unknown",
            Outcome::Cancelled => "cancelled",
            Outcome::Deadline => "deadline",
            Outcome::Refused => "refused",
            Outcome::Reset => "reset",
            Outcome::MissingTrailers => "missing_trailers",
            Outcome::Truncated => "truncated",
            Outcome::ConnectionLost => "connection_lost",
            Outcome::Unprocessed => "unprocessed",
            Outcome::Unknown => "unknown",
        }
    }
}

/// A moment in the story of a stream: one frame (consecutive DATA frames of one sender are one moment).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When (of several DATA frames: the last).
    pub at: Timestamp,
    pub sender: Endpoint,
    pub frame: FrameKind,
    /// How many frames this moment stands for.
    pub n_frames: u32,
    pub bytes: u64,
    /// END_STREAM flag on the last of them.
    pub end_stream: bool,
    /// The sender's windows after it.
    pub windows: Windows,
    /// What else is worth saying, without payload: `NO_ERROR`, `trailers grpc-status 0`, `message 11117 bytes`.
    pub note: String,
}

/// A stream that ended (or was lost from sight). By default nothing is known of it.
#[derive(Clone, Debug, Default)]
pub struct StreamRecord {
    /// The connection end it was observed on.
    pub connection: ConnectionId,
    /// The role of the observed end; None when not known.
    pub role: Option<Endpoint>,
    pub stream_id: StreamId,
    /// The process at the observed end when the stream was opened.
    pub pid: u32,
    /// When its first frame went by.
    pub first_at: Timestamp,
    /// When its last frame, or its end, went by.
    pub last_at: Timestamp,
    /// The request's HEADERS were seen.
    pub beginning_seen: bool,
    /// No gap fell into its life.
    pub whole: bool,
    /// The stream was promised by PUSH_PROMISE.
    pub pushed: bool,
    /// Client to server.
    pub request: Half,
    /// Server to client.
    pub response: Half,
    /// How far each side came; None when not known.
    pub request_phase: Option<RequestPhase>,
    /// See `request_phase`.
    pub response_phase: Option<ResponsePhase>,
    /// The response carried trailers (or was Trailers-Only): `Seen::Absent` when it certainly did not.
    pub trailers: Seen<()>,
    /// The response was Trailers-Only (one HEADERS with END_STREAM).
    pub trailers_only: bool,
    /// `content-type: application/grpc*` on the request; if that is unseen, on the response, or as trailers
    /// and message framing show.
    pub grpc: Seen<()>,
    /// `content-type` begins with `application/grpc-web`.
    pub grpc_web: bool,
    /// `:path`.
    pub path: Option<Arc<str>>,
    /// `:status`.
    pub http_status: Seen<u16>,
    /// `content-type` of the response, its media type alone; `None` unseen or absent.
    pub response_content_type: Option<Arc<str>>,
    /// Its HEADERS have none.
    pub response_has_no_type: bool,
    /// The library that made the request.
    pub user_agent: UserAgent,
    /// The encodings of the response's content, as one hash.
    pub response_coding: u64,
    /// `grpc-status` in trailers (or Trailers-Only).
    pub grpc_status: Seen<u32>,
    /// `grpc-status` was there and is no number of 0 to 16 without leading zeros.
    pub grpc_status_malformed: bool,
    /// The worst rule that header fields or message prefixes of the stream broke.
    pub malformed: Option<Malformed>,
    /// `grpc-timeout` of the request.
    pub timeout: Option<Duration>,
    /// Values of the header fields that may be shown, by name; requests' and responses' together
    /// (a name in both: the request's).
    pub shown: ShownFields,
    /// RST_STREAM frames in the order seen (at most four are kept).
    pub resets: Vec<Reset>,
    /// What flow control and the limit of streams had to do with its end.
    pub flow: FlowNotes,
    pub end: StreamEnd,
    /// In one word.
    pub outcome: Outcome,
    /// How much was seen.
    pub tier: Tier,
    /// Rules of RFC 9113 that were broken on it.
    pub conduct: Conduct,
    /// Frame by frame.
    pub story: Story,
}

/// A GOAWAY that went by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoAway {
    pub sender: Endpoint,
    pub last_stream_id: StreamId,
    pub code: ErrorCode,
    /// Its debug data, if that is a known reason.
    pub reason: Option<GoAwayReason>,
    pub at: Timestamp,
    /// The last header list that its sender got before it, if that was larger than it takes.
    pub header_list: Option<HeaderList>,
}

/// What came before a GOAWAY and may be why it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeforeGoAway {
    /// The PINGs of its receiver.
    pub pings: Pings,
    /// When the oldest SETTINGS of its sender that was not acknowledged went by.
    pub unacknowledged_settings: Option<Timestamp>,
    /// Its receiver had just broken a rule that calls for this code, which is told elsewhere.
    pub provoked: bool,
}

/// The request's HEADERS of a stream went by.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The connection end.
    pub connection: ConnectionId,
    /// Its id.
    pub stream_id: StreamId,
    /// When.
    pub at: Timestamp,
    /// The thread that sent or received them; 0 unknown.
    pub tid: u32,
    /// The process of that thread; 0 unknown.
    pub pid: u32,
    /// What its fields are told apart by.
    pub digest: Arc<FieldsDigest>,
}

/// What stage 4 hands on.
#[derive(Clone, Debug)]
pub enum StreamEvent {
    /// A stream was opened (its first frame went by).
    Opened {
        connection: ConnectionId,
        stream_id: StreamId,
        at: Timestamp,
    },
    /// The request's HEADERS of a stream were seen.
    Requested(Opening),
    /// Nothing more is to be expected of a stream; its linger begins.
    Finished {
        connection: ConnectionId,
        stream_id: StreamId,
        at: Timestamp,
        /// The client gave up before the response was complete.
        cancelled: bool,
    },
    /// A stream ended and its linger time is over.
    Ended(Arc<StreamRecord>),
    /// A GOAWAY went by.
    GoAway {
        connection: ConnectionId,
        /// Role of the observed end.
        role: Option<Endpoint>,
        go_away: Box<GoAway>,
        /// What came before it.
        before: Box<BeforeGoAway>,
    },
    ConnectionEnded {
        connection: ConnectionId,
        /// Role of the observed end.
        role: Option<Endpoint>,
        why: ConnectionEnd,
        at: Timestamp,
        /// Streams whose response was not complete (their `Ended` come before this).
        open_streams: u32,
        /// PINGs after which nothing at all came from the other end.
        unanswered_pings: Vec<UnansweredPing>,
    },
    /// An endpoint broke a rule of RFC 9113 (those of a stream are in its record).
    Offence {
        connection: ConnectionId,
        /// Role of the observed end.
        role: Option<Endpoint>,
        /// What it did, and what came of it.
        offence: Box<Offence>,
    },
    /// An endpoint sends too much of something.
    Flood {
        connection: ConnectionId,
        /// Role of the observed end.
        role: Option<Endpoint>,
        flood: Box<Flood>,
    },
    /// One end spoke HTTP/2, and the other one answered in another protocol.
    NotHttp2 {
        connection: ConnectionId,
        /// Role of the observed end.
        role: Option<Endpoint>,
        sender: Endpoint,
        spoke: OtherProtocol,
        at: Timestamp,
    },
    /// Something stands for longer than it should.
    Condition(Box<ConditionReport>),
    /// A bound of `limits` was reached (the name of its counter).
    Limit(Limit),
}
