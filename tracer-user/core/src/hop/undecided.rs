//! Connections of which it is not known what they speak: a request may have come or gone on over one of them.
//!
//! A connection that is older than the tracer shows by its frames that it speaks HTTP/2. One that carries a call now and
//! then may be over before there were enough of them, and of another one the first frames are passed over. While that
//! is so, it is not said of a request that nothing was opened for it.
//!
//! The same intervals are kept of the gaps in connections that are known.

use std::collections::VecDeque;

use super::fast::Map;
use super::steps::look;
use super::{ProxyKey, Side};
use crate::event::Timestamp;
use crate::limits::{self, Limit};

/// What passed on a connection and was not understood.
#[derive(Clone, Copy, Debug)]
struct Passed {
    connection: u64,
    from: Timestamp,
    to: Timestamp,
    /// The side that it is at; None when that is not known either.
    side: Option<Side>,
}

/// Of all processes.
#[derive(Debug, Default)]
pub(super) struct Undecided(Map<ProxyKey, OfProcess>);

impl Undecided {
    /// Bytes passed on this connection; the limit by which that cannot be kept.
    pub(super) fn passes(
        &mut self,
        proxy: ProxyKey,
        connection: u64,
        side: Option<Side>,
        at: Timestamp,
    ) -> Result<(), Limit> {
        if !self.0.contains_key(&proxy) && self.0.len() >= limits::HOP_PLACES {
            self.0.retain(|_, of| !of.open.is_empty());
            if self.0.len() >= limits::HOP_PLACES {
                return Err(Limit::HopPlaces);
            }
        }
        let of = self.0.entry(proxy).or_default();
        if of.passes(connection, side, at) {
            Ok(())
        } else {
            Err(Limit::HopConnections)
        }
    }

    /// It is known now what the connection speaks. Of what passed before this moment it will never be known what it
    /// was; None: all of it is known.
    pub(super) fn decided(
        &mut self,
        proxy: ProxyKey,
        connection: u64,
        unknown_until: Option<Timestamp>,
    ) {
        if let Some(of) = self.0.get_mut(&proxy) {
            of.decided(connection, unknown_until);
        }
    }

    /// It is not known what this connection speaks, and it may be at this side.
    pub(super) fn may_be_at(&self, proxy: ProxyKey, connection: u64, side: Side) -> bool {
        let passed = self.0.get(&proxy).and_then(|of| of.open.get(&connection));
        passed.is_some_and(|passed| passed.side.is_none_or(|at| at == side))
    }

    /// It is gone, and it never became known what it spoke.
    pub(super) fn gone(&mut self, proxy: ProxyKey, connection: u64) {
        if let Some(of) = self.0.get_mut(&proxy) {
            of.gone(connection);
        }
    }

