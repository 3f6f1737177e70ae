//! All processes that may be proxies.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use super::across::Across;
use super::doubt::{contradict, is_contradicted};
use super::downstream::{Doubt, DownstreamRequest, Progress};
use super::fast::Map;
use super::leg::Legs;
use super::proxy_state::{Consequence, ProxyState, key};
use super::undecided::Undecided;
use super::{Attempt, Confidence, Hop, HopStream, Join, Lone, OtherSide, Over, ProxyKey, Side};
use crate::connection::ConnectionId;
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::limits::{self, Limit, LimitHits};
use crate::stream::record::{Opening, Seen, StreamRecord};

/// The requests of all proxies: openings and ends of streams go in, [`Hop`]s come out.
#[derive(Debug)]
pub struct Hops<T> {
    pub(super) proxies: Map<ProxyKey, ProxyState<T>>,
    /// Requests whose upstream side had not ended with them, and until when it is waited for.
    pub(super) waiting: BinaryHeap<Reverse<(Timestamp, ProxyKey, u64)>>,
    /// Requests that are over and wait for those beside them, and until when, in the order they were over: those
    /// that wait a little, and those whose company is not over.
    pub(super) settling: [VecDeque<(Timestamp, ProxyKey, u64)>; 2],
    settled: Vec<u64>,
    pub(super) n_streams: usize,
    /// How many may wait: see [`limits::HOP_WAITING`].
    max_streams: usize,
    /// What processes speak at either side that is not followed, whether or not they are known as proxies yet.
    unfollowed: Map<ProxyKey, [Option<OtherSide>; 2]>,
    /// Their connections of which it is not known what they speak.
    undecided: Undecided,
    /// What stays closed between them.
    pub(super) legs: Legs,
    /// What goes on over it.
    pub(super) across: Option<Box<Across<T>>>,
    /// Places of which connections were seen in clear, by side.
    pub(super) in_clear: Map<ProxyKey, [bool; 2]>,
    lone: VecDeque<Lone<T>>,
    pub(super) out: VecDeque<Box<Hop<T>>>,
    pub(super) hits: LimitHits,
    /// Nobody joins anything since then.
    pub(super) away_since: Option<Timestamp>,
}

impl<T> Default for Hops<T> {
    fn default() -> Self {
        Hops {
            proxies: Map::default(),
            waiting: BinaryHeap::new(),
            settling: Default::default(),
            settled: Vec::new(),
            n_streams: 0,
            max_streams: limits::HOP_WAITING,
            unfollowed: Map::default(),
            undecided: Undecided::default(),
            legs: Legs::default(),
            across: None,
            in_clear: Map::default(),
            lone: VecDeque::new(),
            out: VecDeque::new(),
            hits: LimitHits::default(),
            away_since: None,
        }
    }
}

impl<T: Clone> Hops<T> {
    /// With so many bytes of memory for all connections: a quarter of that may wait here, where it is less than the
    /// bound.
    pub fn within(&mut self, memory: usize) {
        /// What a stream that waits takes, with its record.
        const EACH: usize = 1_024;
        self.max_streams = limits::HOP_WAITING.min(memory / 4 / EACH);
    }

    /// An HTTP/2 connection of this process was seen.
    pub fn connected(&mut self, proxy: ProxyKey, side: Side) {
        if !self.proxies.contains_key(&proxy) && self.proxies.len() >= limits::HOP_PLACES {
            self.hits.hit(Limit::HopPlaces);
            return;
        }
        let unfollowed = self.unfollowed.get(&proxy).copied().unwrap_or_default();
        let known = self.proxies.entry(proxy).or_insert_with(ProxyState::new);
        known.unfollowed = unfollowed;
        known.connected(side);
        if let Some(since) = self.away_since {
            known.gaps.goes_unseen(since);
        }
        if self.in_clear.len() >= limits::HOP_PLACES {
            self.in_clear.clear();
        }
        let sides = self.in_clear.entry(proxy).or_default();
        if let Some(seen) = sides.get_mut(side.index()) {
            *seen = true;
        }
    }

