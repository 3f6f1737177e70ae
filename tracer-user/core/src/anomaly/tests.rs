//! Properties of streams and rules together. What they say of single conversations is in `tests/scenarios`.

use proptest::prelude::*;

use super::Rules;
use super::kind::{Finding, Kind, Verdict};
use crate::connection::ConnectionEnd;
use crate::event::Timestamp;
use crate::frame::ErrorCode;
use crate::limits;
use crate::stream::record::StreamEvent;
use crate::stream::script::*;

#[test]
fn a_refused_stream_is_said_to_be_safe_to_retry() {
    assert!(Kind::StreamRefused.doc().contains("safe to retry"));
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

/// What is found once every linger has passed.
fn judge(script: &mut Script) -> Vec<Finding> {
    let mut rules = Rules::new();
    let events = script.settled();
    events.iter().flat_map(|event| rules.judge(event)).collect()
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
        if traced_to_the_end { script.close(ConnectionEnd::PeerReset); } else { script.table.trace_ended(Timestamp(script.now)); }
        prop_assert_eq!(script.table.live(), 0);
        let mut rules = Rules::new();
        let mut opened = Vec::new();
        let mut ended = Vec::new();
        for event in script.settled() {
            let findings = rules.judge(&event);
            match event {
                StreamEvent::Opened { stream_id, .. } => opened.push(stream_id),
                StreamEvent::Ended(record) => {
                    let anomalies = findings.iter().filter(|f| f.verdict == Verdict::Anomaly).count();
                    // A broken rule is one cause, and what became of the call may have another.
                    let broken = findings.iter().filter(|f| breaks_a_rule(f.kind)).count();
                    prop_assert!(broken <= 1 && anomalies <= 1 + broken, "{findings:#?}");
                    prop_assert!(findings.len() <= 2 + broken, "{findings:#?}");
                    prop_assert!(record.whole || anomalies == 0);
                    prop_assert!(record.story.len() <= limits::STORY_MOMENTS);
                    prop_assert!(record.resets.len() <= limits::RESETS);
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
        let (whole, late) = (judge(&mut whole), judge(&mut late));
        let is_anomaly = |found: &[Finding]| found.iter().any(|f| f.verdict == Verdict::Anomaly);
        prop_assert!(!is_anomaly(&late) || is_anomaly(&whole), "late: {late:#?}\nwhole: {whole:#?}");
    }
}

/// Lets only frames through that the sender may send (RFC 9113 sections 5.1 and 8.1).
#[derive(Default)]
struct Legal {
    reset: bool,
    request: LegalSide,
    response: LegalSide,
}

#[derive(Default)]
struct LegalSide {
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
