//! Boots a kernel under QEMU, and reads its console to the end.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::console::Console;
use crate::command;

/// How long a guest may take beside its steps, which have limits of their own.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// The emulator, of Debian's package qemu-system-x86.
const QEMU: &str = "qemu-system-x86_64";

/// The machine: no hardware virtualisation, no disk, no network; its serial port is the emulator's standard output.
const MACHINE: [&str; 14] = [
    "-nodefaults",
    "-no-user-config",
    "-accel",
    "tcg",
    "-cpu",
    "max",
    "-m",
    "1024",
    "-smp",
    "2",
    "-display",
    "none",
    "-serial",
    "stdio",
];

/// A panic ends the emulator (with `-no-reboot`) instead of waiting for somebody to read it.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 panic=-1 quiet";

/// A guest to be booted.
pub(super) struct Guest<'a> {
    pub(super) kernel: &'a Path,
    /// Its root.
    pub(super) archive: &'a Path,
    /// Where its console goes.
    pub(super) log: &'a Path,
    /// How long its steps may take together.
    pub(super) steps: Duration,
}

/// What a guest did.
pub(super) struct Boot {
    /// What it showed.
    pub(super) console: Console,
    /// From power on to off.
    pub(super) took: Duration,
    /// It was ended then, as it had reached its limit.
    pub(super) was_ended: bool,
}

impl Guest<'_> {
    fn command(&self) -> Command {
        let mut qemu = Command::new(QEMU);
        qemu.args(MACHINE).arg("-no-reboot");
        qemu.arg("-kernel").arg(self.kernel);
        qemu.arg("-initrd").arg(self.archive);
        qemu.args(["-append", KERNEL_ARGUMENTS]);
        qemu
    }

    /// The command that boots it.
    pub(super) fn shown(&self) -> String {
        command::shown(&self.command())
    }

    /// Boots it, and comes back when it is off.
    ///
    /// # Errors
    /// When the emulator cannot be started, or the log not be written.
    pub(super) fn run(&self) -> anyhow::Result<Boot> {
        watch(&mut self.command(), self.log, BOOT_LIMIT + self.steps)
    }
}

/// Runs the emulator with its output in `log` too, at most for `limit`.
fn watch(qemu: &mut Command, log: &Path, limit: Duration) -> anyhow::Result<Boot> {
    let mut copy = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = copy.try_clone().context("cannot share the log")?;
    let shown = command::shown(qemu);
    let began = Instant::now();
    qemu.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors);
    let mut emulator = Emulator(qemu.spawn().with_context(|| {
        format!("cannot run {shown} (install it with: cargo xtask setup --only qemu)")
    })?);
    let output = emulator.0.stdout.take().context("no standard output")?;
    let lines = lines_of(output);
    let mut console = Console::default();
    let mut was_ended = false;
    loop {
        match lines.recv_timeout(limit.saturating_sub(began.elapsed())) {
            Ok(line) => {
                copy.write_all(&line)
                    .with_context(|| format!("cannot write {}", log.display()))?;
                console.line(began.elapsed(), &String::from_utf8_lossy(&line));
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                was_ended = true;
                break;
            }
        }
    }
    drop(emulator);
    Ok(Boot {
        console,
        took: began.elapsed(),
        was_ended,
    })
}

/// The emulator, which ends with this.
struct Emulator(Child);

impl Drop for Emulator {
    fn drop(&mut self) {
        // It has ended by itself, mostly.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The lines of an output, as they come, with their line breaks.
fn lines_of(output: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(output);
        loop {
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if sender.send(line).is_err() => return,
                Ok(_) => {}
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("h2trace-guest-{}-{name}", std::process::id()))
    }

    #[test]
    fn console_is_read_to_the_end_and_kept() {
        let log = log("whole");
        let script =
            "echo '@@h2trace-guest release 1'; echo oops >&2; echo '@@h2trace-guest complete'";
        let boot = watch(
            Command::new("sh").args(["-c", script]),
            &log,
            Duration::from_secs(60),
        )
        .unwrap();
        let kept = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        assert!(boot.console.is_complete && !boot.was_ended);
        assert!(
            kept.contains("release 1\n") && kept.contains("oops\n"),
            "{kept}"
        );
    }

    #[test]
    fn guest_that_hangs_is_ended_at_the_limit() {
        let log = log("hangs");
        let script = "echo '@@h2trace-guest begin demo'; exec sleep 600";
        let boot = watch(
            Command::new("sh").args(["-c", script]),
            &log,
            Duration::from_millis(500),
        )
        .unwrap();
        std::fs::remove_file(&log).unwrap();
        assert!(boot.was_ended && !boot.console.is_complete);
        assert_eq!(boot.console.step("demo").unwrap().status, None);
        assert!(boot.took < Duration::from_secs(60));
    }
}
