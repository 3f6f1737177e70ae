//! `cargo xtask bill`: the bill of materials of the program, as CycloneDX 1.5. Image, archive and package carry it.
//!
//! It says the same of the same sources: it has neither a time nor a serial number.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use crate::architecture::Architecture;
use crate::command;
use crate::contents::{Contents, PROGRAM, name};

/// What `cargo xtask bill` takes.
#[derive(Args)]
pub(crate) struct BillOptions {
    /// Where to write it
    file: PathBuf,
}

/// What the file is called where it is installed.
pub(crate) const NAME: &str = "h2trace.cdx.json";

/// Writes the file.
pub(crate) fn run(options: &BillOptions, root: &Path) -> anyhow::Result<ExitCode> {
    let text = text(root, Architecture::of_this_machine()?)?;
    fs::write(&options.file, text)
        .with_context(|| format!("cannot write {}", options.file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// All of it, for the program of this architecture.
pub(crate) fn text(root: &Path, architecture: Architecture) -> anyhow::Result<String> {
    let lock = root.join("Cargo.lock");
    let lock =
        fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let contents = Contents::of(root, architecture)?;
    let linked = [rust()?, c_library(architecture)];
    let bill = written(&contents, &checksums(&lock), &linked)?;
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// The standard library of Rust, by its compiler.
fn rust() -> anyhow::Result<Value> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = command::output(Command::new(rustc).arg("-vV"))?;
    let release = said.lines().find_map(|line| line.strip_prefix("release: "));
    let version = release.context("rustc -vV names no release")?;
    Ok(json!({
        "type": "library", "bom-ref": "rust-std", "name": "rust-std", "version": version,
        "licenses": [{ "expression": "Apache-2.0 OR MIT" }],
    }))
}

/// The C library, which is linked statically. Of another architecture's nothing tells the version.
fn c_library(architecture: Architecture) -> Value {
    let mut library = json!({
        "type": "library", "bom-ref": "glibc", "name": "glibc",
        "licenses": [{ "expression": "LGPL-2.1-or-later" }],
    });
    let own = Architecture::of_this_machine().is_ok_and(|own| own == architecture);
    let said = command::output(Command::new("getconf").arg("GNU_LIBC_VERSION"));
    let version = said.ok().filter(|_| own).unwrap_or_default();
    if let Some(version) = version.trim().strip_prefix("glibc ") {
        library["version"] = version.into();
    }
    library
}

/// SHA-256 of the packages in `Cargo.lock`, by name and version.
fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let mut checksums = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key))?;
            line.strip_prefix(" = \"")?.strip_suffix('"')
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (value("name"), value("version"), value("checksum"))
        {
            checksums.insert((name, version), checksum);
        }
    }
    checksums
}

/// A package's address among all (purl), by which the bill refers to it.
fn purl(package: &Value) -> String {
    let version = name(&package["version"]).replace('+', "%2B");
    format!("pkg:cargo/{}@{version}", name(&package["name"]))
}

fn written(
    contents: &Contents,
    checksums: &BTreeMap<(&str, &str), &str>,
    linked: &[Value],
) -> anyhow::Result<Value> {
    let mut program = None;
    let mut components = Vec::new();
    for package in contents.packages.values() {
        let (called, version) = (name(&package["name"]), name(&package["version"]));
        let is_program = called == PROGRAM;
        let mut component = json!({
            "type": if is_program { "application" } else { "library" },
            "bom-ref": purl(package), "name": called, "version": version, "purl": purl(package),
        });
        // Old packages write a choice with a slash, which is no expression of SPDX.
        let licence = name(&package["license"]).replace('/', " OR ");
        if !licence.is_empty() {
            component["licenses"] = json!([{ "expression": licence }]);
        }
        if let Some(checksum) = checksums.get(&(called, version)) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        if is_program {
            program = Some(component);
        } else {
            components.push(component);
        }
    }
    components.extend(linked.iter().cloned());
    let program = program.with_context(|| format!("no package {PROGRAM} here"))?;
    let dependencies: Vec<Value> = contents
        .dependencies
        .iter()
        .filter_map(|(id, needs)| {
            let package = contents.packages.get(id)?;
            let needs = needs.iter().filter_map(|id| contents.packages.get(id));
            let mut needs: Vec<Value> = needs.map(|package| purl(package).into()).collect();
            if name(&package["name"]) == PROGRAM {
                needs.extend(linked.iter().map(|library| library["bom-ref"].clone()));
            }
            Some(json!({ "ref": purl(package), "dependsOn": needs }))
        })
        .collect();
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": { "component": program },
        "components": components,
        "dependencies": dependencies,
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::contents::list;
    use crate::notices;

    #[test]
    fn everything_that_the_notices_name_is_in_the_bill() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let architecture = Architecture::of_this_machine().unwrap();
        let text = text(&root, architecture).unwrap();
        let bill: Value = serde_json::from_str(&text).unwrap();
        let all: Vec<&Value> = list(&bill["components"])
            .chain([&bill["metadata"]["component"]])
            .collect();
        let called: BTreeSet<String> = all
            .iter()
            .map(|part| format!("{} {}", name(&part["name"]), name(&part["version"])))
            .collect();
        let notices = notices::text(&root, architecture).unwrap();
        let list_of_parts = notices.split("\n\n").nth(1).unwrap();
        assert!(list_of_parts.lines().count() > 100);
        for line in list_of_parts.lines() {
            let part = line.split(": ").next().unwrap();
            assert!(called.contains(part), "{part}");
        }
        // What comes from a registry has what it is known by, and nothing names this machine's folders.
        for part in all {
            let own = [
                "tracer-user",
                "tracer-ebpf",
                "h2trace-core",
                "rust-std",
                "glibc",
            ];
            let hash = name(&part["hashes"][0]["content"]);
            let is_own = own.contains(&name(&part["name"]));
            assert_eq!(hash.len(), if is_own { 0 } else { 64 }, "{part}");
        }
        assert!(!text.contains("file:"), "a path of this machine");
        // Each reference is to a part.
        let refs: BTreeSet<&str> = list(&bill["components"])
            .chain([&bill["metadata"]["component"]])
            .map(|part| name(&part["bom-ref"]))
            .collect();
        for dependency in list(&bill["dependencies"]) {
            assert!(refs.contains(name(&dependency["ref"])), "{dependency}");
            for needs in list(&dependency["dependsOn"]) {
                assert!(refs.contains(name(needs)), "{needs}");
            }
        }
    }

    #[test]
    fn versions_and_licences_are_written_as_their_standards_ask() {
        let package = json!({
            "id": "x", "name": PROGRAM, "version": "1.0.0+zstd.1", "license": "MIT/Apache-2.0",
        });
        let mut contents = Contents::default();
        contents.packages.insert("x".to_owned(), package);
        let bill = written(&contents, &BTreeMap::new(), &[]).unwrap();
        let program = &bill["metadata"]["component"];
        assert_eq!(program["purl"], "pkg:cargo/tracer-user@1.0.0%2Bzstd.1");
        assert_eq!(program["licenses"][0]["expression"], "MIT OR Apache-2.0");
        let lock = "[[package]]\nname = \"a\"\nversion = \"1\"\nchecksum = \"00\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"2\"\n";
        assert_eq!(checksums(lock), BTreeMap::from([(("a", "1"), "00")]));
    }
}
