//! What waits for its name: connections are often opened before the API server has told of their container.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use h2trace_core::attribution::{WeakWorkloadHandle, Workload, WorkloadHandle};
use h2trace_core::limits;
use tokio::sync::Notify;

use super::pods::Pods;

/// How long an address waits for its pod. What comes later may be another pod's.
const ADDRESS_WAIT: Duration = Duration::from_secs(10);

/// Containers and addresses without a name, shared between what opens connections and what learns of pods.
#[derive(Debug, Default)]
pub struct Waiting {
    containers: Mutex<VecDeque<Unnamed>>,
    /// Apart from the containers: there may be very many of them, most are no pod's.
    addresses: Mutex<VecDeque<Unnamed>>,
    /// Peers whose own end is known, which is not named yet.
    ends: Mutex<VecDeque<(WeakWorkloadHandle, WorkloadHandle)>>,
    /// Something new waits.
    pub(super) more: Notify,
    beyond: AtomicU64,
}

#[derive(Debug)]
struct Unnamed {
    handle: WeakWorkloadHandle,
    since: Instant,
    /// Of a peer: its address, and when the connection was opened, in seconds since 1970.
    address: Option<(IpAddr, i64)>,
}

impl Waiting {
    /// The names of a container, now or when they are told. True when they are known now.
    pub fn container(&self, handle: &WorkloadHandle, pods: &Pods) -> bool {
        match name_container(handle, pods) {
            Named::Fully => true,
            named => {
                self.wait(handle, None);
                named == Named::Pod
            }
        }
    }

    /// The names of a peer, now or when they are told.
    pub fn address(&self, address: IpAddr, pods: &Pods) -> WorkloadHandle {
        if let Some(pod) = pods.by_address(address) {
            let handle = WorkloadHandle::to_pod(&pod.uid, "");
            handle.name(Arc::new(pod.workload("")));
            return handle;
        }
        let handle = WorkloadHandle::to_address();
        // An address that was given back may be another pod's soon: nobody could say whose it was now.
        if pods.was_given_back(address) {
            return handle;
        }
        self.wait(&handle, Some((address, unix_seconds())));
        handle
    }

    /// The other end of a connection turned out to be `own`: it is named as that is.
    pub fn is_end(&self, peer: &WorkloadHandle, own: &WorkloadHandle) {
        let Some(weak) = peer.downgrade() else {
            return;
        };
        if let Some(workload) = own.workload() {
            let fully = !workload.container.is_empty();
            peer.name(workload);
            if fully {
                return;
            }
        }
        let mut ends = lock(&self.ends);
        if ends.len() >= limits::WORKLOADS_WAITING {
            self.beyond.fetch_add(1, Ordering::Relaxed);
            ends.pop_front();
        }
        ends.push_back((weak, own.clone()));
    }

    fn name_ends(&self) {
        lock(&self.ends).retain(|(peer, own)| {
            let (Some(peer), Some(workload)) = (peer.upgrade(), own.workload()) else {
                return peer.is_alive();
            };
            let fully = !workload.container.is_empty();
            peer.name(workload);
            !fully
        });
    }

    /// Names what can be named by now.
    pub fn name(&self, pods: &Pods) {
        lock(&self.containers).retain(|unnamed| {
            let handle = unnamed.handle.upgrade();
            handle.is_some_and(|handle| name_container(&handle, pods) != Named::Fully)
        });
        lock(&self.addresses).retain(|unnamed| {
            let handle = unnamed.handle.upgrade();
            handle.is_some_and(|handle| !unnamed.name_address(&handle, pods))
        });
        self.name_ends();
    }

    /// A pod is there that nobody has told of. The container runtime is asked soon if the API server does not answer.
    pub fn ask(&self) {
        self.more.notify_one();
    }

    /// Names containers by what the container runtime says, until the API server tells more.
    pub fn name_by_runtime(&self, pods: &Pods) {
        for unnamed in lock(&self.containers).iter() {
            let Some(handle) = unnamed.handle.upgrade() else {
                continue;
            };
            let Some(pod) = pods.by_container(handle.container_id()) else {
                continue;
            };
            let told = pod.workload(handle.container_id());
            let workload = match handle.workload() {
                // What the API server says of the pod is better.
                Some(known) if known.container.is_empty() => Workload {
                    container: told.container,
                    ..Workload::clone(&known)
                },
                Some(_) => continue,
                None => told,
            };
            handle.name(Arc::new(workload));
        }
        self.name_ends();
    }

    /// How long the container that came last has waited by now; None when none waits.
    #[must_use]
    pub fn youngest(&self) -> Option<Duration> {
        lock(&self.containers)
            .iter()
            .rev()
            .find(|unnamed| unnamed.handle.is_alive())
            .map(|unnamed| unnamed.since.elapsed())
    }

