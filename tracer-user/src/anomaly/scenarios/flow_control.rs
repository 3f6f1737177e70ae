//! Flow control (ANOMALIES W1 to W4).

use super::{Judged, is, judge, judge_with};
use crate::anomaly::Rules;
use crate::anomaly::kind::{Kind, Verdict};
use crate::frame::{ErrorCode, Frame};
use crate::stream::condition::{CROSSING_GRACE_NS, WINDOW_STALL_NS};
use crate::stream::record::{Outcome, RequestPhase, ResponsePhase, Tier, Windows};
use crate::stream::script::*;

use RequestPhase::{Q0, Q2};
use ResponsePhase::{R0, Rb, Rm};
use Verdict::{Anomaly, Suspicious};

const STALL_MS: u64 = WINDOW_STALL_NS / MS;
const GRACE_MS: u64 = CROSSING_GRACE_NS / MS;
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

#[test]
fn scenario_41_a_window_update_of_zero_is_the_senders_fault() {
    let mut script = Script::at(Some(S), true);
    script
        .request(1)
        .window_update(C, 1, 0)
        .rst(S, 1, ErrorCode::PROTOCOL_ERROR);
    let judged = judge(&mut script);
    let bad = judged.finding();
    is(bad, Kind::BadWindowUpdate, Anomaly, C, (Q2, R0), Tier::T1);
    assert_eq!(bad.code, Some(ErrorCode::PROTOCOL_ERROR));
    assert!(
        bad.summary
            .contains("increment 0; the server reset the stream with PROTOCOL_ERROR"),
        "{}",
        bad.summary
    );

    // Of the connection: at once.
    let mut script = Script::at(Some(S), true);
    script.window_update(C, 0, 0);
    let judged = judge(&mut script);
    let bad = judged.finding();
    assert_eq!(
        (bad.kind, bad.verdict, bad.sender, bad.stream_id.0),
        (Kind::BadWindowUpdate, Anomaly, Some(C), 0)
    );
}

#[test]
fn scenario_41_on_many_streams_each_is_told_once() {
    let mut script = Script::at(Some(S), true);
    for n in 0..200 {
        script
            .request(2 * n + 1)
            .window_update(C, 2 * n + 1, 0)
            .window_update(C, 2 * n + 1, 0)
            .rst(S, 2 * n + 1, ErrorCode::PROTOCOL_ERROR);
    }
    let judged = judge(&mut script);
    assert_eq!(judged.n(Kind::BadWindowUpdate, Anomaly), 200);
    assert_eq!(judged.findings.len(), 200);
}

#[test]
fn a_window_beyond_2_31_is_an_anomaly_once_no_crossing_explains_it() {
    // The receiver of the update says so.
    let mut script = Script::new();
    script
        .request(1)
        .window_update(C, 1, 0x7fff_ffff)
        .rst(S, 1, ErrorCode::FLOW_CONTROL_ERROR);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::BadWindowUpdate,
        Anomaly,
        C,
        (Q2, R0),
        Tier::T1,
    );
    // Or it stays so.
    let mut script = Script::new();
    script
        .request(1)
        .window_update(C, 0, 0x7fff_ffff)
        .wait_ms(GRACE_MS)
        .ping(C, false);
    let judged = judge(&mut script);
    assert_eq!(kinds(&judged), [(Kind::BadWindowUpdate, Anomaly)]);
    // The DATA that the update gives back is recorded after it: a client that keeps its window as large
    // as may be.
    let mut script = Script::at(Some(S), true);
    script.request(1).headers(S, 1, grpc_response(), false);
    script.window_update(C, 0, 0x7fff_ffff - 65_535);
    for _ in 0..1_000 {
        script.window_update(C, 0, 50);
        script.data(S, 1, &message(45), false);
        script.window_update(C, 1, 50).wait_ms(5);
    }
    script.headers(S, 1, trailers("0"), true);
    judge(&mut script).nothing(Outcome::Ok);
}

#[test]
fn data_beyond_the_stream_window_is_told_once() {
    // The client says so.
    let mut script = Script::new();
    script
        .window_update(C, 0, MIB)
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(65_530), false)
        .data(S, 1, &message(100), false)
        .rst(C, 1, ErrorCode::FLOW_CONTROL_ERROR);
    let judged = judge(&mut script);
    let overrun = judged.finding();
    is(overrun, Kind::WindowOverrun, Anomaly, S, (Q2, Rb), Tier::T1);
    assert_eq!(overrun.code, Some(ErrorCode::FLOW_CONTROL_ERROR));
    assert!(
        overrun
            .summary
            .contains("105 bytes of DATA beyond the window of the stream"),
        "{}",
        overrun.summary
    );

    // Nobody says anything, and it stays so.
    let mut script = Script::new();
    script
        .window_update(C, 0, MIB)
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(65_530), false)
        .data(S, 1, &message(100), false)
        .data(S, 1, &message(100), false)
        .wait_ms(GRACE_MS)
        .ping(C, false)
        .data(S, 1, &message(100), false)
        .headers(S, 1, trailers("0"), true);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::WindowOverrun,
        Anomaly,
        S,
        (Q2, Rb),
        Tier::T1,
    );
}

