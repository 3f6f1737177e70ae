//! A client that speaks HTTP/2 to a server that does not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use tracer_ebpf::http2::PREFACE;
use tracer_tests::process::Process;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, require};

use crate::{RUN, SETTLE};

/// What a server of HTTP/1.1 says to the preface.
const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
/// A fatal TLS alert: protocol_version.
const ALERT: &[u8] = b"\x15\x03\x01\0\x02\x02\x46";

/// Answers one connection and closes it when the client does.
fn answer(listener: &TcpListener, answer: &[u8]) {
    let (mut connection, _): (TcpStream, _) = listener.accept().expect("cannot accept");
    connection
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("cannot bound the wait");
    let mut asked = [0; 4096];
    let n = connection
        .read(&mut asked)
        .expect("the client says nothing");
    assert!(asked[..n].starts_with(PREFACE), "no preface");
    connection.write_all(answer).expect("cannot answer");
    connection
        .shutdown(std::net::Shutdown::Write)
        .expect("cannot end the answer");
    while connection.read(&mut asked).is_ok_and(|n| n > 0) {}
}

#[test]
fn a_server_that_answers_the_preface_otherwise_is_found_once_at_each_end() {
    require!(Privileges, Program("curl"));
    for said in [BAD_REQUEST, ALERT] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("cannot listen");
        let port = listener.local_addr().expect("no address").port();
        let mut command = Command::new("curl");
        command.args(["--http2-prior-knowledge", "--silent", "--max-time", "10"]);
        command.arg(format!("http://127.0.0.1:{port}/"));
        let mut client = Process::start_held("curl", &command);
        // This process is the server.
        let (at_client, at_server) = (client.pid(), std::process::id());
        let tracer = Tracer::start(&[at_server, at_client]);
        client.write_line("go");
        answer(&listener, said);
        assert!(!client.wait(RUN).success(), "curl took it for HTTP/2");
        eventually(SETTLE, || {
            Trace::read(&tracer.process.lines()).findings.len() >= 2
        });
        let trace = tracer.finish();
        let mut found: Vec<_> = trace
            .findings
            .iter()
            .map(|finding| {
                let role = finding.0["role"].as_str().unwrap_or_default();
                (finding.kind(), finding.verdict(), role)
            })
            .collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("not_http2", "anomaly", "client"),
                ("not_http2", "anomaly", "server")
            ],
            "{:#?}",
            trace.findings
        );
        trace.assert_lossless();
    }
}
