//! A proxy with defects: each is found, of the right kind, on the calls that the proxy says it broke and on no other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracer_tests::call::{Call, Calls, Mode, failed_ids};
use tracer_tests::faulty_proxy::{FaultyProxy, Running};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::skip::Privileges;
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{require, scaled};

use crate::run::{NOT_COMPARED, RUN, SETTLE, id};

/// The server's response was complete before the request had ended: no trouble of the proxy's making.
const EARLY: &str = "early_response_upstream";

/// A run with it.
struct FaultySetup<'a> {
    arguments: &'a [&'a str],
    server: Peer,
    /// The server that the proxy asks first.
    first: Option<Peer>,
    /// What the clients do, one after the other.
    clients: &'a [(Peer, Calls)],
    /// How long the tracer looks on after the last call.
    then: Duration,
}

struct FaultyOutcome {
    trace: Trace,
    calls: Vec<Call>,
    /// What the proxy says it broke.
    broken: BTreeSet<String>,
    proxy: u32,
}

impl FaultySetup<'_> {
    #[track_caller]
    fn run(&self) -> FaultyOutcome {
        let server = Server::start(self.server, Listen::Ipv4, &[]);
        let first = self
            .first
            .map(|peer| Server::start(peer, Listen::Ipv4, &[]));
        let mut arguments = self.arguments.to_vec();
        if let Some(first) = &first {
            arguments.extend(["--first", &first.address]);
        }
        let proxy = Running::start(&server.address, &arguments);
        let start = |(peer, calls): &(Peer, Calls)| Client::start(*peer, &proxy.address, calls);
        let mut clients: Vec<Client> = self.clients.iter().map(start).collect();
        let mut pids = vec![proxy.pid(), server.pid()];
        pids.extend(first.as_ref().map(Server::pid));
        pids.extend(clients.iter().map(Client::pid));
        let tracer = Tracer::showing(&pids, &[NOT_COMPARED]);
        let mut calls = Vec::new();
        for client in &mut clients {
            client.go();
            calls.extend(client.wait_until_done(RUN));
        }
        tracer.wait_for_streams(proxy.pid(), "server", calls.len(), SETTLE);
        std::thread::sleep(self.then);
        for client in &mut clients {
            client.close();
        }
        FaultyOutcome {
            trace: tracer.finish(),
            calls,
            broken: proxy.broken(),
            proxy: proxy.pid(),
        }
    }
}

impl FaultyOutcome {
    /// Calls whose request at the proxy has a finding, by kind.
    fn found(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for hop in &self.trace.hops {
            assert_eq!(
                hop.proxy(),
                self.proxy,
                "another process was taken for a proxy"
            );
            let downstream = hop.downstream();
            for kind in hop.findings().into_iter().filter(|kind| *kind != EARLY) {
                let of = id(&downstream).unwrap_or_else(|| panic!("no id: {}", downstream.0));
                found
                    .entry(kind.to_owned())
                    .or_default()
                    .insert(of.to_owned());
            }
        }
        found
    }

    /// Fails unless this kind was found on these calls, no other kind on any, and nothing of the others' streams.
    #[track_caller]
    fn assert_only(&self, kind: &str, calls: &BTreeSet<String>) {
        println!("{kind}: {} of {} calls", calls.len(), self.calls.len());
        assert!(
            !calls.is_empty(),
            "the defect did not show, so nothing was shown"
        );
        let want = BTreeMap::from([(kind.to_owned(), calls.clone())]);
        assert_eq!(self.found(), want);
        let whole: Vec<_> = self
            .trace
            .streams
            .iter()
            .filter(|stream| id(stream).is_none_or(|id| !calls.contains(id)))
            .collect();
        for finding in self.trace.flagged() {
            let blamed = whole.iter().find(|stream| finding.is_about(stream));
            assert!(
                blamed.is_none(),
                "a call that went well is blamed: {}",
                finding.0
            );
        }
        self.trace.assert_lossless();
    }
}

/// Calls whose responses do not fit into the client's window all at once.
fn large(prefix: &'static str) -> Calls {
    let mut calls = Calls::new(Mode::Unary, scaled(200, 1_000))
        .at_once(50)
        .bytes(16, 11_000);
    (calls.id_prefix, calls.think_ms) = (prefix, 3);
    calls
}

/// A few calls that always go well.
fn small() -> (Peer, Calls) {
    let mut calls = Calls::new(Mode::Unary, 20).at_once(5);
    calls.id_prefix = "small";
    (Peer::GrpcJs1_14, calls)
}

