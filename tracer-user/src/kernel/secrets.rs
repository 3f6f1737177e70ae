//! The kernel program that reads secrets of TLS handshakes: it is loaded for who asks for it, and attached to a function
//! of a program's file, wherever that is mapped. What it read is in a map, which is overwritten as it is read.
//!
//! Since Linux 6.6 that takes no more rights than the other programs. Before, perf attaches it: which takes
//! CAP_SYS_ADMIN since CVE-2025-38466.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use tracer_ebpf::config::filter;
use tracer_ebpf::secret::{SLOTS, Secret, state};
use zeroize::Zeroize as _;

use super::load::{Filter, OBJECT};
use super::mapping::Mapping;

const PROGRAM: &str = "tls_secret";

/// Of `linux/bpf.h`: `enum bpf_cmd`, `enum bpf_prog_type` and `enum bpf_attach_type`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_PERF_EVENT: u32 = 41;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
const BPF_F_SLEEPABLE: u32 = 1 << 4;

/// `perf` makes perf attach the program, as on kernels that have nothing else: for tests.
const VARIABLE: &str = "H2TRACE_UPROBES";

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uprobes {
    /// By the program's own link.
    Multi,
    /// By an event of perf.
    Perf,
}

/// A program in the kernel, to be attached.
pub struct SecretProgram {
    program: OwnedFd,
    uprobes: Uprobes,
    members: FilterMembers,
}

/// What it read.
pub struct SecretReader {
    mapping: Mapping,
    /// How many had been written when it was looked the last time.
    seen: u64,
}

/// The filter as the kernel programs have it.
struct FilterMembers {
    bits: u32,
    pids: HashMap<MapData, u32, u8>,
    comms: HashMap<MapData, [u8; 16], u8>,
    netns: HashMap<MapData, u32, u8>,
    cgroups: HashMap<MapData, u64, u8>,
    pods: HashMap<MapData, u64, u8>,
    excluded: HashMap<MapData, u64, u8>,
    probed: HashMap<MapData, u32, u8>,
}

/// A part of `union bpf_attr`: of BPF_PROG_LOAD.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// Of BPF_LINK_CREATE, for uprobes.
#[repr(C)]
#[derive(Default)]
struct Link {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    cnt: u32,
    multi_flags: u32,
    pid: u32,
    _pad: u32,
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads the attributes, which outlive the call, and what they point to.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    owned(fd)
}

