//! Where the bytes of a socket call stand in the user's memory.
//!
//! The hooks run at the end of the call, inside the system call or at its exit: its number and arguments still stand
//! in the task's saved registers, so nothing has to be carried from its beginning.
//!
//! At the exit of a system call these are its own. But at the socket tracepoints not every socket operation is the work of the system call whose registers these are. io_uring completes
//! receives and sends as task work at the exit of whatever call comes next, in workers that carry a copy of somebody's
//! registers, and in threads that have none; a debugger's stop at a call's beginning runs task work too. So a buffer
//! is known only if the task is inside the call, the call goes the same way as the socket's bytes, and its descriptor
//! is this socket's file. Else the bytes are a hole with a reason ([`unseen`]).

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use tracer_ebpf::{
    config::{NO_FIELD, SYSCALL_MAX, access, hooks},
    counter::Counter,
    event::{direction, unseen},
    instruction::bound,
    walk::{
        Machine as _,
        state::{Multi, Scratch},
    },
};

use crate::{
    count,
    kernel::Kernel,
    kernel_struct::{self, field},
    maps::{CONFIG, MULTI, config},
};

/// `UIO_MAXIOV`: the kernel takes no longer vector.
const IOVEC_MAX: u64 = 1_024;
/// `sizeof(struct mmsghdr)` on 64-bit machines.
pub(crate) const MMSGHDR: u64 = 64;
/// Offset of `msg_iov` in `struct user_msghdr`; `msg_iovlen` follows it.
const MSG_IOV: u64 = 16;

/// x86: `TS_COMPAT` of `thread_info.status`, set for `int 0x80` too, whatever the code segment.
const TS_COMPAT: u32 = 2;
/// `PF_IO_WORKER` of `task_struct.flags`: a worker of io_uring.
const PF_IO_WORKER: u32 = 0x10;
const ENOSYS: i64 = 38;

/// Is the current system call a 32-bit one? Its numbers and structs are others.
#[inline(always)]
pub(crate) fn is_compat(task: u64, registers: u64) -> bool {
    let mode: u32 = field(registers, config!(offsets.regs_mode)).unwrap_or(0);
    let status: u32 = field(task, config!(offsets.task_status)).unwrap_or(0);
    mode & config!(compat_mask) == config!(compat_value) || status & TS_COMPAT != 0
}

/// Is the task inside the system call whose registers these are? From a call's beginning to its end x86 keeps -ENOSYS
/// where the result will stand (`entry_SYSCALL_64`, `copy_thread` puts 0 there), arm64 the first argument.
#[inline(always)]
fn inside(registers: u64) -> bool {
    let Some(result) = field::<u64>(registers, config!(offsets.regs_result)) else {
        return false;
    };
    if config!(result_is_enosys) != 0 {
        return result as i64 == -ENOSYS;
    }
    field::<u64>(registers, config!(offsets.regs_arg0)) == Some(result)
}

/// The file behind the current call's descriptor, its first argument.
#[inline(always)]
fn file_of_call(task: u64, registers: u64) -> Option<u64> {
    kernel_struct::file_of(task, field(registers, config!(offsets.regs_arg0))?)
}

/// Has the task, or the task whose worker it is, anything to do with io_uring?
#[inline(always)]
fn uses_io_uring(task: u64) -> bool {
    let context: u64 = field(task, config!(offsets.task_io_uring)).unwrap_or(0);
    if context != 0 {
        return true;
    }
    let flags: u32 = field(task, config!(offsets.task_flags)).unwrap_or(0);
    flags & PF_IO_WORKER != 0
}

/// What the current system call does with this socket's bytes in memory: one of [`access`], or NONE, and then
/// [`Scratch::unseen`] says why.
#[inline(always)]
fn access_of(s: &mut Scratch, task: u64, registers: u64) -> u8 {
    if config!(hooks) == hooks::SYSCALL_EXIT {
        // Only calls of the table come so far, and the socket is the descriptor's.
        let access = table_entry(registers) & access::KIND;
        let has_buffer = access < access::SENDFILE;
        s.unseen = if has_buffer {
            unseen::NONE
        } else {
            unseen::SPLICE
        };
        return if has_buffer { access } else { access::NONE };
    }
    if is_compat(task, registers) {
        s.unseen = unseen::COMPAT;
        return access::NONE;
    }
    let entry = table_entry(registers);
    let access = entry & access::KIND;
    let io_uring = uses_io_uring(task);
    let inside = inside(registers);
    // A splice that the task is inside of is no other operation, whatever else the task does.
    let splices = access >= access::SENDFILE && access < access::IO_URING;
    s.unseen = if splices && (inside || !io_uring) {
        unseen::SPLICE
    } else if access == access::IO_URING || io_uring {
        unseen::IO_URING
    } else {
        unseen::OTHER
    };
    if access == access::NONE || access >= access::SENDFILE || !inside {
        return access::NONE;
    }
    let sends = entry & access::SENDS != 0;
    if sends != (s.direction == direction::TX as u32) {
        return access::NONE;
    }
    // A debugger's stop at the beginning of a call runs task work while everything looks like the call itself.
    if io_uring && field::<u32>(task, config!(offsets.task_ptrace)).unwrap_or(0) != 0 {
        return access::NONE;
    }
    if config!(offsets.fdtable_fd) != NO_FIELD && file_of_call(task, registers) != Some(s.file) {
        return access::NONE;
    }
    s.unseen = unseen::NONE;
    access
}

