//! The same packets, captured a second time under other addresses: before and after an address translation (a
//! service's address and its pod's, a node's masquerading).
//!
//! A translation leaves sequence numbers and TCP timestamps as they are. Those of two connections differ.

use std::collections::{HashMap, VecDeque};

use h2trace_core::event::Timestamp;
use h2trace_core::limits;

use super::networks::EndPair;
use super::tcp::Segment;

/// Segments that a copy is looked for among: it comes within microseconds, between few others.
const RECENT: usize = 256;
/// Timestamps beginning at chance values are beyond this, those that a program makes up are not.
const MADE_UP: u32 = 0xffff;

/// What a translation leaves as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    sequence: u32,
    acknowledges: Option<u32>,
    syn: bool,
    fin: bool,
    len: usize,
    timestamp: Option<u32>,
}

impl Marks {
    fn of(segment: &Segment<'_>) -> Marks {
        Marks {
            sequence: segment.sequence,
            acknowledges: segment.acknowledges,
            syn: segment.syn,
            fin: segment.fin,
            len: segment.payload.len().saturating_add(segment.cut as usize),
            timestamp: segment.timestamp,
        }
    }
}

/// A segment that went by.
#[derive(Debug)]
struct Recent {
    at: Timestamp,
    ends: EndPair,
    side: usize,
    hops: u8,
    marks: Marks,
}

/// Whose packets a pair of ends repeats.
#[derive(Clone, Copy, Debug)]
struct Original {
    ends: EndPair,
    /// The sides stand the other way round.
    turned: bool,
}

/// The pairs of ends that are copies.
#[derive(Debug, Default)]
pub(super) struct Copies {
    recent: VecDeque<Recent>,
    originals: HashMap<EndPair, Original>,
}

impl Copies {
    /// Under which ends a segment is to be taken. `known`: there is a connection of these ends.
    pub(super) fn resolve(
        &mut self,
        ends: EndPair,
        side: usize,
        (segment, hops): (&Segment<'_>, u8),
        at: Timestamp,
        known: bool,
    ) -> (EndPair, usize) {
        let opens = segment.syn && segment.acknowledges.is_none();
        if opens {
            // The ports are used again, by whatever.
            self.originals.remove(&ends);
        }
        let is_new = !known || opens;
        if is_new && !self.originals.contains_key(&ends) {
            self.look(ends, side, (segment, hops), at);
        }
        self.note(ends, side, (segment, hops), at);
        match self.originals.get(&ends) {
            Some(original) if original.turned => (original.ends, 1 - side),
            Some(original) => (original.ends, side),
            None => (ends, side),
        }
    }

    /// The connection of these ends is forgotten.
    pub(super) fn forget(&mut self, ends: &EndPair) {
        if !self.originals.is_empty() {
            self.originals.retain(|_, original| original.ends != *ends);
        }
    }

    /// Looks for what the first segment of a pair of ends repeats.
    fn look(
        &mut self,
        ends: EndPair,
        side: usize,
        (segment, hops): (&Segment<'_>, u8),
        at: Timestamp,
    ) {
        let marks = Marks::of(segment);
        let is_it = |recent: &&Recent| {
            let together = at.since(recent.at) <= limits::CAPTURE_REORDER_NS
                && recent.at.since(at) <= limits::CAPTURE_REORDER_NS;
            let proven = marks.timestamp.is_some_and(|value| value > MADE_UP);
            // Who opens two connections from one port gives them different numbers.
            let opens = marks.syn && marks.acknowledges.is_none();
            let one_source = recent.ends.ends.get(recent.side) == ends.ends.get(side);
            // Into another network with the same ends only a router takes it.
            let is_other_network = recent.ends != ends && recent.hops != hops;
            let differs = recent.ends.ends != ends.ends || is_other_network;
            differs && recent.marks == marks && together && (proven || (opens && one_source))
        };
        let Some(found) = self.recent.iter().rev().find(is_it) else {
            return;
        };
        let (mut original, turned) = (found.ends, found.side != side);
        let mut turned = turned;
        if let Some(first) = self.originals.get(&original) {
            // Of three copies the first is the original of both others.
            original = first.ends;
            turned ^= first.turned;
        }
        if original == ends {
            return;
        }
        if self.originals.len() >= limits::CAPTURE_CONNECTIONS {
            self.originals.clear();
        }
        let original = Original {
            ends: original,
            turned,
        };
        self.originals.insert(ends, original);
    }

    fn note(
        &mut self,
        ends: EndPair,
        side: usize,
        (segment, hops): (&Segment<'_>, u8),
        at: Timestamp,
    ) {
        if segment.rst || (!segment.syn && segment.payload.is_empty()) {
            return;
        }
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent {
            at,
            ends,
            side,
            hops,
            marks: Marks::of(segment),
        });
    }
}
