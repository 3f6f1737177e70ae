//! Ring-buffer records, written by the kernel programs, read by `tracer-user/core/src/event`.
//!
//! Every record starts with a [`Header`]; `kind` says what follows. A record is never larger than
//! [`RECORD_MAX`] bytes.

/// Largest record in bytes, header included. A socket call that needs more is told in several records.
pub const RECORD_MAX: usize = 16 * 1024;

/// Largest number of payload bytes copied of one frame that is not DATA. What exceeds it becomes a hole. More than a
/// frame may have by default: who allows more (Go: 1 MiB) gets header lists in one frame.
pub const FRAME_COPY_MAX: u32 = 64 * 1024;

/// Bytes of TLS handshake records that are copied of one direction at most; what exceeds it becomes a hole.
pub const HANDSHAKE_COPY_MAX: u32 = 32 * 1024;

/// Bytes that are copied of each other TLS record that is no application data: an alert has 2, or some 40 if encrypted.
pub const ALERT_COPY_MAX: u32 = 64;

/// DATA frames with at most this many payload bytes are copied whole.
/// Of longer ones only the gRPC message prefixes (and the pad length) are copied.
pub const DATA_COPY_WHOLE_MAX: u32 = 16;

/// Bytes of the first socket call that an [`Unrecognised`] record of class HTTP/1 carries at most.
pub const UNRECOGNISED_COPY_MAX: usize = 512;

/// Values of [`Header::kind`].
pub mod kind {
    /// A socket was seen for the first time: [`super::Open`] follows.
    pub const OPEN: u8 = 1;
    /// Bytes of one direction: [`super::Bytes`] and its segments follow.
    pub const BYTES: u8 = 2;
    /// Something ended: [`super::End`] follows.
    pub const END: u8 = 3;
    /// The socket's bytes are not HTTP/2: [`super::Unrecognised`] follows.
    pub const UNRECOGNISED: u8 = 4;
}

/// Values of [`Header::direction`], from the view of the process that owns the socket.
pub mod direction {
    /// The socket's owner sent.
    pub const TX: u8 = 0;
    /// The socket's owner received.
    pub const RX: u8 = 1;
}

/// First 48 bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u8,
    /// One of [`direction`]; meaningful for BYTES and END(Eof).
    pub direction: u8,
    /// Reserved, zero.
    pub _reserved: u16,
    /// Length of the whole record in bytes, this header included.
    pub len: u32,
    /// `bpf_ktime_get_ns()` (CLOCK_MONOTONIC) when the socket call had finished.
    pub at_ns: u64,
    /// Address of the `struct sock`. Never shown to users; with `born_ns` it names the connection.
    pub sk: u64,
    /// `bpf_ktime_get_ns()` when the kernel side first saw this socket: tells a reused address apart.
    pub born_ns: u64,
    /// Process id (tgid) of the task that made the call, in the initial pid namespace; 0 in softirq.
    pub tgid: u32,
    /// Thread id of that task.
    pub tid: u32,
    /// v2 cgroup id of that task.
    pub cgroup: u64,
}
const _: () = assert!(size_of::<Header>() == 48);

/// Values of [`Open::family`] (Linux's AF_ numbers).
pub mod family {
    /// AF_UNIX stream socket.
    pub const UNIX: u16 = 1;
    /// IPv4 TCP.
    pub const INET: u16 = 2;
    /// IPv6 TCP (IPv4-mapped addresses included).
    pub const INET6: u16 = 10;
}

/// Values of [`Open::opened`].
pub mod opened {
    /// The connection is older than the tracer, or its opening was not seen.
    pub const UNSEEN: u8 = 0;
    /// `connect`: SYN_SENT to ESTABLISHED was seen.
    pub const ACTIVE: u8 = 1;
    /// `accept`: SYN_RECV to ESTABLISHED was seen.
    pub const PASSIVE: u8 = 2;
}

/// The socket's offset when it was first seen is not known (AF_UNIX, or a missing kernel field).
pub const OFFSET_UNKNOWN: u64 = u64::MAX;

