//! etcd and kube-apiserver.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::credentials::{Credentials, User};
use super::daemon::Daemon;
use crate::peer::installed;
use crate::skip::Need;

/// How long the API may take to be there on a busy machine.
const START: Duration = Duration::from_secs(90);

/// What the API alone is made of, for [`crate::require`].
pub struct ApiParts;

impl Need for ApiParts {
    fn missing(&self) -> Option<String> {
        for (piece, program) in [("kubernetes", "kube-apiserver"), ("etcd", "etcd")] {
            if !installed(piece).join(program).is_file() {
                return Some(format!(
                    "{program} is not installed: cargo xtask setup --only {piece}"
                ));
            }
        }
        None
    }
}

/// How a program is started: as it is, or in the sandbox of a cluster.
pub(super) type Launch<'a> = &'a dyn Fn(&Path) -> Command;

/// Where things listen.
#[derive(Clone, Debug)]
pub(super) struct Ports {
    pub(super) host: String,
    pub(super) api: u16,
    pub(super) etcd: u16,
    pub(super) etcd_peers: u16,
    /// The process in whose namespaces that is; None in this one's.
    pub(super) inside: Option<u32>,
}

/// A running etcd and kube-apiserver. Dropping it ends them.
pub struct Api {
    apiserver: Option<Daemon>,
    _etcd: Daemon,
    credentials: Credentials,
    ports: Ports,
    folder: PathBuf,
}

impl Api {
    /// Starts both; the API is ready when this returns.
    pub(super) fn start(folder: &Path, ports: Ports, launch: Launch<'_>) -> Self {
        let credentials = Credentials::make(&folder.join("pki"), &ports.host, ports.api);
        let client = format!("http://127.0.0.1:{}", ports.etcd);
        let peers = format!("http://127.0.0.1:{}", ports.etcd_peers);
        let mut etcd = launch(&installed("etcd").join("etcd"));
        etcd.arg("--data-dir").arg(folder.join("etcd"));
        etcd.args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ]);
        etcd.args([
            "--listen-peer-urls",
            &peers,
            "--initial-advertise-peer-urls",
            &peers,
        ]);
        etcd.args(["--initial-cluster", &format!("default={peers}")]);
        // Nothing here is to survive a power cut.
        etcd.args(["--unsafe-no-fsync", "--log-level", "warn"]);
        let mut this = Api {
            _etcd: Daemon::start("etcd", folder, &mut etcd),
            apiserver: None,
            credentials,
            ports,
            folder: folder.to_owned(),
        };
        this.start_server(launch);
        this.wait_until_ready();
        this
    }

    pub(super) fn start_server(&mut self, launch: Launch<'_>) {
        let mut server = launch(&installed("kubernetes").join("kube-apiserver"));
        let file = |name: &str| self.credentials.file(name);
        let Ports {
            host, api, etcd, ..
        } = &self.ports;
        for (flag, value) in [
            ("etcd-servers", format!("http://127.0.0.1:{etcd}")),
            (
                "bind-address",
                if host == "127.0.0.1" { host } else { "0.0.0.0" }.to_owned(),
            ),
            ("secure-port", api.to_string()),
            ("service-cluster-ip-range", "10.96.0.0/24".to_owned()),
            ("token-auth-file", file("tokens.csv")),
            ("authorization-mode", "Node,RBAC".to_owned()),
            ("client-ca-file", file("ca.crt")),
            ("tls-cert-file", file("apiserver.crt")),
            ("tls-private-key-file", file("apiserver.key")),
            ("kubelet-client-certificate", file("kubelet-client.crt")),
            ("kubelet-client-key", file("kubelet-client.key")),
            ("kubelet-preferred-address-types", "InternalIP".to_owned()),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc".to_owned(),
            ),
            ("service-account-key-file", file("service-accounts.key")),
            (
                "service-account-signing-key-file",
                file("service-accounts.key"),
            ),
            ("allow-privileged", "true".to_owned()),
            // The kubernetes service's endpoints would be an address of the machine, which pods do not reach.
            ("endpoint-reconciler-type", "none".to_owned()),
            // Requests of a stopped server's clients are not waited for.
            ("shutdown-delay-duration", "0s".to_owned()),
        ] {
            server.arg(format!("--{flag}={value}"));
        }
        if host == "127.0.0.1" {
            // Its own address is asked for, and loopback is refused.
            server.arg("--advertise-address=192.0.2.1");
        } else {
            server.arg(format!("--advertise-address={host}"));
        }
        self.apiserver = Some(Daemon::start("kube-apiserver", &self.folder, &mut server));
    }

    /// Waits until the API says that it is ready.
    ///
    /// # Panics
    /// When it does not within a minute and a half.
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        let mut ready = false;
        crate::eventually(START, || {
            ready = self.try_kubectl(&["get", "--raw", "/readyz"]).is_ok();
            ready || !self.apiserver.as_mut().is_some_and(Daemon::is_running)
        });
        let complaint = self.apiserver.as_ref().map(Daemon::complaint);
        assert!(
            ready,
            "the API did not come up{}",
            complaint.unwrap_or_default()
        );
    }

    /// The server's process, while there is one: to stop it for a while (SIGSTOP, SIGCONT).
    pub fn server(&mut self) -> Option<&mut Daemon> {
        self.apiserver.as_mut()
    }

    /// Ends the server. Etcd stays, with all that is stored.
    pub fn stop_server(&mut self) {
        self.apiserver = None;
    }

    /// `https://HOST:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.ports.host, self.ports.api)
    }

    /// Its keys and tokens.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// A kubectl command without arguments yet.
    #[must_use]
    pub fn kubectl_command(&self, user: User) -> Command {
        self.client_command(&installed("kubernetes").join("kubectl"), user)
    }

    /// A program that speaks to the API (kubectl, helm), without arguments yet.
    #[must_use]
    pub fn client_command(&self, program: &Path, user: User) -> Command {
        let mut command = match self.ports.inside {
            None => Command::new(program),
            Some(holder) => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &holder.to_string(), "--mount", "--net", "--"]);
                command.arg(program);
                command
            }
        };
        command
            .env("KUBECONFIG", self.credentials.kubeconfig(user))
            .env("KUBECACHEDIR", self.folder.join("kubectl-cache"))
            .env("HOME", &self.folder);
        command
    }

    /// Runs kubectl with all rights.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        said(self.kubectl_command(User::Admin).args(arguments), "")
    }

    /// Runs kubectl with all rights; its stdout.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments)
            .unwrap_or_else(|why| panic!("kubectl {} failed: {why}", arguments.join(" ")))
    }

    /// Applies manifests.
    ///
    /// # Panics
    /// When they are refused.
    #[track_caller]
    pub fn apply(&self, manifests: &str) {
        let mut command = self.kubectl_command(User::Admin);
        if let Err(why) = said(command.args(["apply", "-f", "-"]), manifests) {
            panic!("kubectl apply failed: {why}\n{manifests}");
        }
    }
}

