//! `cargo xtask tidy`: the rules of the source tree that no compiler checks.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;

use source::Source;

mod rules;
mod source;

/// What `cargo xtask tidy` takes.
#[derive(Args)]
pub(crate) struct TidyOptions {}

/// Checks every rule; prints each breach as `path:line: what`.
pub(crate) fn run(_: &TidyOptions, root: &Path) -> anyhow::Result<ExitCode> {
    let sources = read(root)?;
    let breaches = rules::check(&sources);
    for breach in &breaches {
        println!("{breach}");
    }
    if breaches.is_empty() {
        println!("tidy: {} files, nothing to say", sources.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {} breaches", breaches.len());
    Ok(ExitCode::FAILURE)
}

/// Reads all files that git knows or would add.
fn read(root: &Path) -> anyhow::Result<Vec<Source>> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("cannot list the files: git is missing (apt-get install git)")?;
    if !listed.status.success() {
        bail!(
            "cannot list the files: {}",
            String::from_utf8_lossy(&listed.stderr).trim()
        );
    }
    let names = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
    let mut sources = Vec::new();
    for name in names.split_terminator('\0') {
        let path = root.join(name);
        // Deleted and not yet committed: git still lists it.
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        sources.push(Source::new(name, &bytes));
    }
    source::blank_test_modules(&mut sources);
    Ok(sources)
}
