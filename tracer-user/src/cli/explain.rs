//! `h2trace explain`: what a finding means, and what an application's error text may come from.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use serde::Serialize;

use super::args::{ExplainArgs, Format};
use crate::explain::decode::Decoded;
use crate::explain::page::{Group, Item, Page};
use crate::explain::search::{Closeness, Match, SearchResult, find, nearest};
use crate::explain::{main_messages_of, messages_of, page};
use crate::export::text::{COLUMNS, Paint, wrapped};
use crate::plain;
use crate::session::output;
use h2trace_core::anomaly::kind::Kind;
use h2trace_core::limits;
use h2trace_core::stream::record::Tier;

/// Findings that are listed for one question.
const LISTED: usize = 8;
/// Known messages that are printed on one page.
const PRINTED: usize = 16;

/// Prints the list, or what the words are about. Words that are about nothing are an error.
///
/// # Errors
/// Nothing is known of the words, or it cannot be printed.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let question = args.words.join(" ");
    let n_words = question.split_whitespace().count();
    if n_words > limits::EXPLAIN_WORDS {
        bail!(
            "{n_words} words are too many (at most {}): give the line that has the error",
            limits::EXPLAIN_WORDS
        );
    }
    let printed = match (question.trim(), args.output) {
        ("", Format::Text) => list(output::terminal().0)?,
        ("", Format::Json) => json(&SearchResult {
            kinds: Kind::ALL.to_vec(),
            ..SearchResult::default()
        })?,
        (question, format) => {
            let found = find(question)?;
            if found.kinds.is_empty() {
                let near = match nearest(question) {
                    Some(kind) => format!("the nearest finding is {}", kind.as_str()),
                    None => "give the name of a finding, or an error text".to_owned(),
                };
                bail!("nothing is known of {question:?}: {near} (all findings: h2trace explain)");
            }
            match format {
                Format::Text => text(question, &found, output::terminal().0)?,
                Format::Json => json(&found)?,
            }
        }
    };
    super::print(plain::lines(&printed).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// All findings, a line each.
fn list(paint: Paint) -> anyhow::Result<String> {
    let pages = Kind::ALL
        .iter()
        .map(|kind| page(*kind))
        .collect::<Result<Vec<_>, _>>()?;
    let width = name_width(Kind::ALL);
    let mut out = String::new();
    for group in Group::ALL {
        writeln!(out, "{}", paint.bold(group.title()))?;
        for page in pages.iter().filter(|page| page.group == *group) {
            writeln!(out, "  {}", row(page.kind, width, COLUMNS - 2))?;
        }
        out.push('\n');
    }
    out.push_str(
        "h2trace explain NAME: all of one; h2trace explain \"ERROR TEXT\": what it may come from\n",
    );
    Ok(out)
}

fn name_width(kinds: &[Kind]) -> usize {
    kinds
        .iter()
        .map(|kind| kind.as_str().len())
        .max()
        .unwrap_or(0)
}

/// A finding's name and meaning in one line of at most `columns`.
fn row(kind: Kind, width: usize, columns: usize) -> String {
    let left = format!("{:<width$}  ", kind.as_str());
    let room = columns.saturating_sub(left.chars().count());
    // Where it is written stands on the page.
    let doc = kind.doc();
    let doc = match doc.rsplit_once(" (") {
        Some((before, reference)) if reference.ends_with(").") => before,
        _ => doc.trim_end_matches('.'),
    };
    let mut lines = wrapped(doc, room);
    if lines.len() > 1 {
        lines = wrapped(doc, room.saturating_sub(4));
        lines.truncate(1);
        if let Some(line) = lines.first_mut() {
            line.push_str(" ...");
        }
    }
    left + &lines.concat()
}

/// What was found: the texts with what they prove, the findings in their order, the first in full.
fn text(question: &str, found: &SearchResult, paint: Paint) -> anyhow::Result<String> {
    let mut out = String::new();
    for found in &found.matches {
        out.push_str(&of_match(found, paint));
        out.push('\n');
    }
    for decoded in &found.decoded {
        out.push_str(&of_decoded(decoded, paint));
        out.push('\n');
    }
    if found.kinds.len() > 1 {
        let heading = if found.matches.is_empty() && found.decoded.is_empty() {
            format!("Findings about {question:?}:")
        } else {
            "It may come from these findings, likeliest first:".to_owned()
        };
        paragraph(&mut out, &paint.bold(&heading), "", "");
        let listed = found.kinds.get(..LISTED).unwrap_or(&found.kinds);
        let width = name_width(listed);
        for (rank, kind) in listed.iter().enumerate() {
            writeln!(out, "  {}  {}", rank + 1, row(*kind, width, COLUMNS - 5))?;
        }
        if let Some(more) = found.kinds.len().checked_sub(LISTED + 1) {
            writeln!(out, "  and {} more: give more words", more + 1)?;
        }
        out.push('\n');
    }
    if let Some(first) = found.kinds.first() {
        out.push_str(&full(&page(*first)?, paint)?);
    }
    Ok(out)
}

fn of_match(found: &Match, paint: Paint) -> String {
    let how = match found.closeness {
        Closeness::Whole => "prints",
        Closeness::Part => "prints (yours is a part of it)",
        Closeness::Similar => "prints (yours is like it)",
    };
    let emitter = &found.message.emitter;
    let mut out = String::new();
    paragraph(
        &mut out,
        &paint.bold(&format!("{emitter} {how}: {}", found.text)),
        "",
        "  ",
    );
    // A text that is only like it may be another one: then nothing is proven.
    let proves = match found.closeness {
        Closeness::Whole => "Proves",
        Closeness::Part | Closeness::Similar => "If it is the same, it proves",
    };
    paragraph(
        &mut out,
        &format!("{proves}: {}", found.message.proves),
        "  ",
        "  ",
    );
    paragraph(
        &mut out,
        &format!("Does not prove: {}", found.message.does_not_prove),
        "  ",
        "  ",
    );
    out
}

fn of_decoded(decoded: &Decoded, paint: Paint) -> String {
    let mut out = String::new();
    paragraph(
        &mut out,
        &paint.bold(&format!("{} is {}", decoded.part, decoded.is)),
        "",
        "  ",
    );
    paragraph(&mut out, decoded.means, "  ", "  ");
    out
}

/// A whole page.
fn full(page: &Page, paint: Paint) -> anyhow::Result<String> {
    let mut out = String::new();
    let verdicts: Vec<&str> = page
        .kind
        .verdicts()
        .iter()
        .map(|verdict| verdict.as_str())
        .collect();
    let title = format!("{} ({})", page.kind.as_str(), verdicts.join(", "));
    paragraph(&mut out, &paint.bold(&title), "", "");
    paragraph(&mut out, page.kind.doc(), "  ", "  ");
    let mut section = |title: &str, body: &dyn Fn(&mut String)| {
        out.push('\n');
        out.push_str(&paint.bold(title));
        out.push('\n');
        body(&mut out);
    };
    section("What it means", &|out| paragraphs(out, &page.meaning));
    section("What must be seen", &|out| {
        paragraph(
            out,
            &format!("{} {}", tier(page.kind.tier()), page.needs),
            "  ",
            "  ",
        );
    });
    let messages = main_messages_of(page.kind)?;
    if !messages.is_empty() || !page.applications.is_empty() {
        section("What applications print", &|out| {
            for message in messages.iter().take(PRINTED) {
                let emitter = format!("  {:<13} ", message.emitter);
                for (n, text) in shown(&message.texts).iter().enumerate() {
                    let first = if n == 0 {
                        emitter.as_str()
                    } else {
                        "                "
                    };
                    paragraph(out, text, first, "                  ");
                }
            }
            if let Some(more) = messages.len().checked_sub(PRINTED + 1) {
                let more = format!("and {} more (--output json has all)", more + 1);
                paragraph(out, &more, "  ", "  ");
            }
            if !messages.is_empty() && !page.applications.is_empty() {
                out.push('\n');
            }
            paragraphs(out, &page.applications);
        });
    }
    section("What usually causes it", &|out| items(out, &page.causes));
    section("What to do", &|out| items(out, &page.remedies));
    section("How to see it", &|out| {
        for item in &page.seen {
            match item {
                Item::Text(text) => paragraph(out, text, "  ", "  "),
                // A query is copied: it stays on one line.
                Item::Query(query) => {
                    out.push_str("    ");
                    out.push_str(query);
                    out.push('\n');
                }
            }
        }
    });
    section("References", &|out| items(out, &page.references));
    Ok(out)
}

/// The texts that are not a part of another one of them.
fn shown(texts: &[String]) -> Vec<&str> {
    texts
        .iter()
        .map(String::as_str)
        .filter(|text| !text.contains("...") || texts.len() == 1)
        .filter(|text| {
            !texts
                .iter()
                .any(|other| other != text && other.contains(*text))
        })
        .collect()
}

/// How much must be seen, in words.
const fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::T0 => "From the frames alone, without header fields (tier T0):",
        Tier::T1 => "With every header field of the stream decoded (tier T1):",
        Tier::T2 => "With the two hops of a proxy joined (tier T2):",
    }
}

