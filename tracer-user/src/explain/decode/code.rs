//! Error codes of HTTP/2 (RFC 9113 section 7) in any spelling: by name, as `NGHTTP2_NAME`, as
//! `ERR_HTTP2_NAME`, or by number behind a word such as "code".

use super::Decoded;
use crate::explain::words::{Word, has_any};
use h2trace_core::anomaly::kind::Kind;

/// A code, and what a RST_STREAM and a GOAWAY with it come from.
struct Code {
    name: &'static str,
    means: &'static str,
    stream: &'static [Kind],
    connection: &'static [Kind],
}

/// By number.
const CODES: [Code; 14] = [
    Code {
        name: "NO_ERROR",
        means: "It was ended without an error: a RST_STREAM with it is legal after a complete response, a GOAWAY \
             with it drains the connection.",
        stream: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::MissingTrailers,
            Kind::EarlyResponseReset,
            Kind::ClientResetNoError,
        ],
        connection: &[
            Kind::GracefulGoAway,
            Kind::StreamUnprocessed,
            Kind::GoAwayLostStreams,
            Kind::AbruptGoAway,
        ],
    },
    Code {
        name: "PROTOCOL_ERROR",
        means: "Its sender took what came before for a violation of HTTP/2.",
        stream: &[
            Kind::ResetBeforeResponse,
            Kind::MalformedFields,
            Kind::ResponseCutByReset,
            Kind::ClientRejectedResponse,
            Kind::FramingViolation,
            Kind::BadWindowUpdate,
        ],
        connection: &[
            Kind::ErrorGoAway,
            Kind::FramingViolation,
            Kind::MalformedFields,
            Kind::NotHttp2,
        ],
    },
    Code {
        name: "INTERNAL_ERROR",
        means: "Its sender gives no cause; proxies write it for many.",
        stream: &[
            Kind::ProxyTruncatedCompleteResponse,
            Kind::ResponseCutByReset,
            Kind::ResetBeforeResponse,
            Kind::MissingTrailers,
        ],
        connection: &[
            Kind::ErrorGoAway,
            Kind::GoAwayLostStreams,
            Kind::NearResetLimit,
            Kind::ResponseCutByReset,
        ],
    },
    Code {
        name: "FLOW_CONTROL_ERROR",
        means: "For its sender, a window was overrun or updated beyond its limit.",
        stream: &[Kind::WindowOverrun, Kind::BadWindowUpdate],
        connection: &[
            Kind::WindowOverrun,
            Kind::BadWindowUpdate,
            Kind::ErrorGoAway,
        ],
    },
    Code {
        name: "SETTINGS_TIMEOUT",
        means: "Its sender's SETTINGS were not acknowledged in time.",
        stream: &[Kind::SettingsTimeout],
        connection: &[Kind::SettingsTimeout, Kind::ErrorGoAway],
    },
    Code {
        name: "STREAM_CLOSED",
        means: "For its sender, the stream was over already.",
        stream: &[
            Kind::ResetStreamClosed,
            Kind::FrameAfterReset,
            Kind::FrameAfterEndStream,
        ],
        connection: &[
            Kind::FrameAfterEndStream,
            Kind::FrameAfterReset,
            Kind::ErrorGoAway,
        ],
    },
    Code {
        name: "FRAME_SIZE_ERROR",
        means: "For its sender, a frame or a header list had a size that is not allowed.",
        stream: &[Kind::HeaderListTooLarge, Kind::FramingViolation],
        connection: &[Kind::FramingViolation, Kind::NotHttp2, Kind::ErrorGoAway],
    },
    Code {
        name: "REFUSED_STREAM",
        means: "The stream was not processed, and may be tried again.",
        stream: &[
            Kind::StreamRefused,
            Kind::RefusedNotRetried,
            Kind::ConcurrencyExceeded,
            Kind::RefusedAfterResponse,
        ],
        connection: &[Kind::StreamRefused, Kind::RefusedNotRetried],
    },
    Code {
        name: "CANCEL",
        means: "Its sender needs the stream no longer: a client that gave up, or a server or proxy at a deadline.",
        stream: &[
            Kind::ClientCancel,
            Kind::DeadlineReset,
            Kind::ResetBeforeResponse,
            Kind::ResponseCutByReset,
        ],
        connection: &[Kind::ErrorGoAway, Kind::ClientCancel],
    },
    Code {
        name: "COMPRESSION_ERROR",
        means: "Its sender could not decode a header block.",
        stream: &[Kind::HpackFailure],
        connection: &[Kind::HpackFailure, Kind::ErrorGoAway],
    },
    Code {
        name: "CONNECT_ERROR",
        means: "The TCP connection behind a CONNECT was reset or closed.",
        stream: &[Kind::ResetBeforeResponse, Kind::ResponseCutByReset],
        connection: &[Kind::ErrorGoAway],
    },
    Code {
        name: "ENHANCE_YOUR_CALM",
        means: "For its sender there was too much of something: PINGs, resets, streams, memory.",
        stream: &[
            Kind::StreamThrottled,
            Kind::NearResetLimit,
            Kind::RapidReset,
        ],
        connection: &[
            Kind::ErrorGoAway,
            Kind::TooManyPings,
            Kind::NearResetLimit,
            Kind::RapidReset,
            Kind::ControlFlood,
        ],
    },
    Code {
        name: "INADEQUATE_SECURITY",
        means: "TLS is too old or too weak for its sender.",
        stream: &[Kind::ErrorGoAway, Kind::ResetBeforeResponse],
        connection: &[Kind::ErrorGoAway],
    },
    Code {
        name: "HTTP_1_1_REQUIRED",
        means: "Its sender answers this request over HTTP/1.1 only.",
        stream: &[Kind::ResetBeforeResponse, Kind::ErrorGoAway],
        connection: &[Kind::ErrorGoAway],
    },
];

