//! All processes that may be proxies.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use super::fast::Map;
use super::proxy_state::{DownstreamRequest, ProxyState, UpstreamEnded, key};
use super::{Attempt, Confidence, Hop, HopStream, Lone, OtherSide, ProxyKey, Side};
use crate::connection::ConnectionId;
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::limits::{self, Limit, LimitHits};
use crate::stream::digest::Opening;
use crate::stream::record::{Seen, StreamRecord};

/// The requests of all proxies: openings and ends of streams go in, [`Hop`]s come out.
#[derive(Debug)]
pub struct Hops<T> {
    pub(super) proxies: Map<ProxyKey, ProxyState<T>>,
    /// Requests whose upstream side had not ended with them, and until when it is waited for.
    waiting: BinaryHeap<Reverse<(Timestamp, ProxyKey, u64)>>,
    /// Requests that are over and wait for those beside them, and until when, in the order they were over: those
    /// that wait a little, and those whose company is not over.
    settling: [VecDeque<(Timestamp, ProxyKey, u64)>; 2],
    settled: Vec<u64>,
    n_streams: usize,
    /// What processes speak at either side that is not followed, whether or not they are known as proxies yet.
    unfollowed: Map<ProxyKey, [Option<OtherSide>; 2]>,
    lone: VecDeque<Lone<T>>,
    out: VecDeque<Box<Hop<T>>>,
    hits: LimitHits,
}

impl<T> Default for Hops<T> {
    fn default() -> Self {
        Hops {
            proxies: Map::default(),
            waiting: BinaryHeap::new(),
            settling: Default::default(),
            settled: Vec::new(),
            n_streams: 0,
            unfollowed: Map::default(),
            lone: VecDeque::new(),
            out: VecDeque::new(),
            hits: LimitHits::default(),
        }
    }
}

