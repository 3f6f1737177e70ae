//! The incident under the tracer: what h2trace says against what the client says, call by call.

use std::collections::BTreeSet;

use tracer_tests::call::{Call, failed_ids};
use tracer_tests::chance::until_a_call_fails;
use tracer_tests::envoy::{Envoy, Version};
use tracer_tests::peer::Peer;
use tracer_tests::require;
use tracer_tests::skip::Privileges;
use tracer_tests::trace::{Hop, Stream, Trace, call_ids};
use tracer_tests::tracer::Tracer;

use crate::{ENVOY_1_36, ENVOY_1_40, IncidentRun, Parts, RUN, SETTLE};

/// When the tracer comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attach {
    /// Before the first connection.
    Before,
    /// In the middle of the calls.
    InTheMiddle,
}

pub(crate) struct Traced {
    pub(crate) trace: Trace,
    /// The calls that certainly began after the tracer was ready.
    pub(crate) calls: Vec<Call>,
    pub(crate) client: u32,
    pub(crate) envoy: u32,
    pub(crate) server: u32,
}

fn run(parts: Parts, attach: Attach) -> Traced {
    let mut run = IncidentRun::start(parts, attach == Attach::InTheMiddle);
    if attach == Attach::InTheMiddle {
        run.client.wait_for_calls(200, RUN);
    }
    let tracer = Tracer::start(&run.pids());
    run.client.go();
    let mut calls = run.client.wait_until_done(RUN);
    // Those that began before the tracer came are not judged: their beginning was not to be seen.
    calls.retain(|call| !call.is_warm_up());
    run.client.close();
    tracer.wait_for_streams(run.client.pid(), "client", calls.len(), SETTLE);
    Traced::new(&run, calls, tracer.finish())
}

impl Traced {
    pub(crate) fn new(run: &IncidentRun, calls: Vec<Call>, trace: Trace) -> Self {
        Traced {
            trace,
            calls,
            client: run.client.pid(),
            envoy: run.envoy.as_ref().map_or(0, Envoy::pid),
            server: run.server.pid(),
        }
    }

    /// Streams of the calls that are judged, at one end.
    fn judged(&self, pid: u32, role: &str) -> Vec<&Stream> {
        let ids: BTreeSet<_> = self.calls.iter().map(|call| call.id.as_str()).collect();
        let streams = self.trace.streams_of(pid, role);
        streams
            .filter(|stream| stream.call_id().is_some_and(|id| ids.contains(id)))
            .collect()
    }

    fn without_trailers(&self, pid: u32, role: &str) -> BTreeSet<String> {
        call_ids(self.judged(pid, role).into_iter(), |stream| {
            stream.trailers() == Some(false)
        })
    }
}

fn names_exactly_the_failed_calls(parts: Parts, attach: Attach) {
    let traced = until_a_call_fails(|| run(parts, attach), |traced| &traced.calls);
    is_exact(&traced, parts);
}

