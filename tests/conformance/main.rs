//! Conformance suites run live with the tracer beside them: what they do wrong on purpose is found, and its author is
//! right; what they do right is not flagged.
//!
//! The gate runs a small part. `cargo xtask conformance` (`H2TRACE_SCALE=full`) runs all of it; with
//! `H2TRACE_CONFORMANCE_TABLES` naming a folder, the tests write what was said there.

mod cases;
mod h2spec;
mod interop;
mod negative;
mod peers;
mod table;

use std::time::Duration;

/// How long a suite may take on a busy machine.
const RUN: Duration = Duration::from_secs(300);
/// How long the tracer may take to tell of connections that have ended.
const SETTLE: Duration = Duration::from_secs(15);
