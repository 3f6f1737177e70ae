//! What this process gives up once everything is attached: it is fed by every process of the host, so that a defect in
//! it should be worth as little as possible. Maps are read by their descriptors, which needs no right since Linux 5.19.

mod files;
pub mod syscalls;

use std::collections::HashSet;
use std::io;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};

use caps::{CapSet, Capability, CapsHashSet};

/// What a run still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Credentials of another user are read anew: CAP_DAC_READ_SEARCH stays, where it is there.
    pub others_files: bool,
    /// The memory of others is read: CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH stay, where they are there.
    pub others_memory: bool,
    /// Programs are started, such as those that kubeconfig names for credentials: there is no filter of system calls,
    /// and files may be written.
    pub programs: bool,
    /// System calls are filtered.
    pub seccomp: bool,
}

impl Needs {
    /// What may still be done is as little as there is.
    pub const NOTHING: Needs = Needs {
        others_files: false,
        others_memory: false,
        programs: false,
        seccomp: true,
    };

    /// What both need.
    #[must_use]
    pub const fn and(self, other: Needs) -> Needs {
        Needs {
            others_files: self.others_files || other.others_files,
            others_memory: self.others_memory || other.others_memory,
            programs: self.programs || other.programs,
            seccomp: self.seccomp && other.seccomp,
        }
    }

    /// Kept, and what for.
    fn capabilities(self) -> CapsHashSet {
        let mut kept = HashSet::new();
        if self.others_files || self.others_memory {
            kept.insert(Capability::CAP_DAC_READ_SEARCH);
        }
        if self.others_memory {
            kept.insert(Capability::CAP_SYS_PTRACE);
        }
        // Names of processes and their cgroups are then told to those alone that could trace them.
        if hides_processes(&read("/proc/self/mountinfo")) {
            kept.insert(Capability::CAP_SYS_PTRACE);
        }
        kept
    }
}

/// What was given up, of all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confined {
    /// No thread has a capability but those that are needed.
    pub capabilities: bool,
    /// No program that is started gets more rights.
    pub no_new_privs: bool,
    /// System calls are filtered.
    pub seccomp: bool,
    /// Nothing is opened for writing, made, removed or executed.
    pub files: bool,
    /// Nobody gets an image of the memory.
    pub core_dumps: bool,
}

impl Confined {
    /// Each, by its name in metrics.
    #[must_use]
    pub const fn by_name(self) -> [(&'static str, bool); 5] {
        [
            ("capabilities", self.capabilities),
            ("no_new_privs", self.no_new_privs),
            ("seccomp", self.seccomp),
            ("landlock", self.files),
            ("core_dumps", self.core_dumps),
        ]
    }
}

/// No core dump has the traced bytes in it from now on, and nobody attaches to this process.
pub fn keep_memory_private() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: setrlimit reads one `struct rlimit`, which outlives the call.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    // SAFETY: PR_SET_DUMPABLE takes numbers alone.
    let private = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    if limited != 0 || private != 0 {
        let error = io::Error::last_os_error();
        tracing::warn!(%error, "core dumps cannot be turned off");
    }
}

/// Starts a thread, which has nothing but what it needs when this returns. Each thread has capabilities of its own, so
/// that those which are started before everything is attached have to give them up themselves.
///
/// # Errors
/// There cannot be one thread more.
pub fn spawn<T: Send + 'static>(
    name: &str,
    needs: Needs,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let (given_up, has_given_up) = sync_channel::<()>(1);
    let thread = Builder::new().name(name.to_owned()).spawn(move || {
        give_up(needs);
        // Nobody waits any more only when there is no such thread.
        given_up.send(()).ok();
        work()
    })?;
    has_given_up.recv().ok();
    Ok(thread)
}

/// The calling thread, and those that it starts, have nothing from now on but what is needed; all threads have a filter
/// of their system calls. Says what all of them have given up.
pub fn enter(needs: Needs) -> Confined {
    // Who reads memory is a thread of its own, which has been started.
    let files = give_up(Needs {
        others_memory: false,
        ..needs
    });
    let mut seccomp = false;
    if needs.seccomp && !needs.programs {
        match syscalls::filter(needs.others_memory) {
            Ok(()) => seccomp = true,
            Err(error) => tracing::warn!("system calls are not filtered: {error:#}"),
        }
    }
    let threads = statuses();
    let all = |is_so: &dyn Fn(&str) -> bool| {
        !threads.is_empty() && threads.iter().all(|status| is_so(status))
    };
    let kept = needs.capabilities();
    Confined {
        capabilities: all(&|status| has_only(status, &kept)),
        no_new_privs: all(&|status| field(status, "NoNewPrivs:") == Some("1")),
        seccomp: seccomp && all(&|status| field(status, "Seccomp:") == Some("2")),
        files,
        // SAFETY: PR_GET_DUMPABLE takes nothing else.
        core_dumps: unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) } == 0,
    }
}

