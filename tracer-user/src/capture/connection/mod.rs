//! One TCP connection of a capture: two flows, and what they speak.

#[cfg(feature = "tls")]
mod found;
#[cfg(feature = "tls")]
mod handover;
mod socket;
mod speech;
mod tls;
mod verdict;

use std::net::{Ipv4Addr, SocketAddr};

use h2trace_core::event::{
    Address, Direction, End, EndCause, Event, Open, Opened, OtherProtocol, Process, SocketKey,
    Task, Timestamp, Unrecognised, What,
};
use h2trace_core::limits;
use h2trace_core::tls::{KeyLog, Scratch};

use super::flow::{Flow, Placed};
use super::process::EndNote;
use super::reassembly::CaptureCounts;
use super::tcp::Segment;
#[cfg(feature = "tls")]
pub(super) use found::Expects;
use speech::{Piece, Speech};
use tls::Tls;

/// Where events go, and what is counted on the way.
pub(in crate::capture) struct Out<'a> {
    pub(in crate::capture) take: &'a mut dyn FnMut(&Event<'_>),
    pub(in crate::capture) counts: &'a mut CaptureCounts,
    /// Space for the wire form of segments.
    pub(in crate::capture) encoded: &'a mut Vec<u8>,
    /// What opens TLS.
    pub(in crate::capture) keys: &'a KeyLog,
    /// Space for a record of TLS.
    pub(in crate::capture) scratch: &'a mut Scratch,
}

pub(in crate::capture) struct Connection {
    key: SocketKey,
    /// The two ends; the client's is first once `client_first` says so.
    ends: [SocketAddr; 2],
    client: usize,
    /// Whose the ends are, where the file says so before the first event.
    processes: [Option<Process>; 2],
    /// SYN was seen: both directions from their first byte, and who is the client.
    from_syn: bool,
    flows: [Flow; 2],
    fin_told: [bool; 2],
    /// What it speaks: of TLS, within it.
    speech: Speech,
    /// It began as TLS, which is opened as far as there are keys.
    tls: Option<Tls>,
    /// Its keys are looked for while it goes on.
    awaits_keys: bool,
    /// The secrets of its handshake may come.
    expects_secrets: bool,
    opened: bool,
    /// Added to offsets, by direction.
    shift: [u64; 2],
    /// It is known to speak HTTP/2.
    told: bool,
    /// Bytes of the server that belong to HTTP/1.x: offsets count from behind them.
    answer: u64,
    /// The server's first bytes decide whether its direction is seen from the beginning.
    check_server: bool,
    first_at: Timestamp,
    /// Times never turn round within a connection.
    last_at: Timestamp,
    /// When it ended: FIN both ways, or RST.
    over: Option<Timestamp>,
    /// Where each side's last byte stands may be told.
    end_known: [bool; 2],
    /// It is ending: what comes next is the last of it.
    is_ending: bool,
    /// TLS was answered by something else, of which nothing more is known.
    is_foreign: bool,
    /// It is not of a capture but a socket, whose owner is `ends[0]`: who made the call at hand. What is told is told as
    /// the owner sees it.
    caller: Option<Task>,
}

impl Connection {
    /// A connection whose first packet seen is `segment`, sent by `ends[side]`.
    pub(in crate::capture) fn new(
        number: u64,
        ends: [SocketAddr; 2],
        side: usize,
        segment: &Segment<'_>,
        at: Timestamp,
    ) -> Connection {
        let client = if segment.syn {
            // SYN is the client's, SYN with ACK the server's.
            if segment.acknowledges.is_none() {
                side
            } else {
                1 - side
            }
        } else {
            // Only a guess whose end is told; the role is proven by frames.
            let [a, b] = ends;
            usize::from(a.port() < b.port())
        };
        let key = SocketKey {
            sk: number,
            born_ns: at.0,
        };
        Connection {
            ends,
            client,
            from_syn: segment.syn,
            ..Connection::blank(key, at)
        }
    }

