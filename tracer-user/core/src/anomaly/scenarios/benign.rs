//! Scenarios that must not be flagged.

use bytes::Bytes;

use super::judge;
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::ConnectionEnd;
use crate::frame::{DataPiece, ErrorCode, Frame, FrameKind, Step, StreamId};
use crate::stream::record::{
    EndStreamOn, Outcome, RequestPhase, ResponsePhase, Seen, StreamEnd, StreamEvent, Tier,
};
use crate::stream::script::*;

use RequestPhase::Q2;
use ResponsePhase::{R0, R3};
use Verdict::{Benign, Expected};

#[test]
fn scenario_01_a_unary_call_is_ok() {
    let mut script = Script::new();
    script.request(1).response(1);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);
    let stream = judged.stream();
    assert_eq!(stream.end, StreamEnd::Complete);
    assert_eq!(
        (stream.request_phase, stream.response_phase),
        (Some(Q2), Some(R3))
    );
    assert_eq!(
        (stream.trailers, stream.grpc_status),
        (Seen::Value(()), Seen::Value(0))
    );
    assert_eq!(
        (stream.request.data_bytes, stream.response.data_bytes),
        (16, 105)
    );
    assert_eq!(
        (
            stream.request.messages.complete,
            stream.response.messages.complete
        ),
        (1, 1)
    );
    assert_eq!(stream.response.end_stream_on, Some(EndStreamOn::Trailers));
    assert_eq!(stream.path.as_deref(), Some("/test.Test/Call"));
    assert_eq!(stream.tier, Tier::T1);
    let told: Vec<_> = stream
        .story
        .iter()
        .map(|m| (m.sender, m.frame, m.note.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (C, FrameKind::Headers, "/test.Test/Call"),
            (C, FrameKind::Data, "message 11 bytes"),
            (S, FrameKind::Headers, ":status 200"),
            (S, FrameKind::Data, "message 100 bytes"),
            (S, FrameKind::Headers, "trailers grpc-status 0"),
        ]
    );
}

#[test]
fn scenario_02_a_late_end_stream_on_an_empty_data_frame_is_ok() {
    let mut script = Script::new();
    script.open_request(1).data(C, 1, &[], true).response(1);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);
    assert_eq!(judged.stream().end, StreamEnd::Complete);
}

#[test]
fn scenario_02_end_stream_may_come_after_the_response() {
    let mut script = Script::new();
    script
        .open_request(1)
        .response(1)
        .wait_ms(5000)
        .data(C, 1, &[], true);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);
    assert_eq!(judged.stream().end, StreamEnd::Complete);
}

#[test]
fn scenario_08_trailers_only_with_an_error_is_an_error_status() {
    let mut script = Script::new();
    let only = block(&[
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "5"),
    ]);
    script.request(1).headers(S, 1, only, true);
    let judged = judge(&mut script);
    judged.nothing(Outcome::ErrorStatus);
    let stream = judged.stream();
    assert!(stream.trailers_only);
    assert_eq!(
        (stream.trailers, stream.grpc_status),
        (Seen::Value(()), Seen::Value(5))
    );
    assert_eq!(stream.response.end_stream_on, Some(EndStreamOn::Headers));
}

#[test]
fn scenario_09_informational_headers_are_not_the_response() {
    let mut script = Script::new();
    script.request(1);
    script.headers(S, 1, block(&[(":status", "103")]), false);
    script
        .headers(S, 1, block(&[(":status", "100")]), false)
        .response(1);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);
    assert_eq!(judged.stream().http_status, Seen::Value(200));

    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, block(&[(":status", "103")]), false);
    script.rst(C, 1, ErrorCode::CANCEL);
    assert_eq!(judge(&mut script).stream().response_phase, Some(R0));
}

#[test]
fn scenario_10_an_idle_bidi_stream_is_ok() {
    let mut script = Script::new();
    script.open_request(1).headers(S, 1, grpc_response(), false);
    for _ in 0..30 {
        script.wait_ms(60_000).ping(C, false).ping(S, true);
    }
    assert_eq!(script.table.live(), 1);
    assert!(judge(&mut script).streams.is_empty());
    script
        .data(S, 1, &message(3), false)
        .headers(S, 1, trailers("0"), true)
        .data(C, 1, &[], true);
    judge(&mut script).nothing(Outcome::Ok);
    assert_eq!(script.table.live(), 0);
}