/// What a thread alone can give up here: all of it but what is of the whole process.
#[must_use]
pub fn try_out() -> Confined {
    let tried = std::thread::spawn(|| {
        let files = give_up(Needs::NOTHING);
        let seccomp = syscalls::filter_thread().is_ok();
        let status = read("/proc/thread-self/status");
        Confined {
            capabilities: has_only(&status, &Needs::NOTHING.capabilities()),
            no_new_privs: field(&status, "NoNewPrivs:") == Some("1"),
            seccomp: seccomp && field(&status, "Seccomp:") == Some("2"),
            files,
            core_dumps: false,
        }
    });
    tried.join().unwrap_or_default()
}

/// The calling thread, and those that it starts, have nothing from now on but what is needed. True when files are given
/// up too.
pub fn give_up(needs: Needs) -> bool {
    let kept = needs.capabilities();
    if let Err(error) = drop_capabilities(&kept) {
        tracing::warn!(%error, "capabilities cannot be given up");
    }
    // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers alone.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        let error = io::Error::last_os_error();
        tracing::warn!(%error, "no_new_privs cannot be set");
        return false;
    }
    // Landlock hides what is outside of it from ptrace's questions, of which hidepid= asks one, and who reads memory
    // another.
    if needs.programs || kept.contains(&Capability::CAP_SYS_PTRACE) {
        return false;
    }
    files::give_up()
        .inspect_err(|error| tracing::debug!(%error, "Landlock is not there"))
        .is_ok()
}

fn drop_capabilities(kept: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    let has = |set| caps::read(None, set);
    if has(CapSet::Effective)?.contains(&Capability::CAP_SETPCAP) {
        for capability in has(CapSet::Bounding)?.difference(kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    let permitted = has(CapSet::Permitted)?;
    let kept = permitted.intersection(kept).copied().collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}

/// `/proc` is mounted so that others' processes are not seen in it (`hidepid=`, proc(5)).
fn hides_processes(mountinfo: &str) -> bool {
    mountinfo
        .lines()
        .filter(|line| line.split(' ').nth(4) == Some("/proc"))
        .filter_map(|line| line.split_once("hidepid="))
        .any(|(_, mode)| !mode.starts_with(['0', 'o']))
}

/// `/proc/PID/status` of each thread.
fn statuses() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let threads = threads.filter_map(|thread| Some(thread.ok()?.path().join("status")));
    threads
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
}

/// Of these at most may be made effective.
fn has_only(status: &str, kept: &CapsHashSet) -> bool {
    let kept = kept
        .iter()
        .fold(0, |mask, capability| mask | capability.bitmask());
    field(status, "CapPrm:")
        .and_then(|held| u64::from_str_radix(held, 16).ok())
        .is_some_and(|held| held & !kept == 0)
}

fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(value.trim())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_of_its_own_has_nothing_left() {
        let work = || {
            let status = read("/proc/thread-self/status");
            let held = ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"]
                .map(|set| field(&status, set).map(|held| u64::from_str_radix(held, 16).unwrap()));
            let privs = field(&status, "NoNewPrivs:") == Some("1");
            (
                held,
                privs,
                std::fs::File::create("/tmp/h2trace-is-not-made").is_err(),
            )
        };
        let before = read("/proc/thread-self/status");
        let thread = spawn("confined", Needs::NOTHING, work).unwrap();
        let (held, privs, cannot_write) = thread.join().unwrap();
        if !hides_processes(&read("/proc/self/mountinfo")) {
            assert_eq!(held, [Some(0); 4]);
            assert!(cannot_write || !files::is_there());
        }
        assert!(privs);
        // Another thread is as it was.
        let now = read("/proc/thread-self/status");
        assert_eq!(field(&now, "CapEff:"), field(&before, "CapEff:"));
    }

    #[test]
    fn hidden_processes_are_seen_from_the_mount() {
        let line = |options: &str| {
            format!("25 1 0:23 / /proc rw,relatime shared:5 - proc proc rw{options}\n")
        };
        for (options, hides) in [
            ("", false),
            (",hidepid=0", false),
            (",hidepid=off", false),
            (",gid=4,hidepid=2", true),
            (",hidepid=invisible", true),
        ] {
            assert_eq!(hides_processes(&line(options)), hides, "{options}");
        }
        assert!(!hides_processes(
            "26 1 0:24 / /mnt/hidepid=2 rw - proc proc rw,hidepid=2\n"
        ));
    }
}
