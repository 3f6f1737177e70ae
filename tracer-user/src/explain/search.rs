//! From what was typed or copied from a log to findings.
//!
//! Texts are compared word by word, without regard to case and punctuation. In a known message
//! `<N>` stands for a number, `<X>` for any word, and `...` for some words.

use std::ops::Range;
use std::sync::LazyLock;

use super::decode::{self, Decoded};
use super::messages::{self, KnownMessage, MessagesError};
use super::words::{Word, has_any, is_separator, words_of};
use h2trace_core::anomaly::kind::Kind;

/// How a known message was found in what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closeness {
    /// All of the text stands in it.
    Whole,
    /// It is a part of the text.
    Part,
    /// Most of the text's words stand in it, in their order.
    Similar,
}

impl Closeness {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Closeness::Whole => "whole",
            Closeness::Part => "part",
            Closeness::Similar => "similar",
        }
    }
}

/// One known message that was found.
#[derive(Clone, Copy, Debug)]
pub struct Match {
    /// What is known of it.
    pub message: &'static KnownMessage,
    /// Its text, with placeholders.
    pub text: &'static str,
    /// How close it is.
    pub closeness: Closeness,
    score: usize,
    /// The words of the question that it covers.
    span: (usize, usize),
}

impl Match {
    /// It says what failed by itself.
    fn is_specific(&self) -> bool {
        self.closeness == Closeness::Whole && !self.message.is_wrapper && !self.message.is_flag
    }
}

/// What was found for a question.
#[derive(Debug, Default)]
pub struct SearchResult {
    /// The known messages, best first.
    pub matches: Vec<Match>,
    /// What else the words carry: bytes, codes, a status.
    pub decoded: Vec<Decoded>,
    /// The findings, likeliest first.
    pub kinds: Vec<Kind>,
}

/// A text of a known message, prepared.
struct Pattern {
    message: &'static KnownMessage,
    text: &'static str,
    tokens: Vec<MessageToken>,
}

/// How a text is found in the words: how close it is, how much that says, and where it stands.
type Comparison = fn(&[MessageToken], &[Word]) -> Option<(Closeness, usize, Range<usize>)>;

static PATTERNS: LazyLock<Result<Vec<Pattern>, &'static MessagesError>> = LazyLock::new(|| {
    let texts = messages::all()?.iter().flat_map(|message| {
        message.texts.iter().map(move |text| Pattern {
            message,
            text,
            tokens: pattern(text),
        })
    });
    Ok(texts.collect())
});

/// Texts that are shown for one question.
const MATCHES: usize = 4;
/// Words that `...` stands for, at most.
const GAP: usize = 12;
/// A question of so many words may be no more than flags.
const SHORT: usize = 3;
/// Words that say that a line is of Envoy's access log.
const ACCESS_LOG: [&str; 8] = [
    "flag",
    "flags",
    "response_flags",
    "responseflags",
    "envoy",
    "istio",
    "http",
    "response_code_details",
];

/// What the words may be about. Nothing is found when there are no kinds in the answer.
///
/// # Errors
/// A file of messages is malformed (a test holds that none is).
pub fn find(question: &str) -> Result<SearchResult, &'static MessagesError> {
    let words = words_of(question);
    let mut found = SearchResult::default();
    // A name: `missing_trailers`, `Missing-Trailers`, `missing trailers`; or names within a line of h2trace.
    let joined = words
        .iter()
        .map(|word| word.lower.as_str())
        .collect::<Vec<_>>()
        .join("_");
    if let Some(kind) = by_name(&joined) {
        found.kinds.push(kind);
        return Ok(found);
    }
    for kind in words.iter().filter_map(|word| by_name(&word.lower)) {
        push(&mut found.kinds, kind);
    }
    found.matches = matches(&words)?;
    let foreign = decode::foreign_bytes(question, &words);
    let codes: Vec<Decoded> = decode::codes(&words)
        .into_iter()
        .filter(|code| !says(&found.matches, &words, code.word))
        .collect();
    let status = decode::status(&words).filter(|status| {
        let known = codes.len() + foreign.len() > 0 || found.matches.iter().any(Match::is_specific);
        !known || status.kinds.contains(&Kind::DeadlineReset)
    });
    for kind in in_order(&found, &foreign, &codes, status.as_ref()) {
        push(&mut found.kinds, kind);
    }
    found.decoded = foreign;
    found.decoded.extend(codes);
    found.decoded.extend(status);
    if found.kinds.is_empty() {
        found.kinds = by_keyword(&words);
    }
    Ok(found)
}

