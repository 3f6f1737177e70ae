//! Drives a pipeline with records or with a capture file, and says what came out.

use std::io::Cursor;

use h2trace::capture::{Capture, CaptureError, Reassembly};
use h2trace_core::anomaly::kind::{Finding, Verdict};
use h2trace_core::event::decode::decode;
use h2trace_core::event::{Event, Timestamp};
use h2trace_core::pipeline::{Frames, Output, Pipeline, PipelineSettings, Sink};
use h2trace_core::stream::record::{Outcome, StreamRecord};
use proptest::prelude::*;
use tracer_tests::conversation::Side;
use tracer_tests::conversation::records::Record;

/// What a pipeline said.
#[derive(Default)]
pub(crate) struct Outputs(pub(crate) Vec<Output>);

impl Sink for Outputs {
    fn accept(&mut self, output: &Output) {
        self.0.push(output.clone());
    }
}

impl Outputs {
    /// All findings, those of streams too.
    pub(crate) fn findings(&self) -> Vec<&Finding> {
        let findings = self.0.iter().flat_map(|output| match output {
            Output::Stream { findings, .. } => findings.iter().collect(),
            Output::Finding { finding, .. } => vec![finding],
            _ => Vec::new(),
        });
        findings.collect()
    }

    /// Findings that say that something may be wrong.
    pub(crate) fn loud(&self) -> Vec<String> {
        let findings = self.findings().into_iter();
        findings
            .filter(|finding| finding.verdict >= Verdict::Suspicious)
            .map(|finding| format!("{} {}", finding.kind.as_str(), finding.stream_id))
            .collect()
    }

    /// Records of streams that ended.
    pub(crate) fn streams(&self) -> Vec<&StreamRecord> {
        let streams = self.0.iter().filter_map(|output| match output {
            Output::Stream { record, .. } => Some(&**record),
            _ => None,
        });
        streams.collect()
    }

    /// Streams with this outcome.
    pub(crate) fn outcomes(&self, outcome: Outcome) -> usize {
        let streams = self.streams().into_iter();
        streams.filter(|record| record.outcome == outcome).count()
    }

    /// What holds of everything that is ever said.
    pub(crate) fn check(&self) {
        for finding in self.findings() {
            let (kind, verdict) = (finding.kind, finding.verdict);
            let may = verdict == Verdict::Unknown || kind.verdicts().contains(&verdict);
            assert!(may, "{} may not be {}", kind.as_str(), verdict.as_str());
        }
        let opened = |output: &&Output| matches!(output, Output::StreamOpened { .. });
        assert_eq!(self.0.iter().filter(opened).count(), self.streams().len());
    }

    /// One line a stream, finding, loss and connection end, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.0.iter().map(|output| format!("{output:?}"));
        lines.collect()
    }
}

pub(crate) fn pipeline(frames: Frames) -> Pipeline {
    Pipeline::new(PipelineSettings::default()).telling(frames)
}

/// When the trace ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Right after the last record.
    AtOnce,
    /// Long after it.
    Late,
}

/// Long enough for every linger.
pub(crate) const LATER_NS: u64 = 120_000_000_000;

pub(crate) fn side() -> impl Strategy<Value = Side> {
    prop::sample::select(vec![Side::Client, Side::Server])
}

/// Puts records through a pipeline, until long after the last of them.
pub(crate) fn of_records(records: &[Record]) -> Outputs {
    of_records_until(records, Ends::Late)
}

/// Puts records through a pipeline, to the end of the trace.
pub(crate) fn of_records_until(records: &[Record], ends: Ends) -> Outputs {
    let pipeline = pipeline(Frames::Untold);
    drive(pipeline, records, ends, |record| decode(record).unwrap())
}

/// What is said of records besides their frames when the frames are told too: each is read step by step then.
pub(crate) fn of_records_by_steps(records: &[Record], ends: Ends) -> Outputs {
    let pipeline = pipeline(Frames::Redacted);
    let mut said = drive(pipeline, records, ends, |record| decode(record).unwrap());
    let is_frame = |output: &Output| matches!(output, Output::Frame { .. });
    said.0.retain(|output| !is_frame(output));
    said
}

/// The same of records of which some may be none.
pub(crate) fn of_any_records(records: &[Record]) -> Outputs {
    let good: Vec<Record> = records
        .iter()
        .filter(|record| decode(&record.bytes).is_ok())
        .cloned()
        .collect();
    of_records(&good)
}

fn drive(
    mut pipeline: Pipeline,
    records: &[Record],
    ends: Ends,
    read: impl Fn(&[u8]) -> Event<'_>,
) -> Outputs {
    let mut said = Outputs::default();
    let mut now = Timestamp(0);
    for record in records {
        let event = read(&record.bytes);
        now = now.max(event.at);
        pipeline.handle(&event, &mut said);
        pipeline.advance(now, &mut said);
    }
    if ends == Ends::Late {
        now = Timestamp(now.0.saturating_add(LATER_NS));
        pipeline.advance(now, &mut said);
    }
    pipeline.finish(now, &mut said);
    said.check();
    said
}

/// Puts a capture file through a pipeline, as `h2trace replay` does.
pub(crate) fn of_capture(file: &[u8]) -> Outputs {
    let (said, error) = of_any_capture(file);
    assert!(error.is_none(), "{error:?}");
    said
}

/// The same of a file that may be broken: what it says up to there, and how it is broken.
pub(crate) fn of_any_capture(file: &[u8]) -> (Outputs, Option<CaptureError>) {
    replay(file, Frames::Untold)
}

/// The same of a whole file, with its frames.
pub(crate) fn of_capture_with_frames(file: &[u8]) -> Outputs {
    let (said, error) = replay(file, Frames::Redacted);
    assert!(error.is_none(), "{error:?}");
    said
}

fn replay(file: &[u8], frames: Frames) -> (Outputs, Option<CaptureError>) {
    let mut said = Outputs::default();
    let mut pipeline = pipeline(frames);
    let mut reassembly = Reassembly::new(None);
    let mut capture = match Capture::open(Cursor::new(file)) {
        Ok(capture) => capture,
        Err(error) => return (said, Some(error)),
    };
    let mut now = Timestamp(0);
    let error = loop {
        let packet = match capture.packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        now = now.max(packet.at);
        reassembly.packet(&packet, &mut |event| pipeline.handle(event, &mut said));
        pipeline.advance(reassembly.settled(), &mut said);
    };
    reassembly.finish(&mut |event| pipeline.handle(event, &mut said));
    pipeline.finish(now, &mut said);
    said.check();
    (said, error)
}
