//! The incident, and healthy traffic, recorded by h2trace: what `replay` finds in the file is what was found live,
//! and tshark reads the same frames in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::call::{Calls, Mode, failed_ids};
use tracer_tests::capture::tshark;
use tracer_tests::chance::until_a_call_fails;
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::require;
use tracer_tests::skip::{Need as _, Privileges, Program, say};
use tracer_tests::trace::{Trace, call_ids};
use tracer_tests::tracer::{Tracer, replay};

use crate::{ENVOY_1_36, ENVOY_1_40, IncidentRun, Parts, RUN, SETTLE};

/// A connection as the file knows it: the port of its client.
type Port = u16;

fn port(value: &Value) -> Port {
    let text = value.as_str().unwrap_or_default();
    // An AF_UNIX connection, which has made-up addresses in the file. No test has two of them.
    if text.starts_with("unix:") || text.starts_with("127.254.") || text.starts_with("127.255.") {
        return 0;
    }
    let port = text.rsplit(':').next().and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("{text} has no port"))
}

/// The client's port of each connection of a run, and whether it was seen at its client's end.
fn clients(trace: &Trace) -> BTreeMap<u64, (Port, bool)> {
    let seen = trace
        .connections
        .iter()
        .filter(|line| line["event"] == "seen");
    seen.map(|line| {
        let is_client = line["role"] == "client";
        let client = port(&line[if is_client { "local" } else { "peer" }]);
        (
            line["conn"].as_u64().unwrap_or_default(),
            (client, is_client),
        )
    })
    .collect()
}

/// What must be the same: findings of the clients' ends, by connection, stream and kind, and those about a
/// proxy's requests, which live are told at the proxy's own end: with the processes, without what is another
/// one at each end.
fn findings(trace: &Trace) -> Vec<(Port, u64, Vec<String>)> {
    let clients = clients(trace);
    let mut all: Vec<_> = trace
        .findings
        .iter()
        .filter_map(|finding| {
            let line = &finding.0;
            let (port, is_client) = clients[&line["conn"].as_u64()?];
            let of_hop = !line["hop"].is_null();
            let said: &[&str] = if of_hop {
                &[
                    "/kind",
                    "/verdict",
                    "/hop/proxy/pid",
                    "/hop/proxy/comm",
                    "/hop/proxy/address",
                    "/hop/missing_bytes",
                ]
            } else {
                &[
                    "/kind",
                    "/verdict",
                    "/request_phase",
                    "/response_phase",
                    "/summary",
                ]
            };
            let said = said.iter().map(|key| {
                let value = line.pointer(key);
                value.map_or_else(|| panic!("no {key} in {line}"), Value::to_string)
            });
            (is_client || of_hop).then(|| {
                (
                    port,
                    line["stream_id"].as_u64().unwrap_or(0),
                    said.collect(),
                )
            })
        })
        .collect();
    all.sort();
    all
}

/// Where the request's phase and the resets stand in what [`streams`] says.
const REQUEST_PHASE: usize = 1;
const RESET: usize = 10;

/// Streams of the clients' ends: all that is said of them, but for times and process.
fn streams(trace: &Trace) -> Vec<(Port, u64, Vec<String>)> {
    streams_of(trace, true)
}

/// As [`streams`], or those of all ends.
fn streams_of(trace: &Trace, clients_only: bool) -> Vec<(Port, u64, Vec<String>)> {
    let clients = clients(trace);
    let mut all: Vec<_> = trace
        .streams
        .iter()
        .filter_map(|stream| {
            let (port, is_client) = clients[&stream.connection()];
            let said = [
                "method",
                "request_phase",
                "response_phase",
                "request_bytes",
                "response_bytes",
                "request_messages",
                "response_messages",
                "trailers",
                "grpc_status",
                "outcome",
                "reset",
                "headers",
                "tier",
            ];
            let mut line = stream.0.clone();
            for reset in line["reset"].as_array_mut().into_iter().flatten() {
                // Monotonic live, wall time in a file.
                reset["at_ns"].take();
            }
            let said = said.iter().map(|key| line[key].to_string()).collect();
            (is_client || !clients_only).then(|| (port, stream.stream_id(), said))
        })
        .collect();
    all.sort();
    all
}

