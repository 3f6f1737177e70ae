//! What the kernel programs and user space share: ring-buffer records, read-only configuration, loss counters,
//! secrets of TLS handshakes, and the facts of HTTP/2 and TLS. And of the kernel programs that part which tests run on
//! the host: the walker.
//!
//! Builds for the host (user space depends on it) and for `bpfel-unknown-none`. Records and configuration are
//! `#[repr(C)]` plain data with no padding that is not named, little endian on every supported
//! target, and their sizes are asserted.
#![no_std]
#![cfg_attr(
    target_arch = "bpf",
    feature(asm_experimental_arch),
    expect(
        unstable_features,
        reason = "inline assembly for BPF is not stable yet"
    )
)]

#[cfg(test)]
extern crate std;

pub mod aes;
pub mod config;
pub mod counter;
pub mod event;
pub mod http2;
pub mod instruction;
pub mod opened;
pub mod proxy_header;
pub mod secret;
pub mod tls;
pub mod walk;
