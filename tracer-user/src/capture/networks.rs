//! Overlay networks: equal addresses in two of them are those of different hosts.

use std::collections::HashMap;
use std::net::SocketAddr;

use h2trace_core::limits;

/// The two ends of a connection, the lesser one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EndPair {
    pub(super) ends: [SocketAddr; 2],
    /// Of which network, of those that have such ends.
    nth: usize,
}

/// What the packets of one pair of ends are numbered with, by who sends them: some overlays have a number for each
/// direction.
type Numbers = [Option<u32>; 2];

/// The networks of ends that were seen in one.
#[derive(Debug, Default)]
pub(super) struct Networks {
    known: HashMap<[SocketAddr; 2], Vec<Numbers>>,
    n_known: usize,
}

impl Networks {
    /// Whose packet it is that `ends[side]` sent in the network of this number, or outside of all of them: the same
    /// packet may be captured there too.
    pub(super) fn pair(
        &mut self,
        ends: [SocketAddr; 2],
        side: usize,
        number: Option<u32>,
    ) -> EndPair {
        let nth = number.map_or(0, |number| self.nth(ends, side, number));
        EndPair { ends, nth }
    }

    fn nth(&mut self, ends: [SocketAddr; 2], side: usize, number: u32) -> usize {
        let is_full = self.n_known >= limits::CAPTURE_CONNECTIONS;
        let known = match self.known.get_mut(&ends) {
            Some(known) => known,
            None if is_full => return 0,
            None => self.known.entry(ends).or_default(),
        };
        let of = |numbers: &Numbers, side: usize| numbers.get(side).copied().flatten();
        let is_same = |numbers: &&mut Numbers| of(numbers, side) == Some(number);
        let answers = |numbers: &&mut Numbers| {
            of(numbers, side).is_none() && of(numbers, 1 - side) == Some(number)
        };
        let is_silent = |numbers: &&mut Numbers| of(numbers, side).is_none();
        let tests: [&dyn Fn(&&mut Numbers) -> bool; 3] = [&is_same, &answers, &is_silent];
        for test in tests {
            let found = known
                .iter_mut()
                .enumerate()
                .find(|(_, numbers)| test(numbers));
            if let Some((nth, numbers)) = found {
                if let Some(of_side) = numbers.get_mut(side) {
                    *of_side = Some(number);
                }
                return nth;
            }
        }
        if is_full {
            return 0;
        }
        let mut numbers = [None; 2];
        if let Some(of_side) = numbers.get_mut(side) {
            *of_side = Some(number);
        }
        known.push(numbers);
        self.n_known += 1;
        known.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> [SocketAddr; 2] {
        ["10.0.0.1:40000", "10.0.0.2:50051"].map(|end| end.parse().unwrap())
    }

    #[test]
    fn equal_ends_in_two_networks_are_two_pairs() {
        let mut networks = Networks::default();
        let mut nth = |side, number| networks.pair(ends(), side, number).nth;
        assert_eq!((nth(0, Some(7)), nth(0, Some(9))), (0, 1));
        // Whoever answers first.
        assert_eq!((nth(1, Some(9)), nth(1, Some(7))), (1, 0));
        assert_eq!((nth(0, Some(7)), nth(0, Some(9)), nth(1, None)), (0, 1, 0));
    }

    #[test]
    fn a_network_may_have_a_number_for_each_direction() {
        let mut networks = Networks::default();
        let mut nth = |side, number| networks.pair(ends(), side, number).nth;
        // First seen outside.
        assert_eq!(nth(0, None), 0);
        assert_eq!(
            (nth(0, Some(7)), nth(1, Some(9)), nth(0, Some(7))),
            (0, 0, 0)
        );
        assert_eq!(
            (nth(0, Some(8)), nth(1, Some(9)), nth(1, Some(8))),
            (1, 0, 1)
        );
    }
}
