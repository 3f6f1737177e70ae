//! Numbers that are text: what HTTP/1, TLS or a page looks like when it is read as the length,
//! type or flag of a frame or a message.

use super::Decoded;
use super::bytes::{Recognised, as_frame, as_message, text_of, tls};
use crate::explain::words::{Word, has_any};
use h2trace_core::anomaly::kind::Kind;

/// Words that say that a number is a size.
const SIZE: [&str; 21] = [
    "large", "larger", "length", "size", "max", "maximum", "exceeds", "exceed", "exceeded",
    "limit", "bytes", "promised", "big", "bigger", "payload", "len", "than", "longer", "stream",
    "window", "overlong",
];
/// Words that say that it is the size of a gRPC message.
const MESSAGE: [&str; 9] = [
    "message",
    "envelope",
    "enveloped",
    "grpc",
    "decoded",
    "messages",
    "msg",
    "promised",
    "receive_message",
];
/// Words before a gRPC message's first byte.
const FLAG: [&str; 9] = [
    "flag",
    "flags",
    "format",
    "compressed",
    "compression",
    "flag_byte",
    "compressed_flag",
    "is_compressed",
    "envelope",
];
/// No message is as long as this: the bytes are no prefix of a gRPC message.
const NO_LENGTH: u64 = 1 << 30;

/// Lengths, types and flags.
pub(super) fn decode(words: &[Word]) -> Vec<Decoded> {
    let of_message = has_any(words, &MESSAGE);
    let of_frame = has_any(
        words,
        &[
            "frame",
            "frames",
            "http2",
            "h2",
            "nghttp2",
            "http2exception",
        ],
    ) || words.windows(2).any(
        |pair| matches!(pair, [first, second] if first.lower == "http" && second.lower == "2"),
    );
    let sized = has_any(words, &SIZE) || has_any(words, &FLAG);
    words
        .iter()
        .enumerate()
        .filter_map(|(n, word)| {
            let number = word.number()?;
            let before = words.get(n.saturating_sub(3)..n).unwrap_or_default();
            let found = flag(number, before)
                .or_else(|| frame_type(number, of_message, of_frame, before))
                .or_else(|| (sized || of_frame).then(|| length(number, of_message, of_frame))?)?;
            Some(Decoded {
                part: word.given.clone(),
                is: found.is,
                means: found.means,
                kinds: found.kinds,
                word: n,
            })
        })
        .collect()
}

/// The first byte of a gRPC message: 0 or 1.
fn flag(number: u64, before: &[Word]) -> Option<Recognised> {
    let byte = u8::try_from(number).ok().filter(|byte| *byte > 1)?;
    if !has_any(before, &FLAG) {
        return None;
    }
    if byte == 0x1f {
        return Some(as_message("the first byte of gzip".to_owned()));
    }
    byte.is_ascii_graphic()
        .then(|| as_message(format!("the character {:?}", char::from(byte))))
}

/// A frame's type: 0 to 9 in RFC 9113, and few others.
fn frame_type(
    number: u64,
    of_message: bool,
    of_frame: bool,
    before: &[Word],
) -> Option<Recognised> {
    let byte = u8::try_from(number).ok().filter(u8::is_ascii_graphic)?;
    let last = before.last()?.lower.as_str();
    let is_type = (of_frame && matches!(last, "type" | "frametype"))
        || last == "frame_type"
        || (last == "frame" && has_any(before, &["unexpected", "http2"]));
    is_type.then(|| {
        let is = format!("the character {:?}", char::from(byte));
        if of_message {
            as_message(is)
        } else if byte == b'P' {
            as_frame(is + ", as in \"HTTP/1.1\"")
        } else {
            as_frame(is)
        }
    })
}

/// The 24-bit length of a frame, or the 32-bit length of a gRPC message.
fn length(number: u64, of_message: bool, of_frame: bool) -> Option<Recognised> {
    let number = u32::try_from(number).ok()?;
    let all = number.to_be_bytes();
    if let [0, three @ ..] = &all {
        if !of_frame || of_message {
            return None;
        }
        let is = tls(three).or_else(|| text_of(three))?;
        return Some(as_frame(is));
    }
    if let Some(is) = text_of(&all) {
        return Some(if of_message {
            as_message(is)
        } else {
            as_frame(is)
        });
    }
    (of_message && u64::from(number) >= NO_LENGTH).then(|| Recognised {
        is: "no length of a message: it is more than a gigabyte".to_owned(),
        means: "What was read as the prefix of a gRPC message is something else: another format, compressed as a \
             whole, or bytes from the middle of a message.",
        kinds: &[Kind::NonGrpcResponse, Kind::MalformedFields, Kind::TruncatedResponse],
    })
}
