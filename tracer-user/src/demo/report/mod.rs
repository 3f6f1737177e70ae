//! What `h2trace demo` prints: a pure function of what the processes said and what h2trace saw.
//!
//! It is written for somebody who has never heard of h2trace, in 100 columns.

use std::collections::{BTreeMap, BTreeSet};

use h2trace_core::connection::Endpoint;
use h2trace_core::hop::Confidence;
use h2trace_core::stream::record::{OpenMessage, Reset, ResponsePhase, StreamRecord};

use super::Part;
use super::children::ChildReports;
use super::part::RESPONSE_MESSAGE;
use super::seen::{SeenHop, SeenStreams, is_complete};
use crate::export::text::sides::{self, signed};
use crate::unit::grouped;

/// Samples of metrics that are shown at most.
const METRICS: usize = 12;

/// Width of the text.
const WIDTH: usize = 100;

/// All that the demo's text is made of.
pub(super) struct Scene<'a> {
    /// Calls in flight at once.
    pub(super) in_flight: u32,
    /// The proxy keeps what it holds.
    pub(super) healthy: bool,
    /// Process ids of client, proxy and server.
    pub(super) pids: [u32; 3],
    pub(super) said: &'a ChildReports,
    /// What h2trace saw.
    pub(super) seen: &'a SeenStreams,
    /// h2trace's metrics afterwards, in the text format. They all began at 0.
    pub(super) metrics: &'a str,
}

/// The text, and whether h2trace named exactly the calls that failed.
pub(super) struct DemoReport {
    pub(super) lines: Vec<String>,
    /// h2trace's calls are the client's.
    pub(super) agrees: bool,
}

pub(super) fn write(scene: &Scene<'_>) -> DemoReport {
    let mut out = Vec::new();
    setting(&mut out, scene);
    statements(&mut out, scene);
    one_call(&mut out, scene);
    let agrees = comparison(&mut out, scene);
    metrics(&mut out, scene.metrics);
    if agrees {
        out.push(String::new());
        out.push("On your own processes:".to_owned());
        out.push(
            "  h2trace trace --pid PID     the same story for every broken stream, live".to_owned(),
        );
        out.push(
            "  h2trace serve               the same numbers on /metrics for Prometheus, for ever"
                .to_owned(),
        );
    }
    DemoReport { lines: out, agrees }
}

fn setting(out: &mut Vec<String>, scene: &Scene<'_>) {
    let [client, proxy, server] = scene.pids;
    heading(
        out,
        "The scene: three processes on this host, talking gRPC over loopback",
    );
    let columns = |out: &mut Vec<String>, a: &str, b: &str, c: &str| {
        out.push(format!("  {a:<30}  {b:<32}  {c}").trim_end().to_owned());
    };
    columns(
        out,
        &format!("{} (pid {client})  <-->", Part::Client.comm()),
        &format!("{} (pid {proxy})  <-->", Part::Proxy.comm()),
        &format!("{} (pid {server})", Part::Server.comm()),
    );
    let proxy_does = if scene.healthy {
        ["keeps what it holds until the", "client takes it"]
    } else {
        [
            "drops what it still holds when",
            "the server resets the stream",
        ]
    };
    columns(
        out,
        "default windows: 65,535 bytes",
        proxy_does[0],
        "answers early, then resets the",
    );
    columns(
        out,
        "for the whole connection",
        proxy_does[1],
        "open request (legal, as grpc-go)",
    );
    out.push(String::new());
    wrap(
        out,
        &format!(
            "The client made {} calls, {} in flight at once; each answer is one message of {} bytes. h2trace \
             watched the three processes' sockets from the kernel. None of them knows of it.",
            scene.said.client.calls.len(),
            scene.in_flight,
            grouped_len(RESPONSE_MESSAGE)
        ),
    );
}

