//! Which request an upstream stream was opened for.

use super::ids::{RequestIds, other_path};
use super::index::{Index, IndexMatch};
use super::proxy_state::ProxyState;
use super::steps::look;
use super::{Attempt, By, Confidence, Join};
use crate::limits::{self, Limit};
use crate::stream::record::Opening;

impl<T> ProxyState<T> {
    pub(super) fn find(&mut self, up: &Opening) -> Option<(u64, Join)> {
        let (key, mut join) = self.find_by_what_is_seen(up)?;
        if join.confidence > Confidence::Id
            && join.confidence < Confidence::Ambiguous
            && !self.is_order_seen(key, join.by, up)
            && self.may_be_of_another(key, up)
        {
            join.confidence = Confidence::Ambiguous;
        }
        Some((key, join))
    }

    fn find_by_what_is_seen(&mut self, up: &Opening) -> Option<(u64, Join)> {
        if let Some(shared) = &self.shared {
            let found = shared.find(self, up);
            if !self
                .shared
                .as_mut()
                .is_some_and(|shared| shared.opened(&up.digest))
            {
                self.hits.hit(Limit::HopShared);
            }
            return found;
        }
        let of_whole = up
            .digest
            .whole
            .map_or(IndexMatch::None, |whole| self.by_whole.find(whole));
        if self.is_told_late(up) {
            return self
                .by_earlier_attempt(up)
                .or_else(|| self.in_hindsight(up));
        }
        match of_whole {
            IndexMatch::One(key) if self.fits(key, up) => {
                return Some((key, self.same_fields(key, up)));
            }
            IndexMatch::Several => {
                // Alike: an id among the fields that are not compared may tell, then the order.
                return self
                    .by_earlier_attempt(up)
                    .or_else(|| self.by_id(up))
                    .or_else(|| self.ids_seen.then(|| self.by_fields(up)).flatten())
                    .or_else(|| self.by_order(up, true))
                    .or_else(|| self.by_time(up, true))
                    .or_else(|| self.by_what_is_over(up));
            }
            IndexMatch::One(_) | IndexMatch::None => {}
        }
        self.by_earlier_attempt(up)
            .or_else(|| self.by_id(up))
            .or_else(|| self.by_fields(up))
            .or_else(|| self.by_order(up, false))
            .or_else(|| self.by_time(up, false))
            .or_else(|| self.by_what_is_over(up))
    }

    pub(super) fn same_fields(&self, key: u64, up: &Opening) -> Join {
        let down = self.downs.get(&key);
        down.and_then(|down| down.opening.ids.same(RequestIds::of(&up.digest)))
            .unwrap_or(Join {
                by: By::Fields,
                confidence: Confidence::UniqueField,
            })
    }

    /// A proxy makes one `x-request-id` for a request and gives it to each attempt.
    fn by_earlier_attempt(&self, up: &Opening) -> Option<(u64, Join)> {
        let key = *self.by_attempt.get(&up.digest.request_id?)?;
        let down = self.downs.get(&key)?;
        let confidence = down.attempts.first()?.join.confidence;
        let by = By::EarlierAttempt;
        self.fits(key, up).then_some((key, Join { by, confidence }))
    }

    /// By an id that no other request in flight has.
    fn by_id(&self, up: &Opening) -> Option<(u64, Join)> {
        let mut keys =
            RequestIds::of(&up.digest)
                .iter()
                .filter_map(|id| match self.by_id.find(id) {
                    IndexMatch::One(key) if self.fits(key, up) => Some(key),
                    _ => None,
                });
        let key = keys.next()?;
        // Two ids that point to two requests say nothing.
        if keys.any(|other| other != key) {
            return None;
        }
        let join = self
            .downs
            .get(&key)?
            .opening
            .ids
            .same(RequestIds::of(&up.digest))?;
        Some((key, join))
    }

    /// By single fields whose values no other request in flight has.
    fn by_fields(&mut self, up: &Opening) -> Option<(u64, Join)> {
        self.field_idle = 0;
        if self.by_field.is_none() {
            let mut index = Index::default();
            for (key, down) in self.downs.iter().filter(|(_, down)| down.is_indexed) {
                for field in down.opening.fields() {
                    index.add(*field, *key);
                }
            }
            self.by_field = Some(index);
        }
        let index = self.by_field.as_ref()?;
        let mut found: Option<(u64, Join)> = None;
        for field in up.digest.fields() {
            let IndexMatch::One(key) = index.find(*field) else {
                continue;
            };
            let Some(down) = self.downs.get(&key) else {
                continue;
            };
            let join = if Some(*field) == up.digest.request_id {
                Join {
                    by: By::RequestId,
                    confidence: Confidence::Id,
                }
            } else if Some(*field) == up.digest.trace_id {
                Join {
                    by: By::Trace,
                    confidence: Confidence::Id,
                }
            } else {
                Join {
                    by: By::Field,
                    confidence: Confidence::UniqueField,
                }
            };
            // A process that calls others on behalf of its caller passes more than ids on; that makes
            // another request, not this one.
            let other = other_path(down.opening.path, up.digest.path);
            if !self.fits(key, up) || (other && join.confidence > Confidence::Id) {
                continue;
            }
            match found {
                None => found = Some((key, join)),
                Some((known, _)) if known != key && join.confidence > Confidence::Id => {
                    // Two values point to two requests.
                    return None;
                }
                Some((_, known)) if join.confidence < known.confidence => found = Some((key, join)),
                Some(_) => {}
            }
        }
        found
    }

