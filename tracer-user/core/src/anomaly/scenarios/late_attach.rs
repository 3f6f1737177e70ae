//! What can't be seen is unknown, never an anomaly.

use proptest::prelude::*;

use super::{Part, judge, judge_with};
use crate::anomaly::Rules;
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::ConnectionEnd;
use crate::frame::{DataPiece, ErrorCode};
use crate::stream::record::{Outcome, ResponsePhase, Seen, StreamEnd, Tier};
use crate::stream::script::*;

use Verdict::{Anomaly, Benign, Unknown};

#[test]
fn scenario_18_unreadable_trailers_are_a_complete_response_of_unknown_status() {
    let mut script = Script::late();
    script.pieces(S, 425, &[DataPiece::Hole(5000)], 5000, false);
    script
        .headers(S, 425, unseen_block(2), true)
        .rst(S, 425, ErrorCode::NO_ERROR);
    let judged = judge(&mut script);
    assert_eq!(judged.finding().verdict, Benign);
    let stream = judged.stream();
    assert_eq!(stream.response_phase, Some(ResponsePhase::R3));
    assert_eq!(
        (stream.trailers, stream.grpc_status),
        (Seen::Value(()), Seen::Unknown)
    );
    assert!(!stream.trailers_only && !stream.beginning_seen);
    assert_eq!(
        (stream.outcome, stream.tier),
        (Outcome::CompleteUnknown, Tier::T0)
    );
    assert_eq!(stream.request_phase, None);
}

#[test]
fn scenario_18_a_whole_stream_with_unreadable_fields_is_t0() {
    let mut script = Script::late();
    let mut request = block(&[(":method", "POST"), (":scheme", "http")]);
    request.fields.extend(unseen_block(4).fields);
    request.complete = false;
    let mut response = block(&[(":status", "200")]);
    response.fields.extend(unseen_block(1).fields);
    response.complete = false;
    script
        .headers(C, 7, request, false)
        .data(C, 7, &message(11), true);
    script
        .headers(S, 7, response, false)
        .data(S, 7, &message(100), false);
    script.headers(S, 7, unseen_block(2), true);
    let judged = judge(&mut script);
    judged.nothing(Outcome::CompleteUnknown);
    let stream = judged.stream();
    assert!(stream.beginning_seen && stream.whole);
    assert_eq!(
        (stream.grpc, stream.grpc_status),
        (Seen::Value(()), Seen::Unknown)
    );
    assert_eq!(stream.tier, Tier::T0);
    assert_eq!(stream.response.messages.complete, 1);
}

/// Both HEADERS of a stream whose fields are older than the attach.
fn unreadable_call(script: &mut Script, id: u32) {
    let mut request = block(&[(":method", "POST")]);
    request.complete = false;
    let mut response = block(&[(":status", "200")]);
    response.complete = false;
    script
        .headers(C, id, request, false)
        .data(C, id, &message(11), true);
    script.headers(S, id, response, false);
}

#[test]
fn missing_trailers_and_truncated_messages_are_found_at_t0_too() {
    let whole = message(100);
    for (body, kind) in [
        (&whole[..], Kind::MissingTrailers),
        (&whole[..60], Kind::TruncatedResponse),
    ] {
        let mut script = Script::late();
        unreadable_call(&mut script, 7);
        script.data(S, 7, body, true);
        let judged = judge(&mut script);
        let finding = judged.finding();
        assert_eq!(
            (finding.kind, finding.verdict, finding.tier),
            (kind, Anomaly, Tier::T0)
        );
        assert_eq!(judged.stream().grpc, Seen::Value(()));
    }
}

#[test]
fn what_is_framed_otherwise_is_not_taken_for_grpc() {
    // gRPC-Web and Connect end their responses with a message of another flag; others have no prefix at all.
    for last in [&[0x80, 0, 0, 0, 1, 7][..], &[2, 0, 0, 0, 1, 7], b"<html>"] {
        let mut script = Script::late();
        unreadable_call(&mut script, 7);
        script
            .data(S, 7, &message(100), false)
            .data(S, 7, last, true);
        let judged = judge(&mut script);
        judged.nothing(Outcome::CompleteUnknown);
        assert_eq!(judged.stream().grpc, Seen::Unknown);
    }
}

