//! What the chart renders, against what the API server says of it.

use std::process::Command;

use tracer_tests::cluster::{ApiParts, User, said};
use tracer_tests::peer::installed;
use tracer_tests::skip::Need;
use tracer_tests::{require, workspace};

use crate::given::api;

struct Helm;

impl Need for Helm {
    fn missing(&self) -> Option<String> {
        let there = installed("helm").join("helm").is_file();
        (!there).then(|| "helm is not installed: cargo xtask setup --only helm".to_owned())
    }
}

/// The chart with these values, or why it cannot be.
fn rendered(values: &[&str]) -> Result<String, String> {
    let mut helm = Command::new(installed("helm").join("helm"));
    helm.arg("template").arg("h2trace");
    helm.arg(workspace().join("tracer-user/deploy/chart"));
    helm.args(["--namespace", "shop", "--kube-version", "1.34.0"]);
    for value in values {
        helm.args(["--set", value]);
    }
    said(&mut helm, "")
}

/// Lines of a manifest that is one of these, trimmed.
fn lines<'a>(manifest: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let lines = manifest.lines().map(str::trim);
    lines.filter(|line| wanted.contains(line)).collect()
}

#[test]
fn keys_are_looked_for_in_chosen_pods_alone_and_only_then_with_more_rights() {
    const OFF: &str = r#"add: ["BPF","PERFMON"]"#;
    const ON: [&str; 5] = [
        "appArmorProfile:",
        "type: Unconfined",
        "- --tls",
        "- --tls-share=5",
        r#"add: ["BPF","PERFMON","SYS_PTRACE","DAC_READ_SEARCH"]"#,
    ];
    require!(ApiParts, Helm);
    let on = ["tls.enabled=true", "tls.share=5"];
    let without = [&on[..], &["excludeNamespaces={kube-system}"]].concat();
    for values in [&on[..], &without] {
        let refused = rendered(values).expect_err("nobody is chosen");
        for word in ["tls.enabled", "namespaces", "selector"] {
            assert!(refused.contains(word), "{refused}");
        }
    }
    let all = [&[OFF][..], &ON].concat();
    let off = rendered(&[]).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(lines(&off, &all), [OFF]);
    for chosen in ["namespaces={shop}", "selector=app=cart"] {
        let on = rendered(&[&on[..], &[chosen]].concat()).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(lines(&on, &all), ON);
        let taken = taken_by_the_server(&on);
        assert!(taken.contains("daemonset.apps/h2trace created"), "{taken}");
    }
    // Who confines it otherwise says so.
    let profile = ["namespaces={shop}", "appArmorProfile.type=RuntimeDefault"];
    let own = rendered(&[&on[..], &profile].concat()).unwrap_or_else(|why| panic!("{why}"));
    assert!(lines(&own, &all).contains(&"appArmorProfile:"));
    assert!(!lines(&own, &all).contains(&"type: Unconfined"));
}

/// What the API server says of a manifest, which it does not keep.
fn taken_by_the_server(manifest: &str) -> String {
    let api = api();
    let mut kubectl = api.kubectl_command(User::Admin);
    kubectl.args(["apply", "--dry-run=server", "--validate=strict", "-f", "-"]);
    said(&mut kubectl, manifest).unwrap_or_else(|why| panic!("{why}\n{manifest}"))
}

#[test]
fn metrics_behind_a_guard_pass_the_strict_validation_and_tokens_want_tls() {
    require!(ApiParts, Helm);
    let tokens = "kubernetesAuth.enabled=true";
    let refused = rendered(&[tokens]).expect_err("tokens could be read on their way");
    assert!(refused.contains("webConfig.secret"), "{refused}");
    let guarded = rendered(&[
        tokens,
        "webConfig.secret=web",
        "networkPolicy.create=true",
        "networkPolicy.from[0].namespaceSelector.matchLabels.team=monitoring",
    ]);
    let guarded = guarded.unwrap_or_else(|why| panic!("{why}"));
    for line in [
        "- --web-config-file=/etc/h2trace/web/web.yaml",
        "- --kubernetes-auth",
        "secretName: web",
        "resources: [subjectaccessreviews]",
        "- nonResourceURLs: [/metrics]",
        "kind: NetworkPolicy",
    ] {
        let lines = guarded.lines();
        let n = lines.filter(|is| is.trim() == line).count();
        assert_eq!(n, 1, "{line}:\n{guarded}");
    }
    let taken = taken_by_the_server(&guarded);
    assert!(taken.contains("daemonset.apps/h2trace created"), "{taken}");
}
