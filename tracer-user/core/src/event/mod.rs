//! The records of the ring buffer, as user space sees them. Pure: decoding needs no kernel.
//!
//! The wire form is in `tracer_ebpf::event`. Whatever source the bytes have (ring buffer, capture
//! file, a test), they enter the pipeline as these events.

pub mod decode;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::tls::{Opaque, TlsInfo};

/// Nanoseconds of CLOCK_MONOTONIC (`bpf_ktime_get_ns`). The only notion of time in the pure stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Nanoseconds since `earlier`, or 0 when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The earliest of some times.
#[inline]
pub(crate) fn earliest<const N: usize>(times: [Option<Timestamp>; N]) -> Option<Timestamp> {
    let later = |time: Option<Timestamp>| time.map_or(u64::MAX, |time| time.0);
    let first = times
        .into_iter()
        .fold(u64::MAX, |first, time| first.min(later(time)));
    // The end of time is a time too.
    (first != u64::MAX || times.contains(&Some(Timestamp(u64::MAX)))).then_some(Timestamp(first))
}

/// Names one socket on this host for as long as it lives. Never printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey {
    /// Address of the `struct sock`.
    pub sk: u64,
    /// When the kernel side first saw it.
    pub born_ns: u64,
}

impl SocketKey {
    /// No address of a kernel and no number of a capture's connection has this bit without the one above it.
    const TUNNEL: u64 = 1 << 62;

    /// The content of a stream, as if it had a socket of its own.
    pub(crate) const fn of_tunnel(connection: u64, stream: u32, at: Timestamp) -> SocketKey {
        let connection = connection & 0x7fff_ffff;
        SocketKey {
            sk: SocketKey::TUNNEL | connection << 31 | stream as u64,
            born_ns: at.0,
        }
    }

    /// It names the content of a stream.
    #[must_use]
    pub const fn is_of_tunnel(&self) -> bool {
        self.sk >> 62 == 1
    }
}

/// Which way bytes went, from the view of the socket's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The owner sent.
    Tx,
    /// The owner received.
    Rx,
}

impl Direction {
    /// 0 for Tx, 1 for Rx: for arrays with one element a direction.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Direction::Tx => 0,
            Direction::Rx => 1,
        }
    }

    #[must_use]
    pub const fn opposite(self) -> Direction {
        match self {
            Direction::Tx => Direction::Rx,
            Direction::Rx => Direction::Tx,
        }
    }
}

/// The task that made the socket call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Task {
    /// Process id in the initial pid namespace; 0 when the event came from no task.
    pub pid: u32,
    pub tid: u32,
    /// v2 cgroup id.
    pub cgroup: u64,
}

/// A process, as a recording names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its id in the initial pid namespace.
    pub pid: u32,
    pub comm: String,
    /// Its v2 cgroup id.
    pub cgroup: u64,
    /// Inode of its network namespace; 0 unknown.
    pub netns: u32,
}

/// One end of a connection as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Inet(SocketAddr),
    /// AF_UNIX; the path of the listening end, `@name` for an abstract one, empty if unnamed.
    Unix(String),
    /// The record that named it was lost.
    Unknown,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Inet(address) => write!(f, "{address}"),
            Address::Unknown => f.write_str("?"),
            Address::Unix(path) if path.is_empty() => f.write_str("unix:"),
            Address::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// How the connection came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Not seen.
    Unseen,
    /// By `connect`: the owner is the client.
    Active,
    /// By `accept`: the owner is the server.
    Passive,
}

/// A socket was seen for the first time.
#[derive(Clone, Debug)]
pub struct Open {
    /// How it came to be.
    pub opened: Opened,
    /// True when both directions are seen from their first byte.
    pub from_start: bool,
    /// The owner's end.
    pub local: Address,
    pub peer: Address,
    /// Inode of the network namespace; 0 unknown.
    pub netns: u32,
    /// Inode of the socket; 0 unknown.
    pub inode: u64,
    /// AF_UNIX: the other end's `sk`; else 0.
    pub unix_peer_sk: u64,
    /// `task->comm` of the task that made the call.
    pub comm: String,
    /// The process at the other end, where a recording names it. The kernel tells of each end alone.
    pub peer_process: Option<Process>,
}

impl Open {
    /// What is known of a connection whose opening was not seen.
    #[must_use]
    pub const fn unseen() -> Open {
        Open {
            opened: Opened::Unseen,
            from_start: false,
            local: Address::Unknown,
            peer: Address::Unknown,
            netns: 0,
            inode: 0,
            unix_peer_sk: 0,
            comm: String::new(),
            peer_process: None,
        }
    }
}

/// Where frame boundaries lie at the start of a run of bytes, as the kernel's frame walker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    Unknown,
    /// A frame header starts `after` bytes on (0: right here); until then the bytes belong to a frame of
    /// this type, flags and stream.
    At {
        /// Bytes until the next frame header.
        after: u32,
        /// Type of the frame that is being finished, when `after` is not 0.
        frame_type: u8,
        flags: u8,
        stream_id: u32,
    },
    /// `len` bytes of a frame header came before; here they are.
    InHeader {
        len: u8,
        bytes: [u8; 9],
    },
}

/// How sure the kernel is that this is HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtocolConfidence {
    /// Looks like frames, too few seen.
    Tentative,
    /// Enough plausible frames in a row.
    Plausible,
    /// The preface was seen.
    Preface,
}

/// Why the user's buffer of a call is not known, so that all its bytes are a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unseen {
    /// io_uring moved them, or may have.
    IoUring,
    /// sendfile or splice: they were in no user's buffer.
    Splice,
    /// A 32-bit system call.
    Compat,
    /// MSG_TRUNC: the kernel threw them away.
    ThrownAway,
    Other,
}

