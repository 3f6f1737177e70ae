//! The summary at the end of a run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use h2trace_core::anomaly::kind::Verdict;
use h2trace_core::event::OtherProtocol;
use h2trace_core::pipeline::Protocol;

use super::{COLUMNS, Paint};
use crate::export::labels;
use crate::export::tally::{Shed, StoppedBy, Summary};
use crate::unit::{bytes, count, duration};

/// Columns of what a line is about.
const NAME: usize = 12;

/// Some lines that say what was seen, what was lost and, when nothing was seen, why that may be.
#[must_use]
pub fn summary(of: &Summary<'_>, paint: Paint) -> Vec<String> {
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
        &by_name(tally.connections().iter().map(|(protocol, n)| {
            let name = match protocol {
                Protocol::Other(OtherProtocol::Other) => "other protocols",
                known => labels::protocol(*known),
            };
            (name, *n)
        })),
    ));
    let open = tally.opened().saturating_sub(tally.ended());
    let streams = match tally.ended() {
        0 => count(tally.opened(), "opened", "opened"),
        ended => format!(
            "{} opened, {ended} ended: {}",
            tally.opened(),
            by_name(counts(&tally.outcomes()))
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
    if of.shed.is_some() {
        lines.push(row("left out", &paint.warning(&shed(&of.shed))));
    }
    if of.output_dropped > 0 {
        let dropped = count(of.output_dropped, "line was", "lines were");
        let text = format!("{dropped} not printed: the reader of the output was too slow");
        lines.push(row("output", &paint.warning(&text)));
    }
    if tally.opened() == 0 {
        lines.extend(why_nothing(of).iter().map(|line| paint.warning(line)));
    }
    lines
}

fn row(name: &str, text: &str) -> String {
    format!("  {name:<NAME$} {text}")
}

fn counts(of: &BTreeMap<&'static str, u64>) -> impl Iterator<Item = (&'static str, u64)> {
    of.iter().map(|(name, n)| (*name, *n))
}

fn by_name(counts: impl Iterator<Item = (&'static str, u64)>) -> String {
    let mut parts: Vec<_> = counts.collect();
    if parts.is_empty() {
        return "none".to_owned();
    }
    parts.sort_by_key(|(name, n)| (Reverse(*n), *name));
    let parts: Vec<_> = parts
        .iter()
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    parts.join(", ")
}

fn findings(of: &Summary<'_>, paint: Paint) -> Vec<String> {
    let findings = of.tally.findings().iter();
    let mut rows: Vec<(Verdict, &str, u64)> = findings
        .map(|((kind, verdict), n)| (*verdict, kind.as_str(), *n))
        .collect();
    // Worst first.
    rows.sort_by_key(|(verdict, kind, n)| (Reverse(*verdict), Reverse(*n), *kind));
    if rows.is_empty() {
        return vec![row("findings", "none")];
    }
    let mut name = "findings";
    let mut explained = BTreeSet::new();
    rows.iter()
        .map(|(verdict, kind, n)| {
            let text = format!("{n} {kind} ({})", verdict.as_str());
            let painted = match *verdict {
                Verdict::Anomaly => paint.bad(&text),
                Verdict::Suspicious => paint.warning(&text),
                Verdict::Unknown | Verdict::Expected | Verdict::Benign => text.clone(),
            };
            // Once for each kind, and not for what is in order.
            let more = format!("  more: h2trace explain {kind}");
            let fits = text.len() + more.len() + NAME + 3 <= COLUMNS;
            let more = if fits && *verdict > Verdict::Expected && explained.insert(*kind) {
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
            &paint.warning(&format!("in the decoder: {}", by_name(counts(decoder)))),
        ));
    }
    lines
}

/// What there was not the time for.
fn shed(shed: &Shed) -> String {
    let Shed {
        lines,
        stories,
        joins,
        connections,
        ..
    } = *shed;
    let parts = [
        (
            lines,
            count(lines, "line of what went well", "lines of what went well"),
        ),
        (stories, count(stories, "story", "stories")),
        (
            joins,
            count(joins, "stream was not joined", "streams were not joined"),
        ),
        (
            connections,
            count(
                connections,
                "connection was let go",
                "connections were let go",
            ),
        ),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter_map(|(n, words)| (n > 0).then_some(words))
        .collect();
    let ns = u64::try_from(shed.time.as_nanos()).unwrap_or(u64::MAX);
    format!("short of time for {}: {}", duration(ns), parts.join(", "))
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
    let n_of = |protocol| of.tally.connections_of(protocol);
    let mut lines = vec!["no HTTP/2 stream was seen. Why that may be:".to_owned()];
    let tls = match of.stopped_by {
        StoppedBy::EndOfFile => "TLS: with the secrets of either side --keylog opens most suites",
        _ => "TLS: what is encrypted cannot be decoded",
    };
    for (other, what) in [
        (OtherProtocol::Tls, tls),
        (OtherProtocol::Http1, "HTTP/1"),
        (
            OtherProtocol::Other,
            "something that is neither HTTP/2, HTTP/1 nor TLS",
        ),
    ] {
        let n = n_of(Protocol::Other(other));
        if n > 0 {
            let speak = count(n, "connection speaks", "connections speak");
            lines.push(format!("  {speak} {what}"));
        }
    }
    let n = n_of(Protocol::Http2);
    if n > 0 {
        let http2 = count(n, "HTTP/2 connection", "HTTP/2 connections");
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
