//! A real Kubernetes cluster of one node, made for a test run and cleared away after it: etcd, kube-apiserver,
//! controller manager, scheduler, kubelet, containerd with runc, a bridge for the pods. It lives in mount and network
//! namespaces and a cgroup of its own. [`ApiServer`] is the API alone.

pub mod api;
pub mod credentials;
pub mod daemon;
pub mod image;
mod node;
pub mod sandbox;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use api::{Api, ApiParts, ApiServer, said};
pub use credentials::User;
pub use image::Image;
pub use sandbox::Sandbox;

use crate::peer::installed;
use crate::skip::{Need, Program};
use api::Ports;
use daemon::Daemon;

/// How long the node may take to be ready on a busy machine.
const READY: Duration = Duration::from_secs(180);

/// What a cluster is made of, for [`crate::require`].
pub struct ClusterParts;

impl Need for ClusterParts {
    fn missing(&self) -> Option<String> {
        if let Some(why) = ApiParts.missing() {
            return Some(why);
        }
        let programs = [
            "containerd",
            "ctr",
            "runc",
            "openssl",
            "nsenter",
            "unshare",
            "ip",
        ];
        let absent = programs
            .into_iter()
            .find(|program| Program(program).path().is_none())
            .or((!std::path::Path::new("/usr/lib/cni/bridge").exists()).then_some("CNI's bridge"));
        absent.map(|what| {
            format!("{what} is not installed: cargo xtask setup --only node-programs programs")
        })
    }
}

/// A running cluster. Dropping it ends every process of it, also those of its pods, and removes all traces.
pub struct Cluster {
    // In the order in which they end.
    kubelet: Option<Daemon>,
    _controllers: [Daemon; 2],
    containerd: Option<Daemon>,
    api: Api,
    /// Where it lives.
    pub sandbox: Sandbox,
}

impl Cluster {
    /// Starts one; its node is ready when this returns. `tell` hears how far it is.
    ///
    /// # Panics
    /// When it does not come up, with the end of the log of the part that did not.
    #[must_use]
    pub fn start(tell: &dyn Fn(&str)) -> Self {
        let began = Instant::now();
        let step = |what: &str| tell(&format!("{:5.1} s  {what}", began.elapsed().as_secs_f32()));
        let sandbox = Sandbox::make();
        sandbox.make_system_group();
        step("namespaces");
        let containerd = node::start_containerd(&sandbox);
        let ports = Ports {
            host: node::ADDRESS.to_owned(),
            api: 443,
            etcd: 2379,
            etcd_peers: 2380,
            inside: Some(sandbox.holder()),
        };
        let api = Api::start(sandbox.folder(), ports, &|program| sandbox.command(program));
        step("etcd and the API");
        let controllers = node::start_controllers(&sandbox, api.credentials());
        let mut cluster = Cluster {
            kubelet: None,
            _controllers: controllers,
            containerd: Some(containerd),
            api,
            sandbox,
        };
        cluster.wait_for_containerd();
        let busybox = Program("busybox")
            .path()
            .expect("busybox-static is not installed");
        let pause = Image::new(node::PAUSE, &["/bin/busybox", "sleep", "2147483647"]);
        cluster.load(&pause.with_program(busybox, "/bin/busybox"));
        step("containerd");
        cluster.start_kubelet();
        cluster.wait_until_ready();
        step("the node is ready");
        cluster
    }

    fn wait_for_containerd(&mut self) {
        let sandbox = &self.sandbox;
        let up = crate::eventually(Duration::from_secs(60), || {
            node::listens(sandbox, node::CONTAINERD)
        });
        let complaint = self.containerd.as_ref().map(Daemon::complaint);
        assert!(
            up,
            "containerd did not come up{}",
            complaint.unwrap_or_default()
        );
    }

    fn wait_until_ready(&mut self) {
        let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        let mut last = String::new();
        let up = crate::eventually(READY, || {
            std::thread::sleep(Duration::from_millis(200));
            let node = self.try_kubectl(&["get", "node", node::NAME, "-o", ready]);
            let account = self.try_kubectl(&["get", "serviceaccount", "default"]);
            let taints =
                self.try_kubectl(&["get", "node", node::NAME, "-o", "jsonpath={.spec.taints}"]);
            last = format!("{node:?} {account:?} {taints:?}");
            node.as_deref() == Ok("True") && account.is_ok() && taints.as_deref() == Ok("")
        });
        let complaint = self.kubelet.as_ref().map(Daemon::complaint);
        assert!(
            up,
            "the node is not ready ({last}){}",
            complaint.unwrap_or_default()
        );
    }

    /// Starts the kubelet, after [`Cluster::stop_kubelet`]. Pods go on meanwhile.
    pub fn start_kubelet(&mut self) {
        self.kubelet = Some(node::start_kubelet(&self.sandbox, self.api.credentials()));
    }

