//! The metrics about h2trace itself, registered.

use prometheus::core::Collector;
use prometheus::{CounterVec, GaugeVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::export::metrics::{self, Metric};

/// One field a metric, in the order of the table. Those about connection ends are kept elsewhere ([`super::ends`]).
pub(super) struct Vectors {
    pub(super) late_end_stream: IntCounterVec,
    pub(super) live_connections: IntGauge,
    pub(super) live_streams: IntGauge,
    pub(super) selected_pods: IntGauge,
    pub(super) selection_known: IntGauge,
    pub(super) events_lost: IntCounterVec,
    pub(super) undecoded: IntCounterVec,
    pub(super) undecoded_bytes: IntCounter,
    pub(super) resync: IntCounter,
    pub(super) hpack_unseen: IntCounter,
    pub(super) ends: IntGauge,
    pub(super) unnamed: IntGauge,
    pub(super) limit_hits: IntCounterVec,
    pub(super) label_overflow: IntCounterVec,
    pub(super) shed: IntCounterVec,
    pub(super) shed_level: IntGauge,
    pub(super) output_dropped: IntCounter,
    pub(super) memory_read_processes: IntCounter,
    pub(super) memory_read_bytes: IntCounter,
    pub(super) probed_processes: IntCounter,
    pub(super) calls: IntCounterVec,
    pub(super) sockets: IntCounterVec,
    pub(super) bytes_seen: IntCounter,
    pub(super) bytes_unseen: IntCounterVec,
    pub(super) bytes_copied: IntCounter,
    pub(super) records: IntCounter,
    pub(super) program_attached: GaugeVec,
    pub(super) program_runs: IntCounterVec,
    pub(super) program_seconds: CounterVec,
}

/// Registers one row of the table.
pub(super) struct Registration<'a> {
    pub(super) registry: &'a Registry,
}

impl Registration<'_> {
    pub(super) fn register<C: Collector + Clone + 'static>(
        &self,
        collector: prometheus::Result<C>,
    ) -> anyhow::Result<C> {
        let collector = collector?;
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    pub(super) fn counters(&self, metric: Metric) -> anyhow::Result<IntCounterVec> {
        self.register(IntCounterVec::new(
            Opts::new(metric.name, metric.help),
            metric.labels,
        ))
    }

    pub(super) fn counter(&self, metric: Metric) -> anyhow::Result<IntCounter> {
        self.register(IntCounter::with_opts(Opts::new(metric.name, metric.help)))
    }

    pub(super) fn gauge(&self, metric: Metric) -> anyhow::Result<IntGauge> {
        self.register(IntGauge::with_opts(Opts::new(metric.name, metric.help)))
    }

    pub(super) fn gauges(&self, metric: Metric) -> anyhow::Result<GaugeVec> {
        self.register(GaugeVec::new(
            Opts::new(metric.name, metric.help),
            metric.labels,
        ))
    }
}

impl Vectors {
    pub(super) fn register(registry: &Registry) -> anyhow::Result<Self> {
        let new = Registration { registry };
        Ok(Self {
            late_end_stream: new.counters(metrics::LATE_END_STREAM)?,
            live_connections: new.gauge(metrics::LIVE_CONNECTIONS)?,
            live_streams: new.gauge(metrics::LIVE_STREAMS)?,
            selected_pods: new.gauge(metrics::SELF_SELECTED_PODS)?,
            selection_known: new.gauge(metrics::SELF_SELECTION_KNOWN)?,
            events_lost: new.counters(metrics::SELF_EVENTS_LOST)?,
            undecoded: new.counters(metrics::SELF_UNDECODED)?,
            undecoded_bytes: new.counter(metrics::SELF_UNDECODED_BYTES)?,
            resync: new.counter(metrics::SELF_RESYNC)?,
            hpack_unseen: new.counter(metrics::SELF_HPACK_UNSEEN)?,
            ends: new.gauge(metrics::SELF_ENDS)?,
            unnamed: new.gauge(metrics::SELF_UNNAMED)?,
            limit_hits: new.counters(metrics::SELF_LIMIT_HITS)?,
            label_overflow: new.counters(metrics::SELF_LABEL_OVERFLOW)?,
            shed: new.counters(metrics::SHED)?,
            shed_level: new.gauge(metrics::SHED_LEVEL)?,
            output_dropped: new.counter(metrics::SELF_OUTPUT_DROPPED)?,
            memory_read_processes: new.counter(metrics::SELF_MEMORY_READ_PROCESSES)?,
            memory_read_bytes: new.counter(metrics::SELF_MEMORY_READ_BYTES)?,
            probed_processes: new.counter(metrics::SELF_PROBED_PROCESSES)?,
            calls: new.counters(metrics::SELF_CALLS)?,
            sockets: new.counters(metrics::SELF_SOCKETS)?,
            bytes_seen: new.counter(metrics::SELF_BYTES_SEEN)?,
            bytes_unseen: new.counters(metrics::SELF_BYTES_UNSEEN)?,
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
}
