//! What broke and what to change, in plain words and within [`COLUMNS`] columns.

use h2trace_core::anomaly::kind::{Kind, Verdict};
use h2trace_core::connection::Endpoint;
use h2trace_core::event::OtherProtocol;
use h2trace_core::frame::ErrorCode;

use super::{COLUMNS, Paint, name, sides, wrapped};
use crate::diagnosis::{Advice, AdviceAt, CaseReport, Codes, Process, ProxyReport, Report};
use crate::plain::plain;
use crate::unit::{counted, grouped};

/// Cases of one hop that are told; the others are counted.
const CASES: usize = 8;

/// Where the words begin that stand behind a name.
const INDENT: usize = 16;

pub(super) fn lines(report: &Report, paint: Paint) -> Vec<String> {
    let mut out = Vec::new();
    if report.streams == 0 {
        if let Some(unread) = unread(report) {
            out.push(paint.bold("diagnosis: nothing can be said"));
            words(&mut out, 2, &unread);
        }
        return out;
    }
    let broken = |case: &&CaseReport| case.verdict == Verdict::Anomaly;
    let n_broken = report.cases.iter().filter(broken).count();
    if report.anomalies == 0 {
        out.push(paint.good(&healthy(report)));
        if let Some(unread) = unread(report) {
            words(&mut out, 2, &unread);
        }
        if let Some(risk) = risk(report) {
            words(&mut out, 2, &risk);
        }
    }
    for proxy in &report.proxies {
        of_proxy(&mut out, proxy, paint);
    }
    if !report.cases.is_empty() {
        let heading = match (n_broken, report.proxies.iter().any(broke)) {
            (0, _) => "diagnosis: worth a look",
            (_, false) => "diagnosis: something broke",
            (_, true) => "diagnosis: something else broke",
        };
        out.push(paint.bold(heading));
        for case in report.cases.iter().take(CASES) {
            of_case(&mut out, case, paint);
        }
        if let Some(more @ 1..) = report.cases.len().checked_sub(CASES) {
            out.push(format!(
                "  and {} of other sorts",
                counted(more as u64, "failure", "failures")
            ));
        }
    }
    if !report.limit_hits.is_empty() {
        let limits: Vec<&str> = report.limit_hits.keys().copied().collect();
        words(
            &mut out,
            2,
            &format!(
                "h2trace's own limits of the diagnosis were reached ({}): not all of it is told apart",
                limits.join(", ")
            ),
        );
    }
    out
}

fn healthy(report: &Report) -> String {
    let unknown = match report.unknown {
        0 => String::new(),
        n => format!(" (how {} ended was not seen)", grouped(n)),
    };
    let what = match unread(report) {
        None => "",
        Some(_) => " what could be read:",
    };
    format!(
        "diagnosis: nothing broke in{what} {}{unknown}",
        counted(report.streams, "stream", "streams")
    )
}

/// What was not read, and may have held what broke.
fn unread(report: &Report) -> Option<String> {
    let mut parts = Vec::new();
    if report.undecided_connections > 0 {
        parts.push(format!(
            "of {} neither the beginning nor enough frames were seen to tell what is spoken there",
            counted(report.undecided_connections, "connection", "connections")
        ));
    }
    if report.losses > 0 {
        parts.push(format!(
            "{} something was not captured or could not be read",
            counted(report.losses, "time", "times")
        ));
    }
    (!parts.is_empty()).then(|| format!("Not read: {}", parts.join("; ")))
}

/// Where no proxy was seen from both sides, one that was not traced may have cut what was complete here.
fn risk(report: &Report) -> Option<String> {
    let early = report.early_responses;
    (early > 0 && report.proxies.is_empty()).then(|| {
        format!(
            "{} complete before the request had ended: legal, and what makes some proxies cut responses. If \
             there is a proxy in between, trace it too. More: h2trace explain early_response_upstream",
            counted(early, "response was", "responses were")
        )
    })
}

/// Anything at the proxy is worth words.
fn broke(proxy: &ProxyReport) -> bool {
    proxy.cut.responses > 0 || others(proxy).next().is_some() || proxy.broken_by_server > 0
}

