//! h2trace: follows every HTTP/2 and gRPC stream of a Linux host from the kernel and names the hop
//! that broke it.
//!
//! The data path, one folder a stage, in this order:
//!
//! ```text
//! kernel -> event -> connection -> frame -> stream -> hop -> anomaly -> export
//! ```
//!
//! A stage may use the stages before it, never one after it. `event`, `connection`, `frame`, `stream`, `hop`
//! and `anomaly` are pure: no I/O, no async, no clock (time comes in with the event), no logging of
//! payload. Only [`pipeline`] joins them.

pub mod attribution;
pub mod event;
pub mod limits;

pub mod anomaly;
pub mod connection;
pub mod export;
pub mod frame;
pub mod hop;
pub mod kernel;
pub mod stream;

pub mod pipeline;

pub mod workload;

pub mod explain;

pub mod cli;
pub mod demo;
