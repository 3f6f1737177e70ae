//! What a guest runs, and which of the kernel tests.

use std::time::Duration;

use super::{Hooks, Kernel, PAGES_KIB, incident};

/// Further ones where the hooks are the socket tracepoints: with the system call exit these bytes pass unseen.
pub(super) const AT_SOCKET_TRACEPOINTS: [(&str, &str); 2] = [
    (
        "foreign::task_work::a_preface_in_another_calls_memory_makes_no_connection",
        "io_uring, whose operations run in whatever call the task is in",
    ),
    (
        "foreign::task_work::a_receive_that_completes_behind_the_send_that_fed_it_is_not_what_was_sent_last",
        "the same at the end of the call, which arm64 tells otherwise than amd64",
    ),
];

/// Further ones where pages are larger than 4 KiB.
pub(super) const AT_LARGER_PAGES: [(&str, &str); 1] = [(
    "losses::a_full_ring_is_counted_and_what_follows_is_in_place",
    "the ring at its smallest, which is measured and mapped in pages",
)];

/// The tests that run in a guest with this kernel.
pub(super) fn core(kernel: &Kernel) -> Vec<(&'static str, &'static str)> {
    let mut core = CORE.to_vec();
    if kernel.hooks == Hooks::SocketTracepoints {
        core.extend(AT_SOCKET_TRACEPOINTS);
    }
    if kernel.pages_kib != PAGES_KIB {
        core.extend(AT_LARGER_PAGES);
    }
    core
}

/// The tests of `tests/kernel` that run in every guest, by their whole names, and what each shows on another kernel.
///
/// They need no program but their own. A test loads the kernel programs once or more, and an emulated processor takes
/// seconds for each load: so these are tests whose outcome depends on the kernel's version, that load them once.
/// `cargo xtask test --kernels --full` runs all but [`ABSENT`].
pub(super) const CORE: [(&str, &str); 11] = [
    (
        "ways::data_is_counted_and_not_copied",
        "the walk over frames, and what is copied of DATA",
    ),
    (
        "ways::threads_that_share_a_connection_are_seen",
        "sockets that several tasks use at once",
    ),
    (
        "ends::a_close_in_order_tells_who_closed_first",
        "TCP states, from the tracepoint inet_sock_set_state",
    ),
    (
        "ends::a_reset_is_told_at_both_ends",
        "the tracepoints tcp_send_reset and tcp_receive_reset, whose arguments changed between versions",
    ),
    (
        "ends::the_end_of_a_unix_socket_is_told_by_a_receive",
        "AF_UNIX sockets, whose end no tracepoint tells",
    ),
    (
        "ends::a_reused_address_is_another_socket",
        "the end of a socket's memory, from tcp_destroy_sock",
    ),
    (
        "late::a_direction_in_the_middle_of_long_data_finds_the_next_frame",
        "the search for a frame, the longest loop",
    ),
    (
        "late::bytes_spliced_from_a_socket_show_as_a_gap_and_cost_the_place",
        "splice(2), which passes no hook",
    ),
    (
        "late::sendfile_within_data_is_a_normal_hole",
        "sendfile(2), which the kernel sends in another way since 6.5",
    ),
    (
        "losses::a_call_of_thousands_of_frames_is_walked_to_its_end",
        "a call that is walked in several goes",
    ),
    (
        "pods::pod_added_later_is_traced_from_its_first_byte_and_until_it_is_removed",
        "the cgroups of a task",
    ),
];

/// The tests of `tests/kernel` that cannot run in a guest, and what they lack.
pub(super) const ABSENT: [(&str, &str); 2] = [
    (
        "other::children_of_a_process_are_traced",
        "bash, whose /dev/tcp busybox has not",
    ),
    (
        "pods_later::first_request_of_a_pod_that_starts_later_is_seen_whole_and_nobody_elses",
        "curl and nghttpd",
    ),
];

/// How much a guest runs.
#[derive(Clone, Copy)]
pub(super) struct Extent<'a> {
    /// Every kernel test that can run in a guest, not the core alone.
    pub(super) all: bool,
    /// The incident, or why not.
    pub(super) incident: Result<(), &'a str>,
    /// The unit tests [`UNITS`].
    pub(super) units: bool,
}

/// The unit tests of an architecture that is not this machine's: step, and package. This machine's run in the gate.
pub(super) const UNITS: [(&str, &str); 2] = [
    ("core-tests", "h2trace-core"),
    ("walker-tests", "tracer-ebpf"),
];

/// What runs in a guest, one after the other.
pub(super) struct GuestStep {
    /// Its name on the console.
    pub(super) name: &'static str,
    /// The program and its arguments: words without spaces and quotes.
    pub(super) command: Vec<&'static str>,
    /// It is ended after so long.
    pub(super) limit: Duration,
    /// It is not begun when the step before it failed.
    pub(super) depends: bool,
}

