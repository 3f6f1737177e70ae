//! `cargo xtask deny`: licences, sources and versions of the dependencies, by the rules in `deny.toml`.
//!
//! It is not in the gate: cargo-deny takes minutes to compile on a new machine.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;

use crate::command;

/// What `cargo xtask deny` takes.
#[derive(Args)]
pub(crate) struct DenyOptions {}

/// The version that is installed, and looked for.
const CARGO_DENY: &str = "0.20.2";

/// Checks everything; advisories only where their database can be fetched.
pub(crate) fn run(_: &DenyOptions, root: &Path) -> anyhow::Result<ExitCode> {
    command::installed(root, "cargo-deny", CARGO_DENY)?;
    command::run(&mut deny(root, &["check", "licenses", "sources", "bans"]))?;
    let mut fetch = deny(root, &["fetch", "db"]);
    let fetched = fetch
        .status()
        .with_context(|| format!("cannot run {}", command::shown(&fetch)))?;
    if fetched.success() {
        command::run(&mut deny(root, &["--offline", "check", "advisories"]))?;
    } else {
        println!("SKIPPED: advisories: their database cannot be fetched here; the reason is above");
    }
    Ok(ExitCode::SUCCESS)
}

/// A call of cargo-deny, which is shown.
fn deny(root: &Path, arguments: &[&str]) -> Command {
    let mut deny = command::cargo(root);
    deny.args(["deny", "--workspace"]).args(arguments);
    println!("{}", command::shown(&deny));
    deny
}
