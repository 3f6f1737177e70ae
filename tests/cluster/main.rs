//! h2trace in a real Kubernetes cluster of one node: installed by its chart and by its manifests, with the incident as
//! three pods. All tests share one cluster, which is made for the run and cleared away after it, and run in the order
//! that is written here. See `tests/harness/cluster`.
//!
//! Takes what Cargo's own test runner takes, as far as it makes sense: words to filter by, `--list`, `--exact`.

mod incident;
mod manifests;
mod metrics;
mod packaging;
mod runner;
mod setting;
mod workload;

use std::process::ExitCode;

use runner::Test;

const TESTS: &[Test] = &[
    Test(
        "manifests_and_chart_pass_the_servers_strict_validation_kubeconform_and_helm_lint",
        manifests::valid,
    ),
    Test(
        "the_plain_manifests_become_ready_with_exactly_their_privileges",
        packaging::manifests_become_ready,
    ),
    Test(
        "the_chart_becomes_ready_with_exactly_its_privileges",
        packaging::chart_becomes_ready,
    ),
    Test(
        "the_incident_in_three_pods_names_pod_container_namespace_and_owner_on_both_ends_of_both_hops",
        incident::in_three_pods,
    ),
];

fn main() -> ExitCode {
    runner::run(TESTS)
}
