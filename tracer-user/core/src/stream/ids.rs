//! Which streams are over (RFC 9113 section 5.1.1), so that a late frame does not make a new stream of
//! an old one, and which may have been opened out of sight.

use std::collections::VecDeque;

use crate::connection::Endpoint;
use crate::frame::StreamId;
use crate::limits;

/// Ids that one endpoint opens.
#[derive(Clone, Copy, Debug)]
struct OpenedIds {
    /// The highest that was seen to be opened.
    highest: u32,
    /// Ids up to this one may have been opened out of sight.
    unseen_to: u32,
}

/// The ids of one connection.
#[derive(Clone, Debug)]
pub(super) struct ConnectionIds {
    client: OpenedIds,
    server: OpenedIds,
    /// Streams that ended lately.
    ended: VecDeque<StreamId>,
    /// The highest id that ended.
    highest_ended: StreamId,
    /// Ids that were passed over and can't be opened any more: first and last, lately seen.
    skipped: VecDeque<(u32, u32)>,
}

impl ConnectionIds {
    /// `from_start`: the connection was seen from its first byte.
    pub(super) const fn new(from_start: bool) -> Self {
        let opened = OpenedIds {
            highest: 0,
            unseen_to: if from_start { 0 } else { u32::MAX },
        };
        ConnectionIds {
            client: opened,
            server: opened,
            ended: VecDeque::new(),
            highest_ended: StreamId(0),
            skipped: VecDeque::new(),
        }
    }

    /// Some stream's opening was seen.
    pub(super) const fn has_opened(&self) -> bool {
        self.client.highest > 0 || self.server.highest > 0
    }

    /// The stream's opening was seen (HEADERS, PUSH_PROMISE).
    pub(super) fn on_open(&mut self, id: StreamId) {
        let before = *self.of(initiator(id));
        let first = before.highest.saturating_add(1);
        if id.0 > before.highest.saturating_add(2) && first > before.unseen_to {
            if self.skipped.len() >= limits::SKIPPED_IDS {
                self.skipped.pop_front();
            }
            self.skipped.push_back((first, id.0.saturating_sub(1)));
        }
        let opened = self.of_mut(initiator(id));
        if id.0 > opened.highest {
            // Ids only grow: those above can't have been opened out of sight.
            opened.unseen_to = opened.unseen_to.min(id.0.saturating_sub(1));
            opened.highest = id.0;
        }
    }

    /// The id was passed over: whoever opens it now opens streams in falling order (RFC 9113 section 5.1.1).
    pub(super) fn was_skipped(&self, id: StreamId) -> bool {
        self.skipped.iter().any(|(first, last)| {
            (*first..=*last).contains(&id.0)
                && initiator(StreamId(last.saturating_add(1))) == initiator(id)
        })
    }

    pub(super) fn on_end(&mut self, id: StreamId) {
        if self.ended.len() >= limits::ENDED_IDS {
            self.ended.pop_front();
        }
        self.ended.push_back(id);
        self.highest_ended = self.highest_ended.max(id);
    }

    /// Frames of `sender` may have gone by unseen, and with them streams that it opened.
    pub(super) fn on_loss(&mut self, sender: Endpoint) {
        self.of_mut(sender).unseen_to = u32::MAX;
    }

    /// Higher than every id that was opened.
    pub(super) fn is_new(&self, id: StreamId) -> bool {
        id.0 > self.of(initiator(id)).highest
    }

    /// Nobody has opened the stream, nor passed over its id.
    pub(super) fn is_idle(&self, id: StreamId) -> bool {
        self.is_new(id) && !self.may_be_unseen(id)
    }

    /// The stream may have been opened out of sight.
    pub(super) fn may_be_unseen(&self, id: StreamId) -> bool {
        id.0 <= self.of(initiator(id)).unseen_to
    }

    /// A stream that is not followed is over, as far as is known.
    pub(super) fn is_over(&self, id: StreamId) -> bool {
        (!self.is_new(id) && !self.may_be_unseen(id))
            || (id <= self.highest_ended && self.ended.contains(&id))
    }

    const fn of(&self, initiator: Endpoint) -> &OpenedIds {
        match initiator {
            Endpoint::Client => &self.client,
            Endpoint::Server => &self.server,
        }
    }

    const fn of_mut(&mut self, initiator: Endpoint) -> &mut OpenedIds {
        match initiator {
            Endpoint::Client => &mut self.client,
            Endpoint::Server => &mut self.server,
        }
    }
}

/// Who opens streams of this id (RFC 9113 section 5.1.1).
pub(crate) const fn initiator(id: StreamId) -> Endpoint {
    match id.0 % 2 {
        1 => Endpoint::Client,
        _ => Endpoint::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seen_from_the_start_lower_ids_are_over() {
        let mut ids = ConnectionIds::new(true);
        assert!(!ids.is_over(StreamId(9)));
        ids.on_open(StreamId(9));
        assert!(ids.is_over(StreamId(7)));
        assert!(!ids.is_over(StreamId(11)));
        assert!(!ids.is_over(StreamId(2)));
        assert!(!ids.may_be_unseen(StreamId(11)));
    }

    #[test]
    fn attached_late_lower_ids_may_be_alive_until_they_ended() {
        let mut ids = ConnectionIds::new(false);
        assert!(ids.may_be_unseen(StreamId(101)));
        ids.on_open(StreamId(101));
        assert!(ids.may_be_unseen(StreamId(99)));
        assert!(!ids.may_be_unseen(StreamId(103)));
        assert!(!ids.is_over(StreamId(57)));
        ids.on_end(StreamId(57));
        assert!(ids.is_over(StreamId(57)));
        ids.on_open(StreamId(201));
        assert!(ids.is_over(StreamId(103)));
        assert!(!ids.is_over(StreamId(55)));
    }

    #[test]
    fn after_a_gap_streams_may_have_been_opened_out_of_sight() {
        let mut ids = ConnectionIds::new(true);
        ids.on_open(StreamId(1));
        ids.on_end(StreamId(1));
        ids.on_loss(Endpoint::Client);
        assert!(ids.is_over(StreamId(1)));
        assert!(!ids.is_over(StreamId(3)));
        ids.on_open(StreamId(9));
        assert!(!ids.is_over(StreamId(7)));
        assert!(!ids.may_be_unseen(StreamId(11)));
    }

    #[test]
    fn ids_that_were_passed_over_are_known_as_such_only_when_nothing_was_missed() {
        let mut ids = ConnectionIds::new(true);
        for id in [1, 3, 9] {
            ids.on_open(StreamId(id));
        }
        for id in 1..12 {
            assert_eq!(ids.was_skipped(StreamId(id)), [5, 7].contains(&id), "{id}");
        }
        ids.on_loss(Endpoint::Client);
        ids.on_open(StreamId(99));
        assert!(!ids.was_skipped(StreamId(51)));
        let mut ids = ConnectionIds::new(false);
        ids.on_open(StreamId(99));
        assert!(!ids.was_skipped(StreamId(51)));
        ids.on_open(StreamId(105));
        assert!(ids.was_skipped(StreamId(101)) && !ids.was_skipped(StreamId(102)));
        for n in 0..10_000 {
            ids.on_open(StreamId(1_001 + 10 * n));
        }
        assert_eq!(ids.skipped.len(), limits::SKIPPED_IDS);
    }

    #[test]
    fn the_memory_of_ended_streams_is_bounded() {
        let mut ids = ConnectionIds::new(false);
        for id in 0..10_000 {
            ids.on_end(StreamId(2 * id + 1));
        }
        assert_eq!(ids.ended.len(), limits::ENDED_IDS);
    }
}