/// What was found beside cut responses, and is bad.
fn others(proxy: &ProxyReport) -> impl Iterator<Item = (Kind, Verdict, u64)> {
    const CUT: [Kind; 3] = [
        Kind::ProxyTruncatedCompleteResponse,
        Kind::ProxyDroppedTrailers,
        Kind::ProxyLostBytes,
    ];
    proxy
        .findings
        .iter()
        .flat_map(|(kind, verdicts)| verdicts.iter().map(|(verdict, n)| (*kind, *verdict, *n)))
        .filter(|(kind, verdict, _)| {
            *verdict >= Verdict::Suspicious && !(CUT.contains(kind) && *verdict == Verdict::Anomaly)
        })
}

fn of_proxy(out: &mut Vec<String>, proxy: &ProxyReport, paint: Paint) {
    if !broke(proxy) {
        return;
    }
    let mut name = process(proxy.process.as_ref(), &proxy.address);
    if let Some(or) = &proxy.or {
        let other = process(or.process.as_ref(), &or.address);
        name = format!("{name} or {other}");
    }
    let cut = proxy.cut.responses;
    let requests = counted(proxy.requests, "request", "requests");
    let heading = match cut {
        0 => format!("diagnosis: requests through {name}"),
        n => format!("diagnosis: {name} broke {} of {requests}", grouped(n)),
    };
    out.push(match cut {
        0 => paint.bold(&heading),
        _ => paint.bad(&heading),
    });
    if cut > 0 {
        row(out, "What happened", &happened(proxy, &name));
    }
    row(out, "Both sides", &joined(proxy));
    if cut > 0 {
        row(out, "By finding", &by_kind(proxy));
        row(out, "When", &when(proxy));
        row(out, "Windows", &windows(proxy));
        row(out, "Reset codes", &codes(&proxy.cut.codes, &name));
    }
    for (kind, verdict, n) in others(proxy) {
        let example = proxy.sentences.get(&(kind, verdict));
        let text = format!(
            "{} {} ({}): {}{}  more: h2trace explain {}",
            grouped(n),
            kind.as_str(),
            verdict.as_str(),
            kind.doc().trim(),
            example.map_or_else(String::new, |example| format!(" One of them: {example}.")),
            kind.as_str()
        );
        row(out, if cut > 0 { "Beside it" } else { "Found" }, &text);
    }
    not_by_it(out, proxy, &name);
    if cut == 0 {
        return;
    }
    example(out, proxy);
    out.push(paint.bold("  What to change"));
    for advice in &proxy.advice {
        of_advice(out, advice, paint);
    }
    words(
        out,
        2,
        "More: h2trace explain proxy_truncated_complete_response",
    );
}

/// What shows that the proxy broke some, and did not break others.
fn not_by_it(out: &mut Vec<String>, proxy: &ProxyReport, name: &str) {
    if proxy.broken_by_server > 0 {
        let text = format!(
            "{} came broken from the server: {name} did not cut them",
            counted(proxy.broken_by_server, "response", "responses")
        );
        row(out, "Not by it", &text);
    }
    if let Some(directly) = proxy.directly {
        let text = format!(
            "{} of {} that the same server answered without {name} broke; through it {} of {}",
            grouped(directly.broken),
            counted(directly.requests, "request", "requests"),
            grouped(proxy.cut.responses),
            grouped(proxy.requests),
        );
        row(out, "Without it", &text);
    }
}

/// One of the requests that it broke, frame by frame.
fn example(out: &mut Vec<String>, proxy: &ProxyReport) {
    if let Some(example) = &proxy.example {
        let text = format!(
            "connection {} stream {}, to the server connection {} stream {} (window: what the proxy may still \
             send on the stream, and on the connection)",
            example.conn, example.stream_id, example.upstream_conn, example.upstream_stream_id
        );
        row(out, "One of them", &text);
        sides::write(out, &example.downstream, &example.upstream);
        words(out, 2, &example.summary);
    }
}