    /// A connection of this process speaks what is not followed.
    pub fn speaks_other(&mut self, proxy: ProxyKey, side: Side, other: OtherSide) {
        if !self.unfollowed.contains_key(&proxy) && self.unfollowed.len() >= limits::HOP_PLACES {
            self.hits.hit(Limit::HopPlaces);
            self.unfollowed.clear();
        }
        let sides = self.unfollowed.entry(proxy).or_default();
        if let Some(speaks) = sides.get_mut(side.index()) {
            *speaks = (*speaks).max(Some(other));
        }
        if let Some(known) = self.proxies.get_mut(&proxy) {
            known.unfollowed = *sides;
        }
    }

    /// Bytes passed on a connection of this process, and it is not known yet what it speaks. The side, if that is.
    pub fn undecided(
        &mut self,
        proxy: ProxyKey,
        side: Option<Side>,
        of: ConnectionId,
        at: Timestamp,
    ) {
        if let Err(limit) = self.undecided.passes(proxy, of.0, side, at) {
            self.hits.hit(limit);
        }
    }

    /// It is known now. What passed before `unknown_until` never will be.
    pub fn decided(&mut self, proxy: ProxyKey, of: ConnectionId, unknown_until: Option<Timestamp>) {
        if let Some(until) = unknown_until
            && self.undecided.may_be_at(proxy, of.0, Side::Upstream)
        {
            self.streams_were_unseen(proxy, until);
        }
        self.undecided.decided(proxy, of.0, unknown_until);
    }

    /// It is gone, and it never became known what it spoke.
    pub fn never_decided(&mut self, proxy: ProxyKey, of: ConnectionId) {
        self.undecided.gone(proxy, of.0);
    }

    /// It is gone, and its streams have been told of.
    pub fn disconnected(&mut self, proxy: ProxyKey, side: Side) {
        if let Some(known) = self.proxies.get_mut(&proxy) {
            known.disconnected(side);
            self.forget_if_empty(proxy);
        }
    }

    /// A stream of this process was opened.
    pub fn requested(&mut self, proxy: ProxyKey, side: Side, opening: &Opening) {
        let Some(known) = self.proxies.get_mut(&proxy) else {
            return;
        };
        let key = key(opening.connection.0, opening.stream_id.0);
        let before = known.len();
        match side {
            Side::Downstream => known.on_downstream_request(key, opening),
            Side::Upstream if known.is_proxy() => known.on_upstream_request(key, opening),
            // The request may be told later, once it is known what its connection speaks.
            Side::Upstream => known.opened_at = known.opened_at.max(opening.at),
        }
        self.n_streams = (self.n_streams + known.len()).saturating_sub(before);
        if self.n_streams > self.max_streams {
            self.make_room();
        }
        self.requested_across(proxy, side, opening);
    }

    /// A request that this process received is over; its stream lingers.
    pub fn finished(&mut self, proxy: ProxyKey, of: (ConnectionId, StreamId), over: Over) {
        if let Some(known) = self.proxies.get_mut(&proxy) {
            known.down_over(key(of.0.0, of.1.0), over);
        }
        self.finished_across(of, over);
    }

    /// A stream of this process ended.
    pub fn ended(
        &mut self,
        proxy: ProxyKey,
        side: Side,
        at: Timestamp,
        record: Arc<StreamRecord>,
        tag: T,
    ) {
        let key = key(record.connection.0, record.stream_id.0);
        let stream = HopStream { tag, record };
        let is_across = side == Side::Upstream && self.up_ended_across(proxy, &stream, at);
        let Some(known) = self.proxies.get_mut(&proxy) else {
            return;
        };
        let before = known.len();
        let mut is_forgotten = false;
        let consequence = match side {
            Side::Downstream => {
                is_forgotten = !known.downs.contains_key(&key);
                known.down_ended(key, stream)
            }
            Side::Upstream => {
                let ended_well = is_well(&stream.record);
                if known.is_proxy() || known.ups.contains_key(&key) {
                    known.up_ended(key, stream, ended_well)
                } else {
                    known.lone_ended(stream, ended_well)
                }
            }
        };
        self.n_streams = (self.n_streams + known.len()).saturating_sub(before);
        let is_gone = known.connections == [0; 2];
        match consequence {
            Consequence::Request(key) => self.consider(proxy, side, key, at),
            Consequence::Lone(_) if is_across => {}
            Consequence::Lone(upstream) => {
                let other_side = known.unfollowed(Side::Downstream);
                let life = (upstream.record.first_at, upstream.record.last_at);
                let may_be = |side| {
                    self.undecided.may_have_carried(proxy, side, life)
                        || known.gaps.may_have_carried(side, life.0, life.1)
                };
                // Where both are possible, it is said that it may have come over what is not followed.
                if other_side.is_some() || !may_be(Side::Downstream) {
                    self.lone.push_back(Lone {
                        proxy,
                        upstream,
                        other_side,
                        at,
                    });
                }
            }
            Consequence::Nothing => {}
        }
        if is_gone {
            self.forget_if_empty(proxy);
        }
        if is_forgotten {
            self.forgotten_across(key);
        }
        self.tell_across();
    }