/// Body of [`kind::OPEN`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// One of [`family`].
    pub family: u16,
    /// One of [`opened`].
    pub opened: u8,
    /// 1 when the tracer is certain to see both directions from their first byte.
    pub from_start: u8,
    /// Local TCP port, host order; 0 for AF_UNIX.
    pub local_port: u16,
    /// Peer's TCP port, host order; 0 for AF_UNIX.
    pub peer_port: u16,
    /// Local address; IPv4 in the first four bytes, network order.
    pub local_addr: [u8; 16],
    /// Peer's address, likewise.
    pub peer_addr: [u8; 16],
    /// Inode number of the network namespace; 0 unknown.
    pub netns: u32,
    /// Length of `unix_path` in use.
    pub unix_path_len: u32,
    /// Inode number of the socket; 0 unknown.
    pub inode: u64,
    /// AF_UNIX: address of the other end's `struct sock`, when it has one; else 0.
    pub unix_peer_sk: u64,
    /// Name of the task that made the call (`task->comm`).
    pub comm: [u8; 16],
    /// AF_UNIX: `sun_path` of the named end (own or peer's); an abstract name begins with NUL.
    pub unix_path: [u8; 108],
    /// Padding, zero.
    pub _pad: [u8; 4],
}
const _: () = assert!(size_of::<Open>() == 192);

/// [`Bytes::to_boundary`]: the position within the HTTP/2 frames is not known here.
pub const BOUNDARY_UNKNOWN: u32 = u32::MAX;

/// Body of [`kind::BYTES`]: a run of one direction's bytes, some copied, some only counted.
///
/// After it stand segments until the record's `len`: a little-endian `u32` whose top bit
/// ([`SEGMENT_HOLE`]) tells a hole; the other 31 bits are its length in stream bytes. A segment that is
/// not a hole is followed by that many bytes (not padded).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// Offset of the first byte in this direction. Counted from the connection's first byte when
    /// [`Open::from_start`] is 1, else from the first byte seen. A jump against the end of the
    /// record before is a gap: those bytes went by unseen, or their record was lost.
    pub offset: u64,
    /// Stream bytes that this record covers: the sum of its segments' lengths.
    pub total: u32,
    /// Bytes from `offset` to the next frame header (0: one starts right here), or [`BOUNDARY_UNKNOWN`].
    /// When `partial_len` is not 0, a header is half read: the boundary lies `partial_len` bytes *before*
    /// `offset`, those bytes are in `partial`, and this field is 0.
    pub to_boundary: u32,
    /// How many bytes of the current frame's 9-byte header came before `offset`.
    pub partial_len: u8,
    /// The header's bytes that came before `offset`.
    pub partial: [u8; 9],
    /// How sure the kernel's frame walker is: one of [`confidence`].
    pub confidence: u8,
    /// Why the bytes of this call could not be looked at; one of [`unseen`].
    pub unseen: u8,
    /// TLS: how many records of this direction had gone by whole before `offset`, since they are followed.
    pub records: u32,
    /// `to_boundary != 0` inside a DATA frame: its stream id; else 0. Lets a reader that lost bytes
    /// count the rest of a frame whose header it never saw. TLS that was opened before: the low bits of the offset up to
    /// which frames went by, as [`confidence::OPENED`] counts.
    pub in_frame_stream: u32,
    /// The type of the frame that `offset` lies in, when `to_boundary != 0`.
    pub in_frame_type: u8,
    /// Its flags.
    pub in_frame_flags: u8,
    /// [`confidence::OPENED`]: 1 when these bytes are of a TLS record of which it is not known yet whether it carries
    /// frames. So it is if the direction's next record is of this confidence and says 0.
    pub unsure: u8,
    /// Padding, zero.
    pub _pad: u8,
}
const _: () = assert!(size_of::<Bytes>() == 40);

/// Top bit of a segment's length word: counted, not copied.
pub const SEGMENT_HOLE: u32 = 1 << 31;

/// Values of [`Bytes::confidence`].
pub mod confidence {
    /// The connection preface was seen on this connection: it is HTTP/2.
    pub const PREFACE: u8 = 2;
    /// Late attach: enough plausible frames followed each other.
    pub const PLAUSIBLE: u8 = 1;
    /// Late attach: what is here looks like frames, but too few were seen yet.
    pub const TENTATIVE: u8 = 0;
    /// Not HTTP/2, but TLS: records were followed, of which application data may be a hole. Of
    /// [`to_boundary`](super::Bytes::to_boundary) read "record" for "frame", and 5 bytes of header for 9.
    pub const TLS: u8 = 3;
    /// HTTP/2 in TLS, whose keys were handed to the kernel programs (see [`opened`](crate::opened)): the bytes are what
    /// was sealed. Of [`offset`](super::Bytes::offset) read "from the trial's first byte on".
    pub const OPENED: u8 = 4;
}

