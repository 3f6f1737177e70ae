//! Each right that the manifest grants, taken away: what is missing is said clearly, so none could be left out.

use serde_json::{Value, json};
use tracer_tests::eventually;

use crate::setting::{NAMESPACE, SOON, Setting, text};

/// What is taken away from the pod's specification, and the words that must be said of it.
struct Case {
    name: &'static str,
    take: fn(&mut Value),
    command: &'static str,
    says: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "no-bpf",
        take: |spec| rights(spec)["capabilities"]["add"] = json!(["PERFMON"]),
        command: "serve",
        says: &["CAP_BPF", "capabilities.add"],
    },
    Case {
        name: "no-perfmon",
        take: |spec| rights(spec)["capabilities"]["add"] = json!(["BPF"]),
        command: "serve",
        says: &["CAP_PERFMON", "capabilities.add"],
    },
    Case {
        name: "no-capabilities",
        take: |spec| rights(spec)["capabilities"]["add"] = json!([]),
        command: "serve",
        says: &["CAP_BPF", "CAP_PERFMON", "capabilities.add"],
    },
    Case {
        name: "no-host-pid",
        take: |spec| spec["hostPID"] = json!(false),
        command: "doctor",
        says: &["hostPID: true"],
    },
    Case {
        name: "no-cgroup-mount",
        take: |spec| spec["containers"][0]["volumeMounts"] = json!([]),
        command: "doctor",
        says: &["/sys/fs/cgroup", "hostPath"],
    },
    Case {
        name: "no-role",
        take: |spec| spec["serviceAccountName"] = json!("default"),
        command: "serve",
        says: &["403", "verbs [get, list, watch]"],
    },
    Case {
        name: "no-token",
        take: |spec| spec["automountServiceAccountToken"] = json!(false),
        command: "serve",
        says: &["service account"],
    },
];

fn rights(spec: &mut Value) -> &mut Value {
    &mut spec["containers"][0]["securityContext"]
}

pub(crate) fn taken_away(setting: &mut Setting) {
    setting.tracer_with(&json!({}));
    let daemon_set = setting.json(&["get", "daemonset", "h2trace", "--namespace", NAMESPACE]);
    let whole = &daemon_set["spec"]["template"]["spec"];
    // With all of them, doctor has nothing to say.
    let with_all = Case {
        name: "all-rights",
        take: |_| (),
        command: "doctor",
        says: &[],
    };
    let cases = || std::iter::once(&with_all).chain(CASES);
    for case in cases() {
        let mut spec = whole.clone();
        (case.take)(&mut spec);
        spec["restartPolicy"] = json!("Never");
        spec["nodeName"] = json!(setting.cluster.node_name());
        let container = &mut spec["containers"][0];
        if case.command == "doctor" {
            container["args"] = json!(["doctor"]);
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe", "ports"] {
            container[probe] = Value::Null;
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": case.name, "namespace": NAMESPACE, "labels": { "test": "rights" } },
            "spec": spec,
        });
        setting.cluster.apply(&pod.to_string());
    }
    let mut wrong = Vec::new();
    for case in cases() {
        let mut log = String::new();
        let said = eventually(SOON, || {
            let logs = ["logs", "--namespace", NAMESPACE, case.name];
            log = setting.cluster.try_kubectl(&logs).unwrap_or_default();
            !log.is_empty() && case.says.iter().all(|word| log.contains(word))
        });
        println!("{}: {}", case.name, log.trim());
        if !said {
            wrong.push(format!(
                "{} does not say {:?}:\n{log}",
                case.name, case.says
            ));
        }
    }
    let state = setting.json(&["get", "pod", "all-rights", "--namespace", NAMESPACE]);
    if text(&state["status"]["phase"]) != "Succeeded" {
        wrong.push(format!(
            "with all rights doctor is not content: {}",
            state["status"]
        ));
    }
    let delete = [
        "delete",
        "pods",
        "--namespace",
        NAMESPACE,
        "--selector",
        "test=rights",
    ];
    setting
        .cluster
        .kubectl(&[delete.as_slice(), &["--wait=false"]].concat());
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
