//! The incident itself, without the tracer: the failures are there, and only where they belong.

use tracer_tests::call::{Call, failed_ids};
use tracer_tests::chance::until_a_call_fails;
use tracer_tests::peer::Peer;
use tracer_tests::require;

use crate::{ENVOY_1_36, ENVOY_1_37, ENVOY_1_40, IncidentRun, Parts, RUN};

/// A run of calls; the server must have handled every one.
fn calls(parts: Parts) -> Vec<Call> {
    let mut run = IncidentRun::start(parts, false);
    run.client.go();
    let calls = run.client.wait_until_done(RUN);
    run.client.close();
    assert_eq!(
        run.server.stop(),
        u64::from(run.n_calls),
        "the server did not handle every call"
    );
    let proxy = parts.envoy.map_or("no proxy", |version| version.0);
    let reason = calls
        .iter()
        .find(|call| call.code != 0)
        .map_or("", |call| &call.message);
    println!(
        "Envoy {proxy}, {} -> {}: {} of {} failed {reason}",
        parts.client.name(),
        parts.server.name(),
        failed_ids(&calls).len(),
        run.n_calls
    );
    calls
}

/// Some calls fail.
fn loses_responses(parts: Parts) {
    until_a_call_fails(|| calls(parts), Vec::as_slice);
}

/// No call fails.
fn loses_nothing(parts: Parts) {
    assert_eq!(failed_ids(&calls(parts)).len(), 0);
}

#[test]
fn every_envoy_loses_responses_of_an_early_answering_server() {
    require!(
        Peer::GrpcGo1_70,
        Peer::GrpcJs1_12,
        ENVOY_1_36,
        ENVOY_1_37,
        ENVOY_1_40
    );
    for envoy in [ENVOY_1_36, ENVOY_1_37, ENVOY_1_40] {
        for client in [Peer::GrpcJs1_12, Peer::ConnectNode] {
            loses_responses(Parts::incident(envoy, client));
        }
    }
}

#[test]
fn envoy_loses_responses_with_half_close_allowed_too() {
    require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12, ENVOY_1_36, ENVOY_1_40);
    for envoy in [ENVOY_1_36, ENVOY_1_40] {
        let incident = Parts::incident(envoy, Peer::GrpcJs1_12);
        loses_responses(Parts {
            half_close: true,
            ..incident
        });
    }
}

#[test]
fn the_controls_have_no_failures() {
    require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12, ENVOY_1_36, ENVOY_1_40);
    for envoy in [ENVOY_1_36, ENVOY_1_40] {
        let incident = Parts::incident(envoy, Peer::GrpcJs1_12);
        loses_nothing(Parts {
            client: Peer::GrpcJs1_14,
            ..incident
        });
        loses_nothing(Parts {
            server: Peer::GrpcGo1_85,
            ..incident
        });
        loses_nothing(Parts {
            envoy: None,
            ..incident
        });
    }
}
