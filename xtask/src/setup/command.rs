//! Runs the commands of an installation: quiet while it goes well, with a sign of life, and clear when it fails.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a long step says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How much of a failed command's output is shown.
const TAIL_LINES: usize = 20;

/// The command as one would type it (without its environment).
pub(super) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|w| w.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a step, its output in `log`.
///
/// # Errors
/// When it cannot be started or fails, with the command and the end of its output.
pub(super) fn step(command: &mut Command, log: &Path) -> Result<()> {
    let line = shown(command);
    let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let err = out.try_clone()?;
    println!("setup:   {line}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .with_context(|| format!("cannot run `{line}`"))?;
    let began = Instant::now();
    let mut said = began;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if said.elapsed() >= HEARTBEAT {
            said = Instant::now();
            println!("setup:   ... {} s", began.elapsed().as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    };
    if !status.success() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
            println!("setup:   | {line}");
        }
        bail!(
            "`{line}` failed ({status}); all of its output is in {}",
            log.display()
        );
    }
    Ok(())
}

/// What a command prints, or None when it cannot be run or fails.
pub(super) fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program is on the path.
pub(super) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers and `ip` in sbin, which users do not have on their path.
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(Into::into))
        .any(|folder| folder.join(program).is_file())
}
