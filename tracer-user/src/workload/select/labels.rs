//! Label selectors of Kubernetes, equality-based and set-based, as `kubectl --selector` takes them:
//! `app=checkout,tier!=db,env in (a,b),!canary`. All requirements of one selector must hold.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Longest label value, and longest name of a label key, in bytes (`k8s.io/apimachinery`, validation).
const NAME_MAX: usize = 63;

/// Longest prefix of a label key, before its slash.
const PREFIX_MAX: usize = 253;

/// What is wrong with a selector, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {what} (such as: app=checkout,tier!=db,env in (a,b),!canary)")]
pub struct SelectorError {
    /// The column, from 1.
    pub column: usize,
    /// What is wrong there.
    pub what: String,
}

/// A selector: no requirement matches everything, so there always is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    given: String,
    requirements: Vec<Requirement>,
}

/// What one label must be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    Exists,
    /// It is not there.
    Missing,
    /// It is there and has one of these values.
    In(Vec<String>),
    /// It has none of these values, or is not there.
    NotIn(Vec<String>),
    /// It is a number, and greater.
    Greater(i64),
    /// It is a number, and less.
    Less(i64),
}

impl LabelSelector {
    /// It selects what has these labels.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(labels.get(&requirement.key)))
    }
}

impl fmt::Display for LabelSelector {
    /// As it was given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

impl Requirement {
    fn holds(&self, value: Option<&String>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::Exists => value.is_some(),
            Operator::Missing => value.is_none(),
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Greater(than) => number().is_some_and(|number| number > *than),
            Operator::Less(than) => number().is_some_and(|number| number < *than),
        }
    }
}

impl FromStr for LabelSelector {
    type Err = SelectorError;

    fn from_str(given: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser {
            tokens: tokens(given),
            next: 0,
            end: given.chars().count() + 1,
        };
        let mut requirements = vec![parser.requirement()?];
        while parser.takes(&Token::Comma) {
            requirements.push(parser.requirement()?);
        }
        if parser.peek().is_some() {
            return Err(parser.wrong("\",\" or the end"));
        }
        Ok(LabelSelector {
            given: given.trim().to_owned(),
            requirements,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Comma,
    Open,
    Close,
    Not,
    Equal,
    NotEqual,
    Greater,
    Less,
    Word(String),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
            Token::Not => "!",
            Token::Equal => "=",
            Token::NotEqual => "!=",
            Token::Greater => ">",
            Token::Less => "<",
            Token::Word(word) => word,
        })
    }
}

/// Each token with its column, from 1.
fn tokens(given: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    let mut chars = given.chars().zip(1..).peekable();
    while let Some((c, column)) = chars.next() {
        let mut then = |wanted: char| chars.next_if(|(c, _)| *c == wanted).is_some();
        let token = match c {
            c if c.is_whitespace() => continue,
            ',' => Token::Comma,
            '(' => Token::Open,
            ')' => Token::Close,
            '>' => Token::Greater,
            '<' => Token::Less,
            '!' if then('=') => Token::NotEqual,
            '!' => Token::Not,
            '=' => {
                then('=');
                Token::Equal
            }
            first => {
                let mut word = String::from(first);
                while let Some((c, _)) =
                    chars.next_if(|(c, _)| !c.is_whitespace() && !",()!=<>".contains(*c))
                {
                    word.push(c);
                }
                Token::Word(word)
            }
        };
        tokens.push((column, token));
    }
    tokens
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    /// The column behind the last one.
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// The column of the token that comes next.
    fn column(&self) -> usize {
        self.tokens
            .get(self.next)
            .map_or(self.end, |(column, _)| *column)
    }

    fn takes(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == Some(wanted);
        self.next += usize::from(found);
        found
    }

    fn wrong(&self, expected: &str) -> SelectorError {
        SelectorError {
            column: self.column(),
            what: match self.peek() {
                Some(token) => format!("\"{token}\" where {expected} is expected"),
                None => format!("the end where {expected} is expected"),
            },
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.takes(&Token::Not) {
            return Ok(Requirement {
                key: self.key()?,
                operator: Operator::Missing,
            });
        }
        let key = self.key()?;
        let operator = match self.peek().cloned() {
            None | Some(Token::Comma) => Operator::Exists,
            Some(token) => {
                let at = self.next;
                self.next += 1;
                match token {
                    Token::Equal => Operator::In(vec![self.value()?]),
                    Token::NotEqual => Operator::NotIn(vec![self.value()?]),
                    Token::Greater => Operator::Greater(self.number()?),
                    Token::Less => Operator::Less(self.number()?),
                    Token::Word(word) if word == "in" => Operator::In(self.values()?),
                    Token::Word(word) if word == "notin" => Operator::NotIn(self.values()?),
                    _ => {
                        self.next = at;
                        return Err(self.wrong("=, ==, !=, in, notin, <, >, \",\" or the end"));
                    }
                }
            }
        };
        Ok(Requirement { key, operator })
    }

    fn key(&mut self) -> Result<String, SelectorError> {
        let column = self.column();
        match self.peek().cloned() {
            Some(Token::Word(word)) if word != "in" && word != "notin" => {
                self.next += 1;
                if is_key(&word) {
                    return Ok(word);
                }
                Err(SelectorError {
                    column,
                    what: format!("\"{word}\" is no label key"),
                })
            }
            _ => Err(self.wrong("a label key")),
        }
    }

    /// One value, which may be empty.
    fn value(&mut self) -> Result<String, SelectorError> {
        let column = self.column();
        match self.peek().cloned() {
            None | Some(Token::Comma | Token::Close) => Ok(String::new()),
            Some(Token::Word(word)) => {
                self.next += 1;
                if is_name(&word) {
                    return Ok(word);
                }
                Err(SelectorError {
                    column,
                    what: format!("\"{word}\" is no label value"),
                })
            }
            Some(_) => Err(self.wrong("a label value")),
        }
    }

    fn number(&mut self) -> Result<i64, SelectorError> {
        match self.peek() {
            Some(Token::Word(word)) if let Ok(number) = word.parse() => {
                self.next += 1;
                Ok(number)
            }
            _ => Err(self.wrong("a whole number")),
        }
    }

    /// `(a, b)`.
    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        if !self.takes(&Token::Open) {
            return Err(self.wrong("\"(\""));
        }
        let mut values = vec![self.value()?];
        while self.takes(&Token::Comma) {
            values.push(self.value()?);
        }
        if self.takes(&Token::Close) {
            Ok(values)
        } else {
            Err(self.wrong("\",\" or \")\""))
        }
    }
}

