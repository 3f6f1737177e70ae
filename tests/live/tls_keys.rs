//! TLS opened by keys that the tracer finds in the memory of the processes that it traces.

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

use crate::RUN;
use crate::keys_gone::{CONNECTIONS, FINDABLE, Talker};
use crate::tls::{nghttpd, seen, told, traced};

/// Connections of Node pause for so many ms, in which their keys are looked for.
const PAUSE: &str = "6000";

/// Each of them has a call in flight at a time, over TLS or in clear.
fn node(port: u16, calls: usize, identity: Option<&Identity>, pause: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(workspace().join("tests/peers/node/tls.cjs"));
    command.arg(port.to_string());
    match identity {
        Some(identity) => command.args(identity.files()),
        None => command.args(["-", "-"]),
    };
    command.arg(calls.to_string()).arg(pause);
    command
}

fn calls_of_node(is_tls: bool, folder: &Path, calls: usize) -> Trace {
    let identity = is_tls.then(|| Identity::new(folder));
    let pause = if is_tls { PAUSE } else { "0" };
    let command = node(free_port(), calls, identity.as_ref(), pause);
    traced(&command, calls, |pid| {
        if is_tls {
            Tracer::finding_keys(&[pid], &["x-n"])
        } else {
            Tracer::showing(&[pid], &["x-n"])
        }
    })
}

#[test]
fn what_found_keys_open_is_told_as_in_clear() {
    require!(Privileges, Program("node"), Program("openssl"));
    let calls = scaled(30, 300);
    let folder = TempDir::new().expect("cannot make a folder");
    let opened = calls_of_node(true, folder.path(), calls);
    let in_clear = calls_of_node(false, folder.path(), calls);
    let connections = seen(&opened);
    assert_eq!(connections.len(), 8);
    for line in connections {
        assert_eq!(line["protocol"], "http2", "{line}");
        assert_eq!(line["tls"]["key"], "scan", "{line}");
        assert_eq!(line["tls"]["why"], Value::Null, "{line}");
    }
    assert_eq!(told(&in_clear).len(), 8 * calls);
    assert_eq!(told(&opened), told(&in_clear));
    opened.assert_lossless();
}

/// Asks for a page ten times a second, on one connection: PORT.
const CLIENT: &str = "
const client = require('http2').connect('https://localhost:' + process.argv[1], { rejectUnauthorized: false });
client.on('connect', () => console.log('connected'));
setInterval(() => client.request({ ':path': '/page' }).resume().end(), 100);
";

#[test]
fn connections_older_than_the_tracer_are_opened_by_found_keys() {
    require!(
        Privileges,
        Program("nghttpd"),
        Program("node"),
        Program("openssl")
    );
    let folder = TempDir::new().expect("cannot make a folder");
    let (server, port) = nghttpd(folder.path());
    let mut command = Command::new("node");
    command.args(["-e", CLIENT, &port.to_string()]);
    let client = Process::start("node", &mut command);
    client.wait_for_line(0, RUN, |line| (line == "connected").then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    let tracer = Tracer::finding_keys(&[server.pid(), client.pid()], &[]);
    for (pid, role) in [(server.pid(), "server"), (client.pid(), "client")] {
        tracer.wait_for_streams(pid, role, 20, RUN);
    }
    let (trace, said) = tracer.finish_with_errors();
    let is_told = |line: &String| line.contains("the memory of ") && line.contains(" is read");
    assert!(said.iter().any(is_told), "whose memory is read: {said:?}");
    let connections = seen(&trace);
    assert_eq!(connections.len(), 2);
    for line in connections {
        assert_eq!(line["beginning_seen"], false, "{line}");
        assert_eq!(line["protocol"], "http2", "{line}");
        assert_eq!(line["tls"]["key"], "scan", "{line}");
        assert_eq!(line["tls"]["version"], "1.3", "{line}");
    }
    trace.assert_healthy();
}

/// Two programs, and the key log of one of them.
#[test]
fn keys_are_looked_for_where_a_key_log_says_nothing() {
    require!(Privileges, Program("node"), Program("openssl"));
    let mut talkers = [Talker::held(), Talker::held()];
    let [told, untold] = talkers.each_ref().map(Talker::pid);
    let tracer = Tracer::opening_or_finding_keys(&[told, untold], &talkers[0].keys);
    for talker in &mut talkers {
        talker.go();
    }
    let n_told = || seen(&Trace::read(&tracer.process.lines())).len();
    let is_told = || n_told() >= 4 * CONNECTIONS;
    assert!(eventually(RUN, is_told), "{} are told", n_told());
    for talker in &mut talkers {
        talker.end();
    }
    let trace = tracer.finish();
    let connections = seen(&trace);
    let of = |pid: u32, key: &str| {
        let all = connections.iter();
        all.filter(|line| line["pid"] == pid && line["tls"]["key"] == key)
            .count()
    };
    assert_eq!(of(told, "keylog"), 2 * CONNECTIONS);
    assert_eq!(of(untold, "scan"), 2 * FINDABLE);
    assert_eq!(of(untold, "none"), 2 * (CONNECTIONS - FINDABLE));
    trace.assert_healthy();
}
