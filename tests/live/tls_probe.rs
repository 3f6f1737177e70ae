//! TLS opened by secrets that a probe reads in the handshake, where no search of memory has the time or finds a key.

use std::net::TcpStream;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use tracer_tests::identity::Identity;
use tracer_tests::process::Process;
use tracer_tests::skip::{Privileges, Program};
use tracer_tests::tls_server::{self, ENVOY};
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, free_port, require};

use crate::tls::{nghttpd, seen};
use crate::tls_hostile::WITHHELD;
use crate::{RUN, SETTLE};

/// Serves, and calls itself when it is told to: one call a connection, which is closed at once.
const SHORT: &str = "
const http2 = require('http2'), fs = require('fs');
const [port, key, cert, calls] = process.argv.slice(1);
const server = http2.createSecureServer({ key: fs.readFileSync(key), cert: fs.readFileSync(cert) });
server.on('stream', (stream) => { stream.respond({ ':status': 200 }); stream.end('x'.repeat(1000)); });
const suites = [
  ['TLSv1.3', 'TLS_AES_256_GCM_SHA384'], ['TLSv1.3', 'TLS_CHACHA20_POLY1305_SHA256'],
  ['TLSv1.2', 'ECDHE-ECDSA-AES128-GCM-SHA256'], ['TLSv1.2', 'ECDHE-ECDSA-CHACHA20-POLY1305'],
];
async function call([version, ciphers]) {
  const client = http2.connect('https://localhost:' + port, {
    rejectUnauthorized: false, minVersion: version, maxVersion: version, ciphers,
  });
  const stream = client.request({ ':path': '/' });
  stream.resume();
  await new Promise((done) => stream.on('close', done));
  await new Promise((done) => client.close(done));
}
server.listen(Number(port), '127.0.0.1', () => console.log('listening'));
process.stdin.once('data', async () => {
  for (let n = 0; n < Number(calls); n += 1) await Promise.all(suites.map(call));
  process.exit(0);
});
";

const SUITES: usize = 4;
const CALLS: usize = 10;

/// As it is started, and what it needs to begin.
fn node() -> (Command, TempDir) {
    let folder = TempDir::new().expect("cannot make a folder");
    let identity = Identity::new(folder.path());
    let mut command = Command::new("node");
    command.args(["-e", SHORT]).arg(free_port().to_string());
    command.args(identity.files()).arg(CALLS.to_string());
    (command, folder)
}

fn listens(node: &Process) {
    node.wait_for_line(0, RUN, |line| (line == "listening").then_some(()));
}

fn listening() -> Process {
    let (mut command, _folder) = node();
    let process = Process::start("node", &mut command);
    listens(&process);
    process
}

/// A search of memory has no time for them, and finds no key of the half of them that is ChaCha20.
#[test]
fn short_connections_of_every_cipher_are_opened() {
    require!(Privileges, Program("node"), Program("openssl"));
    let mut node = listening();
    let pid = node.pid();
    let tracer = Tracer::probing(&[pid]);
    node.write_line("go");
    assert!(node.wait(RUN).success(), "{}", node.complaint());
    let told = || seen(&Trace::read(&tracer.process.lines())).len();
    eventually(SETTLE, || told() >= 2 * SUITES * CALLS);
    let (trace, said) = tracer.finish_with_errors();
    let connections = seen(&trace);
    assert_eq!(connections.len(), 2 * SUITES * CALLS);
    for line in connections {
        assert_eq!(line["protocol"], "http2", "{line}");
        assert_eq!(line["tls"]["key"], "probe", "{line}");
        assert_eq!(line["tls"]["why"], Value::Null, "{line}");
        assert_eq!(line["tls"]["alpn"], "h2", "{line}");
    }
    for role in ["client", "server"] {
        assert_eq!(trace.streams_of(pid, role).count(), SUITES * CALLS);
    }
    let is_told = |line: &String| line.contains("handshakes of node") && line.contains(" probed");
    assert_eq!(said.iter().filter(|line| is_told(line)).count(), 1);
    let reads = |line: &String| line.contains("the memory of ");
    assert!(!said.iter().any(reads), "memory is read: {said:?}");
    trace.assert_healthy();
}

/// Files in which a tracer has a probe.
fn probes(tracer: u32) -> usize {
    let told = std::fs::read_dir(format!("/proc/{tracer}/fdinfo")).expect("it runs");
    let told = told.filter_map(|told| std::fs::read_to_string(told.ok()?.path()).ok());
    told.filter(|told| told.contains("link_type:\tuprobe_multi"))
        .count()
}

