//! The thread that looks for functions to probe, in the programs of selected processes as they come and go.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use h2trace_core::limits;
use tracer_ebpf::secret::Secret;

use super::finder;
use super::mapped::{self, FileId, Mapped};
use crate::confine::{self, Needs};
use crate::kernel::{Attached, SecretProgram, SecretReader, Uprobes};
use crate::key_scan::ProcessId;
use crate::workload::{cgroup, process};

/// Time between two looks at which processes there are.
const EVERY: Duration = Duration::from_secs(2);

/// Longest time that a start waits for the first look.
const FIRST: Duration = Duration::from_secs(10);

/// A process may load a library at any time: it is looked at again after this, and then after twice as long each time.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MOST: Duration = Duration::from_secs(60);

/// Files that are remembered, of all processes. In those beyond nothing is probed.
const FILES: usize = 4_096;

/// Probes of handshakes, and the secrets that come of them.
pub struct KeyProbe {
    reader: SecretReader,
    to: SyncSender<u32>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// Processes with a probe, now.
    covered: Mutex<HashSet<u32>>,
    /// So many had one.
    n_processes: AtomicU64,
}

impl Shared {
    fn covered(&self) -> std::sync::MutexGuard<'_, HashSet<u32>> {
        self.covered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyProbe {
    /// Starts the thread, which has nothing but what it needs; to be called before rights are given up. When it returns,
    /// the processes that are there are probed.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(program: SecretProgram, reader: SecretReader) -> io::Result<KeyProbe> {
        let (to, wishes) = sync_channel(limits::TLS_WISHES);
        let (has_looked, looked) = sync_channel(1);
        let shared = Arc::<Shared>::default();
        let prober = Prober {
            program,
            wishes,
            shared: Arc::clone(&shared),
            processes: HashMap::new(),
            files: HashMap::new(),
            hierarchy: cgroup::mount_point(),
            is_confined: false,
        };
        let needs = Needs {
            others_memory: true,
            ..Needs::NOTHING
        };
        // It ends when the wishes do. Nobody waits for it: it may be held up by a file that it reads.
        let thread = Builder::new().name("h2trace-probes".to_owned());
        drop(thread.spawn(move || prober.run(needs, &has_looked))?);
        if looked.recv_timeout(FIRST).is_err() {
            tracing::warn!(
                "it takes long to find where handshakes are probed; connections go by in the meantime"
            );
        }
        Ok(KeyProbe { reader, to, shared })
    }

    /// A process that is selected speaks TLS.
    pub fn see(&self, pid: u32) {
        // When too many wait, it is found by the next look at all of them.
        self.to.try_send(pid).ok();
    }

    /// Handshakes of the process are probed, so that the secrets of a new connection will come.
    #[must_use]
    pub fn covers(&self, pid: u32) -> bool {
        self.shared.covered().contains(&pid)
    }

    /// Processes that were probed so far.
    #[must_use]
    pub fn n_processes(&self) -> u64 {
        self.shared.n_processes.load(Ordering::Relaxed)
    }

    /// Hands on the secrets that have come.
    pub fn read(&mut self, on: &mut dyn FnMut(&Secret)) {
        self.reader.read(on);
    }
}

impl Drop for KeyProbe {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// A process that is probed, or could be.
struct Looked {
    /// The program that it is: another one after an execve(2).
    program: Option<Program>,
    next: Instant,
    pause: Duration,
    /// Its memory has a probe, which was told.
    is_told: bool,
    /// It was told that files of it are passed over.
    is_passed_told: bool,
}

/// Its path, and where its stack began. The file itself is asked nothing: who serves it may not answer.
type Program = (PathBuf, Option<u64>);

fn program(pid: u32) -> Option<Program> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The 28th field (proc_pid_stat(5)), as far as it may be seen.
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let stack = behind_name.split_ascii_whitespace().nth(25);
    Some((path, stack.and_then(|stack| stack.parse().ok())))
}

/// A file, and the processes that have it mapped.
struct Probed {
    users: HashSet<ProcessId>,
    attached: Option<Attached>,
}

struct Prober {
    program: SecretProgram,
    wishes: Receiver<u32>,
    shared: Arc<Shared>,
    processes: HashMap<ProcessId, Looked>,
    files: HashMap<FileId, Probed>,
    /// Where v2 cgroups are.
    hierarchy: Option<PathBuf>,
    /// Rights were given up that perf asks for.
    is_confined: bool,
}

