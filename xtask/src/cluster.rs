//! `cargo xtask cluster`: a real Kubernetes cluster of one node, for people. It is in tests/harness/cluster.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::command;

/// What `cargo xtask cluster` takes.
#[derive(Args)]
pub(crate) struct ClusterOptions {}

/// Starts it; it stays until Ctrl-C.
pub(crate) fn run(_: &ClusterOptions, root: &Path) -> anyhow::Result<ExitCode> {
    let mut cluster = command::cargo(root);
    cluster.args(["run", "--quiet", "--locked"]);
    cluster.args(["--package", "tracer-tests", "--bin", "cluster"]);
    // In the place of this process, so that Ctrl-C has one hearer.
    Err(cluster.exec()).with_context(|| format!("cannot run {}", command::shown(&cluster)))
}
