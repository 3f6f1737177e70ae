//! `cargo xtask bench tls`: what it costs to open TLS.
//!
//! The traffic in TLS beside the same in clear text, by where the keys come from; what a search of memory takes, by how much
//! memory there is, and what the searched program feels of it; and what a probe takes of a handshake.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use super::load::{CONNECTIONS, Load, LoadServer, Run, STREAMS};
use super::tracer::{BenchTracer, Mode};
use super::{machine, median, page, pods, processor_time};
use crate::command;

/// What `cargo xtask bench tls` takes.
#[derive(Args)]
pub(crate) struct TlsOptions {
    /// Runs of each kind, in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Write the tables into tracer-user/docs/performance.md
    #[arg(long)]
    write: bool,
}

const SHAPES: [(&str, Load); 3] = [
    ("100 B", shape(30_000, 100)),
    ("16 KB", shape(6_000, 16 * 1024)),
    ("250 KB", shape(1_000, 250_000)),
];

const fn shape(calls: u32, response: u32) -> Load {
    Load {
        calls,
        response,
        connections: CONNECTIONS,
        streams: STREAMS,
        rate: None,
    }
}

/// After the last call: the tracer reads what is left, and sets its counters.
const SETTLE: Duration = Duration::from_millis(1_200);

/// How h2trace runs beside a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// As it is, so that of TLS only the facts in clear are told.
    Plain,
    /// `--tls`, with keys from memory alone.
    Scan,
    /// `--tls` as it is.
    Probe,
}

impl Beside {
    const fn name(self) -> &'static str {
        match self {
            Beside::Nothing => "nothing",
            Beside::Plain => "`serve`",
            Beside::Scan => "`serve --tls`, memory alone",
            Beside::Probe => "`serve --tls`",
        }
    }
}

/// One run.
struct Measured {
    run: Run,
    /// Processor seconds of h2trace.
    tracer: f64,
    /// Bytes that came through the ring.
    copied: f64,
    /// Events that found no place there.
    lost: f64,
}

struct Stage<'a> {
    binary: &'a Path,
    folder: &'a Path,
    rounds: u32,
}

impl Stage<'_> {
    fn tracer(&self, pid: u32, beside: Beside) -> anyhow::Result<Option<BenchTracer>> {
        let mut arguments = vec!["--pid".into(), pid.to_string().into()];
        if matches!(beside, Beside::Scan | Beside::Probe) {
            arguments.push("--tls".into());
        }
        let variables: &[(&str, &str)] = match beside {
            Beside::Nothing => return Ok(None),
            Beside::Scan => &[("H2TRACE_TLS_KEYS", "scan")],
            Beside::Plain | Beside::Probe => &[],
        };
        let (binary, folder) = (self.binary, self.folder);
        BenchTracer::start_with(binary, folder, Mode::Serve, &arguments, variables).map(Some)
    }

    fn measure(&self, load: Load, server: &LoadServer, beside: Beside) -> anyhow::Result<Measured> {
        let tracer = self.tracer(server.pid(), beside)?;
        let time = || {
            tracer
                .as_ref()
                .map_or(Ok(0.0), |it| processor_time(it.pid()))
        };
        let before = time()?;
        let run = load.run(server, self.folder)?;
        let mut measured = Measured {
            run,
            tracer: 0.0,
            copied: 0.0,
            lost: 0.0,
        };
        if let Some(tracer) = &tracer {
            std::thread::sleep(SETTLE);
            measured.tracer = time()? - before;
            let (metrics, _) = pods::page(&tracer.address(self.folder)?)?;
            measured.copied = value(&metrics, "h2trace_self_bytes_copied_total")
                .context("h2trace does not say how much was copied")?;
            measured.lost = sum(&metrics, "h2trace_self_events_lost_total");
        }
        tracer.map_or(Ok(()), BenchTracer::stop)?;
        Ok(measured)
    }
}

