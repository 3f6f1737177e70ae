//! From what was typed or copied from a log to findings.
//!
//! Texts are compared word by word, without regard to case and punctuation. In a known message
//! `<N>` stands for a number, `<X>` for any word, and `...` for some words.

use super::messages::{self, KnownMessage, MessagesError};
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
    /// For JSON.
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
}

/// What was found for a question.
#[derive(Debug, Default)]
pub struct Found {
    /// The known messages, best first.
    pub matches: Vec<Match>,
    /// The findings, likeliest first.
    pub kinds: Vec<Kind>,
}

/// How close a text is to the words, and how much that says.
type Comparison = fn(&[Token], &[Word]) -> Option<(Closeness, usize)>;

/// Texts that are shown for one question.
const MATCHES: usize = 4;
/// Words that `...` stands for, at most.
const GAP: usize = 12;

/// What the words may be about. Nothing is found when there are no kinds in the answer.
///
/// # Errors
/// A file of messages is malformed (a test holds that none is).
pub fn find(question: &str) -> Result<Found, &'static MessagesError> {
    let words = words_of(question);
    let mut found = Found::default();
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
    for kind in found.matches.iter().flat_map(|found| &found.message.kinds) {
        push(&mut found.kinds, *kind);
    }
    if found.kinds.is_empty() {
        found.kinds = by_keyword(&words);
    }
    Ok(found)
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
    let known = messages::all()?;
    let all = |how: Comparison| -> Vec<Match> {
        known
            .iter()
            .filter_map(|message| best(message, words, how))
            .collect()
    };
    let mut found = all(exactly);
    if found.is_empty() {
        found = all(nearly);
    }
    if let Some(closest) = found.iter().map(|found| found.closeness).min() {
        found.retain(|found| found.closeness == closest);
    }
    // A stable sort: of equals the first of the files stays first.
    found.sort_by_key(|found| std::cmp::Reverse(found.score));
    let general = |n: usize, general: &Match| {
        found.iter().take(n).any(|better| {
            better.message.emitter == general.message.emitter
                && exactly(&pattern(general.text), &words_of(better.text))
                    .is_some_and(|(closeness, _)| closeness == Closeness::Whole)
        })
    };
    // What a better one of the same program says already is left out.
    let mut telling: Vec<Match> = found
        .iter()
        .enumerate()
        .filter(|(n, of_all)| !general(*n, of_all))
        .map(|(_, of_all)| *of_all)
        .collect();
    telling.truncate(MATCHES);
    Ok(telling)
}

fn best(message: &'static KnownMessage, words: &[Word], how: Comparison) -> Option<Match> {
    let of_texts = message.texts.iter().filter_map(|text| {
        let pattern = pattern(text);
        let (closeness, score) = if message.is_flag {
            flag(text, words)?
        } else {
            how(&pattern, words)?
        };
        Some(Match {
            message,
            text,
            closeness,
            score,
        })
    });
    // The closest, then the longest.
    of_texts.min_by_key(|found| (found.closeness, std::cmp::Reverse(found.score)))
}

/// A flag is two or more capitals as a word of its own; everything else is better than that.
fn flag(text: &str, words: &[Word]) -> Option<(Closeness, usize)> {
    words
        .iter()
        .any(|word| word.given == text)
        .then_some((Closeness::Whole, 1))
}

/// The text stands in the words, or the words in the text.
fn exactly(pattern: &[Token], words: &[Word]) -> Option<(Closeness, usize)> {
    let whole = (0..words.len()).any(|at| begins(pattern, words.get(at..).unwrap_or_default()));
    if whole {
        return Some((Closeness::Whole, pattern.iter().map(Token::weight).sum()));
    }
    let telling = words.len() > 1 || words.iter().any(|word| word.lower.contains('_'));
    (telling && is_part(words, pattern))
        .then(|| (Closeness::Part, words.len() * 100 / pattern.len().max(1)))
}

