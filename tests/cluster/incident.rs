//! The reference incident as three pods, with Envoy in the middle, under the DaemonSet.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tracer_tests::call::failed_ids;
use tracer_tests::{eventually, scaled};

use crate::metrics::{Metrics, Sample};
use crate::setting::Setting;
use crate::workload::{Deployment, Pod};

const NAMESPACE: &str = "incident";
const CALLS: Duration = Duration::from_secs(120);
/// How long the tracer may take to tell of streams that have ended.
const SETTLE: Duration = Duration::from_secs(15);

/// What is said of a proxy that cut a complete response.
const CUT: [&str; 3] = [
    "proxy_truncated_complete_response",
    "proxy_dropped_trailers",
    "proxy_lost_bytes",
];

/// The incident as it went.
pub(crate) struct Shown {
    server: Pod,
    pub(crate) envoy: Pod,
    client: Pod,
    n_calls: usize,
    /// What the client says failed.
    pub(crate) n_failed: usize,
}

/// Has it happen in a namespace.
pub(crate) fn run(setting: &Setting, namespace: &str) -> Shown {
    setting.namespace(namespace);
    let server = setting.deploy(&Deployment::server(namespace, "server"));
    let envoy = setting.deploy_envoy(namespace, "envoy", &server.address);
    let n_calls = scaled(500, 2_000).to_string();
    let target = format!("{}:10000", envoy.address);
    let size = ["--response-bytes", "11000", "--request-bytes", "16"];
    let calls = [
        "--calls",
        &n_calls,
        "--concurrency",
        "50",
        "--think-ms",
        "3",
    ];
    let calls = [calls.as_slice(), &size].concat();
    let client = setting.deploy(&Deployment::client(namespace, "client", &target, &calls));
    let calls = setting.calls_of(&client, CALLS);
    let n_failed = failed_ids(&calls).len();
    println!("{n_failed} of {} calls failed", calls.len());
    assert!(
        n_failed > 0,
        "the incident did not happen, so nothing was shown"
    );
    Shown {
        server,
        envoy,
        client,
        n_calls: calls.len(),
        n_failed,
    }
}

pub(crate) fn in_three_pods(setting: &mut Setting) {
    let tracer = setting.tracer_with(&json!({}));
    let shown = run(setting, NAMESPACE);
    let Shown {
        server,
        envoy,
        client,
        ..
    } = &shown;
    let found = |metrics: &Metrics| -> f64 {
        let of_envoy = [("namespace", NAMESPACE), ("pod", &envoy.name)];
        let cut = |kind: &&str| {
            metrics.sum(
                "h2trace_findings_total",
                &[
                    of_envoy.as_slice(),
                    &[("kind", kind), ("verdict", "anomaly")],
                ]
                .concat(),
            )
        };
        CUT.iter().map(cut).sum()
    };
    let mut metrics = setting.metrics(&tracer);
    #[expect(clippy::cast_precision_loss, reason = "a thousand at most")]
    let (n_calls, n_failed) = (shown.n_calls as f64, shown.n_failed as f64);
    // Both ends of both hops.
    let ends = [
        (client, "client", "the client's"),
        (envoy, "server", "the client's"),
        (envoy, "client", "the server's"),
        (server, "server", "the server's"),
    ];
    let ended = |metrics: &Metrics, pod: &Pod, role: &str| {
        let here = [("namespace", NAMESPACE), ("pod", &pod.name), ("role", role)];
        metrics.sum("h2trace_streams_ended_total", &here)
    };
    eventually(SETTLE, || {
        metrics = setting.metrics(&tracer);
        let whole = |(pod, role, _): &(&Pod, &str, &str)| ended(&metrics, pod, role) >= n_calls;
        found(&metrics) >= n_failed && ends.iter().all(whole)
    });
    assert_eq!(
        found(&metrics),
        n_failed,
        "findings that name Envoy's pod, and calls that failed"
    );

    // Each with all calls, and all names right.
    for (pod, role, hop) in ends {
        assert_eq!(
            ended(&metrics, pod, role),
            n_calls,
            "{hop} hop at {} as {role}",
            pod.name
        );
        let here = [("pod", pod.name.as_str()), ("role", role)];
        for sample in metrics.with("h2trace_streams_ended_total", &here) {
            has_the_names_of(sample, pod);
        }
    }
    // No other name anywhere: what was traced are these three.
    let mut others: BTreeMap<String, f64> = BTreeMap::new();
    for sample in metrics.with("h2trace_streams_ended_total", &[]) {
        if ![client, envoy, server]
            .iter()
            .any(|pod| pod.name == sample.label("pod"))
        {
            *others.entry(format!("{:?}", sample.labels)).or_default() += sample.value;
        }
    }
    others.retain(|_, value| *value > 0.0);
    assert!(others.is_empty(), "streams of others: {others:?}");
    setting
        .cluster
        .kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]);
}

fn has_the_names_of(sample: &Sample, pod: &Pod) {
    for (label, want) in [
        ("namespace", pod.namespace.as_str()),
        ("pod", &pod.name),
        ("container", &format!("{}-container", pod.deployment)),
        ("owner_kind", "Deployment"),
        ("owner", &pod.deployment),
    ] {
        assert_eq!(sample.label(label), want, "{label} of {sample:?}");
    }
}
