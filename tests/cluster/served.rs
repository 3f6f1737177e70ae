//! `h2trace serve` on the node with a selection of namespaces: before the pods are known, and afterwards.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::cluster::{User, said};
use tracer_tests::process::Process;
use tracer_tests::{eventually, tracer};

use crate::metrics::Metrics;
use crate::setting::{SOON, Setting};
use crate::workload::{Deployment, Pod};

const KEPT: &str = "kept";
const LEFT: &str = "left";

/// A server of metrics that sees nothing but this cluster.
struct Served {
    process: Process,
    listen: String,
    _folder: TempDir,
}

impl Served {
    #[track_caller]
    fn start(setting: &Setting, arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("cannot make a folder");
        let ready = folder.path().join("ready");
        let mut command: Command = setting
            .cluster
            .client_command(&tracer::binary(), User::Admin);
        command.args(["serve", "--listen", "127.0.0.1:0", "--ready-file"]);
        command.arg(&ready);
        command.args(["--cgroup", &setting.cluster.pods_cgroup(), "--kubeconfig"]);
        command.arg(setting.cluster.credentials().kubeconfig(User::Admin));
        command.args(["--node-name", setting.cluster.node_name()]);
        let mut process = Process::start("h2trace", command.args(arguments));
        let came = eventually(SOON, || ready.exists() || !process.is_running());
        assert!(came && ready.exists(), "not ready{}", process.complaint());
        let line = std::fs::read_to_string(&ready).expect("the ready file");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        Served {
            process,
            listen: line["listen"].as_str().expect("an address").to_owned(),
            _folder: folder,
        }
    }

    /// What it answers, whatever the status.
    #[track_caller]
    fn ask(&self, setting: &Setting, path: &str) -> String {
        let mut curl = setting
            .cluster
            .client_command(Path::new("curl"), User::Admin);
        curl.args(["--silent", "--max-time", "10"]);
        curl.arg(format!("http://{}{path}", self.listen));
        said(&mut curl, "")
            .unwrap_or_else(|why| panic!("{path}: {why}{}", self.process.complaint()))
    }

    fn metrics(&self, setting: &Setting) -> Metrics {
        Metrics::of(&self.ask(setting, "/metrics"))
    }

    #[track_caller]
    fn end(mut self) -> Vec<String> {
        let status = self.process.end(libc::SIGTERM);
        assert!(status.success(), "{status}{}", self.process.complaint());
        self.process.errors()
    }
}

fn traffic(setting: &Setting, namespace: &'static str) -> [Pod; 2] {
    setting.namespace(namespace);
    let server = setting.deploy(&Deployment::server(namespace, "server"));
    let target = server.target();
    let client = setting.deploy(&Deployment::busy_client(namespace, "client", &target));
    [server, client]
}

/// Streams are counted in the one namespace, and nothing is in the other.
#[track_caller]
fn counts_one_alone(setting: &Setting, served: &Served) {
    let streams = |namespace| {
        let metrics = served.metrics(setting);
        metrics.sum("h2trace_streams_ended_total", &[("namespace", namespace)])
    };
    let counted = eventually(SOON, || streams(KEPT) > 50.0);
    assert!(counted, "{} streams are counted", streams(KEPT));
    let page = served.ask(setting, "/metrics");
    let of_left = format!("namespace=\"{LEFT}\"");
    let told: Vec<&str> = page
        .lines()
        .filter(|line| line.contains(&of_left))
        .collect();
    assert_eq!(told, Vec::<&str>::new());
}

pub(crate) fn known_and_unknown(setting: &mut Setting) {
    let kept = traffic(setting, KEPT);
    let _left = traffic(setting, LEFT);
    setting.cluster.pause_api(true);
    let nobody = ["--kubernetes", "api", "--cri-socket", "/nowhere"];
    let only = Served::start(setting, &[&["--namespace", KEPT], &nobody[..]].concat());
    std::thread::sleep(std::time::Duration::from_secs(3));
    let readyz = only.ask(setting, "/readyz");
    assert!(
        readyz.contains("nothing is traced yet of pods of namespace kept"),
        "{readyz}"
    );
    let metrics = only.metrics(setting);
    for name in [
        "h2trace_self_selection_known",
        "h2trace_self_selected_pods",
        "h2trace_self_bytes_copied_total",
    ] {
        assert_eq!(metrics.sum(name, &[]), 0.0, "{name}");
    }
    setting.cluster.pause_api(false);
    let known = eventually(SOON, || {
        let metrics = only.metrics(setting);
        metrics.sum("h2trace_self_selection_known", &[]) == 1.0
            && metrics.sum("h2trace_self_selected_pods", &[]) == kept.len() as f64
    });
    assert!(known, "{}", only.ask(setting, "/readyz"));
    assert!(only.ask(setting, "/readyz").starts_with("ready"));
    counts_one_alone(setting, &only);
    let log = only.end();
    assert!(
        log.iter()
            .any(|line| line.contains("nothing is traced yet"))
            && log
                .iter()
                .any(|line| line.contains("now tracing 2 pods of namespace kept")),
        "{log:?}"
    );
    let but = Served::start(setting, &["--exclude-namespace", LEFT]);
    counts_one_alone(setting, &but);
    but.end();
    for namespace in [KEPT, LEFT] {
        setting
            .cluster
            .kubectl(&["delete", "namespace", namespace, "--wait=false"]);
    }
}
