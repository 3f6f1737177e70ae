//! The stages after the streams, as every connection hands its streams to them: hops and rules.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::accusations::{Accusation, Accusations};
use super::conn::GapNews;
use super::witness::{Held, Other, Witnesses, may_blame};
use super::{ConnectionInfo, HopEnd, Loss, LossCause, Output, Sink, say};
use crate::anomaly::Rules;
use crate::anomaly::kind::{Finding, Kind};
use crate::connection::{ConnectionId, Endpoint};
use crate::event::{Address, Direction, OtherProtocol, SocketKey, Timestamp};
use crate::frame::StreamId;
use crate::hop::fast::Map;
use crate::hop::{Hops, LegEnd, OtherSide, Over, ProxyKey, Side};
use crate::limits;
use crate::stream::condition::ConditionReport;
use crate::stream::record::{Opening, StreamRecord};
use crate::stream::violation::Offence;
use crate::tls::Opaque;

/// The two ends of a connection; the network namespace where the addresses alone are not enough.
type Addresses = (SocketAddr, SocketAddr, u32);

/// A connection as one of its two ends names it, with the streams whose content it is.
type EndKey = (Addresses, [u32; limits::TUNNEL_DEPTH]);

/// The stages after the streams: hops and rules.
#[derive(Default)]
pub(super) struct Analysis {
    pub(super) rules: Rules,
    pub(super) hops: Hops<HopEnd>,
    /// Nobody asked for hops.
    hops_off: bool,
    /// The connection ends followed now, so that the two ends of one connection find each other.
    ends: HashMap<EndKey, Arc<ConnectionInfo>, RandomState>,
    /// By connection: its other end. That is kept when the other end has gone before this one.
    peers: Map<u64, Arc<ConnectionInfo>>,
    witnesses: Witnesses,
    accusations: Accusations,
    /// Until then records were lost, and it is not known whose.
    pub(super) records_lost_at: Option<Timestamp>,
}

impl Analysis {
    /// With so many bytes of memory for all connections.
    pub(super) fn within(memory: usize) -> Analysis {
        let mut analysis = Analysis::default();
        analysis.hops.within(memory);
        analysis
    }

    pub(super) fn without_hops(&mut self) {
        self.hops_off = true;
    }

    /// Hops are asked for.
    pub(super) const fn joins(&self) -> bool {
        !self.hops_off
    }

    /// A connection was found to speak HTTP/2.
    pub(super) fn connected(&mut self, info: &Arc<ConnectionInfo>) {
        if self.hops_off {
            return;
        }
        for (place, side, _) in places(info).into_iter().flatten() {
            self.hops.connected(place, side);
        }
        if let Some(key) = end_key(info) {
            let ((local, peer, netns), path) = key;
            if let Some(other) = self.ends.get(&((peer, local, netns), path)) {
                self.peers.insert(info.id.0, Arc::clone(other));
                self.peers.insert(other.id.0, Arc::clone(info));
            }
            self.ends.insert(key, Arc::clone(info));
        }
        // In a recording both ends are one connection.
        if info.peer_process.is_some() {
            let peers = &mut self.peers;
            peers
                .entry(info.id.0)
                .or_insert_with(|| Arc::new(info.turned()));
        }
    }

    /// A connection was found to speak what is not followed.
    pub(super) fn speaks_other(&mut self, info: &ConnectionInfo, protocol: OtherProtocol) {
        let other = match protocol {
            OtherProtocol::Http1 => OtherSide::Http1,
            OtherProtocol::Tls => OtherSide::Tls,
            OtherProtocol::Other => return,
        };
        if self.hops_off {
            return;
        }
        for (place, side, _) in places(info).into_iter().flatten() {
            self.hops.speaks_other(place, side, other);
        }
    }

