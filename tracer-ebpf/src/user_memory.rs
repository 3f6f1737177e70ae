//! Where the bytes of a socket call stand in the user's memory.
//!
//! The hooks run at the end of the call, inside the system call: its number and arguments still stand
//! in the task's saved registers, so nothing has to be carried from its beginning.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs,
};
use tracer_ebpf::{
    config::{SYSCALL_MAX, access},
    counter::Counter,
};

use crate::{
    count,
    instruction::bound,
    kernel_struct::field,
    maps::{CONFIG, MULTI, config},
    state::{Multi, Scratch},
};

/// `UIO_MAXIOV`: the kernel takes no longer vector.
const IOVEC_MAX: u64 = 1_024;
/// `sizeof(struct mmsghdr)` on 64-bit machines.
const MMSGHDR: u64 = 64;
/// Offset of `msg_iov` in `struct user_msghdr`; `msg_iovlen` follows it.
const MSG_IOV: u64 = 16;

/// Reads a `T` from the user's memory.
#[inline(always)]
pub(crate) fn read<T: Copy>(address: u64) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes `size_of::<T>()` bytes or fails; `T` is plain data.
    unsafe {
        if bpf_probe_read_user(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        ) == 0
        {
            Some(value.assume_init())
        } else {
            None
        }
    }
}

/// What the current system call does with memory: one of [`access`].
#[inline(always)]
fn access_of(registers: u64) -> u8 {
    let compat: u32 = field(registers, config!(offsets.regs_mode)).unwrap_or(0);
    if compat & config!(compat_mask) == config!(compat_value) {
        return access::NONE;
    }
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
#[inline(always)]
pub(crate) fn locate(s: &mut Scratch, returned: i32) -> bool {
    s.chunk = 0;
    s.chunk_len = 0;
    s.iovec = 0;
    s.iovecs = 0;
    s.multi = 0;
    // SAFETY: the current task is there; in a kernel thread its registers are zero.
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    let access = access_of(registers);
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
        _ => {
            s.multi = 1;
            let index = next_message(s, first, second as u32, returned);
            message(s, first + index as u64 * MMSGHDR)
        }
    }
}

/// struct user_msghdr { name, namelen, iov, iovlen, ... }
#[inline(always)]
fn message(s: &mut Scratch, address: u64) -> bool {
    let Some([iovec, count]) = read::<[u64; 2]>(address + MSG_IOV) else {
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
fn next_message(s: &Scratch, vector: u64, count: u32, returned: i32) -> u32 {
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
    if returned <= 0 || next >= count {
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
    let rest = s.chunk_len != 0 || matches!(read::<[u64; 2]>(s.iovec), Some([_, len]) if len != 0);
    if rest {
        reset_multi(s.task);
    }
}

/// Goes to the next buffer of the vector. False when there is none.
#[inline(always)]
pub(crate) fn next_chunk(s: &mut Scratch) -> bool {
    if s.iovecs == 0 {
        return false;
    }
    let Some([base, len]) = read::<[u64; 2]>(s.iovec) else {
        count::bump(Counter::Fault);
        s.iovecs = 0;
        return false;
    };
    s.chunk = base;
    s.chunk_len = len;
    s.iovec += 16;
    s.iovecs -= 1;
    true
}
