//! Opaque legs: connections in TLS that stays closed, between two places that may be proxies.
//!
//! Both ends of one are seen where both processes are on this host, and in a file. They are found to be one leg by the
//! random of its ClientHello, which goes in clear and which no address translation changes, or by its addresses.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use foldhash::fast::RandomState;

use super::fast::Map;
use super::ledger::{Carried, Ledger};
use super::{Hops, ProxyKey};
use crate::connection::Endpoint;
use crate::event::{Direction, SocketKey, Timestamp};
use crate::limits::{self, Limit};
use crate::tls::Opaque;

/// The client's address, the server's, and a network namespace.
type Addresses = (SocketAddr, SocketAddr, u32);

/// One end of an opaque leg as it was seen; in a file, both.
#[derive(Clone, Debug)]
pub struct LegEnd {
    /// The role of the observed end.
    pub role: Endpoint,
    /// What is at the client's end, and at the server's, as far as that is known.
    pub places: [Option<ProxyKey>; 2],
    /// The random of its ClientHello.
    pub name: Option<[u8; 32]>,
    /// The client's address and the server's, and the network namespace where they alone are not enough.
    pub addresses: Option<Addresses>,
    /// When it was first seen.
    pub at: Timestamp,
}

/// A leg, of which one end or both were seen.
#[derive(Debug)]
pub(super) struct Leg {
    end: LegEnd,
    /// The end whose bytes are counted: both say the same.
    counted: SocketKey,
    ledgers: [Ledger; 2],
    n_open: u32,
    last_at: Timestamp,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Legs {
    legs: BTreeMap<u64, Leg>,
    /// With the role of the end.
    by_socket: Map<SocketKey, (u64, Endpoint)>,
    by_name: HashMap<[u8; 32], u64, RandomState>,
    by_addresses: HashMap<Addresses, u64, RandomState>,
    /// Those of which both ends are known, by what is at the client's end, and at the server's.
    by_place: [Map<ProxyKey, Vec<u64>>; 2],
    /// What is at the client's end of a leg that was found, the first one there.
    found: Option<ProxyKey>,
    next: u64,
}

impl Legs {
    /// A connection was found to stay closed; the limit by which another one had to go for it.
    pub(super) fn opened(&mut self, socket: SocketKey, end: LegEnd) -> Option<Limit> {
        if let Some(id) = self.find(&end) {
            self.joins(id, socket, &end);
            return None;
        }
        let mut limit = None;
        if self.legs.len() >= limits::HOP_LEGS {
            limit = self.make_room(end.at).then_some(Limit::HopLegs);
        }
        let id = self.next;
        self.next += 1;
        self.by_socket.insert(socket, (id, end.role));
        if let Some(name) = end.name {
            self.by_name.insert(name, id);
        }
        if let Some(addresses) = end.addresses {
            self.by_addresses.insert(addresses, id);
        }
        let leg = Leg {
            last_at: end.at,
            end,
            counted: socket,
            ledgers: Default::default(),
            n_open: 1,
        };
        self.legs.insert(id, leg);
        self.place(id);
        limit
    }

    /// The leg that this is another end of.
    fn find(&self, end: &LegEnd) -> Option<u64> {
        let by_name = end.name.and_then(|name| self.by_name.get(&name));
        let by_addresses = || self.by_addresses.get(end.addresses.as_ref()?);
        let id = by_name.or_else(by_addresses)?;
        self.legs.get(id).filter(|leg| leg.is(end)).map(|_| *id)
    }

    fn joins(&mut self, id: u64, socket: SocketKey, end: &LegEnd) {
        let is_new = self.by_socket.insert(socket, (id, end.role)).is_none();
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        leg.n_open += u32::from(is_new);
        let was_known = leg.both().is_some();
        for (place, told) in leg.end.places.iter_mut().zip(end.places) {
            *place = place.or(told);
        }
        if !was_known {
            self.place(id);
        }
    }

    /// A leg ends at this place, and is open.
    pub(super) fn is_open_at(&self, place: ProxyKey) -> bool {
        let mut legs = [Endpoint::Client, Endpoint::Server].into_iter();
        legs.any(|end| self.of(place, end).any(|leg| leg.n_open > 0))
    }

