//! What grpc-go and the HTTP/2 of Go print. Read from grpc-go 1.70.0 and 1.85.0.

use h2trace_core::anomaly::kind::Kind;

use super::{By, Said};

/// grpc-go.
pub(super) static GRPC_GO: &[Said] = &[
    Said {
        by: By::GrpcGo,
        texts: &["stream terminated by RST_STREAM with error code: NO_ERROR"],
        proves: "A RST_STREAM with NO_ERROR came before the response was complete.",
        leaves_open: "That the server sent it: the reset after a complete response is legal, \
             and a proxy that passes it on too early cuts the response.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &["stream terminated by RST_STREAM with error code: INTERNAL_ERROR"],
        proves: "A RST_STREAM with INTERNAL_ERROR came before the response was complete.",
        leaves_open: "That the server had an internal error: Envoy 1.37 and newer write this \
             code for nearly every reset.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::ResetBeforeResponse,
            Kind::MissingTrailers,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &["stream terminated by RST_STREAM with error code: PROTOCOL_ERROR"],
        proves: "A RST_STREAM with PROTOCOL_ERROR came.",
        leaves_open: "Which frame or field of the request its sender could not accept. Which \
             hop did it: a proxy resets streams in its own name, and may change the code on the \
             way.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::MalformedFields,
            Kind::ResponseCutByReset,
            Kind::FramingViolation,
            Kind::BadWindowUpdate,
            Kind::MadeYouReset,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &["stream terminated by RST_STREAM with error code: REFUSED_STREAM"],
        proves: "The stream was refused: not processed, and safe to try again.",
        leaves_open: "Why it was refused.",
        kinds: &[
            Kind::StreamRefused,
            Kind::RefusedNotRetried,
            Kind::ConcurrencyExceeded,
            Kind::RefusedAfterResponse,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &["stream terminated by RST_STREAM with error code: CANCEL"],
        proves: "A RST_STREAM with CANCEL came. grpc-go makes DEADLINE_EXCEEDED of it \
             when the deadline had passed.",
        leaves_open: "Why the peer gave up before the deadline.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::DeadlineReset,
            Kind::ResponseCutByReset,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &["stream terminated by RST_STREAM with error code: ENHANCE_YOUR_CALM"],
        proves: "A RST_STREAM with ENHANCE_YOUR_CALM came.",
        leaves_open: "Whether it is a rate limit or a memory cap of the session (typically \
             Node's, 10 MB by default).",
        kinds: &[Kind::StreamThrottled, Kind::NearResetLimit],
    },
    Said {
        by: By::GrpcGo,
        texts: &["stream terminated by RST_STREAM with error code: FLOW_CONTROL_ERROR"],
        proves: "A RST_STREAM with FLOW_CONTROL_ERROR came. grpc-go makes \
             RESOURCE_EXHAUSTED of it.",
        leaves_open: "Who overran the window.",
        kinds: &[Kind::WindowOverrun, Kind::BadWindowUpdate],
    },
    Said {
        by: By::GrpcGo,
        texts: &["stream terminated by RST_STREAM with error code: FRAME_SIZE_ERROR"],
        proves: "A RST_STREAM with FRAME_SIZE_ERROR came.",
        leaves_open: "Whether a frame or a header list was too large: grpc-go uses the code \
             for both.",
        kinds: &[Kind::HeaderListTooLarge, Kind::FramingViolation],
    },
    Said {
        by: By::GrpcGo,
        texts: &["stream terminated by RST_STREAM with error code: STREAM_CLOSED"],
        proves: "A RST_STREAM with STREAM_CLOSED came: for its sender the stream was over already.",
        leaves_open: "Whether frames in flight crossed (legal) or not.",
        kinds: &[
            Kind::ResetStreamClosed,
            Kind::FrameAfterReset,
            Kind::FrameAfterEndStream,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &[
            "stream terminated by RST_STREAM with error code: <X>",
            "stream terminated by RST_STREAM",
        ],
        proves: "A RST_STREAM with this code ended the call.",
        leaves_open: "Which hop did it: a proxy resets streams in its own name, and may change \
             the code on the way.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::ProxyTruncatedCompleteResponse,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &["unexpected EOF"],
        proves: "The stream ended inside a message. Before grpc-go 1.73.0 a reset inside \
             a message printed this too.",
        leaves_open: "How the stream ended: RST_STREAM, END_STREAM, or the connection.",
        kinds: &[
            Kind::TruncatedResponse,
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::TruncatedRequest,
            Kind::ConnectionLostStreams,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &["server closed the stream without sending trailers"],
        proves: "END_STREAM came on a DATA frame: the response ended without trailers. No \
             RST_STREAM did it.",
        leaves_open: "Whether the server or a proxy behind left the trailers away.",
        kinds: &[
            Kind::MissingTrailers,
            Kind::ProxyDroppedTrailers,
            Kind::TruncatedResponse,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &[
            "error reading from server: EOF ... received prior goaway",
            "error reading from server ... received prior goaway",
        ],
        proves: "The connection closed after a GOAWAY, and this call was not finished.",
        leaves_open: "Whether the GOAWAY had accepted the stream (lost work) or not (safe to \
             try again).",
        kinds: &[
            Kind::GoAwayLostStreams,
            Kind::StreamUnprocessed,
            Kind::AbruptGoAway,
            Kind::ErrorGoAway,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &[
            "error reading from server: EOF",
            "error reading from server",
        ],
        proves: "The connection was closed while the call was open.",
        leaves_open: "Who closed it, and why: a load balancer's idle timeout, a restart, a crash.",
        kinds: &[
            Kind::ConnectionLostStreams,
            Kind::GoAwayLostStreams,
            Kind::KilledWhileIdle,
            Kind::PingTimeout,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &["transport is closing"],
        proves: "The connection was closed while the call was open.",
        leaves_open: "Who closed it: it may be this end.",
        kinds: &[
            Kind::ConnectionLostStreams,
            Kind::GoAwayLostStreams,
            Kind::PingTimeout,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &[
            "the stream is rejected because server is draining the connection",
            "rejected because server is draining",
        ],
        proves: "A GOAWAY had come: the call was never sent, or was above its last stream \
             id. It is safe to try again.",
        leaves_open: "Why the server drains: its age limit, a restart, a count of requests.",
        kinds: &[
            Kind::StreamUnprocessed,
            Kind::AbruptGoAway,
            Kind::GracefulGoAway,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &[
            "received goaway with stream id: <N>, which exceeds stream id of previous goaway: <N>",
        ],
        proves: "A second GOAWAY raised the last stream id, which RFC 9113 forbids.",
        leaves_open: "Nothing about the calls themselves.",
        kinds: &[Kind::GoAwayRaised],
    },
    Said {
        by: By::GrpcGo,
        texts: &[
            "http2: frame too large",
            "note that the frame header looked like an HTTP/1.1 header",
        ],
        proves: "What came is no HTTP/2 frame of a size that was allowed. When it is the \
             answer to the preface: \"HTT\" of \"HTTP/1.1\" reads as a length of 4,740,180.",
        leaves_open: "That HTTP/2 was spoken at all: mostly an HTTP/1.1 or TLS port was called.",
        kinds: &[Kind::NotHttp2, Kind::FramingViolation],
    },
    Said {
        by: By::GrpcGo,
        texts: &["malformed grpc-status"],
        proves: "A grpc-status came that is no number.",
        leaves_open: "Which hop wrote it.",
        kinds: &[Kind::MalformedGrpcStatus, Kind::MissingGrpcStatus],
    },
    Said {
        by: By::GrpcGo,
        texts: &[
            "unexpected HTTP status code received from server: <N> (...); transport: received unexpected content-type",
            "unexpected HTTP status code received from server: <N>",
        ],
        proves: "The answer was no gRPC: this :status, without grpc-status.",
        leaves_open: "That the server said so: proxies and load balancers answer in their own \
             name.",
        kinds: &[Kind::NonGrpcResponse, Kind::SynthesizedAnswer],
    },
    Said {
        by: By::GrpcGo,
        texts: &["received unexpected content-type"],
        proves: "The answer's content-type was not application/grpc.",
        leaves_open: "Who sent it: mostly a proxy's error page.",
        kinds: &[Kind::NonGrpcResponse, Kind::SynthesizedAnswer],
    },
    Said {
        by: By::GrpcGo,
        texts: &["peer header list size exceeded limit"],
        proves: "A header list came that is larger than this end's limit; it reset the \
             stream (FRAME_SIZE_ERROR).",
        leaves_open: "Which field is so large: often grpc-message or a cookie.",
        kinds: &[Kind::HeaderListTooLarge, Kind::ClientRejectedResponse],
    },
    Said {
        by: By::GrpcGo,
        texts: &["header list size to send violates the maximum size (<N> bytes) set by server"],
        proves: "This client wanted to send more header bytes than the server's \
             SETTINGS_MAX_HEADER_LIST_SIZE. Nothing was sent.",
        leaves_open: "Which field is so large.",
        kinds: &[Kind::HeaderListTooLarge],
    },
    Said {
        by: By::GrpcGo,
        texts: &["cardinality violation: received no request message"],
        proves: "The request ended without its message.",
        leaves_open: "Whether the client sent none, or a proxy dropped it.",
        kinds: &[
            Kind::TruncatedRequest,
            Kind::ProxyTruncatedRequest,
            Kind::WrongMessageCount,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &["cardinality violation: received no response message"],
        proves: "A call with one response ended with status 0 and no message.",
        leaves_open: "Whether the server sent none, or a hop lost it.",
        kinds: &[
            Kind::WrongMessageCount,
            Kind::TrailersOnlyOk,
            Kind::ProxyLostBytes,
        ],
    },
    Said {
        by: By::GrpcGo,
        texts: &["cardinality violation"],
        proves: "A call had more or fewer messages than its method allows.",
        leaves_open: "Which hop added or lost one.",
        kinds: &[Kind::WrongMessageCount, Kind::TruncatedRequest],
    },
    Said {
        by: By::GrpcGo,
        texts: &["got too many pings from the client"],
        proves: "The server counted too many PINGs of this client and closes the connection.",
        leaves_open: "That the client is broken: a proxy or library may send PINGs to measure \
             bandwidth.",
        kinds: &[Kind::TooManyPings, Kind::ErrorGoAway],
    },
    Said {
        by: By::GrpcGo,
        texts: &[
            "keepalive ping failed to receive ACK within timeout",
            "keepalive ping not acked within timeout <X>",
        ],
        proves: "A PING was not answered in time, so this end closed the connection.",
        leaves_open: "Whether the peer hung, or the network in between dropped the connection \
             silently.",
        kinds: &[Kind::PingTimeout, Kind::ConnectionLostStreams],
    },
    Said {
        by: By::GrpcGo,
        texts: &["max_age"],
        proves: "GOAWAY of a grpc-go server: the connection reached MaxConnectionAge.",
        leaves_open: "Nothing is wrong by itself.",
        kinds: &[Kind::GracefulGoAway, Kind::StreamUnprocessed],
    },
    Said {
        by: By::GrpcGo,
        texts: &["max_idle"],
        proves: "GOAWAY of a grpc-go server: the connection was idle for MaxConnectionIdle.",
        leaves_open: "Nothing is wrong by itself.",
        kinds: &[Kind::GracefulGoAway],
    },
    Said {
        by: By::GrpcGo,
        texts: &["graceful_stop"],
        proves: "GOAWAY of a grpc-go server that is being stopped.",
        leaves_open: "Nothing is wrong by itself.",
        kinds: &[Kind::GracefulGoAway, Kind::StreamUnprocessed],
    },
];

/// golang.org/x/net/http2: errors, and the keys that it counts them by.
pub(super) static GO_HTTP2: &[Said] = &[
    Said {
        by: By::GoHttp2,
        texts: &[
            "server sent GOAWAY and closed the connection; LastStreamID=<N>",
            "server sent GOAWAY and closed the connection",
        ],
        proves: "The connection closed after GOAWAY with this request unfinished.",
        leaves_open: "Whether the request's stream id was at or below LastStreamID (lost work) \
             or above it (not processed).",
        kinds: &[
            Kind::GoAwayLostStreams,
            Kind::ErrorGoAway,
            Kind::AbruptGoAway,
            Kind::StreamUnprocessed,
        ],
    },
    Said {
        by: By::GoHttp2,
        texts: &[
            "frame_windowupdate_zero_inc_conn",
            "frame_windowupdate_zero_inc_stream",
        ],
        proves: "A WINDOW_UPDATE with increment 0 came.",
        leaves_open: "Whether it is a defect or an attack.",
        kinds: &[Kind::BadWindowUpdate, Kind::MadeYouReset],
    },
    Said {
        by: By::GoHttp2,
        texts: &["over_max_streams_race"],
        proves: "A client opened more streams than allowed before it had acknowledged the \
             SETTINGS: a race.",
        leaves_open: "Nothing is wrong.",
        kinds: &[Kind::ConcurrencyExceeded],
    },
    Said {
        by: By::GoHttp2,
        texts: &["over_max_streams"],
        proves: "A client opened more streams than SETTINGS_MAX_CONCURRENT_STREAMS allows.",
        leaves_open: "Nothing of the cause.",
        kinds: &[Kind::ConcurrencyExceeded, Kind::StreamRefused],
    },
    Said {
        by: By::GoHttp2,
        texts: &["too_many_early_resets"],
        proves: "A client reset so many streams that the server closed the connection.",
        leaves_open: "That it is an attack: mass cancels at a deadline look the same.",
        kinds: &[Kind::NearResetLimit, Kind::RapidReset, Kind::ErrorGoAway],
    },
];