/// Frames by type, as `replay` and as tshark count them.
fn frames_are_those_of_tshark(file: &Path, servers: &[u16]) {
    let mut ours: BTreeMap<String, u64> = BTreeMap::new();
    for line in replay(file, &["--show", "frames"]) {
        let line: Value = serde_json::from_str(&line).expect("a line of replay is JSON");
        if line["type"] == "frame" {
            let name = line["frame"].as_str().unwrap_or_default();
            *ours.entry(name.to_owned()).or_default() += 1;
            let continuations = line["continuations"].as_u64().unwrap_or(0);
            if continuations > 0 {
                *ours.entry("CONTINUATION".to_owned()).or_default() += continuations;
            }
        }
    }
    let mut theirs: BTreeMap<String, u64> = BTreeMap::new();
    for line in tshark(
        file,
        servers,
        &["-Y", "http2", "-T", "fields", "-e", "http2.type"],
    ) {
        for number in line.split(',').filter(|number| !number.is_empty()) {
            let names = [
                "DATA",
                "HEADERS",
                "PRIORITY",
                "RST_STREAM",
                "SETTINGS",
                "PUSH_PROMISE",
                "PING",
                "GOAWAY",
                "WINDOW_UPDATE",
                "CONTINUATION",
            ];
            let number: usize = number.parse().expect("tshark prints numbers");
            let name = names.get(number).copied().unwrap_or("UNKNOWN");
            *theirs.entry(name.to_owned()).or_default() += 1;
        }
    }
    println!("frames: {ours:?}");
    assert_eq!(ours, theirs, "frames as replay and as tshark count them");
    assert!(ours.get("DATA").is_some_and(|n| *n > 0), "no DATA at all");
    // The last -o counts: here the checksums are ours.
    let check = [
        "-o",
        "tcp.check_checksum:TRUE",
        "-Y",
        "_ws.malformed || tcp.analysis.lost_segment || tcp.checksum.status == 0",
    ];
    let broken = tshark(file, servers, &check);
    assert!(broken.is_empty(), "tshark complains: {}", broken[0]);
}

/// The end of a recording: nothing was lost, the file is its owner's alone.
fn finish(tracer: Tracer, file: &Path) -> Trace {
    use std::os::unix::fs::PermissionsExt as _;
    let (live, said) = tracer.finish_with_errors();
    let said = said.join("\n");
    println!("{said}");
    assert!(said.contains("lost: nothing"), "{said}");
    let mode = std::fs::metadata(file)
        .expect("the recording")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    live.assert_lossless();
    live
}

/// The processes at both sides of the proxy, from all findings about its requests. Live an end that was closed
/// before the request was judged is not named any more.
fn beside_the_proxy(trace: &Trace) -> BTreeSet<String> {
    let ends = trace.findings.iter().flat_map(|finding| {
        let hop = &finding.0["hop"];
        [&hop["client"], &hop["server"]].map(|end| (end, &end["pid"], &end["comm"]))
    });
    let named = ends.filter(|(_, pid, _)| !pid.is_null());
    named
        .map(|(end, pid, comm)| format!("{pid} {comm} {}", end["address"]))
        .collect()
}

/// tshark reads the recordings too where it is installed.
fn has_tshark() -> bool {
    let missing = Program("tshark").missing();
    if let Some(why) = &missing {
        say(why);
    }
    missing.is_none()
}

fn says_the_same(live: &Trace, file: &Path) {
    let again = Trace::read(&replay(file, &["--findings", "bad"]));
    assert_eq!(beside_the_proxy(&again), beside_the_proxy(live));
    assert_eq!(findings(&again), findings(live), "findings");
    assert_eq!(streams(&again), streams(live), "streams");
    if has_tshark() {
        // The file's view is the client's.
        let servers = again.connections.iter();
        let servers = servers.filter(|line| line["event"] == "seen");
        let servers: Vec<_> = servers
            .filter_map(|line| line["peer"].as_str()?.rsplit(':').next()?.parse().ok())
            .collect();
        frames_are_those_of_tshark(file, &servers);
    }
}

