//! The tracer comes when the connections are old and busy: what it says is exact from the first whole frame on,
//! what it cannot know it calls unknown, and it finds nothing where nothing is.

use std::collections::BTreeSet;

use tracer_tests::call::{Call, Calls, Mode};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::skip::Privileges;
use tracer_tests::trace::{Stream, Trace};
use tracer_tests::tracer::Tracer;
use tracer_tests::{require, scaled};

use crate::{RUN, SETTLE};

/// Calls on one connection that are made all the time; `calls` more once the tracer is there, which are judged.
fn busy(mode: Mode, calls: u32) -> Calls {
    Calls {
        busy: true,
        ..Calls::new(mode, calls).at_once(20)
    }
}

/// Ids of the calls that began after the tracer was ready.
fn later(calls: &[Call]) -> BTreeSet<String> {
    calls
        .iter()
        .filter(|call| !call.is_warm_up())
        .map(|call| call.id.clone())
        .collect()
}

/// The streams of some calls at one end.
fn streams_of<'a>(
    ids: &BTreeSet<String>,
    trace: &'a Trace,
    pid: u32,
    role: &'a str,
) -> Vec<&'a Stream> {
    let streams = trace.streams_of(pid, role);
    streams
        .filter(|stream| stream.call_id().is_some_and(|id| ids.contains(id)))
        .collect()
}

fn no_false_finding(peer: Peer, n_calls: u32) {
    require!(Privileges, peer, Peer::GrpcGo1_85);
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let mut client = Client::start(peer, &server.address, &busy(Mode::Unary, n_calls));
    client.wait_for_calls(300, RUN);
    let tracer = Tracer::start(&[server.pid(), client.pid()]);
    client.go();
    let calls = client.wait_until_done(RUN);
    let later = later(&calls);
    client.close();
    tracer.wait_for_streams(client.pid(), "client", later.len(), SETTLE);
    tracer.wait_for_streams(server.pid(), "server", later.len(), SETTLE);
    let trace = tracer.finish();

    assert!(calls.iter().all(|call| call.code == 0), "a call failed");
    assert_eq!(later.len(), n_calls as usize);
    println!("{} streams after the tracer came", later.len());
    for (pid, role) in [(client.pid(), "client"), (server.pid(), "server")] {
        let streams = streams_of(&later, &trace, pid, role);
        assert_eq!(streams.len(), later.len(), "streams at the {role}'s end");
        for stream in streams {
            assert_eq!(stream.trailers(), Some(true), "{}", stream.0);
            assert_eq!(stream.response_phase(), Some("R3"), "{}", stream.0);
            assert!(
                matches!(stream.grpc_status(), None | Some(0)),
                "{}",
                stream.0
            );
            assert!(
                ["ok", "complete_unknown"].contains(&stream.outcome()),
                "{}",
                stream.0
            );
        }
    }
    let flagged = trace.flagged();
    assert!(
        flagged.is_empty(),
        "{} false findings, the first: {}",
        flagged.len(),
        flagged[0].0
    );
}

#[test]
fn ten_thousand_streams_of_an_old_grpc_go_connection_have_no_finding() {
    no_false_finding(Peer::GrpcGo1_85, 10_000);
}

#[test]
fn streams_of_an_old_grpc_js_connection_have_no_finding() {
    no_false_finding(Peer::GrpcJs1_14, scaled(2_000, 10_000));
}

#[test]
fn streams_of_an_old_grpc_java_connection_have_no_finding() {
    no_false_finding(Peer::GrpcJava, scaled(4_000, 10_000));
}

#[test]
fn cancels_and_errors_on_old_connections_are_exact() {
    require!(Privileges, Peer::GrpcGo1_85, Peer::GrpcJs1_14);
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let mut cancels = busy(Mode::Cancel, scaled(400, 4_000));
    (cancels.messages, cancels.interval_us) = (50, 10_000);
    let mut cancels = Client::start(Peer::GrpcGo1_85, &server.address, &cancels);
    let errors = busy(Mode::Status, scaled(1_000, 10_000));
    let mut errors = Client::start(Peer::GrpcJs1_14, &server.address, &errors);
    cancels.wait_for_calls(150, RUN);
    errors.wait_for_calls(150, RUN);
    let tracer = Tracer::start(&[server.pid(), cancels.pid(), errors.pid()]);
    cancels.go();
    errors.go();
    let cancelled = later(&cancels.wait_until_done(RUN));
    let failed = later(&errors.wait_until_done(RUN));
    tracer.wait_for_streams(cancels.pid(), "client", cancelled.len(), SETTLE);
    tracer.wait_for_streams(errors.pid(), "client", failed.len(), SETTLE);
    // Not before their last RST_STREAM is on the wire.
    cancels.close();
    errors.close();
    let trace = tracer.finish();

    println!(
        "{} cancels and {} errors after the tracer came",
        cancelled.len(),
        failed.len()
    );
    let streams = streams_of(&cancelled, &trace, cancels.pid(), "client");
    assert_eq!(streams.len(), cancelled.len(), "cancelled streams");
    for stream in streams {
        assert_eq!(stream.outcome(), "cancelled", "{}", stream.0);
        assert_eq!(stream.trailers(), Some(false), "{}", stream.0);
        assert_eq!(stream.resets()[0].sender, "client", "{}", stream.0);
        assert_eq!(stream.resets()[0].name, "CANCEL", "{}", stream.0);
    }
    let streams = streams_of(&failed, &trace, errors.pid(), "client");
    assert_eq!(streams.len(), failed.len(), "streams with an error status");
    for stream in streams {
        assert_eq!(stream.trailers(), Some(true), "{}", stream.0);
        assert_eq!(stream.response_phase(), Some("R3"), "{}", stream.0);
        // An indexed status cannot be read; a wrong one must not be said.
        assert!(
            matches!(stream.grpc_status(), None | Some(9)),
            "{}",
            stream.0
        );
    }
    let flagged: Vec<_> = trace
        .flagged()
        .into_iter()
        .filter(|f| f.verdict() != "expected")
        .collect();
    assert!(
        flagged.is_empty(),
        "{} false findings, the first: {}",
        flagged.len(),
        flagged[0].0
    );
}

#[test]
fn a_goaway_on_an_old_connection_is_seen() {
    require!(Privileges, Peer::GrpcGo1_85);
    // The age has a tenth of jitter: the connection is drained after 5.4 s at the earliest,
    // and the calls that follow on the tracer's coming last longer than that.
    let server = Server::start(
        Peer::GrpcGo1_85,
        Listen::Ipv4,
        &["--max-connection-age-ms", "6000"],
    );
    let mut calls = Calls::new(Mode::Unary, 1_200).at_once(4);
    (calls.think_ms, calls.busy) = (25, true);
    let mut client = Client::start(Peer::GrpcGo1_85, &server.address, &calls);
    client.wait_for_calls(20, RUN);
    let tracer = Tracer::start(&[server.pid(), client.pid()]);
    client.go();
    let calls = client.wait_until_done(RUN);
    client.close();
    let trace = tracer.finish();

    assert!(calls.iter().all(|call| call.code == 0), "a call failed");
    let drained = trace
        .connections
        .iter()
        .any(|line| line["go_away"]["name"] == "NO_ERROR");
    assert!(
        drained,
        "no GOAWAY among {} lines about connections",
        trace.connections.len()
    );
    let flagged: Vec<_> = trace
        .flagged()
        .into_iter()
        .filter(|f| f.verdict() != "expected")
        .collect();
    assert!(
        flagged.is_empty(),
        "{} false findings, the first: {}",
        flagged.len(),
        flagged[0].0
    );
}
