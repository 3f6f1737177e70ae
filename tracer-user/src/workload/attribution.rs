//! Names the ends of connections as they are opened: the process by `/proc`, the pod by its cgroup, the peer by
//! its address. On the thread that reads the kernel's records, so it never waits for anybody; what is not known
//! yet is named later, by what watches the pods.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use h2trace_core::attribution::WorkloadHandle;
use h2trace_core::event::Address;
use h2trace_core::limits;

use super::container;
use super::container_ids::{ContainerIds, Is};
use super::kubernetes::PodSource;
use super::process;

/// How long a process is believed to be in no pod.
const HOST_AGE: Duration = Duration::from_secs(1);

/// How long connections from one address share what is known of it.
const PEER_AGE: Duration = Duration::from_secs(1);

/// How long the other end of a connection may take to be opened too.
const ENDS_AGE: Duration = Duration::from_secs(10);

/// Names processes and, where there are pods, pods.
#[derive(Debug)]
pub struct Attribution {
    processes: process::ProcessNames,
    pods: Option<PodNames>,
}

#[derive(Debug)]
struct PodNames {
    source: PodSource,
    ids: ContainerIds,
    /// All connections of one container share what they are told.
    containers: HashMap<(String, String), WorkloadHandle>,
    peers: HashMap<IpAddr, Peer>,
    ends: OpenedEnds,
    /// Processes that were in no pod a moment ago, by id and v2 cgroup: where v1 has hierarchies too, the cgroup
    /// alone does not say it.
    hosts: HashMap<(u32, u64), Instant>,
}

#[derive(Debug)]
struct Peer {
    version: u64,
    at: Instant,
    handle: WorkloadHandle,
}

impl Attribution {
    /// With the pods of `source`, if there are any.
    #[must_use]
    pub fn new(source: Option<PodSource>) -> Attribution {
        Attribution {
            processes: process::ProcessNames::default(),
            pods: source.map(PodNames::new),
        }
    }
}

impl h2trace_core::pipeline::NameSource for Attribution {
    fn process(&mut self, pid: u32) -> Option<String> {
        self.processes.process(pid)
    }

    fn lives(&mut self, pid: u32) -> bool {
        !process::is_gone(pid)
    }

    fn workloads(
        &mut self,
        pid: u32,
        cgroup: u64,
        [local, peer]: [&Address; 2],
    ) -> [WorkloadHandle; 2] {
        match &mut self.pods {
            Some(pods) => pods.workloads(pid, cgroup, [local, peer]),
            None => [WorkloadHandle::to_host(), WorkloadHandle::to_host()],
        }
    }
}

/// Both ends of connections that were opened lately: where both are of this node, each knows the other for sure.
#[derive(Debug, Default)]
struct OpenedEnds(HashMap<[SocketAddr; 2], OpenedEnd>);

#[derive(Debug)]
struct OpenedEnd {
    at: Instant,
    own: WorkloadHandle,
    peer: WorkloadHandle,
}

impl OpenedEnds {
    /// The end that sees this connection from its other side. Each is found once.
    fn take(&mut self, [local, peer]: [SocketAddr; 2]) -> Option<OpenedEnd> {
        let end = self.0.remove(&[peer, local])?;
        (end.at.elapsed() < ENDS_AGE).then_some(end)
    }

    fn put(&mut self, addresses: [SocketAddr; 2], end: OpenedEnd) {
        if self.0.len() >= limits::ENDS_KNOWN {
            self.0.retain(|_, end| end.at.elapsed() < ENDS_AGE);
        }
        if self.0.len() < limits::ENDS_KNOWN {
            self.0.insert(addresses, end);
        }
    }
}

impl PodNames {
    fn new(source: PodSource) -> PodNames {
        PodNames {
            source,
            ids: ContainerIds::default(),
            containers: HashMap::new(),
            peers: HashMap::new(),
            ends: OpenedEnds::default(),
            hosts: HashMap::new(),
        }
    }

    #[cfg(test)]
    fn known_as(&mut self, cgroup: u64, pod_uid: &str, container_id: &str) {
        let found = container::ContainerCgroup {
            pod_uid: pod_uid.into(),
            container_id: container_id.into(),
            qos: None,
            runtime: container::Runtime::Unknown,
        };
        self.ids.learn(cgroup, Is::Container(found));
    }

