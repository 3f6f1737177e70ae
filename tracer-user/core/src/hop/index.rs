//! Requests by hashes of what they carry.

use super::fast::Map;

/// Which requests carry something: how many, and which one if it is one.
#[derive(Debug, Default)]
pub(super) struct Index(Map<u64, KeyCount>);

#[derive(Clone, Copy, Debug, Default)]
struct KeyCount {
    n: u32,
    /// The sum of the keys: of one, its key.
    sum: u64,
}

/// What an index says of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexMatch {
    /// No request carries it.
    None,
    /// This one, and no other.
    One(u64),
    Several,
}

impl Index {
    pub(super) fn add(&mut self, hash: u64, key: u64) {
        let counted = self.0.entry(hash).or_default();
        counted.n = counted.n.saturating_add(1);
        counted.sum = counted.sum.wrapping_add(key);
    }

    pub(super) fn remove(&mut self, hash: u64, key: u64) {
        if let Some(counted) = self.0.get_mut(&hash) {
            counted.n = counted.n.saturating_sub(1);
            counted.sum = counted.sum.wrapping_sub(key);
            if counted.n == 0 {
                self.0.remove(&hash);
            }
        }
    }

    pub(super) fn find(&self, hash: u64) -> IndexMatch {
        match self.0.get(&hash) {
            None => IndexMatch::None,
            Some(KeyCount { n: 1, sum }) => IndexMatch::One(*sum),
            Some(_) => IndexMatch::Several,
        }
    }
}
