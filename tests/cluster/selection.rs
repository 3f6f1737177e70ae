//! Pods selected by name, container, namespace and labels: `h2trace trace` on the node, beside pods that talk much more.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::cluster::{User, said};
use tracer_tests::process::Process;
use tracer_tests::{eventually, tracer};

use crate::pairs::{Pairs, silent_about};
use crate::setting::{SOON, Setting};
use crate::workload::Deployment;

const NAMESPACE: &str = "selected";
/// How long the traced pods talk.
const TALK: Duration = Duration::from_secs(3);

/// A trace of the node, of nothing but this cluster.
struct Trace {
    process: Process,
    _folder: TempDir,
}

fn command(setting: &Setting, arguments: &[&str]) -> Command {
    command_at(setting, setting.cluster.node_name(), arguments)
}

/// As if it ran on this node.
fn command_at(setting: &Setting, node: &str, arguments: &[&str]) -> Command {
    let mut command = setting
        .cluster
        .client_command(&tracer::binary(), User::Admin);
    command.args(["trace", "--output", "json", "--for", "120s"]);
    command.args(["--cgroup", &setting.cluster.pods_cgroup()]);
    command.arg("--kubeconfig");
    command.arg(setting.cluster.credentials().kubeconfig(User::Admin));
    command.args(["--node-name", node]);
    command.args(arguments);
    command
}

impl Trace {
    #[track_caller]
    fn start(setting: &Setting, arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("cannot make a folder");
        let ready = folder.path().join("ready");
        let mut command = command(setting, arguments);
        command.arg("--ready-file").arg(&ready);
        let mut process = Process::start("h2trace", &mut command);
        let came = eventually(SOON, || ready.exists() || !process.is_running());
        assert!(came && ready.exists(), "not ready{}", process.complaint());
        Trace {
            process,
            _folder: folder,
        }
    }

    /// What it has told so far.
    fn lines(&self) -> Vec<Value> {
        let lines = self.process.lines();
        lines
            .iter()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// Ends it; all that it told.
    #[track_caller]
    fn finish(mut self) -> Vec<Value> {
        let status = self.process.end(libc::SIGINT);
        assert!(status.success(), "{status}{}", self.process.complaint());
        self.lines()
    }
}

fn of_type<'a>(lines: &'a [Value], wanted: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == wanted).collect()
}

fn kernel(lines: &[Value]) -> impl Fn(&str) -> u64 {
    let summary = of_type(lines, "summary").first().copied().cloned();
    let kernel = summary.expect("a summary")["kernel"].clone();
    move |name| {
        let of = [&kernel[name], &kernel["counters"][name]];
        of.iter().find_map(|value| value.as_u64()).unwrap_or(0)
    }
}

pub(crate) fn selected_alone(setting: &mut Setting) {
    let pairs = Pairs::start(setting, NAMESPACE);
    by_name(setting, &pairs);
    by_labels(setting, &pairs);
    let gone = ["delete", "namespace", NAMESPACE, "--wait=false"];
    setting.cluster.kubectl(&gone);
}

fn by_name(setting: &Setting, pairs: &Pairs) {
    let name = format!("{NAMESPACE}/{}", pairs.server.name);
    let container = ["--container", "wanted-container"];
    let trace = Trace::start(setting, &[&["--pod", &name], &container[..]].concat());
    std::thread::sleep(TALK);
    let lines = trace.finish();
    silent_about(&lines, &pairs.others.each_ref());
    let streams = of_type(&lines, "stream");
    assert!(streams.len() > 20, "{} streams", streams.len());
    for stream in &streams {
        assert_eq!(stream["role"], "server", "{stream}");
        assert!(
            stream.to_string().contains(&pairs.client.address),
            "{stream}"
        );
    }
    let kernel = kernel(&lines);
    println!(
        "by name: {} streams; seen {} bytes, copied {}, {} sockets unwanted, {} calls skipped",
        streams.len(),
        kernel("bytes_seen"),
        kernel("bytes_copied"),
        kernel("sockets_unwanted"),
        kernel("calls_skipped"),
    );
    // One answer of the others is 50,000 bytes; a call of this one less than 2,000 with all of its frames.
    let most = streams.len() as u64 * 2_000 + 50_000;
    assert!(kernel("bytes_seen") < most && kernel("bytes_copied") < most);
    assert!(kernel("sockets_unwanted") >= 3 && kernel("calls_skipped") > 100);
    assert_eq!(of_type(&lines, "summary")[0]["pods"]["traced"], 1);
}