fn statements(out: &mut Vec<String>, scene: &Scene<'_>) {
    let said = scene.said;
    heading(out, "What they say of themselves");
    let n_failed = said.client.failed().count();
    out.push(format!(
        "  client   {n_failed} of {} calls failed",
        said.client.calls.len()
    ));
    let mut errors: Vec<(&str, usize)> = Vec::new();
    for error in said
        .client
        .failed()
        .filter_map(|call| call.error.as_deref())
    {
        match errors.iter_mut().find(|(text, _)| *text == error) {
            Some((_, n)) => *n += 1,
            None => errors.push((error, 1)),
        }
    }
    for (error, n) in errors {
        out.push(format!("             {n} x \"{error}\""));
    }
    out.push(format!(
        "  proxy    {} requests, {} answered 200 by the server with grpc-status 0",
        said.proxy.requests, said.proxy.upstream_ok
    ));
    out.push(format!(
        "  server   {} requests, {} answered in full with grpc-status 0",
        said.server.requests, said.server.answered
    ));
    if n_failed > 0 {
        out.push("  So the logs say that nothing is wrong, and the client says that it is. Whose fault is it?".to_owned());
    }
}

/// The request that shows the defect best: cut inside its message, if there is one.
fn telling_request<'a>(scene: &Scene<'a>) -> Option<&'a SeenHop> {
    let is_cut_inside = |hop: &&SeenHop| {
        let down = &hop.request.downstream.record;
        down.response_phase == Some(ResponsePhase::Rm) && down.response.data_bytes > 0
    };
    let broken = || scene.seen.hops().filter(|hop| hop.is_flagged());
    broken().find(is_cut_inside).or_else(|| broken().next())
}

fn one_call(out: &mut Vec<String>, scene: &Scene<'_>) {
    let Some(hop) = telling_request(scene) else {
        return;
    };
    let Some(upstream) = hop.upstream() else {
        return;
    };
    let downstream = &hop.request.downstream.record;
    heading(
        out,
        &format!(
            "What h2trace saw: one of the failed calls ({}), on both sides of the proxy",
            hop.request_id().unwrap_or("?")
        ),
    );
    out.push("  (window: the DATA bytes that the proxy may still send on the stream, and on the connection)".to_owned());
    sides::write(out, downstream, upstream);
    out.push(String::new());
    if let Some(join) = hop.request.join {
        wrap(
            out,
            &format!(
                "That the two streams are one request h2trace found by itself: joined by {}, confidence {}.",
                join.by.as_str(),
                join.confidence.as_str()
            ),
        );
    }
    wrap(out, &verdict_on(downstream, upstream));
    for finding in hop.flagged() {
        wrap(
            out,
            &format!(
                "Finding {} ({}): {}",
                finding.kind.as_str(),
                finding.verdict.as_str(),
                finding.summary
            ),
        );
    }
}

/// What happened to the call, with its numbers.
fn verdict_on(left: &StreamRecord, right: &StreamRecord) -> String {
    let whole = right.response.data_bytes;
    let passed = left.response.data_bytes;
    let mut text = if is_complete(right) {
        format!(
            "The server's response was complete: {} bytes and its trailers, grpc-status 0.",
            grouped(whole)
        )
    } else {
        format!(
            "The server's response was not complete: {} bytes and no trailers.",
            grouped(whole)
        )
    };
    text.push_str(&format!(
        " The proxy passed on {} of them; it dropped {} bytes and the trailers",
        grouped(passed),
        grouped(whole.saturating_sub(passed))
    ));
    if let Some(OpenMessage {
        promised: Some(promised),
        got,
    }) = left.response.messages.open
    {
        text.push_str(&format!(
            " (the client was promised {} bytes of message and got {})",
            grouped(u64::from(promised)),
            grouped(u64::from(got))
        ));
    }
    text.push('.');
    let cut = left
        .resets
        .iter()
        .find(|reset| reset.sender == Endpoint::Server);
    if let Some(Reset {
        code,
        response_windows,
        ..
    }) = cut
    {
        match (response_windows.connection, response_windows.stream) {
            (Some(connection), _) if connection <= 0 => text.push_str(&format!(
                " Why: the client's connection window was used up ({} bytes left), so the proxy still held the \
                 rest when it reset the client's stream with {}.",
                signed(connection),
                code.name()
            )),
            (_, Some(stream)) if stream <= 0 => text.push_str(&format!(
                " Why: the client's stream window was used up ({} bytes left), so the proxy still held the \
                 rest when it reset the client's stream with {}.",
                signed(stream),
                code.name()
            )),
            _ => text.push_str(&format!(" It reset the client's stream with {}.", code.name())),
        }
    }
    text
}

