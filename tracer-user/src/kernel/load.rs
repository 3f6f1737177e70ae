//! Loads the kernel programs: privileges, offsets, filter, maps.

use std::io::{self, ErrorKind};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Map, MapError},
    programs::{ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported},
};
use tracer_ebpf::config::{Config, SYSCALL_MAX, filter, tls};

use crate::workload::process;

use super::{
    btf::{Btf, BtfError},
    hooks::Hooks,
    rights::{self, Refusal},
    syscall,
};

/// The kernel programs, checked in beside their source; `cargo xtask build-ebpf` rebuilds them.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tracer-ebpf/h2trace.bpf.o"
));

/// `for_each` makes the programs do without the helper `bpf_loop`, as on kernels that lack it: for tests.
const LOOP_VARIABLE: &str = "H2TRACE_LOOP";

/// Default size of the ring in bytes.
pub const RING_BYTES: u32 = 8 * 1024 * 1024;

/// Processes that one filter may name, their descendants included: the size of the `PIDS` map.
pub const PIDS_MAX: u32 = 32_768;

/// Whose sockets are wanted. Kinds are joined by AND, members of one kind by OR; all empty: everything. Which
/// kinds filter is fixed when tracing starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Processes (tgids), and their descendants.
    pub pids: Vec<u32>,
    /// v2 cgroup ids, and the cgroups below them.
    pub cgroups: Vec<u64>,
    /// v2 cgroup ids of pods or containers, and the cgroups below them. `Some` filters by pods, also while it is
    /// empty: then nothing is wanted.
    pub pods: Option<Vec<u64>>,
    /// v2 cgroup ids of what is not wanted, and the cgroups below them. `Some` when there may ever be one.
    pub excluded: Option<Vec<u64>>,
    /// Inode numbers of network namespaces.
    pub netns: Vec<u32>,
    /// Local or peer TCP ports.
    pub ports: Vec<u16>,
    /// Names as in `/proc/PID/comm` (15 bytes at most).
    pub comms: Vec<String>,
}

impl Filter {
    /// Bits of [`filter`]: the kinds that have members, or will have.
    #[must_use]
    pub fn bits(&self) -> u32 {
        [
            (self.pids.is_empty(), filter::PID),
            (self.cgroups.is_empty(), filter::CGROUP),
            (self.netns.is_empty(), filter::NETNS),
            (self.ports.is_empty(), filter::PORT),
            (self.comms.is_empty(), filter::COMM),
            (self.pods.is_none(), filter::POD),
            (self.excluded.is_none(), filter::EXCLUDED),
        ]
        .into_iter()
        .filter_map(|(empty, bit)| (!empty).then_some(bit))
        .sum()
    }
}

/// How TLS is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Not at all: it is recognised.
    Off,
    /// By its records, of which handshakes and alerts are copied.
    #[default]
    Facts,
    /// All of it is copied.
    Full,
}

impl Tls {
    const fn number(self) -> u32 {
        match self {
            Tls::Off => tls::OFF,
            Tls::Facts => tls::FACTS,
            Tls::Full => tls::FULL,
        }
    }
}

/// How to trace.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose sockets.
    pub filter: Filter,
    /// Copy every byte instead of counting DATA.
    pub full_payload: bool,
    /// What is told of TLS.
    pub tls: Tls,
    /// Secrets of TLS handshakes are read, where programs of this process's choice call a function with them.
    pub secrets: bool,
    /// The kernel programs open connections of TLS whose keys they are given.
    pub opens_tls: bool,
    /// Size of the ring, rounded up to a power of two pages.
    pub ring_bytes: u32,
    /// Print the kernel programs' own debug messages (through `log`, level debug).
    pub kernel_log: bool,
    /// Never trace this process' own sockets.
    pub exclude_self: bool,
    /// The hooks on socket calls. None: what the environment says (`H2TRACE_HOOKS`), or else the best that this
    /// kernel has.
    pub hooks: Option<Hooks>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            filter: Filter::default(),
            full_payload: false,
            tls: Tls::default(),
            secrets: false,
            opens_tls: false,
            ring_bytes: RING_BYTES,
            kernel_log: false,
            exclude_self: true,
            hooks: None,
        }
    }
}

