//! What strangers name: processes, addresses, paths, header fields, pods. All of it passes here on its way to a
//! terminal, a log, a metric or a comment, so that it can neither move a cursor nor forge a line, nor turn the
//! direction in which others are read.

use std::borrow::Cow;
use std::io::{self, Write};

/// What stands for a character that is not shown.
const HIDDEN: char = '?';

/// Controls of C0 and C1, and what Unicode knows to break a line or to turn its direction.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// A name or a value of somebody else's, in one line.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let shown = |c| if is_unsafe(c) { HIDDEN } else { c };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Lines of our own, with the colours that they are painted in: whatever slipped into them unseen is hidden here.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    let is_strange = |c| is_unsafe(c) && c != '\n';
    if !text.contains(is_strange) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_strange) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let mut chars = from.chars();
        match colour(from) {
            Some(colour) => {
                out.push_str(colour);
                chars = from.get(colour.len()..).unwrap_or_default().chars();
            }
            None => {
                chars.next();
                out.push(HIDDEN);
            }
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The "select graphic rendition" (ECMA-48) that `text` begins with.
fn colour(text: &str) -> Option<&str> {
    let codes = text.strip_prefix("\x1b[")?;
    let is_code = |c: char| c.is_ascii_digit() || c == ';';
    let n_codes = codes.find(|c| !is_code(c))?;
    let end = codes.get(n_codes..)?;
    end.starts_with('m').then(|| text.get(..2 + n_codes + 1))?
}

/// Writes [`lines`] of what it is given, a whole message at a time.
#[derive(Debug)]
pub struct Screened<W>(pub W);

impl<W: Write> Write for Screened<W> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(message);
        self.0.write_all(lines(&text).as_bytes())?;
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Whatever a name could do harm with, and some that it may have.
    pub(crate) const HOSTILE: &str = "\0x\x1b]0;owned\x07\x1b[2J\x1b[31m\r\n12:00:00.000 diagnosis: forged\u{9b}31m\
                                      \u{202e}gpj\u{2066}\u{200f}\u{2028}\u{61c}\x7f\"\\,{}\u{fffd}ä";

    /// What is in there that is not to be shown; `'\n'` is no part of it.
    pub(crate) fn harm(text: &str) -> String {
        let code_points = [
            0..=9,
            11..=0x1f,
            0x7f..=0x9f,
            0x2028..=0x202e,
            0x2066..=0x2069,
        ];
        let is_harm = |c: &char| {
            let code = u32::from(*c);
            code_points.iter().any(|range| range.contains(&code))
                || "\u{61c}\u{200e}\u{200f}".contains(*c)
        };
        text.chars().filter(is_harm).collect()
    }

    #[test]
    fn nothing_in_a_name_moves_a_cursor_or_forges_a_line() {
        let shown = plain(HOSTILE);
        assert_eq!(harm(&shown), "");
        assert!(!shown.contains('\n') && shown.contains("\"\\,{}\u{fffd}ä"));
        assert!(matches!(plain("envoy ä"), Cow::Borrowed("envoy ä")));
    }

    #[test]
    fn lines_keep_their_own_colours_and_nothing_else() {
        let painted = "\x1b[1;31mANOMALY\x1b[0m  x\n";
        assert_eq!(lines(painted), painted);
        for (text, want) in [
            ("a\x1b[2Jb", "a?[2Jb"),
            ("a\x1b[31", "a?[31"),
            ("a\x1b", "a?"),
            ("\x1b[0m\x1b[\u{202e}m", "\x1b[0m?[?m"),
            ("a\rb\u{9b}1m", "a?b?1m"),
        ] {
            assert_eq!(lines(text), want, "{text:?}");
        }
        let mut out = Vec::new();
        Screened(&mut out).write_all(b"WARN \xff\x1b[2J\n").unwrap();
        assert_eq!(out, "WARN \u{fffd}?[2J\n".as_bytes());
    }
}
