//! One run: what drains the ring and feeds the exporters, on threads of its own.

mod drain;
mod shed;
mod turns;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use h2trace_core::pipeline::{Depth, Output, Protocol, Sink};
use tracer_ebpf::counter::{COUNTERS, Counter};

use super::chosen;
use super::output;
use super::paper::Paper;
use super::scope::Scope;
use super::show::Wanted;
use crate::capture::MemoryRead;
use crate::diagnosis::Diagnosis;
use crate::export::clock::{monotonic_now, process_now};
use crate::export::http::Heartbeat;
use crate::export::prometheus::{Exporter, ProgramRuns};
use crate::export::tally::{Kernel, MISSED_RUNS, StoppedBy, Summary, Tally};
use crate::kernel::{DRAIN_MAX, RingView};
use crate::unit::count;
use crate::workload::kubernetes;
pub use drain::Drain;
pub(in crate::session) use shed::Prints;
pub use shed::{Keep, Level};
use shed::{Look, Shedder};
pub use turns::Share;

/// How long the loop sleeps between two drains while records come: a timer, because a wake-up for each record would
/// cost the traced programs more than all else. No longer, so that a burst does not fill the ring meanwhile.
const NAP: RangeInclusive<Duration> = Duration::from_millis(2)..=Duration::from_millis(8);

/// How many records one drain should find: so many share the costs of a drain.
const BATCH: RangeInclusive<u64> = 128..=512;

/// How long the loop sleeps at most while nothing happens; the kernel programs wake it.
const REST: Duration = Duration::from_millis(200);

/// Drains of at most [`DRAIN_MAX`] records when a run ends: more than the largest ring holds.
const LAST_DRAINS: u32 = 2_048;

/// How often counters are read and gauges set.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Where outputs come from: the kernel programs and the pipeline, or a test.
pub trait Source: Send {
    /// Takes all records that wait, and hands on what they mean. Returns how many there were.
    ///
    /// # Errors
    /// The records cannot be read any more.
    fn drain(&mut self, sink: &mut dyn Sink) -> anyhow::Result<u64>;

    /// The ring for other threads.
    fn ring(&self) -> Option<RingView> {
        None
    }

    /// Something is lost if the next records are late.
    fn is_urgent(&self) -> bool {
        false
    }

    /// Streams are to be followed so closely from now on.
    fn follow(&mut self, _depth: Depth) {}

    /// Connections with the most traffic are to be let go.
    fn let_go(&mut self, _keep: Keep) {}

    /// Connections that are let go now, and how often one was because it had to be.
    fn away(&self) -> (usize, u64) {
        (0, 0)
    }

    /// The trace ends: hands on what is still open.
    fn finish(&mut self, sink: &mut dyn Sink);

    /// Connections and streams that are followed now.
    fn live(&self) -> (usize, usize);

    /// The kernel programs' counters.
    ///
    /// # Errors
    /// They cannot be read.
    fn counters(&self) -> anyhow::Result<[u64; COUNTERS as usize]>;

    /// Runs of kernel programs that the kernel left out.
    fn missed_runs(&self) -> u64 {
        0
    }

    /// What was read of other processes' memory so far.
    fn memory_read(&self) -> MemoryRead {
        MemoryRead::default()
    }

    /// Names of the attached kernel programs.
    fn attached(&self) -> Vec<String>;

    /// The run has to end, and why.
    fn over(&self) -> Option<StoppedBy> {
        None
    }

    /// The kernel programs' run statistics; empty while the kernel does not keep them.
    fn programs(&self) -> Vec<ProgramRuns>;
}

/// What a run does.
pub struct Plan {
    /// What is printed, and where to.
    pub paper: Paper,
    /// Metrics, if they are wanted.
    pub exporter: Option<Exporter>,
    /// Sign of life for others.
    pub heartbeat: Arc<Heartbeat>,
    /// What is traced: for the sign of life that people see.
    pub scope: Scope,
    /// Who names pods.
    pub pods: Option<kubernetes::PodSource>,
    /// How often people see one when nothing else is printed.
    pub heartbeat_every: Duration,
    /// What of the outputs is printed.
    pub wanted: Wanted,
    /// How often what broke is said, when something did since.
    pub report_every: Duration,
    /// Whether something may be left out where there is not the time for all of it.
    pub shedding: Shedding,
    /// Ends the run after this time.
    pub duration: Option<Duration>,
    /// Ends the run after this many streams.
    pub limit: Option<u64>,
}