/// The sum of all series of a metric that has labels.
fn sum(page: &str, name: &str) -> f64 {
    let of_name = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{'))
    };
    let values = page.lines().filter(of_name);
    let values = values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

/// The value of a series without labels.
fn value(page: &str, name: &str) -> Option<f64> {
    let mut lines = page.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Measures, prints, and writes if asked to.
pub(super) fn run(
    options: &TlsOptions,
    root: &Path,
    binary: &Path,
    folder: &Path,
) -> anyhow::Result<()> {
    let stage = Stage {
        binary,
        folder,
        rounds: options.rounds,
    };
    let identity = identity(folder)?;
    let mut text = format!("{}\n\n", machine("tls")?);
    text += &traffic(&stage, root, &identity)?;
    text += &searches(&stage)?;
    text += &handshakes(&stage, root, &identity)?;
    println!("{text}");
    if options.write {
        page::write(root, "tls", &text)?;
    }
    Ok(())
}

/// A key and its certificate.
fn identity(folder: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let files = ["key.pem", "certificate.pem"].map(|name| folder.join(name));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=bench"]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.arg("-keyout").arg(&files[0]);
    openssl.arg("-out").arg(&files[1]).stderr(Stdio::null());
    command::run(&mut openssl)?;
    Ok(files)
}

fn over(all: &[Measured], base: &[Measured], of: impl Fn(&Run) -> f64) -> String {
    let ratios = || {
        let pairs = all.iter().zip(base);
        pairs.map(|(with, without)| of(&with.run) / of(&without.run))
    };
    let least = ratios().fold(f64::INFINITY, f64::min);
    let most = ratios().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.3} ({least:.3} to {most:.3})", median(ratios()))
}

fn traffic(stage: &Stage<'_>, root: &Path, identity: &[PathBuf; 2]) -> anyhow::Result<String> {
    const KINDS: [(bool, Beside); 6] = [
        (false, Beside::Nothing),
        (false, Beside::Plain),
        (true, Beside::Nothing),
        (true, Beside::Plain),
        (true, Beside::Scan),
        (true, Beside::Probe),
    ];
    let servers = [
        LoadServer::start(root)?,
        LoadServer::start_with(root, Some(identity))?,
    ];
    let mut text = format!(
        "Saturated, {} in flight, the server's end traced: ratios with h2trace to without, of the same traffic (median, and \
         the least and most of a round); processor time in microseconds a call; bytes through the ring a call; events that found no place in it, of all rounds.\n\n\
         | responses | traffic | beside it | calls/s | p99 | of h2trace, a call | bytes, a call | events lost |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        CONNECTIONS * STREAMS
    );
    for (name, load) in SHAPES {
        for server in &servers {
            load.run(server, stage.folder)
                .context("the warm-up failed")?;
        }
        let mut all: Vec<Vec<Measured>> = KINDS.iter().map(|_| Vec::new()).collect();
        for round in 0..stage.rounds {
            let mut order: Vec<usize> = (0..KINDS.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for nth in order {
                let (is_tls, beside) = KINDS[nth];
                all[nth].push(stage.measure(load, &servers[usize::from(is_tls)], beside)?);
            }
        }
        for (nth, (is_tls, beside)) in KINDS.iter().enumerate() {
            if *beside == Beside::Nothing {
                continue;
            }
            let (with, base) = (&all[nth], &all[if *is_tls { 2 } else { 0 }]);
            let calls = f64::from(load.calls);
            writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {:.1} | {:.0} | {:.0} |",
                if *is_tls { "TLS" } else { "clear text" },
                beside.name(),
                over(with, base, |run| run.calls_per_second),
                over(with, base, |run| run.p99_us),
                median(with.iter().map(|it| it.tracer)) * 1e6 / calls,
                median(with.iter().map(|it| it.copied)) / calls,
                with.iter().map(|it| it.lost).sum::<f64>(),
            )?;
        }
    }
    Ok(text)
}

/// Serves HTTP/2 in clear text with so many MB in memory, beside a connection of records that no key seals: MB.
const SEARCHED: &str = "
const http2 = require('http2'), net = require('net'), crypto = require('crypto');
globalThis.kept = [];
for (let n = 0; n < Number(process.argv[1]); n += 8) globalThis.kept.push(Buffer.alloc(8 << 20, crypto.randomBytes(4096)));
const garbage = () => Buffer.concat([Buffer.from([23, 3, 3, 0, 64]), crypto.randomBytes(64)]);
const other = net.createServer((socket) => setInterval(() => socket.write(garbage()), 50));
other.listen(0, '127.0.0.1', () => {
  const socket = net.connect(other.address().port, '127.0.0.1');
  socket.resume();
  setInterval(() => socket.write(garbage()), 50);
});
const server = http2.createServer();
server.on('stream', (stream) => { stream.respond({ ':status': 200 }); stream.end('x'.repeat(100)); });
server.listen(0, '127.0.0.1', () => console.log('ready 127.0.0.1:' + server.address().port));
";

const RESIDENT_MB: [u32; 3] = [64, 512, 2_048];

/// Far from what the server could do: what is felt is the search.
const CALM: Load = Load {
    calls: 8_000,
    response: 100,
    connections: 4,
    streams: 1,
    rate: Some(400),
};

/// Searches of memory, by how much there is: in full, since there is no such key.
fn searches(stage: &Stage<'_>) -> anyhow::Result<String> {
    let mut text = String::from(
        "\nA search of the whole memory of a Node server, whose keys are not there; it answers 1,600 calls a second in clear \
         text. With `--tls-share 100` the search takes what it can, as it is 1 % of a core; counted are those that ended in 5 seconds.\n\n\
         | memory | `--tls-share` | searches | MB of one | s of one | p99, us without, with | p99.9, us without, with |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for megabytes in RESIDENT_MB {
        let mut node = Command::new("node");
        node.args(["-e", SEARCHED, &megabytes.to_string()]);
        let server = LoadServer::of(&mut node, "http")?;
        CALM.run(&server, stage.folder)
            .context("the warm-up failed")?;
        let without = CALM.run(&server, stage.folder)?;
        for share in ["100", "1"] {
            let pid = server.pid().to_string();
            let arguments = ["--pid", &pid, "--tls", "--tls-share", share].map(Into::into);
            let variables = [("H2TRACE_TLS_KEYS", "scan"), ("H2TRACE_LOG", "debug")];
            let (binary, folder) = (stage.binary, stage.folder);
            let tracer =
                BenchTracer::start_with(binary, folder, Mode::Serve, &arguments, &variables)?;
            let with = CALM.run(&server, folder)?;
            tracer.stop()?;
            let log = std::fs::read_to_string(folder.join("h2trace.log"))?;
            let searches: Vec<Search> = log.lines().filter_map(Search::read).collect();
            let of = |of: &dyn Fn(&Search) -> f64| match searches.len() {
                0 => "-".to_owned(),
                _ => format!("{:.3}", median(searches.iter().map(of))),
            };
            writeln!(
                text,
                "| {megabytes} MB | {share} % | {} | {} | {} | {:.0}, {:.0} | {:.0}, {:.0} |",
                searches.len(),
                of(&|search| search.bytes / 1e6),
                of(&|search| search.seconds),
                without.p99_us,
                with.p99_us,
                without.p999_us,
                with.p999_us,
            )?;
        }
    }
    Ok(text)
}

/// What h2trace's log says of a search.
#[derive(Debug, PartialEq)]
struct Search {
    bytes: f64,
    seconds: f64,
}

impl Search {
    fn read(line: &str) -> Option<Search> {
        if !line.contains("memory was searched for keys") {
            return None;
        }
        let field = |name: &str| line.split_once(name)?.1.split(' ').next();
        let time = field(" time=")?;
        let unit = time.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let seconds = match unit {
            "s" => 1.0,
            "ms" => 1e-3,
            "µs" => 1e-6,
            _ => return None,
        };
        Some(Search {
            bytes: field(" bytes=")?.parse().ok()?,
            seconds: time.strip_suffix(unit)?.parse::<f64>().ok()? * seconds,
        })
    }
}

/// Seconds of handshakes of each run.
const HANDSHAKES_FOR: u32 = 2;

/// Spawned with this.
struct Spawned(Child);

impl Drop for Spawned {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// nghttpd, and its address.
fn nghttpd(identity: &[PathBuf; 2]) -> anyhow::Result<(Spawned, String)> {
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut nghttpd = Command::new("nghttpd");
    nghttpd.args(["--address", "127.0.0.1", &free.port().to_string()]);
    let child = nghttpd.args(identity).stdout(Stdio::null()).spawn();
    let server = Spawned(child.context("cannot run nghttpd (apt-get install nghttp2-server)")?);
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(free).is_err() {
        if Instant::now() > end {
            bail!("nghttpd does not listen");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((server, free.to_string()))
}

/// Full handshakes a second that `openssl s_time` makes.
fn handshakes_a_second(address: &str) -> anyhow::Result<f64> {
    let seconds = HANDSHAKES_FOR.to_string();
    let mut openssl = Command::new("openssl");
    openssl.args(["s_time", "-connect", address, "-new", "-time", &seconds]);
    let began = Instant::now();
    let output = openssl.output().context("cannot run openssl")?;
    let took = began.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stdout);
    let n = made(&text).with_context(|| format!("openssl s_time made no connection:\n{text}"))?;
    Ok(n / took)
}

/// Connections, as openssl s_time tells them.
fn made(text: &str) -> Option<f64> {
    let mut lines = text.lines();
    lines.find_map(|line| {
        let (n, rest) = line.trim().split_once(' ')?;
        rest.starts_with("connections in").then_some(())?;
        n.parse().ok().filter(|n| *n > 0.0)
    })
}

fn handshakes(stage: &Stage<'_>, root: &Path, identity: &[PathBuf; 2]) -> anyhow::Result<String> {
    const KINDS: [Beside; 3] = [Beside::Nothing, Beside::Plain, Beside::Probe];
    let go = LoadServer::start_with(root, Some(identity))?;
    let (nghttpd, address) = nghttpd(identity)?;
    let servers = [
        ("grpc-go (Go)", go.pid(), go.address().to_owned()),
        ("nghttpd (OpenSSL)", nghttpd.0.id(), address),
    ];
    let mut text = String::from(
        "\nFull handshakes on connections of their own, one after the other (`openssl s_time -new`), the server traced; of \
         OpenSSL's library the client runs into the probe, too, which takes nothing of it.\n\n\
         | server | beside it | handshakes/s | microseconds more a handshake |\n| --- | --- | --- | --- |\n",
    );
    for (name, pid, address) in &servers {
        let mut all = KINDS.map(|_| Vec::new());
        for round in 0..stage.rounds {
            let mut order = [0, 1, 2];
            if round % 2 == 1 {
                order.reverse();
            }
            for nth in order {
                let tracer = stage.tracer(*pid, KINDS[nth])?;
                all[nth].push(handshakes_a_second(address)?);
                tracer.map_or(Ok(()), BenchTracer::stop)?;
            }
        }
        let rates = all.map(|rates| median(rates.into_iter()));
        for (beside, rate) in KINDS.iter().zip(rates) {
            writeln!(
                text,
                "| {name} | {} | {rate:.0} | {:+.0} |",
                beside.name(),
                1e6 / rate - 1e6 / rates[0]
            )?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_are_read_from_the_log() {
        let line = |time: &str| {
            format!(
                "2026-11-30T12:00:00Z DEBUG h2trace: memory was searched for keys pid=7 bytes=1000 schedules=3 pieces_cut=0 \
                 wanted=2 found=0 is_cut=false time={time}"
            )
        };
        let seconds = |time: &str| Search::read(&line(time)).map(|search| search.seconds);
        assert!((seconds("1.5s").unwrap() - 1.5).abs() < 1e-9);
        assert!((seconds("22.25ms").unwrap() - 0.022_25).abs() < 1e-9);
        assert_eq!(Search::read(&line("1.5s")).unwrap().bytes as u32, 1_000);
        assert_eq!(seconds("1.5h"), None);
        assert_eq!(Search::read("2026 something else time=1s bytes=2"), None);
    }

    #[test]
    fn what_openssl_and_the_metrics_say_is_read() {
        let text = "Collecting connection statistics for 2 seconds\n\n\n1234 connections in 0.81s; 1523.46 connections/user \
                    sec, bytes read 0\n1234 connections in 3 real seconds, 0 bytes read per connection\n";
        assert_eq!(made(text), Some(1_234.0));
        assert_eq!(made("0 connections in 3 real seconds"), None);
        let metrics = "# TYPE a counter\na_more 4\na 7\nb{c=\"d e\"} 2\nb{c=\"f\"} 3\nbc{} 9\n";
        assert!((sum(metrics, "b") - 5.0).abs() < 1e-9);
        assert_eq!(value(metrics, "a"), Some(7.0));
        assert_eq!(value(metrics, "b"), None);
    }
}