    /// A request's stream to the client has ended, and perhaps all that were opened for it: is it to be decided?
    fn consider(&mut self, proxy: ProxyKey, side: Side, key: u64, at: Timestamp) {
        let Some(known) = self.proxies.get_mut(&proxy) else {
            return;
        };
        let down = known.downs.get(&key);
        if down.is_some_and(|down| is_contradicted(down)) || known.is_inverted(key) {
            let from = down.map(|down| down.period_from);
            let life = (from.unwrap_or(at), at);
            let sides = [Side::Downstream, Side::Upstream];
            let untold = |side| self.undecided.may_have_carried(proxy, side, life);
            known.contradicted(key, !sides.into_iter().any(untold));
        }
        let Some(down) = known.downs.get(&key) else {
            return;
        };
        let period = down.period_id();
        if down.n_open > 0 {
            if side == Side::Downstream {
                let due = Timestamp(at.0.saturating_add(limits::HOP_WAIT_NS));
                self.waiting.push(Reverse((due, proxy, key)));
            }
        } else if down.is_ambiguous() || down.in_company {
            // Where several cannot be told apart but by order, those that end with it have a word in it.
            known.over(key);
            self.settle(proxy, period, at);
            self.wait_for_company(proxy, key, at);
        } else {
            self.decide(proxy, key, at);
            self.settle(proxy, period, at);
        }
    }

    /// A request that is over waits for those that were read with it, unless they have decided it.
    fn wait_for_company(&mut self, proxy: ProxyKey, key: u64, at: Timestamp) {
        let Some(known) = self.proxies.get(&proxy) else {
            return;
        };
        let Some(down) = known.downs.get(&key) else {
            return;
        };
        let [soon, later] = &mut self.settling;
        let may_be_said = down.in_company && !down.is_ambiguous();
        let is_open = !known.periods.is_over(down.period_id());
        let (queue, wait) = if may_be_said && is_open {
            (later, limits::HOP_COMPANY_NS)
        } else {
            (soon, limits::HOP_SETTLE_NS)
        };
        queue.push_back((Timestamp(at.0.saturating_add(wait)), proxy, key));
    }

    /// Decides what waited for others of this period, now or soon, if none of them is to come.
    fn settle(&mut self, proxy: ProxyKey, period: u64, at: Timestamp) {
        let Some(known) = self.proxies.get(&proxy) else {
            return;
        };
        let mut settled = std::mem::take(&mut self.settled);
        known.settled(period, &mut settled);
        let is_steady = known.order.is_steady();
        let due = Timestamp(at.0.saturating_add(limits::HOP_SETTLE_NS));
        for key in settled.drain(..) {
            if is_steady {
                self.decide(proxy, key, at);
            } else {
                // Work that moves from thread to thread may still show.
                let [soon, _] = &mut self.settling;
                soon.push_back((due, proxy, key));
            }
        }
        self.settled = settled;
    }

    /// The streams that were opened for a request that has not ended, oldest first: if all of them are over, and
    /// it is certain that they are its own.
    pub fn all_over(&self, proxy: ProxyKey, of: (ConnectionId, StreamId)) -> Vec<&StreamRecord> {
        let known = self.proxies.get(&proxy);
        let down = known.and_then(|known| known.downs.get(&key(of.0.0, of.1.0)));
        let is_left_open = |down: &DownstreamRequest<T>| {
            let open = known.map(|known| known.left_open(down, Timestamp(u64::MAX)));
            open.is_some_and(|open| down.attempts.iter().any(|attempt| open.leaves(attempt)))
        };
        let certain =
            down.filter(|down| down.n_open == 0 && !down.is_ambiguous() && !is_left_open(down));
        let is_doubted = |down: &DownstreamRequest<T>| {
            known.is_some_and(|known| known.is_of_doubted_crowd(down))
        };
        let certain = certain.filter(|down| !is_doubted(down));
        let attempts = certain.into_iter().flat_map(|down| &down.attempts);
        attempts.filter_map(Attempt::record).collect()
    }