/// What the client says of its calls, and what h2trace says of them.
struct Compared<'a> {
    failed: BTreeSet<&'a str>,
    flagged: BTreeSet<&'a str>,
    n_calls: usize,
    n_at_client: usize,
    n_upstream: usize,
    n_upstream_complete: usize,
    n_upstream_flagged: usize,
    n_benign_resets: usize,
}

impl<'a> Compared<'a> {
    fn of(scene: &'a Scene<'_>) -> Compared<'a> {
        let at_client = scene.seen.at(Part::Client, Endpoint::Client);
        let upstream = scene.seen.at(Part::Proxy, Endpoint::Client);
        Compared {
            failed: scene
                .said
                .client
                .failed()
                .map(|call| call.request_id.as_str())
                .collect(),
            flagged: at_client
                .iter()
                .filter(|(_, stream)| stream.is_flagged())
                .map(|(id, _)| *id)
                .collect(),
            n_calls: scene.said.client.calls.len(),
            n_at_client: at_client.len(),
            n_upstream: upstream.len(),
            n_upstream_complete: upstream
                .values()
                .filter(|stream| is_complete(&stream.record))
                .count(),
            n_upstream_flagged: upstream
                .values()
                .filter(|stream| stream.is_flagged())
                .count(),
            n_benign_resets: at_client
                .values()
                .filter(|stream| !stream.record.resets.is_empty() && !stream.is_flagged())
                .count(),
        }
    }

    fn figures(&self, out: &mut Vec<String>, scene: &Scene<'_>) {
        heading(out, "All calls");
        out.push(format!(
            "  the client says     {:>4} of {} failed",
            self.failed.len(),
            self.n_calls
        ));
        let same = if self.failed == self.flagged {
            ": the same calls (by x-request-id)"
        } else {
            ""
        };
        out.push(format!(
            "  h2trace says        {:>4} of {} broke between client and proxy{same}",
            self.flagged.len(),
            self.n_at_client
        ));
        out.push(format!(
            "                      {:>4} of {} were complete between proxy and server",
            self.n_upstream_complete, self.n_upstream
        ));
        let joins = joins(scene);
        out.push(format!(
            "                      {:>4} of {} were joined on both sides of the proxy{}",
            joins.n_joined, joins.n_requests, joins.how
        ));
        if self.n_benign_resets > 0 {
            out.push(format!(
                "                      {:>4} were reset after a complete response: legal, so not flagged",
                self.n_benign_resets
            ));
        }
    }

    /// Where the two differ.
    fn faults(&self, scene: &Scene<'_>) -> Vec<String> {
        let (failed, flagged) = (&self.failed, &self.flagged);
        let mut wrong = Vec::new();
        let only = |a: &BTreeSet<&str>, b: &BTreeSet<&str>| {
            a.difference(b)
                .copied()
                .take(5)
                .collect::<Vec<_>>()
                .join(", ")
        };
        if !failed.is_subset(flagged) {
            wrong.push(format!(
                "failed and not flagged by h2trace: {}",
                only(failed, flagged)
            ));
        }
        if !flagged.is_subset(failed) {
            wrong.push(format!(
                "flagged by h2trace and not failed: {}",
                only(flagged, failed)
            ));
        }
        if self.n_at_client != self.n_calls {
            wrong.push(format!(
                "h2trace saw {} calls of {} at the client",
                self.n_at_client, self.n_calls
            ));
        }
        if self.n_upstream_complete != self.n_calls || self.n_upstream_flagged > 0 {
            wrong.push(format!(
                "h2trace saw {} complete and {} broken calls between proxy and server",
                self.n_upstream_complete, self.n_upstream_flagged
            ));
        }
        let named: BTreeSet<&str> = scene
            .seen
            .hops()
            .filter(|hop| hop.is_flagged())
            .filter_map(SeenHop::request_id)
            .collect();
        if named != *failed {
            wrong.push(format!(
                "of {} requests h2trace says that the proxy broke them, and {} calls failed",
                named.len(),
                failed.len()
            ));
        }
        if !wrong.is_empty() && scene.seen.n_losses() > 0 {
            wrong.push(format!(
                "h2trace lost sight {} times",
                scene.seen.n_losses()
            ));
        }
        wrong
    }
}

