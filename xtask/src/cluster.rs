//! `cargo xtask cluster`: a real Kubernetes cluster of one node, for people. It is in tests/harness/cluster.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::command;

/// What `cargo xtask cluster` takes.
#[derive(Args)]
pub(crate) struct Options {}

/// Starts it; it stays until Ctrl-C.
pub(crate) fn run(_: &Options, root: &Path) -> anyhow::Result<ExitCode> {
    let mut cluster = command::cargo(root);
    cluster.args(["run", "--quiet", "--locked"]);
    cluster.args(["--package", "tracer-tests", "--bin", "cluster"]);
    let status = cluster
        .status()
        .with_context(|| format!("cannot run {}", command::shown(&cluster)))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
