//! One process that may be a proxy: its streams of both sides, and which belongs to which.

use std::collections::{BTreeSet, VecDeque, hash_map::Entry};

use super::crowd::{Crowd, Latest};
use super::downstream::{Doubt, DownstreamRequest, Progress};
use super::fast::Map;
use super::index::Index;
use super::opening::DownstreamOpening;
use super::order::ThreadOrder;
use super::period::Periods;
use super::recent::RecentStreams;
use super::response::AloneRequest;
use super::shared_host::{self, SharedHost};
use super::threads::Threads;
use super::undecided::OfProcess;
use super::unseen::Unseen;
use super::{Attempt, By, Confidence, HopStream, Join, OtherSide, Over, Side};
use crate::connection::ConnectionId;
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::limits::{self, Limit, LimitHits};
use crate::stream::record::Opening;

/// A stream's key: its connection and its id in one number.
pub(super) const fn key(connection: u64, stream_id: u32) -> u64 {
    (connection << 31) | (stream_id & 0x7fff_ffff) as u64
}

/// The key of an upstream stream.
pub(super) fn key_of<T>(attempt: &Attempt<T>) -> u64 {
    key(attempt.connection.0, attempt.stream_id.0)
}

/// The stream that has this key.
pub(super) const fn stream_of(key: u64) -> (ConnectionId, StreamId) {
    (
        ConnectionId(key >> 31),
        StreamId((key & 0x7fff_ffff) as u32),
    )
}

/// An upstream stream that was opened for a request.
pub(super) fn attempt<T>(key: u64, began_at: Timestamp, join: Join) -> Attempt<T> {
    let (connection, stream_id) = stream_of(key);
    Attempt {
        connection,
        stream_id,
        began_at,
        join,
        stream: None,
    }
}

/// An upstream request: a stream that the process opened.
#[derive(Debug)]
pub(super) struct UpstreamRequest {
    pub(super) at: Timestamp,
    pub(super) whole: Option<u64>,
    pub(super) path: Option<u64>,
    pub(super) request_id: Option<u64>,
    /// A tunnel, or one of a request that was found.
    pub(super) is_told: bool,
    /// What it was opened for.
    pub(super) of: Option<u64>,
}

/// What the end of a stream leads to.
pub(super) enum Consequence<T> {
    /// This request's stream to the client is over, and perhaps all that were opened for it.
    Request(u64),
    /// It belongs to no request that was seen, which is worth telling.
    Lone(HopStream<T>),
    Nothing,
}

/// Requests whose memory is kept for the next ones.
const SPARE: usize = 64;

/// One process: the state that joins its downstream and upstream requests.
#[derive(Debug)]
pub(super) struct ProxyState<T> {
    /// HTTP/2 connections by side.
    pub(super) connections: [u32; 2],
    pub(super) downs: Map<u64, Box<DownstreamRequest<T>>>,
    /// Memory for the next ones: never more than there are of them.
    spare: Vec<Box<DownstreamRequest<T>>>,
    pub(super) ups: Map<u64, UpstreamRequest>,
    /// The same by their path, and by when they were opened.
    pub(super) by_path: BTreeSet<(Option<u64>, Timestamp, u64)>,
    /// It had streams of both sides: the indexes are kept.
    pub(super) indexed: bool,
    pub(super) by_whole: Index,
    /// Ids that are made to tell requests apart.
    pub(super) by_id: Index,
    /// Single fields: kept while there are requests whose fields change on the way.
    pub(super) by_field: Option<Index>,
    /// So many upstream streams went by since it was used.
    pub(super) field_idle: u32,
    /// `x-request-id` of upstream streams, where the proxy made it.
    pub(super) by_attempt: Map<u64, u64>,
    pub(super) threads: Threads,
    pub(super) periods: Periods,
    /// Requests whose upstream stream order decided on.
    pub(super) n_ordered: usize,
    /// Connections have both ends here.
    pub(super) shared: Option<SharedHost<T>>,
    /// What the order of a thread's work is worth here.
    pub(super) order: ThreadOrder,
    /// Some request carried an id that is made to tell requests apart.
    pub(super) ids_seen: bool,
    /// Requests and streams with fields that could not be seen.
    pub(super) unseen: Unseen,
    /// What may have been lost on its connections.
    pub(super) gaps: OfProcess,
    /// When the last stream was opened.
    pub(super) opened_at: Timestamp,
    /// The same of both sides.
    pub(super) begun_at: Timestamp,
    pub(super) latest: Latest,
    pub(super) crowd: Crowd,
    /// The latest moment at which a request was over.
    pub(super) over_at: Timestamp,
    /// Requests that were over lately and had no stream.
    pub(super) alone: VecDeque<AloneRequest>,
    /// Paths that are passed on.
    pub(super) paths: Map<u64, ()>,
    /// Upstream streams that ended lately.
    pub(super) recent: RecentStreams,
    /// What connections of this side speak that are not followed.
    pub(super) unfollowed: [Option<OtherSide>; 2],
    /// Paths of requests that stand alone and were told.
    pub(super) told: Map<u64, ()>,
    /// Limits that were reached.
    pub(super) hits: LimitHits,
}