    /// Both ends of a leg may be known now.
    fn place(&mut self, id: u64) {
        let Some(places) = self.legs.get(&id).and_then(Leg::both) else {
            return;
        };
        let [client, _] = places;
        if !self.is_at(client, Endpoint::Client) {
            self.found = Some(client);
        }
        for (by_place, place) in self.by_place.iter_mut().zip(places) {
            by_place.entry(place).or_default().push(id);
        }
    }

    /// Those that ended long ago go, or else the idlest one; true when it was that.
    fn make_room(&mut self, now: Timestamp) -> bool {
        let is_over =
            |leg: &Leg| leg.n_open == 0 && now.since(leg.last_at) > limits::HOP_LEG_KEPT_NS;
        let legs = self.legs.iter();
        let mut gone: Vec<u64> = legs
            .filter(|(_, leg)| is_over(leg))
            .map(|(id, _)| *id)
            .collect();
        let none_is_over = gone.is_empty();
        if none_is_over {
            let idlest = self.legs.iter().min_by_key(|(_, leg)| leg.last_at);
            gone.extend(idlest.map(|(id, _)| *id));
        }
        for id in gone {
            self.legs.remove(&id);
        }
        let legs = &self.legs;
        self.by_socket.retain(|_, (id, _)| legs.contains_key(id));
        self.by_name.retain(|_, id| legs.contains_key(id));
        self.by_addresses.retain(|_, id| legs.contains_key(id));
        for by_place in &mut self.by_place {
            by_place.retain(|_, ids| {
                ids.retain(|id| legs.contains_key(id));
                !ids.is_empty()
            });
        }
        none_is_over
    }

    /// Application data went by.
    pub(super) fn passed(
        &mut self,
        socket: SocketKey,
        direction: Direction,
        at: Timestamp,
        opaque: Opaque,
    ) {
        let Some((id, role)) = self.by_socket.get(&socket) else {
            return;
        };
        let Some(leg) = self.legs.get_mut(id) else {
            return;
        };
        let sender = match direction {
            Direction::Tx => *role,
            Direction::Rx => role.peer(),
        };
        leg.last_at = leg.last_at.max(at);
        let ledger = leg.ledgers.get_mut(sender.index());
        if let Some(ledger) = ledger.filter(|_| leg.counted == socket) {
            ledger.add(at, opaque);
        }
    }

    /// Nobody sees what goes by on it from now on.
    pub(super) fn lost(&mut self, socket: SocketKey) {
        let end = self.by_socket.get(&socket);
        let leg = end.and_then(|(id, _)| self.legs.get_mut(id));
        if let Some(leg) = leg.filter(|leg| leg.counted == socket) {
            let nothing = Opaque {
                least: 0,
                most: 0,
                is_lost: true,
            };
            // What was on its way to be told is not counted either.
            for ledger in &mut leg.ledgers {
                ledger.add(leg.last_at, nothing);
            }
        }
    }

