//! Requests that go from one proxy to another over a leg that stays closed: what the one received and the other sent on
//! is joined as if both were one proxy.
//!
//! A request stands alone at the proxy at the client's end of the leg, and the stream that was opened for it stands alone
//! at the proxy at its server's end. Both go into an inner stage of the same kind, as the two sides of one place. What
//! that joins is told as one request, with what the leg carried; what it does not join is told as it was before.

use std::collections::VecDeque;

use super::fast::Map;
use super::leg::Legs;
use super::mesh::{self, Leg, Mesh, Transit};
use super::proxy_state::{ProxyState, key};
use super::steps::look;
use super::undecided::OfProcess;
use super::{Confidence, Hop, HopStream, Hops, Over, ProxyKey, Side};
use crate::connection::{ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::frame::StreamId;
use crate::hop::ledger::Carried;
use crate::limits::{self, LimitHits};
use crate::stream::record::{Opening, StreamRecord};

/// The one place of the inner stage. It never leaves it.
const PLACE: ProxyKey = ProxyKey::Process(0);

/// A thread that reads no requests: what it writes has no order.
const NO_ORDER: u32 = u32::MAX;

/// A request that is over at the proxy at the client's end, which has no stream for it.
#[derive(Debug)]
struct Alone<T> {
    proxy: ProxyKey,
    /// What is told of it if it is not found beyond the leg either.
    told: Option<Box<Hop<T>>>,
}

/// What waits to be told, until when, and from which proxy to which.
type Pending<T> = (Timestamp, [ProxyKey; 2], Box<Hop<T>>);

#[derive(Debug)]
pub(super) struct Across<T> {
    inner: Hops<T>,
    alone: Map<u64, Alone<T>>,
    /// When it is too late for them.
    due: VecDeque<(Timestamp, u64)>,
    /// The proxies whose connections these are, by connection and side.
    places: Map<u64, ProxyKey>,
    /// In place of threads: a number for each proxy at a client's end.
    orders: Map<ProxyKey, u32>,
    transits: VecDeque<Transit>,
    /// Cut responses that wait for those that went by with them.
    pending: VecDeque<Pending<T>>,
    /// When the first of those was received that were open when the trace ended.
    left_open: Option<Timestamp>,
}

impl<T: Clone> Default for Across<T> {
    fn default() -> Self {
        let mut inner = Hops::default();
        inner.connected(PLACE, Side::Downstream);
        inner.connected(PLACE, Side::Upstream);
        Across {
            inner,
            alone: Map::default(),
            due: VecDeque::new(),
            places: Map::default(),
            orders: Map::default(),
            transits: VecDeque::new(),
            pending: VecDeque::new(),
            left_open: None,
        }
    }
}

const fn place_key(connection: u64, side: Side) -> u64 {
    connection << 1 | side.index() as u64
}

impl<T: Clone> Across<T> {
    /// A request went by that may go, or may have come, over a closed leg.
    fn requested(&mut self, proxy: ProxyKey, side: Side, opening: &Opening, legs: &Legs) {
        if self.places.len() >= 2 * limits::HOP_CONNECTIONS {
            self.places.clear();
        }
        self.places
            .insert(place_key(opening.connection.0, side), proxy);
        let client = match side {
            Side::Downstream => Some(proxy),
            Side::Upstream => legs.only_client_of(proxy),
        };
        if self.orders.len() >= limits::HOP_PLACES {
            self.orders.clear();
        }
        let next = u32::try_from(self.orders.len()).unwrap_or(NO_ORDER - 1) + 1;
        let order = client.map(|client| *self.orders.entry(client).or_insert(next));
        let opening = Opening {
            tid: order.unwrap_or(NO_ORDER),
            ..opening.clone()
        };
        self.inner.requested(PLACE, side, &opening);
    }

    fn knows(&self, side: Side, key: u64) -> bool {
        let state = self.inner.proxies.get(&PLACE);
        state.is_some_and(|state| match side {
            Side::Downstream => state.downs.contains_key(&key),
            Side::Upstream => state.ups.contains_key(&key),
        })
    }

    /// It was found where it was looked for first: it does not go over a closed leg.
    fn withdraw(&mut self, side: Side, key: u64) {
        let Some(state) = self.inner.proxies.get_mut(&PLACE) else {
            return;
        };
        match side {
            Side::Downstream => {
                if let Some(down) = state.take(key) {
                    state.spare(down);
                }
            }
            Side::Upstream => state.forget_up(key),
        }
    }

    fn passes(&mut self, transit: Transit) {
        if self.transits.len() >= limits::HOP_TRANSITS {
            self.transits.pop_front();
        }
        self.transits.push_back(transit);
    }

    pub(super) fn take_limit_hits(&mut self) -> LimitHits {
        self.inner.take_limit_hits()
    }

    /// See [`Hops::streams_were_unseen`].
    pub(super) fn streams_were_unseen(&mut self, until: Timestamp) {
        if let Some(state) = self.inner.proxies.get_mut(&PLACE) {
            state.wait_no_longer(until);
        }
    }

    /// Those of the inner stage's place.
    pub(super) fn gaps(&mut self) -> &mut OfProcess {
        let state = self.inner.proxies.entry(PLACE);
        &mut state.or_insert_with(ProxyState::new).gaps
    }

    fn place(&self, connection: ConnectionId, side: Side) -> Option<ProxyKey> {
        self.places.get(&place_key(connection.0, side)).copied()
    }
}

impl<T> ProxyState<T> {
    /// An upstream stream was opened for no request here.
    pub(super) fn forget_up(&mut self, key: u64) {
        if let Some(up) = self.ups.remove(&key) {
            self.by_path.remove(&(up.path, up.at, key));
            if let Some(id) = up.request_id {
                self.by_attempt.remove(&id);
            }
        }
    }
}

/// A leg, and the requests of which it is not known yet what it carried of them.
struct Between<'a, T> {
    legs: &'a Legs,
    places: [ProxyKey; 2],
    inner: &'a Hops<T>,
    left_open: Option<Timestamp>,
}