impl<T> ProxyState<T> {
    pub(super) fn new() -> Self {
        ProxyState {
            connections: [0; 2],
            downs: Map::default(),
            spare: Vec::new(),
            ups: Map::default(),
            by_path: BTreeSet::new(),
            indexed: false,
            by_whole: Index::default(),
            by_id: Index::default(),
            by_field: None,
            field_idle: 0,
            by_attempt: Map::default(),
            threads: Threads::default(),
            periods: Periods::default(),
            n_ordered: 0,
            shared: None,
            order: ThreadOrder::default(),
            ids_seen: false,
            unseen: Unseen::default(),
            gaps: OfProcess::default(),
            opened_at: Timestamp(0),
            begun_at: Timestamp(0),
            latest: Latest::default(),
            crowd: Crowd::default(),
            over_at: Timestamp(0),
            alone: VecDeque::new(),
            paths: Map::default(),
            recent: RecentStreams::default(),
            unfollowed: [None; 2],
            told: Map::default(),
            hits: LimitHits::default(),
        }
    }

    /// It has connections of both sides.
    pub(super) fn is_proxy(&self) -> bool {
        self.connections.iter().all(|n| *n > 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections == [0; 2] && self.downs.is_empty() && self.ups.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.downs.len() + self.ups.len()
    }

    /// A connection was seen. The first of the second side makes it a possible proxy.
    pub(super) fn connected(&mut self, side: Side) {
        if let Some(n) = self.connections.get_mut(side.index()) {
            *n = n.saturating_add(1);
        }
        if self.is_proxy() && !self.indexed {
            self.indexed = true;
            let mut keys: Vec<(Timestamp, u64)> = self
                .downs
                .iter()
                .map(|(key, d)| (d.opening.at, *key))
                .collect();
            keys.sort_unstable();
            for (_, key) in keys {
                self.index(key);
            }
        }
    }

    pub(super) fn disconnected(&mut self, side: Side) {
        if let Some(n) = self.connections.get_mut(side.index()) {
            *n = n.saturating_sub(1);
        }
    }

    /// The process received a request.
    pub(super) fn on_downstream_request(&mut self, key: u64, opening: &Opening) {
        self.works(key, opening.tid);
        let opened = self.ups.contains_key(&key);
        let others = self.downs.values().map(|down| &down.opening);
        if !shared_host::asked(&mut self.shared, opened, others, &opening.digest) {
            self.hits.hit(Limit::HopShared);
        }
        let down = DownstreamRequest {
            opening: DownstreamOpening::of(opening),
            period: 0,
            period_from: opening.at,
            progress: Progress::Open,
            over: None,
            is_indexed: false,
            is_late: opening.at < self.opened_at,
            is_changed: false,
            is_matched: false,
            is_swapped: false,
            attempts: Vec::new(),
            n_open: 0,
            doubt: Doubt::None,
            in_company: false,
        };
        self.begun_at = self.begun_at.max(opening.at);
        self.unseen.requested(&down.opening);
        if down.is_late && self.indexed {
            self.doubt_those_that_came_before(&down.opening);
        }
        let down = match self.spare.pop() {
            Some(mut spare) => {
                *spare = down;
                spare
            }
            None => Box::new(down),
        };
        if let Some(before) = self.downs.insert(key, down) {
            self.unseen.left(&before.opening);
        }
        if self.indexed {
            self.index(key);
            self.join_told_before(key);
        }
    }

    fn index(&mut self, key: u64) {
        if self.threads.are_full() {
            let downs = &self.downs;
            let down = |key| downs.get(&key);
            self.threads
                .make_room(|key| down(key).is_some_and(|down| down.may_be_passed_on()));
        }
        let Some(down) = self.downs.get_mut(&key) else {
            return;
        };
        if down.over.is_some() {
            return;
        }
        down.is_indexed = true;
        if let Some(whole) = down.opening.whole {
            self.by_whole.add(whole, key);
        }
        if let Some(by_field) = &mut self.by_field {
            for field in down.opening.fields() {
                by_field.add(*field, key);
            }
        }
        for id in down.opening.ids.iter() {
            self.by_id.add(id, key);
            self.ids_seen = true;
        }
        let (tid, at) = (down.opening.tid, down.opening.at);
        let thread = self.threads.reads(tid, key, at);
        (down.period, down.period_from) = (thread.period, thread.period_from);
        self.periods.add(down.period_id(), key);
    }

    /// The process sent a request: for which of those that it received?
    pub(super) fn on_upstream_request(&mut self, key: u64, opening: &Opening) {
        self.works(key, opening.tid);
        self.opened_at = self.opened_at.max(opening.at);
        self.begun_at = self.begun_at.max(opening.at);
        let found = if opening.digest.connect {
            None
        } else {
            self.find(opening)
        };
        let confidence = found.map(|(_, join)| join.confidence);
        self.put_away(confidence);
        let is_sure = confidence.is_some_and(|confidence| confidence <= Confidence::UniqueField);
        let is_late = self.is_told_late(opening);
        if (opening.digest.path.is_none() || is_late) && !opening.digest.connect && !is_sure {
            self.unseen.opened(opening.at);
            if found.is_none() || is_late {
                self.doubt_those_it_may_belong_to(opening);
            }
        }
        if !is_late && let Some(thread) = self.threads.get_mut(opening.tid) {
            thread.newest = opening.at;
            thread.newest_stream = (opening.connection.0, opening.stream_id.0);
        }
        let mut of = None;
        if let Some((down_key, join)) = found
            && let Some(down) = self.downs.get_mut(&down_key)
        {
            if down.attempts.len() < limits::HOP_ATTEMPTS {
                // More than one is rare.
                down.attempts.reserve_exact(1);
                down.attempts.push(attempt(key, opening.at, join));
                down.is_changed |= down.opening.whole != opening.digest.whole;
                down.n_open = down.n_open.saturating_add(1);
                of = Some(down_key);
                self.n_ordered += usize::from(down.ordered_now());
                let tid = down.opening.tid;
                let mut scattered = false;
                if join.by == By::Order
                    && let Some(thread) = self.threads.get_mut(tid)
                {
                    let is_first = opening.stream_id.0 == 1;
                    scattered = thread.passes_by(opening.connection.0, is_first);
                    down.in_company = thread.n_in_period > 1;
                    down.doubt = if thread.scattered {
                        Doubt::OrderBroken
                    } else {
                        Doubt::None
                    };
                    down.doubt.raise(self.periods.ordered(down.period_id()));
                }
                if down.opening.ids.request.is_none()
                    && let Some(id) = opening.digest.request_id
                {
                    self.by_attempt.insert(id, down_key);
                }
                self.pass(tid, down_key);
                if scattered {
                    self.doubt_period_of(down_key);
                }
            } else {
                self.hits.hit(Limit::HopAttempts);
            }
        }
        let up = UpstreamRequest {
            at: opening.at,
            whole: opening.digest.whole,
            path: opening.digest.path,
            request_id: opening.digest.request_id,
            is_told: opening.digest.connect || found.is_some(),
            of,
        };
        self.by_path.insert((up.path, up.at, key));
        self.latest.add(key, up.at);
        self.ups.insert(key, up);
    }

    /// This thread read or wrote a request.
    fn works(&mut self, key: u64, tid: u32) {
        let moved = self.order.moves();
        if !self.order.works(key >> 31, tid) {
            self.hits.hit(Limit::HopConnections);
        }
        if self.order.moves() && !moved {
            // What was joined by order before it was known.
            for down in self.downs.values_mut().filter(|down| down.in_company) {
                down.doubt.raise(Doubt::OrderBroken);
            }
        }
    }

    /// A request was passed on: it waits no longer.
    pub(super) fn pass(&mut self, tid: u32, key: u64) {
        let Some(thread) = self.threads.get_mut(tid) else {
            return;
        };
        if thread.waiting.front() != Some(&key)
            && let Some(at) = thread.waiting.iter().take(16).position(|k| *k == key)
        {
            thread.waiting.remove(at);
        }
        while let Some(front) = thread.waiting.front() {
            let passed = self
                .downs
                .get(front)
                .is_none_or(|down| !down.attempts.is_empty() || !down.is_indexed);
            if !passed {
                break;
            }
            thread.waiting.pop_front();
        }
    }

    /// What is kept for requests that are hard to tell apart is put away when there were none for a while.
    fn put_away(&mut self, found: Option<Confidence>) {
        self.field_idle = self.field_idle.saturating_add(1);
        if self.field_idle > limits::HOP_KEPT_FOR {
            self.by_field = None;
        }
        if found == Some(Confidence::Ambiguous) {
            self.recent.keep();
        } else {
            self.recent.put_away();
        }
    }

    /// Takes a request out, with the upstream streams of it.
    pub(super) fn take(&mut self, key: u64) -> Option<Box<DownstreamRequest<T>>> {
        let mut down = self.downs.remove(&key)?;
        self.doubt_as_of_crowd(&mut down);
        self.unseen.left(&down.opening);
        self.n_ordered = self
            .n_ordered
            .saturating_sub(usize::from(down.is_ordered()));
        if self.indexed {
            self.leave_indexes(key, &mut down);
            if down.attempts.is_empty() {
                self.pass(down.opening.tid, key);
            }
            if !matches!(down.progress, Progress::Settling(_)) {
                self.periods.over(down.period_id());
            }
            self.periods.leave(down.period_id());
        }
        for attempt in &down.attempts {
            let Entry::Occupied(mut up) = self.ups.entry(key_of(attempt)) else {
                continue;
            };
            if let Some(id) = up.get().request_id {
                self.by_attempt.remove(&id);
            }
            match &attempt.stream {
                Some(ended) => {
                    let up = up.remove();
                    self.by_path.remove(&(up.path, up.at, key_of(attempt)));
                    if attempt.join.confidence > Confidence::UniqueField {
                        self.recent.add(up.whole, &ended.record);
                    }
                }
                // It stays here, nobody's.
                None => up.get_mut().of = None,
            }
        }
        Some(down)
    }

    /// A request that was taken out is not needed any more.
    pub(super) fn spare(&mut self, mut down: Box<DownstreamRequest<T>>) {
        if self.spare.len() < self.downs.len().min(SPARE) {
            down.opening.forget_fields();
            down.progress = Progress::Open;
            down.attempts = Vec::new();
            self.spare.push(down);
        }
    }

    /// Nothing more is to be expected of a request: no stream that begins after it is its own.
    pub(super) fn down_over(&mut self, key: u64, over: Over) {
        self.over_at = self.over_at.max(over.at);
        if over.cancelled || !self.indexed {
            if let Some(down) = self.downs.get_mut(&key) {
                down.over = Some(over);
            }
            return;
        }
        let Some(mut down) = self.downs.remove(&key) else {
            return;
        };
        down.over = Some(over);
        let tid = down.opening.tid;
        self.leave_indexes(key, &mut down);
        let waits = down.attempts.is_empty();
        self.downs.insert(key, down);
        if waits {
            self.pass(tid, key);
        }
    }

    /// No stream is looked for by what this request carries.
    fn leave_indexes(&mut self, key: u64, down: &mut DownstreamRequest<T>) {
        if !std::mem::take(&mut down.is_indexed) {
            return;
        }
        if let Some(whole) = down.opening.whole {
            self.by_whole.remove(whole, key);
        }
        for id in down.opening.ids.iter() {
            self.by_id.remove(id, key);
        }
        if let Some(by_field) = &mut self.by_field {
            for field in down.opening.fields() {
                by_field.remove(*field, key);
            }
        }
    }

    /// A request of this path was passed on.
    pub(super) fn learn(&mut self, down: &DownstreamRequest<T>) {
        let Some(path) = down.opening.path else {
            return;
        };
        if self.paths.len() < limits::HOP_PATHS {
            self.paths.insert(path, ());
        } else if !self.paths.contains_key(&path) {
            self.hits.hit(Limit::HopPaths);
        }
    }

    pub(super) fn passes_on(&self, down: &DownstreamRequest<T>) -> bool {
        down.opening
            .path
            .is_some_and(|path| self.paths.contains_key(&path))
    }

    /// A stream to the client ended.
    pub(super) fn down_ended(&mut self, key: u64, stream: HopStream<T>) -> Consequence<T> {
        if self.down_ended_alone(key) {
            return Consequence::Nothing;
        }
        let Some(down) = self.downs.get_mut(&key) else {
            return Consequence::Nothing;
        };
        let at = stream.record.last_at;
        let is_new = down.over.is_none();
        down.progress = Progress::Ended(stream);
        if is_new {
            let cancelled = false;
            self.down_over(key, Over { at, cancelled });
        }
        Consequence::Request(key)
    }

    /// An upstream stream ended. Returns the request that it was opened for, if that has ended too.
    pub(super) fn up_ended(
        &mut self,
        key: u64,
        ended: HopStream<T>,
        ended_well: bool,
    ) -> Consequence<T> {
        let Some(up) = self.ups.get(&key) else {
            return Consequence::Nothing;
        };
        if let Some(of) = up.of
            && let Some(down) = self.downs.get_mut(&of)
            && let Some(attempt) = down.attempts.iter_mut().find(|a| key_of(a) == key)
        {
            attempt.stream = Some(ended);
            down.n_open = down.n_open.saturating_sub(1);
            return match down.progress {
                Progress::Open => Consequence::Nothing,
                Progress::Ended(_) | Progress::Settling(_) => Consequence::Request(of),
            };
        }
        let (whole, path, is_told) = (up.whole, up.path, up.is_told);
        self.by_path.remove(&(path, up.at, key));
        self.ups.remove(&key);
        self.recent.add(whole, &ended.record);
        // Requests of its path are passed on here, so that this one's was not seen; or it may have come in a
        // way that is not followed.
        let is_passed_on = path.is_some_and(|path| self.paths.contains_key(&path));
        let is_lone = !is_told
            && self.shared.is_none()
            && (is_passed_on || self.tells_lone(path, ended_well));
        if is_lone {
            Consequence::Lone(ended)
        } else {
            Consequence::Nothing
        }
    }
}
