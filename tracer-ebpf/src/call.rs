//! One socket call: whose, which bytes, what of them is copied.

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_ktime_get_ns,
};
use aya_log_ebpf::debug;
use tracer_ebpf::{
    counter::Counter,
    event::{cause, confidence, direction, family::UNIX, unseen},
    instruction::{atomic_add, exchange},
    walk::{
        call, frames, recognise,
        state::{CALLS_MAX, LOOK_SHIFT, Scratch, Socket, mode, told, verdict},
    },
};

use crate::{
    admission, count, filter,
    kernel::{Kernel, scratch},
    kernel_struct::{field, inode},
    maps::{SOCKETS, config},
    marks, record, user_memory,
};

const MSG_OOB: u32 = 0x1;
const MSG_PEEK: u32 = 0x2;
const MSG_TRUNC: u32 = 0x20;
const MSG_ERRQUEUE: u32 = 0x2000;
pub(crate) const EPIPE: i32 = 32;
pub(crate) const ECONNRESET: i32 = 104;
const TCP_ESTABLISHED: u8 = 1;

/// Empty buffers that may stand before the first one in use.
const EMPTY_MAX: u32 = 16;

/// A socket call had finished: `returned` bytes, or minus the error.
///
/// Not static: so the verifier proves it on its own, and once, however often it is called.
///
/// The functions below that are not inlined have a stack frame of their own: kernels before 6.13, and all on
/// arm64, allow 512 bytes along a chain of calls, and what is inlined here would be spilled all at once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn finished(sk: u64, returned: i32, flags: u32, towards: u32) -> u64 {
    finish(sk, returned, flags, towards as u8);
    0
}

#[inline(always)]
fn finish(sk: u64, returned: i32, flags: u32, towards: u8) {
    let epoch = filter::epoch();
    if epoch == 0 {
        return;
    }
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_pid_tgid() };
    let tgid = (task >> 32) as u32;
    if tgid == config!(own_tgid) {
        return;
    }
    if marks::is_unwanted(sk, tgid, epoch) {
        count::bump(Counter::CallsSkipped);
        return;
    }
    let mut known = SOCKETS.get_ptr_mut(sk);
    if let Some(socket) = known {
        // SAFETY: the entry's memory stays mapped; when LRU gives it to another socket in this
        // instant, `born_ns` differs at the end of the call and nothing is written.
        let socket = unsafe { &mut *socket };
        if socket.family == UNIX && inode(sk) != Some(socket.inode) {
            if socket.told & told::OPEN != 0 {
                record::end(sk, socket, cause::CLOSED, towards, 0);
            }
            let _gone = SOCKETS.remove(sk);
            known = None;
        } else if socket.verdict == verdict::OTHER {
            count::bump(Counter::CallsSkipped);
            return;
        } else if socket.epoch != epoch {
            if filter::wants(sk, socket.family, tgid) {
                socket.epoch = epoch;
            } else {
                if socket.told & told::OPEN != 0 {
                    record::end(sk, socket, cause::CLOSED, towards, task);
                }
                // At once: nothing more is walked or told, whatever the call returned.
                let _gone = SOCKETS.remove(sk);
                known = None;
            }
        }
    }
    if flags & (MSG_OOB | MSG_ERRQUEUE) != 0 {
        return;
    }
    if let Some(socket) = known {
        // SAFETY: as above.
        if rests(unsafe { &mut *socket }, towards) {
            count::bump(Counter::CallsSkipped);
            return;
        }
    }
    if returned < 0 {
        if let Some(socket) = known {
            // SAFETY: as above.
            failed(sk, unsafe { &mut *socket }, returned, towards, task);
        }
        return;
    }
    if flags & MSG_PEEK != 0 && towards == direction::RX {
        if known.is_some() {
            count::bump(Counter::Peeks);
        }
        return;
    }
    let Some(s) = scratch() else { return };
    if s.busy != 0 {
        count::bump(Counter::Busy);
        return;
    }
    s.busy = 1;
    s.direction = towards as u32;
    s.sk = sk;
    s.task = task;
    s.returned = returned as u32;
    s.flags = flags;
    // SAFETY: no arguments.
    s.at_ns = unsafe { bpf_ktime_get_ns() };
    if returned == 0 {
        if let Some(socket) = known {
            // SAFETY: as above.
            ended(s, unsafe { &mut *socket });
        }
    } else {
        let socket = match known {
            // SAFETY: as above.
            Some(socket) => Some(unsafe { &mut *socket }),
            None => admission::admit(s, epoch),
        };
        if let Some(socket) = socket {
            exclusively(s, socket);
        }
    }
    s.busy = 0;
}

