//! What every thread of a tracer has given up once it traces.

use std::time::Duration;

use tracer_tests::skip::Privileges;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, require};

/// `/proc/PID/status` of all threads: what they have of each of these.
fn of_threads(pid: u32, key: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the tracer runs");
    let statuses = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok());
    let mut values: Vec<String> = statuses
        .filter_map(|status| {
            let value = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(value.trim().to_owned())
        })
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn has_given_up(tracer: &Tracer) {
    let pid = tracer.pid();
    // The ready file comes first: it is the last that is written.
    let filtered = || of_threads(pid, "Seccomp:") == ["2"];
    assert!(
        eventually(Duration::from_secs(10), filtered),
        "{:?}",
        of_threads(pid, "Seccomp:")
    );
    for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:", "CapBnd:"] {
        assert_eq!(of_threads(pid, set), ["0000000000000000"], "{set}");
    }
    assert_eq!(of_threads(pid, "NoNewPrivs:"), ["1"]);
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("the tracer runs");
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert_eq!(
        cores.map(|line| line.split_whitespace().filter(|word| *word == "0").count()),
        Some(2)
    );
}

#[test]
fn no_thread_keeps_a_capability_and_all_are_filtered() {
    require!(Privileges);
    let own = [std::process::id()];
    let tracer = Tracer::start(&own);
    has_given_up(&tracer);
    let (_trace, said) = tracer.finish_with_errors();
    assert!(said.iter().all(|line| !line.contains("WARN")), "{said:?}");
    // With the threads of a recording too.
    let folder = tempfile::tempdir().expect("a folder for the recording");
    let file = folder.path().join("out.pcapng");
    let tracer = Tracer::recording(&own, &file);
    has_given_up(&tracer);
    let (_trace, said) = tracer.finish_with_errors();
    assert!(said.iter().all(|line| !line.contains("WARN")), "{said:?}");
    assert!(file.metadata().is_ok_and(|file| file.len() > 0));
}