    /// What found no room here.
    #[must_use]
    pub fn beyond_limit(&self) -> u64 {
        self.beyond.load(Ordering::Relaxed)
    }

    /// How many containers wait.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.containers).len()
    }

    /// None waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn wait(&self, handle: &WorkloadHandle, address: Option<(IpAddr, i64)>) {
        let Some(handle) = handle.downgrade() else {
            return;
        };
        let queue = match address {
            Some(_) => &self.addresses,
            None => &self.containers,
        };
        let mut waiting = lock(queue);
        if waiting.len() >= limits::WORKLOADS_WAITING {
            waiting.retain(|unnamed| unnamed.handle.is_alive() && !unnamed.is_over());
        }
        if waiting.len() >= limits::WORKLOADS_WAITING {
            self.beyond.fetch_add(1, Ordering::Relaxed);
            waiting.pop_front();
        }
        waiting.push_back(Unnamed {
            handle,
            since: Instant::now(),
            address,
        });
        drop(waiting);
        if address.is_none() {
            self.more.notify_one();
        }
    }
}

impl Unnamed {
    /// An address does not wait for ever.
    fn is_over(&self) -> bool {
        self.address.is_some() && self.since.elapsed() > ADDRESS_WAIT
    }

    /// True when it waits no longer.
    fn name_address(&self, handle: &WorkloadHandle, pods: &Pods) -> bool {
        let Some((address, opened)) = self.address else {
            return true;
        };
        let Some(pod) = pods.by_address(address) else {
            return self.is_over();
        };
        // A pod that the kubelet took on later cannot have been the peer.
        if pod.started <= opened && !self.is_over() && handle.workload().is_none() {
            handle.name(Arc::new(pod.workload("")));
        }
        true
    }
}

fn lock<T>(queue: &Mutex<VecDeque<T>>) -> MutexGuard<'_, VecDeque<T>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    No,
    /// The pod, not its container.
    Pod,
    Fully,
}

