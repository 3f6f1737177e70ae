//! A tracer that comes when all connections are old: what their HPACK tables held then it never saw, `:path` among it.
//! No request is joined to another one's stream, and of none it is said that the proxy opened no stream for it.

use tracer_tests::call::{Calls, Mode};
use tracer_tests::envoy::Version;
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::proxy::ProxyKind;
use tracer_tests::require;
use tracer_tests::scaled;
use tracer_tests::skip::Privileges;
use tracer_tests::trace::Stream;
use tracer_tests::tracer::Tracer;

use crate::run::{self, Ids, Outcome, Running, Which};

const ENVOY: Version = Version("1.40.0");

/// Calls that may have gone by before a connection was recognised.
const NOT_SEEN: usize = 2;

/// Calls on the connections before the tracer comes, and after it. The id is in a field with a name in HPACK's static
/// table, so that the test can always read it; where it is hidden the join leaves this field out of account.
fn calls(at_once: u32, is_hidden: bool) -> Calls {
    let mut calls = Calls::new(Mode::Unary, scaled(150, 2_000))
        .at_once(at_once)
        .bytes(16, 2_000);
    calls.warm = 200;
    calls.think_ms = 3;
    calls.id_field = Some(if is_hidden { run::HIDDEN } else { "from" });
    calls
}

/// So many of these proxies in a row.
fn late(proxy: Which, n_in_a_row: usize, at_once: u32, is_hidden: bool) {
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let mut proxies: Vec<Running> = Vec::new();
    let mut port = server.port();
    for _ in 0..n_in_a_row {
        let proxy = proxy.start(2, Ids::Plain, port);
        port = proxy.port();
        proxies.push(proxy);
    }
    let Some(first) = proxies.last() else { return };
    let calls = calls(at_once, is_hidden);
    let mut client = Client::start(Peer::GrpcJs1_14, first.address(), &calls);
    let mut pids = vec![client.pid(), server.pid()];
    pids.extend(proxies.iter().map(Running::pid));
    let tracer = Tracer::showing(&pids, &[run::HIDDEN, "from"]);
    client.go();
    let mut calls = client.wait_until_done(run::RUN);
    calls.retain(|call| !call.is_warm_up());
    // The very first ones may have gone by before their connections were recognised.
    let n_seen = calls.len() - NOT_SEEN;
    for proxy in &proxies {
        tracer.wait_for_streams(proxy.pid(), "server", n_seen, run::SETTLE);
        tracer.wait_for_streams(proxy.pid(), "client", n_seen, run::SETTLE);
    }
    client.close();
    let mut outcome = Outcome {
        trace: tracer.finish(),
        calls,
        proxy: 0,
    };
    for (nth, running) in proxies.iter().enumerate() {
        outcome.proxy = running.pid();
        let joined = outcome.joined();
        let name = format!(
            "{} late, {} of {n_in_a_row}, {at_once} at once, ids {}",
            proxy.name(),
            nth + 1,
            if is_hidden { "hidden" } else { "shown" },
        );
        outcome.print(&name, &joined);
        assert_eq!(joined.failed, 0, "{name}: a healthy call failed");
        assert_eq!(joined.wrong, 0, "{name}: wrong joins");
        if at_once == 1 {
            assert!(joined.surely >= n_seen, "{name}: requests joined");
        }
        let mut alone = outcome.hops().filter(|hop| hop.upstream().is_empty());
        if let Some(alone) = alone.next() {
            let of = run::id(&alone.downstream()).map(str::to_owned);
            let own = |stream: &Stream| run::id(stream) == of.as_deref();
            let told: Vec<_> = outcome
                .trace
                .streams_of(outcome.proxy, "client")
                .filter(|stream| own(stream))
                .collect();
            let given: Vec<_> = outcome
                .hops()
                .filter(|hop| hop.upstream().iter().any(own))
                .collect();
            panic!(
                "{name}: said to have no stream: {}\nits own: {told:#?}\ngiven to: {given:#?}",
                alone.0
            );
        }
        let synthesized = outcome.found(&["synthesized_answer"]);
        assert!(synthesized.is_empty(), "{name}: {synthesized:?}");
    }
    outcome.trace.assert_healthy();
}

/// One of them and two in a row, with so many calls at once.
fn each(proxy: Which, at_once: u32) {
    for n_in_a_row in [1, 2] {
        for is_hidden in [false, true] {
            late(proxy, n_in_a_row, at_once, is_hidden);
        }
    }
}

/// Of many old connections with two or three calls each some are never recognised: what went on over them is not seen.
const MANY: u32 = 50;

macro_rules! proxies {
    ($($name:ident, $many:ident: $which:expr, needs $($need:expr),+;)+) => {
        $(
            #[test]
            fn $name() {
                require!(Privileges, Peer::GrpcGo1_85, Peer::GrpcJs1_14, $($need),+);
                each($which, 1);
            }

            #[test]
            fn $many() {
                require!(Privileges, Peer::GrpcGo1_85, Peer::GrpcJs1_14, $($need),+);
                each($which, MANY);
            }
        )+
    };
}

proxies! {
    go_reverse_proxy, go_reverse_proxy_many_at_once: Which::GoReverseProxy, needs Peer::GrpcGo1_85;
    caddy, caddy_many_at_once: Which::Packaged(ProxyKind::Caddy), needs ProxyKind::Caddy;
    haproxy, haproxy_many_at_once: Which::Packaged(ProxyKind::Haproxy), needs ProxyKind::Haproxy;
    nginx, nginx_many_at_once: Which::Packaged(ProxyKind::Nginx), needs ProxyKind::Nginx;
    envoy, envoy_many_at_once: Which::Envoy(ENVOY), needs ENVOY;
}
