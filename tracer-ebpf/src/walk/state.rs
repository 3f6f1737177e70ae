//! What the kernel programs remember: of a socket, of a direction, of a message, of the call at hand.

use crate::{
    event::RECORD_MAX, http2::Opening, opened::Cursor, proxy_header::ProxyHeader, tls::Offer,
};

/// Values of [`Socket::verdict`].
pub mod verdict {
    /// It speaks something else than HTTP/2.
    pub const OTHER: u8 = 2;
    /// Wanted; what it speaks is not known yet.
    pub const UNDECIDED: u8 = 3;
    /// HTTP/1, which may still be upgraded to h2c.
    pub const HTTP1: u8 = 4;
    /// HTTP/2.
    pub const HTTP2: u8 = 5;
    /// TLS, whose records are followed.
    pub const TLS: u8 = 6;
}

/// Bits of [`Socket::told`].
pub mod told {
    /// An OPEN record was written.
    pub const OPEN: u8 = 1;
    /// An END record with cause EOF was written.
    pub const EOF: u8 = 2;
    /// An END record with cause BROKEN was written.
    pub const BROKEN: u8 = 4;
    /// UNRECOGNISED of class HTTP/1 was written for what was sent.
    pub const HTTP1_TX: u8 = 8;
    /// UNRECOGNISED of class HTTP/1 was written for what was received.
    pub const HTTP1_RX: u8 = 16;
    /// A BYTES record of a call whose buffer is not known was written, while what the socket speaks was not known.
    pub const UNSEEN: u8 = 32;
}

/// Values of [`Walk::mode`].
pub mod mode {
    /// Seen from its first byte, and not known yet: nothing went by, or what is in [`super::Walk::opening`].
    pub const START: u8 = 0;
    /// The place within the frames is not known.
    pub const SEEK: u8 = 1;
    /// In the client's connection preface.
    pub const PREFACE: u8 = 2;
    /// At a frame header, or within one.
    pub const HEADER: u8 = 3;
    /// In the payload of a frame that is not DATA.
    pub const PAYLOAD: u8 = 4;
    /// In the payload of a DATA frame.
    pub const DATA: u8 = 5;
    /// In bytes that are not frames (the head of `101 Switching Protocols`).
    pub const SKIP: u8 = 6;
    /// At the header of a TLS record, or within one. This and what follows is TLS.
    pub const RECORD: u8 = 7;
    /// Behind the header of a TLS record.
    pub const FRAGMENT: u8 = 8;
}

/// Values of [`Walk::trusted`].
pub mod trusted {
    /// Headers must be plausible.
    pub const NO: u8 = 0;
    /// Seen from the first byte: trusted as soon as the connection's preface was seen.
    pub const FROM_START: u8 = 1;
    /// Whatever stands in a header is believed.
    pub const YES: u8 = 2;
}

/// One direction of a socket: where the frame walker stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Walk {
    /// Offset of the next byte.
    pub offset: u64,
    /// TCP sequence number of the next byte.
    pub seq: u32,
    /// Bytes of the current preface, payload or skipped run still to come.
    pub left: u32,
    /// The frame's stream id. TLS: records that went by whole, since they are followed.
    pub stream: u32,
    /// Bytes of the current gRPC message still to come. TLS: bytes of handshake records that may still be copied.
    pub message_left: u32,
    /// Bytes of the current frame or TLS record that may still be copied.
    pub copy_left: u32,
    /// Entries of this direction in `MESSAGES` (at most: LRU may have dropped some).
    pub tracked: u32,
    /// Message prefixes seen in this frame.
    pub prefixes: u16,
    /// One of [`mode`].
    pub mode: u8,
    /// The frame's type, or the TLS record's.
    pub frame_type: u8,
    /// The frame's flags.
    pub flags: u8,
    /// Bytes of `partial` in use.
    pub partial_len: u8,
    /// Padding at the frame's end; 0 until the pad length was read.
    pub pad: u8,
    /// 1: the pad length comes next.
    pub pad_pending: u8,
    /// 1: this DATA frame is copied whole.
    pub whole: u8,
    /// 1: this stream carries no gRPC messages, or their place was lost.
    pub no_messages: u8,
    /// Bytes of `prefix` in use.
    pub prefix_len: u8,
    /// 1: the stream has an entry in `MESSAGES`.
    pub had_entry: u8,
    /// Plausible headers seen in a row. TLS: records that went by whole.
    pub plausible: u8,
    /// One of [`trusted`].
    pub trusted: u8,
    /// 1: the next frame is the first one and must be SETTINGS.
    pub first: u8,
    /// 1: `seq` is not known: this direction's next call places it.
    pub unplaced: u8,
    /// The header of the frame or the TLS record as far as it was read.
    pub partial: [u8; 9],
    /// The message prefix as far as it was read.
    pub prefix: [u8; 5],
    /// Mode START: what was read of a beginning that is no HTTP/2's.
    pub opening: Opening,
    /// Mode START: what was read of a PROXY header.
    pub proxy: ProxyHeader,
    /// TLS: what was read of the protocols that the client offers.
    pub offer: Offer,
}
const _: () = assert!(size_of::<Walk>() == 72);

