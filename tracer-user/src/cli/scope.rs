//! What is traced: the arguments looked up, and said in words.

use anyhow::bail;

use super::args::FilterArgs;
use crate::kernel::Filter;
use crate::workload::{cgroup, netns, process};

/// The filter, with all names resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// What the kernel programs filter by.
    pub filter: Filter,
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
        let filter = Filter {
            pids: args.pid.clone(),
            cgroups: args
                .cgroup
                .iter()
                .map(|given| cgroup::id_of(given))
                .collect::<Result<_, _>>()?,
            pods: None,
            excluded: None,
            netns: args
                .netns
                .iter()
                .map(|given| netns::inode_of(given))
                .collect::<Result<_, _>>()?,
            ports: args.port.clone(),
            comms: args.comm.clone(),
        };
        Ok(Self {
            filter,
            cgroup_names: args.cgroup.clone(),
        })
    }

    /// True when nothing is filtered.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.filter.bits() == 0
    }

    /// What is traced, in words, as it is now: `3 processes`, `port 50051 of envoy`, `all processes`.
    #[must_use]
    pub fn in_words(&self) -> String {
        if self.is_all() {
            return "all processes".to_owned();
        }
        let pids = &self.filter.pids;
        let mut parts = Vec::new();
        if !pids.is_empty() {
            let n_roots = pids.iter().filter(|pid| process::lives(**pid)).count();
            let n_now = n_roots + process::descendants(pids).len();
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
        named("process name", self.filter.comms.clone());
        named("cgroup", self.cgroup_names.clone());
        named(
            "network namespace",
            self.filter.netns.iter().map(ToString::to_string).collect(),
        );
        named(
            "port",
            self.filter.ports.iter().map(ToString::to_string).collect(),
        );
        parts.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_is_said_in_words() {
        assert_eq!(Scope::default().in_words(), "all processes");
        let filter = Filter {
            ports: vec![50_051, 8_080],
            comms: vec!["envoy".into()],
            ..Filter::default()
        };
        let scope = Scope {
            filter,
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
        assert_eq!(scope.filter.pids, [std::process::id()]);
        assert!(scope.in_words().contains("process"));
    }
}
