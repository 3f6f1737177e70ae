//! One pod, ad hoc: `kubectl h2trace` on the server's pod while other pods talk too.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tracer_tests::cluster::{User, said};
use tracer_tests::peer::installed;
use tracer_tests::{eventually, workspace};

use crate::pairs::{Pairs, TRAFFIC, silent_about};
use crate::setting::{NAMESPACE, SOON, Setting, text};
use crate::workload::Pod;

const FOR: Duration = Duration::from_secs(5);

/// `kubectl h2trace trace` on a pod, for ever.
pub(crate) fn plugin_command(setting: &Setting, pod: &Pod) -> Command {
    let plugin = workspace().join("tracer-user/deploy/kubectl-h2trace");
    let mut command = setting.cluster.client_command(&plugin, User::Admin);
    command.env("H2TRACE_KUBECTL", installed("kubernetes").join("kubectl"));
    command.args(["trace", &pod.name, "--namespace", &pod.namespace]);
    command.args(["--tracer-namespace", NAMESPACE, "--output", "json"]);
    command
}

/// `kubectl h2trace trace` on a pod for a while: its lines.
#[track_caller]
fn plugin(setting: &Setting, pod: &Pod, more: &[&str]) -> Vec<Value> {
    let mut command = plugin_command(setting, pod);
    command.args(more);
    command.args(["--for", &format!("{}s", FOR.as_secs())]);
    let lines = said(&mut command, "").unwrap_or_else(|why| panic!("kubectl h2trace: {why}"));
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The wanted pod's traffic is told, the others' is not, and was not copied.
fn tells_of_one_alone(pairs: &Pairs, lines: &[Value]) {
    let streams: Vec<&Value> = lines
        .iter()
        .filter(|line| line["type"] == "stream")
        .collect();
    assert!(streams.len() > 20, "{} streams were told", streams.len());
    silent_about(lines, &pairs.others.each_ref());
    let told = lines
        .iter()
        .filter(|line| line["type"] == "connection")
        .any(|line| line.to_string().contains(&pairs.server.name))
        || streams
            .iter()
            .any(|line| line.to_string().contains(&pairs.server.name));
    assert!(told, "the pod's own name is told nowhere: {}", streams[0]);
    assert!(
        streams
            .iter()
            .any(|line| line.to_string().contains(&pairs.client.address)),
        "the caller's address: {}",
        streams[0]
    );
    let summary = lines
        .iter()
        .find(|line| line["type"] == "summary")
        .expect("a summary");
    println!("{}", summary["kernel"]);
    let number = |name: &str| summary["kernel"][name].as_u64().unwrap_or(u64::MAX);
    // A call of the wanted pair is less than 2,000 bytes with all of its frames; one of the others is 50,000.
    let most = streams.len() as u64 * 2_000 + 100_000;
    assert!(number("bytes_seen") < most, "bytes seen: {summary}");
    assert!(number("bytes_copied") < most, "bytes copied: {summary}");
}

/// Nothing of the plug-in is left in the cluster: no Job, no pod, no process.
#[track_caller]
pub(crate) fn nothing_is_left(setting: &Setting) {
    let mut left = String::new();
    let gone = eventually(SOON, || {
        let jobs = setting.json(&[
            "get",
            "jobs,pods",
            "--all-namespaces",
            "--selector",
            "app.kubernetes.io/component=ad-hoc",
        ]);
        left = jobs["items"].to_string();
        jobs["items"].as_array().is_some_and(Vec::is_empty)
    });
    assert!(gone, "left behind: {left}");
    let tracer = setting.tracer();
    let pod = setting.json(&["get", "pod", &tracer.name, "--namespace", NAMESPACE]);
    let id = text(&pod["status"]["containerStatuses"][0]["containerID"]);
    let id = id.split("//").nth(1).unwrap_or_default();
    let mut processes = Vec::new();
    let alone = eventually(SOON, || {
        processes = crate::packaging::processes_of(setting, id);
        processes.len() == 1
    });
    assert!(alone, "processes in h2trace's container: {processes:?}");
}

pub(crate) fn through_the_daemon_set(setting: &mut Setting) {
    setting.tracer_with(&json!({}));
    let pairs = Pairs::start(setting, TRAFFIC);
    let lines = plugin(setting, &pairs.server, &[]);
    tells_of_one_alone(&pairs, &lines);
    nothing_is_left(setting);
}

pub(crate) fn through_a_job(setting: &mut Setting) {
    // The pairs of the test before, if they are there.
    let pairs = Pairs::start(setting, TRAFFIC);
    let lines = plugin(setting, &pairs.server, &["--no-daemon-set"]);
    tells_of_one_alone(&pairs, &lines);
    nothing_is_left(setting);
    setting
        .cluster
        .kubectl(&["delete", "namespace", TRAFFIC, "--wait=false"]);
}
