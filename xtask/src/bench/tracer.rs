//! The tracer under measurement, and the kernel's statistics of its programs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::ratio;

/// How h2trace runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `serve`: metrics alone, as on every node of a cluster.
    Serve,
    /// `trace --output json`: a line for every stream, and the summary.
    Trace,
    /// `record --include-payload`: every byte is copied and written.
    Record,
}

/// A running h2trace. Dropping it ends it.
pub(super) struct BenchTracer {
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
}

/// A kernel program's statistics.
#[derive(Debug, PartialEq)]
pub(super) struct Program {
    /// What it is attached to.
    pub(super) name: String,
    /// How often it ran.
    pub(super) runs: u64,
    pub(super) nanoseconds: u64,
}

impl Program {
    pub(super) fn nanoseconds_a_run(&self) -> f64 {
        ratio(self.nanoseconds, self.runs)
    }
}

impl BenchTracer {
    /// Starts it over `pids` and their children; returns when it sees the first byte that passes.
    pub(super) fn start(
        binary: &Path,
        folder: &Path,
        mode: Mode,
        pids: &[u32],
    ) -> anyhow::Result<BenchTracer> {
        let filter = pids
            .iter()
            .flat_map(|pid| ["--pid".into(), pid.to_string().into()]);
        Self::start_with(binary, folder, mode, &filter.collect::<Vec<_>>(), &[])
    }

    /// The same with environment variables.
    pub(super) fn start_as(
        binary: &Path,
        folder: &Path,
        mode: Mode,
        pid: u32,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<BenchTracer> {
        let filter = ["--pid".into(), pid.to_string().into()];
        Self::start_with(binary, folder, mode, &filter, variables)
    }

    /// The same with any filter, and with environment variables.
    pub(super) fn start_with(
        binary: &Path,
        folder: &Path,
        mode: Mode,
        filter: &[OsString],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<BenchTracer> {
        let ready = folder.join("ready");
        std::fs::remove_file(&ready).ok();
        let output = folder.join("trace.jsonl");
        let file = std::fs::File::create(&output)
            .with_context(|| format!("cannot write {}", output.display()))?;
        let log = folder.join("h2trace.log");
        let messages = std::fs::File::create(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(binary);
        match mode {
            Mode::Serve => command.args(["serve", "--listen", "127.0.0.1:0"]),
            Mode::Trace => command.args(["trace", "--output", "json"]),
            Mode::Record => command
                .args(["record", "--include-payload", "--max-size", "4g", "-w"])
                .arg(folder.join("payload.pcapng")),
        };
        command.arg("--ready-file").arg(&ready);
        command.args(filter).envs(variables.iter().copied());
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(messages)
            .spawn()
            .context("cannot run h2trace")?;
        let mut tracer = BenchTracer { child, output };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !ready.is_file() {
            if let Some(status) = tracer.child.try_wait()? {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!(
                    "h2trace ended before it was ready ({status}): {}",
                    said.trim()
                );
            }
            if Instant::now() > deadline {
                bail!("h2trace was not ready within 30 seconds");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(tracer)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves its metrics.
    pub(super) fn address(&self, folder: &Path) -> anyhow::Result<String> {
        let ready = std::fs::read_to_string(folder.join("ready"))?;
        let ready: Value = serde_json::from_str(&ready).context("the ready file is no JSON")?;
        let address = ready["listen"].as_str();
        Ok(address
            .context("the ready file names no address")?
            .to_owned())
    }

    /// The statistics of its kernel programs, from what the kernel tells of its file descriptors
    /// (`bpf_prog_show_fdinfo`, kernel/bpf/syscall.c).
    pub(super) fn programs(&self) -> anyhow::Result<Vec<Program>> {
        let folder = format!("/proc/{}/fdinfo", self.child.id());
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            // A descriptor that was closed in the meantime is not one of a program.
            texts.extend(std::fs::read_to_string(entry?.path()));
        }
        Ok(programs(&texts))
    }

    /// Interrupts it, and reads its summary. Only [`Mode::Trace`] has one.
    pub(super) fn stop_with_summary(self) -> anyhow::Result<Summary> {
        let output = self.output.clone();
        self.stop()?;
        let text = std::fs::read_to_string(&output)
            .with_context(|| format!("cannot read {}", output.display()))?;
        summary(&text).context("h2trace printed no summary")
    }

    /// Interrupts it.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .context("cannot run kill")?;
        self.child.wait().context("cannot wait for h2trace")?;
        Ok(())
    }
}

impl Drop for BenchTracer {
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
    let kernel = line.get("kernel")?;
    let number = |key: &str| kernel.get(key).and_then(Value::as_u64);
    Some(Summary {
        bytes_seen: number("bytes_seen")?,
        bytes_copied: number("bytes_copied")?,
        lost: number("events_lost")?,
    })
}

/// Programs by the `fdinfo` of their descriptors; the `fdinfo` of the links has their names.
fn programs(texts: &[String]) -> Vec<Program> {
    let field = |text: &str, key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned())
    };
    let mut found: Vec<(String, Program)> = Vec::new();
    for text in texts {
        let (Some(runs), Some(nanoseconds)) = (field(text, "run_cnt"), field(text, "run_time_ns"))
        else {
            continue;
        };
        let Some(id) = field(text, "prog_id") else {
            continue;
        };
        if found.iter().any(|(other, _)| *other == id) {
            continue;
        }
        let link = texts.iter().find(|text| {
            field(text, "link_type").is_some() && field(text, "prog_id").as_ref() == Some(&id)
        });
        let name = link
            .and_then(|link| field(link, "tp_name"))
            .unwrap_or_else(|| format!("program {id}"));
        let number = |value: String| value.parse().unwrap_or(0);
        found.push((
            id,
            Program {
                name,
                runs: number(runs),
                nanoseconds: number(nanoseconds),
            },
        ));
    }
    let mut programs: Vec<Program> = found.into_iter().map(|(_, program)| program).collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    programs
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
        let text = "{\"v\":1,\"type\":\"stream\",\"kernel\":{\"bytes_seen\":3}}\n\
            {\"v\":1,\"type\":\"summary\",\"kernel\":{\"bytes_seen\":1000,\"bytes_copied\":7,\"events_lost\":2}}\n";
        assert_eq!(
            summary(text),
            Some(Summary {
                bytes_seen: 1000,
                bytes_copied: 7,
                lost: 2
            })
        );
    }

    #[test]
    fn output_without_a_summary_is_no_result() {
        assert_eq!(summary("{\"v\":1,\"type\":\"stream\"}\n"), None);
    }

    #[test]
    fn a_program_has_the_name_of_its_link_and_is_counted_once() {
        let program =
            "pos:\t0\nprog_type:\t17\nprog_id:\t5\nrun_time_ns:\t1000\nrun_cnt:\t4\n".to_owned();
        let link = "pos:\t0\nlink_type:\traw_tracepoint\nlink_id:\t9\nprog_id:\t5\ntp_name:\tsock_send_length\n".to_owned();
        let map = "pos:\t0\nmap_type:\t27\nmap_id:\t5\n".to_owned();
        let found = programs(&[map, program.clone(), link, program]);
        assert_eq!(
            found,
            [Program {
                name: "sock_send_length".to_owned(),
                runs: 4,
                nanoseconds: 1000
            }]
        );
        assert!((found[0].nanoseconds_a_run() - 250.0).abs() < 1e-9);
    }
}