    /// A stream of this side may have gone by on one of them within this time.
    pub(super) fn may_have_carried(
        &self,
        proxy: ProxyKey,
        side: Side,
        (from, to): (Timestamp, Timestamp),
    ) -> bool {
        let of = self.0.get(&proxy);
        of.is_some_and(|of| of.may_have_carried(side, from, to))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Of one process.
#[derive(Debug, Default)]
pub(super) struct OfProcess {
    open: Map<u64, Passed>,
    /// Of connections that are gone or were recognised since: the latest ones.
    gone: VecDeque<Passed>,
    /// The latest moment at which something passed.
    latest: Option<Timestamp>,
    /// The latest end of what is not kept.
    forgotten: Option<Timestamp>,
}

impl OfProcess {
    /// Bytes passed on this connection; false when that cannot be kept.
    pub(super) fn passes(&mut self, connection: u64, side: Option<Side>, at: Timestamp) -> bool {
        self.latest = self.latest.max(Some(at));
        if let Some(passed) = self.open.get_mut(&connection) {
            (passed.from, passed.to) = (passed.from.min(at), passed.to.max(at));
            passed.side = side.or(passed.side);
            return true;
        }
        let is_kept = self.open.len() < limits::HOP_CONNECTIONS;
        if is_kept {
            let (from, to) = (at, at);
            let passed = Passed {
                connection,
                from,
                to,
                side,
            };
            self.open.insert(connection, passed);
        } else {
            self.forgotten = self.forgotten.max(Some(at));
        }
        is_kept
    }

    pub(super) fn decided(&mut self, connection: u64, unknown_until: Option<Timestamp>) {
        let Some(passed) = self.open.remove(&connection) else {
            return;
        };
        if let Some(to) = unknown_until.filter(|to| *to > passed.from) {
            self.keep(Passed { to, ..passed });
        }
    }

    fn gone(&mut self, connection: u64) {
        if let Some(passed) = self.open.remove(&connection) {
            self.keep(passed);
        }
    }

    /// From this moment on everything that passes on this connection is lost; false when that cannot be kept.
    pub(super) fn loses(&mut self, connection: u64, side: Side, since: Timestamp) -> bool {
        let ends = [since, Timestamp(u64::MAX)];
        ends.into_iter()
            .all(|at| self.passes(connection, Some(side), at))
    }

    /// Nothing passed then after all.
    pub(super) fn forget(&mut self, connection: u64, since: Timestamp) {
        self.open.remove(&connection);
        let is_it = |passed: &Passed| passed.connection == connection && passed.from == since;
        self.gone.retain(|passed| !is_it(passed));
    }

    fn keep(&mut self, passed: Passed) {
        self.latest = self.latest.max(Some(passed.to));
        if self.gone.len() >= limits::HOP_RECENT {
            let oldest = self.gone.pop_front().map(|passed| passed.to);
            self.forgotten = self.forgotten.max(oldest);
        }
        self.gone.push_back(passed);
    }

    pub(super) fn may_have_carried(&self, side: Side, from: Timestamp, to: Timestamp) -> bool {
        let may = |passed: &Passed| {
            passed.side.is_none_or(|at| at == side) && passed.from <= to && from <= passed.to
        };
        if self.forgotten.is_some_and(|last| from <= last) {
            return true;
        }
        if self.latest.is_none_or(|last| last < from) {
            return false;
        }
        // Of so many one is likely to be it, and they are not looked through to rule it out.
        let is_crowd = self.open.len() > limits::HOP_CANDIDATES;
        is_crowd || {
            look(self.open.len() + self.gone.len());
            self.open.values().chain(&self.gone).any(may)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Timestamp = Timestamp;

    #[test]
    fn what_passed_unrecognised_may_have_been_a_stream_also_when_the_connection_is_gone() {
        let mut undecided = OfProcess::default();
        assert!(undecided.passes(1, None, AT(10)) && undecided.passes(1, None, AT(20)));
        let may = |undecided: &OfProcess, side, from, to| {
            undecided.may_have_carried(side, AT(from), AT(to))
        };
        for side in [Side::Upstream, Side::Downstream] {
            assert!(may(&undecided, side, 5, 10) && may(&undecided, side, 20, 30));
            assert!(!may(&undecided, side, 21, 30) && !may(&undecided, side, 5, 9));
        }
        undecided.gone(1);
        assert!(undecided.open.is_empty() && may(&undecided, Side::Upstream, 15, 16));
        // Its side became known.
        let mut undecided = OfProcess::default();
        undecided.passes(1, None, AT(10));
        undecided.passes(1, Some(Side::Downstream), AT(11));
        assert!(!may(&undecided, Side::Upstream, 10, 11));
    }

    #[test]
    fn of_a_connection_that_was_recognised_only_what_was_passed_over_is_unknown() {
        for (until, may) in [(None, false), (Some(10), false), (Some(15), true)] {
            let mut undecided = OfProcess::default();
            undecided.passes(1, Some(Side::Upstream), AT(10));
            undecided.passes(1, Some(Side::Upstream), AT(20));
            undecided.decided(1, until.map(AT));
            assert_eq!(
                undecided.may_have_carried(Side::Upstream, AT(12), AT(18)),
                may
            );
            assert!(!undecided.may_have_carried(Side::Upstream, AT(16), AT(18)));
        }
    }

    #[test]
    fn beyond_the_bounds_what_is_not_kept_still_counts() {
        let mut undecided = OfProcess::default();
        for n in 0..limits::HOP_CONNECTIONS as u64 {
            assert!(undecided.passes(n, None, AT(1)));
        }
        assert!(!undecided.passes(u64::MAX, None, AT(50)));
        assert!(undecided.may_have_carried(Side::Upstream, AT(50), AT(60)));
        for n in 0..limits::HOP_CONNECTIONS as u64 {
            undecided.gone(n);
        }
        assert!(undecided.gone.len() <= limits::HOP_RECENT);
    }
}
