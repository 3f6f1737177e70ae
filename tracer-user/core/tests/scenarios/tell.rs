//! What h2trace says of a scenario, as text.

use std::fmt::Write as _;

use h2trace_core::anomaly::kind::Finding;
use h2trace_core::connection::Endpoint;
use h2trace_core::frame::ErrorCode;
use h2trace_core::hop::{DroppedBy, EndStreamLag, Hop, Part, ProxyKey};
use h2trace_core::pipeline::{HopEnd, Output};
use h2trace_core::stream::record::{
    Half, Moment, RequestPhase, ResponsePhase, Seen, StreamEnd, StreamRecord, Windows,
};

use crate::play::Player;

/// What no output may ever contain: scenarios put it where content and credentials stand.
const SECRET: &str = "hunter2";

/// So many statements are told with all their numbers.
const FEW: usize = 8;

/// A statement about something that has a number: alike ones are told together.
struct Statement {
    /// What it says, with `#` in the place of the number.
    text: String,
    number: Option<u32>,
    /// Lines below it; of statements that are told together, the first one's.
    more: Vec<String>,
}

/// What is details for beside the usual: `tell story`.
#[derive(Default)]
struct Details {
    stream: bool,
    story: bool,
    windows: bool,
    joins: bool,
    /// There was not always time for stories.
    short_of_time: bool,
}

fn details(lines: &[String]) -> Details {
    let mut details = Details {
        short_of_time: lines.iter().any(|line| line == "short of time"),
        ..Details::default()
    };
    let words = lines
        .iter()
        .filter_map(|line| line.trim().strip_prefix("tell "));
    for word in words.flat_map(|words| words.split(", ")) {
        match word {
            "stream" => details.stream = true,
            "story" => details.story = true,
            "windows" => details.windows = true,
            "joins" => details.joins = true,
            _ => panic!("nothing to tell: {word}"),
        }
    }
    details
}

/// What was said until each line that asks: the line, and the text.
pub(crate) fn tell(player: &Player, lines: &[String]) -> Vec<(usize, String)> {
    let details = details(lines);
    let has_secret = lines.iter().any(|line| line.contains(SECRET));
    let of = |(at, said, open): &(usize, Vec<Output>, usize)| {
        assert!(
            !has_secret || !format!("{said:?}").contains(SECRET),
            "content is told"
        );
        (*at, outputs(said, *open, player.is_proxy(), &details))
    };
    player.told.iter().map(of).collect()
}

fn outputs(said: &[Output], open: usize, is_proxy: bool, details: &Details) -> String {
    let side = |role: Option<Endpoint>| match role {
        Some(Endpoint::Server) if is_proxy => "downstream ",
        Some(Endpoint::Client) if is_proxy => "upstream ",
        _ => "",
    };
    let (mut streams, mut findings) = (Vec::new(), Vec::new());
    let (mut requests, mut others) = (Vec::new(), Vec::new());
    let mut n_findings = 0;
    for output in said {
        match output {
            Output::Stream {
                record,
                findings: found,
                ..
            } => {
                streams.push(stream(record, side(record.role), details));
                n_findings += found.len();
                let found = found.iter().map(|found| with_story(found, details));
                findings.extend(found.map(|found| finding(found, side(found.role), details)));
            }
            Output::Finding { finding: found, .. } => {
                n_findings += 1;
                findings.push(finding(found, side(found.role), details));
            }
            Output::Hop {
                request: hop,
                findings: found,
            } => {
                if is_proxy {
                    requests.push(request(hop, details));
                }
                n_findings += found.len();
                let found = found.iter().map(|found| with_story(found, details));
                requests.extend(found.map(|found| finding(found, "request ", details)));
            }
            Output::Lone(lone) if is_proxy => requests.push(Statement {
                text: "upstream stream # is of no request that was seen".to_owned(),
                number: Some(lone.upstream.record.stream_id.0),
                more: Vec::new(),
            }),
            Output::ConnectionEnded {
                info,
                why,
                open_streams,
                ..
            } => others.push(format!(
                "{}connection ended: {}; streams without their response: {open_streams}",
                side(info.role),
                why.as_str()
            )),
            Output::Loss(loss) => others.push(format!("not seen: {}", loss.cause.as_str())),
            Output::BytesUnseen { reason, .. } => {
                others.push(format!("bytes unseen: {}", reason.as_str()));
            }
            Output::Frame { .. }
            | Output::Connection(_)
            | Output::StreamOpened { .. }
            | Output::GoAway { .. }
            | Output::Lone(_) => {}
        }
    }
    let others = others.into_iter().map(|text| Statement {
        text,
        number: None,
        more: Vec::new(),
    });
    let mut text = String::new();
    for statements in [streams, findings, requests, others.collect()] {
        told_together(&mut text, statements);
    }
    if open > 0 {
        writeln!(text, "open streams: {open}").unwrap();
    }
    if n_findings == 0 {
        text += "nothing found\n";
    }
    text
}

