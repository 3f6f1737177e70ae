//! The worst that the bounds allow, of many connections at once, stays within the memory that the chart gives.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use h2trace::session::memory::KERNEL_MAPS;
use h2trace_core::limits;
use tracer_tests::flood::{Wire, endless_block, full_table, open_streams};
use tracer_tests::measure::until_idle;
use tracer_tests::process::Process;
use tracer_tests::program::http_get;
use tracer_tests::skip::Privileges;
use tracer_tests::{eventually, require, scaled, skip, tracer, workspace};

const MIB: u64 = 1 << 20;

/// A process opens so many connections and holds them.
const HOLDS: &str = "H2TRACE_TEST_HOLDS";
/// Of each of them.
const HELD_BY_ONE: usize = 8_000;

/// What is done with each of many connections.
type Act<'a> = &'a dyn Fn(&mut Wire);

/// The limit of the chart's container, in MiB, and its ring.
fn of_chart() -> (u64, u64) {
    let text = fs::read_to_string(workspace().join("tracer-user/deploy/chart/values.yaml"));
    let values: serde_json::Value = serde_saphyr::from_str(&text.unwrap()).unwrap();
    let limit = values["resources"]["limits"]["memory"].as_str().unwrap();
    let mib = limit.strip_suffix("Mi").expect("a limit in MiB");
    (mib.parse().unwrap(), values["ringMib"].as_u64().unwrap())
}

/// `h2trace serve` as the chart starts it.
struct Served {
    process: Process,
    address: String,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start(mib: u64, ring: u64) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let mut command = Command::new(tracer::binary());
        command.args(["serve", "--listen", "127.0.0.1:0", "--kubernetes", "off"]);
        command.args([
            "--memory-limit",
            &mib.to_string(),
            "--ring-mib",
            &ring.to_string(),
        ]);
        command.args(["--pid", &std::process::id().to_string()]);
        command.arg("--ready-file").arg(&ready);
        let mut process = Process::start("h2trace serve", &mut command);
        process.until_ready(&ready, Duration::from_secs(60));
        skip::note_that_it_runs();
        let said: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&ready).unwrap()).unwrap();
        Served {
            process,
            address: said["listen"].as_str().unwrap().to_owned(),
            _folder: folder,
        }
    }

    /// A metric's sum over all series whose line has `with` in it.
    fn metric(&self, name: &str, with: &str) -> f64 {
        let page = http_get(&self.address, "/metrics").unwrap_or_default();
        let lines = page
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(with));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    }
}

/// A line of `/proc/PID/status`, in bytes.
fn status(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    });
    kib.unwrap_or(0) * 1024
}

/// What the kernel keeps for the process' maps.
fn kernel_memory(pid: u32) -> u64 {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the tracer runs");
    let infos = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    let maps = infos.filter(|info| info.contains("map_type:"));
    let locked = maps.filter_map(|info| {
        let of = |key: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(key))?;
            value.trim().parse::<u64>().ok()
        };
        of("map_id:").zip(of("memlock:"))
    });
    // Several descriptors may be of one map.
    let of_each: HashMap<u64, u64> = locked.collect();
    of_each.values().sum()
}