/// What a system call made.
fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(fd) {
        // SAFETY: the descriptor was just made, and nobody else has it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(super) const fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// Of BPF_LINK_CREATE, for events of perf.
#[repr(C)]
#[derive(Default)]
struct PerfLink {
    prog_fd: u32,
    event_fd: u32,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}

/// The beginning of `struct perf_event_attr` of `linux/perf_event.h`, PERF_ATTR_SIZE_VER1.
#[repr(C)]
#[derive(Default)]
struct PerfEvent {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    bp_type: u32,
    path: u64,
    offset: u64,
}

/// An event that a function was called, in any process.
fn perf_event(path: &CString, offset: u64) -> io::Result<OwnedFd> {
    const ANY: libc::c_long = -1;
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
    let kind = std::fs::read_to_string("/sys/bus/event_source/devices/uprobe/type")?;
    let kind = kind.trim().parse().map_err(io::Error::other)?;
    let event = PerfEvent {
        kind,
        size: u32::try_from(size_of::<PerfEvent>()).unwrap_or(0),
        path: path.as_ptr() as u64,
        offset,
        ..PerfEvent::default()
    };
    // SAFETY: the kernel reads the attributes and the path, which outlive the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(&event),
            ANY,
            0,
            ANY,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    owned(fd)
}

/// The same map once more.
fn again<T: TryFrom<Map, Error = aya::maps::MapError>>(
    ebpf: &Ebpf,
    name: &str,
) -> anyhow::Result<T> {
    let map = ebpf.map(name).and_then(data);
    let map = map.ok_or_else(|| anyhow::anyhow!("there is no map {name}"))?;
    let fd = map.fd().as_fd().try_clone_to_owned()?;
    Ok(T::try_from(Map::from_map_data(MapData::from_fd(fd)?)?)?)
}

/// Loads the program, before the maps are taken out of `ebpf`.
///
/// # Errors
/// The kernel refuses.
pub(super) fn load(ebpf: &Ebpf, filter: &Filter) -> anyhow::Result<(SecretProgram, SecretReader)> {
    let (program, uprobes) = load_program(ebpf)?;
    let members = FilterMembers {
        bits: filter.bits(),
        pids: again(ebpf, "PIDS")?,
        comms: again(ebpf, "COMMS")?,
        netns: again(ebpf, "NETNS")?,
        cgroups: again(ebpf, "CGROUPS")?,
        pods: again(ebpf, "PODS")?,
        excluded: again(ebpf, "EXCLUDED")?,
        probed: again(ebpf, "PROBED")?,
    };
    let secrets = ebpf.map("SECRETS").and_then(data);
    let secrets = secrets.ok_or_else(|| anyhow::anyhow!("there is no map for secrets"))?;
    let reader = SecretReader::new(secrets)?;
    let program = SecretProgram {
        program,
        uprobes,
        members,
    };
    Ok((program, reader))
}

/// Loads the program and unloads it: nothing is attached. Says how it would be.
///
/// # Errors
/// The kernel refuses.
pub fn try_secret_program() -> anyhow::Result<Uprobes> {
    let options = super::Options {
        secrets: true,
        ..super::Options::default()
    };
    let btf = super::btf::Btf::of_kernel()?;
    let hooks = super::Hooks::choose(None, &btf)?;
    let ebpf = super::load::load(&options, &btf, hooks)?;
    Ok(load_program(&ebpf)?.1)
}

/// aya loads programs for perf's uprobes alone.
fn load_program(ebpf: &Ebpf) -> anyhow::Result<(OwnedFd, Uprobes)> {
    let mut object = aya_obj::Object::parse(OBJECT)?;
    let sections = object.functions.keys().map(|(section, _)| *section);
    let sections = sections.collect();
    let maps = std::mem::take(&mut object.maps);
    let maps = maps.iter().filter_map(|(name, map)| {
        let there = ebpf.map(name).and_then(data)?;
        Some((name.as_str(), there.fd().as_fd().as_raw_fd(), map))
    });
    object.relocate_maps(maps, &sections)?;
    object.relocate_calls(&sections)?;
    let program = object.programs.get(PROGRAM);
    let code = program.and_then(|program| object.functions.get(&program.function_key()));
    let code = code.ok_or_else(|| anyhow::anyhow!("there is no kernel program {PROGRAM}"))?;
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().zip(PROGRAM.bytes()) {
        *to = from;
    }
    let mut attributes = Load {
        prog_type: BPF_PROG_TYPE_KPROBE,
        insn_cnt: u32::try_from(code.instructions.len())?,
        insns: code.instructions.as_ptr() as u64,
        license: object.license.as_ptr() as u64,
        prog_flags: BPF_F_SLEEPABLE,
        prog_name: name,
        expected_attach_type: BPF_TRACE_UPROBE_MULTI,
        ..Load::default()
    };
    let is_by_perf = std::env::var_os(VARIABLE).is_some_and(|value| value == "perf");
    if !is_by_perf && let Ok(program) = bpf(BPF_PROG_LOAD, &attributes) {
        return Ok((program, Uprobes::Multi));
    }
    // Linux before 6.6 does not know this way of attaching.
    attributes.expected_attach_type = 0;
    if let Ok(program) = bpf(BPF_PROG_LOAD, &attributes) {
        return Ok((program, Uprobes::Perf));
    }
    // Once more, to hear why not.
    let mut log = vec![0_u8; 65_536];
    attributes.log_level = 1;
    attributes.log_size = u32::try_from(log.len())?;
    attributes.log_buf = log.as_mut_ptr() as u64;
    let program = bpf(BPF_PROG_LOAD, &attributes).map_err(|error| {
        let said = String::from_utf8_lossy(&log);
        let said: Vec<&str> = said.trim_end_matches('\0').lines().collect();
        let tail = said.get(said.len().saturating_sub(4)..).unwrap_or_default();
        anyhow::anyhow!("{error} {}", tail.join(" | "))
    })?;
    Ok((program, Uprobes::Perf))
}

/// A function with the program on it, for as long as this lives.
pub struct Attached {
    _link: OwnedFd,
    _event: Option<OwnedFd>,
}

impl SecretProgram {
    /// Attaches the program to the instruction at `offset` of a file, in all processes that map it, now or later. The
    /// program itself looks whose secrets are wanted.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach(&self, file: &File, offset: u64, cookie: u64) -> io::Result<Attached> {
        // The file that is open, wherever it is mounted, and also when it has no name any more.
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let attributes = Link {
            prog_fd: self.program.as_raw_fd().unsigned_abs(),
            attach_type: BPF_TRACE_UPROBE_MULTI,
            path: path.as_ptr() as u64,
            offsets: std::ptr::from_ref(&offset) as u64,
            cookies: std::ptr::from_ref(&cookie) as u64,
            cnt: 1,
            ..Link::default()
        };
        if self.uprobes == Uprobes::Perf {
            return self.attach_by_perf(&path, offset, cookie);
        }
        Ok(Attached {
            _link: bpf(BPF_LINK_CREATE, &attributes)?,
            _event: None,
        })
    }

    fn attach_by_perf(&self, path: &CString, offset: u64, cookie: u64) -> io::Result<Attached> {
        let event = perf_event(path, offset)?;
        let attributes = PerfLink {
            prog_fd: self.program.as_raw_fd().unsigned_abs(),
            event_fd: event.as_raw_fd().unsigned_abs(),
            attach_type: BPF_PERF_EVENT,
            flags: 0,
            cookie,
        };
        Ok(Attached {
            _link: bpf(BPF_LINK_CREATE, &attributes)?,
            _event: Some(event),
        })
    }

    /// How it is attached.
    #[must_use]
    pub const fn uprobes(&self) -> Uprobes {
        self.uprobes
    }

    /// The process is selected, although the filter does not say so without a socket.
    pub fn include(&mut self, pid: u32) {
        // When there is no place its secrets stay where they are.
        self.members.probed.insert(pid, 1, 0).ok();
    }

    /// It has ended.
    pub fn forget(&mut self, pid: u32) {
        // One that is not there need not be taken out.
        self.members.probed.remove(&pid).ok();
    }

    /// Whether the filter wants a process whatever its sockets are. `cgroups` are the ids of the v2 cgroups that it is in.
    #[must_use]
    pub fn wants(&self, pid: u32, comm: &str, netns: u32, cgroups: &[u64]) -> bool {
        let members = &self.members;
        let bits = members.bits;
        let by_process = filter::PID | filter::COMM | filter::CGROUP | filter::POD | filter::NETNS;
        if bits & by_process == 0 || bits & filter::PORT != 0 {
            return false;
        }
        let is_in = |map: &HashMap<MapData, u64, u8>| {
            cgroups.iter().any(|cgroup| map.get(cgroup, 0).is_ok())
        };
        let lacks = |kind: u32, is_member: &dyn Fn() -> bool| bits & kind != 0 && !is_member();
        let comm = || members.comms.get(&super::members::comm(comm), 0).is_ok();
        !(lacks(filter::PID, &|| members.pids.get(&pid, 0).is_ok())
            || lacks(filter::COMM, &comm)
            || lacks(filter::NETNS, &|| members.netns.get(&netns, 0).is_ok())
            || lacks(filter::CGROUP, &|| is_in(&members.cgroups))
            || lacks(filter::POD, &|| is_in(&members.pods))
            || bits & filter::EXCLUDED != 0 && is_in(&members.excluded))
    }

    /// A process is wanted by its network namespace, which the program cannot see.
    #[must_use]
    pub const fn is_by_netns(&self) -> bool {
        self.members.bits & filter::NETNS != 0
    }

    /// A process is wanted by its cgroup.
    #[must_use]
    pub const fn is_by_cgroup(&self) -> bool {
        self.members.bits & (filter::CGROUP | filter::POD | filter::EXCLUDED) != 0
    }
}

