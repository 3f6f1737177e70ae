//! Senders that wait for a window.

use super::{Judged, is, judge, judge_with};
use crate::anomaly::Rules;
use crate::anomaly::kind::{Kind, Verdict};
use crate::frame::ErrorCode;
use crate::stream::condition::WINDOW_STALL_NS;
use crate::stream::record::{Outcome, RequestPhase, ResponsePhase, Tier, Windows};
use crate::stream::script::*;

use RequestPhase::{Q0, Q2};
use ResponsePhase::{R0, Rm};
use Verdict::{Anomaly, Suspicious};

const STALL_MS: u64 = WINDOW_STALL_NS / MS;
const MIB: u32 = 1 << 20;

/// The server has sent 65,535 bytes of a message of 1 MiB on stream 1: the stream's window is used up, and
/// the connection's is wide open.
fn stream_window_used_up(script: &mut Script) {
    script.window_update(C, 0, 10 * MIB);
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(MIB)[..65_535], false);
}

fn kinds(judged: &Judged) -> Vec<(Kind, Verdict)> {
    judged
        .findings
        .iter()
        .map(|f| (f.kind, f.verdict))
        .collect()
}

#[test]
fn scenario_39_a_sender_without_a_stream_window_is_stalled() {
    let mut script = Script::new();
    stream_window_used_up(&mut script);
    let mut rules = Rules::new();
    script.wait_ms(STALL_MS - 1_000);
    assert!(judge_with(&mut script, &mut rules).findings.is_empty());
    script.wait_ms(2_000);
    let judged = judge_with(&mut script, &mut rules);
    let stalled = judged.finding();
    is(
        stalled,
        Kind::StreamWindowStall,
        Suspicious,
        C,
        (Q2, Rm),
        Tier::T1,
    );
    assert_eq!(stalled.stream_id.0, 1);
    assert_eq!(
        stalled.windows,
        Windows {
            stream: Some(0),
            connection: Some(i64::from(10 * MIB)),
        }
    );
    assert!(
        stalled.summary.contains("the server waits for a window of the stream with 983046 of 1048576 message bytes to send"),
        "{}",
        stalled.summary
    );
    // Once.
    script.wait_ms(10 * STALL_MS);
    assert!(judge_with(&mut script, &mut rules).findings.is_empty());
    // And not when it goes on in the end.
    script.window_update(C, 1, 2 * MIB);
    script
        .data(S, 1, &message(MIB)[65_535..], false)
        .headers(S, 1, trailers("0"), true);
    judge_with(&mut script, &mut rules).nothing(Outcome::Ok);
}

#[test]
fn scenario_39_a_stalled_stream_that_is_given_up_is_an_anomaly() {
    let mut timed = grpc_request();
    timed
        .fields
        .extend(block(&[("grpc-timeout", "20S")]).fields);
    // By the deadline: the reset is expected, and its cause is the stall.
    let mut script = Script::new();
    script
        .window_update(C, 0, 10 * MIB)
        .headers(C, 1, timed, false)
        .data(C, 1, &message(11), true)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(MIB)[..65_535], false)
        .wait_ms(20_000)
        .rst(C, 1, ErrorCode::CANCEL);
    let judged = judge(&mut script);
    assert_eq!(
        kinds(&judged),
        [
            (Kind::StreamWindowStall, Suspicious),
            (Kind::DeadlineReset, Verdict::Expected),
            (Kind::StreamWindowStall, Anomaly)
        ]
    );
    let end = &judged.findings[2];
    is(end, Kind::StreamWindowStall, Anomaly, C, (Q2, Rm), Tier::T1);
    assert!(
        end.summary
            .starts_with("the deadline passed: the server had waited 20s"),
        "{}",
        end.summary
    );
    assert_eq!(judged.stream().outcome, Outcome::Deadline);

    // By the server, which gives up: the reset is the anomaly, and says why.
    let mut script = Script::new();
    stream_window_used_up(&mut script);
    script.wait_ms(15_000).rst(S, 1, ErrorCode::INTERNAL_ERROR);
    let judged = judge(&mut script);
    assert_eq!(
        kinds(&judged),
        [
            (Kind::StreamWindowStall, Suspicious),
            (Kind::ResponseCutByReset, Anomaly)
        ]
    );
    assert!(
        judged.findings[1]
            .summary
            .contains("the server had waited 15s for a window of the stream"),
        "{}",
        judged.findings[1].summary
    );

    // By the client's user, who did not read any more.
    let mut script = Script::new();
    stream_window_used_up(&mut script);
    script.wait_ms(15_000).rst(C, 1, ErrorCode::CANCEL);
    assert_eq!(
        kinds(&judge(&mut script)),
        [
            (Kind::StreamWindowStall, Suspicious),
            (Kind::ClientCancel, Verdict::Expected)
        ]
    );
}

#[test]
fn scenario_39_an_upload_stalls_too() {
    let mut script = Script::at(Some(S), true);
    script
        .window_update(S, 0, 10 * MIB)
        .headers(C, 1, grpc_request(), false)
        .data(C, 1, &message(MIB)[..65_535], false)
        .wait_ms(12_000)
        .rst(C, 1, ErrorCode::CANCEL);
    let judged = judge(&mut script);
    assert_eq!(
        kinds(&judged),
        [
            (Kind::StreamWindowStall, Suspicious),
            (Kind::ClientCancel, Verdict::Expected),
            (Kind::StreamWindowStall, Anomaly)
        ]
    );
    is(
        &judged.findings[0],
        Kind::StreamWindowStall,
        Suspicious,
        S,
        (Q0, R0),
        Tier::T1,
    );
    assert_eq!(judged.findings[0].windows.stream, Some(0));
}