/// Calls without anything recognisable after which a socket rests: of an unknown place nothing proves what it speaks,
/// so it is not given up, but only looked at now and then.
pub const CALLS_MAX: u8 = 32;

/// A socket that rests is looked at once in so many nanoseconds, a power of two: about a millisecond.
pub const LOOK_SHIFT: u32 = 20;

/// What is known of a socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Socket {
    /// When it was first seen.
    pub born_ns: u64,
    /// Its inode number: tells a reused AF_UNIX address apart.
    pub inode: u64,
    /// Its `struct file`: tells a call on this socket from one on another descriptor.
    pub file: u64,
    /// The filter's epoch when it was judged.
    pub epoch: u32,
    /// `AF_` number.
    pub family: u16,
    /// One of [`verdict`].
    pub verdict: u8,
    /// One of `event::opened`.
    pub opened: u8,
    /// 1: both directions are seen from their first byte.
    pub from_start: u8,
    /// One of `event::confidence`.
    pub confidence: u8,
    /// Calls that showed nothing recognisable; [`CALLS_MAX`]: it rests.
    pub calls: u8,
    /// Bits of [`told`].
    pub told: u8,
    /// 1: TCP, so sequence numbers place the bytes.
    pub placed: u8,
    /// 1: recvmmsg or sendmmsg was used on it.
    pub multi: u8,
    /// 1: its first bytes showed that it is HTTP/1.
    pub proven: u8,
    /// 1: TLS, of which the client offers other protocols than HTTP/2.
    pub offers_others: u8,
    /// While it rests: when that direction was last looked at, in [`LOOK_SHIFT`].
    pub looked: [u32; 2],
    /// 1 while a task is at work on that direction.
    pub busy: [u64; 2],
    /// Bytes that went by while another task was at work, since the direction's last call that was walked.
    pub missed: [u64; 2],
    /// Where each direction stands, by `event::direction`.
    pub walks: [Walk; 2],
}
const _: () = assert!(size_of::<Socket>() == 224);

/// Key of `MESSAGES`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MessageKey {
    /// The socket.
    pub sk: u64,
    /// When it was first seen: addresses are reused.
    pub born_ns: u64,
    /// The stream.
    pub stream: u32,
    /// One of `event::direction`, and above it in which trial of a connection that is opened: what an earlier one left says
    /// nothing of a stream that went on unseen.
    pub direction: u32,
}

/// A stream in the middle of a message.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Message {
    /// Bytes of the message still to come.
    pub left: u32,
    /// See [`Walk::no_messages`].
    pub no_messages: u8,
    /// Bytes of `prefix` in use.
    pub prefix_len: u8,
    /// The prefix as far as it was read.
    pub prefix: [u8; 5],
    /// Padding.
    pub _pad: u8,
}
const _: () = assert!(size_of::<Message>() == 12);

/// A thread in the middle of recvmmsg or sendmmsg.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Multi {
    /// The vector.
    pub vector: u64,
    /// Index of the message that comes next.
    pub next: u32,
    /// Padding.
    pub _pad: u32,
}

/// Bytes that one step copies at most.
pub const CHUNK: u32 = 4_096;

/// Bytes of the user's memory that are read at once at least, if the call has so many: most calls are small, so that
/// one read serves the frame header, the message prefix and the payload.
pub const AHEAD: u32 = 256;

/// Positions in [`Scratch::out`] are masked with this, for the verifier; no record is longer.
pub const POSITION_MASK: u64 = RECORD_MAX as u64 - 1;

/// Lengths of one copy are masked with this, for the verifier; [`CHUNK`] is not more.
pub const LENGTH_MASK: u64 = 8_191;

/// Values of [`Scratch::segment_kind`].
pub mod segment {
    /// The record has no segment yet.
    pub const NONE: u32 = 0;
    /// The last segment holds copied bytes.
    pub const COPIED: u32 = 1;
    /// The last segment is a hole.
    pub const HOLE: u32 = 2;
}

