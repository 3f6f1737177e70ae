//! The summary at the end of a run.

use std::collections::{BTreeMap, BTreeSet};

use super::{COLUMNS, Paint};
use crate::export::tally::{StoppedBy, Summary};
use crate::unit::{bytes, count, duration};

/// Columns of what a line is about.
const NAME: usize = 12;

/// Some lines that say what was seen, what was lost and, when nothing was seen, why that may be.
#[must_use]
pub fn summary(of: &Summary<'_>, paint: Paint) -> String {
    let tally = of.tally;
    let mut lines = Vec::new();
    let ns = u64::try_from(of.duration.as_nanos()).unwrap_or(u64::MAX);
    let why = match of.stopped_by {
        StoppedBy::Signal => "until a signal came",
        StoppedBy::Time => "as --for asked",
        StoppedBy::Limit => "until --limit was reached",
        StoppedBy::OutputClosed => "until the output was closed",
        StoppedBy::FileFull => "until the recording was full",
        StoppedBy::EndOfFile => "of the file",
    };
    let did = match of.stopped_by {
        StoppedBy::EndOfFile => "replayed",
        _ => "traced for",
    };
    lines.push(paint.bold(&format!("{did} {} {why}", duration(ns))));
    if let Some(pods) = &of.pods {
        let now = if pods.now as u64 == pods.ever {
            String::new()
        } else {
            format!(", {} at the end", pods.now)
        };
        let text = format!("{} traced{now}: {}", pods.ever, pods.words);
        lines.push(row("pods", &text));
    }
    lines.push(row(
        "connections",
        &by_name(tally.connections(), &[("other", "other protocols")]),
    ));
    let open = tally.opened().saturating_sub(tally.ended());
    let streams = match tally.ended() {
        0 => count(tally.opened(), "opened", "opened"),
        ended => format!(
            "{} opened, {ended} ended: {}",
            tally.opened(),
            by_name(tally.outcomes(), &[])
        ),
    };
    let unprinted = if open > 0 {
        format!(", {open} not ended")
    } else {
        String::new()
    };
    lines.push(row("streams", &format!("{streams}{unprinted}")));
    lines.extend(findings(of, paint));
    lines.extend(losses(of, paint));
    if of.kernel.bytes_seen() > 0 {
        lines.push(row(
            "cost",
            &copied(of.kernel.bytes_seen(), of.kernel.bytes_copied()),
        ));
    }
    if of.output_dropped > 0 {
        let dropped = count(of.output_dropped, "line was", "lines were");
        let text = format!("{dropped} not printed: the reader of the output was too slow");
        lines.push(row("output", &paint.warning(&text)));
    }
    if tally.opened() == 0 {
        lines.extend(why_nothing(of).iter().map(|line| paint.warning(line)));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn row(name: &str, text: &str) -> String {
    format!("  {name:<NAME$} {text}")
}

fn by_name(counts: &BTreeMap<&'static str, u64>, words: &[(&str, &str)]) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let mut parts: Vec<_> = counts.iter().collect();
    parts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let word = |name: &'static str| {
        words
            .iter()
            .find(|(key, _)| *key == name)
            .map_or(name, |(_, word)| word)
    };
    parts
        .iter()
        .map(|(name, n)| format!("{n} {}", word(name)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn findings(of: &Summary<'_>, paint: Paint) -> Vec<String> {
    let mut rows: Vec<(&str, &str, u64)> = Vec::new();
    for (kind, verdicts) in of.tally.findings() {
        rows.extend(verdicts.iter().map(|(verdict, n)| (*verdict, *kind, *n)));
    }
    // Worst first: the rank of a verdict is its place here.
    let rank = |verdict: &str| {
        ["anomaly", "suspicious", "unknown", "expected", "benign"]
            .iter()
            .position(|v| *v == verdict)
    };
    rows.sort_by_key(|(verdict, kind, n)| (rank(verdict), std::cmp::Reverse(*n), *kind));
    if rows.is_empty() {
        return vec![row("findings", "none")];
    }
    let mut name = "findings";
    let mut explained = BTreeSet::new();
    rows.iter()
        .map(|(verdict, kind, n)| {
            let text = format!("{n} {kind} ({verdict})");
            let painted = match *verdict {
                "anomaly" => paint.bad(&text),
                "suspicious" => paint.warning(&text),
                _ => text.clone(),
            };
            // Once for each kind, and not for what is in order.
            let more = format!("  more: h2trace explain {kind}");
            let fits = text.len() + more.len() + NAME + 3 <= COLUMNS;
            let more = if fits && rank(verdict) < rank("expected") && explained.insert(*kind) {
                paint.dim(&more)
            } else {
                String::new()
            };
            row(std::mem::take(&mut name), &(painted + &more))
        })
        .collect()
}

fn losses(of: &Summary<'_>, paint: Paint) -> Vec<String> {
    let kernel: Vec<String> = of
        .kernel
        .losses()
        .map(|(cause, n)| format!("{n} {cause}"))
        .collect();
    let decoder = of.tally.losses();
    if kernel.is_empty() && decoder.is_empty() {
        return vec![row("losses", "none")];
    }
    let mut lines = Vec::new();
    if !kernel.is_empty() {
        lines.push(row(
            "losses",
            &paint.warning(&format!("in the kernel: {}", kernel.join(", "))),
        ));
    }
    if !decoder.is_empty() {
        let name = if lines.is_empty() { "losses" } else { "" };
        lines.push(row(
            name,
            &paint.warning(&format!("in the decoder: {}", by_name(decoder, &[]))),
        ));
    }
    lines
}

fn copied(seen: u64, copied: u64) -> String {
    // A share of bytes to two digits: the precision of f64 is more than enough.
    #[expect(clippy::cast_precision_loss, reason = "a share to two digits")]
    let share = copied as f64 / seen as f64 * 100.0;
    format!(
        "{} of HTTP/2 went by, {} of it were copied ({share:.2} %)",
        bytes(seen),
        bytes(copied)
    )
}

/// Why no stream may have been seen.
fn why_nothing(of: &Summary<'_>) -> Vec<String> {
    use tracer_ebpf::counter::Counter;
    let n_of = |name: &str| of.tally.connections().get(name).copied().unwrap_or(0);
    let mut lines = vec!["no HTTP/2 stream was seen. Why that may be:".to_owned()];
    if n_of("tls") > 0 {
        let tls = count(n_of("tls"), "connection speaks", "connections speak");
        lines.push(format!("  {tls} TLS: what is encrypted cannot be decoded"));
    }
    if n_of("http1") > 0 {
        let http1 = count(n_of("http1"), "connection speaks", "connections speak");
        lines.push(format!("  {http1} HTTP/1"));
    }
    if n_of("other") > 0 {
        let other = count(n_of("other"), "connection speaks", "connections speak");
        lines.push(format!(
            "  {other} something that is neither HTTP/2, HTTP/1 nor TLS"
        ));
    }
    if n_of("http2") > 0 {
        let http2 = count(n_of("http2"), "HTTP/2 connection", "HTTP/2 connections");
        lines.push(format!("  {http2} opened no stream while traced"));
    }
    if lines.len() > 1 {
        return lines;
    }
    if of.stopped_by == StoppedBy::EndOfFile {
        lines.push("  the file has no TCP payload (or --port wants none of it)".to_owned());
        return lines;
    }
    if let Some(pods) = of.pods.as_ref().filter(|pods| pods.positive) {
        lines.push(if pods.ever == 0 {
            format!("  no pod was there to be traced: {}", pods.words)
        } else {
            format!(
                "  {} no connection that carried anything: {}",
                count(pods.ever, "selected pod had", "selected pods had"),
                pods.words
            )
        });
    }
    match (of.filtered, of.kernel.get(Counter::SocketsUnwanted)) {
        (true, 0) => lines
            .push("  nothing that the filter wants made a socket call, or it was idle".to_owned()),
        (true, n) => {
            let sockets = count(n, "socket was", "sockets were");
            lines.push(format!(
                "  {sockets} in use that the filter does not want: check it, or try --all"
            ));
        }
        (false, _) => {
            lines.push("  no socket of this host carried anything that was followed".to_owned());
        }
    }
    lines
}
