//! The words of a question.

use std::ops::Range;

/// A word, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// As it was written.
    pub given: String,
    /// In lower case.
    pub lower: String,
    /// Its bytes in the question.
    pub at: Range<usize>,
}

impl Word {
    /// Its number, decimal or hexadecimal (`0x`).
    pub(super) fn number(&self) -> Option<u64> {
        match self.lower.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => self.lower.parse().ok(),
        }
    }
}

/// What stands between words.
pub(super) fn is_separator(c: char) -> bool {
    !(c.is_alphanumeric() || c == '_')
}

/// The words of a text, in their order.
pub(super) fn words_of(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut begin = None;
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    for (at, c) in ends {
        match (begin, is_separator(c)) {
            (None, false) => begin = Some(at),
            (Some(from), true) => {
                let given = text.get(from..at).unwrap_or_default();
                words.push(Word {
                    given: given.to_owned(),
                    lower: given.to_lowercase(),
                    at: from..at,
                });
                begin = None;
            }
            _ => {}
        }
    }
    words
}

/// One of the names is one of the words.
pub(super) fn has_any(words: &[Word], names: &[&str]) -> bool {
    words
        .iter()
        .any(|word| names.contains(&word.lower.as_str()))
}
