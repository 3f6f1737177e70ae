//! `cargo xtask bench hooks`: what each set of hooks costs a call, also one that h2trace has no interest in.
//!
//! A worker makes the calls: this program once more, so that the tracer can be filtered to it, or to another process.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;

use super::tracer::{BenchTracer, Mode};
use super::{machine, median, page};

/// What `cargo xtask bench hooks` takes.
#[derive(Args)]
pub(crate) struct HooksOptions {
    /// Runs of each kind, in turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Write the table into tracer-user/docs/performance.md
    #[arg(long)]
    write: bool,

    /// Make the calls: what this program starts itself with
    #[arg(long, hide = true, conflicts_with_all = ["rounds", "write"])]
    pub(super) work: bool,
}

/// What h2trace hooks meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hooked {
    Nothing,
    SocketTracepoints,
    SystemCallExit,
}

impl Hooked {
    const ALL: [Hooked; 3] = [
        Hooked::Nothing,
        Hooked::SocketTracepoints,
        Hooked::SystemCallExit,
    ];

    /// As the environment variable names them.
    const fn variable(self) -> Option<&'static str> {
        match self {
            Hooked::Nothing => None,
            Hooked::SocketTracepoints => Some("socket_tracepoints"),
            Hooked::SystemCallExit => Some("sys_exit"),
        }
    }
}

/// Work that is timed.
#[derive(Clone, Copy)]
struct Work {
    /// How the worker is asked for it.
    word: &'static str,
    /// How the table names it.
    name: &'static str,
    /// The tracer is filtered to the worker.
    is_followed: bool,
    /// What its times are shown in.
    unit: Unit,
    run: fn() -> anyhow::Result<f64>,
}

#[derive(Clone, Copy)]
enum Unit {
    Nanoseconds,
    Milliseconds,
}

impl Unit {
    const fn word(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Milliseconds => "ms",
        }
    }

    const fn nanoseconds(self) -> f64 {
        match self {
            Unit::Nanoseconds => 1.0,
            Unit::Milliseconds => 1e6,
        }
    }
}

const WORKS: [Work; 5] = [
    Work {
        word: "frames",
        name: "a send and a receive of one small frame, followed",
        is_followed: true,
        unit: Unit::Nanoseconds,
        run: frames,
    },
    Work {
        word: "frames",
        name: "the same, of a process that is not",
        is_followed: false,
        unit: Unit::Nanoseconds,
        run: frames,
    },
    Work {
        word: "files",
        name: "a write and a read of a file",
        is_followed: false,
        unit: Unit::Nanoseconds,
        run: files,
    },
    Work {
        word: "nothing",
        name: "`getppid`",
        is_followed: false,
        unit: Unit::Nanoseconds,
        run: nothing,
    },
    Work {
        word: "compile",
        name: "a compile, by its processor time",
        is_followed: false,
        unit: Unit::Milliseconds,
        run: compile,
    },
];

/// Calls between two looks at the clock.
const CALLS: u32 = 1_000;
/// How often that is done; the fastest counts, as it was disturbed least.
const WINDOWS: u32 = 200;

/// Nanoseconds of one `call`.
fn timed(mut call: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..WINDOWS {
        let began = Instant::now();
        for _ in 0..CALLS {
            call()?;
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
    }
    Ok(best)
}

/// Both ends of a connection in one process, and PING frames one way.
fn frames() -> anyhow::Result<f64> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // RFC 9113 6.7, with ACK, so that nobody has to answer.
    const PING: [u8; 17] = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    let mut room = [0; 64];
    for part in [PREFACE, &SETTINGS] {
        client.write_all(part)?;
        server.read_exact(&mut room[..part.len()])?;
    }
    server.write_all(&SETTINGS)?;
    client.read_exact(&mut room[..SETTINGS.len()])?;
    timed(|| {
        client.write_all(&PING)?;
        Ok(server.read_exact(&mut room[..PING.len()])?)
    })
}

fn files() -> anyhow::Result<f64> {
    let path = std::env::temp_dir().join(format!("h2trace-bench-{}", std::process::id()));
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    std::fs::remove_file(&path)?;
    let mut byte = [0];
    timed(|| {
        file.write_all_at(&byte, 0)?;
        Ok(file.read_exact_at(&mut byte, 0)?)
    })
}

fn nothing() -> anyhow::Result<f64> {
    timed(|| {
        std::hint::black_box(std::os::unix::process::parent_id());
        Ok(())
    })
}

/// How often the compiler runs for one time: the kernel counts processor time by hundredths of a second.
const COMPILES: u32 = 5;

/// The compiler's processor time.
fn compile() -> anyhow::Result<f64> {
    let before = super::processor_time_of_children()?;
    for _ in 0..COMPILES {
        compile_once()?;
    }
    Ok((super::processor_time_of_children()? - before) * 1e9 / f64::from(COMPILES))
}

