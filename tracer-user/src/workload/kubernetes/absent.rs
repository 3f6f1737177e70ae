//! In place of what asks Kubernetes, where that is not built: nobody names pods, and who wants them is told so.

use anyhow::bail;

use super::state::{Reason, Trouble};
use super::{Mode, PodSource, Review, Settings};
use crate::confine::Needs;
use crate::workload::cgroup;
use crate::workload::pod::Pod;

/// Why pods cannot be chosen or named.
pub const NOBODY: &str = "this h2trace does not know pods: it is built without kubernetes (build it with --features kubernetes)";

/// A way to the API server: there is none.
#[derive(Clone, Debug)]
pub(super) enum Access {}

impl Access {
    /// Nothing is asked.
    pub(super) const fn needs(&self) -> Needs {
        Needs::NOTHING
    }
}

/// Asks about bearer tokens: there is none.
#[derive(Debug)]
pub enum Reviewer {}

impl Reviewer {
    /// None.
    ///
    /// # Errors
    /// Always: [`NOBODY`].
    pub fn new(_settings: &Settings) -> anyhow::Result<Reviewer> {
        bail!(NOBODY)
    }

    /// Nothing is asked.
    #[must_use]
    pub const fn needs(&self) -> Needs {
        match *self {}
    }

    /// Nobody is asked.
    ///
    /// # Errors
    /// None.
    #[expect(clippy::unused_async, reason = "so is the one that asks")]
    pub async fn review(&self, _token: &str, _path: &str) -> Result<Review, Trouble> {
        match *self {}
    }
}

impl PodSource {
    /// The pod of this name: nobody is asked.
    ///
    /// # Errors
    /// None.
    pub fn find(&self, _namespace: &str, _name: &str) -> Result<Option<Pod>, Trouble> {
        Ok(None)
    }

    /// Takes no pods.
    ///
    /// # Errors
    /// Always: [`NOBODY`].
    pub fn told(&self, _json: &str) -> anyhow::Result<()> {
        bail!(NOBODY)
    }
}

/// Asks nobody.
///
/// # Errors
/// [`NOBODY`], where somebody is to be asked explicitly.
pub fn start(settings: &Settings) -> anyhow::Result<Option<PodSource>> {
    let is_asked_for = match settings.mode {
        Mode::Off => false,
        Mode::Auto => settings.kubeconfig.is_some() || settings.cri_socket.is_some(),
        Mode::Api | Mode::Cri | Mode::Told => true,
    };
    if is_asked_for {
        bail!(NOBODY);
    }
    if settings.mode == Mode::Auto && (is_in_pod() || cgroup::has_pods()) {
        tracing::warn!("{NOBODY}");
    }
    Ok(None)
}

/// What prevents that the API server names pods. None outside of a pod.
#[must_use]
pub fn ask_once(_settings: &Settings) -> Option<Result<(), Trouble>> {
    is_in_pod().then(|| {
        Err(Trouble {
            reason: Reason::NoAccess,
            said: NOBODY.to_owned(),
        })
    })
}

fn is_in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}
