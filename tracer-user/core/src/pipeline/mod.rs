//! The only place that joins the stages: events go in, [`Output`] comes out.
//!
//! The same pipeline serves live capture, files, tests, fuzzing and benches. It has no clock: time
//! comes in with the events and with [`Pipeline::advance`].

// The crate's facade: all of it is described.
#![warn(missing_docs)]

mod accusations;
mod analysis;
mod beside;
mod conn;
mod depth;
mod frames;
mod lane;
mod memory;
mod output;
mod passing;
#[cfg(test)]
mod tests;
mod tunnel;
mod witness;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

pub use frames::Frames;
pub use output::{
    ConnectionInfo, FieldSeen, FirstBytes, FrameSeen, HopEnd, Loss, LossCause, Output, Protocol,
    Sink, Undecided,
};
pub use tunnel::{Passed, Tunnel, Tunnelled};

use crate::attribution::WorkloadHandle;
use crate::connection::table::Table;
use crate::connection::{ConnectionId, Endpoint};
use crate::event::{
    Address, EndCause, Event, Open, Opened, OtherProtocol, SocketKey, Task, Timestamp, What,
};
use crate::limits::{self, Limit};
pub use crate::stream::depth::{Depth, is_sampled};
use crate::stream::table::Shown;
use analysis::Analysis;
use conn::Conn;
use memory::Budget;
use output::say;
use tunnel::{BehindConnect, gather};

/// Names processes and pods. The live tracer asks `/proc` and Kubernetes; files and tests bring their own
/// names.
pub trait NameSource {
    /// The name of process `pid`, when it can be told.
    fn process(&mut self, pid: u32) -> Option<String>;

    /// The pods of both ends of a connection, the own one first: that of process `pid` in the v2 cgroup `cgroup` (0:
    /// unknown), and that at the other end as far as the addresses (own, other) tell.
    fn workloads(
        &mut self,
        _pid: u32,
        _cgroup: u64,
        _addresses: [&Address; 2],
    ) -> [WorkloadHandle; 2] {
        [WorkloadHandle::to_host(), WorkloadHandle::to_host()]
    }

    /// Whether process `pid` lives, as far as is known.
    fn lives(&mut self, _pid: u32) -> bool {
        true
    }
}

/// Knows no names: connections keep the name that the kernel's record brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl NameSource for NoNames {
    fn process(&mut self, _pid: u32) -> Option<String> {
        None
    }
}

/// What a pipeline needs to know.
pub struct PipelineSettings {
    /// The header fields whose values may be kept.
    pub shown: Arc<Shown>,
    /// Who names processes.
    pub names: Box<dyn NameSource + Send>,
    /// Bytes of memory for all connections together ([`limits::MEMORY`] unless it is known better).
    pub memory: usize,
    /// Ports on which servers are known to speak HTTP/2: connections whose beginning was not seen are followed there
    /// from their first whole frame.
    pub http2_ports: Vec<u16>,
}

impl PipelineSettings {
    /// The role of the observed end, where a port that is known to speak HTTP/2 tells it.
    fn told_role(&self, open: &Open) -> Option<Endpoint> {
        let is_told = |address: &Address| match address {
            Address::Inet(address) => self.http2_ports.contains(&address.port()),
            Address::Unix(_) | Address::Unknown => false,
        };
        match (is_told(&open.local), is_told(&open.peer)) {
            (true, false) => Some(Endpoint::Server),
            (false, true) => Some(Endpoint::Client),
            (true, true) | (false, false) => None,
        }
    }
}

impl Default for PipelineSettings {
    /// The allow-list of header fields as it is, and nobody who names processes.
    fn default() -> PipelineSettings {
        PipelineSettings {
            shown: Arc::default(),
            names: Box::new(NoNames),
            memory: limits::MEMORY,
            http2_ports: Vec::new(),
        }
    }
}

/// What is alive right now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Connections whose protocol is known to be HTTP/2.
    pub connections: usize,
    /// Their open streams.
    pub streams: usize,
}

/// Joins the stages for all connections.
pub struct Pipeline {
    settings: PipelineSettings,
    frames: Frames,
    /// Boxed, or half of the table's memory would be free places.
    table: Table<Box<Conn>>,
    analysis: Analysis,
    due: BinaryHeap<Reverse<(Timestamp, SocketKey)>>,
    next_id: u64,
    n_http2: usize,
    n_streams: usize,
    max_streams: usize,
    /// Bytes of memory that steps of all connections take that wait until their role is proven, about.
    n_waiting: usize,
    budget: Budget,
    /// When ends without a process are looked for next.
    sweep_at: Timestamp,
    depth: Depth,
    follows_tunnels: bool,
    tunnelled: VecDeque<Tunnelled>,
    /// Tunnels whose connections are to be opened.
    opening: HashMap<SocketKey, Arc<Tunnel>, RandomState>,
    behind_connect: BehindConnect,
}

