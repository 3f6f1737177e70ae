//! The streams of one connection that are followed, by their ids.

use std::cell::Cell;
use std::collections::VecDeque;

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::stream::live::{Env, Stream};
use crate::stream::state::HalfState;
use crate::stream::table::calm::Calm;
use crate::stream::table::changes::Changes;
use crate::stream::table::slots::Slots;

/// Where a stream lies.
pub(super) type Slot = usize;

/// Streams, and records of streams, whose memory a connection keeps for the next ones at most.
pub(super) const SPARE: usize = 64;

/// Slots that a connection without streams keeps.
const KEPT: usize = 64;

/// The streams that are followed.
#[derive(Debug, Default)]
pub(super) struct Streams {
    by_id: Slots,
    slots: Vec<Option<Box<Stream>>>,
    /// Where the stream lies that was asked for last: what comes next is mostly of the same one.
    last: Cell<Slot>,
    free: Vec<Slot>,
    /// Ids in the order of their opening; some of them are not followed any more.
    opened: VecDeque<StreamId>,
    /// What all their windows change by.
    changes: Changes,
    calm: Calm,
    /// Streams that were looked at because frames were lost.
    #[cfg(test)]
    pub(super) n_lost: usize,
    /// Memory for the next ones: of fewer streams than are followed.
    #[expect(clippy::vec_box, reason = "the boxes themselves go back into a slot")]
    spare: Vec<Box<Stream>>,
}

impl Streams {
    /// Bytes of memory that they take, about.
    pub(super) fn memory(&self) -> usize {
        // An open stream has told some moments and fields, which the stage that joins hops keeps too.
        const EACH: usize = size_of::<Stream>() + 1_400;
        (self.by_id.len() + self.spare.len()) * EACH + self.changes.memory() + self.calm.memory()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn contains(&self, id: StreamId) -> bool {
        self.slot(id).is_some()
    }

    /// A stream. Its windows may not be those of now.
    pub(super) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.slots.get(self.slot(id)?)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        let (slot, n_slots) = (self.slot(id)?, self.slots.len());
        let stream = self.slots.get_mut(slot)?.as_deref_mut()?;
        self.changes.bring(stream);
        self.calm.stir(stream, n_slots);
        Some(stream)
    }

    /// The same where nothing happens on it.
    pub(super) fn get_calm(&mut self, id: StreamId) -> Option<&mut Stream> {
        let slot = self.slot(id)?;
        let stream = self.slots.get_mut(slot)?.as_deref_mut()?;
        self.changes.bring(stream);
        Some(stream)
    }

    /// Frames of `sender` were lost. Returns the streams that do not know it yet, in order.
    pub(super) fn lose(&mut self, sender: Endpoint, at: Timestamp) -> Vec<StreamId> {
        let stirred = self.calm.take(sender);
        let ids = stirred.unwrap_or_else(|| self.ids());
        for id in &ids {
            #[cfg(test)]
            {
                self.n_lost += 1;
            }
            if let Some(stream) = self.get_calm(*id) {
                stream.lost(sender, at);
                *stream.is_calm.of_mut(sender) = true;
            }
        }
        ids
    }

    /// The windows of what `sender` sends change by one of `deltas`, and then by the other.
    pub(super) fn change_windows(&mut self, sender: Endpoint, deltas: [i64; 2], at: Timestamp) {
        if !self.by_id.is_empty() && self.changes.add(sender, deltas, at, self.slots.len()) {
            self.catch_up();
        }
    }

    /// What changes the windows of what `sender` sends may have gone by unseen.
    pub(super) fn forget_windows(&mut self, sender: Endpoint) {
        if !self.by_id.is_empty() {
            self.changes.forget_windows(sender);
        }
    }

    /// The windows of all are those of now.
    pub(super) fn catch_up(&mut self) {
        if self.changes.are_kept() {
            for stream in self.slots.iter_mut().flatten() {
                self.changes.bring(stream);
            }
            self.changes.forget();
        }
    }

    #[inline]
    fn slot(&self, id: StreamId) -> Option<Slot> {
        let last = self.last.get();
        if let Some(Some(stream)) = self.slots.get(last)
            && stream.id == id
        {
            return Some(last);
        }
        self.find(id)
    }

    /// The same of one that was not asked for last.
    fn find(&self, id: StreamId) -> Option<Slot> {
        let slot = self.by_id.get(id)?;
        self.last.set(slot);
        Some(slot)
    }

