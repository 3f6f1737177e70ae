//! What bytes are: HTTP/1, TLS, a frame of HTTP/2, a page, or other text.

use h2trace_core::anomaly::kind::Kind;
use h2trace_core::frame::head::{DEFAULT_MAX_FRAME_SIZE, flag, frame_type};
use h2trace_core::frame::{FrameKind, PREFACE};
use tracer_ebpf::http2::{Opening, Protocol};
use tracer_ebpf::proxy_header::ProxyHeader;

/// Bytes that were recognised.
#[derive(Debug)]
pub(super) struct Recognised {
    pub is: String,
    /// What follows from it.
    pub means: &'static str,
    /// The findings, likeliest first.
    pub kinds: &'static [Kind],
}

/// How texts begin that are often taken for frames or messages.
const BEGINS: [&str; 16] = [
    "HTTP/1.1",
    "HTTP/1.0",
    "<html",
    "<!DOCTYPE",
    "<?xml",
    "<head",
    "<h1>",
    "{\"",
    "GET /",
    "POST /",
    "SSH-2.0",
    "error code: ",
    "upstream connect error",
    "no healthy upstream",
    "Bad Gateway",
    "Not Found",
];

const OTHER_PROTOCOL: &str = "The peer answers in another protocol than HTTP/2: a wrong port, TLS on one side only, or a \
     proxy that speaks HTTP/1.";
const NO_MESSAGE: &str = "What was read as a gRPC message is text: an answer that is no gRPC, mostly the page or JSON \
     of a proxy.";

/// A few bytes out of the beginning of a stream of bytes, read as a number. The text that they
/// belong to is known when it is a usual one; it may have begun a byte earlier.
pub(super) fn text_of(fragment: &[u8]) -> Option<String> {
    let letters = fragment
        .iter()
        .filter(|byte| byte.is_ascii_alphabetic() || b"<{!".contains(byte))
        .count();
    let is_text = fragment.iter().all(|byte| is_text(*byte)) && letters * 2 >= fragment.len();
    if !is_text {
        return None;
    }
    let text: String = fragment.iter().map(|byte| char::from(*byte)).collect();
    let whole = BEGINS.iter().find(|begin| {
        [0, 1].iter().any(|from| {
            begin
                .as_bytes()
                .get(*from..from + fragment.len())
                .is_some_and(|part| part.eq_ignore_ascii_case(fragment))
        })
    });
    Some(match whole {
        Some(whole) => format!("the text {text:?}, as in {whole:?}"),
        None => format!("the text {text:?}"),
    })
}

/// Text that was read as the header of a frame.
pub(super) fn as_frame(is: String) -> Recognised {
    Recognised {
        is,
        means: OTHER_PROTOCOL,
        kinds: &[
            Kind::NotHttp2,
            Kind::NonGrpcResponse,
            Kind::FramingViolation,
        ],
    }
}

/// Text that was read as the prefix of a gRPC message.
pub(super) fn as_message(is: String) -> Recognised {
    Recognised {
        is,
        means: NO_MESSAGE,
        kinds: &[
            Kind::NonGrpcResponse,
            Kind::SynthesizedAnswer,
            Kind::NotHttp2,
            Kind::MalformedFields,
        ],
    }
}

/// The first bytes that a peer sent.
pub(super) fn recognise(bytes: &[u8]) -> Option<Recognised> {
    let begins = |with: &[u8]| bytes.starts_with(with);
    let not_http2 = |is: String| {
        Some(Recognised {
            is,
            means: OTHER_PROTOCOL,
            kinds: &[Kind::NotHttp2, Kind::NonGrpcResponse],
        })
    };
    if begins(b"HTTP/1") || begins(b"HTTP/") {
        return not_http2(format!("an HTTP/1 response: {:?}", first_line(bytes)));
    }
    // Its first line names the version.
    if PREFACE.get(..12).is_some_and(begins) {
        return not_http2("the client preface of HTTP/2".to_owned());
    }
    if is_http1_request(bytes) {
        return not_http2(format!("an HTTP/1 request: {:?}", first_line(bytes)));
    }
    if begins(ProxyHeader::V1) || ProxyHeader::of(bytes).is_certain() {
        return not_http2("a header of the PROXY protocol".to_owned());
    }
    if begins(b"SSH-") {
        return not_http2("the greeting of an SSH server".to_owned());
    }
    if let Some(is) = tls(bytes) {
        return not_http2(is);
    }
    if begins(&[0x1f, 0x8b]) {
        return Some(as_message("data compressed with gzip".to_owned()));
    }
    if begins(b"<") || begins(b"{") {
        return Some(as_message(format!("the text {:?}", first_line(bytes))));
    }
    frame(bytes).or_else(|| {
        (bytes.len() >= 4 && bytes.iter().all(|byte| is_text(*byte)))
            .then(|| as_frame(format!("the text {:?}", first_line(bytes))))
    })
}

