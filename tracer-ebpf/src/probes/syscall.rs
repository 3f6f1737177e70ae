//! The exit of system calls, where the kernel has no socket tracepoints. One hook a system call, of every task.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::exit;

/// hook: sys_exit(struct pt_regs *regs, long ret) 2.6..
#[raw_tracepoint]
pub(crate) fn sys_exit(context: RawTracePointContext) -> i32 {
    exit::returned(context.arg(0), context.arg(1));
    0
}
