//! Boots a kernel under QEMU, and reads its console to the end.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::console::Console;
use crate::architecture::Architecture;
use crate::command;

/// How long a guest may take beside its steps, which have limits of their own.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// What an architecture's guests are booted with.
struct Machine {
    /// The emulator.
    qemu: &'static str,
    /// The setup's piece that brings it.
    piece: &'static str,
    /// Which machine and processor it emulates.
    arguments: &'static [&'static str],
    /// What the kernel is told: the serial port, as it calls it.
    parameters: &'static str,
}

const AMD64: Machine = Machine {
    qemu: "qemu-system-x86_64",
    piece: "qemu",
    arguments: &["-cpu", "max"],
    // It does not wait for its timer to tick, and panic when the busy machine below lets it not tick in time.
    parameters: "console=ttyS0 no_timer_check",
};

const ARM64: Machine = Machine {
    qemu: "qemu-system-aarch64",
    piece: "qemu-arm64",
    // A server's processor. One that also signs pointers is emulated several times slower.
    arguments: &["-machine", "virt", "-cpu", "neoverse-n1"],
    parameters: "console=ttyAMA0",
};

const fn machine(architecture: Architecture) -> &'static Machine {
    match architecture {
        Architecture::Amd64 => &AMD64,
        Architecture::Arm64 => &ARM64,
    }
}

/// The setup's piece with the emulator.
pub(super) const fn piece(architecture: Architecture) -> &'static str {
    machine(architecture).piece
}

/// The root stands in memory, twice while it is unpacked: with Envoy and Node 250 MiB.
const MEMORY_MIB: &str = "2048";

/// No hardware virtualisation, no disk, no network; the serial port is the emulator's standard output.
const EVERYWHERE: [&str; 12] = [
    "-nodefaults",
    "-no-user-config",
    "-accel",
    "tcg",
    "-m",
    MEMORY_MIB,
    "-smp",
    "2",
    "-display",
    "none",
    "-serial",
    "stdio",
];

/// A guest to be booted.
pub(super) struct Guest<'a> {
    pub(super) architecture: Architecture,
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
        let machine = machine(self.architecture);
        let mut qemu = Command::new(machine.qemu);
        // A panic ends the emulator instead of waiting for somebody to read it.
        qemu.args(EVERYWHERE)
            .args(machine.arguments)
            .arg("-no-reboot");
        qemu.arg("-kernel").arg(self.kernel);
        qemu.arg("-initrd").arg(self.archive);
        qemu.arg("-append")
            .arg(format!("{} panic=-1 quiet", machine.parameters));
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
        watch(&mut self.command(), self.log, BOOT_LIMIT + self.steps).with_context(|| {
            let piece = piece(self.architecture);
            format!("QEMU is installed with: cargo xtask setup --only {piece}")
        })
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
    let spawned = qemu.spawn();
    let mut emulator = Emulator(spawned.with_context(|| format!("cannot run {shown}"))?);
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
    fn command_is_that_of_the_architecture() {
        let shown = |architecture| {
            let guest = Guest {
                architecture,
                kernel: Path::new("/k/vmlinuz"),
                archive: Path::new("/k/root.cpio"),
                log: Path::new("/k/log"),
                steps: Duration::ZERO,
            };
            guest.shown()
        };
        let amd64 = shown(Architecture::Amd64);
        assert!(amd64.starts_with("qemu-system-x86_64 ") && amd64.contains("console=ttyS0 "));
        let arm64 = shown(Architecture::Arm64);
        assert!(arm64.starts_with("qemu-system-aarch64 ") && arm64.contains("console=ttyAMA0 "));
        assert!(amd64.contains("no_timer_check") && !arm64.contains("no_timer_check"));
        for command in [amd64, arm64] {
            assert!(command.contains("-accel tcg") && command.contains("-no-reboot"));
        }
    }

    #[test]
    fn emulators_have_pieces_of_the_setup() {
        for architecture in Architecture::ALL {
            assert!(crate::setup::has_piece(piece(architecture)));
        }
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