impl Pipeline {
    /// An empty pipeline.
    #[must_use]
    pub fn new(settings: PipelineSettings) -> Pipeline {
        Pipeline {
            budget: Budget::new(settings.memory),
            analysis: Analysis::within(settings.memory),
            settings,
            frames: Frames::Untold,
            table: Table::new(limits::CONNECTIONS),
            due: BinaryHeap::new(),
            next_id: 1,
            n_http2: 0,
            n_streams: 0,
            max_streams: limits::STREAMS,
            n_waiting: 0,
            sweep_at: Timestamp(0),
            depth: Depth::default(),
            follows_tunnels: false,
            tunnelled: VecDeque::new(),
            opening: HashMap::default(),
            behind_connect: BehindConnect::default(),
        }
    }

    /// Tells single frames too: for files. Live, where payload is not copied, nobody asks for it.
    #[must_use]
    pub fn telling(mut self, frames: Frames) -> Pipeline {
        self.frames = frames;
        self
    }

    /// Does not join the two sides of a proxy: benches measure by it what the join costs.
    #[must_use]
    pub fn without_hops(mut self) -> Pipeline {
        self.analysis.without_hops();
        self
    }

    /// Takes one event of the kernel side, oldest first.
    pub fn handle(&mut self, event: &Event<'_>, sink: &mut dyn Sink) {
        match &event.what {
            // Two tasks at the first calls of both directions may both tell it.
            What::Open(open) => {
                if self.table.touch(&event.socket, event.at).is_none()
                    && !self.returned(event, open, sink)
                {
                    self.open(event, open, sink);
                }
            }
            What::Bytes(bytes) => {
                let take = |conn: &mut Conn, analysis: &mut Analysis, sink: &mut dyn Sink| {
                    conn.bytes(event.at, event.task, bytes, analysis, sink);
                };
                if !self.with(event, sink, take) {
                    match self.behind_connect.take(&event.socket) {
                        Some(open) => self.open_behind_connect(event, &open, sink),
                        // Its Open record was lost: follow it all the same, without its addresses.
                        None => {
                            let open = Open::unseen();
                            self.returned(event, &open, sink);
                            self.open(event, &open, sink);
                        }
                    }
                    self.with(event, sink, take);
                }
            }
            What::Unrecognised(unrecognised) => {
                let mut over = false;
                self.with(event, sink, |conn, analysis, sink| {
                    over = conn.unrecognised(event.at, unrecognised, analysis, sink);
                    if over && unrecognised.protocol == OtherProtocol::Tls {
                        analysis.leg_opened(event.socket, conn.info());
                        if conn.is_let_go() {
                            analysis.leg_lost(event.socket);
                        }
                    }
                });
                if over {
                    self.remember_connect(event.socket, unrecognised);
                    self.remove(&event.socket);
                }
            }
            // Opened before they come here, or not at all.
            What::TlsBytes(..) | What::OpenedBytes(..) => {}
            What::Tls(tls) => {
                if let Some(conn) = self.table.peek_mut(&event.socket) {
                    conn.learn_tls(tls);
                }
            }
            What::Opaque(direction, opaque) => {
                self.analysis
                    .leg_passed(event.socket, *direction, event.at, *opaque);
            }
            What::End(end) => {
                self.analysis.leg_closed(event.socket);
                let peer = self
                    .table
                    .peek_mut(&event.socket)
                    .and_then(|conn| conn.unix_peer());
                self.with(event, sink, |conn, analysis, sink| {
                    conn.end(event.at, end, analysis, sink);
                });
                // The two ends of an AF_UNIX connection have no close event of their own: that this end
                // reads end of file means that the other one, if it is followed too, has been closed.
                if let (EndCause::Eof, Some(peer)) = (end.cause, peer) {
                    self.close_unix(peer, event.at);
                }
            }
        }
    }

    /// The trace ends: what is open is handed out as unknown, without a finding.
    pub fn finish(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        self.advance(now, sink);
        let mut conns: Vec<Box<Conn>> = self.table.drain().collect();
        // The same input, the same output.
        conns.sort_by_key(|conn| conn.id());
        for mut conn in conns {
            conn.finish(now, &mut self.analysis, sink);
        }
        self.analysis.finish(now, sink);
        self.due.clear();
        self.n_http2 = 0;
        self.n_streams = 0;
        self.n_waiting = 0;
        self.budget.clear();
    }