    /// Time passes: requests that waited long enough for their other side are decided.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some(Reverse((due, proxy, key))) = self.waiting.peek().copied() {
            if due > now {
                break;
            }
            self.waiting.pop();
            self.decide(proxy, key, now);
            self.forget_if_empty(proxy);
        }
        for which in 0..self.settling.len() {
            while let Some(queue) = self.settling.get_mut(which)
                && let Some((due, proxy, key)) = queue.front().copied()
                && due <= now
            {
                queue.pop_front();
                self.decide(proxy, key, now);
                self.forget_if_empty(proxy);
            }
        }
        self.advance_across(now);
    }

    /// The trace ends: nothing more is to come.
    pub fn finish(&mut self, now: Timestamp) {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let settling = std::mem::take(&mut self.settling).into_iter().flatten();
        let mut all: Vec<_> = waiting.map(|Reverse(due)| due).chain(settling).collect();
        all.sort_unstable();
        for (_, proxy, key) in all {
            self.decide(proxy, key, now);
        }
        self.proxies.clear();
        self.unfollowed.clear();
        self.undecided.clear();
        self.finish_across(now);
        self.legs.clear();
        self.in_clear.clear();
        self.n_streams = 0;
    }

    /// A stream that was opened for a request that was not seen.
    pub fn poll_lone(&mut self) -> Option<Lone<T>> {
        self.lone.pop_front()
    }

    /// A request that was decided.
    pub fn poll(&mut self) -> Option<Box<Hop<T>>> {
        self.out.pop_front()
    }

    /// The limits that were reached since the last call.
    pub fn take_limit_hits(&mut self) -> LimitHits {
        for state in self.proxies.values_mut() {
            self.hits.take_from(&mut state.hits);
        }
        if let Some(across) = &mut self.across {
            self.hits.take_from(&mut across.take_limit_hits());
        }
        std::mem::take(&mut self.hits)
    }

    pub(super) fn forget_if_empty(&mut self, proxy: ProxyKey) {
        if self.proxies.get(&proxy).is_some_and(ProxyState::is_empty) {
            self.proxies.remove(&proxy);
            if !self.legs.is_open_at(proxy) {
                self.unfollowed.remove(&proxy);
            }
        }
    }

    /// The process with the most streams lets go of them: they stand alone.
    fn make_room(&mut self) {
        self.hits.hit(Limit::HopWaiting);
        let most = self.proxies.values_mut().max_by_key(|state| state.len());
        if let Some(most) = most {
            self.n_streams = self.n_streams.saturating_sub(most.len());
            most.forget_streams();
        }
    }

    fn decide(&mut self, proxy: ProxyKey, key: u64, at: Timestamp) {
        let Some(state) = self.proxies.get_mut(&proxy) else {
            return;
        };
        let before = state.len();
        state.match_response(key);
        let Some(mut down) = state.take(key) else {
            return;
        };
        self.n_streams = (self.n_streams + state.len()).saturating_sub(before);
        let Some(downstream) = std::mem::replace(&mut down.progress, Progress::Open).into_ended()
        else {
            return;
        };
        let stage = Deciding {
            proxy,
            downstream,
            at,
            undecided: &self.undecided,
        };
        if state.shared.is_some() {
            self.out.extend(stage.on_shared_host(state, &mut down));
        } else if down.attempts.is_empty() {
            let stream = self.across.is_some().then(|| stage.downstream.clone());
            let mut told = stage.alone(state, &down);
            if let Some(stream) = stream {
                told = Self::alone_across(&mut self.across, key, told, (proxy, stream, at));
            }
            self.out.extend(told);
        } else {
            self.out.push_back(stage.joined(state, &mut down));
        }
        state.spare(down);
    }
}

/// A request that has left the state of its proxy.
struct Deciding<'a, T> {
    proxy: ProxyKey,
    downstream: HopStream<T>,
    at: Timestamp,
    /// It may have gone on over one of them. Asked only for a request without an upstream stream: it is a walk.
    undecided: &'a Undecided,
}

