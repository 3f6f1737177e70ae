//! Every map, with its size and why.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use tracer_ebpf::{
    config::Config,
    counter,
    opened::{self, Owner, Slot},
    secret::{self, Secret},
    walk,
    walk::state::{Message, MessageKey, Multi, Scratch, Socket},
};

use crate::marks::{MARKS, Mark};

/// Filter, kernel field offsets, system calls: written by user space before load. The verifier knows
/// the values and removes the code that they make dead.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Global<Config> = Global::new(Config::NONE);

/// Records for user space, which sets the size at load.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(8 * 1024 * 1024, 0);

/// What is known of each socket that the filter wants, by the address of its `struct sock`. LRU: there is no
/// close event for AF_UNIX, and idle entries must not keep new ones out. One that comes back after it was pushed out
/// shows another birth, by which the reader knows.
#[map]
pub(crate) static SOCKETS: LruHashMap<u64, Socket> = LruHashMap::with_max_entries(65_536, 0);

/// Sockets that the filter does not want, by a hash of their address.
#[map]
pub(crate) static UNWANTED: Array<Mark> = Array::with_max_entries(MARKS, 0);

/// How a TCP connection was opened, from ESTABLISHED until its socket is destroyed: one of `event::opened`,
/// with [`OPENED_USED`].
#[map]
pub(crate) static OPENED: LruHashMap<u64, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Bit of a value of [`OPENED`]: calls may have gone by without an entry in [`SOCKETS`].
pub(crate) const OPENED_USED: u8 = 0x80;

/// Streams in the middle of a gRPC message (and streams that carry none). A stream that stands at a
/// message boundary has no entry, so short messages never touch this map.
#[map]
pub(crate) static MESSAGES: LruHashMap<MessageKey, Message> =
    LruHashMap::with_max_entries(65_536, 0);

/// Threads in the middle of recvmmsg or sendmmsg.
#[map]
pub(crate) static MULTI: LruHashMap<u32, Multi> = LruHashMap::with_max_entries(4_096, 0);

/// The work space of one socket call: too big for the stack. One a CPU, guarded by its busy flag.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// What `bpf_for_each_map_elem` goes over where `bpf_loop` is missing: an element a turn, of which only the index
/// matters. User space makes it as small as can be where `bpf_loop` is there.
#[map]
pub(crate) static TURNS: Array<u64> = Array::with_max_entries(walk::TURNS_MAX, 0);

/// What was counted, by `Counter`.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNTERS, 0);

/// One number that user space raises when it changes the members of a filter.
#[map]
pub(crate) static EPOCH: Array<u32> = Array::with_max_entries(1, 0);

/// Filter members: tgids. Descendants are added here by `sched_process_fork`.
#[map]
pub(crate) static PIDS: HashMap<u32, u8> = HashMap::with_max_entries(32_768, 0);

/// Filter members: v2 cgroup ids.
#[map]
pub(crate) static CGROUPS: HashMap<u64, u8> = HashMap::with_max_entries(4_096, 0);

/// Filter members: v2 cgroup ids of the selected pods or containers. They come and go while the programs run.
#[map]
pub(crate) static PODS: HashMap<u64, u8> = HashMap::with_max_entries(4_096, 0);

/// v2 cgroup ids of what is not wanted although all else is.
#[map]
pub(crate) static EXCLUDED: HashMap<u64, u8> = HashMap::with_max_entries(4_096, 0);

/// Filter members: inode numbers of network namespaces.
#[map]
pub(crate) static NETNS: HashMap<u32, u8> = HashMap::with_max_entries(4_096, 0);

/// Filter members: TCP ports, host order.
#[map]
pub(crate) static PORTS: HashMap<u16, u8> = HashMap::with_max_entries(1_024, 0);

/// Filter members: names as in `task->comm`, padded with zeros.
#[map]
pub(crate) static COMMS: HashMap<[u8; 16], u8> = HashMap::with_max_entries(1_024, 0);

/// Secrets of TLS handshakes, until user space has read them, which maps this map. As small as can be without `--tls`.
#[map]
pub(crate) static SECRETS: Array<Secret> = Array::with_max_entries(secret::SLOTS, MMAPABLE);

/// TLS connections that user space has opened, and their places in [`SLOTS`].
#[map]
pub(crate) static OPENED_TLS: HashMap<Owner, u32> = HashMap::with_max_entries(opened::SLOTS, 0);

/// Keys of TLS, which user space writes and wipes, as it maps this map; and how far each direction is opened with them.
/// As small as can be without `--tls`.
#[map]
pub(crate) static SLOTS: Array<Slot> = Array::with_max_entries(opened::SLOTS, MMAPABLE);

/// `BPF_F_MMAPABLE` of `linux/bpf.h`.
const MMAPABLE: u32 = 1 << 10;

/// Processes whose secrets are wanted although the filter, without a socket, does not say so: tgids.
#[map]
pub(crate) static PROBED: HashMap<u32, u8> = HashMap::with_max_entries(4_096, 0);

/// Reads one field of `CONFIG`, and only that.
macro_rules! config {
    ($($field:tt)+) => {
        $crate::maps::config_at(
            core::mem::offset_of!(tracer_ebpf::config::Config, $($field)+),
            |config: &tracer_ebpf::config::Config| config.$($field)+,
        )
    };
}
pub(crate) use config;

/// Reads a `T` of `CONFIG`; `_field` is never called, it proves the type. Use `config!`.
#[inline(always)]
pub(crate) fn config_at<T: Copy>(offset: usize, _field: fn(&Config) -> T) -> T {
    // SAFETY: `CONFIG` is a transparent wrapper of an initialised `Config` and `offset` is that of a
    // `T` in it; volatile because user space replaces the value before load, behind the compiler's back.
    unsafe { core::ptr::read_volatile((&raw const CONFIG).cast::<u8>().add(offset).cast::<T>()) }
}
