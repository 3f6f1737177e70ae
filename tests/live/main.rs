//! Real peers, real sockets, the real kernel: what h2trace says against what the peers say.
//!
//! Every test starts its own processes, traces those and no others, and needs root and `cargo xtask setup`.
//! Run with `--test-threads=1`; `H2TRACE_SCALE=full` makes the runs as big as the project's claims.

mod etcd_and_containerd;
mod every_call_is_counted;
mod fair_share;
mod gives_way;
mod http2_port;
mod http2_programs;
mod keys_gone;
mod killed_tracer;
mod late_attach;
mod log;
mod memory_limit;
mod not_http2;
mod overload;
mod probes;
mod rights_given_up;
mod shape;
mod tls;
mod tls_hostile;
mod tls_kernel;
mod tls_keys;
mod tls_probe;
mod tls_rights;
mod tunnels;

use std::time::Duration;

/// How long a run of calls may take on a busy machine.
const RUN: Duration = Duration::from_secs(180);
/// How long the tracer may take to tell of streams that have ended.
const SETTLE: Duration = Duration::from_secs(10);
