//! The closed list of findings.

use crate::connection::{ConnectionId, Endpoint};
use crate::frame::{ErrorCode, StreamId};
use crate::kernel::event::Timestamp;
use crate::stream::record::{Moment, RequestPhase, ResponsePhase, Tier, Windows};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Legal and harmless: counted, never shown as trouble.
    Benign,
    /// An error that an application or a peer decided (a deadline, a cancel, an error status).
    Expected,
    /// Cannot be decided with what was seen.
    Unknown,
    /// Worth a look: a rate or a context decides.
    Suspicious,
    /// Something broke.
    Anomaly,
}

impl Verdict {
    /// Label value and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Benign => "benign",
            Verdict::Expected => "expected",
            Verdict::Unknown => "unknown",
            Verdict::Suspicious => "suspicious",
            Verdict::Anomaly => "anomaly",
        }
    }
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// How bad.
    pub verdict: Verdict,
    /// With how much in sight.
    pub tier: Tier,
    /// The connection end it was observed on.
    pub connection: ConnectionId,
    /// Role of the observed end.
    pub role: Option<Endpoint>,
    /// The stream; 0 for the connection.
    pub stream_id: StreamId,
    /// When the stream (or connection) ended.
    pub at: Timestamp,
    /// Who caused it, as far as this hop shows.
    pub sender: Option<Endpoint>,
    /// The RST_STREAM's or GOAWAY's code, if one is the matter.
    pub code: Option<ErrorCode>,
    /// How far the request was.
    pub request_phase: Option<RequestPhase>,
    /// How far the response was.
    pub response_phase: Option<ResponsePhase>,
    /// What the response's sender might still send at that moment.
    pub windows: Windows,
    /// One sentence in plain words, with the numbers, without payload.
    pub summary: String,
    /// Frame by frame (empty for findings about a connection).
    pub story: Vec<Moment>,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What a finding is. The doc line is also its help text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)+];

            /// Its name: label value, JSON, and what `explain` takes.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$variant => $name,)+
                }
            }

            /// Its one-line meaning.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self {
                    $(Kind::$variant => concat!($($doc),+),)+
                }
            }
        }
    };
}

kinds! {
    /// RST_STREAM by the server after a complete response, request not ended: legal early response (RFC 9113 8.1).
    EarlyResponseReset = "early_response_reset",
    /// RST_STREAM after both sides had ended, or by the client after a complete response: redundant.
    RedundantReset = "redundant_reset",
    /// RST_STREAM by the server before any response (RFC 9113 8.1; gRPC "Errors").
    ResetBeforeResponse = "reset_before_response",
    /// RST_STREAM by the server in the middle of the response: the client did not get all of it.
    ResponseCutByReset = "response_cut_by_reset",
    /// RST_STREAM with an error code after a complete response.
    ResetAfterResponse = "reset_after_response",
    /// REFUSED_STREAM before a response: not processed, safe to retry (RFC 9113 8.7).
    StreamRefused = "stream_refused",
    /// REFUSED_STREAM after response bytes: RFC 9113 8.7 forbids it.
    RefusedAfterResponse = "refused_after_response",
    /// The client cancelled the stream before its deadline.
    ClientCancel = "client_cancel",
    /// The stream was reset at or after its gRPC deadline.
    DeadlineReset = "deadline_reset",
    /// The client reset the stream with NO_ERROR before the response was complete: a cancel that lost its code.
    ClientResetNoError = "client_reset_no_error",
    /// The client refused what it received (INTERNAL, PROTOCOL, FLOW_CONTROL, FRAME_SIZE or COMPRESSION error).
    ClientRejectedResponse = "client_rejected_response",
    /// ENHANCE_YOUR_CALM on a stream: throttled, or out of memory for the session.
    StreamThrottled = "stream_throttled",
    /// STREAM_CLOSED: frames arrived after the sender's view of the stream's end.
    ResetStreamClosed = "reset_stream_closed",
    /// A gRPC response ended on a DATA frame, without trailers (gRPC "Responses").
    MissingTrailers = "missing_trailers",
    /// Trailers without grpc-status (gRPC "Responses").
    MissingGrpcStatus = "missing_grpc_status",
    /// A Trailers-Only response with status 0: a success without a message (gRPC "Responses").
    TrailersOnlyOk = "trailers_only_ok",
    /// A stream ended inside a length-prefixed message of the response.
    TruncatedResponse = "truncated_response",
    /// A stream ended inside a length-prefixed message of the request, or without its message.
    TruncatedRequest = "truncated_request",
    /// An answer that is not gRPC to a gRPC request (a :status other than 200, or another content-type).
    NonGrpcResponse = "non_grpc_response",
    /// GOAWAY with NO_ERROR: the connection drains (RFC 9113 6.8).
    GracefulGoAway = "graceful_go_away",
    /// A stream above GOAWAY's last stream id: not processed, safe to retry (RFC 9113 6.8).
    StreamUnprocessed = "stream_unprocessed",
    /// The connection closed after GOAWAY while streams that it had accepted were unfinished.
    GoAwayLostStreams = "go_away_lost_streams",
    /// A second GOAWAY with a higher last stream id (RFC 9113 6.8 forbids it).
    GoAwayRaised = "go_away_raised",
    /// One GOAWAY without warning left many streams unprocessed: a server that cuts connections by count or age.
    AbruptGoAway = "abrupt_go_away",
    /// GOAWAY with an error code.
    ErrorGoAway = "error_go_away",
    /// The connection closed without GOAWAY while streams were open.
    ConnectionLostStreams = "connection_lost_streams",
}
