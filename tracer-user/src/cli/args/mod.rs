//! The arguments as they are given. Their doc comments are the help.

mod common;
mod explain;
mod filter;
mod kubernetes;
mod pods;
mod report;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub use self::common::CommonArgs;
pub use self::explain::ExplainArgs;
pub use self::filter::FilterArgs;
pub use self::kubernetes::{KubernetesArgs, NamedBy};
pub use self::pods::PodArgs;
pub use self::report::{FailOn, Findings, Format, HeaderArgs, Http2Args, ReportArgs};
use crate::demo::DemoArgs;
use crate::session::show::Show;

/// Follows every HTTP/2 and gRPC stream of this host from the kernel and names the hop that broke it.
///
/// It needs no change to your applications: no proxy, no restart, no packet capture.
/// Every long option can also be given in the environment: --ready-file as H2TRACE_READY_FILE.
/// Exit status: 0 on success, 1 when --fail-on found something, 2 on error.
#[derive(Debug, Parser)]
#[command(
    name = "h2trace",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The command line as it is parsed. A long option of a command can be given in the environment, except for
/// `demo`.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command().mut_subcommands(|command| match command.get_name() {
        "demo" => command,
        _ => command.mut_args(in_environment),
    })
}

fn in_environment(arg: clap::Arg) -> clap::Arg {
    match arg.get_long() {
        Some(long) if !arg.is_hide_set() => {
            let name = format!("H2TRACE_{}", long.replace('-', "_").to_uppercase());
            arg.env(name).hide_env(true)
        }
        _ => arg,
    }
}

impl Cli {
    /// Parses a command line.
    ///
    /// # Errors
    /// It is wrong, or asks for help or the version.
    pub fn read<I, T>(arguments: I) -> Result<Cli, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(arguments)?;
        Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Trace continuously and serve Prometheus metrics: /metrics, /healthz, /readyz
    Serve(ServeArgs),
    /// Trace some processes now: one line per stream, and what broke, frame by frame
    Trace(TraceArgs),
    /// Trace and write everything to a pcapng file for Wireshark, bodies included
    Record(RecordArgs),
    /// Decode a capture file (pcap, pcapng, gzip or not) in the same way; needs no privileges
    Replay(ReplayArgs),
    /// Print what this kernel and these privileges allow, and the remedy for what is missing
    Doctor(DoctorArgs),
    /// Explain a finding: what it means, what causes it, what to do; or find the causes of an error text
    Explain(ExplainArgs),
    /// See it work: a gRPC call that a proxy breaks, traced live and explained frame by frame
    Demo(DemoArgs),
    /// Print shell completions, man pages, the JSON Schema or the table of metrics
    Generate(GenerateArgs),
}

impl Command {
    /// The kernel programs' debug messages are wanted.
    #[must_use]
    pub const fn kernel_log(&self) -> bool {
        match self {
            Command::Serve(args) => args.common.kernel_log,
            Command::Trace(args) => args.common.kernel_log,
            Command::Record(args) => args.trace.common.kernel_log,
            Command::Replay(_)
            | Command::Explain(_)
            | Command::Doctor(_)
            | Command::Demo(_)
            | Command::Generate(_) => false,
        }
    }
}

/// `h2trace serve`
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Address and port to serve on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:9464")]
    pub listen: SocketAddr,

    /// Serve /healthz and /readyz on this address and port too, apart from those who scrape
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub health_listen: Option<SocketAddr>,

    /// TLS and basic authentication for --listen: a file as Prometheus' exporters have it
    #[arg(long, value_name = "PATH")]
    pub web_config_file: Option<PathBuf>,

    /// Ask the API server of Kubernetes who may scrape, by his bearer token (TokenReview, SubjectAccessReview)
    #[arg(long)]
    pub kubernetes_auth: bool,

    #[command(flatten)]
    pub common: CommonArgs,

    #[command(flatten)]
    pub filter: FilterArgs,
}

/// `h2trace trace`
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// Stop after this time: 500ms, 30s, 5m, 1h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub duration: Option<Duration>,

    /// Stop after this many streams
    #[arg(long, value_name = "STREAMS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// What to print; by default connections, streams and findings (and hops with --output json)
    #[arg(long, value_enum, value_delimiter = ',')]
    pub show: Vec<ShowLive>,

    /// Print a diagnosis at this interval if something broke since the last one (and at the end)
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub report_every: Duration,

    #[command(flatten)]
    pub report: ReportArgs,

    #[command(flatten)]
    pub common: CommonArgs,

    #[command(flatten)]
    pub filter: FilterArgs,

    /// The whole host
    #[arg(
        long,
        help_heading = "What to trace (different options: and; several values: or)",
        conflicts_with_all = ["pid", "comm", "cgroup", "netns", "port", "pod", "selector", "namespace", "container"]
    )]
    pub all: bool,

    /// Begin when a line comes on standard input, and end when that ends: for kubectl h2trace
    #[arg(long, hide = true)]
    pub held_by_stdin: bool,
}