    /// A connection is TLS, which stays closed.
    pub(super) fn leg_opened(&mut self, socket: SocketKey, info: &ConnectionInfo) {
        let Some(role) = info.role.filter(|_| !self.hops_off) else {
            return;
        };
        let in_order = |[own, other]: [Option<ProxyKey>; 2]| match role {
            Endpoint::Client => [own, other],
            Endpoint::Server => [other, own],
        };
        let addresses = addresses(info).map(|(own, other, netns)| match role {
            Endpoint::Client => (own, other, netns),
            Endpoint::Server => (other, own, netns),
        });
        let end = LegEnd {
            role,
            places: in_order(hosts(info)),
            name: info.tls.as_ref().and_then(|tls| tls.client_random),
            addresses,
            at: info.first_at,
        };
        self.hops.leg_opened(socket, end);
    }

    /// Application data went by on it.
    pub(super) fn leg_passed(
        &mut self,
        socket: SocketKey,
        direction: Direction,
        at: Timestamp,
        opaque: Opaque,
    ) {
        self.hops.leg_passed(socket, direction, at, opaque);
    }

    /// Nobody sees what goes by on it from now on.
    pub(super) fn leg_lost(&mut self, socket: SocketKey) {
        self.hops.leg_lost(socket);
    }

    /// It is over.
    pub(super) fn leg_closed(&mut self, socket: SocketKey) {
        self.hops.leg_closed(socket);
    }

    /// Bytes passed on a connection, and it is not known yet what it speaks. Its own end's role, if that is.
    pub(super) fn undecided(
        &mut self,
        info: &ConnectionInfo,
        role: Option<Endpoint>,
        at: Timestamp,
    ) {
        if self.hops_off {
            return;
        }
        for (place, side) in hosts_and_sides(info, role) {
            self.hops.undecided(place, side, info.id, at);
        }
    }

    /// A gap in what the client says on a connection that is known.
    pub(super) fn gap(&mut self, info: &ConnectionInfo, role: Option<Endpoint>, news: GapNews) {
        if self.hops_off {
            return;
        }
        for (place, side) in hosts_and_sides(info, role) {
            let Some(side) = side else { continue };
            match news {
                GapNews::Began { since } => self.hops.gap_began(place, side, info.id, since),
                GapNews::Ended { until } => self.hops.gap_ended(place, side, info.id, until),
                GapNews::WasEmpty { since } => {
                    self.hops.gap_was_empty(place, side, info.id, since);
                }
            }
        }
    }

    /// It is known now. What passed before `unknown_until` never will be.
    pub(super) fn decided(&mut self, info: &ConnectionInfo, unknown_until: Option<Timestamp>) {
        for place in hosts(info).into_iter().flatten() {
            self.hops.decided(place, info.id, unknown_until);
        }
    }

    /// It is gone, and it never became known what it spoke.
    pub(super) fn never_decided(&mut self, info: &ConnectionInfo) {
        for place in hosts(info).into_iter().flatten() {
            self.hops.never_decided(place, info.id);
        }
    }

    /// It is gone.
    pub(super) fn disconnected(&mut self, info: &ConnectionInfo) {
        for (place, side, _) in places(info).into_iter().flatten() {
            self.hops.disconnected(place, side);
        }
        if let Some(key) = end_key(info)
            && self.ends.get(&key).is_some_and(|end| end.id == info.id)
        {
            self.ends.remove(&key);
        }
        self.peers.remove(&info.id.0);
        self.accusations.forget(info.id.0);
    }

    /// The request's HEADERS of a stream went by.
    pub(super) fn requested(&mut self, info: &ConnectionInfo, opening: &Opening) {
        if self.hops_off || self.hops.is_away() {
            return;
        }
        if let Some((place, side)) = only_place(info) {
            return self.hops.requested(place, side, opening);
        }
        let [first, second] = places(info);
        if let (Some((place, side, _)), true) = (first, second.is_some()) {
            self.hops.requested(place, side, opening);
        }
        if let Some((place, side, _)) = second.or(first) {
            self.hops.requested(place, side, opening);
        }
    }

