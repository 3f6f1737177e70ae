//! TLS that the kernel programs open by themselves: no body is copied, and what is told is what is told in clear.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use tracer_tests::identity::Identity;
use tracer_tests::process::Process;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, free_port, require};

use crate::{RUN, SETTLE};

/// Bytes of the page.
const PAGE: usize = 250_000;
/// How often it is asked for, on one connection.
const CALLS: usize = 150;

/// nghttpd with a long page, in TLS or in clear; it listens.
fn nghttpd(folder: &Path, identity: Option<&Identity>) -> (Process, u16) {
    std::fs::write(folder.join("page"), vec![b'x'; PAGE]).expect("cannot write a page");
    let port = free_port();
    let mut command = Command::new("nghttpd");
    command.args(["--address", "127.0.0.1", "--htdocs"]);
    command.arg(folder);
    if identity.is_none() {
        command.arg("--no-tls");
    }
    command.arg(port.to_string());
    if let Some(identity) = identity {
        command.args(identity.files());
    }
    let process = Process::start("nghttpd", &mut command);
    let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(eventually(SETTLE, listens), "nghttpd does not listen");
    (process, port)
}

/// What a trace says of each call, but for what differs from call to call.
fn told(trace: &Trace) -> Vec<Value> {
    let mut told: Vec<Value> = trace
        .streams
        .iter()
        .map(|stream| {
            let of = |name: &str| stream.0[name].clone();
            json!([
                of("stream_id"),
                of("http_status"),
                of("response_bytes"),
                of("bytes_known"),
                of("request_phase"),
                of("response_phase"),
                of("end"),
                of("outcome"),
                of("whole"),
                of("response_end_on"),
            ])
        })
        .collect();
    told.sort_by_key(|told| told[0].as_u64());
    told
}

/// Calls on one connection, one after the other; in TLS at a pace.
fn calls(port: u16, identity: Option<&Identity>, options: &[&str]) {
    let mut command = match identity {
        Some(_) => Command::new("curl"),
        None => Command::new("h2load"),
    };
    if identity.is_some() {
        command.args(["--silent", "--insecure", "--output", "/dev/null", "--http2"]);
        command.args(["--limit-rate", "10M"]).args(options);
        command.arg(format!("https://localhost:{port}/page?[1-{CALLS}]"));
    } else {
        command.args(["-c", "1", "-m", "1", "-n", &CALLS.to_string()]);
        command.arg(format!("http://127.0.0.1:{port}/page"));
    }
    let mut client = Process::start("a client", &mut command);
    assert!(client.wait(RUN).success(), "the client fails: {options:?}");
}

/// The trace of such calls, and how many bytes were copied.
fn traced(identity: Option<&Identity>, folder: &Path, options: &[&str]) -> (Trace, u64) {
    let (nghttpd, port) = nghttpd(folder, identity);
    let tracer = if identity.is_some() {
        Tracer::opening_in_kernel(&[nghttpd.pid()])
    } else {
        Tracer::start(&[nghttpd.pid()])
    };
    calls(port, identity, options);
    let n = || Trace::read(&tracer.process.lines()).streams.len();
    eventually(SETTLE, || n() >= CALLS);
    let trace = tracer.finish();
    let summary = trace.summary.clone().expect("a summary");
    let copied = summary["kernel"]["bytes_copied"].as_u64();
    (trace, copied.expect("a number"))
}

#[test]
fn long_answers_are_told_as_in_clear_and_not_copied() {
    require!(
        Privileges,
        Program("nghttpd"),
        Program("curl"),
        Program("h2load"),
        Program("openssl")
    );
    let folder = TempDir::new().expect("cannot make a folder");
    let identity = Identity::new(folder.path());
    let (clear, _) = traced(None, folder.path(), &[]);
    assert_eq!(clear.streams.len(), CALLS);
    for options in [
        &["--tls13-ciphers", "TLS_AES_128_GCM_SHA256"][..],
        &["--tls13-ciphers", "TLS_AES_256_GCM_SHA384"],
        &[
            "--tls-max",
            "1.2",
            "--ciphers",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ],
        &[
            "--tls-max",
            "1.2",
            "--ciphers",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
        ],
    ] {
        let (trace, copied) = traced(Some(&identity), folder.path(), options);
        assert_eq!(told(&trace), told(&clear), "{options:?}");
        trace.assert_healthy();
        let all = (CALLS * PAGE) as u64;
        assert!(copied < all / 5, "{options:?}: {copied} of {all}");
    }
}
