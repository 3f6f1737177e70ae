//! Who names the pods of this node: the API server, or without it the container runtime. On a thread of its own;
//! tracing never waits for it.

#[cfg(not(feature = "kubernetes"))]
mod absent;
#[cfg(feature = "kubernetes")]
mod access;
#[cfg(feature = "kubernetes")]
mod asking;
#[cfg(feature = "kubernetes")]
mod convert;
#[cfg(feature = "kubernetes")]
mod find;
#[cfg(feature = "kubernetes")]
mod naming;
#[cfg(feature = "kubernetes")]
mod review;
pub mod state;
#[cfg(feature = "kubernetes")]
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

#[cfg(not(feature = "kubernetes"))]
use self::absent::Access;
#[cfg(not(feature = "kubernetes"))]
pub use self::absent::{NOBODY, Reviewer, ask_once, start};
#[cfg(feature = "kubernetes")]
use self::access::Access;
#[cfg(feature = "kubernetes")]
pub use self::asking::{NOBODY, start};
#[cfg(feature = "kubernetes")]
pub use self::find::ask_once;
#[cfg(feature = "kubernetes")]
pub use self::review::Reviewer;
use self::state::State;
use super::pods::Pods;
use super::waiting::Waiting;
use crate::confine::Needs;

/// Who is asked for the names of pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The API server and the container runtime, where this host looks like a node of Kubernetes.
    #[default]
    Auto,
    /// Nobody: pods have no names.
    Off,
    /// The API server, and the container runtime for what that has not told yet.
    Api,
    /// The container runtime alone.
    Cri,
    /// Nobody: [`PodSource::told`] says what there is to know.
    Told,
}

/// What it is started with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who is asked.
    pub mode: Mode,
    /// The node's name at the API server. Without it, the host's name in lower case.
    pub node_name: Option<String>,
    /// Where the API server is; without it, where the service account of this pod says.
    pub kubeconfig: Option<PathBuf>,
    /// The container runtime's socket; without it, the first of those that are usual.
    pub cri_socket: Option<PathBuf>,
}

/// What the API server says of who holds a bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// He may.
    Allowed,
    /// He may not.
    Forbidden,
    /// Nobody holds it.
    Unknown,
}

/// The pods of this node, kept up to date for as long as this or a clone of it lives.
#[derive(Clone, Debug)]
pub struct PodSource {
    pub pods: Arc<Pods>,
    /// How it stands with who names them.
    pub state: Arc<State>,
    /// What waits for its name.
    pub waiting: Arc<Waiting>,
    /// The node's name.
    pub node: Arc<str>,
    access: Option<Access>,
    _alive: Arc<tokio::sync::watch::Sender<()>>,
}

impl PodSource {
    /// The API server is asked, for the pods of the node of this name.
    #[must_use]
    pub const fn asks_api(&self) -> bool {
        self.access.is_some()
    }

    /// What asking takes besides the network.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.access.as_ref().map_or(Needs::NOTHING, Access::needs)
    }
}

#[cfg(test)]
impl PodSource {
    /// Filled by a test.
    pub(crate) fn of_test() -> PodSource {
        PodSource {
            pods: Arc::default(),
            state: Arc::default(),
            waiting: Arc::default(),
            node: "n1".into(),
            access: None,
            _alive: Arc::new(tokio::sync::watch::channel(()).0),
        }
    }
}