/// Bytes of another protocol say most. A text knows the place and its code the reason: what both say
/// comes first; then the code, if the text has a place for it. A status says least, but more than a
/// text that is only similar.
fn in_order(
    found: &SearchResult,
    foreign: &[Decoded],
    codes: &[Decoded],
    status: Option<&Decoded>,
) -> Vec<Kind> {
    let of = |decoded: &[Decoded]| -> Vec<Kind> {
        let kinds = decoded.iter().flat_map(|decoded| decoded.kinds);
        kinds.copied().collect()
    };
    let of_matches = |wanted: fn(&Match) -> bool| -> Vec<Kind> {
        let wanted = found.matches.iter().filter(|found| wanted(found));
        wanted
            .flat_map(|found| &found.message.kinds)
            .copied()
            .collect()
    };
    let of_codes = of(codes);
    let specific = of_matches(Match::is_specific);
    let both = specific.iter().filter(|kind| of_codes.contains(kind));
    let has_place = |code: &Decoded| {
        found.matches.iter().any(|found| {
            found.closeness == Closeness::Whole && (found.span.0..found.span.1).contains(&code.word)
        })
    };
    let (first, second) = if codes.iter().any(has_place) {
        (&of_codes, &specific)
    } else {
        (&specific, &of_codes)
    };
    let mut kinds = of(foreign);
    kinds.extend(both);
    kinds.extend(first);
    kinds.extend(second);
    kinds.extend(status.iter().flat_map(|status| status.kinds));
    kinds.extend(of_matches(|_| true));
    let mut once = Vec::new();
    for kind in kinds {
        push(&mut once, kind);
    }
    once
}

/// A whole text has this word in it.
fn covers(matches: &[Match], at: usize) -> bool {
    matches.iter().any(|found| {
        found.closeness == Closeness::Whole && (found.span.0..found.span.1).contains(&at)
    })
}

/// A whole text says this word itself, not only with a placeholder.
fn says(matches: &[Match], words: &[Word], at: usize) -> bool {
    matches.iter().any(|found| {
        covers(std::slice::from_ref(found), at)
            && words.get(at).is_some_and(|word| {
                pattern(found.text)
                    .iter()
                    .any(|token| matches!(token, MessageToken::Word(own) if *own == word.lower))
            })
    })
}

/// The finding whose name is closest to what was typed, if one is close.
#[must_use]
pub fn nearest(question: &str) -> Option<Kind> {
    let asked = words_of(question)
        .into_iter()
        .map(|word| word.lower)
        .collect::<Vec<_>>()
        .join("_");
    Kind::ALL
        .iter()
        .map(|kind| (distance(&asked, kind.as_str()), *kind))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, kind)| distance * 2 <= kind.as_str().len())
        .map(|(_, kind)| kind)
}

fn by_name(name: &str) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|kind| kind.as_str() == name)
}

/// Findings that have all of the words in their name or meaning.
fn by_keyword(words: &[Word]) -> Vec<Kind> {
    let has = |kind: &Kind| {
        let text = format!("{} {}", kind.as_str(), kind.doc()).to_lowercase();
        words.iter().all(|word| text.contains(&word.lower))
    };
    let telling = words.iter().any(|word| word.lower.len() >= 3);
    if !telling {
        return Vec::new();
    }
    Kind::ALL.iter().copied().filter(has).collect()
}

fn push(kinds: &mut Vec<Kind>, kind: Kind) {
    if !kinds.contains(&kind) {
        kinds.push(kind);
    }
}