/// Runs a command to its end: its stdout.
///
/// # Errors
/// Its stderr and stdout, when it fails.
pub fn said(command: &mut Command, input: &str) -> Result<String, String> {
    let mut run = || -> std::io::Result<Output> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = run().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{}{}", text(&output.stderr), text(&output.stdout)))
    }
}

/// The API alone, on loopback: no node, no privileges, ready in seconds. For tests of lists, watches, rights and
/// reconnects. Dropping it ends it.
pub struct ApiServer {
    api: Api,
    _folder: TempDir,
}

impl ApiServer {
    /// Starts it. There is no controller: a test makes what it needs itself, also pods with their status.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let folder = TempDir::with_prefix("h2trace-api-").expect("cannot make a folder");
        let ports = Ports {
            host: "127.0.0.1".to_owned(),
            api: crate::free_port(),
            etcd: crate::free_port(),
            etcd_peers: crate::free_port(),
            inside: None,
        };
        ApiServer {
            api: Api::start(folder.path(), ports, &|program| Command::new(program)),
            _folder: folder,
        }
    }

    /// Starts the server again after [`Api::stop_server`]; what was stored is still there.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        self.api.start_server(&|program| Command::new(program));
        self.api.wait_until_ready();
    }
}

impl std::ops::Deref for ApiServer {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl std::ops::DerefMut for ApiServer {
    fn deref_mut(&mut self) -> &mut Api {
        &mut self.api
    }
}