    /// Nothing more is to be expected of a stream: as a request, it is over.
    pub(super) fn finished(&mut self, info: &ConnectionInfo, stream_id: StreamId, over: Over) {
        if self.hops_off {
            return;
        }
        if let Some((place, side)) = only_place(info) {
            if side == Side::Downstream {
                self.hops.finished(place, (info.id, stream_id), over);
            }
            return;
        }
        for (place, side, _) in places(info).into_iter().flatten() {
            if side == Side::Downstream {
                self.hops.finished(place, (info.id, stream_id), over);
            }
        }
    }

    /// A stream ended. It is told of at once, unless the other end of its connection is followed too and may say
    /// something else. Gives the record back when it was.
    pub(super) fn ended(
        &mut self,
        info: &Arc<ConnectionInfo>,
        mut record: Arc<StreamRecord>,
        sink: &mut dyn Sink,
    ) -> Option<Arc<StreamRecord>> {
        let other = self.other_end(info.id);
        let Some(other) = other.filter(|other| *other != info.id) else {
            return Some(self.tell_stream(info, record, sink));
        };
        match self.witnesses.ask(other.0, &record) {
            Other::Told(contradicted) => doubt(&mut record, contradicted),
            Other::Waited(mut held, contradicted) => {
                doubt(&mut held.record, contradicted);
                doubt(&mut record, contradicted);
                self.tell_stream(&held.info, held.record, sink);
            }
            Other::Silent if may_blame(&record) => {
                let info = Arc::clone(info);
                if let Some(oldest) = self.witnesses.hold(Held { info, record }) {
                    self.release(oldest, sink);
                }
                return None;
            }
            Other::Silent => self.witnesses.tell(&record),
        }
        Some(self.tell_stream(info, record, sink))
    }

    /// The other end of a connection, if that is known, or was.
    pub(super) fn other_end(&self, end: ConnectionId) -> Option<ConnectionId> {
        self.peers.get(&end.0).map(|other| other.id)
    }

    /// Ends of which not every frame was seen.
    #[cfg(test)]
    pub(super) fn n_blind(&self) -> usize {
        self.accusations.n_blind()
    }

    /// Not every frame of this end was seen.
    pub(super) fn blind(&mut self, end: ConnectionId) {
        self.accusations.blind(end.0);
    }

    /// A rule was broken, as this end shows.
    pub(super) fn offended(
        &mut self,
        info: &Arc<ConnectionInfo>,
        offence: &Offence,
        findings: Vec<Finding>,
        sink: &mut dyn Sink,
    ) {
        let (rule, stream_id) = (offence.rule, offence.stream_id);
        let other = self.peers.get(&info.id.0).map(|peer| peer.id);
        let is_receiver = info.role == Some(offence.sender.peer());
        match other.filter(|other| *other != info.id) {
            Some(other) if is_receiver => {
                let of_sender = (other.0, rule, stream_id);
                let accusation = Accusation::new(info, findings, of_sender, offence.at);
                if let Some(accusation) = self.accusations.accuse(accusation) {
                    accusation.say(sink);
                }
            }
            Some(_) => {
                say(info, findings, sink);
                if let Some(accusation) = self.accusations.show((info.id.0, rule, stream_id)) {
                    accusation.say(sink);
                }
            }
            None => say(info, findings, sink),
        }
    }

    /// Tells of the streams of a connection that wait: what follows is about the connection.
    pub(super) fn release_of(&mut self, connection: ConnectionId, sink: &mut dyn Sink) {
        while let Some(accusation) = self.accusations.of(connection.0) {
            accusation.say(sink);
        }
        while let Some(held) = self.witnesses.of(connection.0) {
            self.release(held, sink);
        }
    }

    fn release(&mut self, held: Held, sink: &mut dyn Sink) {
        self.witnesses.tell(&held.record);
        self.tell_stream(&held.info, held.record, sink);
    }