    fn workloads(
        &mut self,
        pid: u32,
        cgroup: u64,
        addresses: [&Address; 2],
    ) -> [WorkloadHandle; 2] {
        let own = self.workload(pid, cgroup);
        let [Address::Inet(local), Address::Inet(peer)] = addresses else {
            return [own, WorkloadHandle::to_host()];
        };
        let canonical = |at: &SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        let addresses = [canonical(local), canonical(peer)];
        let [_, peer_address] = addresses;
        // The same loopback addresses are in use in every network namespace.
        if peer_address.ip().is_loopback() || peer_address.ip().is_unspecified() {
            return [own, WorkloadHandle::to_host()];
        }
        if let Some(other) = self.ends.take(addresses) {
            if own.in_pod() {
                self.source.waiting.is_end(&other.peer, &own);
            }
            return [own, other.own];
        }
        // One of its own for each connection: what the other end says is of this one alone.
        let peer = match self.peer(peer_address.ip()) {
            known if known.workload().is_some() => known,
            unknown => unknown.apart(),
        };
        let end = OpenedEnd {
            at: Instant::now(),
            own: own.clone(),
            peer: peer.clone(),
        };
        self.ends.put(addresses, end);
        [own, peer]
    }

    fn workload(&mut self, pid: u32, cgroup: u64) -> WorkloadHandle {
        let Some(found) = self.find(pid, cgroup) else {
            return WorkloadHandle::to_host();
        };
        let key = (found.pod_uid, found.container_id);
        if let Some(handle) = self.containers.get(&key) {
            if handle.workload().is_none() {
                self.source.state.count_unnamed();
            }
            return handle.clone();
        }
        if self.containers.len() >= limits::CONTAINERS_KNOWN {
            // Those that are in use live on in their connections.
            self.containers.clear();
            self.source.state.count_containers_forgotten();
        }
        let handle = WorkloadHandle::to_pod(&key.0, &key.1);
        if !self.source.waiting.container(&handle, &self.source.pods) {
            self.source.state.count_unnamed();
        }
        self.containers.insert(key, handle.clone());
        handle
    }

    /// The container of a process. What the kernel said it was in when it made the call counts: when the record
    /// is read the process may have gone, and its id may be another's.
    fn find(&mut self, pid: u32, cgroup: u64) -> Option<container::ContainerCgroup> {
        match self.ids.known(cgroup) {
            Some(Is::Container(found)) => return Some(found),
            Some(Is::Host) => return None,
            None => {}
        }
        let now = Instant::now();
        let host = self.hosts.get(&(pid, cgroup));
        if host.is_some_and(|at| now.duration_since(*at) < HOST_AGE) {
            return None;
        }
        let text = process::sees_host_processes()
            .then(|| std::fs::read_to_string(format!("/proc/{pid}/cgroup")))
            .and_then(Result::ok);
        if let Some(text) = &text {
            let path = container::v2_path(text);
            let confirmed = path.is_some_and(|path| self.ids.confirms(cgroup, path));
            let by_path = path.and_then(container::of_path);
            // Where v1 has hierarchies too, the runtime may have used those alone.
            let v2_alone = text.lines().count() == 1;
            match (by_path, confirmed) {
                (Some(found), true) => {
                    self.ids.learn(cgroup, Is::Container(found.clone()));
                    return Some(found);
                }
                (None, true) if v2_alone => {
                    self.ids.learn(cgroup, Is::Host);
                    return None;
                }
                (None, true) => {
                    let found = container::of_process(text);
                    if found.is_none() {
                        if self.hosts.len() >= limits::HOSTS_KNOWN {
                            self.hosts.clear();
                        }
                        self.hosts.insert((pid, cgroup), now);
                    }
                    return found;
                }
                (_, false) => {}
            }
        }
        // It has gone, or moved, or a cgroup namespace hides its path: look for the cgroup itself.
        if let Some(found) = self.ids.search(cgroup) {
            return Some(found);
        }
        // Its path is all there is.
        container::of_process(&text?)
    }

