//! Refusals: one line on stderr that names the object and the remedy, exit status 2, before anything happens.

use std::net::TcpListener;
use std::process::Command;

use tracer_tests::skip;

use super::binary::{command, h2trace, output_of, path, unprivileged};

/// The id of a process that has gone.
fn gone() -> String {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    pid.to_string()
}

fn own() -> String {
    std::process::id().to_string()
}

#[test]
fn wrong_arguments_are_refused_in_one_line() {
    for (arguments, parts) in [
        (&["trase"][..], &["'trase'", "'trace'", "--help"][..]),
        (
            &["trace", "--no-such-option"],
            &["'--no-such-option'", "h2trace trace --help"],
        ),
        (&["trace", "--pid", "self"], &["'self'", "--pid"]),
        (&["trace", "--port", "0"], &["'0'", "--port"]),
        (&["trace", "--all", "--for", "30"], &["'30'", "such as 30s"]),
        (
            &["trace", "--all", "--output", "xml"],
            &["'xml'", "text, json"],
        ),
        (&["trace", "--all", "--limit", "0"], &["'0'", "--limit"]),
        (&["trace", "--all", "--pid", "1"], &["'--all'", "'--pid"]),
        (&["trace", "--comm", "a-name-of-20-letters"], &["15 bytes"]),
        (&["trace", "--all", "--ring-mib", "3"], &["power of 2"]),
        (&["serve", "--listen", "9464"], &["'9464'", "--listen"]),
        (&["generate", "completions"], &["<SHELL>"]),
    ] {
        h2trace(arguments).assert_refused(parts);
    }
}

#[test]
fn tracing_everything_must_be_asked_for() {
    h2trace(&["trace"])
        .assert_refused(&["--pid", "--comm", "--cgroup", "--netns", "--port", "--all"]);
}

#[test]
fn a_key_log_wants_to_know_whose_connections_it_opens() {
    for whose in [&["--all"][..], &["--port", "443"], &["--comm", "curl"]] {
        let arguments = [&["trace", "--keylog", "/nowhere.keys"], whose].concat();
        h2trace(&arguments).assert_refused(&["--keylog", "--pid", "--cgroup", "--netns", "--pod"]);
        let arguments = [&["trace", "--tls"], whose].concat();
        h2trace(&arguments).assert_refused(&["--tls", "--pid", "--cgroup", "--netns", "--pod"]);
    }
}

#[test]
fn keeping_payload_must_be_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("out.pcapng");
    let file = file.to_str().unwrap();
    h2trace(&["record", "--pid", &own(), "-w", file])
        .assert_refused(&["bodies and credentials", "--include-payload"]);
    h2trace(&["record", "--include-payload", "-w", file])
        .assert_refused(&["--pid", "--comm", "--all"]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    h2trace(&["record", "--pid", &own(), "--include-payload"]).assert_refused(&["--write"]);
    h2trace(&["record", "--pid", &own(), "-w", file, "--max-size", "5 MB"])
        .assert_refused(&["--max-size", "such as 100m"]);
}

#[test]
fn recording_that_cannot_be_written_is_named() {
    // SAFETY: geteuid(2) has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        skip::say("without privileges that is what is said: run the tests with sudo");
        return;
    }
    let file = "/proc/no/such/out.pcapng";
    h2trace(&["record", "--pid", &own(), "--include-payload", "-w", file])
        .assert_refused(&[file, "--write FILE"]);
}

#[test]
fn process_that_does_not_exist_is_named() {
    let pid = gone();
    h2trace(&["trace", "--pid", &pid])
        .assert_refused(&[&format!("no process has the id {pid}"), "ps -e"]);
    h2trace(&["serve", "--listen", "127.0.0.1:0", "--pid", &pid]).assert_refused(&[&pid]);
}

#[test]
fn environment_stands_for_an_option() {
    let pid = gone();
    let mut trace = command(&["trace"]);
    trace.env("H2TRACE_PID", &pid);
    output_of(trace).assert_refused(&[&format!("no process has the id {pid}")]);
}

#[test]
fn thread_is_refused_with_its_process() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let link = std::fs::read_link("/proc/thread-self").unwrap();
        sender
            .send(link.file_name().unwrap().to_str().unwrap().to_owned())
            .unwrap();
        // Until the other side is dropped.
        assert!(wait.recv().is_err());
    });
    let id = receiver.recv().unwrap();
    let said = h2trace(&["trace", "--pid", &id]);
    drop(done);
    thread.join().unwrap();
    said.assert_refused(&[&format!("--pid {}", own())]);
}

