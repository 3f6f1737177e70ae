//! How conversations end: FIN and RST stand behind everything that their receiver still read.

use h2trace_core::event::{Direction, End, EndCause, SocketKey, Timestamp};

use super::Recorder;
use super::conversation::{Conversation, OWNER, PEER};

impl Recorder {
    pub(super) fn end(&mut self, key: SocketKey, at: Timestamp, end: &End) {
        let closed = end.cause == EndCause::Closed;
        if self.written_end(&key).is_none() {
            // An AF_UNIX end that is closed says nothing of it; that the other one reads the end does.
            let unix = self.pairing.of_unix(&key);
            if let (EndCause::Eof, Some(number)) = (end.cause, unix) {
                self.fins(number, at, &[OWNER, PEER]);
            }
            if closed {
                self.sockets.remove(&key);
            }
            return;
        }
        let Some(conversation) = self.written_end(&key) else {
            return;
        };
        let number = conversation.number;
        if !conversation.begun {
            if closed {
                self.is_over(number, at);
                self.sockets.remove(&key);
            }
            return;
        }
        match end.cause {
            EndCause::LocalClose => {
                let peer_fin = conversation.waiting.peer_fin;
                self.lost_until(number, at, Direction::Tx, end.tx_offset);
                self.fins(number, at, if peer_fin { &[PEER, OWNER] } else { &[OWNER] });
            }
            EndCause::PeerFin => conversation.waiting.peer_fin = true,
            EndCause::Eof => {
                self.lost_until(number, at, Direction::Rx, end.rx_offset);
                self.fins(number, at, &[PEER]);
            }
            EndCause::PeerReset | EndCause::Broken => self.reset_later(number, at, PEER),
            EndCause::LocalReset => self.reset_later(number, at, OWNER),
            EndCause::Closed => {
                let ending = conversation.ending() || conversation.waiting.peer_fin;
                self.lost_until(number, at, Direction::Tx, end.tx_offset);
                self.lost_until(number, at, Direction::Rx, end.rx_offset);
                self.reset(number);
                if ending {
                    self.fins(number, at, &[PEER, OWNER]);
                }
                self.is_over(number, at);
                self.sockets.remove(&key);
            }
            EndCause::Desync(_) => {}
        }
    }

    /// Bytes whose records were lost at the very end.
    fn lost_until(
        &mut self,
        number: u64,
        at: Timestamp,
        direction: Direction,
        offset: Option<u64>,
    ) {
        if let Some(offset) = offset.filter(|offset| *offset > 0) {
            self.data(number, at, direction, offset, &[]);
        }
    }

    fn fins(&mut self, number: u64, at: Timestamp, sides: &[usize]) {
        for side in sides {
            let Some(conversation) = self.conversations.get_mut(&number) else {
                return;
            };
            if conversation.over || !conversation.begun || conversation.waiting.reset.is_some() {
                return;
            }
            if let Some(packet) = conversation.fin(*side) {
                self.put(number, at, packet, 0);
            }
        }
        if self
            .conversations
            .get(&number)
            .is_some_and(Conversation::ended)
        {
            self.is_over(number, at);
        }
    }

    /// A reset stands behind what its receiver still reads.
    fn reset_later(&mut self, number: u64, at: Timestamp, side: usize) {
        if let Some(conversation) = self.conversations.get_mut(&number)
            && conversation.waiting.reset.is_none()
            && !conversation.ended()
        {
            conversation.waiting.reset = Some((side, at));
            self.resets.push_back((at, number));
        }
    }

    pub(super) fn reset(&mut self, number: u64) {
        let Some(conversation) = self.conversations.get_mut(&number) else {
            return;
        };
        if conversation.over {
            return;
        }
        if let Some((side, at)) = conversation.waiting.reset.take() {
            let packet = conversation.reset(side);
            self.put(number, at, packet, 0);
            self.is_over(number, at);
        }
    }

    /// Nothing more comes of it; findings still do.
    pub(super) fn is_over(&mut self, number: u64, at: Timestamp) {
        if let Some(conversation) = self.conversations.get_mut(&number)
            && !std::mem::replace(&mut conversation.over, true)
        {
            self.pairing.remove(conversation);
            self.over.push_back((at.max(self.now), number));
        }
    }

    pub(super) fn forget(&mut self, number: u64) {
        let Some(conversation) = self.conversations.remove(&number) else {
            return;
        };
        for key in conversation.keys {
            self.sockets.remove(&key);
        }
        for id in conversation.ids {
            self.ids.remove(&id);
        }
    }
}
