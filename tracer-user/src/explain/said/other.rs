//! What grpc-core, the crate h2, nginx, haproxy and linkerd print.

use h2trace_core::anomaly::kind::Kind;

use super::{By, Said};

/// grpc-core: grpcio and others.
pub(super) static GRPC_CORE: &[Said] = &[
    Said {
        by: By::GrpcCore,
        texts: &[
            "too_many_pings",
            "connection error detected: detected excessive load generating behavior ... too_many_pings",
            "connection error received: detected excessive load generating behavior ... too_many_pings",
        ],
        proves: "GOAWAY (ENHANCE_YOUR_CALM) of a gRPC server: PINGs came more often than \
             it allows (5 minutes by default in grpc-go and grpc-core).",
        leaves_open: "That the application asked for them: a proxy or a library may ping on \
             its own.",
        kinds: &[Kind::TooManyPings, Kind::ErrorGoAway],
    },
    Said {
        by: By::GrpcCore,
        texts: &["Received RST_STREAM with error code 0"],
        proves: "A RST_STREAM with NO_ERROR came before the response was complete.",
        leaves_open: "That the server failed: a proxy that throws away a complete response \
             leaves exactly this.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::GrpcCore,
        texts: &["Received RST_STREAM with error code 2"],
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
        by: By::GrpcCore,
        texts: &["Received RST_STREAM with error code 7"],
        proves: "The stream was refused: not processed, safe to try again.",
        leaves_open: "Why it was refused.",
        kinds: &[Kind::StreamRefused, Kind::RefusedNotRetried],
    },
    Said {
        by: By::GrpcCore,
        texts: &["Received RST_STREAM with error code 8"],
        proves: "A RST_STREAM with CANCEL came.",
        leaves_open: "Whether it came at the deadline (expected) or before it.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::DeadlineReset,
            Kind::ResponseCutByReset,
        ],
    },
    Said {
        by: By::GrpcCore,
        texts: &["Received RST_STREAM with error code 11"],
        proves: "A RST_STREAM with ENHANCE_YOUR_CALM came.",
        leaves_open: "Whether it is a rate limit or a memory cap.",
        kinds: &[Kind::StreamThrottled, Kind::NearResetLimit],
    },
    Said {
        by: By::GrpcCore,
        texts: &["Received RST_STREAM with error code <N>"],
        proves: "A RST_STREAM with this code (RFC 9113 section 7) ended the call.",
        leaves_open: "Which hop did it: a proxy resets streams in its own name, and may change \
             the code on the way.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::ProxyTruncatedCompleteResponse,
        ],
    },
    Said {
        by: By::GrpcCore,
        texts: &["Stream removed"],
        proves: "The transport dropped the stream without a status; the call ends as UNKNOWN.",
        leaves_open: "Nearly everything: an answer that is no gRPC and a closed connection \
             look alike.",
        kinds: &[
            Kind::NonGrpcResponse,
            Kind::ConnectionLostStreams,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::GrpcCore,
        texts: &["Trying to connect an http1.x server"],
        proves: "The peer answered in HTTP/1.",
        leaves_open: "Whether it is the wrong port, or a proxy that speaks HTTP/1 only.",
        kinds: &[Kind::NotHttp2, Kind::NonGrpcResponse],
    },
    Said {
        by: By::GrpcCore,
        texts: &["Socket closed"],
        proves: "The connection closed under the call.",
        leaves_open: "Who closed it, and whether a GOAWAY had announced it.",
        kinds: &[
            Kind::ConnectionLostStreams,
            Kind::GoAwayLostStreams,
            Kind::NotHttp2,
        ],
    },
    Said {
        by: By::GrpcCore,
        texts: &["keepalive timeout"],
        proves: "A PING was not answered in time, so this end closed the connection.",
        leaves_open: "Whether the peer hung or the network dropped it.",
        kinds: &[Kind::PingTimeout, Kind::ConnectionLostStreams],
    },
    Said {
        by: By::GrpcCore,
        texts: &["stream <N> stalled by stream", "stalled by stream"],
        proves: "Trace output: the stream's own window is used up, and data waits.",
        leaves_open: "Why the receiver does not read.",
        kinds: &[Kind::StreamWindowStall],
    },
    Said {
        by: By::GrpcCore,
        texts: &["stream <N> stalled by transport", "stalled by transport"],
        proves: "Trace output: the connection's window is used up, and data waits.",
        leaves_open: "Which stream holds the window.",
        kinds: &[Kind::ConnectionWindowStall],
    },
    Said {
        by: By::GrpcCore,
        texts: &["Missing :te header"],
        proves: "The request came without \"te: trailers\", which gRPC asks for.",
        leaves_open: "Which hop dropped it.",
        kinds: &[Kind::MalformedFields, Kind::NonGrpcResponse],
    },
];

