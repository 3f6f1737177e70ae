//! Which workload a process or a cgroup is: what `/proc`, the cgroup file system and Kubernetes say.

#![cfg_attr(
    not(feature = "kubernetes"),
    allow(dead_code, reason = "what fills the pods is not built")
)]

pub mod attribution;
pub mod cgroup;
pub mod container;
mod container_ids;
#[cfg(feature = "kubernetes")]
mod cri;
pub(crate) mod fields;
pub mod kubernetes;
pub mod netns;
pub mod pod;
pub mod pods;
pub mod process;
pub mod select;
pub mod waiting;
