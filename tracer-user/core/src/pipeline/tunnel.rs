//! Tunnels: what goes by on a CONNECT stream is the bytes of another connection. The pipeline hands them back; whoever
//! feeds it finds out what they speak, and gives them to it again as events of a connection of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use super::conn::Conn;
use super::{Pipeline, Sink};
use crate::connection::ConnectionId;
use crate::event::{Direction, EndCause, Event, Open, SocketKey, Task, Timestamp, Unrecognised};
use crate::frame::StreamId;
use crate::limits;

/// The stream that a connection is the content of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The connection of that stream.
    pub connection: ConnectionId,
    /// It.
    pub stream_id: StreamId,
    /// Where the tunnel goes to (`:authority`), if that may be shown.
    pub to: Option<Arc<str>>,
    /// The streams that lead there, the outermost first.
    pub(super) path: [u32; limits::TUNNEL_DEPTH],
    /// How many they are.
    pub(super) depth: usize,
}

/// Something of the content of a CONNECT stream.
#[derive(Debug)]
pub struct Tunnelled {
    /// Names the connection within, as if it had a socket of its own.
    pub socket: SocketKey,
    /// When.
    pub at: Timestamp,
    /// Who made the call.
    pub task: Task,
    /// What.
    pub what: Passed,
}

/// What it is.
#[derive(Debug)]
pub enum Passed {
    /// The server has agreed. The event that opens the connection, should anything go by.
    Opened(Box<Open>, Arc<Tunnel>),
    /// Bytes.
    Bytes {
        /// As the owner of the socket around it sees it.
        direction: Direction,
        /// Of the first byte.
        offset: u64,
        /// Those that were copied.
        bytes: Vec<u8>,
        /// How many more follow them, which were only counted.
        cut: u32,
    },
    /// It is over: one direction, or both. Or some of a direction is missing, at most as much as the next offset says.
    Ended(EndCause),
}

impl Pipeline {
    /// Hands back what goes by in tunnels ([`Pipeline::next_tunnelled`]), which otherwise is only counted.
    #[must_use]
    pub fn following_tunnels(mut self) -> Pipeline {
        self.follows_tunnels = true;
        self
    }

    /// A socket's connection has streams, and none of them was a tunnel so far.
    pub fn is_without_tunnels(&mut self, socket: &SocketKey) -> bool {
        let conn = self.table.peek_mut(socket);
        conn.is_some_and(|conn| conn.is_without_tunnels())
    }

    /// What went by in a tunnel, oldest first. To be asked for behind each event, until there is no more.
    #[inline]
    pub fn next_tunnelled(&mut self) -> Option<Tunnelled> {
        let next = self.tunnelled.pop_front()?;
        if let Passed::Opened(_, tunnel) = &next.what {
            self.opening.insert(next.socket, Arc::clone(tunnel));
        }
        if let Passed::Ended(EndCause::Closed) = &next.what {
            self.opening.remove(&next.socket);
        }
        Some(next)
    }
}

/// Connections of HTTP/1.1 that asked for a tunnel: HTTP/2 may follow.
#[derive(Debug, Default)]
pub(super) struct BehindConnect(VecDeque<(SocketKey, Open)>);

impl BehindConnect {
    fn remember(&mut self, key: SocketKey, open: Open) {
        if self.0.len() >= limits::TUNNELS {
            self.0.pop_front();
        }
        self.0.push_back((key, open));
    }

    /// How it was opened.
    pub(super) fn take(&mut self, key: &SocketKey) -> Option<Open> {
        let place = self.0.iter().position(|(known, _)| known == key)?;
        self.0.remove(place).map(|(_, open)| open)
    }
}

impl Pipeline {
    /// A connection that is not followed: it may be again, behind a CONNECT of HTTP/1.1 (RFC 9110 section 9.3.6).
    pub(super) fn remember_connect(&mut self, key: SocketKey, said: &Unrecognised<'_>) {
        if !said.first.starts_with(b"CONNECT ") {
            return;
        }
        let Some(conn) = self.table.peek_mut(&key) else {
            return;
        };
        let open = conn.opened_as();
        self.behind_connect.remember(key, open);
    }

    /// And it is.
    pub(super) fn open_behind_connect(
        &mut self,
        event: &Event<'_>,
        open: &Open,
        sink: &mut dyn Sink,
    ) {
        self.open(event, open, sink);
        if let Some(conn) = self.table.peek_mut(&event.socket) {
            conn.began_as_http1();
        }
    }
}

/// What a connection has of its tunnels goes to the others'.
#[inline]
pub(super) fn gather(conn: &mut Conn, all: &mut VecDeque<Tunnelled>) {
    if let Some(more) = conn.tunnelled() {
        all.extend(more.drain(..));
    }
}
