//! The pods of this node as far as they are known: filled by what watches them, read by what names
//! connections and by what selects pods to trace. Shared between threads.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use h2trace_core::limits;

use super::pod::Pod;

/// The directory of pods.
#[derive(Debug, Default)]
pub struct Pods(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    by_uid: HashMap<String, Arc<Pod>>,
    by_container: HashMap<String, Arc<Pod>>,
    by_address: HashMap<IpAddr, Arc<Pod>>,
    /// Containers that only the container runtime has told of so far.
    learnt: HashSet<String>,
    /// Pods that have gone, oldest first: connections that they opened a moment ago are still to be named.
    gone: VecDeque<(Instant, Arc<Pod>)>,
    version: u64,
    complete: bool,
    addresses_stale: bool,
    beyond: u64,
    containers_beyond: u64,
}

impl Pods {
    /// Makes the pods these and no others: after a list, or a new one. From then on the directory is
    /// complete.
    pub fn replace(&self, pods: impl IntoIterator<Item = Pod>) {
        let mut known = self.write();
        let mut before = std::mem::take(&mut *known);
        known.version = before.version + 1;
        known.complete = true;
        known.addresses_stale = before.addresses_stale;
        known.beyond = before.beyond;
        known.containers_beyond = before.containers_beyond;
        known.gone = std::mem::take(&mut before.gone);
        let mut pods: Vec<Pod> = pods.into_iter().collect();
        // Pods that have ended find the room that is left, and those that say of themselves who they are come last.
        pods.sort_by_key(|pod| (pod.is_over, pod.mirror.is_some()));
        for mut pod in pods {
            if let Some(earlier) = before.by_uid.remove(&pod.uid) {
                keep_learnt(&mut pod, &earlier, &before.learnt);
                let learnt = pod.containers.iter().map(|container| &container.id);
                let learnt = learnt.filter(|id| before.learnt.contains(*id)).cloned();
                known.learnt.extend(learnt);
            }
            known.put(pod);
        }
        for (_, pod) in before.by_uid {
            known.bury(pod);
        }
    }

    /// A pod is new, or has changed.
    pub fn put(&self, pod: Pod) {
        let mut known = self.write();
        known.version += 1;
        known.put(pod);
    }

    /// The container runtime told of a pod. What the API server told of it knows more and stays, but for ids of
    /// containers that it has not told of yet.
    pub fn learn(&self, pod: Pod) {
        let mut known = self.write();
        // It may have been taken for gone.
        let earlier = known.by_uid.get(&pod.uid).cloned();
        let Some(earlier) = earlier.or_else(|| known.lately(|other| other.uid == pod.uid)) else {
            known.version += 1;
            known.put(pod);
            return;
        };
        let mut better = Pod::clone(&earlier);
        for container in pod.containers {
            let told = better
                .containers
                .iter()
                .any(|other| other.id == container.id);
            if told || container.id.is_empty() {
                continue;
            }
            let unnamed = better
                .containers
                .iter_mut()
                .find(|other| other.name == container.name && other.id.is_empty());
            known.learnt.insert(container.id.clone());
            match unnamed {
                Some(other) => other.id = container.id,
                None => better.containers.push(container),
            }
        }
        if better.addresses.is_empty() {
            better.addresses = pod.addresses;
        }
        if better != *earlier || !known.by_uid.contains_key(&pod.uid) {
            known.version += 1;
            known.put(better);
        }
    }

    /// The object of a pod has gone. For a while it is still found by uid and by container.
    pub fn remove(&self, object: &str) {
        let mut known = self.write();
        known.version += 1;
        let is_it = |pod: &&Arc<Pod>| pod.object() == object;
        let found = known.by_uid.get(object).filter(is_it);
        let found = found.or_else(|| known.by_uid.values().find(is_it));
        let Some(uid) = found.map(|pod| pod.uid.clone()) else {
            return;
        };
        if let Some(pod) = known.remove(&uid) {
            known.bury(pod);
        }
    }

