//! What is against the rules of flow control, and what only looks so.

use super::{Judged, is, judge};
use crate::anomaly::kind::{Kind, Verdict};
use crate::frame::{ErrorCode, Frame, FrameKind};
use crate::stream::condition::CROSSING_GRACE_NS;
use crate::stream::record::{Outcome, RequestPhase, ResponsePhase, Tier};
use crate::stream::script::*;

use RequestPhase::Q2;
use ResponsePhase::{R0, Rb};
use Verdict::Anomaly;

const GRACE_MS: u64 = CROSSING_GRACE_NS / MS;
const MIB: u32 = 1 << 20;

fn kinds(judged: &Judged) -> Vec<(Kind, Verdict)> {
    judged
        .findings
        .iter()
        .map(|f| (f.kind, f.verdict))
        .collect()
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
            (C, FrameKind::Headers, 1_000, 65_535),
            (C, FrameKind::Data, 900, 65_435),
            (S, FrameKind::Headers, 2_000, 65_535),
            (S, FrameKind::Data, 1_500, 65_035),
            (S, FrameKind::WindowUpdate, 1_500, 65_035),
            (C, FrameKind::Data, 940, 65_432),
            (C, FrameKind::WindowUpdate, 940, 65_432),
            (S, FrameKind::Data, 90, 66_025),
            (S, FrameKind::Headers, 90, 66_025),
        ]
    );
}
