//! The kernel tests once more, as on a kernel that has no socket tracepoints and no helper `bpf_loop`, of which there is
//! none to be had. (Debian's 6.1 has no socket tracepoints, and `bpf_loop`: `crate::kernels`.)

use std::path::Path;
use std::process::Command;

use crate::command;

/// What makes h2trace use the hooks of an older kernel.
pub(crate) const HOOKS: [(&str, &str); 2] =
    [("H2TRACE_HOOKS", "sys_exit"), ("H2TRACE_LOOP", "for_each")];

/// What of `tests/kernel` cannot pass at the exit of system calls, by the beginning of its name, and why.
pub(crate) const NOT_SEEN: [(&str, &str); 7] = [
    ("foreign::compat::", "32-bit calls pass unseen"),
    (
        "foreign::ring",
        "io_uring passes unseen, which AF_UNIX does not show",
    ),
    (
        "foreign::task_work::",
        "io_uring passes unseen, which AF_UNIX does not show",
    ),
    (
        "foreign::moved::bytes_of_asynchronous_requests",
        "io_submit passes unseen",
    ),
    (
        "foreign::descriptors::a_number_that_",
        "the descriptor is looked up when the call returns",
    ),
    (
        "foreign::processes::a_number_that_",
        "the descriptor is looked up when the call returns",
    ),
    (
        "foreign::multiple::messages_of_two_threads",
        "of two threads that send at once, what each has sent is not known when the calls return",
    ),
];

/// Whether a test, by its whole name, is one of those.
pub(crate) fn is_left_out(test: &str) -> bool {
    NOT_SEEN.iter().any(|(name, _)| test.starts_with(name))
}

/// The tests, with the hooks of an older kernel.
pub(crate) fn kernel_tests(root: &Path) -> Command {
    for (name, why) in NOT_SEEN {
        println!("    not run with the system call exit: {name} ({why})");
    }
    let mut tests = command::cargo(root);
    tests
        .args(["test", "--locked", "--no-fail-fast"])
        .args(["--package", "tracer-tests", "--test", "kernel"])
        .args(["--", "--test-threads=1"])
        .args(NOT_SEEN.iter().flat_map(|(name, _)| ["--skip", name]))
        .envs(HOOKS);
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_run_is_there() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kernel");
        for (name, _) in NOT_SEEN {
            let parts: Vec<&str> = name.split("::").collect();
            let [foreign, module, function] = match parts[..] {
                [foreign, module] => [foreign, module, ""],
                [foreign, module, function] => [foreign, module, function],
                _ => panic!("{name}"),
            };
            let text = std::fs::read_to_string(folder.join(foreign).join(format!("{module}.rs")))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(text.contains(&format!("fn {function}")), "{name}");
        }
    }
}
