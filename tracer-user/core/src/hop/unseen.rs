//! Requests and streams whose fields are older than the trace: their entries of the HPACK table were never seen.
//!
//! A stream whose `:path` is not known may belong to any request that it began in the life of. That leaves other
//! joins uncertain, and while there are such streams it cannot be said of a request that nothing was opened for it.

use std::collections::VecDeque;

use super::downstream::{Doubt, DownstreamRequest};
use super::ids::{RequestIds, other_path};
use super::index::IndexMatch;
use super::opening::DownstreamOpening;
use super::proxy_state::{ProxyState, attempt};
use super::steps::look;
use super::{By, Confidence, Join};
use crate::event::Timestamp;
use crate::field::digest;
use crate::limits::{self, Limit};
use crate::stream::record::Opening;

/// What could not be seen in one process.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// Requests that are kept and have a field that was not seen.
    n_requests: usize,
    /// When upstream streams began whose path was not seen, and whose request is not certain: the latest ones.
    streams: VecDeque<Timestamp>,
    /// The latest beginning of those that are not kept.
    forgotten: Option<Timestamp>,
}

impl Unseen {
    pub(super) fn requested(&mut self, opening: &DownstreamOpening) {
        self.n_requests += usize::from(opening.whole.is_none());
    }

    pub(super) fn left(&mut self, opening: &DownstreamOpening) {
        let n = usize::from(opening.whole.is_none());
        self.n_requests = self.n_requests.saturating_sub(n);
    }

    /// A stream began whose path was not seen, and whose request is not certain.
    pub(super) fn opened(&mut self, at: Timestamp) {
        if self.streams.len() >= limits::HOP_RECENT {
            let gone = self.streams.pop_front();
            self.forgotten = self.forgotten.max(gone);
        }
        self.streams.push_back(at);
    }

    /// Such a stream began since then.
    pub(super) fn may_have_opened_since(&self, from: Timestamp) -> bool {
        self.may_have_opened(from, Timestamp(u64::MAX))
    }

    /// Such a stream may have begun within this time.
    pub(super) fn may_have_opened(&self, from: Timestamp, to: Timestamp) -> bool {
        self.forgotten.is_some_and(|at| from <= at)
            || self.streams.iter().any(|at| (from..=to).contains(at))
    }
}

impl<T> ProxyState<T> {
    /// Since something was not seen, the stream may as well have been opened for another request than this one.
    pub(super) fn may_be_of_another(&self, key: u64, up: &Opening) -> bool {
        if up.digest.path.is_some() && self.unseen.n_requests == 0 {
            return false;
        }
        let own = self
            .downs
            .get(&key)
            .map_or(&[][..], |own| own.opening.fields());
        let is_in_own = |field: &&u64| own.contains(field);
        let passed: Vec<u64> = up
            .digest
            .fields()
            .iter()
            .filter(is_in_own)
            .copied()
            .collect();
        self.downs.len() > limits::HOP_CANDIDATES
            || self.downs.iter().any(|(other, down)| {
                *other != key && may_belong(down, up) && !has_other_value(down, &passed)
            })
    }

    /// Order decides among requests of one path as well as among those that are alike in all: what else was not seen says
    /// nothing of it. But for streams of which not even the path was: they may have been for requests of this period.
    pub(super) fn is_order_seen(&self, key: u64, by: By, up: &Opening) -> bool {
        let Some(down) = self.downs.get(&key).filter(|_| by == By::Order) else {
            return false;
        };
        let same_path = up.digest.path.is_some() && down.opening.path == up.digest.path;
        same_path && !self.unseen.may_have_opened_since(down.period_from)
    }

    /// Streams that this process opened before this moment may have gone by unseen. What waits for one has got it, or has
    /// not: were it to wait on, each stream would be taken for the one of the request before.
    pub(super) fn wait_no_longer(&mut self, until: Timestamp) {
        let downs = &self.downs;
        let is_before = |key: u64| downs.get(&key).is_none_or(|down| down.opening.at < until);
        for thread in self.threads.iter_mut() {
            thread.wait_no_longer(is_before);
        }
    }

