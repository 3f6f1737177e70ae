//! What a text carries in another form: lengths and flags that are really text, dumps of bytes,
//! error codes of HTTP/2 and statuses of gRPC in any spelling.
//!
//! Nothing here knows a program. What a program prints is in [`super::messages`].

mod bytes;
mod code;
mod dump;
mod number;
mod status;

use super::words::Word;
use h2trace_core::anomaly::kind::Kind;

/// One part of a text, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The part, as it was written.
    pub part: String,
    pub is: String,
    /// What follows from it.
    pub means: &'static str,
    /// The findings that it may come from, likeliest first.
    pub kinds: &'static [Kind],
    /// The word of the question that it begins with.
    pub(super) word: usize,
}

/// Bytes that are no HTTP/2 or no gRPC, whatever a program took them for.
#[must_use]
pub(super) fn foreign_bytes(question: &str, words: &[Word]) -> Vec<Decoded> {
    let mut all = dump::decode(question, words);
    all.extend(number::decode(words));
    all
}

/// Error codes of HTTP/2.
#[must_use]
pub(super) fn codes(words: &[Word]) -> Vec<Decoded> {
    code::decode(words)
}

/// The status of gRPC.
#[must_use]
pub(super) fn status(words: &[Word]) -> Option<Decoded> {
    status::decode(words)
}