    fn peer(&mut self, address: IpAddr) -> WorkloadHandle {
        let version = self.source.pods.version();
        let now = Instant::now();
        if let Some(peer) = self.peers.get(&address)
            && peer.version == version
            && now.duration_since(peer.at) < PEER_AGE
        {
            return peer.handle.clone();
        }
        if self.peers.len() >= limits::PEERS_KNOWN {
            self.peers
                .retain(|_, peer| now.duration_since(peer.at) < PEER_AGE);
        }
        let handle = self.source.waiting.address(address, &self.source.pods);
        if self.peers.len() < limits::PEERS_KNOWN {
            let handle = handle.clone();
            self.peers.insert(
                address,
                Peer {
                    version,
                    at: now,
                    handle,
                },
            );
        }
        handle
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use h2trace_core::pipeline::NameSource as _;

    use super::super::pod::{Container, Pod};
    use super::*;

    fn own_end(names: &mut Attribution, cgroup: u64) -> WorkloadHandle {
        let [own, _peer] = names.workloads(
            std::process::id(),
            cgroup,
            [&Address::Unknown, &Address::Unknown],
        );
        own
    }

    #[test]
    fn own_process_is_of_the_host_where_no_pod_is() {
        let mut names = Attribution::new(None);
        assert!(names.process(std::process::id()).is_some());
        assert!(!own_end(&mut names, 0).in_pod());
        let source = PodSource::of_test();
        let mut names = Attribution::new(Some(source));
        for cgroup in [0, 1] {
            assert!(!own_end(&mut names, cgroup).in_pod());
        }
        // As the kernel says it.
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = container::v2_path(&text).and_then(|path| super::super::cgroup::id_of(path).ok());
        for _ in 0..2 {
            assert!(!own_end(&mut names, own.unwrap_or(1)).in_pod());
        }
        if let Some(own) = own {
            let pods = names.pods.as_ref().unwrap();
            let known = pods.ids.known(own).is_some() || pods.hosts.len() == 1;
            assert!(known, "it is looked up each time");
        }
    }

    fn at(address: &str) -> Address {
        Address::Inet(address.parse().unwrap())
    }

    #[test]
    fn peers_are_named_by_their_address_also_when_it_is_told_later() {
        let source = PodSource::of_test();
        let pods = Arc::clone(&source.pods);
        let waiting = Arc::clone(&source.waiting);
        let mut names = Attribution::new(Some(source));
        let mut peer_of = |local: &str, peer: &str| {
            let [_own, peer] = names.workloads(0, 0, [&at(local), &at(peer)]);
            peer
        };
        let early = peer_of("10.0.0.9:80", "10.0.0.1:5000");
        let again = peer_of("[::ffff:10.0.0.9]:80", "[::ffff:10.0.0.1]:5001");
        pods.put(Pod {
            name: "cart".into(),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            ..Pod::default()
        });
        let late = peer_of("10.0.0.9:80", "10.0.0.1:5002");
        assert_eq!(late.workload().unwrap().pod, "cart");
        assert!(early.workload().is_none());
        waiting.name(&pods);
        assert_eq!(early.workload(), late.workload());
        assert_eq!(again.workload(), late.workload());
        assert!(!peer_of("127.0.0.1:2", "127.0.0.1:1").in_pod());
        let [_, unix] =
            names.workloads(0, 0, [&at("10.0.0.9:80"), &Address::Unix("/run/x".into())]);
        assert!(!unix.in_pod());
    }

    #[test]
    fn two_ends_of_this_node_know_each_other_whatever_their_addresses_say() {
        let source = PodSource::of_test();
        let (pods, waiting) = (Arc::clone(&source.pods), Arc::clone(&source.waiting));
        let mut names = PodNames::new(source);
        let ends = [at("10.0.0.1:5000"), at("10.0.0.2:80")];
        let [here, there] = ends.each_ref();
        names.known_as(7, "u1", "c1");
        names.known_as(8, "u2", "c2");
        let [client, server_seen] = names.workloads(0, 7, [here, there]);
        let [server, client_seen] = names.workloads(0, 8, [there, here]);
        let pod = |uid: &str, id: &str| Pod {
            uid: uid.into(),
            name: format!("pod-{uid}"),
            // The node's own: it names nobody.
            host_network: true,
            containers: vec![Container {
                name: "app".into(),
                id: id.into(),
            }],
            ..Pod::default()
        };
        pods.replace([pod("u1", "c1"), pod("u2", "c2")]);
        waiting.name(&pods);
        assert_eq!(client.workload().unwrap().pod, "pod-u1");
        assert_eq!(client_seen.workload(), client.workload());
        assert_eq!(server.workload().unwrap().pod, "pod-u2");
        assert_eq!(server_seen.workload(), server.workload());
        assert!(names.ends.0.is_empty());
        // Another connection from there, of a process of the host.
        let [_, other] = names.workloads(0, 8, [there, &at("10.0.0.1:6000")]);
        assert!(!other.in_pod());
    }
}