/// What stands before a name.
const PREFIXES: [&str; 14] = [
    "nghttp2_err_",
    "nghttp2_",
    "err_http2_",
    "http2_err_",
    "http2error_",
    "http2_",
    "h2_err_",
    "h2_",
    "hyper_",
    "errcode_",
    "errcode",
    "err_",
    "http_2_",
    "error_",
];
/// Names that are said with spaces too, and mean nothing else.
const SPOKEN: [(&str, usize); 7] = [
    ("refused stream", 7),
    ("enhance your calm", 11),
    ("flow control error", 3),
    ("frame size error", 6),
    ("settings timeout", 4),
    ("inadequate security", 12),
    ("http 1 1 required", 13),
];
/// Words before a number that is a code.
const BEFORE: [&str; 13] = [
    "reset",
    "code",
    "errcode",
    "error",
    "err",
    "error_code",
    "errorcode",
    "status",
    "errno",
    "reason",
    "rst_stream",
    "httperrorcode",
    "http2errorcode",
];
/// Words that tell a code of HTTP/2 from others.
const HTTP2: [&str; 24] = [
    "rejected",
    "streamresetexception",
    "http2",
    "h2",
    "rst_stream",
    "goaway",
    "go_away",
    "rst",
    "nghttp2",
    "stream",
    "reset",
    "streamid",
    "stream_id",
    "http2exception",
    "streamreset",
    "stream_error",
    "connection_error",
    "session",
    "errcode",
    "err_http2_stream_error",
    "err_http2_session_error",
    "http2streamid",
    "http2errorcode",
    "connectionterminated",
];
/// Words that tell that a number is a status of gRPC.
const GRPC: [&str; 16] = [
    "codename",
    "grpc",
    "statuscode",
    "grpc_status",
    "rpc",
    "desc",
    "cancelled",
    "unknown",
    "internal",
    "unavailable",
    "deadline_exceeded",
    "resource_exhausted",
    "unimplemented",
    "failed_precondition",
    "aborted",
    "permission_denied",
];
/// Words of GOAWAY and of whole connections.
const CONNECTION: [&str; 8] = [
    "goaway",
    "go_away",
    "session",
    "connection_error",
    "last_stream_id",
    "laststreamid",
    "connectionterminated",
    "err_http2_session_error",
];
/// Words of RST_STREAM.
const STREAM: [&str; 5] = [
    "rst_stream",
    "rst",
    "stream_error",
    "streamreset",
    "err_http2_stream_error",
];

