//! Order, linger, windows, the ways to begin and to end.

use super::context;
use crate::connection::ConnectionEnd;
use crate::event::Timestamp;
use crate::frame::{DataHead, DataPiece, ErrorCode, Frame, FrameKind, Step, StreamId};
use crate::limits;
use crate::stream::condition::{Condition, FlowBreach};
use crate::stream::record::{
    Outcome, RequestPhase, ResponsePhase, Seen, StreamEnd, StreamEvent, Tier,
};
use crate::stream::script::*;
use crate::stream::table::PeerSettings;

#[test]
fn of_many_that_ended_in_good_order_the_oldest_leave_early() {
    let mut script = Script::new();
    let ids = (1..).step_by(2).take(limits::LINGERING_STREAMS + 3);
    for id in ids {
        script.request(id).response(id);
    }
    let left: Vec<_> = script.events().into_iter().filter_map(ended).collect();
    let left: Vec<_> = left.iter().map(|r| (r.stream_id.0, r.end)).collect();
    let complete = StreamEnd::Complete;
    assert_eq!(left, [(1, complete), (3, complete), (5, complete)]);
    assert_eq!(script.ended().len(), limits::LINGERING_STREAMS);
}

#[test]
fn what_did_not_end_in_good_order_lingers_however_many_follow() {
    let mut script = Script::new();
    script.request(1).rst(S, 1, ErrorCode::INTERNAL_ERROR);
    for id in (3..).step_by(2).take(limits::LINGERING_STREAMS + 3) {
        script.request(id).response(id);
    }
    let left = script.events().into_iter().filter_map(ended).count();
    assert_eq!(left, 0);
}

#[test]
fn a_finished_stream_lingers_before_it_is_handed_out() {
    let mut script = Script::new();
    script.request(1).response(1);
    let finished = script.now;
    assert_eq!(script.table.live(), 0);
    script
        .table
        .advance(Timestamp(finished + limits::STREAM_LINGER_NS - 1));
    assert!(
        script
            .events()
            .into_iter()
            .filter_map(ended)
            .next()
            .is_none()
    );
    script
        .table
        .advance(Timestamp(finished + limits::STREAM_LINGER_NS));
    let record = script
        .events()
        .into_iter()
        .filter_map(ended)
        .next()
        .unwrap();
    assert_eq!(record.last_at, Timestamp(finished));
}

#[test]
fn the_response_may_be_recorded_before_the_request() {
    for late in [false, true] {
        let mut script = if late { Script::late() } else { Script::new() };
        script.response(1).request(1);
        let record = script.one();
        assert!(record.beginning_seen && record.whole);
        assert_eq!(
            (record.end, record.outcome),
            (StreamEnd::Complete, Outcome::Ok)
        );
        assert_eq!((record.tier, record.grpc), (Tier::T1, Seen::Value(())));
        assert_eq!(record.path.as_deref(), Some("/test.Test/Call"));
        assert_eq!(record.request_phase, Some(RequestPhase::Q2));
        assert_eq!(record.response.messages.complete, 1);
        assert!(record.first_at < record.request.headers_at.unwrap());
    }
}

#[test]
fn a_lower_id_may_be_opened_after_a_higher_one_was_answered() {
    let mut script = Script::new();
    script.response(9).request(7).request(9).response(7);
    let ids: Vec<_> = script
        .ended()
        .iter()
        .map(|r| (r.stream_id.0, r.outcome))
        .collect();
    assert_eq!(ids, [(9, Outcome::Ok), (7, Outcome::Ok)]);
}

#[test]
fn a_reset_recorded_before_the_request_knows_how_far_the_request_was() {
    let mut script = Script::new();
    script.rst(S, 1, ErrorCode::REFUSED_STREAM);
    // One call of the client: HEADERS and message, recorded a moment later.
    let at = context(script.now + MS);
    let frame = Frame::Headers {
        stream_id: StreamId(1),
        end_stream: false,
        priority: None,
        block: grpc_request().into(),
    };
    script.table.step(
        C,
        &Step::Frame {
            len: 0,
            flags: 0,
            frame,
        },
        at,
    );
    let head = DataHead {
        stream_id: StreamId(1),
        flow_len: 16,
        end_stream: true,
        padded: false,
    };
    let piece = DataPiece::copy_of(&message(11));
    script.table.step(C, &Step::DataBegin(head), at);
    script.table.step(
        C,
        &Step::DataBody {
            stream_id: StreamId(1),
            piece,
        },
        at,
    );
    script.table.step(C, &Step::DataEnd(head), at);
    let record = script.one();
    assert!(record.beginning_seen);
    assert_eq!(
        (record.outcome, record.end),
        (Outcome::Refused, StreamEnd::Reset)
    );
    assert_eq!(record.resets[0].request_phase, Some(RequestPhase::Q2));
    assert_eq!(record.resets[0].response_phase, Some(ResponsePhase::R0));
}

#[test]
fn an_answer_that_crosses_the_clients_reset_breaks_no_rule() {
    let mut script = Script::new();
    script
        .request(1)
        .rst(C, 1, ErrorCode::CANCEL)
        .headers(S, 1, grpc_response(), false)
        .data(S, 1, &message(10), false);
    let record = script.one();
    assert_eq!(record.outcome, Outcome::Cancelled);
    assert_eq!(record.conduct.offence, None);
}