/// The texts that are found in the closest way in which any is found.
fn matches(words: &[Word]) -> Result<Vec<Match>, &'static MessagesError> {
    let patterns = match &*PATTERNS {
        Ok(patterns) => patterns,
        Err(error) => return Err(error),
    };
    let mut found = best(patterns, words, exactly);
    if found.is_empty() {
        found = best(patterns, words, nearly);
    }
    if let Some(closest) = found.iter().map(|found| found.closeness).min() {
        found.retain(|found| found.closeness == closest);
    }
    // A stable sort: of equals the first of the files stays first.
    found.sort_by_key(|found| std::cmp::Reverse(found.score));
    // What a better one says already is left out.
    let mut telling: Vec<Match> = Vec::new();
    for found in found {
        let said = telling.iter().any(|better| {
            better.closeness == Closeness::Whole
                && better.span.0 <= found.span.0
                && found.span.1 <= better.span.1
                && better.score > found.score
        });
        if !said {
            telling.push(found);
        }
    }
    telling.truncate(MATCHES);
    Ok(telling)
}

/// The best text of each message.
fn best(patterns: &'static [Pattern], words: &[Word], how: Comparison) -> Vec<Match> {
    let mut all: Vec<Match> = Vec::new();
    for pattern in patterns {
        let compared = if pattern.message.is_flag {
            flag(pattern.text, words)
        } else {
            how(&pattern.tokens, words)
        };
        let Some((closeness, score, span)) = compared else {
            continue;
        };
        let found = Match {
            message: pattern.message,
            text: pattern.text,
            closeness,
            score,
            span: (span.start, span.end),
        };
        match all.last_mut() {
            Some(last) if std::ptr::eq(last.message, found.message) => {
                // The closest, then the longest.
                if (found.closeness, last.score) < (last.closeness, found.score) {
                    *last = found;
                }
            }
            _ => all.push(found),
        }
    }
    all
}

/// A flag is two or more capitals as a word of its own, in a line of an access log or in a short
/// question; everything else is better than that.
fn flag(text: &str, words: &[Word]) -> Option<(Closeness, usize, Range<usize>)> {
    let at = words.iter().position(|word| word.given == text)?;
    let is_log = words.len() <= SHORT
        || has_any(words, &ACCESS_LOG)
        || words.iter().any(|word| {
            word.lower == "0"
                || (word.lower.len() == 3 && word.number().is_some_and(|n| (200..600).contains(&n)))
        });
    is_log.then(|| (Closeness::Whole, 1, at..at + 1))
}

/// The text stands in the words, or the words in the text.
fn exactly(pattern: &[MessageToken], words: &[Word]) -> Option<(Closeness, usize, Range<usize>)> {
    let whole = (0..words.len()).find_map(|at| {
        let length = begins(pattern, words.get(at..).unwrap_or_default())?;
        Some(at..at + length)
    });
    if let Some(span) = whole {
        return Some((
            Closeness::Whole,
            pattern.iter().map(MessageToken::weight).sum(),
            span,
        ));
    }
    let telling = words.len() > 1 || words.iter().any(|word| word.lower.contains('_'));
    (telling && is_part(words, pattern)).then(|| {
        (
            Closeness::Part,
            words.len() * 100 / pattern.len().max(1),
            0..words.len(),
        )
    })
}

/// Most of the text's own words stand in the words, in their order and close together: three quarters,
/// and four of them or all.
fn nearly(pattern: &[MessageToken], words: &[Word]) -> Option<(Closeness, usize, Range<usize>)> {
    let own: Vec<&str> = pattern
        .iter()
        .filter_map(|token| match token {
            MessageToken::Word(own) => Some(own.as_str()),
            _ => None,
        })
        .collect();
    let enough = |n: usize| own.len() >= 3 && n * 4 >= own.len() * 3 && (n >= 4 || n == own.len());
    let known = words
        .iter()
        .filter(|word| own.iter().any(|own| is_almost(own, word)))
        .count();
    if !enough(known.min(own.len())) {
        return None;
    }
    let width = pattern.len() * 2;
    let (in_order, at) = (0..words.len())
        .map(|at| {
            let window = words
                .get(at..(at + width).min(words.len()))
                .unwrap_or_default();
            (common(&own, window), at)
        })
        .max_by_key(|(in_order, at)| (*in_order, std::cmp::Reverse(*at)))?;
    enough(in_order).then(|| {
        (
            Closeness::Similar,
            in_order * 100 / own.len().max(1),
            at..(at + width).min(words.len()),
        )
    })
}