    /// Follows a new stream, whose halves are in these states.
    pub(super) fn insert(&mut self, id: StreamId, states: (HalfState, HalfState), env: Env<'_>) {
        let mut stream = match self.spare.pop() {
            Some(mut spare) => {
                spare.renew(id, states, env);
                spare
            }
            None => Box::new(Stream::new(id, states.0, states.1, env)),
        };
        stream.caught_up = self.changes.for_new();
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        if let Some(free) = self.slots.get_mut(slot) {
            *free = Some(stream);
        }
        self.calm.begin(id, self.slots.len());
        self.by_id.insert(id, slot);
        self.last.set(slot);
        if self.opened.len() > 2 * self.by_id.len() + 16 {
            let by_id = &self.by_id;
            self.opened.retain(|id| by_id.get(*id).is_some());
        }
        self.opened.push_back(id);
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<Box<Stream>> {
        let slot = self.by_id.remove(id)?;
        let mut stream = self.slots.get_mut(slot)?.take()?;
        self.changes.bring(&mut stream);
        if self.by_id.is_empty() {
            self.slots.clear();
            self.free.clear();
            self.opened.clear();
            self.spare.clear();
            self.changes.forget();
            if self.slots.capacity() > KEPT {
                // What a burst of streams took is given back.
                *self = Streams::default();
            }
        } else {
            self.free.push(slot);
        }
        Some(stream)
    }

    /// A stream that was taken out is not needed any more.
    pub(super) fn spare(&mut self, stream: Box<Stream>) {
        if self.spare.len() < self.len().min(SPARE) {
            self.spare.push(stream);
        }
    }

    /// The stream that was opened first.
    pub(super) fn oldest(&mut self) -> Option<StreamId> {
        while let Some(id) = self.opened.front() {
            if self.by_id.get(*id).is_some() {
                return Some(*id);
            }
            self.opened.pop_front();
        }
        None
    }

    /// Their ids, in order.
    pub(super) fn ids(&self) -> Vec<StreamId> {
        let mut ids: Vec<StreamId> = self.by_id.ids().collect();
        ids.sort_unstable();
        ids
    }

    /// All of them, in no order. Their windows may not be those of now.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.slots.iter().flatten().map(|stream| &**stream)
    }