    /// One of which nothing is known yet but when it was first seen.
    fn blank(key: SocketKey, at: Timestamp) -> Connection {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Connection {
            key,
            ends: [nowhere; 2],
            client: 0,
            processes: [None, None],
            from_syn: false,
            flows: [Flow::default(), Flow::default()],
            fin_told: [false; 2],
            speech: Speech::undecided(),
            tls: None,
            awaits_keys: false,
            expects_secrets: false,
            opened: false,
            shift: [0; 2],
            told: false,
            answer: 0,
            check_server: false,
            first_at: at,
            last_at: at,
            over: None,
            end_known: [true; 2],
            is_ending: false,
            is_foreign: false,
            caller: None,
        }
    }

    /// `ends[server]` is known to be a server of HTTP/2.
    pub(in crate::capture) fn told_http2(&mut self, server: usize) {
        if !self.from_syn {
            self.client = 1 - server;
            self.told = true;
        }
    }

    /// The file says whose an end is. As it may also say who is the client, say it before anything else.
    pub(in crate::capture) fn note(&mut self, note: EndNote) {
        let Some(end) = self.ends.iter().position(|end| *end == note.address) else {
            return;
        };
        if self.opened {
            return;
        }
        let nothing_told = self.flows.iter().all(|flow| flow.base().is_none());
        if !self.from_syn && nothing_told {
            match note.opened {
                Opened::Active => self.client = end,
                Opened::Passive => self.client = 1 - end,
                Opened::Unseen => {}
            }
        }
        if let Some(known) = self.processes.get_mut(end) {
            known.get_or_insert(note.process);
        }
    }

    /// The process of the observed end, the client's, as the one that makes its calls.
    fn task(&self) -> Task {
        if let Some(task) = self.caller {
            return task;
        }
        let process = self.processes.get(self.client).and_then(Option::as_ref);
        process.map_or_else(Task::default, |process| Task {
            pid: process.pid,
            tid: 0,
            cgroup: process.cgroup,
        })
    }

    /// Does a packet belong to another connection between the same ports?
    pub(in crate::capture) fn is_another(
        &self,
        side: usize,
        segment: &Segment<'_>,
        at: Timestamp,
    ) -> bool {
        if let Some(over) = self.over {
            // The SYN of the next one may be missing from the capture.
            return segment.syn || at.since(over) > limits::CAPTURE_HOLE_NS;
        }
        if !segment.syn {
            return false;
        }
        match self.flow(side).base() {
            Some(base) => base != segment.sequence,
            // Only the other direction was seen so far: an answer to it, or something new.
            None => segment.acknowledges.is_none(),
        }
    }

