//! Tests of `tests` as programs that start in an empty root.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};

use crate::architecture::Architecture;
use crate::{command, image};

/// Builds the tests in `tests` of one name.
///
/// # Errors
/// As [`built`].
pub(super) fn tests(
    root: &Path,
    architecture: Architecture,
    name: &str,
) -> anyhow::Result<PathBuf> {
    let which = ["--package", "tracer-tests", "--test", name];
    built(root, architecture, &which)
}

/// Builds the unit tests of a library.
///
/// # Errors
/// As [`built`].
pub(super) fn unit_tests(
    root: &Path,
    architecture: Architecture,
    package: &str,
) -> anyhow::Result<PathBuf> {
    built(root, architecture, &["--package", package, "--lib"])
}

/// # Errors
/// When they cannot be built, or are not linked statically.
fn built(root: &Path, architecture: Architecture, which: &[&str]) -> anyhow::Result<PathBuf> {
    // As the static h2trace is built, so that both share what they depend on.
    let mut cargo = architecture.cargo(root, &["test", "--release", "--no-run", "--locked"])?;
    cargo
        .args(which)
        .args(["--message-format", "json-render-diagnostics"]);
    println!("    {}", command::shown(&cargo));
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", command::shown(&cargo)))?;
    if !output.status.success() {
        bail!("{} failed ({})", command::shown(&cargo), output.status);
    }
    let program = executable(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("cargo names no program of {}", which.join(" ")))?;
    image::assert_static(&program, architecture)?;
    Ok(program)
}

/// The program that cargo's messages name: the one artifact that can be run as tests.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["profile"]["test"] == true)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_found_among_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","profile":{"test":false},"executable":"/t/h2trace"}
{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/deps/kernel-1"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(
            executable(messages),
            Some(PathBuf::from("/t/deps/kernel-1"))
        );
        assert_eq!(executable("not JSON"), None);
    }
}
