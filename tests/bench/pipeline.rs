//! `cargo xtask bench --pipeline`: how much traffic one core decodes.
//!
//! Healthy unary gRPC calls on one connection, made in memory, message by message size. First the pipeline
//! alone, over the records that the kernel programs would write of them, and over the same with every byte
//! copied. Then `h2trace replay` and tshark on a capture file of the same calls, in turn. Counted is processor
//! time, which other programs on the machine disturb less than the clock; the ratios hold better than the
//! figures.
//!
//! Arguments: how many rounds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use h2trace_core::event::Timestamp;
use h2trace_core::event::decode::decode;
use h2trace_core::field::Shown;
use h2trace_core::pipeline::{NoNames, Pipeline, PipelineSettings};
use tempfile::TempDir;
use tracer_ebpf::http2::PREFACE;
use tracer_tests::conversation::pcap::{self, Captured};
use tracer_tests::conversation::records::{self, Observed, Record};
use tracer_tests::conversation::{Conversation, Plan, Side};
use tracer_tests::measure::{StreamCount, processor_time};
use tracer_tests::skip::{Need as _, Program};
use tracer_tests::tracer::binary;

/// Bytes of a message, its name, and calls: each with a request and a response of that size.
const SIZES: [(usize, &str, u32); 3] = [
    (100, "100 B", 20_000),
    (16 * 1024, "16 KB", 1_400),
    (250_000, "250 KB", 90),
];
/// How long the pipeline works at least before it is asked for its time.
const LONG_ENOUGH: Duration = Duration::from_millis(300);
/// Records that are read from the ring at once.
const RECORDS_AT_ONCE: usize = 16;
/// Longer than every linger, in nanoseconds.
const LATER_NS: u64 = 120_000_000_000;

/// The calls of one size.
struct Load {
    name: &'static str,
    streams: u32,
    /// Frames, and bytes of HTTP/2, of both sides.
    frames: u32,
    bytes: u32,
    /// As the kernel programs write them.
    sparse: Vec<Record>,
    /// The same with every byte copied.
    full: Vec<Record>,
    capture: PathBuf,
    capture_len: u32,
}

