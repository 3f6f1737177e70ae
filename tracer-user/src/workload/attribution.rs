//! Names the ends of connections as they are opened: the process by `/proc`, the pod by its cgroup, the peer by
//! its address. On the thread that reads the kernel's records, so it never waits for anybody; what is not known
//! yet is named later, by what watches the pods.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::belongs::Belongs;
use super::container;
use super::container_ids::{ContainerIds, Is};
use super::kubernetes::Source;
use super::process;
use crate::kernel::event::Address;
use crate::limits;

/// How long a process is believed to be in no pod.
const HOST_AGE: Duration = Duration::from_secs(1);

/// How long connections from one address share what is known of it.
const PEER_AGE: Duration = Duration::from_secs(1);

/// Names processes and, where there are pods, pods.
#[derive(Debug)]
pub struct Names {
    processes: process::Names,
    pods: Option<PodNames>,
}

#[derive(Debug)]
struct PodNames {
    source: Source,
    ids: ContainerIds,
    /// All connections of one container share what they are told.
    containers: HashMap<(String, String), Belongs>,
    peers: HashMap<IpAddr, Peer>,
    /// Processes that were in no pod a moment ago, by id and v2 cgroup: where v1 has hierarchies too, the cgroup
    /// alone does not say it.
    hosts: HashMap<(u32, u64), Instant>,
}

#[derive(Debug)]
struct Peer {
    version: u64,
    at: Instant,
    belongs: Belongs,
}

impl Names {
    /// With the pods of `source`, if there are any.
    #[must_use]
    pub fn new(source: Option<Source>) -> Names {
        Names {
            processes: process::Names::default(),
            pods: source.map(|source| PodNames {
                source,
                ids: ContainerIds::default(),
                containers: HashMap::new(),
                peers: HashMap::new(),
                hosts: HashMap::new(),
            }),
        }
    }
}

impl crate::pipeline::Names for Names {
    fn process(&mut self, pid: u32) -> Option<String> {
        self.processes.process(pid)
    }

    fn workload(&mut self, pid: u32, cgroup: u64) -> Belongs {
        match &mut self.pods {
            Some(pods) => pods.workload(pid, cgroup),
            None => Belongs::to_host(),
        }
    }

    fn peer(&mut self, peer: &Address) -> Belongs {
        match (&mut self.pods, peer) {
            (Some(pods), Address::Inet(address)) => pods.peer(address.ip().to_canonical()),
            _ => Belongs::to_host(),
        }
    }
}

impl PodNames {
    fn workload(&mut self, pid: u32, cgroup: u64) -> Belongs {
        let Some(found) = self.find(pid, cgroup) else {
            return Belongs::to_host();
        };
        let key = (found.pod_uid, found.container_id);
        if let Some(belongs) = self.containers.get(&key) {
            if belongs.workload().is_none() {
                self.source.state.count_unnamed();
            }
            return belongs.clone();
        }
        if self.containers.len() >= limits::CONTAINERS_KNOWN {
            // Those that are in use live on in their connections.
            self.containers.clear();
            self.source.state.count_containers_forgotten();
        }
        let belongs = Belongs::to_pod(&key.0, &key.1);
        if !self.source.waiting.container(&belongs, &self.source.pods) {
            self.source.state.count_unnamed();
        }
        self.containers.insert(key, belongs.clone());
        belongs
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

    fn peer(&mut self, address: IpAddr) -> Belongs {
        if address.is_loopback() || address.is_unspecified() {
            return Belongs::to_host();
        }
        let version = self.source.pods.version();
        let now = Instant::now();
        if let Some(peer) = self.peers.get(&address)
            && peer.version == version
            && now.duration_since(peer.at) < PEER_AGE
        {
            return peer.belongs.clone();
        }
        if self.peers.len() >= limits::PEERS_KNOWN {
            self.peers
                .retain(|_, peer| now.duration_since(peer.at) < PEER_AGE);
        }
        let belongs = self.source.waiting.address(address, &self.source.pods);
        if self.peers.len() < limits::PEERS_KNOWN {
            let belongs = belongs.clone();
            self.peers.insert(
                address,
                Peer {
                    version,
                    at: now,
                    belongs,
                },
            );
        }
        belongs
    }
}

#[cfg(test)]
mod tests {
    use super::super::pod::{Container, Pod};
    use super::*;
    use crate::pipeline::Names as _;

    #[test]
    fn own_process_is_of_the_host_where_no_pod_is() {
        let mut names = Names::new(None);
        assert!(names.process(std::process::id()).is_some());
        assert!(!names.workload(std::process::id(), 0).in_pod());
        let source = Source::of_test();
        let mut names = Names::new(Some(source));
        for cgroup in [0, 1] {
            assert!(!names.workload(std::process::id(), cgroup).in_pod());
        }
        // As the kernel says it.
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = container::v2_path(&text).and_then(|path| super::super::cgroup::id_of(path).ok());
        for _ in 0..2 {
            assert!(
                !names
                    .workload(std::process::id(), own.unwrap_or(1))
                    .in_pod()
            );
        }
        if let Some(own) = own {
            let pods = names.pods.as_ref().unwrap();
            let known = pods.ids.known(own).is_some() || pods.hosts.len() == 1;
            assert!(known, "it is looked up each time");
        }
    }

    #[test]
    fn peers_share_what_is_known_of_their_address_until_a_pod_changes() {
        let source = Source::of_test();
        let pods = std::sync::Arc::clone(&source.pods);
        let waiting = std::sync::Arc::clone(&source.waiting);
        let mut names = Names::new(Some(source));
        let at = |address: &str| Address::Inet(address.parse().unwrap());
        let early = names.peer(&at("10.0.0.1:5000"));
        let again = names.peer(&at("[::ffff:10.0.0.1]:5001"));
        pods.put(Pod {
            name: "cart".into(),
            addresses: vec!["10.0.0.1".parse().unwrap()],
            containers: vec![Container::default()],
            ..Pod::default()
        });
        let late = names.peer(&at("10.0.0.1:5002"));
        assert_eq!(late.workload().unwrap().pod, "cart");
        assert!(early.workload().is_none());
        waiting.name(&pods);
        assert_eq!(early.workload(), late.workload());
        assert_eq!(again.workload(), late.workload());
        assert!(!names.peer(&at("127.0.0.1:1")).in_pod());
        assert!(!names.peer(&Address::Unix("/run/x".into())).in_pod());
    }
}
