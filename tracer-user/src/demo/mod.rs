//! `h2trace demo`: a gRPC call that fails behind a proxy with a clean log, traced live.
//!
//! Three real processes talk real HTTP/2 over loopback: a server that answers early and then resets
//! the half-open request with NO_ERROR, as grpc-go does; a proxy that throws away what it still holds
//! when that reset comes, as Envoy before 1.37 did; and a client with the usual windows of 65,535
//! bytes. The tracer watches the three of them, and the demo prints what each of them said beside what
//! h2trace saw. Nothing is needed but the kernel.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::kernel;
use crate::plain;
use children::Children;
use live::DemoTracer;

mod children;
mod client;
mod live;
mod part;
mod proxy;
mod report;
mod seen;
mod serve;
mod server;

/// What `h2trace demo` takes.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    // Each call has one empty DATA frame, and `h2` ends a connection with ENHANCE_YOUR_CALM after 100 of them
    // that nobody read.
    /// Calls that the client makes
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub calls: u32,

    /// Calls in flight at once
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub in_flight: u32,

    /// Use a proxy without the defect: no call fails, and h2trace flags nothing
    #[arg(long)]
    pub healthy: bool,

    /// Run one of the three processes (the demo starts itself with this)
    #[arg(long, hide = true, value_enum)]
    pub part: Option<Part>,

    /// Where the proxy or the client connects to
    #[arg(long, hide = true)]
    pub connect: Option<SocketAddr>,
}

/// One of the three processes of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Answers early.
    Server,
    /// Throws away what it holds.
    Proxy,
    /// Makes the calls.
    Client,
}

impl Part {
    /// The process's name (`comm`).
    #[must_use]
    pub const fn comm(self) -> &'static str {
        match self {
            Part::Server => "demo-server",
            Part::Proxy => "demo-proxy",
            Part::Client => "demo-client",
        }
    }

    /// The value of `--part`.
    const fn argument(self) -> &'static str {
        match self {
            Part::Server => "server",
            Part::Proxy => "proxy",
            Part::Client => "client",
        }
    }
}

/// Runs the demo, or one of its processes.
///
/// The exit status is 0 when h2trace and the client name the same calls, else 1.
///
/// # Errors
/// When a process cannot be started or the tracer cannot be loaded.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    if let Some(part) = args.part {
        return part::run(part, args).with_context(|| format!("{} failed", part.comm()));
    }
    kernel::check_privileges()?;
    eprintln!("h2trace demo: starting a server, a proxy and a client");
    let mut children = Children::start(args)?;
    let pids = [Part::Client, Part::Proxy, Part::Server].map(|part| children.pid(part));
    eprintln!("h2trace demo: loading the kernel programs, for these three processes alone");
    let live = DemoTracer::start(&pids)?;
    eprintln!("h2trace demo: making {} calls", args.calls);
    let n_calls = usize::try_from(args.calls).unwrap_or(usize::MAX);
    let (said, seen, metrics) = live.watch(n_calls, || children.call())?;
    let report = report::write(&report::Scene {
        in_flight: args.in_flight,
        healthy: args.healthy,
        pids,
        said: &said,
        seen: &seen,
        metrics: &metrics,
    });
    eprintln!();
    let text = report.lines.join("\n") + "\n";
    std::io::stdout()
        .write_all(plain::lines(&text).as_bytes())
        .context("cannot write to standard output")?;
    Ok(if report.agrees {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
