//! How outputs are printed.

use h2trace_core::pipeline::{Output, Sink};

use crate::diagnosis::Diagnosis;
use crate::export::clock::monotonic_now;
use crate::export::json::Json;
use crate::export::tally::Summary;
use crate::export::text::Text;

/// How outputs are printed.
pub enum Front {
    /// Not at all: `serve`.
    Silent,
    /// For people.
    Text(Text),
    /// For programs.
    Json(Json),
}

impl Front {
    /// Bytes that wait to be taken.
    pub(super) fn len(&self) -> usize {
        match self {
            Front::Silent => 0,
            Front::Text(text) => text.len(),
            Front::Json(json) => json.len(),
        }
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        match self {
            Front::Silent => Vec::new(),
            Front::Text(text) => text.take(),
            Front::Json(json) => json.take(),
        }
    }

    pub(super) fn kernel_loss(&mut self, cause: &'static str, lost: u64) {
        match self {
            Front::Silent => {}
            Front::Text(text) => text.kernel_loss(cause, lost),
            Front::Json(json) => json.kernel_loss(cause, lost),
        }
    }

    /// What broke so far, live.
    pub(super) fn diagnosis(&mut self, diagnosis: &Diagnosis) {
        match self {
            Front::Silent => {}
            Front::Text(text) => text.diagnosis(&diagnosis.report()),
            Front::Json(json) => json.diagnosis(&diagnosis.report(), monotonic_now(), false),
        }
    }

    /// The end: programs find the summary on the last line, people the diagnosis.
    pub(super) fn summary(&mut self, summary: &Summary<'_>, diagnosis: &Diagnosis) {
        match self {
            Front::Silent => {}
            Front::Text(text) => {
                text.summary(summary);
                text.diagnosis(&diagnosis.report());
            }
            Front::Json(json) => {
                json.diagnosis(&diagnosis.report(), summary.at, true);
                json.summary(summary);
            }
        }
    }
}

impl Sink for Front {
    fn accept(&mut self, output: &Output) {
        match self {
            Front::Silent => {}
            Front::Text(text) => text.accept(output),
            Front::Json(json) => json.accept(output),
        }
    }
}