/// A finding about a stream has its story.
fn with_story<'a>(found: &'a Finding, details: &Details) -> &'a Finding {
    let has_one = !found.story.is_empty() || details.short_of_time;
    assert!(has_one, "no story: {found:#?}");
    found
}

/// Alike statements in one line, where the first of them stands.
fn told_together(text: &mut String, statements: Vec<Statement>) {
    let mut groups: Vec<(Statement, Vec<u32>, usize)> = Vec::new();
    let few = statements.len() <= FEW;
    for statement in statements {
        let number = statement.number;
        let alike = groups.iter_mut().find(|(first, ..)| {
            first.text == statement.text
                && if few {
                    first.more == statement.more
                } else {
                    without_numbers(&first.more) == without_numbers(&statement.more)
                }
        });
        match alike {
            Some((_, numbers, n)) => {
                numbers.extend(number);
                *n += 1;
            }
            None => groups.push((statement, number.into_iter().collect(), 1)),
        }
    }
    for (first, numbers, n) in groups {
        if n > 1 && numbers.is_empty() {
            write!(text, "{n} times ").unwrap();
        }
        let said = match numbers.len() {
            0 | 1 => first.text,
            _ => first.text.replace("stream #", "streams #"),
        };
        writeln!(text, "{}", said.replace('#', &listed(&numbers))).unwrap();
        for line in first.more {
            writeln!(text, "    {line}").unwrap();
        }
    }
}

/// Sentences that differ only in their numbers are alike.
fn without_numbers(lines: &[String]) -> Vec<&str> {
    let words = lines.iter().flat_map(|line| line.split(' '));
    words
        .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
        .collect()
}

