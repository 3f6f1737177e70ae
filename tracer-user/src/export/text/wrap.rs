//! Long sentences in short lines.

use crate::plain::plain;

/// `text` in lines of at most `width` columns, broken between words.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&plain(word));
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_keeps_all_words_within_the_width() {
        let text =
            "the server reset the stream after 9920 of 11117 bytes and the client got no trailers";
        let lines = wrapped(text, 30);
        assert!(lines.iter().all(|line| line.len() <= 30) && lines.len() > 2);
        assert_eq!(lines.join(" "), text);
    }
}
