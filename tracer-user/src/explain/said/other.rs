//! What grpc-core, the crate h2, nginx, haproxy and linkerd print.

use super::{By, Said};
use crate::anomaly::kind::Kind;

/// grpc-core: grpcio and others.
pub(super) static GRPC_CORE: &[Said] = &[
    Said {
        by: By::GrpcCore,
        texts: &["too_many_pings"],
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
        texts: &["too_many_resets"],
        proves: "GOAWAY: the client reset more streams than were waiting to be accepted may be.",
        leaves_open: "That it is an attack.",
        kinds: &[Kind::NearResetLimit, Kind::RapidReset, Kind::ErrorGoAway],
    },
    Said {
        by: By::H2,
        texts: &["too_many_internal_resets"],
        proves: "GOAWAY: this end had to reset too many streams because of what its peer sent.",
        leaves_open: "Whether the peer is broken or attacks.",
        kinds: &[Kind::MadeYouReset, Kind::ErrorGoAway],
    },
    Said {
        by: By::H2,
        texts: &["too_many_continuations"],
        proves: "GOAWAY: a header block had too many CONTINUATION frames.",
        leaves_open: "Whether the header list is only very large.",
        kinds: &[Kind::ContinuationFlood, Kind::HeaderListTooLarge],
    },
    Said {
        by: By::H2,
        texts: &["too_many_data_frames"],
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
