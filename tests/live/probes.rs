//! The kubelet's probes have a port of their own: whoever may not scrape, or holds up those who may, is not in their way.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use h2trace_core::limits;
use tracer_tests::process::Process;
use tracer_tests::program::http_get;
use tracer_tests::require;
use tracer_tests::skip::{self, Privileges};
use tracer_tests::tracer::binary;

/// Nobody knows the password.
const WEB_CONFIG: &str = "basic_auth_users:
  prometheus: $2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW
";
/// What the chart gives a probe, and more than one takes on a busy machine.
const IN_TIME: Duration = Duration::from_secs(2);

#[test]
fn probes_are_answered_beside_strangers_and_without_a_password() {
    require!(Privileges);
    let folder = tempfile::tempdir().unwrap();
    let (ready, web) = (folder.path().join("ready"), folder.path().join("web.yaml"));
    std::fs::write(&web, WEB_CONFIG).unwrap();
    let mut command = Command::new(binary());
    command.args(["serve", "--kubernetes", "off"]);
    command.args(["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"]);
    command.args(["--pid", &std::process::id().to_string()]);
    command.arg("--web-config-file").arg(&web);
    command.arg("--ready-file").arg(&ready);
    let mut process = Process::start("h2trace serve", &mut command);
    process.until_ready(&ready, Duration::from_secs(60));
    skip::note_that_it_runs();
    let said = std::fs::read_to_string(&ready).unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let (listen, health) = (&said["listen"], &said["health_listen"]);
    let (listen, health) = (listen.as_str().unwrap(), health.as_str().unwrap());

    let held: Vec<TcpStream> = (0..limits::HTTP_CONNECTIONS + 20)
        .map(|_| {
            let mut slow = TcpStream::connect(listen).unwrap();
            slow.write_all(b"G").unwrap();
            slow
        })
        .collect();
    for path in ["/healthz", "/readyz"] {
        let began = Instant::now();
        let answer = http_get(health, path);
        assert!(answer.is_some(), "{path}{}", process.complaint());
        assert!(began.elapsed() < IN_TIME, "{path}: {:?}", began.elapsed());
    }
    // There is nothing else on that port; and nothing on the other one for who has no password.
    assert_eq!(http_get(health, "/metrics"), None);
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(http_get(listen, path), None, "{path}");
    }
    drop(held);
    let status = process.end(libc::SIGTERM);
    assert!(status.success(), "{status}{}", process.complaint());
}
