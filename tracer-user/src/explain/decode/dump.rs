//! Bytes that a text shows: hexadecimal in one piece, in pairs, or as escapes in a string.

use super::Decoded;
use super::bytes::{Recognised, recognise};
use crate::explain::words::{Word, has_any};

/// Words that say that digits are a dump. Without one, an id of a trace would be decoded too.
const DUMP: [&str; 12] = [
    "hex", "dump", "hexdump", "bytes", "preface", "magic", "greeting", "received", "raw", "record",
    "data", "first",
];
/// Bytes that a dump has at least.
const SHORTEST: usize = 3;

/// The dumps that show something known.
pub(super) fn decode(question: &str, words: &[Word]) -> Vec<Decoded> {
    let mut all = Vec::new();
    let told = has_any(words, &DUMP);
    let mut n = 0;
    while let Some(word) = words.get(n) {
        let pairs = words
            .get(n..)
            .unwrap_or_default()
            .iter()
            .map_while(pair)
            .collect::<Vec<u8>>();
        if pairs.len() >= SHORTEST {
            let last = words.get(n + pairs.len() - 1).unwrap_or(word);
            let part = question.get(word.at.start..last.at.end);
            add(&mut all, recognise(&pairs), part, n);
            n += pairs.len();
            continue;
        }
        if told && let Some(bytes) = hex(&word.lower).filter(|bytes| bytes.len() >= SHORTEST) {
            add(&mut all, recognise(&bytes), Some(&word.given), n);
        }
        n += 1;
    }
    if let Some((part, bytes)) = escaped(question) {
        add(&mut all, recognise(&bytes), Some(part), 0);
    }
    all
}

fn add(all: &mut Vec<Decoded>, found: Option<Recognised>, part: Option<&str>, word: usize) {
    if let (Some(found), Some(part)) = (found, part) {
        all.push(Decoded {
            part: part.to_owned(),
            is: found.is,
            means: found.means,
            kinds: found.kinds,
            word,
        });
    }
}

/// Two digits, with or without `0x`.
fn pair(word: &Word) -> Option<u8> {
    let digits = word.lower.strip_prefix("0x").unwrap_or(&word.lower);
    (digits.len() == 2)
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

fn hex(word: &str) -> Option<Vec<u8>> {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect()
}

/// The string with the first `\x` in it.
fn escaped(question: &str) -> Option<(&str, Vec<u8>)> {
    let first = ["\\x", "\\u00"]
        .iter()
        .filter_map(|escape| question.find(escape))
        .min()?;
    let quotes = ['"', '\''];
    let from = question
        .get(..first)?
        .rfind(quotes)
        .map_or(first, |quote| quote + 1);
    let part = question.get(from..)?.split(quotes).next()?;
    let mut bytes = Vec::new();
    let mut rest = part;
    while let Some(c) = rest.chars().next() {
        let (byte, length) = unescaped(rest).unwrap_or((c, c.len_utf8()));
        bytes.push(u8::try_from(byte).unwrap_or(b'?'));
        rest = rest.get(length..).unwrap_or_default();
    }
    Some((part, bytes))
}

/// The character of an escape at the beginning, and how long the escape is.
fn unescaped(text: &str) -> Option<(char, usize)> {
    let rest = text.strip_prefix('\\')?;
    let digits = |from: usize, n: usize| {
        let number = u32::from_str_radix(rest.get(from..from + n)?, 16).ok()?;
        Some((char::from_u32(number)?, 1 + from + n))
    };
    match rest.chars().next()? {
        'x' => digits(1, 2),
        'u' => digits(1, 4),
        'r' => Some(('\r', 2)),
        'n' => Some(('\n', 2)),
        't' => Some(('\t', 2)),
        '0' => Some(('\0', 2)),
        '\\' => Some(('\\', 2)),
        _ => None,
    }
}
