//! What user space tells the kernel programs: filter, kernel field offsets, system call numbers.
//!
//! [`Config`] is one read-only global, written once before load. The filter's *members* (pids, cgroups,
//! pods, network namespaces, ports, names) stand in hash maps and may change while the programs run; user
//! space then raises the number in the `EPOCH` map, so that every socket is judged anew.

/// A kernel field that this kernel's BTF does not have.
pub const NO_FIELD: u32 = u32::MAX;

/// Bits of [`Config::filter`]. Different bits are joined by AND, members of one map by OR; no bit: all. A bit
/// whose map has no member wants nothing.
pub mod filter {
    /// Only tasks whose tgid is in `PIDS` (the children of a member become members).
    pub const PID: u32 = 1;
    /// Only tasks in a v2 cgroup of `CGROUPS`, or below one.
    pub const CGROUP: u32 = 2;
    /// Only sockets of a network namespace in `NETNS`.
    pub const NETNS: u32 = 4;
    /// Only sockets with a local or peer port in `PORTS`.
    pub const PORT: u32 = 8;
    /// Only tasks whose `comm` is in `COMMS`.
    pub const COMM: u32 = 16;
    /// Only tasks in a v2 cgroup of `PODS`, or below one.
    pub const POD: u32 = 32;
    /// No tasks in a v2 cgroup of `EXCLUDED`, or below one.
    pub const EXCLUDED: u32 = 64;
}

/// Values of [`Config::hooks`].
pub mod hooks {
    /// The socket tracepoints: each socket call has one hook, with its socket.
    pub const SOCKET_TRACEPOINTS: u32 = 0;
    /// The exit of every system call: the socket is the one behind the call's descriptor.
    pub const SYSCALL_EXIT: u32 = 1;
}

/// Values of [`Config::tls`].
pub mod tls {
    /// A socket that speaks TLS is given up.
    pub const OFF: u32 = 0;
    /// Its records are followed: what is not application data is copied, the rest is counted.
    pub const FACTS: u32 = 1;
    /// All of it is copied, for who can open it.
    pub const FULL: u32 = 2;
}

/// What a system call does with the user's memory; values of [`Config::syscalls`].
pub mod access {
    /// Not a call whose buffer is known: its bytes are a hole.
    pub const NONE: u8 = 0;
    /// (fd, buf, len): read, write, recvfrom, sendto.
    pub const BUFFER: u8 = 1;
    /// (fd, iov, iovcnt): readv, writev, preadv2, pwritev2.
    pub const IOVEC: u8 = 2;
    /// (fd, msghdr): recvmsg, sendmsg.
    pub const MSGHDR: u8 = 3;
    /// (fd, mmsghdr[], vlen): recvmmsg, sendmmsg.
    pub const MMSGHDR: u8 = 4;
    /// (to, from): sendfile. No user's buffer.
    pub const SENDFILE: u8 = 5;
    /// (from, offset, to): splice. No user's buffer.
    pub const SPLICE: u8 = 6;
    /// vmsplice, tee: no user's buffer that a socket's bytes stand in.
    pub const PIPE: u8 = 7;
    /// io_uring_enter: whose operation it was is not known.
    pub const IO_URING: u8 = 8;
    /// The bits of the above.
    pub const KIND: u8 = 0x0f;
    /// Bit beside one of the above: the call sends. Without it, it receives.
    pub const SENDS: u8 = 0x10;
    /// Likewise: its fourth argument are the MSG_ flags: recvfrom, sendto, recvmmsg, sendmmsg.
    pub const FLAGS: u8 = 0x20;
}

/// One more than the largest system call number that [`Config::syscalls`] can hold.
pub const SYSCALL_MAX: usize = 512;

