//! A socket that was never seen: is it a stream socket, is it wanted, was its beginning seen?

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_ebpf::{
    counter::Counter,
    event::{
        direction,
        family::{INET, INET6, UNIX},
        opened,
    },
    walk::state::{Scratch, Socket, mode, verdict},
};

use crate::{
    count, filter,
    kernel_struct::{self, field},
    maps::{OPENED, OPENED_USED, SOCKETS, config},
    marks,
};

const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u16 = 6;
/// Multipath TCP: a stream like TCP, but its own sequence numbers are not in `struct tcp_sock`.
const IPPROTO_MPTCP: u16 = 262;
const TCP_ESTABLISHED: u8 = 1;
const TCP_CLOSE: u8 = 7;

/// field: struct sock.sk_type, sk_protocol. The family of a stream socket of interest; whether it is
/// plain TCP.
#[inline(always)]
fn kind(sk: u64) -> Option<(u16, bool)> {
    let family: u16 = field(sk, config!(offsets.sock_family))?;
    if family != INET && family != INET6 && family != UNIX {
        return None;
    }
    let kind: u16 = field(sk, config!(offsets.sock_type))?;
    if kind != SOCK_STREAM {
        return None;
    }
    if family == UNIX {
        return Some((family, false));
    }
    let protocol: u16 = field(sk, config!(offsets.sock_protocol))?;
    if protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP {
        return None;
    }
    Some((family, protocol == IPPROTO_TCP))
}

/// Makes the entry of a socket at its first call, or marks it as not wanted.
/// None when the call is of no interest.
#[inline(never)]
pub(crate) fn admit(s: &mut Scratch, epoch: u32) -> Option<&'static mut Socket> {
    let sk = s.sk;
    let tgid = (s.task >> 32) as u32;
    let (family, is_tcp) = kind(sk)?;
    // The kernel's own sockets (NFS, iSCSI) have no file; the task at hand does not own their bytes.
    let file = kernel_struct::file(sk)?;
    let inode = kernel_struct::inode_of(file)?;
    if !filter::wants(sk, family, tgid) {
        let number = if family == UNIX { inode } else { 0 };
        marks::unwanted(sk, tgid, epoch, number);
        count::bump(Counter::SocketsUnwanted);
        used(sk);
        return None;
    }
    // Another process' calls on it count from now on.
    marks::clear(sk);
    // SAFETY: plain data, for which zero is a value.
    s.fresh = unsafe { core::mem::zeroed() };
    let fresh = &mut s.fresh;
    fresh.born_ns = s.at_ns;
    fresh.inode = inode;
    fresh.file = file;
    fresh.epoch = epoch;
    fresh.family = family;
    fresh.verdict = verdict::UNDECIDED;
    fresh.walks[0].mode = mode::SEEK;
    fresh.walks[1].mode = mode::SEEK;
    if is_tcp {
        place(s)?;
    }
    // Two tasks may be here at once, one that sends and one that receives: the first one's entry counts.
    if SOCKETS.insert(sk, &s.fresh, BPF_NOEXIST as u64).is_ok() {
        used(sk);
        return entry(sk);
    }
    let other = entry(sk);
    if other.is_none() {
        count::bump(Counter::SocketTableFull);
    }
    other
}

/// The entry of a socket.
#[inline(always)]
fn entry(sk: u64) -> Option<&'static mut Socket> {
    // SAFETY: the entry's memory stays mapped; see `call::finished` for one that LRU gives away meanwhile.
    SOCKETS
        .get_ptr_mut(sk)
        .map(|socket| unsafe { &mut *socket })
}

/// From now on its beginning may have gone by: an entry that was dropped is made anew for what follows.
#[inline(always)]
fn used(sk: u64) {
    // SAFETY: the value is one byte.
    if let Some(how) = unsafe { OPENED.get(sk) }.copied() {
        if how & OPENED_USED == 0 {
            // When the map refuses, the old value stays: an LRU map only refuses under contention.
            let _kept = OPENED.insert(sk, how | OPENED_USED, 0);
        }
    }
}

