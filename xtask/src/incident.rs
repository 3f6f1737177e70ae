//! The reference incident: `cargo xtask demo --incident` and `cargo xtask incident-matrix`, in tests/demo.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::{command, demo, privilege};

/// What the incident is made of.
#[derive(Args)]
pub(crate) struct Shape {
    /// Envoy's version
    #[arg(long, requires = "incident", value_parser = ["1.36.2", "1.37.0", "1.40.0"], default_value = "1.40.0")]
    envoy: String,

    /// The client
    #[arg(long, requires = "incident", value_enum, default_value_t = Client::GrpcJs1_12)]
    client: Client,

    /// The server
    #[arg(long, requires = "incident", value_enum, default_value_t = Server::GrpcGo1_70)]
    server: Server,

    /// The client calls the server without the proxy
    #[arg(long, requires = "incident")]
    no_proxy: bool,

    /// Bytes of each response
    #[arg(long, requires = "incident", default_value_t = 11_000)]
    size: u32,

    /// Calls in flight
    #[arg(long, requires = "incident", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    concurrency: u32,

    /// Calls [default: 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) calls: Option<u32>,

    /// Envoy's worker threads
    #[arg(long, requires = "incident", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    workers: u32,

    /// Envoy's guard `allow_multiplexed_upstream_half_close` is on
    #[arg(long, requires = "incident")]
    half_close: bool,
}

/// A client that `cargo xtask setup` installs.
#[derive(Clone, Copy, ValueEnum)]
enum Client {
    /// @grpc/grpc-js 1.12.6: sends END_STREAM late
    #[value(name = "grpc-js-1.12")]
    GrpcJs1_12,
    /// @grpc/grpc-js 1.14.7: sends END_STREAM with the message
    #[value(name = "grpc-js-1.14")]
    GrpcJs1_14,
    /// @connectrpc/connect-node 1.4.0: sends END_STREAM late
    #[value(name = "connect-node")]
    ConnectNode,
}

/// A server that `cargo xtask setup` installs.
#[derive(Clone, Copy, ValueEnum)]
enum Server {
    /// grpc-go 1.70.0: answers before END_STREAM, then resets with NO_ERROR
    #[value(name = "grpc-go-1.70")]
    GrpcGo1_70,
    /// grpc-go 1.85.0: waits for END_STREAM
    #[value(name = "grpc-go-1.85")]
    GrpcGo1_85,
}

/// What `cargo xtask incident-matrix` takes.
#[derive(Args)]
pub(crate) struct Matrix {
    /// Calls of each of the 144 shapes (and of the controls)
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,

    /// Only this version of Envoy (repeatable)
    #[arg(long, value_parser = ["1.36.2", "1.37.0", "1.40.0"])]
    envoy: Vec<String>,
}

/// Runs it once. Exit status 1 when h2trace and the client disagree about a call.
pub(crate) fn demo(shape: &Shape, root: &Path) -> anyhow::Result<ExitCode> {
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let envoy = if shape.no_proxy { "none" } else { &shape.envoy };
    run(
        root,
        &[
            "demo".to_owned(),
            envoy.to_owned(),
            name(shape.server.to_possible_value()),
            name(shape.client.to_possible_value()),
            shape.size.to_string(),
            shape.concurrency.to_string(),
            shape.calls.unwrap_or(1_000).to_string(),
            shape.workers.to_string(),
            shape.half_close.to_string(),
        ],
    )
}

/// Runs all shapes. Exit status 1 when one call is judged otherwise than it went.
pub(crate) fn matrix(options: &Matrix, root: &Path) -> anyhow::Result<ExitCode> {
    if let Some(refusal) = privilege::refuse("incident-matrix", "loads kernel programs") {
        return Ok(refusal);
    }
    let mut arguments = vec!["matrix".to_owned(), options.calls.to_string()];
    arguments.extend(options.envoy.iter().cloned());
    run(root, &arguments)
}

fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let build = ["build", "--release", "--locked", "--package", "tracer-user"];
    command::run(command::cargo(root).args(build))?;
    let mut incident = command::cargo(root);
    incident.args(["run", "--quiet", "--locked"]);
    incident.args(["--package", "tracer-tests", "--bin", "incident-demo", "--"]);
    incident.args(arguments);
    incident.env("H2TRACE_BINARY", demo::release_binary(root));
    let status = incident
        .status()
        .with_context(|| format!("cannot run {}", command::shown(&incident)))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