impl<T> Deciding<'_, T> {
    /// A request whose upstream streams are known for certain, or which has none.
    fn hop(self, upstream: Vec<Attempt<T>>, join: Option<Join>) -> Hop<T> {
        Hop {
            proxy: self.proxy,
            downstream: self.downstream,
            upstream,
            join,
            others: Vec::new(),
            others_known: true,
            other_side: None,
            mesh: None,
            passes_on: true,
            at: self.at,
        }
    }

    /// Where connections have both ends on the host, other evidence counts.
    fn on_shared_host(
        self,
        state: &mut ProxyState<T>,
        down: &mut DownstreamRequest<T>,
    ) -> Vec<Box<Hop<T>>> {
        let upstream = std::mem::take(&mut down.attempts);
        let open = state.left_open(down, self.downstream.record.last_at);
        let agrees = |attempt: &Attempt<T>| {
            let up = attempt.record();
            !open.leaves(attempt) && up.is_some_and(|up| !contradict(&self.downstream.record, up))
        };
        if let Some(shared) = &mut state.shared
            && let [attempt] = &*upstream
            && agrees(attempt)
        {
            let join = attempt.join;
            let known_by = down.opening.known_by();
            let told = shared.joined(known_by, self.hop(upstream, Some(join)));
            return told.into_iter().map(|(_, hop)| Box::new(hop)).collect();
        }
        Vec::new()
    }

    /// No upstream stream was found for it.
    fn alone(self, state: &mut ProxyState<T>, down: &DownstreamRequest<T>) -> Option<Box<Hop<T>>> {
        let last_at = self.downstream.record.last_at;
        if state.is_proxy() {
            state.was_alone(&down.opening, last_at);
        }
        let other_side = state.unfollowed(Side::Upstream);
        let passes_on = state.passes_on(down);
        let life = (down.opening.at, last_at);
        let is_unsure = state.doubt_order(down)
            || state.may_have_stream(down, last_at)
            || state.gaps.may_have_carried(Side::Upstream, life.0, life.1)
            || (self.undecided).may_have_carried(self.proxy, Side::Upstream, life);
        if is_unsure && other_side.is_none() {
            // One of those may have been its own.
            state.doubt(down);
            return None;
        }
        let ended_well = is_well(&self.downstream.record);
        if !passes_on && !state.tells_alone(down, ended_well) {
            return None;
        }
        // One of those that were passed on in its period may have been this one's.
        state.doubt(down);
        Some(Box::new(Hop {
            others_known: !down.doubt.exists() && !is_unsure && other_side.is_none(),
            other_side,
            passes_on,
            ..self.hop(Vec::new(), None)
        }))
    }

    /// Upstream streams were found for it.
    fn joined(self, state: &mut ProxyState<T>, down: &mut DownstreamRequest<T>) -> Box<Hop<T>> {
        state.learn(down);
        let mut upstream = std::mem::take(&mut down.attempts);
        let last_at = self.downstream.record.last_at;
        let open = state.left_open(down, last_at);
        let doubtful = |attempt: &Attempt<T>| {
            attempt.join.confidence >= Confidence::ThreadOrder
                && (down.doubt.exists()
                    || attempt
                        .record()
                        .is_some_and(|up| contradict(&self.downstream.record, up)))
        };
        let mut is_doubtful = false;
        for attempt in &mut upstream {
            let is_this = doubtful(attempt);
            is_doubtful |= is_this;
            if is_this || open.leaves(attempt) {
                attempt.join.confidence = Confidence::Ambiguous;
            }
        }
        if is_doubtful && !down.doubt.exists() && !down.is_swapped {
            state.doubt(down);
        }
        let join = upstream
            .iter()
            .map(|attempt| attempt.join)
            .max_by_key(|join| join.confidence);
        let ambiguous = join.is_some_and(|join| join.confidence == Confidence::Ambiguous);
        let (others, others_known) = if ambiguous {
            let (others, known) = state.others(down, last_at, &upstream);
            let is_known = known && !open.others && down.doubt < Doubt::MayBeAlone;
            (others, is_known)
        } else {
            (Vec::new(), true)
        };
        Box::new(Hop {
            others,
            others_known,
            ..self.hop(upstream, join)
        })
    }
}

/// The client got a whole answer, and no error.
fn is_well(down: &StreamRecord) -> bool {
    super::ended(down) == super::Ended::Complete
        && !matches!(down.grpc_status, Seen::Value(status) if status != 0)
        && !matches!(down.http_status, Seen::Value(status) if status >= 500)
}
