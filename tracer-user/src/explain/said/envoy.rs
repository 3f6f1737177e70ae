//! What Envoy prints. Details and names of counters were found in the binary of Envoy 1.40.0.

use h2trace_core::anomaly::kind::Kind;

use super::{By, Said};

/// Response code details (%RESPONSE_CODE_DETAILS%).
pub(super) static DETAILS: &[Said] = &[
    Said {
        by: By::EnvoyDetail,
        texts: &["upstream_reset_after_response_started{remote_reset}"],
        proves: "The hop behind reset the stream after its response had begun: the client \
             got a cut response.",
        leaves_open: "Whether the server did it, or a second proxy that threw away a complete \
             response.",
        kinds: &[
            Kind::ResponseCutByReset,
            Kind::ProxyTruncatedCompleteResponse,
            Kind::TruncatedResponse,
            Kind::MissingTrailers,
        ],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["upstream_reset_after_response_started{connection_termination}"],
        proves: "The connection to the upstream closed in the middle of the response.",
        leaves_open: "Who closed it.",
        kinds: &[
            Kind::ConnectionLostStreams,
            Kind::GoAwayLostStreams,
            Kind::TruncatedResponse,
        ],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["upstream_reset_after_response_started"],
        proves: "The stream to the upstream was reset after its response had begun: the \
             client got a cut response.",
        leaves_open: "By whom: the word in braces says it.",
        kinds: &[
            Kind::ResponseCutByReset,
            Kind::ProxyTruncatedCompleteResponse,
            Kind::TruncatedResponse,
            Kind::ConnectionLostStreams,
        ],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["upstream_reset_before_response_started{connection_termination}"],
        proves: "The connection to the upstream closed before a response. The client got \
             an answer of Envoy (503).",
        leaves_open: "Who closed it, and whether the server had begun.",
        kinds: &[
            Kind::ConnectionLostStreams,
            Kind::GoAwayLostStreams,
            Kind::SynthesizedAnswer,
            Kind::KilledWhileIdle,
        ],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &[
            "upstream_reset_before_response_started{connection_failure}",
            "upstream_reset_before_response_started{connection_timeout}",
        ],
        proves: "No connection to the upstream could be made: there was no stream. The \
             client got an answer of Envoy (503).",
        leaves_open: "Why.",
        kinds: &[Kind::SynthesizedAnswer, Kind::NotHttp2],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["upstream_reset_before_response_started{overflow}"],
        proves: "A circuit breaker of Envoy was open: nothing was sent. The client got an \
             answer of Envoy (503).",
        leaves_open: "Which limit: requests, pending requests, connections.",
        kinds: &[Kind::SynthesizedAnswer, Kind::ConcurrencySaturated],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["upstream_reset_before_response_started{remote_refused_stream_reset}"],
        proves: "The upstream refused the stream (REFUSED_STREAM): not processed, safe to \
             try again.",
        leaves_open: "Why it was refused.",
        kinds: &[Kind::StreamRefused, Kind::RefusedNotRetried],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["upstream_reset_before_response_started{protocol_error}"],
        proves: "Envoy took what the upstream sent for a violation of HTTP/2.",
        leaves_open: "Which frame: see the codec's detail.",
        kinds: &[
            Kind::FramingViolation,
            Kind::MalformedFields,
            Kind::NotHttp2,
        ],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &[
            "upstream_reset_before_response_started{remote_reset}",
            "upstream_reset_before_response_started",
        ],
        proves: "The upstream reset the stream before any response. The client got an \
             answer of Envoy (503).",
        leaves_open: "With which code: Envoy does not say.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::StreamRefused,
            Kind::SynthesizedAnswer,
        ],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["upstream_response_timeout", "response_timeout"],
        proves: "The route's timeout ran out (15 s unless it is set). Envoy reset the \
             stream to the upstream.",
        leaves_open: "That the server is at fault: the timeout is Envoy's own.",
        kinds: &[
            Kind::KilledWhileIdle,
            Kind::ResponseOverdue,
            Kind::SynthesizedAnswer,
            Kind::ResponseCutByReset,
        ],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["upstream_per_try_timeout"],
        proves: "One attempt took longer than the retry policy's per_try_timeout.",
        leaves_open: "Whether a later attempt went well.",
        kinds: &[
            Kind::RetryHiddenFailure,
            Kind::ResponseOverdue,
            Kind::KilledWhileIdle,
        ],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["stream_idle_timeout"],
        proves: "No bytes passed on the stream for Envoy's stream_idle_timeout (5 minutes \
             unless it is set; not certain for every version).",
        leaves_open: "That anything is broken: long-lived streams are legally idle.",
        kinds: &[Kind::KilledWhileIdle, Kind::ResponseOverdue],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &[
            "max_duration_timeout",
            "upstream_max_stream_duration_reached",
        ],
        proves: "The stream reached a maximal duration that Envoy is configured with.",
        leaves_open: "That anything is broken.",
        kinds: &[Kind::KilledWhileIdle],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["http2.remote_reset", "http2 remote_reset"],
        proves: "The peer of this side (mostly the client) sent RST_STREAM.",
        leaves_open: "Why, and with which code: it is mostly a cancel.",
        kinds: &[
            Kind::ClientCancel,
            Kind::DeadlineReset,
            Kind::ClientResetNoError,
            Kind::ClientRejectedResponse,
        ],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &[
            "codec_error:The_user_callback_function_failed",
            "The user callback function failed",
        ],
        proves: "Envoy's HTTP/2 library ended the connection. Seen when a client \
             cancelled very many streams.",
        leaves_open: "That the client broke the protocol.",
        kinds: &[Kind::NearResetLimit, Kind::RapidReset, Kind::ErrorGoAway],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["codec_error"],
        proves: "Envoy ended the connection because of what came on it; the words after \
             the colon are its library's.",
        leaves_open: "Which frame it was.",
        kinds: &[
            Kind::FramingViolation,
            Kind::MalformedFields,
            Kind::NearResetLimit,
            Kind::HpackFailure,
        ],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["keepalive_timeout", "http2_keepalive_timeout"],
        proves: "Envoy's own PING was not answered, so it closed the connection.",
        leaves_open: "Whether the peer hung or the network dropped it.",
        kinds: &[Kind::PingTimeout, Kind::ConnectionLostStreams],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &[
            "no_healthy_upstream",
            "route_not_found",
            "cluster_not_found",
        ],
        proves: "Envoy answered by itself: nothing was sent to a server.",
        leaves_open: "Nothing of the server.",
        kinds: &[Kind::SynthesizedAnswer],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["downstream_remote_disconnect"],
        proves: "The client's connection closed while the request was open.",
        leaves_open: "Why.",
        kinds: &[Kind::ConnectionLostStreams, Kind::ClientCancel],
    },
    Said {
        by: By::EnvoyDetail,
        texts: &["x-envoy-attempt-count"],
        proves: "Counts Envoy's attempts; 2 or more means that one failed before.",
        leaves_open: "Why it failed.",
        kinds: &[Kind::RetryHiddenFailure],
    },
];

