//! Which workload a process or cgroup is.
