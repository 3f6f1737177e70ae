//! JSON lines: one object a line with `"v":1` and `"type"`. Other people's scripts rely on the keys:
//! `schema.json` beside this file documents them, and a test holds every line against it.

mod diagnosis;
mod frame;
mod hop;
mod line;
mod plain;
mod summary;
mod tls;
mod tunnel;
mod undecided;

use h2trace_core::anomaly::kind::{Finding, Verdict};
use h2trace_core::event::Timestamp;
use h2trace_core::pipeline::{Output, Sink};
use serde::Serialize;
use serde_json::Serializer;

use self::diagnosis::DiagnosisLine;
use self::frame::FrameLine;
use self::hop::HopLine;
use self::line::{ConnectionLine, FindingLine, LossLine, Stream};
use self::plain::Plain;
use self::summary::SummaryLine;
use super::clock::WallClock;
use super::tally::Summary;
use crate::diagnosis::Report;

/// The JSON Schema (draft 2020-12) of every line.
pub const SCHEMA: &str = include_str!("schema.json");

/// Renders outputs as JSON lines into a buffer that its owner empties.
#[derive(Debug)]
pub struct Json {
    clock: WallClock,
    shown_from: Verdict,
    hops: bool,
    buffer: Vec<u8>,
}

impl Json {
    /// Findings are printed from the verdict `shown_from` on. (Counted are all of them.)
    #[must_use]
    pub fn new(clock: WallClock, shown_from: Verdict) -> Self {
        Self {
            clock,
            shown_from,
            hops: true,
            buffer: Vec::new(),
        }
    }

    /// Whether requests at proxies are printed beside what was found about them.
    #[must_use]
    pub fn with_hops(mut self, hops: bool) -> Self {
        self.hops = hops;
        self
    }

    /// The lines so far; the caller takes them.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
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
    pub fn kernel_loss(&mut self, cause: &'static str, count: u64) {
        let line = LossLine::of_kernel(self.clock, cause, count);
        self.line(&line);
    }

    /// What broke until `at`, and what to change; `last`: the run is over.
    pub fn diagnosis(&mut self, report: &Report, at: Timestamp, last: bool) {
        let line = DiagnosisLine::new(self.clock, at, report, last);
        self.line(&line);
    }

    /// The last line.
    pub fn summary(&mut self, summary: &Summary<'_>) {
        let line = SummaryLine::new(self.clock, summary);
        self.line(&line);
    }

    fn line(&mut self, line: &impl Serialize) {
        let before = self.buffer.len();
        match line.serialize(&mut Serializer::with_formatter(&mut self.buffer, Plain)) {
            Ok(()) => self.buffer.push(b'\n'),
            Err(error) => {
                // Every field has a JSON form and memory takes every write, so this cannot be reached;
                // if it were, half a line must not stay.
                self.buffer.truncate(before);
                tracing::error!(%error, "cannot render a line of JSON");
            }
        }
    }
}

impl Json {
    /// The findings that are bad enough to be shown.
    fn shown<'a>(&self, findings: &'a [Finding]) -> impl Iterator<Item = &'a Finding> + use<'a> {
        let shown_from = self.shown_from;
        findings
            .iter()
            .filter(move |finding| finding.verdict >= shown_from)
    }
}

impl Sink for Json {
    fn accept(&mut self, output: &Output) {
        match output {
            Output::Connection(info) => {
                let line = ConnectionLine::seen(self.clock, info);
                self.line(&line);
            }
            Output::ConnectionEnded {
                info,
                why,
                at,
                open_streams,
                unseen,
            } => {
                let line = ConnectionLine::ended(self.clock, info, *why, *at, *open_streams);
                self.line(&line.with_unseen(unseen));
            }
            Output::BytesUnseen { info, at, reason } => {
                let line = ConnectionLine::bytes_unseen(self.clock, info, *at, *reason);
                self.line(&line);
            }
            Output::GoAway { info, go_away } => {
                let line = ConnectionLine::go_away(self.clock, info, go_away);
                self.line(&line);
            }
            Output::StreamOpened { .. } => {}
            Output::Frame { info, frame } => {
                let line = FrameLine::new(self.clock, info, frame);
                self.line(&line);
            }
            Output::Stream {
                info,
                record,
                findings,
            } => {
                let line = Stream::new(self.clock, info, record, findings);
                self.line(&line);
                for finding in self.shown(findings) {
                    let line = FindingLine::new(self.clock, info, Some(record), finding);
                    self.line(&line);
                }
            }
            Output::Hop { request, findings } => {
                if self.hops {
                    let line = HopLine::new(self.clock, request, findings);
                    self.line(&line);
                }
                let down = &request.downstream;
                for finding in self.shown(findings) {
                    let line =
                        FindingLine::new(self.clock, &down.tag.info, Some(&down.record), finding);
                    self.line(&line.with_hop(request));
                }
            }
            Output::Lone(lone) => {
                if self.hops {
                    let line = HopLine::lone(self.clock, lone);
                    self.line(&line);
                }
            }
            Output::Finding { info, finding } => {
                if finding.verdict >= self.shown_from {
                    let line = FindingLine::new(self.clock, info, None, finding);
                    self.line(&line);
                }
            }
            Output::Loss(loss) if !loss.hides_traffic() => {}
            Output::Loss(loss) => {
                let line = LossLine::new(self.clock, loss);
                self.line(&line);
            }
        }
    }
}

#[cfg(test)]
mod tests;
