//! `cargo xtask soak`: the long healthy run in tests/soak, against the release binary.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::{command, demo, privilege};

/// What `cargo xtask soak` takes.
#[derive(Args)]
pub(crate) struct SoakOptions {
    /// Calls to make; each is a stream at two ends, or at four through Envoy
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    streams: u64,

    /// Give up when they are not made by then
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
}

/// Builds and runs it; its exit status is the run's.
pub(crate) fn run(options: &SoakOptions, root: &Path) -> anyhow::Result<ExitCode> {
    if let Some(refusal) = privilege::refuse("soak", "loads kernel programs") {
        return Ok(refusal);
    }
    let build = ["build", "--release", "--locked", "--package", "tracer-user"];
    command::run(command::cargo(root).args(build))?;
    let mut soak = command::cargo(root);
    // Optimised: it reads all that the tracer prints.
    soak.args(["run", "--release", "--quiet", "--locked"]);
    soak.args(["--package", "tracer-tests", "--bin", "soak", "--"]);
    soak.args([options.streams.to_string(), options.minutes.to_string()]);
    soak.env("H2TRACE_BINARY", demo::release_binary(root));
    let status = soak
        .status()
        .with_context(|| format!("cannot run {}", command::shown(&soak)))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
