//! What came of a kernel, and how it is told.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::console::Console;
use super::steps::DOCTOR;
use crate::test::count::Count;

/// The check that is no step: that the guest came up, and went down by itself.
pub(super) const BOOT: &str = "boot";

/// How many lines of a failed step are shown.
const TAIL: usize = 40;

/// The bytes of stack that each kernel program takes at most, by its name.
pub(super) type Stacks = BTreeMap<String, u32>;

/// What came of a kernel.
pub(super) struct Verdict {
    pub(super) name: &'static str,
    pub(super) release: String,
    pub(super) took: Duration,
    pub(super) checks: Vec<Check>,
    /// What was not run, and why.
    pub(super) skipped: Vec<String>,
    /// What doctor says of each kernel program.
    pub(super) programs: Vec<String>,
}

/// One thing that a kernel had to show.
pub(super) struct Check {
    pub(super) name: &'static str,
    /// Why not, when it did not.
    pub(super) failure: Option<String>,
    pub(super) took: Duration,
    /// This check, or the tests that it is made of.
    pub(super) count: Count,
}

/// The lines of doctor's about kernel programs that the verifier has let pass.
pub(super) fn programs(console: &Console) -> Vec<String> {
    let of_doctor = console.step(DOCTOR).map_or(&[][..], |step| &step.lines);
    of_doctor
        .iter()
        .filter(|line| line.contains("program ") && line.contains("instructions"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

impl Check {
    pub(super) fn new(name: &'static str, took: Duration, outcome: Result<(), String>) -> Self {
        let count = Count {
            passed: u64::from(outcome.is_ok()),
            failed: u64::from(outcome.is_err()),
        };
        Check {
            name,
            failure: outcome.err(),
            took,
            count,
        }
    }
}

impl Verdict {
    /// All checks and tests of it.
    pub(super) fn count(&self) -> Count {
        let mut total = Count::default();
        for check in &self.checks {
            total += check.count;
        }
        total
    }

    /// What it did, as a test runner would say it; of a failed check also the end of its output.
    pub(super) fn print(&self, console: &Console, log: &Path) {
        for check in &self.checks {
            let how = check.failure.as_ref().map_or("ok", |_| "FAILED");
            println!(
                "test {}::{} ... {how} ({:.1} s)",
                self.name,
                check.name,
                check.took.as_secs_f64()
            );
        }
        for check in self.checks.iter().filter(|check| check.failure.is_some()) {
            println!(
                "\n---- {}::{}: {}",
                self.name,
                check.name,
                check.failure.as_deref().unwrap_or_default()
            );
            let lines = match console.step(check.name) {
                Some(step) => step.lines.clone(),
                None if check.name == BOOT => lines_of(log),
                None => continue,
            };
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                println!("    | {line}");
            }
        }
        let count = self.count();
        let word = if count.failed > 0 { "FAILED" } else { "ok" };
        println!(
            "\ntest result: {word}. {} passed; {} failed; its console is in {}\n",
            count.passed,
            count.failed,
            log.display()
        );
    }

    /// For the end of the step: a line of the kernel, and one of each of its programs with the stack it takes.
    pub(super) fn closing(&self, stacks: &Stacks) -> Vec<String> {
        let said = |check: &Check| match &check.failure {
            Some(why) => format!("{} FAILED ({})", check.name, shortened(why)),
            None if check.count.passed > 1 => {
                format!("{} {} passed", check.count.passed, check.name)
            }
            None => format!("{} as it has to be", check.name),
        };
        let checks: Vec<_> = self.checks.iter().map(said).collect();
        let mut line = format!(
            "{}: {}, {} s: {}",
            self.name,
            match self.release.as_str() {
                "" => "not booted",
                release => release,
            },
            self.took.as_secs(),
            checks.join(", ")
        );
        for what in &self.skipped {
            line += &format!("; skipped: {what}");
        }
        let programs = self.programs.iter().map(|line| {
            let stack = name_of(line).and_then(|name| stacks.get(name));
            let stack = stack.map(|bytes| format!(", {bytes} bytes of stack"));
            format!("    {line}{}", stack.unwrap_or_default())
        });
        std::iter::once(line).chain(programs).collect()
    }
}

/// The kernel program that a line of doctor's is about: `ok program NAME loaded, ...`.
fn name_of(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("program ")?;
    rest.split([' ', ':']).next()
}

/// A reason that is not longer than a line or two: all of it stands above.
fn shortened(why: &str) -> String {
    const MOST: usize = 240;
    match why.char_indices().nth(MOST) {
        Some((at, _)) => format!("{} ...", &why[..at]),
        None => why.to_owned(),
    }
}

fn lines_of(log: &Path) -> Vec<String> {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}