/// The whole statement of the incident.
pub(crate) fn is_exact(traced: &Traced, parts: Parts) {
    let takes_cuts_for_success = parts.client == Peer::ConnectNode;
    let mut failed = failed_ids(&traced.calls);
    if takes_cuts_for_success {
        // connect-node before 1.5 says nothing when the whole message came and then, in place of trailers, a
        // reset with NO_ERROR, or END_STREAM on DATA: that call lost its status all the same.
        let silent = call_ids(
            traced.judged(traced.client, "client").into_iter(),
            |stream| {
                stream.trailers() == Some(false)
                    && matches!(stream.response_phase(), Some("Rb" | "R3"))
            },
        );
        let silent: BTreeSet<String> = silent.difference(&failed).cloned().collect();
        println!("{} calls were cut and taken for a success", silent.len());
        failed.extend(silent);
    }
    println!("{} of {} calls failed", failed.len(), traced.calls.len());

    for (end, pid, role) in [
        ("client", traced.client, "client"),
        ("proxy", traced.envoy, "server"),
    ] {
        let streams = traced.judged(pid, role);
        assert_eq!(
            streams.len(),
            traced.calls.len(),
            "streams on the client's hop at the {end}"
        );
        assert!(
            streams.iter().all(|stream| stream.trailers().is_some()),
            "on the client's hop the {end}'s end has a stream whose trailers are unknown"
        );
        let seen = traced.without_trailers(pid, role);
        assert_eq!(
            seen, failed,
            "calls without trailers on the client's hop, at the {end}"
        );
    }
    let upstream_ends = if parts.hide_ids {
        // The calls have no names there.
        Vec::new()
    } else {
        vec![
            ("proxy", traced.envoy, "client"),
            ("server", traced.server, "server"),
        ]
    };
    for (end, pid, role) in upstream_ends {
        for stream in traced.judged(pid, role) {
            assert_eq!(
                stream.response_phase(),
                Some("R3"),
                "upstream at the {end}: {}",
                stream.0
            );
            assert_eq!(
                stream.trailers(),
                Some(true),
                "upstream at the {end}: {}",
                stream.0
            );
        }
        let complete = call_ids(traced.judged(pid, role).into_iter(), |_| true);
        assert!(
            failed.is_subset(&complete),
            "a failed call was not seen upstream, at the {end}"
        );
    }

    // Every failed call is flagged where the client saw it fail, and no other call is flagged anywhere.
    let flagged = |stream: &&&Stream| {
        let findings = traced.trace.flagged();
        findings
            .iter()
            .any(|f| f.verdict() == "anomaly" && f.is_about(stream))
    };
    let downstream = traced.judged(traced.client, "client");
    let named = call_ids(downstream.iter().filter(flagged).copied(), |_| true);
    assert_eq!(named, failed, "calls with a finding on the client's hop");
    let upstream: Vec<_> = [
        traced.judged(traced.envoy, "client"),
        traced.judged(traced.server, "server"),
    ]
    .concat();
    let blamed: Vec<_> = upstream.iter().filter(flagged).collect();
    assert!(
        blamed.is_empty(),
        "the upstream hop is blamed: {}",
        blamed[0].0
    );
    names_the_proxy(traced, &failed);
    traced.trace.assert_lossless();
}

/// What the proxy did with the calls: exactly the failed ones are found to be cut by it, with a certain verdict.
fn names_the_proxy(traced: &Traced, failed: &BTreeSet<String>) {
    const CUT: [&str; 3] = [
        "proxy_truncated_complete_response",
        "proxy_dropped_trailers",
        "proxy_lost_bytes",
    ];
    let ids: BTreeSet<_> = traced.calls.iter().map(|call| call.id.as_str()).collect();
    let hops: Vec<_> = traced
        .trace
        .hops
        .iter()
        .filter(|hop| {
            hop.downstream()
                .call_id()
                .is_some_and(|id| ids.contains(id))
        })
        .collect();
    assert!(
        hops.iter().all(|hop| hop.proxy() == traced.envoy),
        "another process is taken for a proxy"
    );
    let found = |hop: &&&Hop| hop.findings().iter().any(|kind| CUT.contains(kind));
    let cut: Vec<Stream> = hops
        .iter()
        .filter(found)
        .map(|hop| hop.downstream())
        .collect();
    let cut = call_ids(cut.iter(), |_| true);
    assert_eq!(&cut, failed, "calls that the proxy is found to have cut");
    // A finding line for each, certain, and of both hops.
    let lines: Vec<_> = traced
        .trace
        .findings
        .iter()
        .filter(|finding| CUT.contains(&finding.kind()))
        .filter(|finding| hops.iter().any(|hop| finding.is_about(&hop.downstream())))
        .collect();
    assert_eq!(lines.len(), failed.len(), "one finding a call");
    for finding in lines {
        assert_eq!(finding.verdict(), "anomaly", "{}", finding.0);
        assert_eq!(finding.0["tier"], "T2", "{}", finding.0);
    }
    // And each request was found on both hops.
    assert_eq!(hops.len(), traced.calls.len(), "calls at the proxy");
    let mut joins = std::collections::BTreeMap::<&str, usize>::new();
    for hop in &hops {
        *joins
            .entry(hop.confidence().unwrap_or("alone"))
            .or_default() += 1;
        let upstream = hop.upstream();
        assert!(!upstream.is_empty(), "only one hop was found: {}", hop.0);
        let id = hop.downstream().call_id().map(str::to_owned);
        for stream in upstream {
            // Where the proxy takes the id away, nothing but the verdict can be checked.
            let other = stream.call_id().map(str::to_owned);
            assert!(other.is_none() || other == id, "joined wrongly: {}", hop.0);
        }
    }
    println!("joined by {joins:?}");
}

