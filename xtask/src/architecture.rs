//! The architectures that h2trace is built for, and how to build for one that this machine has not.
//!
//! For another architecture than this machine's it takes a linker with a C library (Debian's packages, the setup's
//! piece `arm64-toolchain`) and Rust's standard library: that of rustup where `rustup target add` has brought it, else
//! Debian's, which Debian's compiler must then use (the piece `arm64-std`).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use crate::{command, demo, setup};

/// An architecture, named as Debian and container images name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

/// Compiler flags for a program that needs no loader and no libraries.
const STATIC: &str = "-C target-feature=+crt-static";

/// Where the standard library of another architecture stands, in the piece that brings it.
pub(crate) const SYSROOT: &str = "sysroot";

/// The piece with Debian's standard library for arm64.
const STD_PIECE: &str = "arm64-std";

impl Architecture {
    pub(crate) const ALL: [Architecture; 2] = [Architecture::Amd64, Architecture::Arm64];

    /// As Debian and container images name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }

    /// As Rust names it.
    pub(crate) const fn triple(self) -> &'static str {
        match self {
            Architecture::Amd64 => "x86_64-unknown-linux-gnu",
            Architecture::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// `e_machine` of its ELF files (elf(5)).
    pub(crate) const fn elf_machine(self) -> usize {
        match self {
            Architecture::Amd64 => 62,
            Architecture::Arm64 => 183,
        }
    }

    /// Its C compiler, as Debian names it on another architecture.
    const fn gcc(self) -> &'static str {
        match self {
            Architecture::Amd64 => "x86_64-linux-gnu-gcc",
            Architecture::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }

    /// This machine's, by its compiler.
    ///
    /// # Errors
    /// There is no compiler, or h2trace does not run here.
    pub(crate) fn of_this_machine() -> anyhow::Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let said = command::output(Command::new(rustc).arg("-vV"))?;
        let host = said
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc -vV names no host")?;
        let found = Architecture::ALL.into_iter().find(|it| it.triple() == host);
        found.with_context(|| format!("h2trace is not built for {host}"))
    }

    /// Where what is built for it lands.
    pub(crate) fn target(self, root: &Path) -> PathBuf {
        demo::target(root).join(self.triple())
    }

    /// `cargo` that builds static programs for it. The caller adds the command; the target is named.
    ///
    /// # Errors
    /// What it takes to build for another architecture is not there: with the command that brings it.
    pub(crate) fn cargo(self, root: &Path, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut cargo = command::cargo(root);
        // With the target named, procedural macros, which cannot be static, are built without these flags.
        cargo.args(arguments).args(["--target", self.triple()]);
        if self == Architecture::of_this_machine()? {
            cargo.env("RUSTFLAGS", STATIC);
            return Ok(cargo);
        }
        let variable = self.triple().replace('-', "_");
        let linker = format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase());
        cargo.env(linker, self.gcc());
        cargo.env(format!("CC_{variable}"), self.gcc());
        if has_std(self)? {
            cargo.env("RUSTFLAGS", STATIC);
            return Ok(cargo);
        }
        let Some(sysroot) = setup::folder_of(root, STD_PIECE)?.map(|folder| folder.join(SYSROOT))
        else {
            bail!(
                "no Rust standard library for {name}; bring it with: rustup target add {triple}, or on Debian: \
                 cargo xtask setup --only {STD_PIECE}",
                name = self.name(),
                triple = self.triple(),
            );
        };
        cargo.env("RUSTC", DEBIAN_RUSTC).env(
            "RUSTFLAGS",
            format!("{STATIC} --sysroot={}", sysroot.display()),
        );
        Ok(cargo)
    }
}

/// Debian's compiler, which goes with Debian's standard libraries.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The compiler in use has the standard library of an architecture.
fn has_std(architecture: Architecture) -> anyhow::Result<bool> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut ask = Command::new(rustc);
    ask.args([
        "--print",
        "target-libdir",
        "--target",
        architecture.triple(),
    ]);
    let folder = command::output(&mut ask)?;
    Ok(std::fs::read_dir(folder.trim()).is_ok_and(|mut files| {
        files.any(|file| {
            file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd"))
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_one_of_them() {
        let own = Architecture::of_this_machine().unwrap();
        assert!(own.triple().starts_with(std::env::consts::ARCH));
        assert!(has_std(own).unwrap());
    }

    #[test]
    fn pieces_that_errors_name_are_there() {
        assert!(setup::has_piece(STD_PIECE));
    }
}
