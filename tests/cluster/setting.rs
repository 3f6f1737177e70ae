//! What all tests share: the cluster, h2trace's image in it, and h2trace installed as a DaemonSet.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tracer_tests::cluster::{Cluster, User, said};
use tracer_tests::peer::installed;
use tracer_tests::{eventually, workspace};

use crate::metrics::Metrics;
use crate::workload;

/// Where h2trace is installed.
pub(crate) const NAMESPACE: &str = "h2trace";
/// How long something may take that takes seconds.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The archive that `cargo xtask image` makes, or the one that `H2TRACE_IMAGE` names.
pub(crate) fn image_archive() -> PathBuf {
    std::env::var_os("H2TRACE_IMAGE").map_or_else(
        || workspace().join("target/image/h2trace.tar"),
        PathBuf::from,
    )
}

/// The chart's folder.
pub(crate) fn chart() -> String {
    workspace()
        .join("tracer-user/deploy/chart")
        .display()
        .to_string()
}

/// The cluster, and what is in it.
pub(crate) struct Setting {
    pub(crate) cluster: Cluster,
}

/// The pod of h2trace.
#[derive(Clone, Debug)]
pub(crate) struct Tracer {
    pub(crate) name: String,
    pub(crate) address: String,
}

impl Setting {
    pub(crate) fn make() -> Self {
        let cluster = Cluster::start(&|step| println!("    {step}"));
        cluster.load_archive(&image_archive());
        for image in workload::images() {
            cluster.load(&image);
        }
        println!("    images are loaded");
        Setting { cluster }
    }

    /// What each test gives the chart besides: never is anything traced that is not of this cluster.
    fn values(&self, more: &Value) -> String {
        let mut arguments = vec![Value::from(format!(
            "--cgroup={}",
            self.cluster.pods_cgroup()
        ))];
        arguments.extend(more["extraArgs"].as_array().into_iter().flatten().cloned());
        let mut values = more.clone();
        values["extraArgs"] = Value::from(arguments);
        values.to_string()
    }

    /// Runs helm with these arguments.
    ///
    /// # Errors
    /// What it says when it fails.
    pub(crate) fn helm(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let helm = installed("helm").join("helm");
        let mut command = self.cluster.client_command(&helm, User::Admin);
        said(command.args(arguments), input)
    }

    /// Installs the chart, or upgrades to these values, without waiting for it.
    pub(crate) fn install(&self, values: &Value) {
        let values = self.values(values);
        let chart = chart();
        let arguments = [
            "upgrade",
            "--install",
            "h2trace",
            &chart,
            "--namespace",
            NAMESPACE,
        ];
        let more = ["--create-namespace", "--values", "-"];
        if let Err(why) = self.helm(&[arguments.as_slice(), &more].concat(), &values) {
            panic!("helm upgrade failed: {why}\n{values}");
        }
    }

    /// Makes sure that h2trace is installed with these values and ready; its pod.
    #[track_caller]
    pub(crate) fn tracer_with(&self, values: &Value) -> Tracer {
        self.install(values);
        self.rolled_out();
        self.tracer()
    }

    /// Waits until the DaemonSet is rolled out.
    #[track_caller]
    pub(crate) fn rolled_out(&self) {
        let arguments = [
            "rollout",
            "status",
            "daemonset/h2trace",
            "--namespace",
            NAMESPACE,
        ];
        if let Err(why) = self
            .cluster
            .try_kubectl(&[arguments.as_slice(), &["--timeout=60s"]].concat())
        {
            panic!("the DaemonSet is not rolled out: {why}");
        }
    }

    /// The pod of h2trace that is ready.
    #[track_caller]
    pub(crate) fn tracer(&self) -> Tracer {
        let mut found = None;
        eventually(SOON, || {
            let pods = self.pods(NAMESPACE);
            found = pods.iter().find(|pod| is_ready(pod)).map(|pod| Tracer {
                name: text(&pod["metadata"]["name"]),
                address: format!("{}:9464", text(&pod["status"]["podIP"])),
            });
            found.is_some()
        });
        found.expect("no pod of h2trace is ready")
    }

    /// The pods of a namespace that are not on their way out.
    pub(crate) fn pods(&self, namespace: &str) -> Vec<Value> {
        let pods = self.json(&["get", "pods", "--namespace", namespace]);
        let items = pods["items"].as_array().cloned().unwrap_or_default();
        items
            .into_iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .collect()
    }

    /// What `kubectl ... --output json` prints.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let said = self
            .cluster
            .kubectl(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&said).expect("kubectl prints JSON")
    }

    /// The metrics of h2trace.
    #[track_caller]
    pub(crate) fn metrics(&self, tracer: &Tracer) -> Metrics {
        let page = self.cluster.http_get(&tracer.address, "/metrics");
        Metrics::of(&page.unwrap_or_else(|| panic!("{} shows no metrics", tracer.name)))
    }

    /// What one would look at when a test has failed.
    pub(crate) fn diagnosis(&self) -> String {
        let ask = |arguments: &[&str]| match self.cluster.try_kubectl(arguments) {
            Ok(said) => said,
            Err(why) => why,
        };
        let mut events = ask(&["get", "events", "-A", "--sort-by=.lastTimestamp"]);
        let skip = events.lines().count().saturating_sub(12);
        events = events.lines().skip(skip).collect::<Vec<_>>().join("\n");
        format!(
            "{}\n{events}\n{}",
            ask(&["get", "pods", "-A", "-o", "wide"]),
            ask(&[
                "logs",
                "-n",
                NAMESPACE,
                "-l",
                "app.kubernetes.io/name=h2trace",
                "--tail=20"
            ])
        )
    }
}

/// A string of JSON, or nothing.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A pod's condition Ready holds.
pub(crate) fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
