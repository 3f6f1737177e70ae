//! Real proxies whose own timeout ends a call that neither the client nor the server had ended.

use std::collections::BTreeSet;

use tracer_tests::call::{Calls, Mode, failed_ids};
use tracer_tests::envoy::{Envoy, EnvoyOptions, More, Version};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::proxy::{Proxy, ProxyKind, ProxyOptions};
use tracer_tests::require;
use tracer_tests::skip::Privileges;
use tracer_tests::tracer::Tracer;

use crate::run::{RUN, SETTLE, id};

const ENVOY: Version = Version("1.40.0");

const GAVE_UP: &str = "proxy_gave_up";

/// Calls that the server answers late: the timeout of each proxy is one second.
fn late() -> Calls {
    let calls = Calls::new(Mode::Unary, 10).at_once(5);
    calls.header("x-delay-ms:4000")
}

/// Calls of whose response some has come by then.
fn streamed() -> Calls {
    let calls = Calls::new(Mode::ServerStream, 10).at_once(5);
    let mut calls = calls.bytes(10, 20_000);
    (calls.messages, calls.interval_us) = (5, 400_000);
    calls
}

/// What becomes of these calls: all fail, all are the proxy's doing, and no other call or end is blamed.
fn gives_up(name: &str, proxy: u32, address: &str, server: &Server, calls: &Calls) {
    let mut client = Client::start(Peer::GrpcJs1_14, address, calls);
    let tracer = Tracer::start(&[client.pid(), proxy, server.pid()]);
    client.go();
    let calls = client.wait_until_done(RUN);
    tracer.wait_for_streams(proxy, "server", calls.len(), SETTLE);
    tracer.wait_for_streams(proxy, "client", calls.len(), SETTLE);
    client.close();
    let trace = tracer.finish();
    let failed = failed_ids(&calls);
    assert_eq!(failed.len(), calls.len(), "{name}: calls went well");
    let told: BTreeSet<String> = trace
        .hops
        .iter()
        .filter(|hop| hop.findings().contains(&GAVE_UP))
        .filter_map(|hop| id(&hop.downstream()).map(str::to_owned))
        .collect();
    let found = trace.findings.iter();
    let gave_up: Vec<_> = found.filter(|found| found.kind() == GAVE_UP).collect();
    // Where the proxy answers in order it is expected, and the hop alone names it.
    if let Some(first) = gave_up.first() {
        println!("{name}: {}", first.0["summary"]);
    }
    assert_eq!(told, failed, "{name}: calls that the proxy gave up");
    for finding in gave_up {
        let summary = finding.0["summary"].as_str().unwrap_or_default();
        let says_why = summary.contains("1s") && summary.contains("as long as a timeout");
        let blames_nobody = summary.contains("Neither the server nor the client had ended");
        assert!(says_why && blames_nobody, "{name}: {summary}");
    }
    trace.assert_lossless();
}

#[test]
fn the_route_timeout_of_envoy() {
    require!(Privileges, ENVOY, Peer::GrpcGo1_85, Peer::GrpcJs1_14);
    for calls in [late(), streamed()] {
        let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
        let options = EnvoyOptions {
            version: ENVOY,
            concurrency: 1,
            half_close: false,
            hide_ids: false,
        };
        let more = More {
            timeout: Some("1s"),
            ..More::default()
        };
        let envoy = Envoy::with(options, &more, server.port());
        gives_up("envoy", envoy.pid(), &envoy.address, &server, &calls);
    }
}

#[test]
fn the_read_timeouts_of_haproxy_and_nginx() {
    require!(
        Privileges,
        ProxyKind::Haproxy,
        ProxyKind::Nginx,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14
    );
    for kind in [ProxyKind::Haproxy, ProxyKind::Nginx] {
        let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
        let options = ProxyOptions {
            kind,
            workers: 1,
            rename: false,
            read_timeout_s: 1,
        };
        let proxy = Proxy::start(options, server.port());
        let name = kind.program().0;
        gives_up(name, proxy.pid(), &proxy.address, &server, &late());
    }
}
