//! h2trace as a DaemonSet: it becomes ready, with what its manifest grants and nothing else.

use serde_json::{Value, json};
use tracer_tests::{eventually, workspace};

use crate::setting::{NAMESPACE, SOON, Setting, is_ready};

/// CAP_PERFMON and CAP_BPF (include/uapi/linux/capability.h).
const BPF_AND_PERFMON: u64 = 1 << 38 | 1 << 39;

pub(crate) fn chart_becomes_ready(setting: &mut Setting) {
    let tracer = setting.tracer_with(&json!({}));
    runs_with_no_more_than_it_says(setting);
    carries_licences_and_bill(setting);
    assert!(
        setting
            .cluster
            .http_get(&tracer.address, "/readyz")
            .is_some(),
        "the probe's page"
    );
    let log = setting
        .cluster
        .kubectl(&["logs", "--namespace", NAMESPACE, &tracer.name]);
    assert!(log.contains("tracing cgroup"), "{log}");
}

pub(crate) fn manifests_become_ready(setting: &mut Setting) {
    let folder = workspace().join("tracer-user/deploy/manifests");
    let built = setting
        .cluster
        .kubectl(&["kustomize", &folder.display().to_string()]);
    // What every test adds: nothing is traced that is not of this cluster.
    let mine = built.replace(
        "- --ring-mib=8",
        &format!(
            "- --ring-mib=8\n        - --cgroup={}",
            setting.cluster.pods_cgroup()
        ),
    );
    assert!(
        mine.contains("--cgroup=/"),
        "the manifest's arguments have changed:\n{built}"
    );
    setting.cluster.apply(&mine);
    setting.rolled_out();
    runs_with_no_more_than_it_says(setting);
    setting
        .cluster
        .kubectl(&["delete", "namespace", NAMESPACE, "--timeout=60s"]);
    let rest = ["delete", "clusterrole,clusterrolebinding", "h2trace"];
    setting.cluster.kubectl(&rest);
}

/// The pod's rights as the kernel has them are those of the manifest, one by one.
fn runs_with_no_more_than_it_says(setting: &Setting) {
    let pods = setting.pods(NAMESPACE);
    let pod = pods.iter().find(|pod| is_ready(pod)).expect("a ready pod");
    let container = &pod["spec"]["containers"][0];
    let rights = &container["securityContext"];
    assert_eq!(rights["privileged"], false, "{rights}");
    assert_eq!(rights["allowPrivilegeEscalation"], false, "{rights}");
    assert_eq!(rights["readOnlyRootFilesystem"], true, "{rights}");
    assert_eq!(rights["capabilities"]["drop"], json!(["ALL"]), "{rights}");
    assert_eq!(
        rights["capabilities"]["add"],
        json!(["BPF", "PERFMON"]),
        "{rights}"
    );
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        assert_eq!(mount["readOnly"], true, "{mount}");
    }
    let pid = process_of(setting, pod);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).unwrap_or_default().to_owned()
    };
    // What it was given it has given up by now, but for the bound: to lower that takes one capability more.
    for (set, has) in [("CapPrm:", 0), ("CapEff:", 0), ("CapBnd:", BPF_AND_PERFMON)] {
        let value = u64::from_str_radix(&field(set), 16).unwrap_or(u64::MAX);
        assert_eq!(value, has, "{set} of the process");
    }
    assert_eq!(field("CapAmb:"), "0000000000000000");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2", "a filter of system calls");
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let options = |at: &str| {
        let mut lines = mounts
            .lines()
            .filter(|line| line.split(' ').nth(4) == Some(at));
        lines
            .next_back()
            .and_then(|line| line.split(' ').nth(5))
            .unwrap_or_default()
            .to_owned()
    };
    for read_only in ["/", "/sys/fs/cgroup"] {
        assert!(
            options(read_only).split(',').any(|option| option == "ro"),
            "{read_only}:\n{mounts}"
        );
    }
}

/// The image has the licences of all that is in it, and says what that is.
fn carries_licences_and_bill(setting: &Setting) {
    let pods = setting.pods(NAMESPACE);
    let pod = pods.iter().find(|pod| is_ready(pod)).expect("a ready pod");
    let root = format!("/proc/{}/root", process_of(setting, pod));
    let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).unwrap_or_default();
    for licence in [
        "NOTICES",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "LICENSE-GPL-2.0",
    ] {
        assert!(
            read(&format!("licences/{licence}")).len() > 500,
            "{licence}"
        );
    }
    let bill: Value = serde_json::from_str(&read("h2trace.cdx.json")).expect("a bill of materials");
    let parts = bill["components"].as_array().map_or(0, Vec::len);
    assert!(parts > 100, "{parts} parts");
}

/// The process of a pod's only container: the one whose cgroup is named after it.
pub(crate) fn process_of(setting: &Setting, pod: &Value) -> u32 {
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str();
    let id = id
        .and_then(|id| id.split("//").nth(1))
        .expect("a container id");
    let mut found = None;
    eventually(SOON, || {
        found = processes_of(setting, id).first().copied();
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("container {id} has no process"))
}

/// The processes of a container.
pub(crate) fn processes_of(setting: &Setting, id: &str) -> Vec<u32> {
    processes_below(&setting.cluster.sandbox.unified(), id).unwrap_or_default()
}

fn processes_below(folder: &std::path::Path, name: &str) -> Option<Vec<u32>> {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        if entry.file_name() == name {
            let text = std::fs::read_to_string(path.join("cgroup.procs")).ok()?;
            return Some(text.lines().filter_map(|pid| pid.parse().ok()).collect());
        }
        if let Some(processes) = processes_below(&path, name) {
            return Some(processes);
        }
    }
    None
}
