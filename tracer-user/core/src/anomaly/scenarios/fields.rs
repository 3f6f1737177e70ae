//! Header fields and message prefixes that must not be.

use super::{Part, is, judge};
use crate::anomaly::kind::{Kind, Verdict};
use crate::frame::{ErrorCode, HeaderBlock};
use crate::stream::record::{Outcome, RequestPhase, ResponsePhase, Tier};
use crate::stream::script::*;

use RequestPhase::Q2;
use ResponsePhase::R3;
use Verdict::{Anomaly, Suspicious};

fn with(mut block: HeaderBlock, more: &[(&str, &str)]) -> HeaderBlock {
    block
        .fields
        .extend(crate::stream::script::block(more).fields);
    block
}

fn without(mut block: HeaderBlock, name: &str) -> HeaderBlock {
    block
        .fields
        .retain(|field| field.name.as_deref() != Some(name.as_bytes()));
    block
}

fn prefixed(flag: u8) -> Vec<u8> {
    let mut bytes = message(4);
    bytes[0] = flag;
    bytes
}

/// A call whose parts can be replaced.
fn call(script: &mut Script, request: HeaderBlock, response: HeaderBlock, body: &[u8]) {
    script
        .headers(C, 1, request, false)
        .data(C, 1, &message(11), true)
        .headers(S, 1, response, false)
        .data(S, 1, body, false)
        .headers(S, 1, trailers("0"), true);
}

#[test]
fn malformed_fields_are_one_finding_that_names_the_rule() {
    let cases: [(Part, _, _); 11] = [
        (
            ("trailers without END_STREAM (RFC 9113 8.1)", |s| {
                s.request(1)
                    .headers(S, 1, grpc_response(), false)
                    .data(S, 1, &message(3), false)
                    .headers(S, 1, trailers("0"), false)
                    .data(S, 1, &[], true);
            }),
            S,
            Anomaly,
        ),
        (
            ("a pseudo-header field in trailers", |s| {
                s.request(1)
                    .headers(S, 1, grpc_response(), false)
                    .data(S, 1, &message(3), false)
                    .headers(S, 1, with(trailers("0"), &[(":status", "200")]), true);
            }),
            S,
            Anomaly,
        ),
        (
            ("an uppercase letter in a field name", |s| {
                let odd = with(grpc_response(), &[("Server", "hunter2")]);
                call(s, grpc_request(), odd, &message(3));
            }),
            S,
            Anomaly,
        ),
        (
            ("a connection-specific field", |s| {
                let odd = with(grpc_request(), &[("connection", "hunter2")]);
                call(s, odd, grpc_response(), &message(3));
            }),
            C,
            Anomaly,
        ),
        (
            ("te with another value", |s| {
                let odd = with(without(grpc_request(), "te"), &[("te", "hunter2")]);
                call(s, odd, grpc_response(), &message(3));
            }),
            C,
            Anomaly,
        ),
        (
            ("a pseudo-header field after a regular one", |s| {
                let path = [(":path", "/a.B/C")];
                let odd = with(without(grpc_request(), ":path"), &path);
                call(s, odd, grpc_response(), &message(3));
            }),
            C,
            Anomaly,
        ),
        (
            (
                "not the pseudo-header fields that the request must have",
                |s| {
                    let odd = without(grpc_request(), ":scheme");
                    call(s, odd, grpc_response(), &message(3));
                },
            ),
            C,
            Anomaly,
        ),
        (
            ("Compressed-Flag is neither 0 nor 1", |s| {
                call(s, grpc_request(), grpc_response(), &prefixed(2));
            }),
            S,
            Anomaly,
        ),
        (
            ("Compressed-Flag 1 without grpc-encoding", |s| {
                call(s, grpc_request(), grpc_response(), &prefixed(1));
            }),
            S,
            Anomaly,
        ),
        (
            ("a gRPC request without te: trailers", |s| {
                let odd = without(grpc_request(), "te");
                call(s, odd, grpc_response(), &message(3));
            }),
            C,
            Suspicious,
        ),
        (
            ("grpc-status in HEADERS that do not end the response", |s| {
                let odd = with(grpc_response(), &[("grpc-status", "0")]);
                call(s, grpc_request(), odd, &message(3));
            }),
            S,
            Suspicious,
        ),
    ];
    for ((rule, act), sender, verdict) in cases {
        for role in [C, S] {
            let mut script = Script::at(Some(role), true);
            act(&mut script);
            let judged = judge(&mut script);
            let finding = judged.finding();
            is(
                finding,
                Kind::MalformedFields,
                verdict,
                sender,
                (Q2, R3),
                Tier::T1,
            );
            assert!(finding.summary.contains(rule), "{}", finding.summary);
            assert!(!format!("{:?} {}", finding.story, finding.summary).contains("hunter2"));
        }
    }
}

