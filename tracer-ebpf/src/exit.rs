//! The exit of a system call: was it a call on a socket, and on which?
//!
//! Every system call of the machine comes by here, so the cheapest questions are asked first: what it returned, its
//! number, its process. Only then is the socket looked up behind its descriptor. What remains goes the way of every
//! socket call ([`call::finished`]).
//!
//! The descriptor is looked up after the call: one that another thread has given to another file meanwhile shows that
//! file. TCP's sequence numbers tell.

use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_task_btf, bpf_probe_read_user,
};
use tracer_ebpf::{config::access, counter::Counter, event::direction, instruction::hand_over};

use crate::{
    call::{self, ECONNRESET, EPIPE},
    count, filter,
    kernel::scratch,
    kernel_struct::{self, field},
    maps::config,
    user_memory::{self, MMSGHDR},
};

/// Messages of one recvmmsg or sendmmsg at most: sendmmsg takes no more (`UIO_MAXIOV`).
const MESSAGES_MAX: u32 = 1_024;
/// Offset of `msg_len` in `struct mmsghdr`.
const MSG_LEN: u64 = 56;

/// A system call returns to the user: `returned`, or minus the error.
#[inline(always)]
pub(crate) fn returned(registers: u64, returned: i64) {
    if returned < 0 && returned != -EPIPE as i64 && returned != -ECONNRESET as i64 {
        return;
    }
    let entry = user_memory::table_entry(registers);
    let kind = entry & access::KIND;
    let sends = entry & access::SENDS != 0;
    // Nothing sent is nothing; nothing received is the end of a stream.
    if kind == access::NONE || kind >= access::PIPE || (returned == 0 && sends) {
        return;
    }
    // SAFETY: no arguments.
    let tgid = (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32;
    if !filter::may_want(tgid) {
        return;
    }
    // SAFETY: the current task is there.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    // Its numbers and its arguments are others.
    if user_memory::is_compat(task, registers) {
        return;
    }
    let sk = socket(task, registers, kind);
    if sk == 0 {
        return;
    }
    let flags = flags(registers, entry);
    let towards = if sends { direction::TX } else { direction::RX } as u32;
    if kind != access::MMSGHDR || returned < 0 {
        call::finished(sk, returned as i32, flags, towards);
    } else if let Some(vector) = field(registers, config!(offsets.regs_arg1)) {
        messages(sk, vector, returned as u32, flags | towards << DIRECTION);
    }
}

/// The socket that the call was on; 0 when it was on something else. In a frame of its own, which is gone before
/// [`call::finished`] needs its many.
#[inline(never)]
fn socket(task: u64, registers: u64, kind: u8) -> u64 {
    let argument = if kind == access::SPLICE {
        config!(offsets.regs_arg2)
    } else {
        config!(offsets.regs_arg0)
    };
    let descriptor = field::<u32>(registers, argument);
    descriptor
        .and_then(|descriptor| kernel_struct::file_of(task, descriptor))
        .and_then(kernel_struct::socket_of)
        .unwrap_or(0)
}

/// The call's MSG_ flags.
#[inline(always)]
fn flags(registers: u64, entry: u8) -> u32 {
    let argument = if entry & access::FLAGS != 0 {
        config!(offsets.regs_arg3)
    } else if entry & access::KIND == access::MSGHDR {
        config!(offsets.regs_arg2)
    } else {
        return 0;
    };
    field(registers, argument).unwrap_or(0)
}

/// No MSG_ flag: where [`messages`] takes the direction from, beside them.
const DIRECTION: u32 = 31;

/// recvmmsg and sendmmsg: each of the `n` messages counts as a call. When they are looked at, all of them have gone by.
#[inline(never)]
fn messages(sk: u64, vector: u64, n: u32, flags: u32) {
    let Some(s) = scratch() else { return };
    s.behind = 0;
    s.message = vector;
    // Out of a register, where the verifier would follow each value of it from one loop into the other.
    s.messages = n;
    hand_over(s);
    let mut i = 0;
    while i < MESSAGES_MAX {
        if i >= s.messages {
            break;
        }
        s.behind = s.behind.wrapping_add(length(s.message));
        s.message = s.message.wrapping_add(MMSGHDR);
        i += 1;
    }
    s.message = vector;
    if n > MESSAGES_MAX {
        count::bump(Counter::StepLimit);
    }
    i = 0;
    while i < MESSAGES_MAX {
        if i >= s.messages {
            break;
        }
        let len = length(s.message);
        s.behind = s.behind.wrapping_sub(len);
        hand_over(s);
        call::finished(
            sk,
            len as i32,
            flags & !(1 << DIRECTION),
            flags >> DIRECTION,
        );
        s.message = s.message.wrapping_add(MMSGHDR);
        i += 1;
    }
    s.behind = 0;
    s.message = 0;
}

/// Bytes of a message, as the kernel has written them into its `struct mmsghdr`.
#[inline(always)]
fn length(message: u64) -> u32 {
    let mut len = 0u32;
    let address = message.wrapping_add(MSG_LEN);
    // SAFETY: four bytes are written, or zeros when the helper fails.
    unsafe { bpf_probe_read_user((&raw mut len).cast(), 4, address as *const _) };
    len
}
