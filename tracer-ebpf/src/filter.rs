//! Is this task's socket wanted?

use aya_ebpf::helpers::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_comm};
use tracer_ebpf::{
    config::filter,
    event::family::{INET, INET6},
};

use crate::{
    kernel_struct::{field, netns},
    maps::{CGROUPS, COMMS, EPOCH, EXCLUDED, NETNS, PIDS, PODS, PORTS, PROBED, config},
};

/// Deepest v2 cgroup whose ancestors are looked at (a Kubernetes container is at depth 4 or 5).
const CGROUP_DEPTH: i32 = 20;

/// The number that user space raises when it changes members; 0 until every program is attached.
#[inline(always)]
pub(crate) fn epoch() -> u32 {
    EPOCH.get(0).copied().unwrap_or(0)
}

/// Can anything that this process does be wanted? What is known without its socket.
#[inline(always)]
pub(crate) fn may_want(tgid: u32) -> bool {
    // SAFETY: only the presence of the entry matters.
    tgid != config!(own_tgid)
        && (config!(filter) & filter::PID == 0 || unsafe { PIDS.get(tgid) }.is_some())
}

/// AND over the kinds of filter, OR within one.
#[inline(always)]
pub(crate) fn wants(sk: u64, family: u16, tgid: u32) -> bool {
    let wanted = config!(filter);
    // SAFETY (every `get` below): only the presence of the entry matters, not its value.
    if wanted & filter::PID != 0 && unsafe { PIDS.get(tgid) }.is_none() {
        return false;
    }
    if wanted & filter::COMM != 0 {
        let Ok(comm) = bpf_get_current_comm() else {
            return false;
        };
        // SAFETY: see above.
        if unsafe { COMMS.get(comm) }.is_none() {
            return false;
        }
    }
    // SAFETY: see above.
    if wanted & filter::NETNS != 0 && unsafe { NETNS.get(netns(sk)) }.is_none() {
        return false;
    }
    if wanted & filter::PORT != 0 {
        if family != INET && family != INET6 {
            return false;
        }
        let local: u16 = field(sk, config!(offsets.sock_num)).unwrap_or(0);
        let peer: u16 = u16::from_be(field(sk, config!(offsets.sock_dport)).unwrap_or(0));
        // SAFETY: see above.
        if unsafe { PORTS.get(local) }.is_none() && unsafe { PORTS.get(peer) }.is_none() {
            return false;
        }
    }
    let by_cgroup = wanted & (filter::CGROUP | filter::POD | filter::EXCLUDED);
    by_cgroup == 0 || in_wanted_cgroup(by_cgroup)
}

/// Are secrets of this process wanted? A filter that asks for a socket, or for nothing, does not say so.
#[inline(always)]
pub(crate) fn wants_secrets(tgid: u32) -> bool {
    if tgid == config!(own_tgid) {
        return false;
    }
    // SAFETY: only the presence of the entry matters.
    if unsafe { PROBED.get(tgid) }.is_some() {
        return true;
    }
    let wanted = config!(filter);
    let by_process = filter::PID | filter::COMM | filter::CGROUP | filter::POD;
    let by_socket = filter::NETNS | filter::PORT;
    wanted & by_process != 0 && wanted & by_socket == 0 && wants(0, 0, tgid)
}

/// One walk from the root of the hierarchy to the task, for all kinds that are v2 cgroup ids.
#[inline(always)]
fn in_wanted_cgroup(wanted: u32) -> bool {
    let mut missing = wanted & (filter::CGROUP | filter::POD);
    let mut level = 0;
    while level < CGROUP_DEPTH {
        // SAFETY: the helper takes any level; 0 means there is none so deep.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if cgroup == 0 {
            break;
        }
        // SAFETY (every `get` below): only the presence of the entry matters.
        if wanted & filter::EXCLUDED != 0 && unsafe { EXCLUDED.get(cgroup) }.is_some() {
            return false;
        }
        // SAFETY: see above.
        if missing & filter::CGROUP != 0 && unsafe { CGROUPS.get(cgroup) }.is_some() {
            missing &= !filter::CGROUP;
        }
        // SAFETY: see above.
        if missing & filter::POD != 0 && unsafe { PODS.get(cgroup) }.is_some() {
            missing &= !filter::POD;
        }
        level += 1;
    }
    missing == 0
}
