//! Parts of Kubernetes that are away for a while: tracing goes on, and the names stay right.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tracer_tests::{eventually, scaled};

use crate::setting::{NAMESPACE, SOON, Setting, Tracer};
use crate::workload::{Deployment, Pod};

/// How long the API server is away: with --full, as long as an upgrade of a control plane may take.
fn outage() -> Duration {
    scaled(Duration::from_secs(6), Duration::from_secs(600))
}

/// A server and a client that never stops calling it.
struct Traffic {
    namespace: &'static str,
    server: Pod,
    client: Pod,
}

impl Traffic {
    fn start(setting: &Setting, namespace: &'static str) -> Self {
        setting.namespace(namespace);
        let server = setting.deploy(&Deployment::server(namespace, "server"));
        let target = server.target();
        let client = setting.deploy(&Deployment::busy_client(namespace, "client", &target));
        Traffic {
            namespace,
            server,
            client,
        }
    }

    /// Streams that have ended at both ends, by the names that they must have.
    fn counted(&self, setting: &Setting, tracer: &Tracer) -> f64 {
        let metrics = setting.metrics(tracer);
        let at = |pod: &Pod, role: &str| {
            let names = [
                ("namespace", self.namespace),
                ("pod", &pod.name),
                ("owner", &pod.deployment),
                ("container", &format!("{}-container", pod.deployment)),
                ("owner_kind", "Deployment"),
                ("role", role),
            ];
            metrics.sum("h2trace_streams_ended_total", &names)
        };
        at(&self.client, "client").min(at(&self.server, "server"))
    }

    /// Waits until more is counted than now.
    #[track_caller]
    fn goes_on(&self, setting: &Setting, tracer: &Tracer) {
        let before = self.counted(setting, tracer);
        let more = eventually(SOON, || self.counted(setting, tracer) > before + 10.0);
        assert!(
            more,
            "streams are not counted any more, or under other names: {before}"
        );
    }

    fn end(self, setting: &Setting) {
        let namespace = ["delete", "namespace", self.namespace, "--wait=false"];
        setting.cluster.kubectl(&namespace);
    }
}

/// A pod of h2trace as it is now: its id and how often its container was started.
fn identity(setting: &Setting, tracer: &Tracer) -> (Value, Value) {
    let pod = setting.json(&["get", "pod", &tracer.name, "--namespace", NAMESPACE]);
    (
        pod["metadata"]["uid"].clone(),
        pod["status"]["containerStatuses"][0]["restartCount"].clone(),
    )
}

/// What the readiness probe is told, when it is told that h2trace is ready.
fn readiness(setting: &Setting, tracer: &Tracer) -> String {
    let page = setting.cluster.http_get(&tracer.address, "/readyz");
    page.unwrap_or_else(|| "not ready".to_owned())
}

#[track_caller]
fn says(setting: &Setting, tracer: &Tracer, words: &str) {
    let mut page = String::new();
    let said = eventually(SOON, || {
        page = readiness(setting, tracer);
        page.contains(words)
    });
    assert!(said, "/readyz says {page:?}, and not {words:?}");
}

pub(crate) fn of_the_api(setting: &mut Setting) {
    let tracer = setting.tracer_with(&json!({}));
    let traffic = Traffic::start(setting, "outage-api");
    traffic.goes_on(setting, &tracer);
    says(setting, &tracer, "ready; pods are named by the API server");
    let before = identity(setting, &tracer);
    // Gone altogether: connections are closed, new ones refused.
    setting.cluster.stop_api();
    let began = Instant::now();
    says(setting, &tracer, "ready; pods are named from cache since ");
    while began.elapsed() < outage() {
        traffic.goes_on(setting, &tracer);
        // Tracing goes on, so it is ready: a restart would help nobody, and lose what is known.
        assert!(readiness(setting, &tracer).starts_with("ready"));
        std::thread::sleep(Duration::from_secs(1));
    }
    setting.cluster.start_api();
    says(setting, &tracer, "ready; pods are named by the API server");
    traffic.goes_on(setting, &tracer);
    assert_eq!(identity(setting, &tracer), before, "h2trace was restarted");
    // Silent: it answers nothing, and closes nothing.
    setting.cluster.pause_api(true);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        traffic.goes_on(setting, &tracer);
    }
    setting.cluster.pause_api(false);
    // Pods that come after it have their names.
    let again = Traffic::start(setting, "outage-over");
    again.goes_on(setting, &tracer);
    again.end(setting);
    traffic.end(setting);
}

pub(crate) fn of_the_kubelet(setting: &mut Setting) {
    let tracer = setting.tracer_with(&json!({}));
    let traffic = Traffic::start(setting, "outage-kubelet");
    traffic.goes_on(setting, &tracer);
    let before = identity(setting, &tracer);
    setting.cluster.stop_kubelet();
    traffic.goes_on(setting, &tracer);
    setting.cluster.start_kubelet();
    traffic.goes_on(setting, &tracer);
    let again = Traffic::start(setting, "kubelet-over");
    again.goes_on(setting, &tracer);
    assert_eq!(identity(setting, &tracer), before, "h2trace was restarted");
    again.end(setting);
    traffic.end(setting);
}

pub(crate) fn of_containerd(setting: &mut Setting) {
    let tracer = setting.tracer_with(&json!({}));
    let traffic = Traffic::start(setting, "outage-containerd");
    traffic.goes_on(setting, &tracer);
    let before = identity(setting, &tracer);
    setting.cluster.stop_containerd();
    traffic.goes_on(setting, &tracer);
    setting.cluster.start_containerd();
    traffic.goes_on(setting, &tracer);
    let again = Traffic::start(setting, "containerd-over");
    again.goes_on(setting, &tracer);
    assert_eq!(identity(setting, &tracer), before, "h2trace was restarted");
    again.end(setting);
    traffic.end(setting);
}
