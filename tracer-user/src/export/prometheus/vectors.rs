//! Every metric of the table, registered.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry,
};

use crate::export::metrics::{self, Metric};

/// Upper bounds of the two histograms in seconds: from a call on one host to a long-lived stream.
const BUCKETS: [f64; 17] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
];

/// One field a metric, in the order of the table.
pub(super) struct Vectors {
    pub(super) connections: IntCounterVec,
    pub(super) connections_undecoded: IntCounterVec,
    pub(super) connections_ended: IntCounterVec,
    pub(super) connections_broken: IntCounterVec,
    pub(super) go_aways: IntCounterVec,
    pub(super) streams_opened: IntCounterVec,
    pub(super) streams_ended: IntCounterVec,
    pub(super) stream_duration: HistogramVec,
    pub(super) stream_first_byte: HistogramVec,
    pub(super) resets: IntCounterVec,
    pub(super) missing_trailers: IntCounterVec,
    pub(super) truncated_messages: IntCounterVec,
    pub(super) early_responses: IntCounterVec,
    pub(super) grpc_status: IntCounterVec,
    pub(super) data_bytes: IntCounterVec,
    pub(super) findings: IntCounterVec,
    pub(super) late_end_stream: IntCounterVec,
    pub(super) hop_requests: IntCounterVec,
    pub(super) hop_missing_bytes: IntCounterVec,
    pub(super) hop_reset_codes: IntCounterVec,
    pub(super) live_connections: IntGauge,
    pub(super) live_streams: IntGauge,
    pub(super) selected_pods: IntGauge,
    pub(super) selection_known: IntGauge,
    pub(super) events_lost: IntCounterVec,
    pub(super) undecoded: IntCounterVec,
    pub(super) undecoded_bytes: IntCounter,
    pub(super) resync: IntCounter,
    pub(super) hpack_unseen: IntCounter,
    pub(super) limit_hits: IntCounterVec,
    pub(super) label_overflow: IntCounterVec,
    pub(super) output_dropped: IntCounter,
    pub(super) calls: IntCounterVec,
    pub(super) sockets: IntCounterVec,
    pub(super) bytes_seen: IntCounter,
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

    pub(super) fn histograms(&self, metric: Metric) -> anyhow::Result<HistogramVec> {
        let options = HistogramOpts::new(metric.name, metric.help).buckets(BUCKETS.to_vec());
        self.register(HistogramVec::new(options, metric.labels))
    }
}

impl Vectors {
    pub(super) fn register(registry: &Registry) -> anyhow::Result<Self> {
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
            late_end_stream: new.counters(metrics::LATE_END_STREAM)?,
            hop_requests: new.counters(metrics::HOP_REQUESTS)?,
            hop_missing_bytes: new.counters(metrics::HOP_MISSING_BYTES)?,
            hop_reset_codes: new.counters(metrics::HOP_RESET_CODES)?,
            live_connections: new.gauge(metrics::LIVE_CONNECTIONS)?,
            live_streams: new.gauge(metrics::LIVE_STREAMS)?,
            selected_pods: new.gauge(metrics::SELF_SELECTED_PODS)?,
            selection_known: new.gauge(metrics::SELF_SELECTION_KNOWN)?,
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
}
