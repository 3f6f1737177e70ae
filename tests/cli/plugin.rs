//! `kubectl h2trace`: what it makes of its arguments, against a kubectl that writes down what it is asked. What becomes of
//! that in a real cluster is tested in `tests/cluster`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tracer_tests::require;
use tracer_tests::skip::Program;

/// Answers as a cluster would that has the pod shop/cart-1 on node-7. Each call is a line of `calls`, its words between
/// brackets. `tracer-in-NAMESPACE` is the DaemonSet's pod there, if there is one.
const KUBECTL: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
for word; do
    case $word in
    go-template=*) printf '%s' "${word#*=}" >template; word=go-template ;;
    esac
    printf '[%s]' "$word"
done >>calls
echo >>calls
case "$*" in
*'get deployment/cart '*) echo '{"app":"cart","tier":"web"}' ;;
*'get deployment/none '*) echo '{"app":"none"}' ;;
*'get pods --selector app=cart,tier=web '*) printf 'cart-1\ncart-2\n' ;;
*'get pods --selector app=none '*) ;;
*'get pods '*job-name=*) echo 'h2trace-job-1 Running ' ;;
*'get pods --all-namespaces --field-selector spec.nodeName=node-7 --output go-template='*)
    [ ! -e forbidden ] && cat pods ;;
*'get pods --field-selector metadata.name=cart-1 --output go-template='*' --namespace shop') cat pod ;;
*'get pods --namespace '*component=tracer*)
    where=${*#*--namespace }
    cat "tracer-in-${where%% *}" ;;
*'get pod cart-1 '*.spec.nodeName*) echo 'shop node-7 Running' ;;
*'get pod waiting '*) echo 'shop  Pending' ;;
*'get pod done '*) echo 'shop node-7 Succeeded' ;;
*'get pod h2trace-job-1 '*) echo 1 ;;
*'create '*) cat >manifest ;;
*'exec '*) read -r line; printf '%s\n' "$line" >told; echo traced; exit "$(cat status)" ;;
*'attach '*) read -r line; printf '%s\n' "$line" >told; echo attached ;;
*'delete job '*) ;;
*) echo "the test's kubectl does not know: $*" >&2; exit 1 ;;
esac
"#;

/// A cluster of one pod, that is made of files.
struct Cluster(TempDir);

impl Cluster {
    fn new(tracer: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("kubectl", KUBECTL);
        put("tracer-in-kube-system", tracer);
        put("pods", "{\"items\":\n []}\n");
        put("status", "0\n");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path().join("kubectl"), executable).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap_or_default()
    }

    /// The calls of kubectl that have this word.
    fn calls(&self, word: &str) -> Vec<String> {
        let word = format!("[{word}]");
        let calls = self.file("calls");
        calls
            .lines()
            .filter(|call| call.contains(&word))
            .map(str::to_owned)
            .collect()
    }

    fn plugin(&self, arguments: &[&str]) -> Output {
        Command::new("/bin/sh")
            .arg(plugin())
            .args(arguments)
            .env("H2TRACE_KUBECTL", self.0.path().join("kubectl"))
            .stdin(Stdio::null())
            .output()
            .expect("the plugin starts")
    }
}

fn plugin() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tracer-user/deploy/kubectl-h2trace")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn trace_runs_in_the_daemon_sets_pod_of_the_node() {
    let cluster = Cluster::new("h2trace-abcde\n");
    let arguments = [
        "trace",
        "-n",
        "shop",
        "cart-1",
        "-c",
        "app",
        "--context=test",
        "--header",
        "x y",
        "--for",
        "2s",
    ];
    let output = cluster.plugin(&arguments);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b"traced\n"[..]),
        "{}",
        said(&output)
    );
    let exec = cluster.calls("exec").concat();
    assert_eq!(
        exec,
        "[--context][test][exec][--stdin][--namespace][kube-system][h2trace-abcde][--container][h2trace][--][/h2trace]\
         [trace][--held-by-stdin][--pod][shop/cart-1][--container][app][--header][x y][--for][2s]"
    );
    assert_eq!(cluster.file("told"), "{\"items\": []}\n");
    for call in cluster.calls("get") {
        assert!(call.starts_with("[--context][test]"), "{call}");
    }
    let tracer = cluster
        .calls("--field-selector")
        .iter()
        .any(|call| call.contains("component=tracer") && call.contains("spec.nodeName=node-7"));
    assert!(tracer, "the tracer of the pod's node is looked for");
}

#[test]
fn exit_status_is_that_of_h2trace() {
    let cluster = Cluster::new("h2trace-abcde\n");
    for status in [1, 2, 130] {
        std::fs::write(cluster.0.path().join("status"), format!("{status}\n")).unwrap();
        let output = cluster.plugin(&["record", "pod/cart-1", "--include-payload", "-w", "-"]);
        assert_eq!(output.status.code(), Some(status), "{}", said(&output));
    }
}