impl Load {
    fn make((message, name, calls): (usize, &'static str, u32), folder: &Path) -> Load {
        let talk = Conversation::of(&Plan::unary(calls, message));
        let sparse = Observed::from_start(Side::Server);
        let full = Observed {
            copies_all: true,
            ..sparse
        };
        let file = pcap::file(&talk, &Captured::whole());
        let capture = folder.join(format!("{message}.pcap"));
        std::fs::write(&capture, &file).expect("cannot write the capture");
        let client = talk.bytes(Side::Client);
        Load {
            name,
            streams: calls,
            frames: frames(&client[PREFACE.len()..]) + frames(&talk.bytes(Side::Server)),
            bytes: small(talk.len()),
            sparse: records::of(&talk, &sparse),
            full: records::of(&talk, &full),
            capture,
            capture_len: small(file.len()),
        }
    }
}

/// A count of a bench fits.
fn small(n: usize) -> u32 {
    u32::try_from(n).expect("less than 4 GB")
}

/// How many frames stand in these bytes, which end with one.
fn frames(mut bytes: &[u8]) -> u32 {
    let mut n = 0;
    while let [l2, l1, l0, rest @ ..] = bytes {
        let len = u32::from_be_bytes([0, *l2, *l1, *l0]);
        bytes = &rest[6 + len as usize..];
        n += 1;
    }
    n
}

/// Puts the records through a pipeline of their own, decoded from their bytes.
fn once(records: &[Record], streams: u32, shown: &Arc<Shown>) {
    let mut pipeline = Pipeline::new(PipelineSettings {
        shown: Arc::clone(shown),
        names: Box::new(NoNames),
        ..PipelineSettings::default()
    });
    let mut count = StreamCount::default();
    let mut now = Timestamp(0);
    for (nth, record) in records.iter().enumerate() {
        let event = decode(&record.bytes).expect("a record that is one");
        now = event.at;
        pipeline.handle(&event, &mut count);
        if nth.is_multiple_of(RECORDS_AT_ONCE) {
            pipeline.advance(now, &mut count);
        }
    }
    pipeline.finish(Timestamp(now.0 + LATER_NS), &mut count);
    assert_eq!(
        (count.streams, count.loud),
        (streams, 0),
        "the load is not what it should be"
    );
}

/// Seconds of processor time that the pipeline needs for the records.
fn in_process(records: &[Record], streams: u32, shown: &Arc<Shown>) -> f64 {
    let begun = processor_time();
    let mut n = 0;
    loop {
        once(records, streams, shown);
        n += 1;
        let took = processor_time().saturating_sub(begun);
        if took >= LONG_ENOUGH {
            return took.as_secs_f64() / f64::from(n);
        }
    }
}

/// What a program took, in seconds.
#[derive(Clone, Copy)]
struct Took {
    /// Of processors, the kernel's part too.
    cpu: f64,
    wall: f64,
}

/// Runs a program to its end, its output thrown away.
#[expect(
    clippy::zombie_processes,
    reason = "wait4 waits for it, and says what it used too"
)]
fn took(command: &mut Command) -> Took {
    let begun = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let pid = libc::pid_t::try_from(child.id()).expect("a pid");
    let mut status = 0;
    // SAFETY: a rusage is numbers alone, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are written by the kernel and live until it returns. The child is ours, and nobody else waits for it.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    let wall = begun.elapsed().as_secs_f64();
    assert!(
        waited == pid && status == 0,
        "{command:?} ended with {status:#x}"
    );
    // The kernel samples what of it is the user's, which says nothing of a run of milliseconds: the sum is exact.
    let cpu = [usage.ru_utime, usage.ru_stime].map(|time| {
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    });
    Took {
        cpu: cpu.iter().sum::<Duration>().as_secs_f64(),
        wall,
    }
}

fn replay(file: &Path) -> Command {
    let mut command = Command::new(binary());
    command.arg("replay").arg(file);
    command.args(["--show", "findings", "--output", "json"]);
    command
}

fn tshark(program: &Path, file: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-r").arg(file);
    command.args(["-d", &format!("tcp.port=={},http2", pcap::SERVER_PORT)]);
    command.args(["-Y", "http2", "-T", "fields", "-e", "http2.type"]);
    command
}

fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both programs see everything: all frames, all streams, nothing wrong.
fn check(load: &Load, program: &Path) {
    let types = output(&mut tshark(program, &load.capture));
    let seen = types
        .split([',', '\n'])
        .filter(|kind| !kind.is_empty())
        .count();
    // tshark gives the preface ("Magic") no type.
    assert_eq!(
        small(seen),
        load.frames,
        "tshark does not see all frames of {}",
        load.name
    );
    let said = output(&mut replay(&load.capture));
    let summary = said.lines().last().unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_str(summary).expect("a summary is JSON");
    assert_eq!(
        summary["streams"]["ended"].as_u64(),
        Some(u64::from(load.streams)),
        "replay does not see all streams of {}: {summary}",
        load.name
    );
}

