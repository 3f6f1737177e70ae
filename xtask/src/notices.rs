//! `cargo xtask notices`: the licences of everything that is in the program, with their texts, from the sources of the
//! crates. Image, archive and package carry it, as these licences ask for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use crate::architecture::Architecture;
use crate::contents::{Contents, name};

/// What `cargo xtask notices` takes.
#[derive(Args)]
pub(crate) struct NoticesOptions {
    /// Where to write it
    file: PathBuf,
}

/// How the names of files begin, in lower case, that are to be passed on.
const TEXTS: [&str; 5] = ["licen", "copying", "copyright", "notice", "unlicense"];

/// What is in the program besides crates.
const OTHERS: &str = "\
The standard library of Rust: Apache-2.0 OR MIT; its notices are at https://github.com/rust-lang/rust.
The GNU C Library, linked statically: LGPL-2.1-or-later; its source is Debian's package glibc, and h2trace can be linked
anew with another one from its own source (cargo build).
";

/// A crate that is in the program.
struct Part {
    name: String,
    licence: String,
    /// File names and their contents.
    texts: Vec<(String, String)>,
}

/// Writes the file.
pub(crate) fn run(options: &NoticesOptions, root: &Path) -> anyhow::Result<ExitCode> {
    let text = text(root, Architecture::of_this_machine()?)?;
    fs::write(&options.file, text)
        .with_context(|| format!("cannot write {}", options.file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// All of it, for the program of this architecture.
pub(crate) fn text(root: &Path, architecture: Architecture) -> anyhow::Result<String> {
    let contents = Contents::of(root, architecture)?;
    let parts = contents.packages.values().map(part);
    written(&parts.collect::<anyhow::Result<Vec<Part>>>()?)
}

fn part(package: &Value) -> anyhow::Result<Part> {
    let called = format!("{} {}", name(&package["name"]), name(&package["version"]));
    let manifest = Path::new(name(&package["manifest_path"]));
    let folder = manifest.parent().unwrap_or(manifest);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("the source of {called} is not at {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let mut texts = Vec::new();
    for path in files {
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let lower = file.to_lowercase();
        if TEXTS.iter().any(|begin| lower.starts_with(begin)) {
            let bytes =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            texts.push((file, String::from_utf8_lossy(&bytes).trim().to_owned()));
        }
    }
    Ok(Part {
        name: called,
        licence: name(&package["license"]).to_owned(),
        texts,
    })
}

/// The list of all, and each text once, with those that it is of.
fn written(parts: &[Part]) -> anyhow::Result<String> {
    let mut text = "h2trace contains the works below, each under its own licence.\n\n".to_owned();
    let mut of_texts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for part in parts {
        if part.licence.is_empty() && part.texts.is_empty() {
            bail!("{} says nothing of its licence", part.name);
        }
        let without = if part.texts.is_empty() {
            " (its source has no copy of it; those of others are below)"
        } else {
            ""
        };
        writeln!(text, "{}: {}{without}", part.name, part.licence)?;
        for (file, content) in &part.texts {
            let of = of_texts.entry(content).or_default();
            of.push(format!("{} ({file})", part.name));
        }
    }
    write!(text, "\n{OTHERS}")?;
    for (content, of) in of_texts {
        write!(text, "\n==== {} ====\n\n{content}\n", of.join(", "))?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_the_program_is_there_with_its_licence() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = text(&root, Architecture::of_this_machine().unwrap()).unwrap();
        // The last is in the kernel programs.
        for line in [
            "tokio ",
            "kube ",
            "aya ",
            "rustls ",
            "h2trace-core ",
            "aya-ebpf ",
        ] {
            let is_there = |text: &str| {
                text.lines()
                    .any(|is| is.starts_with(line) && is.contains(": "))
            };
            assert!(is_there(&text), "{line}");
        }
        // For tests alone, and for building alone.
        for line in ["proptest ", "tempfile ", "xtask "] {
            assert!(!text.lines().any(|is| is.starts_with(line)), "{line}");
        }
        for words in ["Permission is hereby granted", "Apache License", "ISC"] {
            assert!(text.contains(words), "{words}");
        }
        let without = text
            .lines()
            .filter(|line| line.contains("has no copy of it"))
            .count();
        assert!(without < 20, "{without} without a text");
    }

    #[test]
    fn a_text_stands_once_and_silence_is_refused() {
        let part = |name: &str, licence: &str, text: &str| Part {
            name: name.to_owned(),
            licence: licence.to_owned(),
            texts: vec![("LICENSE".to_owned(), text.to_owned())],
        };
        let both = [
            part("a 1.0", "MIT", "the same"),
            part("b 2.0", "MIT", "the same"),
        ];
        let text = written(&both).unwrap();
        assert_eq!(text.matches("the same").count(), 1, "{text}");
        assert!(text.contains("==== a 1.0 (LICENSE), b 2.0 (LICENSE) ====\n\nthe same\n"));
        let mut silent = part("c 3.0", "", "");
        silent.texts.clear();
        assert!(written(&[silent]).is_err());
    }
}
