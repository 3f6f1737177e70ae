//! Which workload a process or a cgroup is: what `/proc`, the cgroup file system and Kubernetes say.

pub mod attribution;
pub mod cgroup;
pub mod container;
mod container_ids;
mod cri;
pub(crate) mod fields;
pub mod kubernetes;
pub mod netns;
pub mod pod;
pub mod pods;
pub mod process;
pub mod select;
pub mod waiting;
