//! How much of a message there is: content-length, message counts, and what proxies may change of them.

use super::{Judged, Part, is, judge, judge_with};
use crate::anomaly::Rules;
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::{ConnectionEnd, Endpoint};
use crate::frame::{DataPiece, ErrorCode, HeaderBlock};
use crate::stream::record::{Outcome, RequestPhase, ResponsePhase, Tier};
use crate::stream::script::*;

use RequestPhase::Q2;
use ResponsePhase::{R3, Rb};
use Verdict::{Anomaly, Benign, Expected, Suspicious, Unknown};

fn request(method: &str, more: &[(&str, &str)]) -> HeaderBlock {
    let begin = [(":method", method), (":scheme", "http"), (":path", "/f")];
    block(&[&begin[..], more].concat())
}

fn response(status: &str, length: &str) -> HeaderBlock {
    block(&[(":status", status), ("content-length", length)])
}

fn bytes(script: &mut Script, sender: Endpoint, n: u32, end_stream: bool) {
    script.pieces(sender, 1, &[DataPiece::Hole(n)], n, end_stream);
}

#[test]
fn scenario_36_a_response_cut_short_of_its_content_length() {
    for code in [ErrorCode::NO_ERROR, ErrorCode::INTERNAL_ERROR] {
        let mut script = Script::new();
        script.headers(C, 1, request("GET", &[]), true).headers(
            S,
            1,
            response("200", "100"),
            false,
        );
        bytes(&mut script, S, 60, false);
        script.rst(S, 1, code);
        let judged = judge(&mut script);
        let finding = judged.finding();
        is(
            finding,
            Kind::ContentLengthMismatch,
            Anomaly,
            S,
            (Q2, Rb),
            Tier::T1,
        );
        assert_eq!(finding.code, Some(code));
        assert!(
            finding
                .summary
                .starts_with("60 bytes of DATA, content-length 100; the server reset the stream"),
            "{}",
            finding.summary
        );
        assert_eq!(judged.stream().outcome, Outcome::Reset);
    }
}

#[test]
fn a_message_that_ends_with_another_length_than_it_says() {
    for (n, ends, refused) in [
        (60, true, false),
        (60, true, true),
        (0, true, false),
        (101, true, false),
        (140, false, true),
    ] {
        let mut script = Script::new();
        script.headers(C, 1, request("GET", &[]), true).headers(
            S,
            1,
            response("200", "100"),
            false,
        );
        bytes(&mut script, S, n, ends);
        if refused {
            script.rst(C, 1, ErrorCode::PROTOCOL_ERROR);
        }
        let phase = if ends { R3 } else { Rb };
        is(
            judge(&mut script).finding(),
            Kind::ContentLengthMismatch,
            Anomaly,
            S,
            (Q2, phase),
            Tier::T1,
        );
    }
    for n in [10, 30] {
        let mut script = Script::new();
        script.headers(C, 1, request("POST", &[("content-length", "20")]), false);
        bytes(&mut script, C, n, true);
        script
            .headers(S, 1, response("200", "3"), false)
            .data(S, 1, b"abc", true);
        is(
            judge(&mut script).finding(),
            Kind::ContentLengthMismatch,
            Anomaly,
            C,
            (Q2, R3),
            Tier::T1,
        );
    }
}

