//! The container runtime names pods: alone, and while the API server is gone.

use std::time::Duration;

use h2trace::workload::kubernetes::state::{PodNameSource, Reach};
use h2trace::workload::kubernetes::{self, Mode, PodSource, Settings};
use h2trace::workload::pod::Pod;
use h2trace_core::attribution::WorkloadHandle;
use tracer_tests::eventually;

use crate::setting::{SOON, Setting, text};
use crate::workload::Deployment;

const NAMESPACE: &str = "by-runtime";

fn source(setting: &Setting) -> PodSource {
    let settings = Settings {
        mode: Mode::Cri,
        node_name: Some(setting.cluster.node_name().to_owned()),
        kubeconfig: None,
        cri_socket: Some(setting.cluster.runtime_socket()),
    };
    kubernetes::start(&settings).unwrap().unwrap()
}

/// The pod of this name, as h2trace knows it.
fn known(source: &PodSource, name: &str) -> Option<Pod> {
    let pods = source.pods.all();
    let pod = pods.iter().find(|pod| pod.name == name)?;
    Some(Pod::clone(pod))
}

pub(crate) fn names_pods(setting: &mut Setting) {
    setting.namespace(NAMESPACE);
    let source = source(setting);
    let server = setting.deploy(&Deployment::server(NAMESPACE, "server"));
    // Once a second it is asked.
    let told = eventually(Duration::from_secs(3), || {
        known(&source, &server.name).is_some()
    });
    assert!(told, "{:?}", source.state.cri());
    let said = setting.json(&["get", "pod", &server.name, "--namespace", NAMESPACE]);
    let pod = known(&source, &server.name).unwrap();
    let id = text(&said["status"]["containerStatuses"][0]["containerID"]);
    let id = id.split_once("://").unwrap().1;
    assert_eq!(pod.uid, text(&said["metadata"]["uid"]));
    assert_eq!(pod.namespace, NAMESPACE);
    assert_eq!(pod.labels["app"], "server");
    assert_eq!(
        pod.addresses,
        [server.address.parse::<std::net::IpAddr>().unwrap()]
    );
    assert!(!pod.host_network);
    let handle = WorkloadHandle::to_pod(&pod.uid, id);
    assert!(source.waiting.container(&handle, &source.pods));
    assert_eq!(handle.workload().unwrap().container, "server-container");

    // It is started anew, and still asked.
    setting.cluster.stop_containerd();
    assert!(eventually(SOON, || matches!(
        source.state.cri(),
        Reach::Lost { .. }
    )));
    setting.cluster.start_containerd();
    assert!(eventually(SOON, || source.state.cri().connected()));
    setting
        .cluster
        .kubectl(&["delete", "deployment", "server", "--namespace", NAMESPACE]);
    assert!(eventually(SOON, || known(&source, &server.name).is_none()));
    assert!(
        source
            .pods
            .by_address(server.address.parse().unwrap())
            .is_none()
    );
}

pub(crate) fn stands_in(setting: &mut Setting) {
    setting.namespace(NAMESPACE);
    let server = setting.deploy(&Deployment::server(NAMESPACE, "stays"));
    let settings = Settings {
        mode: Mode::Api,
        node_name: Some(setting.cluster.node_name().to_owned()),
        kubeconfig: Some(setting.cluster.kubeconfig()),
        cri_socket: Some(setting.cluster.runtime_socket()),
    };
    // Over the node's network, as a tracer in a pod asks.
    let source = setting.cluster.inside(|| kubernetes::start(&settings));
    let source = source.unwrap().unwrap();
    // The runtime may tell of it first, and knows no owner.
    eventually(SOON, || {
        known(&source, &server.name).is_some_and(|pod| !pod.owner.name.is_empty())
    });
    let before = known(&source, &server.name).unwrap();
    assert_eq!(
        (before.owner.kind.as_str(), before.owner.name.as_str()),
        ("Deployment", "stays")
    );
    let old = before.containers[0].id.clone();

    setting.cluster.stop_api();
    assert!(
        eventually(SOON, || source.state.active_source() == PodNameSource::Cri),
        "{:?}",
        source.state
    );
    // The kubelet starts a container anew without the API server, and only the runtime knows its id.
    setting
        .cluster
        .ctr(&["tasks", "kill", "--signal", "SIGKILL", &old])
        .unwrap();
    let fresh = || {
        let pod = known(&source, &server.name)?;
        let mut others = pod
            .containers
            .iter()
            .filter(|container| container.id != old);
        others.next().map(|container| container.id.clone())
    };
    assert!(
        eventually(SOON * 2, || fresh().is_some()),
        "{:?}",
        known(&source, &server.name)
    );
    let handle = WorkloadHandle::to_pod(&before.uid, &fresh().unwrap());
    assert!(source.waiting.container(&handle, &source.pods));
    let workload = handle.workload().unwrap();
    // What the API server said of the pod still counts.
    assert_eq!(
        (
            workload.pod.as_str(),
            workload.container.as_str(),
            workload.owner.name.as_str()
        ),
        (server.name.as_str(), "stays-container", "stays")
    );
    setting.cluster.start_api();
    assert!(eventually(SOON, || source.state.active_source() == PodNameSource::Api));
    setting
        .cluster
        .kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]);
}
