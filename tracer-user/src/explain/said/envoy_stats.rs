//! Counters and gauges of Envoy. Their names were found in the binary of Envoy 1.40.0.

use h2trace_core::anomaly::kind::Kind;

use super::{By, Said};

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
