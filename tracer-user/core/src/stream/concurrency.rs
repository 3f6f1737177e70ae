//! How many streams are open, against SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 section 5.1.2).

use crate::event::Timestamp;
use crate::stream::condition::{
    CROSSING_GRACE_NS, Condition, OverCap, REOPENED_AT_ONCE_NS, SATURATION_NS, SATURATION_REOPENED,
};

/// As many streams are open as may be.
#[derive(Clone, Copy, Debug)]
struct Full {
    cap: u32,
    since: Timestamp,
    /// One ended, and none was opened since.
    below_since: Option<Timestamp>,
    n_reopened: u32,
    told: bool,
}

/// The streams that the client has open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Concurrency {
    n_open: u32,
    full: Option<Full>,
    over: Option<OverCap>,
    over_told: bool,
}

impl Concurrency {
    /// So many are open now. `cap`: how many may be, and whether the client has acknowledged that.
    /// Returns what a stream that was opened just now is, if it is one too many.
    pub(super) fn count(
        &mut self,
        n_open: u32,
        (cap, acknowledged): (u32, bool),
        at: Timestamp,
    ) -> Option<OverCap> {
        let opened = n_open > std::mem::replace(&mut self.n_open, n_open);
        if n_open < cap && self.is_calm() {
            return None;
        }
        if self.full.is_some_and(|full| full.cap != cap) {
            self.full = None;
        }
        match &mut self.full {
            None if n_open >= cap && cap > 0 => self.full = Some(Full::new(cap, at)),
            None => {}
            Some(full) => {
                let quiet = full
                    .below_since
                    .is_some_and(|below| at.since(below) > REOPENED_AT_ONCE_NS);
                match (n_open >= cap, quiet) {
                    (true, true) => self.full = Some(Full::new(cap, at)),
                    (true, false) => {
                        if full.below_since.take().is_some() {
                            full.n_reopened = full.n_reopened.saturating_add(1);
                        }
                    }
                    (false, true) => self.full = None,
                    (false, false) => {
                        full.below_since.get_or_insert(at);
                    }
                }
            }
        }
        if n_open <= cap {
            self.over = None;
            self.over_told = false;
            return None;
        }
        let over = OverCap {
            cap,
            n_open,
            acknowledged,
            since: at,
        };
        if opened && acknowledged {
            self.over.get_or_insert(over);
        }
        opened.then_some(over)
    }

    /// There is nothing that stands against a limit, or did lately.
    #[inline]
    pub(super) const fn is_calm(&self) -> bool {
        self.full.is_none() && self.over.is_none() && !self.over_told
    }

    /// Nothing can be said any more.
    pub(super) fn forget(&mut self) {
        *self = Concurrency::default();
    }

    /// More are open than may be, and no crossing frame explains it any more.
    pub(super) fn take_over(&mut self) -> Option<OverCap> {
        let over = self.over.filter(|_| !self.over_told)?;
        self.over_told = true;
        Some(over)
    }

    /// What is to be told now.
    pub(super) fn take_condition(&mut self, now: Timestamp) -> Option<Condition> {
        if let Some(over) = self.over
            && !self.over_told
            && now.since(over.since) >= CROSSING_GRACE_NS
        {
            self.over_told = true;
            return Some(Condition::OverCap(over));
        }
        let full = self.full.as_mut()?;
        let due = !full.told
            && full.below_since.is_none()
            && full.n_reopened >= SATURATION_REOPENED
            && now.since(full.since) >= SATURATION_NS;
        full.told |= due;
        let (cap, since, n_reopened) = (full.cap, full.since, full.n_reopened);
        due.then_some(Condition::Saturated {
            cap,
            since,
            n_reopened,
        })
    }

    /// When there may be something to tell, if nothing changes.
    #[inline]
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let over = self.over.filter(|_| !self.over_told);
        let over = over.map(|over| Timestamp(over.since.0.saturating_add(CROSSING_GRACE_NS)));
        let full = self
            .full
            .filter(|full| !full.told && full.n_reopened >= SATURATION_REOPENED)
            .map(|full| Timestamp(full.since.0.saturating_add(SATURATION_NS)));
        match (over, full) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

impl Full {
    const fn new(cap: u32, since: Timestamp) -> Self {
        Full {
            cap,
            since,
            below_since: None,
            n_reopened: 0,
            told: false,
        }
    }
}
