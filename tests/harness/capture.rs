//! Independent witnesses: tcpdump records what goes over the loopback interface, tshark decodes it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::Process;

/// How long tcpdump may take to listen, and a file may go on growing.
const START: Duration = Duration::from_secs(30);
/// A file that did not grow for so long holds everything: the kernel hands a block that is not full over after one
/// second.
const QUIET: Duration = Duration::from_millis(2_500);

/// A tcpdump at work on the loopback interface.
pub struct Tcpdump {
    process: Process,
    file: PathBuf,
}

impl Tcpdump {
    /// Records the TCP ports `ports`, of programs that the test started, into `file`.
    ///
    /// # Panics
    /// When it does not listen, or without a port: tests record what they started and nothing else.
    #[track_caller]
    #[must_use]
    pub fn start(ports: &[u16], file: &Path) -> Self {
        assert!(!ports.is_empty(), "a test records only its own ports");
        let filter: Vec<_> = ports
            .iter()
            .map(|port| format!("tcp port {port}"))
            .collect();
        let mut command = Command::new("tcpdump");
        // A large buffer, so that nothing is dropped (with --immediate-mode it would hold a few hundred packets only:
        // each takes as much as the longest); -Z: no change of user, who could not write the file.
        command.args([
            "-i", "lo", "-B", "131072", "-s", "0", "-U", "-Z", "root", "-w",
        ]);
        command.arg(file).arg(filter.join(" or "));
        let mut process = Process::start("tcpdump", &mut command);
        let listens = crate::eventually(START, || {
            let listens = process
                .errors()
                .iter()
                .any(|line| line.contains("listening on"));
            listens || !process.is_running()
        });
        assert!(
            listens && process.is_running(),
            "tcpdump does not listen{}",
            process.complaint()
        );
        Tcpdump {
            process,
            file: file.to_owned(),
        }
    }

    /// Ends it once everything is written.
    ///
    /// # Panics
    /// When it dropped a packet.
    #[track_caller]
    pub fn finish(mut self) {
        let (mut size, mut since) = (0, Instant::now());
        crate::eventually(START, || {
            let now = std::fs::metadata(&self.file).map_or(0, |file| file.len());
            if now != size {
                (size, since) = (now, Instant::now());
            }
            size > 0 && since.elapsed() > QUIET
        });
        self.process.end(libc::SIGINT);
        let said = self.process.errors().join("\n");
        assert!(said.contains("\n0 packets dropped by kernel"), "{said}");
    }
}

/// What tshark prints of a capture; `ports` speak HTTP/2.
///
/// # Panics
/// When it fails.
#[track_caller]
#[must_use]
pub fn tshark(file: &Path, ports: &[u16], arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args(["-o", "tcp.check_checksum:FALSE"]);
    // Of two packets that two processors send at once, tcpdump may record the later one first. Left to itself, tshark
    // takes the earlier one for lost, and skips all frames up to the next that begins a packet.
    command.args(["-o", "tcp.reassemble_out_of_order:TRUE"]);
    for port in ports {
        command.args(["-d", &format!("tcp.port=={port},http2")]);
    }
    command.arg("-r").arg(file).args(arguments);
    let mut process = Process::start("tshark", &mut command);
    let status = process.wait(Duration::from_secs(600));
    assert!(status.success(), "tshark failed{}", process.complaint());
    process.lines()
}
