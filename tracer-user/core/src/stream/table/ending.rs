//! How the streams of a connection end when the connection does, and what a GOAWAY says of them before.

use super::StreamTable;
use crate::connection::{ConnectionEnd, Endpoint};
use crate::event::{OtherProtocol, Timestamp};
use crate::frame::{ErrorCode, StreamId};
use crate::stream::ids::initiator;
use crate::stream::record::{GoAway, StreamEnd, StreamEvent};

impl StreamTable {
    /// A GOAWAY went by.
    pub(super) fn go_away(&mut self, go_away: GoAway) {
        let (sender, at) = (go_away.sender, go_away.at);
        let (connection, role) = (self.connection, self.role);
        let code = go_away.code;
        let heeded = code != ErrorCode::NO_ERROR && self.go_aways.heeds_reason(sender, at);
        if heeded {
            self.answers_breach(sender, code, at);
        }
        let is_news = self.go_aways.on_go_away(go_away.clone());
        let before = self.before_go_away(&go_away, heeded);
        self.out.push_back(StreamEvent::GoAway {
            connection,
            role,
            go_away: Box::new(go_away),
            before: Box::new(before),
        });
        if !is_news {
            return;
        }
        let ids = self.streams.iter().map(|stream| stream.id);
        let above = self.go_aways.newly_above(sender, ids);
        for id in above {
            self.mark_unprocessed(id, at);
        }
    }

    /// The stream is above the last id of its peer's GOAWAY: it was not processed, if nothing came back.
    pub(super) fn mark_unprocessed(&mut self, id: StreamId, at: Timestamp) {
        let go_away = self.go_aways.last(initiator(id).peer());
        if go_away.is_none_or(|go_away| id <= go_away.last_stream_id) {
            return;
        }
        if let Some(stream) = self.streams.get_mut(id)
            && stream.finished_at.is_none()
            && stream.has_no_response()
            && stream.resets.is_empty()
        {
            stream.unprocessed = true;
            stream.remark("not processed, says GOAWAY");
            self.settle(id, at);
        }
    }

    /// The connection's end has begun. Once the peer is gone, what the observed end still resets is its
    /// answer to that, not the cause (grpcio sends REFUSED_STREAM then).
    pub fn end_begun(&mut self, why: Option<ConnectionEnd>) {
        self.peer_gone =
            why.filter(|why| matches!(why, ConnectionEnd::PeerFin | ConnectionEnd::PeerReset));
    }

    /// `sender` answered the client's preface in another protocol: what the client sends goes nowhere.
    pub fn not_http2(&mut self, sender: Endpoint, spoke: OtherProtocol, at: Timestamp) {
        let (connection, role) = (self.connection, self.role);
        if !self.over {
            self.out.push_back(StreamEvent::NotHttp2 {
                connection,
                role,
                sender,
                spoke,
                at,
            });
        }
    }

    /// The connection ended, and with it everything that is open.
    pub fn connection_ended(&mut self, why: ConnectionEnd, at: Timestamp) {
        if self.over {
            return;
        }
        if why != ConnectionEnd::Unknown {
            self.settle_all_breaches(at);
        }
        let offender = self.offender_before(why, at);
        let mut open_streams = self.lost_with_peer;
        let by_own_end = matches!(why, ConnectionEnd::LocalClose | ConnectionEnd::LocalReset);
        for id in self.streams.ids() {
            let Some(stream) = self.streams.get(id) else {
                continue;
            };
            if stream.finished_at.is_some() {
                self.hand_out(id, None);
                continue;
            }
            let answered = stream.response.state.end_stream_sent();
            let pushed = stream.pushed;
            let given_up = !answered && by_own_end && self.thrown_away.contains(&id);
            if !answered
                && !given_up
                && (!stream.awaits_response() || why == ConnectionEnd::Unknown)
            {
                self.leave(id, StreamEnd::Unseen, at);
                continue;
            }
            if let Some(offender) = offender
                && let Some(stream) = self.streams.get_mut(id)
            {
                stream.conduct_mut().ended_connection = Some(offender);
            }
            if !answered && !pushed {
                open_streams = open_streams.saturating_add(1);
            }
            self.leave(id, StreamEnd::Connection(why), at);
        }
        self.over = true;
        self.tell_last();
        let (connection, role) = (self.connection, self.role);
        self.out.push_back(StreamEvent::ConnectionEnded {
            connection,
            role,
            why,
            at,
            open_streams,
            unanswered_pings: self.watch.control.unanswered(),
        });
    }

    /// Who had just broken a rule so that the other end, which closed the connection, had to.
    fn offender_before(&self, why: ConnectionEnd, at: Timestamp) -> Option<Endpoint> {
        let closer = match why {
            ConnectionEnd::LocalClose | ConnectionEnd::LocalReset => self.role?,
            ConnectionEnd::PeerFin | ConnectionEnd::PeerReset => self.role?.peer(),
            ConnectionEnd::Unknown => return None,
        };
        let offender = closer.peer();
        let had_to = self.watch.ledger.ended_connection(offender, at);
        had_to.then_some(offender)
    }

    /// Some stream's opening was seen.
    #[must_use]
    pub const fn has_opened(&self) -> bool {
        self.ids.has_opened()
    }

    /// The observed end throws away what comes, unread. What its streams still wait for cannot reach it: if it closes the
    /// connection then, it is the one that ended them.
    pub fn throws_away(&mut self) {
        if self.role == Some(Endpoint::Client) && self.thrown_away.is_empty() {
            let waiting = self.streams.iter().filter(|stream| {
                stream.whole && stream.finished_at.is_none() && stream.awaits_response()
            });
            self.thrown_away = waiting.map(|stream| stream.id).collect();
        }
    }

    /// It reads again, or may have.
    pub fn reads_on(&mut self) {
        self.thrown_away.clear();
    }

    /// It has thrown something away, and read nothing since.
    #[must_use]
    pub fn has_thrown_away(&self) -> bool {
        !self.thrown_away.is_empty()
    }

    /// The user stopped tracing: what is open is lost from sight, and nothing is found about it.
    pub fn trace_ended(&mut self, at: Timestamp) {
        self.settle_all_breaches(at);
        for id in self.streams.ids() {
            if self
                .streams
                .get(id)
                .is_some_and(|stream| stream.finished_at.is_some())
            {
                self.hand_out(id, None);
            } else {
                self.leave(id, StreamEnd::Unseen, at);
            }
        }
        self.tell_unanswered(Timestamp(u64::MAX));
        self.over = true;
    }

    /// The observed end resets a stream without an answer, and its peer is gone.
    pub(super) fn answers_peers_end(&self, sender: Endpoint, id: StreamId) -> bool {
        self.peer_gone.is_some()
            && self.role == Some(sender)
            && self.streams.get(id).is_some_and(|stream| {
                stream.finished_at.is_none() && !stream.response.state.end_stream_sent()
            })
    }
}
