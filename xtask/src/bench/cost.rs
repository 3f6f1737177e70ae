//! `cargo xtask bench cost`: the table that a sceptical operator wants, on his own machine.
//!
//! Every figure with h2trace has its twin without, run in turn, and what counts is the ratio.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use super::load::{CONNECTIONS, Load, LoadServer, Run, STREAMS};
use super::tracer::{BenchTracer, Mode, Program, Statistics};
use super::{graph, machine, median, page, processor_time, processor_time_of_children};
use crate::command;

/// What `cargo xtask bench cost` takes.
#[derive(Args)]
pub(crate) struct CostOptions {
    /// Runs of each kind, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Write the tables and the graph into tracer-user/docs/performance.md
    #[arg(long)]
    write: bool,
}

/// Responses of 100 bytes on 4 connections with 10 streams each: the shape that is looked at from all sides.
const UNARY: Load = Load {
    calls: 50_000,
    response: 100,
    connections: CONNECTIONS,
    streams: STREAMS,
    rate: None,
};

/// What else is measured.
const SHAPES: [(&str, Load); 6] = [
    ("100 B, 1 in flight", shape(8_000, 100, 1, 1)),
    ("100 B, 40 in flight", UNARY),
    ("100 B, 1,000 in flight", shape(50_000, 100, 10, 100)),
    ("100 B, 50 connections", shape(50_000, 100, 50, 1)),
    ("16 KB, 40 in flight", shape(10_000, 16 * 1024, 4, 10)),
    ("250 KB, 40 in flight", shape(1_500, 250_000, 4, 10)),
];

/// Shares of the most that the machine made, at which the load is offered.
const OFFERED: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 0.9];

/// How long an offered load lasts.
const OFFERED_FOR: Duration = Duration::from_secs(3);

/// After the last call, for the tracer to read what is left.
const SETTLE: Duration = Duration::from_millis(500);

const fn shape(calls: u32, response: u32, connections: u32, streams: u32) -> Load {
    Load {
        calls,
        response,
        connections,
        streams,
        rate: None,
    }
}

/// What runs beside the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// `h2trace serve`, both ends of each connection traced.
    BothEnds,
    /// `h2trace serve`, the server's end alone.
    OneEnd,
    /// `h2trace record --include-payload`: every byte is copied.
    Payload,
    /// tcpdump writing whole packets.
    Tcpdump,
}

impl Beside {
    const fn name(self) -> &'static str {
        match self {
            Beside::Nothing => "nothing",
            Beside::BothEnds => "h2trace serve, both ends",
            Beside::OneEnd => "h2trace serve, the server's end",
            Beside::Payload => "h2trace record --include-payload, both ends",
            Beside::Tcpdump => "tcpdump, whole packets",
        }
    }
}

/// One run.
struct Measured {
    run: Run,
    /// Processor seconds of the server and h2load.
    workload: f64,
    /// Processor seconds of what ran beside.
    beside: f64,
}

/// The machine's parts that every run needs.
struct Stage<'a> {
    server: LoadServer,
    binary: &'a Path,
    folder: &'a Path,
}

/// What ran beside a load.
enum Companion {
    Tracer(BenchTracer),
    Other(Child),
}

impl Companion {
    fn pid(&self) -> u32 {
        match self {
            Companion::Tracer(tracer) => tracer.pid(),
            Companion::Other(child) => child.id(),
        }
    }

    fn stop(self) -> anyhow::Result<()> {
        match self {
            Companion::Tracer(tracer) => tracer.stop(),
            Companion::Other(mut child) => {
                command::run(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
                child.wait()?;
                Ok(())
            }
        }
    }
}

impl Stage<'_> {
    fn start(&self, beside: Beside) -> anyhow::Result<Option<Companion>> {
        let both = [std::process::id(), self.server.pid()];
        let trace = |mode, pids: &[u32]| {
            let tracer = BenchTracer::start(self.binary, self.folder, mode, pids)?;
            anyhow::Ok(Some(Companion::Tracer(tracer)))
        };
        match beside {
            Beside::Nothing => Ok(None),
            Beside::BothEnds => trace(Mode::Serve, &both),
            Beside::OneEnd => trace(Mode::Serve, &[self.server.pid()]),
            Beside::Payload => trace(Mode::Record, &both),
            Beside::Tcpdump => {
                let mut tcpdump = Command::new("tcpdump");
                tcpdump.args(["-i", "lo", "-s", "0", "-Z", "root", "-w", "/dev/null"]);
                let (_, port) = self
                    .server
                    .address()
                    .rsplit_once(':')
                    .context("the server's address has no port")?;
                tcpdump.arg(format!("tcp port {port}"));
                tcpdump.stderr(Stdio::null());
                let child = tcpdump.spawn().context(
                    "cannot run tcpdump (\"cargo xtask setup\" installs it, or apt-get install tcpdump)",
                )?;
                // It says when it listens, but only to people.
                std::thread::sleep(SETTLE);
                Ok(Some(Companion::Other(child)))
            }
        }
    }