/// Places both directions in the TCP sequence space, and finds out whether anything went by before.
///
/// `bytes_acked + (write_seq - snd_una)` is all that was ever written (an active opener's SYN counts one:
/// its ACK passes through `bytes_acked`, while a passive opener starts beyond it: net/ipv4/tcp_input.c,
/// tcp_snd_una_update), and `bytes_received - (rcv_nxt - copied_seq)` is all that was ever read.
///
/// Nothing is kept of connections that were never used, except how they were opened. When that was seen,
/// this is the first call of its direction if nothing was written (read) before it; what the other
/// direction has already done is a call that comes to its hook later: the peer's first bytes may be
/// received, and recorded, while the task that sends the preface has not yet come so far. When the opening
/// was not seen, nothing may have gone by in either direction.
///
/// field: struct tcp_sock: write_seq, copied_seq, snd_una, rcv_nxt, bytes_acked, bytes_received.
#[inline(always)]
fn place(s: &mut Scratch) -> Option<()> {
    let sk = s.sk;
    // At the exit of recvmmsg or sendmmsg the messages behind this one have gone by too.
    let returned = s.returned.wrapping_add(s.behind);
    let state: u8 = field(sk, config!(offsets.sock_state))?;
    let Some(write_seq) = needed::<u32>(sk, config!(offsets.tcp_write_seq)) else {
        return Some(());
    };
    let Some(copied_seq) = needed::<u32>(sk, config!(offsets.tcp_copied_seq)) else {
        return Some(());
    };
    if state == TCP_CLOSE {
        // What is read after a reset, of a socket never seen before: there is nothing to learn from it.
        return None;
    }
    // SAFETY: the value is one byte.
    let seen = unsafe { OPENED.get(sk) }
        .copied()
        .unwrap_or(opened::UNSEEN | OPENED_USED);
    let how = seen & !OPENED_USED;
    let sent = s.direction == direction::TX as u32;
    let (tx, rx) = if sent { (returned, 0) } else { (0, returned) };
    let fresh = &mut s.fresh;
    fresh.placed = 1;
    fresh.opened = how;
    // Unless the beginning is seen, each direction is placed by its own first call: the other one's may be
    // on its way to its hook.
    fresh.walks[0].unplaced = 1;
    fresh.walks[1].unplaced = 1;
    let Some((snd_una, acked)) = together(
        sk,
        config!(offsets.tcp_snd_una),
        config!(offsets.tcp_bytes_acked),
    ) else {
        return Some(());
    };
    let Some((rcv_nxt, received)) = together(
        sk,
        config!(offsets.tcp_rcv_nxt),
        config!(offsets.tcp_bytes_received),
    ) else {
        return Some(());
    };
    let written = acked
        .wrapping_add(write_seq.wrapping_sub(snd_una) as u64)
        .wrapping_sub(tx as u64);
    let read = received
        .wrapping_sub(rcv_nxt.wrapping_sub(copied_seq) as u64)
        .wrapping_sub(rx as u64);
    let syn = match how {
        opened::ACTIVE => 1,
        opened::PASSIVE => 0,
        _ => (written == 1) as u64,
    };
    // The peer's FIN counts as a byte read.
    let fin = read == 0 || (read == 1 && state != TCP_ESTABLISHED);
    let begins = if seen & OPENED_USED != 0 {
        written == syn && fin
    } else if sent {
        written == syn
    } else {
        fin
    };
    if begins {
        fresh.from_start = 1;
        let first_sent = write_seq.wrapping_sub(tx).wrapping_sub(written as u32);
        let first_read = copied_seq.wrapping_sub(rx).wrapping_sub(read as u32);
        fresh.walks[0].seq = first_sent.wrapping_add(syn as u32);
        fresh.walks[1].seq = first_read;
        fresh.walks[0].unplaced = 0;
        fresh.walks[1].unplaced = 0;
        fresh.walks[0].mode = mode::START;
        fresh.walks[1].mode = mode::START;
    }
    Some(())
}

/// A sequence number and the count that moves with it. The call has released the socket before its hook: an
/// ACK or a segment that comes in just now, on another processor, changes both, one after the other.
#[inline(always)]
fn together(sk: u64, sequence: u32, counted: u32) -> Option<(u32, u64)> {
    let first = (needed::<u32>(sk, sequence)?, needed::<u64>(sk, counted)?);
    let second = (needed::<u32>(sk, sequence)?, needed::<u64>(sk, counted)?);
    if first.0 == second.0 && first.1 == second.1 {
        return Some(second);
    }
    Some((needed::<u32>(sk, sequence)?, needed::<u64>(sk, counted)?))
}

/// A field without which the socket's bytes cannot be placed; its absence is counted.
#[inline(always)]
fn needed<T: Copy>(sk: u64, offset: u32) -> Option<T> {
    let value = field(sk, offset);
    if value.is_none() {
        count::bump(Counter::NoField);
    }
    value
}
