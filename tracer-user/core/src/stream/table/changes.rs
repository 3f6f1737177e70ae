//! Changes of the windows of all streams, which each stream catches up with when it is looked at: a peer may send such a
//! change in 15 bytes, as often as it likes, to thousands of streams.
//!
//! A stream takes all that it missed as two changes: up to the highest that its window was meanwhile, which may have been
//! too large (RFC 9113 section 6.9.2), and from there to what it is now.

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::stream::live::Stream;
use crate::stream::pair::Pair;

/// So many peaks are kept however few the streams are.
const KEPT: usize = 64;

/// How far a stream has caught up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CaughtUp {
    /// With so many changes.
    n: u64,
    /// What they come to.
    sums: Pair<i64>,
}

/// What the changes of one end's windows came to after the `n`th.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    n: u64,
    sum: i64,
    at: Timestamp,
}

/// The changes of what one end sends.
#[derive(Clone, Debug, Default)]
struct Side {
    last: Sum,
    /// With the change of this number they were not known any more.
    unknown_at: u64,
    /// The highest sums: each is the highest of all since the one before it, so that they only go down.
    peaks: Vec<Sum>,
}

/// All changes, summed.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    now: CaughtUp,
    sides: Pair<Side>,
    /// No stream has caught up with more than so many.
    caught_up: u64,
    /// All have caught up with so many.
    all_caught_up: u64,
    /// What was done for it all.
    #[cfg(test)]
    pub(super) steps: std::cell::Cell<u64>,
}

impl Changes {
    /// One more of what `sender` sends, by one of `deltas` and then by the other. True when all of the `n_streams` have to
    /// catch up now, after which [`Changes::forget`] is called: that walk is shared by as many changes as there are streams.
    pub(super) fn add(
        &mut self,
        sender: Endpoint,
        deltas: [i64; 2],
        at: Timestamp,
        n_streams: usize,
    ) -> bool {
        self.step(1);
        self.now.n = self.now.n.saturating_add(1);
        let (n, before) = (self.now.n, *self.now.sums.of(sender));
        let first = before.saturating_add(deltas[0]);
        let sum = first.saturating_add(deltas[1]);
        let peak = first.max(sum);
        *self.now.sums.of_mut(sender) = sum;
        let side = self.sides.of_mut(sender);
        side.last = Sum { n, sum, at };
        let n_before = side.peaks.len();
        while side.peaks.pop_if(|last| last.sum < peak).is_some() {}
        let n_steps = n_before - side.peaks.len();
        // Who has yet to take the peak before it does not ask for a lower one.
        let is_covered = side
            .peaks
            .last()
            .is_some_and(|last| self.caught_up < last.n);
        if !is_covered {
            side.peaks.push(Sum { n, sum: peak, at });
        }
        let is_full = side.peaks.len() > n_streams.max(KEPT);
        self.step(n_steps);
        is_full
    }

    /// A change of what `sender` sends may have gone by unseen.
    pub(super) fn forget_windows(&mut self, sender: Endpoint) {
        self.step(1);
        self.now.n = self.now.n.saturating_add(1);
        let side = self.sides.of_mut(sender);
        side.unknown_at = self.now.n;
        // Nothing comes of these any more.
        side.peaks.clear();
    }

    /// What a new stream knows of.
    pub(super) const fn for_new(&mut self) -> CaughtUp {
        self.caught_up = self.now.n;
        self.now
    }

    /// Some stream may not have caught up.
    pub(super) const fn are_kept(&self) -> bool {
        self.all_caught_up != self.now.n
    }

    /// All streams have caught up.
    pub(super) fn forget(&mut self) {
        self.all_caught_up = self.now.n;
        self.sides.client.peaks.clear();
        self.sides.server.peaks.clear();
    }

    /// Bytes of memory that they take.
    pub(super) const fn memory(&self) -> usize {
        (self.sides.client.peaks.len() + self.sides.server.peaks.len()) * size_of::<Sum>()
    }

    /// A stream catches up.
    #[inline]
    pub(super) fn bring(&mut self, stream: &mut Stream) {
        if stream.caught_up.n != self.now.n {
            self.bring_late(stream);
        }
    }

    #[cold]
    fn bring_late(&mut self, stream: &mut Stream) {
        let before = std::mem::replace(&mut stream.caught_up, self.for_new());
        for sender in [Endpoint::Client, Endpoint::Server] {
            let side = self.sides.of(sender);
            if side.unknown_at > before.n {
                stream.window_unknown(sender);
            }
            if side.last.n <= before.n {
                continue;
            }
            let missed = side.peaks.partition_point(|peak| peak.n <= before.n);
            let peak = side.peaks.get(missed).unwrap_or(&side.last);
            let known = *before.sums.of(sender);
            stream.add_window(sender, peak.sum.saturating_sub(known), peak.at);
            stream.add_window(sender, side.last.sum.saturating_sub(peak.sum), side.last.at);
            self.step(2 + side.peaks.len().checked_ilog2().unwrap_or(0) as usize);
        }
    }

    #[cfg(test)]
    fn step(&self, n: usize) {
        self.steps.set(self.steps.get() + n as u64);
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests count")]
    const fn step(&self, _: usize) {}
}
