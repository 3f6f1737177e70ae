//! The process filter follows children. Attached only when processes are filtered.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{
    kernel_struct::field,
    maps::{PIDS, config},
};

/// hook: sched_process_fork(struct task_struct *parent, struct task_struct *child) 2.6..
/// field: struct task_struct.tgid
#[raw_tracepoint]
pub(crate) fn sched_process_fork(context: RawTracePointContext) -> i32 {
    let offset = config!(offsets.task_tgid);
    let Some(parent) = field::<u32>(context.arg(0), offset) else {
        return 0;
    };
    let Some(child) = field::<u32>(context.arg(1), offset) else {
        return 0;
    };
    // SAFETY: only the presence of the entry matters.
    if parent != child && unsafe { PIDS.get(parent) }.is_some() {
        // A full map leaves the child out; 32,768 members are more than a default pid space.
        let _kept = PIDS.insert(child, 1, 0);
    }
    0
}

/// The number of an ended process may be given to one that is not wanted.
///
/// hook: sched_process_exit(struct task_struct *p) 2.6..6.14, (p, bool group_dead) 6.15..
/// field: struct task_struct.tgid, struct task_struct.signal, struct signal_struct.live
#[raw_tracepoint]
pub(crate) fn sched_process_exit(context: RawTracePointContext) -> i32 {
    let task: u64 = context.arg(0);
    let Some(tgid) = field::<u32>(task, config!(offsets.task_tgid)) else {
        return 0;
    };
    let signal: u64 = field(task, config!(offsets.task_signal)).unwrap_or(0);
    // `live` was counted down before the hook: 0 when this was the last thread.
    if field::<u32>(signal, config!(offsets.signal_live)) == Some(0) {
        let _gone = PIDS.remove(tgid);
    }
    0
}
