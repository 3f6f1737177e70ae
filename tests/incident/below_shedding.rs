//! The incident beside a load that is nearly as much as the tracer has time for: as long as nothing is left out, all that it
//! says is exact, call by call.

use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tracer_tests::call::failed_ids;
use tracer_tests::peer::{Listen, Peer, Server};
use tracer_tests::process::Process;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::trace::{Finding, Stream};
use tracer_tests::tracer::Tracer;
use tracer_tests::{require, scaled};

use crate::traced::{Traced, is_exact};
use crate::{ENVOY_1_40, IncidentRun, Parts, RUN, SETTLE};

/// The share of one processor that the tracer may take: so that it is short of time before the machine is.
const SHARE: f64 = 0.1;
/// Calls a second of the load: at first, and how it grows from run to run.
const LOAD: u32 = 2_000;
const GROWS: f64 = 1.5;
/// No load is larger: the machine makes no more.
const MOST: u32 = 60_000;
/// The load has begun when the incident does, and lasts longer.
const BEFORE: Duration = Duration::from_millis(500);
/// How much of a load of which something was left out is tried next, and how often.
const LESS: f64 = 0.9;
const TRIES: u32 = 16;
const CONNECTIONS: u32 = 4;

/// h2load with calls at a fixed rate, each of which succeeds.
struct RatedLoad {
    server: Server,
    calls: u32,
    h2load: Process,
    _folder: TempDir,
}

impl RatedLoad {
    /// Waits to be let go.
    fn start(rate: u32) -> RatedLoad {
        let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
        let folder = TempDir::new().unwrap();
        let body = folder.path().join("request");
        // A `SimpleRequest` that asks for 100 bytes, with its prefix.
        std::fs::write(&body, [0, 0, 0, 0, 2, 0x10, 100]).unwrap();
        let calls = rate * scaled(2, 10);
        let mut h2load = Command::new("h2load");
        let [connections, each] = [CONNECTIONS, rate / CONNECTIONS].map(|n| n.to_string());
        h2load.args(["-c", &connections, "-m", "10", "-t", "1"]);
        h2load.args(["-n", &calls.to_string(), "--rps", &each]);
        h2load.args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
        h2load.arg("-d").arg(&body).arg(format!(
            "http://{}/grpc.testing.TestService/UnaryCall",
            server.address
        ));
        RatedLoad {
            h2load: Process::start_held("h2load", &h2load),
            server,
            calls,
            _folder: folder,
        }
    }

    /// All of its calls are made, and each was answered.
    fn finish(&mut self) {
        self.h2load.wait(RUN);
        let said = self.h2load.lines().join("\n");
        let all = format!("{} succeeded", self.calls);
        assert!(said.contains(&all), "{said}");
    }
}

/// The stream that a finding is about.
fn of_finding(finding: &Finding) -> (Option<u64>, Option<u64>) {
    let [connection, stream_id] = ["conn", "stream_id"].map(|key| finding.0[key].as_u64());
    (connection, stream_id)
}

/// The incident beside a load. True: nothing was left out, and all that was said of both is exact.
fn is_exact_beside(rate: u32) -> bool {
    let parts = Parts::incident(ENVOY_1_40, Peer::GrpcJs1_12);
    let mut load = RatedLoad::start(rate);
    let mut run = IncidentRun::start(parts, false);
    let mut pids = run.pids();
    pids.push(load.server.pid());
    let tracer = Tracer::with_a_share(&pids, SHARE);
    load.h2load.write_line("go");
    std::thread::sleep(BEFORE);
    run.client.go();
    let mut calls = run.client.wait_until_done(RUN);
    calls.retain(|call| !call.is_warm_up());
    run.client.close();
    load.finish();
    let is_short = || {
        let errors = tracer.process.errors();
        errors.iter().any(|line| line.contains("short of time"))
    };
    if !is_short() {
        tracer.wait_for_streams(run.client.pid(), "client", calls.len(), SETTLE);
        tracer.wait_for_streams(load.server.pid(), "server", load.calls as usize, SETTLE);
    }
    let (was_short, server) = (is_short(), load.server.pid());
    let traced = Traced::new(&run, calls, tracer.finish());
    let n_failed = failed_ids(&traced.calls).len();
    println!(
        "{rate} calls a second: {n_failed} calls of the incident failed; short of time: {was_short}"
    );
    if was_short {
        return false;
    }
    let of_load: Vec<&Stream> = traced.trace.streams_of(server, "server").collect();
    assert_eq!(of_load.len(), load.calls as usize, "streams of the load");
    let flagged: HashSet<_> = traced.trace.flagged().into_iter().map(of_finding).collect();
    for stream in of_load {
        assert_eq!(stream.outcome(), "ok", "{}", stream.0);
        let place = (Some(stream.connection()), Some(stream.stream_id()));
        assert!(!flagged.contains(&place), "{}", stream.0);
    }
    is_exact(&traced, parts);
    true
}

#[test]
fn what_is_said_is_exact_up_to_where_something_is_left_out() {
    require!(
        Privileges,
        Peer::GrpcGo1_70,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_12,
        ENVOY_1_40,
        Program("h2load")
    );
    let mut rate = LOAD;
    while is_exact_beside(rate) {
        assert!(rate < MOST, "nothing is left out, whatever the load is");
        rate = (f64::from(rate) * GROWS) as u32;
    }
    // Where it begins is not quite the same from run to run.
    let mut at_less = (0..TRIES).map(|_| {
        rate = (f64::from(rate) * LESS) as u32;
        rate
    });
    assert!(
        at_less.any(is_exact_beside),
        "something is left out of much less than what something is left out of"
    );
}
