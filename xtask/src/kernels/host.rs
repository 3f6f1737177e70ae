//! This machine's kernel, with the hooks that h2trace chooses and with those of an older kernel.
//!
//! Here all kernel tests run, and the reference incident in its usual size. What a guest shows and what is shown here
//! is told in the same way.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::console::{Console, Ran};
use super::judge::{self, WELL, Wanted};
use super::steps::{DEMO, DEMO_ARGUMENTS, DOCTOR, INCIDENT, TESTS};
use super::verdict::{Check, Verdict, programs};
use super::{Hooks, incident};
use crate::test::older;
use crate::test::report::{self, Skip};
use crate::{command, image};

/// A way to run this machine's kernel.
pub(super) struct Host {
    /// What it is called beside the names of kernels.
    pub(super) name: &'static str,
    /// With the system call exit and without `bpf_loop`, whatever the kernel has.
    is_older: bool,
}

/// In the order that they run.
pub(super) const HOSTS: [Host; 2] = [
    Host {
        name: "host",
        is_older: false,
    },
    Host {
        name: "host-older-hooks",
        is_older: true,
    },
];

/// What the kernel tests need of the set-up beside the peers of the incident.
pub(super) const PIECE: &str = "programs";

/// What came of it, and the tests that skipped themselves.
pub(super) struct Shown {
    pub(super) verdict: Verdict,
    pub(super) skips: Vec<Skip>,
}

impl Host {
    /// Runs all of it, and shows what it prints. `is_full`: bigger tests.
    ///
    /// # Errors
    /// When a program cannot be run, or `folder` not be written.
    pub(super) fn run(&self, root: &Path, is_full: bool, folder: &Path) -> anyhow::Result<Shown> {
        let binary = image::static_binary(root)?;
        let skipped = folder.join(format!("{}.skipped", self.name));
        fs::write(&skipped, "").with_context(|| format!("cannot write {}", skipped.display()))?;
        let path = folder.join(format!("{}.log", self.name));
        let mut log =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let began = Instant::now();
        let mut console = Console::default();
        for (name, mut step) in self.steps(root, &binary) {
            step.env("H2TRACE_BINARY", &binary)
                .env(report::SKIPPED_FILE, &skipped)
                .stdin(Stdio::null());
            if is_full {
                step.env("H2TRACE_SCALE", "full");
            }
            console.steps.push(ran(name, step, &mut log)?);
        }
        let skips = report::read(&skipped);
        fs::remove_file(&skipped).ok();
        let mut verdict = self.judge(&console);
        verdict.release = command::output(Command::new("uname").arg("-r"))?
            .trim()
            .to_owned();
        verdict.took = began.elapsed();
        let said = |skip: &Skip| format!("{} ({})", skip.what, skip.why);
        verdict.skipped.extend(skips.iter().map(said));
        verdict.print(&console, &path);
        let skips = skips.into_iter().map(|skip| Skip {
            what: format!("{}: {}", self.name, skip.what),
            ..skip
        });
        Ok(Shown {
            verdict,
            skips: skips.collect(),
        })
    }

    /// As a guest's, but for the look into the kernel's log, which is not ours alone.
    fn steps(&self, root: &Path, binary: &Path) -> Vec<(&'static str, Command)> {
        let own = |arguments: &[&str]| {
            let mut own = Command::new(binary);
            own.args(arguments);
            own
        };
        let tests = if self.is_older {
            older::kernel_tests(root)
        } else {
            let mut tests = test(root, "kernel");
            tests.arg("--test-threads=1");
            tests
        };
        let mut reference = test(root, "incident");
        reference.args(["--exact", incident::TEST]);
        let mut steps = vec![
            (DOCTOR, own(&["doctor"])),
            (DEMO, own(&DEMO_ARGUMENTS)),
            (TESTS, tests),
            (INCIDENT, reference),
        ];
        if self.is_older {
            for (_, step) in &mut steps {
                step.envs(older::HOOKS);
            }
        }
        steps
    }

    /// Judges what its steps have printed.
    fn judge(&self, console: &Console) -> Verdict {
        let of = |name| {
            console
                .step(name)
                .ok_or_else(|| "it was not begun".to_owned())
        };
        let check = |name, outcome: &dyn Fn(&Ran) -> Result<(), String>| {
            let took = console.step(name).map(|ran| ran.took).unwrap_or_default();
            Check::new(name, took, of(name).and_then(outcome))
        };
        let tests = |name, wanted| match of(name) {
            Ok(ran) => judge::tests(name, wanted, ran),
            Err(why) => Check::new(name, Duration::ZERO, Err(why)),
        };
        Verdict {
            name: self.name,
            release: String::new(),
            took: Duration::ZERO,
            checks: vec![
                check(DOCTOR, &|ran| {
                    if self.is_older {
                        return judge::doctor(Hooks::SystemCallExit, ran);
                    }
                    // Which hooks it chooses is this machine's affair.
                    judge::ended_with(WELL, ran)
                }),
                check(DEMO, &judge::demo),
                tests(TESTS, Wanted::Any),
                tests(INCIDENT, Wanted::Just(1)),
            ],
            skipped: if self.is_older {
                let said = |(name, why)| format!("{name} ({why})");
                older::NOT_SEEN.map(said).to_vec()
            } else {
                Vec::new()
            },
            programs: programs(console),
        }
    }
}

