//! What the order of a thread's work is worth.
//!
//! A proxy with an event loop reads requests and writes them on in one order. One that hands each request to
//! a task or to a worker thread need not: the task that was made last may run first. Such a process shows
//! itself by connections that several threads work on in turn.

use super::fast::Map;
use crate::limits;

/// Of one process.
#[derive(Debug, Default)]
pub(super) struct ThreadOrder {
    /// The thread that last worked on a connection.
    threads: Map<u64, u32>,
    moves: bool,
    /// So many requests went by, and no work moved.
    n_steady: u32,
    /// So many requests are still to go before order is trusted again.
    distrust: u32,
}

impl ThreadOrder {
    /// A thread read a request from this connection, or wrote one to it; false when it cannot be kept.
    pub(super) fn works(&mut self, connection: u64, tid: u32) -> bool {
        if tid == 0 || self.moves {
            return true;
        }
        let is_kept = self.threads.len() < limits::HOP_CONNECTIONS;
        if !is_kept {
            self.threads.clear();
        }
        let before = self.threads.insert(connection, tid);
        if before.is_some_and(|before| before != tid) {
            self.moves = true;
            self.threads = Map::default();
        }
        self.distrust = self.distrust.saturating_sub(1);
        self.n_steady = self.n_steady.saturating_add(1);
        is_kept
    }

    /// So much went by without work that moved that none is expected to.
    pub(super) const fn is_steady(&self) -> bool {
        !self.moves && self.n_steady >= limits::HOP_STEADY
    }

    /// Work moves from thread to thread here: order says nothing.
    pub(super) const fn moves(&self) -> bool {
        self.moves
    }

    /// Order has not been found to be broken lately.
    pub(super) const fn is_trusted(&self) -> bool {
        self.distrust == 0
    }

    /// Requests were passed on in another order than they were read in. `is_explained`: perhaps it only seems so, since
    /// not all of them were seen.
    pub(super) fn was_broken(&mut self, is_explained: bool) {
        let distrust = if is_explained {
            limits::HOP_DISTRUST_UNSEEN
        } else {
            limits::HOP_DISTRUST
        };
        self.distrust = self.distrust.max(distrust);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_two_threads_work_on_tells_of_tasks_that_move() {
        let mut order = ThreadOrder::default();
        assert!(order.works(1, 10) && order.works(2, 11) && order.works(1, 10));
        assert!(!order.moves());
        assert!(order.works(1, 11));
        assert!(order.moves());
    }

    #[test]
    fn broken_order_is_trusted_again_after_a_while() {
        for (is_explained, n) in [
            (false, limits::HOP_DISTRUST),
            (true, limits::HOP_DISTRUST_UNSEEN),
        ] {
            let mut order = ThreadOrder::default();
            order.was_broken(is_explained);
            for _ in 0..n {
                assert!(!order.is_trusted());
                order.works(1, 10);
            }
            assert!(order.is_trusted());
        }
    }

    #[test]
    fn connections_beyond_the_bound_are_said() {
        let mut order = ThreadOrder::default();
        let n = (0..=limits::HOP_CONNECTIONS as u64).filter(|conn| !order.works(*conn, 10));
        assert_eq!(n.count(), 1);
    }
}