    /// No request that this thread read may still be passed on behind others that it read later.
    pub(super) fn knows_stale(&mut self, tid: u32) -> bool {
        let downs = &self.downs;
        let may_come = |key| downs.get(&key).is_some_and(|down| down.may_be_passed_on());
        let thread = self.threads.get_mut(tid);
        thread.is_none_or(|thread| thread.knows_stale(may_come))
    }

    /// A request is told late: streams that began in its life may be its own that others were given, by order or time, or by
    /// fields that are not theirs alone.
    pub(super) fn doubt_those_that_came_before(&mut self, opening: &DownstreamOpening) {
        let doubt = |down: &mut DownstreamRequest<T>| {
            look(1);
            if other_path(down.opening.path, opening.path) {
                return;
            }
            let is_alike = opening.whole.is_some() && opening.whole == down.opening.whole;
            for attempt in &mut down.attempts {
                let Join { by, confidence } = attempt.join;
                let by_fields = [By::Fields, By::Field].contains(&by);
                if attempt.began_at < opening.at || confidence == Confidence::Id {
                    continue;
                }
                if confidence >= Confidence::ThreadOrder {
                    down.doubt.raise(Doubt::OrderBroken);
                } else if by_fields && is_alike {
                    attempt.join.confidence = Confidence::Ambiguous;
                }
            }
        };
        if !self.is_crowd() {
            self.downs.values_mut().for_each(|down| doubt(down));
        } else if !self.those_with_streams_since(opening, doubt) {
            self.doubt_all_of_late();
        }
    }

    /// No request was found for a stream whose path was not seen, or that is told late: what is not certain has become
    /// less so.
    pub(super) fn doubt_those_it_may_belong_to(&mut self, up: &Opening) {
        if self.is_crowd() {
            return self.doubt_all_of_unseen();
        }
        look(self.downs.len());
        let those = self
            .downs
            .values_mut()
            .filter(|down| fits_unsurely(down, up));
        for down in those {
            down.doubt.raise(Doubt::OrderBroken);
        }
    }

    /// The connection was recognised late, so that this is told after what the same thread did later.
    pub(super) fn is_told_late(&self, up: &Opening) -> bool {
        self.threads.get(up.tid).is_some_and(|thread| {
            // Of one moment, streams of a connection are opened in the order of their ids (RFC 9113 section 5.1.1).
            let (connection, id) = thread.newest_stream;
            let is_before = connection == up.connection.0 && up.stream_id.0 < id;
            up.at < thread.newest || up.at == thread.newest && is_before
        })
    }

    /// A request that was over when this was told, and not yet when it happened.
    pub(super) fn by_what_is_over(&mut self, up: &Opening) -> Option<(u64, Join)> {
        (up.at < self.over_at)
            .then(|| self.in_hindsight(up))
            .flatten()
    }

    /// A request is told late, and the stream that was opened for it has been told before: the only one with its fields.
    pub(super) fn join_told_before(&mut self, key: u64) {
        let Some(down) = self.downs.get(&key) else {
            return;
        };
        let (whole, path, at) = (down.opening.whole, down.opening.path, down.opening.at);
        if whole.is_none() || at >= self.opened_at || self.shared.is_some() {
            return;
        }
        let is_only = self.by_whole.find(whole.unwrap_or_default()) == IndexMatch::One(key);
        let within = (path, at, 0)..=(path, Timestamp(u64::MAX), u64::MAX);
        let same = |key: &u64| self.ups.get(key).is_some_and(|up| up.whole == whole);
        let keys = self.by_path.range(within).map(|(_, _, key)| *key);
        let mut alike = keys.take(limits::HOP_CANDIDATES).filter(same);
        let (Some(up_key), None) = (alike.next(), alike.next()) else {
            return;
        };
        let Some(up) = self.ups.get_mut(&up_key) else {
            return;
        };
        if !is_only || up.of.is_some() || up.is_told {
            return;
        }
        (up.of, up.is_told) = (Some(key), true);
        let join = Join {
            by: By::Fields,
            confidence: Confidence::UniqueField,
        };
        let began_at = up.at;
        if let Some(down) = self.downs.get_mut(&key) {
            down.attempts.push(attempt(up_key, began_at, join));
            down.n_open = down.n_open.saturating_add(1);
            let tid = down.opening.tid;
            self.pass(tid, key);
        }
    }

