//! A real Prometheus finds h2trace's pods by Kubernetes' own discovery, and shows the incident.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tracer_tests::cluster::daemon::Daemon;
use tracer_tests::peer::installed;
use tracer_tests::skip::{Program, say};
use tracer_tests::{eventually, workspace};

use crate::incident;
use crate::setting::{NAMESPACE, SOON, Setting, text};

const ADDRESS: &str = "127.0.0.1:9090";

/// As the README of the chart has it: the pods of the DaemonSet, with the labels that h2trace gives.
const CONFIGURATION: &str = r"global: { scrape_interval: 1s, evaluation_interval: 1s }
scrape_configs:
  - job_name: h2trace
    honor_labels: true
    kubernetes_sd_configs:
      - role: pod
        kubeconfig_file: '@KUBECONFIG@'
        namespaces: { names: [@NAMESPACE@] }
    relabel_configs:
      - { source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_component], regex: tracer, action: keep }
      - { source_labels: [__meta_kubernetes_pod_container_port_name], regex: metrics, action: keep }
      - { source_labels: [__meta_kubernetes_pod_node_name], target_label: node }
";

/// Starts it inside, with the administrator's credentials.
fn start(setting: &Setting) -> Daemon {
    let folder = setting.cluster.sandbox.folder();
    let credentials = setting.cluster.credentials();
    let kubeconfig = credentials.kubeconfig(tracer_tests::cluster::User::Admin);
    let text = CONFIGURATION
        .replace("@KUBECONFIG@", &kubeconfig)
        .replace("@NAMESPACE@", NAMESPACE);
    let configuration = folder.join("prometheus.yaml");
    std::fs::write(&configuration, text).expect("cannot write Prometheus' configuration");
    let mut command = setting
        .cluster
        .sandbox
        .command(installed("prometheus").join("prometheus"));
    command.arg(format!("--config.file={}", configuration.display()));
    command.arg(format!(
        "--storage.tsdb.path={}",
        folder.join("prometheus").display()
    ));
    command.arg(format!("--web.listen-address={ADDRESS}"));
    Daemon::start("prometheus", folder, &mut command)
}

/// What a query gives now.
fn query(setting: &Setting, query: &str) -> Vec<Value> {
    let escaped: String = query
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    let answer = setting
        .cluster
        .http_get(ADDRESS, &format!("/api/v1/query?query={escaped}"));
    let answer: Value = answer
        .and_then(|answer| serde_json::from_str(&answer).ok())
        .unwrap_or_default();
    answer["data"]["result"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

pub(crate) fn by_discovery(setting: &mut Setting) {
    let tracer = setting.tracer_with(&json!({}));
    let prometheus = start(setting);
    let found = eventually(SOON, || {
        let up = query(setting, "up{job=\"h2trace\"} == 1");
        up.len() == 1 && text(&up[0]["metric"]["node"]) == setting.cluster.node_name()
    });
    assert!(
        found,
        "{} is not found{}",
        tracer.name,
        prometheus.complaint()
    );
    let shown = incident::run(setting, "monitored");
    let cut = "sum by (namespace, pod, owner) (h2trace_findings_total{kind=~\"proxy_.*\", verdict=\"anomaly\"})";
    let mut result = Vec::new();
    let n_failed = shown.n_failed.to_string();
    let whole = eventually(Duration::from_secs(20), || {
        result = query(setting, cut);
        let of_envoy = result
            .iter()
            .find(|series| series["metric"]["pod"] == shown.envoy.name.as_str());
        of_envoy.is_some_and(|series| {
            series["metric"]["owner"] == "envoy" && series["value"][1] == n_failed.as_str()
        })
    });
    assert!(
        whole,
        "{} findings about {}: {result:?}",
        shown.n_failed, shown.envoy.name
    );
    picture(setting);
    setting
        .cluster
        .kubectl(&["delete", "namespace", "monitored", "--wait=false"]);
}

/// Has a browser draw Prometheus' answers; the picture is for people to look at.
fn picture(setting: &Setting) {
    let Some(browser) = Program("chromium").path() else {
        say("Chromium is not installed: no picture (cargo xtask setup --only node-programs)");
        return;
    };
    let folder = workspace().join("target/cluster");
    std::fs::create_dir_all(&folder).expect("cannot make a folder");
    let picture = folder.join("incident.png");
    drop(std::fs::remove_file(&picture));
    let page = setting.cluster.sandbox.folder().join("graph.html");
    std::fs::write(&page, include_str!("graph.html")).expect("cannot write a page");
    let mut command: Command = setting.cluster.sandbox.command(browser);
    command.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
    ]);
    command.args(["--window-size=1280,1100", "--virtual-time-budget=8000"]);
    command.arg(format!(
        "--user-data-dir={}",
        setting.cluster.sandbox.folder().join("browser").display()
    ));
    command.arg(format!("--screenshot={}", picture.display()));
    command.arg(format!(
        "file://{}?prometheus=http://{ADDRESS}",
        page.display()
    ));
    command.env("HOME", setting.cluster.sandbox.folder());
    let said = tracer_tests::cluster::said(&mut command, "");
    assert!(picture.is_file(), "Chromium made no picture: {said:?}");
    println!("picture: {}", picture.display());
}
