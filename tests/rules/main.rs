//! The rules, alerts and dashboard that come with the chart: held to promtool, and to a real Prometheus that scrapes a
//! real `h2trace serve` over real traffic.

mod prometheus;
mod promtool;
mod queries;
mod traffic;

use std::path::PathBuf;

fn rules() -> PathBuf {
    files().join("h2trace.rules.yaml")
}

fn files() -> PathBuf {
    tracer_tests::workspace().join("tracer-user/deploy/chart/files")
}
