//! Where both ends of a connection are followed, each is a witness of the other.
//!
//! What a process sends and receives is read out of its memory when the call is over, and another of its threads may have
//! overwritten it by then: a process can make its own end say what it likes. Where the receiver of a stream shows what
//! its sender did not send, nobody is blamed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::ConnectionInfo;
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::limits;
use crate::stream::record::{Half, Outcome, Seen, StreamRecord};

/// A stream at one end: the number of the end's connection, and the stream's.
type At = (u64, StreamId);

/// What was seen of a request or a response.
#[derive(Clone, Copy, Debug)]
struct SeenHalf {
    reset: bool,
    ended: bool,
    data_bytes: u64,
}

/// What one end says of a stream.
#[derive(Clone, Copy, Debug)]
struct Account {
    role: Endpoint,
    request: SeenHalf,
    response: SeenHalf,
    http_status: Seen<u16>,
    grpc_status: Seen<u32>,
}

impl Account {
    /// None where it says nothing for certain.
    fn of(record: &StreamRecord) -> Option<Account> {
        let seen = |half: &Half, sender| SeenHalf {
            reset: record.resets.iter().any(|reset| reset.sender == sender),
            ended: half.end_stream_at.is_some(),
            data_bytes: half.data_bytes,
        };
        let known = record.whole && record.request.data_known && record.response.data_known;
        Some(Account {
            role: record.role.filter(|_| known)?,
            request: seen(&record.request, Endpoint::Client),
            response: seen(&record.response, Endpoint::Server),
            http_status: record.http_status,
            grpc_status: record.grpc_status,
        })
    }

    /// Whether one of the two ends received what the other one did not send.
    fn contradicts(&self, other: &Account) -> bool {
        let (client, server) = match (self.role, other.role) {
            (Endpoint::Client, Endpoint::Server) => (self, other),
            (Endpoint::Server, Endpoint::Client) => (other, self),
            (Endpoint::Client, Endpoint::Client) | (Endpoint::Server, Endpoint::Server) => {
                return false;
            }
        };
        let more = |sent: &SeenHalf, received: &SeenHalf| {
            (received.reset && !sent.reset)
                || (received.ended && !sent.ended)
                || received.data_bytes > sent.data_bytes
        };
        more(&client.request, &server.request)
            || more(&server.response, &client.response)
            || differ(client.http_status, server.http_status)
            || differ(client.grpc_status, server.grpc_status)
    }
}

fn differ<T: PartialEq>(one: Seen<T>, other: Seen<T>) -> bool {
    matches!((one, other), (Seen::Value(one), Seen::Value(other)) if one != other)
}

/// A stream that waits for what the other end says.
pub(super) struct Held {
    pub(super) info: Arc<ConnectionInfo>,
    pub(super) record: Arc<StreamRecord>,
}

/// The other end of a stream that has just ended.
pub(super) enum Other {
    /// It has ended there too. True: it says something else.
    Told(bool),
    /// It had waited for this one. True: they contradict each other.
    Waited(Held, bool),
    /// It has not.
    Silent,
}

/// What the ends of connections say, of which both are followed.
#[derive(Default)]
pub(super) struct Witnesses {
    told: HashMap<At, Option<Account>, RandomState>,
    told_order: VecDeque<At>,
    held: HashMap<At, Held, RandomState>,
    /// When it is waited no longer. Some of them do not wait any more.
    due: VecDeque<(Timestamp, At)>,
}

impl Witnesses {
    /// What the end at `other` says of the stream `record`.
    pub(super) fn ask(&mut self, other: u64, record: &StreamRecord) -> Other {
        let at = (other, record.stream_id);
        let contradicted = |other: Option<Account>| {
            let own = || Account::of(record);
            other.is_some_and(|other| own().is_some_and(|own| own.contradicts(&other)))
        };
        if !self.held.is_empty()
            && let Some(held) = self.held.remove(&at)
        {
            let contradicted = contradicted(Account::of(&held.record));
            return Other::Waited(held, contradicted);
        }
        match self.told.remove(&at) {
            Some(other) => Other::Told(contradicted(other)),
            None => Other::Silent,
        }
    }

    /// The stream is told of before the other end says anything.
    pub(super) fn tell(&mut self, record: &StreamRecord) {
        let at = (record.connection.0, record.stream_id);
        if self.told.insert(at, Account::of(record)).is_none() {
            self.told_order.push_back(at);
        }
        while self.told_order.len() > limits::WITNESSED_STREAMS {
            if let Some(oldest) = self.told_order.pop_front()
                && !self.told.is_empty()
            {
                self.told.remove(&oldest);
            }
        }
    }

    /// Something may be found about it, so it waits; gives back the one that has to go for it.
    pub(super) fn hold(&mut self, held: Held) -> Option<Held> {
        let at = (held.record.connection.0, held.record.stream_id);
        let until = held.record.last_at.0.saturating_add(limits::WITNESS_NS);
        self.due.push_back((Timestamp(until), at));
        self.held.insert(at, held);
        if self.held.len() <= limits::WITNESSES_WAITING {
            return None;
        }
        std::iter::from_fn(|| self.due.pop_front()).find_map(|(_, at)| self.held.remove(&at))
    }

    /// One that has waited long enough.
    pub(super) fn overdue(&mut self, now: Timestamp) -> Option<Held> {
        while let Some((at, key)) = self.due.front().copied() {
            if at > now && self.held.contains_key(&key) {
                return None;
            }
            self.due.pop_front();
            if let Some(held) = self.held.remove(&key) {
                return Some(held);
            }
        }
        None
    }

    /// One of this connection, the oldest first.
    pub(super) fn of(&mut self, connection: u64) -> Option<Held> {
        if self.held.is_empty() {
            return None;
        }
        let held = &self.held;
        let found = self
            .due
            .iter()
            .position(|(_, at)| at.0 == connection && held.contains_key(at))?;
        let (_, at) = self.due.remove(found)?;
        self.held.remove(&at)
    }
}

/// Whether something may be found about the stream that blames an end of it.
pub(super) fn may_blame(record: &StreamRecord) -> bool {
    let went_well = matches!(
        record.outcome,
        Outcome::Ok | Outcome::ErrorStatus | Outcome::CompleteUnknown
    );
    let is_clean = record.resets.is_empty() && record.malformed.is_none();
    record.whole && !(went_well && is_clean)
}
