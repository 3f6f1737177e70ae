//! What is printed of strangers who name themselves to do harm: every output, with such a name in every field.

use std::sync::Arc;

use h2trace_core::anomaly::kind::{Finding, Verdict};
use h2trace_core::attribution::{Owner, Workload, WorkloadHandle};
use h2trace_core::connection::Endpoint;
use h2trace_core::event::Address;
use h2trace_core::event::Timestamp;
use h2trace_core::frame::StreamId;
use h2trace_core::frame::head::Head;
use h2trace_core::hop::HopStream;
use h2trace_core::pipeline::{ConnectionInfo, FieldSeen, FrameSeen, HopEnd, Output, Sink as _};
use h2trace_core::stream::record::{Moment, Story, StreamRecord};
use serde_json::Value;

use super::clock::WallClock;
use super::json::Json;
use super::prometheus::Exporter;
use super::sample;
use super::text::{COLUMNS, Paint, Text};
use crate::diagnosis::Diagnosis;
use crate::plain::tests::{HOSTILE, harm};

fn handle() -> WorkloadHandle {
    let handle = WorkloadHandle::to_pod(HOSTILE, HOSTILE);
    handle.name(Arc::new(Workload {
        namespace: HOSTILE.into(),
        pod: HOSTILE.into(),
        pod_uid: HOSTILE.into(),
        container: HOSTILE.into(),
        container_id: HOSTILE.into(),
        node: HOSTILE.into(),
        owner: Owner {
            kind: HOSTILE.into(),
            name: HOSTILE.into(),
        },
    }));
    handle
}

fn connection(info: &mut Arc<ConnectionInfo>) {
    *info = Arc::new(ConnectionInfo {
        comm: HOSTILE.into(),
        local: Address::Unix(HOSTILE.into()),
        peer: Address::Unix(HOSTILE.into()),
        workload: handle(),
        peer_workload: handle(),
        ..ConnectionInfo::clone(info)
    });
}

fn record(record: &mut Arc<StreamRecord>) {
    let mut named = StreamRecord::clone(record);
    named.path = Some(HOSTILE.into());
    named.response_content_type = Some(HOSTILE.into());
    named.shown = [("x-call-id", HOSTILE), (HOSTILE, HOSTILE)]
        .into_iter()
        .collect();
    story(&mut named.story);
    *record = Arc::new(named);
}

fn finding(finding: &mut Finding) {
    finding.summary = HOSTILE.into();
    story(&mut finding.story);
}

fn story(story: &mut Story) {
    let told = |moment| Moment {
        note: HOSTILE.into(),
        ..moment
    };
    *story = story.moments().into_iter().map(told).collect();
}

fn side(side: &mut HopStream<HopEnd>) {
    connection(&mut side.tag.info);
    side.tag.peer.iter_mut().for_each(connection);
    record(&mut side.record);
}

/// Every kind of output, and [`HOSTILE`] wherever a stranger chooses the text.
pub(crate) fn outputs() -> Vec<Output> {
    let mut outputs = sample::outputs();
    for output in &mut outputs {
        match output {
            Output::Connection(info)
            | Output::StreamOpened { info }
            | Output::ConnectionEnded { info, .. }
            | Output::BytesUnseen { info, .. }
            | Output::GoAway { info, .. } => connection(info),
            Output::Stream {
                info,
                record: of,
                findings,
            } => {
                connection(info);
                record(of);
                findings.iter_mut().for_each(finding);
            }
            Output::Finding { info, finding: of } => {
                connection(info);
                finding(of);
            }
            Output::Hop { request, findings } => {
                side(&mut request.downstream);
                let attempts = request.upstream.iter_mut();
                attempts
                    .filter_map(|attempt| attempt.stream.as_mut())
                    .for_each(side);
                findings.iter_mut().for_each(finding);
            }
            Output::Lone(lone) => side(&mut lone.upstream),
            Output::Loss(loss) => loss.connection.iter_mut().for_each(connection),
            Output::Frame { .. } => unreachable!("frames are added below"),
        }
    }
    let mut info = Arc::new(sample::connection());
    connection(&mut info);
    outputs.push(Output::Frame {
        info,
        frame: Box::new(FrameSeen {
            at: sample::at(9_000),
            sender: Endpoint::Client,
            head: Head {
                len: 9,
                frame_type: 1,
                flags: 4,
                stream_id: StreamId(1),
            },
            n_frames: 1,
            frame: None,
            fields: Some(vec![FieldSeen {
                name: Some(HOSTILE.into()),
                value: Some(HOSTILE.into()),
                unseen: false,
                redacted: false,
            }]),
            violation: None,
        }),
    });
    outputs
}

fn diagnosed() -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    outputs().iter().for_each(|output| diagnosis.accept(output));
    diagnosis
}

#[test]
fn text_is_in_lines_of_our_own_and_in_colours_of_our_own() {
    for painted in [false, true] {
        let clock = WallClock::with_boot(0);
        let mut text = Text::new(clock, Paint::new(painted), COLUMNS, Verdict::Benign)
            .with_headers(&["x-call-id".to_owned(), HOSTILE.to_owned()])
            .with_hops(true);
        outputs().iter().for_each(|output| text.accept(output));
        text.diagnosis(&diagnosed().report());
        let text = String::from_utf8(text.take()).unwrap();
        // Red alone is a colour of HOSTILE.
        assert!(!text.contains("\x1b[31m"), "{text}");
        let harm = harm(&text);
        assert!(harm.chars().all(|c| painted && c == '\x1b'), "{harm:?}");
        let forged = text
            .lines()
            .find(|line| line.starts_with("12:00:00.000 diagnosis"));
        assert_eq!(forged, None);
        assert!(text.contains("?gpj?"), "{text}");
    }
}

#[test]
fn json_is_one_object_a_line_and_says_what_there_was() {
    let mut json = Json::new(WallClock::with_boot(0), Verdict::Benign);
    outputs().iter().for_each(|output| json.accept(output));
    json.diagnosis(&diagnosed().report(), Timestamp(0), true);
    let text = String::from_utf8(json.take()).unwrap();
    assert_eq!(harm(&text), "");
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let streams = lines.iter().filter(|line| line["type"] == "stream");
    for stream in streams {
        assert_eq!(
            (&stream["comm"], &stream["method"]),
            (&HOSTILE.into(), &HOSTILE.into())
        );
    }
    let frame = lines.iter().find(|line| line["type"] == "frame").unwrap();
    assert_eq!(frame["fields"][0]["value"], HOSTILE);
}

#[test]
fn metrics_have_each_series_once() {
    let mut exporter = Exporter::new().unwrap();
    outputs().iter().for_each(|output| exporter.accept(output));
    // Another process whose name differs in what is not shown.
    let mut info = Arc::new(sample::connection());
    connection(&mut info);
    let twin = ConnectionInfo {
        comm: HOSTILE.replace('\u{202e}', "\u{202d}"),
        id: h2trace_core::connection::ConnectionId(99),
        ..ConnectionInfo::clone(&info)
    };
    exporter.accept(&Output::Connection(Arc::new(twin)));
    exporter.advance(sample::at(20_000));
    let page = exporter.scrape().encode(std::time::Duration::ZERO).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert_eq!(harm(&page), "");
    let series = page.lines().filter(|line| !line.starts_with('#'));
    let mut series: Vec<&str> = series
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    series.sort_unstable();
    let n_series = series.len();
    series.dedup();
    assert_eq!(series.len(), n_series);
    assert!(page.contains("?gpj?"), "{page}");
}