/// Calls that the reset server ends so.
fn reset(code: u32, after: &str) -> (Peer, Calls) {
    let calls = Calls::new(Mode::Unary, 20).at_once(5);
    let calls = calls.header(format!("x-reset-code:{code}"));
    (
        Peer::GrpcJs1_14,
        calls.header(format!("x-reset-after:{after}")),
    )
}

fn run(
    defect: &str,
    server: Peer,
    first: Option<Peer>,
    clients: &[(Peer, Calls)],
) -> FaultyOutcome {
    let arguments: &[&str] = match defect {
        "hedge" => &["--hedge"],
        _ => &["--defect", defect],
    };
    FaultySetup {
        arguments,
        server,
        first,
        clients,
        then: Duration::ZERO,
    }
    .run()
}

/// The calls whose ids begin so.
fn ids(outcome: &FaultyOutcome, prefix: &str) -> BTreeSet<String> {
    let calls = outcome.calls.iter().map(|call| call.id.clone());
    calls.filter(|id| id.starts_with(prefix)).collect()
}

macro_rules! parts {
    () => {
        require!(Privileges, FaultyProxy, Peer::GrpcGo1_85, Peer::GrpcJs1_14);
        require!(Peer::GrpcGo1_70, Peer::GrpcJs1_12);
    };
}

#[test]
fn without_a_defect_nothing_is_found() {
    parts!();
    for (server, client) in [
        (Peer::GrpcGo1_85, Peer::GrpcJs1_14),
        (Peer::GrpcGo1_70, Peer::GrpcJs1_12),
    ] {
        let mut calls = large("c");
        calls.id_field = Some(NOT_COMPARED);
        let outcome = run("none", server, None, &[(client, calls)]);
        assert!(failed_ids(&outcome.calls).is_empty());
        assert_eq!(outcome.found(), BTreeMap::new());
        let joined = outcome.trace.hops.iter().filter(|hop| {
            let down = hop.downstream();
            hop.upstream().iter().all(|up| id(up) == id(&down)) && !hop.upstream().is_empty()
        });
        assert_eq!(joined.count(), outcome.calls.len());
        outcome.trace.assert_healthy();
    }
}

#[test]
fn p1_what_is_held_back_is_lost_with_a_reset() {
    parts!();
    let clients = [small(), (Peer::GrpcJs1_12, large("c"))];
    let outcome = run(
        "reset-when-answered-early",
        Peer::GrpcGo1_70,
        None,
        &clients,
    );
    assert_eq!(outcome.broken, failed_ids(&outcome.calls));
    outcome.assert_only("proxy_truncated_complete_response", &outcome.broken);
}

#[test]
fn p2_trailers_are_dropped() {
    parts!();
    for defect in ["reset-for-trailers", "end-for-trailers"] {
        let clients = [small(), (Peer::GrpcJs1_14, large("c"))];
        let outcome = run(defect, Peer::GrpcGo1_85, None, &clients);
        assert_eq!(outcome.broken, failed_ids(&outcome.calls), "{defect}");
        outcome.assert_only("proxy_dropped_trailers", &outcome.broken);
    }
}

#[test]
fn p3_the_tail_of_a_response_is_forgotten() {
    parts!();
    let clients = [small(), (Peer::GrpcJs1_14, large("c"))];
    let outcome = run("forget-tail", Peer::GrpcGo1_85, None, &clients);
    outcome.assert_only("proxy_lost_bytes", &outcome.broken);
}

#[test]
fn p4_a_code_becomes_no_error() {
    parts!();
    for code in [8, 2] {
        let outcome = run(
            "code-to-no-error",
            Peer::ResetServer,
            None,
            &[reset(code, "data")],
        );
        assert_eq!(outcome.broken, ids(&outcome, "c"));
        outcome.assert_only("proxy_translated_code", &outcome.broken);
    }
}

#[test]
fn p5_a_request_is_cut() {
    parts!();
    let mut calls = Calls::new(Mode::Unary, 20).at_once(5).bytes(20_000, 100);
    calls.id_prefix = "big";
    let clients = [small(), (Peer::GrpcJs1_14, calls)];
    let outcome = run("cut-request", Peer::GrpcGo1_85, None, &clients);
    assert_eq!(outcome.broken, ids(&outcome, "big"));
    outcome.assert_only("proxy_truncated_request", &outcome.broken);
}

