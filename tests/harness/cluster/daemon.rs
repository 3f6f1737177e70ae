//! A long-running program of the cluster, with its output in a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How much of a program's log a panic shows.
const TAIL_LINES: usize = 25;

/// A running program. Dropping it kills it.
pub struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; its output is added to `NAME.log` in `folder`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(name: &'static str, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", log.display()));
        let errors = file.try_clone().expect("a file can be shared");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Daemon { name, child, log }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&mut self, signal: i32) {
        if self.is_running() {
            let pid = self.child.id().cast_signed();
            // SAFETY: kill(2) has no memory effects, and the pid is our own child's, not yet waited for.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        // Both fail when it has ended already, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// The end of what it said, for a panic.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..);
        format!(
            "; {} says:\n{}",
            self.name,
            tail.unwrap_or_default().join("\n")
        )
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
