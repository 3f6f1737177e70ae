//! The metrics of [`super::metrics::METRICS`] on the `prometheus` crate, which is used here and nowhere else.

use std::collections::HashMap;

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec,
    IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use tracer_ebpf::counter::{COUNTERS, Counter as KernelCounter};

use super::labels::{self, Capped, OTHER, UNKNOWN};
use super::metrics::{self, Metric};
use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::connection::Endpoint;
use crate::limits;
use crate::pipeline::{ConnectionInfo, Loss, Output, Protocol, Sink};
use crate::stream::record::{Outcome, Reset, Seen, StreamEnd, StreamRecord};

/// Upper bounds of the two histograms in seconds: from a call on one host to a long-lived stream.
const BUCKETS: [f64; 17] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
];

/// Number of outcomes.
const OUTCOMES: usize = Outcome::Unknown as usize + 1;

/// What the kernel says of one of its programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    /// The program's name.
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
}

impl Scrape {
    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// The crate cannot encode a metric.
    pub fn encode(&self, drain_age: std::time::Duration) -> anyhow::Result<Vec<u8>> {
        self.drain_age.set(drain_age.as_secs_f64());
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// The MIME type of [`Scrape::encode`].
    #[must_use]
    pub fn content_type(&self) -> String {
        TextEncoder::new().format_type().to_owned()
    }
}

/// Turns outputs into metrics. Every series is looked up once and its handle kept.
pub struct Exporter {
    scrape: Scrape,
    vectors: Vectors,
    workloads: Capped,
    methods: Capped,
    /// Where the handles of a `comm` stand in `ends`.
    workload_at: HashMap<String, usize>,
    /// Handles by role: client, server, unknown.
    ends: Vec<[Option<Box<EndSeries>>; 3]>,
    kernel_seen: [u64; COUNTERS as usize],
    programs_seen: HashMap<String, (u64, u64)>,
    output_dropped_seen: u64,
}

/// The series of one `comm` and role.
struct EndSeries {
    comm: String,
    role: &'static str,
    opened: IntCounter,
    ended: [Option<IntCounter>; OUTCOMES],
    duration: Histogram,
    first_byte: Histogram,
    early: IntCounter,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
    resets: HashMap<ResetKey, IntCounter>,
    findings: HashMap<(Kind, Verdict), IntCounter>,
    grpc: HashMap<String, HashMap<&'static str, IntCounter>>,
}

/// Sender, code, request phase, response phase, verdict.
type ResetKey = (Endpoint, &'static str, &'static str, &'static str, Verdict);

struct Vectors {
    connections: IntCounterVec,
    connections_undecoded: IntCounterVec,
    connections_ended: IntCounterVec,
    connections_broken: IntCounterVec,
    go_aways: IntCounterVec,
    streams_opened: IntCounterVec,
    streams_ended: IntCounterVec,
    stream_duration: HistogramVec,
    stream_first_byte: HistogramVec,
    resets: IntCounterVec,
    missing_trailers: IntCounterVec,
    truncated_messages: IntCounterVec,
    early_responses: IntCounterVec,
    grpc_status: IntCounterVec,
    data_bytes: IntCounterVec,
    findings: IntCounterVec,
    live_connections: IntGauge,
    live_streams: IntGauge,
    events_lost: IntCounterVec,
    undecoded: IntCounterVec,
    undecoded_bytes: IntCounter,
    resync: IntCounter,
    hpack_unseen: IntCounter,
    limit_hits: IntCounterVec,
    label_overflow: IntCounterVec,
    output_dropped: IntCounter,
    calls: IntCounterVec,
    sockets: IntCounterVec,
    bytes_seen: IntCounter,
    bytes_copied: IntCounter,
    records: IntCounter,
    program_attached: GaugeVec,
    program_runs: IntCounterVec,
    program_seconds: CounterVec,
}

/// Registers one row of the table.
struct Registration<'a> {
    registry: &'a Registry,
}

impl Registration<'_> {
    fn register<C: Collector + Clone + 'static>(
        &self,
        collector: prometheus::Result<C>,
    ) -> anyhow::Result<C> {
        let collector = collector?;
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counters(&self, metric: Metric) -> anyhow::Result<IntCounterVec> {
        self.register(IntCounterVec::new(
            Opts::new(metric.name, metric.help),
            metric.labels,
        ))
    }

    fn counter(&self, metric: Metric) -> anyhow::Result<IntCounter> {
        self.register(IntCounter::with_opts(Opts::new(metric.name, metric.help)))
    }

    fn gauge(&self, metric: Metric) -> anyhow::Result<IntGauge> {
        self.register(IntGauge::with_opts(Opts::new(metric.name, metric.help)))
    }

    fn gauges(&self, metric: Metric) -> anyhow::Result<GaugeVec> {
        self.register(GaugeVec::new(
            Opts::new(metric.name, metric.help),
            metric.labels,
        ))
    }

    fn histograms(&self, metric: Metric) -> anyhow::Result<HistogramVec> {
        let options = HistogramOpts::new(metric.name, metric.help).buckets(BUCKETS.to_vec());
        self.register(HistogramVec::new(options, metric.labels))
    }
}

