//! The threads of a process: what each of them read and has not passed on.

use std::collections::VecDeque;

use super::fast::Map;
use super::steps::look;
use crate::event::Timestamp;
use crate::limits;

/// The requests that one thread read and has not passed on yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Thread {
    pub(super) waiting: VecDeque<u64>,
    /// Some of these came behind others that were told before them.
    is_mixed: bool,
    /// Requests of which it is not known whether they were passed on: their streams may have gone by unseen.
    pub(super) stale: Vec<u64>,
    /// The time since nothing waited last, by its number: within one such period order decides.
    pub(super) period: u64,
    /// When the first request of this period came.
    pub(super) period_from: Timestamp,
    /// Requests that it read in this period.
    pub(super) n_in_period: u32,
    /// The connection that the first of them was passed on by.
    pub(super) passed_by: Option<u64>,
    /// One of them was the first on its connection.
    pub(super) fresh: bool,
    /// When it last read one, as far as was told.
    read_at: Timestamp,
    /// When it last read or wrote a request, as far as was told.
    pub(super) newest: Timestamp,
    /// The stream that it last wrote one to: its connection, and its id there.
    pub(super) newest_stream: (u64, u32),
    /// They were passed on by several connections, not all of which stood: which one was up first decided.
    pub(super) scattered: bool,
}

impl Thread {
    /// Nothing waits: what comes now begins this period.
    pub(super) fn begin_period(&mut self, period: u64, from: Timestamp) {
        self.period = period;
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

    /// It read a request.
    pub(super) fn reads(&mut self, key: u64, at: Timestamp) {
        if self.waiting.len() >= limits::STREAMS_PER_CONNECTION {
            self.waiting.pop_front();
        }
        self.is_mixed = !self.waiting.is_empty() && (self.is_mixed || at < self.read_at);
        self.waiting.push_back(key);
        self.read_at = self.read_at.max(at);
        self.newest = self.newest.max(at);
        self.period_from = self.period_from.min(at);
    }

    /// Of those that wait and came `before` a moment it is not known any more whether they do.
    pub(super) fn wait_no_longer(&mut self, before: impl Fn(u64) -> bool) {
        while let Some(front) = self.waiting.front().copied() {
            look(1);
            if !before(front) {
                break;
            }
            self.waiting.pop_front();
            self.stale.push(front);
        }
        if self.is_mixed {
            look(self.waiting.len());
            self.stale
                .extend(self.waiting.iter().copied().filter(|key| before(*key)));
            self.waiting.retain(|key| !before(*key));
        }
    }

    /// Whether one of the stale ones `may_come`.
    pub(super) fn knows_stale(&mut self, may_come: impl Fn(u64) -> bool) -> bool {
        // The first one that may is enough, and those that may not need not be asked again.
        while let Some(last) = self.stale.last().copied() {
            look(1);
            if may_come(last) {
                return false;
            }
            self.stale.pop();
        }
        true
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.stale.is_empty()
    }
}

/// All of a process.
#[derive(Debug)]
pub(super) struct Threads {
    by_id: Map<u32, Thread>,
    n_periods: u64,
    /// With so many, the idle ones are looked for.
    most: usize,
}

impl Default for Threads {
    fn default() -> Threads {
        Threads {
            by_id: Map::default(),
            n_periods: 0,
            most: limits::HOP_THREADS,
        }
    }
}

impl Threads {
    /// This one reads a request.
    pub(super) fn reads(&mut self, tid: u32, key: u64, at: Timestamp) -> &Thread {
        let thread = self.by_id.entry(tid).or_default();
        if thread.waiting.is_empty() {
            // No two threads have one of the same number, nor has one that is known anew.
            self.n_periods = self.n_periods.wrapping_add(1);
            thread.begin_period(self.n_periods, at);
        }
        thread.n_in_period = thread.n_in_period.saturating_add(1);
        thread.reads(key, at);
        thread
    }

    /// There are so many that those which have nothing to do are to go.
    #[inline]
    pub(super) fn are_full(&self) -> bool {
        self.by_id.len() >= self.most
    }

    /// Those go, but for the half that worked last: what they did is told late at times. `may_come` says of a stale request
    /// whether it may still be passed on.
    #[cold]
    pub(super) fn make_room(&mut self, may_come: impl Fn(u64) -> bool) {
        for thread in self.by_id.values_mut() {
            thread.stale.retain(|key| may_come(*key));
        }
        let idle = self.by_id.values().filter(|thread| thread.is_idle());
        let mut newest: Vec<Timestamp> = idle.map(|thread| thread.newest).collect();
        newest.sort_unstable();
        look(self.by_id.len());
        if let Some(kept_from) = newest.get(newest.len() / 2).copied() {
            let is_kept = |thread: &Thread| !thread.is_idle() || thread.newest > kept_from;
            self.by_id.retain(|_, thread| is_kept(thread));
        }
        // Where nearly all have something to do, they are not looked through for each further one.
        self.most = limits::HOP_THREADS.max(2 * self.by_id.len());
    }

    pub(super) fn get(&self, tid: u32) -> Option<&Thread> {
        self.by_id.get(&tid)
    }

    pub(super) fn get_mut(&mut self, tid: u32) -> Option<&mut Thread> {
        self.by_id.get_mut(&tid)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Thread> {
        self.by_id.values_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Thread> {
        self.by_id.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
