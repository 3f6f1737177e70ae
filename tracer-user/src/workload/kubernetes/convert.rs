//! Pods as the API server tells them, and what of it is kept. The other fields are never stored: a pod's
//! specification may hold secrets, and is large.

use std::collections::BTreeMap;
use std::net::IpAddr;

use h2trace_core::attribution::Owner;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use super::super::pod::{Container, Pod};

/// An answer to a list of pods.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    pub(super) metadata: ListMeta,
    #[serde(default)]
    pub(super) items: Vec<PodObject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMeta {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) more: String,
}

/// A pod as the API server tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodObject {
    pub(super) metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    name: String,
    namespace: String,
    uid: String,
    pub(super) resource_version: String,
    creation_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<Annotations>,
    owner_references: Option<Vec<Reference>>,
}

/// The two of them that name a static pod's uid.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    /// The uid that the kubelet gave it, which its cgroup has: the API server's copy has another.
    #[serde(rename = "kubernetes.io/config.mirror")]
    mirror: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Reference {
    kind: String,
    name: String,
    controller: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    host_network: bool,
    containers: Option<Vec<NamedObject>>,
    init_containers: Option<Vec<NamedObject>>,
    ephemeral_containers: Option<Vec<NamedObject>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NamedObject {
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<Ip>>,
    start_time: Option<Time>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Ip {
    ip: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    last_state: Option<LastState>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LastState {
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Terminated {
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

impl PodObject {
    /// The uid of the object.
    pub(super) fn uid(&self) -> &str {
        &self.metadata.uid
    }

    /// The uid of the static pod that this is the mirror of. Anybody who makes pods may say so, but the kubelet alone
    /// makes them the node's.
    fn mirrored(&self) -> Option<&str> {
        let annotations = self.metadata.annotations.as_ref()?;
        let of_node = self
            .metadata
            .owner_references
            .iter()
            .flatten()
            .any(|owner| owner.kind == "Node" && owner.name == self.spec.node_name);
        let mirrored = annotations.mirror.as_deref()?;
        (of_node && !mirrored.is_empty()).then_some(mirrored)
    }

    /// What is kept of it.
    pub(super) fn pod(self) -> Pod {
        let (uid, mirror) = match self.mirrored() {
            Some(uid) => (uid.to_owned(), Some(self.metadata.uid.clone())),
            None => (self.metadata.uid.clone(), None),
        };
        let over = matches!(self.status.phase.as_str(), "Succeeded" | "Failed");
        // All containers of a pod that is over have ended for good: its addresses are free for others.
        let addresses = if over {
            Vec::new()
        } else {
            addresses(&self.status)
        };
        let started = self.status.start_time.as_ref();
        let started = started.or(self.metadata.creation_timestamp.as_ref());
        let labels = self.metadata.labels.unwrap_or_default();
        Pod {
            owner: owner(self.metadata.owner_references.as_deref(), &labels),
            uid,
            mirror,
            is_over: over,
            namespace: self.metadata.namespace,
            name: self.metadata.name,
            node: self.spec.node_name.clone(),
            addresses,
            host_network: self.spec.host_network,
            is_specified: true,
            started: started.map_or(0, |time| time.0.as_second()),
            containers: containers(&self.spec, &self.status),
            labels,
        }
    }
}

fn addresses(status: &Status) -> Vec<IpAddr> {
    let all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in std::iter::once(status.pod_ip.as_str()).chain(all) {
        if let Ok(address) = address.parse()
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}

/// All that the specification names, with the ids that the status has, and those that ran before a restart.
fn containers(spec: &Spec, status: &Status) -> Vec<Container> {
    let specified = [
        &spec.init_containers,
        &spec.containers,
        &spec.ephemeral_containers,
    ];
    let statuses: Vec<&ContainerStatus> = [
        &status.init_container_statuses,
        &status.container_statuses,
        &status.ephemeral_container_statuses,
    ]
    .into_iter()
    .flatten()
    .flatten()
    .collect();
    let mut containers = Vec::new();
    for named in specified.into_iter().flatten().flatten() {
        let of_name = statuses.iter().find(|status| status.name == named.name);
        let container = |id: &str| Container {
            name: named.name.clone(),
            id: id.to_owned(),
        };
        let now = of_name.and_then(|status| bare_id(status.container_id.as_deref()));
        containers.push(container(now.unwrap_or_default()));
        let before = of_name
            .and_then(|status| status.last_state.as_ref()?.terminated.as_ref())
            .and_then(|terminated| bare_id(terminated.container_id.as_deref()));
        if let Some(before) = before
            && Some(before) != now
        {
            containers.push(container(before));
        }
    }
    containers
}

/// `containerd://ID` without the runtime's name.
fn bare_id(id: Option<&str>) -> Option<&str> {
    let id = id?;
    Some(id.split_once("://").map_or(id, |(_, id)| id)).filter(|id| !id.is_empty())
}

/// What made it: of a Deployment's pod the Deployment, which names its ReplicaSets by a hash that the pod
/// carries as a label.
fn owner(references: Option<&[Reference]>, labels: &BTreeMap<String, String>) -> Owner {
    let references = references.unwrap_or_default();
    let Some(reference) = references
        .iter()
        .find(|reference| reference.controller == Some(true))
    else {
        return Owner::default();
    };
    if reference.kind == "ReplicaSet"
        && let Some(hash) = labels.get("pod-template-hash")
        && let Some(deployment) = reference
            .name
            .strip_suffix(hash.as_str())
            .and_then(|name| name.strip_suffix('-'))
        && !deployment.is_empty()
    {
        return Owner {
            kind: "Deployment".to_owned(),
            name: deployment.to_owned(),
        };
    }
    Owner {
        kind: reference.kind.clone(),
        name: reference.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(told: serde_json::Value) -> Pod {
        serde_json::from_value::<PodObject>(told).unwrap().pod()
    }

    #[test]
    fn running_pod_of_a_deployment_has_all_its_names() {
        let pod = pod(json!({
            "kind": "Pod",
            "metadata": {
                "name": "cart-7d9f8b6c5-x2x4z", "namespace": "shop", "uid": "2c48913c-b29f-11e7-9350-020968147796",
                "resourceVersion": "77", "creationTimestamp": "2026-11-23T00:00:00Z",
                "labels": { "app": "cart", "pod-template-hash": "7d9f8b6c5" },
                "annotations": { "secret": "not kept" },
                "managedFields": [{ "manager": "kubelet", "fieldsV1": { "f:status": {} } }],
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cart-7d9f8b6c5",
                    "uid": "x", "controller": true, "blockOwnerDeletion": true }],
            },
            "spec": {
                "nodeName": "n1",
                "containers": [{ "name": "app", "image": "x" }, { "name": "sidecar" }],
                "initContainers": [{ "name": "wait" }],
                "ephemeralContainers": [{ "name": "debugger" }],
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.7", "podIPs": [{ "ip": "10.0.0.7" }, { "ip": "fd00::7" }],
                "startTime": "2026-11-23T00:00:05Z",
                "containerStatuses": [
                    { "name": "app", "containerID": "containerd://aa",
                      "lastState": { "terminated": { "containerID": "containerd://a0", "exitCode": 1 } } },
                    { "name": "sidecar", "state": { "waiting": { "reason": "ContainerCreating" } } },
                ],
                "initContainerStatuses": [{ "name": "wait", "containerID": "containerd://bb", "lastState": {} }],
                "ephemeralContainerStatuses": [{ "name": "debugger", "containerID": "cri-o://cc" }],
            },
        }));
        let ids: Vec<(&str, &str)> = pod
            .containers
            .iter()
            .map(|container| (container.name.as_str(), container.id.as_str()))
            .collect();
        assert_eq!(
            ids,
            [
                ("wait", "bb"),
                ("app", "aa"),
                ("app", "a0"),
                ("sidecar", ""),
                ("debugger", "cc")
            ]
        );
        assert_eq!(
            (pod.owner.kind.as_str(), pod.owner.name.as_str()),
            ("Deployment", "cart")
        );
        assert_eq!(
            pod.addresses,
            ["10.0.0.7", "fd00::7"].map(|ip| ip.parse::<IpAddr>().unwrap())
        );
        assert_eq!((pod.namespace.as_str(), pod.node.as_str()), ("shop", "n1"));
        assert_eq!(pod.started, 1_795_392_005);
        assert!(!pod.host_network);
    }

    #[test]
    fn owners_are_named_by_what_people_made() {
        let labels =
            |hash: &str| BTreeMap::from([("pod-template-hash".to_owned(), hash.to_owned())]);
        let none = BTreeMap::new();
        let reference = |kind: &str, name: &str, controller| {
            vec![Reference {
                kind: kind.into(),
                name: name.into(),
                controller,
            }]
        };
        for (references, labels, want) in [
            (
                reference("ReplicaSet", "cart-55", Some(true)),
                labels("55"),
                ("Deployment", "cart"),
            ),
            // A ReplicaSet of its own.
            (
                reference("ReplicaSet", "cart-55", Some(true)),
                none.clone(),
                ("ReplicaSet", "cart-55"),
            ),
            (
                reference("ReplicaSet", "cart", Some(true)),
                labels("55"),
                ("ReplicaSet", "cart"),
            ),
            (
                reference("ReplicaSet", "-55", Some(true)),
                labels("55"),
                ("ReplicaSet", "-55"),
            ),
            (
                reference("StatefulSet", "db", Some(true)),
                none.clone(),
                ("StatefulSet", "db"),
            ),
            (
                reference("DaemonSet", "agent", Some(true)),
                none.clone(),
                ("DaemonSet", "agent"),
            ),
            (
                reference("Job", "backup-2891", Some(true)),
                none.clone(),
                ("Job", "backup-2891"),
            ),
            (
                reference("Node", "n1", Some(true)),
                none.clone(),
                ("Node", "n1"),
            ),
            // Owned for its deletion, not run by it.
            (reference("Workflow", "w", None), none.clone(), ("", "")),
            (Vec::new(), none, ("", "")),
        ] {
            let owner = owner(Some(&references), &labels);
            assert_eq!(
                (owner.kind.as_str(), owner.name.as_str()),
                want,
                "{references:?}"
            );
        }
    }

    #[test]
    fn static_pod_has_the_uid_of_its_cgroup() {
        const OWN: &str = "2c48913c-b29f-11e7-9350-020968147796";
        const STATIC: &str = "3b5cd5a1e7d64a6b1ad83bf9a1a5e7c2";
        let told = |kind: &str, node: &str| {
            json!({
                "metadata": {
                    "uid": OWN,
                    "annotations": { "kubernetes.io/config.mirror": STATIC, "x": "y" },
                    "ownerReferences": [{ "kind": kind, "name": "n1", "controller": true }],
                },
                "spec": { "nodeName": node },
            })
        };
        let mirror = pod(told("Node", "n1"));
        assert_eq!((mirror.uid.as_str(), mirror.object()), (STATIC, OWN));
        // Who only says so.
        for (kind, node) in [("ReplicaSet", "n1"), ("Node", "n2")] {
            let stranger = pod(told(kind, node));
            assert_eq!((stranger.uid.as_str(), stranger.object()), (OWN, OWN));
        }
    }

    #[test]
    fn pod_that_is_over_has_no_address() {
        for (phase, n) in [
            ("Running", 1),
            ("Pending", 1),
            ("Succeeded", 0),
            ("Failed", 0),
        ] {
            let told = json!({ "status": { "phase": phase, "podIP": "10.0.0.1" } });
            assert_eq!(pod(told).addresses.len(), n, "{phase}");
        }
        assert!(
            pod(json!({ "status": { "podIP": "" } }))
                .addresses
                .is_empty()
        );
    }

    #[test]
    fn null_fields_are_as_missing_ones() {
        let told = json!({ "metadata": { "labels": null, "ownerReferences": null, "annotations": null },
            "spec": { "containers": null }, "status": { "containerStatuses": null, "podIPs": null } });
        let nothing = Pod {
            is_specified: true,
            ..Pod::default()
        };
        assert_eq!(pod(told), nothing);
    }
}
