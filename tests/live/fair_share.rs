//! A process that floods its own connections does not blind the tracer for others.

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

use tracer_ebpf::http2::frame_type;
use tracer_tests::flood::{REQUEST, Wire, frame};
use tracer_tests::process::Process;
use tracer_tests::require;
use tracer_tests::skip::Privileges;
use tracer_tests::trace::Stream;
use tracer_tests::tracer::Tracer;

use crate::SETTLE;

/// Says to a process of this test that it is the one that floods, and how.
const FLOODS: &str = "H2TRACE_TEST_FLOODS";
const ONE: &str = "one";
const EVER_NEW: &str = "ever new";
/// How long a connection of a flood lasts that opens ever new ones: less than it takes to find that it is one.
const EACH: Duration = Duration::from_millis(100);
const TEST: &str = "fair_share::a_flood_of_others_hides_few_calls_and_is_told";
/// Calls, and the pause between two of them.
const CALLS: u32 = 800;
const PAUSE: Duration = Duration::from_millis(5);

/// Floods a connection of its own with small frames, or one after the other, until it is ended.
fn flood(how: &OsStr) {
    let priorities = frame(frame_type::PRIORITY, 0, 1, &[0, 0, 0, 3, 1]).repeat(1_000);
    let mut wire = Wire::begin().unwrap();
    println!("floods");
    // No longer, should nobody end it.
    let until = Instant::now() + Duration::from_secs(60);
    let mut began = Instant::now();
    while Instant::now() < until {
        if how == EVER_NEW && began.elapsed() >= EACH {
            (wire, began) = (Wire::begin().unwrap(), Instant::now());
        }
        wire.send(&priorities).unwrap();
    }
}

fn flooder(how: &str) -> Process {
    let test = std::env::current_exe().unwrap();
    let mut command = Command::new(test);
    command.args(["--exact", TEST, "--nocapture"]);
    command.env(FLOODS, how);
    Process::start("a flood", &mut command)
}

#[test]
fn a_flood_of_others_hides_few_calls_and_is_told() {
    if let Some(how) = std::env::var_os(FLOODS) {
        return flood(&how);
    }
    require!(Privileges);
    few_are_hidden_by(ONE, 0.6);
}

/// Such connections are gone before it is known that they flood: more is lost.
#[test]
fn nor_does_a_flood_over_ever_new_connections() {
    require!(Privileges);
    few_are_hidden_by(EVER_NEW, 0.5);
}

/// `least`: the part of the calls that must be whole.
fn few_are_hidden_by(how: &str, least: f64) {
    let mut floods: Vec<Process> = (0..3).map(|_| flooder(how)).collect();
    let own = std::process::id();
    let mut pids: Vec<u32> = floods.iter().map(Process::pid).collect();
    pids.push(own);
    let tracer = Tracer::with_a_small_ring(&pids);
    let mut wire = Wire::begin().unwrap();
    for n in 0..CALLS {
        let id = 2 * n + 1;
        wire.send(&frame(frame_type::HEADERS, 5, id, REQUEST))
            .unwrap();
        wire.answer(&frame(frame_type::HEADERS, 5, id, &[0x88]))
            .unwrap();
        std::thread::sleep(PAUSE);
    }
    assert!(floods.iter_mut().all(Process::is_running));
    for flood in &mut floods {
        flood.end(libc::SIGKILL);
    }
    // What of the others was lost will not come.
    tracer.wait_for_streams(own, "client", CALLS as usize * 4 / 5, SETTLE);
    let trace = tracer.finish();

    let whole = |stream: &&Stream| stream.outcome() == "ok";
    let seen = trace.streams_of(own, "client").filter(whole).count();
    let told = |loss: &&serde_json::Value| loss["cause"] == "limit_share";
    let told = trace.losses.iter().filter(told).count();
    println!("{seen} of {CALLS} calls are whole; connections were let go {told} times");
    assert!(told > 0, "nobody was let go");
    // On a machine that is busy with other things too, more is lost until the flood is let go.
    assert!(seen as f64 >= f64::from(CALLS) * least, "{seen} of {CALLS}");
    let flagged = trace.flagged();
    let false_ones: Vec<_> = trace
        .streams_of(own, "client")
        .filter(|stream| flagged.iter().any(|finding| finding.is_about(stream)))
        .collect();
    assert!(false_ones.is_empty(), "{}", false_ones[0].0);
}
