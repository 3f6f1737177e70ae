//! What a whole run saw, for the heartbeat and the summary.

use std::collections::BTreeMap;
use std::time::Duration;

use h2trace_core::anomaly::kind::{Finding, Kind, Verdict};
use h2trace_core::event::Timestamp;
use h2trace_core::pipeline::{Output, Protocol, Sink};
use h2trace_core::stream::record::Outcome;
use tracer_ebpf::counter::{COUNTERS, Counter};

/// Counts outputs by their closed sets.
#[derive(Debug, Default)]
pub struct Tally {
    connections: BTreeMap<Protocol, u64>,
    opened: u64,
    ended: u64,
    /// By [`Outcome`]; with its name once it came.
    outcomes: [(&'static str, u64); Outcome::Unknown as usize + 1],
    findings: BTreeMap<(Kind, Verdict), u64>,
    worst: Option<Verdict>,
    losses: BTreeMap<&'static str, u64>,
}

impl Tally {
    #[must_use]
    pub fn connections(&self) -> &BTreeMap<Protocol, u64> {
        &self.connections
    }

    /// Connections that speak `protocol`.
    #[must_use]
    pub fn connections_of(&self, protocol: Protocol) -> u64 {
        self.connections.get(&protocol).copied().unwrap_or(0)
    }

    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Streams ended, by outcome.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        let came = self.outcomes.iter().filter(|(_, n)| *n > 0);
        came.copied().collect()
    }

    /// Findings by kind and verdict.
    #[must_use]
    pub fn findings(&self) -> &BTreeMap<(Kind, Verdict), u64> {
        &self.findings
    }

    /// The worst verdict of all findings.
    #[must_use]
    pub fn worst(&self) -> Option<Verdict> {
        self.worst
    }

    /// Losses of the decoder by cause.
    #[must_use]
    pub fn losses(&self) -> &BTreeMap<&'static str, u64> {
        &self.losses
    }

    fn count_finding(&mut self, finding: &Finding) {
        let key = (finding.kind, finding.verdict);
        *self.findings.entry(key).or_default() += 1;
        self.worst = self.worst.max(Some(finding.verdict));
    }
}

impl Sink for Tally {
    fn accept(&mut self, output: &Output) {
        match output {
            Output::Connection(info) => {
                *self.connections.entry(info.protocol).or_default() += 1;
            }
            Output::StreamOpened { .. } => self.opened += 1,
            Output::Stream {
                record, findings, ..
            } => {
                self.ended += 1;
                if let Some(outcome) = self.outcomes.get_mut(record.outcome as usize) {
                    *outcome = (record.outcome.as_str(), outcome.1 + 1);
                }
                for finding in findings {
                    self.count_finding(finding);
                }
            }
            Output::Hop { findings, .. } => {
                for finding in findings {
                    self.count_finding(finding);
                }
            }
            Output::Finding { finding, .. } => self.count_finding(finding),
            Output::Loss(loss) if !loss.hides_traffic() => {}
            Output::Loss(loss) => *self.losses.entry(loss.cause.as_str()).or_default() += 1,
            Output::ConnectionEnded { .. }
            | Output::BytesUnseen { .. }
            | Output::GoAway { .. }
            | Output::Frame { .. }
            | Output::Lone(_) => {}
        }
    }
}

/// The cause of a loss that the kernel counts itself: it does not run a program while that runs on the same processor, and
/// what the program would have seen is not seen.
pub const MISSED_RUNS: &str = "missed_runs";

/// The kernel programs' counters at one time.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    by_name: BTreeMap<&'static str, u64>,
}

impl Kernel {
    /// From the counters' values, in the order of their indices.
    #[must_use]
    pub fn new(counters: &[u64; COUNTERS as usize]) -> Self {
        Self {
            by_name: Counter::ALL
                .iter()
                .zip(counters)
                .map(|(counter, n)| (counter.name().0, *n))
                .collect(),
        }
    }

