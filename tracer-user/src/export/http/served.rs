//! Who is served: each newcomer has a place, and whoever has the most of them gives way.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use h2trace_core::limits;
use tokio::sync::Notify;

use super::watched::Progress;

/// One who asks: an IPv4 address, or the network of an IPv6 address, of which one host may have all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Peer(IpAddr);

impl Peer {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                Self(Ipv6Addr::from(network).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// The connections that are served, at most [`limits::HTTP_CONNECTIONS`].
#[derive(Clone, Debug, Default)]
pub(super) struct ServedConnections(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    by: HashMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    peer: Peer,
    progress: Arc<Progress>,
    cut: Arc<Notify>,
}

/// A place; free again when this is dropped.
#[derive(Debug)]
pub(super) struct ServedConnection {
    places: ServedConnections,
    number: u64,
    /// Whose it is.
    pub(super) peer: Peer,
    /// How its connection gets on.
    pub(super) progress: Arc<Progress>,
    /// Told when the connection has to give way.
    pub(super) cut: Arc<Notify>,
}

impl Drop for ServedConnection {
    fn drop(&mut self) {
        self.places.taken().by.remove(&self.number);
    }
}

impl ServedConnections {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for whoever comes from `address`; true when another one has to go for it: of the peer with the most
    /// connections the one whose client has taken nothing for the longest time.
    pub(super) fn take(&self, address: IpAddr) -> (ServedConnection, bool) {
        let mut taken = self.taken();
        let full = taken.by.len() >= limits::HTTP_CONNECTIONS;
        if full {
            taken.give_way();
        }
        let place = ServedConnection {
            places: self.clone(),
            number: taken.next,
            peer: Peer::of(address),
            progress: Progress::new(Instant::now()),
            cut: Arc::default(),
        };
        taken.by.insert(
            place.number,
            Held {
                peer: place.peer,
                progress: Arc::clone(&place.progress),
                cut: Arc::clone(&place.cut),
            },
        );
        taken.next += 1;
        (place, full)
    }

    /// Cuts all who still read a page older than `oldest_kept`.
    pub(super) fn cut_readers_before(&self, oldest_kept: u64) {
        for held in self.taken().by.values() {
            if held.progress.page().is_some_and(|page| page < oldest_kept) {
                held.cut.notify_one();
            }
        }
    }
}

impl Taken {
    fn give_way(&mut self) {
        let mut held_by: HashMap<Peer, usize> = HashMap::new();
        for held in self.by.values() {
            *held_by.entry(held.peer).or_default() += 1;
        }
        let most = held_by.values().copied().max().unwrap_or(0);
        let longest = self
            .by
            .iter()
            .filter(|(_, held)| held_by.get(&held.peer) == Some(&most))
            .min_by_key(|(number, held)| (held.progress.last(), **number))
            .map(|(number, _)| *number);
        if let Some(held) = longest.and_then(|number| self.by.remove(&number)) {
            held.cut.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_cut(place: &ServedConnection) -> bool {
        let cut = pin!(place.cut.notified());
        cut.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn whoever_has_the_most_places_gives_way_and_the_longest_idle_goes_first() {
        let places = ServedConnections::default();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let (honest, _) = places.take(at("10.0.0.1"));
        let greedy: Vec<ServedConnection> = (1..limits::HTTP_CONNECTIONS)
            .map(|n| {
                // One host has a whole network of IPv6 addresses.
                let (place, full) = places.take(at(&format!("2001:db8::{n:x}")));
                assert!(!full);
                place
            })
            .collect();
        let (newcomer, full) = places.take(at("::ffff:10.0.0.2"));
        assert!(full && !is_cut(&newcomer) && !is_cut(&honest));
        let cut: Vec<usize> = (0..greedy.len()).filter(|n| is_cut(&greedy[*n])).collect();
        assert_eq!(cut, [0]);
        assert_eq!(places.taken().by.len(), limits::HTTP_CONNECTIONS);
        drop((greedy, honest, newcomer));
        assert!(places.taken().by.is_empty());
    }
}