    /// A connection is over. What went by is kept for a while.
    pub(super) fn closed(&mut self, socket: SocketKey) {
        let end = self.by_socket.remove(&socket);
        if let Some(leg) = end.and_then(|(id, _)| self.legs.get_mut(&id)) {
            leg.n_open = leg.n_open.saturating_sub(1);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Legs::default();
    }

    /// Legs with this at that end, both ends of which are known.
    fn of(&self, place: ProxyKey, end: Endpoint) -> impl Iterator<Item = &Leg> {
        let by_place = match end {
            Endpoint::Client => self.by_place.first(),
            Endpoint::Server => self.by_place.last(),
        };
        let ids = by_place.and_then(|by_place| by_place.get(&place));
        ids.into_iter().flatten().filter_map(|id| self.legs.get(id))
    }

    /// This is at that end of a leg, the other end of which is known too.
    pub(super) fn is_at(&self, place: ProxyKey, end: Endpoint) -> bool {
        self.of(place, end).next().is_some()
    }

    /// There is a leg from the one to the other.
    pub(super) fn is_between(&self, places: [ProxyKey; 2]) -> bool {
        let [client, _] = places;
        let mut legs = self.of(client, Endpoint::Client);
        legs.any(|leg| leg.both() == Some(places))
    }

    /// What is at the client's end of all that come to this place, if it is one leg, so that what it carries comes in one
    /// order.
    pub(super) fn only_client_of(&self, server: ProxyKey) -> Option<ProxyKey> {
        let open = self
            .of(server, Endpoint::Server)
            .filter(|leg| leg.n_open > 0);
        let mut clients = open.filter_map(|leg| leg.both().map(|[client, _]| client));
        let first = clients.next()?;
        clients.next().is_none().then_some(first)
    }

    /// What the legs from one place to another carried one way within this time; None when that is not known.
    pub(super) fn carried(
        &self,
        places: [ProxyKey; 2],
        sender: Endpoint,
        (from, to): (Timestamp, Timestamp),
    ) -> Option<Carried> {
        let [client, _] = places;
        let mut legs = self
            .of(client, Endpoint::Client)
            .filter(|leg| leg.both() == Some(places));
        legs.try_fold(Carried::default(), |sum, leg| {
            Some(sum.and(leg.carried(sender, from, to)?))
        })
    }

    /// One of the legs from one place to another began within this time.
    pub(super) fn began_within(
        &self,
        places: [ProxyKey; 2],
        (from, to): (Timestamp, Timestamp),
    ) -> bool {
        let [client, _] = places;
        let mut legs = self.of(client, Endpoint::Client);
        legs.any(|leg| leg.both() == Some(places) && (from..=to).contains(&leg.end.at))
    }

    /// Something went by within this time on a leg between one of these and what is not known. `is_known` says of a
    /// place at that end whether its requests are seen.
    pub(super) fn may_have_come_otherwise(
        &self,
        [client, server]: [ProxyKey; 2],
        (from, to): (Timestamp, Timestamp),
        is_known: impl Fn(ProxyKey, Endpoint) -> bool,
    ) -> bool {
        let is_other = |leg: &Leg| {
            if leg.both() == Some([client, server]) {
                return false;
            }
            let [of_client, of_server] = leg.end.places;
            let unknown =
                |place: Option<ProxyKey>, end| place.is_none_or(|place| !is_known(place, end));
            (of_client == Some(client) && unknown(of_server, Endpoint::Server))
                || (of_server == Some(server) && unknown(of_client, Endpoint::Client))
        };
        let carried_something = |leg: &Leg| {
            let carried = leg.carried(Endpoint::Client, from, to);
            carried.is_none_or(|carried| carried.most > 0)
        };
        let mut legs = self.legs.values();
        legs.any(|leg| is_other(leg) && carried_something(leg))
    }
}

impl<T: Clone> Hops<T> {
    /// A connection was found to be TLS that stays closed.
    pub fn leg_opened(&mut self, socket: SocketKey, end: LegEnd) {
        if let Some(limit) = self.legs.opened(socket, end) {
            self.hits.hit(limit);
        }
        if let Some(client) = self.legs.found.take() {
            self.found_leg(client);
        }
    }

    /// Application data went by on it.
    pub fn leg_passed(
        &mut self,
        socket: SocketKey,
        direction: Direction,
        at: Timestamp,
        opaque: Opaque,
    ) {
        self.legs.passed(socket, direction, at, opaque);
    }

    /// Nobody sees what goes by on it from now on.
    pub fn leg_lost(&mut self, socket: SocketKey) {
        self.legs.lost(socket);
    }

    /// It is over.
    pub fn leg_closed(&mut self, socket: SocketKey) {
        self.legs.closed(socket);
    }

    /// What such connections from one place to another carried one way within some time; None when that is not known.
    #[must_use]
    pub fn carried(
        &self,
        client_and_server: [ProxyKey; 2],
        sender: Endpoint,
        within: (Timestamp, Timestamp),
    ) -> Option<Carried> {
        self.legs.carried(client_and_server, sender, within)
    }
}

impl Leg {
    /// What is at both ends, if that is known and they are two.
    fn both(&self) -> Option<[ProxyKey; 2]> {
        match self.end.places {
            [Some(client), Some(server)] if client != server => Some([client, server]),
            _ => None,
        }
    }

    fn carried(&self, sender: Endpoint, from: Timestamp, to: Timestamp) -> Option<Carried> {
        let [of_client, of_server] = &self.ledgers;
        match sender {
            Endpoint::Client => of_client.within(from, to),
            Endpoint::Server => of_server.within(from, to),
        }
    }