/// The compiler on functions enough for some tenths of a second of work.
fn compile_once() -> anyhow::Result<()> {
    let mut source = String::new();
    for n in 0..400 {
        writeln!(
            source,
            "pub fn f{n}(x: &[u64]) -> Vec<String> {{ x.iter().map(|y| format!(\"{{}}\", y * {n})).collect() }}"
        )?;
    }
    // Never a device: the compiler puts a file of its own in the place of what it writes.
    let to = std::env::temp_dir().join(format!("h2trace-bench-{}.rmeta", std::process::id()));
    let mut compiler = Command::new("rustc")
        .args(["--edition", "2024", "--crate-type", "lib", "--crate-name"])
        .args(["h2trace_bench", "--emit", "metadata", "-", "-o"])
        .arg(&to)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run rustc")?;
    let mut input = compiler.stdin.take().context("rustc has no input")?;
    input.write_all(source.as_bytes())?;
    drop(input);
    let status = compiler.wait()?;
    if !status.success() {
        bail!("rustc failed ({status})");
    }
    std::fs::remove_file(&to).with_context(|| format!("cannot remove {}", to.display()))?;
    Ok(())
}

/// The worker's part: a word in, its nanoseconds out.
pub(super) fn work() -> anyhow::Result<()> {
    for word in std::io::stdin().lines() {
        let word = word?;
        let work = WORKS.iter().find(|work| work.word == word);
        let work = work.with_context(|| format!("no such work: {word}"))?;
        println!("{}", (work.run)()?);
    }
    Ok(())
}

/// A worker, and what it is asked by.
struct Worker {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start() -> anyhow::Result<Worker> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "hooks", "--work"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the worker")?;
        let answers = child.stdout.take().context("the worker has no output")?;
        Ok(Worker {
            child,
            answers: BufReader::new(answers),
        })
    }

    fn ask(&mut self, work: &Work) -> anyhow::Result<f64> {
        let input = self.child.stdin.as_mut().context("it has no input")?;
        writeln!(input, "{}", work.word)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        answer
            .trim()
            .parse()
            .with_context(|| format!("the worker ended at {}", work.word))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Without its input it ends by itself, unless it is in the middle of something.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Measures, prints, and writes if asked to.
pub(super) fn run(
    options: &HooksOptions,
    root: &Path,
    binary: &Path,
    folder: &Path,
) -> anyhow::Result<()> {
    let mut worker = Worker::start()?;
    // Who is traced when the worker is not.
    let other = Worker::start()?;
    let mut times: Vec<[Vec<f64>; 3]> = WORKS.iter().map(|_| Default::default()).collect();
    for round in 0..options.rounds {
        let mut order = Hooked::ALL.to_vec();
        if round % 2 == 1 {
            order.reverse();
        }
        for hooked in order {
            for is_followed in [true, false] {
                let pid = if is_followed {
                    worker.child.id()
                } else {
                    other.child.id()
                };
                let tracer = hooked
                    .variable()
                    .map(|hooks| {
                        let variables = [("H2TRACE_HOOKS", hooks)];
                        BenchTracer::start_as(binary, folder, Mode::Serve, pid, &variables)
                    })
                    .transpose()?;
                let works = WORKS.iter().zip(&mut times);
                for (work, times) in works.filter(|(work, _)| work.is_followed == is_followed) {
                    times[hooked as usize].push(worker.ask(work)?);
                }
                tracer.map_or(Ok(()), BenchTracer::stop)?;
            }
        }
    }
    let text = table(&times)?;
    let text = format!("{}\n\n{text}", machine("hooks")?);
    println!("{text}");
    if options.write {
        page::write(root, "hooks", &text)?;
    }
    Ok(())
}

fn table(times: &[[Vec<f64>; 3]]) -> anyhow::Result<String> {
    let mut text = String::from(
        "Both sets of hooks in one run: what h2trace adds to a call (median of the rounds), and the ratio of the whole \
         to the call without (median, and the least and most of a round).\n\n\
         | call | without | socket tracepoints | system call exit |\n| --- | --- | --- | --- |\n",
    );
    for (work, [without, with @ ..]) in WORKS.iter().zip(times) {
        let usual = median(without.iter().copied());
        let unit = work.unit.nanoseconds();
        write!(
            text,
            "| {} | {:.0} {} |",
            work.name,
            usual / unit,
            work.unit.word()
        )?;
        for with in with {
            let added = (median(with.iter().copied()) - usual) / unit;
            let ratios = || {
                with.iter()
                    .zip(without)
                    .map(|(with, without)| with / without)
            };
            let least = ratios().fold(f64::INFINITY, f64::min);
            let most = ratios().fold(f64::NEG_INFINITY, f64::max);
            let ratio = median(ratios());
            write!(text, " {added:+.0} ({ratio:.2}; {least:.2} to {most:.2}) |")?;
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_can_be_done() {
        for work in WORKS {
            assert!((work.run)().unwrap() > 0.0, "{}", work.word);
        }
    }

    #[test]
    fn what_is_added_stands_beside_the_ratio() {
        let times: Vec<_> = WORKS
            .iter()
            .map(|_| [vec![100.0, 200.0], vec![150.0, 200.0], vec![90.0, 190.0]])
            .collect();
        let text = table(&times).unwrap();
        assert!(
            text.contains("| 150 ns | +25 (1.25; 1.00 to 1.50) | -10 (0.93; 0.90 to 0.95) |"),
            "{text}"
        );
    }
}
