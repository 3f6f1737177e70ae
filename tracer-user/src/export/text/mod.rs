//! Text for people: one line a stream, findings with their story, aligned for 100 columns.

mod diagnosis;
mod frame;
mod name;
mod paint;
pub(crate) mod sides;
mod story;
mod summary;
mod tls;
mod wrap;

pub use self::paint::Paint;
pub use self::summary::summary;
pub use self::wrap::wrapped;

use h2trace_core::anomaly::kind::{Finding, Verdict};
use h2trace_core::connection::{ConnectionEnd, Endpoint};
use h2trace_core::event::{OtherProtocol, UnseenBytes};
use h2trace_core::frame::StreamId;
use h2trace_core::hop::{Attempt, Hop};
use h2trace_core::pipeline::{ConnectionInfo, HopEnd, Loss, LossCause, Output, Protocol, Sink};
use h2trace_core::stream::record::{GoAway, Outcome, Seen, Story, StreamRecord};
use tracer_ebpf::counter::Counter;

use super::clock::WallClock;
use super::{duration_ns, labels};
use crate::diagnosis::Report;
use crate::plain::{lines, plain};
use crate::unit::{bytes, count, duration};

/// Columns that a line fits into, however narrow the terminal is.
pub const COLUMNS: usize = 100;

/// Width of `comm[pid]` at [`COLUMNS`]; a wider terminal first gives it up to [`PROCESS_MAX`].
const PROCESS: usize = 14;

/// What the longest `comm` and a usual process id need.
const PROCESS_MAX: usize = 22;

/// Width of the method at [`COLUMNS`]; a wider terminal gives it the rest.
const METHOD: usize = 22;

/// Columns of the time and the space after it.
const INDENT: usize = 13;

/// Renders outputs as text into a buffer that its owner empties.
#[derive(Debug)]
pub struct Text {
    clock: WallClock,
    paint: Paint,
    columns: usize,
    shown_from: Verdict,
    /// Names of the header fields that are printed.
    headers: Vec<String>,
    heading_due: bool,
    hops: bool,
    buffer: String,
}

impl Text {
    /// Findings are printed from the verdict `shown_from` on. `columns` below [`COLUMNS`] count as that.
    #[must_use]
    pub fn new(clock: WallClock, paint: Paint, columns: usize, shown_from: Verdict) -> Self {
        let columns = columns.max(COLUMNS);
        Self {
            clock,
            paint,
            columns,
            shown_from,
            headers: Vec::new(),
            heading_due: true,
            hops: false,
            buffer: String::new(),
        }
    }

    /// Prints the values of these header fields below their stream. (JSON has all that may be shown.)
    #[must_use]
    pub fn with_headers(mut self, names: &[String]) -> Self {
        self.headers = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        self
    }

    /// Whether requests at proxies are printed beside what was found about them.
    #[must_use]
    pub fn with_hops(mut self, hops: bool) -> Self {
        self.hops = hops;
        self
    }