#[test]
fn a_recording_of_the_incident_says_what_was_said_live() {
    require!(
        Privileges,
        Peer::GrpcGo1_70,
        Peer::GrpcJs1_12,
        ENVOY_1_36,
        ENVOY_1_40
    );
    for envoy in [ENVOY_1_36, ENVOY_1_40] {
        let run = || {
            let folder = TempDir::new().expect("cannot make a folder for the recording");
            let file = folder.path().join("incident.pcapng");
            let mut run = IncidentRun::start(Parts::incident(envoy, Peer::GrpcJs1_12), false);
            let tracer = Tracer::recording(&run.pids(), &file);
            run.client.go();
            let calls = run.client.wait_until_done(RUN);
            run.client.close();
            tracer.wait_for_streams(run.client.pid(), "client", calls.len(), SETTLE);
            (calls, finish(tracer, &file), folder)
        };
        let (calls, live, folder) = until_a_call_fails(run, |made| &made.0);
        let file = folder.path().join("incident.pcapng");
        let failed = failed_ids(&calls);
        says_the_same(&live, &file);
        let found = findings(&live);
        println!("{} calls failed, {} findings", failed.len(), found.len());
        assert!(found.len() >= failed.len());
        if has_tshark() {
            let comments = tshark(
                &file,
                &[],
                &[
                    "-Y",
                    "frame.comment contains \"response_cut_by_reset\"",
                    "-T",
                    "fields",
                    "-e",
                    "frame.comment",
                ],
            );
            let n = comments
                .iter()
                .map(|line| line.matches("response_cut_by_reset").count())
                .sum::<usize>();
            assert!(n >= failed.len(), "{n} comments");
            let processes = tshark(&file, &[], &["-Y", "frame.comment contains \"(envoy)\""]);
            assert!(!processes.is_empty(), "no comment names the process");
        }
    }
}

/// Healthy calls are recorded, and the recording says what was said live.
fn records_healthy_calls(listen: Listen, mode: Mode) {
    let folder = TempDir::new().expect("cannot make a folder for the recording");
    let file = folder.path().join("healthy.pcapng");
    let server = Server::start(Peer::GrpcGo1_85, listen, &[]);
    let calls = Calls::new(mode, 50).at_once(5).bytes(2_000, 60_000);
    let mut client = Client::start(Peer::Grpcio, &server.address, &calls);
    let tracer = Tracer::recording(&[server.pid(), client.pid()], &file);
    client.go();
    let n = client.wait_until_done(RUN).len();
    client.close();
    tracer.wait_for_streams(client.pid(), "client", n, SETTLE);
    let live = finish(tracer, &file);
    assert_eq!(streams(&live).len(), n);
    says_the_same(&live, &file);
}

#[test]
fn a_recording_of_healthy_calls_says_what_was_said_live() {
    require!(Privileges, Peer::GrpcGo1_85, Peer::Grpcio);
    for listen in [Listen::Ipv4, Listen::Ipv6] {
        for mode in [Mode::Unary, Mode::ServerStream, Mode::Bidi, Mode::Cancel] {
            records_healthy_calls(listen, mode);
        }
    }
}

#[test]
fn a_recording_of_a_unix_socket_says_what_was_said_live() {
    require!(Privileges, Peer::GrpcGo1_85, Peer::Grpcio);
    records_healthy_calls(Listen::Unix, Mode::ServerStream);
}

