//! Scenarios that must not be flagged: with RST_STREAM.

use super::{is, judge};
use crate::anomaly::kind::{Kind, Verdict};
use crate::frame::ErrorCode;
use crate::stream::record::{Outcome, RequestPhase, ResponsePhase, Seen, StreamEnd, Tier};
use crate::stream::script::*;

use RequestPhase::{Q1, Q2};
use ResponsePhase::{R0, R1, R3, Rb};
use Verdict::{Benign, Expected, Suspicious};

#[test]
fn scenario_03_early_response_with_no_error_is_benign() {
    for role in [C, S] {
        let mut script = Script::at(Some(role), true);
        script
            .open_request(1)
            .response(1)
            .rst(S, 1, ErrorCode::NO_ERROR);
        let judged = judge(&mut script);
        is(
            judged.finding(),
            Kind::EarlyResponseReset,
            Benign,
            S,
            (Q1, R3),
            Tier::T1,
        );
        assert_eq!(judged.finding().code, Some(ErrorCode::NO_ERROR));
        let stream = judged.stream();
        assert_eq!(
            (stream.end, stream.outcome),
            (StreamEnd::Reset, Outcome::Ok)
        );
        assert_eq!(stream.request_phase, Some(Q1));
    }
}

#[test]
fn scenario_04_end_stream_in_flight_after_the_reset_changes_nothing() {
    for code in [ErrorCode::NO_ERROR, ErrorCode::INTERNAL_ERROR] {
        let mut script = Script::new();
        script
            .open_request(1)
            .response(1)
            .rst(S, 1, code)
            .data(C, 1, &[], true);
        let judged = judge(&mut script);
        is(
            judged.finding(),
            Kind::EarlyResponseReset,
            Benign,
            S,
            (Q1, R3),
            Tier::T1,
        );
        assert_eq!(judged.stream().outcome, Outcome::Ok);
    }
}

#[test]
fn scenario_05_no_error_of_both_sides_is_one_benign_end() {
    for (first, second) in [(S, C), (C, S)] {
        let mut script = Script::new();
        script.open_request(1).response(1);
        script
            .rst(first, 1, ErrorCode::NO_ERROR)
            .rst(second, 1, ErrorCode::NO_ERROR);
        let judged = judge(&mut script);
        let kind = match first {
            S => Kind::EarlyResponseReset,
            C => Kind::RedundantReset,
        };
        is(judged.finding(), kind, Benign, first, (Q1, R3), Tier::T1);
        assert_eq!(judged.finding().code, Some(ErrorCode::NO_ERROR));
        assert_eq!(judged.stream().outcome, Outcome::Ok);
        assert_eq!(judged.stream().resets.len(), 2);
    }
}

fn request_with_timeout(script: &mut Script, timeout: &str) {
    let mut fields = grpc_request();
    fields
        .fields
        .extend(block(&[("grpc-timeout", timeout)]).fields);
    script
        .headers(C, 1, fields, false)
        .data(C, 1, &message(11), true);
}

#[test]
fn scenario_06_cancel_at_the_deadline_is_expected() {
    let mut script = Script::new();
    request_with_timeout(&mut script, "1S");
    script.wait_ms(1000).rst(C, 1, ErrorCode::CANCEL);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::DeadlineReset,
        Expected,
        C,
        (Q2, R0),
        Tier::T1,
    );
    assert_eq!(judged.stream().outcome, Outcome::Deadline);
    assert!(
        judged.finding().summary.contains("grpc-timeout 1s"),
        "{}",
        judged.finding().summary
    );
}

#[test]
fn scenario_07_cancel_before_the_deadline_is_a_cancel_and_data_in_flight_is_legal() {
    let mut script = Script::new();
    request_with_timeout(&mut script, "1S");
    script
        .headers(S, 1, grpc_response(), false)
        .wait_ms(100)
        .rst(C, 1, ErrorCode::CANCEL);
    script
        .data(S, 1, &message(100), false)
        .headers(S, 1, trailers("0"), true);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::ClientCancel,
        Expected,
        C,
        (Q2, R1),
        Tier::T1,
    );
    let stream = judged.stream();
    assert_eq!(
        (stream.end, stream.outcome),
        (StreamEnd::Reset, Outcome::Cancelled)
    );
    assert_eq!(stream.trailers, Seen::Absent);
    // What was in flight is counted all the same.
    assert_eq!(stream.response.data_bytes, 105);
    assert_eq!(stream.response.messages.complete, 0);
}

