//! The API, pods in it, and h2trace's directory of them.

use std::time::Duration;

use h2trace::workload::kubernetes::{self, Mode, PodSource, Settings};
use serde_json::json;
use tracer_tests::cluster::{ApiServer, User};
use tracer_tests::eventually;

/// Issue: a pod that comes or goes is right within a second.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// On a machine that does other things too.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The node whose pods are watched.
pub(crate) const NODE: &str = "n1";

/// An API with the namespace `shop`.
pub(crate) fn api() -> ApiServer {
    let api = ApiServer::start();
    api.apply(
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\n\
         {apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: shop}}\n",
    );
    api
}

/// A pod of `shop` on `node`, not running yet.
pub(crate) fn manifest(name: &str, node: &str) -> String {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "shop", "labels": { "app": name, "pod-template-hash": "7d9f" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-7d9f"),
                "uid": "3b5cd5a1-e7d6-4a6b-1ad8-3bf9a1a5e7c2", "controller": true }],
        },
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false,
            "containers": [{ "name": "app", "image": "app" }, { "name": "envoy", "image": "envoy" }],
        },
    });
    format!("{pod}\n---\n")
}

/// Says what a kubelet says of a pod that runs.
pub(crate) fn set_running(api: &ApiServer, name: &str, address: &str) {
    let container = |container: &str| {
        json!({
            "name": container, "image": container, "imageID": "", "ready": true, "restartCount": 0,
            "containerID": format!("containerd://{name}-{container}"),
        })
    };
    let status = json!({ "status": {
        "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
        "containerStatuses": [container("app"), container("envoy")],
    }});
    set_status(api, name, &status);
}

/// Says that all its containers have ended.
pub(crate) fn set_over(api: &ApiServer, name: &str) {
    set_status(api, name, &json!({ "status": { "phase": "Succeeded" } }));
}

fn set_status(api: &ApiServer, name: &str, status: &serde_json::Value) {
    api.kubectl(&[
        "patch",
        "pod",
        name,
        "--namespace=shop",
        "--subresource=status",
        "--type=merge",
        "--patch",
        &status.to_string(),
    ]);
}

/// Deletes it as a kubelet does in the end.
pub(crate) fn delete(api: &ApiServer, name: &str) {
    api.kubectl(&[
        "delete",
        "pod",
        name,
        "--namespace=shop",
        "--grace-period=0",
        "--force",
        "--wait=false",
    ]);
}

/// Asks the API as `user`, and nobody else.
pub(crate) fn source(api: &ApiServer, user: User) -> PodSource {
    let settings = Settings {
        mode: Mode::Api,
        node_name: Some(NODE.to_owned()),
        kubeconfig: Some(api.credentials().kubeconfig(user).into()),
        // Not the machine's own.
        cri_socket: Some("/nonexistent/runtime.sock".into()),
    };
    kubernetes::start(&settings).unwrap().unwrap()
}

/// The name of the pod with this address now.
pub(crate) fn name_at(source: &PodSource, address: &str) -> Option<String> {
    let pod = source.pods.by_address(address.parse().unwrap())?;
    Some(pod.name.clone())
}

/// Waits until the API server names pods.
#[track_caller]
pub(crate) fn wait_until_connected(source: &PodSource) {
    let connected = || source.state.api().connected() && source.pods.is_complete();
    assert!(eventually(SOON, connected), "{:?}", source.state.api());
}
