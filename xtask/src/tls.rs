//! `cargo xtask tls-peers` and `cargo xtask tls-links`: TLS of real programs, in more runs than the gate has time for.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;

use crate::docs::measured;
use crate::{command, demo, privilege};

const PAGE: &str = "tracer-user/docs/tls.md";

/// What `cargo xtask tls-peers` takes.
#[derive(Args)]
pub(crate) struct TlsPeersOptions {
    /// Make the runs and leave the page as it is
    #[arg(long)]
    check: bool,
}

/// Writes the table of peers into the page. Exit status 1 when something is told of one that is not told in clear text.
pub(crate) fn peers(options: &TlsPeersOptions, root: &Path) -> anyhow::Result<ExitCode> {
    if let Some(refusal) = privilege::refuse("tls-peers", "loads kernel programs") {
        return Ok(refusal);
    }
    let mut runs = tests(root, "tls_peers");
    if std::env::var_os("H2TRACE_BINARY").is_none() {
        let build = ["build", "--release", "--locked", "--package", "tracer-user"];
        command::run(command::cargo(root).args(build))?;
        runs.env("H2TRACE_BINARY", demo::release_binary(root));
    }
    let file = demo::target(root).join("tls-peers");
    std::fs::remove_file(&file).ok();
    runs.env("H2TRACE_TLS_TABLE", &file);
    let is_right = runs.status()?.success();
    let table = std::fs::read_to_string(&file)
        .with_context(|| format!("no run wrote {}", file.display()))?;
    if !options.check {
        let date = command::output(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
        measured::write(
            &root.join(PAGE),
            "peers",
            &format!("{}.\n\n{table}", date.trim()),
        )?;
    }
    Ok(status(is_right))
}

/// What `cargo xtask tls-links` takes.
#[derive(Args)]
pub(crate) struct TlsLinksOptions {}

/// Exit status 1 when a connection was opened by a key of another one, or not at all.
pub(crate) fn links(_: &TlsLinksOptions, root: &Path) -> anyhow::Result<ExitCode> {
    /// The gate has it with fewer connections.
    const TEST: &str = "alike::no_record_of_connections_that_are_alike_is_opened_by_another_key";
    if let Some(refusal) = privilege::refuse("tls-links", "reads the memory of its own processes") {
        return Ok(refusal);
    }
    let mut links = tests(root, "keys");
    links.args(["--exact", TEST]).env("H2TRACE_SCALE", "full");
    Ok(status(links.status()?.success()))
}

fn tests(root: &Path, name: &str) -> Command {
    let mut tests = command::cargo(root);
    tests.args(["test", "--locked", "--package", "tracer-tests"]);
    tests.args(["--test", name, "--", "--test-threads=1", "--nocapture"]);
    tests
}

const fn status(is_right: bool) -> ExitCode {
    if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
