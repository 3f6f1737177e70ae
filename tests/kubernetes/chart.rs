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
    let api = api();
    let mut kubectl = api.kubectl_command(User::Admin);
    kubectl.args(["apply", "--dry-run=server", "--validate=strict", "-f", "-"]);
    let taken = said(&mut kubectl, &guarded).unwrap_or_else(|why| panic!("{why}\n{guarded}"));
    assert!(taken.contains("daemonset.apps/h2trace created"), "{taken}");
}