/// `h2trace record`
#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// The file to write (mode 0600, an existing one is replaced); - is standard output
    #[arg(long, short, value_name = "FILE")]
    pub write: PathBuf,

    /// Confirm that the file may hold bodies and credentials of the traced processes
    #[arg(long)]
    pub include_payload: bool,

    /// Stop before the file becomes larger than this: 500k, 100m, 2g
    #[arg(long, value_name = "SIZE", default_value = "1g", value_parser = size)]
    pub max_size: u64,

    #[command(flatten)]
    pub trace: TraceArgs,
}

/// `h2trace replay`
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// The capture: pcap or pcapng, gzip or not; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// What to print
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = [Show::Connections, Show::Streams, Show::Findings]
    )]
    pub show: Vec<Show>,

    /// Which header values to print: those on the allow-list, or all of them (the file is yours)
    #[arg(long, value_enum, default_value_t)]
    pub headers: Headers,

    #[command(flatten)]
    pub header: HeaderArgs,

    #[command(flatten)]
    pub report: ReportArgs,

    /// Only TCP connections with this port at either end
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    #[command(flatten)]
    pub http2: Http2Args,

    /// Open TLS with the secrets of this key log (SSLKEYLOGFILE); the capture's own secrets are used as well
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE")]
    pub keylog: Option<PathBuf>,
}

/// `h2trace doctor`
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// `h2trace generate`
#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    /// What to print.
    #[command(subcommand)]
    pub what: Generated,
}

/// What can be generated.
#[derive(Clone, Debug, Subcommand)]
pub enum Generated {
    /// Completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Man pages: h2trace(1) on standard output, or one file a command
    Man {
        /// Write the pages of all commands into this directory
        #[arg(long, value_name = "DIRECTORY")]
        dir: Option<PathBuf>,
    },
    /// The JSON Schema of the lines that --output json prints
    Schema,
    /// The table of all metrics, in Markdown
    Metrics,
}

/// What trace prints. Single frames are not told live: the kernel programs copy no payload for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShowLive {
    /// Connections: seen, ended, GOAWAY, and what could not be decoded
    Connections,
    /// Every stream that ended
    Streams,
    /// Both sides of every request at a proxy
    Hops,
    /// Findings
    Findings,
}

impl From<ShowLive> for Show {
    fn from(show: ShowLive) -> Show {
        match show {
            ShowLive::Connections => Show::Connections,
            ShowLive::Streams => Show::Streams,
            ShowLive::Hops => Show::Hops,
            ShowLive::Findings => Show::Findings,
        }
    }
}

/// Which header values are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Headers {
    /// Those on the allow-list, and those that --header adds
    #[default]
    Allowed,
    /// All of them, credentials included, and the first 16 bytes of what stands in place of a gRPC message
    All,
}

/// A number of bytes, with or without its unit.
fn size(given: &str) -> Result<u64, String> {
    let wrong = || "give a number of bytes, or one with k, m or g, such as 100m".to_owned();
    let at = given.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = given.split_at(at.unwrap_or(given.len()));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return Err(wrong()),
    };
    match number.checked_mul(factor) {
        Some(bytes) if bytes >= RECORDING_MIN => Ok(bytes),
        Some(_) => Err(format!("give at least {RECORDING_MIN} bytes")),
        None => Err(wrong()),
    }
}

/// Room for the head of a recording, its end and some packets.
const RECORDING_MIN: u64 = 4_096;

/// A number and its unit.
fn duration(given: &str) -> Result<Duration, String> {
    let wrong = || "give a number and ms, s, m or h, such as 30s".to_owned();
    let at = given
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(wrong)?;
    let (number, unit) = given.split_at(at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    match number.checked_mul(ms) {
        Some(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (given, want) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(duration(given), Ok(Duration::from_millis(want)));
        }
        for wrong in [
            "",
            "30",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "3d",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_may_have_a_unit() {
        for (given, want) in [
            ("4096", 4_096),
            ("500k", 512_000),
            ("100m", 104_857_600),
            ("2g", 1 << 31),
        ] {
            assert_eq!(size(given), Ok(want));
        }
        for wrong in ["", "m", "1", "1.5g", "3t", "-1m", "99999999999999999999g"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_and_environment_take_several_values() {
        let cli = Cli::read(["h2trace", "trace", "--pid", "1,2", "--pid", "3"]).unwrap();
        let Command::Trace(args) = cli.command else {
            panic!("not trace")
        };
        assert_eq!(args.filter.pid, [1, 2, 3]);
        for command in [&["trace", "--all"][..], &["serve"], &["replay", "x.pcap"]] {
            let told = ["--http2", "80,8080", "--http2", "50051"];
            let line = ["h2trace"].iter().chain(command).chain(&told);
            let ports = match Cli::read(line).unwrap().command {
                Command::Trace(args) => args.common.http2.http2,
                Command::Serve(args) => args.common.http2.http2,
                Command::Replay(args) => args.http2.http2,
                other => panic!("{other:?}"),
            };
            assert_eq!(ports, [80, 8_080, 50_051]);
        }
        let refused = Cli::read(["h2trace", "trace", "--all", "--pid", "1"]);
        assert!(refused.is_err());
    }
}
