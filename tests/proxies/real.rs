//! Proxies as people run them: healthy, and with a server that answers early behind a client that ends its
//! requests late.

use std::collections::BTreeSet;

use tracer_tests::call::{Calls, Mode, failed_ids};
use tracer_tests::envoy::Version;
use tracer_tests::peer::Peer;
use tracer_tests::proxy::ProxyKind;
use tracer_tests::require;
use tracer_tests::scaled;
use tracer_tests::skip::Privileges;

use crate::run::{Ids, Setup, Which};

const ENVOY: Version = Version("1.40.0");

/// The response was whole when it came to the proxy.
const CUT: [&str; 3] = [
    "proxy_truncated_complete_response",
    "proxy_dropped_trailers",
    "proxy_lost_bytes",
];

/// What the join must reach.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Must {
    /// Every request, and certainly.
    JoinAll,
    /// No wrong one.
    NotErr,
}

fn unary() -> Calls {
    let mut calls = Calls::new(Mode::Unary, scaled(150, 2_000))
        .at_once(50)
        .bytes(16, 11_000);
    calls.think_ms = 3;
    calls
}

/// A server that waits for the end of the request, a client that sends it with the message: nothing is found.
fn healthy(proxy: Which, workers: u32, ids: Ids, must: Must) {
    let setup = Setup {
        proxy,
        workers,
        ids,
        server: Peer::GrpcGo1_85,
        client: Peer::GrpcJs1_14,
        calls: unary(),
    };
    let outcome = setup.run();
    let joined = outcome.joined();
    outcome.print(
        &format!("{} healthy {ids:?} {workers} workers", proxy.name()),
        &joined,
    );
    assert_eq!(joined.failed, 0, "a healthy call failed");
    assert_eq!(joined.wrong, 0, "wrong joins");
    if must == Must::JoinAll {
        assert_eq!(joined.surely, joined.calls, "requests joined");
    }
    outcome.trace.assert_healthy();
}

/// The reference incident's server and client: whatever the proxy makes of it, no call is named that went well, and
/// each is named that the proxy cut.
fn early(proxy: Which, workers: u32, ids: Ids, must: Must) {
    let setup = Setup {
        proxy,
        workers,
        ids,
        server: Peer::GrpcGo1_70,
        client: Peer::GrpcJs1_12,
        calls: unary(),
    };
    let outcome = setup.run();
    let joined = outcome.joined();
    outcome.print(
        &format!("{} early {ids:?} {workers} workers", proxy.name()),
        &joined,
    );
    assert_eq!(joined.wrong, 0, "wrong joins");
    if must == Must::JoinAll {
        assert_eq!(joined.surely, joined.calls, "requests joined");
    }
    let (named, failed) = (outcome.found(&CUT), failed_ids(&outcome.calls));
    // A reset after the whole response, with a code that the client takes for a failure, cuts nothing: HAProxy
    // sends one now and then. It has a finding of its own.
    let after = outcome.reset_after_response();
    let explained: BTreeSet<_> = named.union(&after).cloned().collect();
    assert!(
        named.is_subset(&failed),
        "named, and went well: {:?}",
        named.difference(&failed)
    );
    assert!(
        failed.is_subset(&explained),
        "failed, and not named: {:?}",
        failed.difference(&explained)
    );
    outcome.trace.assert_lossless();
}

const ONE: u32 = 1;
const TWO: u32 = 2;

#[test]
fn nginx() {
    require!(
        Privileges,
        ProxyKind::Nginx,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14
    );
    require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12);
    let nginx = Which::Packaged(ProxyKind::Nginx);
    healthy(nginx, ONE, Ids::Renamed, Must::NotErr);
    healthy(nginx, ONE, Ids::Plain, Must::JoinAll);
    early(nginx, ONE, Ids::Alike, Must::NotErr);
}

#[test]
fn haproxy() {
    require!(
        Privileges,
        ProxyKind::Haproxy,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14
    );
    require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12);
    let haproxy = Which::Packaged(ProxyKind::Haproxy);
    healthy(haproxy, ONE, Ids::Renamed, Must::NotErr);
    healthy(haproxy, TWO, Ids::Alike, Must::NotErr);
    early(haproxy, ONE, Ids::Alike, Must::NotErr);
}

#[test]
fn nghttpx() {
    require!(
        Privileges,
        ProxyKind::Nghttpx,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14
    );
    require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12);
    let nghttpx = Which::Packaged(ProxyKind::Nghttpx);
    healthy(nghttpx, ONE, Ids::Alike, Must::JoinAll);
    early(nghttpx, ONE, Ids::Alike, Must::JoinAll);
}

#[test]
fn caddy() {
    require!(
        Privileges,
        ProxyKind::Caddy,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14
    );
    require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12);
    let caddy = Which::Packaged(ProxyKind::Caddy);
    healthy(caddy, ONE, Ids::Renamed, Must::NotErr);
    healthy(caddy, TWO, Ids::Plain, Must::JoinAll);
    early(caddy, TWO, Ids::Alike, Must::NotErr);
}

#[test]
fn apache() {
    require!(
        Privileges,
        ProxyKind::Apache,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14
    );
    require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12);
    let apache = Which::Packaged(ProxyKind::Apache);
    healthy(apache, ONE, Ids::Plain, Must::JoinAll);
    healthy(apache, ONE, Ids::Alike, Must::NotErr);
    early(apache, ONE, Ids::Alike, Must::NotErr);
}

#[test]
fn envoy() {
    require!(Privileges, ENVOY, Peer::GrpcGo1_85, Peer::GrpcJs1_14);
    require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12);
    let envoy = Which::Envoy(ENVOY);
    healthy(envoy, ONE, Ids::Renamed, Must::JoinAll);
    healthy(envoy, TWO, Ids::Alike, Must::NotErr);
    early(envoy, ONE, Ids::Alike, Must::JoinAll);
}
