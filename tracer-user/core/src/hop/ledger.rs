//! How many bytes went one way on an opaque leg, and when.

use std::collections::VecDeque;

use crate::event::Timestamp;
use crate::limits;
use crate::tls::Opaque;

/// Bytes that went by within some time: at least, and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// It was at least so much.
    pub least: u64,
    /// It was at most so much.
    pub most: u64,
}

impl Carried {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Carried) -> Carried {
        Carried {
            least: self.least.saturating_add(other.least),
            most: self.most.saturating_add(other.most),
        }
    }
}

/// What went by from one moment to another.
#[derive(Clone, Copy, Debug)]
struct Entry {
    from: Timestamp,
    to: Timestamp,
    carried: Carried,
}

/// One direction of a leg. Older entries become coarser, and those before are forgotten.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: VecDeque<Entry>,
    /// Until then nothing is known any more.
    forgotten: Option<Timestamp>,
    /// From then on not everything was counted.
    lost: Option<Timestamp>,
}

impl Ledger {
    pub(super) fn add(&mut self, at: Timestamp, opaque: Opaque) {
        if opaque.is_lost {
            self.lost.get_or_insert(at);
        }
        if opaque.most == 0 {
            return;
        }
        let carried = Carried {
            least: opaque.least,
            most: opaque.most,
        };
        match self.entries.back_mut() {
            // Events of two sockets' calls may come in another order than they happened.
            Some(last) if at <= last.to => {
                last.from = last.from.min(at);
                last.carried = last.carried.and(carried);
            }
            _ => self.entries.push_back(Entry {
                from: at,
                to: at,
                carried,
            }),
        }
        while self.entries.len() > limits::HOP_LEG_ENTRIES {
            self.coarsen();
        }
        while let Some(first) = self.entries.front()
            && at.since(first.to) > limits::HOP_LEG_KEPT_NS
        {
            self.forgotten = Some(first.to);
            self.entries.pop_front();
        }
    }

    /// Of the older half every two entries become one.
    fn coarsen(&mut self) {
        let half = self.entries.len() / 2;
        let newer = self.entries.split_off(half);
        let older = std::mem::take(&mut self.entries);
        let mut older = older.into_iter();
        while let Some(mut entry) = older.next() {
            if let Some(next) = older.next() {
                entry.to = next.to;
                entry.carried = entry.carried.and(next.carried);
            }
            self.entries.push_back(entry);
        }
        self.entries.extend(newer);
    }

    /// What went by within this time, its ends included; None when that is not known.
    pub(super) fn within(&self, from: Timestamp, to: Timestamp) -> Option<Carried> {
        let is_lost = self.lost.is_some_and(|lost| lost <= to);
        let is_forgotten = self.forgotten.is_some_and(|until| from <= until);
        if is_lost || is_forgotten {
            return None;
        }
        let mut sum = Carried::default();
        let first = self.entries.partition_point(|entry| entry.to < from);
        for entry in self.entries.iter().skip(first) {
            if entry.from > to {
                break;
            }
            let is_within = from <= entry.from && entry.to <= to;
            sum = sum.and(Carried {
                least: if is_within { entry.carried.least } else { 0 },
                most: entry.carried.most,
            });
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(n: u64) -> Opaque {
        Opaque {
            least: n,
            most: n + 1,
            is_lost: false,
        }
    }

    fn within(ledger: &Ledger, from: u64, to: u64) -> Option<(u64, u64)> {
        let carried = ledger.within(Timestamp(from), Timestamp(to))?;
        Some((carried.least, carried.most))
    }

    #[test]
    fn bytes_are_summed_within_a_time() {
        let mut ledger = Ledger::default();
        for at in [10, 20, 20, 30] {
            ledger.add(Timestamp(at), bytes(100));
        }
        assert_eq!(within(&ledger, 0, 9), Some((0, 0)));
        assert_eq!(within(&ledger, 11, 20), Some((200, 202)));
        assert_eq!(within(&ledger, 10, 30), Some((400, 404)));
    }

    #[test]
    fn many_entries_become_coarser_and_say_so() {
        let mut ledger = Ledger::default();
        let n = limits::HOP_LEG_ENTRIES as u64 + 1;
        for at in 0..n {
            ledger.add(Timestamp(at), bytes(1));
        }
        assert!(ledger.entries.len() <= limits::HOP_LEG_ENTRIES);
        assert_eq!(within(&ledger, 0, n), Some((n, 2 * n)));
        // The middle of what has become one.
        assert_eq!(within(&ledger, 1, 2), Some((0, 8)));
        assert_eq!(within(&ledger, n - 2, n), Some((2, 4)));
    }

    #[test]
    fn what_is_forgotten_or_lost_is_not_known() {
        let mut ledger = Ledger::default();
        ledger.add(Timestamp(5), bytes(1));
        ledger.add(Timestamp(limits::HOP_LEG_KEPT_NS + 6), bytes(1));
        assert_eq!(within(&ledger, 5, u64::MAX), None);
        assert_eq!(within(&ledger, 6, u64::MAX), Some((1, 2)));
        let at = limits::HOP_LEG_KEPT_NS + 9;
        let is_lost = Opaque {
            is_lost: true,
            ..Opaque::default()
        };
        ledger.add(Timestamp(at), is_lost);
        assert_eq!(within(&ledger, 6, at), None);
        assert_eq!(within(&ledger, 6, at - 1), Some((1, 2)));
    }
}