#[test]
fn data_beyond_the_connection_window_is_told_once() {
    let mut script = Script::new();
    script
        .settings(C, &[(0x4, MIB)])
        .frame(S, Frame::SettingsAck);
    script.request(1).request(3);
    for id in [1, 3] {
        script
            .headers(S, id, grpc_response(), false)
            .data(S, id, &message(60_000), false);
    }
    script.wait_ms(GRACE_MS + 100);
    let judged = judge(&mut script);
    let overrun = judged.finding();
    assert_eq!(
        (
            overrun.kind,
            overrun.verdict,
            overrun.sender,
            overrun.stream_id.0
        ),
        (Kind::WindowOverrun, Anomaly, Some(S), 3)
    );
    assert!(
        overrun
            .summary
            .contains("54475 bytes of DATA beyond the window of the connection"),
        "{}",
        overrun.summary
    );
    // By GOAWAY, at once.
    let mut script = Script::new();
    script.settings(C, &[(0x4, MIB)]);
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(70_000), false)
        .go_away(C, 0, ErrorCode::FLOW_CONTROL_ERROR, "");
    assert_eq!(
        kinds(&judge(&mut script)),
        [(Kind::WindowOverrun, Anomaly), (Kind::ErrorGoAway, Anomaly)]
    );
}

/// At the client's end the WINDOW_UPDATE's call may return after the DATA that it allowed was read.
#[test]
fn an_update_recorded_after_its_data_is_a_race() {
    let mut script = Script::new();
    script.request(1).headers(S, 1, grpc_response(), false);
    for _ in 0..500 {
        script.data(S, 1, &message(65_530), false);
        script
            .wait_ms(300)
            .window_update(C, 0, 65_535)
            .window_update(C, 1, 65_535);
        // Two of them: the window is used up twice over before the updates are recorded.
        script
            .data(S, 1, &message(65_530), false)
            .data(S, 1, &message(1_000), false);
        script
            .wait_ms(300)
            .window_update(C, 1, 66_540)
            .window_update(C, 0, 66_540);
    }
    script.headers(S, 1, trailers("0"), true);
    judge(&mut script).nothing(Outcome::Ok);
}

/// RFC 9113 section 6.9.2: a smaller window holds from the acknowledgement on.
#[test]
fn scenario_15_data_before_the_acknowledgement_is_no_overrun() {
    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(1_000), false)
        .settings(C, &[(0x4, 100)])
        .data(S, 1, &message(30_000), false)
        .wait_ms(2 * GRACE_MS)
        .data(S, 1, &message(10_000), false)
        .frame(S, Frame::SettingsAck)
        .wait_ms(2 * GRACE_MS)
        .window_update(C, 1, 60_000)
        .data(S, 1, &message(5_000), false)
        .headers(S, 1, trailers("0"), true);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);

    // After it, DATA on a negative window is one.
    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(1_000), false)
        .settings(C, &[(0x4, 100)])
        .frame(S, Frame::SettingsAck)
        .wait_ms(2 * GRACE_MS);
    assert!(judge(&mut script).findings.is_empty());
    script.data(S, 1, &message(10), false).wait_ms(GRACE_MS + 1);
    assert_eq!(kinds(&judge(&mut script)), [(Kind::WindowOverrun, Anomaly)]);
}

#[test]
fn scenario_16_a_window_of_zero_for_200_ms_again_and_again_is_ok() {
    let mut script = Script::new();
    script.request(1).headers(S, 1, grpc_response(), false);
    let body = message(65_535 * 200);
    for chunk in body.chunks(65_535) {
        script.data(S, 1, &[7; 65_535][..chunk.len()], false);
        script
            .wait_ms(200)
            .window_update(C, 0, 65_535)
            .window_update(C, 1, 65_535);
    }
    let judged = judge(&mut script);
    assert!(judged.findings.is_empty(), "{:#?}", judged.findings);
}

/// The windows of a moment are its sender's, after it.
#[test]
fn stories_tell_the_windows_of_both_directions_at_each_step() {
    let mut script = Script::new();
    script
        .settings(S, &[(0x4, 1_000)])
        .settings(C, &[(0x4, 2_000)]);
    script.headers(C, 1, grpc_request(), false); // client: 1000, 65535
    script.data(C, 1, &message(95), false); // client: 900, 65435
    script.headers(S, 1, grpc_response(), false); // server: 2000, 65535
    script.data(S, 1, &message(495), false); // server: 1500, 65035
    script.window_update(S, 1, 50); // gives the client 50; the server's own stay
    script.window_update(S, 0, 7); // of the connection: no moment of the stream
    script.data(C, 1, &message(5), true); // client: 940, 65432
    script.window_update(C, 1, 100).window_update(C, 0, 1_000);
    script.settings(C, &[(0x4, 500)]); // server: 100, 66035
    script.data(S, 1, &message(5), false); // server: 90, 66025
    script.headers(S, 1, trailers("0"), true);
    let judged = judge(&mut script);
    let story: Vec<_> = judged
        .stream()
        .story
        .iter()
        .map(|m| {
            (
                m.sender,
                m.frame,
                m.windows.stream.unwrap(),
                m.windows.connection.unwrap(),
            )
        })
        .collect();
    assert_eq!(
        story,
        [
            (C, "HEADERS", 1_000, 65_535),
            (C, "DATA", 900, 65_435),
            (S, "HEADERS", 2_000, 65_535),
            (S, "DATA", 1_500, 65_035),
            (S, "WINDOW_UPDATE", 1_500, 65_035),
            (C, "DATA", 940, 65_432),
            (C, "WINDOW_UPDATE", 940, 65_432),
            (S, "DATA", 90, 66_025),
            (S, "HEADERS", 90, 66_025),
        ]
    );
}