/// Why tracing could not start. Each message names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Capabilities are missing.
    #[error(
        "not permitted to load kernel programs: {missing} missing (run \"sudo {command}\"; {in_kubernetes})"
    )]
    Privileges {
        /// The missing capabilities.
        missing: String,
        /// This command, to be run with sudo.
        command: String,
        /// The remedy in Kubernetes.
        in_kubernetes: String,
    },
    /// The capabilities are there, and the kernel still refuses.
    #[error(
        "not permitted to load kernel programs, although CAP_BPF and CAP_PERFMON are there: {} ({})",
        .0.found(),
        .0.remedy()
    )]
    Refused(Refusal),
    /// This process may not open as many files as it takes.
    #[error(
        "h2trace needs {FILES} open files, and {left} are left to it (raise the limit: ulimit -n 1024, or LimitNOFILE= of \
         its systemd service)"
    )]
    Files {
        /// How many may still be opened.
        left: u64,
    },
    /// No BTF, or a malformed one.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// A tracepoint is not there without which nothing can be traced.
    #[error(
        "kernel {release} has no tracepoint {tracepoint} (run \"h2trace doctor\"; it says what can take its place)"
    )]
    NoTracepoint {
        /// `uname -r`.
        release: String,
        /// The missing tracepoint.
        tracepoint: &'static str,
    },
    /// The environment names hooks that there are not.
    #[error("H2TRACE_HOOKS names no hooks: {0:?} (socket_tracepoints, sys_exit)")]
    UnknownHooks(String),
    /// A struct member without which nothing can be traced is not in the kernel's BTF.
    #[error(
        "kernel {release} has no {field} in its BTF (h2trace does not know this kernel yet; run \"h2trace doctor\")"
    )]
    UnknownKernel {
        /// `uname -r`.
        release: String,
        /// The member.
        field: String,
    },
    /// The verifier refused a program.
    #[error(
        "the kernel's verifier refused program {program}: {error}: {log} (this is a defect of h2trace on this kernel; please report it with \"uname -r\")"
    )]
    Verifier {
        program: String,
        /// What the system call said.
        error: io::Error,
        /// The last lines of the verifier's log.
        log: String,
    },
    /// Not enough locked or control-group memory.
    #[error(
        "not enough memory for the kernel programs' maps: {0} (raise the memory limit of the cgroup, or ulimit -l)"
    )]
    Memory(io::Error),
    /// The filter has more members than its map holds.
    #[error("too many members in the {0} filter")]
    FilterTooLarge(&'static str),
    /// The kinds of a filter are fixed when tracing starts.
    #[error("filter kinds cannot be added while tracing; restart h2trace")]
    FilterKinds,
    #[error("cannot load the kernel programs: {0}")]
    Load(#[source] EbpfError),
    /// A program could not be attached.
    #[error("cannot attach kernel program {program}: {error}")]
    Attach {
        program: &'static str,
        error: ProgramError,
    },
}

/// Open files that maps, programs and what serves and prints take; each connection of a scraper is one more.
const FILES: u64 = 64;

/// Refuses to go on without the open files that are needed. More of them are not asked for than may be had.
fn check_files() -> Result<(), StartError> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit writes one `struct rlimit`, which outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Ok(());
    }
    if limit.rlim_cur < limit.rlim_max {
        let wanted = libc::rlimit {
            rlim_cur: limit.rlim_max,
            ..limit
        };
        // SAFETY: setrlimit reads one `struct rlimit`, which outlives the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0 {
            limit = wanted;
        }
    }
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
    let left = limit.rlim_cur.saturating_sub(open);
    if left < FILES {
        return Err(StartError::Files { left });
    }
    Ok(())
}

/// Refuses to go on without the capabilities and the open files that are needed.
///
/// # Errors
/// [`StartError::Privileges`], [`StartError::Files`].
pub fn check_privileges() -> Result<(), StartError> {
    check_files()?;
    let missing = rights::missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Err(StartError::Privileges {
        missing: names.join(" and "),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        in_kubernetes: rights::remedy_in_kubernetes(&missing),
    })
}

/// Loads the object's maps, with everything that the programs are told before they run.
pub(super) fn load(options: &Options, btf: &Btf, hooks: Hooks) -> Result<Ebpf, StartError> {
    let config = config(options, btf, hooks)?;
    // SAFETY: `Config` is `repr(C)` without padding that is not named; any bytes of it are plain data.
    let bytes = unsafe {
        std::slice::from_raw_parts((&raw const config).cast::<u8>(), size_of::<Config>())
    };
    let log_level: u8 = if options.kernel_log { u8::MAX } else { 0 };
    let mut loader = EbpfLoader::new();
    loader
        .override_global("CONFIG", bytes, true)
        .override_global("AYA_LOG_LEVEL", &log_level, false)
        .map_max_entries("EVENTS", ring_bytes(options.ring_bytes));
    if !options.secrets {
        loader
            .map_max_entries("SECRETS", 1)
            .map_max_entries("PROBED", 1);
    }
    if !options.opens_tls {
        loader
            .map_max_entries("SLOTS", 1)
            .map_max_entries("OPENED_TLS", 1);
    }
    if config.has_loop != 0 {
        loader.map_max_entries("TURNS", 1);
    }
    loader.load(OBJECT).map_err(load_error)
}

/// A power of two, and at least 64 KiB: the kernel wants whole pages on every architecture.
pub(super) fn ring_bytes(wanted: u32) -> u32 {
    wanted.clamp(64 * 1024, 1 << 30).next_power_of_two()
}

