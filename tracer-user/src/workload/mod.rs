//! Which workload a process or a cgroup is: what `/proc` and the cgroup file system say.

pub mod cgroup;
pub mod netns;
pub mod process;
