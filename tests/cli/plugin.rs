//! `kubectl h2trace`: what it makes of its arguments, against a kubectl that writes down what it is asked. What becomes of
//! that in a real cluster is tested in `tests/cluster`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Answers as a cluster would that has the pod shop/cart-1 on node-7. Each call is a line of `calls`, its words between
/// brackets. `tracer` is the DaemonSet's pod, if there is one.
const KUBECTL: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
{ printf '[%s]' "$@"; echo; } >>calls
case "$*" in
*'get deployment/cart '*) echo '{"app":"cart","tier":"web"}' ;;
*'get deployment/none '*) echo '{"app":"none"}' ;;
*'get pods --selector app=cart,tier=web '*) printf 'cart-1\ncart-2\n' ;;
*'get pods --selector app=none '*) ;;
*'get pods '*job-name=*) echo 'h2trace-job-1 Running ' ;;
*'get pods --all-namespaces --field-selector'*) printf '{"items":\n []}\n' ;;
*'get pods '*component=tracer*) cat tracer ;;
*'get pod cart-1 '*.spec.nodeName*) echo 'shop node-7 Running' ;;
*'get pod waiting '*) echo 'shop  Pending' ;;
*'get pod done '*) echo 'shop node-7 Succeeded' ;;
*'get pod h2trace-job-1 '*) echo 1 ;;
*'create '*) cat >manifest ;;
*'exec '*) read -r line; echo "$line" >told; echo traced; exit "$(cat status)" ;;
*'attach '*) read -r line; echo "$line" >told; echo attached ;;
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
        put("tracer", tracer);
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
    let cluster = Cluster::new("tracing h2trace-abcde\n");
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
        "[--context][test][exec][--stdin][--namespace][tracing][h2trace-abcde][--container][h2trace][--][/h2trace]\
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
    let cluster = Cluster::new("tracing h2trace-abcde\n");
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
    let cluster = Cluster::new("tracing h2trace-abcde\n");
    cluster.plugin(&["trace", "cart-1", "--no-daemon-set"]);
    assert_eq!(
        (cluster.calls("exec").len(), cluster.calls("create").len()),
        (0, 1)
    );
}

#[test]
fn workload_stands_for_its_first_running_pod() {
    let cluster = Cluster::new("tracing h2trace-abcde\n");
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
        let cluster = Cluster::new("tracing h2trace-abcde\n");
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
