//! The labels of a connection end.

use h2trace_core::attribution::WorkloadHandle;
use h2trace_core::pipeline::ConnectionInfo;

use crate::export::labels::{OTHER, UNKNOWN};
use crate::export::metrics::END_LABELS;
use crate::plain::plain;

/// Where the pod stands in [`END_LABELS`].
const POD: usize = 2;

/// Values of [`END_LABELS`], in their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EndNames([Box<str>; END_LABELS.len()]);

impl EndNames {
    /// A process of the host, or a pod as far as it is known; what is not is [`UNKNOWN`].
    pub(super) fn of(info: &ConnectionInfo) -> EndNames {
        let comm = info.comm.as_str();
        if !info.workload.in_pod() {
            return EndNames::all(comm, "");
        }
        let Some(workload) = info.workload.workload() else {
            return EndNames::all(comm, UNKNOWN);
        };
        let container = match workload.container.as_str() {
            "" => UNKNOWN,
            name => name,
        };
        let owner = &workload.owner;
        EndNames(
            [
                comm,
                &workload.namespace,
                &workload.pod,
                container,
                &owner.kind,
                &owner.name,
            ]
            .map(value),
        )
    }

    /// What stands for ends beyond the bound.
    pub(super) fn other(in_pod: bool) -> EndNames {
        EndNames::all(OTHER, if in_pod { OTHER } else { "" })
    }

    fn all(comm: &str, of_pod: &str) -> EndNames {
        let mut names = [(); END_LABELS.len()].map(|()| Box::from(of_pod));
        names[0] = value(comm);
        EndNames(names)
    }

    /// The same without the pod: all pods of an owner are one.
    pub(super) fn of_owner(&self) -> EndNames {
        let mut names = self.clone();
        names.0[POD] = Box::default();
        names
    }

    /// As they stand in the exposition.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in END_LABELS.iter().zip(&self.0) {
            super::text::label(&mut text, name, value);
        }
        text
    }
}

/// A label's value. Names that differ only in what is not shown are one, as no series may come twice.
fn value(name: &str) -> Box<str> {
    Box::from(plain(name))
}

/// Nothing more is to come of its names: it is no pod's, or pod and container are known.
pub(super) fn settled(handle: &WorkloadHandle) -> bool {
    !handle.in_pod()
        || handle
            .workload()
            .is_some_and(|workload| !workload.pod.is_empty() && !workload.container.is_empty())
}
