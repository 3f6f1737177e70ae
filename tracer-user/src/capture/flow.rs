//! One direction of a TCP connection: segments in, bytes in order out.

use std::collections::BTreeMap;

use h2trace_core::event::Timestamp;
use h2trace_core::limits;

use super::tcp::Segment;

/// Further ahead than this no sequence number is believed: the largest window (RFC 7323 section 2.3).
const FURTHEST: u64 = 1 << 30;
/// What a waiting run costs beside its bytes.
const RUN_OVERHEAD: usize = 128;

/// A run of bytes. `cut` more bytes follow that were on the wire and not captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) at: Timestamp,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) cut: u32,
}

/// Where the bytes of a segment stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placed<'a> {
    /// All of them were here before.
    Old,
    /// So far ahead that it cannot be.
    Implausible,
    /// They come next: here they are, without those that were here before.
    Next {
        offset: u64,
        bytes: &'a [u8],
        cut: u32,
    },
    /// They wait in the flow, because others are missing before them (`ahead`) or on request.
    Waits { ahead: bool },
}

/// One direction. Offsets count from the first byte after SYN, or from the first byte seen.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Sequence number of offset 0.
    base: Option<u32>,
    /// Offset of the byte that is to be handed out next.
    next: u64,
    waiting: BTreeMap<u64, Run>,
    /// What waits, each stretch without a hole from its beginning to its end: a segment that overlaps many runs costs no
    /// more than one that overlaps none.
    covered: BTreeMap<u64, u64>,
    waiting_bytes: usize,
    /// How far the other end has acknowledged.
    acknowledged: u64,
    /// Where FIN stands, and when it went by.
    fin: Option<u64>,
    fin_at: Option<Timestamp>,
    /// Since when something is missing that later packets prove to have been sent; then since when the
    /// receiver is known to have it.
    missing_since: Option<Timestamp>,
    received_since: Option<Timestamp>,
}