impl<T> Hops<T> {
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
            Side::Upstream => {}
        }
        self.n_streams = (self.n_streams + known.len()).saturating_sub(before);
        if self.n_streams > limits::HOP_WAITING {
            self.make_room();
        }
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
        let Some(known) = self.proxies.get_mut(&proxy) else {
            return;
        };
        let key = key(record.connection.0, record.stream_id.0);
        let before = known.len();
        let mut ready = None;
        match side {
            Side::Downstream if !known.is_proxy() => {
                // No upstream side was seen, so that there is nothing to wait for.
                if known.unfollowed(Side::Upstream).is_some() {
                    if let Some(down) = known.downs.get_mut(&key) {
                        down.ended = Some(HopStream { tag, record });
                        ready = Some(key);
                    }
                } else if known
                    .downs
                    .get(&key)
                    .is_some_and(|down| down.attempts.is_empty())
                {
                    known.take(key);
                } else if let Some(down) = known.downs.get_mut(&key) {
                    down.ended = Some(HopStream { tag, record });
                    ready = Some(key);
                }
            }
            Side::Downstream => {
                if let Some(down) = known.downs.get_mut(&key) {
                    down.ended = Some(HopStream { tag, record });
                    ready = Some(key);
                }
            }
            Side::Upstream => {
                let ended_well = is_well(&record);
                let stream = HopStream { tag, record };
                let ended = if known.is_proxy() || known.ups.contains_key(&key) {
                    known.up_ended(key, stream, ended_well)
                } else {
                    known.lone_ended(stream, ended_well)
                };
                match ended {
                    UpstreamEnded::Both(of) => ready = Some(of),
                    UpstreamEnded::Lone(upstream) => self.lone.push_back(Lone {
                        proxy,
                        upstream,
                        other_side: known.unfollowed(Side::Downstream),
                        at,
                    }),
                    UpstreamEnded::Nothing => {}
                }
            }
        }
        self.n_streams = (self.n_streams + known.len()).saturating_sub(before);
        if let Some(key) = ready
            && (known
                .downs
                .get(&key)
                .is_some_and(|down| is_contradicted(down))
                || known.is_inverted(key))
        {
            known.contradicted(key);
        }
        if let Some(key) = ready
            && let Some(down) = known.downs.get(&key)
        {
            let due = |wait: u64| Timestamp(at.0.saturating_add(wait));
            let period = down.period_id();
            if down.n_open > 0 {
                if side == Side::Downstream {
                    let due = due(limits::HOP_WAIT_NS);
                    self.waiting.push(Reverse((due, proxy, key)));
                }
            } else if down.is_ambiguous() || down.in_company {
                // Where several cannot be told apart but by order, those that end with it have a word in it.
                known.over(key);
                self.settle(proxy, period, at);
                if let Some(down) = self.proxies.get(&proxy).and_then(|p| p.downs.get(&key)) {
                    let [soon, later] = &mut self.settling;
                    let may_be_said = down.in_company && !down.is_ambiguous();
                    let known = self.proxies.get(&proxy);
                    let is_open = known.is_some_and(|known| !known.periods.is_over(period));
                    let (queue, wait) = if may_be_said && is_open {
                        (later, limits::HOP_COMPANY_NS)
                    } else {
                        (soon, limits::HOP_SETTLE_NS)
                    };
                    queue.push_back((due(wait), proxy, key));
                }
            } else {
                self.decide(proxy, key, at);
                self.settle(proxy, period, at);
            }
        }
        self.forget_if_empty(proxy);
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
        let certain = down.filter(|down| down.n_open == 0 && !down.is_ambiguous());
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
        std::mem::take(&mut self.hits)
    }

    fn forget_if_empty(&mut self, proxy: ProxyKey) {
        if self.proxies.get(&proxy).is_some_and(ProxyState::is_empty) {
            self.proxies.remove(&proxy);
            self.unfollowed.remove(&proxy);
        }
    }

    /// The process with the most streams lets go of them: they stand alone.
    fn make_room(&mut self) {
        self.hits.hit(Limit::HopWaiting);
        let most = self.proxies.values_mut().max_by_key(|state| state.len());
        if let Some(most) = most {
            let (connections, unfollowed) = (most.connections, most.unfollowed);
            self.n_streams = self.n_streams.saturating_sub(most.len());
            let shared = most.shared.take();
            *most = ProxyState::new();
            most.unfollowed = unfollowed;
            most.shared = shared;
            for (side, n) in [Side::Downstream, Side::Upstream]
                .into_iter()
                .zip(connections)
            {
                for _ in 0..n {
                    most.connected(side);
                }
            }
        }
    }

    fn decide(&mut self, proxy: ProxyKey, key: u64, at: Timestamp) {
        let Some(state) = self.proxies.get_mut(&proxy) else {
            return;
        };
        let before = state.len();
        let Some(mut down) = state.take(key) else {
            return;
        };
        self.n_streams = (self.n_streams + state.len()).saturating_sub(before);
        let Some(downstream) = down.ended.take() else {
            return;
        };
        if let Some(shared) = &mut state.shared {
            let upstream = std::mem::take(&mut down.attempts);
            let agrees = |attempt: &Attempt<T>| {
                let up = attempt.record();
                up.is_some_and(|up| !contradict(&downstream.record, up))
            };
            if let Some(whole) = down.opening.whole
                && let [Attempt { join, .. }] = *upstream
                && upstream.iter().all(agrees)
            {
                let hop = Hop {
                    proxy,
                    downstream,
                    upstream,
                    join: Some(join),
                    others: Vec::new(),
                    others_known: true,
                    passes_on: true,
                    other_side: None,
                    at,
                };
                let told = shared.joined(whole, hop);
                self.out
                    .extend(told.into_iter().map(|(_, hop)| Box::new(hop)));
            }
            return;
        }
        let passes_on = state.passes_on(&down);
        if down.attempts.is_empty() {
            let is_unsure = state.doubt_order(&down);
            let other_side = state.unfollowed(Side::Upstream);
            let ended_well = is_well(&downstream.record);
            if passes_on || state.tells_alone(&down, ended_well) {
                // One of those that were passed on in its period may have been this one's.
                state.doubt(&down);
                self.out.push_back(Box::new(Hop {
                    proxy,
                    downstream,
                    upstream: Vec::new(),
                    join: None,
                    others: Vec::new(),
                    others_known: !down.doubted && !is_unsure && other_side.is_none(),
                    other_side,
                    passes_on,
                    at,
                }));
            }
            return;
        }
        state.learn(&down);
        let mut upstream = std::mem::take(&mut down.attempts);
        let uncertain = |attempt: &Attempt<T>| {
            attempt.join.confidence >= Confidence::ThreadOrder
                && (down.doubted
                    || attempt
                        .record()
                        .is_some_and(|up| contradict(&downstream.record, up)))
        };
        if upstream.iter().any(uncertain) {
            if !down.doubted {
                state.doubt(&down);
            }
            for attempt in &mut upstream {
                attempt.join.confidence = attempt.join.confidence.max(Confidence::Ambiguous);
            }
        }
        let join = upstream
            .iter()
            .map(|attempt| attempt.join)
            .max_by_key(|join| join.confidence);
        let ambiguous = join.is_some_and(|join| join.confidence == Confidence::Ambiguous);
        let (others, others_known) = if ambiguous {
            let last_at = downstream.record.last_at;
            let (others, known) = state.others(&down, last_at, &upstream);
            (others, known && !down.may_be_alone)
        } else {
            (Vec::new(), true)
        };
        self.out.push_back(Box::new(Hop {
            proxy,
            downstream,
            upstream,
            join,
            others,
            others_known,
            passes_on: true,
            other_side: None,
            at,
        }));
    }
}

/// The client got a whole answer, and no error.
fn is_well(down: &StreamRecord) -> bool {
    super::ended(down) == super::Ended::Complete
        && !matches!(down.grpc_status, Seen::Value(status) if status != 0)
        && !matches!(down.http_status, Seen::Value(status) if status >= 500)
}

/// Order gave it an upstream stream that cannot be its own.
fn is_contradicted<T>(down: &DownstreamRequest<T>) -> bool {
    let Some(ended) = &down.ended else {
        return false;
    };
    down.attempts.iter().any(|attempt| {
        let by_order = attempt.join.confidence >= Confidence::ThreadOrder;
        let up = attempt.record();
        by_order && up.is_some_and(|up| contradict(&ended.record, up))
    })
}

/// What the two streams say of each other cannot both be of one request: the answer was passed on before it
/// came, or messages have other lengths.
fn contradict(down: &StreamRecord, up: &StreamRecord) -> bool {
    let early = |down: Option<Timestamp>, up: Option<Timestamp>| matches!((down, up), (Some(down), Some(up)) if down < up);
    let same_coding = down.response_coding == up.response_coding
        && down.response_content_type == up.response_content_type;
    let other = |down: &[u32], up: &[u32]| down.iter().zip(up).any(|(down, up)| down != up);
    let (received, sent) = (&down.request.messages, &up.request.messages);
    let (answers, answered) = (&down.response.messages, &up.response.messages);
    early(down.response.headers_at, up.response.headers_at)
        || early(down.response.end_stream_at, up.response.end_stream_at)
        || (received.known && sent.known && other(&received.sizes, &sent.sizes))
        || (same_coding
            && answers.known
            && answered.known
            && down.http_status == up.http_status
            && other(&answers.sizes, &answered.sizes))
}