/// Whether something may be left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shedding {
    /// Nothing: whoever records wants all.
    Never,
    /// What there is not the time for; with the share of one processor that this process may take, if there is one.
    ByRule(Option<f64>),
}

impl Shedding {
    const fn has_budget(self) -> bool {
        matches!(self, Shedding::ByRule(Some(_)))
    }
}

/// What a run saw.
pub struct Ended {
    /// Counts.
    pub tally: Tally,
    pub stopped_by: StoppedBy,
}

/// Hands every output to all that want it, until the limit of streams is reached.
struct Fan<'a> {
    tally: &'a mut Tally,
    diagnosis: &'a mut Diagnosis,
    exporter: Option<&'a mut Exporter>,
    paper: &'a mut Paper,
    wanted: &'a Wanted,
    shedder: Option<&'a mut Shedder>,
    limit: Option<u64>,
}

impl Fan<'_> {
    fn full(&self) -> bool {
        self.limit.is_some_and(|limit| self.tally.ended() >= limit)
    }
}

impl Sink for Fan<'_> {
    fn accept(&mut self, output: &Output) {
        if self.full() {
            return;
        }
        self.tally.accept(output);
        if let Some(exporter) = self.exporter.as_deref_mut() {
            exporter.accept(output);
        }
        let is_printed = self
            .shedder
            .as_deref_mut()
            .is_none_or(|shedder| shedder.passes(output));
        if self.paper.is_silent() {
            return;
        }
        self.diagnosis.accept(output);
        if is_printed {
            self.paper.accept(output, self.wanted);
        }
    }
}

struct Session {
    source: Box<dyn Source>,
    plan: Plan,
    tally: Tally,
    diagnosis: Diagnosis,
    kernel: Kernel,
    started: Instant,
    printed_at: Instant,
    diagnosed_at: Instant,
    /// Anomalies of which the last diagnosis knew.
    n_diagnosed: u64,
    counted_at: Option<Instant>,
    /// How long it slept before the last turn.
    nap: Duration,
    shedder: Option<Shedder>,
}

/// How long to sleep after a nap of `nap` that gathered `n_records`.
fn next_nap(nap: Duration, n_records: u64) -> Duration {
    if n_records == 0 {
        return (nap * 2).min(REST);
    }
    let next = if n_records > *BATCH.end() {
        nap / 2
    } else if n_records < *BATCH.start() {
        nap * 2
    } else {
        nap
    };
    next.clamp(*NAP.start(), *NAP.end())
}

/// What comes after a turn.
enum Next {
    /// A pause; until records come if there were none.
    Pause {
        time: Duration,
        for_records: bool,
    },
    Over(StoppedBy),
}

impl Session {
    fn new(source: Box<dyn Source>, plan: Plan) -> Session {
        let now = Instant::now();
        if let Some(exporter) = &plan.exporter {
            for program in source.attached() {
                exporter.set_attached(&program);
            }
        }
        let prints = plan.paper.prints();
        let shedder = match plan.shedding {
            Shedding::Never => None,
            Shedding::ByRule(budget) => Some(Shedder::new(budget, prints)),
        };
        Session {
            shedder,
            source,
            plan,
            tally: Tally::default(),
            diagnosis: Diagnosis::default(),
            kernel: Kernel::default(),
            started: now,
            printed_at: now,
            diagnosed_at: now,
            n_diagnosed: 0,
            counted_at: None,
            nap: *NAP.start(),
        }
    }

    /// Takes what waits, and does all that is due.
    /// `fill`: the part of the ring that waits.
    fn turn(&mut self, is_stopped: &AtomicBool, fill: f64) -> anyhow::Result<Next> {
        self.plan.heartbeat.beat();
        let used = self.plan.shedding.has_budget().then(process_now);
        let n_records = self.drain()?;
        let now = Instant::now();
        let rest = self.shed(now, fill, used);
        if self
            .counted_at
            .is_none_or(|at| now.duration_since(at) >= COUNT_EVERY)
        {
            self.count()?;
            self.counted_at = Some(now);
        }
        self.diagnose(now);
        self.show_life(now);
        if let Some(reason) = self.over(is_stopped) {
            return Ok(Next::Over(reason));
        }
        // Reading in batches is what keeps the tracer cheap: a loop without a nap would spend a core.
        self.nap = next_nap(self.nap, n_records);
        let is_behind = n_records >= DRAIN_MAX;
        Ok(Next::Pause {
            time: if is_behind { rest } else { self.nap.max(rest) }.min(self.left()),
            for_records: n_records == 0 && rest.is_zero(),
        })
    }

