//! The CONNECT streams of a connection (RFC 9113 section 8.5): their DATA is the bytes of another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Conn;
use crate::connection::{ConnectionEnd, Endpoint};
use crate::event::{Direction, EndCause, Open, Opened, SocketKey, Task, Timestamp};
use crate::field::{Known, Method, Seen};
use crate::frame::{DataPiece, Fault, Frame, HeaderBlock, Step, StreamId};
use crate::limits::{self, Limit};
use crate::pipeline::tunnel::{Passed, Tunnel, Tunnelled};
use crate::pipeline::{LossCause, Sink};
use crate::stream::table::Context;

/// The tunnels of a connection.
#[derive(Debug, Default)]
pub(super) struct Tunnels {
    open: BTreeMap<StreamId, OpenTunnel>,
    out: Vec<Tunnelled>,
    /// Memory of what waits for an answer.
    n_early: usize,
    /// One is not followed, and that was told.
    is_told: bool,
}

#[derive(Debug)]
struct OpenTunnel {
    socket: SocketKey,
    /// The server has not agreed yet: what is to be said of it then.
    asked: Option<Unanswered>,
    /// By sender: how much went by.
    offsets: [u64; 2],
    /// By sender: nothing more comes.
    ended: [bool; 2],
}

#[derive(Debug)]
struct Unanswered {
    tunnel: Arc<Tunnel>,
    /// What the client sent without waiting.
    early: Vec<Tunnelled>,
}

impl Tunnels {
    /// Bytes of memory, about.
    pub(super) fn memory(&self) -> usize {
        let out = self.out.iter().map(Tunnelled::memory).sum::<usize>();
        self.open.len() * size_of::<OpenTunnel>() + self.n_early + out
    }

    fn tell(&mut self, id: StreamId, at: Timestamp, task: Task, what: Passed) {
        let Some(tunnel) = self.open.get_mut(&id) else {
            return;
        };
        let next = Tunnelled {
            socket: tunnel.socket,
            at,
            task,
            what,
        };
        let Some(asked) = &mut tunnel.asked else {
            return self.out.push(next);
        };
        // Of what is not kept the offset of what comes next tells that it is missing.
        if self.n_early + next.memory() <= limits::TUNNEL_EARLY {
            self.n_early += next.memory();
            asked.early.push(next);
        }
    }

    fn remove(&mut self, id: StreamId) {
        if let Some(asked) = self.open.remove(&id).and_then(|tunnel| tunnel.asked) {
            self.forget_early(&asked);
        }
    }

    fn forget_early(&mut self, asked: &Unanswered) {
        let n: usize = asked.early.iter().map(Tunnelled::memory).sum();
        self.n_early = self.n_early.saturating_sub(n);
    }
}

impl Tunnelled {
    fn memory(&self) -> usize {
        let bytes = match &self.what {
            Passed::Bytes { bytes, .. } => bytes.len(),
            Passed::Opened(..) | Passed::Ended(_) => 0,
        };
        size_of::<Tunnelled>() + bytes
    }
}

impl Conn {
    /// What goes by in its tunnels is handed back.
    pub(crate) fn follow_tunnels(&mut self) {
        self.follows_tunnels = true;
    }

    /// It has streams, and none of them was a tunnel so far.
    pub(crate) fn is_without_tunnels(&self) -> bool {
        self.tunnels.is_none() && self.streams.has_opened()
    }

    /// What went by in them.
    #[inline]
    pub(crate) fn tunnelled(&mut self) -> Option<&mut Vec<Tunnelled>> {
        let tunnels = self.tunnels.as_deref_mut()?;
        (!tunnels.out.is_empty()).then_some(&mut tunnels.out)
    }

    /// How it was opened.
    pub(crate) fn opened_as(&self) -> Open {
        let info = &self.info;
        Open {
            opened: info.opened,
            from_start: info.beginning_seen,
            local: info.local.clone(),
            peer: info.peer.clone(),
            netns: info.netns,
            inode: self.inode,
            unix_peer_sk: self.unix_peer_sk,
            comm: info.comm.clone(),
            peer_process: info.peer_process.clone(),
        }
    }

    /// HTTP/1.1 came first, and its bytes count.
    pub(crate) fn began_as_http1(&mut self) {
        self.is_behind_http1 = true;
    }

    /// A step was taken: of a tunnel?
    #[inline]
    pub(super) fn tunnel_step(
        &mut self,
        sender: Endpoint,
        step: &Step,
        context: Context,
        sink: &mut dyn Sink,
    ) {
        if !self.follows_tunnels {
            return;
        }
        if let Step::Frame {
            frame:
                Frame::Headers {
                    stream_id,
                    end_stream,
                    block,
                    ..
                },
            ..
        } = step
        {
            if sender == Endpoint::Client {
                self.ask_for_tunnel(*stream_id, block, context, sink);
            } else {
                self.answer_tunnel(*stream_id, block, context);
            }
            if *end_stream {
                self.end_of_tunnel(*stream_id, sender, context);
            }
        } else if self.tunnels.is_some() {
            self.pass_in_tunnel(sender, step, context);
        }
    }