#[test]
fn a_content_length_that_is_right_or_does_not_count_is_ok() {
    let cases: [Part; 9] = [
        ("right, in padded frames", |s| {
            s.headers(C, 1, request("POST", &[("content-length", "5")]), false);
            s.pieces(C, 1, &[DataPiece::Hole(2)], 40, false);
            s.pieces(C, 1, &[DataPiece::Hole(3)], 4, true);
            s.headers(S, 1, response("200", "60"), false);
            s.pieces(S, 1, &[DataPiece::Hole(60)], 100, true);
        }),
        ("with trailers", |s| {
            s.headers(C, 1, request("GET", &[]), true)
                .headers(S, 1, response("200", "3"), false)
                .data(S, 1, b"abc", false)
                .headers(S, 1, block(&[("x-checksum", "9")]), true);
        }),
        ("HEAD", |s| {
            s.headers(C, 1, request("HEAD", &[]), true)
                .headers(S, 1, response("200", "100"), true);
        }),
        ("304", |s| {
            s.headers(C, 1, request("GET", &[]), true)
                .headers(S, 1, response("304", "100"), true);
        }),
        ("204", |s| {
            s.headers(C, 1, request("GET", &[]), true)
                .headers(S, 1, response("204", "100"), true);
        }),
        ("CONNECT", |s| {
            let connect = [(":method", "CONNECT"), (":authority", "a:1")];
            s.headers(C, 1, block(&connect), false)
                .headers(S, 1, response("200", "100"), false)
                .data(S, 1, b"abc", true)
                .data(C, 1, b"abc", true);
        }),
        ("two that differ", |s| {
            let two = [
                (":status", "200"),
                ("content-length", "1"),
                ("content-length", "2"),
            ];
            s.headers(C, 1, request("GET", &[]), true)
                .headers(S, 1, block(&two), false)
                .data(S, 1, b"abc", true);
        }),
        ("no number", |s| {
            s.headers(C, 1, request("GET", &[]), true)
                .headers(S, 1, response("200", "-1"), false)
                .data(S, 1, b"abc", true);
        }),
        ("unseen method", |s| {
            let mut get = block(&[(":scheme", "http"), (":path", "/")]);
            get.fields.extend(unseen_block(1).fields);
            get.complete = false;
            s.headers(C, 1, get, true)
                .headers(S, 1, response("200", "100"), true);
        }),
    ];
    for (case, act) in cases {
        let mut script = Script::new();
        act(&mut script);
        let judged = judge(&mut script);
        assert!(judged.findings.is_empty(), "{case}: {:#?}", judged.findings);
    }
}