    /// When to call [`Connection::expire`].
    pub(in crate::capture) fn deadline(&self) -> Option<Timestamp> {
        let [a, b] = &self.flows;
        match (a.deadline(), b.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// In the order they were seen first.
    pub(in crate::capture) fn number(&self) -> u64 {
        self.key.sk
    }

    pub(in crate::capture) fn waiting_bytes(&self) -> usize {
        self.flows.iter().map(Flow::waiting_bytes).sum()
    }

    /// Takes a packet of `ends[side]`.
    pub(in crate::capture) fn segment(
        &mut self,
        side: usize,
        segment: &Segment<'_>,
        at: Timestamp,
        out: &mut Out<'_>,
    ) {
        if self.over.is_some() {
            return;
        }
        if segment.syn {
            self.flow_mut(side).begin(segment.sequence);
        }
        if let Some(sequence) = segment.acknowledges {
            // A reset's acknowledgement may answer anything.
            if !segment.rst {
                self.flow_mut(1 - side).acknowledge(sequence, at);
            }
        }
        if segment.rst {
            return self.reset(side, segment.sequence, at, out);
        }
        let held = self.flow(1 - side).lacks_received();
        let (n_bytes, fin) = (segment.payload.len(), segment.fin);
        if n_bytes > 0 || segment.cut > 0 || fin {
            match self.flow_mut(side).take(segment, at, held) {
                Placed::Old if n_bytes > 0 => out.counts.retransmitted += 1,
                Placed::Old => {}
                Placed::Implausible => out.counts.implausible += 1,
                Placed::Waits { ahead } => out.counts.out_of_order += u64::from(ahead),
                Placed::Next { offset, bytes, cut } => {
                    let piece = Piece {
                        at,
                        offset,
                        bytes,
                        cut,
                    };
                    self.bytes(side, piece, out);
                }
            }
        }
        self.drain(at, out);
        while self.waiting_bytes() > limits::CAPTURE_WAITING {
            out.counts.limit_waiting += 1;
            self.give_up(at, out);
        }
    }

    /// Stops waiting for what should have come by `now`.
    pub(in crate::capture) fn expire(&mut self, now: Timestamp, out: &mut Out<'_>) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            self.give_up(now, out);
        }
    }

    /// Stops waiting for what is missing first.
    pub(in crate::capture) fn give_up(&mut self, now: Timestamp, out: &mut Out<'_>) {
        let [a, b] = &self.flows;
        // One without a deadline waits for nothing, and any deadline comes before that, the end of time too.
        let side = match (a.deadline(), b.deadline()) {
            (Some(a), Some(b)) => usize::from(b < a),
            (None, Some(_)) => 1,
            (_, None) => 0,
        };
        let missed_at = self.flow(side).missed_at().unwrap_or(now);
        let lost = self.flow_mut(side).give_up(now);
        if lost > 0 {
            out.counts.gaps += 1;
            out.counts.lost_bytes += lost;
            // The place of the next byte tells the loss; say it now, before anything that answers it.
            let nothing = Piece {
                at: missed_at,
                offset: self.flow(side).next(),
                bytes: &[],
                cut: 0,
            };
            self.bytes(side, nothing, out);
        }
        self.drain(now, out);
    }

    /// The capture ends, or this connection has to go for another one.
    pub(in crate::capture) fn finish(&mut self, at: Timestamp, out: &mut Out<'_>) {
        if self.over.is_some() {
            return;
        }
        while self.deadline().is_some() {
            self.give_up(at, out);
        }
        self.decide_at_the_end(out);
    }

    /// Another connection has taken its place: it must have ended.
    pub(in crate::capture) fn replaced(&mut self, at: Timestamp, out: &mut Out<'_>) {
        if self.over.is_some() {
            return;
        }
        self.finish(at, out);
        self.end(EndCause::Closed, at, out);
        self.close(at);
    }

    fn reset(&mut self, side: usize, sequence: u32, at: Timestamp, out: &mut Out<'_>) {
        self.is_ending = true;
        self.finish(at, out);
        // Who resets may have said more than was captured: its place tells.
        self.end_known = [0, 1].map(|of| of != side || self.flow(of).stands_at(sequence));
        let cause = match self.direction(side) {
            Direction::Tx => EndCause::LocalReset,
            Direction::Rx => EndCause::PeerReset,
        };
        self.end(cause, at, out);
        self.close(at);
    }

    /// What still comes belongs to no one; the place is kept so that it does not look like a new connection.
    fn close(&mut self, at: Timestamp) {
        self.over = Some(at);
        self.flows = [Flow::default(), Flow::default()];
        self.speech = Speech::Other;
        self.tls = None;
    }

    /// Hands out what can be handed out in order: of both directions, what went by first.
    fn drain(&mut self, now: Timestamp, out: &mut Out<'_>) {
        loop {
            let ready = [0, 1].map(|side| {
                let may = !self.flow(1 - side).lacks_received();
                let at = self.flow(side).ready_at().filter(|_| may)?;
                Some((at, side))
            });
            let Some((_, side)) = ready.into_iter().flatten().min() else {
                break;
            };
            let Some(run) = self.flow_mut(side).ready(now) else {
                break;
            };
            self.bytes(side, Piece::from(&run), out);
        }
        self.finished(now, out);
    }

    /// Tells FINs that everything before them has been handed out for.
    fn finished(&mut self, at: Timestamp, out: &mut Out<'_>) {
        for side in [0, 1] {
            let index = self.direction(side).index();
            let told = self.fin_told.get(index).copied().unwrap_or(true);
            // What waits in the other direction may have gone by before.
            let waits = self.flow(1 - side).deadline().is_some();
            if told || waits || !self.flow(side).finished() {
                continue;
            }
            if let Some(told) = self.fin_told.get_mut(index) {
                *told = true;
            }
            let cause = match self.direction(side) {
                Direction::Tx => EndCause::LocalClose,
                Direction::Rx => EndCause::PeerFin,
            };
            let fin_at = self.flow(side).fin_at().unwrap_or(at);
            if self.fin_told == [true, true] {
                self.is_ending = true;
                self.decide_at_the_end(out);
            }
            self.end(cause, fin_at, out);
        }
        if self.fin_told == [true, true] && self.over.is_none() {
            self.end(EndCause::Closed, self.last_at, out);
            self.close(at);
        }
    }

    /// Bytes in order, or with a jump of the offset where some were lost.
    fn bytes(&mut self, side: usize, mut piece: Piece<'_>, out: &mut Out<'_>) {
        piece.at = piece.at.max(self.last_at);
        self.last_at = piece.at;
        out.counts.cut_bytes += u64::from(piece.cut);
        out.counts.bytes += piece.bytes.len() as u64;
        self.open_tls(self.direction(side), piece, out);
    }

    fn open(&mut self, out: &mut Out<'_>) {
        if self.opened {
            return;
        }
        self.opened = true;
        if self.caller.is_some() {
            // Of a socket that is told by the kernel programs.
            return self.tell_tls(self.last_at, out);
        }
        out.counts.connections += 1;
        let ([a, b], [of_a, of_b]) = (self.ends, self.processes.clone());
        let ((local, process), (peer, peer_process)) = match self.client {
            0 => ((a, of_a), (b, of_b)),
            _ => ((b, of_b), (a, of_a)),
        };
        let process = process.unwrap_or_default();
        let open = Open {
            opened: if self.from_syn {
                Opened::Active
            } else {
                Opened::Unseen
            },
            from_start: self.from_syn || self.check_server,
            local: Address::Inet(local),
            peer: Address::Inet(peer),
            netns: process.netns,
            inode: 0,
            unix_peer_sk: 0,
            comm: process.comm,
            peer_process,
        };
        self.event(self.first_at, What::Open(Box::new(open)), out);
        self.tell_tls(self.first_at, out);
    }

    fn unrecognised(
        &self,
        direction: Direction,
        protocol: OtherProtocol,
        first: &[u8],
        at: Timestamp,
        out: &mut Out<'_>,
    ) {
        let what = What::Unrecognised(Unrecognised {
            direction: self.told_direction(direction),
            protocol,
            first,
        });
        self.event(at, what, out);
    }

    fn end(&mut self, cause: EndCause, at: Timestamp, out: &mut Out<'_>) {
        self.last_at = self.last_at.max(at);
        if !self.opened || self.is_other() {
            return;
        }
        self.tell_tls(self.last_at, out);
        let offset = |direction: Direction| {
            let side = self.side(direction);
            let known_end = match &self.tls {
                Some(tls) => tls.end(direction),
                None => self.flow(side).known_end(),
            };
            let is_known = known_end > 0 && self.end_known.get(side) == Some(&true);
            is_known.then(|| self.told_offset(direction, known_end))
        };
        let end = End {
            cause,
            tx_offset: offset(Direction::Tx),
            rx_offset: offset(Direction::Rx),
        };
        self.event(self.last_at, What::End(end), out);
    }

    /// An offset as it is told.
    fn told_offset(&self, direction: Direction, offset: u64) -> u64 {
        let before = match direction {
            Direction::Tx => 0,
            Direction::Rx => self.answer,
        };
        let shift = self.shift.get(direction.index()).copied().unwrap_or(0);
        offset.saturating_sub(before).saturating_add(shift)
    }

    fn event(&self, at: Timestamp, what: What<'_>, out: &mut Out<'_>) {
        let event = Event {
            at,
            socket: self.key,
            task: self.task(),
            what,
        };
        (out.take)(&event);
    }

    fn direction(&self, side: usize) -> Direction {
        if side == self.client {
            Direction::Tx
        } else {
            Direction::Rx
        }
    }

    fn side(&self, direction: Direction) -> usize {
        match direction {
            Direction::Tx => self.client,
            Direction::Rx => 1 - self.client,
        }
    }

    fn flow(&self, side: usize) -> &Flow {
        let [a, b] = &self.flows;
        if side == 0 { a } else { b }
    }

    fn flow_mut(&mut self, side: usize) -> &mut Flow {
        let [a, b] = &mut self.flows;
        if side == 0 { a } else { b }
    }
}
