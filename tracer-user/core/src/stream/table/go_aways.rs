//! The GOAWAYs of both ends of a connection. One more is 17 bytes and may come at any rate, so that it costs a walk over
//! the streams only where it says something new of one.

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::stream::ids::initiator;
use crate::stream::pair::Pair;
use crate::stream::record::GoAway;

/// Who gives up a connection says why at most so often, in event time: more is no answer to what came on a stream.
const REASON_NS: u64 = 100_000_000;

/// What both ends have sent.
#[derive(Debug, Default)]
pub(super) struct GoAways(Pair<Sent>);

#[derive(Debug, Default)]
struct Sent {
    last: Option<GoAway>,
    /// The highest stream of the peer's that may be followed and that no GOAWAY was below so far.
    highest_within: StreamId,
    /// When it gave a reason that was heeded.
    reason_at: Option<Timestamp>,
}

impl GoAways {
    /// The last one of `sender`.
    pub(super) fn last(&self, sender: Endpoint) -> Option<&GoAway> {
        self.0.of(sender).last.as_ref()
    }

    /// A stream is followed from now on.
    pub(super) fn on_open(&mut self, id: StreamId) {
        let sent = self.0.of_mut(initiator(id).peer());
        let is_above = |last: &GoAway| id > last.last_stream_id;
        if !sent.last.as_ref().is_some_and(is_above) {
            sent.highest_within = sent.highest_within.max(id);
        }
    }

    /// Another one. True when it is below a stream that those before it were not below.
    pub(super) fn on_go_away(&mut self, go_away: GoAway) -> bool {
        let sent = self.0.of_mut(go_away.sender);
        let is_news = go_away.last_stream_id < sent.highest_within;
        sent.last = Some(go_away);
        is_news
    }

    /// Of the streams (`ids`) those that the last GOAWAY of `sender` is the first to be below.
    pub(super) fn newly_above(
        &mut self,
        sender: Endpoint,
        ids: impl Iterator<Item = StreamId>,
    ) -> Vec<StreamId> {
        let sent = self.0.of_mut(sender);
        let last = sent
            .last
            .as_ref()
            .map_or(sent.highest_within, |it| it.last_stream_id);
        let before = sent.highest_within;
        sent.highest_within = StreamId(0);
        let mut above = Vec::new();
        for id in ids.filter(|id| initiator(*id) == sender.peer()) {
            if id <= last {
                sent.highest_within = sent.highest_within.max(id);
            } else if id <= before {
                above.push(id);
            }
        }
        above.sort_unstable();
        above
    }

    /// `sender` gives a reason. True when what it may answer is to be looked for.
    pub(super) fn heeds_reason(&mut self, sender: Endpoint, at: Timestamp) -> bool {
        let sent = self.0.of_mut(sender);
        let heeds = sent
            .reason_at
            .is_none_or(|before| at.since(before) >= REASON_NS);
        if heeds {
            sent.reason_at = Some(at);
        }
        heeds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ErrorCode;

    fn go_away(sender: Endpoint, last: u32) -> GoAway {
        GoAway {
            sender,
            last_stream_id: StreamId(last),
            code: ErrorCode::NO_ERROR,
            reason: None,
            at: Timestamp(1),
            header_list: None,
        }
    }

    /// Streams of the client that are followed, and the server's GOAWAYs.
    #[derive(Default)]
    struct Walked {
        go_aways: GoAways,
        ids: Vec<StreamId>,
        n_walks: u32,
    }

    impl Walked {
        fn open(&mut self, id: u32) {
            self.ids.push(StreamId(id));
            self.go_aways.on_open(StreamId(id));
        }

        fn server_says(&mut self, last: u32) -> Vec<u32> {
            if !self.go_aways.on_go_away(go_away(Endpoint::Server, last)) {
                return Vec::new();
            }
            self.n_walks += 1;
            let ids = self.ids.iter().copied();
            let above = self.go_aways.newly_above(Endpoint::Server, ids);
            above.into_iter().map(|id| id.0).collect()
        }
    }

    #[test]
    fn each_stream_is_above_once() {
        let mut streams = Walked::default();
        for id in [1, 3, 5, 7, 2] {
            streams.open(id);
        }
        // The usual way to close: first no id at all, then the one that counts (RFC 9113 section 6.8).
        assert!(streams.server_says(0x7fff_ffff).is_empty());
        assert_eq!(streams.server_says(3), [5, 7]);
        assert_eq!(streams.server_says(1), [3]);
        // An id that grows again is against the rules and takes nothing back.
        assert!(streams.server_says(5).is_empty());
        assert_eq!(streams.server_says(0), [1]);
        assert_eq!(
            streams
                .go_aways
                .last(Endpoint::Server)
                .unwrap()
                .last_stream_id,
            StreamId(0)
        );
        assert!(streams.go_aways.last(Endpoint::Client).is_none());
    }

    #[test]
    fn what_says_nothing_new_costs_no_walk() {
        let mut streams = Walked::default();
        for n in 0..1_000 {
            streams.open(2 * n + 1);
        }
        let highest = 1_999;
        // The same again and again, and ids that fall while there is no stream between them.
        for last in [u32::MAX >> 1, highest, highest] {
            assert!(streams.server_says(last).is_empty());
        }
        assert_eq!(streams.n_walks, 0);
        assert_eq!(streams.server_says(999).len(), 500);
        for _ in 0..1_000 {
            assert!(streams.server_says(999).is_empty());
        }
        // A stream above it is told so when it is opened.
        streams.open(0x7fff_ffff);
        for last in (1_000..0x7fff_fffd)
            .step_by(1 << 20)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            assert!(streams.server_says(last).is_empty());
        }
        assert_eq!(streams.n_walks, 1);
        // What the client says is about the server's streams.
        assert!(!streams.go_aways.on_go_away(go_away(Endpoint::Client, 0)));
    }

    #[test]
    fn a_reason_is_heeded_ten_times_a_second() {
        let mut go_aways = GoAways::default();
        let heeded = (0..1_000_u64).filter(|n| {
            let at = Timestamp(n * 1_000_000);
            go_aways.heeds_reason(Endpoint::Server, at)
        });
        assert_eq!(heeded.count(), 10);
        assert!(go_aways.heeds_reason(Endpoint::Client, Timestamp(1)));
    }
}
