//! `cargo xtask bench --serve-pods`: what `serve` takes on a full node.
//!
//! As many cgroups as a large node has pods, in each an h2load of a name of its own that calls the grpc-go peer all
//! the time, over a connection of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::load::{self, LoadServer};
use super::tracer::{BenchTracer, Mode};

/// Pods of a full large node.
const PODS: usize = 250;
/// Calls of each a second.
const CALLS: u32 = 10;
/// Seconds that they are made.
const SECONDS: u32 = 30;
/// How long the tracer is looked at while nothing happens.
const IDLE: Duration = Duration::from_secs(5);

/// Cgroups of the bench, removed when it ends.
struct Cgroups(PathBuf);

impl Cgroups {
    fn new() -> anyhow::Result<Cgroups> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").context("cannot read mounts")?;
        let mut mounts = mounts.lines().map(|line| line.split(' '));
        let mount = mounts.find_map(|mut fields| {
            let (_, folder, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| folder.to_owned())
        });
        let mount = mount.context("this host has no cgroup v2 hierarchy")?;
        let base = Path::new(&mount).join(format!("h2trace-bench-{}", std::process::id()));
        std::fs::create_dir(&base).with_context(|| format!("cannot make {}", base.display()))?;
        let cgroups = Cgroups(base);
        for n in 0..=PODS {
            std::fs::create_dir(cgroups.pod(n))?;
        }
        Ok(cgroups)
    }

    fn pod(&self, n: usize) -> PathBuf {
        self.0.join(format!("pod-{n:03}"))
    }

    /// Processor time of all that ever ran in them.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let text = std::fs::read_to_string(self.0.join("cpu.stat"))?;
        let usage = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        let usage = usage.context("cpu.stat has no usage_usec")?.parse()?;
        Ok(Duration::from_micros(usage))
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        // What is still in use stays; nobody is left to tell of it.
        for n in 0..=PODS {
            std::fs::remove_dir(self.pod(n)).ok();
        }
        std::fs::remove_dir(&self.0).ok();
    }
}

/// Processes of the bench, which end with it.
struct Callers(Vec<Child>);

impl Drop for Callers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Processor time of all threads of a process.
fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let mut ns = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has ended in the meantime is of those that do not matter here.
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        ns += text
            .split(' ')
            .next()
            .and_then(|ns| ns.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(Duration::from_nanos(ns))
}

/// A line of /proc/PID/status, in MB.
fn memory(pid: u32, line: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kb = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))
        .and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse::<u32>().ok());
    let kb = kb.with_context(|| format!("no {line} of {pid}"))?;
    Ok(f64::from(kb) / 1024.0)
}

/// The page of metrics, and how long it took to get it.
pub(super) fn page(address: &str) -> anyhow::Result<(String, Duration)> {
    let begun = Instant::now();
    let mut socket = TcpStream::connect(address)?;
    write!(
        socket,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let (_, page) = answer.split_once("\r\n\r\n").context("no page")?;
    Ok((page.to_owned(), begun.elapsed()))
}

/// Starts the callers, each in its cgroup.
fn start(cgroups: &Cgroups, server: &LoadServer, folder: &Path) -> anyhow::Result<Callers> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let h2load = std::env::split_paths(&path)
        .map(|folder| folder.join("h2load"))
        .find(|file| file.is_file())
        .context("h2load is missing (\"cargo xtask setup\" installs it)")?;
    let body = load::body(folder, super::SMALL)?;
    let mut callers = Callers(Vec::new());
    for n in 0..PODS {
        let own = folder.join(format!("h2load-{n:03}"));
        std::fs::remove_file(&own).ok();
        symlink(&h2load, &own)?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]);
        command.arg(cgroups.pod(n).join("cgroup.procs")).arg(&own);
        command.args(["-c", "1", "-m", "1", "-t", "1"]);
        command.arg(format!("--rps={CALLS}"));
        command.arg(format!("--duration={SECONDS}"));
        load::grpc(&mut command, server, &body);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        callers
            .0
            .push(command.spawn().context("cannot run h2load")?);
    }
    Ok(callers)
}

/// Measures and prints.
pub(super) fn run(root: &Path, binary: &Path, folder: &Path) -> anyhow::Result<()> {
    let cgroups = Cgroups::new()?;
    let server = LoadServer::start(root)?;
    std::fs::write(
        cgroups.pod(PODS).join("cgroup.procs"),
        server.pid().to_string(),
    )?;
    let filter = ["--cgroup".into(), cgroups.0.clone().into_os_string()];
    let tracer = BenchTracer::start_with(binary, folder, Mode::Serve, &filter, &[])?;
    let address = tracer.address(folder)?;
    let before = cpu(tracer.pid())?;
    std::thread::sleep(IDLE);
    let idle = cpu(tracer.pid())?.saturating_sub(before).as_secs_f64() / IDLE.as_secs_f64();
    let (empty, rss) = (page(&address)?.0.len(), memory(tracer.pid(), "VmRSS")?);
    println!(
        "nothing to see:  {:.2} % of a processor, {rss:.0} MB, page of {empty} bytes",
        idle * 100.0
    );

    let (before, traffic_before, begun) = (cpu(tracer.pid())?, cgroups.cpu()?, Instant::now());
    let mut callers = start(&cgroups, &server, folder)?;
    for child in &mut callers.0 {
        let status = child.wait()?;
        if !status.success() {
            bail!("a caller ended with {status}");
        }
    }
    let wall = begun.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(2));
    let own = cpu(tracer.pid())?.saturating_sub(before).as_secs_f64();
    let traffic = cgroups.cpu()?.saturating_sub(traffic_before).as_secs_f64();
    let (text, took) = page(&address)?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let (series, streams) = lines.fold((0_u32, 0.0), |(series, streams), line| {
        let ended =
            line.starts_with("h2trace_streams_ended_total{") && line.contains("role=\"client\"");
        let n = line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok());
        (series + 1, streams + n.filter(|_| ended).unwrap_or(0.0))
    });
    let lost: f64 = text
        .lines()
        .filter(|line| line.starts_with("h2trace_self_events_lost_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    println!(
        "{PODS} cgroups:     {streams:.0} calls, {:.0} a second; both ends of each are traced",
        streams / wall
    );
    println!(
        "  processor time  {own:.2} s of h2trace, {traffic:.2} s of the traffic (with the kernel programs): {:.3}",
        own / traffic
    );
    println!(
        "                  {:.1} % of a processor, {:.1} us a stream and end",
        own / wall * 100.0,
        own / (2.0 * streams) * 1e6
    );
    println!(
        "  memory          {:.0} MB, {:.0} MB at most; the ring is in it",
        memory(tracer.pid(), "VmRSS")?,
        memory(tracer.pid(), "VmHWM")?
    );
    println!(
        "  page            {series} series, {:.1} MB, {:.0} ms; events lost {lost:.0}",
        f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX)) / 1e6,
        took.as_secs_f64() * 1e3
    );
    tracer.stop()
}