/// h2: GOAWAY debug data. Read from h2 0.4.20.
pub(super) static H2: &[Said] = &[
    Said {
        by: By::H2,
        texts: &["stream error received: not a result of an error"],
        proves: "A RST_STREAM with NO_ERROR came before the response was complete.",
        leaves_open: "That the server failed: a proxy that throws away a complete response \
             leaves exactly this.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::H2,
        texts: &["stream error received: unexpected internal error encountered"],
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
        by: By::H2,
        texts: &["stream error received: refused stream before processing any application logic"],
        proves: "The stream was refused: not processed, safe to try again.",
        leaves_open: "Why it was refused.",
        kinds: &[
            Kind::StreamRefused,
            Kind::RefusedNotRetried,
            Kind::ConcurrencyExceeded,
        ],
    },
    Said {
        by: By::H2,
        texts: &["stream error received: stream no longer needed"],
        proves: "A RST_STREAM with CANCEL came.",
        leaves_open: "Who cancelled, and whether a deadline had passed.",
        kinds: &[
            Kind::ClientCancel,
            Kind::DeadlineReset,
            Kind::ResetBeforeResponse,
        ],
    },
    Said {
        by: By::H2,
        texts: &["stream error received: detected excessive load generating behavior"],
        proves: "A RST_STREAM with ENHANCE_YOUR_CALM came.",
        leaves_open: "Whether it is a rate limit or a memory cap.",
        kinds: &[Kind::StreamThrottled, Kind::NearResetLimit],
    },
    Said {
        by: By::H2,
        texts: &["stream error received: flow-control protocol violated"],
        proves: "A RST_STREAM with FLOW_CONTROL_ERROR came.",
        leaves_open: "Who overran the window.",
        kinds: &[Kind::WindowOverrun, Kind::BadWindowUpdate],
    },
    Said {
        by: By::H2,
        texts: &["stream error received: unspecific protocol error detected"],
        proves: "A RST_STREAM with PROTOCOL_ERROR came.",
        leaves_open: "Which frame or field broke the protocol.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ClientRejectedResponse,
            Kind::MalformedFields,
            Kind::FramingViolation,
        ],
    },
    Said {
        by: By::H2,
        texts: &["stream error received: received frame when stream half-closed"],
        proves: "A RST_STREAM with STREAM_CLOSED came: for its sender the stream was over already.",
        leaves_open: "Whether frames in flight crossed (legal) or not.",
        kinds: &[
            Kind::ResetStreamClosed,
            Kind::FrameAfterReset,
            Kind::FrameAfterEndStream,
        ],
    },
    Said {
        by: By::H2,
        texts: &["connection error received: not a result of an error"],
        proves: "A GOAWAY with NO_ERROR came, and this call was not done by the end of \
             the connection.",
        leaves_open: "Whether the GOAWAY had accepted the stream (lost work) or not (safe to \
             try again).",
        kinds: &[
            Kind::StreamUnprocessed,
            Kind::GoAwayLostStreams,
            Kind::GracefulGoAway,
        ],
    },
    Said {
        by: By::H2,
        texts: &[
            "connection error received: detected excessive load generating behavior",
            "connection error detected: detected excessive load generating behavior",
        ],
        proves: "The connection ended with ENHANCE_YOUR_CALM.",
        leaves_open: "Of what there was too much: the GOAWAY's debug data says it.",
        kinds: &[
            Kind::ErrorGoAway,
            Kind::NearResetLimit,
            Kind::TooManyPings,
            Kind::MadeYouReset,
        ],
    },
    Said {
        by: By::H2,
        texts: &["unable to maintain the header compression context"],
        proves: "The connection or stream ended with COMPRESSION_ERROR.",
        leaves_open: "Which side lost the table.",
        kinds: &[Kind::HpackFailure],
    },
    Said {
        by: By::H2,
        texts: &["connection error detected: frame with invalid size"],
        proves: "What came is no frame of a size that was allowed.",
        leaves_open: "That HTTP/2 was spoken at all.",
        kinds: &[Kind::NotHttp2, Kind::FramingViolation],
    },
    Said {
        by: By::H2,
        texts: &["error reading a body from connection"],
        proves: "tonic and hyper: the body stopped before its end; the cause follows \
             after it, or stands in the source of the error.",
        leaves_open: "How it stopped: RST_STREAM, or the connection.",
        kinds: &[
            Kind::ResponseCutByReset,
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ConnectionLostStreams,
        ],
    },
    Said {
        by: By::H2,
        texts: &[
            "too_many_resets",
            "connection error detected: detected excessive load generating behavior ... too_many_resets",
            "connection error received: detected excessive load generating behavior ... too_many_resets",
        ],
        proves: "GOAWAY: the client reset more streams than were waiting to be accepted may be.",
        leaves_open: "That it is an attack.",
        kinds: &[Kind::NearResetLimit, Kind::RapidReset, Kind::ErrorGoAway],
    },
    Said {
        by: By::H2,
        texts: &[
            "too_many_internal_resets",
            "connection error detected: detected excessive load generating behavior ... too_many_internal_resets",
            "connection error received: detected excessive load generating behavior ... too_many_internal_resets",
        ],
        proves: "GOAWAY: this end had to reset too many streams because of what its peer sent.",
        leaves_open: "Whether the peer is broken or attacks.",
        kinds: &[Kind::MadeYouReset, Kind::ErrorGoAway],
    },
    Said {
        by: By::H2,
        texts: &[
            "too_many_continuations",
            "connection error detected: detected excessive load generating behavior ... too_many_continuations",
            "connection error received: detected excessive load generating behavior ... too_many_continuations",
        ],
        proves: "GOAWAY: a header block had too many CONTINUATION frames.",
        leaves_open: "Whether the header list is only very large.",
        kinds: &[Kind::ContinuationFlood, Kind::HeaderListTooLarge],
    },
    Said {
        by: By::H2,
        texts: &[
            "too_many_data_frames",
            "connection error detected: detected excessive load generating behavior ... too_many_data_frames",
            "connection error received: detected excessive load generating behavior ... too_many_data_frames",
        ],
        proves: "GOAWAY: too many small DATA frames without END_STREAM came.",
        leaves_open: "Whether the peer attacks, or only writes in very small pieces.",
        kinds: &[Kind::ControlFlood, Kind::ErrorGoAway],
    },
];

