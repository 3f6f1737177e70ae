//! Late attach, gaps, bounds.

use super::context;
use crate::connection::ConnectionEnd;
use crate::event::Timestamp;
use crate::frame::{DataPiece, ErrorCode, Fault, Frame, Step, StreamId};
use crate::limits::{self, Limit};
use crate::stream::record::{
    Outcome, RequestPhase, ResponsePhase, Seen, StreamEnd, StreamEvent, Windows,
};
use crate::stream::script::*;

#[test]
fn attached_late_a_stream_without_its_beginning_is_followed_to_its_end() {
    let mut script = Script::late();
    script.pieces(S, 41, &[DataPiece::Hole(1000)], 1000, false);
    assert_eq!(script.table.live(), 1);
    script.headers(S, 41, trailers("0"), true);
    let record = script.one();
    assert_eq!(
        (record.end, record.outcome),
        (StreamEnd::Complete, Outcome::Ok)
    );
    assert!(
        !record.beginning_seen && !record.response.data_known && !record.response.messages.known
    );
    assert_eq!(record.response.windows_at_end, Windows::default());
    assert_eq!(record.http_status, Seen::Unknown);
}

#[test]
fn attached_late_a_request_that_goes_on_keeps_the_stream_open() {
    let mut script = Script::late();
    script
        .headers(S, 41, trailers("0"), true)
        .data(C, 41, &message(3), false);
    assert!(script.ended().is_empty());
    assert_eq!(script.table.live(), 1);
    script.data(C, 41, &[], true);
    assert_eq!(script.one().end, StreamEnd::Complete);
}

#[test]
fn attached_late_windows_of_new_streams_need_the_peers_settings() {
    let mut script = Script::late();
    script.request(101).response(101);
    assert_eq!(script.one().response.windows_at_end, Windows::default());
    script
        .settings(C, &[(0x4, 1000)])
        .request(103)
        .response(103);
    let windows = script.one().response.windows_at_end;
    assert_eq!(
        (windows.stream, windows.connection),
        (Some(1000 - 105), None)
    );
}

#[test]
fn trailers_of_the_client_do_not_open_a_stream() {
    let mut script = Script::late();
    script
        .headers(C, 301, grpc_request(), true)
        .headers(S, 301, trailers("0"), true);
    script.headers(C, 41, block(&[("x-checksum", "1")]), true);
    let open = script.events().len();
    assert!(open > 0);
    script.close(ConnectionEnd::PeerFin);
    let record = script
        .ended()
        .into_iter()
        .find(|r| r.stream_id.0 == 41)
        .unwrap();
    assert!(!record.beginning_seen);
    assert_eq!(
        (record.end, record.request_phase),
        (StreamEnd::Unseen, Some(RequestPhase::Q2))
    );
}

#[test]
fn after_a_gap_a_silent_stream_is_given_up_and_a_live_one_is_not() {
    let mut script = Script::new();
    script
        .open_request(1)
        .open_request(3)
        .gap(S)
        .headers(S, 3, grpc_response(), false);
    script
        .wait_ms(limits::STREAM_DOUBT_NS / MS + 2000)
        .ping(C, false);
    let given_up = script.one();
    assert_eq!(given_up.stream_id, StreamId(1));
    assert_eq!(
        (given_up.end, given_up.outcome),
        (StreamEnd::Unseen, Outcome::Unknown)
    );
    assert_eq!(script.table.live(), 1);
    script
        .data(S, 3, &message(3), false)
        .headers(S, 3, trailers("0"), true)
        .data(C, 3, &[], true);
    let record = script.one();
    assert_eq!((record.outcome, record.whole), (Outcome::Ok, false));
}

#[test]
fn a_place_that_is_lost_again_and_again_costs_no_more_with_more_streams() {
    let mut script = Script::new();
    for n in 0..2_000 {
        script.open_request(2 * n + 1);
    }
    let after_one_loss = 2 * 2_000;
    for n in 0..500 {
        script
            .gap(S)
            .gap(C)
            .headers(S, 2 * n + 1, grpc_response(), false);
    }
    let steps = script.table.n_lost();
    assert!(steps < after_one_loss + 2 * 500, "{steps}");
    // Each stream that spoke after a loss was told of the next one, and no other is given up before its time.
    let record = script
        .headers(S, 1, trailers("0"), true)
        .data(C, 1, &[], true)
        .one();
    assert!(!record.whole);
    script
        .wait_ms(limits::STREAM_DOUBT_NS / MS - 2000)
        .ping(C, false);
    assert!(script.ended().is_empty());
    script.wait_ms(4000).ping(C, false);
    // All but the one that spoke last.
    assert_eq!(script.ended().len(), 1_998);
}

#[test]
fn a_gap_hides_the_response_that_may_have_come() {
    let mut script = Script::new();
    script.request(1).gap(S).rst(C, 1, ErrorCode::CANCEL);
    let record = script.one();
    assert_eq!(
        (record.response_phase, record.trailers),
        (None, Seen::Unknown)
    );
    assert_eq!(record.outcome, Outcome::Unknown);
}

