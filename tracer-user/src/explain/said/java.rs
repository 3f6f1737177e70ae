//! What grpc-java prints. Read from grpc-java 1.76.0.

use h2trace_core::anomaly::kind::Kind;

use super::{By, Said};

/// grpc-java.
pub(super) static GRPC_JAVA: &[Said] = &[
    Said {
        by: By::GrpcJava,
        texts: &["RST_STREAM closed stream. HTTP/2 error code: NO_ERROR"],
        proves: "A RST_STREAM with NO_ERROR came before the response was complete. \
             grpc-java calls it UNAVAILABLE, others INTERNAL.",
        leaves_open: "That the server was unavailable, or that it sent the reset.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::GrpcJava,
        texts: &["RST_STREAM closed stream. HTTP/2 error code: INTERNAL_ERROR"],
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
        by: By::GrpcJava,
        texts: &["RST_STREAM closed stream. HTTP/2 error code: REFUSED_STREAM"],
        proves: "The stream was refused: not processed, safe to try again.",
        leaves_open: "Why it was refused.",
        kinds: &[
            Kind::StreamRefused,
            Kind::RefusedNotRetried,
            Kind::ConcurrencyExceeded,
        ],
    },
    Said {
        by: By::GrpcJava,
        texts: &["RST_STREAM closed stream. HTTP/2 error code: CANCEL"],
        proves: "A RST_STREAM with CANCEL came.",
        leaves_open: "Whether it came at the deadline (expected) or before it.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::DeadlineReset,
            Kind::ResponseCutByReset,
        ],
    },
    Said {
        by: By::GrpcJava,
        texts: &["RST_STREAM closed stream. HTTP/2 error code: ENHANCE_YOUR_CALM"],
        proves: "A RST_STREAM with ENHANCE_YOUR_CALM came.",
        leaves_open: "Whether it is a rate limit or a memory cap.",
        kinds: &[Kind::StreamThrottled, Kind::NearResetLimit],
    },
    Said {
        by: By::GrpcJava,
        texts: &["RST_STREAM closed stream. HTTP/2 error code: STREAM_CLOSED"],
        proves: "A RST_STREAM with STREAM_CLOSED came: for its sender the stream was over already.",
        leaves_open: "Whether frames in flight crossed (legal) or not.",
        kinds: &[Kind::ResetStreamClosed, Kind::FrameAfterReset],
    },
    Said {
        by: By::GrpcJava,
        texts: &["RST_STREAM closed stream. HTTP/2 error code: FLOW_CONTROL_ERROR"],
        proves: "A RST_STREAM with FLOW_CONTROL_ERROR came.",
        leaves_open: "Who overran the window.",
        kinds: &[Kind::WindowOverrun, Kind::BadWindowUpdate],
    },
    Said {
        by: By::GrpcJava,
        texts: &[
            "RST_STREAM closed stream. HTTP/2 error code: <X>",
            "RST_STREAM closed stream",
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
        by: By::GrpcJava,
        texts: &["Rst Stream"],
        proves: "grpc-java with okhttp: a RST_STREAM ended the call. The status says the \
             code's meaning.",
        leaves_open: "Which hop did it: a proxy resets streams in its own name, and may change \
             the code on the way.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::ProxyTruncatedCompleteResponse,
        ],
    },
    Said {
        by: By::GrpcJava,
        texts: &[
            "Received unexpected EOS on empty DATA frame from server",
            "Received unexpected EOS on non-empty DATA frame from server",
            "Received unexpected EOS on DATA frame from server",
        ],
        proves: "END_STREAM came on a DATA frame: the response ended without trailers. No \
             RST_STREAM did it.",
        leaves_open: "Whether the server or a proxy behind left the trailers away.",
        kinds: &[
            Kind::MissingTrailers,
            Kind::ProxyDroppedTrailers,
            Kind::NonGrpcResponse,
        ],
    },
    Said {
        by: By::GrpcJava,
        texts: &["missing GRPC status in response"],
        proves: "Trailers came, without grpc-status.",
        leaves_open: "Which hop took it away.",
        kinds: &[Kind::MissingGrpcStatus],
    },
    Said {
        by: By::GrpcJava,
        texts: &["Encountered end-of-stream mid-frame"],
        proves: "The stream ended inside a message. On a server it is the request that was cut.",
        leaves_open: "How the stream ended, and which hop cut it.",
        kinds: &[
            Kind::TruncatedResponse,
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::TruncatedRequest,
            Kind::ProxyTruncatedRequest,
        ],
    },
    Said {
        by: By::GrpcJava,
        texts: &["Half-closed without a request"],
        proves: "The client's side ended, and its message never came.",
        leaves_open: "Whether the client sent none, or a proxy dropped the request's body.",
        kinds: &[Kind::TruncatedRequest, Kind::ProxyTruncatedRequest],
    },
    Said {
        by: By::GrpcJava,
        texts: &["invalid content-type"],
        proves: "The answer's content-type was not application/grpc.",
        leaves_open: "Who sent it: mostly a proxy's error page.",
        kinds: &[Kind::NonGrpcResponse, Kind::SynthesizedAnswer],
    },
    Said {
        by: By::GrpcJava,
        texts: &[
            "Abrupt GOAWAY closed sent stream",
            "Abrupt GOAWAY closed unsent stream",
        ],
        proves: "A GOAWAY cut this stream off: its id is above the last stream id, or it \
             had not been sent.",
        leaves_open: "Why the connection was ended so: often a count of requests (nginx \
             keepalive_requests).",
        kinds: &[
            Kind::AbruptGoAway,
            Kind::StreamUnprocessed,
            Kind::GoAwayLostStreams,
        ],
    },
    Said {
        by: By::GrpcJava,
        texts: &["UNAVAILABLE: io exception", "io exception"],
        proves: "The connection failed under the call, or could not be made.",
        leaves_open: "Whether there was a stream at all: the text is the same for a connect \
             that failed, for TLS and for a reset.",
        kinds: &[
            Kind::ConnectionLostStreams,
            Kind::NotHttp2,
            Kind::PingTimeout,
        ],
    },
    Said {
        by: By::GrpcJava,
        texts: &["Network closed for unknown reason"],
        proves: "The connection closed under the call, without GOAWAY.",
        leaves_open: "Who closed it.",
        kinds: &[Kind::ConnectionLostStreams, Kind::KilledWhileIdle],
    },
    Said {
        by: By::GrpcJava,
        texts: &["Header size exceeded max allowed size"],
        proves: "A header list was larger than this end takes. In Netty that is an error \
             of the connection: its neighbours fail too.",
        leaves_open: "Which field is so large.",
        kinds: &[Kind::HeaderListTooLarge, Kind::ErrorGoAway],
    },
    Said {
        by: By::GrpcJava,
        texts: &["Keepalive failed. The connection is likely gone"],
        proves: "A PING was not answered in time, so this end closed the connection.",
        leaves_open: "Whether the peer hung or the network dropped it.",
        kinds: &[Kind::PingTimeout, Kind::ConnectionLostStreams],
    },
    Said {
        by: By::GrpcJava,
        texts: &["too_many_rststreams"],
        proves: "GOAWAY of a grpc-java server: the client reset more streams in a period \
             than the server allows.",
        leaves_open: "That it is an attack: mass cancels at a deadline look the same.",
        kinds: &[Kind::NearResetLimit, Kind::RapidReset, Kind::ErrorGoAway],
    },
];
