//! TLS: what a handshake says in clear, and what a key log opens while it is written.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::identity::Identity;
use tracer_tests::process::Process;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, free_port, require, scaled, workspace};

use crate::{RUN, SETTLE};

/// nghttpd in TLS, with a page; it listens.
pub(crate) fn nghttpd(folder: &Path) -> (Process, u16) {
    let identity = Identity::new(folder);
    std::fs::write(folder.join("page"), vec![b'x'; 10_000]).expect("cannot write a page");
    let port = free_port();
    let mut command = Command::new("nghttpd");
    command
        .args(["--address", "127.0.0.1", "--htdocs"])
        .arg(folder);
    command.arg(port.to_string()).args(identity.files());
    let process = Process::start("nghttpd", &mut command);
    let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(eventually(SETTLE, listens), "nghttpd does not listen");
    (process, port)
}

/// What is said of connections, once each.
pub(crate) fn seen(trace: &Trace) -> Vec<&Value> {
    let connections = trace.connections.iter();
    connections.filter(|line| line["event"] == "seen").collect()
}

/// A version, a suite, curl's options for them, and what curl offers.
type Handshake = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const HANDSHAKES: [Handshake; 4] = [
    (
        "1.3",
        "TLS_AES_128_GCM_SHA256",
        &["--http2", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256"],
        &["h2", "http/1.1"],
    ),
    (
        "1.3",
        "TLS_CHACHA20_POLY1305_SHA256",
        &["--http2", "--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"],
        &["h2", "http/1.1"],
    ),
    (
        "1.2",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        &[
            "--http2",
            "--tls-max",
            "1.2",
            "--ciphers",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
        ],
        &["h2", "http/1.1"],
    ),
    (
        "1.3",
        "TLS_AES_128_GCM_SHA256",
        &["--http1.1", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256"],
        &["http/1.1"],
    ),
];

#[test]
fn what_a_handshake_says_in_clear_is_told_at_both_ends() {
    require!(
        Privileges,
        Program("nghttpd"),
        Program("curl"),
        Program("openssl")
    );
    for (version, suite, options, offers) in HANDSHAKES {
        let folder = TempDir::new().expect("cannot make a folder");
        let (server, port) = nghttpd(folder.path());
        let mut command = Command::new("curl");
        command.args(["--silent", "--insecure", "--output", "/dev/null"]);
        command.args(options);
        command.arg(format!("https://localhost:{port}/page"));
        let mut client = Process::start_held("curl", &command);
        let (at_client, at_server) = (client.pid(), server.pid());
        let tracer = Tracer::start(&[at_server, at_client]);
        client.write_line("go");
        let status = client.wait(RUN);
        // nghttpd speaks HTTP/2 alone.
        assert_eq!(status.success(), offers.contains(&"h2"), "curl: {status}");
        let is_told = || seen(&Trace::read(&tracer.process.lines())).len() >= 2;
        eventually(SETTLE, is_told);
        let trace = tracer.finish();
        let mut ends = Vec::new();
        for line in seen(&trace) {
            let tls = &line["tls"];
            assert_eq!(line["protocol"], "tls", "{line}");
            assert_eq!(tls["alpn_offered"], serde_json::json!(offers), "{line}");
            assert_eq!(tls["sni"], "localhost", "{line}");
            assert_eq!(tls["key"], "none", "{line}");
            if offers.contains(&"h2") {
                assert_eq!(tls["version"], version, "{line}");
                assert_eq!(tls["suite"], suite, "{line}");
                assert_eq!(tls["alpn"] == "h2", version == "1.2", "{line}");
                assert_eq!(tls["why"], "no_key", "{line}");
            }
            ends.push((line["role"].as_str(), line["pid"].as_u64()));
        }
        ends.sort_unstable();
        let want = [
            (Some("client"), Some(at_client.into())),
            (Some("server"), Some(at_server.into())),
        ];
        assert_eq!(ends, want, "{options:?}");
        assert!(trace.streams.is_empty());
        trace.assert_healthy();
    }
}

/// What is told of each stream, but for where and when it was.
pub(crate) fn told(trace: &Trace) -> Vec<String> {
    let streams = trace.streams.iter();
    let mut told: Vec<_> = streams.map(|stream| trace.words_of(stream)).collect();
    told.sort_unstable();
    told
}

/// Node's calls, over TLS with a key log or in clear.
fn calls_of_node(keys: Option<&Path>, folder: &Path, calls: usize) -> Trace {
    let mut command = Command::new("node");
    if let Some(keys) = keys {
        command.arg(format!("--tls-keylog={}", keys.display()));
    }
    command.arg(workspace().join("tests/peers/node/tls.cjs"));
    command.arg(free_port().to_string());
    match keys {
        Some(_) => command.args(Identity::new(folder).files()),
        None => command.args(["-", "-"]),
    };
    traced(command.arg(calls.to_string()), calls, |pid| match keys {
        Some(keys) => Tracer::opening(&[pid], keys, &["x-n"]),
        None => Tracer::showing(&[pid], &["x-n"]),
    })
}

/// What is told of Node, which makes so many calls over each of four connections to itself.
pub(crate) fn traced(node: &Command, calls: usize, tracer: impl FnOnce(u32) -> Tracer) -> Trace {
    let mut node = Process::start_held("node", node);
    let pid = node.pid();
    let tracer = tracer(pid);
    node.write_line("go");
    let status = node.wait(RUN);
    assert!(status.success(), "node: {status}{}", node.complaint());
    for role in ["client", "server"] {
        tracer.wait_for_streams(pid, role, 4 * calls, SETTLE);
    }
    tracer.finish()
}

#[test]
fn what_a_key_log_opens_is_told_as_in_clear() {
    require!(Privileges, Program("node"), Program("openssl"));
    let calls = scaled(30, 300);
    let folder = TempDir::new().expect("cannot make a folder");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "").expect("cannot make the key log");
    let opened = calls_of_node(Some(&keys), folder.path(), calls);
    let in_clear = calls_of_node(None, folder.path(), calls);
    assert_eq!(told(&in_clear).len(), 8 * calls);
    assert_eq!(told(&opened), told(&in_clear));
    let findings = |trace: &Trace| {
        let mut kinds: Vec<_> = trace
            .findings
            .iter()
            .map(|it| it.kind().to_owned())
            .collect();
        kinds.sort_unstable();
        kinds
    };
    assert_eq!(findings(&opened), findings(&in_clear));
    let connections = seen(&opened);
    assert_eq!(connections.len(), 8);
    for line in connections {
        assert_eq!(line["protocol"], "http2", "{line}");
        assert_eq!(line["tls"]["key"], "keylog", "{line}");
        assert_eq!(line["tls"]["why"], Value::Null, "{line}");
        assert_eq!(line["tls"]["alpn"], "h2", "{line}");
    }
    opened.assert_lossless();
}

#[test]
fn without_its_secrets_a_connection_stays_encrypted() {
    require!(
        Privileges,
        Program("nghttpd"),
        Program("curl"),
        Program("openssl")
    );
    let folder = TempDir::new().expect("cannot make a folder");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "# nothing\n").expect("cannot make the key log");
    let (server, port) = nghttpd(folder.path());
    let mut command = Command::new("curl");
    command.args(["--silent", "--insecure", "--http2", "--output", "/dev/null"]);
    command.arg(format!("https://localhost:{port}/page"));
    let mut client = Process::start_held("curl", &command);
    let tracer = Tracer::opening(&[server.pid(), client.pid()], &keys, &[]);
    client.write_line("go");
    assert!(client.wait(RUN).success(), "curl failed");
    let is_told = || seen(&Trace::read(&tracer.process.lines())).len() >= 2;
    assert!(
        eventually(SETTLE + Duration::from_secs(5), is_told),
        "not told"
    );
    let trace = tracer.finish();
    for line in seen(&trace) {
        assert_eq!(line["protocol"], "tls", "{line}");
        assert_eq!(line["tls"]["why"], "no_key", "{line}");
    }
    assert!(trace.streams.is_empty());
    trace.assert_healthy();
}