/// Offsets in bytes of kernel fields, from `/sys/kernel/btf/vmlinux`; [`NO_FIELD`] when absent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Offsets {
    /// `struct sock.__sk_common.skc_family` (u16).
    pub sock_family: u32,
    /// `struct sock.__sk_common.skc_state` (u8).
    pub sock_state: u32,
    /// `struct sock.__sk_common.skc_daddr` (be32).
    pub sock_daddr: u32,
    /// `struct sock.__sk_common.skc_rcv_saddr` (be32).
    pub sock_rcv_saddr: u32,
    /// `struct sock.__sk_common.skc_dport` (be16).
    pub sock_dport: u32,
    /// `struct sock.__sk_common.skc_num` (u16, host order).
    pub sock_num: u32,
    /// `struct sock.__sk_common.skc_v6_daddr`.
    pub sock_v6_daddr: u32,
    /// `struct sock.__sk_common.skc_v6_rcv_saddr`.
    pub sock_v6_rcv_saddr: u32,
    /// `struct sock.__sk_common.skc_net` (possible_net_t: one pointer to `struct net`).
    pub sock_net: u32,
    /// `struct net.ns.inum` (u32).
    pub net_inum: u32,
    /// `struct sock.sk_type` (u16).
    pub sock_type: u32,
    /// `struct sock.sk_protocol` (u16; u8 bit field before 5.6: then [`NO_FIELD`]).
    pub sock_protocol: u32,
    /// `struct sock.sk_socket` (pointer to `struct socket`).
    pub sock_socket: u32,
    /// `struct socket.file` (pointer to `struct file`).
    pub socket_file: u32,
    /// `struct socket.sk` (pointer to `struct sock`).
    pub socket_sk: u32,
    /// `struct file.f_inode` (pointer to `struct inode`).
    pub file_inode: u32,
    /// `struct file.private_data` (of a socket's file: pointer to `struct socket`).
    pub file_private_data: u32,
    /// `struct inode.i_mode` (u16: what kind of file it is).
    pub inode_mode: u32,
    /// `struct inode.i_ino` (unsigned long).
    pub inode_ino: u32,
    /// `struct tcp_sock.write_seq` (u32).
    pub tcp_write_seq: u32,
    /// `struct tcp_sock.copied_seq` (u32).
    pub tcp_copied_seq: u32,
    /// `struct tcp_sock.bytes_received` (u64).
    pub tcp_bytes_received: u32,
    /// `struct tcp_sock.bytes_acked` (u64).
    pub tcp_bytes_acked: u32,
    /// `struct tcp_sock.snd_una` (u32).
    pub tcp_snd_una: u32,
    /// `struct tcp_sock.rcv_nxt` (u32).
    pub tcp_rcv_nxt: u32,
    /// `struct unix_sock.peer` (pointer to `struct sock`).
    pub unix_peer: u32,
    /// `struct unix_sock.addr` (pointer to `struct unix_address`).
    pub unix_addr: u32,
    /// `struct unix_address.len` (int: of the `sockaddr_un`).
    pub unix_address_len: u32,
    /// `struct unix_address.name` (`struct sockaddr_un`; the path is 2 bytes on).
    pub unix_address_name: u32,
    /// `struct pt_regs`: the system call's number (x86: `orig_ax`, arm64: `syscallno`).
    pub regs_nr: u32,
    /// `struct pt_regs`: its first argument (x86: `di`, arm64: `orig_x0`).
    pub regs_arg0: u32,
    /// `struct pt_regs`: its second argument (x86: `si`, arm64: `regs[1]`).
    pub regs_arg1: u32,
    /// `struct pt_regs`: its third argument (x86: `dx`, arm64: `regs[2]`).
    pub regs_arg2: u32,
    /// `struct pt_regs`: its fourth argument (x86: `r10`, arm64: `regs[3]`).
    pub regs_arg3: u32,
    /// `struct pt_regs`: its fifth argument (x86: `r8`, arm64: `regs[4]`).
    pub regs_arg4: u32,
    /// `struct pt_regs`: where the call's result comes to stand (x86: `ax`, arm64: `regs[0]`).
    pub regs_result: u32,
    /// `struct pt_regs`: the word that tells 32-bit calls apart (x86: `cs`, arm64: `pstate`).
    pub regs_mode: u32,
    /// `struct task_struct.tgid` (pid_t).
    pub task_tgid: u32,
    /// `struct task_struct.signal` (pointer to `struct signal_struct`).
    pub task_signal: u32,
    /// `struct signal_struct.live` (atomic_t: threads of the process that have not exited).
    pub signal_live: u32,
    /// `struct task_struct.files` (pointer to `struct files_struct`).
    pub task_files: u32,
    /// `struct task_struct.io_uring` (pointer; null unless the task ever used io_uring). Absent without CONFIG_IO_URING.
    pub task_io_uring: u32,
    /// `struct task_struct.flags` (u32).
    pub task_flags: u32,
    /// `struct task_struct.ptrace` (u32): not 0 while a debugger is attached.
    pub task_ptrace: u32,
    /// x86: `struct task_struct.thread_info.status` (u32), whose bit TS_COMPAT tells a 32-bit call.
    pub task_status: u32,
    /// `struct files_struct.fdt` (pointer to `struct fdtable`).
    pub files_fdt: u32,
    /// `struct fdtable.fd` (pointer to an array of pointers to `struct file`).
    pub fdtable_fd: u32,
}

