//! The connection ends that have series: which connection belongs to which, when their names become known,
//! and when they go.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use h2trace_core::connection::ConnectionId;
use h2trace_core::event::Timestamp;
use h2trace_core::limits;
use h2trace_core::pipeline::ConnectionInfo;

use super::counts::EndCounts;
use super::names::{self, EndNames};
use super::room::Room;
use super::times::Times;

/// One end, shared with what is scraping.
#[derive(Debug)]
pub(super) struct EndSeries {
    /// The labels, as they stand in the exposition.
    pub(super) labels: String,
    counts: Mutex<EndCounts>,
    /// Of its owner; its own as long as that is not known.
    pub(super) times: Arc<Times>,
}

impl EndSeries {
    fn new(labels: String, times: Arc<Times>) -> Arc<EndSeries> {
        Arc::new(EndSeries {
            labels,
            counts: Mutex::default(),
            times,
        })
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, EndCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is shown, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Shown {
    ends: BTreeMap<u64, Arc<EndSeries>>,
    times: BTreeMap<u64, Arc<Times>>,
}

/// The same, shared with what is scraping.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedSeries(Arc<Mutex<Shown>>);

impl SharedSeries {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to show now.
    pub(super) fn all(&self) -> (Vec<Arc<EndSeries>>, Vec<Arc<Times>>) {
        let shown = self.lock();
        (
            shown.ends.values().cloned().collect(),
            shown.times.values().cloned().collect(),
        )
    }
}

/// What an end is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Named(EndNames),
    /// Its pod has no name yet.
    Unnamed {
        pod_uid: String,
        container_id: String,
        comm: String,
    },
}

/// Ends with open connections that give way to others in a second at most: each takes some work.
const GIVE_WAY: usize = 16;

/// An end, and what keeps it.
#[derive(Debug)]
struct KeptSeries {
    /// Whose it is: a pod's uid, or empty for the host.
    tenant: Box<str>,
    end: Arc<EndSeries>,
    key: Key,
    /// Connections that are open.
    open: usize,
    /// When it was last used.
    used_at: Timestamp,
    began_at: Timestamp,
    /// The connection that it began with: asked for the names that are still to come.
    info: Arc<ConnectionInfo>,
}

/// The end of a connection that is open.
#[derive(Debug)]
struct Link {
    info: Arc<ConnectionInfo>,
    place: u64,
    end: Arc<EndSeries>,
}

impl Link {
    fn is_of(&self, info: &Arc<ConnectionInfo>) -> bool {
        Arc::ptr_eq(&self.info, info) || self.info.comm == info.comm
    }
}

pub(super) struct Ends {
    shared: SharedSeries,
    places: HashMap<u64, KeptSeries, RandomState>,
    by_key: HashMap<Key, u64>,
    /// How many there are of each tenant.
    of_tenants: HashMap<Box<str>, usize>,
    /// How many with open connections have given way in this second.
    gave_way: usize,
    links: HashMap<ConnectionId, Link, RandomState>,
    /// Connections in pods whose names are not known.
    unsettled: HashSet<ConnectionId>,
    /// By owner, with how many ends there are of it.
    times: HashMap<EndNames, (u64, usize)>,
    /// What stands for all others: of the host, and of pods.
    other: [Arc<EndSeries>; 2],
    now: Timestamp,
    next: u64,
    evicted: u64,
}

impl Ends {
    pub(super) fn new(shared: SharedSeries) -> Ends {
        let other = [false, true].map(|in_pod| {
            let labels = EndNames::other(in_pod).text();
            EndSeries::new(labels.clone(), Arc::new(Times::new(labels)))
        });
        Ends {
            shared,
            places: HashMap::default(),
            by_key: HashMap::new(),
            of_tenants: HashMap::new(),
            gave_way: 0,
            links: HashMap::default(),
            unsettled: HashSet::new(),
            times: HashMap::new(),
            other,
            now: Timestamp(0),
            next: 2,
            evicted: 0,
        }
    }

    /// What stands for all ends beyond the bounds. It is shown from when it is first asked for.
    pub(super) fn other(&self, in_pod: bool) -> Arc<EndSeries> {
        let end = &self.other[usize::from(in_pod)];
        let mut shown = self.shared.lock();
        let place = u64::from(in_pod);
        shown.ends.entry(place).or_insert_with(|| Arc::clone(end));
        let times = shown.times.entry(place);
        times.or_insert_with(|| Arc::clone(&end.times));
        Arc::clone(end)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many had to go before their time.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How many connections belong to pods whose names are not known.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled.len()
    }

