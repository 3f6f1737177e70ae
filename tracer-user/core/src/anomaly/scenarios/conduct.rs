//! Endpoints that break the rules of RFC 9113.

use super::{is, judge};
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::{ConnectionEnd, Endpoint};
use crate::frame::head::frame_type;
use crate::frame::{ErrorCode, Frame, Rule, StreamId};
use crate::stream::record::{Outcome, RequestPhase, ResponsePhase, Tier};
use crate::stream::script::*;

use RequestPhase::{Q1, Q2};
use ResponsePhase::{R0, R1, R3, Rb};
use Verdict::{Anomaly, Expected};

const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
const RULE: Rule = Rule::PriorityLength;

/// What was found about the connection: kind, sender, stream, code.
fn found(script: &mut Script) -> Vec<(Kind, Option<Endpoint>, u32, Option<ErrorCode>)> {
    let judged = judge(script);
    let worse = judged.findings.iter().filter(|f| f.verdict > Expected);
    worse
        .map(|f| (f.kind, f.sender, f.stream_id.0, f.code))
        .collect()
}

#[test]
fn scenario_57_headers_after_the_own_end_stream_are_one_anomaly_of_the_stream() {
    for answer in [None, Some(ErrorCode::STREAM_CLOSED), Some(PROTOCOL)] {
        let mut script = Script::at(Some(S), true);
        script
            .request(1)
            .headers(C, 1, grpc_request(), true)
            .data(C, 1, &message(3), true);
        match answer {
            Some(code) => script.rst(S, 1, code),
            None => script.response(1),
        };
        let judged = judge(&mut script);
        let finding = judged.finding();
        let response = if answer.is_some() { R0 } else { R3 };
        is(
            finding,
            Kind::FrameAfterEndStream,
            Anomaly,
            C,
            (Q2, response),
            Tier::T1,
        );
        assert_eq!(finding.code, Some(ErrorCode::STREAM_CLOSED));
        let told = match answer {
            Some(code) => format!("the server answered with RST_STREAM {}", code.name()),
            None => "the server let it pass".to_owned(),
        };
        assert!(
            finding
                .summary
                .starts_with("the client sent HEADERS after END_STREAM")
                && finding.summary.contains(&told),
            "{}",
            finding.summary
        );
        assert_eq!(
            judged.stream().outcome,
            if answer.is_some() {
                Outcome::Reset
            } else {
                Outcome::Ok
            }
        );
    }
}

#[test]
fn data_after_the_servers_end_stream_is_the_servers_fault() {
    let mut script = Script::new();
    script
        .open_request(1)
        .response(1)
        .data(S, 1, &message(1), false);
    let judged = judge(&mut script);
    // The request is open, so the stream is not over before the connection is.
    assert!(judged.findings.is_empty());
    script.close(ConnectionEnd::LocalClose);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::FrameAfterEndStream,
        Anomaly,
        S,
        (Q1, R3),
        Tier::T1,
    );
}

#[test]
fn a_go_away_that_answers_a_broken_rule_is_not_told_again() {
    let mut script = Script::at(Some(S), true);
    script
        .request(1)
        .data(C, 1, &message(3), true)
        .go_away(S, 1, ErrorCode::STREAM_CLOSED, "")
        .close(ConnectionEnd::LocalClose);
    let closed = Some(ErrorCode::STREAM_CLOSED);
    assert_eq!(
        found(&mut script),
        [
            (Kind::GoAwayLostStreams, Some(S), 1, closed),
            (Kind::FrameAfterEndStream, Some(C), 1, closed)
        ]
    );
    // With a code that has nothing to do with it, it is.
    let mut script = Script::at(Some(S), true);
    script
        .request(1)
        .data(C, 1, &message(3), true)
        .response(1)
        .go_away(S, 1, ErrorCode::ENHANCE_YOUR_CALM, "");
    assert_eq!(
        found(&mut script),
        [
            (
                Kind::ErrorGoAway,
                Some(S),
                0,
                Some(ErrorCode::ENHANCE_YOUR_CALM)
            ),
            (Kind::FrameAfterEndStream, Some(C), 1, closed)
        ]
    );
}

