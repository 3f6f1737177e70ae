//! Processes, from `/proc` (proc(5)).

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{fs, io};

/// Longest `task->comm` in bytes, its final NUL not counted (`TASK_COMM_LEN` of `include/linux/sched.h` is 16).
pub const COMM_MAX: usize = 15;

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Why a process cannot be traced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// Nothing has this id.
    #[error("no process has the id {0} (list processes with: ps -e)")]
    Missing(u32),
    /// It is the id of a thread.
    #[error("{thread} is a thread of process {process} (use --pid {process})")]
    Thread {
        /// The id that was given.
        thread: u32,
        /// The process it belongs to.
        process: u32,
    },
}

/// Checks that `pid` is a process that lives.
///
/// # Errors
/// It does not live, or it is the id of a thread.
pub fn check(pid: u32) -> Result<(), ProcessError> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|_| ProcessError::Missing(pid))?;
    match status_number(&status, "Tgid:") {
        Some(process) if process != pid => Err(ProcessError::Thread {
            thread: pid,
            process,
        }),
        Some(_) => Ok(()),
        None => Err(ProcessError::Missing(pid)),
    }
}

/// Whether `pid` still lives.
#[must_use]
pub fn lives(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

/// Whether `pid`, a number of the host, lives no more. Where `/proc` hides others' processes, nobody can tell: then the
/// host's first one is not seen either.
#[must_use]
pub fn is_gone(pid: u32) -> bool {
    sees_host_processes() && !lives(pid) && lives(1)
}

/// Its `task->comm`; None when it is gone.
#[must_use]
pub fn comm(pid: u32) -> Option<String> {
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(comm.trim_ascii_end()).into_owned())
}

/// How long a name is believed.
const NAME_AGE: Duration = Duration::from_secs(1);

/// Names that are kept at once.
const NAMES: usize = 4_096;

/// Names processes by `/proc`, and remembers for a second: many connections of one process are opened
/// at once.
#[derive(Debug, Default)]
pub struct ProcessNames {
    known: HashMap<u32, (Instant, Option<String>)>,
}

impl ProcessNames {
    /// The name of process `pid`, when it can be told.
    pub fn process(&mut self, pid: u32) -> Option<String> {
        if !sees_host_processes() {
            return None;
        }
        let now = Instant::now();
        if let Some((at, name)) = self.known.get(&pid)
            && now.duration_since(*at) < NAME_AGE
        {
            return name.clone();
        }
        if self.known.len() >= NAMES {
            self.known.clear();
        }
        let name = comm(pid);
        // What starts a container is about to become the container's own program.
        if !name.as_deref().is_some_and(is_starting) {
            self.known.insert(pid, (now, name.clone()));
        }
        name
    }
}

/// The names that runc, crun and youki have until they execute the container's program.
fn is_starting(comm: &str) -> bool {
    ["runc:[", "crun", "youki:["]
        .iter()
        .any(|name| comm.starts_with(name))
}

/// Its executable; None when it is gone, has none (a kernel thread), or may not be read.
#[must_use]
pub fn exe(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// `/proc` is of the processes that the kernel programs tell of. Otherwise a number means one process there and another
/// one here. Looked up once.
#[must_use]
pub fn sees_host_processes() -> bool {
    static SEEN: OnceLock<bool> = OnceLock::new();
    *SEEN.get_or_init(in_initial_pid_namespace)
}

/// False when this process lives in a pid namespace of its own: the kernel programs then see other
/// process ids than the user does.
#[must_use]
pub fn in_initial_pid_namespace() -> bool {
    // Where the link cannot be read the ids are taken as they are.
    fs::read_link("/proc/self/ns/pid")
        .map_or(true, |name| name.as_os_str() == INITIAL_PID_NAMESPACE)
}

/// Ids of all processes.
///
/// # Errors
/// `/proc` cannot be read.
pub fn all() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// The processes below `roots`, these not included, in no particular order. Children that are started
/// while this runs may be missing; the kernel programs follow forks from the attach on.
#[must_use]
pub fn descendants(roots: &[u32]) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in all().unwrap_or_default() {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut known: HashSet<u32> = roots.iter().copied().collect();
    let mut unvisited = roots.to_vec();
    let mut found = Vec::new();
    while let Some(pid) = unvisited.pop() {
        for &child in children.get(&pid).into_iter().flatten() {
            if known.insert(child) {
                found.push(child);
                unvisited.push(child);
            }
        }
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    status_number(
        &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        "PPid:",
    )
}

fn status_number(status: &str, field: &str) -> Option<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn own_process_lives_and_has_a_name() {
        let own = std::process::id();
        assert_eq!(check(own), Ok(()));
        assert!(lives(own));
        assert!(comm(own).is_some_and(|comm| !comm.is_empty() && comm.len() <= COMM_MAX));
        assert_eq!(exe(own), std::env::current_exe().ok());
    }

    #[test]
    fn process_that_has_gone_is_missing() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(check(pid), Err(ProcessError::Missing(pid)));
        assert_eq!(comm(pid), None);
    }

    #[test]
    fn thread_id_names_its_process() {
        // SAFETY: gettid has no arguments and cannot fail.
        let thread = std::thread::spawn(|| check(unsafe { libc::gettid() }.unsigned_abs()))
            .join()
            .unwrap();
        assert!(
            matches!(thread, Err(ProcessError::Thread { process, .. }) if process == std::process::id()),
            "{thread:?}"
        );
    }

    #[test]
    fn descendants_are_found_at_any_depth() {
        // The shell waits for `cat`, which waits for the end of its input.
        let mut shell = Command::new("sh")
            .args(["-c", "cat; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while descendants(&[shell.id()]).is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let of_shell = descendants(&[shell.id()]);
        let of_own = descendants(&[std::process::id()]);
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!(of_shell.len(), 1);
        assert!(of_own.contains(&shell.id()) && of_own.contains(&of_shell[0]));
    }
}
