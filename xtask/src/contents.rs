//! What the program is made of: the crates in it, and those in the kernel programs that it carries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::architecture::Architecture;
use crate::command;

/// The program's package.
pub(crate) const PROGRAM: &str = "tracer-user";

/// The package of the kernel programs, and what they are built for.
const KERNEL_PROGRAMS: (&str, &str) = ("tracer-ebpf", "bpfel-unknown-none");

/// Packages as `cargo metadata` describes them, and which of them each one depends on, by their ids.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) packages: BTreeMap<String, Value>,
    pub(crate) dependencies: BTreeMap<String, BTreeSet<String>>,
}

impl Contents {
    /// All of it, for the program of this architecture.
    pub(crate) fn of(root: &Path, architecture: Architecture) -> anyhow::Result<Contents> {
        let mut contents = Contents::default();
        for (package, triple) in [(PROGRAM, architecture.triple()), KERNEL_PROGRAMS] {
            let mut cargo = command::cargo(root);
            cargo.args(["metadata", "--format-version", "1", "--locked"]);
            cargo.args(["--filter-platform", triple]);
            let metadata = serde_json::from_str(&command::output(&mut cargo)?)?;
            contents.add(package, &metadata)?;
        }
        Ok(contents)
    }

    /// Adds what a package depends on, but for what builds or tests it.
    fn add(&mut self, package: &str, metadata: &Value) -> anyhow::Result<()> {
        let is_it = |known: &&Value| name(&known["name"]) == package;
        let first = list(&metadata["packages"]).find(is_it);
        let first = first.with_context(|| format!("no package {package} here"))?;
        let nodes: BTreeMap<&str, &Value> = list(&metadata["resolve"]["nodes"])
            .map(|node| (name(&node["id"]), node))
            .collect();
        let mut todo = vec![name(&first["id"])];
        let mut found = BTreeSet::new();
        while let Some(id) = todo.pop() {
            if !found.insert(id) {
                continue;
            }
            let node = nodes.get(id).context("a package is not resolved")?;
            let normal =
                |dependency: &&Value| list(&dependency["dep_kinds"]).any(|of| of["kind"].is_null());
            let needs: Vec<&str> = list(&node["deps"])
                .filter(normal)
                .map(|dependency| name(&dependency["pkg"]))
                .collect();
            let known = self.dependencies.entry(id.to_owned()).or_default();
            known.extend(needs.iter().map(|&id| id.to_owned()));
            todo.extend(needs);
        }
        for package in list(&metadata["packages"]) {
            let id = name(&package["id"]);
            if found.contains(id) {
                self.packages.insert(id.to_owned(), package.clone());
            }
        }
        Ok(())
    }
}

/// The items of a list in JSON, or none.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A string in JSON, or nothing.
pub(crate) fn name(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
