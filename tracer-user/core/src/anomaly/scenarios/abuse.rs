//! Floods, and healthy traffic that looks like one.

use super::{Judged, judge};
use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::connection::ConnectionEnd;
use crate::frame::head::frame_type;
use crate::frame::{ErrorCode, Frame, Priority, Rule, Step, StreamId};
use crate::stream::record::{Outcome, Tier};
use crate::stream::script::*;

use Verdict::{Anomaly, Expected, Suspicious};

/// The only finding that is worse than expected, about this connection end as a whole.
fn only(judged: &Judged, kind: Kind, verdict: Verdict) -> &Finding {
    assert_eq!(judged.trouble(), [(kind, verdict)]);
    let finding = judged.findings.iter().find(|f| f.kind == kind).unwrap();
    assert_eq!((finding.sender, finding.tier), (Some(C), Tier::T0));
    assert_eq!(
        (finding.request_phase, finding.response_phase),
        (None, None)
    );
    finding
}

#[test]
fn scenario_50_600_early_resets_in_5_seconds_are_one_rapid_reset() {
    for role in [C, S] {
        let mut script = Script::at(Some(role), true);
        for n in 0..600 {
            let id = 1 + 2 * n;
            script
                .headers(C, id, grpc_request(), true)
                .rst(C, id, ErrorCode::CANCEL);
            script.now += 8 * MS;
        }
        let judged = judge(&mut script);
        let finding = only(&judged, Kind::RapidReset, Anomaly);
        assert_eq!(finding.stream_id, StreamId(0));
        assert!(
            finding
                .summary
                .contains("500 streams opened and reset within a second")
                && finding.summary.contains("500 HEADERS by the client"),
            "{}",
            finding.summary
        );
        assert_eq!(judged.n(Kind::ClientCancel, Expected), 600);
        assert_eq!((judged.streams.len(), judged.findings.len()), (600, 601));
    }
}

#[test]
fn scenario_50_as_many_cancels_at_the_deadline_are_only_expected() {
    let mut script = Script::new();
    let mut fields = grpc_request();
    fields
        .fields
        .extend(block(&[("grpc-timeout", "10M")]).fields);
    for n in 0..600 {
        script.headers(C, 1 + 2 * n, fields.clone(), true);
        script.now += 8 * MS;
    }
    script.wait_ms(600_000 - 8 * 600);
    for n in 0..600 {
        script.rst(C, 1 + 2 * n, ErrorCode::CANCEL);
        script.now += 8 * MS;
    }
    let judged = judge(&mut script);
    assert_eq!(judged.trouble(), []);
    assert_eq!(judged.n(Kind::DeadlineReset, Expected), 600);
    assert_eq!(judged.findings.len(), 600);
}

#[test]
fn many_cancels_among_more_calls_are_near_the_limit_of_servers() {
    // A busy proxy: every third call is cancelled after 2 ms.
    let mut script = Script::new();
    script.wide_windows();
    let mut id = 1;
    for _ in 0..1_100 {
        for _ in 0..2 {
            script.request(id).response(id);
            id += 2;
        }
        script
            .headers(C, id, grpc_request(), true)
            .wait_ms(2)
            .rst(C, id, ErrorCode::CANCEL);
        id += 2;
    }
    let judged = judge(&mut script);
    let finding = only(&judged, Kind::NearResetLimit, Suspicious);
    assert!(
        finding.summary.contains("800 resets"),
        "{}",
        finding.summary
    );
    assert_eq!(judged.n(Kind::ClientCancel, Expected), 1_100);

    // The same spread over five times as long.
    let mut script = Script::new();
    for n in 0..900 {
        let id = 1 + 2 * n;
        script
            .headers(C, id, grpc_request(), true)
            .wait_ms(40)
            .rst(C, id, ErrorCode::CANCEL);
    }
    assert_eq!(judge(&mut script).trouble(), []);
}

