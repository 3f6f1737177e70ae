//! What one request shows of those that were read with it: order gave each its upstream stream, and where it
//! was wrong once it may have been wrong for all.

use super::place::{Down, Place};
use super::{Attempt, Confidence};

impl<T> Place<T> {
    /// A request and the upstream stream that order gave it cannot belong together.
    pub(super) fn contradicted(&mut self, key: u64) {
        self.order.was_broken();
        self.doubt_period_of(key);
    }

    pub(super) fn doubt_period_of(&mut self, key: u64) {
        if let Some(mut down) = self.downs.remove(&key) {
            self.keep_recent();
            self.doubt(&down);
            down.doubted = true;
            self.downs.insert(key, down);
        }
    }

    /// No upstream stream was found for this request, and order gave some to others of its path that were
    /// read with it: one of them may be its own. True when there are such.
    pub(super) fn doubt_order(&mut self, alone: &Down<T>) -> bool {
        if self.n_ordered == 0 {
            return false;
        }
        let mut doubted = false;
        self.beside(alone, |down| {
            if down.is_ordered() && down.asked.path == alone.asked.path {
                (down.doubted, down.may_be_alone) = (true, true);
                doubted = true;
            }
        });
        doubted
    }

    /// Does something to each request that was read in the same period as this one.
    fn beside(&mut self, of: &Down<T>, mut act: impl FnMut(&mut Down<T>)) {
        let id = of.period_id();
        if let Some(members) = self.periods.members(id) {
            for key in members {
                if let Some(down) = self.downs.get_mut(key) {
                    act(down);
                }
            }
            return;
        }
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
            && !std::mem::replace(&mut down.is_over, true)
            && self.indexed
        {
            self.periods.over(down.period_id());
        }
    }

    /// All requests that were read in this period are over: those of them that nothing more can be said of.
    pub(super) fn settled(&self, period: u64, into: &mut Vec<u64>) {
        into.clear();
        if !self.periods.is_over(period) || !self.order.is_steady() {
            return;
        }
        let is_settled = |key: &&u64| {
            let down = self.downs.get(*key);
            down.is_some_and(|down| down.is_over && down.in_company && !down.is_ambiguous())
        };
        let members = self.periods.members(period).unwrap_or_default();
        into.extend(members.iter().filter(is_settled));
    }

    /// What was read in the same period as this one may have been passed on in another order.
    pub(super) fn doubt(&mut self, of: &Down<T>) {
        let ordered = |a: &Attempt<T>| a.join.confidence >= Confidence::ThreadOrder;
        self.beside(of, |down| {
            down.doubted |= down.attempts.is_empty() || down.attempts.iter().any(ordered);
        });
    }
}