impl Vectors {
    fn register(registry: &Registry) -> anyhow::Result<Self> {
        let new = Registration { registry };
        Ok(Self {
            connections: new.counters(metrics::CONNECTIONS)?,
            connections_undecoded: new.counters(metrics::CONNECTIONS_UNDECODED)?,
            connections_ended: new.counters(metrics::CONNECTIONS_ENDED)?,
            connections_broken: new.counters(metrics::CONNECTIONS_BROKEN)?,
            go_aways: new.counters(metrics::GO_AWAYS)?,
            streams_opened: new.counters(metrics::STREAMS_OPENED)?,
            streams_ended: new.counters(metrics::STREAMS_ENDED)?,
            stream_duration: new.histograms(metrics::STREAM_DURATION)?,
            stream_first_byte: new.histograms(metrics::STREAM_FIRST_BYTE)?,
            resets: new.counters(metrics::RESETS)?,
            missing_trailers: new.counters(metrics::MISSING_TRAILERS)?,
            truncated_messages: new.counters(metrics::TRUNCATED_MESSAGES)?,
            early_responses: new.counters(metrics::EARLY_RESPONSES)?,
            grpc_status: new.counters(metrics::GRPC_STATUS)?,
            data_bytes: new.counters(metrics::DATA_BYTES)?,
            findings: new.counters(metrics::FINDINGS)?,
            live_connections: new.gauge(metrics::LIVE_CONNECTIONS)?,
            live_streams: new.gauge(metrics::LIVE_STREAMS)?,
            events_lost: new.counters(metrics::SELF_EVENTS_LOST)?,
            undecoded: new.counters(metrics::SELF_UNDECODED)?,
            undecoded_bytes: new.counter(metrics::SELF_UNDECODED_BYTES)?,
            resync: new.counter(metrics::SELF_RESYNC)?,
            hpack_unseen: new.counter(metrics::SELF_HPACK_UNSEEN)?,
            limit_hits: new.counters(metrics::SELF_LIMIT_HITS)?,
            label_overflow: new.counters(metrics::SELF_LABEL_OVERFLOW)?,
            output_dropped: new.counter(metrics::SELF_OUTPUT_DROPPED)?,
            calls: new.counters(metrics::SELF_CALLS)?,
            sockets: new.counters(metrics::SELF_SOCKETS)?,
            bytes_seen: new.counter(metrics::SELF_BYTES_SEEN)?,
            bytes_copied: new.counter(metrics::SELF_BYTES_COPIED)?,
            records: new.counter(metrics::SELF_RECORDS)?,
            program_attached: new.gauges(metrics::SELF_PROGRAM_ATTACHED)?,
            program_runs: new.counters(metrics::SELF_PROGRAM_RUNS)?,
            program_seconds: new.register(CounterVec::new(
                Opts::new(
                    metrics::SELF_PROGRAM_SECONDS.name,
                    metrics::SELF_PROGRAM_SECONDS.help,
                ),
                metrics::SELF_PROGRAM_SECONDS.labels,
            ))?,
        })
    }