    /// The same, with the runs of kernel programs that did not take place.
    #[must_use]
    pub fn with_missed_runs(mut self, n: u64) -> Self {
        self.by_name.insert(MISSED_RUNS, n);
        self
    }

    /// Runs of kernel programs that did not take place.
    #[must_use]
    pub fn missed_runs(&self) -> u64 {
        self.by_name.get(MISSED_RUNS).copied().unwrap_or(0)
    }

    /// All of them by name.
    #[must_use]
    pub fn by_name(&self) -> &BTreeMap<&'static str, u64> {
        &self.by_name
    }

    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.by_name.get(counter.name().0).copied().unwrap_or(0)
    }

    /// Bytes that passed on HTTP/2 sockets.
    #[must_use]
    pub fn bytes_seen(&self) -> u64 {
        self.get(Counter::BytesSeen)
    }

    /// Bytes copied to user space.
    #[must_use]
    pub fn bytes_copied(&self) -> u64 {
        self.get(Counter::BytesCopied)
    }

    /// The losses that are not 0.
    pub fn losses(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Counter::ALL
            .iter()
            .filter(|counter| counter.name().1)
            .map(|counter| (counter.name().0, self.get(*counter)))
            .chain([(MISSED_RUNS, self.missed_runs())])
            .filter(|(_, n)| *n > 0)
    }

    /// The sum of all losses.
    #[must_use]
    pub fn events_lost(&self) -> u64 {
        self.losses().map(|(_, n)| n).sum()
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoppedBy {
    /// SIGINT, SIGTERM or SIGHUP.
    Signal,
    /// `--for` is over.
    Time,
    /// `--limit` streams have ended.
    Limit,
    /// The reader of the output has gone.
    OutputClosed,
    /// The recording has reached its `--max-size`, or cannot be written any more.
    FileFull,
    /// The file that was replayed is at its end (or cannot be read further).
    EndOfFile,
}

impl StoppedBy {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            StoppedBy::Signal => "signal",
            StoppedBy::Time => "time",
            StoppedBy::Limit => "limit",
            StoppedBy::OutputClosed => "output_closed",
            StoppedBy::FileFull => "file_full",
            StoppedBy::EndOfFile => "end_of_file",
        }
    }
}

/// What was left out so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// Lines of streams, and of requests at proxies, that ended well.
    pub lines: u64,
    /// Streams without their stories.
    pub stories: u64,
    /// Streams of which it was not asked what they belong to.
    pub joins: u64,
    /// Times that a connection was let go.
    pub connections: u64,
    /// For how long something was left out.
    pub time: Duration,
}

impl Shed {
    /// All but the time, by name.
    #[must_use]
    pub const fn by_name(&self) -> [(&'static str, u64); 4] {
        [
            ("lines", self.lines),
            ("stories", self.stories),
            ("joins", self.joins),
            ("connections", self.connections),
        ]
    }

    /// Something was left out.
    #[must_use]
    pub fn is_some(&self) -> bool {
        !self.time.is_zero() || self.by_name().iter().any(|(_, n)| *n > 0)
    }
}

/// What is said at the end of a run.
#[derive(Debug)]
pub struct Summary<'a> {
    /// What was seen.
    pub tally: &'a Tally,
    /// What the kernel programs counted.
    pub kernel: &'a Kernel,
    /// Its end, on the clock of what it told: a capture file's own time.
    pub at: Timestamp,
    /// How long it ran, from the attach on.
    pub duration: Duration,
    pub stopped_by: StoppedBy,
    /// Lines of output that were thrown away.
    pub output_dropped: u64,
    /// What was left out because there was not the time for it.
    pub shed: Shed,
    /// A filter was set.
    pub filtered: bool,
    /// The pods that were selected or excluded, if that was asked for.
    pub pods: Option<SelectedPods>,
}

/// The pods of a run that selects or excludes some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedPods {
    pub words: String,
    /// Only these were traced; otherwise all but those that these words exclude.
    pub positive: bool,
    /// How many were traced at any time.
    pub ever: u64,
    /// How many at the end.
    pub now: usize,
}
