//! A hasher for keys that are numbers of our own making, numbers of streams, or hashes already: one multiplication.
//!
//! A client chooses the numbers of its streams. So each map multiplies by a number of its own, or he could choose those
//! that share a place.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

/// A map by such keys.
pub(crate) type Map<K, V> = HashMap<K, V, Factor>;

/// What the hashes of one map are multiplied by: odd, and not known outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factor(u64);

impl Default for Factor {
    fn default() -> Self {
        Self(RandomState::default().hash_one(0_u64) | 1)
    }
}

impl BuildHasher for Factor {
    type Hasher = Fast;

    fn build_hasher(&self) -> Fast {
        Fast {
            hash: 0,
            factor: self.0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Fast {
    hash: u64,
    factor: u64,
}

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        // The map takes the upper bits for its tags and the lower ones for the place.
        let product = (self.hash ^ n).wrapping_mul(self.factor);
        self.hash = product ^ (product >> 32);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n.unsigned_abs() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_share_a_place_in_one_map_do_not_in_another() {
        let place = |map: Factor, stream: u32| map.hash_one(stream) & 0xfff;
        let chosen_for = Factor::default();
        let chosen: Vec<u32> = (1..4_000_000)
            .step_by(2)
            .filter(|stream| place(chosen_for, *stream) == 7)
            .collect();
        assert!(chosen.len() > 200, "{} were found", chosen.len());
        let other = Factor::default();
        let mut places: Vec<u64> = chosen.iter().map(|stream| place(other, *stream)).collect();
        places.sort_unstable();
        places.dedup();
        assert!(
            places.len() > 50,
            "{} streams have {} places",
            chosen.len(),
            places.len()
        );
    }
}