impl<T: Clone> Leg for Between<'_, T> {
    fn carried(&self, from: Timestamp, to: Timestamp) -> Option<Carried> {
        self.legs.carried(self.places, Endpoint::Server, (from, to))
    }

    fn began_within(&self, from: Timestamp, to: Timestamp) -> bool {
        self.legs.began_within(self.places, (from, to))
    }

    fn may_have_others(&self, until: Timestamp) -> bool {
        let state = self.inner.proxies.get(&PLACE);
        let mut downs = state.into_iter().flat_map(|state| state.downs.values());
        self.left_open.is_some_and(|at| at <= until) || downs.any(|down| down.opening.at <= until)
    }
}

impl<T: Clone> Hops<T> {
    /// A leg was found from this proxy to another one, the first: requests that were received before may go over it.
    pub(super) fn found_leg(&mut self, client: ProxyKey) {
        let across = self.across.get_or_insert_default();
        let Some(known) = self.proxies.get(&client) else {
            return;
        };
        look(known.downs.len());
        let downs = known
            .downs
            .iter()
            .filter(|(_, down)| down.may_be_passed_on());
        let mut openings: Vec<Opening> = downs
            .filter(|(key, _)| !across.knows(Side::Downstream, **key))
            .filter_map(|(key, down)| down.opening.again(*key))
            .collect();
        openings.sort_by_key(|opening| (opening.at, opening.connection, opening.stream_id));
        for opening in openings {
            across.requested(client, Side::Downstream, &opening, &self.legs);
        }
    }

    /// A request went by at a place, which looked for its other side.
    pub(super) fn requested_across(&mut self, proxy: ProxyKey, side: Side, opening: &Opening) {
        let Some(across) = &mut self.across else {
            return;
        };
        let key = key(opening.connection.0, opening.stream_id.0);
        let known = self.proxies.get(&proxy);
        match side {
            Side::Downstream if self.legs.is_at(proxy, Endpoint::Client) => {
                across.requested(proxy, side, opening, &self.legs);
            }
            Side::Downstream => {}
            Side::Upstream => {
                let up = known.and_then(|known| known.ups.get(&key));
                if let Some(of) = up.and_then(|up| up.of) {
                    across.withdraw(Side::Downstream, of);
                } else if self.legs.is_at(proxy, Endpoint::Server) {
                    across.requested(proxy, side, opening, &self.legs);
                }
            }
        }
        self.tell_across();
    }