impl Flow {
    pub(super) fn base(&self) -> Option<u32> {
        self.base
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// How far the bytes are known to go.
    pub(super) fn known_end(&self) -> u64 {
        let waiting = self.waiting.last_key_value();
        let waiting = waiting.map_or(0, |(offset, run)| end(*offset, run.bytes.len(), run.cut));
        self.next
            .max(waiting)
            .max(self.acknowledged)
            .max(self.fin.unwrap_or(0))
    }

    /// The sequence number of the first byte is known.
    pub(super) fn begin(&mut self, sequence: u32) {
        self.base.get_or_insert(sequence);
    }

    /// True when everything up to FIN was handed out.
    pub(super) fn finished(&self) -> bool {
        self.fin.is_some_and(|fin| self.next >= fin)
    }

    /// What was handed out ends there: nothing before `sequence` is missing.
    pub(super) fn stands_at(&self, sequence: u32) -> bool {
        self.offset(sequence) == Some(self.next)
    }

    /// The other end has acknowledged everything before `sequence`.
    pub(super) fn acknowledge(&mut self, sequence: u32, at: Timestamp) {
        self.begin(sequence);
        let Some(offset) = self.offset(sequence) else {
            return;
        };
        // FIN takes a number of its own.
        let offset = self.fin.map_or(offset, |fin| offset.min(fin));
        if offset.saturating_sub(self.next) <= FURTHEST {
            self.acknowledged = self.acknowledged.max(offset);
        }
        self.watch(at);
    }

    /// Takes a segment's payload and FIN. `held`: nothing may be handed out now.
    pub(super) fn take<'a>(
        &mut self,
        segment: &Segment<'a>,
        at: Timestamp,
        held: bool,
    ) -> Placed<'a> {
        self.begin(segment.sequence);
        let next = i128::from(self.next);
        let Some(offset) = self.signed_offset(segment.sequence) else {
            return Placed::Implausible;
        };
        let captured = segment.payload.len();
        let after = offset + captured as i128 + i128::from(segment.cut);
        if after > next + i128::from(FURTHEST) {
            return Placed::Implausible;
        }
        if let (true, Ok(after)) = (segment.fin, u64::try_from(after)) {
            self.fin.get_or_insert(after);
            self.fin_at.get_or_insert(at);
            self.acknowledged = self.acknowledged.min(after);
        }
        if after <= next {
            self.watch(at);
            return Placed::Old;
        }
        // What was handed out before stays: the first copy wins.
        let known = usize::try_from((next - offset).max(0)).unwrap_or(usize::MAX);
        let bytes = segment.payload.get(known..).unwrap_or_default();
        let cut_known = known.saturating_sub(captured);
        let cut = segment.cut - u32::try_from(cut_known).unwrap_or(segment.cut);
        let offset = u64::try_from(offset.max(next)).unwrap_or(self.next);
        if offset == self.next && self.waiting.is_empty() && !held {
            self.next = end(offset, bytes.len(), cut);
            self.watch(at);
            return Placed::Next { offset, bytes, cut };
        }
        let ahead = offset > self.next && !self.waiting.contains_key(&self.next);
        self.wait(offset, bytes, cut, at);
        self.watch(at);
        Placed::Waits { ahead }
    }

    /// When FIN went by, if it was captured.
    pub(super) fn fin_at(&self) -> Option<Timestamp> {
        self.fin_at
    }

    /// When the run went by that waits first, if nothing before it is missing.
    pub(super) fn ready_at(&self) -> Option<Timestamp> {
        let (offset, run) = self.waiting.first_key_value()?;
        (*offset == self.next).then_some(run.at)
    }

    /// When it showed that something is missing: the packet behind it went by, or what answers it.
    pub(super) fn missed_at(&self) -> Option<Timestamp> {
        let behind = self.waiting.first_key_value().map(|(_, run)| run.at);
        match (behind, self.missing_since) {
            (Some(behind), Some(since)) => Some(behind.min(since)),
            (behind, since) => behind.or(since),
        }
    }

    /// The next run, when nothing before it is missing.
    pub(super) fn ready(&mut self, now: Timestamp) -> Option<Run> {
        let entry = self.waiting.first_entry()?;
        if *entry.key() != self.next {
            return None;
        }
        let run = entry.remove();
        self.waiting_bytes = self
            .waiting_bytes
            .saturating_sub(run.bytes.len() + RUN_OVERHEAD);
        self.next = end(run.offset, run.bytes.len(), run.cut);
        while let Some(first) = self.covered.first_entry()
            && *first.get() <= self.next
        {
            first.remove();
        }
        // What is missing now, if anything is, is something else.
        self.missing_since = None;
        self.received_since = None;
        self.watch(now);
        Some(run)
    }

    /// True when the receiver has bytes that the capture does not have: what it says after that is an
    /// answer to them.
    pub(super) fn lacks_received(&self) -> bool {
        self.received_since.is_some()
    }

    /// When to stop waiting for what is missing.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let lost = self
            .received_since
            .map(|at| at.0.saturating_add(limits::CAPTURE_REORDER_NS));
        let late = self
            .missing_since
            .map(|at| at.0.saturating_add(limits::CAPTURE_HOLE_NS));
        match (lost, late) {
            (Some(lost), Some(late)) => Some(Timestamp(lost.min(late))),
            (lost, late) => lost.or(late).map(Timestamp),
        }
    }

    /// Stops waiting for the first missing bytes and says how many they are; 0: none are missing.
    pub(super) fn give_up(&mut self, now: Timestamp) -> u64 {
        let until = match self.waiting.first_key_value() {
            Some((offset, _)) => *offset,
            None if self.fin.is_none() && self.acknowledged == self.next + 1 => {
                // One number more than the bytes: the FIN itself is what the capture lacks.
                self.fin = Some(self.next);
                self.acknowledged = self.next;
                self.next
            }
            None => self.known_end(),
        };
        let lost = until.saturating_sub(self.next);
        self.next = self.next.max(until);
        self.missing_since = None;
        self.received_since = None;
        self.watch(now);
        lost
    }

    /// Notes since when something is missing.
    fn watch(&mut self, at: Timestamp) {
        let ready = self
            .waiting
            .first_key_value()
            .is_some_and(|(offset, _)| *offset == self.next);
        if ready || self.known_end() <= self.next {
            self.missing_since = None;
            self.received_since = None;
            return;
        }
        self.missing_since.get_or_insert(at);
        if self.acknowledged > self.next {
            self.received_since.get_or_insert(at);
        }
    }

    fn wait(&mut self, offset: u64, bytes: &[u8], cut: u32, at: Timestamp) {
        let after = end(offset, bytes.len(), cut);
        let mut start = offset;
        while start < after {
            let before = self.covered.range(..=start).next_back();
            let taken = before.map_or(0, |(_, end)| *end);
            if taken > start {
                start = taken;
                continue;
            }
            let until = self.covered.range(start..).next();
            let until = until.map_or(after, |(offset, _)| after.min(*offset));
            let from = usize::try_from(start - offset).unwrap_or(usize::MAX);
            let to = usize::try_from(until - offset).unwrap_or(usize::MAX);
            let part = bytes
                .get(from.min(bytes.len())..to.min(bytes.len()))
                .unwrap_or_default();
            let len = until - start;
            let run = Run {
                at,
                offset: start,
                bytes: part.to_vec(),
                cut: u32::try_from(len - part.len() as u64).unwrap_or(u32::MAX),
            };
            self.waiting_bytes += part.len() + RUN_OVERHEAD;
            self.waiting.insert(start, run);
            start = until;
        }
        self.cover(offset, after);
    }

    /// Notes that everything from `start` to `end` waits. Each stretch that is joined to others was noted once.
    fn cover(&mut self, mut start: u64, mut end: u64) {
        while let Some((first, last)) = self.covered.range(..=end).next_back()
            && *last >= start
        {
            let first = *first;
            (start, end) = (start.min(first), end.max(*last));
            self.covered.remove(&first);
        }
        if start < end {
            self.covered.insert(start, end);
        }
    }

    fn offset(&self, sequence: u32) -> Option<u64> {
        u64::try_from(self.signed_offset(sequence)?).ok()
    }

    /// Sequence numbers wrap (RFC 9293 section 3.4): the one nearest to what comes next is meant.
    fn signed_offset(&self, sequence: u32) -> Option<i128> {
        let next = self.base?.wrapping_add(self.next as u32);
        let distance = sequence.wrapping_sub(next).cast_signed();
        Some(i128::from(self.next) + i128::from(distance))
    }
}

