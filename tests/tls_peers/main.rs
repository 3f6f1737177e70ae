//! TLS of real peers, opened by secrets from probes of the server's handshakes, by keys from its memory, and by a key log, for
//! tracers that come before the connections and after them: `cargo xtask tls-peers` writes what came of it into the page about TLS.

mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::process::Process;
use tracer_tests::skip::{Need as _, Privileges, Program};
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, require};

use servers::TlsServer;

/// How long anything may take on a busy machine.
const RUN: Duration = Duration::from_secs(60);

/// How long the tracer may take to find a key on a busy machine, where it may have to look again; and how long it is waited
/// for calls where none are to be told.
const SEARCH: Duration = Duration::from_secs(40);
const IN_VAIN: Duration = Duration::from_secs(4);

/// Connections of each run, calls on each before the tracer comes where it comes late, and calls that count.
const CONNECTIONS: usize = 3;
const BEFORE: usize = 3;
const CALLS: usize = 8;

/// Version and suite, as Node names them, and as the page does.
const SUITES: [(&str, &str, &str); 3] = [
    ("TLSv1.3", "TLS_AES_128_GCM_SHA256", "1.3, AES-128-GCM"),
    (
        "TLSv1.2",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "1.2, AES-256-GCM",
    ),
    (
        "TLSv1.3",
        "TLS_CHACHA20_POLY1305_SHA256",
        "1.3, ChaCha20-Poly1305",
    ),
];

/// Where keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// None is needed.
    Clear,
    /// Probes, and memory where they say nothing: what `--tls` does.
    Any,
    Memory,
    KeyLog,
}

/// What was told of the calls of one run.
#[derive(Debug)]
struct Told {
    connections: usize,
    opened: usize,
    /// Where their keys came from.
    keys: BTreeSet<String>,
    /// Why those that are not stay closed.
    why: Vec<String>,
    streams: Vec<String>,
}

/// What is told of a stream, but for where and when it was.
fn told(trace: &Trace, pid: u32) -> Vec<String> {
    let streams = trace.streams_of(pid, "server");
    let mut told: Vec<_> = streams.map(|stream| trace.words_of(stream)).collect();
    told.sort_unstable();
    told
}

/// One run of the client against a server, which is traced.
fn run(
    kind: TlsServer,
    (version, cipher, _): (&str, &str, &str),
    source: Source,
    is_late: bool,
) -> Told {
    let folder = TempDir::new().expect("cannot make a folder");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "").expect("cannot make a key log");
    let server = kind.start(source != Source::Clear);
    let pid = server.pid();
    let trace = || match source {
        Source::Clear => Tracer::start(&[pid]),
        Source::Any => Tracer::probing(&[pid]),
        Source::Memory => Tracer::finding_keys(&[pid], &[]),
        Source::KeyLog => Tracer::opening(&[pid], &keys, &[]),
    };
    let mut command = Command::new("node");
    command.arg(format!("--tls-keylog={}", keys.display()));
    command.arg(tracer_tests::workspace().join("tests/tls_peers/client.cjs"));
    command.args([&server.url, version, cipher]);
    let before = if is_late { BEFORE } else { 0 };
    command.args([CONNECTIONS, before, CALLS].map(|n| n.to_string()));
    let early = (!is_late).then(trace);
    let mut client = Process::start("node", &mut command);
    client.wait_for_line(0, RUN, |line| (line == "ready").then_some(()));
    let tracer = early.unwrap_or_else(trace);
    client.write_line("go");
    client.wait_for_line(0, RUN, |line| (line == "done").then_some(()));
    let n_told = || told(&Trace::read(&tracer.process.lines()), pid).len();
    let leaves_no_key = cipher.contains("CHACHA20");
    let stays_closed = match source {
        Source::Clear => false,
        Source::Any => leaves_no_key && (is_late || !kind.can_be_probed()),
        Source::Memory => leaves_no_key,
        Source::KeyLog => is_late,
    };
    let limit = if stays_closed { IN_VAIN } else { SEARCH };
    eventually(limit, || n_told() >= CONNECTIONS * CALLS);
    client.close_stdin();
    assert!(client.wait(RUN).success(), "{kind:?}{}", client.complaint());
    std::thread::sleep(Duration::from_millis(300));
    let trace = tracer.finish();
    let of_server =
        |line: &&Value| line["event"] == "seen" && line["pid"] == pid && line["role"] != "client";
    let lines: Vec<_> = trace.connections.iter().filter(of_server).collect();
    let is_open = |line: &&&Value| line["protocol"] == "http2";
    let closed = lines.iter().filter(|line| !is_open(line));
    let mut why: Vec<_> = closed
        .map(|line| line["tls"]["why"].as_str().unwrap_or("?").to_owned())
        .collect();
    why.sort_unstable();
    why.dedup();
    let keys = lines.iter().filter(is_open);
    let keys = keys.filter_map(|line| line["tls"]["key"].as_str());
    Told {
        keys: keys.map(str::to_owned).collect(),
        connections: lines.len(),
        opened: lines.iter().filter(is_open).count(),
        why,
        streams: told(&trace, pid),
    }
}