/// Response flags (%RESPONSE_FLAGS%). None of them carries the HTTP/2 code.
pub(super) static FLAGS: &[Said] = &[
    Said {
        by: By::EnvoyFlag,
        texts: &["UR"],
        proves: "The upstream reset the stream.",
        leaves_open: "With which code, and whether a response had begun (see the details).",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::ProxyTruncatedCompleteResponse,
            Kind::StreamRefused,
        ],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["LR"],
        proves: "Envoy itself reset the stream.",
        leaves_open: "Why.",
        kinds: &[
            Kind::ResponseCutByReset,
            Kind::ClientCancel,
            Kind::ProxyTruncatedCompleteResponse,
        ],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["UC"],
        proves: "The upstream's connection closed with the stream open.",
        leaves_open: "Who closed it, and whether a GOAWAY came before.",
        kinds: &[
            Kind::ConnectionLostStreams,
            Kind::GoAwayLostStreams,
            Kind::KilledWhileIdle,
        ],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["UF"],
        proves: "No connection to the upstream could be made: there was no stream.",
        leaves_open: "Why.",
        kinds: &[Kind::SynthesizedAnswer, Kind::NotHttp2],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["UPE"],
        proves: "Envoy took what the upstream sent for a violation of HTTP/2.",
        leaves_open: "That it was one: older versions raised it on a clean close too.",
        kinds: &[
            Kind::FramingViolation,
            Kind::MalformedFields,
            Kind::ClientRejectedResponse,
            Kind::ConnectionLostStreams,
        ],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["DPE"],
        proves: "Envoy took what the client sent for a violation of HTTP/2.",
        leaves_open: "That it was one: mass cancels raise it too.",
        kinds: &[
            Kind::FramingViolation,
            Kind::NearResetLimit,
            Kind::MalformedFields,
        ],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["DC"],
        proves: "The client's connection closed with the stream open.",
        leaves_open: "Why.",
        kinds: &[Kind::ConnectionLostStreams, Kind::ClientCancel],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["DR"],
        proves: "The client reset the stream.",
        leaves_open: "Why: it is mostly a cancel or a deadline.",
        kinds: &[
            Kind::ClientCancel,
            Kind::DeadlineReset,
            Kind::ClientResetNoError,
            Kind::ClientRejectedResponse,
        ],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["UT"],
        proves: "The route's timeout ran out (15 s unless it is set).",
        leaves_open: "That the server is at fault.",
        kinds: &[
            Kind::KilledWhileIdle,
            Kind::ResponseOverdue,
            Kind::SynthesizedAnswer,
        ],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["SI"],
        proves: "Envoy's stream_idle_timeout ended the stream.",
        leaves_open: "That anything is broken.",
        kinds: &[Kind::KilledWhileIdle, Kind::ResponseOverdue],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["UMSDR"],
        proves: "The upstream stream reached its maximal duration.",
        leaves_open: "That anything is broken.",
        kinds: &[Kind::KilledWhileIdle],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["DT"],
        proves: "The request reached its maximal duration.",
        leaves_open: "That anything is broken.",
        kinds: &[Kind::KilledWhileIdle],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["UO"],
        proves: "A circuit breaker of Envoy was open: nothing was sent.",
        leaves_open: "Which limit.",
        kinds: &[Kind::SynthesizedAnswer, Kind::ConcurrencySaturated],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["URX"],
        proves: "The limit of retries was reached: the last failure went to the client.",
        leaves_open: "Why every attempt failed.",
        kinds: &[
            Kind::RetryHiddenFailure,
            Kind::ResetBeforeResponse,
            Kind::ConnectionLostStreams,
        ],
    },
    Said {
        by: By::EnvoyFlag,
        texts: &["NR", "NC", "UH"],
        proves: "No route, no cluster, or no healthy host: Envoy answered by itself.",
        leaves_open: "Nothing of the server.",
        kinds: &[Kind::SynthesizedAnswer],
    },
];

