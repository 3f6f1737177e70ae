//! h2trace in a real Kubernetes cluster of one node: installed by its chart and by its manifests, with the incident as
//! three pods. All tests share one cluster, which is made for the run and cleared away after it, and run in the order
//! that is written here. See `tests/harness/cluster`.
//!
//! Takes what Cargo's own test runner takes, as far as it makes sense: words to filter by, `--list`, `--exact`.

mod churn;
mod filter;
mod guarded;
mod incident;
mod manifests;
mod maps;
mod metrics;
mod monitoring;
mod outages;
mod packaging;
mod pairs;
mod plugin;
mod rights;
mod rolling;
mod runner;
mod runtime;
mod selection;
mod served;
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
        "metrics_behind_tls_are_for_those_whom_the_api_server_lets_and_who_know_the_password",
        guarded::by_tls_and_token,
    ),
    Test(
        "the_incident_in_three_pods_names_pod_container_namespace_and_owner_on_both_ends_of_both_hops",
        incident::in_three_pods,
    ),
    Test(
        "kubectl_h2trace_on_one_pod_tells_of_it_alone_through_the_daemon_set",
        filter::through_the_daemon_set,
    ),
    Test(
        "kubectl_h2trace_that_is_interrupted_or_killed_ends_its_trace_and_leaves_nothing",
        plugin::ended_from_outside,
    ),
    Test(
        "kubectl_h2trace_on_one_pod_tells_of_it_alone_through_a_job_and_leaves_nothing",
        filter::through_a_job,
    ),
    Test(
        "selected_pods_alone_are_traced_and_one_that_starts_later_from_its_first_request_on",
        selection::selected_alone,
    ),
    Test(
        "a_pod_that_cannot_be_traced_here_is_said_with_the_reason",
        selection::refusals,
    ),
    Test(
        "serve_traces_no_selected_pod_before_the_pods_are_known_and_then_those_alone",
        served::known_and_unknown,
    ),
    Test(
        "each_right_that_is_taken_away_is_missed_and_said",
        rights::taken_away,
    ),
    Test(
        "a_real_prometheus_finds_the_pods_by_discovery_and_shows_the_incident",
        monitoring::by_discovery,
    ),
    Test(
        "pods_that_come_and_go_in_numbers_keep_their_names_and_leave_no_memory_behind",
        churn::names_are_right_and_nothing_leaks,
    ),
    Test(
        "the_container_runtime_names_pods_where_nobody_else_does",
        runtime::names_pods,
    ),
    Test(
        "the_container_runtime_names_a_container_that_starts_while_the_api_server_is_gone",
        runtime::stands_in,
    ),
    Test(
        "while_the_api_server_is_away_or_silent_tracing_goes_on_and_names_stay",
        outages::of_the_api,
    ),
    Test(
        "a_restart_of_the_kubelet_changes_nothing",
        outages::of_the_kubelet,
    ),
    Test(
        "a_restart_of_containerd_changes_nothing",
        outages::of_containerd,
    ),
    Test(
        "a_rolling_update_under_traffic_hurts_no_call_counts_none_twice_and_leaves_no_kernel_program",
        rolling::under_traffic,
    ),
];

fn main() -> ExitCode {
    runner::run(TESTS)
}
