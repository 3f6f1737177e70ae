//! PING and SETTINGS of both endpoints, and what of them was not acknowledged (RFC 9113 sections 6.5.3
//! and 6.7).

use std::collections::VecDeque;

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::limits;
use crate::stream::pair::Pair;

/// An ACK that is recorded at most so long before what it answers still answers it: the record of a send
/// is made when the call returns, and another thread may have read the answer by then.
const CROSSING_NS: u64 = 20_000_000;

/// The PINGs of one endpoint (those without ACK).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pings {
    pub n: u32,
    /// How many of them while no stream was open.
    pub n_without_streams: u32,
    /// When the first and the last went by; meaningful when `n` is not 0.
    pub first_at: Timestamp,
    /// See `first_at`.
    pub last_at: Timestamp,
    /// The shortest time between two of them, in nanoseconds; None when there were fewer than two.
    pub shortest_ns: Option<u64>,
    /// False when some may have gone by unseen: `n` is a lower bound.
    pub known: bool,
}

/// A PING that was not answered, and nothing else came from the other end since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnansweredPing {
    pub sender: Endpoint,
    pub at: Timestamp,
}

/// What one endpoint sent and what became of it.
#[derive(Clone, Debug, Default)]
struct Sent {
    pings: Pings,
    /// PINGs without an ACK, oldest first: their number among all of this endpoint, data, and time.
    waiting: VecDeque<(u32, [u8; 8], Timestamp)>,
    /// The number of the last PING that was acknowledged.
    acknowledged: u32,
    /// An ACK of no PING that was seen.
    early: Option<([u8; 8], Timestamp)>,
    /// SETTINGS without an ACK, oldest first.
    settings: VecDeque<Timestamp>,
    /// ACKs of SETTINGS that were not seen.
    early_settings: u32,
    /// When the last frame of this endpoint went by.
    last_frame_at: Option<Timestamp>,
}

/// PING and SETTINGS of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Control {
    sent: Pair<Sent>,
    /// The first GOAWAY of each endpoint: when it went by, and the number of its sender's last PING before it.
    go_aways: Pair<Option<(Timestamp, u32)>>,
    /// The last resets: the stream, who sent it, and the number of its sender's last PING before it.
    resets: VecDeque<(StreamId, Endpoint, u32)>,
}

impl Control {
    /// `from_start`: the connection was seen from its first byte.
    pub(super) fn new(from_start: bool) -> Self {
        let mut control = Control::default();
        for endpoint in [Endpoint::Client, Endpoint::Server] {
            control.sent.of_mut(endpoint).pings.known = from_start;
        }
        control
    }

    /// A frame of `sender` went by.
    pub(super) fn on_frame(&mut self, sender: Endpoint, at: Timestamp) {
        self.sent.of_mut(sender).last_frame_at = Some(at);
    }

    /// `sender` sent PING without ACK.
    pub(super) fn on_ping(&mut self, sender: Endpoint, data: [u8; 8], idle: bool, at: Timestamp) {
        let sent = self.sent.of_mut(sender);
        let pings = &mut sent.pings;
        match pings.n {
            0 => pings.first_at = at,
            _ => {
                let since = at.since(pings.last_at);
                pings.shortest_ns = Some(pings.shortest_ns.map_or(since, |ns| ns.min(since)));
            }
        }
        pings.n = pings.n.saturating_add(1);
        pings.n_without_streams = pings.n_without_streams.saturating_add(u32::from(idle));
        pings.last_at = at;
        let number = pings.n;
        if let Some((early, acknowledged_at)) = sent.early.take()
            && early == data
            && at.since(acknowledged_at) <= CROSSING_NS
        {
            sent.acknowledged = number;
            return;
        }
        if sent.waiting.len() < limits::PINGS {
            sent.waiting.push_back((number, data, at));
        }
    }

    /// `sender` acknowledged a PING of its peer. ACKs come in the order of the PINGs, so those before it
    /// are not waited for any more.
    pub(super) fn on_ping_ack(&mut self, sender: Endpoint, data: [u8; 8], at: Timestamp) {
        let sent = self.sent.of_mut(sender.peer());
        match sent.waiting.iter().position(|(_, sent, _)| *sent == data) {
            Some(place) => {
                for (number, ..) in sent.waiting.drain(..=place) {
                    sent.acknowledged = number;
                }
            }
            None => sent.early = Some((data, at)),
        }
    }

    /// `sender` sent SETTINGS without ACK.
    pub(super) fn on_settings(&mut self, sender: Endpoint, at: Timestamp) {
        let sent = self.sent.of_mut(sender);
        if sent.early_settings > 0 {
            sent.early_settings -= 1;
        } else if sent.settings.len() < limits::SETTINGS_WAITING {
            sent.settings.push_back(at);
        }
    }

    /// `sender` acknowledged its peer's SETTINGS.
    pub(super) fn on_settings_ack(&mut self, sender: Endpoint) {
        let sent = self.sent.of_mut(sender.peer());
        if sent.settings.pop_front().is_none() {
            sent.early_settings = sent.early_settings.saturating_add(1);
        }
    }

    pub(super) fn on_go_away(&mut self, sender: Endpoint, at: Timestamp) {
        let number = self.sent.of(sender).pings.n;
        self.go_aways.of_mut(sender).get_or_insert((at, number));
    }

    /// `receiver` has certainly processed its peer's GOAWAY before `at`: it acknowledged a PING that was sent after it, or
    /// it had `long_enough_ns` for it.
    pub(super) fn has_processed_go_away(
        &self,
        receiver: Endpoint,
        at: Timestamp,
        long_enough_ns: u64,
    ) -> bool {
        let acknowledged = self.sent.of(receiver.peer()).acknowledged;
        self.go_aways
            .of(receiver.peer())
            .is_some_and(|(sent_at, n)| n < acknowledged || at.since(sent_at) >= long_enough_ns)
    }

