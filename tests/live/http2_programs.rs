//! Programs of the HTTP/2 world that are not gRPC: nghttpd with h2load and nghttp, nghttpx, curl.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tracer_tests::process::Process;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, free_port, require, scaled};

use crate::{RUN, SETTLE};

/// nghttpd with a page of 10 000 bytes at `/page`.
struct Nghttpd {
    process: Process,
    port: u16,
    _folder: TempDir,
}

fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn nghttpd() -> Nghttpd {
    let folder = TempDir::new().expect("cannot make a folder for nghttpd");
    std::fs::write(folder.path().join("page"), vec![b'x'; 10_000]).expect("cannot write a page");
    let port = free_port();
    let mut command = Command::new("nghttpd");
    command
        .args(["--no-tls", "--address", "127.0.0.1", "--htdocs"])
        .arg(folder.path());
    command.arg(port.to_string());
    let process = Process::start("nghttpd", &mut command);
    assert!(
        eventually(Duration::from_secs(10), || listens(port)),
        "nghttpd does not listen"
    );
    Nghttpd {
        process,
        port,
        _folder: folder,
    }
}

/// Runs a client that was held until now, to its end; what it printed.
fn let_go(mut client: Process) -> Vec<String> {
    client.write_line("go");
    let status = client.wait(RUN);
    assert!(
        status.success(),
        "the client ended with {status}{}",
        client.complaint()
    );
    client.lines()
}

/// Streams at the ends of some clients and the server, all of them complete.
fn assert_streams(trace: &Trace, is_client: impl Fn(u32) -> bool, server: u32, n: usize) {
    for role in ["client", "server"] {
        let is_end = |pid| {
            if role == "client" {
                is_client(pid)
            } else {
                pid == server
            }
        };
        let streams: Vec<_> = trace
            .streams
            .iter()
            .filter(|s| s.role() == Some(role) && is_end(s.pid()))
            .collect();
        assert_eq!(streams.len(), n, "streams at the {role}'s end");
        for stream in streams {
            assert_eq!(stream.outcome(), "ok", "{}", stream.0);
            assert_eq!(stream.response_phase(), Some("R3"), "{}", stream.0);
            assert_eq!(stream.response_bytes(), 10_000, "{}", stream.0);
            assert_eq!(stream.grpc_status(), None, "{}", stream.0);
        }
    }
    trace.assert_healthy();
}

#[test]
fn every_request_of_h2load_to_nghttpd_is_counted() {
    require!(Privileges, Program("nghttpd"), Program("h2load"));
    for (connections, at_once) in [(1, 1), (2, 50), (4, 250)] {
        let n = scaled(2_000, 50_000);
        let server = nghttpd();
        let mut command = Command::new("h2load");
        command.args([
            "-n",
            &n.to_string(),
            "-c",
            &connections.to_string(),
            "-m",
            &at_once.to_string(),
        ]);
        command.arg(format!("http://127.0.0.1:{}/page", server.port));
        let client = Process::start_held("h2load", &command);
        let pid = client.pid();
        let tracer = Tracer::start(&[server.process.pid(), pid]);
        let said = let_go(client).join("\n");
        assert!(said.contains(&format!("{n} succeeded, 0 failed")), "{said}");
        tracer.wait_for_streams(pid, "client", n, SETTLE);
        tracer.wait_for_streams(server.process.pid(), "server", n, SETTLE);
        let trace = tracer.finish();
        assert_streams(&trace, |end| end == pid, server.process.pid(), n);
    }
}

fn curl(flag: &str, port: u16, n: usize) -> Command {
    let mut command = Command::new("curl");
    command.args([
        flag,
        "--silent",
        "--show-error",
        "--write-out",
        "%{stderr}%{http_version} %{http_code}\\n",
    ]);
    for _ in 0..n {
        command.args([
            "--output",
            "/dev/null",
            &format!("http://127.0.0.1:{port}/page"),
        ]);
    }
    command
}

#[test]
fn curl_with_prior_knowledge_is_counted() {
    require!(Privileges, Program("nghttpd"), Program("curl"));
    let server = nghttpd();
    // A curl each: curl 7.88 cannot use a connection of prior knowledge twice.
    let one = curl("--http2-prior-knowledge", server.port, 1);
    let mut script = Command::new("/bin/sh");
    script.args(["-e", "-c", "for i in $(seq 20); do \"$0\" \"$@\"; done"]);
    script.arg(one.get_program()).args(one.get_args());
    let client = Process::start_held("20 curls", &script);
    let tracer = Tracer::start(&[server.process.pid(), client.pid()]);
    let_go(client);
    let at_server = server.process.pid();
    tracer.wait_for_streams(at_server, "server", 20, SETTLE);
    assert_streams(&tracer.finish(), |end| end != at_server, at_server, 20);
}

#[test]
fn curl_that_upgrades_from_http_1_is_counted_behind_nghttpx() {
    require!(
        Privileges,
        Program("nghttpd"),
        Program("nghttpx"),
        Program("curl")
    );
    let server = nghttpd();
    let port = free_port();
    let mut command = Command::new("nghttpx");
    command.args(["--conf", "/dev/null", "--workers", "1", "--frontend"]);
    command.arg(format!("127.0.0.1,{port};no-tls"));
    command.arg(format!("--backend=127.0.0.1,{};;proto=h2", server.port));
    let proxy = Process::start("nghttpx", &mut command);
    assert!(
        eventually(Duration::from_secs(10), || listens(port)),
        "nghttpx does not listen{}",
        proxy.complaint()
    );
    // A first request opens the proxy's connection to the server, which it keeps: the rest is the test's.
    let client = Process::start_held("curl", &curl("--http2", port, 20));
    let pid = client.pid();
    let tracer = Tracer::start(&[server.process.pid(), proxy.pid(), pid]);
    let_go(client);
    tracer.wait_for_streams(pid, "client", 20, SETTLE);
    tracer.wait_for_streams(server.process.pid(), "server", 20, SETTLE);
    let trace = tracer.finish();
    // Four ends: curl's, the proxy's two (one process in each role), the server's.
    let proxy_ends: Vec<_> = trace
        .streams
        .iter()
        .filter(|s| s.pid() != pid && s.pid() != server.process.pid())
        .collect();
    assert_eq!(
        proxy_ends
            .iter()
            .filter(|s| s.role() == Some("server"))
            .count(),
        20,
        "streams from curl"
    );
    assert_eq!(
        proxy_ends
            .iter()
            .filter(|s| s.role() == Some("client"))
            .count(),
        20,
        "streams to nghttpd"
    );
    assert_streams(&trace, |end| end == pid, server.process.pid(), 20);
}