/// What was in the proxy's hands and did not leave it, and nothing beyond that.
fn happened(proxy: &ProxyReport, name: &str) -> String {
    let cut = &proxy.cut;
    let one = cut.responses == 1;
    let status = match cut.with_status_ok {
        0 => String::new(),
        n if n == cut.responses => ", with grpc-status 0".to_owned(),
        n => format!(", {} of them with grpc-status 0", grouped(n)),
    };
    let whose = match &proxy.server {
        Some(server) => format!(" of {}", process(Some(server), "")),
        None => String::new(),
    };
    let mut dropped = Vec::new();
    if cut.missing_bytes > 0 {
        dropped.push(counted(cut.missing_bytes, "byte", "bytes"));
    }
    if cut.trailers_dropped > 0 {
        dropped.push(match (one, cut.trailers_dropped == cut.responses) {
            (true, _) => "the trailers".to_owned(),
            (false, true) => format!("all {} trailers", grouped(cut.trailers_dropped)),
            (false, false) => format!("{} trailers", grouped(cut.trailers_dropped)),
        });
    }
    let dropped = if dropped.is_empty() {
        "did not pass on all of it".to_owned()
    } else {
        format!("dropped {}", dropped.join(" and "))
    };
    let unknown = match cut.missing_bytes_unknown {
        0 => String::new(),
        n => format!(
            " (the bytes of {} cannot be compared)",
            counted(n, "response", "responses")
        ),
    };
    format!(
        "{}{whose} {} complete when {} came to {name}{status}; {name} {dropped}{unknown}",
        counted(cut.responses, "response", "responses"),
        if one { "was" } else { "were" },
        if one { "it" } else { "they" },
    )
}

fn joined(proxy: &ProxyReport) -> String {
    let by: Vec<String> = proxy
        .joined
        .iter()
        .map(|(by, n)| format!("{} by {}", grouped(*n), by.replace('_', " ")))
        .collect();
    let mut text = format!(
        "{} of {} found on both",
        grouped(proxy.n_joined()),
        match proxy.requests {
            1 => "1 request was".to_owned(),
            n => format!("{} requests were", grouped(n)),
        }
    );
    if !by.is_empty() {
        text.push_str(&format!(" ({})", by.join(", ")));
    }
    if proxy.ambiguous > 0 {
        text.push_str(&format!(
            "; {} could not be told apart from others, and {} judged only where that does not matter",
            grouped(proxy.ambiguous),
            if proxy.ambiguous == 1 { "is" } else { "are" },
        ));
    }
    text
}

fn by_kind(proxy: &ProxyReport) -> String {
    let of_anomaly = |(kind, verdicts): (&Kind, &std::collections::BTreeMap<Verdict, u64>)| {
        verdicts
            .get(&Verdict::Anomaly)
            .map(|n| format!("{} {}", grouped(*n), kind.as_str()))
    };
    let kinds: Vec<String> = proxy.findings.iter().filter_map(of_anomaly).collect();
    kinds.join(", ")
}

fn when(proxy: &ProxyReport) -> String {
    let cut = &proxy.cut;
    format!(
        "{} of {} complete before the proxy had ended the request (an early response)",
        grouped(cut.after_early_response),
        match cut.responses {
            1 => "1 cut response was".to_owned(),
            n => format!("{} cut responses were", grouped(n)),
        },
    )
}

fn windows(proxy: &ProxyReport) -> String {
    let cut = &proxy.cut;
    let mut parts = Vec::new();
    if cut.windows_unknown < cut.responses {
        parts.push(format!(
            "{} of {} cut while the client's connection window was used up (0 bytes left)",
            grouped(cut.connection_window_used_up),
            match cut.responses {
                1 => "1 was".to_owned(),
                n => format!("{} were", grouped(n)),
            }
        ));
    }
    for (n, what) in [
        (cut.stream_window_used_up, "while its stream window was"),
        (cut.windows_open, "while both had room"),
    ] {
        if n > 0 {
            parts.push(format!("{} {what}", grouped(n)));
        }
    }
    if cut.windows_unknown > 0 {
        parts.push(format!(
            "not known for {} of {}: of a connection that is older than the trace they cannot be",
            grouped(cut.windows_unknown),
            grouped(cut.responses)
        ));
    }
    parts.join(", ")
}

fn codes(codes: &[Codes], name: &str) -> String {
    let code = |code: Option<u32>| code.map_or("none", |code| ErrorCode(code).name());
    let parts: Vec<String> = codes
        .iter()
        .map(|codes| {
            format!(
                "{} from the server, {} from {name} to the client: {}",
                code(codes.received),
                code(codes.sent),
                grouped(codes.count)
            )
        })
        .collect();
    parts.join("; ")
}

