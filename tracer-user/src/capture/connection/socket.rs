//! A connection of which the kernel programs tell at one of its ends, in order: no segments, only bytes.

use h2trace_core::event::{Direction, End, EndCause, Opened, SocketKey, Task, Timestamp, What};

use super::speech::{Piece, Speech};
use super::{Connection, Out};
use crate::capture::flow::Run;

/// The owner's place in [`Connection::ends`].
const OWNER: usize = 0;

impl Connection {
    /// A socket that was opened like this; `from_start`: both directions are seen from their first byte.
    pub(in crate::capture) fn of_socket(
        key: SocketKey,
        (opened, from_start): (Opened, bool),
        at: Timestamp,
    ) -> Connection {
        // The pipeline knows where the ends are.
        Connection {
            client: usize::from(opened == Opened::Passive),
            from_syn: from_start && opened != Opened::Unseen,
            caller: Some(Task::default()),
            ..Connection::blank(key, at)
        }
    }

    /// `run` went by, in this direction as the owner sees it, by a call of `task`.
    pub(in crate::capture) fn passed(
        &mut self,
        direction: Direction,
        run: &Run,
        task: Task,
        out: &mut Out<'_>,
    ) {
        self.caller = Some(task);
        let side = match direction {
            Direction::Tx => OWNER,
            Direction::Rx => 1 - OWNER,
        };
        let is_undecided = matches!(self.speech, Speech::Undecided { .. });
        if !self.from_syn && self.tls.is_none() && is_undecided {
            // Its beginning may not tell who is the client; that it is TLS is known.
            self.last_at = self.last_at.max(run.at);
            let held = vec![(self.direction(side), run.clone())];
            return self.begin_tls(self.direction(side), 0, held, out);
        }
        self.bytes(side, Piece::from(run), out);
    }

    /// It ended, as the owner sees it.
    pub(in crate::capture) fn ended(
        &mut self,
        (cause, at, task): (EndCause, Timestamp, Task),
        out: &mut Out<'_>,
    ) {
        self.caller = Some(task);
        self.last_at = self.last_at.max(at);
        match cause {
            EndCause::Desync(_) => return,
            EndCause::Closed => {
                self.is_ending = true;
                self.decide_at_the_end(out);
            }
            // After a reset too the owner may still read what had arrived: an alert.
            EndCause::PeerReset
            | EndCause::LocalReset
            | EndCause::Broken
            | EndCause::LocalClose
            | EndCause::PeerFin
            | EndCause::Eof => {}
        }
        if !self.opened || self.is_other() {
            return;
        }
        self.tell_tls(self.last_at, out);
        let offset = |direction: Direction| {
            let direction = self.told_direction(direction);
            let end = self.tls.as_ref().map_or(0, |tls| tls.end(direction));
            (end > 0).then(|| self.told_offset(direction, end))
        };
        let end = End {
            cause,
            tx_offset: offset(Direction::Tx),
            rx_offset: offset(Direction::Rx),
        };
        self.event(self.last_at, What::End(end), out);
    }

    /// What the client began was answered by something that is no TLS.
    pub(in crate::capture) fn answered_in_clear(&mut self, out: &mut Out<'_>) {
        self.is_foreign = true;
        self.decide_at_the_end(out);
    }

    /// Nothing more comes of it.
    pub(in crate::capture) fn conclude(&mut self, out: &mut Out<'_>) {
        self.decide_at_the_end(out);
    }

    /// Nothing more of it is told.
    pub(in crate::capture) const fn is_other(&self) -> bool {
        matches!(self.speech, Speech::Other) && self.tls.is_none()
    }

    /// It speaks TLS, which may be opened.
    pub(in crate::capture) const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// A direction as it is told: of a capture the client is the one that is observed, of a socket its owner.
    pub(super) const fn told_direction(&self, direction: Direction) -> Direction {
        if self.caller.is_some() && self.client != OWNER {
            direction.opposite()
        } else {
            direction
        }
    }
}
