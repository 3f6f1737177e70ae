//! The metrics of [`super::metrics::METRICS`].
//!
//! Those about h2trace itself are on the `prometheus` crate, which is used here and nowhere else. Those about
//! connection ends are kept by end: a pod comes and goes with all of its series, its names may come later than
//! its traffic, and a hundred thousand series take a few megabytes.

mod counts;
mod ends;
mod hop;
mod names;
mod pods;
mod room;
mod series;
#[cfg(test)]
mod tests;
mod text;
mod times;
mod vectors;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2trace_core::anomaly::kind::Finding;
use h2trace_core::connection::Endpoint;
use h2trace_core::event::Timestamp;
use h2trace_core::field::user_agent::UserAgent;
use h2trace_core::hop::early_response;
use h2trace_core::limits::{self, Limit};
use h2trace_core::pipeline::{ConnectionInfo, Loss, LossCause, Output, Protocol, Sink};
use h2trace_core::stream::record::{StreamRecord, Tier};
use prometheus::{
    Counter, Encoder as _, Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};
use tracer_ebpf::counter::{COUNTERS, Counter as KernelCounter};

use self::counts::{EndCounts, RoleCounts};
use self::ends::{EndSeries, Ends, SharedSeries};
use self::room::Room;
use self::series::Series;
use self::text::Family;
use self::times::role_index;
use self::vectors::{Registration, Vectors};
use super::labels::{self, OTHER};
use super::metrics;
use super::metrics::{About, METRICS};
use super::tally::{MISSED_RUNS, Shed};
use crate::confine::Confined;

/// What the kernel says of one of its programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    pub name: String,
    /// Runs, as far as BPF statistics were on.
    pub runs: u64,
    /// Nanoseconds spent in them.
    pub run_ns: u64,
}

/// Reads all metrics; may be cloned and given to other threads.
#[derive(Clone, Debug)]
pub struct Scrape {
    registry: Registry,
    drain_age: Gauge,
    shared: SharedSeries,
    /// How long the last page was.
    len: Arc<AtomicUsize>,
    limit_hits: IntCounterVec,
    page_overflow: IntCounter,
    confined: GaugeVec,
}

impl Scrape {
    /// Something reached this limit.
    pub fn limit_hit(&self, limit: Limit) {
        self.limit_hits.with_label_values(&[limit.label()]).inc();
    }

    /// Says what this process has given up.
    pub fn set_confined(&self, confined: Confined) {
        for (by, done) in confined.by_name() {
            let gauge = self.confined.with_label_values(&[by]);
            gauge.set(f64::from(u8::from(done)));
        }
    }

    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// The crate cannot encode a metric.
    pub fn encode(&self, drain_age: std::time::Duration) -> anyhow::Result<Vec<u8>> {
        self.drain_age.set(drain_age.as_secs_f64());
        // A page is about as long as the one before: it need not grow by doubling.
        let len = self.len.load(Ordering::Relaxed);
        let mut text = String::with_capacity(len + len / 8);
        TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text)?;
        let (ends, times) = self.shared.all();
        let ends = self.within(ends, limits::PAGE_BYTES);
        for metric in METRICS {
            let family = &mut Family::new(&mut text, metric);
            match metric.about {
                About::Tracer => {}
                About::Owner => times
                    .iter()
                    .for_each(|times| times.write(family, metric.name)),
                About::End => ends
                    .iter()
                    .for_each(|end| end.counts().write(family, metric.name, &end.labels)),
            }
        }
        self.len.store(text.len(), Ordering::Relaxed);
        Ok(text.into_bytes())
    }

    /// About how long the next page is.
    #[must_use]
    pub fn expected_len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Those whose lines have room in so many bytes. Who has the most of them is left out: long names and many methods
    /// are whoever's choice that makes them.
    fn within(&self, mut ends: Vec<Arc<EndSeries>>, room: usize) -> Vec<Arc<EndSeries>> {
        let size = |end: &Arc<EndSeries>| end.counts().page_bytes(end.labels.len());
        let mut sizes: Vec<usize> = ends.iter().map(size).collect();
        let mut all: usize = sizes.iter().sum();
        if all <= room {
            return ends;
        }
        let mut descending: Vec<usize> = (0..ends.len()).collect();
        descending.sort_by_key(|at| std::cmp::Reverse(sizes.get(*at).copied()));
        for at in descending {
            if all <= room {
                break;
            }
            if let Some(size) = sizes.get_mut(at) {
                all -= std::mem::take(size);
                self.page_overflow.inc();
            }
        }
        let mut sizes = sizes.iter();
        ends.retain(|_| sizes.next().is_some_and(|size| *size > 0));
        ends
    }

    /// The MIME type of [`Scrape::encode`].
    #[must_use]
    pub fn content_type(&self) -> String {
        TextEncoder::new().format_type().to_owned()
    }
}

