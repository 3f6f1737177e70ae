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
pub struct Pods(RwLock<KnownPods>);

#[derive(Debug, Default)]
struct KnownPods {
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

    fn read(&self) -> RwLockReadGuard<'_, KnownPods> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, KnownPods> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownPods {
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
mod tests;
