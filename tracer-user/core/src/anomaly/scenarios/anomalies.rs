//! Scenarios that must be flagged exactly once: one stream.

use super::{Part, is, judge};
use crate::anomaly::kind::{Kind, Verdict};
use crate::frame::{DataPiece, ErrorCode};
use crate::stream::record::{
    OpenMessage, Outcome, RequestPhase, ResponsePhase, Seen, StreamEnd, Tier,
};
use crate::stream::script::*;

use RequestPhase::{Q1, Q2};
use ResponsePhase::{R0, R1, Rb, Rm};
use Verdict::{Anomaly, Benign};

#[test]
fn scenario_27_the_reference_truncation_is_one_finding_whatever_the_code() {
    for code in [ErrorCode::NO_ERROR, ErrorCode::INTERNAL_ERROR] {
        for role in [C, S] {
            let mut script = Script::at(Some(role), true);
            script.open_request(1).headers(S, 1, grpc_response(), false);
            script
                .data(S, 1, &message(11_117)[..9_925], false)
                .rst(S, 1, code);
            // The late END_STREAM.
            script.data(C, 1, &[], true);
            let judged = judge(&mut script);
            let finding = judged.finding();
            is(
                finding,
                Kind::ResponseCutByReset,
                Anomaly,
                S,
                (Q1, Rm),
                Tier::T1,
            );
            assert_eq!(finding.code, Some(code));
            let open = OpenMessage {
                promised: Some(11_117),
                got: 9_920,
            };
            let stream = judged.stream();
            assert_eq!(stream.response.messages.open, Some(open));
            assert_eq!(
                (stream.trailers, stream.grpc_status),
                (Seen::Absent, Seen::Absent)
            );
            assert_eq!(
                (stream.end, stream.outcome),
                (StreamEnd::Reset, Outcome::Reset)
            );
            for words in [
                "11117 bytes announced",
                "9920 ",
                "1197 missing",
                "no trailers",
            ] {
                assert!(finding.summary.contains(words), "{}", finding.summary);
            }
        }
    }
}

#[test]
fn scenario_27_the_used_up_connection_window_is_told() {
    let mut script = Script::new();
    // Node: large stream windows, the connection's left at 65,535. Five responses fit, the sixth is cut.
    script.settings(C, &[(0x4, 6_291_456)]);
    for id in [1, 3, 5, 7, 9, 11, 13] {
        script
            .open_request(id)
            .headers(S, id, grpc_response(), false);
    }
    for id in [1, 3, 5, 7, 9] {
        script
            .data(S, id, &message(11_006), false)
            .headers(S, id, trailers("0"), true);
        script.rst(S, id, ErrorCode::NO_ERROR);
    }
    script.data(S, 11, &message(11_006)[..10_480], false);
    script
        .rst(S, 11, ErrorCode::NO_ERROR)
        .rst(S, 13, ErrorCode::NO_ERROR);
    let judged = judge(&mut script);
    assert_eq!(judged.n(Kind::EarlyResponseReset, Benign), 5);
    let cut: Vec<_> = judged
        .findings
        .iter()
        .filter(|f| f.kind == Kind::ResponseCutByReset)
        .collect();
    assert_eq!((cut.len(), judged.findings.len()), (2, 7));
    for finding in cut {
        assert_eq!(finding.windows.connection, Some(0));
        assert!(finding.windows.stream > Some(0));
        assert!(
            finding
                .summary
                .contains("the client's connection window was used up (0 bytes left)"),
            "{}",
            finding.summary
        );
    }
}

#[test]
fn scenario_29_headers_then_reset_is_cut_at_r1() {
    let mut script = Script::new();
    script
        .open_request(1)
        .headers(S, 1, grpc_response(), false)
        .rst(S, 1, ErrorCode::NO_ERROR);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::ResponseCutByReset,
        Anomaly,
        S,
        (Q1, R1),
        Tier::T1,
    );
    assert_eq!(judged.stream().outcome, Outcome::Reset);
    assert_eq!(
        judged.finding().summary,
        "the server reset the stream with NO_ERROR after the response's HEADERS: no message byte arrived, \
         no trailers; the client's windows were open (65535 bytes left on the connection, 65535 on the stream)"
    );
}

#[test]
fn scenario_30_a_reset_instead_of_trailers_is_cut_at_rb() {
    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(100), false);
    script.rst(S, 1, ErrorCode::NO_ERROR);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::ResponseCutByReset,
        Anomaly,
        S,
        (Q2, Rb),
        Tier::T1,
    );
    assert!(
        judged
            .finding()
            .summary
            .contains("before the response's trailers: 1 whole message arrived")
    );
}

#[test]
fn scenario_35_a_prefix_cut_by_a_reset_is_inside_a_message() {
    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &[0, 0, 0], false);
    script.rst(S, 1, ErrorCode::INTERNAL_ERROR);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::ResponseCutByReset,
        Anomaly,
        S,
        (Q2, Rm),
        Tier::T1,
    );
    assert!(
        judged
            .finding()
            .summary
            .contains("3 of the 5 bytes of a message prefix arrived")
    );
}

