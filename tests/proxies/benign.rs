//! What Envoy does to requests in good order: it changes their encoding, tries again, passes cancels on. No finding
//! about the proxy comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::call::{Calls, Mode, failed_ids};
use tracer_tests::envoy::{Envoy, EnvoyOptions, More, Version};
use tracer_tests::peer::{Client, Listen, Peer, Server};
use tracer_tests::process::Process;
use tracer_tests::require;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;

use crate::run::{RUN, SETTLE, id};

const ENVOY: Version = Version("1.40.0");

fn envoy(more: &More, upstream: &Server) -> Envoy {
    let options = EnvoyOptions {
        version: ENVOY,
        concurrency: 1,
        half_close: false,
        hide_ids: false,
    };
    Envoy::with(options, more, upstream.port())
}

/// Findings about requests at the proxy, by kind, but those that say that all is well.
fn found(trace: &Trace) -> BTreeMap<&str, usize> {
    let mut found = BTreeMap::new();
    for kind in trace.hops.iter().flat_map(|hop| hop.findings()) {
        if kind != "early_response_upstream" {
            *found.entry(kind).or_default() += 1;
        }
    }
    found
}

/// `SimpleRequest { response_size: 1000 }` as a gRPC message.
const MESSAGE: [u8; 8] = [0, 0, 0, 0, 3, 0x10, 0xe8, 0x07];

const N_CURL: usize = 5;

/// The same call several times by curl, through Envoy with this filter; what it said, and the trace.
#[track_caller]
fn by_curl(filter: String, fields: &[&str], body: &[u8]) -> (Vec<u8>, Trace) {
    let folder = TempDir::new().expect("cannot make a folder");
    let (file, out) = (folder.path().join("body"), folder.path().join("out"));
    std::fs::write(&file, body).expect("cannot write a body");
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let more = More {
        filter,
        ..More::default()
    };
    let envoy = envoy(&more, &server);
    let tracer = Tracer::start(&[envoy.pid(), server.pid()]);
    for n in 0..N_CURL {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--http2-prior-knowledge",
        ]);
        curl.args(["--max-time", "20", "--request", "POST", "--data-binary"]);
        curl.arg(format!("@{}", file.display()));
        curl.arg("--output").arg(&out);
        curl.args(["--header", &format!("x-call-id: c-{n}")]);
        for field in fields {
            curl.args(["--header", field]);
        }
        curl.arg(format!(
            "http://{}/grpc.testing.TestService/UnaryCall",
            envoy.address
        ));
        let status = Process::start("curl", &mut curl).wait(RUN);
        assert!(status.success(), "curl ended with {status}");
    }
    tracer.wait_for_streams(envoy.pid(), "client", N_CURL, SETTLE);
    tracer.wait_for_streams(envoy.pid(), "server", N_CURL, SETTLE);
    let trace = tracer.finish();
    let with_both = trace.hops.iter().filter(|hop| !hop.upstream().is_empty());
    assert_eq!(with_both.count(), N_CURL, "requests with both sides");
    (std::fs::read(&out).unwrap_or_default(), trace)
}

#[test]
fn grpc_web_loses_nothing() {
    require!(Privileges, ENVOY, Peer::GrpcGo1_85, Program("curl"));
    let filter = "- { name: envoy.filters.http.grpc_web, typed_config: { \
        \"@type\": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb } }";
    let fields = ["content-type: application/grpc-web"];
    let (said, trace) = by_curl(filter.to_owned(), &fields, &MESSAGE);
    assert!(
        said.windows(13).any(|bytes| bytes == b"grpc-status:0") && said.len() > 1_000,
        "no answer in gRPC-Web"
    );
    assert_eq!(found(&trace), BTreeMap::new());
    trace.assert_healthy();
}

#[test]
fn json_loses_nothing() {
    require!(
        Privileges,
        ENVOY,
        Peer::GrpcGo1_85,
        Program("curl"),
        Program("protoc")
    );
    let folder = TempDir::new().expect("cannot make a folder");
    let descriptor = folder.path().join("descriptor");
    let sources = tracer_tests::workspace().join("tests/peers/proto");
    let mut protoc = Command::new("protoc");
    protoc.arg("--include_imports").arg("-I").arg(&sources);
    protoc.arg("--descriptor_set_out").arg(&descriptor);
    protoc.arg(sources.join("test_service.proto"));
    let made = Process::start("protoc", &mut protoc).wait(RUN);
    assert!(made.success(), "protoc ended with {made}");
    let (said, trace) = by_curl(
        transcoder(&descriptor),
        &["content-type: application/json"],
        b"{\"response_size\": 1000}",
    );
    assert!(said.starts_with(b"{"), "no answer in JSON");
    assert_eq!(found(&trace), BTreeMap::new());
    trace.assert_healthy();
}

fn transcoder(descriptor: &Path) -> String {
    format!(
        "- {{ name: envoy.filters.http.grpc_json_transcoder, typed_config: {{ \"@type\": \
         type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder, \
         proto_descriptor: {}, services: [grpc.testing.TestService], auto_mapping: true }} }}",
        descriptor.display()
    )
}

