//! The reference incident with real parts, for people: `cargo xtask demo --incident` runs it once and sets what
//! the parts say of themselves beside what h2trace says; `cargo xtask incident-matrix` runs it in all its shapes.
//! Both compare call by call, and exit with status 1 when h2trace and the client disagree.
//!
//! Arguments: `demo ENVOY|none SERVER CLIENT SIZE CONCURRENCY CALLS WORKERS HALF_CLOSE`, or `matrix CALLS [ENVOY...]`.

mod group;
mod matrix;
mod shown;

use std::process::ExitCode;

use group::{Job, Parts};
use tracer_tests::envoy::Version;
use tracer_tests::peer::Peer;

const ENVOYS: [Version; 3] = [Version("1.36.2"), Version("1.37.0"), Version("1.40.0")];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["demo", rest @ ..] => demo(rest),
        ["matrix", calls, versions @ ..] => matrix(calls, versions),
        _ => None,
    };
    done.unwrap_or_else(|| {
        eprintln!(
            "usage: incident-demo demo ENVOY|none SERVER CLIENT SIZE CONCURRENCY CALLS WORKERS HALF_CLOSE\n\
             \x20      incident-demo matrix CALLS [ENVOY...]"
        );
        ExitCode::from(2)
    })
}

fn matrix(calls: &str, versions: &[&str]) -> Option<ExitCode> {
    let calls = calls.parse().ok()?;
    let envoys: Option<Vec<Version>> = versions.iter().map(|version| known(version)).collect();
    Some(match envoys? {
        none if none.is_empty() => matrix::run(calls, &ENVOYS),
        some => matrix::run(calls, &some),
    })
}

fn known(version: &str) -> Option<Version> {
    ENVOYS.into_iter().find(|envoy| envoy.0 == version)
}

fn demo(arguments: &[&str]) -> Option<ExitCode> {
    let [
        version,
        server,
        client,
        size,
        at_once,
        calls,
        workers,
        half_close,
    ] = arguments
    else {
        return None;
    };
    let envoy = match *version {
        "none" => None,
        version => Some(known(version)?),
    };
    let parts = Parts {
        envoy,
        server: match *server {
            "grpc-go-1.70" => Peer::GrpcGo1_70,
            "grpc-go-1.85" => Peer::GrpcGo1_85,
            _ => return None,
        },
        workers: workers.parse().ok()?,
        half_close: half_close.parse().ok()?,
    };
    let job = Job {
        client: match *client {
            "grpc-js-1.12" => Peer::GrpcJs1_12,
            "grpc-js-1.14" => Peer::GrpcJs1_14,
            "connect-node" => Peer::ConnectNode,
            _ => return None,
        },
        response_bytes: size.parse().ok()?,
        at_once: at_once.parse().ok()?,
        calls: calls.parse().ok()?,
    };
    Some(shown::run(parts, job))
}
