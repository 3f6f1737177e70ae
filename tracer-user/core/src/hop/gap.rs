//! Gaps in what the clients of connections say: a request may be lost in one, or the stream that was opened for it.
//!
//! That a stream has the fields of a request is then no sign: it may have been opened for a request that was alike and was
//! lost, and the one that was opened for this one be lost too, or never have been. And the order of a thread's work says
//! nothing of a request that was read while one before it waits for a stream that was lost.

use super::downstream::DownstreamRequest;
use super::proxy_state::ProxyState;
use super::{Attempt, By, Confidence, Hops, Join, ProxyKey, Side};
use crate::connection::{ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::limits::Limit;

/// What gaps leave open of a request's upstream streams.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeftOpen {
    /// A request that is alike may be lost, and one of the streams be its own.
    alike: bool,
    /// The one that comes next in order, or is left when all others are known, may be another one's.
    order: bool,
    /// Not all streams were seen that may be its own, or it may have none.
    pub(super) others: bool,
}

impl LeftOpen {
    /// It may be another request's.
    pub(super) fn leaves<T>(self, attempt: &Attempt<T>) -> bool {
        let Join { by, confidence } = attempt.join;
        let by_rest = confidence >= Confidence::ThreadOrder || by == By::Response;
        confidence != Confidence::Id && (self.alike || self.order && by_rest)
    }
}

impl<T> ProxyState<T> {
    /// What gaps leave open of the streams of this request.
    pub(super) fn left_open(&self, down: &DownstreamRequest<T>, until: Timestamp) -> LeftOpen {
        let lost = |side, from| self.gaps.may_have_carried(side, from, until);
        let alike = lost(Side::Downstream, down.opening.at);
        let others = alike || lost(Side::Upstream, down.opening.at);
        let sides = [Side::Downstream, Side::Upstream];
        let order = others || sides.into_iter().any(|side| lost(side, down.period_from));
        LeftOpen {
            alike,
            order,
            others,
        }
    }

    /// Something was lost since this moment.
    pub(super) fn lost_since(&self, from: Timestamp) -> bool {
        let sides = [Side::Downstream, Side::Upstream];
        let lost = |side| self.gaps.may_have_carried(side, from, Timestamp(u64::MAX));
        sides.into_iter().any(lost)
    }
}

impl<T: Clone> Hops<T> {
    /// On a connection of this process what its client says is lost since then.
    pub fn gap_began(&mut self, proxy: ProxyKey, side: Side, of: ConnectionId, since: Timestamp) {
        let is_kept = self.gaps_of(proxy, side, |gaps| gaps.loses(of.0, side, since));
        if !is_kept {
            self.hits.hit(Limit::HopConnections);
        }
    }

    /// It is known again from then on.
    pub fn gap_ended(&mut self, proxy: ProxyKey, side: Side, of: ConnectionId, until: Timestamp) {
        if side == Side::Upstream {
            self.streams_were_unseen(proxy, until);
        }
        self.gaps_of(proxy, side, |gaps| {
            // A moment may be that of the last frame before it and that of the first behind it.
            let until = Timestamp(until.0.saturating_add(1));
            gaps.decided(of.0, Some(until));
            true
        });
    }

    /// No request was lost in it.
    pub fn gap_was_empty(
        &mut self,
        proxy: ProxyKey,
        side: Side,
        of: ConnectionId,
        since: Timestamp,
    ) {
        self.gaps_of(proxy, side, |gaps| {
            gaps.forget(of.0, since);
            true
        });
    }

    /// Streams of this process that were opened before this moment may have gone by unseen.
    pub(super) fn streams_were_unseen(&mut self, proxy: ProxyKey, until: Timestamp) {
        if let Some(known) = self.proxies.get_mut(&proxy) {
            known.wait_no_longer(until);
        }
        let is_across = self.legs.is_at(proxy, Endpoint::Server);
        if let Some(across) = self.across.as_mut().filter(|_| is_across) {
            across.streams_were_unseen(until);
        }
    }

    /// Does something to the gaps that are kept of this process, and of what goes on from it over a closed leg. False
    /// when it was not done to all.
    fn gaps_of(
        &mut self,
        proxy: ProxyKey,
        side: Side,
        act: impl Fn(&mut super::undecided::OfProcess) -> bool,
    ) -> bool {
        let known = self.proxies.get_mut(&proxy);
        let here = known.is_none_or(|known| act(&mut known.gaps));
        let end = match side {
            Side::Downstream => Endpoint::Client,
            Side::Upstream => Endpoint::Server,
        };
        let is_across = self.across.is_some() && self.legs.is_at(proxy, end);
        let inner = self.across.as_mut().filter(|_| is_across);
        let there = inner.is_none_or(|across| act(across.gaps()));
        here && there
    }
}