    /// Tells of a stream that ended, and then of what it is a part of.
    fn tell_stream(
        &mut self,
        info: &Arc<ConnectionInfo>,
        record: Arc<StreamRecord>,
        sink: &mut dyn Sink,
    ) -> Arc<StreamRecord> {
        let findings = self.rules.judge_stream(&record);
        let kinds: Vec<Kind> = findings.iter().map(|finding| finding.kind).collect();
        let info_of_stream = Arc::clone(info);
        let told = Output::Stream {
            info: info_of_stream,
            record,
            findings,
        };
        sink.accept(&told);
        // The record is lent, not shared: counting its owners costs more than telling of it.
        let Output::Stream { record, .. } = told else {
            return Arc::default();
        };
        self.ended_at_hops(info, &record, &kinds, sink);
        record
    }

    /// A stream ended and was told of: what it is a part of may be decided now.
    fn ended_at_hops(
        &mut self,
        info: &Arc<ConnectionInfo>,
        record: &Arc<StreamRecord>,
        findings: &[Kind],
        sink: &mut dyn Sink,
    ) {
        if self.hops_off || self.hops.is_away() {
            return;
        }
        let at = record.last_at;
        if let Some((place, side)) = only_place(info) {
            if self.hops.ended_alone(place, side, record) {
                return self.tell(sink);
            }
            let record = Arc::clone(record);
            let end = HopEnd {
                info: Arc::clone(info),
                findings: findings.to_vec(),
                peer: self.peers.get(&info.id.0).cloned(),
            };
            self.hops.ended(place, side, at, record, end);
            return self.tell(sink);
        }
        for (place, side, is_others) in places(info).into_iter().flatten() {
            let mut of_this = Arc::clone(record);
            let mut end = HopEnd {
                info: Arc::clone(info),
                findings: findings.to_vec(),
                peer: self.peers.get(&info.id.0).cloned(),
            };
            if is_others {
                end.peer = (info.pid != 0).then(|| Arc::clone(info));
                end.info = Arc::new(info.turned());
                let mut turned = StreamRecord::clone(record);
                turned.pid = end.info.pid;
                of_this = Arc::new(turned);
            }
            self.hops.ended(place, side, at, of_this, end);
        }
        self.tell(sink);
    }

    /// No response has come on this stream for long: is it that a proxy keeps it?
    pub(super) fn overdue(
        &mut self,
        info: &ConnectionInfo,
        waiting: &ConditionReport,
    ) -> Option<Finding> {
        let request = waiting.stream.as_deref()?;
        let of = (request.connection, request.stream_id);
        let mut asked = places(info)
            .into_iter()
            .flatten()
            .filter(|(_, side, _)| *side == Side::Downstream);
        let upstream = asked
            .next()
            .map(|(place, ..)| self.hops.all_over(place, of))?;
        self.rules.judge_waiting(request, &upstream, waiting.at)
    }

    /// Time passes.
    pub(super) fn advance(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        while let Some(held) = self.witnesses.overdue(now) {
            self.release(held, sink);
        }
        while let Some(accusation) = self.accusations.overdue(now) {
            accusation.say(sink);
        }
        self.hops.advance(now);
        self.tell(sink);
        for hits in [self.rules.take_limit_hits(), self.hops.take_limit_hits()] {
            for (limit, n) in hits.iter() {
                for _ in 0..n {
                    sink.accept(&Output::Loss(Loss {
                        connection: None,
                        at: now,
                        cause: LossCause::Limit(limit),
                        bytes: None,
                    }));
                }
            }
        }
    }

    /// The trace ends.
    pub(super) fn finish(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        while let Some(held) = self.witnesses.overdue(Timestamp(u64::MAX)) {
            self.release(held, sink);
        }
        while let Some(accusation) = self.accusations.overdue(Timestamp(u64::MAX)) {
            accusation.say(sink);
        }
        self.hops.finish(now);
        self.tell(sink);
        self.ends.clear();
        self.peers.clear();
    }