    /// The text so far; the caller takes it.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer).into_bytes()
    }

    /// Bytes that wait to be taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// True when there is nothing to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The kernel programs lost something: `count` more of `cause` than before.
    pub fn kernel_loss(&mut self, cause: &'static str, lost: u64) {
        let now = self
            .clock
            .at(super::clock::monotonic_now())
            .local_time_of_day();
        let said = if cause == Counter::NoBuffer.name().0 {
            // No event of these was lost: each connection says how many of its bytes were not seen, and why.
            format!(
                "{now} not seen: the bytes of {} in buffers that are not known ({cause}); their connections say why",
                count(lost, "call", "calls")
            )
        } else {
            format!(
                "{now} LOST: the kernel programs lost {} ({cause}); what they held is unknown",
                count(lost, "event", "events")
            )
        };
        self.long_line(&said, Paint::warning);
    }

    /// The last lines.
    pub fn summary(&mut self, of: &super::tally::Summary<'_>) {
        for line in summary(of, self.paint) {
            self.line(&line);
        }
    }

    /// What broke, and what to change.
    pub fn diagnosis(&mut self, report: &Report) {
        for line in diagnosis::lines(report, self.paint) {
            self.line(&line);
        }
    }

    /// One line: a line break within it is somebody else's.
    fn line(&mut self, line: &str) {
        let line = lines(line.trim_end());
        let mut parts = line.split('\n');
        self.buffer.push_str(parts.next().unwrap_or_default());
        for part in parts {
            self.buffer.push(' ');
            self.buffer.push_str(part);
        }
        self.buffer.push('\n');
    }

    fn story(&mut self, story: &Story) {
        for line in story::lines(&story.moments(), self.paint) {
            self.line(&line);
        }
    }

    /// A line of whatever length, its continuation under what follows the time.
    fn long_line(&mut self, line: &str, paint: fn(Paint, &str) -> String) {
        if line.chars().count() <= self.columns {
            return self.line(&paint(self.paint, line));
        }
        for (n, part) in wrapped(line, self.columns - INDENT).into_iter().enumerate() {
            let indent = if n == 0 { 0 } else { INDENT };
            self.line(&paint(self.paint, &format!("{:indent$}{part}", "")));
        }
    }

    fn connection(&mut self, info: &ConnectionInfo) {
        let time = self.clock.at(info.first_at).local_time_of_day();
        let what = match info.protocol {
            Protocol::Http2 if info.upgraded => "HTTP/2 (upgraded from HTTP/1.1)",
            Protocol::Http2 => "HTTP/2",
            Protocol::Other(OtherProtocol::Tls) => match &info.tls {
                Some(tls) => &tls::opaque(tls),
                None => "TLS: encrypted, not decoded",
            },
            Protocol::Other(OtherProtocol::Http1) => "HTTP/1: not decoded",
            Protocol::Other(OtherProtocol::Other) => "neither HTTP/2, HTTP/1 nor TLS: not decoded",
            Protocol::Undecided(undecided) if info.tunnel.is_some() => &format!(
                "not decoded: {} in a tunnel whose content is not copied, or not followed",
                bytes(undecided.bytes)
            ),
            Protocol::Undecided(undecided) => &format!(
                "not decoded: its beginning was not seen, and {} ({}) do not prove what it speaks \
                 (--http2 PORT tells it)",
                bytes(undecided.bytes),
                labels::first_bytes(undecided.first)
            ),
            Protocol::Unseen(reason) => {
                &format!("not decoded: its bytes were {}", labels::unseen(reason))
            }
        };
        let within = match (info.protocol, &info.tls) {
            (Protocol::Http2, Some(tls)) => tls::within(tls),
            _ => String::new(),
        };
        let tunnel = info
            .tunnel
            .as_deref()
            .map_or_else(String::new, name::tunnel);
        let joined = match (info.protocol, info.beginning_seen) {
            (Protocol::Http2, false) => ", joined in the middle",
            _ => "",
        };
        let line = format!(
            "{time} connection {}: {}, {} {} {}, {what}{within}{joined}{tunnel}",
            info.id,
            name::end(info, info.pid),
            name::address(&info.local),
            arrow(info.role),
            name::peer(info)
        );
        self.long_line(&line, Paint::dim);
    }

    fn connection_ended(
        &mut self,
        info: &ConnectionInfo,
        why: ConnectionEnd,
        time: &str,
        open_streams: u32,
        unseen: &UnseenBytes,
    ) {
        if info.protocol != Protocol::Http2 {
            return;
        }
        let why = match why {
            ConnectionEnd::LocalClose => "closed here",
            ConnectionEnd::PeerFin => "closed by the peer",
            ConnectionEnd::PeerReset => "reset by the peer",
            ConnectionEnd::LocalReset => "reset from here",
            ConnectionEnd::Unknown => "lost from sight",
        };
        let mut line = format!(
            "{time} connection {}: {}, {why}",
            info.id,
            name::end(info, info.pid)
        );
        for (reason, n) in unseen.iter() {
            line += &format!("; {} not seen: {}", bytes(n), labels::unseen(reason));
        }
        if open_streams == 0 {
            self.long_line(&line, Paint::dim);
        } else {
            let open = count(
                u64::from(open_streams),
                "stream was open",
                "streams were open",
            );
            self.long_line(&format!("{line}; {open}"), Paint::warning);
        }
    }

    fn go_away(&mut self, info: &ConnectionInfo, go_away: &GoAway) {
        let time = self.clock.at(go_away.at).local_time_of_day();
        let reason = go_away
            .reason
            .map_or_else(String::new, |reason| format!(" ({})", reason.as_str()));
        let line = format!(
            "{time} connection {}: {}, GOAWAY from the {}: {}{reason}, last stream {}",
            info.id,
            name::end(info, info.pid),
            go_away.sender,
            go_away.code.name(),
            go_away.last_stream_id
        );
        self.long_line(&line, Paint::dim);
    }

    fn stream(&mut self, info: &ConnectionInfo, record: &StreamRecord, findings: &[Finding]) {
        let wider = self.columns - COLUMNS;
        let process_width = PROCESS_MAX.min(PROCESS + wider);
        let method_width = METHOD + wider - (process_width - PROCESS);
        if std::mem::take(&mut self.heading_due) {
            let heading = format!(
                "{:<12} {:<process_width$} {:<6} {:<method_width$} {:<12} {:<5} {:>6} {:>6} {:>8}",
                "TIME", "PROCESS", "ROLE", "METHOD", "OUTCOME", "PHASE", "REQ", "RESP", "DURATION"
            );
            self.line(&self.paint.bold(&heading));
        }
        let phases = format!(
            "{}/{}",
            record.request_phase.map_or("Q?", |phase| phase.as_str()),
            record.response_phase.map_or("R?", |phase| phase.as_str())
        );
        let at_least =
            |known: bool, n: u64| format!("{}{}", if known { "" } else { ">" }, bytes(n));
        let left = format!(
            "{} {:<process_width$} {:<6} {:<method_width$} ",
            self.clock.at(record.last_at).local_time_of_day(),
            name::fitted_process(&info.comm, record.pid, process_width),
            labels::role(record.role),
            cut_left(record.path.as_deref().unwrap_or("?"), method_width),
        );
        let outcome = format!("{:<12}", outcome(record));
        let right = format!(
            " {phases:<5} {:>6} {:>6} {:>8}",
            at_least(record.request.data_known, record.request.data_bytes),
            at_least(record.response.data_known, record.response.data_bytes),
            duration_ns(record).map_or_else(|| "?".to_owned(), duration),
        );
        let painted = match record.outcome {
            Outcome::Ok => self.paint.good(&outcome),
            Outcome::CompleteUnknown | Outcome::Unknown => self.paint.dim(&outcome),
            Outcome::ErrorStatus | Outcome::Cancelled | Outcome::Deadline => {
                self.paint.warning(&outcome)
            }
            _ => self.paint.bad(&outcome),
        };
        self.line(&format!("{left}{painted}{right}"));
        let fields: Vec<String> = self
            .headers
            .iter()
            .filter_map(|name| {
                record
                    .shown
                    .get(name)
                    .map(|value| format!("{name}: {value}"))
            })
            .collect();
        if !fields.is_empty() {
            for part in wrapped(&fields.join(", "), self.columns - INDENT) {
                self.line(&self.paint.dim(&format!("{:INDENT$}{part}", "")));
            }
        }
        let mut told: Option<&Story> = None;
        let shown_from = self.shown_from;
        for finding in findings
            .iter()
            .filter(|finding| finding.verdict >= shown_from)
        {
            self.finding(info, Some(record), finding);
            // Several findings about one stream have one story: it is told once.
            if told != Some(&finding.story) {
                self.story(&finding.story);
                told = Some(&finding.story);
            }
        }
    }

    fn finding(&mut self, info: &ConnectionInfo, record: Option<&StreamRecord>, finding: &Finding) {
        let place = if finding.stream_id == StreamId(0) {
            format!("connection {}", info.id)
        } else {
            format!("connection {} stream {}", info.id, finding.stream_id)
        };
        let verdict = finding.verdict.as_str().to_uppercase();
        let title = format!("  {verdict}: {}", finding.kind.as_str());
        let pid = record.map_or(info.pid, |record| record.pid);
        let process = name::end(info, pid);
        let seen = format!("{place}, seen at {process} as {}", role_words(finding.role));
        let fits = title.chars().count() + seen.chars().count() + 2 <= COLUMNS;
        let title = if finding.verdict == Verdict::Anomaly {
            self.paint.bad(&title)
        } else {
            self.paint.warning(&title)
        };
        if fits {
            self.line(&format!("{title}  {seen}"));
        } else {
            self.line(&title);
            for line in wrapped(&seen, COLUMNS - 4) {
                self.line(&format!("    {line}"));
            }
        }
        for line in wrapped(&finding.summary, COLUMNS - 4) {
            self.line(&self.paint.bold(&format!("    {line}")));
        }
        let rest = format!(
            "tier {}, {} - {}",
            finding.tier.as_str(),
            name::address(&info.local),
            name::peer(info)
        );
        self.line(&self.paint.dim(&format!("    {rest}")));
    }

    /// Findings about a request at a proxy, and below them what happened on both its hops.
    fn hop(&mut self, request: &Hop<HopEnd>, findings: &[Finding]) {
        let down = &request.downstream;
        let shown_from = self.shown_from;
        if self.hops {
            let time = self.clock.at(request.at).local_time_of_day();
            let line = format!("{time} {}", sides::one_line(request));
            self.long_line(&line, Paint::dim);
        }
        let mut told = false;
        for finding in findings
            .iter()
            .filter(|finding| finding.verdict >= shown_from)
        {
            self.finding(&down.tag.info, Some(&down.record), finding);
            for line in sides::who(request) {
                self.line(&self.paint.dim(&format!("    {line}")));
            }
            told = true;
        }
        if told && let Some(up) = request.serving().and_then(Attempt::record) {
            let mut lines = Vec::new();
            sides::write(&mut lines, &down.record, up);
            for line in lines {
                self.line(&line);
            }
        }
    }

    fn loss(&mut self, loss: &Loss) {
        let time = self.clock.at(loss.at).local_time_of_day();
        let place = loss.connection.as_deref().map_or_else(String::new, |info| {
            format!(" on connection {} ({})", info.id, name::end(info, info.pid))
        });
        let much = loss
            .bytes
            .map_or_else(String::new, |n| format!(", {} went by unseen", bytes(n)));
        let line = match loss.cause {
            LossCause::Limit(limit) => {
                let limit = limit.label();
                format!("{time} h2trace's own limit of {limit} was reached{place}{much}")
            }
            cause => format!(
                "{time} not decoded{place}: {}{much}",
                cause.as_str().replace('_', " ")
            ),
        };
        self.long_line(&line, Paint::warning);
    }
}

