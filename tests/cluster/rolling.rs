//! A rolling update of the DaemonSet while calls are made.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tracer_tests::call::Call;
use tracer_tests::eventually;

use crate::packaging::process_of;
use crate::setting::{NAMESPACE, SOON, Setting, Tracer};
use crate::workload::Deployment;

const TRAFFIC: &str = "rolling";

/// The kernel programs that a process holds, by the kernel's ids.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let folder = format!("/proc/{pid}/fdinfo");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| std::fs::read_to_string(file.path()).ok())
        .filter_map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
            line?.trim().parse().ok()
        })
        .collect()
}

/// All that the kernel has.
fn programs_of_the_kernel() -> BTreeSet<u32> {
    aya::programs::loaded_programs()
        .filter_map(|program| Some(program.ok()?.id()))
        .collect()
}

/// The process of h2trace.
pub(crate) fn pid_of(setting: &Setting, tracer: &Tracer) -> u32 {
    let pod = setting.json(&["get", "pod", &tracer.name, "--namespace", NAMESPACE]);
    process_of(setting, &pod)
}

pub(crate) fn under_traffic(setting: &mut Setting) {
    let old = setting.tracer_with(&json!({}));
    setting.namespace(TRAFFIC);
    let server = setting.deploy(&Deployment::server(TRAFFIC, "server"));
    let target = server.target();
    let client = setting.deploy(&Deployment::busy_client(TRAFFIC, "client", &target));
    let counted = |setting: &Setting, tracer: &Tracer| {
        let names = [
            ("namespace", TRAFFIC),
            ("pod", client.name.as_str()),
            ("role", "client"),
        ];
        setting
            .metrics(tracer)
            .sum("h2trace_streams_ended_total", &names)
    };
    let begun = eventually(SOON, || counted(setting, &old) > 50.0);
    assert!(begun, "nothing is counted");
    let held = programs_of(pid_of(setting, &old));
    assert!(!held.is_empty(), "the old tracer holds kernel programs");

    let restart = [
        "rollout",
        "restart",
        "daemonset/h2trace",
        "--namespace",
        NAMESPACE,
    ];
    let mut last = counted(setting, &old);
    setting.cluster.kubectl(&restart);
    // Its last word, as a scrape would have it.
    eventually(SOON, || {
        match setting.cluster.http_get(&old.address, "/metrics") {
            None => true,
            Some(page) => {
                let names = [
                    ("namespace", TRAFFIC),
                    ("pod", client.name.as_str()),
                    ("role", "client"),
                ];
                let now =
                    crate::metrics::Metrics::of(&page).sum("h2trace_streams_ended_total", &names);
                last = last.max(now);
                false
            }
        }
    });
    setting.rolled_out();
    let new = setting.tracer();
    assert_ne!(new.name, old.name, "the pod is another");
    let goes_on = eventually(SOON, || counted(setting, &new) > 50.0);
    assert!(goes_on, "the new tracer counts nothing");

    let left: BTreeSet<u32> = held
        .intersection(&programs_of_the_kernel())
        .copied()
        .collect();
    assert!(
        left.is_empty(),
        "kernel programs of the old tracer are left: {left:?}"
    );

    // What it could not see, because the connection is older than it, it tells.
    let unseen = setting
        .metrics(&new)
        .sum("h2trace_self_hpack_unseen_total", &[]);
    assert!(
        unseen > 0.0,
        "the new tracer came late, and does not say so"
    );

    // No call suffered, and none was counted twice: what both have counted is no more than what was made.
    let new_count = counted(setting, &new);
    std::thread::sleep(Duration::from_secs(1));
    let log = ["logs", "--namespace", TRAFFIC, client.name.as_str()];
    let log = setting.cluster.kubectl(&log);
    let calls: Vec<Call> = log.lines().filter_map(Call::of_line).collect();
    let failed: Vec<&Call> = calls.iter().filter(|call| call.code != 0).collect();
    assert!(
        failed.is_empty(),
        "{} calls failed: {:?}",
        failed.len(),
        failed.first()
    );
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let made = calls.len() as f64;
    println!("{made} calls: the old tracer counted {last}, the new one {new_count}");
    assert!(
        last + new_count <= made,
        "counted twice: {last} + {new_count} of {made}"
    );
    setting
        .cluster
        .kubectl(&["delete", "namespace", TRAFFIC, "--wait=false"]);
}