    /// The same, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.catch_up();
        self.slots.iter_mut().flatten().map(|stream| &mut **stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::condition::FlowBreach;
    use crate::stream::flow::Flow;
    use proptest::prelude::*;

    fn insert(streams: &mut Streams, id: u32) {
        let flow = Flow::new(true);
        let shown = crate::field::Shown::default();
        let env = Env {
            flow: &flow,
            shown: &shown,
            role: Some(Endpoint::Server),
            context: crate::stream::table::Context {
                at: Timestamp(1),
                tid: 1,
                pid: 1,
            },
        };
        streams.insert(StreamId(id), (HalfState::Idle, HalfState::Idle), env);
    }

    #[test]
    fn the_oldest_is_the_one_that_was_opened_first() {
        let mut streams = Streams::default();
        for id in [5, 1, 3] {
            insert(&mut streams, id);
        }
        assert_eq!(streams.oldest(), Some(StreamId(5)));
        assert_eq!(streams.ids(), [1, 3, 5].map(StreamId));
        assert!(streams.remove(StreamId(5)).is_some());
        assert_eq!(streams.oldest(), Some(StreamId(1)));
        insert(&mut streams, 7);
        assert_eq!(streams.get(StreamId(7)).map(|s| s.id), Some(StreamId(7)));
        assert_eq!(streams.len(), 3);
    }

    fn left(stream: &Stream) -> Option<i64> {
        stream.response.window.left()
    }

    #[test]
    fn changes_of_all_windows_are_made_when_a_stream_is_looked_at() {
        let mut streams = Streams::default();
        let (mut now, mut at) = (65_535, 0);
        for id in [1, 3, 5, 7] {
            insert(&mut streams, id);
        }
        for round in 0..300_u32 {
            at += 1;
            let (up, down) = (i64::from(round * 7), -i64::from(round * 5 + 3));
            now += up + down;
            streams.change_windows(Endpoint::Server, [up, down], Timestamp(at));
            if round == 10 {
                // Nobody has looked at it: no walk was made for it.
                assert_eq!(streams.get(StreamId(1)).and_then(left), Some(65_535));
            }
            if round % 3 == 0 {
                assert_eq!(
                    streams.get_mut(StreamId(3)).map(|s| left(s)),
                    Some(Some(now))
                );
            }
        }
        let five = streams.remove(StreamId(5)).unwrap();
        assert_eq!(left(&five), Some(now));
        assert!(streams.iter_mut().all(|stream| left(stream) == Some(now)));
        insert(&mut streams, 9);
        assert_eq!(
            streams.get_mut(StreamId(9)).map(|s| left(s)),
            Some(Some(65_535))
        );
    }

    /// What stands against the rules on its window, and that window.
    fn stands(stream: &Stream) -> (Option<i64>, Option<FlowBreach>) {
        let breach = stream.response.window.breach();
        (left(stream), breach.map(|breach| breach.what))
    }

    proptest! {
        /// However late a stream takes the changes: what comes of them is what comes of one after the other.
        #[test]
        fn changes_taken_late_come_to_the_same(
            changes in prop::collection::vec(
                (any::<bool>(), 0..3_i64, 0..3_i64, 0..6_u32), 0..200
            ),
        ) {
            let (mut late, mut prompt) = (Streams::default(), Streams::default());
            for id in 0..5 {
                insert(&mut late, id);
                insert(&mut prompt, id);
                // Windows of all sorts: overdrawn, used up, nearly too large.
                for streams in [&mut late, &mut prompt] {
                    let window = &mut streams.get_mut(StreamId(id)).unwrap().response.window;
                    window.spend(StreamId(id), id * 30_000, true, Timestamp(1));
                    window.add(StreamId(id), i64::from(id % 2) * 0x7fff_0000, Timestamp(1));
                }
            }
            let sizes = [0, 65_535, 0x7fff_ffff];
            let mut size = 65_535;
            for (n, (other, peak, next, looked_at)) in changes.into_iter().enumerate() {
                let at = Timestamp(2 + n as u64);
                let next = sizes[usize::try_from(next).unwrap()];
                let peak = sizes[usize::try_from(peak).unwrap()].max(size);
                let deltas = [peak - size, next - peak];
                let sender = if other { Endpoint::Client } else { Endpoint::Server };
                if !other {
                    size = next;
                }
                late.change_windows(sender, deltas, at);
                for stream in prompt.slots.iter_mut().flatten() {
                    for delta in deltas {
                        stream.add_window(sender, delta, at);
                    }
                }
                if let Some(stream) = late.get_mut(StreamId(looked_at)) {
                    let prompt = prompt.get(StreamId(looked_at)).unwrap();
                    prop_assert_eq!(stands(stream), stands(prompt));
                    prop_assert_eq!(stream.request.window.left(), prompt.request.window.left());
                }
            }
            for stream in late.iter_mut() {
                prop_assert_eq!(stands(stream), stands(prompt.get(stream.id).unwrap()));
            }
        }
    }

    #[test]
    fn a_window_that_was_too_large_for_one_change_is_told_however_many_follow() {
        let mut streams = Streams::default();
        insert(&mut streams, 1);
        insert(&mut streams, 3);
        let stream = streams.get_mut(StreamId(1)).unwrap();
        stream.response.window.add(StreamId(1), 1, Timestamp(1));
        let largest = 0x7fff_ffff - 65_535;
        for (n, delta) in [5, largest - 5, -largest]
            .into_iter()
            .chain([7, -7].repeat(500))
            .enumerate()
        {
            streams.change_windows(Endpoint::Server, [0, delta], Timestamp(2 + n as u64));
        }
        let breach = |stream: &mut Stream| stream.response.window.breach();
        let one = breach(streams.get_mut(StreamId(1)).unwrap()).unwrap();
        assert_eq!((one.what, one.since), (FlowBreach::TooLarge, Timestamp(3)));
        assert_eq!(breach(streams.get_mut(StreamId(3)).unwrap()), None);
    }

    #[test]
    fn a_flood_of_changes_costs_no_more_with_more_streams() {
        let mut streams = Streams::default();
        for id in 0..4_000 {
            insert(&mut streams, id);
        }
        for (first, sizes) in [(0, [0, 65_535]), (100_000, [65_535, 0]), (200_000, [0, 0])] {
            let before = streams.changes.steps.get();
            let mut size = 65_535;
            for n in 0..20_000 {
                // Up and down, or always less: none of them says what a later one does.
                let next = sizes[usize::from(n % 2 == 0)] - i64::from(n);
                let at = Timestamp(u64::from(first + n));
                streams.change_windows(Endpoint::Server, [0, next - size], at);
                size = next;
                // Each stream is behind by another number of changes.
                streams.get_mut(StreamId(n * 7 % 4_000)).unwrap();
            }
            let steps = streams.changes.steps.get() - before;
            assert!(steps < 30 * 20_000, "{steps}");
        }
    }

    #[test]
    fn windows_that_are_not_known_any_more_stay_so_and_those_of_new_streams_are_known() {
        let mut streams = Streams::default();
        for id in [1, 3] {
            insert(&mut streams, id);
        }
        streams.change_windows(Endpoint::Server, [7, 0], Timestamp(2));
        streams.forget_windows(Endpoint::Server);
        insert(&mut streams, 5);
        streams.change_windows(Endpoint::Server, [9, 0], Timestamp(3));
        let steps = streams.changes.steps.get();
        assert!(steps < 5, "nobody was walked over: {steps}");
        let left_of = |stream: &mut Stream| (left(stream), stream.request.window.left());
        let one = streams.get_mut(StreamId(1)).map(left_of);
        assert_eq!(one, Some((None, Some(65_535))));
        let five = streams.get_mut(StreamId(5)).map(left_of);
        assert_eq!(five, Some((Some(65_544), Some(65_535))));
        let left: Vec<_> = streams.iter_mut().map(|stream| left(stream)).collect();
        assert_eq!(left, [None, None, Some(65_544)]);
    }

    #[test]
    fn one_that_stays_does_not_let_the_others_pile_up() {
        let mut streams = Streams::default();
        insert(&mut streams, 1);
        for id in (3..20_000).step_by(2) {
            insert(&mut streams, id);
            assert!(streams.remove(StreamId(id)).is_some());
        }
        assert!(streams.opened.len() < 32, "{}", streams.opened.len());
        assert_eq!(streams.slots.len(), 2);
        assert!(streams.remove(StreamId(1)).is_some());
        assert_eq!(streams.oldest(), None);
    }
}
