//! Pods as Kubernetes names them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use h2trace_core::attribution::{Owner, Workload};

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
    /// Of a static pod: the uid of its object at the API server, which says only that `uid` is the kubelet's.
    pub mirror: Option<String>,
    /// All its containers have ended for good.
    pub is_over: bool,
    pub namespace: String,
    pub name: String,
    /// The node that it runs on.
    pub node: String,
    /// What made it.
    pub owner: Owner,
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

impl Pod {
    /// The uid of its object at the API server.
    #[must_use]
    pub fn object(&self) -> &str {
        self.mirror.as_deref().unwrap_or(&self.uid)
    }

    /// Its container `id` as the workload of a connection end; an empty id is none of its containers. An id that is not known yet is that of the
    /// only container, where there is but one.
    #[must_use]
    pub fn workload(&self, id: &str) -> Workload {
        let mut all = self.containers.iter();
        let known = all.clone().find(|container| container.id == id);
        let alone = || {
            let first = all.next()?;
            all.all(|other| other.name == first.name).then_some(first)
        };
        let container = known.or_else(alone).filter(|_| !id.is_empty());
        Workload {
            namespace: self.namespace.clone(),
            pod: self.name.clone(),
            pod_uid: self.uid.clone(),
            container: container.map_or_else(String::new, |container| container.name.clone()),
            container_id: id.to_owned(),
            node: self.node.clone(),
            owner: self.owner.clone(),
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
            let found = pod(containers).workload(id);
            assert_eq!(found.container, want, "{containers:?} {id}");
        }
    }
}
