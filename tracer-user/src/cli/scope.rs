//! What is traced: the arguments looked up, and said in words.

use anyhow::bail;

use super::args::FilterArgs;
use crate::workload::{cgroup, netns, process};

/// The filter, with all names resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Processes, with the children that they have now. (The kernel programs follow forks.)
    pub pids: Vec<u32>,
    /// Ids of v2 cgroups.
    pub cgroups: Vec<u64>,
    /// Inodes of network namespaces.
    pub netns: Vec<u32>,
    /// TCP ports.
    pub ports: Vec<u16>,
    /// Names of processes.
    pub comms: Vec<String>,
    /// The processes that were named, without children.
    roots: Vec<u32>,
    /// The cgroups as they were named.
    cgroup_names: Vec<String>,
}

impl Scope {
    /// Looks everything up.
    ///
    /// # Errors
    /// A process does not exist, a cgroup or network namespace cannot be read; with the remedy.
    pub fn new(args: &FilterArgs) -> anyhow::Result<Self> {
        for pid in &args.pid {
            process::check(*pid)?;
        }
        if !args.pid.is_empty() && !process::in_initial_pid_namespace() {
            bail!(
                "--pid needs the host's process ids, and h2trace runs in a pid namespace of its own \
                 (run it on the host, with hostPID: true, or use --cgroup)"
            );
        }
        let mut pids = args.pid.clone();
        pids.extend(process::descendants(&args.pid));
        Ok(Self {
            pids,
            cgroups: args
                .cgroup
                .iter()
                .map(|given| cgroup::id_of(given))
                .collect::<Result<_, _>>()?,
            netns: args
                .netns
                .iter()
                .map(|given| netns::inode_of(given))
                .collect::<Result<_, _>>()?,
            ports: args.port.clone(),
            comms: args.comm.clone(),
            roots: args.pid.clone(),
            cgroup_names: args.cgroup.clone(),
        })
    }

    /// True when nothing is filtered.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.pids.is_empty()
            && self.cgroups.is_empty()
            && self.netns.is_empty()
            && self.ports.is_empty()
            && self.comms.is_empty()
    }

    /// What is traced, in words, as it is now: `3 processes`, `port 50051 of envoy`, `all processes`.
    #[must_use]
    pub fn in_words(&self) -> String {
        if self.is_all() {
            return "all processes".to_owned();
        }
        let mut parts = Vec::new();
        if !self.roots.is_empty() {
            let n_roots = self
                .roots
                .iter()
                .filter(|pid| process::lives(**pid))
                .count();
            let n_now = n_roots + process::descendants(&self.roots).len();
            parts.push(format!(
                "{n_now} {}",
                if n_now == 1 { "process" } else { "processes" }
            ));
        }
        let mut named = |one: &str, names: Vec<String>| {
            if !names.is_empty() {
                parts.push(format!("{one} {}", names.join(" or ")));
            }
        };
        named("process name", self.comms.clone());
        named("cgroup", self.cgroup_names.clone());
        named(
            "network namespace",
            self.netns.iter().map(ToString::to_string).collect(),
        );
        named("port", self.ports.iter().map(ToString::to_string).collect());
        parts.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_is_said_in_words() {
        assert_eq!(Scope::default().in_words(), "all processes");
        let scope = Scope {
            ports: vec![50_051, 8_080],
            comms: vec!["envoy".into()],
            ..Scope::default()
        };
        assert_eq!(
            scope.in_words(),
            "process name envoy and port 50051 or 8080"
        );
        let own = FilterArgs {
            pid: vec![std::process::id()],
            ..FilterArgs::default()
        };
        let scope = Scope::new(&own).unwrap();
        assert!(scope.pids.contains(&std::process::id()));
        assert!(scope.in_words().contains("process"));
    }
}