/// Turns outputs into metrics. The end of a connection is looked up once, and kept while it is open.
pub struct Exporter {
    scrape: Scrape,
    vectors: Vectors,
    ends: Ends,
    room: Room,
    room_of_other: Room,
    evicted_seen: u64,
    kernel_seen: [u64; COUNTERS as usize],
    programs_seen: HashMap<String, (u64, u64)>,
    output_dropped_seen: u64,
    beyond_seen: usize,
}

impl Exporter {
    /// With a registry of its own.
    ///
    /// # Errors
    /// A name or label of the table is not valid.
    pub fn new() -> anyhow::Result<Self> {
        let registry = Registry::new();
        let vectors = Vectors::register(&registry)?;
        let new = Registration {
            registry: &registry,
        };
        let info = new.gauges(metrics::SELF_BUILD_INFO)?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        let age = Gauge::with_opts(Opts::new(
            metrics::SELF_DRAIN_AGE.name,
            metrics::SELF_DRAIN_AGE.help,
        ));
        let drain_age = new.register(age)?;
        let confined = new.gauges(metrics::SELF_CONFINED)?;
        // Nothing is selected: that is known.
        vectors.selection_known.set(1);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process))?;
        for counter in KernelCounter::ALL {
            if let (cause, true) = counter.name() {
                vectors.events_lost.with_label_values(&[cause]);
            }
        }
        vectors.events_lost.with_label_values(&[MISSED_RUNS]);
        for family in UserAgent::ALL {
            vectors
                .late_end_stream
                .with_label_values(&[family.as_str()]);
        }
        // A counter that begins with its first hit hides it from `increase`.
        for (what, _) in Shed::default().by_name() {
            vectors.shed.with_label_values(&[what]);
        }
        for limit in [Limit::HttpConnections, Limit::Pages] {
            vectors.limit_hits.with_label_values(&[limit.label()]);
        }
        let shared = SharedSeries::default();
        Ok(Self {
            room: Room::bounded(&vectors),
            room_of_other: Room::of_other(),
            ends: Ends::new(shared.clone()),
            evicted_seen: 0,
            scrape: Scrape {
                registry,
                drain_age,
                shared,
                len: Arc::default(),
                limit_hits: vectors.limit_hits.clone(),
                page_overflow: vectors.label_overflow.with_label_values(&["page"]),
                confined,
            },
            vectors,
            kernel_seen: [0; COUNTERS as usize],
            programs_seen: HashMap::new(),
            output_dropped_seen: 0,
            beyond_seen: 0,
        })
    }

    /// What `/metrics` reads.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        self.scrape.clone()
    }

    /// Shows how it stands with who names the pods, from now on.
    ///
    /// # Errors
    /// A name or label of the table is not valid, or it is shown already.
    pub fn show_pods(&self, source: crate::workload::kubernetes::PodSource) -> anyhow::Result<()> {
        pods::PodSeries::register(&self.scrape.registry, source, &self.vectors.limit_hits)
    }

    /// Sets the gauges of what is followed now.
    pub fn set_live(&self, connections: usize, streams: usize) {
        self.vectors
            .live_connections
            .set(i64::try_from(connections).unwrap_or(i64::MAX));
        self.vectors
            .live_streams
            .set(i64::try_from(streams).unwrap_or(i64::MAX));
    }

    /// Sets how many pods are selected, whether that is known, and how many cgroups of theirs had no room
    /// ([`SELECTED_CGROUPS`](h2trace_core::limits::SELECTED_CGROUPS)).
    pub fn set_selected(&mut self, pods: usize, known: bool, beyond: usize) {
        self.vectors
            .selected_pods
            .set(i64::try_from(pods).unwrap_or(i64::MAX));
        self.vectors.selection_known.set(i64::from(known));
        let more = beyond.saturating_sub(self.beyond_seen);
        if more > 0 {
            self.vectors
                .limit_hits
                .with_label_values(&[Limit::SelectedCgroups.label()])
                .inc_by(more as u64);
        }
        self.beyond_seen = beyond;
    }

    /// Takes the kernel programs' counters as they stand.
    pub fn set_kernel(&mut self, counters: &[u64; COUNTERS as usize]) {
        let vectors = &self.vectors;
        let unseen = |reason: &str, more| {
            vectors
                .bytes_unseen
                .with_label_values(&[reason])
                .inc_by(more);
        };
        for ((counter, now), seen) in KernelCounter::ALL
            .into_iter()
            .zip(counters)
            .zip(&mut self.kernel_seen)
        {
            let more = now.saturating_sub(*seen);
            *seen = *now;
            match counter {
                KernelCounter::Calls => vectors.calls.with_label_values(&["followed"]).inc_by(more),
                KernelCounter::CallsSkipped => {
                    vectors.calls.with_label_values(&["skipped"]).inc_by(more);
                }
                KernelCounter::Peeks => vectors.calls.with_label_values(&["peek"]).inc_by(more),
                KernelCounter::SocketsUnwanted => vectors
                    .sockets
                    .with_label_values(&["unwanted"])
                    .inc_by(more),
                KernelCounter::SocketsOther => {
                    vectors.sockets.with_label_values(&[OTHER]).inc_by(more);
                }
                KernelCounter::BytesSeen => vectors.bytes_seen.inc_by(more),
                KernelCounter::BytesCopied => vectors.bytes_copied.inc_by(more),
                KernelCounter::Records => vectors.records.inc_by(more),
                KernelCounter::UnseenIoUring => unseen("io_uring", more),
                KernelCounter::UnseenSplice => unseen("splice", more),
                KernelCounter::UnseenCompat => unseen("compat", more),
                KernelCounter::UnseenThrownAway => unseen("thrown_away", more),
                KernelCounter::UnseenOther => unseen(OTHER, more),
                KernelCounter::RingFull
                | KernelCounter::Fault
                | KernelCounter::StepLimit
                | KernelCounter::IovecLimit
                | KernelCounter::NoBuffer
                | KernelCounter::Unhooked
                | KernelCounter::Busy
                | KernelCounter::Desync
                | KernelCounter::SocketTableFull
                | KernelCounter::SecretsLost
                | KernelCounter::NoField => vectors
                    .events_lost
                    .with_label_values(&[counter.name().0])
                    .inc_by(more),
            }
        }
    }

    /// Says that this kernel program is attached.
    pub fn set_attached(&self, program: &str) {
        self.vectors
            .program_attached
            .with_label_values(&[program])
            .set(1.0);
    }

    /// Takes the kernel programs' run statistics as they stand.
    pub fn set_programs(&mut self, programs: &[ProgramRuns]) {
        for program in programs {
            let seen = self.programs_seen.entry(program.name.clone()).or_default();
            let name = [program.name.as_str()];
            let runs = self.vectors.program_runs.with_label_values(&name);
            runs.inc_by(program.runs.saturating_sub(seen.0));
            let seconds: Counter = self.vectors.program_seconds.with_label_values(&name);
            seconds.inc_by(
                std::time::Duration::from_nanos(program.run_ns.saturating_sub(seen.1))
                    .as_secs_f64(),
            );
            *seen = (program.runs, program.run_ns);
        }
    }

    /// Takes the number of runs of kernel programs that the kernel has left out so far.
    pub fn set_missed_runs(&mut self, n: u64) {
        let lost = self.vectors.events_lost.with_label_values(&[MISSED_RUNS]);
        lost.inc_by(n.saturating_sub(lost.get()));
    }

    /// Takes how many processes' memory was read so far, and how many bytes.
    pub fn set_memory_read(&mut self, processes: u64, bytes: u64) {
        for (counter, n) in [
            (&self.vectors.memory_read_processes, processes),
            (&self.vectors.memory_read_bytes, bytes),
        ] {
            counter.inc_by(n.saturating_sub(counter.get()));
        }
    }

    /// Takes how many processes had their handshakes probed so far.
    pub fn set_probed(&mut self, processes: u64) {
        let counter = &self.vectors.probed_processes;
        counter.inc_by(processes.saturating_sub(counter.get()));
    }

    /// Takes what is left out now, and what was so far.
    pub fn set_shed(&self, level: i64, shed: &[(&'static str, u64)]) {
        self.vectors.shed_level.set(level);
        for (what, n) in shed {
            let counter = self.vectors.shed.with_label_values(&[*what]);
            counter.inc_by(n.saturating_sub(counter.get()));
        }
    }

    /// Takes the number of lines of output thrown away so far.
    pub fn set_output_dropped(&mut self, lines: u64) {
        self.vectors
            .output_dropped
            .inc_by(lines.saturating_sub(self.output_dropped_seen));
        self.output_dropped_seen = lines;
    }

    /// Time passes: pods get their names, and the series of those that have gone go too. Called every second
    /// or so, with the time of the events.
    pub fn advance(&mut self, now: Timestamp) {
        self.ends.advance(now, &mut self.room);
        let evicted = self.ends.evicted();
        if evicted > self.evicted_seen {
            let hits = self
                .vectors
                .limit_hits
                .with_label_values(&[Limit::Ends.label()]);
            hits.inc_by(evicted - self.evicted_seen);
            self.evicted_seen = evicted;
        }
        let gauge = |n| i64::try_from(n).unwrap_or(i64::MAX);
        self.vectors.ends.set(gauge(self.ends.len()));
        self.vectors.unnamed.set(gauge(self.ends.unsettled()));
        self.spill();
    }

    /// Counts at a role of a connection's end, or at what stands for all others when there is no room.
    fn at_role(&mut self, info: &Arc<ConnectionInfo>, count: impl Fn(&mut RoleCounts, &mut Room)) {
        let room = &mut self.room;
        let is_counted = match self.ends.linked(info) {
            Some(end) => counted(end, info, room, &count),
            None => counted(&self.ends.of(info, room), info, room, &count),
        };
        self.count_at_other(is_counted, info, count);
    }

    /// Counts what found no room at its role at what stands for all others.
    fn count_at_other(
        &mut self,
        is_counted: bool,
        info: &ConnectionInfo,
        count: impl Fn(&mut RoleCounts, &mut Room),
    ) {
        if !is_counted {
            self.room.full();
            let other = self.ends.other(info.workload.in_pod());
            counted(&other, info, &mut self.room_of_other, count);
        }
        self.spill();
    }

    /// Counts at a connection's end.
    fn at_end(&mut self, info: &Arc<ConnectionInfo>, count: impl Fn(&mut EndCounts, &mut Room)) {
        let end = self.ends.of(info, &mut self.room);
        count(&mut end.counts(), &mut self.room);
        self.spill();
    }

    /// What found no room is counted at what stands for all others.
    fn spill(&mut self) {
        if !self.room.has_spilled() {
            return;
        }
        let other = self.ends.other(true);
        let mut counts = other.counts();
        for (role, series, n) in self.room.take_spilled() {
            counts.add_at(role, series, n, &mut self.room_of_other);
        }
    }

    fn count_stream(
        &mut self,
        info: &Arc<ConnectionInfo>,
        record: &StreamRecord,
        findings: &[Finding],
    ) {
        let count = |role: &mut RoleCounts, room: &mut Room| role.count(record, findings, room);
        let (role, room) = (role_index(info.role), &mut self.room);
        let at_end = |end: &EndSeries, room: &mut Room| {
            let is_counted = counted(end, info, room, count);
            (is_counted, end.times.count(role, record, room))
        };
        let (is_counted, is_timed) = match self.ends.linked(info) {
            Some(end) => at_end(end, room),
            None => at_end(&self.ends.of(info, room), room),
        };
        self.count_at_other(is_counted, info, count);
        if !is_timed {
            self.room.full();
            let other = self.ends.other(info.workload.in_pod());
            other.times.count(role, record, &mut self.room_of_other);
        }
        if record.tier == Tier::T0 {
            self.vectors.hpack_unseen.inc();
        }
        // Both ends of a connection may be followed: it is counted where requests are answered.
        if record.role == Some(Endpoint::Server) && early_response(record) {
            let family = [record.user_agent.as_str()];
            let late = &self.vectors.late_end_stream;
            late.with_label_values(&family).inc();
        }
    }

    fn count_loss(&self, loss: &Loss) {
        let vectors = &self.vectors;
        match loss.cause {
            LossCause::Limit(limit) => {
                let hits = &vectors.limit_hits;
                hits.with_label_values(&[limit.label()]).inc();
            }
            cause => {
                let undecoded = &vectors.undecoded;
                undecoded.with_label_values(&[cause.as_str()]).inc();
            }
        }
        if loss.cause == LossCause::Desync {
            vectors.resync.inc();
        }
        vectors.undecoded_bytes.inc_by(loss.bytes.unwrap_or(0));
    }
}

/// Counts at a role of an end. False when there is no room for it.
fn counted(
    end: &EndSeries,
    info: &ConnectionInfo,
    room: &mut Room,
    count: impl Fn(&mut RoleCounts, &mut Room),
) -> bool {
    let mut counts = end.counts();
    let role = counts.role(info.role, room);
    role.map(|role| count(role, room)).is_some()
}

impl Sink for Exporter {
    fn accept(&mut self, output: &Output) {
        match output {
            Output::Connection(info) => {
                self.ends.open(info, &mut self.room);
                if info.protocol == Protocol::Http2 {
                    self.at_role(info, |role, _| role.connections += 1);
                } else {
                    let reason = labels::undecoded(info.protocol);
                    let series = Series::Undecoded { reason };
                    self.at_end(info, |end, room| end.add(series, 1, room));
                }
            }
            Output::ConnectionEnded {
                info,
                why,
                open_streams,
                ..
            } => {
                if info.protocol == Protocol::Http2 {
                    let cause = why.as_str();
                    self.at_role(info, |role, room| {
                        role.add(Series::Ended { cause }, 1, room);
                        if *open_streams > 0 {
                            role.add(Series::Broken { cause }, 1, room);
                        }
                    });
                }
                self.ends.close(info.id);
            }
            // Single frames are told of files only, which nobody scrapes.
            // All bytes that pass unseen are the kernel programs' counters.
            Output::Frame { .. } | Output::BytesUnseen { .. } => {}
            Output::StreamOpened { info } => self.at_role(info, |role, _| role.opened += 1),
            Output::Stream {
                info,
                record,
                findings,
            } => self.count_stream(info, record, findings),
            Output::Hop { request, findings } => self.count_hop(request, findings),
            Output::Lone(lone) => self.count_lone(lone),
            Output::Finding { info, finding } => {
                let series = Series::of_finding(finding);
                self.at_role(info, |role, room| role.add(series, 1, room));
            }
            Output::GoAway { info, go_away } => {
                let series = Series::GoAway {
                    sender: go_away.sender.as_str(),
                    code: go_away.code.name(),
                };
                self.at_role(info, |role, room| role.add(series, 1, room));
            }
            Output::Loss(loss) => self.count_loss(loss),
        }
    }
}