    pub(super) fn on_reset(&mut self, sender: Endpoint, id: StreamId) {
        if self.resets.len() >= limits::RESETS_REMEMBERED {
            self.resets.pop_front();
        }
        let number = self.sent.of(sender).pings.n;
        self.resets.push_back((id, sender, number));
    }

    /// Frames of `sender` may have gone by unseen: ACKs of its peer's frames among them.
    pub(super) fn on_loss(&mut self, sender: Endpoint) {
        let sent = self.sent.of_mut(sender);
        sent.pings.known = false;
        sent.early = None;
        sent.early_settings = 0;
        let peers = self.sent.of_mut(sender.peer());
        peers.waiting.clear();
        peers.settings.clear();
        self.resets.clear();
    }

    /// `receiver` has certainly processed its peer's reset of the stream: it acknowledged a PING that was
    /// sent after it.
    pub(super) fn has_processed_reset(&self, receiver: Endpoint, id: StreamId) -> bool {
        let acknowledged = self.sent.of(receiver.peer()).acknowledged;
        acknowledged > 0
            && self
                .resets
                .iter()
                .any(|(reset, by, n)| *reset == id && *by != receiver && *n < acknowledged)
    }

    /// The PINGs of `sender`.
    pub(super) fn pings(&self, sender: Endpoint) -> Pings {
        self.sent.of(sender).pings
    }

    /// When the oldest SETTINGS of `sender` that was not acknowledged went by.
    pub(super) fn unacknowledged_settings(&self, sender: Endpoint) -> Option<Timestamp> {
        self.sent.of(sender).settings.front().copied()
    }

    /// The PINGs, at most one of each endpoint, after which nothing at all came from the other end.
    pub(super) fn unanswered(&self) -> Vec<UnansweredPing> {
        [Endpoint::Client, Endpoint::Server]
            .into_iter()
            .filter_map(|sender| {
                let (_, _, at) = *self.sent.of(sender).waiting.front()?;
                let heard = self.sent.of(sender.peer()).last_frame_at;
                heard
                    .is_none_or(|heard| heard <= at)
                    .then_some(UnansweredPing { sender, at })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Endpoint::{Client, Server};

    const A: [u8; 8] = [1; 8];
    const B: [u8; 8] = [2; 8];

    #[test]
    fn an_ack_answers_its_ping_and_those_before_it() {
        let mut control = Control::new(true);
        control.on_ping(Client, A, true, Timestamp(1));
        control.on_ping(Client, B, false, Timestamp(5));
        assert_eq!(
            control.unanswered(),
            [UnansweredPing {
                sender: Client,
                at: Timestamp(1)
            }]
        );
        control.on_ping_ack(Server, B, Timestamp(9));
        assert_eq!(control.unanswered(), []);
        let pings = control.pings(Client);
        assert_eq!((pings.n, pings.n_without_streams), (2, 1));
        assert_eq!(pings.shortest_ns, Some(4));
    }

    #[test]
    fn an_ack_that_is_recorded_a_moment_too_early_counts() {
        let mut control = Control::new(true);
        control.on_ping_ack(Server, A, Timestamp(1));
        control.on_ping(Client, A, true, Timestamp(2));
        assert_eq!(control.unanswered(), []);
        control.on_ping(Client, A, true, Timestamp(3));
        assert_eq!(control.unanswered().len(), 1);
        control.on_settings_ack(Server);
        control.on_settings(Client, Timestamp(4));
        assert_eq!(control.unacknowledged_settings(Client), None);
        control.on_settings(Client, Timestamp(5));
        assert_eq!(control.unacknowledged_settings(Client), Some(Timestamp(5)));
    }

    #[test]
    fn a_gap_may_hide_the_ack_and_a_frame_shows_that_the_peer_lives() {
        let mut control = Control::new(true);
        control.on_ping(Client, A, true, Timestamp(1));
        control.on_settings(Client, Timestamp(1));
        control.on_loss(Server);
        assert_eq!(control.unanswered(), []);
        assert_eq!(control.unacknowledged_settings(Client), None);
        control.on_ping(Client, A, true, Timestamp(2));
        control.on_frame(Server, Timestamp(3));
        assert_eq!(control.unanswered(), []);
    }

    #[test]
    fn who_acknowledges_a_later_ping_has_processed_the_reset() {
        let mut control = Control::new(true);
        let id = StreamId(1);
        control.on_ping(Client, A, false, Timestamp(1));
        control.on_reset(Client, id);
        control.on_ping_ack(Server, A, Timestamp(2));
        assert!(!control.has_processed_reset(Server, id));
        control.on_ping(Client, B, false, Timestamp(3));
        control.on_ping_ack(Server, B, Timestamp(4));
        assert!(control.has_processed_reset(Server, id));
        assert!(!control.has_processed_reset(Client, id));
        assert!(!control.has_processed_reset(Server, StreamId(3)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut control = Control::new(true);
        for n in 0..10_000_u32 {
            control.on_ping(Client, A, true, Timestamp(u64::from(n)));
            control.on_settings(Client, Timestamp(u64::from(n)));
            control.on_reset(Client, StreamId(n));
        }
        let sent = control.sent.of(Client);
        assert_eq!(sent.waiting.len(), limits::PINGS);
        assert_eq!(sent.settings.len(), limits::SETTINGS_WAITING);
        assert_eq!(control.resets.len(), limits::RESETS_REMEMBERED);
        assert_eq!(sent.pings.n, 10_000);
    }
}
