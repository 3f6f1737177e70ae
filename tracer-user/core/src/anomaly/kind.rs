//! The closed list of findings.

use crate::connection::{ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::frame::{ErrorCode, StreamId};
use crate::stream::record::{RequestPhase, ResponsePhase, Story, Tier, Windows};

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
    pub story: Story,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, [$($verdict:ident),+], $tier:ident;)+) => {
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

            /// The verdicts that it may have, the usual one first (a gap turns any but benign into unknown).
            #[must_use]
            pub const fn verdicts(self) -> &'static [Verdict] {
                match self {
                    $(Kind::$variant => &[$(Verdict::$verdict),+],)+
                }
            }

            /// How much must be seen for it to be found.
            #[must_use]
            pub const fn tier(self) -> Tier {
                match self {
                    $(Kind::$variant => Tier::$tier,)+
                }
            }
        }
    };
}

kinds! {
    /// RST_STREAM by the server after a complete response, request not ended: legal early response (RFC 9113 8.1).
    EarlyResponseReset = "early_response_reset", [Benign], T0;
    /// RST_STREAM after both sides had ended, or by the client after a complete response: redundant.
    RedundantReset = "redundant_reset", [Benign], T0;
    /// RST_STREAM by the server before any response (RFC 9113 8.1; gRPC "Errors").
    ResetBeforeResponse = "reset_before_response", [Anomaly], T0;
    /// RST_STREAM by the server in the middle of the response: the client did not get all of it.
    ResponseCutByReset = "response_cut_by_reset", [Anomaly], T0;
    /// RST_STREAM with an error code after a complete response.
    ResetAfterResponse = "reset_after_response", [Suspicious], T0;
    /// REFUSED_STREAM before a response: not processed, safe to retry (RFC 9113 8.7).
    StreamRefused = "stream_refused", [Suspicious], T0;
    /// REFUSED_STREAM after response bytes: RFC 9113 8.7 forbids it.
    RefusedAfterResponse = "refused_after_response", [Anomaly], T0;
    /// The client cancelled the stream before its deadline.
    ClientCancel = "client_cancel", [Expected], T0;
    /// The stream was reset at or after its gRPC deadline.
    DeadlineReset = "deadline_reset", [Expected], T1;
    /// The client reset the stream with NO_ERROR before the response was complete: a cancel that lost its code.
    ClientResetNoError = "client_reset_no_error", [Suspicious], T0;
    /// The client refused what it received (INTERNAL, PROTOCOL, FLOW_CONTROL, FRAME_SIZE or COMPRESSION error).
    ClientRejectedResponse = "client_rejected_response", [Anomaly, Suspicious], T0;
    /// ENHANCE_YOUR_CALM on a stream: throttled, or out of memory for the session.
    StreamThrottled = "stream_throttled", [Anomaly, Suspicious], T0;
    /// STREAM_CLOSED: frames arrived after the sender's view of the stream's end.
    ResetStreamClosed = "reset_stream_closed", [Anomaly, Suspicious, Benign], T0;
    /// A gRPC response ended on a DATA frame, without trailers (gRPC "Responses").
    MissingTrailers = "missing_trailers", [Anomaly], T0;
    /// Trailers without grpc-status (gRPC "Responses").
    MissingGrpcStatus = "missing_grpc_status", [Anomaly], T1;
    /// A Trailers-Only response with status 0: a success without a message (gRPC "Responses").
    TrailersOnlyOk = "trailers_only_ok", [Suspicious, Anomaly, Unknown], T1;
    /// A stream ended inside a length-prefixed message of the response.
    TruncatedResponse = "truncated_response", [Anomaly], T0;
    /// A stream ended inside a length-prefixed message of the request, or without its message.
    TruncatedRequest = "truncated_request", [Anomaly], T0;
    /// An answer that is not gRPC to a gRPC request (a :status other than 200, or another content-type).
    NonGrpcResponse = "non_grpc_response", [Anomaly, Suspicious], T1;
    /// GOAWAY with NO_ERROR: the connection drains (RFC 9113 6.8).
    GracefulGoAway = "graceful_go_away", [Benign], T0;
    /// A stream above GOAWAY's last stream id: not processed, safe to retry (RFC 9113 6.8).
    StreamUnprocessed = "stream_unprocessed", [Expected], T0;
    /// The connection closed after GOAWAY while streams that it had accepted were unfinished.
    GoAwayLostStreams = "go_away_lost_streams", [Anomaly, Suspicious], T0;
    /// A second GOAWAY with a higher last stream id (RFC 9113 6.8 forbids it).
    GoAwayRaised = "go_away_raised", [Anomaly], T0;
    /// One GOAWAY without warning left many streams unprocessed: a server that cuts connections by count or age.
    AbruptGoAway = "abrupt_go_away", [Suspicious], T0;
    /// GOAWAY with an error code.
    ErrorGoAway = "error_go_away", [Anomaly], T0;
    /// The connection closed without GOAWAY while streams were open.
    ConnectionLostStreams = "connection_lost_streams", [Anomaly, Suspicious], T0;
    /// A sender with more of a message to send had no stream window for long (RFC 9113 6.9.1).
    StreamWindowStall = "stream_window_stall", [Suspicious, Anomaly], T0;
    /// The connection window was used up for long, so that every stream of the connection waited (RFC 9113 6.9.1).
    ConnectionWindowStall = "connection_window_stall", [Suspicious, Anomaly], T0;
    /// DATA beyond the flow-control window (RFC 9113 6.9.1).
    WindowOverrun = "window_overrun", [Anomaly], T0;
    /// WINDOW_UPDATE with increment 0, or beyond 2^31-1 in sum (RFC 9113 6.9).
    BadWindowUpdate = "bad_window_update", [Anomaly], T0;
    /// As many streams open as SETTINGS_MAX_CONCURRENT_STREAMS allows, for long: further calls wait unseen in the client (RFC 9113 5.1.2).
    ConcurrencySaturated = "concurrency_saturated", [Suspicious], T0;
    /// More streams opened than SETTINGS_MAX_CONCURRENT_STREAMS allows (RFC 9113 5.1.2).
    ConcurrencyExceeded = "concurrency_exceeded", [Anomaly, Benign], T0;
    /// The response was complete, the request never ended, and nobody reset the stream: it leaks (RFC 9113 5.1).
    StreamLeftOpen = "stream_left_open", [Suspicious], T0;
    /// The request was complete and had no deadline, and no response came for long (gRPC "Responses").
    ResponseOverdue = "response_overdue", [Suspicious], T1;
    /// Streams were reset again and again at the same age or after the same idle time: a timeout on the way, not an application.
    KilledWhileIdle = "killed_while_idle", [Suspicious], T0;
    /// A successful call with no or several messages where the method has exactly one (gRPC "Responses").
    WrongMessageCount = "wrong_message_count", [Anomaly], T1;
    /// The DATA of a message is not as long as its content-length says (RFC 9113 8.1.1).
    ContentLengthMismatch = "content_length_mismatch", [Anomaly], T1;
    /// Header fields that RFC 9113 8.2 or 8.3 forbids, trailers without END_STREAM, or a gRPC prefix that is none.
    MalformedFields = "malformed_fields", [Anomaly, Suspicious], T1;
    /// A 1xx response that ended the stream (RFC 9113 8.1).
    InformationalEndStream = "informational_end_stream", [Anomaly], T1;
    /// A grpc-status that is no number of 0 to 16 without leading zeros (gRPC "Responses").
    MalformedGrpcStatus = "malformed_grpc_status", [Anomaly], T1;
    /// The server closed the connection because the client sent PINGs too often (gRPC "Keepalive").
    TooManyPings = "too_many_pings", [Anomaly], T0;
    /// A PING was not answered before its sender closed the connection (RFC 9113 6.7).
    PingTimeout = "ping_timeout", [Anomaly], T0;
    /// SETTINGS were not acknowledged before their sender gave up the connection (RFC 9113 6.5.3).
    SettingsTimeout = "settings_timeout", [Suspicious], T0;
    /// HTTP/2 was spoken to an end that speaks HTTP/1.1 or TLS (RFC 9113 3.4).
    NotHttp2 = "not_http2", [Anomaly], T0;
    /// A TLS handshake failed, as far as that is in clear (RFC 8446 6.2).
    TlsHandshakeFailed = "tls_handshake_failed", [Anomaly, Suspicious], T0;
    /// A header list larger than the peer takes (RFC 9113 6.5.2 and 10.5.1).
    HeaderListTooLarge = "header_list_too_large", [Anomaly], T1;
    /// A header block that the receiver could not decode: the connection ended with COMPRESSION_ERROR (RFC 9113 4.3).
    HpackFailure = "hpack_failure", [Anomaly], T0;
    /// A frame that RFC 9113 forbids where it stands: size, stream id, order, flags or value.
    FramingViolation = "framing_violation", [Anomaly], T0;
    /// HEADERS or DATA after the sender's own END_STREAM (RFC 9113 5.1).
    FrameAfterEndStream = "frame_after_end_stream", [Anomaly], T0;
    /// Frames after the stream was reset: legal while in flight, wrong from whoever sent or processed the reset (RFC 9113 5.1).
    FrameAfterReset = "frame_after_reset", [Benign, Anomaly], T0;
    /// DATA before HEADERS, or a PUSH_PROMISE to a gRPC client (RFC 9113 8.1 and 8.4).
    UnexpectedFrame = "unexpected_frame", [Anomaly], T0;
    /// A client opens and resets streams at a high rate (CVE-2023-44487).
    RapidReset = "rapid_reset", [Anomaly], T0;
    /// Resets at a rate at which common servers and proxies begin to close connections.
    NearResetLimit = "near_reset_limit", [Suspicious], T0;
    /// A client makes the server reset streams again and again by frames that violate the protocol (CVE-2025-8671).
    MadeYouReset = "made_you_reset", [Anomaly], T0;
    /// A header block of very many CONTINUATION frames (VU#421644).
    ContinuationFlood = "continuation_flood", [Anomaly], T0;
    /// A flood of PING, SETTINGS, PRIORITY, WINDOW_UPDATE or empty frames (CVE-2019-9511 to 9518).
    ControlFlood = "control_flood", [Anomaly], T0;
    /// The proxy passed on another grpc-status than it got.
    StatusChanged = "status_changed", [Anomaly, Expected], T2;
    /// The response was complete at the proxy, and the proxy did not pass on all of it.
    ProxyTruncatedCompleteResponse = "proxy_truncated_complete_response", [Anomaly], T2;
    /// The proxy passed on all DATA of a complete response and not its trailers.
    ProxyDroppedTrailers = "proxy_dropped_trailers", [Anomaly], T2;
    /// The proxy passed on fewer message bytes than it got, though it ended the response in order.
    ProxyLostBytes = "proxy_lost_bytes", [Anomaly, Suspicious], T2;
    /// The proxy passed on a reset with another error code than it got.
    ProxyTranslatedCode = "proxy_translated_code", [Expected, Suspicious], T2;
    /// The request was complete at the proxy, and the proxy did not pass on all of it.
    ProxyTruncatedRequest = "proxy_truncated_request", [Anomaly], T2;
    /// Both sides were in flight, neither the client nor the server had ended the request, and the proxy ended both: a timeout, a limit or a shutdown of its own.
    ProxyGaveUp = "proxy_gave_up", [Expected, Suspicious, Anomaly], T2;
    /// The client gave up, and the proxy left the stream to the server open.
    CancelNotPropagated = "cancel_not_propagated", [Suspicious], T2;
    /// The stream to the server was over, and the proxy left the client waiting until it gave up, or for long.
    ProxyLeftClientWaiting = "proxy_left_client_waiting", [Suspicious], T2;
    /// The proxy tried several times; an attempt failed that the client never saw.
    RetryHiddenFailure = "retry_hidden_failure", [Expected], T2;
    /// The proxy answered by itself, without a response of a server.
    SynthesizedAnswer = "synthesized_answer", [Expected], T2;
    /// The server's response was complete before the proxy had ended the request: legal, and what makes some proxies cut responses.
    EarlyResponseUpstream = "early_response_upstream", [Benign], T2;
    /// The server refused the stream, and the proxy passed the failure on instead of trying again (RFC 9113 8.7).
    RefusedNotRetried = "refused_not_retried", [Suspicious], T2;
}