#[test]
fn a_slow_reader_with_progress_is_not_stalled() {
    let mut script = Script::new();
    stream_window_used_up(&mut script);
    let body = message(MIB);
    let mut sent = 65_535;
    for _ in 0..30 {
        // Less than what is waiting, each 9 seconds.
        script.wait_ms(STALL_MS - 1_000).window_update(C, 1, 1_000);
        script.data(S, 1, &body[..1_000], false);
        sent += 1_000;
    }
    assert!(judge(&mut script).findings.is_empty(), "{sent}");
}

#[test]
fn what_is_not_certain_is_no_stall() {
    // At a message boundary: nothing shows that more is to be sent.
    let mut script = Script::new();
    script
        .window_update(C, 0, 10 * MIB)
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(65_530), false)
        .wait_ms(60_000);
    assert!(judge(&mut script).findings.is_empty());
    // Attached late, and after a loss: windows are not known.
    let mut script = Script::late();
    stream_window_used_up(&mut script);
    script.wait_ms(60_000);
    assert!(judge(&mut script).findings.is_empty());
    let mut script = Script::new();
    stream_window_used_up(&mut script);
    script.gap(C).wait_ms(20_000);
    assert!(judge(&mut script).findings.is_empty());
    // The frame is not whole: TCP holds it up.
    let mut script = Script::new();
    script.window_update(C, 0, 10 * MIB).request(1);
    script.headers(S, 1, grpc_response(), false);
    let head = crate::frame::DataHead {
        stream_id: crate::frame::StreamId(1),
        flow_len: 65_535,
        end_stream: false,
        padded: false,
    };
    script.step(S, &crate::frame::Step::DataBegin(head));
    let piece = crate::frame::DataPiece::Bytes(bytes::Bytes::from(message(MIB)[..5].to_vec()));
    script.step(
        S,
        &crate::frame::Step::DataBody {
            stream_id: crate::frame::StreamId(1),
            piece,
        },
    );
    script.wait_ms(60_000);
    assert!(judge(&mut script).findings.is_empty());
}

/// Eight responses of 1 MiB use up the connection's window together.
fn connection_window_used_up(script: &mut Script) {
    script.settings(C, &[(0x4, 6 * MIB)]);
    for n in 0..8 {
        script
            .request(2 * n + 1)
            .headers(S, 2 * n + 1, grpc_response(), false);
    }
    for n in 0..8 {
        let share = if n == 7 { 65_535 - 7 * 8_191 } else { 8_191 };
        script.data(S, 2 * n + 1, &message(MIB)[..share], false);
    }
}

#[test]
fn scenario_40_a_used_up_connection_window_is_told_once() {
    let mut script = Script::new();
    connection_window_used_up(&mut script);
    let mut rules = Rules::new();
    script.wait_ms(STALL_MS + 1_000);
    let judged = judge_with(&mut script, &mut rules);
    let stalled = judged.finding();
    assert_eq!(
        (
            stalled.kind,
            stalled.verdict,
            stalled.sender,
            stalled.stream_id.0,
            stalled.tier
        ),
        (
            Kind::ConnectionWindowStall,
            Suspicious,
            Some(C),
            0,
            Tier::T0
        )
    );
    assert!(
        stalled
            .summary
            .contains("8 streams wait in the middle of a message"),
        "{}",
        stalled.summary
    );
    assert!(
        stalled.summary.contains("given it none for 11"),
        "{}",
        stalled.summary
    );
    script.wait_ms(5 * STALL_MS);
    assert!(judge_with(&mut script, &mut rules).findings.is_empty());
    // The next time is another one.
    script
        .window_update(C, 0, 1_000)
        .data(S, 1, &message(MIB)[..1_000], false);
    script.wait_ms(2 * STALL_MS);
    assert_eq!(
        kinds(&judge_with(&mut script, &mut rules)),
        [(Kind::ConnectionWindowStall, Suspicious)]
    );
}

#[test]
fn scenario_40_streams_given_up_for_it_are_one_anomaly() {
    let mut script = Script::at(Some(S), true);
    let timed = |seconds: &str| {
        let mut timed = grpc_request();
        timed
            .fields
            .extend(block(&[("grpc-timeout", seconds)]).fields);
        timed
    };
    script.settings(C, &[(0x4, 6 * MIB)]);
    for n in 0..8 {
        script
            .headers(C, 2 * n + 1, timed("12S"), false)
            .data(C, 2 * n + 1, &message(11), true)
            .headers(S, 2 * n + 1, grpc_response(), false)
            .data(S, 2 * n + 1, &message(MIB)[..8_191], false);
    }
    script.data(S, 1, &[7; 7], false).wait_ms(12_000);
    for n in 0..8 {
        script.rst(C, 2 * n + 1, ErrorCode::CANCEL);
    }
    let judged = judge(&mut script);
    assert_eq!(judged.n(Kind::ConnectionWindowStall, Suspicious), 1);
    assert_eq!(judged.n(Kind::ConnectionWindowStall, Anomaly), 1);
    assert_eq!(judged.n(Kind::DeadlineReset, Verdict::Expected), 8);
    assert_eq!(judged.findings.len(), 10, "{:#?}", kinds(&judged));
}
