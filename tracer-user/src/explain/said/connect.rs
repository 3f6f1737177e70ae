//! What connect-es prints.

use h2trace_core::anomaly::kind::Kind;

use super::{By, Said};

/// connect-es.
pub(super) static CONNECT_ES: &[Said] = &[
    Said {
        by: By::ConnectEs,
        texts: &["promised <N> bytes in enveloped message, got <N> bytes"],
        proves: "The response ended inside a message: the first number was announced, the \
             second came. The difference is what is missing.",
        leaves_open: "Who cut it, and how the stream ended (RST_STREAM, END_STREAM, or the \
             connection).",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::TruncatedResponse,
            Kind::ProxyLostBytes,
            Kind::ConnectionLostStreams,
        ],
    },
    Said {
        by: By::ConnectEs,
        texts: &["incomplete envelope"],
        proves: "The response ended inside a message or inside its 5-byte prefix \
             (connect-es 2.0.3 and newer; older ones print \"promised N bytes ...\").",
        leaves_open: "Who cut it, and how the stream ended.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::TruncatedResponse,
            Kind::ProxyLostBytes,
            Kind::ConnectionLostStreams,
        ],
    },
    Said {
        by: By::ConnectEs,
        texts: &["missing output message for unary method"],
        proves: "No message came before the stream ended: it was cut after its HEADERS \
             (connect-es before 1.5.0), or the response had none.",
        leaves_open: "Who cut it. A server that answers OK without a message causes the same text.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::TrailersOnlyOk,
            Kind::WrongMessageCount,
            Kind::ProxyDroppedTrailers,
        ],
    },
    Said {
        by: By::ConnectEs,
        texts: &["missing status"],
        proves: "The response ended without grpc-status (connect-es 1.5.0 and newer; \
             older ones took a response that ended at a message boundary for a success).",
        leaves_open: "Whether there were no trailers, trailers without grpc-status, or a reset \
             with NO_ERROR instead of them.",
        kinds: &[
            Kind::MissingTrailers,
            Kind::ProxyDroppedTrailers,
            Kind::MissingGrpcStatus,
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
        ],
    },
    Said {
        by: By::ConnectEs,
        texts: &["http/2 stream closed with error code INTERNAL_ERROR (0x2)"],
        proves: "A RST_STREAM with INTERNAL_ERROR ended the stream.",
        leaves_open: "That the server had an internal error: Envoy 1.37 and newer write this \
             code for nearly every reset.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::ConnectEs,
        texts: &["http/2 stream closed with error code REFUSED_STREAM (0x7)"],
        proves: "A RST_STREAM with REFUSED_STREAM ended the stream: it was not processed.",
        leaves_open: "Why it was refused.",
        kinds: &[
            Kind::StreamRefused,
            Kind::RefusedNotRetried,
            Kind::ConcurrencyExceeded,
        ],
    },
    Said {
        by: By::ConnectEs,
        texts: &["http/2 stream closed with error code CANCEL (0x8)"],
        proves: "A RST_STREAM with CANCEL ended the stream.",
        leaves_open: "Who cancelled: a server prints this when its client cancelled.",
        kinds: &[
            Kind::ClientCancel,
            Kind::DeadlineReset,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::ConnectEs,
        texts: &["http/2 stream closed with error code ENHANCE_YOUR_CALM (0xb)"],
        proves: "A RST_STREAM with ENHANCE_YOUR_CALM ended the stream.",
        leaves_open: "Whether it is a rate limit or a memory cap.",
        kinds: &[Kind::StreamThrottled, Kind::NearResetLimit],
    },
    Said {
        by: By::ConnectEs,
        texts: &["http/2 stream closed with error code FRAME_SIZE_ERROR (0x6)"],
        proves: "A RST_STREAM with FRAME_SIZE_ERROR ended the stream.",
        leaves_open: "Which frame or header list was too large.",
        kinds: &[Kind::HeaderListTooLarge, Kind::FramingViolation],
    },
    Said {
        by: By::ConnectEs,
        texts: &[
            "http/2 stream closed with error code <X> (<N>)",
            "http/2 stream closed with error code",
        ],
        proves: "A RST_STREAM with this code ended the stream. Codes 0 and 5 print nothing.",
        leaves_open: "Which hop did it: a proxy resets streams in its own name, and may change \
             the code on the way.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ClientRejectedResponse,
        ],
    },
];