/// The words begin with the pattern: how many of them.
fn begins(pattern: &[MessageToken], words: &[Word]) -> Option<usize> {
    let Some((token, pattern)) = pattern.split_first() else {
        return Some(0);
    };
    if *token == MessageToken::Gap {
        return (0..=GAP.min(words.len())).find_map(|skipped| {
            Some(skipped + begins(pattern, words.get(skipped..).unwrap_or_default())?)
        });
    }
    let (word, words) = words.split_first()?;
    if !token.is(word) {
        return None;
    }
    Some(1 + begins(pattern, words)?)
}

/// The words stand in the pattern, one after the other, and not only for its placeholders.
fn is_part(words: &[Word], pattern: &[MessageToken]) -> bool {
    !words.is_empty()
        && pattern.windows(words.len()).any(|tokens| {
            let literals = tokens
                .iter()
                .filter(|token| matches!(token, MessageToken::Word(_)))
                .count();
            literals >= words.len().min(2)
                && tokens.iter().zip(words).all(|(token, word)| token.is(word))
        })
}

/// Length of the longest common subsequence, with a slip of the finger allowed in long words.
fn common(own: &[&str], words: &[Word]) -> usize {
    let mut above = vec![0; words.len() + 1];
    for own in own {
        let mut row = vec![0];
        for (at, word) in words.iter().enumerate() {
            let left = row.last().copied().unwrap_or(0);
            let (diagonal, up) = (
                above.get(at).copied().unwrap_or(0),
                above.get(at + 1).copied().unwrap_or(0),
            );
            row.push(if is_almost(own, word) {
                diagonal + 1
            } else {
                up.max(left)
            });
        }
        above = row;
    }
    above.last().copied().unwrap_or(0)
}

fn is_almost(own: &str, word: &Word) -> bool {
    own == word.lower
        || (own.len() >= 7
            && own.len().abs_diff(word.lower.len()) <= 2
            && distance(own, &word.lower) <= 2)
}

/// A word of a known message.
#[derive(Debug, PartialEq, Eq)]
enum MessageToken {
    Word(String),
    Number,
    Any,
    Gap,
}

impl MessageToken {
    fn is(&self, word: &Word) -> bool {
        match self {
            // The names of counters come with what they belong to before them: `envoy_cluster_NAME`.
            MessageToken::Word(own) => {
                *own == word.lower
                    || (own.contains('_')
                        && word
                            .lower
                            .strip_suffix(own.as_str())
                            .is_some_and(|rest| rest.ends_with('_')))
            }
            MessageToken::Number => word.lower.starts_with(|c: char| c.is_ascii_digit()),
            MessageToken::Any => true,
            MessageToken::Gap => false,
        }
    }

    /// How much a word says: names with an underscore say more than others.
    fn weight(&self) -> usize {
        match self {
            MessageToken::Word(own) if own.contains('_') => 8,
            MessageToken::Word(_) => 4,
            MessageToken::Number => 2,
            MessageToken::Any | MessageToken::Gap => 1,
        }
    }
}

fn pattern(text: &str) -> Vec<MessageToken> {
    let mut tokens = Vec::new();
    let text = text
        .replace("<N>", " \u{1} ")
        .replace("<X>", " \u{2} ")
        .replace("...", " \u{3} ");
    for word in text.split(|c: char| is_separator(c) && !c.is_control()) {
        match word {
            "" => {}
            "\u{1}" => tokens.push(MessageToken::Number),
            "\u{2}" => tokens.push(MessageToken::Any),
            "\u{3}" => tokens.push(MessageToken::Gap),
            _ => tokens.push(MessageToken::Word(word.to_lowercase())),
        }
    }
    tokens
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let at = |n: usize| above.get(n).copied().unwrap_or(usize::MAX / 2);
            let left = row.last().copied().unwrap_or(usize::MAX / 2);
            let changed = at(j) + usize::from(from != *to);
            row.push(changed.min(at(j + 1) + 1).min(left + 1));
        }
        above = row;
    }
    above.last().copied().unwrap_or(0)
}