impl Prober {
    fn run(mut self, needs: Needs, has_looked: &SyncSender<()>) {
        // Where perf attaches, that takes a right which is given up then.
        self.sweep();
        confine::give_up(needs);
        self.is_confined = true;
        // Nobody may wait any more.
        has_looked.try_send(()).ok();
        let mut next = Instant::now() + EVERY;
        while !self.shared.is_over.load(Ordering::Relaxed) {
            let left = next.saturating_duration_since(Instant::now());
            match self.wishes.recv_timeout(left) {
                Ok(pid) => self.asked(pid),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    self.sweep();
                    next = Instant::now() + EVERY;
                }
            }
        }
    }

    /// A process has a selected connection: so it is selected.
    fn asked(&mut self, pid: u32) {
        let Some(process) = ProcessId::of(pid) else {
            return;
        };
        self.program.include(pid);
        let now = Instant::now();
        let looked = self.processes.get(&process);
        // Many connections of one process come at once.
        if looked.is_none_or(|looked| looked.next <= now || !looked.is_told) {
            self.look(process);
        }
    }

    /// Looks which processes there are.
    fn sweep(&mut self) {
        let own = std::process::id();
        let now = Instant::now();
        let there: HashSet<ProcessId> = process::all()
            .unwrap_or_default()
            .into_iter()
            .filter(|pid| *pid != own)
            .filter_map(ProcessId::of)
            .collect();
        self.forget(&there);
        for process in there {
            let is_due = match self.processes.get(&process) {
                Some(looked) => looked.next <= now || looked.program != program(process.pid),
                None => self.is_selected(process.pid),
            };
            if is_due && self.processes.len() < limits::TLS_PROCESSES {
                self.look(process);
            }
        }
    }

    /// Those that are not there any more go, and the probes that nobody runs into.
    fn forget(&mut self, there: &HashSet<ProcessId>) {
        let gone = self
            .processes
            .extract_if(|process, _| !there.contains(process));
        for (process, _) in gone {
            self.program.forget(process.pid);
            self.shared.covered().remove(&process.pid);
        }
        let processes = &self.processes;
        self.files.retain(|_, file| {
            file.users.retain(|process| processes.contains_key(process));
            !file.users.is_empty()
        });
    }

    fn is_selected(&self, pid: u32) -> bool {
        let comm = process::comm(pid).unwrap_or_default();
        let netns = self.program.is_by_netns().then(|| {
            let netns = std::fs::metadata(format!("/proc/{pid}/ns/net")).ok()?;
            u32::try_from(netns.ino()).ok()
        });
        let cgroups = if self.program.is_by_cgroup() {
            self.cgroups(pid)
        } else {
            Vec::new()
        };
        let netns = netns.flatten().unwrap_or(0);
        self.program.wants(pid, &comm, netns, &cgroups)
    }

    /// The ids of the v2 cgroups that a process is in.
    fn cgroups(&self, pid: u32) -> Vec<u64> {
        let (Some(hierarchy), Ok(told)) = (
            &self.hierarchy,
            std::fs::read_to_string(format!("/proc/{pid}/cgroup")),
        ) else {
            return Vec::new();
        };
        let path = told.lines().find_map(|line| line.strip_prefix("0::/"));
        let path = hierarchy.join(path.unwrap_or_default());
        let below = path.ancestors().take_while(|at| at.starts_with(hierarchy));
        below
            .filter_map(|at| Some(std::fs::metadata(at).ok()?.ino()))
            .collect()
    }

    /// Looks for functions in the files that a process has mapped, and probes them.
    fn look(&mut self, process: ProcessId) {
        let program = program(process.pid);
        let files = mapped::files(process.pid);
        for (id, file) in &mut self.files {
            if !files.found.contains_key(id) {
                file.users.remove(&process);
            }
        }
        let mut is_probed = false;
        for (id, mapped) in files.found {
            is_probed |= self.probe(process, id, &mapped);
        }
        // Its memory may be another's by now.
        if !process.lives() {
            return;
        }
        if self.program.is_by_netns() {
            self.program.include(process.pid);
        }
        let looked = self.processes.entry(process).or_insert(Looked {
            program: program.clone(),
            next: Instant::now(),
            pause: AGAIN,
            is_told: false,
            is_passed_told: false,
        });
        if looked.program != program {
            looked.program = program;
            looked.pause = AGAIN;
        }
        let has_served = files.n_served > 0;
        if has_served && !std::mem::replace(&mut looked.is_passed_told, true) {
            tracing::warn!(
                n_files = files.n_served,
                "code of {} (pid {}) is in files that another process may serve (FUSE): they are not read, and in them \
                 nothing is probed",
                crate::plain::plain(&process::comm(process.pid).unwrap_or_default()),
                process.pid
            );
        }
        looked.next = Instant::now() + looked.pause;
        looked.pause = (looked.pause * 2).min(AGAIN_MOST);
        let mut covered = self.shared.covered();
        if !is_probed {
            covered.remove(&process.pid);
            return;
        }
        covered.insert(process.pid);
        if !std::mem::replace(&mut looked.is_told, true) {
            self.shared.n_processes.fetch_add(1, Ordering::Relaxed);
            let name = process::comm(process.pid).unwrap_or_default();
            // As for who reads memory: at the level that is the default.
            tracing::warn!(
                "handshakes of {} (pid {}) are probed, for the secrets of its TLS connections",
                crate::plain::plain(&name),
                process.pid
            );
        }
    }

    /// Whether a file that the process has mapped is probed now.
    fn probe(&mut self, process: ProcessId, id: FileId, mapped: &Mapped) -> bool {
        if let Some(file) = self.files.get_mut(&id) {
            file.users.insert(process);
            return file.attached.is_some();
        }
        if self.files.len() >= FILES {
            return false;
        }
        let attached = self.attach(process.pid, &id, mapped);
        let is_attached = attached.is_some();
        let users = HashSet::from([process]);
        self.files.insert(id, Probed { users, attached });
        is_attached
    }

    fn attach(&self, pid: u32, id: &FileId, mapped: &Mapped) -> Option<Attached> {
        if self.is_confined && self.program.uprobes() == Uprobes::Perf {
            return None;
        }
        let file = mapped::open(pid, id, mapped)?;
        let begun = Instant::now();
        let site = finder::find_site(&file)?;
        let attached = self
            .program
            .attach(&file, site.offset, site.layout.cookie());
        let time = begun.elapsed();
        tracing::debug!(
            pid,
            inode = id.1,
            offset = site.offset,
            ?time,
            "handshakes are probed"
        );
        let attached = attached.inspect_err(|error| {
            tracing::warn!("handshakes of process {pid} cannot be probed: {error}");
        });
        attached.ok()
    }
}