    fn measure(&self, load: Load, beside: Beside) -> anyhow::Result<Measured> {
        let companion = self.start(beside)?;
        let workload = || {
            Ok::<_, anyhow::Error>(
                processor_time(self.server.pid())? + processor_time_of_children()?,
            )
        };
        let of_companion = || {
            companion
                .as_ref()
                .map_or(Ok(0.0), |it| processor_time(it.pid()))
        };
        let before = (workload()?, of_companion()?);
        let run = load.run(&self.server, self.folder)?;
        let workload = workload()? - before.0;
        if companion.is_some() {
            std::thread::sleep(SETTLE);
        }
        let measured = Measured {
            run,
            workload,
            beside: of_companion()? - before.1,
        };
        companion.map_or(Ok(()), Companion::stop)?;
        Ok(measured)
    }

    /// The load beside each of them, in turn, and in the other order in every second round.
    fn in_turn(
        &self,
        load: Load,
        beside: &[Beside],
        rounds: u32,
    ) -> anyhow::Result<Vec<Vec<Measured>>> {
        let mut all: Vec<Vec<Measured>> = beside.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..beside.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for nth in order {
                all[nth].push(self.measure(load, beside[nth])?);
            }
        }
        Ok(all)
    }

    fn programs(&self) -> anyhow::Result<Vec<Program>> {
        let statistics = Statistics::enable()?;
        let pids = [std::process::id(), self.server.pid()];
        let tracer = BenchTracer::start(self.binary, self.folder, Mode::Serve, &pids)?;
        UNARY.run(&self.server, self.folder)?;
        let programs = tracer.programs()?;
        tracer.stop()?;
        drop(statistics);
        Ok(programs)
    }
}

/// Measures, prints, and writes if asked to.
pub(super) fn run(
    options: &CostOptions,
    root: &Path,
    binary: &Path,
    folder: &Path,
) -> anyhow::Result<()> {
    let stage = Stage {
        server: LoadServer::start(root)?,
        binary,
        folder,
    };
    UNARY
        .run(&stage.server, folder)
        .context("the warm-up failed")?;
    let mut text = format!("{}\n\n", machine("cost")?);
    text += &shapes(&stage, options.rounds)?;
    text += &baselines(&stage, options.rounds)?;
    text += &kernel(&stage.programs()?, &verified(binary)?);
    let (offered, points) = offered(&stage)?;
    text += &offered;
    text += "\n![Cores that h2trace takes, by calls a second](cost.svg)\n";
    text += &start_up(&stage, options.rounds)?;
    println!("{text}");
    if options.write {
        page::write(root, "cost", &text)?;
        page::write_picture(root, "cost.svg", &graph::draw(&points))?;
    }
    Ok(())
}

fn ratio_of(all: &[Measured], base: &[Measured], of: impl Fn(&Measured) -> f64) -> [f64; 3] {
    let ratios = || {
        all.iter()
            .zip(base)
            .map(|(with, without)| of(with) / of(without))
    };
    [
        median(ratios()),
        ratios().fold(f64::INFINITY, f64::min),
        ratios().fold(f64::NEG_INFINITY, f64::max),
    ]
}

fn shown([middle, least, most]: [f64; 3]) -> String {
    format!("{middle:.3} ({least:.3} to {most:.3})")
}

fn a_call(all: &[Measured], load: Load, of: impl Fn(&Measured) -> f64) -> f64 {
    median(all.iter().map(of)) * 1e6 / f64::from(load.calls)
}

fn shapes(stage: &Stage<'_>, rounds: u32) -> anyhow::Result<String> {
    let mut text = String::from(
        "Saturated: ratios with h2trace to without, the median of the rounds and their range; processor time in \
         microseconds a call.\n\n\
         | load | traced | calls/s | p50 | p99 | p99.9 | processor of the workload | of h2trace, a call |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (name, load) in SHAPES {
        let all = stage.in_turn(
            load,
            &[Beside::Nothing, Beside::BothEnds, Beside::OneEnd],
            rounds,
        )?;
        let [without, both, one] = &all[..] else {
            unreachable!("three kinds were asked for");
        };
        for (traced, with) in [("both ends", both), ("one end", one)] {
            writeln!(
                text,
                "| {name} | {traced} | {} | {:.2} | {} | {:.2} | {:.2} | {:.1} |",
                shown(ratio_of(with, without, |it| it.run.calls_per_second)),
                ratio_of(with, without, |it| it.run.p50_us)[0],
                shown(ratio_of(with, without, |it| it.run.p99_us)),
                ratio_of(with, without, |it| it.run.p999_us)[0],
                ratio_of(with, without, |it| it.workload)[0],
                a_call(with, load, |it| it.beside),
            )?;
        }
    }
    Ok(text)
}