#[test]
fn scenario_20_refused_streams_are_suspicious_and_safe_to_retry() {
    let mut script = Script::new();
    script
        .request(1)
        .request(3)
        .rst(S, 3, ErrorCode::REFUSED_STREAM)
        .response(1)
        .request(5)
        .response(5);
    let judged = judge(&mut script);
    let refused = judged.finding();
    is(
        refused,
        Kind::StreamRefused,
        Suspicious,
        S,
        (Q2, R0),
        Tier::T1,
    );
    let outcomes: Vec<_> = judged.streams.iter().map(|s| s.outcome).collect();
    assert_eq!(outcomes, [Outcome::Refused, Outcome::Ok, Outcome::Ok]);
}

#[test]
fn scenario_22_the_servers_cancel_at_the_deadline_is_expected() {
    let mut script = Script::new();
    request_with_timeout(&mut script, "500m");
    script
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(10), false);
    script.wait_ms(498).rst(S, 1, ErrorCode::CANCEL);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::DeadlineReset,
        Expected,
        S,
        (Q2, Rb),
        Tier::T1,
    );
    assert_eq!(judged.stream().outcome, Outcome::Deadline);
}

#[test]
fn scenario_23_resets_that_cross_are_one_end_and_one_verdict() {
    for (first, second) in [(S, C), (C, S)] {
        let mut script = Script::new();
        script.request(1).headers(S, 1, grpc_response(), false);
        script
            .rst(first, 1, ErrorCode::CANCEL)
            .rst(second, 1, ErrorCode::CANCEL);
        script.rst(first, 1, ErrorCode::CANCEL);
        let judged = judge(&mut script);
        assert_eq!(judged.streams.len(), 1);
        let (kind, verdict) = match first {
            S => (Kind::ResponseCutByReset, Verdict::Anomaly),
            C => (Kind::ClientCancel, Expected),
        };
        is(judged.finding(), kind, verdict, first, (Q2, R1), Tier::T1);
        assert_eq!(judged.stream().resets.len(), 3);
    }
}

#[test]
fn scenario_28b_a_complete_response_is_complete_whatever_reset_follows() {
    for code in [ErrorCode::NO_ERROR, ErrorCode::INTERNAL_ERROR] {
        for role in [C, S] {
            let mut script = Script::at(Some(role), true);
            script.open_request(1).response(1).rst(S, 1, code);
            let judged = judge(&mut script);
            is(
                judged.finding(),
                Kind::EarlyResponseReset,
                Benign,
                S,
                (Q1, R3),
                Tier::T1,
            );
            assert_eq!(judged.stream().outcome, Outcome::Ok);
        }
    }
}

#[test]
fn scenario_28_the_upstream_hop_is_not_blamed() {
    // The server's RST(0) and the proxy's, 0 or 2, cross on the upstream hop.
    for (first, second) in [(S, C), (C, S)] {
        for proxys in [ErrorCode::NO_ERROR, ErrorCode::INTERNAL_ERROR] {
            let code = |sender| {
                if sender == S {
                    ErrorCode::NO_ERROR
                } else {
                    proxys
                }
            };
            let mut script = Script::at(Some(C), true);
            script
                .open_request(1)
                .response(1)
                .rst(first, 1, code(first))
                .rst(second, 1, code(second));
            let judged = judge(&mut script);
            assert_eq!(judged.finding().verdict, Benign, "{first} {proxys:?}");
            assert_eq!(judged.stream().outcome, Outcome::Ok);
        }
    }
}

#[test]
fn a_client_that_resets_after_a_complete_response_is_benign() {
    for (code, open) in [
        (ErrorCode::CANCEL, true),
        (ErrorCode::CANCEL, false),
        (ErrorCode::NO_ERROR, true),
        (ErrorCode::NO_ERROR, false),
    ] {
        let mut script = Script::at(Some(S), true);
        if open {
            script.open_request(1)
        } else {
            script.request(1)
        };
        script.response(1).rst(C, 1, code);
        let judged = judge(&mut script);
        let phase = if open { Q1 } else { Q2 };
        // Also of an ended request: within the linger the redundant reset is still seen.
        is(
            judged.finding(),
            Kind::RedundantReset,
            Benign,
            C,
            (phase, R3),
            Tier::T1,
        );
        assert_eq!(judged.stream().outcome, Outcome::Ok);
    }
}