    /// Leaves something out where there is not the time for all of it, and takes it up again. How long to rest.
    fn shed(&mut self, now: Instant, fill: f64, used_before: Option<Duration>) -> Duration {
        let Some(shedder) = &mut self.shedder else {
            return Duration::ZERO;
        };
        let now = now.duration_since(self.started);
        shedder.fills(fill);
        let used = used_before.map(|before| process_now().saturating_sub(before));
        let rest = used.map_or(Duration::ZERO, |used| shedder.rest(used));
        if !shedder.is_due(now) {
            return rest;
        }
        let level = shedder.level();
        let orders = shedder.look(Look {
            now,
            used: process_now(),
            is_away: self.source.away().0 > 0,
        });
        if let Some(depth) = orders.depth {
            self.source.follow(depth);
        }
        if let Some(keep) = orders.keep {
            self.source.let_go(keep);
        }
        if let Some(words) = &orders.tell {
            output::say(words);
        }
        if shedder.level() != level {
            self.show_shed();
        }
        rest
    }

    fn show_shed(&mut self) {
        let Some(shedder) = &mut self.shedder else {
            return;
        };
        shedder.shed.connections = self.source.away().1;
        if let Some(exporter) = &self.plan.exporter {
            exporter.set_shed(shedder.level() as i64, &shedder.shed.by_name());
        }
    }

    /// The run is over. Everything is printed when it returns.
    fn finish(mut self, stopped_by: StoppedBy) -> anyhow::Result<Ended> {
        self.end(stopped_by)?;
        Ok(Ended {
            tally: self.tally,
            stopped_by,
        })
    }

    /// Until the end of the time.
    fn left(&self) -> Duration {
        self.plan.duration.map_or(Duration::MAX, |duration| {
            duration.saturating_sub(self.started.elapsed())
        })
    }

    fn over(&self, is_stopped: &AtomicBool) -> Option<StoppedBy> {
        if self
            .plan
            .limit
            .is_some_and(|limit| self.tally.ended() >= limit)
        {
            return Some(StoppedBy::Limit);
        }
        if let Some(reason) = self.source.over() {
            return Some(reason);
        }
        if is_stopped.load(Ordering::Relaxed) {
            return Some(StoppedBy::Signal);
        }
        if self
            .plan
            .duration
            .is_some_and(|duration| self.started.elapsed() >= duration)
        {
            return Some(StoppedBy::Time);
        }
        self.plan.paper.closed().then_some(StoppedBy::OutputClosed)
    }

    fn drain(&mut self) -> anyhow::Result<u64> {
        let mut fan = Fan {
            tally: &mut self.tally,
            diagnosis: &mut self.diagnosis,
            exporter: self.plan.exporter.as_mut(),
            paper: &mut self.plan.paper,
            wanted: &self.plan.wanted,
            shedder: self.shedder.as_mut(),
            limit: self.plan.limit,
        };
        let n_records = self.source.drain(&mut fan)?;
        self.print();
        Ok(n_records)
    }

    fn print(&mut self) {
        self.plan.paper.hand_over();
        if self.plan.paper.take_printed() {
            self.printed_at = Instant::now();
        }
    }

