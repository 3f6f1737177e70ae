//! A child process whose output is read line by line, and which does not outlive its owner.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How much of a failed process's stderr a panic shows.
const TAIL_LINES: usize = 15;

/// Lines that came so far, and whether more can come.
#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

#[derive(Default)]
struct Output {
    lines: Mutex<Lines>,
    changed: Condvar,
}

impl Output {
    fn read(self: &Arc<Self>, source: impl Read + Send + 'static) -> JoinHandle<()> {
        let output = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n') {
                let Ok(line) = line else { break };
                let mut lines = output.lock();
                lines
                    .lines
                    .push(String::from_utf8_lossy(&line).into_owned());
                output.changed.notify_all();
            }
            output.lock().ended = true;
            output.changed.notify_all();
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A running child. Dropping it kills it (it, by its pid, and nothing else) and waits for it.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Arc<Output>,
    stderr: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    leads_group: bool,
}

impl Process {
    /// Starts a command.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(name: impl Into<String>, command: &mut Command) -> Self {
        let name = name.into();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let (stdout, stderr) = (Arc::<Output>::default(), Arc::<Output>::default());
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|source| stdout.read(source)));
        readers.extend(child.stderr.take().map(|source| stderr.read(source)));
        let stdin = child.stdin.take();
        Process {
            name,
            child,
            stdin,
            stdout,
            stderr,
            readers,
            leads_group: false,
        }
    }

    /// Starts a command that waits, under the pid that it will have, until [`Process::write_line`] lets it go.
    #[track_caller]
    pub fn start_held(name: impl Into<String>, command: &Command) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read -r _ && exec \"$0\" \"$@\""]);
        shell.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        // A script has children; they are in its group and end with it.
        let mut process = Process::start(name, shell.process_group(0));
        process.leads_group = true;
        process
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first line of stdout from number `from` on that `wanted` accepts; returns what it makes of it.
    ///
    /// # Panics
    /// When the process's output ends first, or `limit` passes.
    #[track_caller]
    pub fn wait_for_line<T>(
        &self,
        from: usize,
        limit: Duration,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let end = Instant::now() + limit;
        let mut next = from;
        let mut lines = self.stdout.lock();
        loop {
            while let Some(line) = lines.lines.get(next) {
                next += 1;
                if let Some(found) = wanted(line) {
                    return found;
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                let why = if lines.ended {
                    "it ended"
                } else {
                    "it took too long"
                };
                drop(lines);
                panic!(
                    "{} did not print the line wanted: {why}{}",
                    self.name,
                    self.complaint()
                );
            }
            let waited = self.stdout.changed.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Stdout so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.stdout.lock().lines.clone()
    }

    /// Stdout so far, without its first `from` lines.
    #[must_use]
    pub fn lines_from(&self, from: usize) -> Vec<String> {
        self.stdout
            .lock()
            .lines
            .get(from..)
            .map(<[String]>::to_vec)
            .unwrap_or_default()
    }

    /// Stderr so far.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        self.stderr.lock().lines.clone()
    }

    /// The end of stderr, for a panic.
    #[must_use]
    pub fn complaint(&self) -> String {
        let errors = self.errors();
        let tail = &errors[errors.len().saturating_sub(TAIL_LINES)..];
        if tail.is_empty() {
            String::new()
        } else {
            format!("; it says:\n{}", tail.join("\n"))
        }
    }

    /// Writes a line to its stdin. A process that is gone is noticed elsewhere.
    pub fn write_line(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            drop(writeln!(stdin, "{line}").and_then(|()| stdin.flush()));
        }
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&mut self, signal: i32) {
        if self.is_running() {
            let pid = self.child.id().cast_signed();
            // SAFETY: kill(2) has no memory effects, and the pid is our own child's, not yet waited for.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Waits for `file`, which it makes when it is ready.
    ///
    /// # Panics
    /// When it ends before, or does not make it within `limit`.
    #[track_caller]
    pub fn until_ready(&mut self, file: &Path, limit: Duration) {
        let came = crate::eventually(limit, || file.exists() || !self.is_running());
        assert!(
            came && file.exists(),
            "h2trace did not become ready{}",
            self.complaint()
        );
    }

    /// It has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.close_stdin();
        let mut status = None;
        crate::eventually(limit, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        let Some(status) = status else {
            panic!(
                "{} did not end within {} s{}",
                self.name,
                limit.as_secs(),
                self.complaint()
            );
        };
        // A grandchild may hold the pipes open, so this has a limit too.
        crate::eventually(Duration::from_secs(5), || {
            self.readers.iter().all(JoinHandle::is_finished)
        });
        status
    }

    /// Asks it to end and waits.
    #[track_caller]
    pub fn end(&mut self, signal: i32) -> ExitStatus {
        self.signal(signal);
        self.wait(Duration::from_secs(20))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.leads_group {
            let group = self.child.id().cast_signed();
            // SAFETY: kill(2) has no memory effects. The group was made for this child, and its number is not
            // given away while the child is not waited for or a member lives; ESRCH otherwise.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        // Both fail when it has ended already, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
