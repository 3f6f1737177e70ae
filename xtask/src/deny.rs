//! `cargo xtask deny`: licences, sources and versions of the dependencies, by the rules in `deny.toml`.
//!
//! It is not in the gate: cargo-deny takes minutes to compile on a new machine.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::command;

/// What `cargo xtask deny` takes.
#[derive(Args)]
pub(crate) struct Options {}

/// The version that is installed, and looked for.
const CARGO_DENY: &str = "0.20.2";

/// Checks everything; advisories only where their database can be fetched.
pub(crate) fn run(_: &Options, root: &Path) -> anyhow::Result<ExitCode> {
    check(root)?;
    let mut advisories = command::cargo(root);
    advisories.args(["deny", "--workspace", "fetch", "db"]);
    println!("{}", command::shown(&advisories));
    let fetched = advisories
        .status()
        .with_context(|| format!("cannot run {}", command::shown(&advisories)))?;
    if !fetched.success() {
        println!("SKIPPED: advisories: their database cannot be fetched here; the reason is above");
        return Ok(ExitCode::SUCCESS);
    }
    let mut advisories = command::cargo(root);
    advisories.args([
        "deny",
        "--workspace",
        "check",
        "--disable-fetch",
        "advisories",
    ]);
    println!("{}", command::shown(&advisories));
    command::run(&mut advisories)?;
    Ok(ExitCode::SUCCESS)
}

/// Checks what needs no database: `cargo xtask dist` asks for it.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    command::installed(root, "cargo-deny", CARGO_DENY)?;
    let mut deny = command::cargo(root);
    deny.args([
        "deny",
        "--workspace",
        "check",
        "licenses",
        "sources",
        "bans",
    ]);
    println!("{}", command::shown(&deny));
    command::run(&mut deny)
}