/// Where a run ends.
fn end(offset: u64, captured: usize, cut: u32) -> u64 {
    offset
        .saturating_add(captured as u64)
        .saturating_add(u64::from(cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(flow: &mut Flow, offset: u64, len: usize) {
        flow.wait(offset, &vec![b'x'; len], 0, Timestamp(1));
    }

    #[test]
    fn stretches_that_touch_are_one_and_go_with_what_is_handed_out() {
        let mut flow = Flow::default();
        for offset in [10, 30, 50] {
            wait(&mut flow, offset, 10);
        }
        let covered = |flow: &Flow| flow.covered.clone().into_iter().collect::<Vec<_>>();
        assert_eq!(covered(&flow), [(10, 20), (30, 40), (50, 60)]);
        wait(&mut flow, 20, 10);
        assert_eq!(covered(&flow), [(10, 40), (50, 60)]);
        // Over all of it, and what is there already stays.
        wait(&mut flow, 0, 55);
        assert_eq!(covered(&flow), [(0, 60)]);
        let lengths: Vec<usize> = flow.waiting.values().map(|run| run.bytes.len()).collect();
        assert_eq!(lengths, [10, 10, 10, 10, 10, 10]);
        while flow.ready(Timestamp(2)).is_some() {}
        assert_eq!(
            (flow.next(), covered(&flow), flow.waiting_bytes()),
            (60, vec![], 0)
        );
    }

    #[test]
    fn segment_over_many_runs_costs_what_it_adds() {
        let mut flow = Flow::default();
        for n in 0..20_000 {
            wait(&mut flow, 100 + 2 * n, 1);
        }
        let began = std::time::Instant::now();
        for _ in 0..20_000 {
            flow.wait(100, &[], 60_000, Timestamp(1));
        }
        // By walking over all runs each time it was half a minute.
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
        assert_eq!(flow.covered.len(), 1);
    }
}
