//! Where the streams of a connection lie, by their ids.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::frame::StreamId;
use crate::stream::table::streams::Slot;

/// Places of the row that may be empty, for each that is not and beside them.
const EMPTY: usize = 1_024;

/// Slots by ids. A client opens its streams in the order of their ids, nearly always without leaving one out: these
/// stand in a row. The peers choose the ids, so that the row is bounded, and others are found by a keyed hash.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// The number of the row's first place.
    first: u32,
    /// The slot and 1; 0 where there is none.
    row: VecDeque<u32>,
    /// How many places of the row are taken.
    n_in_row: usize,
    others: HashMap<StreamId, Slot, RandomState>,
}

/// The number of a client's stream.
const fn number(id: StreamId) -> Option<u32> {
    match id.0 % 2 {
        1 => Some(id.0 / 2),
        _ => None,
    }
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.n_in_row + self.others.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(super) fn get(&self, id: StreamId) -> Option<Slot> {
        if let Some(place) = self.place(id)
            && let Some(slot) = self.row.get(place).and_then(|slot| slot.checked_sub(1))
        {
            return Some(slot as Slot);
        }
        if self.others.is_empty() {
            None
        } else {
            self.others.get(&id).copied()
        }
    }

    /// Puts one in that is not there.
    pub(super) fn insert(&mut self, id: StreamId, slot: Slot) {
        if self.n_in_row == 0 {
            self.row.clear();
            self.first = id.0 / 2;
        }
        let room = 2 * self.n_in_row + EMPTY;
        let place = self.place(id).filter(|place| *place < room);
        let (Some(place), Ok(slot_and_1)) = (place, u32::try_from(slot + 1)) else {
            self.others.insert(id, slot);
            return;
        };
        if place >= self.row.len() {
            self.row.resize(place + 1, 0);
        }
        if let Some(free) = self.row.get_mut(place) {
            *free = slot_and_1;
            self.n_in_row += 1;
        }
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<Slot> {
        if let Some(place) = self.place(id)
            && let Some(taken) = self.row.get_mut(place)
            && let Some(slot) = taken.checked_sub(1)
        {
            *taken = 0;
            self.n_in_row -= 1;
            while self.row.front() == Some(&0) {
                self.row.pop_front();
                self.first += 1;
            }
            return Some(slot as Slot);
        }
        self.others.remove(&id)
    }

    /// The ids, in no order.
    pub(super) fn ids(&self) -> impl Iterator<Item = StreamId> {
        let taken = (self.first..)
            .zip(&self.row)
            .filter(|(_, slot)| **slot != 0);
        let in_row = taken.map(|(number, _)| StreamId(number * 2 + 1));
        in_row.chain(self.others.keys().copied())
    }

    fn place(&self, id: StreamId) -> Option<usize> {
        Some(number(id)?.checked_sub(self.first)? as usize)
    }

    #[cfg(test)]
    pub(super) fn row_len(&self) -> usize {
        self.row.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn any_ids_are_found_and_no_other() {
        let mut random = 7_u64;
        let mut next = |n: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % n
        };
        let (mut slots, mut known) = (Slots::default(), BTreeMap::new());
        let mut newest = 1_u32;
        for slot in 0..20_000 {
            let id = match next(20) {
                0 => next(1 << 31) as u32,
                1 => newest.saturating_sub(next(5_000) as u32),
                _ => newest,
            };
            newest = newest.saturating_add(2 * next(3) as u32);
            let id = StreamId(id);
            assert_eq!(slots.get(id), known.get(&id).copied());
            known.entry(id).or_insert_with(|| {
                slots.insert(id, slot);
                slot
            });
            while known.len() > next(200) as usize {
                let nth = next(known.len() as u64) as usize;
                let id = *known.keys().nth(nth).unwrap();
                assert_eq!(slots.remove(id), known.remove(&id));
            }
            assert_eq!(slots.len(), known.len());
            assert!(slots.row_len() <= 3 * 200 + EMPTY);
        }
        let mut ids: Vec<_> = slots.ids().collect();
        ids.sort_unstable();
        assert!(ids.iter().eq(known.keys()));
    }

    #[test]
    fn one_that_stays_does_not_make_the_row_grow() {
        let mut slots = Slots::default();
        slots.insert(StreamId(1), 0);
        for id in (3..200_001).step_by(2) {
            slots.insert(StreamId(id), 1);
            assert_eq!(slots.remove(StreamId(id)), Some(1));
        }
        assert!(slots.row_len() <= EMPTY + 2, "{}", slots.row_len());
        assert_eq!((slots.get(StreamId(1)), slots.len()), (Some(0), 1));
    }
}
