//! What grpc-js and Node's HTTP/2 print. Read from grpc-js 1.12.6 and 1.14.7.

use h2trace_core::anomaly::kind::Kind;

use super::{By, Said};

/// grpc-js.
pub(super) static GRPC_JS: &[Said] = &[
    Said {
        by: By::GrpcJs,
        texts: &[
            "Received RST_STREAM with code 0 (Call ended without gRPC status)",
            "Received RST_STREAM with code 0",
            "Call ended without gRPC status",
        ],
        proves: "The stream closed, no grpc-status had come, and Node's code for the \
             stream was 0 (NO_ERROR).",
        leaves_open: "That there was a RST_STREAM: grpc-js prints this for every close without \
             status and with code 0, also for a plain DATA frame with END_STREAM. Nor that the \
             server failed: a proxy that throws away a complete response leaves exactly this \
             text.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::ProxyDroppedTrailers,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &[
            "Received RST_STREAM with code 2 (Internal server error)",
            "Received RST_STREAM with code 2",
        ],
        proves: "A RST_STREAM with INTERNAL_ERROR ended the stream before its status came.",
        leaves_open: "That the server had an internal error: Envoy 1.37 and newer write code 2 \
             where older ones wrote 0, also when they throw away a complete response. Which hop \
             did it: a proxy resets streams in its own name, and may change the code on the way.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::ProxyDroppedTrailers,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &[
            "Received RST_STREAM with code 2 triggered by internal client error: Session closed",
            "code 2 triggered by internal client error ... Session closed",
        ],
        proves: "The client's own HTTP/2 session closed under its open streams; no \
             RST_STREAM needs to have come.",
        leaves_open: "Who closed the session: the peer, the network, or the client's own library.",
        kinds: &[
            Kind::ConnectionLostStreams,
            Kind::NearResetLimit,
            Kind::GoAwayLostStreams,
            Kind::ErrorGoAway,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &[
            "Received RST_STREAM with code 2 triggered by internal client error: Session closed with error code 2",
            "Session closed with error code 2",
        ],
        proves: "The HTTP/2 session ended with INTERNAL_ERROR, and all its open streams with it.",
        leaves_open: "Who caused it. About 1000 cancelled streams made Node's HTTP/2 library \
             end a session so.",
        kinds: &[
            Kind::NearResetLimit,
            Kind::RapidReset,
            Kind::ConnectionLostStreams,
            Kind::ErrorGoAway,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &[
            "Received RST_STREAM with code 2 triggered by internal client error: <X>",
            "triggered by internal client error",
        ],
        proves: "The client's own HTTP/2 library destroyed the stream, and says why after \
             the colon.",
        leaves_open: "That any RST_STREAM was on the wire.",
        kinds: &[
            Kind::ConnectionLostStreams,
            Kind::ClientRejectedResponse,
            Kind::FramingViolation,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &["Received RST_STREAM with code 1"],
        proves: "A RST_STREAM with PROTOCOL_ERROR ended the stream.",
        leaves_open: "What broke the protocol: look at the frames before the reset. Which hop \
             did it: a proxy resets streams in its own name, and may change the code on the way.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::MalformedFields,
            Kind::FramingViolation,
            Kind::BadWindowUpdate,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &["Received RST_STREAM with code 3"],
        proves: "A RST_STREAM with FLOW_CONTROL_ERROR ended the stream.",
        leaves_open: "Who overran the window. Which hop did it: a proxy resets streams in its \
             own name, and may change the code on the way.",
        kinds: &[
            Kind::WindowOverrun,
            Kind::BadWindowUpdate,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &["Received RST_STREAM with code 5"],
        proves: "A RST_STREAM with STREAM_CLOSED ended the stream: for its sender the \
             stream was over already.",
        leaves_open: "Whether it was a race of frames in flight (legal) or a frame that must \
             not have been sent.",
        kinds: &[
            Kind::ResetStreamClosed,
            Kind::FrameAfterReset,
            Kind::FrameAfterEndStream,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &["Received RST_STREAM with code 6"],
        proves: "A RST_STREAM with FRAME_SIZE_ERROR ended the stream.",
        leaves_open: "Which frame was too large: grpc-go uses this code for a header list \
             beyond its limit too.",
        kinds: &[Kind::HeaderListTooLarge, Kind::FramingViolation],
    },
    Said {
        by: By::GrpcJs,
        texts: &["Received RST_STREAM with code 11"],
        proves: "A RST_STREAM with ENHANCE_YOUR_CALM ended the stream.",
        leaves_open: "Whether it is a rate limit or a memory cap of the session (Node's is 10 \
             MB by default).",
        kinds: &[Kind::StreamThrottled, Kind::NearResetLimit],
    },
    Said {
        by: By::GrpcJs,
        texts: &["Received RST_STREAM with code <N>"],
        proves: "Node's code for the stream was this number (RFC 9113 section 7), and no \
             status had come.",
        leaves_open: "Which hop did it: a proxy resets streams in its own name, and may change \
             the code on the way.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::ProxyTruncatedCompleteResponse,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &["Stream refused by server"],
        proves: "The stream was closed with REFUSED_STREAM: it was not processed, and may \
             be tried again.",
        leaves_open: "Why: too many streams at once, or a server or proxy that is shutting down.",
        kinds: &[
            Kind::StreamRefused,
            Kind::RefusedNotRetried,
            Kind::ConcurrencyExceeded,
            Kind::NearResetLimit,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &["Call cancelled"],
        proves: "The stream was closed with CANCEL by the other side, while the \
             connection was alive.",
        leaves_open: "Whether the server did it at the deadline (expected) or before it, or a \
             proxy did.",
        kinds: &[
            Kind::DeadlineReset,
            Kind::ClientCancel,
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::CancelNotPropagated,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &["Connection dropped"],
        proves: "The session was destroyed with the stream open.",
        leaves_open: "Who closed the connection, and whether a GOAWAY had announced it.",
        kinds: &[
            Kind::ConnectionLostStreams,
            Kind::GoAwayLostStreams,
            Kind::PingTimeout,
            Kind::AbruptGoAway,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &["Bandwidth exhausted or memory limit exceeded"],
        proves: "The stream was closed with ENHANCE_YOUR_CALM.",
        leaves_open: "Whether it is a rate limit or a memory cap of the session (Node's is 10 \
             MB by default).",
        kinds: &[
            Kind::StreamThrottled,
            Kind::NearResetLimit,
            Kind::ErrorGoAway,
        ],
    },
    Said {
        by: By::GrpcJs,
        texts: &["Received HTTP status code <N>"],
        proves: "The response had no grpc-status, and this :status.",
        leaves_open: "That the server said so: proxies and load balancers answer in their own \
             name.",
        kinds: &[Kind::NonGrpcResponse, Kind::SynthesizedAnswer],
    },
];

/// Node: `ERR_HTTP2_STREAM_ERROR`.
pub(super) static NODE: &[Said] = &[
    Said {
        by: By::Node,
        texts: &["Stream closed with error code NGHTTP2_INTERNAL_ERROR"],
        proves: "A RST_STREAM with INTERNAL_ERROR ended the stream.",
        leaves_open: "That the server had an internal error: Envoy 1.37 and newer write this \
             code also when they throw away a complete response. connect-node passes this text on \
             as [internal].",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::ProxyDroppedTrailers,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::Node,
        texts: &["Stream closed with error code NGHTTP2_REFUSED_STREAM"],
        proves: "A RST_STREAM with REFUSED_STREAM ended the stream: it was not processed.",
        leaves_open: "Why it was refused.",
        kinds: &[
            Kind::StreamRefused,
            Kind::RefusedNotRetried,
            Kind::ConcurrencyExceeded,
        ],
    },
    Said {
        by: By::Node,
        texts: &["Stream closed with error code NGHTTP2_ENHANCE_YOUR_CALM"],
        proves: "A RST_STREAM with ENHANCE_YOUR_CALM ended the stream.",
        leaves_open: "Whether it is a rate limit or a memory cap.",
        kinds: &[Kind::StreamThrottled, Kind::NearResetLimit],
    },
    Said {
        by: By::Node,
        texts: &["Stream closed with error code NGHTTP2_CANCEL"],
        proves: "A RST_STREAM with CANCEL ended the stream.",
        leaves_open: "Who cancelled: it may be this end.",
        kinds: &[
            Kind::DeadlineReset,
            Kind::ClientCancel,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::Node,
        texts: &["Stream closed with error code NGHTTP2_FLOW_CONTROL_ERROR"],
        proves: "A RST_STREAM with FLOW_CONTROL_ERROR ended the stream.",
        leaves_open: "Who overran the window.",
        kinds: &[Kind::WindowOverrun, Kind::BadWindowUpdate],
    },
    Said {
        by: By::Node,
        texts: &["Stream closed with error code NGHTTP2_PROTOCOL_ERROR"],
        proves: "A RST_STREAM with PROTOCOL_ERROR ended the stream.",
        leaves_open: "Which frame or field broke the protocol.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ClientRejectedResponse,
            Kind::MalformedFields,
            Kind::FramingViolation,
            Kind::BadWindowUpdate,
        ],
    },
    Said {
        by: By::Node,
        texts: &["Stream closed with error code NGHTTP2_STREAM_CLOSED"],
        proves: "A RST_STREAM with STREAM_CLOSED ended the stream.",
        leaves_open: "Whether frames in flight crossed (legal) or not.",
        kinds: &[
            Kind::ResetStreamClosed,
            Kind::FrameAfterReset,
            Kind::FrameAfterEndStream,
        ],
    },
    Said {
        by: By::Node,
        texts: &["Stream closed with error code NGHTTP2_FRAME_SIZE_ERROR"],
        proves: "A RST_STREAM with FRAME_SIZE_ERROR ended the stream.",
        leaves_open: "Which frame was too large.",
        kinds: &[Kind::HeaderListTooLarge, Kind::FramingViolation],
    },
    Said {
        by: By::Node,
        texts: &["Stream closed with error code <X>"],
        proves: "A RST_STREAM with this code ended the stream.",
        leaves_open: "Which hop did it: a proxy resets streams in its own name, and may change \
             the code on the way.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::ProxyTruncatedCompleteResponse,
        ],
    },
];
