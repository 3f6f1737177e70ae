//! GOAWAY and connections that end.

use super::{is, judge};
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::ConnectionEnd;
use crate::frame::ErrorCode;
use crate::stream::record::{
    OpenMessage, Outcome, RequestPhase, ResponsePhase, StreamEnd, StreamEvent, Tier,
};
use crate::stream::script::*;

use RequestPhase::{Q1, Q2};
use ResponsePhase::{R0, R3, Rm};
use Verdict::{Anomaly, Benign, Expected, Suspicious, Unknown};

#[test]
fn scenario_44_go_away_then_fin_with_accepted_work_is_lost_work() {
    let mut script = Script::new();
    script.request(3).request(5).request(7);
    script
        .go_away(S, 5, ErrorCode::NO_ERROR, "")
        .response(5)
        .close(ConnectionEnd::PeerFin);
    let events = script.settled();
    let counted = events.iter().find_map(|event| match event {
        StreamEvent::ConnectionEnded {
            open_streams,
            accepted_streams,
            go_aways,
            ..
        } => Some((*open_streams, *accepted_streams, go_aways.len())),
        _ => None,
    });
    assert_eq!(counted, Some((1, 1, 1)));
    let mut rules = crate::anomaly::Rules::new();
    let findings: Vec<_> = events.iter().flat_map(|event| rules.judge(event)).collect();
    let found: Vec<_> = findings
        .iter()
        .map(|f| (f.kind, f.verdict, f.stream_id.0))
        .collect();
    assert_eq!(
        found,
        [
            (Kind::GracefulGoAway, Benign, 0),
            (Kind::GoAwayLostStreams, Anomaly, 3),
            (Kind::StreamUnprocessed, Expected, 7),
        ]
    );
    is(
        &findings[1],
        Kind::GoAwayLostStreams,
        Anomaly,
        S,
        (Q2, R0),
        Tier::T1,
    );
    assert_eq!(findings[2].sender, Some(S));
}

#[test]
fn scenario_45_a_tcp_reset_in_a_message_is_one_finding_with_the_numbers() {
    let mut script = Script::new();
    script.open_request(1).headers(S, 1, grpc_response(), false);
    script
        .data(S, 1, &message(1_000)[..605], false)
        .close(ConnectionEnd::PeerReset);
    let judged = judge(&mut script);
    let finding = judged.finding();
    is(
        finding,
        Kind::ConnectionLostStreams,
        Anomaly,
        S,
        (Q1, Rm),
        Tier::T1,
    );
    assert!(
        finding
            .summary
            .contains("message of 1000 bytes announced, 600 arrived, 400 missing"),
        "{}",
        finding.summary
    );
    let stream = judged.stream();
    assert_eq!(stream.end, StreamEnd::Connection(ConnectionEnd::PeerReset));
    assert_eq!(stream.outcome, Outcome::ConnectionLost);
    assert_eq!(
        stream.response.messages.open,
        Some(OpenMessage {
            promised: Some(1_000),
            got: 600
        })
    );
}

#[test]
fn an_error_go_away_is_told_once_and_unknown_debug_data_never() {
    let mut script = Script::new();
    script.go_away(C, 0, ErrorCode::INTERNAL_ERROR, "hunter2");
    script.go_away(C, 0, ErrorCode::INTERNAL_ERROR, "hunter2");
    let judged = judge(&mut script);
    assert_eq!(
        (judged.finding().kind, judged.finding().verdict),
        (Kind::ErrorGoAway, Anomaly)
    );
    assert!(!judged.finding().summary.contains("hunter2"));
}

#[test]
fn a_raised_last_stream_id_is_an_anomaly() {
    let mut script = Script::new();
    script
        .go_away(S, 5, ErrorCode::NO_ERROR, "")
        .go_away(S, 9, ErrorCode::NO_ERROR, "");
    let judged = judge(&mut script);
    assert_eq!(judged.trouble(), [(Kind::GoAwayRaised, Anomaly)]);
    // Each end has its own.
    let mut script = Script::new();
    script
        .go_away(S, 5, ErrorCode::NO_ERROR, "")
        .go_away(C, 9, ErrorCode::NO_ERROR, "");
    assert_eq!(judge(&mut script).trouble(), []);
}

#[test]
fn scenario_61_an_abrupt_go_away_is_one_suspicion_and_twenty_retries() {
    let mut script = Script::new();
    script.request(1999);
    for n in 0..20 {
        script.request(2001 + 2 * n);
    }
    script
        .response(1999)
        .go_away(S, 1999, ErrorCode::NO_ERROR, "")
        .close(ConnectionEnd::PeerFin);
    let judged = judge(&mut script);
    assert_eq!(judged.n(Kind::StreamUnprocessed, Expected), 20);
    assert_eq!(judged.trouble(), [(Kind::AbruptGoAway, Suspicious)]);
    assert_eq!(judged.n(Kind::GracefulGoAway, Benign), 1);
    assert_eq!(judged.findings.len(), 22);

    // The same drain, announced first.
    let mut script = Script::new();
    for n in 0..20 {
        script.request(2001 + 2 * n);
    }
    script
        .go_away(S, 0x7fff_ffff, ErrorCode::NO_ERROR, "")
        .go_away(S, 1999, ErrorCode::NO_ERROR, "");
    script.close(ConnectionEnd::PeerFin);
    let judged = judge(&mut script);
    assert_eq!(judged.trouble(), []);
    assert_eq!(judged.n(Kind::StreamUnprocessed, Expected), 20);
}

