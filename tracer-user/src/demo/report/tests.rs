use std::net::SocketAddr;
use std::sync::Arc;

use h2trace_core::anomaly::kind::{Finding, Kind, Verdict};
use h2trace_core::connection::ConnectionId;
use h2trace_core::event::{Address, Timestamp};
use h2trace_core::frame::{ErrorCode, FrameKind, StreamId};
use h2trace_core::hop::{Attempt, By, Hop, HopStream, Join, ProxyKey};
use h2trace_core::pipeline::{ConnectionInfo, HopEnd, Output, Sink as _};
use h2trace_core::stream::record::{
    Half, Messages, Moment, Outcome, RequestPhase, Seen, Story, StreamEnd, StreamRecord, Tier,
    Windows,
};

use super::*;
use crate::demo::part::{Call, ClientReport, PREFIX, ProxyTotals, ServerReport};
use crate::export::sample;

const WHOLE: u64 = (PREFIX + RESPONSE_MESSAGE) as u64;

fn info(part: Part, role: Endpoint) -> Arc<ConnectionInfo> {
    let address = Address::Inet(SocketAddr::from(([127, 0, 0, 1], 4711)));
    Arc::new(ConnectionInfo {
        id: ConnectionId(1),
        role: Some(role),
        pid: 1,
        comm: part.comm().to_owned(),
        local: address.clone(),
        peer: address,
        first_at: Timestamp(0),
        ..sample::connection()
    })
}

fn moment(at_micros: u64, sender: Endpoint, frame: FrameKind, bytes: u64, note: &str) -> Moment {
    Moment {
        at: Timestamp(at_micros * 1_000),
        sender,
        frame,
        n_frames: 1,
        bytes,
        end_stream: note.starts_with("trailers"),
        windows: Windows::default(),
        note: note.to_owned(),
    }
}

/// A whole stream; `cut_at` is where the response was cut, if it was.
fn stream(role: Endpoint, number: u32, cut_at: Option<u64>) -> StreamRecord {
    let got = cut_at.unwrap_or(WHOLE);
    let at = if role == Endpoint::Server { 0 } else { 100 };
    let mut story = vec![
        moment(at, Endpoint::Client, FrameKind::Headers, 90, ""),
        moment(
            at + 10,
            Endpoint::Client,
            FrameKind::Data,
            16,
            "message 11 bytes",
        ),
        moment(at + 400, Endpoint::Server, FrameKind::Headers, 30, "200"),
    ];
    let mut sent = moment(at + 410, Endpoint::Server, FrameKind::Data, got, "");
    sent.windows = Windows {
        stream: Some(55_610),
        connection: Some(0),
    };
    story.push(sent);
    let mut resets = Vec::new();
    if cut_at.is_some() {
        let mut reset = moment(
            at + 900,
            Endpoint::Server,
            FrameKind::RstStream,
            4,
            "NO_ERROR",
        );
        reset.windows = Windows {
            stream: Some(55_610),
            connection: Some(0),
        };
        story.push(reset);
        resets.push(Reset {
            sender: Endpoint::Server,
            code: ErrorCode::NO_ERROR,
            at: Timestamp(900_000),
            request_phase: Some(RequestPhase::Q1),
            response_phase: Some(ResponsePhase::Rm),
            response_windows: Windows {
                stream: Some(55_610),
                connection: Some(0),
            },
            response_blocked_since: None,
        });
    } else {
        story.push(moment(
            at + 420,
            Endpoint::Server,
            FrameKind::Headers,
            10,
            "trailers grpc-status 0",
        ));
    }
    let open = cut_at.map(|cut| OpenMessage {
        promised: Some(u32::try_from(RESPONSE_MESSAGE).unwrap()),
        got: u32::try_from(cut).unwrap() - 5,
    });
    let was_cut = cut_at.is_some();
    StreamRecord {
        connection: ConnectionId(1),
        role: Some(role),
        pid: 1,
        first_at: Timestamp(0),
        last_at: Timestamp(1_000_000),
        request: Half::default(),
        response: Half {
            data_bytes: got,
            data_known: true,
            messages: Messages {
                complete: u64::from(!was_cut),
                open,
                sizes: [].into_iter().collect(),
                known: true,
            },
            ..Half::default()
        },
        response_phase: Some(if was_cut {
            ResponsePhase::Rm
        } else {
            ResponsePhase::R3
        }),
        trailers: if was_cut {
            Seen::Absent
        } else {
            Seen::Value(())
        },
        path: Some("/demo.Orders/List".into()),
        grpc_status: if was_cut {
            Seen::Absent
        } else {
            Seen::Value(0)
        },
        timeout: None,
        shown: [("x-request-id", format!("demo-{number:04}").as_str())]
            .into_iter()
            .collect(),
        resets,
        end: if was_cut {
            StreamEnd::Reset
        } else {
            StreamEnd::Complete
        },
        outcome: if was_cut { Outcome::Reset } else { Outcome::Ok },
        story: story.into_iter().collect(),
        ..sample::complete(number * 2 - 1)
    }
}