/// What a call that began before the recording shows depends on where it was; the calls after it are the same.
#[test]
fn a_recording_from_the_middle_says_what_was_said_live() {
    require!(Privileges, Peer::GrpcGo1_70, Peer::GrpcJs1_12, ENVOY_1_36);
    let run = || {
        let folder = TempDir::new().expect("cannot make a folder for the recording");
        let file = folder.path().join("middle.pcapng");
        let mut run = IncidentRun::start(Parts::incident(ENVOY_1_36, Peer::GrpcJs1_12), true);
        run.client.wait_for_calls(200, RUN);
        let tracer = Tracer::recording(&run.pids(), &file);
        run.client.go();
        let mut calls = run.client.wait_until_done(RUN);
        calls.retain(|call| !call.is_warm_up());
        run.client.close();
        tracer.wait_for_streams(run.client.pid(), "client", run.n_calls as usize, SETTLE);
        (calls, finish(tracer, &file), folder)
    };
    let (counted, live, folder) = until_a_call_fails(run, |made| &made.0);
    let failed = failed_ids(&counted);
    let again = Trace::read(&replay(&folder.path().join("middle.pcapng"), &[]));
    // Of a connection without its beginning, replay can only guess which end to tell it from.
    let of_calls = |trace: &Trace, clients_only| -> Vec<_> {
        let is_counted = |said: &[String]| said.iter().any(|text| text.contains("\"from\":\"c-"));
        let is_warm = |said: &[String]| said.iter().any(|text| text.contains("c-warm-"));
        let mut all = streams_of(trace, clients_only);
        all.retain(|(_, _, said)| is_counted(said) && !is_warm(said));
        all
    };
    let (replayed, at_client) = (of_calls(&again, false), of_calls(&live, true));
    let at_either = of_calls(&live, false);
    assert_eq!(
        replayed.len(),
        at_client.len(),
        "streams of the counted calls"
    );
    // The recording holds one end of each connection: that of a connection without a beginning is the one that was
    // seen first, be it the server's. The client's END_STREAM and the server's RST_STREAM may cross, and then it
    // is Q2 at the client's end and Q1 at the server's; both are right. So what is said of the request's end is
    // what was said at one of the two ends, and everything else at the client's.
    let but_request_end = |said: &[String]| -> Vec<String> {
        let fields = said.iter().enumerate();
        let kept = fields.filter(|(n, _)| *n != REQUEST_PHASE && *n != RESET);
        kept.map(|(_, text)| text.clone()).collect()
    };
    for (replayed, live) in replayed.iter().zip(&at_client) {
        assert_eq!((replayed.0, replayed.1), (live.0, live.1), "which stream");
        assert_eq!(but_request_end(&replayed.2), but_request_end(&live.2));
        let known = at_either.iter().any(|(port, id, said)| {
            (*port, *id) == (replayed.0, replayed.1)
                && [REQUEST_PHASE, RESET].map(|n| &said[n])
                    == [REQUEST_PHASE, RESET].map(|n| &replayed.2[n])
        });
        assert!(known, "at neither end: {replayed:?}, live {live:?}");
    }
    let judged = again
        .streams
        .iter()
        .filter(|stream| stream.call_id().is_some_and(|id| !id.contains("warm")));
    let broken = call_ids(judged, |stream| stream.trailers() == Some(false));
    println!("{} of {} calls failed", failed.len(), counted.len());
    assert_eq!(broken, failed, "calls without trailers");
}

#[test]
fn a_recording_of_limited_size_stops_by_itself_and_stays_readable() {
    require!(Privileges, Peer::GrpcGo1_85, Peer::Grpcio);
    let folder = TempDir::new().expect("cannot make a folder for the recording");
    let file = folder.path().join("limited.pcapng");
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let calls = Calls::new(Mode::Unary, 50).bytes(100, 60_000);
    let mut client = Client::start(Peer::Grpcio, &server.address, &calls);
    let mut tracer = Tracer::recording_at_most("1m", &[server.pid(), client.pid()], &file);
    client.go();
    client.wait_until_done(RUN);
    let status = tracer.process.wait(RUN);
    let said = tracer.process.errors().join("\n");
    assert!(
        status.success() && said.contains("reached its limit of 1048576 bytes"),
        "{said}"
    );
    let size = std::fs::metadata(&file).expect("the recording").len();
    assert!((900_000..=1_048_576).contains(&size), "{size}");
    let trace = Trace::read(&replay(&file, &[]));
    assert!(trace.streams.len() > 10, "{}", trace.streams.len());
}