#[test]
fn a_loss_among_what_crosses_the_clients_reset_is_noted() {
    let mut script = Script::at(Some(S), true);
    script
        .request(1)
        .rst(C, 1, ErrorCode::CANCEL)
        .headers(S, 1, grpc_response(), false)
        .gap(S)
        .headers(S, 1, trailers("0"), true);
    assert!(!script.one().whole);
}

#[test]
fn a_stream_that_was_answered_and_never_opened_was_not_seen_whole() {
    let mut script = Script::new();
    script.rst(S, 1, ErrorCode::NO_ERROR);
    assert!(!script.one().whole);
}

#[test]
fn at_the_servers_end_a_send_may_be_recorded_after_the_reset_that_it_caused() {
    for (role, outcome, phase) in [
        (Some(S), Outcome::Ok, ResponsePhase::R3),
        // The client's own end: what comes after its reset does not turn a cancel into a success.
        (Some(C), Outcome::Cancelled, ResponsePhase::R1),
        (None, Outcome::Cancelled, ResponsePhase::R1),
    ] {
        let mut script = Script::at(role, true);
        script
            .request(1)
            .headers(S, 1, grpc_response(), false)
            .rst(C, 1, ErrorCode::CANCEL);
        script
            .data(S, 1, &message(10), false)
            .headers(S, 1, trailers("0"), true);
        let record = script.one();
        assert_eq!(record.outcome, outcome, "{role:?}");
        assert_eq!(record.response_phase, Some(phase));
        assert_eq!(record.resets[0].response_phase, Some(phase));
    }
}

#[test]
fn a_response_that_goes_on_long_after_the_reset_was_cancelled() {
    let mut script = Script::at(Some(S), true);
    script
        .request(1)
        .headers(S, 1, grpc_response(), false)
        .rst(C, 1, ErrorCode::CANCEL);
    script
        .wait_ms(50)
        .data(S, 1, &message(10), false)
        .headers(S, 1, trailers("0"), true);
    assert_eq!(script.one().outcome, Outcome::Cancelled);
}

#[test]
fn a_frame_long_after_the_end_makes_no_new_stream() {
    for late in [false, true] {
        let mut script = if late { Script::late() } else { Script::new() };
        script
            .open_request(1)
            .response(1)
            .rst(S, 1, ErrorCode::NO_ERROR);
        assert_eq!(script.ended().len(), 1);
        script
            .wait_ms(10_000)
            .data(C, 1, &[], true)
            .rst(C, 1, ErrorCode::CANCEL);
        script.window_update(C, 1, 5);
        assert!(script.settled().is_empty(), "late: {late}");
    }
}

#[test]
fn data_of_a_stream_that_is_over_still_uses_the_connections_window() {
    let mut script = Script::new();
    script.request(1).rst(C, 1, ErrorCode::CANCEL);
    script.ended();
    script
        .data(S, 1, &message(995), false)
        .request(3)
        .response(3);
    let record = script.one();
    assert_eq!(
        record.response.windows_at_end.connection,
        Some(65_535 - 1000 - 105)
    );
}

#[test]
fn a_connection_upgraded_from_http_1_has_stream_1() {
    let mut script = Script::new();
    let headers = [
        ("Host".to_owned(), "a".to_owned()),
        ("Authorization".to_owned(), "hunter2".to_owned()),
        ("User-Agent".to_owned(), "curl".to_owned()),
    ];
    script.table.upgraded("/x?y", &headers, context(script.now));
    script
        .headers(S, 1, block(&[(":status", "200")]), false)
        .data(S, 1, b"hello", true);
    let record = script.one();
    assert!(record.beginning_seen);
    assert_eq!(record.path.as_deref(), Some("/x"));
    assert_eq!((record.outcome, record.grpc), (Outcome::Ok, Seen::Absent));
    assert_eq!(record.request_phase, Some(RequestPhase::Q2));
    assert_eq!(record.shown.get("user-agent"), Some("curl"));
    assert!(!format!("{record:?}").contains("hunter2"));
}

#[test]
fn a_pushed_stream_has_its_request_from_the_promise() {
    let mut script = Script::new();
    script.request(1);
    let block_of = block(&[(":method", "GET"), (":path", "/style.css")]);
    let promise = Frame::PushPromise {
        stream_id: StreamId(1),
        promised: StreamId(2),
        block: block_of.into(),
    };
    script.frame(S, promise).response(1);
    script
        .headers(S, 2, block(&[(":status", "200")]), false)
        .data(S, 2, b"a{}", true);
    let ended = script.ended();
    let pushed = ended.iter().find(|r| r.stream_id == StreamId(2)).unwrap();
    assert!(pushed.pushed && pushed.beginning_seen);
    assert_eq!(pushed.path.as_deref(), Some("/style.css"));
    assert_eq!(
        (pushed.outcome, pushed.end),
        (Outcome::Ok, StreamEnd::Complete)
    );
    assert_eq!(
        (
            pushed.story.moments()[0].frame,
            pushed.story.moments()[0].sender
        ),
        (FrameKind::PushPromise, S)
    );
    assert_eq!(ended.len(), 2);
}