#[test]
fn without_a_daemon_set_a_job_is_made_and_taken_away() {
    let cluster = Cluster::new("");
    let odd = "a \"b\" \\c";
    let output = cluster.plugin(&[
        "trace",
        "cart-1",
        "--header",
        odd,
        "--image=registry/h2trace:9",
    ]);
    // What the job's pod ended with.
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(output.stdout, b"attached\n");
    let manifest = cluster.file("manifest");
    for line in [
        "kind: Job",
        "  activeDeadlineSeconds: 3600",
        "      nodeName: \"node-7\"",
        "  namespace: \"kube-system\"",
        "          image: \"registry/h2trace:9\"",
        "          args: [\"trace\", \"--held-by-stdin\", \"--pod\", \"shop/cart-1\", \"--header\", \"a \\\"b\\\" \\\\c\", \"--kubernetes=told\"]",
        "              add: [\"BPF\",\"PERFMON\"]",
    ] {
        assert!(
            manifest.lines().any(|of| of == line),
            "no {line:?} in\n{manifest}"
        );
    }
    assert!(!manifest.contains(['@', '$']), "{manifest}");
    let job = manifest
        .lines()
        .find_map(|line| line.strip_prefix("  name: \""));
    let job = job.unwrap().trim_end_matches('"');
    let deleted = cluster.calls("delete").concat();
    assert!(
        deleted.starts_with(&format!("[delete][job][{job}][--namespace][kube-system]")),
        "{deleted}"
    );
    // Asked for, with a DaemonSet too.
    let cluster = Cluster::new("h2trace-abcde\n");
    cluster.plugin(&["trace", "cart-1", "--no-daemon-set"]);
    assert_eq!(
        (cluster.calls("exec").len(), cluster.calls("create").len()),
        (0, 1)
    );
}

#[test]
fn workload_stands_for_its_first_running_pod() {
    let cluster = Cluster::new("h2trace-abcde\n");
    let output = cluster.plugin(&["trace", "deployment/cart"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("2 running pods; tracing cart-1"),
        "{}",
        said(&output)
    );
    let exec = cluster.calls("exec").concat();
    assert!(exec.contains("[--pod][shop/cart-1]"), "{exec}");
}

#[test]
fn refusals_name_the_remedy_and_make_nothing() {
    for (arguments, part) in [
        (&["trase"][..], "trace and record"),
        (&["trace"], "which pod?"),
        (&["trace", "--for", "2s", "cart-1"], "name the pod first"),
        (&["trace", "cart-1", "-n"], "-n wants a value"),
        (&["trace", "waiting"], "on no node yet"),
        (&["trace", "done"], "has ended"),
        (&["trace", "deployment/none"], "no running pod"),
        (
            &["trace", "cart-1", "--no-daemon-set", "--header", "a\nb"],
            "line end",
        ),
    ] {
        let cluster = Cluster::new("h2trace-abcde\n");
        let output = cluster.plugin(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            said(&output).contains(part),
            "{arguments:?}: {}",
            said(&output)
        );
        for made in ["exec", "create", "attach"] {
            assert!(cluster.calls(made).is_empty(), "{arguments:?}: {made}");
        }
    }
    let help = Cluster::new("").plugin(&["--help"]);
    assert!(help.status.success() && help.stdout.starts_with(b"kubectl h2trace: trace"));
}

#[test]
fn image_of_the_job_is_of_this_version() {
    let text = std::fs::read_to_string(plugin()).unwrap();
    let image = format!("\nimage=localhost/h2trace:{}\n", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&image), "no {image:?} in the plugin");
}

/// The template in Go's own words: what kubectl does with it.
const TEMPLATE: &str = r#"package main

import (
	"encoding/json"
	"os"
	"text/template"
)

func main() {
	text, _ := os.ReadFile(os.Args[1])
	var pods any
	if err := json.NewDecoder(os.Stdin).Decode(&pods); err != nil {
		panic(err)
	}
	if err := template.Must(template.New("").Parse(string(text))).Execute(os.Stdout, pods); err != nil {
		panic(err)
	}
}
"#;

/// What kubectl makes of `pods` by the plugin's template.
fn by_template(cluster: &Cluster, pods: &Value) -> Vec<u8> {
    let at = |name: &str| cluster.0.path().join(name);
    std::fs::write(at("main.go"), TEMPLATE).unwrap();
    std::fs::write(at("in.json"), pods.to_string()).unwrap();
    let made = Command::new("go")
        .arg("run")
        .args([at("main.go"), at("template")])
        .env("GO111MODULE", "off")
        .stdin(std::fs::File::open(at("in.json")).unwrap())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    made.stdout
}

