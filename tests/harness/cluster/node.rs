//! The node: containerd with a bridge for its pods, and the kubelet.

use std::fs;
use std::path::Path;

use super::credentials::{Credentials, User};
use super::daemon::Daemon;
use super::sandbox::Sandbox;
use crate::peer::installed;

/// The node's address, on a bridge of its own.
pub(super) const ADDRESS: &str = "192.168.96.2";
pub(super) const NAME: &str = "node";
/// Where containerd listens, inside.
pub(super) const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// The image that holds a pod's namespaces.
pub(super) const PAUSE: &str = "localhost/h2trace-pause:1";

pub(super) fn start_containerd(sandbox: &Sandbox) -> Daemon {
    let folder = sandbox.folder();
    let configuration = folder.join("containerd.toml");
    let cni = folder.join("cni");
    if !configuration.exists() {
        fs::create_dir(&cni).expect("cannot make a folder");
        fs::write(cni.join("10-pods.conflist"), NETWORK).expect("cannot write a file");
        let text = CONTAINERD_CONFIGURATION
            .replace("@PAUSE@", PAUSE)
            .replace("@SOCKET@", CONTAINERD)
            .replace("@CNI@", &cni.display().to_string());
        fs::write(&configuration, text).expect("cannot write a file");
    }
    let mut command = sandbox.command("containerd");
    command.arg("--config").arg(&configuration);
    Daemon::start("containerd", folder, &mut command)
}

pub(super) fn start_kubelet(sandbox: &Sandbox, credentials: &Credentials) -> Daemon {
    let folder = sandbox.folder();
    let configuration = folder.join("kubelet.yaml");
    fs::write(folder.join("resolv.conf"), "").expect("cannot write a file");
    let text = KUBELET_CONFIGURATION
        .replace("@CA@", &credentials.file("ca.crt"))
        .replace("@ROOT@", &format!("/{}", sandbox.name()))
        .replace("@SOCKET@", CONTAINERD)
        .replace("@FOLDER@", &folder.display().to_string());
    fs::write(&configuration, text).expect("cannot write a file");
    let mut command = sandbox.command(installed("kubernetes").join("kubelet"));
    command
        .arg("--config")
        .arg(&configuration)
        .args(["--kubeconfig", &credentials.kubeconfig(User::Node)])
        .args(["--hostname-override", NAME, "--node-ip", ADDRESS])
        .arg("--cert-dir")
        .arg(folder.join("kubelet-pki"));
    Daemon::start("kubelet", folder, &mut command)
}

pub(super) fn start_controllers(sandbox: &Sandbox, credentials: &Credentials) -> [Daemon; 2] {
    let kubeconfig = credentials.kubeconfig(User::Admin);
    let start = |name: &'static str, more: &[String]| {
        let mut command = sandbox.command(installed("kubernetes").join(name));
        command
            .args(["--kubeconfig", &kubeconfig])
            // A minute of two hundred pods is more than the usual allowance.
            .args(["--kube-api-qps=200", "--kube-api-burst=400"])
            .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
            .arg("--cert-dir")
            .arg(sandbox.folder().join(format!("{name}-pki")))
            .args(more);
        Daemon::start(name, sandbox.folder(), &mut command)
    };
    let keys = [
        format!(
            "--service-account-private-key-file={}",
            credentials.file("service-accounts.key")
        ),
        format!("--root-ca-file={}", credentials.file("ca.crt")),
    ];
    [
        start("kube-controller-manager", &keys),
        start("kube-scheduler", &[]),
    ]
}

/// A socket that something listens on, seen from inside.
pub(super) fn listens(sandbox: &Sandbox, socket: &str) -> bool {
    let path = format!("/proc/{}/root{socket}", sandbox.holder());
    std::os::unix::net::UnixStream::connect(Path::new(&path)).is_ok()
}

const NETWORK: &str = r#"{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
    "ipam": {
      "type": "host-local",
      "ranges": [[{ "subnet": "10.244.0.0/16" }]],
      "routes": [{ "dst": "0.0.0.0/0" }]
    }
  }]
}
"#;

const CONTAINERD_CONFIGURATION: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "@SOCKET@"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "@PAUSE@"
  # Machines without CAP_SYS_RESOURCE cannot lower it.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "@CNI@"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        BinaryName = "crun"
"#;

const KUBELET_CONFIGURATION: &str = r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: { enabled: false }
  webhook: { enabled: false }
  x509: { clientCAFile: "@CA@" }
authorization: { mode: AlwaysAllow }
cgroupDriver: cgroupfs
cgroupRoot: "@ROOT@"
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
# The kernel's settings are the machine's: it may not change them.
protectKernelDefaults: true
containerRuntimeEndpoint: "unix://@SOCKET@"
# There is none; without an address every pod gets a warning.
clusterDNS: ["10.96.0.10"]
resolvConf: "@FOLDER@/resolv.conf"
volumePluginDir: "@FOLDER@/volume-plugins"
nodeStatusUpdateFrequency: 2s
maxPods: 300
kubeAPIQPS: 200
kubeAPIBurst: 400
# How full the machine's disk is, is not the cluster's business.
evictionHard: { "memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%" }
imageGCHighThresholdPercent: 100
oomScoreAdj: 0
"#;