    /// Reads the kernel programs' counters, sets the gauges, and says what was lost since the last time.
    fn count(&mut self) -> anyhow::Result<()> {
        let counters = self.source.counters()?;
        let kernel = Kernel::new(&counters).with_missed_runs(self.source.missed_runs());
        for (counter, (cause, lost)) in Counter::ALL.iter().map(|counter| (counter, counter.name()))
        {
            let more = kernel
                .get(*counter)
                .saturating_sub(self.kernel.get(*counter));
            if lost && more > 0 {
                self.plan.paper.tell(|front| front.kernel_loss(cause, more));
            }
        }
        let missed = kernel
            .missed_runs()
            .saturating_sub(self.kernel.missed_runs());
        if missed > 0 {
            self.plan
                .paper
                .tell(|front| front.kernel_loss(MISSED_RUNS, missed));
        }
        self.kernel = kernel;
        self.look_at_pods();
        self.show_shed();
        if let Some(exporter) = self.plan.exporter.as_mut() {
            let (connections, streams) = self.source.live();
            exporter.set_live(connections, streams);
            exporter.advance(monotonic_now());
            exporter.set_kernel(&counters);
            exporter.set_missed_runs(self.kernel.missed_runs());
            let read = self.source.memory_read();
            exporter.set_memory_read(read.processes, read.bytes);
            exporter.set_probed(read.probed);
            exporter.set_programs(&self.source.programs());
            exporter.set_output_dropped(self.plan.paper.dropped_lines());
        }
        self.print();
        Ok(())
    }

    /// Says how it stands with the pods that are selected, where that is looked for.
    fn look_at_pods(&mut self) {
        if !self.plan.scope.is_by_pods() {
            return;
        }
        let counts = self.plan.scope.selected.counts();
        let unknown = chosen::unknown(&self.plan.scope, self.plan.pods.as_ref());
        if unknown.is_none() && self.plan.heartbeat.is_waiting() {
            output::say(&format!("now tracing {}", self.plan.scope.in_words()));
        }
        self.plan.heartbeat.set_waiting(unknown);
        if let Some(exporter) = self.plan.exporter.as_mut() {
            exporter.set_selected(counts.traced, counts.known, counts.beyond);
        }
    }

    /// Says what broke, when something did since it was last said.
    fn diagnose(&mut self, now: Instant) {
        if now.duration_since(self.diagnosed_at) < self.plan.report_every {
            return;
        }
        self.diagnosed_at = now;
        let n_anomalies = self.diagnosis.n_anomalies();
        if n_anomalies > self.n_diagnosed {
            self.n_diagnosed = n_anomalies;
            let diagnosis = &self.diagnosis;
            self.plan.paper.tell(|front| front.diagnosis(diagnosis));
            self.print();
        }
    }

    /// A line on stderr when nothing was printed for a while.
    fn show_life(&mut self, now: Instant) {
        if now.duration_since(self.printed_at) < self.plan.heartbeat_every {
            return;
        }
        self.printed_at = now;
        output::say(&format!(
            "tracing {}: {}, {} so far, {} lost",
            self.plan.scope.in_words(),
            count(
                self.tally.connections_of(Protocol::Http2),
                "connection",
                "connections"
            ),
            count(self.tally.opened(), "stream", "streams"),
            count(self.kernel.events_lost(), "event", "events"),
        ));
    }

    /// What still waits in the ring, what is still open, and the summary.
    fn end(&mut self, stopped_by: StoppedBy) -> anyhow::Result<()> {
        if stopped_by != StoppedBy::Limit {
            // What waited when the end came; not what the kernel adds meanwhile, for ever.
            for _ in 0..LAST_DRAINS {
                if self.drain()? < DRAIN_MAX {
                    break;
                }
            }
        }
        let mut fan = Fan {
            tally: &mut self.tally,
            diagnosis: &mut self.diagnosis,
            exporter: self.plan.exporter.as_mut(),
            paper: &mut self.plan.paper,
            wanted: &self.plan.wanted,
            shedder: self.shedder.as_mut(),
            limit: self.plan.limit,
        };
        self.source.finish(&mut fan);
        self.count()?;
        let summary = Summary {
            tally: &self.tally,
            kernel: &self.kernel,
            at: monotonic_now(),
            duration: self.started.elapsed(),
            stopped_by,
            output_dropped: self.plan.paper.dropped_lines(),
            shed: self
                .shedder
                .as_ref()
                .map(|shedder| shedder.shed)
                .unwrap_or_default(),
            filtered: !self.plan.scope.is_all(),
            pods: self.plan.scope.is_by_pods().then(|| self.plan.scope.pods()),
        };
        let diagnosis = &self.diagnosis;
        self.plan
            .paper
            .tell(|front| front.summary(&summary, diagnosis));
        self.plan.paper.finish();
        Ok(())
    }
}

#[cfg(test)]
mod shed_tests;
#[cfg(test)]
mod tests;
