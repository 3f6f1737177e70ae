//! How TCP connections open and close.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_ebpf::{
    config,
    event::{cause, direction, opened},
    walk::state::{Socket, told, verdict},
};

use crate::{
    filter, keys,
    maps::{OPENED, OPENED_USED, SOCKETS, config},
    marks, record,
};

const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_SYN_RECV: i32 = 3;
const TCP_FIN_WAIT1: i32 = 4;
const TCP_CLOSE: i32 = 7;
const TCP_CLOSE_WAIT: i32 = 8;
const TCP_LAST_ACK: i32 = 9;

/// The entry of a socket that an OPEN record told of.
#[inline(always)]
fn announced(sk: u64) -> Option<&'static Socket> {
    // SAFETY: the memory stays mapped; a reused entry at worst misdates one END record.
    let socket = unsafe { SOCKETS.get(sk) }?;
    if socket.told & told::OPEN != 0 {
        Some(socket)
    } else {
        None
    }
}

#[inline(always)]
fn tell(sk: u64, why: u8) {
    if let Some(socket) = announced(sk) {
        // Runs in softirq or in the owner's call: the current task proves nothing.
        record::end(sk, socket, why, direction::TX, 0);
    }
}

/// Nothing follows for this socket.
#[inline(always)]
fn forget(sk: u64) {
    tell(sk, cause::CLOSED);
    // SAFETY: as for `announced`.
    if let Some(socket) = unsafe { SOCKETS.get(sk) } {
        if socket.verdict == verdict::TLS && config!(tls) == config::tls::FULL {
            keys::wipe(sk, socket.born_ns);
        }
    }
    let _gone = SOCKETS.remove(sk);
    marks::clear(sk);
}

/// hook: inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate) 4.16..
#[raw_tracepoint]
pub(crate) fn inet_sock_set_state(context: RawTracePointContext) -> i32 {
    let sk: u64 = context.arg(0);
    let old: i32 = context.arg(1);
    let new: i32 = context.arg(2);
    match (old, new) {
        (TCP_SYN_SENT | TCP_SYN_RECV, TCP_ESTABLISHED) => {
            // An entry at this address is of a socket whose end was not seen, or that reconnects.
            forget(sk);
            let mut how = if old == TCP_SYN_SENT {
                opened::ACTIVE
            } else {
                opened::PASSIVE
            };
            if filter::epoch() == 0 {
                // Calls are not looked at yet.
                how |= OPENED_USED;
            }
            // When the map refuses, the opening counts as unseen.
            let _kept = OPENED.insert(sk, how, 0);
        }
        (TCP_ESTABLISHED, TCP_FIN_WAIT1) | (TCP_CLOSE_WAIT, TCP_LAST_ACK) => {
            tell(sk, cause::LOCAL_CLOSE)
        }
        (TCP_ESTABLISHED, TCP_CLOSE_WAIT) => tell(sk, cause::PEER_FIN),
        // Multipath TCP has no tcp_destroy_sock.
        (_, TCP_CLOSE) => {
            if let Some(socket) = announced(sk) {
                if socket.placed == 0 {
                    forget(sk);
                }
            }
        }
        _ => {}
    }
    0
}

/// A socket is gone only here: after a reset its owner may still read what had arrived.
///
/// hook: tcp_destroy_sock(struct sock *sk) 4.16..
#[raw_tracepoint]
pub(crate) fn tcp_destroy_sock(context: RawTracePointContext) -> i32 {
    let sk: u64 = context.arg(0);
    forget(sk);
    let _gone = OPENED.remove(sk);
    0
}

/// hook: tcp_receive_reset(struct sock *sk) 4.16..
#[raw_tracepoint]
pub(crate) fn tcp_receive_reset(context: RawTracePointContext) -> i32 {
    tell(context.arg(0), cause::PEER_RESET);
    0
}

/// hook: tcp_send_reset(const struct sock *sk, const struct sk_buff *skb) 4.16..6.9
/// hook: tcp_send_reset(const struct sock *sk, const struct sk_buff *skb__nullable, const enum sk_rst_reason reason) 6.10..
#[raw_tracepoint]
pub(crate) fn tcp_send_reset(context: RawTracePointContext) -> i32 {
    // No socket: the reset answers a packet that belongs to none.
    let sk: u64 = context.arg(0);
    if sk != 0 {
        tell(sk, cause::LOCAL_RESET);
    }
    0
}
