//! Starts h2trace and stops it.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::skip;
use crate::trace::Trace;

/// How long the tracer may take to load its programs on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Where keys of TLS come from: `scan` for memory alone.
const KEYS: &str = "H2TRACE_TLS_KEYS";
/// No test runs longer; a tracer that is forgotten ends by itself.
const LONGEST: &str = "600s";

/// The binary: `H2TRACE_BINARY`, else the release build of this workspace.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary() -> PathBuf {
    let named = std::env::var_os("H2TRACE_BINARY");
    let path = named.map_or_else(
        || crate::workspace().join("target/release/h2trace"),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} is not there: cargo build --release -p tracer-user",
        path.display()
    );
    path
}

/// `h2trace trace` (or `record`) over some processes.
pub struct Tracer {
    pub process: Process,
    _folder: TempDir,
}

/// What `h2trace replay` says of a capture, with the same headers shown.
///
/// # Panics
/// When it fails.
#[track_caller]
#[must_use]
pub fn replay(capture: &Path, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new(binary());
    command.arg("replay").arg(capture);
    command.args([
        "--output",
        "json",
        "--header",
        "x-call-id",
        "--header",
        "from",
    ]);
    let mut process = Process::start("h2trace replay", command.args(arguments));
    let status = process.wait(Duration::from_secs(120));
    assert!(
        status.success() && process.errors().is_empty(),
        "replay ended with {status}{}",
        process.complaint()
    );
    process.lines()
}

impl Tracer {
    /// Starts it, filtered to `pids`, with the calls' ids shown; returns when the first byte would be seen.
    ///
    /// # Panics
    /// When it does not become ready, or without a pid: tests trace what they started and nothing else.
    #[track_caller]
    #[must_use]
    pub fn start(pids: &[u32]) -> Self {
        Self::with("trace", pids, &[])
    }

