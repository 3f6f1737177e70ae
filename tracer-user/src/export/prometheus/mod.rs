//! The metrics of [`super::metrics::METRICS`] on the `prometheus` crate, which is used here and nowhere else.

mod end;
mod hop;
#[cfg(test)]
mod tests;
mod vectors;

use std::collections::HashMap;

use prometheus::{Counter, Encoder as _, Gauge, Opts, Registry, TextEncoder};
use tracer_ebpf::counter::{COUNTERS, Counter as KernelCounter};

use self::end::EndSeries;
use self::vectors::{Registration, Vectors};
use super::labels::{self, Capped, OTHER};
use super::{early_complete, metrics};
use crate::anomaly::kind::Finding;
use crate::connection::Endpoint;
use crate::limits;
use crate::pipeline::{ConnectionInfo, Loss, Output, Protocol, Sink};
use crate::stream::record::StreamRecord;
use crate::stream::user_agent::UserAgent;

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
        // Nothing is selected: that is known.
        vectors.selection_known.set(1);
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
        for family in UserAgent::ALL {
            vectors
                .late_end_stream
                .with_label_values(&[family.as_str()]);
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
            beyond_seen: 0,
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

    /// Sets how many pods are selected, whether that is known, and how many cgroups of theirs had no room
    /// ([`limits::SELECTED_CGROUPS`]).
    pub fn set_selected(&mut self, pods: usize, known: bool, beyond: usize) {
        self.vectors
            .selected_pods
            .set(i64::try_from(pods).unwrap_or(i64::MAX));
        self.vectors.selection_known.set(i64::from(known));
        let more = beyond.saturating_sub(self.beyond_seen);
        if more > 0 {
            self.vectors
                .limit_hits
                .with_label_values(&["selected_cgroups"])
                .inc_by(more as u64);
        }
        self.beyond_seen = beyond;
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
        let series = self.ends[at][info.role.map_or(2, Endpoint::index)].get_or_insert_with(|| {
            Box::new(EndSeries::new(vectors, labels::role(info.role), comm))
        });
        (series, vectors, &mut self.methods)
    }

    fn count_stream(&mut self, info: &ConnectionInfo, record: &StreamRecord, findings: &[Finding]) {
        let (end, vectors, methods) = self.end(info);
        end.count(vectors, methods, record);
        // Both ends of a connection may be followed: it is counted where requests are answered.
        if record.role == Some(Endpoint::Server) && early_complete(record) {
            let family = [record.user_agent.as_str()];
            vectors.late_end_stream.with_label_values(&family).inc();
        }
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
            // Single frames are told of files only, which nobody scrapes.
            Output::Frame { .. } => {}
            Output::StreamOpened { info } => self.end(info).0.opened.inc(),
            Output::Stream {
                info,
                record,
                findings,
            } => self.count_stream(info, record, findings),
            Output::Hop { request, findings } => self.count_hop(request, findings),
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
