//! Holds what a guest showed against what its kernel has to show.

use std::time::Duration;

use super::console::Ran;
use super::guest::Boot;
use super::steps::{ABSENT, DEMO, DOCTOR, Extent, INCIDENT, LOG, TESTS, UNITS, core};
use super::verdict::{BOOT, Check, Verdict, programs};
use super::{Hooks, Kernel};
use crate::test::count::Count;

/// What h2trace says with its exit status: all is well.
pub(super) const WELL: u32 = 0;

/// Judges a guest that had to run so much.
pub(super) fn judge(kernel: &Kernel, extent: Extent<'_>, boot: &Boot) -> Verdict {
    let Extent {
        all,
        incident,
        units,
    } = extent;
    let console = &boot.console;
    let of = |name| {
        console
            .step(name)
            .ok_or_else(|| "it was not begun".to_owned())
    };
    let took = |name| console.step(name).map_or(Duration::ZERO, |step| step.took);
    let mut checks = vec![Check::new(BOOT, console.booted, booted(kernel, boot))];
    let doctor = of(DOCTOR).and_then(|ran| doctor(kernel.hooks, ran));
    checks.push(Check::new(DOCTOR, took(DOCTOR), doctor));
    let demo = of(DEMO).and_then(demo);
    checks.push(Check::new(DEMO, took(DEMO), demo));
    checks.push(match of(TESTS) {
        Ok(ran) if all => tests(TESTS, Wanted::AllBut(ABSENT.len()), ran),
        Ok(ran) => tests(TESTS, Wanted::Just(core(kernel).len()), ran),
        Err(_) => {
            let why = "they were not begun, as the step before them failed";
            Check::new(TESTS, Duration::ZERO, Err(why.to_owned()))
        }
    });
    if units {
        checks.extend(UNITS.map(|(name, _)| match of(name) {
            Ok(ran) => tests(name, Wanted::AllBut(0), ran),
            Err(why) => Check::new(name, Duration::ZERO, Err(why)),
        }));
    }
    if incident.is_ok() {
        checks.push(match of(INCIDENT) {
            Ok(ran) => tests(INCIDENT, Wanted::Just(1), ran),
            Err(why) => Check::new(INCIDENT, Duration::ZERO, Err(why)),
        });
    }
    let log = of(LOG).and_then(|ran| ended_with(WELL, ran));
    checks.push(Check::new(LOG, took(LOG), log));
    Verdict {
        name: kernel.name,
        release: console.release.clone().unwrap_or_default(),
        took: boot.took,
        checks,
        skipped: not_run(all)
            .into_iter()
            .chain(incident.err().map(|why| format!("the incident ({why})")))
            .collect(),
        programs: programs(console),
    }
}

/// It came up with everything mounted, as the kernel that was wanted, and went down by itself.
fn booted(kernel: &Kernel, boot: &Boot) -> Result<(), String> {
    let console = &boot.console;
    let series = format!("{}.", kernel.series);
    if let Some(broken) = console.broken.first() {
        return Err(broken.clone());
    }
    match &console.release {
        None => return Err("the init script did not come to its first step".to_owned()),
        Some(release) if !release.starts_with(&series) || !release.ends_with(kernel.flavour) => {
            return Err(format!("it is kernel {release}"));
        }
        Some(_) => {}
    }
    match (boot.was_ended, console.is_complete) {
        (true, _) => Err("it was ended at its time limit".to_owned()),
        (false, false) => Err("it went down before its last step".to_owned()),
        (false, true) => Ok(()),
    }
}

/// It can trace, with the hooks that it has to choose.
pub(super) fn doctor(hooks: Hooks, ran: &Ran) -> Result<(), String> {
    ended_with(WELL, ran)?;
    let name = hooks.name();
    let says = ran.says(&["hooks on socket calls", name]);
    let error = || format!("it does not say that the hooks are: {name}");
    says.then_some(()).ok_or_else(error)
}

/// Its findings are the calls that its client saw fail, and there were some.
pub(super) fn demo(ran: &Ran) -> Result<(), String> {
    ended_with(WELL, ran)?;
    let said = ran.lines.iter().filter_map(|line| {
        let (failed, _) = line
            .trim()
            .strip_prefix("the client says")?
            .split_once(" of ")?;
        failed.trim().parse::<u32>().ok()
    });
    if said.max().unwrap_or_default() > 0 {
        return Ok(());
    }
    Err("its client saw no call fail: it has shown nothing".to_owned())
}