#[test]
fn what_a_gap_or_a_late_attach_may_have_hidden_is_no_offence() {
    let mut late = Script::late();
    late.request(1).data(C, 1, &message(3), true).response(1);
    late.violation(C, 0, SIZE, RULE, frame_type::PRIORITY);
    late.request(7)
        .headers(C, 5, grpc_request(), true)
        .response(7);
    late.wait_ms(2_000);
    assert_eq!(found(&mut late), []);
    let mut gap = Script::new();
    gap.request(1)
        .gap(C)
        .data(C, 1, &message(3), true)
        .response(1);
    gap.violation(C, 0, SIZE, RULE, frame_type::PRIORITY);
    gap.wait_ms(2_000).ping(C, false);
    assert_eq!(found(&mut gap), []);
}

#[test]
fn a_broken_framing_rule_is_told_once_with_the_answer() {
    let mut script = Script::new();
    script.request(1);
    for _ in 0..100 {
        script.violation(C, 1, SIZE, RULE, frame_type::PRIORITY);
    }
    script.rst(S, 1, SIZE);
    let judged = judge(&mut script);
    let finding = judged.finding();
    assert_eq!(
        (finding.kind, finding.verdict, finding.sender, finding.code),
        (Kind::FramingViolation, Anomaly, Some(C), Some(SIZE))
    );
    assert_eq!((finding.stream_id, finding.tier), (StreamId(1), Tier::T0));
    assert_eq!(
        finding.summary,
        "the client sent PRIORITY whose length is not 5 (RFC 9113 section 6.3): a stream error of type \
         FRAME_SIZE_ERROR; the server answered with RST_STREAM FRAME_SIZE_ERROR"
    );
    // The stream was reset all the same, and the reset is the answer, not one more finding.
    assert_eq!(judged.stream().outcome, Outcome::Reset);

    let mut script = Script::new();
    let rule = Rule::PingLength;
    script.violation(S, 0, SIZE, rule, frame_type::PING);
    script
        .go_away(C, 0, SIZE, "")
        .close(ConnectionEnd::LocalClose);
    let judged = judge(&mut script);
    assert_eq!(
        (judged.finding().kind, judged.finding().sender),
        (Kind::FramingViolation, Some(S))
    );
    assert!(
        judged
            .finding()
            .summary
            .ends_with("a connection error of type FRAME_SIZE_ERROR; the client answered with GOAWAY FRAME_SIZE_ERROR"),
        "{}",
        judged.finding().summary
    );
}

#[test]
fn a_broken_rule_that_nobody_answers_is_told_after_a_second_or_at_the_end() {
    let mut script = Script::new();
    script.violation(C, 0, SIZE, RULE, frame_type::PRIORITY);
    assert!(script.table.next_due().is_some());
    script.wait_ms(1_001);
    let judged = judge(&mut script);
    assert!(judged.finding().summary.ends_with("the server let it pass"));
    assert_eq!(script.table.next_due(), None);
    script.violation(C, 0, PROTOCOL, Rule::PingOnStream, frame_type::PING);
    script.close(ConnectionEnd::PeerFin);
    let judged = judge(&mut script);
    assert!(
        judged
            .finding()
            .summary
            .ends_with("the connection ended without a word about it"),
        "{}",
        judged.finding().summary
    );
}

#[test]
fn flow_control_and_hpack_have_findings_of_their_own() {
    let mut script = Script::new();
    let rule = Rule::WindowUpdateOfZero;
    script.violation(C, 0, PROTOCOL, rule, frame_type::WINDOW_UPDATE);
    script.violation(
        C,
        0,
        ErrorCode::COMPRESSION_ERROR,
        Rule::TableIndex,
        frame_type::HEADERS,
    );
    script.wait_ms(1_001);
    let judged = judge(&mut script);
    assert_eq!(judged.n(Kind::FramingViolation, Anomaly), 0);
}

#[test]
fn ids_fall_only_where_they_were_passed_over() {
    for (id, falls) in [(5, true), (7, true), (11, false), (2, true), (10, true)] {
        let mut script = Script::new();
        for id in [1, 3, 9] {
            script.request(id).response(id);
        }
        script.headers(C, id, grpc_request(), true).wait_ms(1_001);
        let judged = judge(&mut script);
        assert_eq!(
            judged.n(Kind::FramingViolation, Anomaly),
            usize::from(falls),
            "{id}"
        );
    }
    // A late frame of a stream that was there is none that opens one.
    let mut script = Script::new();
    for id in [1, 3, 9] {
        script.request(id).response(id);
    }
    judge(&mut script);
    script.headers(C, 3, grpc_request(), true).wait_ms(1_001);
    assert_eq!(found(&mut script), []);
}

