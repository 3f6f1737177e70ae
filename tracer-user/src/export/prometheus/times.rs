//! Durations of streams, by owner.

use std::sync::{Mutex, MutexGuard, PoisonError};

use h2trace_core::connection::Endpoint;
use h2trace_core::stream::record::StreamRecord;

use super::room::Room;
use super::text::Family;
use crate::export::{duration_ns, first_byte_ns, labels, metrics};

/// Upper bounds of the two histograms in seconds: from a call on one host to a long-lived stream.
const BOUNDS: [f64; 17] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
];

/// Series of both histograms of one role: the buckets, the one without a bound, sum and count.
const SERIES: usize = 2 * (BOUNDS.len() + 3);

#[derive(Clone, Debug, Default)]
struct Histogram {
    /// By the smallest bound that holds it; the last ones have none.
    buckets: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, ns: u64) {
        let seconds = std::time::Duration::from_nanos(ns).as_secs_f64();
        let at = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
        self.sum += seconds;
    }

    fn add(&mut self, other: &Histogram) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.sum += other.sum;
    }

    fn write(&self, family: &mut Family<'_>, before: &str, role: (&str, &str)) {
        let mut count = 0;
        for (nth, n) in self.buckets.iter().enumerate() {
            count += n;
            let bound = BOUNDS.get(nth).map(f64::to_string);
            let bound = ("le", bound.as_deref().unwrap_or("+Inf"));
            family.sample("_bucket", before, &[role, bound], count);
        }
        family.sample("_sum", before, &[role], self.sum);
        family.sample("_count", before, &[role], count);
    }
}

#[derive(Clone, Debug, Default)]
struct RoleTimes {
    duration: Histogram,
    first_byte: Histogram,
}

impl RoleTimes {
    fn count(&mut self, record: &StreamRecord) {
        if let Some(duration) = duration_ns(record) {
            self.duration.observe(duration);
        }
        if let Some(first_byte) = first_byte_ns(record) {
            self.first_byte.observe(first_byte);
        }
    }

    fn add(&mut self, other: &RoleTimes) {
        self.duration.add(&other.duration);
        self.first_byte.add(&other.first_byte);
    }
}

/// By role: client, server, unknown.
pub(super) type ByRole<T> = [Option<Box<T>>; 3];

/// Where a role stands.
pub(super) const fn role_index(role: Option<Endpoint>) -> usize {
    match role {
        Some(endpoint) => endpoint.index(),
        None => 2,
    }
}

/// The roles in their order, as labels.
pub(super) const ROLES: [&str; 3] = [
    labels::role(Some(Endpoint::Client)),
    labels::role(Some(Endpoint::Server)),
    labels::role(None),
];

/// Of one owner, shared with what is scraping.
#[derive(Debug)]
pub(super) struct Times {
    /// The labels, as they stand in the exposition.
    pub(super) labels: String,
    by_role: Mutex<ByRole<RoleTimes>>,
}

impl Times {
    pub(super) fn new(labels: String) -> Self {
        Self {
            labels,
            by_role: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ByRole<RoleTimes>> {
        self.by_role.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a stream. False when there is no room for its role.
    pub(super) fn count(&self, role: usize, record: &StreamRecord, room: &mut Room) -> bool {
        let mut by_role = self.lock();
        match by_role.get_mut(role) {
            Some(Some(times)) => times.count(record),
            Some(place) if room.take(SERIES) => place.insert(Box::default()).count(record),
            _ => return false,
        }
        true
    }

    /// Takes what others counted, whose room was given back.
    pub(super) fn merge(&self, others: &Times, room: &mut Room) {
        for (to, from) in self.lock().iter_mut().zip(others.lock().iter_mut()) {
            match (to, from.take()) {
                (Some(to), Some(from)) => to.add(&from),
                (to @ None, Some(from)) if room.take(SERIES) => *to = Some(from),
                _ => {}
            }
        }
    }

    /// Series that stand on the page.
    pub(super) fn series(&self) -> usize {
        self.lock().iter().flatten().count() * SERIES
    }

    /// Writes the series of one of the two metrics.
    pub(super) fn write(&self, family: &mut Family<'_>, metric: &str) {
        for (times, role) in self.lock().iter().zip(ROLES) {
            let Some(times) = times else { continue };
            let histogram = if metric == metrics::STREAM_DURATION.name {
                &times.duration
            } else {
                &times.first_byte
            };
            histogram.write(family, &self.labels, ("role", role));
        }
    }
}