    /// Ends the kubelet.
    pub fn stop_kubelet(&mut self) {
        self.kubelet = None;
    }

    /// Ends containerd. Containers go on: each has a shim of its own.
    pub fn stop_containerd(&mut self) {
        self.containerd = None;
    }

    /// Starts containerd again.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_containerd(&mut self) {
        self.containerd = Some(node::start_containerd(&self.sandbox));
        self.wait_for_containerd();
    }

    /// Ends the API server; [`Cluster::start_api`] brings it back.
    pub fn stop_api(&mut self) {
        self.api.stop_server();
    }

    /// Stops the API server where it stands (SIGSTOP), or lets it go on: its connections stay open, and silent.
    pub fn pause_api(&mut self, pause: bool) {
        if let Some(server) = self.api.server() {
            server.signal(if pause { libc::SIGSTOP } else { libc::SIGCONT });
        }
    }

    /// Starts the API server again.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_api(&mut self) {
        let Cluster { api, sandbox, .. } = self;
        api.start_server(&|program| sandbox.command(program));
        self.api.wait_until_ready();
    }

    /// Brings back what a test that failed has left stopped.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn mend(&mut self) {
        self.pause_api(false);
        if !self.api.server().is_some_and(Daemon::is_running) {
            self.start_api();
        }
        if !self.containerd.as_mut().is_some_and(Daemon::is_running) {
            self.start_containerd();
        }
        if !self.kubelet.as_mut().is_some_and(Daemon::is_running) {
            self.start_kubelet();
        }
    }

    #[must_use]
    pub fn node_name(&self) -> &'static str {
        node::NAME
    }

    /// The node's address, reachable from inside alone.
    #[must_use]
    pub fn node_address(&self) -> &'static str {
        node::ADDRESS
    }

    /// The cgroup of all pods as the kernel shows it: a filter for tracers, so that they leave the machine alone.
    #[must_use]
    pub fn pods_cgroup(&self) -> String {
        format!("/{}/kubepods", self.sandbox.name())
    }

    /// Puts an image into the node's containerd.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn load(&self, image: &Image) {
        self.load_archive(&image.archive());
    }

    /// Puts the image of an archive (OCI or `docker save`) into the node's containerd.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn load_archive(&self, archive: &std::path::Path) {
        if let Err(why) = self.ctr(&["images", "import", &archive.display().to_string()]) {
            panic!("cannot load {}: {why}", archive.display());
        }
    }

    /// Runs `ctr`, the client of the node's containerd, among what Kubernetes runs there.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn ctr(&self, arguments: &[&str]) -> Result<String, String> {
        let mut ctr = self.sandbox.command("ctr");
        ctr.args(["--address", node::CONTAINERD, "--namespace", "k8s.io"]);
        said(ctr.args(arguments), "")
    }

    /// The socket of the node's containerd, as it is seen from outside.
    #[must_use]
    pub fn runtime_socket(&self) -> std::path::PathBuf {
        // Not through the holder's /proc/PID/root, which is closed to threads that have given up their capabilities.
        self.sandbox.folder().join("runtime/containerd.sock")
    }

    /// Does it on a thread inside: threads that it starts have the network from there.
    ///
    /// # Panics
    /// When the namespace is gone.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        self.sandbox.inside(act)
    }

    /// What a client of the API is configured with, as the administrator; for a program outside too.
    #[must_use]
    pub fn kubeconfig(&self) -> std::path::PathBuf {
        self.api.credentials().kubeconfig(User::Admin).into()
    }

    /// Writes a script that runs its arguments inside, as the administrator; its path.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn write_enter(&self) -> std::path::PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = self.sandbox.folder();
        let script = folder.join("enter");
        let text = format!(
            "#!/bin/sh\nexec nsenter --target {} --mount --net env KUBECONFIG={} KUBECACHEDIR={} \
             PATH={}:$PATH CONTAINER_RUNTIME_ENDPOINT=unix://{} \"$@\"\n",
            self.sandbox.holder(),
            self.api.credentials().kubeconfig(User::Admin),
            folder.join("kubectl-cache").display(),
            installed("kubernetes").display(),
            node::CONTAINERD,
        );
        std::fs::write(&script, text).expect("cannot write a script");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
            .expect("cannot make a script executable");
        script
    }

    /// GET over HTTP/1.1 from inside; None when it cannot be had.
    #[must_use]
    pub fn http_get(&self, address: &str, path: &str) -> Option<String> {
        let to: SocketAddr = address.parse().ok()?;
        let socket = self.sandbox.connect(to).ok()?;
        crate::program::http_get_over(socket, address, path)
    }
}

impl std::ops::Deref for Cluster {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}
