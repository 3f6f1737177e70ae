//! Requests that one thread read before it had passed on all that it had read: its period.
//!
//! Where order decided which upstream stream belongs to which of them, what one of them shows when it ends
//! is said of all. They wait for one another, and no longer.

use super::downstream::Doubt;
use super::fast::Map;
use crate::limits;

/// Periods that were and may be again: their memory is used anew.
const SPARE: usize = 64;

/// The periods of all threads of a process.
#[derive(Debug, Default)]
pub(super) struct Periods {
    by_id: Map<u64, Period>,
    spare: Vec<Period>,
}

#[derive(Debug, Default)]
struct Period {
    members: Vec<u64>,
    /// Not all are among these.
    more: bool,
    /// Members that are not over.
    n_open: u32,
    /// Members that were not taken out.
    n_left: u32,
    /// Order gave some member its upstream stream.
    is_ordered: bool,
    /// What speaks against the order of all members, where they are too many to be told one by one again and again.
    is_broken: bool,
    may_be_alone: bool,
}

/// A period's id: the thread and its count of periods.
pub(super) const fn id(tid: u32, period: u64) -> u64 {
    ((tid as u64) << 40) ^ period
}

/// How the members of a period are told of a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubted {
    /// Those that are there now, each time.
    EachTime,
    /// All that are there, and it holds for those that come later.
    Once,
    /// They have been.
    Already,
}

impl Periods {
    /// The request `key` was read in this period.
    pub(super) fn add(&mut self, id: u64, key: u64) {
        let spare = &mut self.spare;
        let new = || spare.pop().unwrap_or_default();
        let period = self.by_id.entry(id).or_insert_with(new);
        period.n_open = period.n_open.saturating_add(1);
        period.n_left = period.n_left.saturating_add(1);
        if period.members.len() < limits::HOP_CANDIDATES {
            period.members.push(key);
        } else {
            period.more = true;
        }
    }

    /// One of its members is over.
    pub(super) fn over(&mut self, id: u64) {
        if let Some(period) = self.by_id.get_mut(&id) {
            period.n_open = period.n_open.saturating_sub(1);
        }
    }

    /// One of its members, which was over, is taken out.
    pub(super) fn leave(&mut self, id: u64) {
        let Some(period) = self.by_id.get_mut(&id) else {
            return;
        };
        period.n_left = period.n_left.saturating_sub(1);
        if period.n_left == 0
            && let Some(mut period) = self.by_id.remove(&id)
            && self.spare.len() < SPARE
        {
            period.members.clear();
            (period.more, period.n_open) = (false, 0);
            (period.is_ordered, period.is_broken, period.may_be_alone) = (false, false, false);
            self.spare.push(period);
        }
    }

    /// Order gave a member its upstream stream. What speaks against it already.
    pub(super) fn ordered(&mut self, id: u64) -> Doubt {
        let Some(period) = self.by_id.get_mut(&id) else {
            return Doubt::None;
        };
        period.is_ordered = true;
        match (period.may_be_alone, period.is_broken) {
            (true, _) => Doubt::MayBeAlone,
            (false, true) => Doubt::OrderBroken,
            (false, false) => Doubt::None,
        }
    }

    /// Order gave some member its upstream stream.
    pub(super) fn is_ordered(&self, id: u64) -> bool {
        self.by_id.get(&id).is_some_and(|period| period.is_ordered)
    }

    /// There is a doubt of all members. Where they are too many for each to be told again and again, it holds for those
    /// that come later too.
    pub(super) fn doubt(&mut self, id: u64, doubt: Doubt) -> Doubted {
        let Some(period) = self.by_id.get_mut(&id).filter(|period| period.more) else {
            return Doubted::EachTime;
        };
        let flag = match doubt {
            Doubt::None => return Doubted::Already,
            Doubt::OrderBroken => &mut period.is_broken,
            Doubt::MayBeAlone => &mut period.may_be_alone,
        };
        if std::mem::replace(flag, true) {
            Doubted::Already
        } else {
            Doubted::Once
        }
    }

    /// All its members are over, and some are still there.
    pub(super) fn is_over(&self, id: u64) -> bool {
        self.by_id.get(&id).is_some_and(|period| period.n_open == 0)
    }

    /// The requests of this period, those that were taken out among them; None when there were too many.
    pub(super) fn members(&self, id: u64) -> Option<&[u64]> {
        match self.by_id.get(&id) {
            Some(period) => (!period.more).then_some(&period.members),
            None => Some(&[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_over_when_all_its_members_are_and_gone_when_they_are() {
        let mut periods = Periods::default();
        let id = id(11, 1);
        periods.add(id, 5);
        periods.add(id, 6);
        periods.over(id);
        assert!(!periods.is_over(id));
        periods.leave(id);
        periods.over(id);
        assert!(periods.is_over(id));
        assert_eq!(periods.members(id), Some(&[5, 6][..]));
        periods.leave(id);
        assert!(periods.by_id.is_empty());
        // Used anew, it knows nothing of before.
        periods.add(id, 7);
        assert_eq!(periods.members(id), Some(&[7][..]));
        assert!(!periods.is_over(id));
    }

    #[test]
    fn too_many_members_are_not_half_told() {
        let mut periods = Periods::default();
        for key in 0..=limits::HOP_CANDIDATES as u64 {
            periods.add(3, key);
        }
        assert_eq!(periods.members(3), None);
    }
}