/// `1`, `1 3 5`, `1 to 1199 (600)`.
fn listed(numbers: &[u32]) -> String {
    match numbers {
        [first, .., last] if numbers.len() > FEW => {
            format!("{first} to {last} ({})", numbers.len())
        }
        _ => numbers
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn phases(request: Option<&str>, response: Option<&str>) -> String {
    format!("{} {}", request.unwrap_or("Q?"), response.unwrap_or("R?"))
}

fn stream(record: &StreamRecord, side: &str, details: &Details) -> Statement {
    let end = match record.end {
        StreamEnd::Complete => "complete".to_owned(),
        StreamEnd::Reset => "reset".to_owned(),
        StreamEnd::Connection(why) => format!("connection {}", why.as_str()),
        StreamEnd::Unprocessed => "unprocessed".to_owned(),
        StreamEnd::Evicted => "evicted".to_owned(),
        StreamEnd::Unseen => "unseen".to_owned(),
    };
    let outcome = record.outcome.as_str();
    let phases = phases(
        record.request_phase.map(RequestPhase::as_str),
        record.response_phase.map(ResponsePhase::as_str),
    );
    let mut text = format!(
        "{side}stream #: {outcome}; ended by: {end}; {phases}, {}",
        record.tier.as_str()
    );
    if !record.beginning_seen {
        text += ", beginning not seen";
    }
    if !record.whole {
        text += ", not whole";
    }
    let mut more = Vec::new();
    if details.stream {
        more.push(answer(record));
        more.push(format!("request: {}", half(&record.request)));
        more.push(format!("response: {}", half(&record.response)));
        let shown = record.shown.by_name();
        if !shown.is_empty() {
            let shown: Vec<_> = shown
                .iter()
                .map(|(name, value)| format!("{name}: {value}"))
                .collect();
            more.push(format!("shown: {}", shown.join("; ")));
        }
    }
    if details.story {
        more.extend(record.story.moments().iter().map(moment));
    }
    Statement {
        text,
        number: Some(record.stream_id.0),
        more,
    }
}

fn moment(moment: &Moment) -> String {
    let Windows { stream, connection } = moment.windows;
    let (stream, connection) = (window(stream), window(connection));
    let name = moment.frame.as_str();
    let said = format!("{} {name}, windows {stream} {connection}", moment.sender);
    match moment.note.as_str() {
        "" => said,
        note => format!("{said}: {note}"),
    }
}

fn seen<T>(seen: Seen<T>, show: impl Fn(T) -> String) -> String {
    match seen {
        Seen::Value(value) => show(value),
        Seen::Absent => "absent".to_owned(),
        Seen::Unknown => "unknown".to_owned(),
    }
}

fn window(window: Option<i64>) -> String {
    window.map_or("?".to_owned(), |bytes| bytes.to_string())
}

/// What the answer was.
fn answer(record: &StreamRecord) -> String {
    let mut text = format!(
        ":status {}, trailers {}, grpc-status {}, grpc {}",
        seen(record.http_status, |status| status.to_string()),
        seen(record.trailers, |()| "seen".to_owned()),
        seen(record.grpc_status, |status| status.to_string()),
        seen(record.grpc, |()| "yes".to_owned()),
    );
    for (is_so, what) in [
        (record.trailers_only, "trailers-only"),
        (record.grpc_web, "grpc-web"),
        (record.grpc_status_malformed, "grpc-status malformed"),
    ] {
        if is_so {
            write!(text, ", {what}").unwrap();
        }
    }
    if let Some(path) = &record.path {
        write!(text, ", path {path}").unwrap();
    }
    if let Some(media_type) = &record.response_content_type {
        write!(text, ", {media_type}").unwrap();
    }
    if !record.resets.is_empty() {
        write!(text, ", resets {}", record.resets.len()).unwrap();
    }
    text
}

fn half(half: &Half) -> String {
    let messages = &half.messages;
    let mut text = format!(
        "{} bytes in {} DATA frames",
        half.data_bytes, half.data_frames
    );
    if !half.data_known {
        text += " at least";
    }
    if messages.known {
        write!(
            text,
            ", {} whole messages of {:?}",
            messages.complete, messages.sizes
        )
        .unwrap();
    } else {
        text += ", messages not known";
    }
    if let Some(open) = messages.open {
        let promised = open.promised.map_or("?".to_owned(), |len| len.to_string());
        write!(text, ", {} of {promised} bytes of the next", open.got).unwrap();
    }
    if let Some(on) = half.end_stream_on {
        write!(text, ", END_STREAM on {on:?}").unwrap();
    }
    let Windows { stream, connection } = half.windows_at_end;
    write!(text, ", windows {} {}", window(stream), window(connection)).unwrap();
    text
}

fn finding(found: &Finding, side: &str, details: &Details) -> Statement {
    assert!(
        found.summary.len() > 20 && !found.summary.contains("  "),
        "{}",
        found.summary
    );
    let (kind, verdict, tier) = (
        found.kind.as_str(),
        found.verdict.as_str(),
        found.tier.as_str(),
    );
    let mut text = format!("{side}{kind}: {verdict}");
    let number = (found.stream_id.0 != 0).then_some(found.stream_id.0);
    text += if number.is_some() {
        " on stream #"
    } else {
        " on the connection"
    };
    if let Some(sender) = found.sender {
        write!(text, ", by the {sender}").unwrap();
    }
    if let Some(code) = found.code {
        write!(text, ", {}", code_name(code)).unwrap();
    }
    let [request, response] = [
        found.request_phase.map(RequestPhase::as_str),
        found.response_phase.map(ResponsePhase::as_str),
    ];
    if request.is_some() || response.is_some() {
        write!(text, ", {}", phases(request, response)).unwrap();
    }
    write!(text, ", {tier}").unwrap();
    let mut more = vec![found.summary.clone()];
    if details.windows {
        let Windows { stream, connection } = found.windows;
        more.push(format!("windows {} {}", window(stream), window(connection)));
    }
    Statement { text, number, more }
}

fn code_name(code: ErrorCode) -> String {
    code.known_name()
        .map_or_else(|| format!("{:#x}", code.0), str::to_owned)
}

/// A request at a proxy: both its sides.
fn request(hop: &Hop<HopEnd>, details: &Details) -> Statement {
    let mut text = "downstream stream # ".to_owned();
    let upstream: Vec<_> = hop
        .upstream
        .iter()
        .map(|attempt| attempt.stream_id.0)
        .collect();
    match hop.join {
        Some(join) => write!(
            text,
            "was passed on as {}, known by {} ({})",
            listed(&upstream),
            join.by.as_str(),
            join.confidence.as_str()
        ),
        None => write!(text, "was not passed on"),
    }
    .unwrap();
    let mut more = Vec::new();
    if details.joins {
        let place = |proxy| match proxy {
            ProxyKey::Process(pid) => format!("process {pid}"),
            ProxyKey::Host(address, _) => format!("host {address}"),
        };
        more.push(format!("at {}", place(hop.proxy)));
        if let Some(mesh) = &hop.mesh {
            let dropped = hop.dropped_by().map_or("none", DroppedBy::as_str);
            more.push(format!(
                "over a leg in TLS to {}, dropped by {dropped}, of {} that went by",
                place(mesh.server_side),
                mesh.together
            ));
        }
        let missing = hop
            .missing_bytes()
            .map_or("unknown".to_owned(), |bytes| bytes.to_string());
        let early = hop
            .early_response()
            .map_or("unknown", |early| if early { "yes" } else { "no" });
        let lag = match hop.end_stream_lag() {
            EndStreamLag::After(ns) => format!("{} us late", ns / 1_000),
            EndStreamLag::Never(_) => "never".to_owned(),
            EndStreamLag::Unknown => "unknown".to_owned(),
        };
        let blocked = hop
            .blocked_ns()
            .map_or("no".to_owned(), |ns| format!("{} us", ns / 1_000));
        more.push(format!(
            "missing bytes {missing}, trailers dropped {}, early response {early}, END_STREAM {lag}, blocked {blocked}",
            if hop.trailers_dropped() { "yes" } else { "no" },
        ));
        if let Some(spent) = hop.deadline() {
            let ms = |ns: Option<u64>| ns.map_or("?".to_owned(), |ns| (ns / 1_000_000).to_string());
            more.push(format!(
                "deadline {:?} used up by {}: not sent {}, request {}, server {}, way back {} ms",
                spent.timeout,
                spent.part.map_or("?", Part::as_str),
                ms(spent.not_sent_ns),
                ms(spent.request_ns),
                ms(spent.server_ns),
                ms(spent.way_back_ns),
            ));
        }
        let code = |code: Option<ErrorCode>| code.map_or("none".to_owned(), code_name);
        let [to_client, to_server] = hop
            .codes()
            .map(|(came, went)| format!("{} became {}", code(came), code(went)));
        more.push(format!(
            "codes towards the client: {to_client}; towards the server: {to_server}"
        ));
        for attempt in &hop.upstream {
            let join = attempt.join;
            more.push(format!(
                "{} by {} ({})",
                attempt.stream_id,
                join.by.as_str(),
                join.confidence.as_str()
            ));
        }
        if let Some(serving) = hop.serving() {
            more.push(format!("served by {}", serving.stream_id));
        }
    }
    Statement {
        text,
        number: Some(hop.downstream.record.stream_id.0),
        more,
    }
}
