//! Tests of `tests`, and of libraries, as programs that start in an empty root.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};

use crate::architecture::Architecture;
use crate::{command, image};

/// A program of tests.
#[derive(Clone, Copy)]
pub(super) enum Program {
    /// The tests in `tests` of this name.
    Tests(&'static str),
    /// The unit tests of the library of this package.
    Units(&'static str),
}

/// Builds them, and gives them in the same order. By one call of cargo: packages that are built together agree upon the
/// features of what they depend on, and else the decoder would be compiled once for each of them.
///
/// # Errors
/// When they cannot be built, or are not linked statically.
pub(super) fn build(
    root: &Path,
    architecture: Architecture,
    programs: &[Program],
) -> anyhow::Result<Vec<PathBuf>> {
    // As the static h2trace is built, so that both share what they depend on.
    let mut cargo = architecture.cargo(root, &["test", "--release", "--no-run", "--locked"])?;
    cargo
        .args(which(programs))
        .args(["--message-format", "json-render-diagnostics"]);
    println!("    {}", command::shown(&cargo));
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", command::shown(&cargo)))?;
    if !output.status.success() {
        bail!("{} failed ({})", command::shown(&cargo), output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    programs
        .iter()
        .map(|program| {
            let path = program.executable(&messages).with_context(|| {
                format!("cargo names no program of {}", which(&[*program]).join(" "))
            })?;
            image::assert_static(&path, architecture)?;
            Ok(path)
        })
        .collect()
}

/// The arguments that select them.
fn which(programs: &[Program]) -> Vec<&'static str> {
    let mut arguments = Vec::new();
    for program in programs {
        let (package, target) = match program {
            Program::Tests(name) => ("tracer-tests", &["--test", name][..]),
            Program::Units(package) => (*package, &["--lib"][..]),
        };
        if !arguments.contains(&package) {
            arguments.extend(["--package", package]);
        }
        if !target.ends_with(&["--lib"]) || !arguments.contains(&"--lib") {
            arguments.extend(target);
        }
    }
    arguments
}

impl Program {
    /// What cargo's messages name: the artifact of this target that can be run as tests.
    fn executable(self, messages: &str) -> Option<PathBuf> {
        let (kind, name) = match self {
            Program::Tests(name) => ("test", name.to_owned()),
            Program::Units(package) => ("lib", package.replace('-', "_")),
        };
        messages
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["profile"]["test"] == true)
            .filter(|message| {
                let target = &message["target"];
                target["kind"][0] == kind && target["name"] == name.as_str()
            })
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAMS: [Program; 4] = [
        Program::Tests("kernel"),
        Program::Tests("incident"),
        Program::Units("h2trace-core"),
        Program::Units("tracer-ebpf"),
    ];

    #[test]
    fn one_call_selects_all_programs() {
        assert_eq!(
            which(&PROGRAMS).join(" "),
            "--package tracer-tests --test kernel --test incident --package h2trace-core --lib --package tracer-ebpf"
        );
        assert_eq!(
            which(&PROGRAMS[2..3]).join(" "),
            "--package h2trace-core --lib"
        );
    }

    #[test]
    fn each_program_is_found_among_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"h2trace_core"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"tracer_tests"},"profile":{"test":true},"executable":"/t/deps/tests-1"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"kernel"},"profile":{"test":true},"executable":"/t/deps/kernel-1"}
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"h2trace_core"},"profile":{"test":true},"executable":"/t/deps/core-1"}
{"reason":"build-finished","success":true}
"#;
        let found = PROGRAMS.map(|program| program.executable(messages));
        let path = |name| Some(PathBuf::from(name));
        assert_eq!(
            found,
            [path("/t/deps/kernel-1"), None, path("/t/deps/core-1"), None]
        );
        assert_eq!(PROGRAMS[0].executable("not JSON"), None);
    }
}
