//! What every finding means, what applications print when it happens, and what to do: the texts
//! behind `h2trace explain`, and the search from an application's error text to the findings.
//!
//! The pages are text files, one a finding (`pages/NAME.md`), built into the binary. What
//! applications print stands in one place, [`messages`], so that a page and a search never disagree.

pub mod decode;
pub mod messages;
pub mod page;
pub mod search;
mod words;

#[cfg(test)]
mod tests;

use self::messages::{KnownMessage, MessagesError};
use self::page::{Page, PageError};
use h2trace_core::anomaly::kind::Kind;

macro_rules! pages {
    ($($kind:ident $name:literal,)+) => {
        /// The text of a finding's page.
        const fn source(kind: Kind) -> &'static str {
            match kind {
                $(Kind::$kind => include_str!(concat!("pages/", $name, ".md")),)+
            }
        }
    };
}

pages! {
    EarlyResponseReset "early_response_reset",
    RedundantReset "redundant_reset",
    ResetBeforeResponse "reset_before_response",
    ResponseCutByReset "response_cut_by_reset",
    ResetAfterResponse "reset_after_response",
    StreamRefused "stream_refused",
    RefusedAfterResponse "refused_after_response",
    ClientCancel "client_cancel",
    DeadlineReset "deadline_reset",
    ClientResetNoError "client_reset_no_error",
    ClientRejectedResponse "client_rejected_response",
    StreamThrottled "stream_throttled",
    ResetStreamClosed "reset_stream_closed",
    MissingTrailers "missing_trailers",
    MissingGrpcStatus "missing_grpc_status",
    TrailersOnlyOk "trailers_only_ok",
    TruncatedResponse "truncated_response",
    TruncatedRequest "truncated_request",
    NonGrpcResponse "non_grpc_response",
    GracefulGoAway "graceful_go_away",
    StreamUnprocessed "stream_unprocessed",
    GoAwayLostStreams "go_away_lost_streams",
    GoAwayRaised "go_away_raised",
    AbruptGoAway "abrupt_go_away",
    ErrorGoAway "error_go_away",
    ConnectionLostStreams "connection_lost_streams",
    StreamWindowStall "stream_window_stall",
    ConnectionWindowStall "connection_window_stall",
    WindowOverrun "window_overrun",
    BadWindowUpdate "bad_window_update",
    ConcurrencySaturated "concurrency_saturated",
    ConcurrencyExceeded "concurrency_exceeded",
    StreamLeftOpen "stream_left_open",
    ResponseOverdue "response_overdue",
    KilledWhileIdle "killed_while_idle",
    WrongMessageCount "wrong_message_count",
    ContentLengthMismatch "content_length_mismatch",
    MalformedFields "malformed_fields",
    InformationalEndStream "informational_end_stream",
    MalformedGrpcStatus "malformed_grpc_status",
    TooManyPings "too_many_pings",
    PingTimeout "ping_timeout",
    SettingsTimeout "settings_timeout",
    NotHttp2 "not_http2",
    TlsHandshakeFailed "tls_handshake_failed",
    HeaderListTooLarge "header_list_too_large",
    HpackFailure "hpack_failure",
    FramingViolation "framing_violation",
    FrameAfterEndStream "frame_after_end_stream",
    FrameAfterReset "frame_after_reset",
    UnexpectedFrame "unexpected_frame",
    RapidReset "rapid_reset",
    NearResetLimit "near_reset_limit",
    MadeYouReset "made_you_reset",
    ContinuationFlood "continuation_flood",
    ControlFlood "control_flood",
    StatusChanged "status_changed",
    ProxyTruncatedCompleteResponse "proxy_truncated_complete_response",
    ProxyDroppedTrailers "proxy_dropped_trailers",
    ProxyLostBytes "proxy_lost_bytes",
    ProxyTranslatedCode "proxy_translated_code",
    ProxyTruncatedRequest "proxy_truncated_request",
    ProxyGaveUp "proxy_gave_up",
    CancelNotPropagated "cancel_not_propagated",
    ProxyLeftClientWaiting "proxy_left_client_waiting",
    RetryHiddenFailure "retry_hidden_failure",
    SynthesizedAnswer "synthesized_answer",
    EarlyResponseUpstream "early_response_upstream",
    RefusedNotRetried "refused_not_retried",
}

/// The page of a finding.
///
/// # Errors
/// Its text breaks the format (a test holds that none does).
pub fn page(kind: Kind) -> Result<Page, PageError> {
    Page::parse(kind, source(kind))
}

/// What applications, proxies and libraries print when this happens, as far as it is known.
///
/// # Errors
/// A file of messages is malformed (a test holds that none is).
pub fn messages_of(kind: Kind) -> Result<Vec<&'static KnownMessage>, &'static MessagesError> {
    let all = messages::all()?;
    Ok(all
        .iter()
        .filter(|message| message.kinds.contains(&kind))
        .collect())
}

/// The same, without those that mostly come from other findings, the surest first.
///
/// # Errors
/// A file of messages is malformed (a test holds that none is).
pub fn main_messages_of(kind: Kind) -> Result<Vec<&'static KnownMessage>, &'static MessagesError> {
    let all = messages_of(kind)?;
    let main: Vec<&KnownMessage> = all
        .iter()
        .copied()
        .filter(|message| message.kinds.iter().take(2).any(|first| *first == kind))
        .collect();
    let mut main = if main.is_empty() { all } else { main };
    // Those that come from it first of all.
    main.sort_by_key(|message| message.kinds.first() != Some(&kind));
    Ok(main)
}
