//! The pod of a connection end, in every line that names one. The same keys everywhere; all null where there is no
//! pod, or its names are not known.

use std::sync::Arc;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use h2trace_core::attribution::{Workload, WorkloadHandle};
use h2trace_core::pipeline::HopEnd;

/// `namespace`, `pod` and so on, to be flattened into what they are said of.
pub(crate) struct PodFields {
    named: Option<Arc<Workload>>,
    handle: WorkloadHandle,
}

impl PodFields {
    /// Of a connection end.
    pub(crate) fn new(handle: &WorkloadHandle) -> Self {
        Self {
            named: handle.workload(),
            handle: handle.clone(),
        }
    }

    /// Of the other end of a proxy's connection: what is known of it where that end is followed too, else by its
    /// address.
    pub(crate) fn of_peer(end: &HopEnd) -> Self {
        let own = end.peer.as_deref().map(|peer| &peer.workload);
        Self::new(
            own.filter(|own| own.in_pod())
                .unwrap_or(&end.info.peer_workload),
        )
    }

    /// Of a peer; None where no pod is known.
    pub(crate) fn of_address(handle: &WorkloadHandle) -> Option<Self> {
        handle.workload().map(|named| Self {
            named: Some(named),
            handle: handle.clone(),
        })
    }
}

impl Serialize for PodFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let named = self.named.as_deref();
        let name = |of: fn(&Workload) -> &str| named.map(of).filter(|name| !name.is_empty());
        let id = |id: &'_ str| (!id.is_empty()).then(|| id.to_owned());
        let mut fields = serializer.serialize_struct("pod", 8)?;
        fields.serialize_field("namespace", &name(|of| &of.namespace))?;
        fields.serialize_field("pod", &name(|of| &of.pod))?;
        fields.serialize_field("container", &name(|of| &of.container))?;
        fields.serialize_field("node", &name(|of| &of.node))?;
        fields.serialize_field("owner_kind", &name(|of| &of.owner.kind))?;
        fields.serialize_field("owner", &name(|of| &of.owner.name))?;
        fields.serialize_field(
            "pod_uid",
            &id(self.handle.pod_uid()).or(name(|of| &of.pod_uid).map(str::to_owned)),
        )?;
        fields.serialize_field("container_id", &id(self.handle.container_id()))?;
        fields.end()
    }
}
