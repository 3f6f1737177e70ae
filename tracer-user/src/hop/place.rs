//! One process that may be a proxy: its streams of both sides, and which belongs to which.

use std::collections::VecDeque;
use std::sync::Arc;

use super::fast::Map;
use super::ids::{other_id, other_path, same_id};
use super::index::{Found, Index, Thread};
use super::order::Order;
use super::waiting::{Down, Taken, Up};
use super::{By, Confidence, HopStream, Join, Side};
use crate::kernel::event::Timestamp;
use crate::limits;
use crate::stream::digest::Opening;
use crate::stream::record::StreamRecord;

/// A stream's key: its connection and its id in one number.
pub(super) const fn key(connection: u64, stream_id: u32) -> u64 {
    (connection << 31) | (stream_id & 0x7fff_ffff) as u64
}

/// One process.
#[derive(Debug)]
pub(super) struct Place<T> {
    /// HTTP/2 connections by side.
    pub(super) connections: [u32; 2],
    pub(super) downs: Map<u64, Down<T>>,
    pub(super) ups: Map<u64, Up<T>>,
    /// It had streams of both sides: the indexes are kept.
    indexed: bool,
    by_whole: Index,
    /// Single fields: kept from the first request on whose fields changed on the way.
    by_field: Option<Index>,
    /// `x-request-id` of upstream streams, where the proxy made it.
    by_attempt: Map<u64, u64>,
    threads: Map<u32, Thread>,
    /// What the order of a thread's work is worth here.
    order: Order,
    /// Some request carried an id that is made to tell requests apart.
    ids_seen: bool,
    /// Paths that are passed on.
    paths: Map<u64, ()>,
    /// Upstream streams that ended lately, kept since several requests could not be told apart.
    recent: Option<VecDeque<(Option<u64>, Arc<StreamRecord>)>>,
    /// The latest end of those that were not kept.
    forgotten: Option<Timestamp>,
    /// Bounds that were reached: candidates, attempts, paths, connections.
    pub(super) hits: [u32; 4],
}

