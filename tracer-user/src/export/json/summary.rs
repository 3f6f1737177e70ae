//! The last line.

use std::collections::BTreeMap;

use serde::Serialize;

use super::line::Head;
use crate::export::clock::WallClock;
use crate::export::labels;
use crate::export::tally::{Kernel, Summary};

/// The line of type `summary`.
#[derive(Serialize)]
pub(super) struct SummaryLine<'a> {
    #[serde(flatten)]
    head: Head,
    stopped_by: &'static str,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<PodsFields<'a>>,
    connections: BTreeMap<&'static str, u64>,
    streams: StreamsFields,
    findings: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    losses: &'a BTreeMap<&'static str, u64>,
    kernel: KernelFields<'a>,
    output_dropped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shed: Option<ShedFields>,
}

/// What there was not the time for.
#[derive(Serialize)]
struct ShedFields {
    duration_ms: f64,
    #[serde(flatten)]
    by_name: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct PodsFields<'a> {
    selected: &'a str,
    traced: u64,
    now: usize,
}

#[derive(Serialize)]
struct StreamsFields {
    opened: u64,
    ended: u64,
    outcomes: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct KernelFields<'a> {
    events_lost: u64,
    bytes_seen: u64,
    bytes_copied: u64,
    counters: &'a BTreeMap<&'static str, u64>,
}

impl<'a> KernelFields<'a> {
    fn new(kernel: &'a Kernel) -> Self {
        Self {
            events_lost: kernel.events_lost(),
            bytes_seen: kernel.bytes_seen(),
            bytes_copied: kernel.bytes_copied(),
            counters: kernel.by_name(),
        }
    }
}

impl<'a> SummaryLine<'a> {
    pub(super) fn new(clock: WallClock, summary: &'a Summary<'_>) -> Self {
        let tally = summary.tally;
        let connections = tally.connections().iter();
        let mut findings: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for ((kind, verdict), n) in tally.findings() {
            let verdicts = findings.entry(kind.as_str()).or_default();
            verdicts.insert(verdict.as_str(), *n);
        }
        Self {
            head: Head::new("summary", clock, summary.at),
            stopped_by: summary.stopped_by.as_str(),
            duration_ms: summary.duration.as_secs_f64() * 1e3,
            pods: summary.pods.as_ref().map(|pods| PodsFields {
                selected: &pods.words,
                traced: pods.ever,
                now: pods.now,
            }),
            connections: connections
                .map(|(protocol, n)| (labels::protocol(*protocol), *n))
                .collect(),
            streams: StreamsFields {
                opened: tally.opened(),
                ended: tally.ended(),
                outcomes: tally.outcomes(),
            },
            findings,
            losses: tally.losses(),
            kernel: KernelFields::new(summary.kernel),
            output_dropped: summary.output_dropped,
            shed: summary.shed.is_some().then(|| ShedFields {
                duration_ms: summary.shed.time.as_secs_f64() * 1e3,
                by_name: summary.shed.by_name().into_iter().collect(),
            }),
        }
    }
}