    /// Changes whenever a pod does.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.read().version
    }

    /// The container runtime has told of all pods that run, one after the other. From then on the directory is
    /// complete.
    pub fn complete(&self) {
        self.write().complete = true;
    }

    /// All pods of the node were told at least once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.read().complete
    }

    /// The pod with this uid, also shortly after it has gone.
    #[must_use]
    pub fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        let known = self.read();
        let pod = known.by_uid.get(uid).cloned();
        pod.or_else(|| known.lately(|pod| pod.uid == uid))
    }

    /// The pod with this uid has not gone.
    #[must_use]
    pub fn lives(&self, uid: &str) -> bool {
        self.read().by_uid.contains_key(uid)
    }

    /// The pod that has this container, by the container's id; also shortly after it has gone.
    #[must_use]
    pub fn by_container(&self, id: &str) -> Option<Arc<Pod>> {
        let known = self.read();
        let pod = known.by_container.get(id).cloned();
        pod.or_else(|| {
            known.lately(|pod| !id.is_empty() && pod.containers.iter().any(|other| other.id == id))
        })
    }

    /// The pod that has this address for itself.
    /// None while nobody tells of changes: addresses are given to other pods.
    #[must_use]
    pub fn by_address(&self, address: IpAddr) -> Option<Arc<Pod>> {
        let known = self.read();
        let pod = known.by_address.get(&address);
        pod.filter(|_| !known.addresses_stale).cloned()
    }

    /// Nobody tells of changes any more, or somebody does again.
    pub fn set_stale(&self, stale: bool) {
        let mut known = self.write();
        if known.addresses_stale != stale {
            known.addresses_stale = stale;
            known.version += 1;
        }
    }

    /// A pod had this address until a moment ago, and has none now.
    #[must_use]
    pub fn was_given_back(&self, address: IpAddr) -> bool {
        let known = self.read();
        !known.by_address.contains_key(&address)
            && known
                .lately(|pod| !pod.host_network && pod.addresses.contains(&address))
                .is_some()
    }

    /// All of them, in no particular order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.read().by_uid.values().cloned().collect()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.read().by_uid.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pods that found no room.
    #[must_use]
    pub fn beyond_limit(&self) -> u64 {
        self.read().beyond
    }

    /// Times that a pod had more containers than are known.
    #[must_use]
    pub fn containers_beyond_limit(&self) -> u64 {
        self.read().containers_beyond
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Of two that say that they are the same pod, the one whose own uid it is is right, else the one that came first.
    fn put(&mut self, mut pod: Pod) {
        let other = self.by_uid.get(&pod.uid);
        let other = other
            .filter(|other| other.object() != pod.object())
            .cloned();
        match (other, pod.mirror.take()) {
            (Some(_), Some(object)) => pod.uid = object,
            (Some(other), None) => {
                self.remove(&other.uid);
                let mut other = Pod::clone(&other);
                if let Some(object) = other.mirror.take() {
                    other.uid = object;
                    self.insert(other);
                }
            }
            (None, mirror) => pod.mirror = mirror,
        }
        self.insert(pod);
    }

    fn insert(&mut self, mut pod: Pod) {
        let before = self.remove(&pod.uid);
        if let Some(before) = &before {
            keep_learnt(&mut pod, before, &self.learnt);
            for container in &before.containers {
                let stays = pod.containers.iter().any(|other| other.id == container.id);
                if !stays {
                    self.learnt.remove(&container.id);
                }
            }
        }
        if self.by_uid.len() >= limits::PODS {
            self.beyond += 1;
            // A pod that has ended has nothing left to be named.
            let ended = self.by_uid.values().find(|other| other.is_over);
            let Some(ended) = ended.filter(|_| !pod.is_over).cloned() else {
                return;
            };
            self.remove(&ended.uid);
        }
        if pod.containers.len() > limits::POD_CONTAINERS {
            self.containers_beyond += 1;
            pod.containers.truncate(limits::POD_CONTAINERS);
        }
        let pod = Arc::new(pod);
        for container in &pod.containers {
            if !container.id.is_empty() {
                self.by_container
                    .insert(container.id.clone(), Arc::clone(&pod));
            }
        }
        if !pod.host_network {
            for address in &pod.addresses {
                let had_it = before
                    .as_ref()
                    .is_some_and(|before| before.addresses.contains(address));
                let taken = self.by_address.get(address).is_some_and(|other| {
                    // One of the two has it no longer, and this was not told yet: the one that came first.
                    other.started > pod.started || (other.started == pod.started && had_it)
                });
                if !taken {
                    self.by_address.insert(*address, Arc::clone(&pod));
                }
            }
        }
        self.by_uid.insert(pod.uid.clone(), pod);
    }

    fn remove(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let pod = self.by_uid.remove(uid)?;
        for container in &pod.containers {
            if self
                .by_container
                .get(&container.id)
                .is_some_and(|other| other.uid == pod.uid)
            {
                self.by_container.remove(&container.id);
            }
        }
        for address in &pod.addresses {
            // It may have been given to another pod since.
            if self
                .by_address
                .get(address)
                .is_none_or(|other| other.uid != pod.uid)
            {
                continue;
            }
            self.by_address.remove(address);
            let other = self
                .by_uid
                .values()
                .filter(|other| !other.host_network && other.addresses.contains(address))
                .max_by_key(|other| other.started);
            if let Some(other) = other {
                self.by_address.insert(*address, Arc::clone(other));
            }
        }
        Some(pod)
    }

    fn bury(&mut self, pod: Arc<Pod>) {
        for container in &pod.containers {
            self.learnt.remove(&container.id);
        }
        let now = Instant::now();
        while let Some((at, _)) = self.gone.front()
            && (self.gone.len() >= limits::PODS_GONE || now.duration_since(*at) > LINGER)
        {
            self.gone.pop_front();
        }
        self.gone.push_back((now, pod));
    }

    /// The latest pod that has gone and is meant by `which`.
    fn lately(&self, which: impl Fn(&Pod) -> bool) -> Option<Arc<Pod>> {
        let now = Instant::now();
        self.gone
            .iter()
            .rev()
            .take_while(|(at, _)| now.duration_since(*at) <= LINGER)
            .find(|(_, pod)| which(pod))
            .map(|(_, pod)| Arc::clone(pod))
    }
}

