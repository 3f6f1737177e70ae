//! Where there is not the time for all of it, something is left out by rule, and told; and taken up again.

use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tracer_ebpf::http2::frame_type;
use tracer_tests::call::{Calls, Mode, failed_ids};
use tracer_tests::eventually;
use tracer_tests::flood::{REQUEST, Wire, frame};
use tracer_tests::measure::used_by;
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::process::Process;
use tracer_tests::program::http_get;
use tracer_tests::require;
use tracer_tests::skip::{self, Privileges, Program};
use tracer_tests::tracer::{Tracer, binary};

use crate::{RUN, SETTLE};

/// The share of one processor that the tracer may take. What the load would make it take is a multiple.
const SHARE: f64 = 0.03;
/// How long all is taken up again at most: connections come back after 16 seconds, and each of three steps up to 64 seconds
/// after that. Mostly it is soon.
const RECOVERS: Duration = Duration::from_secs(240);
/// How long a tracer does not come to read, and how long it does in between.
const STOPPED: Duration = Duration::from_millis(300);
const READS: Duration = Duration::from_millis(200);
/// After the end of a connection all is said of it.
const ENDED: Duration = Duration::from_secs(2);

/// h2load, which waits to be let go, with a server of grpc-go.
fn load(server: &Server, folder: &TempDir, calls: u32) -> Process {
    let body = folder.path().join("request");
    // A `SimpleRequest` that asks for 100 bytes, with its prefix.
    std::fs::write(&body, [0, 0, 0, 0, 2, 0x10, 100]).unwrap();
    let mut h2load = Command::new("h2load");
    h2load.args(["-c", "4", "-m", "10", "-t", "1", "-n", &calls.to_string()]);
    h2load.args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
    h2load.arg("-d").arg(&body).arg(format!(
        "http://{}/grpc.testing.TestService/UnaryCall",
        server.address
    ));
    Process::start_held("h2load", &h2load)
}

/// A tracer that serves metrics of these processes.
struct Bounded {
    process: Process,
    address: String,
    _folder: TempDir,
}

impl Bounded {
    fn start(pids: &[u32]) -> Bounded {
        let folder = TempDir::new().unwrap();
        let ready = folder.path().join("ready");
        let mut command = Command::new(binary());
        command.args(["serve", "--listen", "127.0.0.1:0", "--kubernetes", "off"]);
        command.args(["--max-cpu", &SHARE.to_string()]);
        for pid in pids {
            command.args(["--pid", &pid.to_string()]);
        }
        command.arg("--ready-file").arg(&ready);
        let mut process = Process::start("h2trace serve", &mut command);
        process.until_ready(&ready, Duration::from_secs(60));
        skip::note_that_it_runs();
        let said: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&ready).unwrap()).unwrap();
        Bounded {
            process,
            address: said["listen"].as_str().unwrap().to_owned(),
            _folder: folder,
        }
    }

    /// The sum over all series of a metric whose line has all of `with` in it.
    fn metric(&self, name: &str, with: &[&str]) -> u64 {
        let page = http_get(&self.address, "/metrics").expect("the tracer serves metrics");
        let is_it = |line: &&str| {
            let is_named = line.strip_prefix(name);
            is_named.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && with.iter().all(|with| line.contains(with))
        };
        let values = page
            .lines()
            .filter(is_it)
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        values.sum()
    }

    fn level(&self) -> u64 {
        self.metric("h2trace_shed_level", &[])
    }
}

/// A call that its server breaks, beside the others.
fn break_one(wire: &mut Wire, nth: u32) {
    let id = 2 * nth + 1;
    let internal_error = 2_u32.to_be_bytes();
    wire.send(&frame(frame_type::HEADERS, 5, id, REQUEST))
        .unwrap();
    wire.answer(&frame(frame_type::RST_STREAM, 0, id, &internal_error))
        .unwrap();
}