#[test]
fn a_reset_that_refuses_malformed_fields_is_the_same_finding() {
    let mut script = Script::new();
    let odd = with(grpc_request(), &[("connection", "close")]);
    script
        .headers(C, 1, odd, false)
        .rst(S, 1, ErrorCode::PROTOCOL_ERROR);
    let judged = judge(&mut script);
    assert_eq!(
        (judged.finding().kind, judged.finding().sender),
        (Kind::MalformedFields, Some(C))
    );

    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, with(grpc_response(), &[("Server", "x")]), false)
        .rst(C, 1, ErrorCode::PROTOCOL_ERROR);
    let judged = judge(&mut script);
    assert_eq!(
        (judged.finding().kind, judged.finding().sender),
        (Kind::MalformedFields, Some(S))
    );

    // A reset of who sent them is another matter, and the worse one.
    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, with(grpc_response(), &[("Server", "x")]), false)
        .rst(S, 1, ErrorCode::INTERNAL_ERROR);
    assert_eq!(judge(&mut script).finding().kind, Kind::ResponseCutByReset);
}

#[test]
fn a_1xx_response_that_ends_the_stream() {
    for code in [None, Some(ErrorCode::PROTOCOL_ERROR)] {
        let mut script = Script::new();
        script
            .request(1)
            .headers(S, 1, block(&[(":status", "100")]), true);
        if let Some(code) = code {
            script.rst(C, 1, code);
        }
        let judged = judge(&mut script);
        is(
            judged.finding(),
            Kind::InformationalEndStream,
            Anomaly,
            S,
            (Q2, R3),
            Tier::T1,
        );
    }
}

#[test]
fn what_may_have_been_missed_is_not_malformed() {
    let cases: [Part; 5] = [
        ("late: trailers first", |s| {
            s.headers(S, 1, trailers("0"), true);
        }),
        (
            "late: request without te, of which something is unseen",
            |s| {
                let mut request = without(grpc_request(), "te");
                request.fields.extend(unseen_block(1).fields);
                request.complete = false;
                s.headers(C, 1, request, false)
                    .data(C, 1, &message(11), true)
                    .response(1);
            },
        ),
        ("late: a compressed message, its encoding unseen", |s| {
            let mut response = grpc_response();
            response.fields.extend(unseen_block(1).fields);
            response.complete = false;
            s.request(1)
                .headers(S, 1, response, false)
                .data(S, 1, &prefixed(1), false)
                .headers(S, 1, trailers("0"), true);
        }),
        ("an error page in place of messages", |s| {
            let page = [(":status", "200"), ("content-type", "text/html")];
            s.request(1)
                .headers(S, 1, block(&page), false)
                .data(S, 1, b"<html>", true);
        }),
        ("Connect's last message", |s| {
            let connect = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/a.B/C"),
                ("content-type", "application/connect+proto"),
            ];
            s.headers(C, 1, block(&connect), false)
                .data(C, 1, &message(3), true)
                .headers(
                    S,
                    1,
                    block(&[
                        (":status", "200"),
                        ("content-type", "application/connect+proto"),
                    ]),
                    false,
                )
                .data(S, 1, &prefixed(2), true);
        }),
    ];
    for (case, act) in cases {
        for mut script in [Script::late(), Script::new()] {
            act(&mut script);
            let judged = judge(&mut script);
            assert!(
                judged
                    .findings
                    .iter()
                    .all(|f| f.kind != Kind::MalformedFields),
                "{case}: {:#?}",
                judged.findings
            );
        }
    }
    // What a gap touched is not looked at.
    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, with(grpc_response(), &[("Server", "x")]), false)
        .gap(S)
        .headers(S, 1, trailers("0"), true);
    judge(&mut script).nothing(Outcome::Ok);
}

#[test]
fn content_with_a_coding_is_no_sequence_of_messages() {
    for coding in ["gzip", "br"] {
        for content in [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0][..], &[0, 0, 0, 1, 0, 9]] {
            let mut script = Script::new();
            let coded = with(grpc_response(), &[("content-encoding", coding)]);
            call(&mut script, grpc_request(), coded, content);
            let judged = judge(&mut script);
            assert!(judged.findings.is_empty(), "{:?}", judged.findings);
        }
    }
}
