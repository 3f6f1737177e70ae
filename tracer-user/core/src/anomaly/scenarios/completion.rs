//! Scenarios that must be flagged exactly once: responses and requests that ended, but not as gRPC demands.

use super::{is, judge, judge_with};
use crate::anomaly::Rules;
use crate::anomaly::kind::{Kind, Verdict};
use crate::frame::ErrorCode;
use crate::stream::record::{
    EndStreamOn, OpenMessage, Outcome, RequestPhase, ResponsePhase, Seen, StreamEnd, Tier,
};
use crate::stream::script::*;

use RequestPhase::Q2;
use ResponsePhase::R3;
use Verdict::{Anomaly, Suspicious, Unknown};

#[test]
fn scenario_32_missing_trailers_is_not_a_reset() {
    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(100), false);
    script.data(S, 1, &[], true);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::MissingTrailers,
        Anomaly,
        S,
        (Q2, R3),
        Tier::T1,
    );
    let stream = judged.stream();
    assert!(stream.resets.is_empty());
    assert_eq!(
        (stream.end, stream.outcome),
        (StreamEnd::Complete, Outcome::MissingTrailers)
    );
    assert_eq!(stream.response.end_stream_on, Some(EndStreamOn::Data));
    assert_eq!(judged.finding().code, None);
}

#[test]
fn scenario_33_trailers_without_grpc_status() {
    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(100), false);
    script.headers(S, 1, block(&[("x-checksum", "1")]), true);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::MissingGrpcStatus,
        Anomaly,
        S,
        (Q2, R3),
        Tier::T1,
    );
    let stream = judged.stream();
    assert_eq!(
        (stream.trailers, stream.grpc_status),
        (Seen::Value(()), Seen::Absent)
    );
    assert_eq!(stream.outcome, Outcome::MissingTrailers);
}

#[test]
fn a_grpc_status_that_is_none_of_grpcs_is_malformed() {
    for (value, outcome) in [
        ("OK", Outcome::MissingTrailers),
        ("", Outcome::MissingTrailers),
        ("17", Outcome::ErrorStatus),
        ("05", Outcome::ErrorStatus),
        ("00", Outcome::Ok),
    ] {
        let mut script = Script::new();
        script
            .request(1)
            .headers(S, 1, grpc_response(), false)
            .data(S, 1, &message(3), false)
            .headers(S, 1, trailers(value), true);
        let judged = judge(&mut script);
        is(
            judged.finding(),
            Kind::MalformedGrpcStatus,
            Anomaly,
            S,
            (Q2, R3),
            Tier::T1,
        );
        assert!(judged.stream().grpc_status_malformed);
        assert_eq!(judged.stream().outcome, outcome, "{value}");
    }
}

#[test]
fn scenario_35_end_stream_inside_a_message() {
    let whole = message(100);
    for (n, open) in [
        (
            60,
            OpenMessage {
                promised: Some(100),
                got: 55,
            },
        ),
        (
            3,
            OpenMessage {
                promised: None,
                got: 3,
            },
        ),
    ] {
        for with_trailers in [false, true] {
            let mut script = Script::new();
            script.request(1).headers(S, 1, grpc_response(), false);
            script.data(S, 1, &whole[..n], !with_trailers);
            if with_trailers {
                script.headers(S, 1, trailers("0"), true);
            }
            let judged = judge(&mut script);
            is(
                judged.finding(),
                Kind::TruncatedResponse,
                Anomaly,
                S,
                (Q2, R3),
                Tier::T1,
            );
            assert_eq!(judged.stream().response.messages.open, Some(open));
            assert_eq!(judged.stream().outcome, Outcome::Truncated);
        }
    }
}

#[test]
fn scenario_37_a_request_without_its_message() {
    let mut script = Script::new();
    script
        .headers(C, 1, grpc_request(), false)
        .data(C, 1, &[], true);
    let only = block(&[
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "13"),
    ]);
    script.headers(S, 1, only, true);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::TruncatedRequest,
        Anomaly,
        C,
        (Q2, R3),
        Tier::T1,
    );
    assert_eq!(judged.stream().outcome, Outcome::ErrorStatus);
}