/// A library of its own, a stripped static program, and one in Go. Nothing is probed in others, or longer than they run.
#[test]
fn servers_of_every_library_are_opened() {
    require!(
        Privileges,
        ENVOY,
        Program("nghttpd"),
        Program("curl"),
        Program("etcd"),
        Program("node"),
        Program("openssl")
    );
    let folder = TempDir::new().expect("cannot make a folder");
    let (nghttpd, port) = nghttpd(folder.path());
    let mut servers = vec![(nghttpd, port)];
    let identity = Identity::new(folder.path());
    for make in [tls_server::envoy, tls_server::etcd] {
        let port = free_port();
        let mut command = make(folder.path(), port, Some(&identity));
        servers.push((Process::start("a server", &mut command), port));
    }
    for (server, port) in &servers {
        let listens = || TcpStream::connect(("127.0.0.1", *port)).is_ok();
        assert!(eventually(RUN, listens), "{}", server.complaint());
    }
    // It would be probed if it were selected.
    let _other = listening();
    let pids: Vec<u32> = servers.iter().map(|(server, _)| server.pid()).collect();
    let tracer = Tracer::probing(&pids);
    for (_, port) in &servers {
        for options in [
            ["--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"],
            ["--tls-max", "1.2"],
        ] {
            let mut command = Command::new("curl");
            command.args(["--silent", "--insecure", "--http2", "--output", "/dev/null"]);
            command.args(options);
            command.arg(format!("https://localhost:{port}/page"));
            let mut curl = Process::start("curl", &mut command);
            assert!(curl.wait(RUN).success(), "curl: {options:?} {port}");
        }
    }
    let of_servers = |trace: &Trace| -> Vec<Value> {
        let all = seen(trace).into_iter();
        let is_server = |line: &&Value| line["role"] == "server" && line["tls"] != Value::Null;
        all.filter(is_server).cloned().collect()
    };
    let told = || of_servers(&Trace::read(&tracer.process.lines())).len();
    eventually(SETTLE, || told() >= 2 * servers.len());
    assert_eq!(probes(tracer.pid()), servers.len());
    let (nghttpd, _) = &mut servers[0];
    nghttpd.end(libc::SIGTERM);
    let is_gone = || probes(tracer.pid()) == 2;
    assert!(eventually(SETTLE, is_gone), "what nobody runs is probed");
    let trace = tracer.finish();
    for (server, port) in &servers {
        let lines = of_servers(&trace);
        let of = lines.iter().filter(|line| line["pid"] == server.pid());
        // etcd has a connection to itself, which may be older than the probe; curl offers HTTP/1.1 too.
        let of_curl = |line: &&Value| line["tls"]["alpn_offered"] == json!(["h2", "http/1.1"]);
        let of: Vec<&Value> = of.filter(of_curl).collect();
        let is_opened = |line: &&Value| line["tls"]["key"] == "probe";
        assert!(of.len() >= 2 && of.iter().all(is_opened), "{port}: {of:?}");
    }
}

/// Code of it is in a file that it serves itself (FUSE), and whoever opens that waits for ever: FOLDER.
const WITHHOLDS: &str = "
import sys
withheld = Files(sys.argv[1])
print('withheld', flush=True)
sys.stdin.readline()
";

#[test]
fn who_serves_its_own_code_does_not_hold_up_the_probes_of_others() {
    require!(
        Privileges,
        Program("node"),
        Program("python3"),
        Program("openssl")
    );
    let folder = TempDir::new().expect("cannot make a folder");
    let mut command = Command::new("python3");
    command.arg("-c").arg(format!("{WITHHELD}\n{WITHHOLDS}"));
    command.arg(folder.path());
    let hostile = Process::start("python3", &mut command);
    hostile.wait_for_line(0, RUN, |line| (line == "withheld").then_some(()));
    // It begins when the other one has been looked at.
    let (command, _files) = node();
    let mut node = Process::start_held("node", &command);
    let tracer = Tracer::probing(&[hostile.pid(), node.pid()]);
    node.write_line("go");
    listens(&node);
    let says = |what: &str| {
        let said = tracer.process.errors();
        said.iter().any(|line| line.contains(what))
    };
    let is_probed = eventually(SETTLE, || says("handshakes of node"));
    let is_passed_over = says("another process may serve");
    // Whoever waits for it is let go.
    drop(hostile);
    assert!(is_probed, "{}", tracer.process.complaint());
    assert!(is_passed_over, "{}", tracer.process.complaint());
    node.write_line("go");
    assert!(node.wait(RUN).success(), "{}", node.complaint());
    let told = || seen(&Trace::read(&tracer.process.lines())).len();
    eventually(SETTLE, || told() >= 2 * SUITES * CALLS);
    let trace = tracer.finish();
    let connections = seen(&trace);
    assert_eq!(connections.len(), 2 * SUITES * CALLS);
    for line in connections {
        assert_eq!(line["tls"]["key"], "probe", "{line}");
    }
    trace.assert_healthy();
}
