//! The workload that a connection end belongs to, and a handle to it, which may get its name later: a connection
//! is often opened before the API server has told of its container.

use std::sync::{Arc, PoisonError, RwLock, Weak};

/// What made a pod and keeps it running.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job` or another kind; empty for a pod of its own.
    pub kind: String,
    /// Its name. Of a Deployment's pod it is the Deployment's, not the ReplicaSet's.
    pub name: String,
}

/// Where a connection end belongs to in Kubernetes: its labels in metrics and its keys in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Workload {
    pub namespace: String,
    pub pod: String,
    pub pod_uid: String,
    /// The container's name; empty while it is not known, and at a peer that is known by its address alone.
    pub container: String,
    /// The container's id; empty as the name is.
    pub container_id: String,
    pub node: String,
    /// What made the pod.
    pub owner: Owner,
}

/// A handle to the workload that a connection end belongs to. Clones are one: what is told to one of them, all of them know.
#[derive(Clone, Debug, Default)]
pub struct WorkloadHandle(Option<Arc<HandleTarget>>);

#[derive(Debug)]
struct HandleTarget {
    pod_uid: String,
    container_id: String,
    named: RwLock<Option<Arc<Workload>>>,
    /// What several share; what is told to one of them alone counts more.
    shared: Option<Arc<HandleTarget>>,
}

impl WorkloadHandle {
    /// To no pod: a process of the host, or an address that is none of a pod's.
    #[must_use]
    pub const fn to_host() -> WorkloadHandle {
        WorkloadHandle(None)
    }

    /// To a pod of which the names are not known yet. Empty ids are unknown.
    #[must_use]
    pub fn to_pod(pod_uid: &str, container_id: &str) -> WorkloadHandle {
        WorkloadHandle(Some(Arc::new(HandleTarget {
            pod_uid: pod_uid.to_owned(),
            container_id: container_id.to_owned(),
            named: RwLock::new(None),
            shared: None,
        })))
    }

    /// The same, but what is told to this one the others do not know.
    #[must_use]
    pub fn apart(&self) -> WorkloadHandle {
        WorkloadHandle(Some(Arc::new(HandleTarget {
            pod_uid: self.pod_uid().to_owned(),
            container_id: self.container_id().to_owned(),
            named: RwLock::new(None),
            shared: self.0.clone(),
        })))
    }

    /// To what has an address that may turn out to be a pod's.
    #[must_use]
    pub fn to_address() -> WorkloadHandle {
        WorkloadHandle::to_pod("", "")
    }

    /// It belongs to a pod, named or not. An address that may yet turn out to be a pod's is none.
    #[must_use]
    pub fn in_pod(&self) -> bool {
        self.0.as_ref().is_some_and(|target| {
            !target.pod_uid.is_empty()
                || !target.container_id.is_empty()
                || target.named().is_some()
        })
    }

    /// The pod's uid; empty when it is not known or there is no pod.
    #[must_use]
    pub fn pod_uid(&self) -> &str {
        self.0.as_ref().map_or("", |target| &target.pod_uid)
    }

    /// The container's id; empty when it is not known or there is none.
    #[must_use]
    pub fn container_id(&self) -> &str {
        self.0.as_ref().map_or("", |target| &target.container_id)
    }

    /// The names, as far as they are known by now. Once told they stay, also when the pod has gone.
    #[must_use]
    pub fn workload(&self) -> Option<Arc<Workload>> {
        self.0.as_ref()?.named()
    }

    /// Tells the names, or better ones.
    pub fn name(&self, workload: Arc<Workload>) {
        if let Some(target) = &self.0 {
            *target.named.write().unwrap_or_else(PoisonError::into_inner) = Some(workload);
        }
    }

    /// A handle that does not keep the workload alive; None for the host, which is no workload.
    #[must_use]
    pub fn downgrade(&self) -> Option<WeakWorkloadHandle> {
        self.0
            .as_ref()
            .map(|target| WeakWorkloadHandle(Arc::downgrade(target)))
    }
}

impl HandleTarget {
    fn named(&self) -> Option<Arc<Workload>> {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        let own = named.clone();
        drop(named);
        own.or_else(|| self.shared.as_ref()?.named())
    }
}

/// A handle as long as somebody else has one.
#[derive(Clone, Debug)]
pub struct WeakWorkloadHandle(Weak<HandleTarget>);

impl WeakWorkloadHandle {
    /// The handle, unless everybody has dropped theirs.
    #[must_use]
    pub fn upgrade(&self) -> Option<WorkloadHandle> {
        self.0.upgrade().map(|target| WorkloadHandle(Some(target)))
    }

    /// Somebody still has a handle.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_come_later_are_known_to_every_clone() {
        let early = WorkloadHandle::to_pod("uid-1", "c1");
        let late = early.clone();
        assert!(early.in_pod() && early.workload().is_none());
        late.name(Arc::new(Workload {
            pod: "cart-1".into(),
            ..Workload::default()
        }));
        assert_eq!(early.workload().unwrap().pod, "cart-1");
        assert_eq!((early.pod_uid(), early.container_id()), ("uid-1", "c1"));
    }

    #[test]
    fn what_is_told_to_one_apart_the_others_do_not_know() {
        let pod = |name: &str| {
            Arc::new(Workload {
                pod: name.into(),
                ..Workload::default()
            })
        };
        let shared = WorkloadHandle::to_address();
        let (one, other) = (shared.apart(), shared.apart());
        one.name(pod("cart"));
        assert!(shared.workload().is_none() && other.workload().is_none() && !other.in_pod());
        shared.name(pod("node"));
        assert_eq!(one.workload().unwrap().pod, "cart");
        assert_eq!(other.workload().unwrap().pod, "node");
        assert!(!WorkloadHandle::to_host().apart().in_pod());
    }

    #[test]
    fn host_processes_never_get_a_name() {
        let host = WorkloadHandle::to_host();
        host.name(Arc::new(Workload::default()));
        assert!(!host.in_pod() && host.workload().is_none() && host.pod_uid().is_empty());
    }
}
