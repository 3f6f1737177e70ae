//! What one request shows of those that were read with it: order gave each its upstream stream, and where it
//! was wrong once it may have been wrong for all.

use super::downstream::{Doubt, DownstreamRequest, Progress};
use super::period::Doubted;
use super::proxy_state::ProxyState;
use super::steps::look;
use super::{Attempt, By, Confidence};
use crate::event::Timestamp;
use crate::stream::record::StreamRecord;

/// Requests that a request's answer is compared with, at most.
const LOOKED_AT: usize = 32;

/// The answer to a request that order gave its upstream stream: where it came from and went, and when.
struct RelayedAnswer {
    connections: (u64, u64),
    came: (Timestamp, u32),
    went: (Timestamp, u32),
}

impl RelayedAnswer {
    fn of<T>(key: u64, down: &DownstreamRequest<T>) -> Option<RelayedAnswer> {
        let [attempt] = down.attempts.as_slice() else {
            return None;
        };
        let is_ordered = attempt.join.by == By::Order && !down.is_swapped;
        let (went, came) = (
            down.progress.ended()?,
            attempt.record().filter(|_| is_ordered)?,
        );
        Some(RelayedAnswer {
            connections: (key >> 31, attempt.connection.0),
            came: came.response.headers_place()?,
            went: went.record.response.headers_place()?,
        })
    }

    fn contradicts(&self, other: &RelayedAnswer) -> bool {
        let (came, went) = (self.came.cmp(&other.came), self.went.cmp(&other.went));
        self.connections == other.connections && came.is_ne() && came == went.reverse()
    }
}

impl<T> ProxyState<T> {
    /// A request and the upstream stream that order gave it cannot belong together.
    ///
    /// `all_told`: nothing went by that is not known in its life. Otherwise a stream that was not seen explains it, and the
    /// order of what begins later may be right.
    pub(super) fn contradicted(&mut self, key: u64, all_told: bool) {
        if let Some(down) = self.downs.get(&key).filter(|down| down.is_ordered()) {
            let from = down.period_from;
            let is_seen = !self.lost_since(from) && !self.unseen.may_have_opened_since(from);
            self.order.was_broken(!all_told || !is_seen);
        }
        self.doubt_period_of(key);
    }

    /// The answers of this request and of one that was read with it were passed back in another order than they
    /// came: a proxy with one thread does not, so that it was the requests that were passed on in another order.
    pub(super) fn is_inverted(&self, key: u64) -> bool {
        let Some(down) = self.downs.get(&key).filter(|down| down.in_company) else {
            return false;
        };
        let Some(own) = RelayedAnswer::of(key, down) else {
            return false;
        };
        let members = self.periods.members(down.period_id()).unwrap_or_default();
        members.iter().rev().take(LOOKED_AT).any(|other| {
            let beside = self
                .downs
                .get(other)
                .and_then(|down| RelayedAnswer::of(*other, down));
            beside.is_some_and(|beside| own.contradicts(&beside))
        })
    }

    pub(super) fn doubt_period_of(&mut self, key: u64) {
        if let Some(mut down) = self.downs.remove(&key) {
            self.recent.keep();
            self.doubt(&down);
            down.doubt.raise(Doubt::OrderBroken);
            self.downs.insert(key, down);
        }
    }

    /// No upstream stream was found for this request, and order gave some to others of its path that were
    /// read with it: one of them may be its own. True when there are such.
    pub(super) fn doubt_order(&mut self, alone: &DownstreamRequest<T>) -> bool {
        let id = alone.period_id();
        if self.n_ordered == 0 || !self.periods.is_ordered(id) {
            return false;
        }
        // Of very many all are doubted once, whatever their path: the next one without a stream need not look at them again.
        let of_all = match self.periods.doubt(id, Doubt::MayBeAlone) {
            Doubted::Already => return true,
            Doubted::Once => true,
            Doubted::EachTime => false,
        };
        let mut doubted = of_all;
        self.beside(alone, |down| {
            if down.is_ordered() && (of_all || down.opening.path == alone.opening.path) {
                down.doubt.raise(Doubt::MayBeAlone);
                doubted = true;
            }
        });
        doubted
    }