    /// The series of `role` and `comm`, most of them at 0: a rate over a series that has just been born
    /// misses its first rise.
    fn end_series(&self, role: &'static str, comm: &str) -> EndSeries {
        let both = [role, comm];
        EndSeries {
            comm: comm.to_owned(),
            role,
            opened: self.streams_opened.with_label_values(&both),
            ended: std::array::from_fn(|_| None),
            duration: self.stream_duration.with_label_values(&both),
            first_byte: self.stream_first_byte.with_label_values(&both),
            early: self.early_responses.with_label_values(&both),
            request_bytes: self.data_bytes.with_label_values(&[role, comm, "request"]),
            response_bytes: self.data_bytes.with_label_values(&[role, comm, "response"]),
            resets: HashMap::new(),
            findings: HashMap::new(),
            grpc: HashMap::new(),
        }
    }
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
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process))?;
        for counter in KernelCounter::ALL {
            if let (cause, true) = counter.name() {
                vectors.events_lost.with_label_values(&[cause]);
            }
        }
        for reason in ["tls", "http1", OTHER] {
            vectors
                .connections_undecoded
                .with_label_values(&[OTHER, reason]);
        }
        Ok(Self {
            scrape: Scrape {
                registry,
                drain_age,
            },
            vectors,
            workloads: Capped::new(limits::WORKLOAD_LABELS),
            methods: Capped::new(limits::METHOD_LABELS),
            workload_at: HashMap::new(),
            ends: Vec::new(),
            kernel_seen: [0; COUNTERS as usize],
            programs_seen: HashMap::new(),
            output_dropped_seen: 0,
        })
    }

    /// What `/metrics` reads.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        self.scrape.clone()
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

    /// Takes the kernel programs' counters as they stand.
    pub fn set_kernel(&mut self, counters: &[u64; COUNTERS as usize]) {
        let vectors = &self.vectors;
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
                    vectors.calls.with_label_values(&["skipped"]).inc_by(more)
                }
                KernelCounter::Peeks => vectors.calls.with_label_values(&["peek"]).inc_by(more),
                KernelCounter::SocketsUnwanted => vectors
                    .sockets
                    .with_label_values(&["unwanted"])
                    .inc_by(more),
                KernelCounter::SocketsOther => {
                    vectors.sockets.with_label_values(&[OTHER]).inc_by(more)
                }
                KernelCounter::BytesSeen => vectors.bytes_seen.inc_by(more),
                KernelCounter::BytesCopied => vectors.bytes_copied.inc_by(more),
                KernelCounter::Records => vectors.records.inc_by(more),
                loss => vectors
                    .events_lost
                    .with_label_values(&[loss.name().0])
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

    /// Takes the number of lines of output thrown away so far.
    pub fn set_output_dropped(&mut self, lines: u64) {
        self.vectors
            .output_dropped
            .inc_by(lines.saturating_sub(self.output_dropped_seen));
        self.output_dropped_seen = lines;
    }

    /// The `comm` label: itself, or [`OTHER`] when the cap is reached.
    fn comm<'a>(workloads: &mut Capped, vectors: &Vectors, comm: &'a str) -> &'a str {
        if workloads.admits(comm) {
            return comm;
        }
        vectors.label_overflow.with_label_values(&["comm"]).inc();
        OTHER
    }

    /// The series of this connection end, and the two things that counting into it needs.
    fn end(&mut self, info: &ConnectionInfo) -> (&mut EndSeries, &Vectors, &mut Capped) {
        let vectors = &self.vectors;
        let comm = Self::comm(&mut self.workloads, vectors, &info.comm);
        // The name is copied only for a workload that is new.
        let at = if let Some(at) = self.workload_at.get(comm) {
            *at
        } else {
            self.ends.push(std::array::from_fn(|_| None));
            self.workload_at
                .insert(comm.to_owned(), self.ends.len() - 1);
            self.ends.len() - 1
        };
        let series = self.ends[at][info.role.map_or(2, Endpoint::index)]
            .get_or_insert_with(|| Box::new(vectors.end_series(labels::role(info.role), comm)));
        (series, vectors, &mut self.methods)
    }

    fn count_stream(&mut self, info: &ConnectionInfo, record: &StreamRecord, findings: &[Finding]) {
        let (end, vectors, methods) = self.end(info);
        end.count(vectors, methods, record);
        for reset in &record.resets {
            end.count_reset(vectors, reset, findings);
        }
        for finding in findings {
            end.count_finding(vectors, finding);
        }
    }

    fn count_loss(&self, loss: &Loss) {
        let vectors = &self.vectors;
        if let Some(limit) = loss.cause.strip_prefix("limit_") {
            vectors.limit_hits.with_label_values(&[limit]).inc();
        } else {
            vectors.undecoded.with_label_values(&[loss.cause]).inc();
        }
        if loss.cause == "desync" {
            vectors.resync.inc();
        }
        vectors.undecoded_bytes.inc_by(loss.bytes.unwrap_or(0));
    }
}