/// A server of the test itself, which answers one client with this.
fn answering(said: &'static [u8]) -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("cannot listen");
    let port = listener.local_addr().expect("no address").port();
    let serve = move || {
        let (mut connection, _) = listener.accept().expect("cannot accept");
        let mut hello = [0; 4_096];
        let n = connection
            .read(&mut hello)
            .expect("the client says nothing");
        assert_eq!(hello.first(), Some(&22), "{n} bytes that are no hello");
        connection.write_all(said).expect("cannot answer");
    };
    (port, std::thread::spawn(serve))
}

/// What is found of a handshake that curl and a server try, at the ends of these processes.
fn found(server: u32, port: u16, options: &[&str]) -> Vec<(String, String, String)> {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--http2", "--max-time", "10"])
        .args(options);
    command.arg(format!("https://localhost:{port}/"));
    let mut client = Process::start_held("curl", &command);
    let tracer = Tracer::start(&[server, client.pid()]);
    client.write_line("go");
    assert!(!client.wait(RUN).success(), "curl succeeded: {options:?}");
    let is_told = || Trace::read(&tracer.process.lines()).findings.len() >= 2;
    eventually(SETTLE, is_told);
    let trace = tracer.finish();
    trace.assert_lossless();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or("-").to_owned();
    let findings = trace.findings.iter().map(|finding| {
        let summary = text(&finding.0, "summary");
        let how = summary.split(';').next().unwrap_or_default().to_owned();
        assert_eq!(finding.kind(), "tls_handshake_failed", "{summary}");
        (text(&finding.0, "role"), text(&finding.0, "sender"), how)
    });
    let mut findings: Vec<_> = findings.collect();
    findings.sort_unstable();
    findings
}

