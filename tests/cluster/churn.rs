//! Pods that come and go in numbers while calls are made: every count has the right name, and nothing piles up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;
use tracer_tests::{eventually, scaled};

use crate::maps;
use crate::rolling::pid_of;
use crate::setting::{SOON, Setting, Tracer};
use crate::workload::{Deployment, SERVER};

const NAMESPACE: &str = "churn";
/// Pods that are there at a time.
const WAVE: usize = 20;

/// The name of a pod, and how many calls it makes: each has its own number.
fn short_lived(number: usize) -> (String, usize) {
    (format!("short-{number}"), 3 + number % 7)
}

pub(crate) fn names_are_right_and_nothing_leaks(setting: &mut Setting) {
    let tracer = setting.tracer_with(&json!({}));
    setting.namespace(NAMESPACE);
    let server = setting.deploy(&Deployment::server(NAMESPACE, "server"));
    let target = server.target();
    let n_pods = scaled(40, 200);
    let began = Instant::now();
    let mut seen: BTreeMap<String, f64> = BTreeMap::new();
    // The first wave warms everything up; what is there after it may not grow.
    wave(setting, &tracer, &target, 0..WAVE, &mut seen);
    let before = footprint(setting, &tracer);
    let mut next = WAVE;
    while next < n_pods {
        let end = (next + WAVE).min(n_pods);
        wave(setting, &tracer, &target, next..end, &mut seen);
        next = end;
    }
    let took = began.elapsed();
    println!("{n_pods} pods came and went in {:.1} s", took.as_secs_f32());
    for number in 0..n_pods {
        let (name, n_calls) = short_lived(number);
        #[expect(clippy::cast_precision_loss, reason = "ten at most")]
        let want = n_calls as f64;
        assert_eq!(seen.get(&name).copied(), Some(want), "calls of {name}");
    }
    // Gone pods' connections and streams are gone, in the kernel's maps too; memory is what it was, but for what
    // allocators keep. Other programs of the machine have sockets that come and go meanwhile.
    let slack = (n_pods - WAVE) / 2;
    // Not for SOCKETS: it has all sockets of the machine, and Unix ones stay there until their room is wanted.
    let mut after = footprint(setting, &tracer);
    let grown = |after: &Footprint| -> Vec<String> {
        let kept = |name: &String| before.entries.get(name).copied().unwrap_or_default();
        let more = after
            .entries
            .iter()
            .filter(|(name, n)| **n > kept(name) + slack && *name != "SOCKETS");
        more.map(|(name, n)| format!("{name}: {} entries, then {n}", kept(name)))
            .collect()
    };
    eventually(SOON, || {
        after = footprint(setting, &tracer);
        after.connections <= before.connections && grown(&after).is_empty()
    });
    println!("before {before:?}\nafter  {after:?}");
    assert!(
        after.connections <= before.connections,
        "connections pile up"
    );
    assert!(
        grown(&after).is_empty(),
        "map entries pile up: {:?}",
        grown(&after)
    );
    assert!(
        after.resident <= before.resident + 16.0 * 1024.0 * 1024.0,
        "memory piles up: {before:?}, then {after:?}"
    );
    setting
        .cluster
        .kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]);
}

/// Makes some pods, reads the metrics until each has made its calls, and deletes them.
fn wave(
    setting: &Setting,
    tracer: &Tracer,
    target: &str,
    numbers: std::ops::Range<usize>,
    seen: &mut BTreeMap<String, f64>,
) {
    let mut manifests = String::new();
    let mut names = Vec::new();
    for number in numbers {
        let (name, n_calls) = short_lived(number);
        let arguments = json!(["client", "--target", target, "--calls", n_calls.to_string()]);
        write!(
            manifests,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{wave: current}}}}\n\
             spec:\n  restartPolicy: Never\n  terminationGracePeriodSeconds: 0\n  automountServiceAccountToken: false\n  \
             containers:\n    - {{name: only, image: {SERVER}, imagePullPolicy: Never, args: {arguments}}}\n"
        )
        .expect("a string takes it");
        names.push(name);
    }
    setting.cluster.apply(&manifests);
    let all = eventually(SOON, || {
        let metrics = setting.metrics(tracer);
        for sample in metrics.with("h2trace_streams_ended_total", &[("role", "client")]) {
            if sample.label("namespace") != NAMESPACE && !sample.label("namespace").is_empty() {
                continue;
            }
            let pod = sample.label("pod");
            assert!(
                pod.starts_with("short-"),
                "a client with a wrong name: {sample:?}"
            );
            assert_eq!(sample.label("container"), "only", "{sample:?}");
            assert_eq!(sample.label("namespace"), NAMESPACE, "{sample:?}");
        }
        for name in &names {
            let labels = [("pod", name.as_str()), ("role", "client")];
            let sum = metrics.sum("h2trace_streams_ended_total", &labels);
            let most = seen.entry(name.clone()).or_default();
            *most = most.max(sum);
        }
        std::thread::sleep(Duration::from_millis(100));
        names.iter().all(|name| {
            let number: usize = name
                .rsplit('-')
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0);
            #[expect(clippy::cast_precision_loss, reason = "ten at most")]
            let want = short_lived(number).1 as f64;
            seen.get(name).copied().unwrap_or_default() >= want
        })
    });
    assert!(
        all,
        "not all calls were counted under the names of these pods: {seen:?}"
    );
    let delete = [
        "delete",
        "pods",
        "--namespace",
        NAMESPACE,
        "--selector",
        "wave=current",
    ];
    setting
        .cluster
        .kubectl(&[delete.as_slice(), &["--wait=false"]].concat());
}

#[derive(Clone, Debug)]
struct Footprint {
    connections: f64,
    resident: f64,
    /// Of the kernel's maps.
    entries: BTreeMap<String, usize>,
}

fn footprint(setting: &Setting, tracer: &Tracer) -> Footprint {
    let metrics = setting.metrics(tracer);
    Footprint {
        connections: metrics.sum("h2trace_live_connections", &[]),
        resident: metrics.sum("process_resident_memory_bytes", &[]),
        entries: maps::entries(pid_of(setting, tracer)),
    }
}