impl EndSeries {
    fn count(&mut self, vectors: &Vectors, methods: &mut Capped, record: &StreamRecord) {
        let (role, comm) = (self.role, self.comm.as_str());
        if let Some(ended) = self.ended.get_mut(record.outcome as usize) {
            ended
                .get_or_insert_with(|| {
                    vectors
                        .streams_ended
                        .with_label_values(&[role, comm, record.outcome.as_str()])
                })
                .inc();
        }
        if let Some(duration) = super::duration_ns(record) {
            self.duration.observe(seconds(duration));
        }
        if let Some(first_byte) = super::first_byte_ns(record) {
            self.first_byte.observe(seconds(first_byte));
        }
        self.request_bytes.inc_by(record.request.data_bytes);
        self.response_bytes.inc_by(record.response.data_bytes);
        if super::early_complete(record) {
            self.early.inc();
        }
        if record.tier == crate::stream::record::Tier::T0 {
            vectors.hpack_unseen.inc();
        }
        if record.grpc == Seen::Value(()) {
            self.count_grpc(vectors, methods, record);
        }
    }

    fn count_grpc(&mut self, vectors: &Vectors, methods: &mut Capped, record: &StreamRecord) {
        let (role, comm) = (self.role, self.comm.as_str());
        let end = labels::stream_end(record.end);
        if record.trailers == Seen::Absent
            && !matches!(record.end, StreamEnd::Evicted | StreamEnd::Unseen)
        {
            vectors
                .missing_trailers
                .with_label_values(&[role, comm, end])
                .inc();
        }
        for (direction, half) in [("request", &record.request), ("response", &record.response)] {
            if half.messages.known && half.messages.open.is_some() {
                vectors
                    .truncated_messages
                    .with_label_values(&[role, comm, direction, end])
                    .inc();
            }
        }
        let code = labels::grpc_code(record);
        let path = record.path.as_deref().unwrap_or("");
        // One path has one handle; a path that is not admitted shares the handle of `other`.
        if let Some(counter) = self.grpc.get(path).and_then(|codes| codes.get(code)) {
            counter.inc();
            return;
        }
        let (service, method) = match record.path.as_deref() {
            None => (UNKNOWN, UNKNOWN),
            Some(path) => labels::service_and_method(path),
        };
        let bounded = service == OTHER || service == UNKNOWN;
        // The cap holds for the whole series but the status: role and comm come from the observed end.
        let admitted = bounded || methods.admits(&format!("{role} {comm} {path}"));
        let (service, method) = if admitted {
            (service, method)
        } else {
            (OTHER, OTHER)
        };
        let counter = vectors
            .grpc_status
            .with_label_values(&[role, comm, service, method, code]);
        counter.inc();
        if admitted && !(bounded && record.path.is_some()) {
            self.grpc
                .entry(path.to_owned())
                .or_default()
                .insert(code, counter);
        } else if !admitted {
            vectors
                .label_overflow
                .with_label_values(&["grpc_method"])
                .inc();
        }
    }