impl Unseen {
    /// All, in the order of the enumeration.
    pub const ALL: [Unseen; 5] = [
        Unseen::IoUring,
        Unseen::Splice,
        Unseen::Compat,
        Unseen::ThrownAway,
        Unseen::Other,
    ];

    /// Label value and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Unseen::IoUring => "io_uring",
            Unseen::Splice => "splice",
            Unseen::Compat => "compat",
            Unseen::ThrownAway => "thrown_away",
            Unseen::Other => "other",
        }
    }
}

/// Bytes of a connection whose buffers are not known, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnseenBytes([u64; Unseen::ALL.len()]);

impl UnseenBytes {
    /// `n` more; true when they are the first for this reason.
    pub fn add(&mut self, reason: Unseen, n: u64) -> bool {
        let Some(sum) = self.0.get_mut(reason as usize) else {
            return false;
        };
        let is_first = *sum == 0;
        *sum = sum.saturating_add(n);
        is_first && n > 0
    }

    /// The reasons for which there are some.
    pub fn iter(&self) -> impl Iterator<Item = (Unseen, u64)> + '_ {
        let sums = Unseen::ALL.into_iter().zip(self.0);
        sums.filter(|(_, n)| *n > 0)
    }

    /// The reason for most of them; None when there are none.
    #[must_use]
    pub fn most(&self) -> Option<Unseen> {
        self.iter()
            .max_by_key(|(_, n)| *n)
            .map(|(reason, _)| reason)
    }
}

/// A piece of a run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment<'a> {
    Bytes(&'a [u8]),
    /// Bytes that were counted, not copied. Inside DATA this is normal.
    Hole(u32),
}

/// A run of bytes of one direction of one socket.
#[derive(Clone, Debug)]
pub struct Bytes<'a> {
    /// Which way they went.
    pub direction: Direction,
    /// Offset of the first one in that direction.
    pub offset: u64,
    /// How many stream bytes this run covers.
    pub total: u32,
    /// Frame boundaries at `offset`, for a reader that lost its place.
    pub boundary: Boundary,
    /// How sure the kernel is.
    pub confidence: ProtocolConfidence,
    /// Why they are a hole, when their buffer is not known.
    pub unseen: Option<Unseen>,
    /// The segments, in wire form; read them with [`Bytes::segments`].
    pub encoded: &'a [u8],
}

/// Why and how something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The owner closed or shut down sending.
    LocalClose,
    /// The peer's FIN arrived.
    PeerFin,
    /// The peer's TCP RST arrived.
    PeerReset,
    /// A TCP RST was sent.
    LocalReset,
    /// The socket is gone; nothing follows.
    Closed,
    /// A receive returned 0.
    Eof,
    /// A send or receive failed because the peer is gone.
    Broken,
    /// The kernel's frame walker lost its place in this direction.
    Desync(Direction),
}

#[derive(Clone, Copy, Debug)]
pub struct End {
    pub cause: EndCause,
    /// Where sending stood, when known.
    pub tx_offset: Option<u64>,
    /// Where receiving stood, when known.
    pub rx_offset: Option<u64>,
}

/// What a connection speaks that is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OtherProtocol {
    /// TLS records: encrypted.
    Tls,
    Http1,
    Other,
}

/// The first bytes are not HTTP/2.
#[derive(Clone, Copy, Debug)]
pub struct Unrecognised<'a> {
    /// Which way they went.
    pub direction: Direction,
    /// What it looks like.
    pub protocol: OtherProtocol,
    /// HTTP/1 only: the beginning of the call, to recognise an upgrade to h2c.
    pub first: &'a [u8],
}

/// What had gone by before in a direction of TLS, as the kernel programs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsRecords {
    /// Records.
    pub count: u32,
    /// The low bits of the offset up to which they had opened it; 0: perhaps they never had.
    pub opened: u32,
}

/// The TLS record that opened bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenedRecord {
    /// It carries them, as do those of the same direction that were unsure before.
    Sure,
    /// It is not whole, and may turn out to carry something else.
    Unsure,
}

#[derive(Clone, Debug)]
pub enum What<'a> {
    /// A socket was seen for the first time.
    Open(Box<Open>),
    /// Bytes went one way.
    Bytes(Bytes<'a>),
    /// Bytes of a TLS connection went one way, as they are on the wire. Nothing in the pipeline reads them.
    TlsBytes(Bytes<'a>, TlsRecords),
    /// Bytes of a TLS connection that the kernel programs have opened went one way. Offsets count from where they began
    /// to open it.
    OpenedBytes(Bytes<'a>, OpenedRecord),
    End(End),
    /// Not HTTP/2.
    Unrecognised(Unrecognised<'a>),
    /// The connection is TLS, and this is known of it now. Its bytes are plain text.
    Tls(Arc<TlsInfo>),
    /// Application data of a TLS connection went one way, and stays closed.
    Opaque(Direction, Opaque),
}

/// One record.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// When the socket call had finished.
    pub at: Timestamp,
    pub socket: SocketKey,
    /// The task that made the call.
    pub task: Task,
    pub what: What<'a>,
}

impl<'a> Bytes<'a> {
    /// The segments in order; ends early at the first malformed one.
    pub fn segments(&self) -> Segments<'a> {
        Segments { rest: self.encoded }
    }
}

/// Iterator over the segments of a run of bytes.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let (word, rest) = self.rest.split_first_chunk::<4>()?;
        let word = u32::from_le_bytes(*word);
        let len = word & !tracer_ebpf::event::SEGMENT_HOLE;
        if word & tracer_ebpf::event::SEGMENT_HOLE != 0 {
            self.rest = rest;
            return Some(Segment::Hole(len));
        }
        let (bytes, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = rest;
        Some(Segment::Bytes(bytes))
    }
}
