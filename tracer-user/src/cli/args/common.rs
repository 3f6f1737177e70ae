//! What both tracing commands take.

use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "tls")]
use anyhow::bail;
use clap::Args;
use h2trace_core::field::Shown;

use super::{HeaderArgs, Http2Args, KubernetesArgs};
use crate::confine::{self, Confined, Needs};
use crate::kernel::{Options, RING_BYTES};
#[cfg(feature = "tls")]
use crate::key_scan;
use crate::session::live::TraceSettings;
use crate::session::memory::{Purpose, Shares};
use crate::session::scope::Scope;
use crate::workload::kubernetes::PodSource;

const MIB: u32 = 1024 * 1024;

/// Of a recording every byte goes through the ring: at 1 GB/s this is 64 ms of it.
const RECORD_RING_BYTES: u32 = 64 * MIB;

/// What both tracing commands take.
#[derive(Args, Clone, Debug, Default)]
pub struct CommonArgs {
    #[command(flatten)]
    pub header: HeaderArgs,

    #[command(flatten)]
    pub http2: Http2Args,

    /// Open TLS of what is traced with the secrets of this key log, which may grow meanwhile (SSLKEYLOGFILE): needs --pid,
    /// --cgroup, --netns or pods
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE")]
    pub keylog: Option<PathBuf>,

    /// Open TLS of what is traced with secrets of its processes' handshakes, or keys in their memory: needs --pid,
    /// --cgroup, --netns or pods. With --keylog, that of connections of which the log says nothing
    #[cfg(feature = "tls")]
    #[arg(long)]
    pub tls: bool,

    /// Share of one processor that looking for keys may take, in percent
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "PERCENT", default_value_t = 1, requires = "tls", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub tls_share: u8,

    /// Create this file once tracing is active
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,

    /// Size of the ring that carries records from the kernel to user space, in MiB: a power of 2
    #[arg(long, value_name = "MIB", default_value_t = RING_BYTES / MIB, value_parser = ring_mib)]
    pub ring_mib: u32,

    /// Memory that this program may use, in MiB, connections what is left of it [default: its cgroup's limit, if it has one]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(32..=1_048_576))]
    pub memory_limit: Option<u32>,

    /// Share of one processor that this program may take, such as 0.2: beyond it, detail is left out, and then whole
    /// connections
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub max_cpu: Option<f64>,

    /// Print debug messages of the kernel programs (if they were built with them)
    #[arg(long)]
    pub kernel_log: bool,

    /// Do not filter this program's own system calls once it traces
    #[arg(long)]
    pub no_seccomp: bool,

    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
}

impl CommonArgs {
    /// What the tracer is started with; nobody names pods yet.
    ///
    /// # Errors
    /// A header name is none, or carries a credential.
    pub fn settings(&self, scope: &Scope, purpose: Purpose) -> anyhow::Result<TraceSettings> {
        #[cfg(feature = "tls")]
        if self.keylog.is_some() && !scope.is_by_owner() {
            bail!(
                "--keylog copies all that passes on the TLS connections of what is traced, so say whose they are: --pid, \
                 --cgroup, --netns, --pod, --namespace or --selector"
            );
        }
        #[cfg(feature = "tls")]
        if self.tls && !scope.is_by_owner() {
            bail!(
                "--tls reads secrets and memory of the processes that are traced, so say which: --pid, --cgroup, --netns, --pod, \
                 --namespace or --selector"
            );
        }
        let ring = match purpose {
            Purpose::Serve | Purpose::Trace => self.ring_mib * MIB,
            Purpose::Record => RECORD_RING_BYTES.max(self.ring_mib * MIB),
        };
        let memory = Shares::of(self.memory_limit, purpose, ring);
        Ok(TraceSettings {
            options: Options {
                filter: scope.filter.clone(),
                ring_bytes: memory.ring,
                kernel_log: self.kernel_log,
                ..Options::default()
            },
            shown: Arc::new(Shown::with(&self.header.header)?),
            pods: None,
            memory,
            http2_ports: self.http2.http2.clone(),
            #[cfg(feature = "tls")]
            keylog: self.keylog.clone(),
            #[cfg(feature = "tls")]
            key_scan: self.tls.then(|| key_scan::Settings {
                share: f64::from(self.tls_share) / 100.0,
                ..key_scan::Settings::default()
            }),
        })
    }
}

impl CommonArgs {
    /// Everything is attached and open: gives up what is not needed any more. Before there are more threads, which then
    /// have nothing either. `more`: what is needed besides what asking for pods takes.
    pub fn confine(&self, settings: &TraceSettings, more: Needs) -> Confined {
        let of_pods = settings
            .pods
            .as_ref()
            .map_or(Needs::NOTHING, PodSource::needs);
        #[cfg(feature = "tls")]
        let others_memory = settings.key_scan.is_some();
        #[cfg(not(feature = "tls"))]
        let others_memory = false;
        confine::enter(Needs {
            others_memory,
            seccomp: !self.no_seccomp,
            ..of_pods.and(more)
        })
    }
}

fn share(given: &str) -> Result<f64, String> {
    match given.parse::<f64>() {
        Ok(share) if (0.01..=1024.0).contains(&share) => Ok(share),
        _ => Err("give a number from 0.01 to 1024, such as 0.2".to_owned()),
    }
}

fn ring_mib(given: &str) -> Result<u32, String> {
    match given.parse::<u32>() {
        Ok(mib) if mib.is_power_of_two() && mib <= 1024 => Ok(mib),
        _ => Err("give a power of 2 from 1 to 1024".to_owned()),
    }
}
