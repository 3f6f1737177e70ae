//! The manifests against what Kubernetes itself says of them.

use std::process::Command;

use tracer_tests::cluster::said;
use tracer_tests::peer::installed;
use tracer_tests::workspace;

use crate::setting::{Setting, chart};

pub(crate) fn valid(setting: &mut Setting) {
    let deploy = workspace().join("tracer-user/deploy");
    let folder = deploy.join("manifests").display().to_string();
    let plain = setting.cluster.kubectl(&["kustomize", &folder]);
    // Its namespace must be there for the others to be looked at.
    setting.namespace("h2trace");
    setting.cluster.kubectl(&[
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "-k",
        &folder,
    ]);
    let all = "priorityClass.create=true,cri.enabled=true,dashboard.create=true,webConfig.secret=web,\
               kubernetesAuth.enabled=true,networkPolicy.create=true,\
               networkPolicy.from[0].namespaceSelector.matchLabels.team=monitoring";
    let more = setting
        .helm(
            &[
                "template",
                "h2trace",
                &chart(),
                "--kube-version",
                "1.34.0",
                "--namespace",
                "h2trace",
                "--set",
                all,
            ],
            "",
        )
        .unwrap_or_else(|why| panic!("helm template failed: {why}"));
    let mut dry = setting
        .cluster
        .kubectl_command(tracer_tests::cluster::User::Admin);
    dry.args(["apply", "--dry-run=server", "--validate=strict", "-f", "-"]);
    if let Err(why) = said(&mut dry, &more) {
        panic!("refused with {all}: {why}");
    }
    if let Err(why) = setting.helm(&["lint", "--strict", &chart()], "") {
        panic!("helm lint: {why}");
    }
    setting
        .cluster
        .kubectl(&["delete", "namespace", "h2trace", "--timeout=60s"]);
    let schemas = schemas();
    for (what, manifests) in [("the plain manifests", &plain), ("the chart", &more)] {
        let mut kubeconform = Command::new(installed("kubeconform").join("kubeconform"));
        kubeconform.args(["-strict", "-summary", "-schema-location"]);
        kubeconform.arg(format!(
            "{}/{{{{.ResourceKind}}}}.json",
            schemas.path().display()
        ));
        match said(&mut kubeconform, manifests) {
            Ok(summary) => assert!(summary.contains("Skipped: 0"), "{what}: {summary}"),
            Err(why) => panic!("kubeconform on {what}: {why}"),
        }
    }
}

/// A JSON schema for each kind, from the API's own description, strict: no field that it does not know.
fn schemas() -> tempfile::TempDir {
    let swagger = installed("kubernetes").join("swagger.json");
    let text = std::fs::read_to_string(&swagger)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", swagger.display()));
    let mut swagger: serde_json::Value = serde_json::from_str(&text).expect("swagger is JSON");
    let mut definitions = swagger["definitions"].take();
    let Some(all) = definitions.as_object_mut() else {
        panic!("swagger has no definitions")
    };
    for definition in all.values_mut() {
        if definition["properties"].is_object() {
            definition["additionalProperties"] = false.into();
        }
        // These are numbers or strings, which Swagger 2 cannot say.
        if matches!(definition["format"].as_str(), Some("int-or-string")) {
            definition["type"] = serde_json::json!(["string", "integer"]);
        }
    }
    if let Some(quantity) = all.get_mut("io.k8s.apimachinery.pkg.api.resource.Quantity") {
        quantity["type"] = serde_json::json!(["string", "number"]);
    }
    let folder = tempfile::TempDir::new().expect("cannot make a folder");
    for definition in all.values().cloned().collect::<Vec<_>>() {
        for kind in definition["x-kubernetes-group-version-kind"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let name = kind["kind"].as_str().unwrap_or_default().to_lowercase();
            let mut schema = definition.clone();
            schema["definitions"] = serde_json::Value::Object(all.clone());
            let wanted = [
                "serviceaccount",
                "clusterrole",
                "clusterrolebinding",
                "service",
                "daemonset",
                "namespace",
                "configmap",
                "priorityclass",
                "networkpolicy",
            ];
            if wanted.contains(&name.as_str()) {
                let file = folder.path().join(format!("{name}.json"));
                std::fs::write(file, schema.to_string()).expect("cannot write a schema");
            }
        }
    }
    folder
}