#[test]
fn frames_after_a_reset_are_wrong_only_from_who_knows_of_it() {
    // In flight: legal (scenarios 4 and 7).
    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .rst(C, 1, ErrorCode::CANCEL)
        .data(S, 1, &message(9), false);
    assert_eq!(found(&mut script), []);

    // From who sent it.
    let mut script = Script::new();
    script
        .open_request(1)
        .headers(S, 1, grpc_response(), false)
        .rst(C, 1, ErrorCode::CANCEL)
        .window_update(C, 1, 9)
        .data(C, 1, &message(9), false)
        .data(C, 1, &[], true);
    let judged = judge(&mut script);
    assert_eq!(judged.findings.len(), 2, "{:#?}", judged.findings);
    assert_eq!(judged.n(Kind::ClientCancel, Expected), 1);
    is(
        &judged.findings[1],
        Kind::FrameAfterReset,
        Anomaly,
        C,
        (Q1, R1),
        Tier::T1,
    );

    // From who acknowledged a PING that was sent after it.
    for (processed, n) in [(false, 0), (true, 1)] {
        let mut script = Script::new();
        script
            .request(1)
            .headers(S, 1, grpc_response(), false)
            .data(S, 1, &message(9), false);
        if !processed {
            script.ping(C, false);
        }
        script.rst(C, 1, ErrorCode::CANCEL);
        if processed {
            script.ping(C, false);
        }
        script.ping(S, true).data(S, 1, &message(9), false);
        let judged = judge(&mut script);
        assert_eq!(judged.n(Kind::FrameAfterReset, Anomaly), n);
        if let Some(finding) = judged.findings.get(1) {
            is(
                finding,
                Kind::FrameAfterReset,
                Anomaly,
                S,
                (Q2, Rb),
                Tier::T1,
            );
            assert!(finding.summary.contains("the reset was processed"));
        }
        assert_eq!(judged.findings.len(), 1 + n);
    }
}

#[test]
fn data_before_headers_is_unexpected() {
    let mut script = Script::new();
    script.request(1).data(S, 1, &message(9), false).response(1);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::UnexpectedFrame,
        Anomaly,
        S,
        (Q2, R3),
        Tier::T1,
    );
    assert_eq!(judged.finding().code, Some(PROTOCOL));
    let mut script = Script::at(Some(S), true);
    script
        .data(C, 1, &message(9), false)
        .go_away(S, 0, PROTOCOL, "");
    script.close(ConnectionEnd::LocalClose);
    let found = found(&mut script);
    assert!(found.contains(&(Kind::UnexpectedFrame, Some(C), 1, Some(PROTOCOL))));
    assert!(found.iter().all(|(kind, ..)| *kind != Kind::ErrorGoAway));
}

#[test]
fn a_push_to_a_grpc_client_is_unexpected() {
    let push = |script: &mut Script, sender, id| {
        let stream_id = StreamId(1);
        let promised = StreamId(id);
        let block = block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/style.css"),
            (":authority", "test"),
        ]);
        script.frame(
            sender,
            Frame::PushPromise {
                stream_id,
                promised,
                block,
            },
        );
    };
    let mut script = Script::new();
    script.request(1);
    push(&mut script, S, 2);
    script.response(1);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::UnexpectedFrame,
        Anomaly,
        S,
        (Q2, R3),
        Tier::T1,
    );

    // To a browser it is legal, until it says that it wants none and the server knows.
    for (settings, ack, n) in [(false, false, 0), (true, false, 0), (true, true, 1)] {
        let mut script = Script::new();
        if settings {
            script.settings(C, &[(0x2, 0)]);
        }
        if ack {
            script.frame(S, Frame::SettingsAck);
        }
        script.headers(
            C,
            1,
            block(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "test"),
            ]),
            true,
        );
        push(&mut script, S, 2);
        script.headers(S, 1, block(&[(":status", "200")]), true);
        assert_eq!(found(&mut script).len(), n, "{settings} {ack}");
    }
    let mut script = Script::new();
    script.request(1);
    push(&mut script, C, 3);
    script.wait_ms(1_001);
    assert_eq!(
        found(&mut script)[0],
        (Kind::FramingViolation, Some(C), 1, Some(PROTOCOL))
    );
}