    fn count_reset(&mut self, vectors: &Vectors, reset: &Reset, findings: &[Finding]) {
        let verdict = verdict_of(reset, findings);
        let request_phase = labels::request_phase(reset.request_phase);
        let response_phase = labels::response_phase(reset.response_phase);
        let key = (
            reset.sender,
            reset.code.name(),
            request_phase,
            response_phase,
            verdict,
        );
        self.resets
            .entry(key)
            .or_insert_with(|| {
                vectors.resets.with_label_values(&[
                    self.role,
                    &self.comm,
                    reset.sender.as_str(),
                    reset.code.name(),
                    request_phase,
                    response_phase,
                    verdict.as_str(),
                ])
            })
            .inc();
    }

    fn count_finding(&mut self, vectors: &Vectors, finding: &Finding) {
        self.findings
            .entry((finding.kind, finding.verdict))
            .or_insert_with(|| {
                vectors.findings.with_label_values(&[
                    self.role,
                    &self.comm,
                    finding.kind.as_str(),
                    finding.verdict.as_str(),
                ])
            })
            .inc();
    }
}

/// What was found about this very RST_STREAM: the worst verdict that names its sender and code.
fn verdict_of(reset: &Reset, findings: &[Finding]) -> Verdict {
    findings
        .iter()
        .filter(|finding| finding.code == Some(reset.code) && finding.sender == Some(reset.sender))
        .map(|finding| finding.verdict)
        .max()
        .unwrap_or(Verdict::Unknown)
}

fn seconds(ns: u64) -> f64 {
    std::time::Duration::from_nanos(ns).as_secs_f64()
}

impl Sink for Exporter {
    fn accept(&mut self, output: &Output) {
        match output {
            Output::Connection(info) => {
                let comm = Self::comm(&mut self.workloads, &self.vectors, &info.comm);
                if info.protocol == Protocol::Http2 {
                    self.vectors
                        .connections
                        .with_label_values(&[labels::role(info.role), comm])
                        .inc();
                } else {
                    let reason = labels::protocol(info.protocol);
                    self.vectors
                        .connections_undecoded
                        .with_label_values(&[comm, reason])
                        .inc();
                }
            }
            Output::ConnectionEnded {
                info,
                why,
                open_streams,
                ..
            } => {
                if info.protocol != Protocol::Http2 {
                    return;
                }
                let comm = Self::comm(&mut self.workloads, &self.vectors, &info.comm);
                let values = [labels::role(info.role), comm, why.as_str()];
                self.vectors
                    .connections_ended
                    .with_label_values(&values)
                    .inc();
                if *open_streams > 0 {
                    self.vectors
                        .connections_broken
                        .with_label_values(&values)
                        .inc();
                }
            }
            Output::StreamOpened { info } => self.end(info).0.opened.inc(),
            Output::Stream {
                info,
                record,
                findings,
            } => self.count_stream(info, record, findings),
            Output::Finding { info, finding } => {
                let comm = Self::comm(&mut self.workloads, &self.vectors, &info.comm);
                let kind = finding.kind.as_str();
                let values = [
                    labels::role(info.role),
                    comm,
                    kind,
                    finding.verdict.as_str(),
                ];
                self.vectors.findings.with_label_values(&values).inc();
            }
            Output::GoAway { info, go_away } => {
                let comm = Self::comm(&mut self.workloads, &self.vectors, &info.comm);
                let values = [
                    labels::role(info.role),
                    comm,
                    go_away.sender.as_str(),
                    go_away.code.name(),
                ];
                self.vectors.go_aways.with_label_values(&values).inc();
            }
            Output::Loss(loss) => self.count_loss(loss),
        }
    }
}

#[cfg(test)]
mod tests;