#[test]
fn a_cut_response_is_exact_at_t0_too() {
    let mut script = Script::late();
    let mut request = block(&[(":method", "POST")]);
    request.complete = false;
    let mut response = block(&[(":status", "200")]);
    response.complete = false;
    script
        .headers(C, 7, request, false)
        .data(C, 7, &message(11), false);
    script
        .headers(S, 7, response, false)
        .data(S, 7, &message(100)[..60], false);
    script.rst(S, 7, ErrorCode::NO_ERROR);
    let judged = judge(&mut script);
    let finding = judged.finding();
    assert_eq!(
        (finding.kind, finding.verdict),
        (Kind::ResponseCutByReset, Anomaly)
    );
    assert_eq!(
        (finding.tier, finding.response_phase),
        (Tier::T0, Some(ResponsePhase::Rm))
    );
    // Windows need the history of the connection.
    assert_eq!(finding.windows.connection, None);
}

#[test]
fn scenario_19_a_gap_yields_no_anomaly() {
    let ends: [Part; 4] = [
        ("reset", |s| {
            s.rst(S, 1, ErrorCode::NO_ERROR);
        }),
        ("data", |s| {
            s.data(S, 1, &[], true);
        }),
        ("trailers", |s| {
            s.headers(S, 1, unseen_block(2), true);
        }),
        ("close", |s| {
            s.close(ConnectionEnd::PeerReset);
        }),
    ];
    for (end, act) in ends {
        for lossy in [C, S] {
            for place in 0..4 {
                let mut script = Script::new();
                let gap = |script: &mut Script, here: i32| {
                    if place == here {
                        script.gap(lossy);
                    }
                };
                script.headers(C, 1, grpc_request(), false);
                gap(&mut script, 0);
                script.data(C, 1, &message(11), true);
                gap(&mut script, 1);
                script.headers(S, 1, grpc_response(), false);
                gap(&mut script, 2);
                script.data(S, 1, &message(100)[..50], false);
                gap(&mut script, 3);
                act(&mut script);
                script.close(ConnectionEnd::PeerReset);
                let judged = judge(&mut script);
                assert!(
                    judged
                        .findings
                        .iter()
                        .all(|finding| finding.verdict <= Unknown),
                    "{end} {lossy} {place}: {:#?}",
                    judged.findings
                );
                assert_eq!(judged.streams.len(), 1);
                assert!(!judged.stream().whole);
            }
        }
    }
}

#[test]
fn a_reset_of_a_stream_never_seen_is_unknown() {
    for (sender, code) in [(S, 0), (S, 8), (S, 7), (C, 8), (C, 0), (C, 2)] {
        let mut script = Script::late();
        script.rst(sender, 57, ErrorCode(code));
        let judged = judge(&mut script);
        assert_eq!(judged.finding().verdict, Unknown, "{sender} {code}");
        let stream = judged.stream();
        assert!(!stream.beginning_seen);
        assert_eq!((stream.request_phase, stream.response_phase), (None, None));
        assert_eq!(stream.trailers, Seen::Unknown);
    }
}

#[test]
fn the_servers_cancel_is_unknown_where_the_timeout_is_unseen() {
    let mut script = Script::late();
    script
        .pieces(S, 9, &[DataPiece::Hole(50)], 50, false)
        .rst(S, 9, ErrorCode::CANCEL);
    let judged = judge(&mut script);
    assert_eq!(judged.finding().verdict, Unknown);
}

#[test]
fn unreadable_trailers_of_the_client_are_no_request() {
    let mut script = Script::late();
    // The answer was complete before the attach.
    script
        .headers(C, 1, unseen_block(2), true)
        .close(ConnectionEnd::PeerFin);
    let judged = judge(&mut script);
    judged.nothing(Outcome::Unknown);
    assert!(!judged.stream().beginning_seen);
}

