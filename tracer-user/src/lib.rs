//! h2trace: follows every HTTP/2 and gRPC stream of a Linux host from the kernel and names the hop
//! that broke it.
//!
//! The data path:
//!
//! ```text
//! kernel -> h2trace_core::pipeline -> export
//! ```
//!
//! What is between the kernel's records and the outputs is pure, and a crate of its own: [`h2trace_core`].

pub mod export;
pub mod kernel;
pub mod workload;

pub mod explain;

pub mod cli;
pub mod demo;