/// Values of [`Bytes::unseen`]: why the user's buffer of a call is not known, so that all its bytes are a hole.
pub mod unseen {
    /// The buffer is known.
    pub const NONE: u8 = 0;
    /// The operation was io_uring's, or may have been: the task's registers are those of another call.
    pub const IO_URING: u8 = 1;
    /// sendfile or splice: the bytes were in no user's buffer.
    pub const SPLICE: u8 = 2;
    /// A 32-bit system call.
    pub const COMPAT: u8 = 3;
    /// MSG_TRUNC: the kernel threw the bytes away.
    pub const THROWN_AWAY: u8 = 4;
    /// Another system call than those whose buffers are known, or one of another descriptor.
    pub const OTHER: u8 = 5;
}

/// Values of [`End::cause`].
pub mod cause {
    /// The owner closed or shut down sending (ESTABLISHED to FIN_WAIT1, CLOSE_WAIT to LAST_ACK).
    pub const LOCAL_CLOSE: u8 = 1;
    /// The peer's FIN arrived (ESTABLISHED to CLOSE_WAIT).
    pub const PEER_FIN: u8 = 2;
    /// A TCP RST arrived (tracepoint tcp_receive_reset).
    pub const PEER_RESET: u8 = 3;
    /// A TCP RST was sent (tracepoint tcp_send_reset).
    pub const LOCAL_RESET: u8 = 4;
    /// The socket reached TCP_CLOSE: nothing follows for this (sk, born_ns).
    pub const CLOSED: u8 = 5;
    /// A receive returned 0: the peer will send no more (the only sign for AF_UNIX).
    pub const EOF: u8 = 6;
    /// Sending failed with EPIPE or ECONNRESET, or receiving with ECONNRESET (AF_UNIX: the peer is gone).
    pub const BROKEN: u8 = 7;
    /// The frame walker lost its place in one direction (`direction`); what follows is unsynchronised.
    pub const DESYNC: u8 = 8;
}

/// Body of [`kind::END`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// One of [`cause`].
    pub cause: u8,
    /// Padding, zero.
    pub _pad: [u8; 7],
    /// Where sending stood; shows bytes whose records were lost. [`OFFSET_UNKNOWN`] if unknown.
    pub tx_offset: u64,
    /// Where receiving stood.
    pub rx_offset: u64,
}
const _: () = assert!(size_of::<End>() == 24);

/// Values of [`Unrecognised::class`].
pub mod class {
    /// TLS records (first byte 0x16, version 3.x): encrypted. After BYTES of TLS: nothing more is told of them.
    pub const TLS: u8 = 1;
    /// HTTP/1.x text. May still become HTTP/2 by `Upgrade: h2c`; then BYTES records follow.
    pub const HTTP1: u8 = 2;
    /// Neither.
    pub const OTHER: u8 = 3;
}

/// Body of [`kind::UNRECOGNISED`]. For [`class::HTTP1`], `len` bytes of the call follow, so that an
/// upgrade to h2c can be recognised; for the other classes none.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Unrecognised {
    /// One of [`class`].
    pub class: u8,
    /// Padding, zero.
    pub _pad: [u8; 3],
    /// Bytes that follow.
    pub len: u32,
}
const _: () = assert!(size_of::<Unrecognised>() == 8);

/// Whether a record of `len` bytes takes what waits in the ring, `waiting` bytes, past a multiple of `every`, a power of
/// two: then the reader is woken. At each multiple, because two CPUs that pass one together may both not notice.
#[inline(always)]
#[must_use]
pub const fn passes_mark(waiting: u64, len: u64, every: u32) -> bool {
    let below = !(every as u64 - 1);
    (waiting ^ (waiting + len)) & below != 0
}

#[cfg(test)]
mod tests {
    use super::passes_mark;

    #[test]
    fn a_ring_that_fills_wakes_the_reader_once_at_each_mark() {
        let (ring, every, len) = (1_u64 << 20, 1_u32 << 17, 250);
        let mut waiting = 0;
        let mut woken_at = std::vec::Vec::new();
        while waiting + len < ring {
            if passes_mark(waiting, len, every) {
                woken_at.push((waiting + len) / u64::from(every));
            }
            waiting += len;
        }
        assert_eq!(woken_at, [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_ring_that_stands_full_wakes_nobody() {
        let waiting = (1 << 20) - 3 * 250;
        assert!(!passes_mark(waiting, 250, 1 << 17));
    }
}
