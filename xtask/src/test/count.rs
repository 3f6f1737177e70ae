//! Counts tests from what the test runner prints.

use std::io::{BufRead as _, BufReader, Write};
use std::ops::AddAssign;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::Context as _;

use crate::command;

/// Tests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl Count {
    /// Reads a line like `test result: ok. 9 passed; 0 failed; 0 ignored; ...`.
    pub(crate) fn of_line(line: &str) -> Option<Count> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let number = |word: &str| {
            counts
                .split("; ")
                .find_map(|part| part.strip_suffix(word))
                .and_then(|number| number.trim().parse().ok())
        };
        Some(Count {
            passed: number(" passed")?,
            failed: number(" failed")?,
        })
    }

    /// The last line of the gate. A step that fails without a failed test counts as one.
    pub(crate) fn closing_line(self, a_step_failed: bool) -> String {
        let failed = if a_step_failed {
            self.failed.max(1)
        } else {
            self.failed
        };
        format!("{} passed, {failed} failed", self.passed)
    }
}

/// Runs a test runner, shows what it prints, and counts.
pub(crate) fn run(
    tests: &mut Command,
    out: &mut impl Write,
) -> anyhow::Result<(Count, ExitStatus)> {
    let shown = command::shown(tests);
    let mut child = tests
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    let stdout = child.stdout.take().context("no standard output")?;
    let mut total = Count::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.with_context(|| format!("cannot read from {shown}"))?;
        let line = String::from_utf8_lossy(&line);
        if let Some(count) = Count::of_line(&line) {
            total += count;
        }
        writeln!(out, "{line}").context("cannot write")?;
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for {shown}"))?;
    Ok((total, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted_and_others_are_not() {
        for (line, want) in [
            (
                "test result: ok. 9 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.1s",
                Some(Count {
                    passed: 9,
                    failed: 0,
                }),
            ),
            (
                "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s",
                Some(Count {
                    passed: 12,
                    failed: 3,
                }),
            ),
            ("test frame::tests::x ... ok", None),
            ("running 3 tests", None),
        ] {
            assert_eq!(Count::of_line(line), want, "{line}");
        }
    }

    #[test]
    fn what_a_runner_prints_is_counted_over_all_its_binaries() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; \
                      echo 'test result: FAILED. 1 passed; 4 failed; 0 ignored'; exit 101";
        let mut out = Vec::new();
        let (count, status) = run(Command::new("sh").args(["-c", script]), &mut out).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 2);
        assert_eq!(
            count,
            Count {
                passed: 3,
                failed: 4
            }
        );
        assert_eq!(status.code(), Some(101));
    }

    #[test]
    fn a_failed_step_is_never_zero_failed() {
        let count = Count {
            passed: 7,
            failed: 0,
        };
        assert_eq!(count.closing_line(true), "7 passed, 1 failed");
        assert_eq!(count.closing_line(false), "7 passed, 0 failed");
    }
}