#[test]
fn a_share_of_the_processor_is_kept_and_what_that_costs_is_told() {
    require!(Privileges, Peer::GrpcGo1_85, Program("h2load"));
    let folder = TempDir::new().unwrap();
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let calls = 200_000;
    let mut client = load(&server, &folder, calls);
    let bounded = Bounded::start(&[server.pid(), client.pid(), std::process::id()]);
    let pid = bounded.process.pid();
    assert_eq!(bounded.level(), 0);
    client.write_line("go");
    let mut wire = Wire::begin().unwrap();
    let (mut n_broken, mut highest) = (0, 0);
    let (mut began, mut used) = (Instant::now(), Duration::ZERO);
    while client.is_running() && began.elapsed() < RUN {
        break_one(&mut wire, n_broken);
        n_broken += 1;
        std::thread::sleep(Duration::from_millis(10));
        if n_broken % 10 != 0 {
            continue;
        }
        let level = bounded.level();
        if level == 3 && highest < 3 {
            // From here on.
            (began, used) = (Instant::now(), used_by(pid));
        }
        highest = highest.max(level);
    }
    let share = (used_by(pid) - used).as_secs_f64() / began.elapsed().as_secs_f64();
    let said = client.lines().join("\n");
    assert!(said.contains(&format!("{calls} succeeded")), "{said}");
    println!("level {highest}; then {share:.3} of a processor");
    assert_eq!(highest, 3, "it was not too much; {share:.3}");
    // Where it settles, and connections that come back in between.
    assert!(share < 2.5 * SHARE, "{share:.3}");

    assert!(eventually(RECOVERS, || {
        // To tell it takes of the share too.
        std::thread::sleep(Duration::from_millis(500));
        bounded.level() == 0
    }));
    // It is said a little later.
    let says_so = || {
        let errors = bounded.process.errors();
        errors
            .iter()
            .any(|line| line.contains("no longer short of time"))
    };
    assert!(eventually(SETTLE, says_so));
    let opened = bounded.metric("h2trace_streams_opened_total", &["h2load", "client"]);
    let ended = bounded.metric("h2trace_streams_ended_total", &["h2load", "client"]);
    let let_go = bounded.metric("h2trace_shed_total", &["connections"]);
    let told = bounded.metric("h2trace_self_limit_hits_total", &["\"share\""]);
    println!("{ended} of {calls} streams; connections were let go {let_go} times");
    // Those whose end may have gone by unseen are told of later.
    assert!(
        ended <= opened && opened <= u64::from(calls),
        "{opened} {ended}"
    );
    assert!(
        ended < u64::from(calls) && let_go > 0 && told >= let_go,
        "{let_go} {told}"
    );
    // Nothing is counted that was not: those who take little may be let go too, which was told.
    let of_this = "comm=\"live-";
    for role in ["client", "server"] {
        let role = format!("role=\"{role}\"");
        let resets = bounded.metric("h2trace_resets_total", &[of_this, &role, "INTERNAL_ERROR"]);
        let n_broken = u64::from(n_broken);
        println!("{resets} of {n_broken} broken calls are counted at the {role}'s end");
        assert!(resets <= n_broken);
    }
    // And nobody else is accused.
    for verdict in ["anomaly", "suspicious"] {
        let verdict = format!("verdict=\"{verdict}\"");
        let all = bounded.metric("h2trace_findings_total", &[&verdict]);
        let of_this = bounded.metric("h2trace_findings_total", &[&verdict, of_this]);
        assert_eq!(all, of_this, "{verdict}");
    }
}

/// A tracer that does not come to read: the ring overflows in the middle of calls, with the last of them, and when their
/// connection ends.
#[test]
fn where_the_ring_overflows_nobody_is_accused() {
    require!(Privileges, Peer::GrpcGo1_85);
    for listen in [Listen::Ipv4, Listen::Unix] {
        for end_is_read in [true, false] {
            overflows(listen, end_is_read);
        }
    }
}

fn overflows(listen: Listen, end_is_read: bool) {
    let server = Server::start(Peer::GrpcGo1_85, listen, &[]);
    let calls = Calls::new(Mode::Unary, 20_000).at_once(40).bytes(2, 100);
    let mut client = Client::start(Peer::GrpcGo1_85, &server.address, &calls);
    let mut tracer = Tracer::with_a_small_ring(&[server.pid(), client.pid()]);
    client.go();
    let n_calls = calls.calls as usize;
    loop {
        tracer.process.signal(libc::SIGSTOP);
        std::thread::sleep(STOPPED);
        if client.process.lines().len() >= n_calls / 2 {
            break;
        }
        tracer.process.signal(libc::SIGCONT);
        std::thread::sleep(READS);
    }
    let made = client.wait_until_done(RUN);
    assert!(made.len() == n_calls && failed_ids(&made).is_empty());
    let pid = tracer.pid();
    if end_is_read {
        tracer.process.signal(libc::SIGCONT);
        eventually(SETTLE, || rests(pid));
    }
    // At once: a word before the end would show that something is missing.
    client.process.end(libc::SIGKILL);
    tracer.process.signal(libc::SIGCONT);
    std::thread::sleep(ENDED);
    eventually(SETTLE, || rests(pid));
    let trace = tracer.finish();
    let lost = trace.losses.iter();
    let lost = lost.filter(|loss| loss["cause"] == "ring_full").count();
    let (n, flagged) = (trace.streams.len(), trace.flagged());
    println!("{listen:?}, the end is read {end_is_read}: {n} streams, lost {lost} times");
    assert!(lost > 0, "nothing was lost");
    assert!(flagged.is_empty(), "{}", flagged[0].0);
}

#[test]
fn lines_that_are_left_out_are_of_streams_that_are_counted() {
    require!(Privileges, Peer::GrpcGo1_85, Program("h2load"));
    let folder = TempDir::new().unwrap();
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let mut client = load(&server, &folder, 30_000);
    let pid = client.pid();
    let tracer = Tracer::with_a_share(&[server.pid(), pid], SHARE);
    client.write_line("go");
    assert!(client.wait(RUN).success());
    eventually(SETTLE, || rests(tracer.pid()));
    let trace = tracer.finish();
    let summary = trace.summary.as_ref().unwrap();
    let number = |pointer: &str| summary.pointer(pointer).and_then(serde_json::Value::as_u64);
    let (ended, left_out) = (number("/streams/ended"), number("/shed/lines"));
    let lines = trace.streams.len() as u64;
    println!("{lines} lines, {left_out:?} left out, {ended:?} streams");
    assert!(left_out > Some(0) && lines > 0);
    assert_eq!(Some(lines + left_out.unwrap_or(0)), ended);
    assert!(trace.flagged().is_empty(), "{:?}", trace.flagged()[0].0);
}

/// It takes nothing of the processor to speak of.
fn rests(pid: u32) -> bool {
    let before = used_by(pid);
    std::thread::sleep(Duration::from_millis(200));
    used_by(pid).saturating_sub(before) < Duration::from_millis(5)
}
