//! What the tracer said, counted as it comes: the lines of a long run do not fit into memory.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tracer_tests::{eventually, tracer};

/// Lines of findings and losses that are kept to be shown.
const KEPT: usize = 20;

/// Streams at the ends of processes: by pid and role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    /// How many, and whether there may be more (a call that a draining server did not take is made again).
    streams: BTreeMap<(u32, &'static str), (u64, bool)>,
}

impl Ends {
    /// `n` more.
    pub(crate) fn add(&mut self, pid: u32, role: &'static str, n: u64, at_least: bool) {
        let end = self.streams.entry((pid, role)).or_default();
        *end = (end.0 + n, end.1 || at_least);
    }

    /// All of another one's.
    pub(crate) fn extend(&mut self, other: &Ends) {
        for ((pid, role), (n, at_least)) in &other.streams {
            self.add(*pid, role, *n, *at_least);
        }
    }

    /// How many at one end.
    pub(crate) fn expected(&self, pid: u32, role: &'static str) -> u64 {
        self.streams.get(&(pid, role)).map_or(0, |end| end.0)
    }

    /// Where the tracer counted other streams than were made.
    pub(crate) fn compare(&self, tally: &Tally) -> Vec<String> {
        let mut wrong = Vec::new();
        for ((pid, role), (want, _)) in &self.streams {
            let got = tally.ok.get(&(u64::from(*pid), (*role).to_owned()));
            let got = got.copied().unwrap_or(0);
            if got != *want {
                wrong.push(format!(
                    "{got} complete streams of {want} at the {role}'s end of {pid}"
                ));
            }
        }
        // What a draining server did not take is made again, and that only.
        let drains = self.streams.values().any(|(_, at_least)| *at_least);
        for (outcome, n) in &tally.not_ok {
            if !(drains && outcome == "unprocessed") {
                wrong.push(format!("{n} streams with outcome {outcome}"));
            }
        }
        wrong
    }

    /// Streams at all ends together.
    pub(crate) fn total(&self) -> u64 {
        self.streams.values().map(|end| end.0).sum()
    }
}

/// What the tracer said so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Streams that ended in order, by pid and role.
    pub(crate) ok: BTreeMap<(u64, String), u64>,
    /// Others, by outcome.
    pub(crate) not_ok: BTreeMap<String, u64>,
    /// Findings, by kind and verdict.
    pub(crate) findings: BTreeMap<(String, String), u64>,
    /// Suspicious ones, anomalies and unknown ones.
    pub(crate) n_bad: u64,
    /// Losses, by cause.
    pub(crate) losses: BTreeMap<String, u64>,
    pub(crate) n_streams: u64,
    /// The first lines of what is bad.
    pub(crate) kept: Vec<String>,
    pub(crate) summary: Option<Value>,
}

impl Tally {
    fn take(&mut self, line: &str, value: Value) {
        let text = |key: &str| value[key].as_str().unwrap_or("none").to_owned();
        match value["type"].as_str() {
            Some("stream") => {
                self.n_streams += 1;
                let outcome = text("outcome");
                if matches!(outcome.as_str(), "ok" | "error_status") {
                    let pid = value["pid"].as_u64().unwrap_or_default();
                    *self.ok.entry((pid, text("role"))).or_default() += 1;
                } else {
                    *self.not_ok.entry(outcome).or_default() += 1;
                }
            }
            Some("finding") => {
                let verdict = text("verdict");
                if !matches!(verdict.as_str(), "benign" | "expected") {
                    self.n_bad += 1;
                    self.keep(line);
                }
                *self.findings.entry((text("kind"), verdict)).or_default() += 1;
            }
            Some("loss") => {
                *self.losses.entry(text("cause")).or_default() += 1;
                self.keep(line);
            }
            Some("summary") => self.summary = Some(value),
            _ => {}
        }
    }

    fn keep(&mut self, line: &str) {
        if self.kept.len() < KEPT {
            self.kept.push(line.to_owned());
        }
    }
}

/// Reads as fast as it comes, so that the tracer never waits for whoever makes sense of it: it throws away
/// what nobody reads. How much piles up here is bounded by the calls that were made and not yet told of.
fn take_in(mut from: ChildStdout, to: &Sender<Vec<u8>>) {
    const PIPE: i32 = 1 << 20;
    // SAFETY: fcntl(2) on our own descriptor, without memory effects; a smaller pipe is as good, but slower.
    unsafe { libc::fcntl(from.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE) };
    let mut buffer = vec![0; 1 << 20];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let piece = buffer.get(..n).unwrap_or_default().to_vec();
        if to.send(piece).is_err() {
            return;
        }
    }
}

/// What was taken in, to be read.
struct TakenIn {
    receiver: Receiver<Vec<u8>>,
    rest: Cursor<Vec<u8>>,
}

impl Read for TakenIn {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let n = self.rest.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            match self.receiver.recv() {
                Ok(piece) => self.rest = Cursor::new(piece),
                Err(_) => return Ok(0),
            }
        }
    }
}

/// `h2trace trace` over this process and what it starts.
pub(crate) struct SoakTracer {
    child: Child,
    tally: Arc<Mutex<Tally>>,
    reader: Option<JoinHandle<()>>,
}

impl SoakTracer {
    /// Starts it; returns when the first byte would be seen.
    ///
    /// # Panics
    /// When it does not become ready.
    pub(crate) fn start(folder: &Path) -> SoakTracer {
        let ready = folder.join("ready");
        let mut command = Command::new(tracer::binary());
        command.args(["trace", "--output", "json", "--findings", "all"]);
        command.args(["--pid", &std::process::id().to_string()]);
        command.arg("--ready-file").arg(&ready);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("cannot start h2trace");
        let stdout = child.stdout.take().expect("its output is a pipe");
        let tally = Arc::<Mutex<Tally>>::default();
        let into = Arc::clone(&tally);
        let (sender, receiver) = channel();
        std::thread::spawn(move || take_in(stdout, &sender));
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(TakenIn {
                receiver,
                rest: Cursor::default(),
            });
            for line in lines.lines() {
                let line = line.expect("cannot read what h2trace prints");
                let value: Value = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("h2trace printed no JSON ({error}): {line}"));
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(&line, value);
            }
        });
        let mut tracer = SoakTracer {
            child,
            tally,
            reader: Some(reader),
        };
        let is_ready = eventually(Duration::from_secs(60), || {
            ready.exists() || !matches!(tracer.child.try_wait(), Ok(None))
        });
        assert!(is_ready && ready.exists(), "h2trace did not become ready");
        tracer
    }

    /// What it said so far.
    pub(crate) fn so_far(&self) -> Tally {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many streams it told of so far.
    pub(crate) fn n_streams(&self) -> u64 {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.n_streams
    }

    /// Interrupts it and takes all that it said.
    ///
    /// # Panics
    /// When it fails.
    pub(crate) fn finish(mut self) -> Tally {
        let pid = self.child.id().cast_signed();
        // SAFETY: kill(2) has no memory effects, and the pid is our own child's, not yet waited for.
        unsafe { libc::kill(pid, libc::SIGINT) };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the tracer's lines");
        }
        let status = self.child.wait().expect("h2trace is our child");
        assert!(status.success(), "h2trace ended with {status}");
        self.so_far()
    }
}

impl Drop for SoakTracer {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
