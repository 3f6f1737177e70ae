//! One budget of memory for all connections, and whose share of it is the largest.

use std::collections::BTreeSet;

use crate::event::SocketKey;

/// What is accounted to one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    bytes: usize,
    /// See [`class`].
    class: u32,
}

/// Shares below this are not told apart: giving up what they hold would bring nothing.
const SMALL: usize = 16 * 1024;

/// How large a share is, in steps of an eighth: connections are put in order anew only when they come to another step.
/// 0: small.
fn class(bytes: usize) -> u32 {
    if bytes < SMALL {
        return 0;
    }
    let log = bytes.ilog2();
    let eighth = (bytes >> (log - 3)) & 7;
    log * 8 + eighth as u32
}

/// The budget.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    total: usize,
    /// Connections with more than a small share, in the order of their classes.
    large: BTreeSet<(u32, SocketKey)>,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Budget {
        Budget {
            limit,
            total: 0,
            large: BTreeSet::new(),
        }
    }

    /// A connection takes so much now; 0: it is gone.
    #[inline]
    pub(super) fn account(&mut self, key: SocketKey, share: &mut Share, bytes: usize) {
        if bytes == share.bytes {
            return;
        }
        self.total = (self.total + bytes).saturating_sub(share.bytes);
        share.bytes = bytes;
        // A small share is of one class.
        if share.class == 0 && bytes < SMALL {
            return;
        }
        self.sort(key, share, class(bytes));
    }

    fn sort(&mut self, key: SocketKey, share: &mut Share, class: u32) {
        if class != share.class {
            if share.class != 0 {
                self.large.remove(&(share.class, key));
            }
            if class != 0 {
                self.large.insert((class, key));
            }
            share.class = class;
        }
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.total > self.limit
    }

    /// Room was made, and some more, so that it does not have to be made for every record.
    pub(super) fn has_room(&self) -> bool {
        self.total <= self.limit - self.limit / 16
    }

    /// Who has the largest share, if anybody has more than a small one.
    pub(super) fn largest(&self) -> Option<SocketKey> {
        self.large.last().map(|(_, key)| *key)
    }

    /// Accounted bytes.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn clear(&mut self) {
        *self = Budget::new(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_share_is_found_and_all_are_added_up() {
        let mut budget = Budget::new(1 << 20);
        let mut shares = [Share::default(); 3];
        let key = |n: usize| SocketKey {
            sk: n as u64,
            born_ns: 0,
        };
        for (n, bytes) in [(0, 40_000), (1, 900_000), (2, 10_000), (0, 50_000)] {
            budget.account(key(n), &mut shares[n], bytes);
        }
        assert_eq!(budget.largest(), Some(key(1)));
        assert_eq!(budget.total(), 960_000);
        assert!(!budget.is_exceeded());
        budget.account(key(2), &mut shares[2], 200_000);
        assert!(budget.is_exceeded() && !budget.has_room());
        budget.account(key(1), &mut shares[1], 0);
        assert_eq!(budget.largest(), Some(key(2)));
        budget.account(key(2), &mut shares[2], 0);
        budget.account(key(0), &mut shares[0], SMALL - 1);
        assert_eq!((budget.largest(), budget.total()), (None, SMALL - 1));
    }
}