impl<T> Place<T> {
    pub(super) fn new() -> Self {
        Place {
            connections: [0; 2],
            downs: Map::default(),
            ups: Map::default(),
            indexed: false,
            by_whole: Index::default(),
            by_field: None,
            by_attempt: Map::default(),
            threads: Map::default(),
            order: Order::default(),
            ids_seen: false,
            paths: Map::default(),
            recent: None,
            forgotten: None,
            hits: [0; 4],
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
            let mut keys: Vec<(Timestamp, u64)> =
                self.downs.iter().map(|(key, d)| (d.at, *key)).collect();
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

    /// The process was asked.
    pub(super) fn asked(&mut self, key: u64, opening: &Opening) {
        self.works(key, opening.tid);
        self.downs.insert(
            key,
            Down {
                at: opening.at,
                tid: opening.tid,
                period: 0,
                digest: opening.digest,
                ended: None,
                attempts: Vec::new(),
                n_open: 0,
                doubted: false,
                in_company: false,
            },
        );
        if self.indexed {
            self.index(key);
        }
    }

    fn index(&mut self, key: u64) {
        let Some(down) = self.downs.get_mut(&key) else {
            return;
        };
        if let Some(whole) = down.digest.whole {
            self.by_whole.add(whole, key);
        }
        if let Some(by_field) = &mut self.by_field {
            for field in down.digest.fields() {
                by_field.add(*field, key);
            }
        }
        self.ids_seen |= down.digest.request_id.is_some() || down.digest.trace_id.is_some();
        let thread = self.threads.entry(down.tid).or_default();
        if thread.waiting.is_empty() {
            thread.begin_period();
        }
        thread.n_in_period = thread.n_in_period.saturating_add(1);
        if thread.waiting.len() >= limits::STREAMS_PER_CONNECTION {
            thread.waiting.pop_front();
        }
        thread.waiting.push_back(key);
        down.period = thread.period;
    }

    /// The process asks: for which of those that asked it?
    pub(super) fn asks(&mut self, key: u64, opening: Box<Opening>) {
        self.works(key, opening.tid);
        let found = if opening.digest.connect {
            None
        } else {
            self.find(&opening)
        };
        let mut of = None;
        if let Some((down_key, join)) = found
            && let Some(down) = self.downs.get_mut(&down_key)
        {
            if down.attempts.len() < limits::HOP_ATTEMPTS {
                down.attempts.push((key, join));
                down.n_open = down.n_open.saturating_add(1);
                of = Some(down_key);
                let tid = down.tid;
                let mut scattered = false;
                if join.by == By::Order
                    && let Some(thread) = self.threads.get_mut(&tid)
                {
                    let is_first = opening.stream_id.0 == 1;
                    scattered = thread.passes_by(opening.connection.0, is_first);
                    (down.in_company, down.doubted) = (thread.n_in_period > 1, thread.scattered);
                }
                if down.digest.request_id.is_none()
                    && let Some(id) = opening.digest.request_id
                {
                    self.by_attempt.insert(id, down_key);
                }
                self.pass(tid, down_key);
                if scattered {
                    self.doubt_period_of(down_key);
                }
            } else {
                self.hit(1);
            }
        }
        self.ups.insert(
            key,
            Up {
                opening,
                of,
                ended: None,
            },
        );
    }

    /// This thread read or wrote a request.
    fn works(&mut self, key: u64, tid: u32) {
        if !self.order.works(key >> 31, tid) {
            self.hit(3);
        }
    }

    /// A request was passed on: it waits no longer.
    fn pass(&mut self, tid: u32, key: u64) {
        let Some(thread) = self.threads.get_mut(&tid) else {
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
                .is_none_or(|down| !down.attempts.is_empty());
            if !passed {
                break;
            }
            thread.waiting.pop_front();
        }
    }

    fn find(&mut self, up: &Opening) -> Option<(u64, Join)> {
        let of_whole = up
            .digest
            .whole
            .map_or(Found::None, |whole| self.by_whole.find(whole));
        match of_whole {
            Found::One(key) if self.fits(key, up) => return Some((key, self.same_fields(key, up))),
            Found::Several => {
                self.recent.get_or_insert_with(VecDeque::new);
                // Alike: an id among the fields that are not compared may tell, then the order.
                return self
                    .by_earlier_attempt(up)
                    .or_else(|| self.ids_seen.then(|| self.by_fields(up)).flatten())
                    .or_else(|| self.by_order(up, true))
                    .or_else(|| self.by_time(up, true));
            }
            Found::One(_) | Found::None => {}
        }
        self.by_earlier_attempt(up)
            .or_else(|| self.by_fields(up))
            .or_else(|| self.by_order(up, false))
            .or_else(|| self.by_time(up, false))
    }

    fn same_fields(&self, key: u64, up: &Opening) -> Join {
        let digest = self.downs.get(&key).map(|down| down.digest);
        digest
            .and_then(|digest| same_id(&digest, &up.digest))
            .unwrap_or(Join {
                by: By::Fields,
                confidence: Confidence::UniqueField,
            })
    }

    /// A proxy makes one `x-request-id` for a request and gives it to each attempt.
    fn by_earlier_attempt(&self, up: &Opening) -> Option<(u64, Join)> {
        let key = *self.by_attempt.get(&up.digest.request_id?)?;
        let down = self.downs.get(&key)?;
        let (_, first) = down.attempts.first()?;
        let confidence = first.confidence;
        let by = By::EarlierAttempt;
        self.fits(key, up).then_some((key, Join { by, confidence }))
    }

    /// By single fields whose values no other request in flight has.
    fn by_fields(&mut self, up: &Opening) -> Option<(u64, Join)> {
        if self.by_field.is_none() {
            let mut index = Index::default();
            for (key, down) in &self.downs {
                for field in down.digest.fields() {
                    index.add(*field, *key);
                }
            }
            self.by_field = Some(index);
        }
        let index = self.by_field.as_ref()?;
        let mut found: Option<(u64, Join)> = None;
        for field in up.digest.fields() {
            let Found::One(key) = index.find(*field) else {
                continue;
            };
            let Some(down) = self.downs.get(&key) else {
                continue;
            };
            let join = if Some(*field) == up.digest.request_id {
                Join {
                    by: By::RequestId,
                    confidence: Confidence::Id,
                }
            } else if Some(*field) == up.digest.trace_id {
                Join {
                    by: By::Trace,
                    confidence: Confidence::Id,
                }
            } else {
                Join {
                    by: By::Field,
                    confidence: Confidence::UniqueField,
                }
            };
            // A process that calls others on behalf of its caller passes more than ids on; that makes
            // another request, not this one.
            let other = other_path(&down.digest, &up.digest);
            if !self.fits(key, up) || (other && join.confidence > Confidence::Id) {
                continue;
            }
            match found {
                None => found = Some((key, join)),
                Some((known, _)) if known != key && join.confidence > Confidence::Id => {
                    // Two values point to two requests.
                    return None;
                }
                Some((_, known)) if join.confidence < known.confidence => found = Some((key, join)),
                Some(_) => {}
            }
        }
        found
    }

    /// The oldest request that the same thread read and has not passed on.
    fn by_order(&mut self, up: &Opening, alike: bool) -> Option<(u64, Join)> {
        if (up.tid == 0 && self.threads.len() > 1) || self.order.moves() {
            return None;
        }
        let thread = self.threads.get(&up.tid)?;
        let (n, several) = (thread.waiting.len(), thread.n_in_period > 1);
        let found = thread
            .waiting
            .iter()
            .take(limits::HOP_CANDIDATES)
            .find(|key| self.waits_for(**key, up, alike))
            .copied();
        if found.is_none() && n > limits::HOP_CANDIDATES {
            self.hit(0);
        }
        let confidence = match several && !self.order.is_trusted() {
            true => Confidence::Ambiguous,
            false => Confidence::ThreadOrder,
        };
        let by = By::Order;
        found.map(|key| (key, Join { by, confidence }))
    }

    /// A request that another thread read.
    fn by_time(&mut self, up: &Opening, alike: bool) -> Option<(u64, Join)> {
        let mut found: Option<u64> = None;
        // Those that were passed on may have been mistaken for this one.
        let mistaken = alike
            || self
                .downs
                .iter()
                .take(limits::HOP_CANDIDATES)
                .any(|(key, down)| {
                    let unsure = |(_, join): &(u64, Join)| join.confidence >= Confidence::Time;
                    down.digest.path == up.digest.path
                        && down.attempts.iter().any(unsure)
                        && self.fits(*key, up)
                });
        let mut confidence = match mistaken {
            true => Confidence::Ambiguous,
            false => Confidence::Time,
        };
        let mut n_looked_at = 0;
        for thread in self.threads.values() {
            for key in &thread.waiting {
                n_looked_at += 1;
                if n_looked_at > limits::HOP_CANDIDATES {
                    confidence = Confidence::Ambiguous;
                    break;
                }
                if !self.waits_for(*key, up, alike) {
                    continue;
                }
                if let Some(known) = found {
                    confidence = Confidence::Ambiguous;
                    let at = |key| self.downs.get(key).map(|down| down.at);
                    if at(key) < at(&known) {
                        found = Some(*key);
                    }
                } else {
                    found = Some(*key);
                }
            }
        }
        if n_looked_at > limits::HOP_CANDIDATES {
            self.hit(0);
        }
        let by = By::Time;
        found.map(|key| (key, Join { by, confidence }))
    }

    /// The request has not been passed on, and may be this one. `alike`: it must have the same fields.
    fn waits_for(&self, key: u64, up: &Opening, alike: bool) -> bool {
        let Some(down) = self.downs.get(&key) else {
            return false;
        };
        if !down.attempts.is_empty() || !self.fits(key, up) {
            return false;
        }
        if alike {
            return down.digest.whole == up.digest.whole;
        }
        // Without the same path nothing but an id makes two requests one.
        down.digest.path == up.digest.path && !other_id(&down.digest, &up.digest)
    }

    /// The upstream stream began within the life of the other one.
    fn fits(&self, key: u64, up: &Opening) -> bool {
        self.downs.get(&key).is_some_and(|down| {
            down.at <= up.at
                && down
                    .ended
                    .as_ref()
                    .is_none_or(|ended| up.at <= ended.record.last_at)
        })
    }

    /// Takes a request out, with the upstream streams of it.
    pub(super) fn take(&mut self, key: u64) -> Option<Taken<T>> {
        let down = self.downs.remove(&key)?;
        if self.indexed {
            if let Some(whole) = down.digest.whole {
                self.by_whole.remove(whole, key);
            }
            if let Some(by_field) = &mut self.by_field {
                for field in down.digest.fields() {
                    by_field.remove(*field, key);
                }
            }
            if down.attempts.is_empty() {
                self.pass(down.tid, key);
            }
        }
        let mut attempts = Vec::with_capacity(down.attempts.len());
        for (up_key, join) in &down.attempts {
            let ended = self.ups.get(up_key).is_some_and(|up| up.ended.is_some());
            let id = self
                .ups
                .get(up_key)
                .and_then(|up| up.opening.digest.request_id);
            if let Some(id) = id {
                self.by_attempt.remove(&id);
            }
            let up = match ended {
                true => self.ups.remove(up_key),
                false => self.ups.get_mut(up_key).map(|up| {
                    up.of = None;
                    Up {
                        opening: up.opening.clone(),
                        of: None,
                        ended: None,
                    }
                }),
            };
            if let Some(ended) = up.as_ref().and_then(|up| up.ended.as_ref()) {
                self.remember(up.as_ref().and_then(|up| up.opening.digest.whole), ended);
            }
            attempts.push((*up_key, *join, up));
        }
        Some((down, attempts))
    }

    /// A request of this path was passed on.
    pub(super) fn learn(&mut self, down: &Down<T>) {
        let Some(path) = down.digest.path else { return };
        if self.paths.len() < limits::HOP_PATHS {
            self.paths.insert(path, ());
        } else if !self.paths.contains_key(&path) {
            self.hit(2);
        }
    }

    pub(super) fn passes_on(&self, down: &Down<T>) -> bool {
        down.digest
            .path
            .is_some_and(|path| self.paths.contains_key(&path))
    }

    /// A request and the upstream stream that order gave it cannot belong together.
    pub(super) fn contradicted(&mut self, key: u64) {
        self.order.was_broken();
        self.doubt_period_of(key);
    }

    fn doubt_period_of(&mut self, key: u64) {
        if let Some(down) = self.downs.remove(&key) {
            self.doubt(&down);
            let doubted = true;
            self.downs.insert(key, Down { doubted, ..down });
        }
    }

    /// What was read in the same period as this one may have been passed on in another order.
    pub(super) fn doubt(&mut self, of: &Down<T>) {
        for down in self.downs.values_mut() {
            let ordered = |(_, join): &(u64, Join)| join.confidence >= Confidence::ThreadOrder;
            if down.tid == of.tid
                && down.period == of.period
                && (down.attempts.is_empty() || down.attempts.iter().any(ordered))
            {
                down.doubted = true;
            }
        }
    }

    /// Other upstream streams that may have been opened for this request; false when some may be unknown.
    pub(super) fn others(
        &mut self,
        down: &Down<T>,
        end: Timestamp,
        own: &[u64],
    ) -> (Vec<Arc<StreamRecord>>, bool) {
        let mut known = self.forgotten.is_none_or(|last| last < down.at);
        let mut others = Vec::new();
        for (key, up) in &self.ups {
            let within = down.at <= up.opening.at && up.opening.at <= end;
            if own.contains(key) || !within || up.opening.digest.whole != down.digest.whole {
                continue;
            }
            match &up.ended {
                Some(ended) => others.push(Arc::clone(&ended.record)),
                None => known = false,
            }
        }
        for (whole, record) in self.recent.get_or_insert_with(VecDeque::new) {
            let began_at = record.request.headers_at.unwrap_or(record.first_at);
            let key = key(record.connection.0, record.stream_id.0);
            if !own.contains(&key)
                && *whole == down.digest.whole
                && down.at <= began_at
                && began_at <= end
            {
                others.push(Arc::clone(record));
            }
        }
        (others, known)
    }

    /// An upstream stream leaves.
    pub(super) fn remember(&mut self, whole: Option<u64>, ended: &HopStream<T>) {
        let gone = match &mut self.recent {
            Some(recent) => {
                recent.push_back((whole, Arc::clone(&ended.record)));
                match recent.len() > limits::HOP_RECENT {
                    true => recent.pop_front().map(|(_, record)| record.last_at),
                    false => None,
                }
            }
            None => Some(ended.record.last_at),
        };
        self.forgotten = self.forgotten.max(gone);
    }

    fn hit(&mut self, which: usize) {
        if let Some(hits) = self.hits.get_mut(which) {
            *hits = hits.saturating_add(1);
        }
    }
}