    /// HEADERS of the client.
    pub(super) fn ask_for_tunnel(
        &mut self,
        id: StreamId,
        block: &HeaderBlock,
        context: Context,
        sink: &mut dyn Sink,
    ) {
        if !self.follows_tunnels
            || block.facts(&self.shown).method != Seen::Value(Method::Connect)
            // With :protocol it is another protocol's (RFC 8441).
            || block.seen(Known::Protocol) != Seen::Absent
        {
            return;
        }
        let around = self.info.tunnel.as_deref();
        let depth = around.map_or(0, |tunnel| tunnel.depth);
        let mut path = around.map_or_else(Default::default, |tunnel| tunnel.path);
        let place = path.get_mut(depth);
        let tunnels = self.tunnels.get_or_insert_default();
        let limit = if place.is_none() {
            Some(Limit::TunnelDepth)
        } else if tunnels.open.len() >= limits::TUNNELS {
            Some(Limit::Tunnels)
        } else {
            None
        };
        if let Some(limit) = limit {
            if !std::mem::replace(&mut tunnels.is_told, true) {
                self.loss(context.at, LossCause::Limit(limit), None, sink);
            }
            return;
        }
        if let Some(place) = place {
            *place = id.0;
        }
        let to = block
            .get(Known::Authority)
            .filter(|field| self.shown.allows_field(field));
        let to = to.and_then(|field| field.value()).map(|value| {
            let shown = value.get(..limits::SHOWN_VALUE).unwrap_or(value);
            Arc::from(String::from_utf8_lossy(shown))
        });
        let tunnel = Tunnel {
            connection: self.info.id,
            stream_id: id,
            to,
            path,
            depth: depth + 1,
        };
        let open = OpenTunnel {
            socket: SocketKey::of_tunnel(self.info.id.0, id.0, context.at),
            asked: Some(Unanswered {
                tunnel: Arc::new(tunnel),
                early: Vec::new(),
            }),
            offsets: [0; 2],
            ended: [false; 2],
        };
        tunnels.open.entry(id).or_insert(open);
    }

    /// HEADERS of the server.
    fn answer_tunnel(&mut self, id: StreamId, block: &HeaderBlock, context: Context) {
        let tunnels = self.tunnels.as_deref_mut();
        let tunnel = tunnels.and_then(|tunnels| tunnels.open.get_mut(&id));
        let Some(tunnel) = tunnel.filter(|tunnel| tunnel.asked.is_some()) else {
            return;
        };
        let status = block.facts(&self.shown).status.value();
        let asked = match status {
            Some(100..200) => return,
            Some(200..300) => tunnel.asked.take(),
            // It is an answer like any other.
            Some(_) | None => None,
        };
        let (socket, open) = (tunnel.socket, self.opened_as());
        let task = self.task(context);
        let opened = match self.role.get() {
            Some(Endpoint::Client) => Opened::Active,
            Some(Endpoint::Server) => Opened::Passive,
            None => Opened::Unseen,
        };
        let Some(tunnels) = self.tunnels.as_deref_mut() else {
            return;
        };
        let Some(asked) = asked else {
            return tunnels.remove(id);
        };
        let open = Open {
            opened,
            from_start: true,
            inode: 0,
            unix_peer_sk: 0,
            ..open
        };
        tunnels.forget_early(&asked);
        tunnels.out.push(Tunnelled {
            socket,
            at: asked.early.first().map_or(context.at, |first| first.at),
            task,
            what: Passed::Opened(Box::new(open), asked.tunnel),
        });
        tunnels.out.extend(asked.early);
    }

