//! The socket tracepoints: bytes sent and received. One hook a socket call, at its end, none on file reads and writes.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracer_ebpf::event::direction;

use crate::call;

/// hook: sock_send_length(struct sock *sk, int ret, int flags) 6.3..
#[raw_tracepoint]
pub(crate) fn sock_send_length(context: RawTracePointContext) -> i32 {
    call::finished(
        context.arg(0),
        context.arg(1),
        context.arg(2),
        direction::TX as u32,
    );
    0
}

/// hook: sock_recv_length(struct sock *sk, int ret, int flags) 6.3..
#[raw_tracepoint]
pub(crate) fn sock_recv_length(context: RawTracePointContext) -> i32 {
    call::finished(
        context.arg(0),
        context.arg(1),
        context.arg(2),
        direction::RX as u32,
    );
    0
}