#[test]
fn scenario_11_a_graceful_go_away_is_benign() {
    let mut script = Script::new();
    script.request(1).request(3);
    script
        .go_away(S, 0x7fff_ffff, ErrorCode::NO_ERROR, "max_age")
        .ping(S, false)
        .ping(C, true);
    script.go_away(S, 3, ErrorCode::NO_ERROR, "max_age");
    script.response(1).response(3).close(ConnectionEnd::PeerFin);
    let judged = judge(&mut script);
    assert_eq!(judged.findings.len(), 1, "{:#?}", judged.findings);
    assert_eq!(judged.n(Kind::GracefulGoAway, Benign), 1);
    assert!(judged.findings[0].summary.contains("max_age"));
    assert!(
        judged
            .streams
            .iter()
            .all(|stream| stream.outcome == Outcome::Ok)
    );
    assert_eq!(judged.streams.len(), 2);
}

#[test]
fn scenario_12_a_stream_above_the_last_id_is_unprocessed() {
    let mut script = Script::new();
    script.request(1).request(3);
    script
        .go_away(S, 0x7fff_ffff, ErrorCode::NO_ERROR, "")
        .go_away(S, 1, ErrorCode::NO_ERROR, "");
    // One more that was in flight.
    script.request(5).response(1);
    let judged = judge(&mut script);
    assert_eq!(
        judged.n(Kind::StreamUnprocessed, Expected),
        2,
        "{:#?}",
        judged.findings
    );
    assert_eq!(judged.trouble(), []);
    // The drain itself, once, and the two streams: the server's, safe to retry.
    assert_eq!(judged.n(Kind::GracefulGoAway, Benign), 1);
    assert_eq!(judged.findings.len(), 3);
    for finding in &judged.findings {
        assert_eq!(finding.sender, Some(S));
        if finding.kind == Kind::StreamUnprocessed {
            assert_eq!(
                (finding.request_phase, finding.response_phase),
                (Some(Q2), Some(R0))
            );
            assert_eq!(finding.tier, Tier::T1);
        }
    }
    let outcomes: Vec<_> = judged
        .streams
        .iter()
        .map(|s| (s.stream_id.0, s.outcome))
        .collect();
    assert!(outcomes.contains(&(1, Outcome::Ok)));
    assert!(
        outcomes.contains(&(3, Outcome::Unprocessed))
            && outcomes.contains(&(5, Outcome::Unprocessed))
    );
}

#[test]
fn scenario_13_padding_and_split_prefixes_are_counted_exactly() {
    let mut script = Script::new();
    script
        .settings(C, &[(0x4, 1_000)])
        .request(1)
        .headers(S, 1, grpc_response(), false);
    // Padded: 9 bytes of padding that flow control counts, and the data does not.
    let body = message(100);
    script.pieces(
        S,
        1,
        &[DataPiece::Bytes(Bytes::copy_from_slice(&body[..1]))],
        10,
        false,
    );
    script.pieces(
        S,
        1,
        &[DataPiece::Bytes(Bytes::copy_from_slice(&body[1..5]))],
        4,
        false,
    );
    script.pieces(
        S,
        1,
        &[DataPiece::Hole(60), DataPiece::Hole(40)],
        100,
        false,
    );
    script.headers(S, 1, trailers("0"), true);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);
    let response = &judged.stream().response;
    assert_eq!(
        (
            response.data_bytes,
            response.data_frames,
            response.data_known
        ),
        (105, 3, true)
    );
    assert_eq!(
        (response.messages.complete, &response.messages.sizes[..]),
        (1, &[100][..])
    );
    assert_eq!(response.windows_at_end.stream, Some(1_000 - 114));
    assert_eq!(response.windows_at_end.connection, Some(65_535 - 114));
}

#[test]
fn scenario_14_empty_data_and_foreign_frames_are_ignored() {
    let mut script = Script::new();
    let id = StreamId(1);
    script.request(1).headers(S, 1, grpc_response(), false);
    script.data(S, 1, &[], false).data(S, 1, &[], false);
    let priority = crate::frame::Priority {
        exclusive: false,
        depends_on: StreamId(0),
        weight: 1,
    };
    script.frame(
        C,
        Frame::Priority {
            stream_id: StreamId(99),
            priority,
        },
    );
    script.frame(
        C,
        Frame::PriorityUpdate {
            stream_id: StreamId(77),
        },
    );
    script.frame(
        S,
        Frame::Unknown {
            frame_type: 0xbe,
            stream_id: id,
            len: 7,
        },
    );
    script.step(C, &Step::Preface).frame(S, Frame::SettingsAck);
    script
        .data(S, 1, &message(5), false)
        .headers(S, 1, trailers("0"), true);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);
    assert_eq!(judged.streams.len(), 1);
}

#[test]
fn scenario_15_a_window_may_become_negative() {
    let mut script = Script::new();
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(1000), false);
    script.settings(C, &[(0x4, 100)]);
    script
        .window_update(C, 1, 10_000)
        .headers(S, 1, trailers("0"), true);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);
    let update = judged
        .stream()
        .story
        .iter()
        .find(|m| m.frame == FrameKind::WindowUpdate)
        .unwrap();
    assert_eq!(update.note, "+10000");
    let windows = judged.stream().response.windows_at_end;
    assert_eq!(windows.stream, Some(100 - 1005 + 10_000));
    assert_eq!(windows.connection, Some(65_535 - 1005));
}