    /// Any other step, while there are tunnels.
    fn pass_in_tunnel(&mut self, sender: Endpoint, step: &Step, context: Context) {
        match step {
            Step::DataBody { stream_id, piece } => {
                let (bytes, cut) = match piece {
                    DataPiece::Bytes(bytes) => (bytes.as_slice(), 0),
                    DataPiece::Hole(n) => (&[][..], *n),
                };
                self.bytes_in_tunnel(*stream_id, sender, (bytes, cut), context);
            }
            Step::DataEnd(head) if head.end_stream => {
                self.end_of_tunnel(head.stream_id, sender, context);
            }
            Step::Frame {
                frame: Frame::RstStream { stream_id, .. },
                ..
            } => {
                let cause = if self.role.get() == Some(sender) {
                    EndCause::LocalReset
                } else {
                    EndCause::PeerReset
                };
                self.close_tunnel(*stream_id, Some(cause), context);
            }
            // DATA of any of them may be among what is missing.
            Step::Fault(Fault::Gap | Fault::Implausible) => {
                if let Some(direction) = self.role.direction_of(sender) {
                    self.tell_all(EndCause::Desync(direction), context);
                }
            }
            Step::Resynced { skipped: Some(n) } => {
                let tunnels = self.tunnels.iter_mut();
                for tunnel in tunnels.flat_map(|tunnels| tunnels.open.values_mut()) {
                    if let Some(offset) = tunnel.offsets.get_mut(sender.index()) {
                        *offset = offset.saturating_add(*n);
                    }
                }
            }
            _ => {}
        }
    }

    fn bytes_in_tunnel(
        &mut self,
        id: StreamId,
        sender: Endpoint,
        (bytes, cut): (&[u8], u32),
        context: Context,
    ) {
        let task = self.task(context);
        let Some(direction) = self.role.direction_of(sender) else {
            return;
        };
        let Some(tunnels) = self.tunnels.as_deref_mut() else {
            return;
        };
        let tunnel = tunnels.open.get_mut(&id);
        let Some(place) = tunnel.and_then(|tunnel| tunnel.offsets.get_mut(sender.index())) else {
            return;
        };
        let offset = *place;
        *place = place.saturating_add(bytes.len() as u64 + u64::from(cut));
        let passed = Passed::Bytes {
            direction,
            offset,
            bytes: bytes.to_vec(),
            cut,
        };
        tunnels.tell(id, context.at, task, passed);
    }

    /// DATA of any of them may go by unseen from here on.
    pub(super) fn lose_place_in_tunnels(&mut self, direction: Direction, at: Timestamp) {
        let context = Context {
            at,
            tid: 0,
            pid: self.last_pid,
        };
        self.tell_all(EndCause::Desync(direction), context);
    }

    /// Says something of all of them.
    fn tell_all(&mut self, cause: EndCause, context: Context) {
        let task = self.task(context);
        if let Some(tunnels) = self.tunnels.as_deref_mut() {
            let ids: Vec<StreamId> = tunnels.open.keys().copied().collect();
            for id in ids {
                tunnels.tell(id, context.at, task, Passed::Ended(cause));
            }
        }
    }

    /// END_STREAM of one side.
    fn end_of_tunnel(&mut self, id: StreamId, sender: Endpoint, context: Context) {
        let task = self.task(context);
        let is_own = self.role.direction_of(sender) == Some(Direction::Tx);
        let Some(tunnels) = self.tunnels.as_deref_mut() else {
            return;
        };
        let Some(tunnel) = tunnels.open.get_mut(&id) else {
            return;
        };
        if let Some(ended) = tunnel.ended.get_mut(sender.index()) {
            *ended = true;
        }
        let is_over = tunnel.ended == [true; 2];
        let cause = if is_own {
            EndCause::LocalClose
        } else {
            EndCause::PeerFin
        };
        tunnels.tell(id, context.at, task, Passed::Ended(cause));
        if is_over {
            self.close_tunnel(id, None, context);
        }
    }

    /// Nothing more comes of a tunnel.
    fn close_tunnel(&mut self, id: StreamId, cause: Option<EndCause>, context: Context) {
        let task = self.task(context);
        if let Some(tunnels) = self.tunnels.as_deref_mut() {
            for cause in cause.into_iter().chain([EndCause::Closed]) {
                tunnels.tell(id, context.at, task, Passed::Ended(cause));
            }
            tunnels.remove(id);
        }
    }

    /// The connection is over, or not followed any more, and all its tunnels with it.
    pub(super) fn end_tunnels(&mut self, why: Option<ConnectionEnd>, at: Timestamp) {
        let Some(tunnels) = self.tunnels.as_deref() else {
            return;
        };
        let cause = why.and_then(|why| match why {
            ConnectionEnd::LocalClose => Some(EndCause::LocalClose),
            ConnectionEnd::PeerFin => Some(EndCause::PeerFin),
            ConnectionEnd::PeerReset => Some(EndCause::PeerReset),
            ConnectionEnd::LocalReset => Some(EndCause::LocalReset),
            ConnectionEnd::Unknown => None,
        });
        let context = Context {
            at,
            tid: 0,
            pid: self.last_pid,
        };
        let ids: Vec<StreamId> = tunnels.open.keys().copied().collect();
        for id in ids {
            self.close_tunnel(id, cause, context);
        }
    }

    fn task(&self, context: Context) -> Task {
        Task {
            pid: context.pid,
            tid: context.tid,
            cgroup: self.info.cgroup,
        }
    }
}