#[test]
fn settings_are_told_as_announced() {
    let mut script = Script::new();
    assert_eq!(script.table.settings(C), PeerSettings::default());
    script.settings(
        C,
        &[
            (1, 0),
            (3, 100),
            (4, 10),
            (5, 20_000),
            (2, 0),
            (8, 1),
            (99, 1),
        ],
    );
    script.settings(C, &[(3, 200)]);
    let want = PeerSettings {
        header_table_size: Some(0),
        initial_window_size: Some(10),
        max_frame_size: Some(20_000),
        max_concurrent_streams: Some(200),
        max_header_list_size: None,
        enable_connect_protocol: Some(1),
    };
    assert_eq!(script.table.settings(C), want);
    assert_eq!(script.table.settings(S), PeerSettings::default());
}

/// One frame may say the initial window thousands of times: what counts is the last one, and whether a window was too
/// large on the way.
#[test]
fn a_window_that_is_said_several_times_in_one_frame_is_the_last_one() {
    let mut script = Script::new();
    script.request(1).headers(S, 1, grpc_response(), false);
    script.settings(C, &[(4, 100), (4, 70_000), (4, 60_000)]);
    script.rst(C, 1, ErrorCode::CANCEL);
    let record = script.one();
    assert_eq!(record.resets[0].response_windows.stream, Some(60_000));

    let mut script = Script::new();
    script.window_update(C, 0, 10);
    script.request(1).window_update(C, 1, 0x7fff_0000);
    script.settings(C, &[(4, 0x7fff_ffff), (4, 65_535)]);
    script.wait_ms(10_000);
    let told = script.settled().into_iter().any(|event| {
        matches!(event, StreamEvent::Condition(report) if matches!(report.what, Condition::Fault(fault) if fault.breach == FlowBreach::TooLarge))
    });
    assert!(told);
}

#[test]
fn windows_are_those_of_the_moment() {
    let mut script = Script::new();
    script
        .settings(C, &[(4, 200)])
        .request(1)
        .headers(S, 1, grpc_response(), false);
    script
        .data(S, 1, &message(95), false)
        .rst(S, 1, ErrorCode::NO_ERROR);
    script
        .request(3)
        .response(3)
        .window_update(C, 0, 1000)
        .settings(C, &[(4, 5000)]);
    let ended = script.ended();
    let at_reset = ended[0].resets[0].response_windows;
    assert_eq!(
        (at_reset.stream, at_reset.connection),
        (Some(100), Some(65_535 - 100))
    );
    assert_eq!(ended[0].response.windows_at_end, at_reset);
    let at_end = ended[1].response.windows_at_end;
    assert_eq!(
        (at_end.stream, at_end.connection),
        (Some(95), Some(65_535 - 205))
    );
}

#[test]
fn a_data_frame_that_is_cut_is_counted_as_far_as_it_came() {
    let mut script = Script::new();
    script.request(1).headers(S, 1, grpc_response(), false);
    let head = DataHead {
        stream_id: StreamId(1),
        flow_len: 105,
        end_stream: true,
        padded: false,
    };
    let piece = DataPiece::copy_of(&message(100)[..20]);
    script.step(S, &Step::DataBegin(head)).step(
        S,
        &Step::DataBody {
            stream_id: StreamId(1),
            piece,
        },
    );
    script.close(ConnectionEnd::PeerReset);
    let record = script.one();
    assert_eq!(
        (record.outcome, record.response_phase),
        (Outcome::ConnectionLost, Some(ResponsePhase::Rm))
    );
    let story = record.story.moments();
    let last = story.last().unwrap();
    assert_eq!(
        (last.frame, last.bytes, last.end_stream),
        (FrameKind::Data, 20, false)
    );
    assert_eq!(last.note, "frame not whole, message 100 bytes");
}

#[test]
fn a_broken_rule_is_noted_and_tolerated() {
    let mut script = Script::new();
    script.request(1).headers(S, 1, grpc_response(), false);
    script
        .headers(S, 1, block(&[("x", "y")]), false)
        .data(S, 1, &message(3), false);
    script
        .headers(S, 1, trailers("0"), true)
        .data(C, 1, &message(3), false);
    let record = script.one();
    assert_eq!(record.outcome, Outcome::Ok);
    let story = record.story.moments();
    let notes: Vec<_> = story.iter().map(|m| m.note.as_str()).collect();
    assert!(
        notes
            .iter()
            .any(|note| note.contains("trailers without END_STREAM")),
        "{notes:?}"
    );
}

#[test]
fn an_answered_stream_ends_with_its_connection() {
    let mut script = Script::new();
    script
        .open_request(1)
        .response(1)
        .close(ConnectionEnd::LocalClose);
    let record = script.one();
    assert_eq!(record.end, StreamEnd::Connection(ConnectionEnd::LocalClose));
    assert_eq!(
        (record.outcome, record.request_phase),
        (Outcome::Ok, Some(RequestPhase::Q1))
    );
}