fn cut_finding(record: &StreamRecord) -> Finding {
    Finding {
        kind: Kind::ResponseCutByReset,
        verdict: Verdict::Anomaly,
        tier: Tier::T1,
        connection: record.connection,
        role: record.role,
        stream_id: record.stream_id,
        at: record.last_at,
        sender: Some(Endpoint::Server),
        code: Some(ErrorCode::NO_ERROR),
        request_phase: record.request_phase,
        response_phase: record.response_phase,
        windows: Windows::default(),
        summary: "the server reset the stream inside a message".to_owned(),
        story: Story::default(),
    }
}

/// A request at the proxy with both its sides.
fn hop(number: u32, cut_at: Option<u64>) -> Output {
    let side = |role, connection, cut_at| HopStream {
        tag: HopEnd {
            info: info(Part::Proxy, role),
            findings: Vec::new(),
            peer: None,
        },
        record: Arc::new(StreamRecord {
            connection: ConnectionId(connection),
            ..stream(role, number, cut_at)
        }),
    };
    let join = Join {
        by: By::RequestId,
        confidence: Confidence::Id,
    };
    let request = Hop {
        proxy: ProxyKey::Process(1),
        downstream: side(Endpoint::Server, 1, cut_at),
        upstream: vec![Attempt {
            connection: ConnectionId(2),
            stream_id: StreamId(number * 2 - 1),
            began_at: Timestamp(0),
            join,
            stream: Some(side(Endpoint::Client, 2, None)),
        }],
        join: Some(join),
        others: Vec::new(),
        others_known: true,
        other_side: None,
        mesh: None,
        passes_on: true,
        at: Timestamp(0),
    };
    let down = &request.downstream.record;
    let finding = Finding {
        kind: Kind::ProxyTruncatedCompleteResponse,
        summary: "the proxy got the whole response".to_owned(),
        ..cut_finding(down)
    };
    Output::Hop {
        findings: cut_at.map(|_| finding).into_iter().collect(),
        request: Box::new(request),
    }
}

/// `n` calls on both hops; those in `cut` arrive with 9,925 bytes.
fn seen(n: u32, cut: &[u32]) -> SeenStreams {
    let mut out = SeenStreams::default();
    for number in 1..=n {
        for (part, role, is_downstream) in [
            (Part::Client, Endpoint::Client, true),
            (Part::Proxy, Endpoint::Server, true),
            (Part::Proxy, Endpoint::Client, false),
            (Part::Server, Endpoint::Server, false),
        ] {
            let cut_at = (is_downstream && cut.contains(&number)).then_some(9_925);
            let record = stream(role, number, cut_at);
            let findings = cut_at.map(|_| cut_finding(&record)).into_iter().collect();
            out.accept(&Output::Stream {
                info: info(part, role),
                record: record.into(),
                findings,
            });
        }
        out.accept(&hop(number, cut.contains(&number).then_some(9_925)));
    }
    out
}

fn said(n: u32, failed: &[u32]) -> ChildReports {
    let calls = (1..=n)
        .map(|number| Call {
            request_id: format!("demo-{number:04}"),
            error: failed.contains(&number).then(|| {
                "13 INTERNAL: Received RST_STREAM with code 0 (Call ended without gRPC status)"
                    .to_owned()
            }),
        })
        .collect();
    ChildReports {
        client: ClientReport { calls },
        proxy: ProxyTotals {
            requests: n,
            upstream_ok: n,
        },
        server: ServerReport {
            requests: n,
            answered: n,
            early: n,
        },
    }
}

fn report(said: &ChildReports, seen: &SeenStreams) -> (String, bool) {
    let scene = Scene {
        in_flight: 20,
        healthy: false,
        pids: [11, 12, 13],
        said,
        seen,
        metrics: "",
    };
    let report = write(&scene);
    (report.lines.join("\n"), report.agrees)
}

#[test]
fn the_same_failed_calls_on_both_sides_are_agreement() {
    let (text, agrees) = report(&said(6, &[2, 5]), &seen(6, &[2, 5]));
    assert!(agrees, "{text}");
    assert!(text.contains("the proxy broke them"), "{text}");
    assert!(
        text.contains("2 of 6 broke between client and proxy: the same calls"),
        "{text}"
    );
}

#[test]
fn how_the_two_sides_were_joined_is_said() {
    let (text, _) = report(&said(6, &[2, 5]), &seen(6, &[2, 5]));
    for sentence in [
        "6 of 6 were joined on both sides of the proxy: 6 by request_id",
        "joined by request_id, confidence id.",
        "Finding proxy_truncated_complete_response (anomaly)",
    ] {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(sentence), "{sentence}\n{text}");
    }
}