    /// As [`Tracer::start`], with everything that h2trace and its libraries log on stderr.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn logging_all(pids: &[u32]) -> Self {
        let mut command = Command::new(binary());
        command.env("H2TRACE_LOG", "trace");
        Self::run(command, "trace", pids, &[])
    }

    /// As [`Tracer::start`], with everything written to `file` too.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn recording(pids: &[u32], file: &Path) -> Self {
        Self::recording_at_most("1g", pids, file)
    }

    /// As [`Tracer::recording`], at most `size` of it.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn recording_at_most(size: &str, pids: &[u32], file: &Path) -> Self {
        let [payload, max_size, write] =
            ["--include-payload", "--max-size", "--write"].map(OsStr::new);
        let arguments = [payload, max_size, size.as_ref(), write, file.as_os_str()];
        Self::with("record", pids, &arguments)
    }

    /// As [`Tracer::start`], with these header fields shown too.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn showing(pids: &[u32], fields: &[&str]) -> Self {
        let arguments = fields.iter().flat_map(|field| ["--header", field]);
        let arguments: Vec<&OsStr> = arguments.map(OsStr::new).collect();
        Self::with("trace", pids, &arguments)
    }

    /// As [`Tracer::start`], with a ring that a flood fills soon.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn with_a_small_ring(pids: &[u32]) -> Self {
        Self::with("trace", pids, &["--ring-mib".as_ref(), "1".as_ref()])
    }

    /// As [`Tracer::start`], with so much of one processor at most.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn with_a_share(pids: &[u32], share: f64) -> Self {
        let share = share.to_string();
        Self::with("trace", pids, &["--max-cpu".as_ref(), share.as_ref()])
    }

    /// As [`Tracer::start`], told that servers speak HTTP/2 on this port.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn told_of_http2(pids: &[u32], port: u16) -> Self {
        let port = port.to_string();
        Self::with("trace", pids, &["--http2".as_ref(), port.as_ref()])
    }

    /// As [`Tracer::showing`], with TLS opened by keys from the memory of the processes, and from nowhere else.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn finding_keys(pids: &[u32], fields: &[&str]) -> Self {
        let fields = fields.iter().flat_map(|field| ["--header", field]);
        let arguments = fields.chain(["--tls", "--tls-share", "100"]);
        let arguments: Vec<&OsStr> = arguments.map(OsStr::new).collect();
        let mut command = Command::new(binary());
        command.env(KEYS, "scan");
        Self::run(command, "trace", pids, &arguments)
    }

    /// As [`Tracer::start`], with TLS opened by secrets from probes of handshakes, or else by keys from memory.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn probing(pids: &[u32]) -> Self {
        Self::with("trace", pids, &["--tls".as_ref()])
    }

    /// The same, where the kernel programs open what they are given keys of.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn opening_in_kernel(pids: &[u32]) -> Self {
        let mut command = Command::new(binary());
        command.env("H2TRACE_TLS_OPENED_BY", "kernel");
        Self::run(command, "trace", pids, &["--tls".as_ref()])
    }

    /// As [`Tracer::finding_keys`], by this command, which runs h2trace as another user.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn finding_keys_by(mut command: Command, pids: &[u32]) -> Self {
        command.env(KEYS, "scan");
        let arguments = ["--tls", "--tls-share", "100"].map(OsStr::new);
        Self::run(command, "trace", pids, &arguments)
    }

    /// As [`Tracer::showing`], with TLS opened by this key log.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn opening(pids: &[u32], keylog: &Path, fields: &[&str]) -> Self {
        let fields = fields.iter().flat_map(|field| ["--header", field]);
        let mut arguments: Vec<&OsStr> = fields.map(OsStr::new).collect();
        arguments.extend([OsStr::new("--keylog"), keylog.as_os_str()]);
        Self::with("trace", pids, &arguments)
    }

    /// As [`Tracer::opening`], and what this key log says nothing of as by [`Tracer::finding_keys`].
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn opening_or_finding_keys(pids: &[u32], keylog: &Path) -> Self {
        let [keylog_option, tls, share, all] =
            ["--keylog", "--tls", "--tls-share", "100"].map(OsStr::new);
        let arguments = [keylog_option, keylog.as_os_str(), tls, share, all];
        let mut command = Command::new(binary());
        command.env(KEYS, "scan");
        Self::run(command, "trace", pids, &arguments)
    }

    #[track_caller]
    fn with(what: &str, pids: &[u32], arguments: &[&OsStr]) -> Self {
        Self::run(Command::new(binary()), what, pids, arguments)
    }

    #[track_caller]
    fn run(mut command: Command, what: &str, pids: &[u32], arguments: &[&OsStr]) -> Self {
        assert!(!pids.is_empty(), "a test traces only its own processes");
        let folder = TempDir::new().expect("cannot make a folder for the ready file");
        // The tracer may be another user.
        let all = Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.path(), all).expect("a folder of the test's own");
        let ready = folder.path().join("ready");
        command.args([what, "--output", "json", "--for", LONGEST]);
        command.args(arguments);
        command.args(["--header", "x-call-id", "--header", "from"]);
        command.arg("--ready-file").arg(&ready);
        for pid in pids {
            command.args(["--pid", &pid.to_string()]);
        }
        let mut process = Process::start("h2trace", &mut command);
        process.until_ready(&ready, START);
        skip::note_that_it_runs();
        Tracer {
            process,
            _folder: folder,
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until at least `n` streams of `pid` in `role` have ended, or `limit` passes.
    pub fn wait_for_streams(&self, pid: u32, role: &str, n: usize, limit: Duration) {
        let (mut read, mut streams) = (0, 0);
        crate::eventually(limit, || {
            let lines = self.process.lines_from(read);
            read += lines.len();
            streams += Trace::read(&lines).streams_of(pid, role).count();
            streams >= n
        });
    }

    /// Interrupts it and reads everything that it printed.
    ///
    /// # Panics
    /// When it fails or prints no summary.
    #[track_caller]
    #[must_use]
    pub fn finish(self) -> Trace {
        self.finish_with_errors().0
    }

    /// As [`Tracer::finish`], with what it said on stderr.
    ///
    /// # Panics
    /// Likewise.
    #[track_caller]
    #[must_use]
    pub fn finish_with_errors(mut self) -> (Trace, Vec<String>) {
        let status = self.process.end(libc::SIGINT);
        assert!(
            status.success(),
            "h2trace ended with {status}{}",
            self.process.complaint()
        );
        let trace = Trace::read(&self.process.lines());
        assert!(
            trace.summary.is_some(),
            "h2trace printed no summary{}",
            self.process.complaint()
        );
        (trace, self.process.errors())
    }
}
