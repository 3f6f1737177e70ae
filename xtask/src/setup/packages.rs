//! System packages, by apt.

use std::path::Path;
use std::process::Command;
use std::sync::Once;

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
///
/// A fresh machine has no lists of packages, or old ones: when something is not offered, they are brought up
/// to date, once.
pub(super) fn candidates(names: &[&'static str]) -> Option<Vec<&'static str>> {
    if !exists("apt-get") {
        return None;
    }
    let found = offered(names)?;
    if found.len() == names.len() {
        return Some(found);
    }
    update_once();
    offered(names)
}

/// Brings apt's lists of packages up to date, the first time that it is asked to, and where it may.
pub(super) fn update_once() {
    static UPDATED: Once = Once::new();
    if !exists("apt-get") || !(root() || exists("sudo")) {
        return;
    }
    UPDATED.call_once(|| {
        println!("setup: apt does not know every package yet; updating its lists");
        // What still is not there afterwards is said by the caller.
        let _said = output(privileged("apt-get").args(["update", "-q"]));
    });
}

fn offered(names: &[&'static str]) -> Option<Vec<&'static str>> {
    let policy = output(Command::new("apt-cache").arg("policy").args(names))?;
    Some(
        names
            .iter()
            .copied()
            .filter(|name| has_candidate(&policy, name))
            .collect(),
    )
}

/// Whether `apt-cache policy` names a version of the package.
pub(super) fn has_candidate(policy: &str, name: &str) -> bool {
    let header = format!("{name}:");
    policy
        .lines()
        .skip_while(|line| *line != header)
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .find_map(|line| line.trim().strip_prefix("Candidate:"))
        .is_some_and(|version| version.trim() != "(none)")
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
    // RUNLEVEL=1 keeps Debian from starting etcd, containerd, nginx, HAProxy and Caddy as services: the tests start their own.
    let settings = ["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"];
    let mut command = Command::new(if root() { "env" } else { "sudo" });
    command.args(settings).arg(program);
    command
}

pub(super) const QEMU: &[Package] = &[
    package("qemu-system-x86", "qemu-system-x86_64"),
    package("dpkg", "dpkg-deb"),
];

pub(super) const QEMU_ARM64: &[Package] = &[package("qemu-system-arm", "qemu-system-aarch64")];

pub(super) const ARM64_TOOLCHAIN: &[Package] = &[
    package("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"),
    package("libc6-dev-arm64-cross", "/usr/aarch64-linux-gnu/lib/libc.a"),
    package("rustc-web", "/usr/share/doc/rustc-web"),
    package("dpkg", "dpkg-deb"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "\
llvm-22-dev:
  Installed: (none)
  Candidate: 1:22.1.8-1
  Version table:
     1:22.1.8-1 500
llvm-22:
  Installed: (none)
  Candidate: (none)
";

    #[test]
    fn a_package_is_offered_when_it_has_a_candidate_of_its_own() {
        assert!(has_candidate(POLICY, "llvm-22-dev"));
        assert!(!has_candidate(POLICY, "llvm-22"));
        assert!(!has_candidate(POLICY, "llvm"));
        assert!(!has_candidate("", "llvm-22"));
    }
}