#[test]
fn scenario_41_resets_that_the_client_provokes_are_made_you_reset() {
    type Provoke = fn(&mut Script, u32);
    let primitives: [(&str, Option<Kind>, Provoke); 5] = [
        (
            "PRIORITY of another length",
            Some(Kind::FramingViolation),
            |script, id| {
                let rule = Rule::PriorityLength;
                script.violation(
                    C,
                    id,
                    ErrorCode::FRAME_SIZE_ERROR,
                    rule,
                    frame_type::PRIORITY,
                );
            },
        ),
        ("PRIORITY on itself", None, |script, id| {
            let stream_id = StreamId(id);
            let priority = Priority {
                exclusive: false,
                depends_on: stream_id,
                weight: 0,
            };
            script.frame(
                C,
                Frame::Priority {
                    stream_id,
                    priority,
                },
            );
        }),
        (
            "HEADERS after END_STREAM",
            Some(Kind::FrameAfterEndStream),
            |script, id| {
                script.headers(C, id, grpc_request(), true);
            },
        ),
        (
            "DATA after END_STREAM",
            Some(Kind::FrameAfterEndStream),
            |script, id| {
                script.data(C, id, &message(1), true);
            },
        ),
        ("WINDOW_UPDATE of 0", None, |script, id| {
            let rule = Rule::WindowUpdateOfZero;
            script.violation(
                C,
                id,
                ErrorCode::PROTOCOL_ERROR,
                rule,
                frame_type::WINDOW_UPDATE,
            );
        }),
    ];
    for (name, told, provoke) in primitives {
        let mut script = Script::at(Some(S), true);
        for n in 0..200 {
            let id = 1 + 2 * n;
            script.request(id);
            provoke(&mut script, id);
            script.rst(S, id, ErrorCode::PROTOCOL_ERROR);
            script.now += 4 * MS;
        }
        let judged = judge(&mut script);
        assert_eq!(judged.n(Kind::MadeYouReset, Anomaly), 1, "{name}");
        let made = judged
            .findings
            .iter()
            .find(|f| f.kind == Kind::MadeYouReset)
            .unwrap();
        assert_eq!(made.sender, Some(C));
        assert!(
            made.summary.contains("20 resets by the server"),
            "{}",
            made.summary
        );
        // The server is not blamed for a single one of them.
        for finding in &judged.findings {
            let known = [Some(Kind::MadeYouReset), Some(Kind::BadWindowUpdate), told];
            assert!(known.contains(&Some(finding.kind)), "{name}: {finding:#?}");
            assert_eq!(finding.sender, Some(C), "{name}");
        }
        // Once that is told, single frames are not.
        assert!(judged.findings.len() <= 21, "{name}");
        assert_eq!(judged.streams.len(), 200);
    }
}

#[test]
fn resets_that_nobody_provoked_are_the_servers() {
    let mut script = Script::at(Some(S), true);
    for n in 0..100 {
        let id = 1 + 2 * n;
        script.request(id).rst(S, id, ErrorCode::PROTOCOL_ERROR);
    }
    let judged = judge(&mut script);
    assert_eq!(judged.n(Kind::ResetBeforeResponse, Anomaly), 100);
    assert_eq!(judged.findings.len(), 100);
}

#[test]
fn scenario_51_a_header_block_of_40_frames_without_end_is_one_finding() {
    let mut script = Script::new();
    script.step(
        C,
        &Step::LongBlock {
            stream_id: StreamId(1),
            n_frames: 33,
        },
    );
    script.close(ConnectionEnd::PeerReset);
    let judged = judge(&mut script);
    let finding = only(&judged, Kind::ContinuationFlood, Anomaly);
    assert_eq!(finding.stream_id, StreamId(1));
    assert!(
        finding.summary.contains("33 frames of one header block"),
        "{}",
        finding.summary
    );
    assert_eq!(judged.findings.len(), 1);
}