/// Is it a call of an undecided socket that is not looked at?
#[inline(always)]
fn rests(socket: &mut Socket, towards: u8) -> bool {
    if socket.calls < CALLS_MAX || socket.verdict != verdict::UNDECIDED {
        return false;
    }
    // SAFETY: no arguments.
    let now = (unsafe { bpf_ktime_get_ns() } >> LOOK_SHIFT) as u32;
    let way = (towards & 1) as usize;
    if recognise::rests(socket, way, now) {
        return true;
    }
    socket.looked[way] = now;
    false
}

/// EPIPE and ECONNRESET: the peer is gone.
#[inline(always)]
fn failed(sk: u64, socket: &mut Socket, returned: i32, towards: u8, task: u64) {
    if socket.multi != 0 {
        user_memory::reset_multi(task);
    }
    let gone = returned == -EPIPE || returned == -ECONNRESET;
    if gone && socket.told & (told::OPEN | told::BROKEN) == told::OPEN {
        socket.told |= told::BROKEN;
        record::end(sk, socket, cause::BROKEN, towards, task);
    }
}

/// A receive returned 0: the end of the stream, unless nothing was asked for.
#[inline(never)]
fn ended(s: &mut Scratch, socket: &mut Socket) {
    let towards = s.direction as u8;
    if socket.multi != 0 {
        user_memory::reset_multi(s.task);
    }
    if towards != direction::RX || socket.told & (told::OPEN | told::EOF) != told::OPEN {
        return;
    }
    s.file = socket.file;
    if user_memory::locate(s) {
        skip_empty(s);
        if s.chunk_len == 0 {
            return;
        }
        socket.told |= told::EOF;
        record::end(s.sk, socket, cause::EOF, towards, s.task);
    }
}

#[inline(always)]
fn skip_empty(s: &mut Scratch) {
    let mut i = 0;
    while i < EMPTY_MAX {
        if s.chunk_len != 0 || !frames::next_chunk(Kernel, s) {
            break;
        }
        i += 1;
    }
}

/// One task at a time walks one direction.
#[inline(never)]
fn exclusively(s: &mut Scratch, socket: &mut Socket) {
    let returned = s.returned;
    let way = (s.direction & 1) as usize;
    // First of all: another task's call moves it on.
    s.sequence = if socket.placed != 0 {
        sequence(s, way)
    } else {
        None
    };
    s.file = socket.file;
    // Before anything that may leave: of recvmmsg and sendmmsg each message counts.
    let located = user_memory::locate(s);
    let busy = &raw mut socket.busy[way];
    let missed = &raw mut socket.missed[way];
    // SAFETY: a word of the map's value.
    if unsafe { exchange(busy, 1) } != 0 {
        count::bump(Counter::Busy);
        // SAFETY: a word of the map's value.
        unsafe { atomic_add(missed, returned as u64) };
        return;
    }
    // SAFETY: no arguments.
    s.cgroup = unsafe { bpf_get_current_cgroup_id() };
    s.born_ns = socket.born_ns;
    s.confidence = socket.confidence;
    s.walk = socket.walks[way];
    s.desync = 0;
    s.class = 0;
    s.certain = 0;
    s.begun = 0;
    s.remaining = returned;
    count::bump(Counter::Calls);
    bytes(s, socket, way, located);
    if socket.born_ns == s.born_ns {
        socket.walks[way] = s.walk;
        if s.confidence > socket.confidence {
            socket.confidence = s.confidence;
        }
        if socket.confidence >= confidence::PLAUSIBLE {
            socket.verdict = verdict::HTTP2;
        }
        if s.class != 0 {
            unrecognised(s, socket);
        } else if s.desync != 0 {
            desynchronised(s, socket);
            socket.walks[way] = s.walk;
        }
    }
    // SAFETY: a word of the map's value; the exchange orders it behind the writes above.
    unsafe { exchange(busy, 0) };
}

/// The bytes are no HTTP/2.
#[inline(never)]
fn unrecognised(s: &mut Scratch, socket: &mut Socket) {
    if !recognise::judge(s, socket) {
        return;
    }
    count::bump(Counter::SocketsOther);
    debug!(
        (),
        "socket {:x} of process {}: class {}, not HTTP/2",
        s.sk,
        (s.task >> 32) as u32,
        s.class
    );
    record::unrecognised(s, s.class, false);
}

/// The walker lost its place.
#[inline(never)]
fn desynchronised(s: &mut Scratch, socket: &mut Socket) {
    let towards = s.direction as u8;
    if s.walk.mode >= mode::RECORD && socket.verdict != verdict::TLS {
        // It only looked like TLS: there is nothing to lose, and whatever it is, it is announced anew.
        socket.told &= !told::OPEN;
    } else {
        count::bump(Counter::Desync);
        debug!(
            (),
            "socket {:x}: lost its place at offset {} of direction {}",
            s.sk,
            s.walk.offset,
            towards
        );
        record::end(s.sk, socket, cause::DESYNC, towards, s.task);
    }
    frames::lose(&mut s.walk);
    // The last one is for `recognise`, which tells of it.
    if socket.verdict == verdict::UNDECIDED && socket.calls < CALLS_MAX - 1 {
        socket.calls += 1;
    }
}

