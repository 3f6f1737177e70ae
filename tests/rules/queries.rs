//! A real Prometheus scrapes a real tracer: every query of the dashboard and every rule gives data there.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::faulty_proxy::FaultyProxy;
use tracer_tests::peer::Peer;
use tracer_tests::process::Process;
use tracer_tests::skip::{self, Privileges, Program};
use tracer_tests::tracer::binary;
use tracer_tests::{eventually, free_port, require};

use crate::prometheus::{Prometheus, encoded};
use crate::traffic::{ENVOY, Traffic};

/// How long Prometheus may take until its rules know what happened.
const SETTLE: Duration = Duration::from_secs(60);

/// Panels that have nothing to show when all is well, or here, and why.
const EMPTY: &[(&str, &str)] = &[
    ("Kernel programs", "kernel.bpf_stats_enabled is off"),
    (
        "A run of a kernel program",
        "kernel.bpf_stats_enabled is off",
    ),
    (
        "Pods known",
        "nobody is asked for pods outside of a cluster",
    ),
    ("Who names pods", "likewise"),
    ("Waiting in 5 minutes", "nothing waits for long"),
    ("Not decoded", "everything was decoded: the first query"),
];

/// Alerts that have no reason to fire.
const SILENT: &[(&str, &str)] = &[
    ("H2traceResetRateChanged", "waits for 10 minutes"),
    ("H2traceGoAwayStorm", "no GOAWAY with an error"),
    ("H2traceGoAwayLostStreams", "no GOAWAY that costs calls"),
    ("H2traceFlowControlStalls", "nothing waits for long"),
    ("H2traceAbuse", "nobody abuses anything"),
    ("H2traceAbsent", "it is there"),
    ("H2traceDown", "it answers"),
    ("H2traceNotReady", "it is ready"),
    ("H2traceEventsLost", "nothing is lost"),
    ("H2traceBoundReached", "no bound is near"),
    (
        "H2tracePodsNotNamed",
        "these processes are in no pod, or for a moment only",
    ),
];

/// Recording rules without data.
const UNRECORDED: &[(&str, &str)] = &[(
    "h2trace:go_away_errors:increase5m",
    "no GOAWAY with an error",
)];

/// `h2trace serve` over these processes.
fn serve(pids: &[u32]) -> (Process, String, TempDir) {
    let folder = TempDir::new().expect("cannot make a folder for the ready file");
    let ready = folder.path().join("ready");
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(binary());
    command.args(["serve", "--listen", &address]);
    command.arg("--ready-file").arg(&ready);
    for pid in pids {
        command.args(["--pid", &pid.to_string()]);
    }
    let mut process = Process::start("h2trace serve", &mut command);
    process.until_ready(&ready, SETTLE);
    skip::note_that_it_runs();
    (process, address, folder)
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(crate::files().join("h2trace.dashboard.json"));
    serde_json::from_str(&text.expect("cannot read the dashboard")).expect("a dashboard is JSON")
}

/// A query with Grafana's variables replaced.
fn replaced(query: &str) -> String {
    let mut query = query
        .replace("$__rate_interval", "1m")
        .replace("$__range", "5m");
    for variable in ["namespace", "owner", "pod", "proxy", "instance"] {
        query = query.replace(&format!("${variable}"), ".*");
    }
    assert!(!query.contains('$'), "a variable without a value: {query}");
    query
}

/// Every query of the dashboard, with its panel's title.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let title = panel["title"].as_str().expect("a title").to_owned();
        targets.into_iter().map(move |target| {
            let query = target["expr"].as_str().expect("a query");
            (title.clone(), replaced(query))
        })
    });
    queries.collect()
}

