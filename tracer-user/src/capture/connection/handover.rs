//! A connection whose records the kernel programs go on to open.

use h2trace_core::connection::Endpoint;
use h2trace_core::event::{Bytes, Direction, Event, Segment, Task, Timestamp, What};
use h2trace_core::tls::{GivenBack, Handover, Watched};

use super::speech::Speech;
use super::{Connection, Out};

impl Connection {
    /// It speaks HTTP/2 in TLS.
    pub(in crate::capture) const fn is_followed_in_tls(&self) -> bool {
        matches!(self.speech, Speech::Followed { .. }) && self.tls.is_some()
    }

    /// Who sends in a direction as the owner sees it.
    const fn sender(&self, direction: Direction) -> Endpoint {
        match self.told_direction(direction) {
            Direction::Tx => Endpoint::Client,
            Direction::Rx => Endpoint::Server,
        }
    }

    /// An offset as the session counts.
    fn offset_in_session(&self, direction: Direction, offset: u64) -> u64 {
        let tls = self.tls.as_ref();
        offset.saturating_sub(match self.sender(direction) {
            Endpoint::Client => tls.map_or(0, |tls| tls.skip),
            Endpoint::Server => 0,
        })
    }

    /// How many records have been taken, if the byte at `offset` comes next.
    pub(in crate::capture) fn n_taken(&self, direction: Direction, offset: u64) -> Option<u32> {
        let offset = self.offset_in_session(direction, offset);
        let session = &self.tls.as_ref()?.session;
        session.n_taken(self.sender(direction), offset)
    }

    /// What opens the next records, and how many have been taken before them.
    pub(in crate::capture) fn hand_over(
        &self,
        direction: Direction,
    ) -> Option<(Handover<'_>, u32)> {
        let (session, sender) = (&self.tls.as_ref()?.session, self.sender(direction));
        let handover = session.hand_over(sender)?;
        Some((handover, session.n_taken_so_far(sender)))
    }

    /// See [`Connection::watched`].
    pub(in crate::capture) fn watch(&mut self, direction: Direction, records: u32) {
        let sender = self.sender(direction);
        if let Some(tls) = &mut self.tls {
            tls.session.watch(sender, records);
        }
    }

    /// The record that is watched for has come.
    pub(in crate::capture) fn watched(&mut self, direction: Direction) -> Option<Watched> {
        let sender = self.sender(direction);
        self.tls.as_mut()?.session.watched(sender)
    }

    /// Up to where plain text was told.
    pub(in crate::capture) fn plain_end(&self, direction: Direction) -> u64 {
        let direction = self.told_direction(direction);
        self.tls.as_ref().map_or(0, |tls| tls.end(direction))
    }

    /// Plain text goes up to there, and what was not told of it is lost.
    pub(in crate::capture) fn reaches(&mut self, direction: Direction, end: u64) {
        let told = self.plain_end(direction);
        let sender = self.sender(direction);
        if let Some(tls) = &mut self.tls
            && end > told
        {
            tls.session.counted_elsewhere(sender, told, end - told);
        }
    }

    /// The kernel programs have given a direction back.
    pub(in crate::capture) fn take_back(&mut self, direction: Direction, given: &GivenBack<'_>) {
        let given = GivenBack {
            offset: self.offset_in_session(direction, given.offset),
            ..*given
        };
        let sender = self.sender(direction);
        if let Some(tls) = &mut self.tls {
            tls.session.take_back(sender, &given);
        }
    }

    /// Plain text that the kernel programs have opened.
    pub(in crate::capture) fn opened(
        &mut self,
        direction: Direction,
        bytes: &Bytes<'_>,
        (at, task): (Timestamp, Task),
        out: &mut Out<'_>,
    ) {
        let Speech::Followed { confidence, .. } = self.speech else {
            return;
        };
        let sender = self.sender(direction);
        if let Some(tls) = &mut self.tls {
            let mut offset = bytes.offset;
            for segment in bytes.segments() {
                match segment {
                    Segment::Bytes(bytes) => tls.session.opened_elsewhere(sender, offset, bytes),
                    Segment::Hole(n) => tls.session.counted_elsewhere(sender, offset, n.into()),
                }
                offset = offset.saturating_add(segment.len().into());
            }
        }
        self.caller = Some(task);
        self.last_at = self.last_at.max(at);
        let told = Bytes {
            direction,
            offset: self.told_offset(self.told_direction(direction), bytes.offset),
            confidence,
            ..bytes.clone()
        };
        let event = Event {
            at: self.last_at,
            socket: self.key,
            task,
            what: What::Bytes(told),
        };
        (out.take)(&event);
    }
}