    /// Hands on the requests that were decided.
    fn tell(&mut self, sink: &mut dyn Sink) {
        while let Some(mut request) = self.hops.poll() {
            self.name_peer(&mut request.downstream.tag);
            for attempt in &mut request.upstream {
                if let Some(stream) = &mut attempt.stream {
                    self.name_peer(&mut stream.tag);
                }
            }
            let findings = self.rules.judge_hop(&request);
            sink.accept(&Output::Hop { request, findings });
        }
        while let Some(mut lone) = self.hops.poll_lone() {
            self.name_peer(&mut lone.upstream.tag);
            sink.accept(&Output::Lone(Box::new(lone)));
        }
    }

    /// The other end may have been found after the stream had ended.
    fn name_peer(&self, end: &mut HopEnd) {
        if end.peer.is_none() {
            end.peer = self.peers.get(&end.info.id.0).cloned();
        }
    }
}

/// The two ends contradict each other: of none of them is anything certain.
fn doubt(record: &mut Arc<StreamRecord>, contradicted: bool) {
    if contradicted {
        Arc::make_mut(record).whole = false;
    }
}

/// Where this connection is a side of a proxy, the side towards the server first: a stream that a place opens
/// must not find itself among those that the place was asked for. With each, whether it is the other end's.
///
/// Live it is the process that owns the observed end, and each traced end is a connection of its own. A file
/// has each connection once, for both its ends: in a recording they are the processes that it names, and
/// none where it names only the other one's; in any other file, which knows no process, the hosts.
fn places(info: &ConnectionInfo) -> [Option<(ProxyKey, Side, bool)>; 2] {
    let Some(role) = info.role else {
        return [None, None];
    };
    let [own, others] = hosts(info);
    let own = own.map(|place| (place, Side::of_role(role), false));
    let others = others.map(|place| (place, Side::of_role(role.peer()), true));
    match role {
        Endpoint::Client => [own, others],
        Endpoint::Server => [others, own],
    }
}

/// The same where it is the process that owns the observed end alone: live it always is.
#[inline]
fn only_place(info: &ConnectionInfo) -> Option<(ProxyKey, Side)> {
    let is_alone = info.pid != 0 && info.peer_process.is_none();
    let role = info.role.filter(|_| is_alone)?;
    Some((ProxyKey::Process(info.pid), Side::of_role(role)))
}

/// What may be a proxy at either end of this connection, its own end first.
fn hosts(info: &ConnectionInfo) -> [Option<ProxyKey>; 2] {
    let peer_pid = info.peer_process.as_ref().map_or(0, |process| process.pid);
    let by_process = info.pid != 0 || peer_pid != 0;
    let at = |pid: u32, address: &Address| match address {
        _ if by_process => (pid != 0).then_some(ProxyKey::Process(pid)),
        Address::Inet(address) => Some(ProxyKey::Host(address.ip(), info.netns)),
        _ => None,
    };
    [at(info.pid, &info.local), at(peer_pid, &info.peer)]
}

/// The same, and the side of each that the connection is at; its own end's role, if that is known.
fn hosts_and_sides(
    info: &ConnectionInfo,
    role: Option<Endpoint>,
) -> impl Iterator<Item = (ProxyKey, Option<Side>)> {
    let [own, others] = hosts(info);
    let both = [(own, role), (others, role.map(Endpoint::peer))];
    both.into_iter()
        .filter_map(|(place, role)| Some((place?, role.map(Side::of_role))))
}

fn end_key(info: &ConnectionInfo) -> Option<EndKey> {
    let addresses = addresses(info).filter(|_| info.pid != 0)?;
    let path = info
        .tunnel
        .as_deref()
        .map_or_else(Default::default, |tunnel| tunnel.path);
    Some((addresses, path))
}

/// Its addresses, the own end's first.
fn addresses(info: &ConnectionInfo) -> Option<Addresses> {
    let (Address::Inet(local), Address::Inet(peer)) = (&info.local, &info.peer) else {
        return None;
    };
    // Every network namespace has a loopback of its own; other addresses are the same seen from anywhere.
    let netns = if local.ip().is_loopback() {
        info.netns
    } else {
        0
    };
    Some((*local, *peer, netns))
}
