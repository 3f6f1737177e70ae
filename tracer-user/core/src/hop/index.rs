//! Requests by hashes of what they carry, and by the thread that read them.

use std::collections::VecDeque;

use super::fast::Map;
use crate::event::Timestamp;

/// Which requests carry something: how many, and which one if it is one.
#[derive(Debug, Default)]
pub(super) struct Index(Map<u64, KeyCount>);

#[derive(Clone, Copy, Debug, Default)]
struct KeyCount {
    n: u32,
    /// The sum of the keys: of one, its key.
    sum: u64,
}

/// What an index says of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexMatch {
    /// No request carries it.
    None,
    /// This one, and no other.
    One(u64),
    Several,
}

impl Index {
    pub(super) fn add(&mut self, hash: u64, key: u64) {
        let counted = self.0.entry(hash).or_default();
        counted.n = counted.n.saturating_add(1);
        counted.sum = counted.sum.wrapping_add(key);
    }

    pub(super) fn remove(&mut self, hash: u64, key: u64) {
        if let Some(counted) = self.0.get_mut(&hash) {
            counted.n = counted.n.saturating_sub(1);
            counted.sum = counted.sum.wrapping_sub(key);
            if counted.n == 0 {
                self.0.remove(&hash);
            }
        }
    }

    pub(super) fn find(&self, hash: u64) -> IndexMatch {
        match self.0.get(&hash) {
            None => IndexMatch::None,
            Some(KeyCount { n: 1, sum }) => IndexMatch::One(*sum),
            Some(_) => IndexMatch::Several,
        }
    }
}

/// The requests that one thread read and has not passed on yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Thread {
    pub(super) waiting: VecDeque<u64>,
    /// Requests of which it is not known whether they were passed on: their streams may have gone by unseen.
    pub(super) stale: Vec<u64>,
    /// Counts the times that nothing waited: within one such period order decides.
    pub(super) period: u64,
    /// When the first request of this period came.
    pub(super) period_from: Timestamp,
    /// Requests that it read in this period.
    pub(super) n_in_period: u32,
    /// The connection that the first of them was passed on by.
    pub(super) passed_by: Option<u64>,
    /// One of them was the first on its connection.
    pub(super) fresh: bool,
    /// When it last read or wrote a request, as far as was told.
    pub(super) newest: Timestamp,
    /// The stream that it last wrote one to: its connection, and its id there.
    pub(super) newest_stream: (u64, u32),
    /// They were passed on by several connections, not all of which stood: which one was up first decided.
    pub(super) scattered: bool,
}

impl Thread {
    /// Nothing waits: what comes now begins a period.
    pub(super) fn begin_period(&mut self, from: Timestamp) {
        self.period = self.period.wrapping_add(1);
        self.period_from = from;
        self.n_in_period = 0;
        (self.passed_by, self.fresh, self.scattered) = (None, false, false);
    }

    /// A request of this period was passed on; true when its order became doubtful by that.
    pub(super) fn passes_by(&mut self, connection: u64, is_first: bool) -> bool {
        let by = *self.passed_by.get_or_insert(connection);
        self.fresh |= is_first;
        let before = self.scattered;
        self.scattered |= by != connection && self.fresh && self.n_in_period > 1;
        self.scattered && !before
    }
}
