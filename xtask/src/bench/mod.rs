//! `cargo xtask bench`: what tracing costs, on this machine, now.
//!
//! Real unary gRPC over loopback (h2load against the grpc-go peer), with and without the tracer in
//! alternating pairs. The tracer is always filtered to the bench's own processes. The ratios hold better
//! than the figures.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::{command, demo, privilege};
use load::{Load, LoadServer, Run};
use tracer::{BenchTracer, Mode, Statistics};

mod cost;
mod graph;
mod hooks;
mod load;
mod page;
mod pods;
mod tls;
mod tracer;

/// What `cargo xtask bench` takes.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchOptions {
    #[command(subcommand)]
    what: Option<What>,

    /// Pairs of runs, one without and one with the tracer
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,

    /// Calls of each run
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..))]
    calls: u32,

    /// Measure what the join of a proxy's two sides costs in the pipeline instead: in memory, without root
    #[arg(long, conflicts_with = "calls")]
    hops: bool,

    /// Measure how much traffic one core decodes instead, and tshark on the same calls: without root
    #[arg(long, conflicts_with_all = ["calls", "hops"])]
    pipeline: bool,

    /// Measure how fast header blocks are decoded instead, and the decoder of loona-hpack on the same blocks: without root
    #[arg(long, conflicts_with_all = ["calls", "hops", "pipeline"])]
    hpack: bool,

    /// Measure what the labels of pods and methods cost instead: series, bytes and memory, without root
    #[arg(long, conflicts_with_all = ["calls", "hops", "pipeline", "hpack"])]
    cardinality: bool,

    /// Measure what the pipeline keeps of connections, streams and findings instead: bytes of memory, without root
    #[arg(long, conflicts_with_all = ["calls", "hops", "pipeline", "hpack", "cardinality"])]
    memory: bool,

    /// Measure what serve takes on a node of 250 pods instead: processor time and memory
    #[arg(long, conflicts_with_all = ["calls", "hops", "pipeline", "hpack", "cardinality", "memory"])]
    serve_pods: bool,
}

/// Benches with options of their own.
#[derive(Subcommand)]
enum What {
    /// Everything that tracing costs, by kind of traffic and by load, beside other tools; five minutes, as root
    Cost(cost::CostOptions),

    /// What each set of hooks costs a call, also one that h2trace has no interest in; as root
    Hooks(hooks::HooksOptions),

    /// What it costs to open TLS: the traffic, searches of memory, and probes of handshakes; six minutes, as root
    Tls(tls::TlsOptions),

    /// What floods from a hostile peer cost the tracer; five minutes, as root
    Floods(FloodsOptions),
}

/// What `cargo xtask bench floods` takes.
#[derive(Args)]
struct FloodsOptions {
    /// Another h2trace that goes through the same, for comparison
    #[arg(long, value_name = "BINARY")]
    before: Option<PathBuf>,
}

/// Bytes of the responses of the throughput runs.
const SMALL: u32 = 100;

/// Bytes of the responses of the copy run.
const LARGE: u32 = 250_000;