/// `app`, `app.kubernetes.io/name`.
fn is_key(word: &str) -> bool {
    match word.split_once('/') {
        Some((prefix, name)) => {
            let parts = |part: &str| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && !part.starts_with('-')
                    && !part.ends_with('-')
            };
            prefix.len() <= PREFIX_MAX && prefix.split('.').all(parts) && is_name(name)
        }
        None => is_name(word),
    }
}

/// Letters and digits, and `-`, `_`, `.` between them.
fn is_name(word: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = word.as_bytes();
    word.len() <= NAME_MAX
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(of: &str) -> BTreeMap<String, String> {
        of.split_whitespace()
            .map(|label| label.split_once('=').unwrap())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn selectors_select_what_kubernetes_selects() {
        let cart = "app=cart tier=web env=a app.kubernetes.io/name=cart weight=5 empty=";
        for (selector, matches) in [
            ("app=cart", true),
            ("app==cart", true),
            (" app = cart ", true),
            ("app=Cart", false),
            ("app=", false),
            ("empty=", true),
            ("empty", true),
            ("missing=", false),
            ("app!=cart", false),
            ("app!=db", true),
            // Without the label nothing is unequal to it.
            ("missing!=db", true),
            ("app,tier", true),
            ("app,canary", false),
            ("!canary", true),
            ("! canary", true),
            ("!app", false),
            ("env in (a,b)", true),
            ("env in(b , a)", true),
            ("env in (b)", false),
            ("env notin (b,c)", true),
            ("env notin (a)", false),
            ("missing notin (a)", true),
            ("missing in (a)", false),
            ("empty in ()", true),
            ("empty in (a,)", true),
            ("weight>4", true),
            ("weight > 5", false),
            ("weight<6", true),
            ("env<6", false),
            ("missing>1", false),
            ("app.kubernetes.io/name=cart", true),
            ("app=cart,tier!=db,env in (a,b),!canary", true),
            ("app=cart,tier!=web,env in (a,b),!canary", false),
            // Values may be words that are operators elsewhere.
            ("env in (in,notin,a)", true),
        ] {
            let parsed: LabelSelector = selector.parse().unwrap();
            assert_eq!(parsed.matches(&labels(cart)), matches, "{selector}");
        }
    }

    #[test]
    fn errors_name_the_column() {
        for (selector, column, what) in [
            ("", 1, "the end where a label key is expected"),
            ("app=cart,", 10, "the end where a label key is expected"),
            (",app", 1, "\",\" where a label key is expected"),
            ("=cart", 1, "\"=\" where a label key is expected"),
            ("app in cart", 8, "\"cart\" where \"(\" is expected"),
            ("app in (a", 10, "the end where \",\" or \")\" is expected"),
            ("app in (a b)", 11, "\"b\" where \",\" or \")\" is expected"),
            (
                "app cart",
                5,
                "\"cart\" where =, ==, !=, in, notin, <, >, \",\" or the end is expected",
            ),
            (
                "app=cart web",
                10,
                "\"web\" where \",\" or the end is expected",
            ),
            ("app=cart&web", 5, "\"cart&web\" is no label value"),
            ("ä=cart", 1, "\"ä\" is no label key"),
            ("app=ä,b=c", 5, "\"ä\" is no label value"),
            ("ok,a/b/c", 4, "\"a/b/c\" is no label key"),
            ("-app", 1, "\"-app\" is no label key"),
            ("a>b", 3, "\"b\" where a whole number is expected"),
            ("in (a)", 1, "\"in\" where a label key is expected"),
            ("!app=cart", 5, "\"=\" where \",\" or the end is expected"),
            ("a=!b", 3, "\"!\" where a label value is expected"),
        ] {
            let error = selector.parse::<LabelSelector>().unwrap_err();
            assert_eq!(
                (error.column, error.what.as_str()),
                (column, what),
                "{selector}"
            );
        }
        let long = format!("app={}", "a".repeat(NAME_MAX + 1));
        assert_eq!(long.parse::<LabelSelector>().unwrap_err().column, 5);
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_selects_the_same_when_printed(text in "[ab!=<>(), ./inot1-]{0,24}") {
            let labels = labels("a=b b=1");
            if let Ok(selector) = text.parse::<LabelSelector>() {
                let again: LabelSelector = selector.to_string().parse().unwrap();
                prop_assert_eq!(again.matches(&labels), selector.matches(&labels));
            }
        }
    }
}