/// Compares the client's failed calls with the flagged ones; true when they are the same.
fn comparison(out: &mut Vec<String>, scene: &Scene<'_>) -> bool {
    let compared = Compared::of(scene);
    compared.figures(out, scene);
    let wrong = compared.faults(scene);
    out.push(String::new());
    for fault in &wrong {
        wrap(out, &format!("THE DEMO FAILED: {fault}"));
    }
    if wrong.is_empty() {
        let conclusion = match (compared.failed.is_empty(), scene.healthy) {
            (false, _) => {
                "Every call arrived whole at the proxy and left it broken: the proxy broke them."
            }
            (true, true) => "No call failed, and h2trace flagged none.",
            (true, false) => {
                "No call failed this time: the answers were through before the client's window was used up. \
                 Run the demo again, with more calls at once (--in-flight 50)."
            }
        };
        wrap(out, conclusion);
    }
    wrong.is_empty()
}

/// How h2trace joined the two sides of the proxy.
struct Joins {
    n_requests: usize,
    n_joined: usize,
    /// `: 60 by request_id`.
    how: String,
}

fn joins(scene: &Scene<'_>) -> Joins {
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    for join in scene.seen.hops().filter_map(|hop| hop.request.join) {
        let how = match join.confidence {
            Confidence::Ambiguous => join.confidence.as_str(),
            _ => join.by.as_str(),
        };
        *by.entry(how).or_default() += 1;
    }
    let how: Vec<String> = by.iter().map(|(how, n)| format!("{n} by {how}")).collect();
    Joins {
        n_requests: scene.seen.hops().count(),
        n_joined: by.values().sum(),
        how: if how.is_empty() {
            String::new()
        } else {
            format!(": {}", how.join(", "))
        },
    }
}

fn metrics(out: &mut Vec<String>, exposition: &str) {
    let mut rows: Vec<(&str, &str, &str)> = exposition
        .lines()
        .filter_map(sample)
        .filter(|row| tells_of_trouble(*row))
        .collect();
    if rows.is_empty() {
        return;
    }
    heading(out, "What rose in h2trace's metrics, at the client's end");
    rows.truncate(METRICS);
    let mut above = "";
    for (name, labels, value) in rows {
        if name != above {
            out.push(format!("  {name}"));
            above = name;
        }
        let mut line = format!("{value:>8}  {{");
        // What is not in a pod has no name for it.
        let labels: Vec<&str> = labels
            .split(',')
            .filter(|label| !label.ends_with("=\"\""))
            .collect();
        for (n, label) in labels.iter().enumerate() {
            // One more for the comma or the brace that follows.
            if line.chars().count() + label.chars().count() + 1 > WIDTH {
                out.push(std::mem::replace(&mut line, " ".repeat(11)));
            }
            line.push_str(label);
            line.push(if n + 1 < labels.len() { ',' } else { '}' });
        }
        out.push(line);
    }
}

/// A line of the text format as name, labels and value.
fn sample(line: &str) -> Option<(&str, &str, &str)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{')?;
    Some((name, labels.strip_suffix('}')?, value))
}

/// A counter above 0, of the client's end, that tells how streams ended or what was found.
fn tells_of_trouble((name, labels, value): (&str, &str, &str)) -> bool {
    let is_wanted = [
        "resets_",
        "findings_",
        "missing_",
        "truncated_",
        "streams_ended_",
    ]
    .iter()
    .any(|word| name.contains(word));
    is_wanted
        && name.starts_with("h2trace_")
        && !name.starts_with("h2trace_self_")
        && labels.contains(&format!("comm=\"{}\"", Part::Client.comm()))
        && value.parse::<f64>().is_ok_and(|value| value > 0.0)
}

fn heading(out: &mut Vec<String>, text: &str) {
    if !out.is_empty() {
        out.push(String::new());
    }
    out.push(text.to_owned());
    out.push("-".repeat(text.chars().count()));
}

/// Adds `text` in lines of at most [`WIDTH`] columns.
fn wrap(out: &mut Vec<String>, text: &str) {
    let mut line = String::from(" ");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push(std::mem::replace(&mut line, String::from(" ")));
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push(line);
}

fn grouped_len(number: usize) -> String {
    grouped(u64::try_from(number).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
