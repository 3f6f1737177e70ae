//! h2trace: follows every HTTP/2 and gRPC stream of a Linux host from the kernel and names the hop
//! that broke it.
//!
//! The data path:
//!
//! ```text
//! kernel, capture -> h2trace_core::pipeline -> diagnosis, export
//! ```
//!
//! What is between the records and the outputs is pure, and a crate of its own: [`h2trace_core`]. [`session`] joins all
//! of it to a run, [`cli`] is the command line. The modules below stand in an order: each may use those before it.

#[cfg(test)]
mod certificate;

pub mod unit;

pub mod plain;

pub mod confine;

pub mod workload;

pub mod kernel;

#[cfg(feature = "tls")]
pub mod key_scan;

#[cfg(feature = "tls")]
pub mod key_probe;

pub mod capture;

pub mod diagnosis;

pub mod export;

pub mod explain;

pub mod session;

pub mod demo;

pub mod cli;