#[test]
fn port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    h2trace(&["serve", "--listen", &address, "--pid", &own()]).assert_refused(&[
        &address,
        "the port is in use",
        "--listen ADDRESS:PORT",
    ]);
}

#[test]
fn cgroup_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().to_str().unwrap();
    for (cgroup, parts) in [
        (
            "/no/such/cgroup",
            &["/no/such/cgroup", "no such file or directory"][..],
        ),
        (other, &[other, "no cgroup of the v2 hierarchy"]),
        ("18446744073709551615", &["18446744073709551615", "ls -id"]),
    ] {
        let said = h2trace(&["trace", "--cgroup", cgroup]);
        if said.stderr.contains("no cgroup v2 hierarchy") {
            said.assert_refused(&["mount"]);
        } else {
            said.assert_refused(parts);
        }
    }
}

#[test]
fn network_namespace_that_is_none_is_named() {
    let pid = format!("pid:{}", gone());
    h2trace(&["trace", "--netns", &pid]).assert_refused(&[
        &pid,
        "no such file or directory",
        "lsns -t net",
    ]);
    h2trace(&["trace", "--netns", "/etc/passwd"])
        .assert_refused(&["/etc/passwd is no network namespace"]);
}

#[test]
fn ready_file_that_cannot_be_written_is_named() {
    h2trace(&[
        "trace",
        "--pid",
        &own(),
        "--ready-file",
        "/proc/no/such/ready",
    ])
    .assert_refused(&["/proc/no/such/ready", "--ready-file PATH"]);
}

#[test]
fn missing_privileges_are_said_with_the_exact_command() {
    let pid = own();
    let said = output_of(unprivileged(&["trace", "--pid", &pid]));
    said.assert_refused(&[
        "CAP_BPF and CAP_PERFMON missing",
        "\"sudo ",
        &format!("h2trace trace --pid {pid}\""),
    ]);
    output_of(unprivileged(&["serve", "--listen", "127.0.0.1:0"]))
        .assert_refused(&["CAP_BPF", "sudo "]);
}

#[test]
fn kernel_without_btf_is_named() {
    // SAFETY: geteuid(2) has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        skip::say("hiding the kernel's BTF takes root: run the tests with sudo");
        return;
    }
    let mut hidden = Command::new("unshare");
    let script =
        "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" trace --pid $$ --kubernetes off";
    hidden.args(["--mount", "sh", "-c", script]).arg(path());
    output_of(hidden).assert_refused(&["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF=y"]);
}

#[test]
fn header_that_carries_a_credential_is_refused() {
    h2trace(&["trace", "--pid", &own(), "--header", "Authorization"])
        .assert_refused(&["\"authorization\"", "credential"]);
    h2trace(&["trace", "--pid", &own(), "--header", "x y"])
        .assert_refused(&["\"x y\"", "x-request-id"]);
    // Also when the capture is not there.
    h2trace(&["replay", "/nonexistent", "--header", "authorization"])
        .assert_refused(&["\"authorization\"", "credential"]);
}

#[test]
fn doctor_without_privileges_says_what_is_missing_and_the_remedy() {
    let said = output_of(unprivileged(&["doctor"]));
    assert_eq!((said.status, said.stderr.as_str()), (Some(2), ""));
    assert!(
        said.stdout.contains("MISSING") && said.stdout.contains("->"),
        "{}",
        said.stdout
    );
    let said = output_of(unprivileged(&["doctor", "--output", "json"]));
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&report["v"], &report["works"]), (&1.into(), &false.into()));
    let checks = report["checks"].as_array().unwrap();
    let missing: Vec<_> = checks.iter().filter(|check| check["ok"] == false).collect();
    assert!(
        missing
            .iter()
            .any(|check| check["name"].as_str().unwrap().contains("CAP_BPF")),
        "{missing:?}"
    );
    assert!(missing.iter().all(|check| {
        check["remedy"]
            .as_str()
            .is_some_and(|remedy| !remedy.is_empty())
    }));
}

#[test]
fn few_open_files_are_said_with_the_remedy() {
    for limit in [20, 24, 32, 40, 64] {
        for what in ["trace", "serve"] {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")])
                .arg(path())
                .args([what, "--pid", &own(), "--kubernetes", "off"]);
            if what == "serve" {
                shell.args(["--listen", "127.0.0.1:0"]);
            }
            output_of(shell).assert_refused(&["64 open files", "ulimit -n"]);
        }
    }
}