    pub(super) fn finished_across(&mut self, of: (ConnectionId, StreamId), over: Over) {
        if let Some(across) = &mut self.across {
            across.inner.finished(PLACE, of, over);
        }
    }

    /// A request is over, and its proxy has forgotten it.
    pub(super) fn forgotten_across(&mut self, key: u64) {
        if let Some(across) = &mut self.across {
            across.withdraw(Side::Downstream, key);
        }
    }

    /// A stream to a server ended; true when it was found to be of a request beyond a closed leg.
    pub(super) fn up_ended_across(
        &mut self,
        proxy: ProxyKey,
        stream: &HopStream<T>,
        at: Timestamp,
    ) -> bool {
        let Some(across) = &mut self.across else {
            return false;
        };
        let record = &stream.record;
        let key = key(record.connection.0, record.stream_id.0);
        let here = self
            .proxies
            .get(&proxy)
            .and_then(|known| known.ups.get(&key));
        if here.is_some_and(|up| up.of.is_some()) {
            across.withdraw(Side::Upstream, key);
            return false;
        }
        let state = across.inner.proxies.get(&PLACE);
        let is_joined = state
            .and_then(|state| state.ups.get(&key))
            .is_some_and(|up| up.of.is_some());
        if is_joined {
            let HopStream { tag, record } = stream.clone();
            across.inner.ended(PLACE, Side::Upstream, at, record, tag);
        } else {
            across.withdraw(Side::Upstream, key);
            if self.legs.is_at(proxy, Endpoint::Server) {
                across.passes(Transit::unknown(key, [None, Some(proxy)], record));
            }
        }
        self.tell_across();
        is_joined
    }

    /// A request is over at a proxy that has no stream for it. True when it is told later.
    pub(super) fn alone_across(
        across: &mut Option<Box<Across<T>>>,
        key: u64,
        told: Option<Box<Hop<T>>>,
        (proxy, stream, at): (ProxyKey, HopStream<T>, Timestamp),
    ) -> Option<Box<Hop<T>>> {
        let Some(across) = across else {
            return told;
        };
        if !across.knows(Side::Downstream, key) {
            return told;
        }
        let unknown = Transit::unknown(key, [Some(proxy), None], &stream.record);
        let n_told = across.inner.out.len();
        let HopStream { tag, record } = stream;
        across.inner.ended(PLACE, Side::Downstream, at, record, tag);
        if across.inner.out.len() == n_told && !across.knows(Side::Downstream, key) {
            // Nothing of it is to be said there.
            across.passes(unknown);
            return told;
        }
        across.alone.insert(key, Alone { proxy, told });
        let due =
            at.0.saturating_add(limits::HOP_WAIT_NS + limits::HOP_COMPANY_NS);
        across.due.push_back((Timestamp(due), key));
        None
    }

    /// Time passes.
    pub(super) fn advance_across(&mut self, now: Timestamp) {
        let Some(across) = &mut self.across else {
            return;
        };
        across.inner.advance(now);
        self.tell_across();
        self.give_up_across(now);
        self.judge_across(now);
    }

    /// The trace ends.
    pub(super) fn finish_across(&mut self, now: Timestamp) {
        let Some(across) = &mut self.across else {
            return;
        };
        let state = across.inner.proxies.get(&PLACE);
        let downs = state.into_iter().flat_map(|state| state.downs.values());
        let open = downs.filter(|down| down.progress.ended().is_none());
        across.left_open = open.map(|down| down.opening.at).min();
        across.inner.finish(now);
        self.tell_across();
        self.give_up_across(Timestamp(u64::MAX));
        self.judge_across(Timestamp(u64::MAX));
        self.across = None;
    }

