//! Up to when all that happened has been read: the time that timers are told.

use h2trace_core::event::Timestamp;

/// For so long a record may come behind one of a later time: a kernel program takes the time before it takes a place in the
/// ring, and may be interrupted in between.
const BEHIND_NS: u64 = 100_000_000;

/// Up to when all that happened has been read.
#[derive(Debug, Default)]
pub(super) struct Horizon(Timestamp);

impl Horizon {
    /// After a drain that began at `began`, whose last record is of `last`; `is_more`: the ring was not read to its end. What
    /// waits there is not much older than what was read, so that a ring that never gets empty holds up no timer.
    pub(super) fn after(
        &mut self,
        began: Timestamp,
        last: Option<Timestamp>,
        is_more: bool,
    ) -> Timestamp {
        let reached = match last {
            Some(last) if is_more => Timestamp(last.0.saturating_sub(BEHIND_NS)).min(began),
            None if is_more => self.0,
            _ => began,
        };
        self.0 = self.0.max(reached);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_ring_that_never_gets_empty_holds_up_no_timer() {
        let mut horizon = Horizon::default();
        for n in 10..20 {
            // The reader is behind, and time passes all the same.
            let (began, last) = (Timestamp(n * 3 * S), Some(Timestamp(n * S)));
            let reached = horizon.after(began, last, true);
            assert_eq!(reached, Timestamp(n * S - BEHIND_NS));
        }
    }

    #[test]
    fn an_empty_ring_has_nothing_older() {
        let mut horizon = Horizon::default();
        let now = Timestamp(7 * S);
        assert_eq!(horizon.after(now, None, false), now);
        assert_eq!(horizon.after(now, Some(Timestamp(S)), false), now);
    }

    #[test]
    fn time_never_goes_back() {
        let mut horizon = Horizon::default();
        let (now, later) = (Timestamp(7 * S), Timestamp(8 * S));
        horizon.after(now, None, false);
        for last in [None, Some(now), Some(Timestamp(S))] {
            assert_eq!(horizon.after(later, last, true), now, "{last:?}");
        }
        // What comes while it is read is no reason to tell of the future.
        assert_eq!(horizon.after(later, Some(Timestamp(9 * S)), true), later);
    }
}
