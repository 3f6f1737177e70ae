//! Starts asking: the API server, the container runtime, or both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::access::Access;
use super::state::State;
use super::{Mode, PodSource, Settings, naming, watch};
use crate::confine;
use crate::workload::cgroup;
use crate::workload::cri::RuntimeClient;
use crate::workload::pods::Pods;
use crate::workload::waiting::Waiting;

/// Why pods cannot be chosen while nobody names them.
pub const NOBODY: &str = "cannot resolve pod names: no API server or container runtime configured (run it \
     on a node, in h2trace's own pod: kubectl h2trace; or give --kubeconfig PATH or --cri-socket PATH)";

/// What the tasks share.
#[derive(Clone, Debug)]
pub(super) struct TaskContext {
    pub(super) pods: Arc<Pods>,
    pub(super) state: Arc<State>,
    pub(super) waiting: Arc<Waiting>,
}

/// Starts asking. None when there is nobody to ask, or nobody shall be asked.
///
/// # Errors
/// What is asked for explicitly cannot be used. What may come later (an API server, a role) is waited for.
pub fn start(settings: &Settings) -> anyhow::Result<Option<PodSource>> {
    let access = match asked(settings)? {
        NameProvider::Nobody => return Ok(None),
        NameProvider::Runtime => None,
        NameProvider::ApiServer(access) => Some(access),
    };
    let node = node_name(settings);
    let shared = TaskContext {
        pods: Arc::default(),
        state: Arc::default(),
        waiting: Arc::default(),
    };
    let (alive, gone) = tokio::sync::watch::channel(());
    let source = PodSource {
        pods: Arc::clone(&shared.pods),
        state: Arc::clone(&shared.state),
        waiting: Arc::clone(&shared.waiting),
        node: node.as_str().into(),
        access: access.clone(),
        _alive: Arc::new(alive),
    };
    let (mode, socket) = (settings.mode, settings.cri_socket.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime that asks for pods")?;
    confine::spawn("h2trace-pods", source.needs(), move || {
        runtime.block_on(run(mode, access, socket, node, shared, gone));
    })
    .context("cannot start the thread that asks for pods")?;
    Ok(Some(source))
}

async fn run(
    mode: Mode,
    access: Option<Access>,
    socket: Option<PathBuf>,
    node: String,
    shared: TaskContext,
    mut gone: tokio::sync::watch::Receiver<()>,
) {
    let api = async {
        match &access {
            Some(access) => watch::run(access, &node, &shared).await,
            None => std::future::pending().await,
        }
    };
    let cri = async {
        if mode == Mode::Told {
            return naming::nobody(&shared).await;
        }
        let (runtime, must) = (RuntimeClient::new(socket, &node), mode == Mode::Cri);
        naming::run(runtime, access.is_some(), must, &shared).await;
    };
    tokio::select! {
        // Ends when the last source is dropped.
        _ = gone.changed() => {}
        () = api => {}
        () = cri => {}
    }
}

/// Who is asked for pods.
enum NameProvider {
    Nobody,
    /// The container runtime alone, or whoever tells them without being asked.
    Runtime,
    /// The API server too.
    ApiServer(Access),
}

/// Who is to be asked.
fn asked(settings: &Settings) -> anyhow::Result<NameProvider> {
    let api = match settings.mode {
        Mode::Off | Mode::Cri | Mode::Told => None,
        Mode::Auto | Mode::Api => access_of(settings)?,
    };
    Ok(match (settings.mode, api) {
        (Mode::Cri | Mode::Told, _) => NameProvider::Runtime,
        (Mode::Api | Mode::Auto, Some(access)) => NameProvider::ApiServer(access),
        (Mode::Api, None) => bail!(
            "nothing says where the API server is (run h2trace in a pod, or give --kubeconfig PATH)"
        ),
        // Cgroups of pods alone are no node: they may be left from one.
        (Mode::Auto, None)
            if settings.cri_socket.is_some() || cgroup::has_pods() && RuntimeClient::is_there() =>
        {
            NameProvider::Runtime
        }
        (Mode::Off, _) | (Mode::Auto, None) => NameProvider::Nobody,
    })
}

/// The way to the API server, if there is one.
pub(super) fn access_of(settings: &Settings) -> anyhow::Result<Option<Access>> {
    let Some(path) = settings.kubeconfig.as_deref() else {
        let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        return Ok(in_pod.then_some(Access::ServiceAccount));
    };
    if !path.is_file() {
        bail!(
            "cannot read kubeconfig {} (give another with --kubeconfig PATH)",
            path.display()
        );
    }
    Ok(Some(Access::Kubeconfig(path.to_owned())))
}

/// As the kubelet names the node: by the host's name in lower case, if not told otherwise.
pub(super) fn node_name(settings: &Settings) -> String {
    if let Some(name) = &settings.node_name {
        return name.clone();
    }
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    name.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_and_cannot_be_is_refused() {
        let off = Settings {
            mode: Mode::Off,
            ..Settings::default()
        };
        assert!(start(&off).unwrap().is_none());
        let missing = Settings {
            kubeconfig: Some("/no/such/file".into()),
            ..Settings::default()
        };
        let error = start(&missing).unwrap_err().to_string();
        assert!(
            error.contains("/no/such/file") && error.contains("--kubeconfig"),
            "{error}"
        );
    }

    #[test]
    fn node_is_named_by_the_host_where_nobody_names_it() {
        let named = Settings {
            node_name: Some("Node-1".into()),
            ..Settings::default()
        };
        assert_eq!(node_name(&named), "Node-1");
        let name = node_name(&Settings::default());
        assert!(!name.is_empty() && name == name.to_lowercase());
    }
}