fn pipeline_alone(loads: &[Load], rounds: usize) {
    println!(
        "the pipeline in memory, one thread, processor time, medians of {rounds}; GB/s of traffic;\nof bytes: how long the records are, of the bytes of the traffic"
    );
    println!(
        "{:<8} {:<26} {:>7} {:>11} {:>11} {:>11} {:>9}",
        "messages", "records", "GB/s", "Mframes/s", "streams/s", "us/stream", "of bytes"
    );
    let shown = Arc::new(Shown::default());
    let mut times = vec![[const { Vec::new() }; 2]; loads.len()];
    for _ in 0..rounds {
        for (load, times) in loads.iter().zip(&mut times) {
            for (records, times) in [&load.sparse, &load.full].into_iter().zip(times) {
                times.push(in_process(records, load.streams, &shown));
            }
        }
    }
    for (load, times) in loads.iter().zip(times) {
        let kinds = [
            ("as the kernel writes them", &load.sparse),
            ("with every byte", &load.full),
        ];
        for ((what, records), times) in kinds.into_iter().zip(times) {
            let seconds = median(times.into_iter());
            let len: usize = records.iter().map(|record| record.bytes.len()).sum();
            println!(
                "{:<8} {what:<26} {:>7.2} {:>11.2} {:>11.0} {:>11.2} {:>8.1}%",
                load.name,
                f64::from(load.bytes) / seconds / 1e9,
                f64::from(load.frames) / seconds / 1e6,
                f64::from(load.streams) / seconds,
                seconds / f64::from(load.streams) * 1e6,
                100.0 * f64::from(small(len)) / f64::from(load.bytes),
            );
        }
    }
}

fn against_tshark(loads: &[Load], rounds: usize, folder: &Path) {
    let missing = Program("tshark").missing();
    let (Some(program), None) = (Program("tshark").path(), &missing) else {
        println!("\nSKIPPED: {}", missing.unwrap_or_default());
        return;
    };
    println!("\nh2trace replay and tshark on the same file, in turn, seconds, medians of {rounds}");
    println!(
        "{:<8} {:>6} {:>8}  {:>8} {:>8}  {:>8} {:>8}  {:>10} {:>10}",
        "messages", "MB", "frames", "replay", "", "tshark", "", "tshark /", "replay"
    );
    println!(
        "{:<8} {:>6} {:>8}  {:>8} {:>8}  {:>8} {:>8}  {:>10} {:>10}",
        "", "", "", "cpu", "wall", "cpu", "wall", "cpu", "wall"
    );
    // What the programs need to start is in their times: it is told apart.
    let empty = folder.join("empty.pcap");
    std::fs::write(&empty, pcap::header()).expect("cannot write the capture");
    let header_len = small(pcap::header().len());
    let mut files = vec![("no packet", &empty, header_len, 0)];
    for load in loads {
        check(load, &program);
        files.push((load.name, &load.capture, load.capture_len, load.frames));
    }
    for (name, file, len, frames) in files {
        let mut runs: Vec<(Took, Took)> = Vec::new();
        for nth in 0..rounds {
            let ours = || took(&mut replay(file));
            let theirs = || took(&mut tshark(&program, file));
            // The order changes from round to round, so that a drift of the machine favours neither.
            runs.push(if nth % 2 == 0 {
                let ours = ours();
                (ours, theirs())
            } else {
                let theirs = theirs();
                (ours(), theirs)
            });
        }
        let of = |value: fn(&(Took, Took)) -> f64| median(runs.iter().map(value));
        println!(
            "{name:<9} {:>5.1} {frames:>8}  {:>8.3} {:>8.3}  {:>8.3} {:>8.3}  {:>10.0} {:>10.0}",
            f64::from(len) / 1e6,
            of(|run| run.0.cpu),
            of(|run| run.0.wall),
            of(|run| run.1.cpu),
            of(|run| run.1.wall),
            of(|run| run.1.cpu / run.0.cpu),
            of(|run| run.1.wall / run.0.wall),
        );
    }
}

fn main() {
    // `cargo test --benches` runs this too, with arguments of its own; so does `cargo bench`.
    let rounds = std::env::args().skip(1).find_map(|n| n.parse().ok());
    let rounds: usize = rounds.unwrap_or(1);
    let folder = TempDir::new().expect("cannot make a folder for the captures");
    let loads = SIZES.map(|size| Load::make(size, folder.path()));
    pipeline_alone(&loads, rounds);
    against_tshark(&loads, rounds, folder.path());
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