/// How long a pod that has gone is still found.
const LINGER: Duration = Duration::from_nanos(limits::PODS_LINGER_NS);

/// What the container runtime said of a container stays until the API server knows it too.
fn keep_learnt(pod: &mut Pod, before: &Pod, learnt: &HashSet<String>) {
    for container in &mut pod.containers {
        if container.id.is_empty()
            && let Some(known) = before
                .containers
                .iter()
                .find(|other| other.name == container.name && learnt.contains(&other.id))
        {
            container.id.clone_from(&known.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pod::Container;
    use super::*;

    fn pod(uid: &str, name: &str, container: &str, address: &str) -> Pod {
        Pod {
            uid: uid.into(),
            name: name.into(),
            containers: vec![Container {
                name: "app".into(),
                id: container.into(),
            }],
            addresses: vec![address.parse().unwrap()],
            ..Pod::default()
        }
    }

    fn name_at(pods: &Pods, address: &str) -> Option<String> {
        Some(pods.by_address(address.parse().unwrap())?.name.clone())
    }

    #[test]
    fn pod_is_found_by_uid_container_and_address_until_it_goes() {
        let pods = Pods::default();
        pods.put(pod("u1", "cart-1", "c1", "10.0.0.1"));
        assert_eq!(pods.by_uid("u1").unwrap().name, "cart-1");
        assert_eq!(pods.by_container("c1").unwrap().name, "cart-1");
        assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("cart-1"));
        let version = pods.version();
        pods.remove("u1");
        assert!(pods.version() > version);
        assert!(pods.all().is_empty() && pods.is_empty());
        assert_eq!(name_at(&pods, "10.0.0.1"), None);
        assert!(pods.was_given_back("10.0.0.1".parse().unwrap()));
        assert!(!pods.was_given_back("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn pod_that_has_gone_is_found_for_a_while_but_not_by_its_address() {
        let pods = Pods::default();
        pods.put(pod("u1", "cart-1", "c1", "10.0.0.1"));
        pods.put(pod("u2", "cart-2", "c2", "10.0.0.2"));
        pods.remove("u1");
        pods.replace([]);
        for (uid, container) in [("u1", "c1"), ("u2", "c2")] {
            assert!(pods.by_uid(uid).is_some() && pods.by_container(container).is_some());
        }
        assert!(pods.by_container("").is_none());
        assert_eq!(name_at(&pods, "10.0.0.1"), None);
        let mut known = pods.write();
        let Some(long_ago) = Instant::now().checked_sub(LINGER * 2) else {
            return;
        };
        known.gone.iter_mut().for_each(|(at, _)| *at = long_ago);
        drop(known);
        assert!(pods.by_uid("u1").is_none() && pods.by_container("c1").is_none());
        pods.put(pod("u3", "cart-3", "c3", "10.0.0.3"));
        pods.remove("u3");
        assert_eq!(pods.read().gone.len(), 1);
    }

    #[test]
    fn pods_that_have_gone_are_bounded() {
        let pods = Pods::default();
        for n in 0..limits::PODS_GONE + 10 {
            let uid = n.to_string();
            pods.put(pod(&uid, &uid, &uid, "10.0.0.1"));
            pods.remove(&uid);
        }
        assert_eq!(pods.read().gone.len(), limits::PODS_GONE);
        assert!(pods.by_uid("0").is_none());
    }

    #[test]
    fn pods_beyond_the_limit_are_counted_and_the_others_stay() {
        let pods = Pods::default();
        for n in 0..limits::PODS + 3 {
            let uid = n.to_string();
            pods.put(pod(&uid, &uid, &uid, "10.0.0.1"));
        }
        assert_eq!((pods.len(), pods.beyond_limit()), (limits::PODS, 3));
        // One that is known is changed all the same.
        pods.put(pod("5", "other", "5", "10.0.0.1"));
        assert_eq!(pods.by_uid("5").unwrap().name, "other");
        assert_eq!(pods.beyond_limit(), 3);
    }

    #[test]
    fn pods_that_have_ended_keep_no_room_from_those_that_run() {
        let pods = Pods::default();
        let ended = |n: usize| Pod {
            is_over: true,
            ..pod(&format!("e{n}"), "job", &format!("e{n}"), "10.0.0.1")
        };
        pods.replace(
            (0..limits::PODS + 1)
                .map(ended)
                .chain([pod("u1", "cart", "c1", "10.0.0.2")]),
        );
        assert!(pods.lives("u1") && pods.len() == limits::PODS);
        pods.put(pod("u2", "shop", "c2", "10.0.0.3"));
        assert!(pods.lives("u1") && pods.lives("u2") && pods.len() == limits::PODS);
        pods.put(ended(limits::PODS + 7));
        assert!(pods.lives("u2") && !pods.lives(&format!("e{}", limits::PODS + 7)));
    }

    #[test]
    fn nobody_takes_the_uid_of_another() {
        let victim = || pod("u1", "ledger", "c1", "10.0.0.1");
        // As the API server may let anybody have it made.
        let stranger = |object: &str, uid: &str| Pod {
            mirror: Some(object.into()),
            ..pod(uid, "stranger", "c9", "10.0.0.9")
        };
        let name = |pods: &Pods, uid: &str| pods.by_uid(uid).map(|pod| pod.name.clone());
        let all = [
            |pods: &Pods, victim: Pod, stranger: Pod| pods.replace([stranger, victim]),
            |pods: &Pods, victim: Pod, stranger: Pod| {
                pods.put(victim);
                pods.put(stranger);
            },
            |pods: &Pods, victim: Pod, stranger: Pod| {
                pods.put(stranger);
                pods.put(victim);
            },
        ];
        for order in all {
            let pods = Pods::default();
            order(&pods, victim(), stranger("s1", "u1"));
            assert_eq!(name(&pods, "u1").as_deref(), Some("ledger"));
            assert_eq!(name(&pods, "s1").as_deref(), Some("stranger"));
            // What is said of it later, and that it goes, is said of it alone.
            pods.put(stranger("s1", "u1"));
            pods.remove("s1");
            assert!(pods.lives("u1") && !pods.lives("s1"));
            pods.put(victim());
            assert_eq!(
                (pods.len(), name(&pods, "u1").as_deref()),
                (1, Some("ledger"))
            );
        }
        // Static pods: the kubelet's word was there first, and only its object takes it back.
        let pods = Pods::default();
        pods.put(Pod {
            name: "apiserver".into(),
            ..stranger("m1", "static")
        });
        pods.put(stranger("s1", "static"));
        assert_eq!(name(&pods, "static").as_deref(), Some("apiserver"));
        pods.remove("s1");
        assert!(pods.lives("static"));
        pods.put(Pod {
            name: "apiserver".into(),
            ..stranger("m1", "static")
        });
        pods.remove("m1");
        assert!(pods.is_empty());
    }

    #[test]
    fn address_that_was_given_away_names_its_new_pod_when_the_old_one_goes() {
        let pods = Pods::default();
        pods.put(pod("u1", "old", "c1", "10.0.0.1"));
        pods.put(pod("u2", "new", "c2", "10.0.0.1"));
        // A late word of the old one does not take it back.
        pods.put(pod("u1", "old", "c1", "10.0.0.1"));
        assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("new"));
        pods.remove("u1");
        assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("new"));
    }

    #[test]
    fn of_two_pods_with_one_address_the_one_that_started_later_has_it() {
        let started = |started, pod| Pod { started, ..pod };
        let old = || started(1, pod("u1", "old", "c1", "10.0.0.1"));
        let new = || started(2, pod("u2", "new", "c2", "10.0.0.1"));
        for order in [[old(), new()], [new(), old()]] {
            let pods = Pods::default();
            pods.replace(order);
            assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("new"));
            pods.remove("u2");
            assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("old"));
        }
    }

    #[test]
    fn address_of_the_host_names_no_pod() {
        let pods = Pods::default();
        pods.put(Pod {
            host_network: true,
            ..pod("u1", "agent", "c1", "10.0.0.1")
        });
        assert_eq!(name_at(&pods, "10.0.0.1"), None);
    }

    #[test]
    fn list_makes_the_directory_complete_and_forgets_what_is_not_in_it() {
        let pods = Pods::default();
        pods.put(pod("u1", "a", "c1", "10.0.0.1"));
        assert!(!pods.is_complete());
        pods.replace([pod("u2", "b", "c2", "10.0.0.2")]);
        assert!(pods.is_complete());
        assert_eq!(pods.all().len(), 1);
        assert_eq!(pods.all()[0].uid, "u2");
    }

    #[test]
    fn container_that_only_the_runtime_knows_is_learnt_and_kept() {
        let pods = Pods::default();
        // The API server knows the pod, not yet that its container runs.
        pods.put(pod("u1", "cart", "", "10.0.0.1"));
        let of_runtime = || Pod {
            namespace: "wrong".into(),
            ..pod("u1", "other name", "c1", "10.0.0.9")
        };
        pods.learn(of_runtime());
        let known = pods.by_container("c1").unwrap();
        assert_eq!(
            (known.name.as_str(), known.namespace.as_str()),
            ("cart", "")
        );
        let version = pods.version();
        pods.learn(of_runtime());
        assert_eq!(pods.version(), version);
        // A word of the API server that is older than that.
        pods.put(pod("u1", "cart", "", "10.0.0.1"));
        assert!(pods.by_container("c1").is_some());
        pods.replace([pod("u1", "cart", "", "10.0.0.1")]);
        assert!(pods.by_container("c1").is_some());
        // It was started anew.
        pods.put(pod("u1", "cart", "c2", "10.0.0.1"));
        assert!(pods.by_container("c2").is_some() && pods.by_container("c1").is_none());
        // What it told itself it may take back.
        pods.put(pod("u1", "cart", "", "10.0.0.1"));
        assert!(pods.by_container("c2").is_none());
        assert!(pods.read().learnt.is_empty());
        pods.learn(pod("u9", "alone", "c9", "10.0.0.9"));
        assert_eq!(pods.by_container("c9").unwrap().name, "alone");
        assert!(pods.lives("u9"));
        // Taken for gone, and there again: what was known of it still counts.
        pods.remove("u1");
        assert!(!pods.lives("u1"));
        pods.learn(pod("u1", "other name", "c3", "10.0.0.1"));
        assert!(pods.lives("u1"));
        assert_eq!(pods.by_container("c3").unwrap().name, "cart");
    }

    #[test]
    fn addresses_name_nobody_while_nobody_tells_of_changes() {
        let pods = Pods::default();
        pods.put(pod("u1", "cart", "c1", "10.0.0.1"));
        let version = pods.version();
        pods.set_stale(true);
        assert!(pods.version() > version);
        assert_eq!(name_at(&pods, "10.0.0.1"), None);
        assert!(pods.by_uid("u1").is_some() && pods.by_container("c1").is_some());
        pods.set_stale(false);
        assert_eq!(name_at(&pods, "10.0.0.1").as_deref(), Some("cart"));
    }
}