fn says_nothing(parts: Parts) {
    let traced = run(parts, Attach::Before);
    assert!(failed_ids(&traced.calls).is_empty(), "a control failed");
    if parts.envoy.is_some() {
        names_the_proxy(&traced, &BTreeSet::new());
    }
    assert_eq!(
        traced.judged(traced.client, "client").len(),
        traced.calls.len()
    );
    traced.trace.assert_healthy();
}

fn incident(envoy: Version, attach: Attach) {
    require!(Privileges, Peer::GrpcGo1_70, Peer::GrpcJs1_12, envoy);
    names_exactly_the_failed_calls(Parts::incident(envoy, Peer::GrpcJs1_12), attach);
}

#[test]
fn envoy_1_36_attached_before_every_failed_call_is_named_and_no_other() {
    incident(ENVOY_1_36, Attach::Before);
}

#[test]
fn envoy_1_40_attached_before_every_failed_call_is_named_and_no_other() {
    incident(ENVOY_1_40, Attach::Before);
}

#[test]
fn envoy_1_36_attached_in_the_middle_every_failed_call_is_named_and_no_other() {
    incident(ENVOY_1_36, Attach::InTheMiddle);
}

#[test]
fn envoy_1_40_attached_in_the_middle_every_failed_call_is_named_and_no_other() {
    incident(ENVOY_1_40, Attach::InTheMiddle);
}

#[test]
fn connect_node_behind_envoy_every_failed_call_is_named_and_no_other() {
    require!(
        Privileges,
        Peer::GrpcGo1_70,
        Peer::ConnectNode,
        ENVOY_1_36,
        ENVOY_1_40
    );
    for envoy in [ENVOY_1_36, ENVOY_1_40] {
        names_exactly_the_failed_calls(Parts::incident(envoy, Peer::ConnectNode), Attach::Before);
    }
}

#[test]
fn two_workers_and_half_close_every_failed_call_is_named_and_no_other() {
    require!(
        Privileges,
        Peer::GrpcGo1_70,
        Peer::GrpcJs1_12,
        ENVOY_1_36,
        ENVOY_1_40
    );
    for envoy in [ENVOY_1_36, ENVOY_1_40] {
        let incident = Parts::incident(envoy, Peer::GrpcJs1_12);
        names_exactly_the_failed_calls(
            Parts {
                workers: 2,
                half_close: true,
                ..incident
            },
            Attach::Before,
        );
    }
}

#[test]
fn calls_that_nothing_tells_apart_every_failed_call_is_named_and_no_other() {
    require!(
        Privileges,
        Peer::GrpcGo1_70,
        Peer::GrpcJs1_12,
        ENVOY_1_36,
        ENVOY_1_40
    );
    for (envoy, workers) in [(ENVOY_1_36, 1), (ENVOY_1_40, 1), (ENVOY_1_40, 2)] {
        let incident = Parts::incident(envoy, Peer::GrpcJs1_12);
        names_exactly_the_failed_calls(
            Parts {
                hide_ids: true,
                workers,
                ..incident
            },
            Attach::Before,
        );
    }
}

#[test]
fn a_client_that_ends_its_request_with_the_message_is_not_flagged() {
    require!(
        Privileges,
        Peer::GrpcGo1_70,
        Peer::GrpcJs1_14,
        ENVOY_1_36,
        ENVOY_1_40
    );
    for envoy in [ENVOY_1_36, ENVOY_1_40] {
        says_nothing(Parts::incident(envoy, Peer::GrpcJs1_14));
    }
}

#[test]
fn a_server_that_waits_for_the_end_of_the_request_is_not_flagged() {
    require!(
        Privileges,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_12,
        ENVOY_1_36,
        ENVOY_1_40
    );
    for envoy in [ENVOY_1_36, ENVOY_1_40] {
        says_nothing(Parts {
            server: Peer::GrpcGo1_85,
            ..Parts::incident(envoy, Peer::GrpcJs1_12)
        });
    }
}

#[test]
fn an_early_answer_without_a_proxy_is_not_flagged() {
    require!(Privileges, Peer::GrpcGo1_70, Peer::GrpcJs1_12);
    says_nothing(Parts {
        envoy: None,
        ..Parts::incident(ENVOY_1_36, Peer::GrpcJs1_12)
    });
}