    /// Does something to each request that was read in the same period as this one.
    fn beside(
        &mut self,
        of: &DownstreamRequest<T>,
        mut act: impl FnMut(&mut DownstreamRequest<T>),
    ) {
        let id = of.period_id();
        if let Some(members) = self.periods.members(id) {
            look(members.len());
            for key in members {
                if let Some(down) = self.downs.get_mut(key) {
                    act(down);
                }
            }
            return;
        }
        look(self.downs.len());
        for down in self
            .downs
            .values_mut()
            .filter(|down| down.period_id() == id)
        {
            act(down);
        }
    }

    /// This request is over, and waits for those that were read with it.
    pub(super) fn over(&mut self, key: u64) {
        if let Some(down) = self.downs.get_mut(&key)
            && down.progress.settle()
            && self.indexed
        {
            self.periods.over(down.period_id());
        }
    }

    /// All requests that were read in this period are over: those of them that nothing more can be said of.
    pub(super) fn settled(&self, period: u64, into: &mut Vec<u64>) {
        into.clear();
        if !self.periods.is_over(period) {
            return;
        }
        let is_settled = |key: &&u64| {
            let down = self.downs.get(*key);
            down.is_some_and(|down| {
                matches!(down.progress, Progress::Settling(_))
                    && down.in_company
                    && !down.is_ambiguous()
            })
        };
        let members = self.periods.members(period).unwrap_or_default();
        into.extend(members.iter().filter(is_settled));
    }

    /// What was read in the same period as this one may have been passed on in another order.
    pub(super) fn doubt(&mut self, of: &DownstreamRequest<T>) {
        let id = of.period_id();
        if self.periods.doubt(id, Doubt::OrderBroken) == Doubted::Already {
            return;
        }
        let ordered = |a: &Attempt<T>| a.join.confidence >= Confidence::ThreadOrder;
        self.beside(of, |down| {
            if down.attempts.is_empty() || down.attempts.iter().any(ordered) {
                down.doubt.raise(Doubt::OrderBroken);
            }
        });
    }
}

/// Order gave it an upstream stream that cannot be its own.
pub(super) fn is_contradicted<T>(down: &DownstreamRequest<T>) -> bool {
    let Some(ended) = down.progress.ended().filter(|_| !down.is_swapped) else {
        return false;
    };
    down.attempts.iter().any(|attempt| {
        let by_order = attempt.join.confidence >= Confidence::ThreadOrder;
        let up = attempt.record();
        by_order && up.is_some_and(|up| contradict(&ended.record, up))
    })
}

/// What the two streams say of each other cannot both be of one request: the answer was passed on before it
/// came, or messages have other lengths.
pub(super) fn contradict(down: &StreamRecord, up: &StreamRecord) -> bool {
    let early = |down: Option<Timestamp>, up: Option<Timestamp>| matches!((down, up), (Some(down), Some(up)) if down < up);
    let same_coding = down.response_coding == up.response_coding
        && down.response_content_type == up.response_content_type;
    let other = |down: &[u32], up: &[u32]| down.iter().zip(up).any(|(down, up)| down != up);
    let (received, sent) = (&down.request.messages, &up.request.messages);
    let (answers, answered) = (&down.response.messages, &up.response.messages);
    early(down.response.headers_at, up.response.headers_at)
        || early(down.response.end_stream_at, up.response.end_stream_at)
        || (received.known && sent.known && other(&received.sizes, &sent.sizes))
        || (same_coding
            && answers.known
            && answered.known
            && down.http_status == up.http_status
            && other(&answers.sizes, &answered.sizes))
}
