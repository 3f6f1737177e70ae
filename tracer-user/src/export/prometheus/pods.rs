//! How it stands with who names the pods. Read when somebody scrapes: it lives on another thread.

use h2trace_core::limits::Limit;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::export::metrics::{self, Metric};
use crate::workload::kubernetes::PodSource;
use crate::workload::kubernetes::state::{PodNameSource, Reason};

/// The series of one source.
pub(super) struct PodSeries {
    source: PodSource,
    pods: IntGauge,
    waiting: IntGauge,
    told: IntGaugeVec,
    errors: IntCounterVec,
    unnamed: IntCounter,
    cri_calls: IntCounter,
    /// The bounds, which others count too.
    limit_hits: IntCounterVec,
}

impl PodSeries {
    /// Shows `source` from now on.
    pub(super) fn register(
        registry: &Registry,
        source: PodSource,
        limit_hits: &IntCounterVec,
    ) -> anyhow::Result<()> {
        let options = |metric: Metric| Opts::new(metric.name, metric.help);
        let gauges = |metric: Metric| IntGaugeVec::new(options(metric), metric.labels);
        registry.register(Box::new(PodSeries {
            source,
            pods: IntGauge::with_opts(options(metrics::SELF_PODS))?,
            waiting: IntGauge::with_opts(options(metrics::SELF_PODS_WAITING))?,
            told: gauges(metrics::SELF_PODS_SOURCE)?,
            errors: IntCounterVec::new(
                options(metrics::SELF_POD_WATCH_ERRORS),
                metrics::SELF_POD_WATCH_ERRORS.labels,
            )?,
            unnamed: IntCounter::with_opts(options(metrics::SELF_UNNAMED_CONNECTIONS))?,
            cri_calls: IntCounter::with_opts(options(metrics::SELF_CRI_CALLS))?,
            limit_hits: limit_hits.clone(),
        }))?;
        Ok(())
    }

    fn read(&self) {
        let (pods, state, waiting) = (&self.source.pods, &self.source.state, &self.source.waiting);
        self.pods.set(gauge(pods.len()));
        self.waiting.set(gauge(waiting.len()));
        let now = state.active_source();
        for told in PodNameSource::ALL {
            let series = self.told.with_label_values(&[told.as_str()]);
            series.set(i64::from(told == now));
        }
        for reason in Reason::ALL {
            raise(
                &self.errors.with_label_values(&[reason.as_str()]),
                state.errors(reason),
            );
        }
        raise(&self.unnamed, state.unnamed());
        raise(&self.cri_calls, state.cri_calls());
        for (limit, hits) in [
            (Limit::Pods, pods.beyond_limit()),
            (Limit::PodContainers, pods.containers_beyond_limit()),
            (Limit::WorkloadsWaiting, waiting.beyond_limit()),
            (Limit::ContainersKnown, state.containers_forgotten()),
        ] {
            if hits > 0 {
                raise(&self.limit_hits.with_label_values(&[limit.label()]), hits);
            }
        }
    }

    fn all(&self) -> [&dyn Collector; 6] {
        [
            &self.pods,
            &self.waiting,
            &self.told,
            &self.errors,
            &self.unnamed,
            &self.cri_calls,
        ]
    }
}

impl Collector for PodSeries {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.all()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A counter that is kept elsewhere.
fn raise(counter: &IntCounter, now: u64) {
    counter.inc_by(now.saturating_sub(counter.get()));
}