impl SecretReader {
    const LEN: usize = SLOTS as usize * size_of::<Secret>();

    fn new(map: &MapData) -> io::Result<SecretReader> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let mapping = Mapping::new(map.fd().as_fd(), SecretReader::LEN, protection)?;
        // The pages are the kernel's, which are not swapped.
        // SAFETY: the mapping was just made, and has so many bytes.
        let kept_out = unsafe {
            let at = mapping.at().as_ptr();
            libc::madvise(at, SecretReader::LEN, libc::MADV_DONTDUMP)
        };
        if kept_out != 0 {
            tracing::debug!("pages for secrets are not kept out of dumps");
        }
        Ok(SecretReader { mapping, seen: 0 })
    }

    /// The places of the map.
    const fn slots(&self) -> NonNull<Secret> {
        self.mapping.at().cast()
    }

    fn state(&self, nth: usize) -> &AtomicU64 {
        // SAFETY: it is one of the places of the mapping, which lives as long as this value. The state is its first word,
        // which both sides only change as an atomic one.
        unsafe { AtomicU64::from_ptr(self.slots().add(nth).cast().as_ptr()) }
    }

    /// Hands on what has come. It is overwritten then.
    pub fn read(&mut self, on: &mut dyn FnMut(&Secret)) {
        let written = self.state(0).load(Ordering::Acquire);
        if written == self.seen {
            return;
        }
        let mut is_settled = true;
        for nth in 1..SLOTS as usize {
            let state = self.state(nth);
            let taken = state.compare_exchange(
                state::FULL,
                state::TAKEN,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match taken {
                Ok(_) => {
                    // SAFETY: the place is this side's, as long as its state says that it is taken.
                    let secret = unsafe { self.slots().add(nth).as_mut() };
                    on(secret);
                    secret.label.zeroize();
                    secret.random.zeroize();
                    secret.secret.zeroize();
                    self.state(nth).store(state::FREE, Ordering::Release);
                }
                Err(now) => is_settled &= now == state::FREE,
            }
        }
        if is_settled {
            self.seen = written;
        }
    }
}

impl Drop for SecretReader {
    fn drop(&mut self) {
        self.seen = 0;
        self.read(&mut |_| {});
    }
}