#[test]
fn scenario_16_an_exhausted_window_that_is_refilled_is_ok() {
    let mut script = Script::new();
    script.request(1).headers(S, 1, grpc_response(), false);
    let body = message(65_536);
    script.data(S, 1, &body[..65_535], false).wait_ms(200);
    script
        .window_update(C, 0, 65_535)
        .window_update(C, 1, 65_535);
    script
        .pieces(S, 1, &[DataPiece::Hole(6)], 6, false)
        .headers(S, 1, trailers("0"), true);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);
    let zero = judged
        .stream()
        .story
        .iter()
        .find(|m| m.frame == FrameKind::Data && m.sender == S)
        .unwrap();
    assert_eq!(
        (zero.windows.stream, zero.windows.connection),
        (Some(0), Some(0))
    );
}

#[test]
fn scenario_17_grpc_rules_are_for_grpc_only() {
    let get = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ]);
    let page = block(&[
        (":status", "200"),
        ("content-type", "text/html; charset=utf-8"),
    ]);
    let mut script = Script::new();
    script
        .headers(C, 1, get, true)
        .headers(S, 1, page, false)
        .data(S, 1, b"<html>", true);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);
    let stream = judged.stream();
    assert_eq!((stream.grpc, stream.trailers), (Seen::Absent, Seen::Absent));
    assert_eq!(stream.response_content_type.as_deref(), Some("text/html"));
    assert!(!stream.response.messages.known);

    let connect = block(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
    ]);
    let mut script = Script::new();
    script
        .headers(C, 1, connect, false)
        .headers(S, 1, block(&[(":status", "200")]), false);
    script
        .data(C, 1, b"\x81\x05hello", false)
        .data(S, 1, b"\x81\x05hello", true)
        .data(C, 1, &[], true);
    judge(&mut script).nothing(Outcome::Ok);

    // A tunnel of RFC 9113 section 8.5: bytes of anything.
    let tunnel = block(&[(":method", "CONNECT"), (":authority", "db:5432")]);
    let mut script = Script::new();
    script
        .headers(C, 1, tunnel, false)
        .headers(S, 1, block(&[(":status", "200")]), false);
    script
        .data(C, 1, b"\x16\x03\x01\x02\x00", true)
        .data(S, 1, b"\x00\x00\x00\x00\xff", true);
    judge(&mut script).nothing(Outcome::Ok);

    let web = |fields: &[(&str, &str)]| {
        let mut block = block(fields);
        block.fields.extend(
            crate::stream::script::block(&[("content-type", "application/grpc-web+proto")]).fields,
        );
        block
    };
    let mut script = Script::new();
    script.headers(
        C,
        1,
        web(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/a.B/C"),
        ]),
        false,
    );
    script
        .data(C, 1, &message(3), true)
        .headers(S, 1, web(&[(":status", "200")]), false);
    script.data(S, 1, &[0x80, 0, 0, 0, 15, b'g'], true);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);
    assert!(judged.stream().grpc_web);
}

#[test]
fn scenario_21_closing_an_idle_connection_is_ok() {
    for why in [
        ConnectionEnd::LocalClose,
        ConnectionEnd::PeerFin,
        ConnectionEnd::PeerReset,
    ] {
        let mut script = Script::new();
        script.request(1).response(1).close(why);
        let events = script.settled();
        let closed = events.iter().find_map(|event| match event {
            StreamEvent::ConnectionEnded { open_streams, .. } => Some(*open_streams),
            _ => None,
        });
        assert_eq!(closed, Some(0));
        let mut rules = crate::anomaly::Rules::new();
        assert!(events.iter().all(|event| rules.judge(event).is_empty()));
        assert!(matches!(
            events.last(),
            Some(StreamEvent::ConnectionEnded { .. })
        ));
    }
}

#[test]
fn scenario_24_continuations_are_part_of_the_headers() {
    let mut script = Script::new();
    let mut large = grpc_request();
    large.n_frames = 4;
    script
        .headers(C, 1, large, false)
        .data(C, 1, &message(11), true)
        .response(1);
    judge(&mut script).nothing(Outcome::Ok);
}

#[test]
fn scenario_25_ids_may_be_skipped() {
    let mut script = Script::new();
    for id in [1, 3, 9] {
        script.request(id).response(id);
    }
    let judged = judge(&mut script);
    judged.nothing(Outcome::Ok);
    assert_eq!(judged.streams.len(), 3);
}
