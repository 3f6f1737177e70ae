//! `cargo xtask compare-tshark`: `replay` held against tshark on traffic of real peers, recorded now.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use crate::{command, demo};

/// What `cargo xtask compare-tshark` takes.
#[derive(Args)]
pub(crate) struct CompareTsharkOptions {
    /// As little traffic as the gate has
    #[arg(long)]
    small: bool,
}

/// Builds the release binary and prints the table. Exit status 1 when a figure differs and nothing explains it.
pub(crate) fn run(options: &CompareTsharkOptions, root: &Path) -> anyhow::Result<ExitCode> {
    command::run(command::cargo(root).args([
        "build",
        "--release",
        "--locked",
        "--package",
        "tracer-user",
    ]))?;
    let mut compare = command::cargo(root);
    compare.args(["test", "--locked", "--quiet", "--package", "tracer-tests"]);
    compare.args(["--test", "tshark", "--", "--nocapture"]);
    compare.env("H2TRACE_BINARY", demo::release_binary(root));
    if !options.small {
        compare.env("H2TRACE_SCALE", "full");
    }
    let equal = compare.status()?.success();
    Ok(if equal {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