impl Sink for Text {
    fn accept(&mut self, output: &Output) {
        match output {
            Output::Connection(info) => self.connection(info),
            Output::ConnectionEnded {
                info,
                why,
                at,
                open_streams,
                unseen,
            } => {
                let time = self.clock.at(*at).local_time_of_day();
                self.connection_ended(info, *why, &time, *open_streams, unseen);
            }
            Output::BytesUnseen { info, at, reason } => {
                let time = self.clock.at(*at).local_time_of_day();
                let line = format!(
                    "{time} connection {}: {}, bytes that are {} are not seen",
                    info.id,
                    name::end(info, info.pid),
                    labels::unseen(*reason)
                );
                self.long_line(&line, Paint::dim);
            }
            Output::StreamOpened { .. } => {}
            Output::Frame { info, frame } => {
                for line in frame::lines(self.clock, info, frame) {
                    self.line(&line);
                }
            }
            Output::Stream {
                info,
                record,
                findings,
            } => self.stream(info, record, findings),
            Output::Hop { request, findings } => self.hop(request, findings),
            Output::Lone(lone) => {
                if self.hops {
                    let time = self.clock.at(lone.at).local_time_of_day();
                    self.long_line(&format!("{time} {}", sides::lone(lone)), Paint::dim);
                }
            }
            Output::Finding { info, finding } => {
                if finding.verdict >= self.shown_from {
                    self.finding(info, None, finding);
                    self.story(&finding.story);
                }
            }
            Output::GoAway { info, go_away } => self.go_away(info, go_away),
            Output::Loss(loss) if !loss.hides_traffic() => {}
            Output::Loss(loss) => self.loss(loss),
        }
    }
}

