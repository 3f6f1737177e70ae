//! The contract between the kernel programs and user space: ring-buffer records, read-only
//! configuration, loss counters.
//!
//! Builds for the host (user space depends on it) and for `bpfel-unknown-none`. Everything here is
//! `#[repr(C)]` plain data with no padding that is not named, little endian on every supported
//! target, and its sizes are asserted.
#![no_std]

pub mod config;
pub mod counter;
pub mod event;