/// Programs of tests in a guest; those of unit tests are called as their steps.
pub(super) const KERNEL_TESTS: &str = "kernel-tests";
pub(super) const INCIDENT_TESTS: &str = "incident-tests";

/// Names of steps.
pub(super) const DOCTOR: &str = "doctor";
pub(super) const DEMO: &str = "demo";
pub(super) const TESTS: &str = "kernel-tests";
pub(super) const INCIDENT: &str = "incident";
pub(super) const LOG: &str = "kernel-log";

/// The demo with as many calls as it can make, and not all at once: none of those fails that an emulated processor
/// begins together.
pub(super) const DEMO_ARGUMENTS: [&str; 5] = ["demo", "--calls", "100", "--in-flight", "30"];

/// The demo, again until a call fails: the emulated processor decides which of its programs is late.
pub(super) const DEMO_PROGRAM: &str = "demo-until-a-call-fails";

/// The script of that name.
pub(super) fn demo_script() -> String {
    format!(
        "#!/bin/sh\n\
         for n in 1 2 3 4 5; do\n\
         h2trace {} >/tmp/demo 2>&1\n\
         status=$?\n\
         cat /tmp/demo\n\
         [ $status = 0 ] || exit $status\n\
         grep -q 'client says  *[1-9][0-9]* of' /tmp/demo && exit 0\n\
         done\n\
         exit 0\n",
        DEMO_ARGUMENTS.join(" ")
    )
}

/// The steps of a guest. Their limits are for what hangs: several times what they take on a busy machine.
pub(super) fn of(kernel: &Kernel, extent: Extent<'_>) -> Vec<GuestStep> {
    let step = |name, command, seconds| GuestStep {
        name,
        command,
        limit: Duration::from_secs(seconds),
        depends: false,
    };
    let limit = if extent.all { 2_400 } else { 900 };
    let mut steps = vec![
        step(DOCTOR, vec!["h2trace", "doctor"], 120),
        step(DEMO, vec![DEMO_PROGRAM], 600),
        // A program that does not load fails the demo, and would fail each of the tests after a long time.
        GuestStep {
            depends: true,
            ..step(TESTS, tests(kernel, extent.all), limit)
        },
    ];
    if extent.units {
        steps.extend(UNITS.map(|(name, _)| step(name, vec![name], 900)));
    }
    if extent.incident.is_ok() {
        let command = vec![INCIDENT_TESTS, "--show-output", "--exact", incident::TEST];
        steps.push(step(INCIDENT, command, 900));
    }
    steps.push(step(LOG, vec!["look-into-the-kernels-log"], 30));
    steps
}

/// The test program and its arguments.
fn tests(kernel: &Kernel, all: bool) -> Vec<&'static str> {
    let mut command = vec![KERNEL_TESTS];
    // What a test that passes has printed tells whether it skipped itself.
    command.extend(["--test-threads=1", "--show-output", "--exact"]);
    if all {
        command.extend(ABSENT.iter().flat_map(|(name, _)| ["--skip", name]));
    } else {
        command.extend(core(kernel).iter().map(|(name, _)| name));
    }
    command
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The script is held against a real shell, with an h2trace that finds failed calls at its third run.
    #[test]
    fn demo_is_run_again_until_a_call_fails() {
        let folder = std::env::temp_dir().join(format!("h2trace-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let said = folder.display().to_string();
        let run = |fails_at: u32, status: u32| {
            std::fs::write(folder.join("runs"), "").unwrap();
            let h2trace = format!(
                "h2trace() {{ echo x >>{said}/runs\n\
                 [ $(wc -l <{said}/runs) = {fails_at} ] && n=7 || n=0\n\
                 echo \"  the client says       $n of 100 failed\"\n\
                 return {status}; }}\n"
            );
            let script = h2trace + &demo_script().replace("/tmp/demo", &format!("{said}/demo"));
            let ran = std::process::Command::new("sh")
                .args(["-c", &script])
                .output()
                .unwrap();
            let lines = String::from_utf8(ran.stdout).unwrap().lines().count();
            (lines, ran.status.code())
        };
        assert_eq!(run(3, 0), (3, Some(0)));
        assert_eq!(run(3, 2), (1, Some(2)));
        // The judge says that this has shown nothing.
        assert_eq!(run(9, 0), (5, Some(0)));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn every_test_that_is_named_here_is_there() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kernel");
        let named = || {
            CORE.into_iter()
                .chain(AT_SOCKET_TRACEPOINTS)
                .chain(AT_LARGER_PAGES)
        };
        for (name, _) in named().chain(ABSENT) {
            let (module, function) = name.rsplit_once("::").unwrap();
            let module = module.replace("::", "/");
            let text = std::fs::read_to_string(folder.join(format!("{module}.rs"))).unwrap();
            let head = format!("#[test]\nfn {function}() {{");
            assert!(text.contains(&head), "no {head:?} in {module}.rs");
        }
        for (name, _) in named() {
            assert!(ABSENT.iter().all(|(absent, _)| *absent != name), "{name}");
        }
    }
}