#[test]
fn scenario_55_a_failed_attempt_is_one_finding_and_the_retry_none() {
    let mut script = Script::new();
    script.request(1).rst(S, 1, ErrorCode::INTERNAL_ERROR);
    let mut retry = grpc_request();
    retry
        .fields
        .extend(block(&[("grpc-previous-rpc-attempts", "1")]).fields);
    script
        .headers(C, 3, retry, false)
        .data(C, 3, &message(11), true)
        .response(3);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::ResetBeforeResponse,
        Anomaly,
        S,
        (Q2, R0),
        Tier::T1,
    );
    let retried = judged
        .streams
        .iter()
        .find(|stream| stream.stream_id.0 == 3)
        .unwrap();
    assert_eq!(
        retried
            .shown
            .get("grpc-previous-rpc-attempts")
            .map(String::as_str),
        Some("1")
    );
    assert_eq!(retried.outcome, Outcome::Ok);
}

/// Each row of the table through the whole stage, one column each.
#[test]
fn resets_by_code_sender_and_phase() {
    let streams: [Part; 4] = [
        ("Q2 R0", |s| {
            s.request(1);
        }),
        ("Q0 Rm", |s| {
            s.headers(C, 1, grpc_request(), false)
                .headers(S, 1, grpc_response(), false);
            s.data(S, 1, &message(50)[..20], false);
        }),
        ("Q1 R3", |s| {
            s.open_request(1).response(1);
        }),
        ("Q2 R3", |s| {
            s.request(1).response(1);
        }),
    ];
    let want = [
        (
            S,
            0x0,
            "reset_before_response response_cut_by_reset early_response_reset redundant_reset",
        ),
        (
            S,
            0x8,
            "reset_before_response response_cut_by_reset reset_after_response redundant_reset",
        ),
        (
            S,
            0x7,
            "stream_refused refused_after_response refused_after_response refused_after_response",
        ),
        (
            S,
            0x2,
            "reset_before_response response_cut_by_reset early_response_reset reset_after_response",
        ),
        (
            S,
            0x1,
            "reset_before_response response_cut_by_reset reset_after_response reset_after_response",
        ),
        (
            S,
            0xb,
            "stream_throttled stream_throttled stream_throttled stream_throttled",
        ),
        (
            S,
            0x5,
            "reset_stream_closed reset_stream_closed reset_stream_closed reset_stream_closed",
        ),
        (
            S,
            0x77,
            "reset_before_response response_cut_by_reset early_response_reset reset_after_response",
        ),
        (
            C,
            0x8,
            "client_cancel client_cancel redundant_reset redundant_reset",
        ),
        (
            C,
            0x0,
            "client_reset_no_error client_reset_no_error redundant_reset redundant_reset",
        ),
        (
            C,
            0x2,
            "client_rejected_response client_rejected_response reset_after_response reset_after_response",
        ),
        (
            C,
            0x3,
            "client_rejected_response client_rejected_response reset_after_response reset_after_response",
        ),
    ];
    for (sender, code, kinds) in want {
        for ((phases, stream), kind) in streams.iter().zip(kinds.split(' ')) {
            let mut script = Script::new();
            stream(&mut script);
            script.rst(sender, 1, ErrorCode(code));
            let judged = judge(&mut script);
            let finding = judged.finding();
            assert_eq!(finding.kind.as_str(), kind, "{sender} {code:#x} {phases}");
            let found = format!(
                "{} {}",
                finding.request_phase.unwrap().as_str(),
                finding.response_phase.unwrap().as_str()
            );
            assert_eq!(found, *phases);
            assert_eq!(finding.sender, Some(sender));
            assert_eq!(finding.code, Some(ErrorCode(code)));
        }
    }
}

#[test]
fn a_client_that_rejects_the_response_is_an_anomaly() {
    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(9_000)[..100], false);
    script.rst(C, 1, ErrorCode::FRAME_SIZE_ERROR);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::ClientRejectedResponse,
        Anomaly,
        C,
        (Q2, Rm),
        Tier::T1,
    );
}

#[test]
fn a_cut_response_that_is_not_grpc_is_flagged_too() {
    let get = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/big?token=hunter2"),
    ]);
    let mut script = Script::new();
    script
        .headers(C, 1, get, true)
        .headers(S, 1, block(&[(":status", "200")]), false);
    script
        .pieces(S, 1, &[DataPiece::Hole(1000)], 1000, false)
        .rst(S, 1, ErrorCode::INTERNAL_ERROR);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::ResponseCutByReset,
        Anomaly,
        S,
        (Q2, Rb),
        Tier::T1,
    );
    assert!(
        judged
            .finding()
            .summary
            .contains("in the middle of the response: 1000 bytes arrived")
    );
    assert!(!format!("{:?} {:?}", judged.findings, judged.streams).contains("hunter2"));
}
