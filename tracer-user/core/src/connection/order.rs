//! Is a run of bytes the one that follows the last?

/// Where a run of bytes stands against what came before in its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// Nothing of this direction was seen before; it begins at the connection's first byte or not.
    First {
        /// Offset 0 of a connection that was seen from its start.
        at_start: bool,
    },
    /// Follows without a hole.
    Follows,
    /// So many bytes are missing between the last run and this one.
    Gap(u64),
    /// Lies (partly) before the end of the last run: a record told twice, or a reset counter.
    Behind,
}

/// Follows the offsets of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    expected: Option<u64>,
}

impl Order {
    /// Takes a run of `len` bytes at `offset` and says how it follows.
    pub fn take(&mut self, offset: u64, len: u64, from_start: bool) -> Continuity {
        let continuity = match self.expected {
            None => Continuity::First {
                at_start: from_start && offset == 0,
            },
            Some(expected) if offset == expected => Continuity::Follows,
            Some(expected) if offset > expected => Continuity::Gap(offset - expected),
            Some(_) => Continuity::Behind,
        };
        self.expected = Some(offset.saturating_add(len));
        continuity
    }

    /// Takes a run that follows the last one without a hole. False: it does not, and nothing was taken.
    #[inline]
    pub fn follow(&mut self, offset: u64, len: u64) -> bool {
        let follows = self.expected == Some(offset);
        if follows {
            self.expected = Some(offset.saturating_add(len));
        }
        follows
    }

    /// How many bytes before `end` were never told. Offsets count from the first byte seen: where nothing
    /// was told, it is all of them.
    #[must_use]
    pub fn missing_until(&self, end: u64) -> u64 {
        end.saturating_sub(self.expected.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_follow_each_other_have_no_gap() {
        let mut order = Order::default();
        assert_eq!(
            order.take(0, 10, true),
            Continuity::First { at_start: true }
        );
        assert_eq!(order.take(10, 5, true), Continuity::Follows);
        assert_eq!(order.missing_until(15), 0);
        assert_eq!(order.missing_until(20), 5);
    }

    #[test]
    fn a_jump_tells_how_many_bytes_are_missing() {
        let mut order = Order::default();
        order.take(100, 10, false);
        assert_eq!(order.take(150, 1, false), Continuity::Gap(40));
        assert_eq!(order.take(120, 1, false), Continuity::Behind);
    }

    #[test]
    fn offset_zero_is_the_start_only_when_the_opening_was_seen() {
        assert_eq!(
            Order::default().take(0, 1, false),
            Continuity::First { at_start: false }
        );
        assert_eq!(
            Order::default().take(3, 1, true),
            Continuity::First { at_start: false }
        );
    }
}
