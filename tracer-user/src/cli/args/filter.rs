//! What is traced.

use anyhow::bail;
use clap::Args;

use super::PodArgs;
use crate::kernel::Filter;
use crate::session::Selected;
use crate::session::scope::Scope;
use crate::workload::process::{self, COMM_MAX};
use crate::workload::{cgroup, netns};

/// What is traced. Different options are joined by "and", values of one option by "or".
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What to trace (different options: and; several values: or)")]
pub struct FilterArgs {
    /// Only this process and its children
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,

    /// Only processes of this name (/proc/PID/comm, at most 15 bytes)
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = comm)]
    pub comm: Vec<String>,

    /// Only processes of this v2 cgroup and those below it: a path, or an id
    #[arg(long, value_name = "PATH|ID")]
    pub cgroup: Vec<String>,

    /// Only this network namespace: pid:PROCESS, a file such as /run/netns/NAME, or an inode number
    #[arg(long, value_name = "NETNS", value_delimiter = ',')]
    pub netns: Vec<String>,

    /// Only TCP connections with this port at either end
    #[arg(
        long, value_name = "PORT", value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub port: Vec<u16>,

    #[command(flatten)]
    pub pods: PodArgs,
}

impl FilterArgs {
    /// Looks everything up.
    ///
    /// # Errors
    /// A process does not exist, a cgroup or network namespace cannot be read; with the remedy.
    pub fn scope(&self) -> anyhow::Result<Scope> {
        for pid in &self.pid {
            process::check(*pid)?;
        }
        if !self.pid.is_empty() && !process::in_initial_pid_namespace() {
            bail!(
                "--pid needs the host's process ids, and h2trace runs in a pid namespace of its own \
                 (run it on the host, with hostPID: true, or use --cgroup)"
            );
        }
        let selection = self.pods.selection().map_err(anyhow::Error::msg)?;
        let none_yet = |is_filtered: bool| is_filtered.then(Vec::new);
        let filter = Filter {
            pids: self.pid.clone(),
            cgroups: self
                .cgroup
                .iter()
                .map(|given| cgroup::id_of(given))
                .collect::<Result<_, _>>()?,
            pods: none_yet(selection.is_positive()),
            excluded: none_yet(!selection.is_positive() && !selection.is_empty()),
            netns: self
                .netns
                .iter()
                .map(|given| netns::inode_of(given))
                .collect::<Result<_, _>>()?,
            ports: self.port.clone(),
            comms: self.comm.clone(),
        };
        Ok(Scope {
            filter,
            selection,
            selected: Selected::default(),
            cgroup_names: self.cgroup.clone(),
        })
    }
}

fn comm(given: &str) -> Result<String, String> {
    match given.len() {
        0 => Err("a process name is not empty".to_owned()),
        1..=COMM_MAX => Ok(given.to_owned()),
        _ => Err(format!(
            "the kernel keeps {COMM_MAX} bytes of a name: give {:?}",
            given.get(..COMM_MAX).unwrap_or("the first 15 of them")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_names_are_as_long_as_the_kernel_keeps_them() {
        assert_eq!(comm("envoy"), Ok("envoy".to_owned()));
        assert_eq!(comm("exactly15bytes!"), Ok("exactly15bytes!".to_owned()));
        assert!(comm("").is_err());
        assert!(comm("a-name-that-is-cut").is_err_and(|why| why.contains("\"a-name-that-is-\"")));
    }

    #[test]
    fn process_that_lives_is_in_the_scope() {
        let own = FilterArgs {
            pid: vec![std::process::id()],
            ..FilterArgs::default()
        };
        let scope = own.scope().unwrap();
        assert_eq!(scope.filter.pids, [std::process::id()]);
        assert!(scope.in_words().contains("process"));
    }
}
