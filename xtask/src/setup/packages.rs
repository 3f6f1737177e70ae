//! System packages, by apt.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::command::{exists, output, shown, step};

/// A package, and how to see that it is not needed.
pub(super) struct Package {
    /// Its name in Debian.
    pub(super) name: &'static str,
    /// It is there when this is: a program, an absolute path, or `python3:` and a module.
    pub(super) gives: &'static str,
}

impl Package {
    fn present(&self) -> bool {
        if let Some(module) = self.gives.strip_prefix("python3:") {
            let import = format!("import {module}");
            return output(Command::new("python3").args(["-c", &import])).is_some();
        }
        if self.gives.starts_with('/') {
            Path::new(self.gives).exists()
        } else {
            exists(self.gives)
        }
    }
}

/// Shorthand for tables of packages.
pub(super) const fn package(name: &'static str, gives: &'static str) -> Package {
    Package { name, gives }
}

/// The packages whose programs are not there.
pub(super) fn missing(packages: &'static [Package]) -> Vec<&'static str> {
    let mut names: Vec<_> = packages
        .iter()
        .filter(|p| !p.present())
        .map(|p| p.name)
        .collect();
    names.dedup();
    names
}

/// Those of `names` that apt can install here; None when there is no apt.
pub(super) fn candidates(names: &[&'static str]) -> Option<Vec<&'static str>> {
    if !exists("apt-get") {
        return None;
    }
    let policy = output(Command::new("apt-cache").arg("policy").args(names))?;
    let offered = |name: &str| {
        policy
            .split_once(&format!("{name}:\n"))
            .and_then(|(_, rest)| {
                rest.lines()
                    .find(|line| line.trim().starts_with("Candidate:"))
            })
            .is_some_and(|line| !line.contains("(none)"))
    };
    Some(names.iter().copied().filter(|name| offered(name)).collect())
}

/// Installs packages, as root or through sudo.
///
/// # Errors
/// When apt fails, or when there is neither root nor sudo: with the command to run.
pub(super) fn install(names: &[&str], log: &Path) -> Result<()> {
    let mut update = privileged("apt-get");
    update.args(["update", "-q"]);
    let mut install = privileged("apt-get");
    install
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(names);
    if !root() && !exists("sudo") {
        bail!(
            "packages need root, and there is no sudo; as root: {}",
            shown(
                Command::new("apt-get")
                    .args(["install", "--no-install-recommends"])
                    .args(names)
            )
        );
    }
    step(&mut update, log)?;
    step(&mut install, log)
}

fn root() -> bool {
    output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
}

fn privileged(program: &str) -> Command {
    // RUNLEVEL=1 keeps Debian from starting etcd and containerd as services: the tests start their own.
    let settings = ["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"];
    let mut command = Command::new(if root() { "env" } else { "sudo" });
    command.args(settings).arg(program);
    command
}