fn flooded(n_frames: u32, mut act: impl FnMut(&mut Script, u32)) -> Judged {
    let mut script = Script::new();
    script.wide_windows();
    script.request(1).headers(S, 1, grpc_response(), false);
    for n in 0..n_frames {
        act(&mut script, n);
    }
    script
        .data(S, 1, &message(5), false)
        .headers(S, 1, trailers("0"), true);
    judge(&mut script)
}

#[test]
fn scenario_52_a_flood_of_control_frames_is_one_finding_with_its_rate() {
    let stream_id = StreamId(1);
    type Act = fn(&mut Script, u32);
    let floods: [(&str, u32, Act); 6] = [
        ("PING frames", 5_000, |script, _| {
            script.ping(C, false);
        }),
        ("SETTINGS frames", 5_000, |script, _| {
            script.settings(C, &[(0x4, 65_535)]);
        }),
        ("PRIORITY frames", 5_000, |script, n| {
            let priority = Priority {
                exclusive: true,
                depends_on: StreamId(0),
                weight: 0,
            };
            let stream_id = StreamId(2 * n + 1);
            script.frame(
                C,
                Frame::Priority {
                    stream_id,
                    priority,
                },
            );
        }),
        ("WINDOW_UPDATE frames of a few bytes", 5_000, |script, _| {
            script.window_update(C, 0, 1);
        }),
        ("empty DATA frames", 5_000, |script, n| {
            let id = 3;
            if n == 0 {
                script.headers(C, id, grpc_request(), false);
            }
            script.data(C, id, &[], false);
        }),
        ("HEADERS frames without a field", 2_000, |script, n| {
            let mut empty = block(&[]);
            empty.encoded_len = 0;
            script.headers(C, 3 + 2 * n, empty, false);
        }),
    ];
    for (what, n, act) in floods {
        let judged = flooded(n, act);
        let finding = only(&judged, Kind::ControlFlood, Anomaly);
        assert!(finding.summary.contains(what), "{}", finding.summary);
        assert!(
            finding.summary.contains("the client caused 1000 "),
            "{}",
            finding.summary
        );
        assert!(
            finding.summary.contains(" a second); in the same time"),
            "{}",
            finding.summary
        );
        assert_eq!(judged.findings.len(), 1);
        let answered = judged
            .streams
            .iter()
            .find(|s| s.stream_id == stream_id)
            .unwrap();
        assert_eq!(answered.outcome, Outcome::Ok);
    }
}

#[test]
fn healthy_control_frames_are_no_flood_however_many() {
    // grpc-go measures bandwidth with a PING for each DATA frame at most; others give window back for each.
    let judged = flooded(5_000, |script, _| {
        script
            .data(S, 1, &message(5), false)
            .ping(C, false)
            .ping(S, true);
        script.window_update(C, 1, 10).window_update(C, 0, 10);
    });
    assert_eq!(judged.trouble(), []);
    // A request of its own for each: an empty DATA frame ends it, and its priority is told.
    let judged = flooded(5_000, |script, n| {
        let (id, priority) = (
            3 + 2 * n,
            Priority {
                exclusive: false,
                depends_on: StreamId(0),
                weight: 15,
            },
        );
        script.open_request(id).data(C, id, &[], true).response(id);
        script.frame(
            C,
            Frame::Priority {
                stream_id: StreamId(id),
                priority,
            },
        );
    });
    assert_eq!(judged.trouble(), []);
    assert!(judged.streams.len() > 5_000);
}

#[test]
fn what_is_not_in_sight_is_not_missed() {
    // The server's DATA, which the PINGs are measured against, goes by unseen.
    for late in [true, false] {
        let mut script = if late { Script::late() } else { Script::new() };
        script.request(1);
        if !late {
            script.step(S, &Step::Fault(crate::frame::Fault::Gap));
        }
        for _ in 0..5_000 {
            script.ping(C, false);
        }
        assert_eq!(judge(&mut script).trouble(), []);
    }
}
