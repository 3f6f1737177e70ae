//! What the gate prints at its end: how long each step took, and what was skipped, and why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::demo;

/// The variable that names the file into which a skipped test writes a line (tests/harness/skip.rs).
pub(crate) const SKIPPED_FILE: &str = "H2TRACE_SKIPPED";

/// What may be skipped on CI, by how its reason begins. Everything else that is skipped there fails the gate.
const MAY_SKIP: &[&str] = &[
    // A property of the machine's kernel, which no set-up changes. The hooks' other tests run all the same.
    "this kernel has no 32-bit system calls",
    "io_uring is refused",
    // A property of the container or of the file system that CI runs in.
    "no user namespaces here",
    "setcap is missing, or the temporary folder keeps no file capabilities",
];

/// A test, a part of one, or a step that did not run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) what: String,
    /// The reason, with the remedy.
    pub(crate) why: String,
}

impl Skip {
    /// A line of the file: the test and the reason, a tab between them.
    fn of_line(line: &str) -> Self {
        let (what, why) = line.split_once('\t').unwrap_or((line, "no reason given"));
        Skip {
            what: what.to_owned(),
            why: why.to_owned(),
        }
    }

    fn may_be_skipped_on_ci(&self) -> bool {
        MAY_SKIP.iter().any(|reason| self.why.starts_with(reason))
    }
}

/// Where skipped tests write. What an earlier run wrote is removed.
pub(crate) fn fresh_file(root: &Path) -> anyhow::Result<PathBuf> {
    let path = demo::target(root).join("skipped-tests");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(path),
    }
}

/// What was written there, each once.
pub(crate) fn read(path: &Path) -> Vec<Skip> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut skips: Vec<Skip> = Vec::new();
    for skip in text.lines().map(Skip::of_line) {
        if !skips.contains(&skip) {
            skips.push(skip);
        }
    }
    skips
}

/// A line for each thing that was skipped: tests with the same reason one after another.
pub(crate) fn skipped(skips: &[Skip]) -> String {
    if skips.is_empty() {
        return "nothing was skipped\n".to_owned();
    }
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for skip in skips {
        by_reason.entry(&skip.why).or_default().push(&skip.what);
    }
    let mut text = format!("{} skipped:\n", skips.len());
    for (why, names) in by_reason {
        for name in names {
            text += &format!("    {name}: {why}\n");
        }
    }
    text
}

/// Those that fail the gate on CI.
pub(crate) fn not_allowed_on_ci(skips: &[Skip]) -> Vec<&str> {
    skips
        .iter()
        .filter(|skip| !skip.may_be_skipped_on_ci())
        .map(|skip| skip.what.as_str())
        .collect()
}

/// The steps and their times, and the sum.
pub(crate) fn times(steps: &[(String, Duration)]) -> String {
    let sum = steps.iter().map(|(_, time)| *time).sum();
    let rows = steps.iter().map(|(name, time)| (name.as_str(), *time));
    rows.chain([("all steps", sum)])
        .map(|(name, time)| format!("    {name:<10} {:>12}\n", shown_time(time)))
        .collect()
}

/// A time as people say it.
pub(crate) fn shown_time(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 60 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(what: &str, why: &str) -> Skip {
        Skip {
            what: what.to_owned(),
            why: why.to_owned(),
        }
    }

    #[test]
    fn times_are_short_to_read() {
        assert_eq!(shown_time(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(shown_time(Duration::from_secs(125)), "2 min 5 s");
    }

    #[test]
    fn the_table_of_times_ends_with_the_sum() {
        let steps = [
            ("fmt".to_owned(), Duration::from_secs(2)),
            ("live".to_owned(), Duration::from_secs(63)),
        ];
        assert_eq!(
            times(&steps),
            "    fmt               2.0 s\n    live          1 min 3 s\n    all steps     1 min 5 s\n"
        );
    }

    #[test]
    fn lines_of_skipped_tests_are_read_each_once() {
        let folder = std::env::temp_dir().join(format!("h2trace-skips-{}", std::process::id()));
        std::fs::write(&folder, "a::b\tno x\na::c\tno x\na::b\tno x\nbroken\n").unwrap();
        let skips = read(&folder);
        std::fs::remove_file(&folder).unwrap();
        let want = [
            skip("a::b", "no x"),
            skip("a::c", "no x"),
            skip("broken", "no reason given"),
        ];
        assert_eq!(skips, want);
        assert_eq!(read(&folder), []);
    }

    #[test]
    fn each_skipped_thing_has_its_line() {
        let skips = [skip("b", "no y"), skip("a", "no x"), skip("c", "no y")];
        assert_eq!(
            skipped(&skips),
            "3 skipped:\n    a: no x\n    b: no y\n    c: no y\n"
        );
        assert_eq!(skipped(&[]), "nothing was skipped\n");
    }

    #[test]
    fn on_ci_only_what_the_list_names_may_be_skipped() {
        let skips = [
            skip("a", "io_uring is refused: Operation not permitted"),
            skip("b", "tshark is not installed"),
        ];
        assert_eq!(not_allowed_on_ci(&skips), ["b"]);
    }
}