#[test]
fn a_content_length_is_not_missed_of_who_gives_up() {
    // The client's cancel, a request that the server did not want whole, a connection that ends, a gap.
    type Case = (Part, &'static [(Kind, Verdict)]);
    let cases: [Case; 4] = [
        (
            ("cancel", |s| {
                bytes(s, S, 60, false);
                s.rst(C, 1, ErrorCode::CANCEL);
            }),
            &[(Kind::ClientCancel, Expected)],
        ),
        (
            ("early answer", |s| {
                bytes(s, S, 100, true);
                s.rst(S, 1, ErrorCode::NO_ERROR);
            }),
            &[(Kind::EarlyResponseReset, Benign)],
        ),
        (
            ("close", |s| {
                bytes(s, S, 60, false);
                s.close(ConnectionEnd::PeerReset);
            }),
            &[(Kind::ConnectionLostStreams, Anomaly)],
        ),
        (
            ("gap", |s| {
                bytes(s, S, 60, false);
                s.gap(S);
                bytes(s, S, 30, true);
            }),
            &[],
        ),
    ];
    for ((case, act), want) in cases {
        let mut script = Script::new();
        script
            .headers(C, 1, request("PUT", &[("content-length", "20")]), false)
            .data(C, 1, b"abc", false)
            .headers(S, 1, response("200", "100"), false);
        act(&mut script);
        let found: Vec<_> = judge(&mut script)
            .findings
            .iter()
            .map(|f| (f.kind, f.verdict))
            .collect();
        assert_eq!(found, want, "{case}");
    }
}

#[test]
fn data_after_the_end_is_not_also_a_wrong_length() {
    let mut script = Script::new();
    script
        .headers(C, 1, request("POST", &[("content-length", "3")]), false)
        .data(C, 1, b"abc", true)
        .data(C, 1, b"abc", false)
        .rst(S, 1, ErrorCode::STREAM_CLOSED);
    assert_eq!(judge(&mut script).finding().kind, Kind::FrameAfterEndStream);
}

/// Calls 1 to `n` of a method, each with one message; judged with `rules`.
fn unary_calls(rules: &mut Rules, script: &mut Script, n: u32) {
    for nth in 0..n {
        script.request(2 * nth + 1).response(2 * nth + 1);
    }
    judge_with(script, rules).nothing(Outcome::Ok);
}

fn messages_then_ok(rules: &mut Rules, script: &mut Script, id: u32, n: u32) -> Judged {
    script.request(id).headers(S, id, grpc_response(), false);
    for _ in 0..n {
        script.data(S, id, &message(7), false);
    }
    script.headers(S, id, trailers("0"), true);
    judge_with(script, rules)
}

#[test]
fn a_wrong_message_count_needs_a_method_that_is_known() {
    for n in [0, 2] {
        let (mut rules, mut script) = (Rules::new(), Script::new());
        unary_calls(&mut rules, &mut script, 100);
        let judged = messages_then_ok(&mut rules, &mut script, 1_001, n);
        is(
            judged.finding(),
            Kind::WrongMessageCount,
            Anomaly,
            S,
            (Q2, R3),
            Tier::T1,
        );
        // A few calls say nothing of a method, and a method that once had another count is a stream.
        messages_then_ok(&mut rules, &mut script, 1_003, n).nothing(Outcome::Ok);
        let (mut rules, mut script) = (Rules::new(), Script::new());
        unary_calls(&mut rules, &mut script, 50);
        messages_then_ok(&mut rules, &mut script, 1_001, n).nothing(Outcome::Ok);
    }
}

#[test]
fn an_error_status_without_a_message_is_no_wrong_count() {
    let (mut rules, mut script) = (Rules::new(), Script::new());
    unary_calls(&mut rules, &mut script, 100);
    script
        .request(1_001)
        .headers(S, 1_001, grpc_response(), false)
        .headers(S, 1_001, trailers("5"), true);
    judge_with(&mut script, &mut rules).nothing(Outcome::ErrorStatus);
}

#[test]
fn trailers_only_ok_of_a_method_that_is_known_to_be_unary() {
    for (n, verdict) in [(0, Unknown), (50, Suspicious), (100, Anomaly)] {
        let (mut rules, mut script) = (Rules::new(), Script::new());
        unary_calls(&mut rules, &mut script, n);
        let only = block(&[
            (":status", "200"),
            ("content-type", "application/grpc"),
            ("grpc-status", "0"),
        ]);
        script.request(1_001).headers(S, 1_001, only, true);
        let judged = judge_with(&mut script, &mut rules);
        is(
            judged.finding(),
            Kind::TrailersOnlyOk,
            verdict,
            S,
            (Q2, R3),
            Tier::T1,
        );
    }
}

/// Either hop of a proxy that compresses, or makes JSON of gRPC.
#[test]
fn scenario_26_one_hop_of_a_proxy_that_changes_the_form_is_ok() {
    // Towards the client: JSON with a length of its own.
    let json = [
        ("content-type", "application/json"),
        ("content-length", "9"),
    ];
    let mut script = Script::at(Some(S), true);
    script
        .headers(C, 1, request("POST", &json), false)
        .data(C, 1, b"{\"a\":100}", true);
    let answer = [
        (":status", "200"),
        ("content-type", "application/json"),
        ("content-length", "7"),
        ("grpc-status", "0"),
        ("trailer", "grpc-status"),
    ];
    script
        .headers(S, 1, block(&answer), false)
        .data(S, 1, b"{\"b\":2}", true);
    judge(&mut script).nothing(Outcome::Ok);

    // Towards the server: compressed messages, which say so.
    let mut compressed = message(5);
    compressed[0] = 1;
    let encoding = |mut block: HeaderBlock| {
        let gzip = crate::stream::script::block(&[("grpc-encoding", "gzip")]);
        block.fields.extend(gzip.fields);
        block
    };
    let mut script = Script::at(Some(C), true);
    script
        .headers(C, 1, encoding(grpc_request()), false)
        .data(C, 1, &compressed, true)
        .headers(S, 1, encoding(grpc_response()), false)
        .data(S, 1, &compressed, false)
        .headers(S, 1, trailers("0"), true);
    judge(&mut script).nothing(Outcome::Ok);

    // A page that a proxy compressed on the way: no length at all.
    let mut script = Script::at(Some(S), true);
    script.headers(C, 1, request("GET", &[("accept-encoding", "gzip")]), true);
    script
        .headers(
            S,
            1,
            block(&[(":status", "200"), ("content-encoding", "gzip")]),
            false,
        )
        .data(S, 1, b"\x1f\x8b\x08", true);
    judge(&mut script).nothing(Outcome::Ok);
}

#[test]
fn a_refusal_of_another_content_type_is_spec_conform() {
    let mut script = Script::new();
    script
        .headers(
            C,
            1,
            request("POST", &[("content-type", "application/json")]),
            false,
        )
        .data(C, 1, b"{}", true)
        .headers(S, 1, block(&[(":status", "415")]), true);
    judge(&mut script).nothing(Outcome::Ok);
}
