//! Packets in, events out: the bounded table of a capture's TCP connections.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;

use h2trace_core::event::{Event, Timestamp};
use h2trace_core::limits;
use h2trace_core::tls::{KeyLog, Scratch};

use super::connection::{Connection, Out};
use super::copies::Copies;
use super::file::Packet;
use super::ip::{self, Carried, Datagram};
use super::link;
use super::networks::{EndPair, Networks};
use super::tcp::Segment;

/// What was in the capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    pub packets: u64,
    /// Packets that were captured only in part.
    pub cut_packets: u64,
    /// Packets of a link layer that is not decoded.
    pub foreign_link: u64,
    /// Packets that are encrypted below TCP.
    pub encrypted: u64,
    /// Their bytes.
    pub encrypted_bytes: u64,
    /// IP fragments of TCP segments; all but the first of each are lost.
    pub fragments: u64,
    pub segments: u64,
    /// TCP segments whose bytes were all here before.
    pub retransmitted: u64,
    /// TCP segments that came before others that belong before them.
    pub out_of_order: u64,
    /// TCP segments whose sequence number cannot be.
    pub implausible: u64,
    /// TCP connections with payload.
    pub connections: u64,
    /// Payload bytes handed on, each once.
    pub bytes: u64,
    /// Payload bytes that the capture's snapshot length cut off.
    pub cut_bytes: u64,
    /// Holes in the payload.
    pub gaps: u64,
    /// Bytes of those holes.
    pub lost_bytes: u64,
    /// Times that `limits::CAPTURE_WAITING` or `limits::CAPTURE_WAITING_ALL` was reached.
    pub limit_waiting: u64,
    /// Times that `limits::CAPTURE_CONNECTIONS` was reached.
    pub limit_connections: u64,
}

struct TrackedConnection {
    connection: Connection,
    last_at: Timestamp,
    deadline: Option<Timestamp>,
    waiting: usize,
}

/// Puts the TCP connections of a capture together.
#[derive(Default)]
pub struct Reassembly {
    port: Option<u16>,
    http2_ports: Vec<u16>,
    entries: HashMap<EndPair, TrackedConnection>,
    /// Second-chance order, as in stage 2's table.
    order: VecDeque<(EndPair, Timestamp)>,
    copies: Copies,
    networks: Networks,
    /// Connections that wait for missing bytes, by when they stop.
    deadlines: BTreeSet<(Timestamp, EndPair)>,
    waiting: usize,
    counts: CaptureCounts,
    next_number: u64,
    now: Timestamp,
    encoded: Vec<u8>,
    keys: KeyLog,
    scratch: Scratch,
}

impl Reassembly {
    /// Follows all connections, or only those that have `port` at one end.
    #[must_use]
    pub fn new(port: Option<u16>) -> Reassembly {
        Reassembly {
            port,
            ..Reassembly::default()
        }
    }

    /// Servers are known to speak HTTP/2 on these ports.
    #[must_use]
    pub fn with_http2_on(mut self, ports: Vec<u16>) -> Reassembly {
        self.http2_ports = ports;
        self
    }

    /// The secrets that open TLS. They count for what is taken from now on.
    pub fn keys(&mut self) -> &mut KeyLog {
        &mut self.keys
    }

    /// What was in the capture so far.
    #[must_use]
    pub fn counts(&self) -> &CaptureCounts {
        &self.counts
    }

    /// Bytes that wait for missing ones before them.
    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// The time up to which the pipeline may [`advance`](h2trace_core::pipeline::Pipeline::advance).
    #[must_use]
    pub fn settled(&self) -> Timestamp {
        if self.deadlines.is_empty() {
            return self.now;
        }
        // What waits may be older; longer than this the others are not held up for it.
        Timestamp(self.now.0.saturating_sub(2 * limits::CAPTURE_REORDER_NS))
    }

