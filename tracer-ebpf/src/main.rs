//! The kernel programs. On the host this is an empty program: `cargo xtask build-ebpf` builds it for BPF.
//!
//! ```text
//! probes     the attach points
//! exit       the exit of a system call: on which socket    call  one socket call, from the hook to the records
//! admission  is a new socket wanted, was its beginning seen      filter  whose sockets are wanted
//! user_memory  where the bytes are                               record  what user space reads
//! kernel  what the walker needs of the kernel                    keys  those of TLS go with their socket
//! ```
//!
//! What is done with the bytes themselves is [`tracer_ebpf::walk`].
#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", no_main)]

#[cfg(target_arch = "bpf")]
mod admission;
#[cfg(target_arch = "bpf")]
mod call;
#[cfg(target_arch = "bpf")]
mod count;
#[cfg(target_arch = "bpf")]
mod exit;
#[cfg(target_arch = "bpf")]
mod filter;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod kernel_struct;
#[cfg(target_arch = "bpf")]
mod keys;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod marks;
#[cfg(target_arch = "bpf")]
mod probes;
#[cfg(target_arch = "bpf")]
mod record;
#[cfg(target_arch = "bpf")]
mod user_memory;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Many of the helpers used here are for GPL-compatible programs alone.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
