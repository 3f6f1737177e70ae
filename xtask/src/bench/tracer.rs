//! The tracer under measurement, and the kernel's statistics of its programs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::ratio;

/// A running `h2trace trace`. Dropping it ends it.
pub(super) struct Tracer {
    child: Child,
    output: PathBuf,
}

/// What it said in the end.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Summary {
    /// Bytes that passed on the traced connections.
    pub(super) bytes_seen: u64,
    /// Bytes of them that reached user space.
    pub(super) bytes_copied: u64,
    /// Events that were lost.
    pub(super) lost: u64,
    /// Its kernel programs.
    pub(super) programs: Vec<Program>,
}

/// A kernel program's statistics.
#[derive(Debug, PartialEq)]
pub(super) struct Program {
    /// Its name.
    pub(super) name: String,
    /// How often it ran.
    pub(super) runs: u64,
    /// Nanoseconds in all.
    pub(super) nanoseconds: u64,
}

impl Program {
    pub(super) fn nanoseconds_a_run(&self) -> f64 {
        ratio(self.nanoseconds, self.runs)
    }
}

impl Tracer {
    /// Starts it over `pids` and their children; returns when it sees the first byte that passes.
    pub(super) fn start(binary: &Path, folder: &Path, pids: &[u32]) -> anyhow::Result<Tracer> {
        let ready = folder.join("ready");
        std::fs::remove_file(&ready).ok();
        let output = folder.join("trace.jsonl");
        let file = std::fs::File::create(&output)
            .with_context(|| format!("cannot write {}", output.display()))?;
        let mut command = Command::new(binary);
        command
            .args(["trace", "--output", "json", "--ready-file"])
            .arg(&ready);
        for pid in pids {
            command.args(["--pid", &pid.to_string()]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .spawn()
            .context("cannot run h2trace")?;
        let mut tracer = Tracer { child, output };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !ready.is_file() {
            if let Some(status) = tracer.child.try_wait()? {
                bail!("h2trace ended before it was ready ({status})");
            }
            if Instant::now() > deadline {
                bail!("h2trace was not ready within 30 seconds");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(tracer)
    }

    /// Interrupts it, and reads its summary.
    pub(super) fn stop(mut self) -> anyhow::Result<Summary> {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .context("cannot run kill")?;
        self.child.wait().context("cannot wait for h2trace")?;
        let text = std::fs::read_to_string(&self.output)
            .with_context(|| format!("cannot read {}", self.output.display()))?;
        summary(&text).context("h2trace printed no summary")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It has ended by itself, unless something failed; nobody is left to tell of a failure here.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads the line of type `summary`.
fn summary(text: &str) -> Option<Summary> {
    let line = text.lines().rev().find_map(|line| {
        let value: Value = serde_json::from_str(line).ok()?;
        (value.get("type")?.as_str()? == "summary").then_some(value)
    })?;
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    let programs = line
        .get("programs")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    Some(Summary {
        bytes_seen: number(&line, "bytes_seen"),
        bytes_copied: number(&line, "bytes_copied"),
        lost: number(&line, "lost"),
        programs: programs
            .iter()
            .map(|program| Program {
                name: program
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                runs: number(program, "runs"),
                nanoseconds: number(program, "run_ns"),
            })
            .collect(),
    })
}

/// The kernel's statistics of programs, on as long as this lives, then as they were before.
pub(super) struct Statistics {
    before: String,
}

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    /// Switches them on.
    pub(super) fn enable() -> anyhow::Result<Statistics> {
        let before =
            std::fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        std::fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Statistics { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(SWITCH, self.before.trim()) {
            eprintln!("cannot restore {SWITCH} to {}: {error}", self.before.trim());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_found_behind_the_other_lines() {
        let text = "{\"v\":1,\"type\":\"stream\",\"bytes_seen\":3}\n\
            {\"v\":1,\"type\":\"summary\",\"bytes_seen\":1000,\"bytes_copied\":7,\
            \"programs\":[{\"name\":\"sock_send_length\",\"runs\":4,\"run_ns\":1000}]}\n";
        let summary = summary(text).unwrap();
        assert_eq!((summary.bytes_seen, summary.bytes_copied), (1000, 7));
        assert_eq!(summary.programs.len(), 1);
        assert!((summary.programs[0].nanoseconds_a_run() - 250.0).abs() < 1e-9);
    }

    #[test]
    fn output_without_a_summary_is_no_result() {
        assert_eq!(summary("{\"v\":1,\"type\":\"stream\"}\n"), None);
    }
}
