//! `cargo xtask docs`: the tables in the pages of `tracer-user/docs`, from the code.
//!
//! A page marks the place of a table with `<!-- generated: NAME -->` and `<!-- end -->`. The example `docs` of
//! tracer-user prints all tables but those of kernels, which are made of what the tests run by (`crate::kernels`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{command, kernels};

pub(crate) mod measured;

/// What `cargo xtask docs` takes.
#[derive(Args)]
pub(crate) struct DocsOptions {
    /// Write nothing: fail when a table differs from what the code gives
    #[arg(long)]
    check: bool,
}

const PAGES: &str = "tracer-user/docs";
const BEGIN: &str = "<!-- generated: ";
const BEGIN_END: &str = " -->\n";
const END: &str = "<!-- end -->\n";

/// Writes, or compares.
pub(crate) fn run(options: &DocsOptions, root: &Path) -> anyhow::Result<ExitCode> {
    let printed = printed(command::cargo(root).args([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "tracer-user",
        "--example",
        "docs",
    ]))?;
    let mut tables = regions(&printed).context("the example docs")?;
    tables.extend(kernels::tables());
    let mut unused: Vec<String> = tables.keys().cloned().collect();
    let mut differ = Vec::new();
    for path in pages(root)? {
        let is = read(&path)?;
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        let (should, used) = filled(&is, &tables).with_context(|| name.clone())?;
        unused.retain(|table| !used.contains(table));
        if is == should {
            continue;
        }
        differ.push(name);
        if !options.check {
            std::fs::write(&path, should)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    if !unused.is_empty() {
        bail!("no page in {PAGES} has the tables {}", unused.join(", "));
    }
    match (differ.is_empty(), options.check) {
        (true, _) => println!("the tables in {PAGES} are what the code gives"),
        (false, false) => println!("wrote {}", differ.join(", ")),
        (false, true) => bail!(
            "not what the code gives: {}; run \"cargo xtask docs\" and commit it",
            differ.join(", ")
        ),
    }
    Ok(ExitCode::SUCCESS)
}

fn printed(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command::shown(command)))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}",
            command::shown(command),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("the tables are not UTF-8")
}

/// The pages, in the order of their names.
fn pages(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut pages: Vec<PathBuf> = std::fs::read_dir(root.join(PAGES))
        .with_context(|| format!("cannot read {PAGES}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    Ok(pages)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Every region by its name.
fn regions(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((_, name, content, after)) = next_region(rest, BEGIN)? {
        found.insert(name.to_owned(), content.to_owned());
        rest = after;
    }
    Ok(found)
}

/// The page with its regions as they should be, and their names.
fn filled(page: &str, tables: &BTreeMap<String, String>) -> anyhow::Result<(String, Vec<String>)> {
    let (mut text, mut used) = (String::new(), Vec::new());
    let mut rest = page;
    while let Some((before, name, _, after)) = next_region(rest, BEGIN)? {
        let table = tables
            .get(name)
            .with_context(|| format!("there is no table {name:?}"))?;
        text += &format!("{before}{BEGIN}{name}{BEGIN_END}{table}{END}");
        used.push(name.to_owned());
        rest = after;
    }
    Ok((text + rest, used))
}

/// What stands before the next region that begins with `begin`, its name, what stands in it, and what stands after it.
fn next_region<'a>(
    text: &'a str,
    begin: &str,
) -> anyhow::Result<Option<(&'a str, &'a str, &'a str, &'a str)>> {
    let Some((before, rest)) = text.split_once(begin) else {
        return Ok(None);
    };
    let (name, rest) = rest
        .split_once(BEGIN_END)
        .with_context(|| format!("a line with {begin:?} does not end with {BEGIN_END:?}"))?;
    let (content, after) = rest
        .split_once(END)
        .filter(|(content, _)| !content.contains(begin))
        .with_context(|| format!("the region {name:?} has no {END:?}"))?;
    Ok(Some((before, name, content, after)))
}

#[cfg(test)]
mod tests;
