//! Stage 1: load and attach the kernel programs, read their records.

mod attach;
pub mod btf;
pub mod doctor;
mod hooks;
mod load;
mod mapping;
mod members;
mod missed;
#[cfg(feature = "tls")]
mod opened;
mod process;
pub mod rights;
mod ring_view;
mod rings;
#[cfg(feature = "tls")]
mod secrets;
mod sockets;
mod syscall;

pub use attach::{DRAIN_MAX, Drained, PROBES, Probe, ProgramStats, Tracer, is_loaded};
pub use hooks::Hooks;
pub use load::{Filter, Options, PIDS_MAX, RING_BYTES, StartError, Tls, check_privileges};
pub use members::LiveCgroups;
#[cfg(feature = "tls")]
pub use opened::{OpenedSlot, OpenedTls};
pub use ring_view::RingView;
#[cfg(feature = "tls")]
pub use secrets::{Attached, SecretProgram, SecretReader, Uprobes, try_secret_program};