    /// Takes the next packet of the file.
    pub fn packet(&mut self, packet: &Packet<'_>, take: &mut dyn FnMut(&Event<'_>)) {
        self.counts.packets += 1;
        self.now = self.now.max(packet.at);
        let missing = (packet.wire_len as usize).saturating_sub(packet.data.len());
        self.counts.cut_packets += u64::from(missing > 0);
        let Some(link) = packet.link else {
            self.counts.foreign_link += 1;
            return;
        };
        let carried = match link::network(link, packet.data) {
            Some(bytes) => ip::read(bytes, missing),
            None if link::is_encrypted(link, packet.data) => {
                Carried::Encrypted(packet.wire_len as usize)
            }
            None => Carried::Other,
        };
        let datagram = match carried {
            Carried::Tcp(datagram) => datagram,
            Carried::FirstFragment(datagram) => {
                self.counts.fragments += 1;
                datagram
            }
            Carried::Fragment => {
                self.counts.fragments += 1;
                return;
            }
            Carried::Encrypted(bytes) => {
                self.counts.encrypted += 1;
                self.counts.encrypted_bytes += bytes as u64;
                return;
            }
            Carried::Other => return,
        };
        if let Some(segment) = Segment::read(datagram.payload, datagram.wire_len) {
            self.segment(&datagram, &segment, packet, take);
        }
        self.expire(take);
    }

    /// The capture ends.
    pub fn finish(&mut self, take: &mut dyn FnMut(&Event<'_>)) {
        let at = self.now;
        let mut left: Vec<TrackedConnection> =
            self.entries.drain().map(|(_, entry)| entry).collect();
        left.sort_by_key(|entry| entry.connection.number());
        for mut entry in left {
            let mut out = Out {
                take: &mut *take,
                counts: &mut self.counts,
                encoded: &mut self.encoded,
                keys: &self.keys,
                scratch: &mut self.scratch,
            };
            entry.connection.finish(at, &mut out);
        }
        self.order.clear();
        self.deadlines.clear();
        self.waiting = 0;
    }

    fn segment(
        &mut self,
        datagram: &Datagram<'_>,
        segment: &Segment<'_>,
        packet: &Packet<'_>,
        take: &mut dyn FnMut(&Event<'_>),
    ) {
        let at = packet.at;
        let source = SocketAddr::new(datagram.source, segment.source_port);
        let destination = SocketAddr::new(datagram.destination, segment.destination_port);
        let wanted = self
            .port
            .is_none_or(|port| port == source.port() || port == destination.port());
        if source == destination || !wanted {
            return;
        }
        self.counts.segments += 1;
        let (ends, side) = if source < destination {
            ([source, destination], 0)
        } else {
            ([destination, source], 1)
        };
        let ends = self.networks.pair(ends, side, datagram.network);
        let known = self.entries.contains_key(&ends);
        let sent = (segment, datagram.hops);
        let (ends, side) = self.copies.resolve(ends, side, sent, at, known);
        let known = self.entries.get(&ends);
        let another = known.is_some_and(|entry| entry.connection.is_another(side, segment, at));
        if another {
            self.with(&ends, at, take, |connection, out| {
                connection.replaced(at, out);
            });
        }
        if another || !self.entries.contains_key(&ends) {
            // Nothing is worth following before there is payload, or the promise of some.
            if !segment.syn && (segment.payload.is_empty() || segment.rst) {
                return;
            }
            self.next_number += 1;
            let mut connection = Connection::new(self.next_number, ends.ends, side, segment, at);
            let is_told = |end: &SocketAddr| self.http2_ports.contains(&end.port());
            if let Some(server) = ends.ends.iter().position(is_told) {
                connection.told_http2(server);
            }
            self.insert(ends, connection, at, take);
        }
        self.with(&ends, at, take, |connection, out| {
            for note in packet.options.notes() {
                connection.note(note);
            }
            connection.segment(side, segment, at, out);
        });
        while self.waiting > limits::CAPTURE_WAITING_ALL
            && let Some((_, ends)) = self.deadlines.first().copied()
        {
            self.counts.limit_waiting += 1;
            let now = self.now;
            self.with(&ends, now, take, |connection, out| {
                connection.give_up(now, out);
            });
        }
    }

    fn expire(&mut self, take: &mut dyn FnMut(&Event<'_>)) {
        while let Some((deadline, ends)) = self.deadlines.first().copied()
            && deadline <= self.now
        {
            let now = self.now;
            self.with(&ends, now, take, |connection, out| {
                connection.expire(now, out);
            });
            // At the end of time, which a broken file may claim to have reached, no deadline is later.
            if self.deadlines.first() == Some(&(deadline, ends)) {
                break;
            }
        }
    }

    /// Does something with a connection and keeps the books.
    fn with(
        &mut self,
        ends: &EndPair,
        at: Timestamp,
        take: &mut dyn FnMut(&Event<'_>),
        act: impl FnOnce(&mut Connection, &mut Out<'_>),
    ) {
        let Some(entry) = self.entries.get_mut(ends) else {
            return;
        };
        entry.last_at = entry.last_at.max(at);
        let mut out = Out {
            take,
            counts: &mut self.counts,
            encoded: &mut self.encoded,
            keys: &self.keys,
            scratch: &mut self.scratch,
        };
        act(&mut entry.connection, &mut out);
        let deadline = entry.connection.deadline();
        if deadline != entry.deadline {
            if let Some(old) = entry.deadline {
                self.deadlines.remove(&(old, *ends));
            }
            if let Some(new) = deadline {
                self.deadlines.insert((new, *ends));
            }
            entry.deadline = deadline;
        }
        let waiting = entry.connection.waiting_bytes();
        self.waiting = (self.waiting + waiting).saturating_sub(entry.waiting);
        entry.waiting = waiting;
    }

    fn insert(
        &mut self,
        ends: EndPair,
        connection: Connection,
        at: Timestamp,
        take: &mut dyn FnMut(&Event<'_>),
    ) {
        let entry = TrackedConnection {
            connection,
            last_at: at,
            deadline: None,
            waiting: 0,
        };
        if let Some(old) = self.entries.get_mut(&ends) {
            let old = std::mem::replace(old, entry);
            self.forget(&ends, &old);
            return;
        }
        if self.entries.len() >= limits::CAPTURE_CONNECTIONS {
            self.evict(take);
        }
        self.entries.insert(ends, entry);
        self.order.push_back((ends, at));
    }

    fn forget(&mut self, ends: &EndPair, entry: &TrackedConnection) {
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, *ends));
        }
        self.waiting = self.waiting.saturating_sub(entry.waiting);
    }

    /// The longest idle connection goes.
    fn evict(&mut self, take: &mut dyn FnMut(&Event<'_>)) {
        // Every pass of a used entry renews its stamp, so this ends after one round at the latest.
        for _ in 0..=self.order.len() {
            let Some((ends, stamp)) = self.order.pop_front() else {
                return;
            };
            let Some(entry) = self.entries.get(&ends) else {
                continue;
            };
            if entry.last_at > stamp {
                self.order.push_back((ends, entry.last_at));
                continue;
            }
            self.counts.limit_connections += 1;
            let now = self.now;
            self.with(&ends, now, take, |connection, out| {
                connection.finish(now, out);
            });
            if let Some(entry) = self.entries.remove(&ends) {
                self.forget(&ends, &entry);
                self.copies.forget(&ends);
            }
            return;
        }
    }
}
