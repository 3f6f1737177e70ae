//! Helpers of the black-box tests: start the tracer, start real peers, read what came out.
//!
//! Helpers panic with a sentence when something is not as it must be: a test's stack trace then shows where.
//! Every process that a test starts is a [`process::Process`] and ends with it, also when the test panics.

pub mod call;
pub mod capture;
pub mod chance;
pub mod cluster;
pub mod conversation;
pub mod envoy;
pub mod faulty_proxy;
pub mod flood;
pub mod heap;
pub mod identity;
pub mod measure;
pub mod peer;
pub mod process;
pub mod program;
pub mod proxy;
pub mod skip;
pub mod tls_server;
pub mod trace;
pub mod tracer;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How big the runs are: `H2TRACE_SCALE=full`, or CI's size by default.
#[must_use]
pub fn scaled<T>(ci: T, full: T) -> T {
    if std::env::var("H2TRACE_SCALE").is_ok_and(|scale| scale == "full") {
        full
    } else {
        ci
    }
}

/// Polls until `done` holds; false when it did not within `limit`.
pub fn eventually(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The workspace's folder.
#[must_use]
pub fn workspace() -> PathBuf {
    let package = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// A TCP port on loopback that was free a moment ago, for programs that cannot pick one themselves.
///
/// # Panics
/// When no port can be had.
#[must_use]
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("cannot bind a loopback port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}
