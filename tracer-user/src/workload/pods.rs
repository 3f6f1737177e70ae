//! The pods of this node as far as they are known: filled by what watches them, read by what names
//! connections and by what selects pods to trace. Shared between threads.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::pod::Pod;

/// The directory of pods.
#[derive(Debug, Default)]
pub struct Pods(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    by_uid: HashMap<String, Arc<Pod>>,
    by_container: HashMap<String, Arc<Pod>>,
    by_address: HashMap<IpAddr, Arc<Pod>>,
    version: u64,
    complete: bool,
}

impl Pods {
    /// Makes the pods these and no others: after a list, or a new one. From then on the directory is
    /// complete.
    pub fn replace(&self, pods: impl IntoIterator<Item = Pod>) {
        let mut known = self.write();
        let mut fresh = Known {
            version: known.version + 1,
            complete: true,
            ..Known::default()
        };
        for pod in pods {
            fresh.put(pod);
        }
        *known = fresh;
    }

    /// A pod is new, or has changed.
    pub fn put(&self, pod: Pod) {
        let mut known = self.write();
        known.version += 1;
        known.put(pod);
    }

    /// A pod has gone.
    pub fn remove(&self, uid: &str) {
        let mut known = self.write();
        known.version += 1;
        known.remove(uid);
    }

    /// Changes whenever a pod does.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.read().version
    }

    /// All pods of the node were told at least once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.read().complete
    }

    /// The pod with this uid.
    #[must_use]
    pub fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        self.read().by_uid.get(uid).cloned()
    }

    /// The pod that has this container, by the container's id.
    #[must_use]
    pub fn by_container(&self, id: &str) -> Option<Arc<Pod>> {
        self.read().by_container.get(id).cloned()
    }

    /// The pod that has this address for itself.
    #[must_use]
    pub fn by_address(&self, address: IpAddr) -> Option<Arc<Pod>> {
        self.read().by_address.get(&address).cloned()
    }

    /// All of them, in no particular order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.read().by_uid.values().cloned().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn put(&mut self, pod: Pod) {
        self.remove(&pod.uid);
        let pod = Arc::new(pod);
        for container in &pod.containers {
            if !container.id.is_empty() {
                self.by_container
                    .insert(container.id.clone(), Arc::clone(&pod));
            }
        }
        if !pod.host_network {
            for address in &pod.addresses {
                self.by_address.insert(*address, Arc::clone(&pod));
            }
        }
        self.by_uid.insert(pod.uid.clone(), pod);
    }

    fn remove(&mut self, uid: &str) {
        let Some(pod) = self.by_uid.remove(uid) else {
            return;
        };
        self.by_container.retain(|_, other| other.uid != pod.uid);
        // An address may have been given to another pod since.
        self.by_address.retain(|_, other| other.uid != pod.uid);
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

    #[test]
    fn pod_is_found_by_uid_container_and_address_until_it_goes() {
        let pods = Pods::default();
        pods.put(pod("u1", "cart-1", "c1", "10.0.0.1"));
        let address = "10.0.0.1".parse().unwrap();
        assert_eq!(pods.by_uid("u1").unwrap().name, "cart-1");
        assert_eq!(pods.by_container("c1").unwrap().name, "cart-1");
        assert_eq!(pods.by_address(address).unwrap().name, "cart-1");
        let version = pods.version();
        pods.remove("u1");
        assert!(pods.version() > version);
        assert!(pods.by_uid("u1").is_none() && pods.by_container("c1").is_none());
        assert!(pods.by_address(address).is_none());
    }

    #[test]
    fn address_that_was_given_away_names_its_new_pod_when_the_old_one_goes() {
        let pods = Pods::default();
        pods.put(pod("u1", "old", "c1", "10.0.0.1"));
        pods.put(pod("u2", "new", "c2", "10.0.0.1"));
        pods.remove("u1");
        assert_eq!(
            pods.by_address("10.0.0.1".parse().unwrap()).unwrap().name,
            "new"
        );
    }

    #[test]
    fn address_of_the_host_names_no_pod() {
        let pods = Pods::default();
        pods.put(Pod {
            host_network: true,
            ..pod("u1", "agent", "c1", "10.0.0.1")
        });
        assert!(pods.by_address("10.0.0.1".parse().unwrap()).is_none());
    }

    #[test]
    fn list_makes_the_directory_complete_and_forgets_what_is_not_in_it() {
        let pods = Pods::default();
        pods.put(pod("u1", "a", "c1", "10.0.0.1"));
        assert!(!pods.is_complete());
        pods.replace([pod("u2", "b", "c2", "10.0.0.2")]);
        assert!(pods.is_complete());
        assert_eq!(pods.all().len(), 1);
        assert!(pods.by_uid("u1").is_none());
    }
}
