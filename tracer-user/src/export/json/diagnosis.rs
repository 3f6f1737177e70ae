//! What broke, and what to change.

use h2trace_core::event::Timestamp;
use serde::Serialize;

use super::line::Head;
use crate::diagnosis::Report;
use crate::export::clock::WallClock;

/// The line of type `diagnosis`.
#[derive(Serialize)]
pub(super) struct DiagnosisLine<'a> {
    #[serde(flatten)]
    head: Head,
    /// The run is over.
    last: bool,
    #[serde(flatten)]
    report: &'a Report,
}

impl<'a> DiagnosisLine<'a> {
    pub(super) fn new(clock: WallClock, at: Timestamp, report: &'a Report, last: bool) -> Self {
        Self {
            head: Head::new("diagnosis", clock, at),
            last,
            report,
        }
    }
}