pub(super) fn ended_with(wanted: u32, ran: &Ran) -> Result<(), String> {
    match ran.status {
        Some(status) if status == wanted => Ok(()),
        Some(status) => {
            // The last one: h2trace's own, or the test runner's.
            let is_error =
                |line: &&String| line.starts_with("h2trace: ") || line.starts_with("error");
            let said = ran.lines.iter().rfind(is_error);
            let said = said.map_or_else(String::new, |line| format!(": {line}"));
            let killed = if status == 137 {
                " (its time limit)"
            } else {
                ""
            };
            Err(format!("exit status {status}{killed}, not {wanted}{said}"))
        }
        None => Err("it did not end".to_owned()),
    }
}

/// How many tests have to run.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// So many.
    Just(usize),
    /// All but so many, which are left out.
    AllBut(usize),
    /// At least one: who runs them tells those that are left out.
    Any,
}

/// Tests pass when all that were asked for ran, none skipped itself, and none failed.
pub(super) fn tests(name: &'static str, wanted: Wanted, ran: &Ran) -> Check {
    let result = ran.lines.iter().find_map(|line| {
        let filtered = number_before(line, " filtered out")?;
        Some((Count::of_line(line)?, filtered))
    });
    let outcome = ended_with(WELL, ran).and_then(|()| {
        let (count, filtered) = result.ok_or("it has no result line")?;
        if let Some(line) = ran.lines.iter().find(|line| is_of_a_skipped_test(line)) {
            return Err(format!("a test skipped itself: {line}"));
        }
        let (is, should, what) = match wanted {
            Wanted::Just(n) => (count.passed, n, "ran"),
            Wanted::AllBut(n) => (filtered, n, "were left out"),
            Wanted::Any if count.passed > 0 => return Ok(()),
            Wanted::Any => return Err("no test ran".to_owned()),
        };
        if usize::try_from(is) == Ok(should) {
            Ok(())
        } else {
            Err(format!("{is} tests {what}, not {should}"))
        }
    });
    let mut check = Check::new(name, ran.took, outcome);
    if let Some((count, _)) = result {
        check.count = Count {
            passed: count.passed,
            failed: count.failed.max(check.count.failed),
        };
    }
    check
}

/// What tests of this project print when they cannot run.
fn is_of_a_skipped_test(line: &str) -> bool {
    line.starts_with("skipped: ") || line.starts_with("SKIPPED: ")
}

fn number_before(line: &str, word: &str) -> Option<u64> {
    let (before, _) = line.split_once(word)?;
    before.rsplit(' ').next()?.parse().ok()
}

