//! The pods of this node as the container runtime knows them (CRI): for when the API server is not there, or slower
//! than their first connection. It knows no owners.

mod client;
mod messages;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use h2trace_core::limits;

use self::client::CriClient;
use self::messages::{All, Containers, Sandbox, Sandboxes, StatusIs, StatusOf};
use super::kubernetes::state::{Reason, Trouble};
use super::pod::{Container, Pod};

/// Where the usual runtimes listen.
const SOCKETS: [&str; 3] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
];

/// `SANDBOX_READY`.
const READY: i32 = 0;

/// `NamespaceMode::NODE`.
const OF_NODE: i32 = 2;

/// Labels that the kubelet adds to those of the pod.
const OWN_LABELS: &str = "io.kubernetes.";

/// Asks the container runtime.
#[derive(Debug)]
pub(super) struct RuntimeClient {
    socket: Option<PathBuf>,
    node: String,
    /// What was asked of each sandbox once: it does not change.
    networks: HashMap<String, Addresses>,
}

#[derive(Clone, Debug, Default)]
struct Addresses {
    addresses: Vec<IpAddr>,
    host_network: bool,
}

impl RuntimeClient {
    pub(super) fn new(socket: Option<PathBuf>, node: &str) -> RuntimeClient {
        RuntimeClient {
            socket,
            node: node.to_owned(),
            networks: HashMap::new(),
        }
    }

    /// Something listens at one of the usual places.
    pub(super) fn is_there() -> bool {
        SOCKETS.iter().any(|socket| Path::new(socket).exists())
    }

    /// The socket to be asked; None when nothing listens at the usual places.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        if let Some(socket) = &self.socket {
            return Some(socket.clone());
        }
        let found = SOCKETS.iter().find(|socket| Path::new(socket).exists());
        found.map(PathBuf::from)
    }

    /// What it means that there is none.
    pub(super) fn missing() -> Trouble {
        Trouble {
            reason: Reason::NoAccess,
            said: format!(
                "no container runtime is there to name pods: none of {} exists (give --cri-socket PATH)",
                SOCKETS.join(", ")
            ),
        }
    }

    /// All pods that run. Their addresses, when they are wanted, take a call each once.
    ///
    /// # Errors
    /// The runtime cannot be asked.
    pub(super) async fn pods(
        &mut self,
        socket: &Path,
        with_addresses: bool,
    ) -> Result<Vec<Pod>, Trouble> {
        let trouble = |why: String| Trouble {
            reason: Reason::Unreachable,
            said: format!(
                "the container runtime at {} cannot be asked: {why}",
                socket.display()
            ),
        };
        let mut client = CriClient::connect(socket).await.map_err(trouble)?;
        let sandboxes: Sandboxes = client
            .call("ListPodSandbox", &All {})
            .await
            .map_err(trouble)?;
        let containers: Containers = client
            .call("ListContainers", &All {})
            .await
            .map_err(trouble)?;
        let ready: Vec<Sandbox> = sandboxes
            .items
            .into_iter()
            .filter(|sandbox| sandbox.state == READY)
            .take(limits::PODS)
            .collect();
        if with_addresses {
            let lives: HashSet<&str> = ready.iter().map(|sandbox| sandbox.id.as_str()).collect();
            self.networks.retain(|id, _| lives.contains(id.as_str()));
            for sandbox in &ready {
                if self.networks.contains_key(&sandbox.id) {
                    continue;
                }
                let of = StatusOf {
                    sandbox_id: sandbox.id.clone(),
                };
                // It may have gone since the list.
                if let Ok(is) = client.call::<StatusIs>("PodSandboxStatus", &of).await
                    && let Some(addresses) = addresses(is)
                {
                    self.networks.insert(sandbox.id.clone(), addresses);
                }
            }
        }
        let mut by_sandbox: HashMap<String, Vec<Container>> = HashMap::new();
        for container in containers.containers {
            let of = by_sandbox.entry(container.sandbox_id).or_default();
            of.push(Container {
                name: container.metadata.unwrap_or_default().name,
                id: container.id,
            });
        }
        Ok(ready
            .into_iter()
            .filter_map(|sandbox| {
                let containers = by_sandbox.remove(&sandbox.id).unwrap_or_default();
                self.pod(sandbox, containers)
            })
            .collect())
    }

    fn pod(&self, sandbox: Sandbox, containers: Vec<Container>) -> Option<Pod> {
        let metadata = sandbox
            .metadata
            .filter(|metadata| !metadata.uid.is_empty())?;
        let network = self.networks.get(&sandbox.id);
        Some(Pod {
            uid: metadata.uid,
            namespace: metadata.namespace,
            name: metadata.name,
            node: self.node.clone(),
            labels: sandbox
                .labels
                .into_iter()
                .filter(|(name, _)| !name.starts_with(OWN_LABELS))
                .collect(),
            addresses: network
                .map(|network| network.addresses.clone())
                .unwrap_or_default(),
            host_network: network.is_some_and(|network| network.host_network),
            started: sandbox.created_at / 1_000_000_000,
            containers,
            ..Pod::default()
        })
    }
}

/// None while the network is not there yet.
fn addresses(is: StatusIs) -> Option<Addresses> {
    let status = is.status?;
    let options = status.linux.and_then(|linux| linux.namespaces?.options);
    let host_network = options.is_some_and(|options| options.network == OF_NODE);
    let network = status.network.unwrap_or_default();
    let mut addresses = Vec::new();
    for ip in std::iter::once(network.ip).chain(network.additional.into_iter().map(|ip| ip.ip)) {
        if let Ok(ip) = ip.parse() {
            addresses.push(ip);
        }
    }
    (host_network || !addresses.is_empty()).then_some(Addresses {
        addresses,
        host_network,
    })
}

#[cfg(test)]
mod tests;
