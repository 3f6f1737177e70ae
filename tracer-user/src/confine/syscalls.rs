//! The system calls that a run makes once everything is attached. Any other one fails with EPERM.

use std::collections::BTreeMap;

use anyhow::Context as _;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// With any arguments.
const ALLOWED: &[libc::c_long] = &[
    // Memory and threads.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_membarrier,
    libc::SYS_prctl,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    // Signals to this process come as they are: to send some it takes more (see below).
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time and chance.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Who and where this process is.
    libc::SYS_capget,
    libc::SYS_getcwd,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Giving up more.
    libc::SYS_capset,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_restrict_self,
    // Files: Landlock says which.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    // What waits.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Scrapers, the API server, the container runtime.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// `enum bpf_cmd` of `linux/bpf.h`: what reads and writes maps that are there, and tells of programs. None that makes or
/// loads something.
const BPF: [u64; 10] = [1, 2, 3, 4, 15, 21, 24, 25, 26, 27];

/// FIONBIO, FIONREAD, TIOCGWINSZ and TCGETS of `asm-generic/ioctls.h`: none that types into a terminal.
const IOCTLS: [u64; 4] = [0x5421, 0x541b, 0x5413, 0x5401];

/// What the calls that are allowed with some arguments take: the argument's place, and its values.
fn with_arguments() -> Vec<(libc::c_long, u8, Vec<u64>)> {
    let own = u64::from(std::process::id());
    let number = |value: libc::c_int| u64::from(value.unsigned_abs());
    let domains = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    vec![
        (libc::SYS_bpf, 0, BPF.to_vec()),
        // To itself: a run that is held, and abort(3).
        (libc::SYS_kill, 0, vec![own]),
        (libc::SYS_tgkill, 0, vec![own]),
        (libc::SYS_socket, 0, domains.map(number).to_vec()),
        (libc::SYS_ioctl, 1, IOCTLS.to_vec()),
        // Limits are read, not set: there are no new ones.
        (libc::SYS_prlimit64, 2, vec![0]),
        // Of this process and no other.
        (libc::SYS_getpriority, 1, vec![0, own]),
    ]
}

/// Puts the filter over all threads.
///
/// # Errors
/// The kernel has no seccomp, or a thread has a filter that this one has not.
pub(super) fn filter() -> anyhow::Result<()> {
    let program = program()?;
    seccompiler::apply_filter_all_threads(&program).context("the kernel does not take the filter")
}

/// Puts the filter over the calling thread.
///
/// # Errors
/// The kernel has no seccomp.
pub(super) fn filter_thread() -> anyhow::Result<()> {
    let program = program()?;
    seccompiler::apply_filter(&program).context("the kernel does not take the filter")
}

fn program() -> anyhow::Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|number| (*number, Vec::new())).collect();
    for (number, place, values) in with_arguments() {
        let rules_of_call = values.into_iter().map(|value| {
            let is = SeccompCondition::new(
                place,
                if place == 2 {
                    SeccompCmpArgLen::Qword
                } else {
                    SeccompCmpArgLen::Dword
                },
                SeccompCmpOp::Eq,
                value,
            )?;
            SeccompRule::new(vec![is])
        });
        rules.insert(number, rules_of_call.collect::<Result<_, _>>()?);
    }
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn thread_with_the_filter_reads_files_and_loads_no_program() {
        let thread = std::thread::spawn(|| {
            filter_thread().unwrap();
            let bpf = |command: i64| {
                // SAFETY: no command reads anything of a size of zero.
                let done = unsafe { libc::syscall(libc::SYS_bpf, command, 0, 0) };
                (done, io::Error::last_os_error().raw_os_error())
            };
            // BPF_PROG_LOAD is refused here; BPF_MAP_LOOKUP_ELEM gets to the kernel, which says that there is no map.
            let (load, look_up) = (bpf(5), bpf(1));
            // SAFETY: unshare(2) takes numbers alone.
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
            let read = std::fs::read_to_string("/proc/self/stat").is_ok();
            (load, look_up, unshared, read)
        });
        let (load, look_up, unshared, read) = thread.join().unwrap();
        assert_eq!(load, (-1, Some(libc::EPERM)));
        assert_ne!(look_up.1, Some(libc::EPERM));
        assert_eq!((unshared, read), (-1, true));
    }
}