#[test]
fn a_stream_that_is_answered_after_all_was_processed() {
    let mut script = Script::new();
    script
        .request(1)
        .request(3)
        .go_away(S, 1, ErrorCode::NO_ERROR, "")
        .response(3)
        .response(1);
    let judged = judge(&mut script);
    assert_eq!(judged.findings.len(), 1);
    assert_eq!(judged.streams.len(), 2);
    assert!(
        judged
            .streams
            .iter()
            .all(|stream| stream.outcome == Outcome::Ok)
    );
}

#[test]
fn a_connection_that_the_server_ends_loses_its_open_streams() {
    for (role, why) in [
        (C, ConnectionEnd::PeerFin),
        (C, ConnectionEnd::PeerReset),
        (S, ConnectionEnd::LocalClose),
        (S, ConnectionEnd::LocalReset),
    ] {
        let mut script = Script::at(Some(role), true);
        script
            .request(1)
            .request(3)
            .open_request(5)
            .response(5)
            .request(7)
            .response(7)
            .close(why);
        let judged = judge(&mut script);
        // 5 had its whole response: nothing was lost.
        assert_eq!(
            judged.trouble(),
            [(Kind::ConnectionLostStreams, Anomaly); 2],
            "{role} {why:?}"
        );
        assert!(
            judged
                .findings
                .iter()
                .all(|finding| finding.sender == Some(S))
        );
        let answered = judged
            .streams
            .iter()
            .find(|stream| stream.stream_id.0 == 5)
            .unwrap();
        assert_eq!(
            (answered.outcome, answered.response_phase),
            (Outcome::Ok, Some(R3))
        );
        assert_eq!(answered.end, StreamEnd::Connection(why));
    }
}

#[test]
fn a_client_that_goes_in_good_order_is_only_suspicious() {
    for (role, why) in [(C, ConnectionEnd::LocalClose), (S, ConnectionEnd::PeerFin)] {
        let mut script = Script::at(Some(role), true);
        script.request(1).close(why);
        let judged = judge(&mut script);
        is(
            judged.finding(),
            Kind::ConnectionLostStreams,
            Suspicious,
            C,
            (Q2, R0),
            Tier::T1,
        );
        assert_eq!(judged.stream().outcome, Outcome::ConnectionLost);
    }
}

#[test]
fn a_connection_lost_from_sight_says_nothing_of_its_streams() {
    let mut script = Script::new();
    script
        .request(1)
        .request(3)
        .response(3)
        .close(ConnectionEnd::Unknown);
    let judged = judge(&mut script);
    assert!(judged.findings.is_empty());
    let outcomes: Vec<_> = judged
        .streams
        .iter()
        .map(|s| (s.stream_id.0, s.end, s.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            (1, StreamEnd::Unseen, Outcome::Unknown),
            (3, StreamEnd::Complete, Outcome::Ok)
        ]
    );
}

#[test]
fn a_gap_makes_a_lost_connection_unknown() {
    let mut script = Script::new();
    script
        .request(1)
        .gap(S)
        .headers(S, 1, grpc_response(), false)
        .close(ConnectionEnd::PeerReset);
    let judged = judge(&mut script);
    assert_eq!(judged.finding().verdict, Unknown);
    assert_eq!(judged.finding().tier, Tier::T0);
}

#[test]
fn a_client_that_closes_after_a_go_away_ends_its_own_calls() {
    let mut script = Script::new();
    script
        .request(1)
        .go_away(S, 0x7fff_ffff, ErrorCode::NO_ERROR, "max_age")
        .close(ConnectionEnd::LocalClose);
    let judged = judge(&mut script);
    assert_eq!(
        judged.trouble(),
        [(Kind::ConnectionLostStreams, Suspicious)]
    );
}

#[test]
fn a_connection_that_was_silent_before_it_was_cut_says_so() {
    for (seconds, says) in [(350, true), (5, false)] {
        let mut script = Script::new();
        script
            .request(1)
            .headers(S, 1, grpc_response(), false)
            .wait_ms(seconds * 1_000)
            .close(ConnectionEnd::PeerReset);
        let judged = judge(&mut script);
        let told = &judged.finding().summary;
        assert_eq!(
            told.ends_with("nothing had gone by on the stream for 350.001s"),
            says,
            "{told}"
        );
    }
}