/// Measures and prints.
pub(crate) fn run(options: &BenchOptions, root: &Path) -> anyhow::Result<ExitCode> {
    if options.hops {
        return in_memory("hops", options.pairs, root);
    }
    if options.pipeline {
        build_release(root)?;
        return in_memory("pipeline", options.pairs, root);
    }
    if options.hpack {
        return in_memory("hpack", options.pairs, root);
    }
    if options.cardinality {
        return in_memory("cardinality", options.pairs, root);
    }
    if options.memory {
        return in_memory("memory", options.pairs, root);
    }
    if let Some(What::Hooks(options)) = &options.what
        && options.work
    {
        hooks::work()?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(refusal) = privilege::refuse("bench", "loads kernel programs") {
        return Ok(refusal);
    }
    build_release(root)?;
    let binary = demo::release_binary(root);
    let folder = demo::target(root).join("bench");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    match &options.what {
        Some(What::Cost(options)) => {
            cost::run(options, root, &binary, &folder)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(What::Hooks(options)) => {
            hooks::run(options, root, &binary, &folder)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(What::Tls(options)) => {
            tls::run(options, root, &binary, &folder)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(What::Floods(options)) => {
            let mut bench = in_tests("floods", root);
            if let Some(before) = &options.before {
                bench.env("H2TRACE_BEFORE", std::path::absolute(before)?);
            }
            command::run(&mut bench)?;
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
    }
    if options.serve_pods {
        pods::run(root, &binary, &folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let server = LoadServer::start(root)?;
    let trace =
        |mode| BenchTracer::start(&binary, &folder, mode, &[std::process::id(), server.pid()]);

    let of = |calls, response| Load {
        calls,
        response,
        connections: load::CONNECTIONS,
        streams: load::STREAMS,
        rate: None,
    };
    let small = of(options.calls, SMALL);
    println!(
        "unary gRPC, {SMALL}-byte responses, {} calls a run, {} connections with {} streams each",
        options.calls,
        load::CONNECTIONS,
        load::STREAMS
    );
    small.run(&server, &folder).context("the warm-up failed")?;
    println!(
        "{:>5}  {:>22}  {:>22}  {:>17}",
        "", "without", "with h2trace serve", "ratio"
    );
    println!(
        "{:>5}  {:>12} {:>9}  {:>12} {:>9}  {:>8} {:>8}",
        "pair", "calls/s", "p99 us", "calls/s", "p99 us", "calls/s", "p99"
    );
    let mut ratios = Vec::new();
    for pair in 1..=options.pairs {
        let without = || small.run(&server, &folder);
        let with = || {
            let tracer = trace(Mode::Serve)?;
            let run = small.run(&server, &folder)?;
            tracer.stop()?;
            anyhow::Ok(run)
        };
        // The order changes from pair to pair, so that a drift of the machine favours neither.
        let (off, on) = if pair % 2 == 1 {
            let off = without()?;
            (off, with()?)
        } else {
            let on = with()?;
            (without()?, on)
        };
        let ratio = (
            on.calls_per_second / off.calls_per_second,
            on.p99_us / off.p99_us,
        );
        println!(
            "{pair:>5}  {}  {}  {:>8.3} {:>8.3}",
            shown(&off),
            shown(&on),
            ratio.0,
            ratio.1
        );
        ratios.push(ratio);
    }
    println!(
        "median of the ratios: calls/s {:.3}, p99 {:.3}",
        median(ratios.iter().map(|ratio| ratio.0)),
        median(ratios.iter().map(|ratio| ratio.1))
    );

    println!(
        "\nkernel programs, by the kernel's own statistics (kernel.bpf_stats_enabled), same load"
    );
    let statistics = Statistics::enable()?;
    let tracer = trace(Mode::Serve)?;
    small.run(&server, &folder)?;
    let programs = tracer.programs()?;
    tracer.stop()?;
    drop(statistics);
    println!("{:<28}  {:>12}  {:>10}", "program", "runs", "ns a run");
    for program in programs.iter().filter(|program| program.runs > 0) {
        println!(
            "{:<28}  {:>12}  {:>10.0}",
            program.name,
            program.runs,
            program.nanoseconds_a_run()
        );
    }

    println!("\nbytes copied over bytes seen");
    for (load, what) in [
        (small, "100-byte responses"),
        (of(1_000, LARGE), "250,000-byte responses"),
    ] {
        let tracer = trace(Mode::Trace)?;
        load.run(&server, &folder)?;
        let summary = tracer.stop_with_summary()?;
        println!(
            "{what:<24}  seen {:>12}  copied {:>12}  {:.3} %  lost events {}",
            summary.bytes_seen,
            summary.bytes_copied,
            100.0 * ratio(summary.bytes_copied, summary.bytes_seen),
            summary.lost
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn build_release(root: &Path) -> anyhow::Result<()> {
    command::run(command::cargo(root).args([
        "build",
        "--release",
        "--locked",
        "--package",
        "tracer-user",
    ]))
}

/// A bench that needs no kernel: those in tests/bench.
fn in_memory(name: &str, rounds: u32, root: &Path) -> anyhow::Result<ExitCode> {
    command::run(in_tests(name, root).args(["--", &rounds.to_string()]))?;
    Ok(ExitCode::SUCCESS)
}

/// A bench of tests/bench.
fn in_tests(name: &str, root: &Path) -> Command {
    let mut bench = command::cargo(root);
    bench.args(["bench", "--quiet", "--locked", "--package", "tracer-tests"]);
    bench.args(["--bench", name]);
    bench.env("H2TRACE_BINARY", demo::release_binary(root));
    bench
}

fn shown(run: &Run) -> String {
    format!("{:>12.0} {:>9.0}", run.calls_per_second, run.p99_us)
}

/// `a / b` of two counts; counts of a bench are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 {
        f64::NAN
    } else {
        a as f64 / b as f64
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// Processor seconds of a process.
fn processor_time(pid: u32) -> anyhow::Result<f64> {
    seconds(&format!("/proc/{pid}/stat"), 11)
}

/// Processor seconds of children that have ended.
fn processor_time_of_children() -> anyhow::Result<f64> {
    seconds("/proc/self/stat", 13)
}

/// Two fields of `/proc/PID/stat` behind the name, `first` and the next, in seconds (proc_pid_stat(5)): user and system.
fn seconds(path: &str, first: usize) -> anyhow::Result<f64> {
    // USER_HZ is 100 on every architecture that the kernel programs run on.
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = fields
        .split_whitespace()
        .skip(first)
        .take(2)
        .map(|field| field.parse::<u32>().map(f64::from))
        .sum::<Result<f64, _>>()
        .with_context(|| format!("{path} has an odd field"))?;
    Ok(ticks / TICKS_A_SECOND)
}

/// What was measured on, and when.
fn machine(bench: &str) -> anyhow::Result<String> {
    let told = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        anyhow::Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let processors = std::thread::available_parallelism()?;
    let model = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model)
        .to_owned();
    Ok(format!(
        "Measured with `cargo xtask bench {bench}` on {}: {processors} processors ({model}), {}, h2trace {}.",
        told("date", &["+%Y-%m-%d"])?,
        told("uname", &["-srm"])?,
        env!("CARGO_PKG_VERSION"),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn processor_time_of_this_process_is_counted() {
        let before = processor_time(std::process::id()).unwrap();
        let began = Instant::now();
        let mut n = 0_u64;
        while began.elapsed() < Duration::from_millis(200) {
            n = std::hint::black_box(n.wrapping_add(1));
        }
        assert!(processor_time(std::process::id()).unwrap() > before);
        assert!(processor_time(u32::MAX).is_err());
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        for (values, want) in [
            (vec![3.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 2.0, 3.0], 2.5),
            (vec![7.0], 7.0),
        ] {
            assert!((median(values.into_iter()) - want).abs() < 1e-9);
        }
        assert!(median(std::iter::empty()).is_nan());
    }
}