fn test(root: &Path, name: &str) -> Command {
    let mut tests = command::cargo(root);
    tests.args(["test", "--locked", "--no-fail-fast"]).args([
        "--package",
        "tracer-tests",
        "--test",
        name,
        "--",
    ]);
    tests
}

/// Runs a step to its end; what it prints goes to this program's output and to `log` as it comes.
fn ran(name: &'static str, mut step: Command, log: &mut File) -> anyhow::Result<Ran> {
    let shown = command::shown(&step);
    println!("    {shown}");
    let began = Instant::now();
    let (output, input) = std::io::pipe().context("cannot make a pipe")?;
    let errors = input.try_clone().context("cannot share a pipe")?;
    let spawned = step.stdout(input).stderr(errors).spawn();
    // It holds the pipe open.
    drop(step);
    let mut child = spawned.with_context(|| format!("cannot run {shown}"))?;
    let mut lines = Vec::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("cannot read from {shown}"))?;
        let line = String::from_utf8_lossy(&line).into_owned();
        println!("{line}");
        writeln!(log, "{line}").context("cannot write the log")?;
        lines.push(line);
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for {shown}"))?;
    Ok(Ran {
        name: name.to_owned(),
        lines,
        // As a shell has it for a program that a signal ended.
        status: Some(status.code().map_or(128, i32::cast_unsigned)),
        took: began.elapsed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::count::Count;

    fn console(steps: &[(&'static str, &str)]) -> Console {
        let mut console = Console::default();
        for (name, output) in steps {
            let mut log = log(name);
            let mut step = Command::new("printf");
            step.args(["%s\n", output]);
            console.steps.push(ran(name, step, &mut log).unwrap());
        }
        console
    }

    fn log(name: &str) -> File {
        let path = std::env::temp_dir().join(format!("h2trace-host-{}-{name}", std::process::id()));
        let log = File::create(&path).unwrap();
        fs::remove_file(path).unwrap();
        log
    }

    const DOCTORS: &str = "kernel 6.18.5, system call exit\n  \
                           less     hooks on socket calls     system call exit\n  \
                           ok       program sys_exit          loaded, 177601 instructions verified";
    const PASSED: &str =
        "test result: ok. 58 passed; 0 failed; 0 ignored; 0 measured; 23 filtered out";
    const ONE: &str = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out";

    #[test]
    fn what_is_shown_here_is_told_as_a_guests() {
        let steps = [
            (DOCTOR, DOCTORS),
            (DEMO, "  the client says  22 of 100 failed"),
            (TESTS, PASSED),
            (INCIDENT, ONE),
        ];
        let [own, older] = HOSTS;
        let verdict = older.judge(&console(&steps));
        let passed = 2 + 58 + 1;
        assert_eq!(verdict.count(), Count { passed, failed: 0 });
        let closing = verdict.closing(&[("sys_exit".to_owned(), 480)].into());
        assert!(closing[0].starts_with("host-older-hooks: "), "{closing:?}");
        assert!(closing[0].contains("; skipped: foreign::compat:: (32-bit calls pass unseen)"));
        assert_eq!(
            closing[1],
            "    ok program sys_exit loaded, 177601 instructions verified, 480 bytes of stack"
        );
        assert!(own.judge(&console(&steps)).skipped.is_empty());
    }

    #[test]
    fn what_did_not_run_here_is_a_failure() {
        let none = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 81 filtered out";
        let steps = [
            (DOCTOR, "  ok  hooks on socket calls  socket tracepoints"),
            (DEMO, "  the client says  0 of 100 failed"),
            (TESTS, none),
        ];
        let [own, older] = HOSTS;
        let failed = |host: Host| host.judge(&console(&steps)).count().failed;
        assert_eq!(failed(own), 3);
        // The hooks that were asked for were not used.
        assert_eq!(failed(older), 4);
    }

    #[test]
    fn both_outputs_of_a_step_and_its_status_are_kept() {
        let mut step = Command::new("sh");
        step.args(["-c", "echo one; echo two >&2; exit 3"]);
        let ran = ran("x", step, &mut log("both")).unwrap();
        assert_eq!((ran.lines.len(), ran.status), (2, Some(3)));
        let mut killed = Command::new("sh");
        killed.args(["-c", "kill -9 $$"]);
        let ended = super::ran("y", killed, &mut log("killed")).unwrap();
        assert_eq!(ended.status, Some(128));
    }

    #[test]
    fn the_piece_is_there() {
        assert!(crate::setup::has_piece(PIECE));
    }
}