/// The kernel tests that no guest runs, or not without `--full`.
fn not_run(all: bool) -> Vec<String> {
    if all {
        return ABSENT
            .iter()
            .map(|(name, lacks)| format!("{name} (the guest has no {lacks})"))
            .collect();
    }
    vec!["the kernel tests outside the core (--full runs them)".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::super::console::Console;
    use super::super::steps::AT_LARGER_PAGES;
    use super::super::verdict::Stacks;
    use super::*;

    const NEW: Kernel = Kernel {
        name: "6.12",
        series: "6.12",
        flavour: "cloud-amd64",
        pages_kib: 4,
        architecture: crate::architecture::Architecture::Amd64,
        hooks: Hooks::SocketTracepoints,
    };
    fn n_core() -> usize {
        core(&NEW).len()
    }

    const CORE_ALONE: Extent<'_> = Extent {
        all: false,
        incident: Err("not asked for"),
        units: false,
    };
    const SAID: &str = "  the client says       22 of 100 failed";
    const HOOKS: &str = "ok  hooks on socket calls  socket tracepoints";

    /// A guest that printed this, of flavour `cloud-amd64`; each step is (name, output, status).
    fn boot(release: &str, steps: &[(&str, &str, u32)]) -> Boot {
        let mut console = Console::default();
        let mut text = format!("@@h2trace-guest release {release}-cloud-amd64\n");
        for (name, output, status) in steps {
            text += &format!(
                "@@h2trace-guest begin {name}\n{output}\n@@h2trace-guest end {name} {status}\n"
            );
        }
        text += "@@h2trace-guest complete\n";
        for line in text.lines() {
            console.line(Duration::ZERO, line);
        }
        Boot {
            console,
            took: Duration::from_secs(40),
            was_ended: false,
        }
    }

    fn failures(kernel: &Kernel, boot: &Boot) -> Vec<String> {
        let verdict = judge(kernel, CORE_ALONE, boot);
        let failed = verdict.checks.into_iter().filter_map(|check| {
            let why = check.failure?;
            Some(format!("{}: {why}", check.name))
        });
        failed.collect()
    }

    fn result(passed: usize, failed: usize) -> String {
        format!(
            "test result: ok. {passed} passed; {failed} failed; 0 ignored; 0 measured; 40 filtered out; finished in 1s"
        )
    }

    #[test]
    fn kernel_that_traces_passes_with_its_programs_told() {
        let core = result(n_core(), 0);
        let program = "ok program sock_recv_length: loaded, 42355 instructions verified";
        let doctor = format!("{HOOKS}\n{program}");
        let boot = boot(
            "6.12.117+deb12",
            &[
                (DOCTOR, &doctor, 0),
                (DEMO, SAID, 0),
                (TESTS, &core, 0),
                (LOG, "", 0),
            ],
        );
        assert_eq!(failures(&NEW, &boot), <[String; 0]>::default());
        let verdict = judge(&NEW, CORE_ALONE, &boot);
        let passed = 4 + n_core() as u64;
        assert_eq!(verdict.count(), Count { passed, failed: 0 });
        let closing = verdict.closing(&Stacks::default());
        assert!(closing[0].starts_with("6.12: 6.12.117+deb12-cloud-amd64, 40 s: boot as it"));
        assert!(closing[0].contains("; skipped: the kernel tests outside the core"));
        assert_eq!(closing[1], format!("    {program}"));
    }

    #[test]
    fn each_thing_that_is_not_as_it_has_to_be_is_a_failure_of_its_own() {
        let core = result(n_core(), 0);
        let refused = "h2trace: cannot load the kernel program sock_recv_length";
        for (release, steps, want) in [
            (
                "6.12.1",
                vec![
                    (DOCTOR, "", 2),
                    (DEMO, refused, 2),
                    (TESTS, &*core, 0),
                    (LOG, "Oops", 1),
                ],
                vec![
                    "doctor: exit status 2, not 0".to_owned(),
                    format!("demo: exit status 2, not 0: {refused}"),
                    "kernel-log: exit status 1, not 0".to_owned(),
                ],
            ),
            (
                "6.1.9",
                vec![
                    (DOCTOR, "less  hooks on socket calls  system call exit", 0),
                    (DEMO, "", 137),
                    (LOG, "", 0),
                ],
                vec![
                    "boot: it is kernel 6.1.9-cloud-amd64".to_owned(),
                    "doctor: it does not say that the hooks are: socket tracepoints".to_owned(),
                    "demo: exit status 137 (its time limit), not 0".to_owned(),
                    "kernel-tests: they were not begun, as the step before them failed".to_owned(),
                ],
            ),
        ] {
            assert_eq!(failures(&NEW, &boot(release, &steps)), want);
        }
    }

    #[test]
    fn kernel_with_other_pages_is_another_kernel() {
        let larger = Kernel {
            flavour: "arm64-16k",
            pages_kib: 16,
            ..NEW
        };
        let failures = failures(&larger, &boot("6.12.1", &[]));
        assert_eq!(failures[0], "boot: it is kernel 6.12.1-cloud-amd64");
        let names: Vec<_> = core(&larger).iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&AT_LARGER_PAGES[0].0));
        assert_eq!(names.len(), n_core() + 1);
    }

    #[test]
    fn a_demo_whose_client_saw_no_call_fail_has_shown_nothing() {
        let core = result(n_core(), 0);
        let with = |said: &str| {
            let steps = [
                (DOCTOR, HOOKS, 0),
                (DEMO, said, 0),
                (TESTS, &*core, 0),
                (LOG, "", 0),
            ];
            failures(&NEW, &boot("6.12.1", &steps))
        };
        let none = "  the client says        0 of 20 failed";
        let why = "demo: its client saw no call fail: it has shown nothing";
        assert_eq!(with(none), [why]);
        assert_eq!(with(""), [why]);
        // It is tried more than once.
        assert!(with(&format!("{none}\n{SAID}")).is_empty());
    }

    #[test]
    fn tests_that_skip_themselves_or_are_too_few_fail() {
        let with = |output: &str, status| {
            let steps = [
                (DOCTOR, HOOKS, 0),
                (DEMO, SAID, 0),
                (TESTS, output, status),
                (LOG, "", 0),
            ];
            let boot = boot("6.12.1", &steps);
            let count = judge(&NEW, CORE_ALONE, &boot).count();
            (failures(&NEW, &boot), count.failed)
        };
        let few = result(n_core() - 1, 0);
        assert_eq!(
            with(&few, 0),
            (
                vec![format!(
                    "kernel-tests: {} tests ran, not {}",
                    n_core() - 1,
                    n_core()
                )],
                1
            )
        );
        let skipped = format!("skipped: no privileges\n{}", result(n_core(), 0));
        let (why, failed) = with(&skipped, 0);
        assert!(why[0].contains("skipped itself") && failed == 1, "{why:?}");
        let broken = result(n_core() - 3, 3);
        assert_eq!(
            with(&broken, 101),
            (vec!["kernel-tests: exit status 101, not 0".to_owned()], 3)
        );
        assert_eq!(
            with("panicked", 0),
            (vec!["kernel-tests: it has no result line".to_owned()], 1)
        );
    }

    #[test]
    fn incident_has_to_pass_where_it_is_run() {
        let core = result(n_core(), 0);
        let mut steps = vec![
            (DOCTOR, HOOKS, 0),
            (DEMO, SAID, 0),
            (TESTS, &*core, 0),
            (LOG, "", 0),
        ];
        let extent = Extent {
            incident: Ok(()),
            ..CORE_ALONE
        };
        let count =
            |steps: &[(&str, &str, u32)]| judge(&NEW, extent, &boot("6.12.1", steps)).count();
        let passed = 4 + n_core() as u64;
        assert_eq!(count(&steps), Count { passed, failed: 1 });
        let one = result(1, 0);
        steps.insert(3, (INCIDENT, &one, 0));
        let passed = passed + 1;
        assert_eq!(count(&steps), Count { passed, failed: 0 });
        let none = result(0, 0);
        steps[3] = (INCIDENT, &none, 0);
        assert_eq!(count(&steps).failed, 1);
    }

    #[test]
    fn unit_tests_have_to_pass_where_they_are_run_and_none_may_be_left_out() {
        let core = result(n_core(), 0);
        let extent = Extent {
            units: true,
            ..CORE_ALONE
        };
        let failed = |units: &[&str]| {
            let mut steps = vec![(DOCTOR, HOOKS, 0), (DEMO, SAID, 0), (TESTS, &*core, 0)];
            for ((name, _), said) in UNITS.iter().zip(units) {
                steps.push((name, said, 0));
            }
            steps.push((LOG, "", 0));
            judge(&NEW, extent, &boot("6.12.1", &steps)).count().failed
        };
        let well = "test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(failed(&[well, well]), 0);
        assert_eq!(failed(&[well]), 1);
        let partly = "test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out";
        assert_eq!(failed(&[well, partly]), 1);
    }

    #[test]
    fn guest_that_stopped_or_was_ended_failed() {
        let steps = [(DOCTOR, HOOKS, 0), (DEMO, SAID, 0)];
        let mut stopped = boot("6.12.1", &steps);
        stopped.console.is_complete = false;
        assert_eq!(
            failures(&NEW, &stopped)[0],
            "boot: it went down before its last step"
        );
        stopped.was_ended = true;
        assert_eq!(
            failures(&NEW, &stopped)[0],
            "boot: it was ended at its time limit"
        );
        stopped.console.broken.push("no loopback".to_owned());
        assert_eq!(failures(&NEW, &stopped)[0], "boot: no loopback");
    }
}
