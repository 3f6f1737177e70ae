//! Rust's standard library for another architecture, of Debian, unpacked and not installed: beside the machine's own
//! compiler of Debian, it builds programs for that architecture (`crate::architecture`).

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::apt::Apt;
use super::command::output;
use crate::architecture::SYSROOT;

/// The compiler's package; the library's must have the same version.
const COMPILER: &str = "rustc-web";
const LIBRARY: &str = "libstd-rust-web-dev";

/// The version of Debian's compiler, when it is installed.
pub(super) fn version() -> Option<String> {
    let mut query = Command::new("dpkg-query");
    let said = output(query.args(["--show", "--showformat=${Version}", COMPILER]))?;
    Some(said.trim().to_owned()).filter(|version| !version.is_empty())
}

/// The package with the library, if apt offers it for this compiler.
pub(super) fn offered(apt: &Apt, version: &str) -> Option<String> {
    let package = format!("{LIBRARY}={version}");
    apt.find(|apt| apt.offers(&package).then(|| package.clone()))
}

/// Fetches it: `sysroot` in `folder`.
pub(super) fn fetch(apt: &Apt, version: &str, folder: &Path, log: &Path) -> Result<()> {
    let choose = || {
        let package = offered(apt, version);
        let package = package.with_context(|| format!("apt offers no {LIBRARY} {version}"))?;
        Ok(vec![package])
    };
    let (_, unpacked) = apt.unpack(choose, folder, log)?;
    let sysroot = folder.join(SYSROOT);
    fs::create_dir(&sysroot).with_context(|| format!("cannot make {}", sysroot.display()))?;
    fs::rename(unpacked.join("usr/lib"), sysroot.join("lib"))
        .context("cannot take the library out of its package")?;
    fs::remove_dir_all(&unpacked).with_context(|| format!("cannot remove {}", unpacked.display()))
}