fn of_advice(out: &mut Vec<String>, advice: &Advice, paint: Paint) {
    let at = match advice.at {
        AdviceAt::Client => "client",
        AdviceAt::Server => "server",
        AdviceAt::Window => "client's window",
        AdviceAt::Proxy => "proxy",
    };
    hanging(out, 4, 6, &format!("- {at}: {}", advice.change));
    let mark = if advice.supported {
        paint.good("supported by this run")
    } else {
        paint.dim("not seen in this run")
    };
    // The mark is painted, so the first line is put together by hand.
    let begin = out.len();
    let placeholder = if advice.supported {
        "supported by this run"
    } else {
        "not seen in this run"
    };
    hanging(out, 6, 8, &format!("{placeholder}: {}", advice.evidence));
    if let Some(line) = out.get_mut(begin) {
        *line = line.replacen(placeholder, &mark, 1);
    }
    let references = format!("see {}", advice.references.join(", "));
    for line in wrapped(&references, COLUMNS - 6) {
        out.push(paint.dim(&format!("      {line}")));
    }
}

/// What broke on one hop, which ends it has, and what that hop cannot tell.
fn of_case(out: &mut Vec<String>, case: &CaseReport, paint: Paint) {
    let title = format!("{} ({})", case.kind.as_str(), case.verdict.as_str());
    let title = match case.verdict {
        Verdict::Anomaly => paint.bad(&title),
        _ => paint.warning(&title),
    };
    out.push(format!("  {} x {title}", grouped(case.streams())));
    let server = match &case.server {
        Some(server) => format!(
            "{} at {}",
            process(Some(server), ""),
            plain(&case.server_address)
        ),
        None => plain(&case.server_address).into_owned(),
    };
    let client = match (&case.client, case.several_clients) {
        (Some(client), false) => process(Some(client), ""),
        (Some(client), true) => format!("{} and others", process(Some(client), "")),
        (None, _) => "not traced here".to_owned(),
    };
    let ends = match (case.at_client > 0, case.at_server > 0) {
        (true, true) => "seen at both ends",
        (true, false) => "seen at the client's end",
        (false, _) => "seen at the server's end",
    };
    let by = match case.sender {
        Some(Endpoint::Client) => "the client",
        Some(Endpoint::Server) => "the server",
        None => "not told by this hop",
    };
    row(
        out,
        "  Between",
        &format!("client {client}, server {server}; {ends}"),
    );
    let behind = case
        .server_speaks
        .filter(|_| case.sender == Some(Endpoint::Server));
    if let Some(protocol) = behind {
        let spoken = match protocol {
            OtherProtocol::Tls => "TLS",
            OtherProtocol::Http1 => "HTTP/1.x",
            OtherProtocol::Other => "another protocol",
        };
        row(
            out,
            "  Caused by",
            &format!(
                "not known: the server's process speaks {spoken} on connections of its own, which is not \
                 followed. It may have passed on what came from behind it"
            ),
        );
    } else {
        row(out, "  Caused by", by);
    }
    let is_known = case.server.is_some() || case.server_is_proxy;
    if case.sender == Some(Endpoint::Server) && !is_known {
        row(
            out,
            "  Not known",
            "whether that server is one, or a proxy with another behind it: what is behind it was not seen",
        );
    }
    row(out, "  For example", &case.example);
    row(
        out,
        "  More",
        &format!("h2trace explain {}", case.kind.as_str()),
    );
}

/// A name, and words behind it.
fn row(out: &mut Vec<String>, name: &str, text: &str) {
    let mut name = name;
    for line in wrapped(text, COLUMNS - INDENT - 2) {
        out.push(format!("  {name:<INDENT$}{line}"));
        name = "";
    }
}

fn words(out: &mut Vec<String>, indent: usize, text: &str) {
    hanging(out, indent, indent, text);
}

/// Words, their first line at one indent and the others at another.
fn hanging(out: &mut Vec<String>, first: usize, rest: usize, text: &str) {
    let mut indent = first;
    for line in wrapped(text, COLUMNS - first.max(rest)) {
        out.push(format!("{:indent$}{line}", ""));
        indent = rest;
    }
}

/// `envoy (pid 4711)`, `envoy in shop/gateway-5c (pid 12)`; where a file tells no process: its address.
fn process(process: Option<&Process>, address: &str) -> String {
    let Some(process) = process else {
        return format!("the proxy at {}", plain(address));
    };
    let comm = process.comm.as_deref().unwrap_or("a process");
    let pod = name::pod(&process.workload);
    let in_pod = pod.map_or_else(String::new, |pod| format!(" in {pod}"));
    match process.pid {
        Some(pid) => format!("{}{in_pod} (pid {pid})", plain(comm)),
        None => plain(comm).into_owned() + &in_pod,
    }
}