#[test]
fn a_connection_that_ends_after_a_late_attach_loses_only_what_was_open() {
    let mut script = Script::late();
    // Only the request's end: whether a response had come is unseen.
    script.data(C, 51, &[], true);
    // A response that was going on.
    script.pieces(S, 53, &[DataPiece::Hole(50)], 50, false);
    script.request(101).close(ConnectionEnd::PeerFin);
    let judged = judge(&mut script);
    let ends: Vec<_> = judged
        .streams
        .iter()
        .map(|s| (s.stream_id.0, s.end))
        .collect();
    let lost = StreamEnd::Connection(ConnectionEnd::PeerFin);
    assert_eq!(ends, [(51, StreamEnd::Unseen), (53, lost), (101, lost)]);
    assert_eq!(judged.n(Kind::ConnectionLostStreams, Anomaly), 2);
    assert_eq!(judged.findings.len(), 2);
}

/// One frame of a call, for the property below.
#[derive(Clone, Copy, Debug)]
enum Beat {
    Headers(bool),
    Message(bool),
    Part,
    Empty(bool),
    Trailers(bool),
    Only,
    Info,
    Page,
    Reset(u32),
    GoAway(u32),
    Gap,
    Wait,
}

fn beat() -> impl Strategy<Value = (bool, u32, Beat)> {
    let beat = prop_oneof![
        4 => any::<bool>().prop_map(Beat::Headers),
        4 => any::<bool>().prop_map(Beat::Message),
        2 => Just(Beat::Part),
        2 => any::<bool>().prop_map(Beat::Empty),
        4 => any::<bool>().prop_map(Beat::Trailers),
        1 => Just(Beat::Only),
        1 => Just(Beat::Info),
        1 => Just(Beat::Page),
        2 => (0_u32..14).prop_map(Beat::Reset),
        1 => (0_u32..9).prop_map(Beat::GoAway),
        1 => Just(Beat::Gap),
        1 => Just(Beat::Wait),
    ];
    (any::<bool>(), 0_u32..4, beat)
}

fn play(script: &mut Script, by_client: bool, nth: u32, beat: Beat) {
    let (sender, id) = (if by_client { C } else { S }, 2 * nth + 1);
    match beat {
        Beat::Headers(end) if by_client => script.headers(C, id, grpc_request(), end),
        Beat::Headers(end) => script.headers(S, id, grpc_response(), end),
        Beat::Message(end) => script.data(sender, id, &message(20), end),
        Beat::Part => script.data(sender, id, &message(20)[..9], false),
        Beat::Empty(end) => script.data(sender, id, &[], end),
        Beat::Trailers(true) => script.headers(sender, id, trailers("0"), true),
        Beat::Trailers(false) => script.headers(sender, id, unseen_block(2), true),
        Beat::Only => script.headers(
            S,
            id,
            block(&[(":status", "200"), ("grpc-status", "0")]),
            true,
        ),
        Beat::Info => script.headers(S, id, block(&[(":status", "103")]), false),
        Beat::Page => script.headers(
            S,
            id,
            block(&[(":status", "503"), ("content-type", "a/b")]),
            true,
        ),
        Beat::Reset(code) => script.rst(sender, id, ErrorCode(code)),
        Beat::GoAway(last) => script.go_away(sender, last, ErrorCode::NO_ERROR, ""),
        Beat::Gap => script.gap(sender),
        Beat::Wait => script.wait_ms(250),
    };
}

/// A frame that came too late or too early on its stream.
fn breaks_a_rule(kind: Kind) -> bool {
    use Kind::{FrameAfterEndStream, FrameAfterReset, UnexpectedFrame};
    [FrameAfterEndStream, FrameAfterReset, UnexpectedFrame].contains(&kind)
}