fn paragraphs(out: &mut String, paragraphs: &[String]) {
    for (n, text) in paragraphs.iter().enumerate() {
        if n > 0 {
            out.push('\n');
        }
        paragraph(out, text, "  ", "  ");
    }
}

fn items(out: &mut String, items: &[String]) {
    for item in items {
        paragraph(out, item, "  - ", "    ");
    }
}

/// Text in lines of at most [`COLUMNS`].
fn paragraph(out: &mut String, text: &str, first: &str, rest: &str) {
    let margin = first.chars().count().max(rest.chars().count());
    for (n, line) in wrapped(text, COLUMNS - margin).iter().enumerate() {
        out.push_str(if n == 0 { first } else { rest });
        out.push_str(line);
        out.push('\n');
    }
}

/// A known message that was found, as a line of JSON.
#[derive(Serialize)]
struct MatchLine {
    v: u32,
    #[serde(rename = "type")]
    line_type: &'static str,
    by: &'static str,
    text: &'static str,
    closeness: &'static str,
    /// Only of a whole text.
    #[serde(skip_serializing_if = "Option::is_none")]
    proves: Option<&'static str>,
    /// Of a text that is only like it.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_prove: Option<&'static str>,
    does_not_prove: &'static str,
    kinds: Vec<&'static str>,
    source: &'static str,
}