/// How many are told in the same words.
fn n_same(one: &[String], other: &[String]) -> usize {
    let mut left = other.to_vec();
    let is_there = |words: &&String| {
        let place = left.iter().position(|it| it == *words);
        place.map(|place| left.swap_remove(place)).is_some()
    };
    one.iter().filter(is_there).count()
}

/// A cell of the table, which names (`is_named`) where the keys came from, and whether it is as it must be: all as in clear
/// text, or closed for a reason. Late, the first record of each connection may be what shows that it is TLS.
fn cell(of: &Told, clear: &Told, (is_named, is_late): (bool, bool)) -> (String, bool) {
    let made = CONNECTIONS * CALLS;
    if of.opened == 0 {
        let is_right = of.streams.is_empty() && !of.why.is_empty();
        return (format!("closed: `{}`", of.why.join("`, `")), is_right);
    }
    let same = n_same(&of.streams, &clear.streams);
    let (opened, connections, told) = (of.opened, of.connections, of.streams.len());
    let keys: Vec<&str> = of.keys.iter().map(String::as_str).collect();
    let by = if is_named {
        format!("{}: ", keys.join(" and "))
    } else {
        String::new()
    };
    let mut text = format!("{by}{opened} of {connections}, {told} of {made} calls");
    if same < told {
        write!(text, ", {same} as in clear text").expect("a String");
    }
    let is_whole = [opened, connections] == [CONNECTIONS; 2] && told == made;
    let may_differ = if is_late { CONNECTIONS } else { 0 };
    (text, is_whole && same + may_differ >= made)
}

/// Writes the table into the file that `H2TRACE_TLS_TABLE` names, if it does.
fn write(table: &str) {
    if let Some(path) = std::env::var_os("H2TRACE_TLS_TABLE") {
        std::fs::write(&path, table).expect("the table can be written");
    }
}

#[test]
fn tls_of_every_peer_is_told_as_clear_text_is() {
    require!(Privileges, Program("node"), Program("openssl"));
    let mut table = "| server | TLS | version, suite | `--tls`, before | `--tls`, after | memory, before | memory, after | \
         key log, before | key log, after |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    let only = std::env::var("H2TRACE_TLS_PEERS").unwrap_or_default();
    let mut wrong = Vec::new();
    for kind in TlsServer::ALL {
        if !only.is_empty() && !only.split(',').any(|name| name == format!("{kind:?}")) {
            continue;
        }
        let about = kind.about();
        if let Some(missing) = kind.missing() {
            wrong.push(format!("{}: {missing}", about.name));
            continue;
        }
        let clear: BTreeMap<bool, Told> = [false, true]
            .map(|is_late| (is_late, run(kind, SUITES[0], Source::Clear, is_late)))
            .into();
        for told in clear.values() {
            assert_eq!(
                told.streams.len(),
                CONNECTIONS * CALLS,
                "{kind:?}: {told:?}"
            );
        }
        for suite in SUITES {
            let (name, version, tls) = (about.name, &about.version, about.tls);
            write!(table, "| {name} {version} | {tls} | {} |", suite.2).expect("a String");
            for source in [Source::Any, Source::Memory, Source::KeyLog] {
                for is_late in [false, true] {
                    let of = run(kind, suite, source, is_late);
                    let is_any = source == Source::Any;
                    let (text, is_right) = cell(&of, &clear[&is_late], (is_any, is_late));
                    let by_probe = is_any && !is_late && kind.can_be_probed();
                    let is_right =
                        is_right && (!by_probe || of.keys == ["probe".to_owned()].into());
                    println!("{name}, {}, {source:?}, late {is_late}: {text}", suite.2);
                    if !is_right {
                        wrong.push(format!(
                            "{name}, {}, {source:?}, late {is_late}: {text}",
                            suite.2
                        ));
                        println!("{of:?}\n{:?}", clear[&is_late]);
                    }
                    write!(table, " {text} |").expect("a String");
                }
            }
            table += "\n";
        }
        write(&table);
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