    /// The other end of it, or the same.
    fn is(&self, end: &LegEnd) -> bool {
        let places = self.end.places.iter().zip(&end.places);
        let is_other = places.into_iter().any(
            |(known, told)| matches!((known, told), (Some(known), Some(told)) if known != told),
        );
        let same = match (self.end.name, end.name) {
            (Some(known), Some(told)) => known == told,
            _ => {
                self.n_open > 0
                    && self.end.addresses.is_some()
                    && self.end.addresses == end.addresses
            }
        };
        same && !is_other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ProxyKey = ProxyKey::Process(1);
    const SERVER: ProxyKey = ProxyKey::Process(2);

    fn socket(sk: u64) -> SocketKey {
        SocketKey { sk, born_ns: 0 }
    }

    fn end(places: [Option<ProxyKey>; 2], name: u8, port: u16) -> LegEnd {
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));
        LegEnd {
            role: if places[0].is_some() {
                Endpoint::Client
            } else {
                Endpoint::Server
            },
            places,
            name: (name > 0).then_some([name; 32]),
            addresses: Some((at(port), at(15_006), 0)),
            at: Timestamp(1),
        }
    }

    fn carried(legs: &Legs) -> Option<u64> {
        let within = (Timestamp(0), Timestamp(100));
        let carried = legs.carried([CLIENT, SERVER], Endpoint::Server, within);
        carried.map(|carried| carried.most)
    }

    fn pass(legs: &mut Legs, sk: u64) {
        let opaque = Opaque {
            least: 10,
            most: 10,
            is_lost: false,
        };
        let direction = if sk % 2 == 1 {
            Direction::Rx
        } else {
            Direction::Tx
        };
        legs.passed(socket(sk), direction, Timestamp(5), opaque);
    }

    #[test]
    fn two_ends_of_one_name_are_one_leg_and_its_bytes_count_once() {
        let mut legs = Legs::default();
        legs.opened(socket(1), end([Some(CLIENT), None], 7, 1_000));
        // Behind an address translation.
        legs.opened(socket(2), end([None, Some(SERVER)], 7, 2_000));
        pass(&mut legs, 1);
        pass(&mut legs, 2);
        assert_eq!((legs.legs.len(), carried(&legs)), (1, Some(10)));
    }

    #[test]
    fn what_is_carried_is_not_known_from_where_nobody_looks_any_more() {
        let mut legs = Legs::default();
        legs.opened(socket(1), end([Some(CLIENT), None], 7, 1_000));
        legs.opened(socket(2), end([None, Some(SERVER)], 7, 1_000));
        pass(&mut legs, 1);
        legs.lost(socket(2));
        assert_eq!(carried(&legs), Some(10), "this end is not counted");
        legs.lost(socket(1));
        assert_eq!(carried(&legs), None);
    }

    #[test]
    fn without_a_name_addresses_tell_and_another_name_is_another_leg() {
        let mut legs = Legs::default();
        legs.opened(socket(1), end([Some(CLIENT), None], 0, 1_000));
        legs.opened(socket(2), end([None, Some(SERVER)], 7, 1_000));
        assert_eq!(legs.legs.len(), 1);
        legs.opened(socket(3), end([Some(CLIENT), None], 8, 1_000));
        legs.opened(socket(4), end([None, Some(SERVER)], 9, 1_000));
        pass(&mut legs, 3);
        pass(&mut legs, 4);
        assert_eq!(carried(&legs), Some(0));
    }

    #[test]
    fn their_number_is_bounded() {
        let mut legs = Legs::default();
        let mut n_limits = 0;
        for n in 0..limits::HOP_LEGS as u64 + 3 {
            let mut end = end([Some(CLIENT), None], 0, u16::try_from(n).unwrap());
            end.at = Timestamp(n);
            n_limits += usize::from(legs.opened(socket(n), end).is_some());
        }
        assert_eq!((legs.legs.len(), n_limits), (limits::HOP_LEGS, 3));
        assert_eq!(legs.by_socket.len(), limits::HOP_LEGS);
        legs.closed(socket(0));
        legs.closed(socket(9));
        assert_eq!(legs.by_socket.len(), limits::HOP_LEGS - 1);
    }
}