    /// Of what is told late, order says nothing, and requests that were in flight then may be over.
    pub(super) fn in_hindsight(&mut self, up: &Opening) -> Option<(u64, Join)> {
        if self.downs.len() > limits::HOP_CANDIDATES {
            self.hits.hit(Limit::HopCandidates);
            return None;
        }
        let waits = |key: &&u64| self.waits_for(**key, up, false);
        let mut found: Vec<u64> = self.downs.keys().filter(waits).copied().collect();
        let at = |key: &u64| self.downs.get(key).map(|down| down.opening.at);
        found.sort_unstable_by_key(|key| (at(key), *key));
        // Of all that were in flight then, one alone shares a field, and has none with another value.
        let mut by_field: Option<u64> = None;
        for field in up.digest.fields() {
            let shares = |key: u64, down: &DownstreamRequest<T>| {
                let is_shared = down.opening.fields().contains(field) && self.fits(key, up);
                is_shared.then_some(key)
            };
            let all = self.downs.iter();
            let mut sharing = all.filter_map(|(key, down)| shares(*key, down));
            if let (Some(key), None) = (sharing.next(), sharing.next()) {
                if by_field.is_some_and(|known| known != key) {
                    return None;
                }
                by_field = Some(key);
            }
        }
        let is_other = |key: &u64| {
            let down = self.downs.get(key);
            down.is_none_or(|down| has_other_value(down, up.digest.fields()))
        };
        if let Some(key) = by_field.filter(|key| found.contains(key) && !is_other(key)) {
            let ids = self.downs.get(&key).map(|down| down.opening.ids);
            let by_id = ids.and_then(|ids| ids.same(RequestIds::of(&up.digest)));
            let (by, confidence) = (By::Field, Confidence::UniqueField);
            return Some((key, by_id.unwrap_or(Join { by, confidence })));
        }
        let confidence = match found.len() {
            1 if by_field.is_none() && !found.iter().any(is_other) => Confidence::Time,
            _ => Confidence::Ambiguous,
        };
        let by = By::Time;
        found.first().map(|key| (*key, Join { by, confidence }))
    }
}

/// This request has one of these fields, which passed the proxy unchanged, with another value.
fn has_other_value<T>(down: &DownstreamRequest<T>, passed: &[u64]) -> bool {
    let fields = down.opening.fields();
    let is_other = |field: &u64| {
        !fields.contains(field) && fields.iter().any(|own| digest::same_name(*own, *field))
    };
    passed.iter().any(is_other)
}

/// The stream may belong to this request, because something was not seen.
fn may_belong<T>(down: &DownstreamRequest<T>, up: &Opening) -> bool {
    let something_unseen = up.digest.path.is_none() || down.opening.whole.is_none();
    something_unseen && fits_unsurely(down, up)
}

/// The stream began in the life of this request, which has none for certain, and nothing that was seen speaks against
/// that it was opened for it.
fn fits_unsurely<T>(down: &DownstreamRequest<T>, up: &Opening) -> bool {
    down.opening.at <= up.at
        && down.lasts_until(up.at)
        && down.may_be_others()
        && !other_path(down.opening.path, up.digest.path)
        && !down.opening.ids.contradict(RequestIds::of(&up.digest))
}