    /// The oldest request that the same thread read and has not passed on.
    fn by_order(&mut self, up: &Opening, alike: bool) -> Option<(u64, Join)> {
        if (up.tid == 0 && self.threads.len() > 1) || self.order.moves() {
            return None;
        }
        let is_known = self.knows_stale(up.tid);
        let thread = self.threads.get(up.tid)?;
        let (n, several) = (thread.waiting.len(), thread.n_in_period > 1 || !is_known);
        let is_trusted =
            is_known && self.order.is_trusted() && !self.lost_since(thread.period_from);
        let found = thread
            .waiting
            .iter()
            .take(limits::HOP_CANDIDATES)
            .find(|key| self.waits_for(**key, up, alike))
            .copied();
        if found.is_none() && n > limits::HOP_CANDIDATES {
            self.hits.hit(Limit::HopCandidates);
        }
        let confidence = if several && !is_trusted {
            Confidence::Ambiguous
        } else {
            Confidence::ThreadOrder
        };
        let by = By::Order;
        found.map(|key| (key, Join { by, confidence }))
    }

    /// A request that another thread read.
    fn by_time(&mut self, up: &Opening, alike: bool) -> Option<(u64, Join)> {
        let mut found: Option<u64> = None;
        // Those that were passed on may have been mistaken for this one.
        let mistaken = (alike && self.downs.len() > limits::HOP_CANDIDATES)
            || self
                .downs
                .iter()
                .take(limits::HOP_CANDIDATES)
                .any(|(key, down)| {
                    let unsure = |a: &Attempt<T>| a.join.confidence >= Confidence::Time;
                    !other_path(down.opening.path, up.digest.path)
                        && (!alike || down.opening.whole == up.digest.whole)
                        && down.attempts.iter().any(unsure)
                        && down.lasts_until(up.at)
                        && self.fits(*key, up)
                });
        let mut confidence = if mistaken {
            Confidence::Ambiguous
        } else {
            Confidence::Time
        };
        let mut n_looked_at = 0;
        'all: for thread in self.threads.iter() {
            look(1);
            for key in thread.waiting.iter().chain(&thread.stale) {
                look(1);
                n_looked_at += 1;
                if n_looked_at > limits::HOP_CANDIDATES {
                    confidence = Confidence::Ambiguous;
                    break 'all;
                }
                if !self.waits_for(*key, up, alike) {
                    continue;
                }
                if let Some(known) = found {
                    confidence = Confidence::Ambiguous;
                    let at = |key| self.downs.get(key).map(|down| down.opening.at);
                    if at(key) < at(&known) {
                        found = Some(*key);
                    }
                } else {
                    found = Some(*key);
                }
            }
        }
        if n_looked_at > limits::HOP_CANDIDATES {
            self.hits.hit(Limit::HopCandidates);
        }
        let by = By::Time;
        found.map(|key| (key, Join { by, confidence }))
    }

    /// The request has not been passed on, and may be this one. `alike`: it must have the same fields.
    pub(super) fn waits_for(&self, key: u64, up: &Opening, alike: bool) -> bool {
        let Some(down) = self.downs.get(&key) else {
            return false;
        };
        if !down.attempts.is_empty() || !self.fits(key, up) || !down.lasts_until(up.at) {
            return false;
        }
        if alike {
            return down.opening.whole == up.digest.whole;
        }
        // Without the same path nothing but an id makes two requests one; what was not seen may be the same.
        !other_path(down.opening.path, up.digest.path)
            && !down.opening.ids.contradict(RequestIds::of(&up.digest))
    }

    /// The upstream stream began within the life of the other one.
    pub(super) fn fits(&self, key: u64, up: &Opening) -> bool {
        self.downs.get(&key).is_some_and(|down| {
            let ended = down.progress.ended();
            down.opening.at <= up.at
                && match down.over {
                    Some(over) if over.cancelled => {
                        ended.is_none_or(|ended| up.at <= ended.record.last_at)
                    }
                    _ => down.lasts_until(up.at),
                }
        })
    }
}
