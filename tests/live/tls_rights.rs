//! `--tls` as the image runs it: not as root, the capabilities on the file, and of them what the container was given. Each
//! one taken away is missed and named.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tracer_tests::process::Process;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::trace::Trace;
use tracer_tests::tracer::{Tracer, binary};
use tracer_tests::{eventually, require, workspace};

use crate::keys_gone::{CONNECTIONS, FINDABLE, Talker};
use crate::tls::seen;
use crate::{RUN, SETTLE};

/// What the chart grants, and what `tls.enabled` adds.
const TRACING: [&str; 2] = ["bpf", "perfmon"];
const READING: [&str; 2] = ["sys_ptrace", "dac_read_search"];

/// The chart's.
const USER: &str = "65532";

/// The program as it stands in the image.
struct Image {
    folder: TempDir,
}

impl Image {
    fn new() -> Image {
        let folder = TempDir::new().expect("cannot make a folder");
        open_to_all(folder.path());
        let image = Image { folder };
        std::fs::copy(binary(), image.program()).expect("cannot copy the program");
        let docker = workspace().join("tracer-user/deploy/Dockerfile");
        let docker = std::fs::read_to_string(docker).expect("the Dockerfile");
        let capabilities = docker
            .split_once("setcap ")
            .and_then(|(_, rest)| rest.split(' ').next());
        let mut command = Command::new("setcap");
        command.arg(capabilities.expect("it sets the file's capabilities"));
        let mut setcap = Process::start("setcap", command.arg(image.program()));
        let status = setcap.wait(SETTLE);
        assert!(status.success(), "{status}{}", setcap.complaint());
        image
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("h2trace")
    }

    /// It, in a container that was given these capabilities.
    fn with(&self, capabilities: &[&str]) -> Command {
        let given: String = capabilities
            .iter()
            .map(|name| format!(",+{name}"))
            .collect();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
        command.arg(format!("--bounding-set=-all{given}"));
        command.args(["--inh-caps=-all", "--ambient-caps=-all"]);
        command.arg(self.program());
        command
    }

    fn doctor(&self, capabilities: &[&str]) -> String {
        let mut command = self.with(capabilities);
        let mut doctor = Process::start("h2trace doctor", command.arg("doctor"));
        let status = doctor.wait(RUN);
        assert!(status.success(), "{status}{}", doctor.complaint());
        let lines = doctor.lines();
        let lines = lines.iter().filter(|line| line.contains("(--tls)"));
        lines.cloned().collect::<Vec<String>>().join("\n")
    }
}

fn open_to_all(folder: &Path) {
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder, all).expect("a folder of the test's own");
}

/// All of them but one.
fn without(taken: &str) -> Vec<&'static str> {
    let all = TRACING.into_iter().chain(READING);
    all.filter(|name| *name != taken).collect()
}

#[test]
fn each_right_that_reading_memory_takes_is_missed_and_named() {
    require!(
        Privileges,
        Program("node"),
        Program("openssl"),
        Program("setpriv"),
        Program("setcap")
    );
    let image = Image::new();
    let mut talker = Talker::held();
    let cases: Vec<&str> = [""].into_iter().chain(READING).collect();
    let tracers: Vec<(&str, Tracer)> = cases
        .iter()
        .map(|taken| {
            let tracer = Tracer::finding_keys_by(image.with(&without(taken)), &[talker.pid()]);
            (*taken, tracer)
        })
        .collect();
    talker.go();
    let is_told = |tracer: &Tracer| {
        let trace = Trace::read(&tracer.process.lines());
        seen(&trace).len() >= 2 * CONNECTIONS
    };
    let all = || tracers.iter().all(|(_, tracer)| is_told(tracer));
    eventually(RUN, all);
    talker.end();
    for (taken, tracer) in tracers {
        let (trace, said) = tracer.finish_with_errors();
        let doctor = image.doctor(&without(taken));
        let warned = said
            .iter()
            .filter(|line| line.contains("keys of TLS may not be found"));
        let warned: Vec<&String> = warned.collect();
        let connections = seen(&trace);
        assert!(!connections.is_empty(), "without {taken}");
        let n_open = connections
            .iter()
            .filter(|line| line["tls"]["key"] == "scan")
            .count();
        if taken.is_empty() {
            assert_eq!(n_open, 2 * FINDABLE);
            assert!(warned.is_empty(), "{warned:?}");
            assert!(
                doctor.contains("ok") && doctor.contains("allowed"),
                "{doctor}"
            );
            continue;
        }
        assert_eq!(n_open, 0, "without {taken}");
        let unread = connections
            .iter()
            .filter(|line| line["tls"]["why"] == "memory_unreadable");
        assert_eq!(unread.count(), 2 * FINDABLE, "without {taken}");
        let name = format!("CAP_{} is missing", taken.to_uppercase());
        assert!(warned.len() == 1 && warned[0].contains(&name), "{warned:?}");
        assert!(warned[0].contains("tls.enabled"), "{warned:?}");
        assert!(doctor.contains(&name), "{doctor}");
    }
    // What the chart grants without it: the file has more, and the program does not get it.
    let doctor = image.doctor(&TRACING);
    for name in READING {
        let name = format!("CAP_{} is missing", name.to_uppercase());
        assert!(doctor.contains(&name), "{doctor}");
    }
}
