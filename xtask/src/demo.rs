//! `cargo xtask demo`: build the release binary and run `h2trace demo`. It needs Rust and the kernel, no more.
//! With `--incident`: the reference incident with the peers of `cargo xtask setup`.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;

use crate::incident::{self, Shape};
use crate::{command, privilege};

/// What `cargo xtask demo` takes.
#[derive(Args)]
pub(crate) struct DemoOptions {
    /// Instead run the reference incident with real parts (see "cargo xtask setup"): a gRPC server, Envoy, a client
    #[arg(long)]
    incident: bool,

    #[command(flatten)]
    shape: Shape,

    /// Passed on to `h2trace demo` (see `h2trace demo --help`)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and runs the demo; its exit status is the demo's.
pub(crate) fn run(options: &DemoOptions, root: &Path) -> anyhow::Result<ExitCode> {
    if let Some(refusal) = privilege::refuse("demo", "loads kernel programs") {
        return Ok(refusal);
    }
    if options.incident {
        return incident::demo(&options.shape, root);
    }
    eprintln!("building h2trace (the first time takes a minute or two)");
    command::run(command::cargo(root).args([
        "build",
        "--release",
        "--locked",
        "--package",
        "tracer-user",
        // The demo needs no pods, and there is less to wait for.
        "--no-default-features",
    ]))?;
    let mut demo = Command::new(release_binary(root));
    demo.arg("demo").args(&options.arguments);
    if let Some(calls) = options.shape.calls {
        demo.args(["--calls", &calls.to_string()]);
    }
    let status = demo
        .status()
        .with_context(|| format!("cannot run {}", command::shown(&demo)))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Where the release binary is built to.
pub(crate) fn release_binary(root: &Path) -> std::path::PathBuf {
    target(root).join("release/h2trace")
}

/// The target folder.
pub(crate) fn target(root: &Path) -> std::path::PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |folder| root.join(folder))
}
