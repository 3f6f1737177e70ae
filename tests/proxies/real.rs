//! Proxies as people run them: healthy, and with a server that answers early behind a client that ends its
//! requests late.

use std::collections::{BTreeMap, BTreeSet};

use tracer_tests::call::{Calls, Mode, failed_ids};
use tracer_tests::envoy::Version;
use tracer_tests::peer::Peer;
use tracer_tests::proxy::ProxyKind;
use tracer_tests::require;
use tracer_tests::scaled;
use tracer_tests::skip::Privileges;

use crate::run::{Ids, Setup, Which, id};

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

#[track_caller]
fn assert_explained(failed: &BTreeSet<String>, explained: &BTreeSet<String>) {
    let unexplained: Vec<_> = failed.difference(explained).collect();
    assert!(
        unexplained.is_empty(),
        "failed, and not named: {unexplained:?}"
    );
}

/// Responses that no buffer of HAProxy holds.
fn large() -> Calls {
    let mut calls = unary().bytes(16, 300_000);
    calls.calls = scaled(60, 600);
    calls.concurrency = 20;
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
    assert_explained(&failed, &explained);
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

/// Messages that no buffer of HAProxy (16 KiB) holds, in the incident's shape too: 2.6 ends some calls by itself then.
#[test]
fn haproxy_with_large_messages() {
    require!(
        Privileges,
        ProxyKind::Haproxy,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14
    );
    require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12);
    let haproxy = Which::Packaged(ProxyKind::Haproxy);
    for (server, client) in [
        (Peer::GrpcGo1_85, Peer::GrpcJs1_14),
        (Peer::GrpcGo1_70, Peer::GrpcJs1_12),
    ] {
        let setup = Setup {
            proxy: haproxy,
            workers: ONE,
            ids: Ids::Alike,
            server,
            client,
            calls: large(),
        };
        let outcome = setup.run();
        let mut requests: BTreeMap<String, usize> = BTreeMap::new();
        for hop in outcome.hops() {
            if let Some(id) = id(&hop.downstream()) {
                *requests.entry(id.to_owned()).or_default() += 1;
            }
        }
        println!(
            "haproxy with large messages, {server:?}: {} requests; flagged {:?}",
            requests.values().sum::<usize>(),
            outcome.flagged()
        );
        let kinds = [&CUT[..], &["proxy_gave_up"]].concat();
        let (named, failed) = (outcome.found(&kinds), failed_ids(&outcome.calls));
        let after = outcome.reset_after_response();
        // Of requests that are alike it may be any one that the proxy gave up: that is said, and no more. And the
        // client tries again by itself where it is told that nothing was processed.
        let ambiguous = outcome
            .hops()
            .filter(|hop| hop.confidence() == Some("ambiguous"));
        let ambiguous: BTreeSet<_> = ambiguous
            .filter_map(|hop| id(&hop.downstream()).map(str::to_owned))
            .collect();
        let again = |id: &&String| requests.get(*id).is_some_and(|n| *n > 1);
        let well: Vec<_> = named
            .difference(&failed)
            .filter(|id| !ambiguous.contains(*id) && !again(id))
            .collect();
        assert!(well.is_empty(), "named, and went well: {well:?}");
        let explained: BTreeSet<_> = named.union(&after).cloned().collect();
        assert_explained(&failed, &explained);
        // Of a connection that it gives up it reads less than was sent to it.
        if failed.is_empty() {
            outcome.trace.assert_lossless();
        }
    }
}

/// In mode TCP HAProxy moves the bytes from socket to socket without reading them: its own ends cannot be decoded, and
/// those of client and server are what they are without it.
#[test]
fn what_haproxy_splices_is_seen_at_both_other_ends() {
    require!(
        Privileges,
        ProxyKind::HaproxyTcp,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_14
    );
    let setup = Setup {
        proxy: Which::Packaged(ProxyKind::HaproxyTcp),
        workers: ONE,
        ids: Ids::Plain,
        server: Peer::GrpcGo1_85,
        client: Peer::GrpcJs1_14,
        calls: large(),
    };
    let outcome = setup.run_around();
    assert_eq!(failed_ids(&outcome.calls), BTreeSet::new());
    let streams = |role: &str| {
        let streams = outcome.trace.streams.iter();
        let ends = streams.filter(|stream| {
            stream.role() == Some(role) && stream.pid() != outcome.proxy && stream.outcome() == "ok"
        });
        ends.count()
    };
    let n = outcome.calls.len();
    assert_eq!((streams("client"), streams("server")), (n, n));
    let at_proxy = outcome.trace.connections.iter();
    let spliced = at_proxy
        .filter(|line| line["pid"] == outcome.proxy && line["unseen_bytes"]["splice"].is_u64());
    assert!(spliced.count() > 0, "HAProxy spliced nothing");
    assert_eq!(outcome.flagged(), BTreeMap::new());
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