fn by_labels(setting: &Setting, pairs: &Pairs) {
    let selector = [
        "--selector",
        "app in (later,latest),!canary",
        "--namespace",
        NAMESPACE,
    ];
    let kubepods = setting.cluster.sandbox.unified().join("kubepods");
    let n_before = n_pods(&kubepods);
    let trace = Trace::start(setting, &selector);
    std::thread::sleep(Duration::from_secs(1));
    let of_later = |lines: &[Value]| -> Vec<Value> {
        let streams = of_type(lines, "stream").into_iter();
        streams
            .filter(|line| line["role"] == "client")
            .cloned()
            .collect()
    };
    assert_eq!(of_type(&trace.lines(), "connection").len(), 0);
    let calls = ["--calls", "3", "--response-bytes", "100"];
    let mut told = Vec::new();
    for (n, name) in ["later", "latest"].into_iter().enumerate() {
        let target = pairs.server.target();
        let pod = setting.deploy(&Deployment::client(NAMESPACE, name, &target, &calls));
        let made = setting.calls_of(&pod, SOON);
        assert!(made.len() >= 3);
        assert!(
            eventually(SOON, || {
                told = of_later(&trace.lines());
                told.len() >= 3 * (n + 1)
            }),
            "{} streams of its first calls: {told:?}",
            told.len()
        );
        let delete = ["delete", "deployment", name, "--namespace", NAMESPACE];
        setting.cluster.kubectl(&delete);
    }
    // All pods that were selected go, and their cgroups with them a little later.
    let gone = eventually(SOON, || n_pods(&kubepods) <= n_before);
    assert!(gone, "the pods' cgroups do not go");
    std::thread::sleep(Duration::from_millis(200));
    let lines = trace.finish();
    // The server and the others are told of as peers at most.
    assert!(
        of_type(&lines, "stream")
            .iter()
            .all(|line| line["role"] == "client")
    );
    let [other, loud] = &pairs.others;
    silent_about(&lines, &[&pairs.client, other, loud]);
    let told = of_later(&lines);
    assert_eq!(told.len(), 6, "{told:?}");
    for stream in &told {
        assert_eq!(stream["outcome"], "ok", "{stream}");
    }
    // The very first call of each: nothing of the connection went by before.
    let first = told.iter().filter(|stream| stream["stream_id"] == 1);
    assert_eq!(first.count(), 2);
    let summary = of_type(&lines, "summary")[0];
    assert_eq!(
        (&summary["pods"]["traced"], &summary["pods"]["now"]),
        (&2.into(), &0.into())
    );
    let kernel = kernel(&lines);
    println!(
        "by labels: copied {} bytes, {} sockets unwanted, {} calls skipped",
        kernel("bytes_copied"),
        kernel("sockets_unwanted"),
        kernel("calls_skipped"),
    );
    assert!(kernel("bytes_copied") < 50_000);
}

/// Directories of pods below a cgroup.
fn n_pods(cgroup: &Path) -> usize {
    let entries = std::fs::read_dir(cgroup).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| {
            if entry.file_name().to_string_lossy().starts_with("pod") {
                1
            } else {
                n_pods(&entry.path())
            }
        })
        .sum()
}

/// What it says when it does not begin.
#[track_caller]
fn refused(setting: &Setting, arguments: &[&str]) -> String {
    said_of(&mut command(setting, arguments))
}

#[track_caller]
fn said_of(command: &mut Command) -> String {
    match said(command, "") {
        Ok(_) => panic!("{command:?} is not refused"),
        Err(why) => why,
    }
}

pub(crate) fn refusals(setting: &mut Setting) {
    setting.namespace("refused");
    let pod = setting.deploy(&Deployment::server("refused", "target"));
    let wrong = format!("refused/{}x", pod.name);
    let right = format!("refused/{}", pod.name);
    let said = refused(setting, &["--pod", &wrong]);
    assert!(said.contains("no pod") && said.contains(&right), "{said}");
    let said = refused(setting, &["--pod", &right, "--container", "app"]);
    assert!(said.contains("target-container"), "{said}");
    // Asked on another node, whose container runtime does not have it.
    let there = ["--pod", &right, "--cri-socket", "/nowhere"];
    let mut elsewhere = command_at(setting, "another-node", &there);
    let said = said_of(&mut elsewhere);
    let node = setting.cluster.node_name();
    assert!(
        said.contains(&format!("runs on node {node}")) && said.contains("kubectl h2trace"),
        "{said}"
    );
    setting
        .cluster
        .kubectl(&["delete", "namespace", "refused", "--wait=false"]);
}
