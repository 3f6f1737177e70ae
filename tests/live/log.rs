//! Nothing of what peers say to each other reaches the log, whatever its level.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tracer_tests::process::Process;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, free_port, require};

use crate::{RUN, SETTLE};

/// In the path, in fields, in the request's body and in the response's.
const SECRET: &str = "correct-horse-battery-staple";

#[test]
fn the_log_at_its_loudest_has_nothing_of_the_traffic() {
    require!(Privileges, Program("nghttpd"), Program("curl"));
    let folder = TempDir::new().expect("a folder for nghttpd");
    std::fs::write(folder.path().join(SECRET), SECRET.repeat(400)).expect("a page");
    let port = free_port();
    let mut command = Command::new("nghttpd");
    command.args(["--no-tls", "--address", "127.0.0.1", "--htdocs"]);
    command.arg(folder.path()).arg(port.to_string());
    let server = Process::start("nghttpd", &mut command);
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(
        eventually(Duration::from_secs(10), listens),
        "nghttpd does not listen{}",
        server.complaint()
    );

    let mut curl = Command::new("curl");
    curl.args(["--http2-prior-knowledge", "--silent", "--show-error"]);
    curl.args(["--header", &format!("authorization: Bearer {SECRET}")]);
    curl.args(["--header", &format!("grpc-message: {SECRET}")]);
    curl.args(["--data", &SECRET.repeat(400), "--output", "/dev/null"]);
    curl.arg(format!("http://127.0.0.1:{port}/{SECRET}"));
    let mut client = Process::start_held("curl", &curl);

    let tracer = Tracer::logging_all(&[server.pid(), client.pid()]);
    client.write_line("go");
    let status = client.wait(RUN);
    assert!(status.success(), "curl{}", client.complaint());
    tracer.wait_for_streams(client.pid(), "client", 1, SETTLE);
    let (trace, said) = tracer.finish_with_errors();
    assert_eq!(trace.streams.len(), 2, "both ends of one request");
    assert!(
        said.iter().any(|line| line.contains(" DEBUG ")),
        "the log says as little as ever: {} lines",
        said.len()
    );
    for line in said {
        assert!(!line.contains(SECRET), "{line}");
    }
}
