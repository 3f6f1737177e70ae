//! Streams on which nothing happens.

use super::{is, judge, judge_with};
use crate::anomaly::Rules;
use crate::anomaly::kind::{Kind, Verdict};
use crate::frame::ErrorCode;
use crate::stream::condition::{LEFT_OPEN_NS, RESPONSE_OVERDUE_NS};
use crate::stream::record::{Outcome, RequestPhase, ResponsePhase, Tier};
use crate::stream::script::*;

use RequestPhase::{Q1, Q2};
use ResponsePhase::{R0, R1, R3, Rb};
use Verdict::{Anomaly, Suspicious};

#[test]
fn scenario_56_a_stream_that_nobody_ends_leaks() {
    let mut script = Script::at(Some(S), true);
    script.open_request(1).response(1);
    let mut rules = Rules::new();
    script.wait_ms(LEFT_OPEN_NS / MS - 1_000);
    assert!(judge_with(&mut script, &mut rules).findings.is_empty());
    script.wait_ms(300_000);
    let judged = judge_with(&mut script, &mut rules);
    let open = judged.finding();
    is(
        open,
        Kind::StreamLeftOpen,
        Suspicious,
        C,
        (Q1, R3),
        Tier::T1,
    );
    assert_eq!(open.stream_id.0, 1);
    assert!(judged.streams.is_empty());
    script.wait_ms(600_000);
    assert!(judge_with(&mut script, &mut rules).findings.is_empty());
    // It ends after all.
    script.data(C, 1, &[], true);
    judge_with(&mut script, &mut rules).nothing(Outcome::Ok);
}

#[test]
fn a_request_that_goes_on_after_the_response_is_not_left_open() {
    let mut script = Script::new();
    script.open_request(1).response(1);
    for _ in 0..20 {
        script.wait_ms(60_000).data(C, 1, &message(3), false);
    }
    assert!(judge(&mut script).findings.is_empty());
}

fn overdue(rules: &mut Rules, path: &str, timeout: bool) -> Vec<(Kind, Verdict)> {
    let mut script = Script::new();
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    if timeout {
        fields.push(("grpc-timeout", "1H"));
    }
    script
        .headers(C, 1, block(&fields), false)
        .data(C, 1, &message(11), true)
        .wait_ms(RESPONSE_OVERDUE_NS / MS + 1_000);
    let judged = judge_with(&mut script, rules);
    if let [found] = &judged.findings[..] {
        is(
            found,
            Kind::ResponseOverdue,
            Suspicious,
            S,
            (Q2, R0),
            Tier::T1,
        );
    }
    script.wait_ms(600_000);
    assert!(judge_with(&mut script, rules).findings.is_empty());
    judged
        .findings
        .iter()
        .map(|f| (f.kind, f.verdict))
        .collect()
}

/// Teaches the shape of a method.
fn teach(rules: &mut Rules, path: &str, n_messages: usize) {
    let mut script = Script::new();
    for n in 0..4 {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        script
            .headers(C, 2 * n + 1, block(&fields), false)
            .data(C, 2 * n + 1, &message(11), true)
            .headers(S, 2 * n + 1, grpc_response(), false);
        for _ in 0..n_messages {
            script.data(S, 2 * n + 1, &message(5), false);
        }
        script.headers(S, 2 * n + 1, trailers("0"), true);
    }
    judge_with(&mut script, rules).nothing(Outcome::Ok);
}

#[test]
fn a_call_without_a_deadline_and_without_an_answer_is_overdue() {
    const OVERDUE: (Kind, Verdict) = (Kind::ResponseOverdue, Suspicious);
    let mut rules = Rules::new();
    teach(&mut rules, "/t.T/Unary", 1);
    teach(&mut rules, "/t.T/Watch", 2);
    assert_eq!(overdue(&mut rules, "/t.T/Unary", false), [OVERDUE]);
    assert_eq!(overdue(&mut rules, "/t.T/Unary", false), [OVERDUE]);
    assert_eq!(overdue(&mut rules, "/t.T/Unary", true), []);
    assert_eq!(overdue(&mut rules, "/t.T/Watch", false), []);
    // Not known whether it streams: once.
    assert_eq!(overdue(&mut rules, "/t.T/New", false), [OVERDUE]);
    assert_eq!(overdue(&mut rules, "/t.T/New", false), []);
}

#[test]
fn scenario_10_idle_streams_of_every_legal_kind_are_ok() {
    let mut script = Script::new();
    // Bidi, both open; bidi before any response; a response that streams slowly.
    script.open_request(1).headers(S, 1, grpc_response(), false);
    script.open_request(3);
    script.request(5).headers(S, 5, grpc_response(), false);
    // Not gRPC: a long poll.
    script.headers(C, 7, block(&[(":method", "GET"), (":path", "/poll")]), true);
    for _ in 0..30 {
        script.wait_ms(60_000).ping(C, false).ping(S, true);
    }
    let judged = judge(&mut script);
    assert!(
        judged.findings.is_empty() && judged.streams.is_empty(),
        "{:#?}",
        judged.findings
    );
    assert_eq!(script.table.live(), 4);
}

