//! The table of call shapes: what happened, what h2trace said, at both ends.

use tracer_tests::call::{Call, Calls, Mode};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::require;
use tracer_tests::skip::Privileges;
use tracer_tests::trace::{Stream, Trace, call_ids};
use tracer_tests::tracer::Tracer;

use crate::{RUN, SETTLE};

/// What the calls of one row were, and what became of them.
struct Seen {
    trace: Trace,
    calls: Vec<Call>,
    client: u32,
    server: u32,
}

impl Seen {
    /// The streams of a call at the client's and at the server's end.
    fn both_ends(&self, call: &Call) -> [&Stream; 2] {
        [
            self.trace.stream_of_call(self.client, "client", &call.id),
            self.trace.stream_of_call(self.server, "server", &call.id),
        ]
    }

    /// Prints the table's row, and fails on any finding that says more than "expected".
    fn nothing_is_flagged(&self) {
        let flagged: Vec<_> = self
            .trace
            .flagged()
            .into_iter()
            .filter(|f| f.verdict() != "expected")
            .collect();
        assert!(
            flagged.is_empty(),
            "{} findings, the first: {}",
            flagged.len(),
            flagged[0].0
        );
        self.trace.assert_lossless();
    }
}

/// Makes the calls of a row under the tracer. `peers` are client and server.
fn run(peers: (Peer, Peer), arguments: &[&str], calls: &Calls) -> Seen {
    let server = Server::start(peers.1, Listen::Ipv4, arguments);
    let mut client = Client::start(peers.0, &server.address, calls);
    let tracer = Tracer::start(&[server.pid(), client.pid()]);
    client.go();
    let said = client.wait_until_done(RUN);
    // A library tells of a cancel before its RST_STREAM is written; a client that ended now might never write it.
    tracer.wait_for_streams(client.pid(), "client", said.len(), SETTLE);
    client.close();
    tracer.wait_for_streams(server.pid(), "server", said.len(), SETTLE);
    let trace = tracer.finish();
    let seen = Seen {
        trace,
        calls: said,
        client: client.pid(),
        server: server.pid(),
    };
    for stream in seen.trace.streams_of(seen.client, "client").take(1) {
        println!(
            "{:>14} -> {:<14} {:?}: {} {}/{} status {:?} resets {:?}",
            peers.0.name(),
            peers.1.name(),
            calls.mode,
            stream.outcome(),
            stream.request_phase().unwrap_or("?"),
            stream.response_phase().unwrap_or("?"),
            stream.grpc_status(),
            stream.resets()
        );
    }
    seen
}

/// Clients whose every shape is looked at; the server is another library than the client.
const PAIRS: [(Peer, Peer); 5] = [
    (Peer::GrpcGo1_85, Peer::GrpcJava),
    (Peer::GrpcJs1_14, Peer::GrpcGo1_85),
    (Peer::Grpcio, Peer::GrpcGo1_85),
    (Peer::GrpcJava, Peer::Tonic),
    (Peer::Tonic, Peer::GrpcGo1_85),
];

/// Bytes that protobuf adds to a payload, at most; gRPC's prefix is 5 more.
const PROTOBUF_OVERHEAD: u64 = 32;

/// A call that went well, with so many messages of `request` and `response` payload bytes.
fn all_is_well(calls: &Calls, messages: (u32, u32)) {
    for peers in PAIRS {
        let seen = run(peers, &[], calls);
        for call in &seen.calls {
            assert_eq!(call.code, 0, "{call:?}");
            for stream in seen.both_ends(call) {
                assert_eq!(stream.outcome(), "ok", "{}", stream.0);
                assert_eq!(stream.request_phase(), Some("Q2"), "{}", stream.0);
                assert_eq!(stream.response_phase(), Some("R3"), "{}", stream.0);
                assert_eq!(stream.trailers(), Some(true), "{}", stream.0);
                assert_eq!(stream.grpc_status(), Some(0), "{}", stream.0);
                for (name, bytes, n, payload) in [
                    (
                        "request",
                        stream.request_bytes(),
                        messages.0,
                        calls.request_bytes,
                    ),
                    (
                        "response",
                        stream.response_bytes(),
                        messages.1,
                        calls.response_bytes,
                    ),
                ] {
                    let least = u64::from(n) * (u64::from(payload) + 5);
                    let most = least + u64::from(n) * PROTOBUF_OVERHEAD;
                    assert!(
                        (least..=most).contains(&bytes),
                        "{name} {bytes} of {least}: {}",
                        stream.0
                    );
                }
            }
        }
        seen.nothing_is_flagged();
        assert!(
            seen.trace.flagged().is_empty(),
            "a finding in a healthy run: {}",
            seen.trace.flagged()[0].0
        );
    }
}

macro_rules! require_all_peers {
    () => {
        require!(Privileges);
        for (client, server) in PAIRS {
            require!(client, server);
        }
    };
}

#[test]
fn unary_calls_of_one_byte_are_seen_whole() {
    require_all_peers!();
    all_is_well(&Calls::new(Mode::Unary, 5).bytes(1, 1), (1, 1));
}