/// The same at both ends.
fn at_both(sender: &str, how: &str) -> Vec<(String, String, String)> {
    let end = |role: &str| (role.to_owned(), sender.to_owned(), how.to_owned());
    vec![end("client"), end("server")]
}

#[test]
fn a_handshake_that_fails_in_clear_is_found_at_both_ends() {
    require!(Privileges, Program("curl"), Program("openssl"));
    let folder = TempDir::new().expect("cannot make a folder");
    let identity = Identity::new(folder.path());
    let port = free_port();
    let mut command = Command::new("openssl");
    command.args([
        "s_server",
        "-quiet",
        "-tls1_2",
        "-accept",
        &port.to_string(),
    ]);
    command
        .arg("-key")
        .arg(&identity.key)
        .arg("-cert")
        .arg(&identity.certificate);
    let server = Process::start("openssl s_server", &mut command);
    let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(eventually(SETTLE, listens), "openssl does not listen");
    assert_eq!(
        found(server.pid(), port, &["--insecure", "--tlsv1.3"]),
        at_both(
            "server",
            "the server ended the TLS handshake with protocol_version (no version of TLS that both have)"
        )
    );
    assert_eq!(
        found(server.pid(), port, &["--tls-max", "1.2"]),
        at_both(
            "client",
            "the client ended the TLS handshake with unknown_ca (it does not know who signed the other side's \
             certificate)"
        )
    );
    let own = std::process::id();
    let (port, serving) = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(
        found(own, port, &["--insecure"]),
        at_both(
            "server",
            "the client began TLS, and the server answered in something else"
        )
    );
    serving.join().expect("the server failed");
    let (port, serving) = answering(b"");
    assert_eq!(
        found(own, port, &["--insecure"]),
        at_both(
            "-",
            "the client began TLS, and the connection ended without an answer"
        )
    );
    serving.join().expect("the server failed");
}