/// What else the words carry, as a line of JSON.
#[derive(Serialize)]
struct DecodedLine<'a> {
    v: u32,
    #[serde(rename = "type")]
    line_type: &'static str,
    part: &'a str,
    is: &'a str,
    means: &'static str,
    kinds: Vec<&'static str>,
}

/// A page, as a line of JSON.
#[derive(Serialize)]
struct PageLine {
    v: u32,
    #[serde(rename = "type")]
    line_type: &'static str,
    kind: &'static str,
    doc: &'static str,
    group: &'static str,
    verdicts: Vec<&'static str>,
    tier: &'static str,
    needs: String,
    meaning: Vec<String>,
    applications: Vec<String>,
    prints: Vec<Prints>,
    causes: Vec<String>,
    remedies: Vec<String>,
    queries: Vec<String>,
    references: Vec<String>,
}

#[derive(Serialize)]
struct Prints {
    by: &'static str,
    texts: &'static [String],
}

/// The texts that were found, best first, and then the pages, likeliest first.
fn json(found: &SearchResult) -> anyhow::Result<String> {
    let mut out = String::new();
    for found in &found.matches {
        let is_whole = found.closeness == Closeness::Whole;
        let line = MatchLine {
            v: 1,
            line_type: "match",
            by: &found.message.emitter,
            text: found.text,
            closeness: found.closeness.as_str(),
            proves: is_whole.then_some(found.message.proves.as_str()),
            would_prove: (!is_whole).then_some(found.message.proves.as_str()),
            does_not_prove: &found.message.does_not_prove,
            kinds: found
                .message
                .kinds
                .iter()
                .map(|kind| kind.as_str())
                .collect(),
            source: &found.message.source,
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    }
    for decoded in &found.decoded {
        let line = DecodedLine {
            v: 1,
            line_type: "decoded",
            part: &decoded.part,
            is: &decoded.is,
            means: decoded.means,
            kinds: decoded.kinds.iter().map(|kind| kind.as_str()).collect(),
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    }
    for kind in &found.kinds {
        let line = page_line(page(*kind)?)?;
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    }
    Ok(out)
}

fn page_line(page: Page) -> anyhow::Result<PageLine> {
    Ok(PageLine {
        v: 1,
        line_type: "page",
        kind: page.kind.as_str(),
        doc: page.kind.doc(),
        group: page.group.as_str(),
        verdicts: page
            .kind
            .verdicts()
            .iter()
            .map(|verdict| verdict.as_str())
            .collect(),
        tier: page.kind.tier().as_str(),
        prints: messages_of(page.kind)?
            .into_iter()
            .map(|message| Prints {
                by: &message.emitter,
                texts: &message.texts,
            })
            .collect(),
        needs: page.needs,
        meaning: page.meaning,
        applications: page.applications,
        causes: page.causes,
        remedies: page.remedies,
        queries: page
            .seen
            .into_iter()
            .filter_map(|item| match item {
                Item::Query(query) => Some(query),
                Item::Text(_) => None,
            })
            .collect(),
        references: page.references,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_and_every_answer_fits_into_100_columns() {
        let paint = Paint::new(false);
        let mut texts = vec![list(paint).unwrap()];
        for kind in Kind::ALL {
            texts.push(full(&page(*kind).unwrap(), paint).unwrap());
        }
        for message in crate::explain::messages::all().unwrap() {
            let asked = &message.texts[0];
            texts.push(text(asked, &find(asked).unwrap(), paint).unwrap());
        }
        for line in texts.iter().flat_map(|text| text.lines()) {
            assert!(line.chars().count() <= COLUMNS, "{line}");
            assert!(!line.ends_with(' '), "{line:?}");
        }
    }

    #[test]
    fn list_has_every_finding_once_in_one_line() {
        let list = list(Paint::new(false)).unwrap();
        for kind in Kind::ALL {
            let begin = format!("  {} ", kind.as_str());
            let rows = list.lines().filter(|line| line.starts_with(&begin)).count();
            assert_eq!(rows, 1, "{}", kind.as_str());
        }
        assert_eq!(
            list.lines().count(),
            Kind::ALL.len() + 2 * Group::ALL.len() + 1
        );
    }

    #[test]
    fn page_has_every_section() {
        for kind in Kind::ALL {
            let text = full(&page(*kind).unwrap(), Paint::new(false)).unwrap();
            for heading in [
                "What it means",
                "What must be seen",
                "What applications print",
                "What usually causes it",
                "What to do",
                "How to see it",
                "References",
            ] {
                assert!(
                    text.lines().any(|line| line == heading),
                    "{}: {heading}\n{text}",
                    kind.as_str()
                );
            }
        }
    }
}