/// The rules of Prometheus, by name.
fn rules(prometheus: &Prometheus) -> BTreeMap<String, Value> {
    let data = prometheus.get("/api/v1/rules");
    let groups = data["groups"].as_array().expect("groups");
    let rules = groups.iter().filter_map(|group| group["rules"].as_array());
    rules
        .flatten()
        .map(|rule| {
            (
                rule["name"].as_str().expect("a name").to_owned(),
                rule.clone(),
            )
        })
        .collect()
}

#[test]
fn every_query_of_dashboard_and_rules_gives_data() {
    require!(
        Privileges,
        Program("prometheus"),
        FaultyProxy,
        ENVOY,
        Peer::GrpcGo1_70,
        Peer::GrpcGo1_85,
        Peer::GrpcJs1_12
    );
    let mut traffic = Traffic::start();
    let (_serve, address, _folder) = serve(&traffic.pids());
    let prometheus = Prometheus::start(&address);
    let up = || !prometheus.query("h2trace_self_build_info").is_empty();
    assert!(eventually(SETTLE, up), "nothing is scraped");
    traffic.happen();
    let counted = || {
        let errors = "h2trace_grpc_status_total{grpc_code!=\"OK\"}";
        let resets = "h2trace_resets_total{verdict!=\"benign\"}";
        [errors, resets]
            .iter()
            .all(|series| !prometheus.query(series).is_empty())
    };
    assert!(
        eventually(SETTLE, counted),
        "errors and resets are not scraped"
    );
    traffic.happen_again();
    // The hops of the last calls are over some time after them, and a rate wants two samples.
    for kind in ["proxy_dropped_trailers", "proxy_lost_bytes"] {
        let found = format!("h2trace:findings:increase5m{{kind=\"{kind}\"}}");
        let settled = || !prometheus.query(&found).is_empty();
        assert!(eventually(SETTLE, settled), "no {kind}");
    }
    std::thread::sleep(Duration::from_secs(5));

    let dashboard = dashboard();
    let mut empty = Vec::new();
    for (title, query) in queries(&dashboard) {
        if prometheus.query(&query).is_empty() && !EMPTY.iter().any(|(panel, _)| *panel == title) {
            empty.push(format!("{title}: {query}"));
        }
    }
    assert!(empty.is_empty(), "no data:\n{}", empty.join("\n"));

    // What the variables are chosen from.
    let variables = dashboard["templating"]["list"]
        .as_array()
        .expect("variables");
    for variable in variables
        .iter()
        .filter(|variable| variable["type"] == "query")
    {
        let query = variable["definition"].as_str().expect("a definition");
        let (series, label) = query
            .strip_prefix("label_values(")
            .and_then(|query| query.strip_suffix(")")?.rsplit_once(", "))
            .unwrap_or_else(|| panic!("not of the form known here: {query}"));
        let path = format!("/api/v1/series?match[]={}", encoded(&replaced(series)));
        let found = prometheus.get(&path);
        let found = found.as_array().expect("series");
        assert!(!found.is_empty(), "{query}");
        // These processes are in no pod, so their labels are those of none.
        let in_pod = ["namespace", "owner", "pod"].contains(&label);
        assert!(
            in_pod || found.iter().any(|series| !series[label].is_null()),
            "{query}"
        );
    }

    let rules = rules(&prometheus);
    for (name, rule) in &rules {
        assert_eq!(rule["health"], "ok", "{name}: {rule}");
        if rule["type"] == "recording" {
            let known = UNRECORDED.iter().any(|(silent, _)| silent == name);
            let recorded = || !prometheus.query(name).is_empty();
            assert!(known || eventually(SETTLE, recorded), "{name} has no data");
        } else {
            let known = SILENT.iter().any(|(silent, _)| silent == name);
            assert_eq!(rule["state"] == "firing", !known, "{name}: {rule}");
        }
    }
    println!(
        "{} queries of the dashboard, {} rules",
        queries(&dashboard).len(),
        rules.len()
    );
    println!(
        "lost: {:?}",
        prometheus.query("h2trace_self_events_lost_total > 0")
    );
}