/// Three words at least, and three quarters of them, stand in the words.
fn nearly(pattern: &[Token], words: &[Word]) -> Option<(Closeness, usize)> {
    let literals = pattern
        .iter()
        .filter(|token| matches!(token, Token::Word(_)))
        .count();
    let in_order = common(pattern, words);
    (literals >= 3 && in_order >= 3 && in_order * 4 >= pattern.len() * 3)
        .then_some((Closeness::Similar, in_order * 100 / pattern.len().max(1)))
}

/// The words begin with the pattern.
fn begins(pattern: &[Token], words: &[Word]) -> bool {
    let Some((token, pattern)) = pattern.split_first() else {
        return true;
    };
    if *token == Token::Gap {
        return (0..=GAP.min(words.len()))
            .any(|skipped| begins(pattern, words.get(skipped..).unwrap_or_default()));
    }
    match words.split_first() {
        Some((word, words)) => token.is(word) && begins(pattern, words),
        None => false,
    }
}

/// The words stand in the pattern, one after the other, and not only for its placeholders.
fn is_part(words: &[Word], pattern: &[Token]) -> bool {
    !words.is_empty()
        && pattern.windows(words.len()).any(|tokens| {
            let literals = tokens
                .iter()
                .filter(|token| matches!(token, Token::Word(_)))
                .count();
            literals >= words.len().min(2)
                && tokens.iter().zip(words).all(|(token, word)| token.is(word))
        })
}

/// Length of the longest common subsequence, with a slip of the finger allowed in long words.
fn common(pattern: &[Token], words: &[Word]) -> usize {
    let mut above = vec![0; words.len() + 1];
    for token in pattern {
        let mut row = vec![0];
        for (at, word) in words.iter().enumerate() {
            let left = row.last().copied().unwrap_or(0);
            let (diagonal, up) = (
                above.get(at).copied().unwrap_or(0),
                above.get(at + 1).copied().unwrap_or(0),
            );
            row.push(if token.is_almost(word) {
                diagonal + 1
            } else {
                up.max(left)
            });
        }
        above = row;
    }
    above.last().copied().unwrap_or(0)
}

/// A word of the question.
#[derive(Debug)]
struct Word {
    given: String,
    lower: String,
}

/// A word of a known message.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Number,
    Any,
    Gap,
}

impl Token {
    fn is(&self, word: &Word) -> bool {
        match self {
            // The names of counters come with what they belong to before them: `envoy_cluster_NAME`.
            Token::Word(own) => {
                *own == word.lower
                    || (own.contains('_')
                        && word
                            .lower
                            .strip_suffix(own.as_str())
                            .is_some_and(|rest| rest.ends_with('_')))
            }
            Token::Number => word.lower.starts_with(|c: char| c.is_ascii_digit()),
            Token::Any => true,
            Token::Gap => false,
        }
    }

    fn is_almost(&self, word: &Word) -> bool {
        match self {
            Token::Word(own) if own.len() >= 7 => distance(own, &word.lower) <= 2,
            _ => self.is(word),
        }
    }

    /// How much a word says: names with an underscore say more than others.
    fn weight(&self) -> usize {
        match self {
            Token::Word(own) if own.contains('_') => 8,
            Token::Word(_) => 4,
            Token::Number => 2,
            Token::Any | Token::Gap => 1,
        }
    }
}

fn is_separator(c: char) -> bool {
    !(c.is_alphanumeric() || c == '_')
}

fn words_of(text: &str) -> Vec<Word> {
    text.split(is_separator)
        .filter(|word| !word.is_empty())
        .map(|word| Word {
            given: word.to_owned(),
            lower: word.to_lowercase(),
        })
        .collect()
}

fn pattern(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let text = text
        .replace("<N>", " \u{1} ")
        .replace("<X>", " \u{2} ")
        .replace("...", " \u{3} ");
    for word in text.split(|c: char| is_separator(c) && !c.is_control()) {
        match word {
            "" => {}
            "\u{1}" => tokens.push(Token::Number),
            "\u{2}" => tokens.push(Token::Any),
            "\u{3}" => tokens.push(Token::Gap),
            _ => tokens.push(Token::Word(word.to_lowercase())),
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
