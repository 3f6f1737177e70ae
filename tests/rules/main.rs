//! The rules, alerts and dashboard that come with the chart: held to promtool, and to a real Prometheus that scrapes a
//! real `h2trace serve` over real traffic.

mod prometheus;
mod promtool;
mod queries;
mod traffic;

use std::path::PathBuf;

/// The rule file.
fn rules() -> PathBuf {
    files().join("h2trace.rules.yaml")
}

/// The chart's files.
fn files() -> PathBuf {
    tracer_tests::workspace().join("tracer-user/deploy/chart/files")
}
