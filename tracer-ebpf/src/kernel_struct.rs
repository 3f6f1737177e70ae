//! Reads of kernel structs, at the offsets that user space found in the kernel's BTF.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_ebpf::config::NO_FIELD;

/// Reads a `T` at `base + offset` of kernel memory; None when the field is unknown or unreadable.
#[inline(always)]
pub(crate) fn field<T: Copy>(base: u64, offset: u32) -> Option<T> {
    if offset == NO_FIELD || base == 0 {
        return None;
    }
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes `size_of::<T>()` bytes or fails; `T` is plain data.
    unsafe {
        let result = bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            (base + offset as u64) as *const _,
        );
        if result == 0 {
            Some(value.assume_init())
        } else {
            None
        }
    }
}

/// Reads `len` bytes at `base + offset` of kernel memory into `target`; zeros when they cannot be read, and nothing when
/// the field is unknown.
///
/// # Safety
/// `target` has `len` bytes.
#[inline(always)]
pub(crate) unsafe fn field_into(target: *mut u8, len: u32, base: u64, offset: u32) {
    if offset != NO_FIELD && base != 0 {
        // SAFETY: as the caller promises.
        unsafe {
            bpf_probe_read_kernel(target.cast(), len, (base + offset as u64) as *const _);
        }
    }
}

/// field: struct sock.sk_socket -> struct socket.file.
/// None for a socket without a file: the kernel's own, which no user buffer belongs to.
#[inline(always)]
pub(crate) fn file(sk: u64) -> Option<u64> {
    let socket: u64 = field(sk, config!(offsets.sock_socket))?;
    match field(socket, config!(offsets.socket_file)) {
        Some(0) => None,
        file => file,
    }
}

/// field: struct file.f_inode -> struct inode.i_ino.
#[inline(always)]
pub(crate) fn inode_of(file: u64) -> Option<u64> {
    let inode: u64 = field(file, config!(offsets.file_inode))?;
    field(inode, config!(offsets.inode_ino))
}

/// The file behind a descriptor of this task. The kernel's table of files never shrinks, and the call at hand had the
/// descriptor.
///
/// field: struct task_struct.files -> struct files_struct.fdt -> struct fdtable.fd
#[inline(always)]
pub(crate) fn file_of(task: u64, descriptor: u32) -> Option<u64> {
    let files: u64 = field(task, config!(offsets.task_files))?;
    let table: u64 = field(files, config!(offsets.files_fdt))?;
    let array: u64 = field(table, config!(offsets.fdtable_fd))?;
    if array == 0 {
        return None;
    }
    field(array.wrapping_add(descriptor as u64 * 8), 0)
}

/// The socket behind a file; None when it is none.
///
/// field: struct file.f_inode -> struct inode.i_mode; struct file.private_data -> struct socket.sk
#[inline(always)]
pub(crate) fn socket_of(file: u64) -> Option<u64> {
    const S_IFMT: u16 = 0o170_000;
    const S_IFSOCK: u16 = 0o140_000;
    let inode: u64 = field(file, config!(offsets.file_inode))?;
    let mode: u16 = field(inode, config!(offsets.inode_mode))?;
    if mode & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket: u64 = field(file, config!(offsets.file_private_data))?;
    match field(socket, config!(offsets.socket_sk)) {
        Some(0) => None,
        sk => sk,
    }
}

/// The inode number of a socket that has a file.
#[inline(always)]
pub(crate) fn inode(sk: u64) -> Option<u64> {
    inode_of(file(sk)?)
}

/// field: struct sock.__sk_common.skc_net -> struct net.ns.inum. 0 when unknown.
#[inline(always)]
pub(crate) fn netns(sk: u64) -> u32 {
    let net: u64 = field(sk, config!(offsets.sock_net)).unwrap_or(0);
    field(net, config!(offsets.net_inum)).unwrap_or(0)
}

use crate::maps::config;
