//! The incident while a hostile process floods beside it, inside the filter.

use std::collections::BTreeSet;
use std::time::Duration;

use tracer_tests::call::failed_ids;
use tracer_tests::chance::until_a_call_fails;
use tracer_tests::flood::Flood;
use tracer_tests::peer::Peer;
use tracer_tests::skip::Privileges;
use tracer_tests::trace::{Stream, call_ids};
use tracer_tests::tracer::Tracer;
use tracer_tests::{require, scaled};

use crate::{ENVOY_1_40, IncidentRun, Parts, RUN, SETTLE};

/// All that is said of the calls is true; and all of it is said, or what was lost is told.
#[test]
fn a_flood_beside_it_makes_nothing_false_and_what_is_missing_is_told() {
    require!(Privileges, Peer::GrpcGo1_70, Peer::GrpcJs1_12, ENVOY_1_40);
    let run = || {
        let mut run = IncidentRun::start(Parts::incident(ENVOY_1_40, Peer::GrpcJs1_12), false);
        let mut pids = run.pids();
        // The flood comes from this process.
        pids.push(std::process::id());
        let tracer = Tracer::start(&pids);
        // As fast as it can in a full run; otherwise 50,000 frames a second at most.
        let flood = Flood::begin(scaled(Duration::from_millis(2), Duration::ZERO));
        run.client.go();
        let mut calls = run.client.wait_until_done(RUN);
        calls.retain(|call| !call.is_warm_up());
        let frames = flood.end();
        run.client.close();
        tracer.wait_for_streams(run.client.pid(), "client", calls.len(), SETTLE);
        (calls, tracer.finish(), frames, run)
    };
    let (calls, trace, frames, run) = until_a_call_fails(run, |made| &made.0);

    let failed = failed_ids(&calls);
    let ids: BTreeSet<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    let of_calls = |stream: &&Stream| stream.call_id().is_some_and(|id| ids.contains(id));
    let flagged = trace.flagged();
    let anomalous = |stream: &&Stream| {
        let mut findings = flagged.iter();
        findings.any(|finding| finding.verdict() == "anomaly" && finding.is_about(stream))
    };
    let client = run.client.pid();
    let seen: Vec<&Stream> = trace
        .streams_of(client, "client")
        .filter(of_calls)
        .collect();
    let named = call_ids(seen.iter().copied().filter(anomalous), |_| true);
    println!(
        "{frames} frames of flood; {} of {} calls failed, {} seen, {} named, {} losses told",
        failed.len(),
        calls.len(),
        seen.len(),
        named.len(),
        trace.losses.len()
    );
    assert!(frames > 10_000);
    assert!(
        named.is_subset(&failed),
        "calls that went well are blamed: {:?}",
        named.difference(&failed).collect::<Vec<_>>()
    );
    if trace.losses.is_empty() {
        assert_eq!(
            named, failed,
            "failed calls without a finding, and no loss told"
        );
        assert_eq!(
            seen.len(),
            calls.len(),
            "calls are missing, and no loss told"
        );
    }
    // Nobody but the proxy is blamed for them: the upstream hop is whole.
    let proxy = run
        .envoy
        .as_ref()
        .map_or(0, tracer_tests::envoy::Envoy::pid);
    for (pid, role) in [(proxy, "client"), (run.server.pid(), "server")] {
        let mut upstream = trace.streams_of(pid, role).filter(of_calls);
        let blamed = upstream.find(anomalous);
        assert!(
            blamed.is_none(),
            "{}",
            blamed.map_or("", |_| "the upstream hop is blamed")
        );
    }
    for hop in &trace.hops {
        let said = hop.findings().iter().any(|kind| kind.starts_with("proxy_"));
        let downstream = hop.downstream();
        if said && of_calls(&&downstream) {
            assert_eq!(hop.proxy(), proxy, "{}", hop.0);
            let id = downstream.call_id().unwrap_or_default();
            assert!(failed.contains(id), "{}", hop.0);
        }
    }
}
