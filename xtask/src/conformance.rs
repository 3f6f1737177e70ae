//! `cargo xtask conformance`: the suites in tests/conformance in full, and the page of what h2trace says of them.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::docs::measured;
use crate::{command, demo, privilege};

const PAGE: &str = "tracer-user/docs/conformance.md";

/// The regions of the page: the files that the tests write.
const TABLES: [&str; 3] = ["h2spec", "interop", "negative"];

/// What `cargo xtask conformance` takes.
#[derive(Args)]
pub(crate) struct ConformanceOptions {
    /// Run the suites and leave the page as it is
    #[arg(long)]
    check: bool,
}

/// Builds the release binary (unless `H2TRACE_BINARY` names one), runs the suites, writes the page. Exit status 1 when
/// h2trace is wrong about a case.
pub(crate) fn run(options: &ConformanceOptions, root: &Path) -> anyhow::Result<ExitCode> {
    if let Some(refusal) = privilege::refuse("conformance", "loads kernel programs") {
        return Ok(refusal);
    }
    let mut suites = command::cargo(root);
    if std::env::var_os("H2TRACE_BINARY").is_none() {
        let build = ["build", "--release", "--locked", "--package", "tracer-user"];
        command::run(command::cargo(root).args(build))?;
        suites.env("H2TRACE_BINARY", demo::release_binary(root));
    }
    let tables = demo::target(root).join("conformance");
    std::fs::remove_dir_all(&tables).ok();
    std::fs::create_dir_all(&tables)
        .with_context(|| format!("cannot make {}", tables.display()))?;
    suites.args(["test", "--locked", "--quiet", "--package", "tracer-tests"]);
    suites.args(["--test", "conformance", "--", "--test-threads=1"]);
    suites.env("H2TRACE_SCALE", "full");
    suites.env("H2TRACE_CONFORMANCE_TABLES", &tables);
    let right = suites.status()?.success();
    for name in TABLES {
        let path = tables.join(name);
        let Ok(table) = std::fs::read_to_string(&path) else {
            eprintln!("{name} was not run; \"cargo xtask setup --only conformance\" installs it");
            continue;
        };
        println!("{table}");
        if !options.check {
            measured::write(&root.join(PAGE), name, &table)?;
        }
    }
    Ok(if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