    /// A connection is open from now on.
    pub(super) fn open(&mut self, info: &Arc<ConnectionInfo>, room: &mut Room) -> Arc<EndSeries> {
        self.close(info.id);
        let Some(place) = self.place(info, room) else {
            return self.beyond(info, room);
        };
        let Some(at) = self.places.get_mut(&place) else {
            return self.beyond(info, room);
        };
        at.open += 1;
        let end = Arc::clone(&at.end);
        if !names::settled(&info.workload) {
            self.unsettled.insert(info.id);
        }
        let link = Link {
            info: Arc::clone(info),
            place,
            end: Arc::clone(&end),
        };
        self.links.insert(info.id, link);
        end
    }

    /// A connection is no longer open.
    pub(super) fn close(&mut self, id: ConnectionId) {
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        self.unsettled.remove(&id);
        self.leave(link.place);
    }

    fn leave(&mut self, place: u64) {
        if let Some(place) = self.places.get_mut(&place) {
            place.open = place.open.saturating_sub(1);
            place.used_at = self.now;
        }
    }

    /// The end of a connection that is open, as nearly all are that something is counted of.
    pub(super) fn linked(&mut self, info: &Arc<ConnectionInfo>) -> Option<&EndSeries> {
        let link = self.links.get(&info.id)?;
        if !link.is_of(info) {
            return None;
        }
        self.places.get_mut(&link.place)?.used_at = self.now;
        Some(&link.end)
    }

    /// The end of a connection, open or not.
    pub(super) fn of(&mut self, info: &Arc<ConnectionInfo>, room: &mut Room) -> Arc<EndSeries> {
        let link = self.links.get(&info.id).filter(|link| link.is_of(info));
        let linked = link.is_some();
        if let Some(link) = link
            && let Some(place) = self.places.get_mut(&link.place)
        {
            place.used_at = self.now;
            return Arc::clone(&link.end);
        }
        let Some(at) = self.place(info, room) else {
            return self.beyond(info, room);
        };
        let Some(place) = self.places.get_mut(&at) else {
            return self.beyond(info, room);
        };
        let end = Arc::clone(&place.end);
        if linked && let Some(link) = self.links.get_mut(&info.id) {
            // It had given way to another one.
            place.open += 1;
            link.place = at;
            link.end = Arc::clone(&end);
        }
        end
    }

    fn beyond(&self, info: &ConnectionInfo, room: &Room) -> Arc<EndSeries> {
        room.no_end();
        self.other(info.workload.in_pod())
    }

    /// Where its end stands; a new one is made where there is room.
    fn place(&mut self, info: &Arc<ConnectionInfo>, room: &mut Room) -> Option<u64> {
        let key = if names::settled(&info.workload) {
            Key::Named(EndNames::of(info))
        } else {
            Key::Unnamed {
                pod_uid: info.workload.pod_uid().to_owned(),
                container_id: info.workload.container_id().to_owned(),
                comm: info.comm.clone(),
            }
        };
        self.place_of(key, info, room)
    }

    fn place_of(&mut self, key: Key, info: &Arc<ConnectionInfo>, room: &mut Room) -> Option<u64> {
        if let Some(place) = self.by_key.get(&key) {
            if let Some(at) = self.places.get_mut(place) {
                at.used_at = self.now;
            }
            return Some(*place);
        }
        let tenant = info.workload.pod_uid();
        if self.places.len() >= limits::ENDS {
            let gives_way = self.unused().or_else(|| self.of_the_largest(tenant))?;
            let gone = self.remove(gives_way, room)?;
            self.evicted += 1;
            if gone.open > 0 {
                // Its connections go on, and so does what was counted.
                self.gave_way += 1;
                let other = self.other(gone.info.workload.in_pod());
                let counted = std::mem::take(&mut *gone.end.counts());
                other.counts().merge(counted, &mut Room::of_other());
            }
        }
        let at = self.next;
        self.next += 1;
        let end = match &key {
            Key::Unnamed { .. } => {
                EndSeries::new(String::new(), Arc::new(Times::new(String::new())))
            }
            Key::Named(names) => {
                let end = EndSeries::new(names.text(), self.times_of(names.of_owner(), at));
                self.shared.lock().ends.insert(at, Arc::clone(&end));
                end
            }
        };
        *self.of_tenants.entry(tenant.into()).or_default() += 1;
        let place = KeptSeries {
            tenant: tenant.into(),
            end,
            key: key.clone(),
            open: 0,
            used_at: self.now,
            began_at: self.now,
            info: Arc::clone(info),
        };
        self.places.insert(at, place);
        self.by_key.insert(key, at);
        Some(at)
    }

    /// The end that has been without connections for longest.
    fn unused(&self) -> Option<u64> {
        let unused = self.places.iter().filter(|(_, place)| place.open == 0);
        let longest = unused.min_by_key(|(at, place)| (place.used_at, **at));
        longest.map(|(at, _)| *at)
    }

