//! `h2trace generate`: completions, man pages, the schema, the table of metrics.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::args::{self, GenerateArgs, Generated};
use crate::export::{json, metrics};

/// Prints it.
///
/// # Errors
/// It cannot be written.
pub fn run(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    match &args.what {
        Generated::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut args::command(), "h2trace", &mut script);
            super::print(&script)?;
        }
        Generated::Man { dir: None } => {
            let mut page = Vec::new();
            clap_mangen::Man::new(args::command()).render(&mut page)?;
            super::print(&page)?;
        }
        Generated::Man { dir: Some(dir) } => man_pages(dir)?,
        Generated::Schema => super::print(json::SCHEMA.as_bytes())?,
        Generated::Metrics => super::print(metrics::markdown().as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn man_pages(dir: &Path) -> anyhow::Result<()> {
    let written = || {
        format!(
            "cannot write man pages into {} (choose another with --dir)",
            dir.display()
        )
    };
    std::fs::create_dir_all(dir).with_context(written)?;
    clap_mangen::generate_to(args::command(), dir).with_context(written)
}