/// nginx: its error log.
pub(super) static NGINX: &[Said] = &[
    Said {
        by: By::Nginx,
        texts: &[
            "upstream prematurely closed stream",
            "upstream prematurely closed",
        ],
        proves: "The upstream ended the stream before the body was as long as its \
             content-length, or before a response.",
        leaves_open: "How it ended: RST_STREAM, END_STREAM, or the connection.",
        kinds: &[
            Kind::ContentLengthMismatch,
            Kind::ResponseCutByReset,
            Kind::ResetBeforeResponse,
            Kind::ConnectionLostStreams,
        ],
    },
    Said {
        by: By::Nginx,
        texts: &["upstream sent trailer without end stream flag"],
        proves: "Trailers came without END_STREAM, which RFC 9113 section 8.1 forbids.",
        leaves_open: "Which hop behind wrote them.",
        kinds: &[Kind::MalformedFields],
    },
    Said {
        by: By::Nginx,
        texts: &["sent response body larger"],
        proves: "The upstream sent more DATA than its content-length says.",
        leaves_open: "Which hop changed body or length.",
        kinds: &[Kind::ContentLengthMismatch],
    },
    Said {
        by: By::Nginx,
        texts: &["upstream violated stream flow control"],
        proves: "The upstream sent DATA beyond the window that nginx gave it.",
        leaves_open: "Nothing of the cause.",
        kinds: &[Kind::WindowOverrun],
    },
];

/// haproxy: glitches.
pub(super) static HAPROXY: &[Said] = &[
    Said {
        by: By::Haproxy,
        texts: &["ES on DATA before content-length"],
        proves: "END_STREAM came before the body was as long as its content-length.",
        leaves_open: "Which side is wrong: body or length.",
        kinds: &[Kind::ContentLengthMismatch],
    },
    Said {
        by: By::Haproxy,
        texts: &[
            "received early RST_STREAM, attack suspected",
            "received early RST_STREAM",
        ],
        proves: "A client reset a stream right after opening it.",
        leaves_open: "That it is an attack: one such reset is nothing.",
        kinds: &[Kind::RapidReset, Kind::NearResetLimit, Kind::ClientCancel],
    },
];

/// linkerd.
pub(super) static LINKERD: &[Said] = &[Said {
    by: By::Linkerd,
    texts: &["Synthesizing gRPC trailers"],
    proves: "The proxy wrote trailers of its own, since the response ended without any.",
    leaves_open: "Why the response ended so.",
    kinds: &[
        Kind::StatusChanged,
        Kind::MissingTrailers,
        Kind::SynthesizedAnswer,
    ],
}];