/// The codes that the words name, each once.
pub(super) fn decode(words: &[Word]) -> Vec<Decoded> {
    let of_connection = is_of_connection(words);
    let of_http2 = has_any(words, &HTTP2)
        || words.windows(2).any(
            |pair| matches!(pair, [first, second] if first.lower == "http" && second.lower == "2"),
        );
    let mut all: Vec<Decoded> = Vec::new();
    for n in 0..words.len() {
        let rest = words.get(n..).unwrap_or_default();
        let found = by_name(rest)
            .or_else(|| spoken(rest))
            .or_else(|| of_http2.then(|| by_number(words, n)).flatten());
        let Some((number, part)) = found else {
            continue;
        };
        let Some(code) = CODES.get(number) else {
            continue;
        };
        let is = format!("the HTTP/2 error code {} (0x{number:x})", code.name);
        if all.iter().any(|known| known.is == is) {
            continue;
        }
        all.push(Decoded {
            part,
            is,
            means: code.means,
            kinds: if of_connection {
                code.connection
            } else {
                code.stream
            },
            word: n,
        });
    }
    all
}

fn is_of_connection(words: &[Word]) -> bool {
    let connection_error = words.windows(2).any(|pair| {
        matches!(pair, [first, second] if first.lower == "connection"
            && matches!(second.lower.as_str(), "error" | "closed" | "terminated"))
    });
    let the_connection = words.windows(3).any(|three| {
        matches!(three, [first, the, last] if matches!(first.lower.as_str(), "closed" | "on" | "ended")
            && the.lower == "the" && last.lower == "connection")
    });
    (the_connection || has_any(words, &CONNECTION) || connection_error) && !has_any(words, &STREAM)
}

fn by_name(rest: &[Word]) -> Option<(usize, String)> {
    let word = rest.first()?;
    let name = PREFIXES
        .iter()
        .find_map(|prefix| word.lower.strip_prefix(prefix))
        .unwrap_or(&word.lower);
    let has_prefix = name.len() < word.lower.len();
    let plain: String = name.chars().filter(|c| *c != '_').collect();
    let number = CODES.iter().position(|code| {
        let own: String = code.name.chars().filter(|c| *c != '_').collect();
        own.eq_ignore_ascii_case(&plain)
            // Go: ErrCodeProtocol; Netty and others: ERR_PROTO.
            || (has_prefix && own.strip_suffix("ERROR").is_some_and(|own| own.eq_ignore_ascii_case(&plain)))
    })?;
    // Errors of libraries are named like codes, and a cancel need not be one.
    let is_code = match number {
        1 | 2 | 5 | 10 => has_prefix || name.contains('_'),
        8 => has_prefix || word.given == "CANCEL",
        _ => true,
    };
    is_code.then(|| (number, word.given.clone()))
}

fn spoken(rest: &[Word]) -> Option<(usize, String)> {
    SPOKEN.iter().find_map(|(name, number)| {
        let parts: Vec<&str> = name.split(' ').collect();
        let found = rest.get(..parts.len())?;
        let same = found
            .iter()
            .zip(&parts)
            .all(|(word, part)| word.lower == *part);
        same.then(|| {
            let given: Vec<&str> = found.iter().map(|word| word.given.as_str()).collect();
            (*number, given.join(" "))
        })
    })
}

/// A number behind a word that says that it is a code; in hexadecimal it stands alone too.
fn by_number(words: &[Word], n: usize) -> Option<(usize, String)> {
    let word = words.get(n)?;
    let number = usize::try_from(word.number()?).ok()?;
    let before = words.get(n.saturating_sub(1)..n).unwrap_or_default();
    let around = words
        .get(n.saturating_sub(3)..(n + 3).min(words.len()))
        .unwrap_or_default();
    let is_code = has_any(before, &BEFORE) || word.lower.starts_with("0x");
    (is_code && number < CODES.len() && !has_any(around, &GRPC)).then(|| {
        (
            number,
            format!(
                "{} {}",
                before.first().map_or("", |word| &word.given),
                word.given
            )
            .trim()
            .to_owned(),
        )
    })
}