#[test]
fn unary_calls_of_100_kilobytes_are_seen_whole() {
    require_all_peers!();
    all_is_well(&Calls::new(Mode::Unary, 5).bytes(100_000, 100_000), (1, 1));
}

#[test]
fn unary_calls_of_10_megabytes_are_seen_whole() {
    require_all_peers!();
    // Servers take requests of 4 MB by default, so only the response is big.
    all_is_well(
        &Calls::new(Mode::Unary, 2).bytes(1_000_000, 10_000_000),
        (1, 1),
    );
}

#[test]
fn client_streams_are_seen_whole() {
    require_all_peers!();
    let calls = Calls::new(Mode::ClientStream, 5).at_once(2).bytes(1_000, 0);
    // The answer is a number, whatever the response size: one message of a few bytes.
    all_is_well(
        &Calls {
            messages: 20,
            ..calls
        },
        (20, 1),
    );
}

#[test]
fn bidirectional_streams_are_seen_whole() {
    require_all_peers!();
    let calls = Calls::new(Mode::Bidi, 5).at_once(2).bytes(1_000, 1_000);
    all_is_well(
        &Calls {
            messages: 20,
            ..calls
        },
        (20, 20),
    );
}

#[test]
fn server_streams_are_seen_whole() {
    require_all_peers!();
    // A request that asks for 20 messages is some bytes longer for each: ask for few.
    let calls = Calls::new(Mode::ServerStream, 5)
        .at_once(2)
        .bytes(10, 20_000);
    all_is_well(
        &Calls {
            messages: 3,
            ..calls
        },
        (1, 3),
    );
}

#[test]
fn an_error_without_a_message_is_a_status_and_no_anomaly() {
    require_all_peers!();
    for peers in PAIRS {
        let seen = run(peers, &[], &Calls::new(Mode::Status, 5));
        for call in &seen.calls {
            assert_eq!(call.code, 9, "{call:?}");
            for stream in seen.both_ends(call) {
                assert_eq!(stream.outcome(), "error_status", "{}", stream.0);
                assert_eq!(stream.response_phase(), Some("R3"), "{}", stream.0);
                assert_eq!(stream.trailers(), Some(true), "{}", stream.0);
                assert_eq!(stream.grpc_status(), Some(9), "{}", stream.0);
                assert_eq!(stream.response_bytes(), 0, "{}", stream.0);
            }
        }
        seen.nothing_is_flagged();
    }
}

#[test]
fn a_deadline_that_passes_is_called_a_deadline() {
    require_all_peers!();
    for peers in PAIRS {
        let mut calls = Calls::new(Mode::Deadline, 3)
            .at_once(3)
            .header("x-delay-ms:9000");
        // A JVM that has just started writes its first request some 70 ms after it computed grpc-timeout, and gives
        // up by its own clock: that has to be little beside the deadline.
        calls.deadline_ms = 3_000;
        let seen = run(peers, &[], &calls);
        for call in &seen.calls {
            // tonic gives up with CANCELLED.
            assert!([1, 4].contains(&call.code), "{call:?}");
            for stream in seen.both_ends(call) {
                // Client and server watch the same clock: who is first decides what is on the wire.
                if stream.outcome() == "error_status" {
                    assert!(matches!(stream.grpc_status(), Some(1 | 4)), "{}", stream.0);
                } else {
                    assert_eq!(stream.outcome(), "deadline", "{}", stream.0);
                    assert_eq!(stream.response_phase(), Some("R0"), "{}", stream.0);
                    assert_eq!(stream.grpc_status(), None, "{}", stream.0);
                    assert!(!stream.resets().is_empty(), "{}", stream.0);
                }
            }
        }
        seen.nothing_is_flagged();
    }
}

#[test]
fn a_cancel_by_the_client_is_the_clients() {
    require_all_peers!();
    for peers in PAIRS {
        let mut calls = Calls::new(Mode::Cancel, 5);
        (calls.messages, calls.interval_us) = (50, 20_000);
        let seen = run(peers, &[], &calls);
        for call in &seen.calls {
            assert_eq!(call.code, 1, "{call:?}");
            for stream in seen.both_ends(call) {
                assert_eq!(stream.outcome(), "cancelled", "{}", stream.0);
                assert_eq!(stream.response_phase(), Some("Rb"), "{}", stream.0);
                assert_eq!(stream.trailers(), Some(false), "{}", stream.0);
                let resets = stream.resets();
                let by_client = resets
                    .iter()
                    .any(|r| r.sender == "client" && r.name == "CANCEL");
                assert!(by_client, "{}", stream.0);
            }
        }
        seen.nothing_is_flagged();
    }
}