impl Offsets {
    /// No field is known.
    pub const NONE: Offsets = Offsets {
        sock_family: NO_FIELD,
        sock_state: NO_FIELD,
        sock_daddr: NO_FIELD,
        sock_rcv_saddr: NO_FIELD,
        sock_dport: NO_FIELD,
        sock_num: NO_FIELD,
        sock_v6_daddr: NO_FIELD,
        sock_v6_rcv_saddr: NO_FIELD,
        sock_net: NO_FIELD,
        net_inum: NO_FIELD,
        sock_type: NO_FIELD,
        sock_protocol: NO_FIELD,
        sock_socket: NO_FIELD,
        socket_file: NO_FIELD,
        socket_sk: NO_FIELD,
        file_inode: NO_FIELD,
        file_private_data: NO_FIELD,
        inode_mode: NO_FIELD,
        inode_ino: NO_FIELD,
        tcp_write_seq: NO_FIELD,
        tcp_copied_seq: NO_FIELD,
        tcp_bytes_received: NO_FIELD,
        tcp_bytes_acked: NO_FIELD,
        tcp_snd_una: NO_FIELD,
        tcp_rcv_nxt: NO_FIELD,
        unix_peer: NO_FIELD,
        unix_addr: NO_FIELD,
        unix_address_len: NO_FIELD,
        unix_address_name: NO_FIELD,
        regs_nr: NO_FIELD,
        regs_arg0: NO_FIELD,
        regs_arg1: NO_FIELD,
        regs_arg2: NO_FIELD,
        regs_arg3: NO_FIELD,
        regs_arg4: NO_FIELD,
        regs_result: NO_FIELD,
        regs_mode: NO_FIELD,
        task_tgid: NO_FIELD,
        task_signal: NO_FIELD,
        signal_live: NO_FIELD,
        task_files: NO_FIELD,
        task_io_uring: NO_FIELD,
        task_flags: NO_FIELD,
        task_ptrace: NO_FIELD,
        task_status: NO_FIELD,
        files_fdt: NO_FIELD,
        fdtable_fd: NO_FIELD,
    };
}

/// The read-only global `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bits of [`filter`].
    pub filter: u32,
    /// 1: copy every byte (`record`); 0: count DATA.
    pub full_payload: u32,
    /// The tracer's own tgid: its sockets are never traced. 0: none.
    pub own_tgid: u32,
    /// The reader is woken whenever what waits in the ring passes a multiple of this: a power of two, in bytes.
    pub wake_every: u32,
    /// A call is a 32-bit one when the word at [`Offsets::regs_mode`] and this mask ...
    pub compat_mask: u32,
    /// ... equals this (x86: code segment 0x23; arm64: the PSTATE bit for AArch32).
    pub compat_value: u32,
    /// 1: [`Offsets::regs_result`] holds -ENOSYS from a call's beginning to its end (x86). 0: it holds the first
    /// argument (arm64).
    pub result_is_enosys: u32,
    /// Where the programs stand: one of [`hooks`].
    pub hooks: u32,
    /// 1: the kernel has the helper `bpf_loop`. 0: `bpf_for_each_map_elem` takes its place.
    pub has_loop: u32,
    /// How TLS is followed: one of [`tls`].
    pub tls: u32,
    /// Kernel field offsets.
    pub offsets: Offsets,
    /// What each system call does with memory, by number: values of [`access`].
    pub syscalls: [u8; SYSCALL_MAX],
}
const _: () = assert!(size_of::<Config>() == 40 + size_of::<Offsets>() + SYSCALL_MAX);

impl Config {
    /// Before user space has written it: nothing is known, nothing is traced.
    pub const NONE: Config = Config {
        filter: 0,
        full_payload: 0,
        own_tgid: 0,
        wake_every: 1 << 20,
        compat_mask: 0,
        compat_value: 1,
        result_is_enosys: 0,
        hooks: hooks::SOCKET_TRACEPOINTS,
        has_loop: 1,
        tls: tls::OFF,
        offsets: Offsets::NONE,
        syscalls: [access::NONE; SYSCALL_MAX],
    };
}