#[test]
fn only_a_fault_that_may_hide_frames_is_a_gap() {
    for (fault, hides_frames, hides_windows) in [
        (Fault::Gap, true, true),
        (Fault::Implausible, true, true),
        (Fault::HoleInFrame, false, true),
        (Fault::Limit(Limit::FramePayload), false, true),
        (Fault::HeaderBlockLost, false, false),
        (Fault::Limit(Limit::HpackTable), false, false),
    ] {
        let mut script = Script::new();
        script.request(1).step(C, &Step::Fault(fault)).response(1);
        let record = script.one();
        assert_eq!(record.whole, !hides_frames, "{fault:?}");
        assert_eq!(record.outcome, Outcome::Ok);
        assert_eq!(
            record.response.windows_at_end.stream.is_none(),
            hides_windows,
            "{fault:?}"
        );
        assert_eq!(
            record.response.windows_at_end.connection.is_none(),
            hides_windows
        );
        assert_eq!(
            record.request.windows_at_end.connection.is_none(),
            hides_frames
        );
    }
}

#[test]
fn ending_the_trace_leaves_open_streams_unknown() {
    let mut script = Script::new();
    script
        .request(1)
        .response(1)
        .request(3)
        .headers(S, 3, grpc_response(), false);
    script.table.trace_ended(Timestamp(script.now));
    let ended: Vec<_> = script.ended();
    let ends: Vec<_> = ended
        .iter()
        .map(|r| (r.stream_id.0, r.end, r.outcome))
        .collect();
    assert_eq!(
        ends,
        [
            (1, StreamEnd::Complete, Outcome::Ok),
            (3, StreamEnd::Unseen, Outcome::Unknown)
        ]
    );
    assert_eq!(ended[1].trailers, Seen::Unknown);
    // Nothing comes after the end.
    script.request(5);
    assert!(script.settled().is_empty());
}

#[test]
fn streams_are_bounded_and_eviction_is_not_ok() {
    let mut script = Script::new();
    let n = u32::try_from(limits::STREAMS_PER_CONNECTION).unwrap();
    script.request(1).response(1);
    for nth in 1..=n + 9 {
        script.headers(C, 2 * nth + 1, grpc_request(), true);
    }
    let events = script.events();
    let n_limits = events
        .iter()
        .filter(|event| matches!(event, StreamEvent::Limit(Limit::StreamsPerConnection)))
        .count();
    let ended: Vec<_> = events.into_iter().filter_map(ended).collect();
    // The finished one goes first, with its own verdict, and only then the oldest.
    assert_eq!((ended[0].stream_id.0, ended[0].outcome), (1, Outcome::Ok));
    assert!(
        ended[1..]
            .iter()
            .all(|r| r.end == StreamEnd::Evicted && r.outcome == Outcome::Unknown)
    );
    assert_eq!(ended[1].stream_id.0, 3);
    assert!(n_limits >= 9);
    assert_eq!(script.table.live(), limits::STREAMS_PER_CONNECTION);
}

#[test]
fn rapid_resets_are_all_handed_out() {
    let mut script = Script::new();
    let n = 3 * u32::try_from(limits::STREAMS_PER_CONNECTION).unwrap();
    let mut n_ended = 0;
    for nth in 0..n {
        // All within one linger.
        let at = context(script.now + u64::from(nth));
        let stream_id = StreamId(2 * nth + 1);
        let headers = Frame::Headers {
            stream_id,
            end_stream: true,
            priority: None,
            block: grpc_request().into(),
        };
        let reset = Frame::RstStream {
            stream_id,
            code: ErrorCode::CANCEL,
        };
        for frame in [headers, reset] {
            script.table.step(
                C,
                &Step::Frame {
                    len: 0,
                    flags: 0,
                    frame,
                },
                at,
            );
        }
        n_ended += script.events().into_iter().filter_map(ended).count();
    }
    script.now += u64::from(n);
    n_ended += script.ended().len();
    assert_eq!(n_ended, n as usize);
}

#[test]
fn a_message_in_a_hole_makes_messages_unknown_and_the_phase_still_counts() {
    let mut script = Script::new();
    script.request(1).headers(S, 1, grpc_response(), false);
    // A message of 10 bytes, and the next one's prefix in the hole.
    let first = message(10);
    let bytes = DataPiece::copy_of(&first[..5]);
    script
        .pieces(S, 1, &[bytes, DataPiece::Hole(100)], 105, false)
        .rst(S, 1, ErrorCode::NO_ERROR);
    let record = script.one();
    assert_eq!(record.response_phase, Some(ResponsePhase::Rb));
    let messages = &record.response.messages;
    assert_eq!(
        (messages.complete, messages.known, messages.open),
        (1, false, None)
    );
    assert_eq!(record.response.data_bytes, 105);
}
