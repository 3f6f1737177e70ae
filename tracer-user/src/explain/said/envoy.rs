//! What Envoy prints. Details and names of counters were found in the binary of Envoy 1.40.0.

use super::{By, Said};
use crate::anomaly::kind::Kind;

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

/// Counters and gauges.
pub(super) static STATS: &[Said] = &[
    Said {
        by: By::EnvoyStat,
        texts: &["upstream_rq_rx_reset_no_error"],
        proves: "An upstream reset a stream with NO_ERROR (counted apart in newer versions only).",
        leaves_open: "That the response was complete, or that the client got it.",
        kinds: &[
            Kind::EarlyResponseUpstream,
            Kind::ProxyTruncatedCompleteResponse,
            Kind::EarlyResponseReset,
        ],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["upstream_rq_rx_reset"],
        proves: "Upstreams reset streams. In half-close mode it moves with each cut response.",
        leaves_open: "When in the stream, with which code, and what became of the client.",
        kinds: &[
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::ProxyTruncatedCompleteResponse,
            Kind::EarlyResponseUpstream,
        ],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["upstream_rq_tx_reset"],
        proves: "Envoy reset streams to upstreams. It moves with each response that was \
             complete before its request, cut or not.",
        leaves_open: "Whether the client got the response: cancels and timeouts move it too.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::EarlyResponseUpstream,
            Kind::ClientCancel,
            Kind::KilledWhileIdle,
        ],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["downstream_rq_response_before_rq_complete"],
        proves: "Responses were complete before their request: the risk, not the damage.",
        leaves_open: "Whether any of them was cut.",
        kinds: &[
            Kind::EarlyResponseUpstream,
            Kind::ProxyTruncatedCompleteResponse,
            Kind::EarlyResponseReset,
        ],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["http2.rx_reset", "http2_rx_reset"],
        proves: "RST_STREAM frames came.",
        leaves_open: "Who, when in the stream, and with which code.",
        kinds: &[
            Kind::ClientCancel,
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
            Kind::EarlyResponseReset,
        ],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["http2.tx_reset", "http2_tx_reset"],
        proves: "Envoy sent RST_STREAM frames.",
        leaves_open: "To whom, when in the stream, and why. It moves with every cut response.",
        kinds: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::EarlyResponseReset,
        ],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["http2.trailers"],
        proves: "Counts trailers of requests only: it says nothing about trailers of responses.",
        leaves_open: "Dropped trailers of responses: no counter of Envoy has them.",
        kinds: &[Kind::MissingTrailers, Kind::ProxyDroppedTrailers],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["stream_refused_errors"],
        proves: "Streams ended with REFUSED_STREAM.",
        leaves_open: "Who refused them.",
        kinds: &[Kind::StreamRefused, Kind::RefusedNotRetried],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["pending_send_bytes"],
        proves: "Bytes wait in Envoy's HTTP/2 codec for a window or for the socket.",
        leaves_open: "Which window, which stream.",
        kinds: &[
            Kind::ConnectionWindowStall,
            Kind::StreamWindowStall,
            Kind::ProxyTruncatedCompleteResponse,
        ],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["tx_flush_timeout"],
        proves: "A stream was ended because its last bytes could not be sent in time: its \
             receiver gave no window.",
        leaves_open: "Whether the stream's or the connection's window was used up.",
        kinds: &[
            Kind::StreamWindowStall,
            Kind::ConnectionWindowStall,
            Kind::ResponseCutByReset,
        ],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["flow_control_paused_reading_total"],
        proves: "Envoy stopped reading from one side, because the other takes no more.",
        leaves_open: "For how long.",
        kinds: &[Kind::StreamWindowStall, Kind::ConnectionWindowStall],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["upstream_rq_retry_success"],
        proves: "Requests went well after an attempt had failed.",
        leaves_open: "Why attempts fail.",
        kinds: &[Kind::RetryHiddenFailure],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["too_many_premature_resets"],
        proves: "Clients reset so many young streams that Envoy closed their connections.",
        leaves_open: "That it is an attack.",
        kinds: &[Kind::NearResetLimit, Kind::RapidReset],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["header_overflow"],
        proves: "Header lists were larger than Envoy takes.",
        leaves_open: "Which field.",
        kinds: &[Kind::HeaderListTooLarge],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["rx_messaging_error"],
        proves: "Messages broke the rules of HTTP/2 (fields, order).",
        leaves_open: "Which rule.",
        kinds: &[Kind::MalformedFields, Kind::FramingViolation],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["outbound_control_flood", "outbound_flood"],
        proves: "So many answers (ACKs, resets) waited to be sent that Envoy closed the \
             connection.",
        leaves_open: "Whether the peer attacks or only never reads.",
        kinds: &[Kind::ControlFlood, Kind::RapidReset],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["inbound_empty_frames_flood"],
        proves: "Too many empty frames without END_STREAM came.",
        leaves_open: "Whether it is an attack.",
        kinds: &[Kind::ControlFlood],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["inbound_priority_frames_flood"],
        proves: "Too many PRIORITY frames came.",
        leaves_open: "Whether it is an attack.",
        kinds: &[Kind::ControlFlood],
    },
    Said {
        by: By::EnvoyStat,
        texts: &["inbound_window_update_frames_flood"],
        proves: "Too many WINDOW_UPDATE frames came.",
        leaves_open: "Whether it is an attack.",
        kinds: &[Kind::ControlFlood],
    },
    Said {
        by: By::EnvoyStat,
        texts: &[
            "upstream_cx_destroy_remote_with_active_rq",
            "upstream_cx_destroy_local_with_active_rq",
            "upstream_cx_destroy_with_active_rq",
            "downstream_cx_destroy_remote_active_rq",
            "downstream_cx_destroy_local_active_rq",
            "downstream_cx_destroy_active_rq",
        ],
        proves: "Connections closed with requests open.",
        leaves_open: "Whether a GOAWAY came before.",
        kinds: &[Kind::ConnectionLostStreams, Kind::GoAwayLostStreams],
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