/// The end of `text` in `width` columns: of a method's path the end says most.
fn cut_left(text: &str, width: usize) -> String {
    let text = plain(text);
    let n_chars = text.chars().count();
    if n_chars <= width {
        return text.into_owned();
    }
    let end: String = text
        .chars()
        .skip(n_chars - width.saturating_sub(2))
        .collect();
    format!("..{end}")
}

fn arrow(role: Option<Endpoint>) -> &'static str {
    match role {
        Some(Endpoint::Client) => "->",
        Some(Endpoint::Server) => "<-",
        None => "<->",
    }
}

fn role_words(role: Option<Endpoint>) -> &'static str {
    match role {
        Some(Endpoint::Client) => "the client",
        Some(Endpoint::Server) => "the server",
        None => "an end of unknown role",
    }
}

/// The outcome in at most 12 columns.
fn outcome(record: &StreamRecord) -> String {
    match (record.outcome, record.grpc_status) {
        (Outcome::ErrorStatus, Seen::Value(status)) => format!("status {status}"),
        (Outcome::CompleteUnknown, _) => "complete".to_owned(),
        (Outcome::MissingTrailers, _) => "no trailers".to_owned(),
        (Outcome::ConnectionLost, _) => "conn lost".to_owned(),
        (other, _) => other.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests;