/// The beginning of an HTTP/1 request, which may be cut off anywhere behind the method.
fn is_http1_request(bytes: &[u8]) -> bool {
    if let Some(protocol) = Opening::of(bytes).protocol() {
        return protocol == Protocol::Http1Request;
    }
    // Two words make no request yet.
    let mut words = bytes.splitn(2, |byte| *byte == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return false;
    };
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
    let is_target = matches!(target, [] | [b'/' | b'*', ..]) || target.contains(&b':');
    method.len() >= 3 && method.iter().all(is_name) && is_target
}

/// A record of TLS.
pub(super) fn tls(bytes: &[u8]) -> Option<String> {
    let (Some(Protocol::Tls), [kind, _, _, rest @ ..]) = (Opening::of(bytes).protocol(), bytes)
    else {
        return None;
    };
    Some(match kind {
        0x15 => match rest.get(2..4) {
            Some([_, description]) => format!("a TLS alert: {}", alert(*description)),
            _ => "a TLS alert".to_owned(),
        },
        0x16 => "a TLS handshake".to_owned(),
        0x14 => "a TLS change of the cipher".to_owned(),
        _ => "encrypted data of TLS".to_owned(),
    })
}

/// RFC 8446, section 6.
fn alert(description: u8) -> String {
    let name = match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        46 => "certificate_unknown",
        48 => "unknown_ca",
        50 => "decode_error",
        70 => "protocol_version",
        80 => "internal_error",
        112 => "unrecognized_name",
        116 => "certificate_required",
        120 => "no_application_protocol",
        other => return format!("number {other}"),
    };
    name.to_owned()
}

/// A frame's header; its last four bytes may be missing.
fn frame(bytes: &[u8]) -> Option<Recognised> {
    let [high, middle, low, kind, flags, rest @ ..] = bytes else {
        return None;
    };
    let name = match FrameKind::of(*kind) {
        FrameKind::Unknown => return None,
        known => known.as_str(),
    };
    let length = u32::from_be_bytes([0, *high, *middle, *low]);
    // A frame of the largest size that nobody has to ask for, and its stream id without the reserved bit.
    let plausible =
        length <= DEFAULT_MAX_FRAME_SIZE && rest.first().is_none_or(|byte| byte & 0x80 == 0);
    if !plausible {
        return None;
    }
    let ack = matches!(*kind, frame_type::SETTINGS | frame_type::PING) && flags & flag::ACK != 0;
    let is = format!(
        "a frame of HTTP/2: {name}{}, {length} bytes long",
        if ack { " with ACK" } else { "" }
    );
    Some(if *kind == frame_type::SETTINGS && !ack {
        Recognised {
            is,
            means: "The peer speaks HTTP/2, and these bytes were read as something else, mostly as HTTP/1: \
                 one end has to be told that the other speaks HTTP/2.",
            kinds: &[Kind::NotHttp2, Kind::SynthesizedAnswer],
        }
    } else {
        Recognised {
            is,
            means: "The first frame of each end has to be its SETTINGS (RFC 9113 section 3.4): an earlier part \
                 was lost, or the peer sends other frames too early.",
            kinds: &[
                Kind::FramingViolation,
                Kind::UnexpectedFrame,
                Kind::NotHttp2,
            ],
        }
    })
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')
}

fn first_line(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take_while(|byte| is_text(**byte) && **byte != b'\r' && **byte != b'\n')
        .take(60)
        .map(|byte| char::from(*byte))
        .collect()
}