fn name_container(handle: &WorkloadHandle, pods: &Pods) -> Named {
    let id = handle.container_id();
    let pod = pods.by_uid(handle.pod_uid());
    let Some(pod) = pod.or_else(|| pods.by_container(id)) else {
        return Named::No;
    };
    let workload = pod.workload(id);
    let fully = !workload.container.is_empty() || id.is_empty();
    let known = handle.workload();
    // A container that was named keeps its name when its pod knows a newer one only.
    if known.is_none_or(|known| *known != workload && (fully || known.container.is_empty())) {
        handle.name(Arc::new(workload));
    }
    if fully { Named::Fully } else { Named::Pod }
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::pod::{Container, Pod};
    use super::*;

    fn pod(uid: &str, container: &str, address: &str) -> Pod {
        Pod {
            uid: uid.into(),
            namespace: "shop".into(),
            name: format!("pod-{uid}"),
            containers: vec![
                Container {
                    name: "app".into(),
                    id: container.into(),
                },
                Container {
                    name: "envoy".into(),
                    id: String::new(),
                },
            ],
            addresses: vec![address.parse().unwrap()],
            ..Pod::default()
        }
    }

    fn names(handle: &WorkloadHandle) -> Option<(String, String)> {
        let workload = handle.workload()?;
        Some((workload.pod.clone(), workload.container.clone()))
    }

    fn told(pod: &str, container: &str) -> Option<(String, String)> {
        Some((pod.to_owned(), container.to_owned()))
    }

    #[test]
    fn container_is_named_in_steps_as_the_api_server_tells() {
        let (pods, waiting) = (Pods::default(), Waiting::default());
        let handle = WorkloadHandle::to_pod("u1", "c1");
        assert!(!waiting.container(&handle, &pods));
        assert_eq!(names(&handle), None);
        pods.put(pod("u1", "", "10.0.0.1"));
        waiting.name(&pods);
        assert_eq!(names(&handle), told("pod-u1", ""));
        assert!(waiting.youngest().is_some());
        pods.put(pod("u1", "c1", "10.0.0.1"));
        waiting.name(&pods);
        assert_eq!(names(&handle), told("pod-u1", "app"));
        assert!(waiting.is_empty());
        pods.remove("u1");
        waiting.name(&pods);
        assert_eq!(names(&handle), told("pod-u1", "app"));
    }

    #[test]
    fn container_of_a_known_pod_is_named_at_once() {
        let (pods, waiting) = (Pods::default(), Waiting::default());
        pods.put(pod("u1", "c1", "10.0.0.1"));
        // The uid may be hidden, or be another in the cgroup.
        for uid in ["u1", "", "other"] {
            let handle = WorkloadHandle::to_pod(uid, "c1");
            assert!(waiting.container(&handle, &pods), "{uid}");
            assert_eq!(names(&handle), told("pod-u1", "app"));
        }
        assert!(waiting.is_empty());
    }

    #[test]
    fn container_runtime_names_what_the_api_server_has_not_told_and_that_names_it_better() {
        let (pods, of_runtime, waiting) = (Pods::default(), Pods::default(), Waiting::default());
        let (early, late) = (
            WorkloadHandle::to_pod("u1", "c1"),
            WorkloadHandle::to_pod("u2", "c2"),
        );
        let owned = |pod: Pod| Pod {
            owner: h2trace_core::attribution::Owner {
                kind: "Deployment".into(),
                name: "cart".into(),
            },
            ..pod
        };
        pods.put(owned(pod("u2", "", "10.0.0.2")));
        waiting.container(&early, &pods);
        waiting.container(&late, &pods);
        of_runtime.replace([pod("u1", "c1", "10.0.0.1"), pod("u2", "c2", "10.0.0.2")]);
        waiting.name_by_runtime(&of_runtime);
        assert_eq!(names(&early), told("pod-u1", "app"));
        assert_eq!(early.workload().unwrap().owner.name, "");
        assert_eq!(names(&late), told("pod-u2", "app"));
        assert_eq!(late.workload().unwrap().owner.name, "cart");
        pods.put(owned(pod("u1", "c1", "10.0.0.1")));
        waiting.name(&pods);
        assert_eq!(early.workload().unwrap().owner.name, "cart");
    }

    #[test]
    fn connections_that_have_ended_do_not_wait() {
        let (pods, waiting) = (Pods::default(), Waiting::default());
        let handle = WorkloadHandle::to_pod("u1", "c1");
        waiting.container(&handle, &pods);
        assert_eq!(waiting.len(), 1);
        drop(handle);
        waiting.name(&pods);
        assert!(waiting.is_empty());
    }

    #[test]
    fn peers_are_named_by_their_address_also_a_moment_later() {
        let (pods, waiting) = (Pods::default(), Waiting::default());
        let address = "10.0.0.1".parse().unwrap();
        let early = waiting.address(address, &pods);
        assert!(!early.in_pod());
        pods.put(pod("u1", "c1", "10.0.0.1"));
        waiting.name(&pods);
        assert!(early.in_pod());
        assert_eq!(names(&early), told("pod-u1", ""));
        assert_eq!(names(&waiting.address(address, &pods)), told("pod-u1", ""));
        assert!(waiting.is_empty());
    }

    #[test]
    fn address_never_gets_the_name_of_a_pod_that_came_later() {
        let (pods, waiting) = (Pods::default(), Waiting::default());
        let address = "10.0.0.1".parse().unwrap();
        let early = waiting.address(address, &pods);
        pods.put(Pod {
            started: unix_seconds() + 60,
            ..pod("u1", "c1", "10.0.0.1")
        });
        waiting.name(&pods);
        assert_eq!(names(&early), None);
        assert!(waiting.is_empty());
        // Whose it was when it was given back a moment ago, nobody can say.
        pods.remove("u1");
        let between = waiting.address(address, &pods);
        pods.put(pod("u2", "c2", "10.0.0.1"));
        waiting.name(&pods);
        assert_eq!(names(&between), None);
    }

    #[test]
    fn peer_whose_own_end_is_seen_is_named_as_that() {
        let (pods, waiting) = (Pods::default(), Waiting::default());
        let own = WorkloadHandle::to_pod("u1", "c1");
        let peer = waiting.address("10.0.0.1".parse().unwrap(), &pods);
        waiting.container(&own, &pods);
        waiting.is_end(&peer, &own);
        assert_eq!(names(&peer), None);
        pods.put(pod("u1", "", "10.0.0.9"));
        waiting.name(&pods);
        assert_eq!(names(&peer), told("pod-u1", ""));
        pods.put(pod("u1", "c1", "10.0.0.9"));
        waiting.name(&pods);
        assert_eq!(names(&peer), told("pod-u1", "app"));
        assert!(lock(&waiting.ends).is_empty());
        let late = WorkloadHandle::to_address();
        waiting.is_end(&late, &own);
        assert_eq!(names(&late), told("pod-u1", "app"));
        assert!(lock(&waiting.ends).is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let (pods, waiting) = (Pods::default(), Waiting::default());
        let all: Vec<WorkloadHandle> = (0..limits::WORKLOADS_WAITING + 5)
            .map(|n| WorkloadHandle::to_pod("u", &n.to_string()))
            .collect();
        for handle in &all {
            waiting.container(handle, &pods);
        }
        assert_eq!(
            (waiting.len(), waiting.beyond_limit()),
            (limits::WORKLOADS_WAITING, 5)
        );
    }
}
