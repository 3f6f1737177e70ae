//! The system calls that a run makes once everything is attached. Any other one fails with EPERM.

use std::collections::BTreeMap;

use anyhow::Context as _;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Calls of one sort: what they are for, and each by its name and number.
pub type Calls = (&'static str, &'static [(&'static str, libc::c_long)]);

macro_rules! calls {
    ($($call:ident)+) => {
        &[$((stringify!($call), libc::$call)),+]
    };
}

/// With any arguments.
const ALLOWED: &[Calls] = &[
    (
        "memory and threads",
        calls![
            SYS_brk SYS_madvise SYS_mlock SYS_mmap SYS_mprotect SYS_mremap SYS_munmap SYS_clone
            SYS_clone3 SYS_exit SYS_exit_group SYS_futex SYS_get_robust_list SYS_membarrier SYS_prctl SYS_rseq
            SYS_sched_getaffinity SYS_sched_yield SYS_set_robust_list SYS_set_tid_address
        ],
    ),
    (
        "signals to this process",
        calls![
            SYS_restart_syscall SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack
        ],
    ),
    (
        "time and chance",
        calls![
            SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_getrandom SYS_gettimeofday
            SYS_nanosleep
        ],
    ),
    (
        "who and where this process is",
        calls![
            SYS_capget SYS_getcwd SYS_getegid SYS_geteuid SYS_getgid SYS_getpid SYS_getppid
            SYS_getrusage SYS_gettid SYS_getuid SYS_sysinfo SYS_uname
        ],
    ),
    (
        "giving up more",
        calls![
            SYS_capset SYS_landlock_create_ruleset SYS_landlock_restrict_self
        ],
    ),
    (
        "files, where Landlock lets them",
        calls![
            SYS_close SYS_close_range SYS_dup SYS_dup3 SYS_faccessat SYS_faccessat2 SYS_fadvise64
            SYS_fcntl SYS_fstat SYS_fstatfs SYS_fsync SYS_getdents64 SYS_lseek SYS_newfstatat
            SYS_openat SYS_pread64 SYS_pwrite64 SYS_read SYS_readlinkat SYS_readv SYS_statfs
            SYS_statx SYS_write SYS_writev
        ],
    ),
    (
        "waiting",
        calls![
            SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2
            SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch SYS_pipe2 SYS_ppoll
            SYS_pselect6
        ],
    ),
    (
        "scrapers, the API server, the container runtime",
        calls![
            SYS_accept SYS_accept4 SYS_bind SYS_connect SYS_getpeername SYS_getsockname
            SYS_getsockopt SYS_listen SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_sendmmsg SYS_sendmsg
            SYS_sendto SYS_setsockopt SYS_shutdown SYS_socketpair
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    (
        "older forms of these, on amd64 alone",
        calls![
            SYS_access SYS_arch_prctl SYS_epoll_wait SYS_lstat SYS_open SYS_poll SYS_readlink
            SYS_stat SYS_time
        ],
    ),
];

/// `enum bpf_cmd` of `linux/bpf.h`: what reads and writes maps that are there, and tells of programs. None that makes or
/// loads something.
const BPF: [u64; 10] = [1, 2, 3, 4, 15, 21, 24, 25, 26, 27];

/// BPF_LINK_CREATE: attaches a program that is loaded, of which this process has one for it. Allowed where handshakes
/// are probed.
const BPF_LINK: u64 = 28;

/// FIONBIO, FIONREAD, TIOCGWINSZ and TCGETS of `asm-generic/ioctls.h`: none that types into a terminal.
const IOCTLS: [u64; 4] = [0x5421, 0x541b, 0x5413, 0x5401];

/// A call that is allowed with some arguments: the argument's place, and its values.
type WithArgument = ((&'static str, libc::c_long), u8, Vec<u64>);

macro_rules! call {
    ($call:ident) => {
        (stringify!($call), libc::$call)
    };
}

fn with_arguments(probes: bool) -> Vec<WithArgument> {
    let bpf = BPF
        .iter()
        .copied()
        .chain(probes.then_some(BPF_LINK))
        .collect();
    let own = u64::from(std::process::id());
    let number = |value: libc::c_int| u64::from(value.unsigned_abs());
    let domains = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    vec![
        (call!(SYS_bpf), 0, bpf),
        // To itself: a run that is held, and abort(3).
        (call!(SYS_kill), 0, vec![own]),
        (call!(SYS_tgkill), 0, vec![own]),
        (call!(SYS_socket), 0, domains.map(number).to_vec()),
        (call!(SYS_ioctl), 1, IOCTLS.to_vec()),
        // Limits are read, not set: there are no new ones.
        (call!(SYS_prlimit64), 2, vec![0]),
        // Of this process and no other.
        (call!(SYS_getpriority), 1, vec![0, own]),
        // Of the calling thread, which gives way to others.
        (call!(SYS_sched_setscheduler), 0, vec![0]),
    ]
}

/// All calls that are allowed, by what they are for; those with some arguments alone the last.
#[must_use]
pub fn allowed() -> Vec<(&'static str, Vec<&'static str>)> {
    let bare = |name: &'static str| name.strip_prefix("SYS_").unwrap_or(name);
    let mut all: Vec<(&str, Vec<&str>)> = ALLOWED
        .iter()
        .map(|(what, calls)| (*what, calls.iter().map(|(name, _)| bare(name)).collect()))
        .collect();
    let some = with_arguments(false);
    let some = some.iter().map(|((name, _), ..)| bare(name)).collect();
    all.push((
        "only with some arguments, none of which reaches another process or loads something",
        some,
    ));
    all
}

/// Puts the filter over all threads; `probes`: handshakes are probed as processes come.
///
/// # Errors
/// The kernel has no seccomp, or a thread has a filter that this one has not.
pub(super) fn filter(probes: bool) -> anyhow::Result<()> {
    let program = program(probes)?;
    seccompiler::apply_filter_all_threads(&program).context("the kernel does not take the filter")
}

/// Puts the filter over the calling thread.
///
/// # Errors
/// The kernel has no seccomp.
pub(super) fn filter_thread() -> anyhow::Result<()> {
    let program = program(false)?;
    seccompiler::apply_filter(&program).context("the kernel does not take the filter")
}

fn program(probes: bool) -> anyhow::Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED
        .iter()
        .flat_map(|(_, calls)| *calls)
        .map(|(_, number)| (*number, Vec::new()))
        .collect();
    for ((_, number), place, values) in with_arguments(probes) {
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
