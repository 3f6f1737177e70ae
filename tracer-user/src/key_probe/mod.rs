//! Secrets of TLS handshakes, from the function that would write them to a key log.
//!
//! ```text
//! selected process -> its programs and libraries -> the function -> a probe -> secrets -> the connection they open
//! ```
//!
//! A program that is linked with BoringSSL or OpenSSL, or is written in Go, calls that function with each secret of a
//! handshake, whether there is a key log or not. A probe there takes little of a handshake, and nothing of the traffic.
//! So connections are opened that end before their memory could be searched, and those whose cipher leaves no schedule.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod finder;
mod go;
mod image;
mod mapped;
mod prober;

pub use finder::{Site, find_site};
pub use prober::KeyProbe;