#[test]
fn compression_over_grpc_is_told_and_loses_nothing() {
    require!(Privileges, ENVOY, Peer::GrpcGo1_85, Program("curl"));
    let filter = "- { name: envoy.filters.http.compressor, typed_config: { \
        \"@type\": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor, \
        response_direction_config: { common_config: { content_type: [application/grpc] } }, \
        compressor_library: { name: gzip, typed_config: { \
        \"@type\": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip } } } }";
    let fields = [
        "content-type: application/grpc",
        "te: trailers",
        "accept-encoding: gzip",
    ];
    let (said, trace) = by_curl(filter.to_owned(), &fields, &MESSAGE);
    assert!(
        said.starts_with(&[0x1f, 0x8b]),
        "no answer in gzip: {} bytes",
        said.len()
    );
    assert_eq!(found(&trace), BTreeMap::new());
    // No gRPC client would understand it: curl is none, and had asked for it.
    let flagged = trace.flagged();
    assert!(!flagged.is_empty());
    for finding in flagged {
        assert_eq!(finding.0["kind"], "malformed_fields", "{}", finding.0);
        assert_eq!(finding.verdict(), "suspicious", "{}", finding.0);
        let summary = finding.0["summary"].as_str().unwrap_or_default();
        assert!(summary.contains("content-encoding over gRPC"), "{summary}");
    }
    trace.assert_lossless();
}

#[test]
fn cancels_and_deadlines_are_the_clients() {
    require!(Privileges, ENVOY, Peer::GrpcGo1_85, Peer::GrpcJs1_14);
    // What a busy machine takes on the way is little beside such a deadline, and the answer comes long after it.
    let mut deadline = Calls::new(Mode::Deadline, 20).at_once(5);
    deadline.deadline_ms = 2_000;
    deadline = deadline.header("x-delay-ms:8000");
    let mut cancel = Calls::new(Mode::Cancel, 20).at_once(5).bytes(10, 20_000);
    (cancel.messages, cancel.interval_us) = (20, 2_000);
    for (calls, is_deadline) in [(deadline, true), (cancel, false)] {
        let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
        let envoy = envoy(&More::default(), &server);
        let mut client = Client::start(Peer::GrpcJs1_14, &envoy.address, &calls);
        let tracer = Tracer::start(&[client.pid(), envoy.pid(), server.pid()]);
        client.go();
        let calls = client.wait_until_done(RUN);
        tracer.wait_for_streams(envoy.pid(), "client", calls.len(), SETTLE);
        client.close();
        let trace = tracer.finish();
        assert_eq!(failed_ids(&calls).len(), calls.len());
        assert_eq!(trace.hops.len(), calls.len());
        // A client that is slow itself gives up a little before the deadline that it announced.
        let came = trace.hops.iter().map(|hop| &hop.0["deadline"]["part"]);
        let came: BTreeSet<&str> = came.filter_map(Value::as_str).collect();
        let server: &[&str] = if is_deadline { &["server"] } else { &[] };
        assert!(
            came.iter().eq(server),
            "what used the deadline up: {came:?}"
        );
        // When the server gave up first, Envoy answers by itself.
        let mut found = found(&trace);
        found.retain(|kind, _| !["proxy_translated_code", "synthesized_answer"].contains(kind));
        assert_eq!(found, BTreeMap::new());
        let bad: Vec<_> = trace
            .flagged()
            .into_iter()
            // Envoy tells the server of a cancel with INTERNAL_ERROR since 1.37; on its hop alone that reads as
            // a client's complaint.
            .filter(|f| f.verdict() != "expected" && f.kind() != "client_rejected_response")
            .collect();
        assert!(bad.is_empty(), "{}", bad[0].0);
        trace.assert_lossless();
    }
}

#[test]
fn retries_that_succeed_are_told_as_such() {
    require!(Privileges, ENVOY, Peer::ResetServer, Peer::GrpcJs1_14);
    for code in ["7", "2"] {
        let server = Server::start(Peer::ResetServer, Listen::Ipv4, &[]);
        let more = More {
            retry: ", retry_policy: { retry_on: \"refused-stream,reset\", num_retries: 3 }",
            ..More::default()
        };
        let envoy = envoy(&more, &server);
        // Envoy allows three retries at a time.
        let calls = Calls::new(Mode::Unary, 20).at_once(3);
        let calls = calls
            .header("x-reset-after:nothing")
            .header("x-reset-attempts:1");
        let calls = calls.header(format!("x-reset-code:{code}"));
        let mut client = Client::start(Peer::GrpcJs1_14, &envoy.address, &calls);
        let tracer = Tracer::start(&[client.pid(), envoy.pid(), server.pid()]);
        client.go();
        let calls = client.wait_until_done(RUN);
        tracer.wait_for_streams(envoy.pid(), "client", 2 * calls.len(), SETTLE);
        client.close();
        let trace = tracer.finish();
        assert_eq!(failed_ids(&calls), BTreeSet::new());
        assert_eq!(
            found(&trace),
            BTreeMap::from([("retry_hidden_failure", calls.len())])
        );
        for hop in &trace.hops {
            let of = hop.downstream();
            let upstream = hop.upstream();
            assert_eq!(upstream.len(), 2, "attempts of {:?}", id(&of));
            assert!(upstream.iter().all(|stream| id(stream) == id(&of)));
        }
        trace.assert_lossless();
    }
}

#[test]
fn responses_in_flight_are_not_judged() {
    require!(Privileges, ENVOY, Peer::GrpcGo1_85, Peer::GrpcJs1_14);
    let server = Server::start(Peer::GrpcGo1_85, Listen::Ipv4, &[]);
    let envoy = envoy(&More::default(), &server);
    let mut calls = Calls::new(Mode::ServerStream, 5)
        .at_once(5)
        .bytes(10, 30_000);
    (calls.messages, calls.interval_us) = (100, 100_000);
    let mut client = Client::start(Peer::GrpcJs1_14, &envoy.address, &calls);
    let tracer = Tracer::start(&[client.pid(), envoy.pid(), server.pid()]);
    client.go();
    std::thread::sleep(Duration::from_millis(1_500));
    let trace = tracer.finish();
    assert!(!trace.connections.is_empty(), "nothing was seen");
    assert_eq!(found(&trace), BTreeMap::new());
    trace.assert_healthy();
}
