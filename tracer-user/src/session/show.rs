//! Which outputs are printed.

use std::sync::Arc;

use clap::ValueEnum;

use h2trace_core::pipeline::Output;

/// What replay prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// Connections: seen, ended, GOAWAY, and what could not be decoded
    Connections,
    /// Every frame
    Frames,
    /// Every stream that ended
    Streams,
    /// Both sides of every request at a proxy
    Hops,
    /// Findings
    Findings,
}

/// What `--show` asked for.
#[derive(Clone, Debug)]
pub struct Wanted(Vec<Show>);

impl Wanted {
    /// These, and nothing else.
    #[must_use]
    pub fn new(show: Vec<Show>) -> Self {
        Wanted(show)
    }

    /// This is printed.
    #[must_use]
    pub fn wants(&self, show: Show) -> bool {
        self.0.contains(&show)
    }

    /// Hands on what of an output is to be printed.
    pub fn pass(&self, output: &Output, print: &mut dyn FnMut(&Output)) {
        match output {
            Output::Frame { .. } => print(output),
            Output::Connection(_)
            | Output::ConnectionEnded { .. }
            | Output::BytesUnseen { .. }
            | Output::GoAway { .. }
            | Output::Loss(_) => {
                if self.wants(Show::Connections) {
                    print(output);
                }
            }
            Output::StreamOpened { .. } => {}
            Output::Stream {
                info,
                record,
                findings,
            } => match (self.wants(Show::Streams), self.wants(Show::Findings)) {
                (true, true) => print(output),
                (true, false) => print(&Output::Stream {
                    info: Arc::clone(info),
                    record: Arc::clone(record),
                    findings: Vec::new(),
                }),
                (false, true) => {
                    for finding in findings {
                        print(&Output::Finding {
                            info: Arc::clone(info),
                            finding: finding.clone(),
                        });
                    }
                }
                (false, false) => {}
            },
            // The front knows whether hops are wanted beside what was found about them.
            Output::Hop { request, .. } => {
                match (self.wants(Show::Hops), self.wants(Show::Findings)) {
                    (_, true) => print(output),
                    (true, false) => print(&Output::Hop {
                        request: request.clone(),
                        findings: Vec::new(),
                    }),
                    (false, false) => {}
                }
            }
            Output::Lone(_) => {
                if self.wants(Show::Hops) {
                    print(output);
                }
            }
            Output::Finding { .. } => {
                if self.wants(Show::Findings) {
                    print(output);
                }
            }
        }
    }
}