#[test]
fn what_may_have_gone_by_unseen_is_neither_left_open_nor_overdue() {
    let mut script = Script::late();
    script.data(C, 1, &message(11), true).open_request(3);
    script.gap(S).wait_ms(20_000).ping(C, false);
    script.wait_ms(900_000);
    let judged = judge(&mut script);
    assert!(judged.findings.is_empty(), "{:#?}", judged.findings);
    // A deadline may stand in a field that was not seen.
    let mut script = Script::late();
    let mut request = grpc_request();
    request.complete = false;
    script
        .headers(C, 1, request, false)
        .data(C, 1, &message(11), true)
        .wait_ms(900_000);
    assert!(judge(&mut script).findings.is_empty());
}

/// Begins a stream each `every_ms` and resets it after `life(n)` milliseconds, as a proxy's timer does.
fn kills(
    n: u32,
    every_ms: u64,
    code: ErrorCode,
    life: impl Fn(u64) -> u64,
) -> Vec<(Kind, Verdict)> {
    let mut script = Script::new();
    let mut steps: Vec<(u64, u32, bool)> = Vec::new();
    for nth in 0..n {
        let began = u64::from(nth) * every_ms;
        steps.push((began, 2 * nth + 1, true));
        steps.push((began + life(u64::from(nth)), 2 * nth + 1, false));
    }
    steps.sort_unstable();
    for (at, id, begins) in steps {
        script.now = 1_000 * MS + at * MS;
        if begins {
            script
                .open_request(id)
                .headers(S, id, grpc_response(), false);
            script.data(S, id, &message(10), false);
        } else {
            script.rst(S, id, code);
        }
    }
    let judged = judge(&mut script);
    for found in &judged.findings {
        if found.kind == Kind::KilledWhileIdle {
            is(
                found,
                Kind::KilledWhileIdle,
                Suspicious,
                S,
                (Q1, Rb),
                Tier::T1,
            );
        }
    }
    judged
        .findings
        .iter()
        .map(|f| (f.kind, f.verdict))
        .filter(|(kind, _)| *kind != Kind::ResponseCutByReset)
        .collect()
}

#[test]
fn streams_reset_at_the_same_idle_time_are_one_suspicion() {
    const KILLED: (Kind, Verdict) = (Kind::KilledWhileIdle, Suspicious);
    // A timer of 15 seconds, late by up to 20 ms.
    assert_eq!(
        kills(40, 700, ErrorCode::NO_ERROR, |n| 15_000 + n * 7 % 20),
        [KILLED]
    );
    assert_eq!(
        kills(40, 30_000, ErrorCode::INTERNAL_ERROR, |n| 300_000
            + n * 7 % 20),
        [KILLED]
    );
    // Four are not enough; and times that have nothing in common.
    assert_eq!(kills(4, 700, ErrorCode::NO_ERROR, |_| 15_000), []);
    assert_eq!(
        kills(200, 700, ErrorCode::NO_ERROR, |n| 1_500
            + n * 7_919 % 60_000),
        []
    );
    // Short ones: equal by chance.
    assert_eq!(kills(40, 700, ErrorCode::NO_ERROR, |_| 30), []);
    // All at one time: a server that stops.
    assert_eq!(kills(40, 1, ErrorCode::NO_ERROR, |n| 15_000 - n), []);
}

#[test]
fn resets_that_have_a_reason_are_no_timeout_on_the_way() {
    // The client's user cancels after 5 seconds, and a deadline does.
    for (sender, timeout) in [(C, false), (C, true), (S, true)] {
        let mut script = Script::new();
        for n in 0..20 {
            let mut request = grpc_request();
            if timeout {
                request
                    .fields
                    .extend(block(&[("grpc-timeout", "5S")]).fields);
            }
            script
                .headers(C, 2 * n + 1, request, false)
                .data(C, 2 * n + 1, &message(11), true)
                .headers(S, 2 * n + 1, grpc_response(), false)
                .wait_ms(5_000)
                .rst(sender, 2 * n + 1, ErrorCode::CANCEL);
        }
        let judged = judge(&mut script);
        assert_eq!(judged.trouble(), []);
        assert_eq!(judged.findings.len(), 20);
    }
    // Refused streams.
    let mut script = Script::new();
    for n in 0..20 {
        script.request(2 * n + 1).wait_ms(5_000);
        script.rst(S, 2 * n + 1, ErrorCode::REFUSED_STREAM);
    }
    let judged = judge(&mut script);
    assert_eq!(judged.n(Kind::StreamRefused, Suspicious), 20);
    assert_eq!(judged.findings.len(), 20);
    // Each of these resets is an anomaly of its own as before.
    let mut script = Script::new();
    for n in 0..20 {
        script
            .request(2 * n + 1)
            .headers(S, 2 * n + 1, grpc_response(), false)
            .wait_ms(5_000)
            .rst(S, 2 * n + 1, ErrorCode::NO_ERROR);
    }
    let judged = judge(&mut script);
    assert_eq!(judged.n(Kind::ResponseCutByReset, Anomaly), 20);
    assert_eq!(judged.n(Kind::KilledWhileIdle, Suspicious), 1);
    assert_eq!(judged.findings.len(), 21);
    let killed = judged
        .findings
        .iter()
        .find(|f| f.kind == Kind::KilledWhileIdle)
        .unwrap();
    is(
        killed,
        Kind::KilledWhileIdle,
        Suspicious,
        S,
        (Q2, R1),
        Tier::T1,
    );
}
