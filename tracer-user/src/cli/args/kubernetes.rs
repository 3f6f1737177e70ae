//! Who names pods.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::session::output::say;
use crate::workload::kubernetes::{self, Mode, PodSource, Settings};

/// Who names pods.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubernetesArgs {
    /// Where pod names come from
    #[arg(long, value_enum, default_value_t)]
    pub kubernetes: NamedBy,

    /// This node's name at the API server; by default the host's name
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,

    /// Where the API server is, as for kubectl; by default from the pod's service account
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,

    /// The container runtime's socket; by default containerd's or CRI-O's
    #[arg(long, value_name = "PATH")]
    pub cri_socket: Option<PathBuf>,
}

/// Who names pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NamedBy {
    /// The API server and the container runtime, on a Kubernetes node
    #[default]
    Auto,
    /// Nowhere
    Off,
    /// The API server, and the container runtime for what it has not reported yet
    Api,
    /// The container runtime only
    Cri,
    /// Nobody but the program that holds this run by its standard input
    #[value(hide = true)]
    Told,
}

impl KubernetesArgs {
    /// As the library takes it.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            mode: match self.kubernetes {
                NamedBy::Auto => Mode::Auto,
                NamedBy::Off => Mode::Off,
                NamedBy::Api => Mode::Api,
                NamedBy::Cri => Mode::Cri,
                NamedBy::Told => Mode::Told,
            },
            node_name: self.node_name.clone().filter(|name| !name.is_empty()),
            kubeconfig: self.kubeconfig.clone(),
            cri_socket: self.cri_socket.clone(),
        }
    }

    /// Starts asking who names pods, if there is anybody to ask. When nothing else can go wrong any more: what is
    /// said of it would stand before the error.
    ///
    /// # Errors
    /// Who is to name pods cannot be asked.
    pub fn start(&self) -> anyhow::Result<Option<PodSource>> {
        let pods = kubernetes::start(&self.settings())?;
        if let Some(source) = pods.as_ref().filter(|source| source.asks_api())
            && self.node_name.is_none()
        {
            say(&format!(
                "this node is taken to be {} at the API server, by the host's name (--node-name NAME)",
                source.node
            ));
        }
        Ok(pods)
    }
}
