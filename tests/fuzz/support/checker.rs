//! What came out of a pipeline, and how it is printed.

use std::collections::BTreeMap;

use h2trace::export::clock::WallClock;
use h2trace::export::json::Json;
use h2trace::export::text::{COLUMNS, Paint, Text};
use h2trace_core::anomaly::kind::Verdict;
use h2trace_core::pipeline::{Frames, Output, Pipeline, PipelineSettings, Sink};

use crate::sound::{finding_is_sound, record_is_sound};

/// Checks what it is told, and prints it.
pub struct Checker {
    /// One line for everything that does not depend on how the input was cut.
    pub lines: Vec<String>,
    open: BTreeMap<u64, i64>,
    json: Json,
    text: Text,
}

impl Default for Checker {
    fn default() -> Checker {
        let clock = WallClock::with_boot(0);
        Checker {
            lines: Vec::new(),
            open: BTreeMap::new(),
            json: Json::new(clock, Verdict::Benign),
            text: Text::new(clock, Paint::new(false), COLUMNS, Verdict::Benign),
        }
    }
}

impl Sink for Checker {
    fn accept(&mut self, output: &Output) {
        match output {
            Output::StreamOpened { info } => *self.open.entry(info.id.0).or_default() += 1,
            Output::Stream {
                info,
                record,
                findings,
            } => {
                let open = self.open.entry(info.id.0).or_default();
                *open -= 1;
                assert!(*open >= 0, "a stream ended that was not opened");
                record_is_sound(record);
                for finding in findings {
                    finding_is_sound(finding);
                }
            }
            Output::Finding { finding, .. } => finding_is_sound(finding),
            _ => {}
        }
        match output {
            // What is lost before a connection is known is not told; when that is depends on the cuts.
            Output::Loss(_) | Output::Frame { .. } => {}
            output => self.lines.push(format!("{output:?}")),
        }
        self.json.accept(output);
        self.text.accept(output);
    }
}

impl Checker {
    /// The trace is over: every stream has ended, and what was printed can be read.
    pub fn over(&mut self, pipeline: &Pipeline) {
        assert_eq!(pipeline.live(), h2trace_core::pipeline::Live::default());
        assert!(
            self.open.values().all(|open| *open == 0),
            "a stream never ended"
        );
        for line in self.json.take().split(|byte| *byte == b'\n') {
            if !line.is_empty() {
                let value: Result<serde_json::Value, _> = serde_json::from_slice(line);
                assert!(
                    value.is_ok_and(|value| value.is_object()),
                    "a line that is no JSON"
                );
            }
        }
        let text = String::from_utf8(self.text.take()).expect("text that is no UTF-8");
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(control), "a control character: {text:?}");
    }
}

/// A pipeline that knows no names.
pub fn pipeline(frames: Frames) -> Pipeline {
    Pipeline::new(PipelineSettings::default()).telling(frames)
}
