//! The incident itself, without the tracer: the failures are there, and only where they belong.

use tracer_tests::call::failed_ids;
use tracer_tests::peer::Peer;
use tracer_tests::require;

use crate::{ENVOY_1_36, ENVOY_1_37, ENVOY_1_40, IncidentRun, Parts, RUN};

/// How many calls failed; the server must have handled every one.
fn failures(parts: Parts) -> usize {
    let mut run = IncidentRun::start(parts, false);
    run.client.go();
    let calls = run.client.wait_until_done(RUN);
    run.client.close();
    assert_eq!(
        run.server.stop(),
        u64::from(run.n_calls),
        "the server did not handle every call"
    );
    let failed = failed_ids(&calls).len();
    let proxy = parts.envoy.map_or("no proxy", |version| version.0);
    let reason = calls
        .iter()
        .find(|call| call.code != 0)
        .map_or("", |call| &call.message);
    println!(
        "Envoy {proxy}, {} -> {}: {failed} of {} failed {reason}",
        parts.client.name(),
        parts.server.name(),
        run.n_calls
    );
    failed
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
            assert!(
                failures(Parts::incident(envoy, client)) > 0,
                "{} {}",
                envoy.0,
                client.name()
            );
        }
    }
}

#[test]
fn envoy_loses_responses_with_half_close_allowed_too() {
    require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12, ENVOY_1_36, ENVOY_1_40);
    for envoy in [ENVOY_1_36, ENVOY_1_40] {
        let incident = Parts::incident(envoy, Peer::GrpcJs1_12);
        assert!(
            failures(Parts {
                half_close: true,
                ..incident
            }) > 0,
            "{}",
            envoy.0
        );
    }
}

#[test]
fn the_controls_have_no_failures() {
    require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12, ENVOY_1_36, ENVOY_1_40);
    for envoy in [ENVOY_1_36, ENVOY_1_40] {
        let incident = Parts::incident(envoy, Peer::GrpcJs1_12);
        assert_eq!(
            failures(Parts {
                client: Peer::GrpcJs1_14,
                ..incident
            }),
            0
        );
        assert_eq!(
            failures(Parts {
                server: Peer::GrpcGo1_85,
                ..incident
            }),
            0
        );
        assert_eq!(
            failures(Parts {
                envoy: None,
                ..incident
            }),
            0
        );
    }
}
