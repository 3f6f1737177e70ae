//! What libFuzzer says of a run.

use std::path::PathBuf;

/// Lines of its output that are shown when it failed.
const LAST_LINES: usize = 30;

/// A run of one target.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FuzzReport {
    executions: u64,
    a_second: u64,
    /// Covered edges: by the corpus, and at the end.
    edges: (u64, u64),
    new_inputs: u64,
    ended_well: bool,
    pub(super) crashes: Vec<PathBuf>,
    pub(super) last_words: String,
}

impl FuzzReport {
    pub(super) const HEADING: &'static str = "target         executions     a second   edges of seeds   at the end   new inputs   crashes";

    pub(super) fn read(said: &str, ended_well: bool) -> FuzzReport {
        let stat = |name: &str| {
            said.lines()
                .filter_map(|line| line.strip_prefix(name)?.trim().parse().ok())
                .next_back()
        };
        let edges = |line: &str| {
            let after = line.split_once(" cov: ")?.1;
            after.split_whitespace().next()?.parse().ok()
        };
        let first = said.lines().find(|line| line.contains("INITED"));
        let lines: Vec<&str> = said.lines().collect();
        let begin = lines.len().saturating_sub(LAST_LINES);
        FuzzReport {
            executions: stat("stat::number_of_executed_units:").unwrap_or(0),
            a_second: stat("stat::average_exec_per_sec:").unwrap_or(0),
            edges: (
                first.and_then(edges).unwrap_or(0),
                said.lines().filter_map(edges).next_back().unwrap_or(0),
            ),
            new_inputs: stat("stat::new_units_added:").unwrap_or(0),
            ended_well,
            crashes: Vec::new(),
            last_words: if ended_well {
                String::new()
            } else {
                lines[begin..].join("\n")
            },
        }
    }

    /// It ran, found nothing wrong, and counted edges (or the flags did nothing).
    pub(super) fn is_well(&self) -> bool {
        self.ended_well && self.crashes.is_empty() && self.executions > 0 && self.edges.1 > 0
    }

    pub(super) fn line(&self, name: &str) -> String {
        format!(
            "{name:<13} {:>11}  {:>11}   {:>14}   {:>10}   {:>10}   {:>7}",
            self.executions,
            self.a_second,
            self.edges.0,
            self.edges.1,
            self.new_inputs,
            self.crashes.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
INFO: Running with entropic power schedule (0xFF, 100).
#33\tINITED cov: 812 ft: 1400 corp: 30/9Kb exec/s: 0 rss: 30Mb
#4066\tNEW    cov: 815 ft: 1410 corp: 31/9Kb lim: 43 exec/s: 0 rss: 27Mb L: 10/10 MS: 4 Copy-
#9000\tDONE   cov: 815 ft: 1410 corp: 31/9Kb lim: 43 exec/s: 900 rss: 27Mb
Done 9000 runs in 10 second(s)
stat::number_of_executed_units: 9000
stat::average_exec_per_sec:     900
stat::new_units_added:          1
";

    #[test]
    fn the_end_of_a_run_is_read() {
        let report = FuzzReport::read(SAID, true);
        assert_eq!((report.executions, report.a_second), (9_000, 900));
        assert_eq!((report.edges, report.new_inputs), ((812, 815), 1));
        assert!(report.is_well());
    }

    #[test]
    fn a_run_without_executions_edges_or_a_good_end_is_not_well() {
        assert!(!FuzzReport::read(SAID, false).is_well());
        assert!(!FuzzReport::read("Done 9000 runs in 10 second(s)", true).is_well());
        let blind = SAID.replace(" cov: 815", "").replace(" cov: 812", "");
        assert!(!FuzzReport::read(&blind, true).is_well());
        let mut crashed = FuzzReport::read(SAID, true);
        crashed.crashes.push("crash-1".into());
        assert!(!crashed.is_well());
    }
}