/// Texts of answers that Envoy makes itself; in gRPC they are the grpc-message.
pub(super) static ANSWERS: &[Said] = &[
    Said {
        by: By::EnvoyAnswer,
        texts: &[
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
        ],
        proves: "The connection to the upstream closed before a response; the answer is \
             Envoy's own.",
        leaves_open: "Who closed it, and whether the server had begun.",
        kinds: &[
            Kind::ConnectionLostStreams,
            Kind::GoAwayLostStreams,
            Kind::SynthesizedAnswer,
            Kind::KilledWhileIdle,
        ],
    },
    Said {
        by: By::EnvoyAnswer,
        texts: &[
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            "upstream connect error or disconnect/reset before headers. reset reason: local connection failure",
            "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
            "upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
        ],
        proves: "No connection to the upstream could be made: there was no stream; the \
             answer is Envoy's own.",
        leaves_open: "Why.",
        kinds: &[Kind::SynthesizedAnswer, Kind::NotHttp2],
    },
    Said {
        by: By::EnvoyAnswer,
        texts: &[
            "upstream connect error or disconnect/reset before headers. reset reason: overflow",
        ],
        proves: "A circuit breaker of Envoy was open: nothing was sent.",
        leaves_open: "Which limit.",
        kinds: &[Kind::SynthesizedAnswer, Kind::ConcurrencySaturated],
    },
    Said {
        by: By::EnvoyAnswer,
        texts: &[
            "upstream connect error or disconnect/reset before headers. reset reason: remote refused stream reset",
        ],
        proves: "The upstream refused the stream (REFUSED_STREAM): not processed, safe to \
             try again.",
        leaves_open: "Why it was refused.",
        kinds: &[Kind::StreamRefused, Kind::RefusedNotRetried],
    },
    Said {
        by: By::EnvoyAnswer,
        texts: &[
            "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
        ],
        proves: "Envoy took what the upstream sent for a violation of HTTP/2, or the \
             upstream speaks HTTP/1.",
        leaves_open: "Which frame: see the details in the access log.",
        kinds: &[
            Kind::FramingViolation,
            Kind::NotHttp2,
            Kind::MalformedFields,
        ],
    },
    Said {
        by: By::EnvoyAnswer,
        texts: &["upstream connect error or disconnect/reset before headers"],
        proves: "The upstream's stream or connection ended before a response; the answer \
             is Envoy's own.",
        leaves_open: "How: the words after \"reset reason\" say it.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ConnectionLostStreams,
            Kind::SynthesizedAnswer,
            Kind::StreamRefused,
        ],
    },
    Said {
        by: By::EnvoyAnswer,
        texts: &["upstream request timeout"],
        proves: "The route's timeout ran out (15 s unless it is set); the answer is Envoy's own.",
        leaves_open: "That the server is at fault.",
        kinds: &[
            Kind::KilledWhileIdle,
            Kind::ResponseOverdue,
            Kind::SynthesizedAnswer,
        ],
    },
    Said {
        by: By::EnvoyAnswer,
        texts: &["no healthy upstream"],
        proves: "Envoy answered by itself: nothing was sent to a server.",
        leaves_open: "Nothing of the server.",
        kinds: &[Kind::SynthesizedAnswer],
    },
];
