//! The kernel programs. On the host this is an empty program: `cargo xtask build-ebpf` builds it for BPF.
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

#[cfg(not(target_arch = "bpf"))]
fn main() {}