#[test]
fn scenario_37_a_request_that_ends_inside_its_message() {
    let mut script = Script::new();
    script
        .headers(C, 1, grpc_request(), false)
        .data(C, 1, &message(100)[..50], true);
    script
        .headers(S, 1, grpc_response(), false)
        .headers(S, 1, trailers("3"), true);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::TruncatedRequest,
        Anomaly,
        C,
        (Q2, R3),
        Tier::T1,
    );
    assert!(
        judged
            .finding()
            .summary
            .contains("message of 100 bytes announced, 45 came, 55 missing")
    );
}

#[test]
fn an_empty_client_stream_is_legal() {
    let mut script = Script::new();
    script
        .headers(C, 1, grpc_request(), false)
        .data(C, 1, &[], true)
        .response(1);
    judge(&mut script).nothing(Outcome::Ok);
}

#[test]
fn scenario_38_an_answer_that_is_not_grpc() {
    let page = || block(&[(":status", "503"), ("content-type", "text/html")]);
    for end in 0..4 {
        let mut script = Script::new();
        script.open_request(1);
        match end {
            0 => script.headers(S, 1, page(), true).data(C, 1, &[], true),
            1 => script
                .headers(S, 1, page(), false)
                .data(S, 1, b"<html>", true)
                .data(C, 1, &[], true),
            2 => script
                .headers(S, 1, page(), true)
                .rst(S, 1, ErrorCode::NO_ERROR),
            _ => script
                .headers(S, 1, page(), false)
                .rst(C, 1, ErrorCode::CANCEL),
        };
        let judged = judge(&mut script);
        assert_eq!(
            judged.n(Kind::NonGrpcResponse, Anomaly),
            1,
            "{end}: {:#?}",
            judged.findings
        );
        assert_eq!(judged.trouble().len(), 1);
        let finding = judged
            .findings
            .iter()
            .find(|f| f.kind == Kind::NonGrpcResponse)
            .unwrap();
        assert!(
            finding
                .summary
                .contains(":status 503 and content-type text/html"),
            "{}",
            finding.summary
        );
        assert_eq!(judged.stream().http_status, Seen::Value(503));
    }
}

#[test]
fn scenario_38_a_page_with_status_200_is_not_grpc_either() {
    let cases: [(&[(&str, &str)], &str); 3] = [
        (
            &[(":status", "200"), ("content-type", "text/html")],
            "content-type text/html",
        ),
        (&[(":status", "415")], ":status 415"),
        (&[(":status", "404")], ":status 404"),
    ];
    for (head, what) in cases {
        let mut script = Script::new();
        script.request(1);
        script
            .headers(S, 1, block(head), false)
            .data(S, 1, b"<html>", true);
        let judged = judge(&mut script);
        is(
            judged.finding(),
            Kind::NonGrpcResponse,
            Anomaly,
            S,
            (Q2, R3),
            Tier::T1,
        );
        assert!(judged.finding().summary.contains(what));
    }
}

#[test]
fn a_status_mismatch_is_suspicious() {
    let mut script = Script::new();
    let head = block(&[(":status", "503"), ("content-type", "application/grpc")]);
    script
        .request(1)
        .headers(S, 1, head, false)
        .headers(S, 1, trailers("14"), true);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::NonGrpcResponse,
        Suspicious,
        S,
        (Q2, R3),
        Tier::T1,
    );
    assert_eq!(judged.stream().outcome, Outcome::ErrorStatus);
}

#[test]
fn trailers_only_ok_is_judged_by_what_the_method_did_before() {
    let only = || {
        block(&[
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", "0"),
        ])
    };
    let mut rules = Rules::new();
    let mut script = Script::new();
    script.request(1).headers(S, 1, only(), true);
    let judged = judge_with(&mut script, &mut rules);
    is(
        judged.finding(),
        Kind::TrailersOnlyOk,
        Unknown,
        S,
        (Q2, R3),
        Tier::T1,
    );
    for id in [3, 5, 7] {
        script.request(id).response(id);
    }
    judge_with(&mut script, &mut rules).nothing(Outcome::Ok);
    script.request(9).headers(S, 9, only(), true);
    let judged = judge_with(&mut script, &mut rules);
    is(
        judged.finding(),
        Kind::TrailersOnlyOk,
        Suspicious,
        S,
        (Q2, R3),
        Tier::T1,
    );
    // A call without a message: the method is a stream.
    script
        .request(11)
        .headers(S, 11, grpc_response(), false)
        .headers(S, 11, trailers("0"), true);
    script.request(13).headers(S, 13, only(), true);
    judge_with(&mut script, &mut rules).nothing(Outcome::Ok);
}
