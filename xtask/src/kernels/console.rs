//! Reads a guest's console: which step ran, what it printed, how it ended.

use std::time::Duration;

/// What the lines of the guest's init script begin with. The rest is `KIND WORDS`.
pub(super) const MARKER: &str = "@@h2trace-guest ";

/// What the kernel says when it dies.
const PANIC: &str = "Kernel panic - not syncing";

/// What a guest's console showed.
#[derive(Debug, Default)]
pub(super) struct Console {
    /// `uname -r`.
    pub(super) release: Option<String>,
    /// From power on to the init script.
    pub(super) booted: Duration,
    /// What the init script could not prepare, and panics of the kernel.
    pub(super) broken: Vec<String>,
    /// Steps, in the order they ran.
    pub(super) steps: Vec<Ran>,
    /// The init script came to its end.
    pub(super) is_complete: bool,
    /// The step that runs now.
    began: Option<Duration>,
}

/// A step that was begun.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) name: String,
    /// What it printed, standard output and error as they came.
    pub(super) lines: Vec<String>,
    /// Its exit status; above 128 by a signal. None when it did not end.
    pub(super) status: Option<u32>,
    /// How long it ran.
    pub(super) took: Duration,
}

impl Ran {
    /// It printed a line with all of `words`.
    pub(super) fn says(&self, words: &[&str]) -> bool {
        self.lines
            .iter()
            .any(|line| words.iter().all(|word| line.contains(word)))
    }
}

impl Console {
    /// The kernel died before the init script began.
    pub(super) fn has_died_early(&self) -> bool {
        self.release.is_none() && self.broken.iter().any(|why| why.contains(PANIC))
    }

    /// Takes in one line, `at` after power on.
    pub(super) fn line(&mut self, at: Duration, line: &str) {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.contains(PANIC) {
            self.broken.push(line.to_owned());
        }
        let Some(said) = line.strip_prefix(MARKER) else {
            if self.began.is_some()
                && let Some(step) = self.steps.last_mut()
            {
                step.lines.push(line.to_owned());
            }
            return;
        };
        let (kind, rest) = said.split_once(' ').unwrap_or((said, ""));
        match kind {
            "release" => {
                self.release = Some(rest.to_owned());
                self.booted = at;
            }
            "broken" => self.broken.push(rest.to_owned()),
            "begin" => {
                self.began = Some(at);
                self.steps.push(Ran {
                    name: rest.to_owned(),
                    lines: Vec::new(),
                    status: None,
                    took: Duration::ZERO,
                });
            }
            "end" => self.ended(at, rest),
            "complete" => self.is_complete = true,
            _ => self
                .broken
                .push(format!("an unknown line of the init script: {line}")),
        }
    }

    /// `NAME STATUS`.
    fn ended(&mut self, at: Duration, rest: &str) {
        let of_this_step = rest
            .rsplit_once(' ')
            .and_then(|(name, status)| {
                let step = self.steps.last_mut().filter(|step| step.name == name)?;
                Some((step, status.parse().ok()?))
            })
            .zip(self.began.take());
        match of_this_step {
            Some(((step, status), began)) => {
                step.status = Some(status);
                step.took = at.saturating_sub(began);
                // The script begins the line with a line break, as a program's last line may lack one.
                while step.lines.last().is_some_and(String::is_empty) {
                    step.lines.pop();
                }
            }
            None => self
                .broken
                .push(format!("the end of no step that runs: {rest}")),
        }
    }

    pub(super) fn step(&self, name: &str) -> Option<&Ran> {
        self.steps.iter().find(|step| step.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Console {
        let mut console = Console::default();
        for (second, line) in (0..).zip(text.split('\n')) {
            console.line(Duration::from_secs(second), line);
        }
        console
    }

    #[test]
    fn steps_are_read_with_their_output_status_and_time() {
        let console = read(
            "\x1b[2JSeaBIOS\r\n\
             [    1.0] a line of the kernel\r\n\
             @@h2trace-guest release 6.12.117+deb12-cloud-amd64\r\n\
             \r\n\
             @@h2trace-guest begin doctor\r\n\
             kernel 6.12\r\n\
             \r\n\
             h2trace can trace here\r\n\
             \r\n\
             @@h2trace-guest end doctor 0\r\n\
             between the steps\r\n\
             @@h2trace-guest begin demo\r\n\
             error: no\r\n\
             @@h2trace-guest end demo 2\r\n\
             @@h2trace-guest complete\r\n\
             [    9.9] reboot: Power down\r\n",
        );
        assert_eq!(
            console.release.as_deref(),
            Some("6.12.117+deb12-cloud-amd64")
        );
        assert_eq!(console.booted, Duration::from_secs(2));
        assert!(console.is_complete && console.broken.is_empty());
        let doctor = console.step("doctor").unwrap();
        assert_eq!(doctor.lines, ["kernel 6.12", "", "h2trace can trace here"]);
        assert_eq!((doctor.status, doctor.took.as_secs()), (Some(0), 5));
        assert!(doctor.says(&["can trace", "here"]) && !doctor.says(&["kernel", "here"]));
        let demo = console.step("demo").unwrap();
        assert_eq!(
            (&demo.lines[..], demo.status),
            (&["error: no".to_owned()][..], Some(2))
        );
        assert!(console.step("kernel-tests").is_none());
    }

    #[test]
    fn guest_that_stops_in_a_step_is_not_complete() {
        let console = read(
            "@@h2trace-guest release 6.12\n@@h2trace-guest begin demo\n\
             [   12.3] Kernel panic - not syncing: Fatal exception\n",
        );
        assert!(!console.is_complete && !console.has_died_early());
        assert_eq!(console.step("demo").unwrap().status, None);
        assert_eq!(
            console.broken,
            ["[   12.3] Kernel panic - not syncing: Fatal exception"]
        );
    }

    #[test]
    fn guest_that_stops_as_it_boots_ran_nothing_of_ours() {
        let console = read("[    1.8] Kernel panic - not syncing: Fatal exception in interrupt\n");
        assert!(console.has_died_early());
    }

    #[test]
    fn what_could_not_be_prepared_is_kept() {
        let console = read("@@h2trace-guest broken no cgroup2 at /sys/fs/cgroup\r");
        assert!(!console.has_died_early());
        assert_eq!(console.broken, ["no cgroup2 at /sys/fs/cgroup"]);
    }

    #[test]
    fn end_of_another_step_is_no_end() {
        for text in [
            "@@h2trace-guest end demo 0",
            "@@h2trace-guest begin demo\n@@h2trace-guest end doctor 0",
            "@@h2trace-guest begin demo\n@@h2trace-guest end demo 0x",
        ] {
            let console = read(text);
            assert_eq!(console.broken.len(), 1, "{text}");
            assert!(console.steps.iter().all(|step| step.status.is_none()));
        }
    }
}