#[test]
fn p6_a_cancel_is_not_passed_on() {
    parts!();
    for defect in ["none", "ignore-cancel"] {
        let calls = Calls::new(Mode::Deadline, 5).at_once(5);
        let calls = calls.header("x-delay-ms:13000");
        let then = if defect == "none" { 0 } else { 11 };
        let outcome = FaultySetup {
            arguments: &["--defect", defect],
            server: Peer::GrpcGo1_85,
            first: None,
            clients: &[(Peer::GrpcJs1_14, calls)],
            then: Duration::from_secs(then),
        }
        .run();
        assert_eq!(failed_ids(&outcome.calls).len(), 5);
        if defect == "none" {
            assert_eq!(outcome.found(), BTreeMap::new());
        } else {
            assert_eq!(outcome.broken, ids(&outcome, "c"));
            outcome.assert_only("cancel_not_propagated", &outcome.broken);
        }
    }
}

#[test]
fn p6_an_answer_is_kept_until_the_client_gives_up() {
    parts!();
    let mut calls = Calls::new(Mode::Unary, 5).at_once(5);
    (calls.deadline_ms, calls.id_prefix) = (7_000, "kept");
    let clients = [small(), (Peer::GrpcJs1_14, calls)];
    let outcome = run("keep-answer", Peer::GrpcGo1_85, None, &clients);
    assert_eq!(outcome.broken, failed_ids(&outcome.calls));
    assert_eq!(outcome.broken, ids(&outcome, "kept"));
    outcome.assert_only("proxy_left_client_waiting", &outcome.broken);
}

/// One thread passes what it read together on in the other order, and calls are all alike: no join is certain and
/// wrong.
#[test]
fn a_batch_that_is_passed_on_in_another_order_is_not_joined_wrongly() {
    parts!();
    for arguments in [&["--reorder"][..], &["--reorder", "--answers-together"]] {
        let mut calls = large("c");
        calls.id_field = Some(NOT_COMPARED);
        let outcome = FaultySetup {
            arguments,
            server: Peer::GrpcGo1_85,
            first: None,
            clients: &[(Peer::GrpcJs1_14, calls)],
            then: Duration::ZERO,
        }
        .run();
        assert!(failed_ids(&outcome.calls).is_empty());
        let (mut wrong, mut sure) = (0, 0);
        for hop in &outcome.trace.hops {
            let down = hop.downstream();
            if hop.confidence() == Some("ambiguous") || hop.upstream().is_empty() {
                continue;
            }
            sure += 1;
            wrong += usize::from(hop.upstream().iter().any(|up| id(up) != id(&down)));
        }
        let n = outcome.trace.hops.len();
        println!("{arguments:?}: {n} requests, {sure} joined and certain, {wrong} of them wrong");
        assert_eq!(wrong, 0, "{arguments:?}");
        outcome.trace.assert_healthy();
    }
}

#[test]
fn p7_a_retry_hides_a_failure_and_a_hedged_call_is_no_failure() {
    parts!();
    let first = Some(Peer::ResetServer);
    let outcome = run("none", Peer::GrpcGo1_85, first, &[reset(2, "nothing")]);
    assert!(failed_ids(&outcome.calls).is_empty());
    assert_eq!(outcome.broken, ids(&outcome, "c"));
    outcome.assert_only("retry_hidden_failure", &outcome.broken);

    let first = Some(Peer::GrpcGo1_85);
    let outcome = run("hedge", Peer::GrpcGo1_85, first, &[small()]);
    assert!(failed_ids(&outcome.calls).is_empty());
    assert_eq!(outcome.found(), BTreeMap::new());
    let twice = outcome
        .trace
        .hops
        .iter()
        .filter(|hop| hop.upstream().len() == 2);
    assert_eq!(
        twice.count(),
        outcome.calls.len(),
        "requests with two attempts"
    );
}

#[test]
fn p8_an_answer_of_the_proxys_own() {
    parts!();
    let outcome = run(
        "synthesize",
        Peer::ResetServer,
        None,
        &[reset(2, "nothing")],
    );
    assert_eq!(outcome.broken, ids(&outcome, "c"));
    outcome.assert_only("synthesized_answer", &outcome.broken);
}

#[test]
fn p10_a_refusal_is_passed_on() {
    parts!();
    let outcome = run("none", Peer::ResetServer, None, &[reset(7, "nothing")]);
    outcome.assert_only("refused_not_retried", &ids(&outcome, "c"));
}

#[test]
fn c4_an_error_becomes_a_success() {
    parts!();
    let mut calls = Calls::new(Mode::Status, 20).at_once(5);
    (calls.id_prefix, calls.status_code) = ("status", 5);
    let clients = [small(), (Peer::GrpcJs1_14, calls)];
    let outcome = run("status-to-zero", Peer::GrpcGo1_85, None, &clients);
    assert_eq!(outcome.broken, ids(&outcome, "status"));
    outcome.assert_only("status_changed", &outcome.broken);
}
