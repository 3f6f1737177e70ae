//! Runs the tests one after the other in one cluster, and prints as Cargo's own runner does, so that they are counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tracer_tests::cluster::ClusterParts;
use tracer_tests::eventually;
use tracer_tests::skip::{Need, Privileges, note_that_it_runs, say};

use crate::setting::{Setting, image_archive};

/// A test: its name as a sentence, and what it does.
pub(crate) struct Test(pub(crate) &'static str, pub(crate) fn(&mut Setting));

/// The last test, which needs that all others are over.
const NOTHING_LEFT: &str = "the_cluster_leaves_nothing_behind";

/// Runs those that the command line asks for.
pub(crate) fn run(tests: &[Test]) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| words.iter().any(|word| word == flag);
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|filter| {
                if has("--exact") {
                    name == filter.as_str()
                } else {
                    name.contains(filter.as_str())
                }
            })
    };
    let chosen: Vec<&Test> = tests.iter().filter(|test| wanted(test.0)).collect();
    if has("--list") {
        for test in &chosen {
            println!("{}: test", test.0);
        }
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    println!("\nrunning {} tests", chosen.len() + 1);
    let missing = Privileges
        .missing()
        .or_else(|| ClusterParts.missing())
        .or_else(image_missing);
    if let Some(why) = missing {
        say(&why);
        closing_line(0, 0, tests.len() + 1, began.elapsed());
        return ExitCode::SUCCESS;
    }
    let (mut failed, mut n_run) = (Vec::new(), 0);
    let Ok(mut setting) = catch_unwind(Setting::make) else {
        println!("test the_cluster_starts ... FAILED");
        closing_line(0, 1, 0, began.elapsed());
        return ExitCode::FAILURE;
    };
    for Test(name, run) in &chosen {
        let started = Instant::now();
        note_that_it_runs();
        println!("---- {name}");
        n_run += 1;
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut setting)));
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!(
            "test {name} ... {verdict} ({:.1} s)",
            started.elapsed().as_secs_f32()
        );
        if outcome.is_err() {
            failed.push(*name);
            // The tests after it are to have a whole cluster.
            let mended = catch_unwind(AssertUnwindSafe(|| setting.cluster.mend()));
            println!("{}", setting.diagnosis());
            if mended.is_err() {
                break;
            }
        }
    }
    let (name, folder) = (
        setting.cluster.sandbox.name().to_owned(),
        setting.cluster.sandbox.folder().to_owned(),
    );
    drop(setting);
    // What was killed is a zombie until the machine's init looks after it.
    let mut left = Vec::new();
    eventually(Duration::from_secs(20), || {
        left = left_behind(&name, &folder);
        left.is_empty()
    });
    println!(
        "test {NOTHING_LEFT} ... {}",
        if left.is_empty() { "ok" } else { "FAILED" }
    );
    if !left.is_empty() {
        println!("left behind:\n{}", left.join("\n"));
        failed.push(NOTHING_LEFT);
    }
    if !failed.is_empty() {
        println!("\nfailures:\n    {}", failed.join("\n    "));
    }
    let passed = n_run + 1 - failed.len();
    closing_line(passed, failed.len(), 0, began.elapsed());
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(101)
    }
}

fn image_missing() -> Option<String> {
    let archive = image_archive();
    (!archive.is_file()).then(|| format!("{} is not there: cargo xtask image", archive.display()))
}

fn closing_line(passed: usize, failed: usize, ignored: usize, took: Duration) {
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out; \
         finished in {:.2}s\n",
        took.as_secs_f32()
    );
}

/// What is there of a cluster that should be gone: its folder, processes that name it, mounts, cgroups.
fn left_behind(name: &str, folder: &Path) -> Vec<String> {
    let mut left = Vec::new();
    if folder.exists() {
        left.push(format!("the folder {}", folder.display()));
    }
    let own = std::process::id().to_string();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid == own || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        for file in ["cmdline", "cgroup"] {
            let text = std::fs::read(entry.path().join(file)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).replace('\0', " ");
            if text.contains(&format!("{name}/")) || text.contains(&format!("{name} ")) {
                left.push(format!("process {pid}: {text}"));
            }
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(name))
            .map(str::to_owned),
    );
    for hierarchy in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        if let Some(at) = hierarchy.split(' ').nth(4) {
            let group = Path::new(at).join(name);
            if group.exists() {
                left.push(format!("the cgroup {}", group.display()));
            }
        }
    }
    left
}