#[test]
fn the_verdict_has_the_numbers_of_both_hops() {
    let (text, _) = report(&said(6, &[2, 5]), &seen(6, &[2, 5]));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for sentence in [
        "The server's response was complete: 11,122 bytes and its trailers, grpc-status 0.",
        "The proxy passed on 9,925 of them; it dropped 1,197 bytes and the trailers \
         (the client was promised 11,117 bytes of message and got 9,920).",
        "the client's connection window was used up (0 bytes left)",
    ] {
        assert!(text.contains(sentence), "{sentence}\n{text}");
    }
}

#[test]
fn a_failed_call_that_h2trace_missed_is_said_and_fails_the_demo() {
    let (text, agrees) = report(&said(6, &[2, 5]), &seen(6, &[2]));
    assert!(!agrees);
    assert!(
        text.contains("THE DEMO FAILED: failed and not flagged by h2trace: demo-0005"),
        "{text}"
    );
}

#[test]
fn a_flagged_call_that_succeeded_is_said_and_fails_the_demo() {
    let (text, agrees) = report(&said(6, &[2]), &seen(6, &[2, 5]));
    assert!(!agrees);
    assert!(
        text.contains("THE DEMO FAILED: flagged by h2trace and not failed: demo-0005"),
        "{text}"
    );
}

#[test]
fn calls_out_of_sight_fail_the_demo() {
    let (text, agrees) = report(&said(7, &[2]), &seen(6, &[2]));
    assert!(!agrees);
    assert!(
        text.contains("h2trace saw 6 calls of 7 at the client"),
        "{text}"
    );
}

#[test]
fn both_hops_stand_side_by_side_in_the_order_of_time() {
    let (text, _) = report(&said(6, &[2]), &seen(6, &[2]));
    let row = |words: &[&str]| {
        text.lines()
            .position(|line| words.iter().all(|word| line.contains(word)))
            .unwrap_or_else(|| panic!("{text}"))
    };
    let upstream_trailers = row(&["0.520", "<-- HEADERS END_STREAM"]);
    let reset = row(&["0.900", "<-- RST_STREAM", "NO_ERROR"]);
    assert!(upstream_trailers < reset, "{text}");
    assert!(text.contains("window 55,610, connection 0"), "{text}");
}

#[test]
fn no_line_is_wider_than_100_columns() {
    let (text, _) = report(&said(60, &[2, 5]), &seen(60, &[2, 5]));
    for line in text.lines() {
        assert!(
            line.chars().count() <= WIDTH,
            "{}: {line}",
            line.chars().count()
        );
    }
}

#[test]
fn only_counters_of_the_client_that_rose_and_tell_of_trouble_are_shown() {
    let mut out = Vec::new();
    metrics(
        &mut out,
        "# HELP h2trace_resets_total Resets.\n\
         h2trace_resets_total{code=\"NO_ERROR\",comm=\"demo-client\"} 15\n\
         h2trace_resets_total{code=\"NO_ERROR\",comm=\"demo-server\"} 60\n\
         h2trace_resets_total{code=\"CANCEL\",comm=\"demo-client\"} 0\n\
         h2trace_self_resets_total{comm=\"demo-client\"} 3\n\
         h2trace_streams_opened_total{comm=\"demo-client\"} 60\n\
         h2trace_findings_total{comm=\"demo-client\",kind=\"response_cut_by_reset\"} 15\n",
    );
    assert_eq!(
        out[2..],
        [
            "  h2trace_resets_total",
            "      15  {code=\"NO_ERROR\",comm=\"demo-client\"}",
            "  h2trace_findings_total",
            "      15  {comm=\"demo-client\",kind=\"response_cut_by_reset\"}",
        ]
    );
}

#[test]
fn many_labels_are_wrapped() {
    let labels: Vec<String> = (0..12).map(|n| format!("label_{n:02}=\"value\"")).collect();
    let mut out = Vec::new();
    metrics(
        &mut out,
        &format!(
            "h2trace_resets_total{{comm=\"demo-client\",{}}} 7\n",
            labels.join(",")
        ),
    );
    assert!(out.len() > 4, "{out:?}");
    assert!(
        out.iter().all(|line| line.chars().count() <= WIDTH),
        "{out:?}"
    );
    let joined: String = out[3..].iter().map(|line| line.trim()).collect();
    assert_eq!(
        joined,
        format!("7  {{comm=\"demo-client\",{}}}", labels.join(","))
    );
}

#[test]
fn numbers_are_grouped_by_thousands() {
    for (number, want) in [
        (0, "0"),
        (999, "999"),
        (1_000, "1,000"),
        (65_535, "65,535"),
        (1_234_567, "1,234,567"),
    ] {
        assert_eq!(grouped(number), want);
    }
    assert_eq!(signed(-1_200), "-1,200");
}