    /// What was not found beyond a leg for long is told as it stands.
    fn give_up_across(&mut self, now: Timestamp) {
        let Some(across) = &mut self.across else {
            return;
        };
        while let Some((due, key)) = across.due.front().copied()
            && due <= now
        {
            across.due.pop_front();
            if let Some(alone) = across.alone.remove(&key) {
                across.withdraw(Side::Downstream, key);
                self.out.extend(alone.told);
            }
        }
    }

    /// Hands on what the inner stage has decided.
    pub(super) fn tell_across(&mut self) {
        let Some(across) = &mut self.across else {
            return;
        };
        while across.inner.poll_lone().is_some() {}
        while let Some(mut hop) = across.inner.poll() {
            let down = &*hop.downstream.record;
            let key = key(down.connection.0, down.stream_id.0);
            let Some(alone) = across.alone.remove(&key) else {
                continue;
            };
            let serving = hop.serving();
            let server = serving.and_then(|up| across.place(up.connection, Side::Upstream));
            let places = server.map(|server| [alone.proxy, server]);
            let Some(places) = places.filter(|places| self.legs.is_between(*places)) else {
                across.passes(Transit::unknown(key, [Some(alone.proxy), None], down));
                self.out.extend(alone.told);
                continue;
            };
            hop.proxy = alone.proxy;
            hop.mesh = Some(Mesh {
                server_side: places[1],
                carried: None,
                together: 1,
                all: None,
            });
            let life = (
                down.request.headers_at.unwrap_or(down.first_at),
                down.last_at,
            );
            let is_seen = |place, end| {
                let sides = self.in_clear.get(&place).copied().unwrap_or_default();
                let [down, up] = sides;
                match end {
                    Endpoint::Client => down,
                    Endpoint::Server => up,
                }
            };
            if self.legs.may_have_come_otherwise(places, life, is_seen) {
                doubt(&mut hop);
            }
            let up = serving_record(&hop);
            let down = &*hop.downstream.record;
            across.passes(match up {
                Some(up) => Transit::of(key, places, down, up),
                None => Transit::unknown(key, places.map(Some), down),
            });
            if hop.dropped_by().is_some() {
                let due = Timestamp(hop.at.0.saturating_add(limits::HOP_COMPANY_NS));
                across.pending.push_back((due, places, hop));
            } else {
                self.out.push_back(hop);
            }
        }
    }

    /// Those that went by with them are known by now: which proxy dropped what is missing?
    fn judge_across(&mut self, now: Timestamp) {
        let Some(across) = &mut self.across else {
            return;
        };
        if across.pending.front().is_none_or(|(due, ..)| *due > now) {
            return;
        }
        let transits = across.transits.make_contiguous();
        while let Some((due, places, mut hop)) = across.pending.pop_front() {
            if due > now {
                across.pending.push_front((due, places, hop));
                break;
            }
            let leg = Between {
                legs: &self.legs,
                places,
                inner: &across.inner,
                left_open: across.left_open,
            };
            let down = &*hop.downstream.record;
            let key = key(down.connection.0, down.stream_id.0);
            let balance = mesh::balance(key, places, transits, &leg);
            let is_certain = mesh::is_certain(&hop);
            if let Some(mesh) = &mut hop.mesh {
                mesh.carried = balance.carried.filter(|_| is_certain);
                mesh.together = balance.together;
                mesh.all = balance.all;
            }
            self.out.push_back(hop);
        }
    }
}

fn serving_record<T>(hop: &Hop<T>) -> Option<&StreamRecord> {
    hop.serving().and_then(|attempt| attempt.record())
}

/// The stream may belong to a request that was not seen, unless an id says otherwise.
fn doubt<T>(hop: &mut Hop<T>) {
    let is_sure = hop
        .join
        .is_some_and(|join| join.confidence == Confidence::Id);
    if is_sure {
        return;
    }
    for join in hop
        .upstream
        .iter_mut()
        .map(|attempt| &mut attempt.join)
        .chain(&mut hop.join)
    {
        join.confidence = Confidence::Ambiguous;
    }
    hop.others_known = false;
}