proptest! {
    /// Any order of any frames, gaps among them: nothing panics, each stream is opened and ended once,
    /// nothing stays behind, and a stream that a gap touched is never an anomaly.
    #[test]
    fn any_sequence_ends_each_stream_once(
        beats in prop::collection::vec(beat(), 0..60),
        from_start in any::<bool>(),
        role in prop_oneof![Just(None), Just(Some(C)), Just(Some(S))],
        traced_to_the_end in any::<bool>(),
    ) {
        let mut script = Script::at(role, from_start);
        for (by_client, nth, beat) in beats {
            play(&mut script, by_client, nth, beat);
        }
        if traced_to_the_end { script.close(ConnectionEnd::PeerReset); } else { script.table.trace_ended(crate::event::Timestamp(script.now)); }
        prop_assert_eq!(script.table.live(), 0);
        let mut rules = Rules::new();
        let mut opened = Vec::new();
        let mut ended = Vec::new();
        for event in script.settled() {
            let findings = rules.judge(&event);
            match event {
                crate::stream::record::StreamEvent::Opened { stream_id, .. } => opened.push(stream_id),
                crate::stream::record::StreamEvent::Ended(record) => {
                    let anomalies = findings.iter().filter(|f| f.verdict == Anomaly).count();
                    // A broken rule is one cause, and what became of the call may have another.
                    let broken = findings.iter().filter(|f| breaks_a_rule(f.kind)).count();
                    prop_assert!(broken <= 1 && anomalies <= 1 + broken, "{findings:#?}");
                    prop_assert!(findings.len() <= 2 + broken, "{findings:#?}");
                    prop_assert!(record.whole || anomalies == 0);
                    prop_assert!(record.story.len() <= crate::limits::STORY_MOMENTS);
                    prop_assert!(record.resets.len() <= crate::limits::RESETS);
                    ended.push(record.stream_id);
                }
                _ => {}
            }
        }
        opened.sort_unstable();
        ended.sort_unstable();
        prop_assert_eq!(&opened, &ended);
        opened.dedup();
        prop_assert_eq!(opened.len(), ended.len());
    }

    /// A call is seen whole or from any frame on: what the late view calls an anomaly, the whole view does.
    #[test]
    fn a_late_attach_never_finds_more(
        beats in prop::collection::vec(beat(), 0..16),
        n_missed in 0_usize..16,
    ) {
        // One stream, in an order that the RFC allows: the request's HEADERS first, nothing out of sight.
        let beats: Vec<_> = std::iter::once((true, 0, Beat::Headers(false)))
            .chain(beats.into_iter().filter(|(_, _, beat)| !matches!(beat, Beat::Gap | Beat::GoAway(_) | Beat::Wait)))
            .map(|(by_client, _, beat)| (by_client, beat))
            .scan(Legal::default(), |legal, (by_client, beat)| Some(legal.take(by_client, beat).then_some((by_client, beat))))
            .flatten()
            .collect();
        let mut whole = Script::new();
        let mut late = Script::late();
        for (nth, (by_client, beat)) in beats.into_iter().enumerate() {
            play(&mut whole, by_client, 0, beat);
            if nth >= n_missed {
                play(&mut late, by_client, 0, beat);
            }
        }
        for script in [&mut whole, &mut late] {
            script.wait_ms(1000).close(ConnectionEnd::PeerFin);
        }
        let (whole, late) = (judge(&mut whole), judge_with(&mut late, &mut Rules::new()));
        let is_anomaly = |judged: &super::Judged| judged.findings.iter().any(|f| f.verdict == Anomaly);
        prop_assert!(
            !is_anomaly(&late) || is_anomaly(&whole),
            "late: {:#?}\nwhole: {:#?} {:#?}", late.findings, whole.findings, whole.streams
        );
    }
}

/// Lets only frames through that the sender may send (RFC 9113 sections 5.1 and 8.1).
#[derive(Default)]
struct Legal {
    reset: bool,
    request: Side,
    response: Side,
}

#[derive(Default)]
struct Side {
    headers: bool,
    ended: bool,
}

impl Legal {
    fn take(&mut self, by_client: bool, beat: Beat) -> bool {
        let by_client = by_client && !matches!(beat, Beat::Only | Beat::Info | Beat::Page);
        let side = if by_client {
            &mut self.request
        } else {
            &mut self.response
        };
        if self.reset || side.ended {
            return false;
        }
        let (needs_headers, end) = match beat {
            Beat::Headers(end) => (Some(false), end),
            Beat::Only | Beat::Page => (Some(false), true),
            Beat::Info => (Some(false), false),
            Beat::Message(end) | Beat::Empty(end) => (Some(true), end),
            Beat::Part => (Some(true), false),
            Beat::Trailers(_) => (Some(true), true),
            Beat::Reset(_) => (None, false),
            Beat::GoAway(_) | Beat::Gap | Beat::Wait => return false,
        };
        if needs_headers.is_some_and(|needs| needs != side.headers) {
            return false;
        }
        side.headers |= !matches!(beat, Beat::Info | Beat::Reset(_));
        side.ended = end;
        self.reset |= matches!(beat, Beat::Reset(_));
        true
    }
}
