//! Times in which nothing is joined, because there is not the time for it.
//!
//! What is kept when they begin is let go of, and nothing is said of it. To those who join, such a time is a gap in all
//! that goes by: a request that is seen later may be one whose stream was opened then, and the other way round.

use super::across::Across;
use super::proxy_state::ProxyState;
use super::undecided::OfProcess;
use super::{Hops, Side};
use crate::event::Timestamp;

/// How much longer the gap lasts: for so long, streams are opened for requests that came before its end.
const RETURN_NS: u64 = 5_000_000_000;

/// Stands for all connections of a process.
const ALL: u64 = u64::MAX;

impl OfProcess {
    /// From this moment on nothing is seen, at either side.
    pub(super) fn goes_unseen(&mut self, since: Timestamp) {
        for at in [since, Timestamp(u64::MAX)] {
            self.passes(ALL, None, at);
        }
    }

    /// It is seen again.
    fn is_seen(&mut self, again: Timestamp) {
        self.decided(ALL, Some(Timestamp(again.0.saturating_add(RETURN_NS))));
    }
}

impl<T> ProxyState<T> {
    /// Lets go of its streams: they stand alone.
    pub(super) fn forget_streams(&mut self) {
        let (connections, unfollowed) = (self.connections, self.unfollowed);
        let gaps = std::mem::take(&mut self.gaps);
        let shared = self.shared.take();
        *self = ProxyState::new();
        (self.unfollowed, self.gaps) = (unfollowed, gaps);
        self.shared = shared;
        for (side, n) in [Side::Downstream, Side::Upstream]
            .into_iter()
            .zip(connections)
        {
            for _ in 0..n {
                self.connected(side);
            }
        }
    }

    /// The same, and what was learned of the process stays.
    fn leave(&mut self, now: Timestamp) {
        let told = std::mem::take(&mut self.told);
        let paths = std::mem::take(&mut self.paths);
        let order = std::mem::take(&mut self.order);
        self.forget_streams();
        (self.told, self.paths, self.order) = (told, paths, order);
        self.gaps.goes_unseen(now);
    }
}

impl<T: Clone> Hops<T> {
    /// From now on nothing is joined.
    pub fn leave(&mut self, now: Timestamp) {
        if self.is_away() {
            return;
        }
        self.away_since = Some(now);
        self.waiting.clear();
        self.settling
            .iter_mut()
            .for_each(std::collections::VecDeque::clear);
        for state in self.proxies.values_mut() {
            state.leave(now);
        }
        if let Some(across) = &mut self.across {
            **across = Across::default();
            across.gaps().goes_unseen(now);
        }
        self.n_streams = 0;
    }

    /// What opens from now on is joined again.
    pub fn come_back(&mut self, now: Timestamp) {
        if self.away_since.take().is_none() {
            return;
        }
        for state in self.proxies.values_mut() {
            state.gaps.is_seen(now);
        }
        if let Some(across) = &mut self.across {
            across.gaps().is_seen(now);
        }
    }

    /// Nothing is joined now.
    pub const fn is_away(&self) -> bool {
        self.away_since.is_some()
    }
}
