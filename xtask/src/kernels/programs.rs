//! The tests of `tests/kernel` as a program that starts in an empty root.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};

use crate::{command, image};

/// Builds it.
///
/// # Errors
/// When it cannot be built, or is not linked statically.
pub(super) fn kernel_tests(root: &Path) -> anyhow::Result<PathBuf> {
    let mut cargo = command::cargo(root);
    // As the static h2trace is built, so that both share what they depend on.
    cargo
        .args(["test", "--release", "--no-run", "--locked"])
        .args(["--package", "tracer-tests", "--test", "kernel"])
        .args(["--target", &image::host()?])
        .args(["--message-format", "json-render-diagnostics"])
        .env("RUSTFLAGS", image::STATIC);
    println!("    {}", command::shown(&cargo));
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", command::shown(&cargo)))?;
    if !output.status.success() {
        bail!("{} failed ({})", command::shown(&cargo), output.status);
    }
    let program = executable(&String::from_utf8_lossy(&output.stdout))
        .context("cargo names no program of the kernel tests")?;
    image::assert_static(&program)?;
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