    /// Of the tenant with the most ends the one that has been idle for longest, where `tenant` has fewer, or is that one
    /// itself: nobody takes the places of all.
    fn of_the_largest(&self, tenant: &str) -> Option<u64> {
        let own = self.of_tenants.get(tenant).copied().unwrap_or(0);
        let (largest, most) = self.of_tenants.iter().max_by_key(|(_, n)| **n)?;
        let is_own = own == *most && own > 1;
        if self.gave_way >= GIVE_WAY || !(is_own || *most > own + 1) {
            return None;
        }
        let largest = if is_own { tenant } else { largest };
        let of_it = self
            .places
            .iter()
            .filter(|(_, place)| *place.tenant == *largest);
        let idlest = of_it.min_by_key(|(at, place)| (place.used_at, **at));
        idlest.map(|(at, _)| *at)
    }

    /// The times of an owner, which has one end more.
    fn times_of(&mut self, owner: EndNames, at: u64) -> Arc<Times> {
        let mut shown = self.shared.lock();
        let labels = owner.text();
        let (place, n_ends) = self.times.entry(owner).or_insert((at, 0));
        *n_ends += 1;
        let times = shown.times.entry(*place);
        Arc::clone(times.or_insert_with(|| Arc::new(Times::new(labels))))
    }

    fn remove(&mut self, at: u64, room: &mut Room) -> Option<KeptSeries> {
        let place = self.places.remove(&at)?;
        self.by_key.remove(&place.key);
        if let Some(n) = self.of_tenants.get_mut(&place.tenant) {
            *n -= 1;
            if *n == 0 {
                self.of_tenants.remove(&place.tenant);
            }
        }
        room.give_back(place.end.counts().series());
        let Key::Named(names) = &place.key else {
            room.give_back(place.end.times.series());
            return Some(place);
        };
        let mut shown = self.shared.lock();
        shown.ends.remove(&at);
        let owner = names.of_owner();
        if let Some((at, n_ends)) = self.times.get_mut(&owner) {
            *n_ends -= 1;
            if *n_ends == 0 {
                shown.times.remove(at);
                self.times.remove(&owner);
                room.give_back(place.end.times.series());
            }
        }
        Some(place)
    }

    /// Time passes: names become known, and ends go.
    pub(super) fn advance(&mut self, now: Timestamp, room: &mut Room) {
        self.now = now;
        self.gave_way = 0;
        let waiting = self.places.iter().filter(|(_, place)| {
            matches!(place.key, Key::Unnamed { .. })
                && (names::settled(&place.info.workload)
                    || now.since(place.began_at) >= limits::NAMES_WAIT_NS)
        });
        for at in waiting.map(|(at, _)| *at).collect::<Vec<_>>() {
            self.name(at, room);
        }
        self.settle(room);
        let old = self.places.iter().filter(|(_, place)| {
            place.open == 0 && now.since(place.used_at) > limits::SERIES_TTL_NS
        });
        let old: Vec<u64> = old.map(|(at, _)| *at).collect();
        for at in &old {
            self.remove(*at, room);
        }
        if !old.is_empty() {
            room.sweep();
        }
    }

    /// Shows an end under its names, or those of them that are known: it has waited long enough.
    fn name(&mut self, at: u64, room: &mut Room) {
        let Some(place) = self.remove(at, room) else {
            return;
        };
        let key = Key::Named(EndNames::of(&place.info));
        // One has just gone, so that there is a place.
        let Some(named) = self.place_of(key, &place.info, room) else {
            return;
        };
        let Some(to) = self.places.get_mut(&named) else {
            return;
        };
        let counted = std::mem::take(&mut *place.end.counts());
        to.end.counts().merge(counted, room);
        to.end.times.merge(&place.end.times, room);
        to.open += place.open;
        for id in &self.unsettled {
            if let Some(link) = self.links.get_mut(id)
                && link.place == at
            {
                link.place = named;
                link.end = Arc::clone(&to.end);
            }
        }
    }

    /// Moves the connections that were shown as unknown and have got their names since. What was counted stays
    /// where it is: a counter never falls.
    fn settle(&mut self, room: &mut Room) {
        let links = &self.links;
        let named = self.unsettled.iter().filter(|id| {
            links
                .get(id)
                .is_none_or(|link| names::settled(&link.info.workload))
        });
        for id in named.copied().collect::<Vec<_>>() {
            self.unsettled.remove(&id);
            let Some(info) = self.links.get(&id).map(|link| Arc::clone(&link.info)) else {
                continue;
            };
            let Some(to) = self.place(&info, room) else {
                continue;
            };
            let (Some(place), Some(link)) = (self.places.get_mut(&to), self.links.get_mut(&id))
            else {
                continue;
            };
            place.open += 1;
            link.end = Arc::clone(&place.end);
            let from = std::mem::replace(&mut link.place, to);
            self.leave(from);
        }
    }
}