/// Where a direction stands in the TCP sequence space.
///
/// field: struct tcp_sock.write_seq, copied_seq.
#[inline(always)]
fn sequence(s: &Scratch, way: usize) -> Option<u32> {
    let offset = if way == direction::TX as usize {
        config!(offsets.tcp_write_seq)
    } else {
        config!(offsets.tcp_copied_seq)
    };
    field(s.sk, offset)
}

/// Bytes that went by since the last call of this direction without a hook; None when another task's
/// call has already been placed behind this one. Sets `astray` when this call's own place is not certain.
#[inline(always)]
fn unhooked(s: &mut Scratch, socket: &mut Socket, way: usize, astray: &mut bool) -> Option<u32> {
    let returned = s.returned;
    let missed = if socket.missed[way & 1] == 0 {
        0
    } else {
        let missed = &raw mut socket.missed[way & 1];
        // SAFETY: a word of the map's value.
        unsafe { exchange(missed, 0) as u32 }
    };
    if socket.placed == 0 {
        return Some(missed);
    }
    let Some(now) = s.sequence else {
        return Some(0);
    };
    // At the exit of recvmmsg or sendmmsg the messages behind this one have gone by too.
    let now = now.wrapping_sub(s.behind);
    if s.walk.unplaced != 0 {
        s.walk.unplaced = 0;
        s.walk.seq = now;
        return Some(0);
    }
    let before = now.wrapping_sub(returned).wrapping_sub(s.walk.seq) as i32;
    if before == 0 {
        s.walk.seq = now;
        return Some(0);
    }
    if before < 0 {
        count::bump(Counter::Busy);
        return None;
    }
    s.walk.seq = now;
    // A FIN takes a sequence number and is no byte.
    if before == 1 && field::<u8>(s.sk, config!(offsets.sock_state)) != Some(TCP_ESTABLISHED) {
        return Some(0);
    }
    // The place is read after the call: another task's bytes may stand behind this call's by then. Only where the
    // bytes in between are those of a call that came while this direction was walked, they stand before it. (What is
    // received passes by splice(2) without a hook, and hardly ever goes to two tasks at once.)
    *astray = way == direction::TX as usize && before as u32 != missed;
    Some(before as u32)
}

/// Everything about one call's bytes.
#[inline(always)]
fn bytes(s: &mut Scratch, socket: &mut Socket, way: usize, located: bool) {
    let mut astray = false;
    let Some(before) = unhooked(s, socket, way, &mut astray) else {
        return;
    };
    if before != 0 {
        // Of a socket that rests not every call is looked at.
        if socket.calls < CALLS_MAX || socket.verdict != verdict::UNDECIDED {
            count::bump(Counter::Unhooked);
        } else {
            astray = false;
        }
        if !frames::pass(Kernel, s, before) {
            lost_place(s, socket, way);
        }
        s.walk.offset = s.walk.offset.wrapping_add(before as u64);
    }
    // MSG_TRUNC: TCP counts the bytes and throws them away.
    let thrown_away = s.flags & MSG_TRUNC != 0 && way == direction::RX as usize;
    if located && !thrown_away && !astray {
        skip_empty(s);
        if s.multi != 0 {
            socket.multi = 1;
        }
        return call::located(Kernel, s, socket);
    }
    if thrown_away {
        s.unseen = unseen::THROWN_AWAY;
    }
    call::unlocated(Kernel, s, socket);
}

/// Bytes without a hook went by where a frame began.
#[inline(always)]
fn lost_place(s: &mut Scratch, socket: &mut Socket, way: usize) {
    let was_walking = s.walk.mode != mode::START && s.walk.mode != mode::SEEK;
    if was_walking {
        socket.walks[way & 1].offset = s.walk.offset;
        desynchronised(s, socket);
    } else {
        frames::lose(&mut s.walk);
    }
}

/// Writes the OPEN record of a socket before anything else is told of it. It counts as told only when it
/// stands in the ring: of two tasks at the first calls of both directions, both may write it, and none
/// writes something else before it.
#[inline(never)]
pub(crate) fn announce(s: &mut Scratch, socket: &mut Socket) {
    if socket.told & told::OPEN == 0 {
        debug!(
            (),
            "socket {:x} of process {}: opened {}, from start {}, sent {}, received {}",
            s.sk,
            (s.task >> 32) as u32,
            socket.opened,
            socket.from_start,
            socket.walks[0].offset,
            socket.walks[1].offset
        );
        record::open(s, socket);
        socket.told |= told::OPEN;
    }
}