fn baselines(stage: &Stage<'_>, rounds: u32) -> anyhow::Result<String> {
    let kinds = [
        Beside::Nothing,
        Beside::BothEnds,
        Beside::Payload,
        Beside::Tcpdump,
    ];
    let all = stage.in_turn(UNARY, &kinds, rounds)?;
    let mut text = String::from(
        "\nBeside others, 100 B, 40 in flight, saturated:\n\n\
         | what runs beside the load | calls/s | p99 | its processor time, us a call |\n\
         | --- | --- | --- | --- |\n",
    );
    for (kind, with) in kinds.iter().zip(&all).skip(1) {
        writeln!(
            text,
            "| {} | {} | {} | {:.1} |",
            kind.name(),
            shown(ratio_of(with, &all[0], |it| it.run.calls_per_second)),
            shown(ratio_of(with, &all[0], |it| it.run.p99_us)),
            a_call(with, UNARY, |it| it.beside),
        )?;
    }
    Ok(text)
}

/// What `h2trace doctor` says of each kernel program: the instructions that the verifier went through.
fn verified(binary: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
    let said = Command::new(binary)
        .arg("doctor")
        .output()
        .context("cannot run h2trace doctor")?;
    let of_line = |line: &str| {
        let (_, program) = line.split_once(" program ")?;
        let (name, rest) = program.split_once(' ')?;
        let (_, n) = rest.split_once("loaded, ")?;
        let n = n.strip_suffix(" instructions verified")?.parse().ok()?;
        Some((name.to_owned(), n))
    };
    let text = String::from_utf8_lossy(&said.stdout);
    Ok(text.lines().filter_map(of_line).collect())
}

fn kernel(programs: &[Program], verified: &BTreeMap<String, u64>) -> String {
    let mut text = String::from(
        "\nKernel programs, 100 B, 40 in flight, by the kernel's own statistics (these cost some of it themselves):\n\n\
         | program | runs a call | ns a run | instructions verified |\n| --- | --- | --- | --- |\n",
    );
    for program in programs
        .iter()
        .filter(|it| it.runs >= u64::from(UNARY.calls) / 100)
    {
        // Writing to a String cannot fail.
        writeln!(
            text,
            "| `{}` | {:.2} | {:.0} | {} |",
            program.name,
            super::ratio(program.runs, u64::from(UNARY.calls)),
            program.nanoseconds_a_run(),
            verified
                .get(&program.name)
                .map_or("-".to_owned(), u64::to_string)
        )
        .ok();
    }
    text
}

/// What an offered load costs: of the tracer, in cores, by calls a second.
fn offered(stage: &Stage<'_>) -> anyhow::Result<(String, Vec<graph::Point>)> {
    let most = UNARY.run(&stage.server, stage.folder)?.calls_per_second;
    let mut text = String::from(
        "\nBelow saturation, 100 B, both ends traced:\n\n\
         | offered, of the most | calls/s | p50, us without, with | p99, us without, with | h2trace, of a core |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    let mut points = Vec::new();
    for share in OFFERED {
        let rate = whole(most * share / f64::from(UNARY.connections)).max(1);
        let calls = whole(most * share * OFFERED_FOR.as_secs_f64());
        let load = Load {
            calls,
            rate: Some(rate),
            ..UNARY
        };
        let without = stage.measure(load, Beside::Nothing)?;
        let with = stage.measure(load, Beside::BothEnds)?;
        let seconds = f64::from(calls) / with.run.calls_per_second;
        let cores = with.beside / seconds;
        writeln!(
            text,
            "| {:.0} % | {:.0} | {:.0}, {:.0} | {:.0}, {:.0} | {cores:.3} |",
            share * 100.0,
            with.run.calls_per_second,
            without.run.p50_us,
            with.run.p50_us,
            without.run.p99_us,
            with.run.p99_us,
        )?;
        points.push(graph::Point {
            calls_per_second: with.run.calls_per_second,
            cores,
        });
    }
    Ok((text, points))
}

fn start_up(stage: &Stage<'_>, rounds: u32) -> anyhow::Result<String> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        let tracer = BenchTracer::start(
            stage.binary,
            stage.folder,
            Mode::Serve,
            &[std::process::id()],
        )?;
        times.push(began.elapsed().as_secs_f64());
        tracer.stop()?;
    }
    Ok(format!(
        "\nFrom its start to the first byte that it would see: {:.2} seconds.\n",
        median(times.into_iter())
    ))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate of calls, far below 2^32"
)]
fn whole(value: f64) -> u32 {
    value.max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_told_with_its_range() {
        let measured = |rate: f64| Measured {
            run: Run {
                calls_per_second: rate,
                p50_us: 1.0,
                p99_us: 1.0,
                p999_us: 1.0,
            },
            workload: 1.0,
            beside: 0.0,
        };
        let without: Vec<_> = [100.0, 100.0, 200.0].map(measured).into();
        let with: Vec<_> = [90.0, 95.0, 196.0].map(measured).into();
        let ratios = ratio_of(&with, &without, |it| it.run.calls_per_second);
        assert_eq!(shown(ratios), "0.950 (0.900 to 0.980)");
    }
}