    /// A connection took more than its share, and is let go for a while: what goes by until its socket is opened anew is not
    /// known. False: it is not followed.
    pub fn look_away(&mut self, socket: SocketKey, at: Timestamp, sink: &mut dyn Sink) -> bool {
        self.analysis.leg_lost(socket);
        let event = Event {
            at,
            socket,
            task: Task::default(),
            what: What::Open(Box::new(Open::unseen())),
        };
        self.with(&event, sink, |conn, analysis, sink| {
            conn.look_away(at, analysis, sink);
        })
    }

    /// The number of the connection that `socket` is, while it is followed.
    #[must_use]
    pub fn id_of(&mut self, socket: &SocketKey) -> Option<ConnectionId> {
        self.table.peek_mut(socket).map(|conn| conn.id())
    }

    /// How the connection came to be that `socket` is, and whether its beginning was seen; None when it is not followed.
    #[must_use]
    pub fn opening_of(&mut self, socket: &SocketKey) -> Option<(Opened, bool)> {
        self.table.peek_mut(socket).map(|conn| conn.opening())
    }

    /// What is alive right now.
    #[must_use]
    pub fn live(&self) -> Live {
        Live {
            connections: self.n_http2,
            streams: self.n_streams,
        }
    }

    /// Bytes of memory that are kept for connections, as they are accounted.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.budget.total()
    }

    fn open(&mut self, event: &Event<'_>, open: &Open, sink: &mut dyn Sink) {
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        let comm = self
            .settings
            .names
            .process(event.task.pid)
            .unwrap_or_else(|| open.comm.clone());
        let [workload, peer_workload] = self.settings.names.workloads(
            event.task.pid,
            event.task.cgroup,
            [&open.local, &open.peer],
        );
        let info = ConnectionInfo {
            id,
            role: None,
            pid: event.task.pid,
            comm,
            cgroup: event.task.cgroup,
            netns: open.netns,
            local: open.local.clone(),
            peer: open.peer.clone(),
            peer_process: open.peer_process.clone(),
            workload,
            peer_workload,
            opened: open.opened,
            beginning_seen: open.from_start,
            upgraded: false,
            protocol: Protocol::Other(OtherProtocol::Other),
            tls: None,
            tunnel: self.opening.remove(&event.socket),
            first_at: event.at,
        };
        let shown = Arc::clone(&self.settings.shown);
        let mut conn = Box::new(Conn::new(info, open, shown, self.frames));
        if !self.analysis.joins() {
            conn.without_openings();
        }
        if self.follows_tunnels {
            conn.follow_tunnels();
        }
        if let Some(role) = self.settings.told_role(open).filter(|_| !open.from_start) {
            conn.told_http2(role);
        }
        if let Some((key, evicted)) = self.table.insert(event.socket, event.at, conn) {
            self.evicted(key, evicted, Limit::Connections, event.at, sink);
        }
        if let Some(conn) = self.table.peek_mut(&event.socket) {
            conn.account(&mut self.budget, event.socket);
        }
        self.make_room(event.at, sink);
    }

    /// A connection had to go.
    fn evicted(
        &mut self,
        key: SocketKey,
        mut conn: Box<Conn>,
        limit: Limit,
        at: Timestamp,
        sink: &mut dyn Sink,
    ) {
        let before = conn.live();
        self.n_waiting = self.n_waiting.saturating_sub(conn.n_waiting_bytes());
        self.budget.account(key, &mut conn.share, 0);
        conn.evict(limit, at, &mut self.analysis, sink);
        gather(&mut conn, &mut self.tunnelled);
        self.count(before, Live::default());
    }

    #[inline]
    fn make_room(&mut self, at: Timestamp, sink: &mut dyn Sink) {
        if self.budget.is_exceeded() {
            self.give_up(at, sink);
        }
    }

    /// Memory is short: who has the most of it gives up what he can; where nobody has much, the longest idle go.
    #[cold]
    fn give_up(&mut self, at: Timestamp, sink: &mut dyn Sink) {
        while !self.budget.has_room() {
            let largest = self.budget.largest();
            let Some((key, conn)) = largest.and_then(|key| Some((key, self.table.peek_mut(&key)?)))
            else {
                let Some((key, conn)) = self.table.evict() else {
                    return;
                };
                self.evicted(key, conn, Limit::Memory, at, sink);
                continue;
            };
            let (before, waiting, had) = (conn.live(), conn.n_waiting_bytes(), conn.memory());
            conn.shed(at, &mut self.analysis, sink);
            gather(conn, &mut self.tunnelled);
            let (after, has) = (conn.live(), conn.memory());
            conn.account(&mut self.budget, key);
            self.n_waiting = self.n_waiting.saturating_sub(waiting);
            self.count(before, after);
            if has > had / 2
                && let Some(conn) = self.table.remove(&key)
            {
                self.evicted(key, conn, Limit::Memory, at, sink);
            }
        }
    }

    /// A connection is not followed any more.
    fn remove(&mut self, key: &SocketKey) {
        if let Some(mut conn) = self.table.remove(key) {
            self.budget.account(*key, &mut conn.share, 0);
            self.n_waiting = self.n_waiting.saturating_sub(conn.n_waiting_bytes());
        }
    }

    fn close_unix(&mut self, peer_sk: u64, at: Timestamp) {
        // Only the address of the other end is known, not when it was first seen.
        let Some(key) = self.table.at(peer_sk) else {
            return;
        };
        if let Some(conn) = self.table.peek_mut(&key).filter(|conn| conn.is_unix()) {
            conn.closed_by_owner(at);
            self.reschedule(key);
        }
    }

    /// A socket with the address of one that is followed: is it that one, which the kernel programs had forgotten for
    /// others? Then its connection goes on. Otherwise that one is gone, and nothing told of it.
    fn returned(&mut self, event: &Event<'_>, open: &Open, sink: &mut dyn Sink) -> bool {
        let Some(known) = self.table.at(event.socket.sk) else {
            return false;
        };
        let Some(conn) = self.table.peek_mut(&known) else {
            return false;
        };
        if open.from_start || !conn.is_socket(open.inode) {
            conn.gone(event.at);
            self.reschedule(known);
            return false;
        }
        let Some(mut conn) = self.table.remove(&known) else {
            return false;
        };
        self.budget.account(known, &mut conn.share, 0);
        conn.resume(event, &mut self.analysis, sink);
        conn.account(&mut self.budget, event.socket);
        self.table.insert(event.socket, event.at, conn);
        self.reschedule(event.socket);
        true
    }

    fn reschedule(&mut self, key: SocketKey) {
        let conn = self.table.peek_mut(&key);
        if let Some(next) = conn.and_then(|conn| conn.next_due()) {
            self.schedule(key, next);
        }
    }

    /// Does something to the connection of an event. False: it is not followed.
    fn with(
        &mut self,
        event: &Event<'_>,
        sink: &mut dyn Sink,
        act: impl FnOnce(&mut Conn, &mut Analysis, &mut dyn Sink),
    ) -> bool {
        let Some(conn) = self.table.touch(&event.socket, event.at) else {
            return false;
        };
        let (before, waiting) = (conn.live(), conn.n_waiting_bytes());
        // Bytes say otherwise where they are ordinary frames.
        conn.is_accounted = false;
        conn.set_depth(self.depth);
        act(conn, &mut self.analysis, sink);
        gather(conn, &mut self.tunnelled);
        self.n_waiting = (self.n_waiting + conn.n_waiting_bytes()).saturating_sub(waiting);
        if self.n_waiting > limits::UNDECIDED_BYTES_ALL {
            self.n_waiting -= conn.n_waiting_bytes();
            conn.relieve_waiting(event.at, Limit::UndecidedBytesAll, sink);
        }
        let mut after = conn.live();
        let excess = (self.n_streams + after.streams)
            .saturating_sub(before.streams)
            .saturating_sub(self.max_streams);
        if excess > 0 {
            conn.relieve(excess, event.at, &mut self.analysis, sink);
            after = conn.live();
        }
        let next = conn
            .next_due()
            .filter(|next| conn.scheduled.is_none_or(|scheduled| *next < scheduled));
        let is_changed = before != after;
        if is_changed || !conn.is_accounted {
            conn.account(&mut self.budget, event.socket);
        }
        if is_changed {
            self.count(before, after);
        }
        if let Some(next) = next {
            self.schedule(event.socket, next);
        }
        self.make_room(event.at, sink);
        true
    }

    fn schedule(&mut self, key: SocketKey, at: Timestamp) {
        if let Some(conn) = self.table.peek_mut(&key) {
            conn.scheduled = Some(at);
            self.due.push(Reverse((at, key)));
        }
    }

    fn count(&mut self, before: Live, after: Live) {
        self.n_http2 = (self.n_http2 + after.connections).saturating_sub(before.connections);
        self.n_streams = (self.n_streams + after.streams).saturating_sub(before.streams);
    }
}
