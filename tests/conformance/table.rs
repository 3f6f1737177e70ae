//! What was said, as tables for the page about conformance.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::h2spec::SpecOutcome;
use crate::interop::{self, Outcome as Calls};
use crate::peers::Tested;

/// Writes a table into the folder that `H2TRACE_CONFORMANCE_TABLES` names, if it does.
pub(crate) fn write(name: &str, table: &str) {
    let Some(folder) = std::env::var_os("H2TRACE_CONFORMANCE_TABLES") else {
        return;
    };
    let path = std::path::Path::new(&folder).join(name);
    std::fs::write(&path, table)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// A row for each case that breaks a rule, a column for each server; then what the legal ones gave.
pub(crate) fn h2spec(outcomes: &[(Tested, Vec<SpecOutcome>)]) -> String {
    let mut text = "| case | what the client does |".to_owned();
    for (server, _) in outcomes {
        write!(text, " {} |", server.name()).expect("a String takes everything");
    }
    text += "\n| --- | --- |";
    text += &" --- |".repeat(outcomes.len());
    text += "\n";
    let Some((_, first)) = outcomes.first() else {
        return text;
    };
    for (nth, outcome) in first.iter().enumerate() {
        if !outcome.case.is_violation() {
            continue;
        }
        write!(text, "| {} | {} |", outcome.case.id, outcome.what)
            .expect("a String takes everything");
        for (server, of_server) in outcomes {
            let cell = of_server
                .get(nth)
                .map_or_else(String::new, |outcome| cell(*server, outcome));
            write!(text, " {cell} |").expect("a String takes everything");
        }
        text += "\n";
    }
    text += "\n";
    for (server, of_server) in outcomes {
        let violations = of_server
            .iter()
            .filter(|outcome| outcome.case.is_violation());
        let right = |outcome: &&SpecOutcome| outcome.fault(*server).is_none();
        let (n, n_right) = (violations.clone().count(), violations.filter(right).count());
        let legal: Vec<_> = of_server
            .iter()
            .filter(|outcome| !outcome.case.is_violation())
            .collect();
        let silent = legal
            .iter()
            .filter(|outcome| outcome.fault(*server).is_none())
            .count();
        writeln!(
            text,
            "- {}: {n_right} of {n} violating cases told right; {silent} of {} legal ones told as legal",
            server.name(),
            legal.len()
        )
        .expect("a String takes everything");
    }
    text
}

/// The kinds told of the client, and whether the server did as the suite asks.
fn cell(server: Tested, outcome: &SpecOutcome) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for finding in &outcome.findings {
        let kind = format!("`{}`", finding.kind());
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let said = match (kinds.is_empty(), outcome.passed) {
        (_, None) => return "skipped by the suite".to_owned(),
        (true, _) => "nothing".to_owned(),
        (false, _) => kinds.join(", "),
    };
    let said = if outcome.fault(server).is_some() {
        format!("**wrong**: {said}")
    } else {
        said
    };
    match outcome.passed {
        Some(false) => format!("{said} (h2spec: failed)"),
        _ => said,
    }
}

/// A row for each case: the calls by method and outcome, and what was found.
pub(crate) fn interop(outcomes: &[Calls]) -> String {
    let mut text =
        "| case | client | calls, as told at its end | flagged |\n| --- | --- | --- | --- |\n"
            .to_owned();
    for outcome in outcomes {
        let mut calls: BTreeMap<String, usize> = BTreeMap::new();
        for stream in &outcome.streams {
            let method = stream
                .method()
                .and_then(|path| path.rsplit('/').next())
                .unwrap_or("?");
            let status = stream
                .grpc_status()
                .map_or_else(String::new, |status| format!(", status {status}"));
            let messages = interop::messages(stream)
                .map_or_else(String::new, |(sent, received)| {
                    format!(", messages {sent} and {received}")
                });
            *calls
                .entry(format!("{method}: {}{status}{messages}", stream.outcome()))
                .or_default() += 1;
        }
        let calls: Vec<String> = calls
            .into_iter()
            .map(|(call, n)| {
                if n == 1 {
                    call
                } else {
                    format!("{n} x {call}")
                }
            })
            .collect();
        let flagged: Vec<&str> = outcome
            .findings
            .iter()
            .filter_map(|finding| finding.split(':').next())
            .collect();
        let flagged = if flagged.is_empty() {
            "nothing".to_owned()
        } else {
            format!("`{}`", flagged.join("`, `"))
        };
        let client = if outcome.passed { "passes" } else { "fails" };
        writeln!(
            text,
            "| {} | {client} | {} | {flagged} |",
            outcome.name,
            calls.join("; ")
        )
        .expect("a String takes everything");
    }
    text
}