fn config(options: &Options, btf: &Btf, hooks: Hooks) -> Result<Config, StartError> {
    let offsets = btf.offsets();
    if let Some(field) = super::btf::FIELDS
        .iter()
        .find(|f| f.needed && btf.offset_of(f.container, f.path).is_none())
    {
        return Err(StartError::UnknownKernel {
            release: super::doctor::release(),
            field: format!("struct {}.{}", field.container, field.path),
        });
    }
    let mut syscalls = [0; SYSCALL_MAX];
    for &(number, access) in syscall::TABLE {
        if let Some(slot) = usize::try_from(number)
            .ok()
            .and_then(|n| syscalls.get_mut(n))
        {
            *slot = access;
        }
    }
    Ok(Config {
        filter: options.filter.bits(),
        full_payload: u32::from(options.full_payload),
        // In a pid namespace of its own this process has another number than the kernel programs see.
        own_tgid: if options.exclude_self && process::sees_host_processes() {
            std::process::id()
        } else {
            0
        },
        wake_every: ring_bytes(options.ring_bytes) / 8,
        compat_mask: syscall::COMPAT_MASK,
        compat_value: syscall::COMPAT_VALUE,
        result_is_enosys: syscall::RESULT_IS_ENOSYS,
        hooks: hooks.number(),
        has_loop: u32::from(has_loop()),
        tls: options.tls.number(),
        offsets,
        syscalls,
    })
}

/// Does the kernel have the helper `bpf_loop`? When it cannot be asked, what is loaded next says why.
fn has_loop() -> bool {
    if std::env::var_os(LOOP_VARIABLE).is_some_and(|value| value == "for_each") {
        return false;
    }
    is_helper_supported(ProgramType::RawTracePoint, BpfHelper::BPF_FUNC_loop).unwrap_or(true)
}

/// Names what went wrong while maps or programs were made.
pub(super) fn load_error(error: EbpfError) -> StartError {
    let io = match &error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) => Some(io_error),
        EbpfError::MapError(MapError::SyscallError(error))
        | EbpfError::ProgramError(ProgramError::SyscallError(error)) => Some(&error.io_error),
        _ => None,
    };
    match io.map(|e| (e.kind(), e.raw_os_error())) {
        Some((ErrorKind::OutOfMemory, code)) => StartError::Memory(code.map_or_else(
            || ErrorKind::OutOfMemory.into(),
            io::Error::from_raw_os_error,
        )),
        Some((ErrorKind::PermissionDenied, _)) => refused(),
        _ => StartError::Load(error),
    }
}

/// The kernel said EPERM: because a capability is missing, or although none is.
fn refused() -> StartError {
    check_privileges()
        .err()
        .unwrap_or_else(|| StartError::Refused(rights::refusal()))
}

/// Names what went wrong while the program `name` was verified.
pub(super) fn program_error(name: &str, error: ProgramError) -> StartError {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => match io_error.kind() {
            ErrorKind::PermissionDenied if verifier_log.to_string().trim().is_empty() => refused(),
            ErrorKind::OutOfMemory => StartError::Memory(io_error),
            _ => {
                let log = verifier_log.to_string();
                let lines: Vec<_> = log.lines().filter(|l| !l.trim().is_empty()).collect();
                let tail = lines
                    .get(lines.len().saturating_sub(6)..)
                    .unwrap_or_default()
                    .join(" | ");
                StartError::Verifier {
                    program: name.to_owned(),
                    error: io_error,
                    log: tail,
                }
            }
        },
        other => load_error(EbpfError::ProgramError(other)),
    }
}

/// Takes a map of the object.
pub(super) fn take<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &str,
) -> Result<T, StartError> {
    let map = ebpf.take_map(name).ok_or_else(|| {
        StartError::Load(EbpfError::MapError(MapError::InvalidName {
            name: name.to_owned(),
        }))
    })?;
    T::try_from(map).map_err(|e| StartError::Load(EbpfError::MapError(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_filter_before_there_is_one() {
        let none_yet = Filter {
            pods: Some(Vec::new()),
            ..Filter::default()
        };
        assert_eq!(none_yet.bits(), filter::POD);
    }

    #[test]
    fn only_kinds_with_members_are_filtered() {
        assert_eq!(Filter::default().bits(), 0);
        let some = Filter {
            ports: vec![80],
            comms: vec!["x".into()],
            ..Filter::default()
        };
        assert_eq!(some.bits(), filter::PORT | filter::COMM);
    }

    #[test]
    fn ring_sizes_are_powers_of_two() {
        assert_eq!(ring_bytes(0), 65_536);
        assert_eq!(ring_bytes(100_000), 131_072);
        assert_eq!(ring_bytes(RING_BYTES), RING_BYTES);
    }

    #[test]
    fn the_checked_in_object_holds_every_program() {
        let object = aya_names(OBJECT);
        for probe in super::super::attach::PROBES {
            assert!(object.contains(probe.tracepoint), "{}", probe.tracepoint);
        }
    }

    /// The printable runs of the object, where ELF symbol names stand.
    fn aya_names(object: &[u8]) -> String {
        object
            .iter()
            .map(|&b| {
                if b.is_ascii_graphic() {
                    char::from(b)
                } else {
                    ' '
                }
            })
            .collect()
    }
}