/// The largest of what `RssAnon` shows until it is asked.
struct Peak {
    seen: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Peak {
    fn of(pid: u32) -> Peak {
        let (seen, over) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (to, until) = (Arc::clone(&seen), Arc::clone(&over));
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                to.fetch_max(status(pid, "RssAnon:"), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Peak { seen, over }
    }

    fn so_far(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Another process that holds connections of which nothing comes any more. It ends with its input.
fn holder(n: usize) -> Child {
    let test = "memory_limit::the_worst_of_many_connections_stays_within_the_limit_of_the_chart";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(HOLDS, n.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It says so when it has all of them.
    let mut said = Vec::new();
    let mut output = child.stdout.take().unwrap();
    let mut buffer = [0; 256];
    while !said.windows(4).any(|four| four == b"held") {
        let n = output.read(&mut buffer).unwrap();
        assert!(n > 0, "no connections: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&buffer[..n]);
    }
    child
}

fn hold(n: usize) {
    let held: Vec<Wire> = (0..n).map(|_| Wire::begin().unwrap()).collect();
    println!("held {}", held.len());
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn the_worst_of_many_connections_stays_within_the_limit_of_the_chart() {
    if let Ok(n) = std::env::var(HOLDS) {
        return hold(n.parse().unwrap());
    }
    require!(Privileges);
    let (mib, ring) = of_chart();
    let mut served = Served::start(mib, ring);
    let pid = served.process.pid();
    let maps = kernel_memory(pid);
    assert!(
        maps <= KERNEL_MAPS as u64 + ring * MIB,
        "maps take {} MiB, more than is counted for them",
        maps / MIB
    );
    let peak = Peak::of(pid);
    let hits = |served: &Served| served.metric("h2trace_self_limit_hits_total", "limit=\"memory\"");
    let (settings, table) = full_table();
    let kinds: [(&str, usize, Act<'_>); 3] = [
        ("open streams", 60, &|wire| {
            let streams = limits::STREAMS_PER_CONNECTION as u32;
            wire.send(&open_streams(0, streams)).unwrap();
        }),
        ("tables", 400, &|wire| {
            wire.answer(&settings).unwrap();
            wire.send(&table).unwrap();
        }),
        ("header blocks", 300, &|wire| {
            wire.send(&endless_block(250_000)).unwrap();
        }),
    ];
    for (what, most, act) in kinds {
        let before = hits(&served);
        let mut wires = Vec::new();
        // What the ring had no room for is no load: until the budget bites, and some more.
        while wires.len() < 4 * most && (wires.len() < most || hits(&served) <= before) {
            let mut wire = Wire::begin().unwrap();
            act(&mut wire);
            wires.push(wire);
        }
        let n = wires.len();
        until_idle(pid);
        println!("{what}: {n} connections, {} MiB", peak.so_far() / MIB);
        drop(wires);
        until_idle(pid);
        println!("closed: {} MiB", peak.so_far() / MIB);
        assert!(hits(&served) > before, "{what}: the budget did not bite");
        assert!(
            served.process.is_running(),
            "{what}{}",
            served.process.complaint()
        );
    }
    let n_idle = scaled(4_000, limits::CONNECTIONS);
    let holders: Vec<Child> = (0..n_idle / 2)
        .step_by(HELD_BY_ONE)
        .map(|from| holder(HELD_BY_ONE.min(n_idle / 2 - from)))
        .collect();
    until_idle(pid);
    println!("idle: {n_idle} ends, {} MiB", peak.so_far() / MIB);

    // Afterwards it works as before.
    let ended = |served: &Served| served.metric("h2trace_streams_ended_total", "outcome=\"ok\"");
    let before = ended(&served);
    let alive = eventually(Duration::from_secs(60), || {
        let mut wire = Wire::begin().unwrap();
        let get = tracer_tests::flood::frame(1, 5, 1, tracer_tests::flood::REQUEST);
        wire.send(&get).unwrap();
        wire.answer(&tracer_tests::flood::frame(1, 5, 1, &[0x88]))
            .unwrap();
        drop(wire);
        std::thread::sleep(Duration::from_millis(300));
        ended(&served) > before
    });
    assert!(
        alive,
        "no call is seen any more{}",
        served.process.complaint()
    );
    // The page of metrics is short here, and nobody lists pods.
    let absent = limits::PAGES_BYTES + limits::API_LIST_BYTES;
    let taken = peak.so_far() + maps + absent as u64;
    println!(
        "{} MiB at most, {} of it maps, of {mib}",
        taken / MIB,
        maps / MIB
    );
    assert!(taken < mib * MIB, "{} MiB of {mib}", taken / MIB);
    for mut holder in holders {
        drop(holder.stdin.take());
        holder.wait().unwrap();
    }
    assert!(Path::new("/proc").join(pid.to_string()).exists());
    let status = served.process.end(libc::SIGTERM);
    assert!(status.success(), "{status}{}", served.process.complaint());
}
