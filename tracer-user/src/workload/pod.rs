//! Pods as Kubernetes names them, and the part of one that a connection end belongs to.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// What made a pod and keeps it running.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job` or another kind; empty for a pod of its own.
    pub kind: String,
    /// Its name. Of a Deployment's pod it is the Deployment's, not the ReplicaSet's.
    pub name: String,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name in the pod's specification.
    pub name: String,
    /// Its id at the container runtime, without the runtime's name before it; empty until it has been started.
    pub id: String,
}

/// A pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its uid, as its cgroup has it: the API server's, with dashes; of a static pod the kubelet's, without.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node that it runs on.
    pub node: String,
    /// What made it.
    pub owner: Owner,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses, none once all its containers have ended for good; of a pod in the host's network the
    /// node's, which name no pod.
    pub addresses: Vec<IpAddr>,
    /// It uses the host's network.
    pub host_network: bool,
    /// When the kubelet took it on, in seconds since 1970; 0 is unknown. No other pod can have had one of its
    /// addresses after that.
    pub started: i64,
    /// `containers` names all of its specification, started or not: the API server told them.
    pub is_specified: bool,
    /// Its containers: of the specification, init containers and ephemeral ones too.
    pub containers: Vec<Container>,
}

/// Where a connection end belongs to in Kubernetes: its labels in metrics and its keys in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Workload {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// The container's name; empty while it is not known, and at a peer that is known by its address alone.
    pub container: String,
    /// The container's id; empty as the name is.
    pub container_id: String,
    /// The node.
    pub node: String,
    /// What made the pod.
    pub owner: Owner,
}

impl Workload {
    /// The container `id` of `pod`; an empty id is none of its containers. An id that is not known yet is that of the
    /// only container, where there is but one.
    #[must_use]
    pub fn of(pod: &Pod, id: &str) -> Workload {
        let mut all = pod.containers.iter();
        let known = all.clone().find(|container| container.id == id);
        let alone = || {
            let first = all.next()?;
            all.all(|other| other.name == first.name).then_some(first)
        };
        let container = known.or_else(alone).filter(|_| !id.is_empty());
        Workload {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            pod_uid: pod.uid.clone(),
            container: container.map_or_else(String::new, |container| container.name.clone()),
            container_id: id.to_owned(),
            node: pod.node.clone(),
            owner: pod.owner.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_is_named_by_its_id_or_by_being_the_only_one() {
        let pod = |containers: &[(&str, &str)]| Pod {
            containers: containers
                .iter()
                .map(|&(name, id)| Container {
                    name: name.into(),
                    id: id.into(),
                })
                .collect(),
            ..Pod::default()
        };
        for (containers, id, want) in [
            (&[("app", "c1"), ("envoy", "c2")][..], "c2", "envoy"),
            (&[("app", ""), ("envoy", "")], "c2", ""),
            (&[("app", ""), ("envoy", "c2")], "c1", ""),
            // The kubelet has not told its id yet, or tells the one before a restart.
            (&[("app", "")], "c1", "app"),
            (&[("app", "c2"), ("app", "c1")], "c3", "app"),
            (&[("app", "c1")], "", ""),
            (&[], "c1", ""),
        ] {
            let found = Workload::of(&pod(containers), id);
            assert_eq!(found.container, want, "{containers:?} {id}");
        }
    }
}