/// The work space of one socket call.
#[repr(C)]
pub struct Scratch {
    /// 1 while in use: a program that interrupts another one on this CPU must not touch it.
    pub busy: u32,
    /// Bytes of the call still to walk.
    pub remaining: u32,
    /// User address of the bytes that come next.
    pub chunk: u64,
    /// Bytes left there.
    pub chunk_len: u64,
    /// User address of the next `struct iovec`.
    pub iovec: u64,
    /// How many there are.
    pub iovecs: u32,
    /// One of `event::direction`.
    pub direction: u32,
    /// When the call had finished.
    pub at_ns: u64,
    /// The socket.
    pub sk: u64,
    /// When it was first seen.
    pub born_ns: u64,
    /// tgid and tid.
    pub task: u64,
    /// v2 cgroup id.
    pub cgroup: u64,
    /// Where the next byte of the record goes.
    pub position: u32,
    /// Bytes of the user's memory that stand behind that place already. See [`AHEAD`].
    pub ahead: u32,
    /// Stream bytes in the record.
    pub total: u32,
    /// Where the last segment's length word stands.
    pub segment: u32,
    /// The last segment's length.
    pub segment_len: u32,
    /// One of [`segment`].
    pub segment_kind: u32,
    /// 1: the walker lost its place.
    pub desync: u8,
    /// Not 0: the bytes are not HTTP/2; one of `event::class`.
    pub class: u8,
    /// One of `event::confidence`, as the socket has it and as this call raised it.
    pub confidence: u8,
    /// 1: a record is begun.
    pub begun: u8,
    /// The search for the end of an HTTP/1 head: the last four bytes.
    pub window: u32,
    /// Length of the head, once its end was found.
    pub head_len: u32,
    /// `h2c` was seen in the head.
    pub h2c: u32,
    /// Bytes to search.
    pub searched: u32,
    /// 1: the call is recvmmsg or sendmmsg.
    pub multi: u32,
    /// At the exit of recvmmsg or sendmmsg: user address of the `struct mmsghdr` at hand. Otherwise 0.
    pub message: u64,
    /// How many of them the call has.
    pub messages: u32,
    /// Bytes of that call's messages behind the one at hand.
    pub behind: u32,
    /// The turns that are left, where `bpf_for_each_map_elem` takes them.
    pub turns: u32,
    /// What the call returned, in bytes.
    pub returned: u32,
    /// Its MSG_ flags.
    pub flags: u32,
    /// Where its direction stood in the TCP sequence space when the hook began.
    pub sequence: Option<u32>,
    /// The socket's `struct file`.
    pub file: u64,
    /// One of `event::unseen`.
    pub unseen: u8,
    /// 1: the class was read from the first byte on.
    pub certain: u8,
    /// Padding.
    pub _pad: [u8; 2],
    /// Where a search found a frame.
    pub found: u32,
    /// The connection's place among those that are opened; 0: it has none.
    pub slot: u32,
    /// 1: what is walked is not told.
    pub silent: u8,
    /// 1: a record that was told as unsure is certain now.
    pub confirms: u8,
    /// `confidence` of the records' walk, while frames are followed.
    pub outer_confidence: u8,
    /// Padding.
    pub _pad2: u8,
    /// Bytes of the call behind those that are told as records.
    pub behind_kept: u32,
    /// 1 more than the trial whose frames are followed; 0 in clear.
    pub trial: u32,
    /// How far the direction at hand is opened.
    pub place: Cursor,
    /// Where its records are followed, while its frames are.
    pub outer: Walk,
    /// The call's bytes before a silent walk: `chunk`, `chunk_len`, `iovec`.
    pub kept: [u64; 3],
    /// Likewise: `iovecs`, `remaining`.
    pub kept_len: [u32; 2],
    /// Bytes of the record at hand before its content.
    pub content_at: u32,
    /// 1 more than the block that `stream` is of; 0: of none.
    pub stream_block: u32,
    /// The key stream of a block, as its bytes stand in memory.
    pub stream: [u32; 4],
    /// Where in `out` the next byte to be opened stands.
    pub sealed_at: u64,
    /// Its place in the record's content.
    pub sealed_place: u32,
    /// How many there are.
    pub sealed_left: u32,
    /// The direction at hand, while the call is walked.
    pub walk: Walk,
    /// A socket's entry, while it is made.
    pub fresh: Socket,
    /// The first bytes of the call.
    pub peek: [u8; 64],
    /// The record. Twice the mask, so that what the verifier believes possible stays inside.
    pub out: [u8; RECORD_MAX + 8_192],
}
const _: () = assert!(
    size_of::<Scratch>() <= 32_768,
    "a per-CPU value is at most 32 KiB"
);