/// The table's entry of the current system call.
#[inline(always)]
pub(crate) fn table_entry(registers: u64) -> u8 {
    let Some(number) = field::<u32>(registers, config!(offsets.regs_nr)) else {
        count::bump(Counter::NoField);
        return access::NONE;
    };
    if number as usize >= SYSCALL_MAX {
        return access::NONE;
    }
    let number = bound::<{ SYSCALL_MAX as u64 - 1 }>(number as u64);
    let config = (&raw const CONFIG).cast::<tracer_ebpf::config::Config>();
    // SAFETY: the index is below SYSCALL_MAX; volatile as in `config!`.
    unsafe {
        core::ptr::read_volatile(
            (&raw const (*config).syscalls)
                .cast::<u8>()
                .add(number as usize),
        )
    }
}

/// Finds the user's buffers of the current call. False when there are none that are known: the bytes
/// are a hole.
#[inline(never)]
pub(crate) fn locate(s: &mut Scratch) -> bool {
    s.chunk = 0;
    s.chunk_len = 0;
    s.iovec = 0;
    s.iovecs = 0;
    s.multi = 0;
    // SAFETY: the current task is there; in a kernel thread its registers are zero.
    let (task, registers) = unsafe {
        let task = bpf_get_current_task_btf();
        (task as u64, bpf_task_pt_regs(task) as u64)
    };
    let access = access_of(s, task, registers);
    if access == access::NONE {
        return false;
    }
    let Some(first) = field::<u64>(registers, config!(offsets.regs_arg1)) else {
        return false;
    };
    let second = field::<u64>(registers, config!(offsets.regs_arg2)).unwrap_or(0);
    match access {
        access::BUFFER => {
            s.chunk = first;
            s.chunk_len = second;
            second != 0
        }
        access::IOVEC => {
            s.iovec = first;
            s.iovecs = if second > IOVEC_MAX {
                IOVEC_MAX as u32
            } else {
                second as u32
            };
            second != 0
        }
        access::MSGHDR => message(s, first),
        _ if config!(hooks) == hooks::SYSCALL_EXIT => message(s, s.message),
        _ => {
            s.multi = 1;
            // A timeout ends recvmmsg without a call of the hook: which message comes next is not certain.
            let timeout: u64 = field(registers, config!(offsets.regs_arg4)).unwrap_or(0);
            if s.direction == direction::RX as u32 && timeout != 0 && second > 1 {
                s.unseen = unseen::OTHER;
                return false;
            }
            let count = if second > IOVEC_MAX {
                IOVEC_MAX
            } else {
                second
            };
            let index = next_message(s, first, count as u32);
            message(s, first + index as u64 * MMSGHDR)
        }
    }
}

/// struct user_msghdr { name, namelen, iov, iovlen, ... }
#[inline(always)]
fn message(s: &mut Scratch, address: u64) -> bool {
    let Some([iovec, count]) = Kernel.read::<[u64; 2]>(address + MSG_IOV) else {
        count::bump(Counter::Fault);
        return false;
    };
    s.iovec = iovec;
    s.iovecs = if count > IOVEC_MAX {
        IOVEC_MAX as u32
    } else {
        count as u32
    };
    count != 0
}

/// recvmmsg and sendmmsg fire the hook once a message: which one is this? The call ends at an error,
/// at the last message, or (sendmmsg) at a message that was sent in part: see [`cut_short`].
#[inline(always)]
fn next_message(s: &Scratch, vector: u64, count: u32) -> u32 {
    let tid = s.task as u32;
    let mut index = 0;
    // SAFETY: the entry belongs to this thread; LRU reuse at worst misplaces one message.
    if let Some(multi) = unsafe { MULTI.get(tid) } {
        if multi.vector == vector {
            index = multi.next;
        }
    }
    let next = index + 1;
    // An absent entry is what both calls want in the end; failing to make one loses a message.
    if s.returned == 0 || next >= count {
        let _gone = MULTI.remove(tid);
    } else if MULTI
        .insert(
            tid,
            Multi {
                vector,
                next,
                _pad: 0,
            },
            0,
        )
        .is_err()
    {
        count::bump(Counter::NoBuffer);
    }
    index
}

/// The call of this thread ended early: its next one begins with the first message.
#[inline(always)]
pub(crate) fn reset_multi(task: u64) {
    let _gone = MULTI.remove(task as u32);
}

/// After the walk: when bytes of the message were not sent, sendmmsg stops here.
#[inline(always)]
pub(crate) fn cut_short(s: &mut Scratch) {
    if s.chunk_len == 0 && s.iovecs == 0 {
        return;
    }
    let rest =
        s.chunk_len != 0 || matches!(Kernel.read::<[u64; 2]>(s.iovec), Some([_, len]) if len != 0);
    if rest {
        reset_multi(s.task);
    }
}
