//! What h2trace makes of the bytes of HTTP/2 connections: frames, streams, the two sides of a proxy, findings.
//!
//! The stages, one folder each, in this order:
//!
//! ```text
//! event -> connection -> frame -> stream -> hop -> anomaly
//! ```
//!
//! A stage may use the stages before it, never one after it. All of them are pure: no I/O, no async, no clock (time
//! comes in with the event), no logging. Only [`pipeline`] joins them. [`attribution`] and [`limits`] are below all.
#![forbid(unsafe_code)]
// Bytes from the wire never panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable
    )
)]

pub mod attribution;
pub mod limits;

pub mod event;

pub mod anomaly;
pub mod connection;
pub mod frame;
pub mod hop;
pub mod stream;

pub mod pipeline;
