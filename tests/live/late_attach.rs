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

const IN_FLIGHT: u32 = 20;

fn busy(mode: Mode, calls: u32) -> Calls {
    Calls {
        warm: 100,
        ..Calls::new(mode, calls).at_once(IN_FLIGHT)
    }
}

/// The calls of a client that certainly began after the tracer was ready: calls begin in the order of their numbers,
/// so those numbered above all that had ended by then and all that can have been in flight.
struct Later(BTreeSet<String>);

impl Later {
    fn than_now(client: &Client) -> impl Fn(&[Call]) -> Later + use<> {
        let ended = client
            .process
            .lines()
            .iter()
            .filter_map(|line| Call::of_line(line))
            .count();
        let first = ended + IN_FLIGHT as usize;
        move |calls| {
            let number = |id: &str| id.rsplit('-').next().and_then(|n| n.parse::<usize>().ok());
            let later = |call: &&Call| !call.id.contains("warm") && number(&call.id) >= Some(first);
            Later(
                calls
                    .iter()
                    .filter(later)
                    .map(|call| call.id.clone())
                    .collect(),
            )
        }
    }

    fn streams<'a>(&'a self, trace: &'a Trace, pid: u32, role: &'a str) -> Vec<&'a Stream> {
        let streams = trace.streams_of(pid, role);
        streams
            .filter(|s| s.call_id().is_some_and(|id| self.0.contains(id)))
            .collect()
    }
}

fn no_false_finding(peer: Peer, n_calls: u32) {
    require!(Privileges, peer, Peer::GrpcGo1_85);
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let mut client = Client::start(peer, &server.address, &busy(Mode::Unary, n_calls));
    client.go();
    client.wait_for_calls(300, RUN);
    let tracer = Tracer::start(&[server.pid(), client.pid()]);
    let later = Later::than_now(&client);
    let calls = client.wait_until_done(RUN);
    let later = later(&calls);
    client.close();
    tracer.wait_for_streams(client.pid(), "client", later.0.len(), SETTLE);
    tracer.wait_for_streams(server.pid(), "server", later.0.len(), SETTLE);
    let trace = tracer.finish();

    assert!(calls.iter().all(|call| call.code == 0), "a call failed");
    assert!(
        later.0.len() >= n_calls as usize / 4,
        "only {} calls came after the tracer",
        later.0.len()
    );
    println!("{} streams after the tracer came", later.0.len());
    for (pid, role) in [(client.pid(), "client"), (server.pid(), "server")] {
        let streams = later.streams(&trace, pid, role);
        assert_eq!(streams.len(), later.0.len(), "streams at the {role}'s end");
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
    no_false_finding(Peer::GrpcGo1_85, 20_000);
}

#[test]
fn streams_of_an_old_grpc_js_connection_have_no_finding() {
    no_false_finding(Peer::GrpcJs1_14, scaled(4_000, 20_000));
}

#[test]
fn streams_of_an_old_grpc_java_connection_have_no_finding() {
    no_false_finding(Peer::GrpcJava, scaled(8_000, 20_000));
}

#[test]
fn cancels_and_errors_on_old_connections_are_exact() {
    require!(Privileges, Peer::GrpcGo1_85, Peer::GrpcJs1_14);
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let mut cancels = busy(Mode::Cancel, scaled(400, 4_000));
    (cancels.messages, cancels.interval_us) = (50, 10_000);
    let mut cancels = Client::start(Peer::GrpcGo1_85, &server.address, &cancels);
    let errors = busy(Mode::Status, scaled(3_000, 10_000));
    let mut errors = Client::start(Peer::GrpcJs1_14, &server.address, &errors);
    cancels.go();
    errors.go();
    cancels.wait_for_calls(150, RUN);
    errors.wait_for_calls(150, RUN);
    let tracer = Tracer::start(&[server.pid(), cancels.pid(), errors.pid()]);
    let (later_cancels, later_errors) = (Later::than_now(&cancels), Later::than_now(&errors));
    let cancelled = later_cancels(&cancels.wait_until_done(RUN));
    let failed = later_errors(&errors.wait_until_done(RUN));
    cancels.close();
    errors.close();
    tracer.wait_for_streams(cancels.pid(), "client", cancelled.0.len(), SETTLE);
    tracer.wait_for_streams(errors.pid(), "client", failed.0.len(), SETTLE);
    let trace = tracer.finish();

    assert!(
        !cancelled.0.is_empty() && !failed.0.is_empty(),
        "the run was over before the tracer came"
    );
    println!(
        "{} cancels and {} errors after the tracer came",
        cancelled.0.len(),
        failed.0.len()
    );
    let streams = cancelled.streams(&trace, cancels.pid(), "client");
    assert_eq!(streams.len(), cancelled.0.len(), "cancelled streams");
    for stream in streams {
        assert_eq!(stream.outcome(), "cancelled", "{}", stream.0);
        assert_eq!(stream.trailers(), Some(false), "{}", stream.0);
        assert_eq!(stream.resets()[0].sender, "client", "{}", stream.0);
        assert_eq!(stream.resets()[0].name, "CANCEL", "{}", stream.0);
    }
    let streams = failed.streams(&trace, errors.pid(), "client");
    assert_eq!(
        streams.len(),
        failed.0.len(),
        "streams with an error status"
    );
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
    // The age has a tenth of jitter: the connection is drained after 3.6 s at the earliest.
    let server = Server::start(
        Peer::GrpcGo1_85,
        Listen::Ipv4,
        &["--max-connection-age-ms", "4000"],
    );
    let mut calls = Calls::new(Mode::Unary, 1_000).at_once(4);
    (calls.think_ms, calls.warm) = (25, 10);
    let mut client = Client::start(Peer::GrpcGo1_85, &server.address, &calls);
    client.go();
    client.wait_for_calls(20, RUN);
    let tracer = Tracer::start(&[server.pid(), client.pid()]);
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