#[test]
fn a_reset_by_the_server_is_an_anomaly_at_the_phase_where_it_came() {
    require!(
        Privileges,
        Peer::ResetServer,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14,
        Peer::Grpcio
    );
    for client in [Peer::GrpcGo1_85, Peer::GrpcJs1_14, Peer::Grpcio] {
        for (after, phase) in [
            ("nothing", "R0"),
            ("headers", "R1"),
            ("data", "Rm"),
            ("message", "Rb"),
        ] {
            let calls = Calls::new(Mode::Unary, 3).header(format!("x-reset-after:{after}"));
            let seen = run((client, Peer::ResetServer), &[], &calls);
            for call in &seen.calls {
                assert_eq!(call.code, 13, "{call:?}");
                for stream in seen.both_ends(call) {
                    assert_eq!(stream.outcome(), "reset", "{}", stream.0);
                    assert_eq!(stream.response_phase(), Some(phase), "{}", stream.0);
                    assert_eq!(stream.trailers(), Some(false), "{}", stream.0);
                    let resets = stream.resets();
                    assert_eq!(resets[0].sender, "server", "{}", stream.0);
                    assert_eq!(resets[0].name, "INTERNAL_ERROR", "{}", stream.0);
                    let findings = seen.trace.flagged();
                    let about: Vec<_> = findings.iter().filter(|f| f.is_about(stream)).collect();
                    assert!(
                        about.iter().any(|f| f.verdict() == "anomaly"),
                        "no finding: {}",
                        stream.0
                    );
                }
            }
            seen.trace.assert_lossless();
        }
    }
}

/// What h2trace must say at the client's end of a stream whose server ended in the middle of it.
fn loses_its_stream(client: Peer) {
    let mut calls = Calls::new(Mode::ServerStream, 1)
        .bytes(10, 1_000)
        .header("x-die:1");
    (calls.messages, calls.interval_us) = (10, 20_000);
    let seen = run((client, Peer::GrpcGo1_85), &[], &calls);
    assert_ne!(seen.calls[0].code, 0, "{:?}", seen.calls[0]);
    let stream = seen
        .trace
        .stream_of_call(seen.client, "client", &seen.calls[0].id);
    assert_eq!(stream.outcome(), "connection_lost", "{}", stream.0);
    assert_eq!(stream.response_phase(), Some("Rb"), "{}", stream.0);
    assert_eq!(stream.trailers(), Some(false), "{}", stream.0);
    assert_eq!(stream.grpc_status(), None, "{}", stream.0);
    let kinds: Vec<_> = seen
        .trace
        .flagged()
        .iter()
        .map(|f| f.kind().to_owned())
        .collect();
    assert!(
        kinds.iter().any(|kind| kind == "connection_lost_streams"),
        "{kinds:?}"
    );
    seen.trace.assert_lossless();
}

#[test]
fn a_server_that_dies_in_mid_stream_loses_its_streams() {
    require!(
        Privileges,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14,
        Peer::GrpcJava,
        Peer::Tonic
    );
    for client in [
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14,
        Peer::GrpcJava,
        Peer::Tonic,
    ] {
        loses_its_stream(client);
    }
}

/// grpcio answers the server's FIN with RST_STREAM(REFUSED_STREAM) on its open streams.
#[test]
fn a_reset_that_answers_the_servers_death_is_not_taken_for_its_cause() {
    require!(Privileges, Peer::GrpcGo1_85, Peer::Grpcio);
    loses_its_stream(Peer::Grpcio);
}

#[test]
fn a_drain_with_goaway_fails_no_call_and_is_no_anomaly() {
    require!(
        Privileges,
        Peer::GrpcGo1_85,
        Peer::GrpcJava,
        Peer::Grpcio,
        Peer::Tonic,
        Peer::GrpcJs1_14
    );
    for peers in [
        (Peer::GrpcGo1_85, Peer::GrpcGo1_85),
        (Peer::GrpcJs1_14, Peer::GrpcGo1_85),
        (Peer::Tonic, Peer::GrpcJava),
        (Peer::GrpcJava, Peer::Grpcio),
    ] {
        let mut calls = Calls::new(Mode::Unary, 300).at_once(4);
        calls.think_ms = 20;
        let seen = run(peers, &["--max-connection-age-ms", "250"], &calls);
        // hyper gives a request up that it has for a connection which ends just then: it was never sent.
        let is_unsent =
            |call: &Call| peers.0 == Peer::Tonic && call.message == "operation was canceled";
        let (unsent, sent): (Vec<_>, Vec<_>) = seen.calls.iter().partition(|call| is_unsent(call));
        assert!(unsent.len() < 10, "{} requests not sent", unsent.len());
        let on_the_wire = call_ids(seen.trace.streams.iter(), |_| true);
        for call in unsent {
            assert!(!on_the_wire.contains(&call.id), "it was sent: {call:?}");
        }
        let failed: Vec<_> = sent.iter().filter(|call| call.code != 0).collect();
        assert!(
            failed.is_empty(),
            "{} calls failed: {:?}",
            failed.len(),
            failed[0]
        );
        for (pid, role) in [(seen.client, "client"), (seen.server, "server")] {
            let mut connections: Vec<_> = seen
                .trace
                .streams_of(pid, role)
                .map(Stream::connection)
                .collect();
            connections.sort_unstable();
            connections.dedup();
            assert!(connections.len() > 1, "the {role}'s end was never drained");
            let complete = seen
                .trace
                .streams_of(pid, role)
                .filter(|s| s.outcome() == "ok")
                .count();
            assert_eq!(complete, sent.len(), "complete streams at the {role}'s end");
        }
        seen.nothing_is_flagged();
    }
}