#[test]
fn names_alone_are_told_and_hostile_ones_stay_names() {
    require!(Program("go"));
    const HOSTILE: &str = "x'\\\"}],\n\u{1b}[2J\u{202e}{{js .}}\\'";
    let cluster = Cluster::new("h2trace-abcde\n");
    // To learn its template.
    assert!(cluster.plugin(&["trace", "cart-1"]).status.success());
    let secret = json!([{ "name": "DB_PASSWORD", "value": "hunter2" }]);
    let pod = json!({
        "metadata": {
            "name": "bank-1", "namespace": "bank", "uid": HOSTILE, "creationTimestamp": "2026-11-23T00:00:00Z",
            "labels": { "app": HOSTILE, HOSTILE: "b" },
            "annotations": { "kubernetes.io/config.mirror": HOSTILE, "note": "hunter2" },
            "ownerReferences": [{ "kind": "ReplicaSet", "name": HOSTILE, "uid": "u", "controller": true },
                { "kind": HOSTILE, "name": "w" }],
        },
        "spec": { "nodeName": "node-7", "hostNetwork": true,
            "containers": [{ "name": "app", "env": secret, "command": ["hunter2"] }, { "name": "side" }],
            "ephemeralContainers": [{ "name": HOSTILE, "env": secret }] },
        "status": { "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }],
            "startTime": "2026-11-23T00:00:01Z", "message": "hunter2",
            "containerStatuses": [{ "name": "app", "containerID": HOSTILE, "image": "hunter2",
                "lastState": { "terminated": { "containerID": "containerd://b", "message": "hunter2" } } }] },
    });
    let bare = json!({ "metadata": { "name": "new", "namespace": "shop", "uid": "u" }, "spec": {}, "status": {} });
    let pods =
        json!({ "kind": "List", "metadata": { "resourceVersion": "" }, "items": [pod, bare] });
    std::fs::write(cluster.0.path().join("pods"), by_template(&cluster, &pods)).unwrap();
    assert!(cluster.plugin(&["trace", "cart-1"]).status.success());
    let told = cluster.file("told");
    assert!(
        !told.contains("hunter2") && told.lines().count() == 1,
        "{told}"
    );
    let told: Value = serde_json::from_str(&told).unwrap();
    let told = told["items"].as_array().unwrap();
    assert_eq!(told.len(), 2);
    for part in [
        "/metadata/name",
        "/metadata/namespace",
        "/metadata/uid",
        "/metadata/creationTimestamp",
        "/metadata/labels",
        "/metadata/annotations/kubernetes.io~1config.mirror",
        "/metadata/ownerReferences/0/name",
        "/metadata/ownerReferences/0/controller",
        "/metadata/ownerReferences/1/kind",
        "/spec/nodeName",
        "/spec/hostNetwork",
        "/spec/containers/1/name",
        "/spec/ephemeralContainers/0/name",
        "/status/phase",
        "/status/podIP",
        "/status/podIPs",
        "/status/startTime",
        "/status/containerStatuses/0/containerID",
        "/status/containerStatuses/0/lastState/terminated/containerID",
    ] {
        let should = pods.pointer(&format!("/items/0{part}"));
        assert!(
            should.is_some() && told[0].pointer(part) == should,
            "{part}: {}",
            told[0]
        );
    }
    assert_eq!(told[1]["metadata"]["name"], "new");
}

#[test]
fn who_may_not_see_all_pods_tells_of_one_alone() {
    let cluster = Cluster::new("h2trace-abcde\n");
    for (name, text) in [("forbidden", ""), ("pod", "{\"items\":\n [{}]}\n")] {
        std::fs::write(cluster.0.path().join(name), text).unwrap();
    }
    let output = cluster.plugin(&["trace", "cart-1"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(cluster.file("told"), "{\"items\": [{}]}\n");
}

#[test]
fn tracer_of_another_namespace_gets_nothing() {
    let cluster = Cluster::new("");
    // Anybody may give a pod of his the labels of the tracer's.
    std::fs::write(cluster.0.path().join("tracer-in-evil"), "stranger\n").unwrap();
    cluster.plugin(&["trace", "cart-1"]);
    assert_eq!(cluster.calls("exec"), [""; 0]);
    let asked = cluster.calls("--all-namespaces").concat();
    assert!(!asked.contains("component=tracer"), "{asked}");
    let output = cluster.plugin(&["trace", "cart-1", "--tracer-namespace", "evil"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        cluster
            .calls("exec")
            .concat()
            .contains("[--namespace][evil][stranger]")
    );
}
