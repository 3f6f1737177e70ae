//! What is reported, how, and what of it makes the exit status 1.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use h2trace_core::anomaly::kind::Verdict;

/// Header fields beyond the allow-list.
#[derive(Args, Clone, Debug, Default)]
pub struct HeaderArgs {
    /// Show the value of one more header field, such as x-request-id (repeatable)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub header: Vec<String>,
}

/// What is known of ports.
#[derive(Args, Clone, Debug, Default)]
pub struct Http2Args {
    /// Servers speak HTTP/2 on this TCP port: connections that are older than the trace or the file are decoded there
    /// from their first whole frame, not only when they prove to be HTTP/2 (repeatable)
    #[arg(
        long, value_name = "PORT", value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub http2: Vec<u16>,
}

/// What the commands take that report streams and findings.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,

    /// Which findings to print
    #[arg(long, value_enum, default_value_t)]
    pub findings: Findings,

    /// Exit with status 1 if there was a finding at least this bad
    #[arg(long, value_enum, value_name = "VERDICT")]
    pub fail_on: Option<FailOn>,
}

impl ReportArgs {
    /// The exit status of a run whose worst finding was this.
    #[must_use]
    pub fn exit_code(&self, worst: Option<Verdict>) -> ExitCode {
        match self.fail_on {
            Some(fail_on) if worst >= Some(fail_on.verdict()) => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        }
    }
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object a line (see: h2trace generate schema)
    Json,
}

/// Which findings to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Findings {
    /// Suspicious ones and anomalies
    #[default]
    Bad,
    /// Benign, expected and unknown ones too
    All,
}

impl Findings {
    /// The least bad verdict that is printed.
    #[must_use]
    pub const fn shown_from(self) -> Verdict {
        match self {
            Findings::Bad => Verdict::Suspicious,
            Findings::All => Verdict::Benign,
        }
    }
}

/// What makes the exit status 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Something broke
    Anomaly,
    /// Worth a look, or worse
    Suspicious,
}

impl FailOn {
    /// The least bad verdict that fails.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            FailOn::Anomaly => Verdict::Anomaly,
            FailOn::Suspicious => Verdict::Suspicious,
        }
    }
}
