//! The incident in a plain tcpdump: what `replay` says against what the client says, call by call. No privilege is
//! needed to replay, and nothing of h2trace ran while it happened.

use std::collections::BTreeSet;

use tempfile::TempDir;
use tracer_tests::call::failed_ids;
use tracer_tests::capture::Tcpdump;
use tracer_tests::chance::until_a_call_fails;
use tracer_tests::peer::Peer;
use tracer_tests::require;
use tracer_tests::skip::{Privileges, Program, note_that_it_runs};
use tracer_tests::trace::{Hop, Stream, Trace, call_ids};
use tracer_tests::tracer::replay;

use crate::{ENVOY_1_36, ENVOY_1_40, IncidentRun, Parts, RUN};

/// Streams of the connections to a server's port, by which the hop is known.
fn streams_to(trace: &Trace, port: u16) -> Vec<&Stream> {
    let end = format!(":{port}");
    let to_it: BTreeSet<_> = trace
        .connections
        .iter()
        .filter(|line| {
            line["peer"]
                .as_str()
                .is_some_and(|peer| peer.ends_with(&end))
        })
        .filter_map(|line| line["conn"].as_u64())
        .collect();
    trace
        .streams
        .iter()
        .filter(|stream| to_it.contains(&stream.connection()))
        .collect()
}

#[test]
fn replay_of_a_tcpdump_names_exactly_the_failed_calls() {
    require!(
        Privileges,
        Program("tcpdump"),
        Peer::GrpcGo1_70,
        Peer::GrpcJs1_12,
        ENVOY_1_36,
        ENVOY_1_40
    );
    note_that_it_runs();
    for envoy in [ENVOY_1_36, ENVOY_1_40] {
        let folder = TempDir::new().expect("cannot make a folder for the capture");
        let file = folder.path().join("incident.pcap");
        let made = || {
            let mut run = IncidentRun::start(Parts::incident(envoy, Peer::GrpcJs1_12), false);
            let proxy = run
                .envoy
                .as_ref()
                .map_or("", |envoy| envoy.address.as_str());
            let proxy: u16 = proxy
                .rsplit(':')
                .next()
                .and_then(|port| port.parse().ok())
                .unwrap();
            let recorder = Tcpdump::start(&[proxy, run.server.port()], &file);
            run.client.go();
            let calls = run.client.wait_until_done(RUN);
            run.client.close();
            recorder.finish();
            (calls, proxy, run.server.port())
        };
        let (calls, proxy, server) = until_a_call_fails(made, |made| &made.0);

        let failed = failed_ids(&calls);
        println!(
            "Envoy {}: {} of {} calls failed",
            envoy.0,
            failed.len(),
            calls.len()
        );
        let trace = Trace::read(&replay(&file, &[]));
        trace.assert_lossless();

        let downstream = streams_to(&trace, proxy);
        assert_eq!(downstream.len(), calls.len(), "streams on the client's hop");
        let without_trailers = call_ids(downstream.iter().copied(), |stream| {
            stream.trailers() == Some(false)
        });
        assert_eq!(
            without_trailers, failed,
            "calls without trailers on the client's hop"
        );
        let named = call_ids(downstream.iter().copied(), |stream| {
            let findings = trace.flagged();
            findings
                .iter()
                .any(|f| f.verdict() == "anomaly" && f.is_about(stream))
        });
        assert_eq!(named, failed, "calls with a finding on the client's hop");

        // Loopback: that Envoy passed them on is known by what the requests carry alone.
        let cut_by_envoy = call_ids(downstream.iter().copied(), |stream| {
            trace.findings.iter().any(|f| {
                let kind = f.0["kind"].as_str().unwrap_or_default();
                let is_cut = [
                    "proxy_truncated_complete_response",
                    "proxy_dropped_trailers",
                ]
                .contains(&kind);
                is_cut && f.verdict() == "anomaly" && f.is_about(stream)
            })
        });
        assert_eq!(
            cut_by_envoy, failed,
            "calls that Envoy is found to have cut"
        );
        let hops = Trace::read(&replay(&file, &["--show", "hops"])).hops;
        assert_eq!(hops.len(), calls.len(), "requests at Envoy");
        for Hop(hop) in &hops {
            let port = |end: &str| {
                let address = hop[end]["address"].as_str().unwrap_or_default();
                address
                    .rsplit(':')
                    .next()
                    .and_then(|port| port.parse().ok())
            };
            assert_eq!(port("proxy"), Some(proxy), "{hop}");
            assert_eq!(port("server"), Some(server), "{hop}");
            let ids = [&hop["downstream"], &hop["upstream"][0]]
                .map(|side| Stream(side["stream"].clone()).call_id().map(str::to_owned));
            assert!(ids[0].is_some() && ids[0] == ids[1], "{hop}");
        }

        let upstream = streams_to(&trace, server);
        assert_eq!(upstream.len(), calls.len(), "streams on the server's hop");
        for stream in &upstream {
            assert_eq!(
                stream.response_phase(),
                Some("R3"),
                "upstream: {}",
                stream.0
            );
            assert_eq!(stream.trailers(), Some(true), "upstream: {}", stream.0);
        }
    }
}
