//! What the kernel programs remember: of a socket, of a direction, of a message, of the call at hand.

use tracer_ebpf::{event::RECORD_MAX, http2::Opening};

/// Values of [`Socket::verdict`].
pub(crate) mod verdict {
    /// The filter does not want it.
    pub(crate) const UNWANTED: u8 = 1;
    /// It speaks something else than HTTP/2.
    pub(crate) const OTHER: u8 = 2;
    /// Wanted; what it speaks is not known yet.
    pub(crate) const UNDECIDED: u8 = 3;
    /// HTTP/1, which may still be upgraded to h2c.
    pub(crate) const HTTP1: u8 = 4;
    /// HTTP/2.
    pub(crate) const HTTP2: u8 = 5;
}

/// Bits of [`Socket::told`].
pub(crate) mod told {
    /// An OPEN record was written.
    pub(crate) const OPEN: u8 = 1;
    /// An END record with cause EOF was written.
    pub(crate) const EOF: u8 = 2;
    /// An END record with cause BROKEN was written.
    pub(crate) const BROKEN: u8 = 4;
    /// UNRECOGNISED of class HTTP/1 was written for what was sent.
    pub(crate) const HTTP1_TX: u8 = 8;
    /// UNRECOGNISED of class HTTP/1 was written for what was received.
    pub(crate) const HTTP1_RX: u8 = 16;
}

/// Values of [`Walk::mode`].
pub(crate) mod mode {
    /// Seen from its first byte, and not known yet: nothing went by, or what is in [`super::Walk::opening`].
    pub(crate) const START: u8 = 0;
    /// The place within the frames is not known.
    pub(crate) const SEEK: u8 = 1;
    /// In the client's connection preface.
    pub(crate) const PREFACE: u8 = 2;
    /// At a frame header, or within one.
    pub(crate) const HEADER: u8 = 3;
    /// In the payload of a frame that is not DATA.
    pub(crate) const PAYLOAD: u8 = 4;
    /// In the payload of a DATA frame.
    pub(crate) const DATA: u8 = 5;
    /// In bytes that are not frames (the head of `101 Switching Protocols`).
    pub(crate) const SKIP: u8 = 6;
}

/// Values of [`Walk::trusted`].
pub(crate) mod trusted {
    /// Headers must be plausible.
    pub(crate) const NO: u8 = 0;
    /// Seen from the first byte: trusted as soon as the connection's preface was seen.
    pub(crate) const FROM_START: u8 = 1;
    /// Whatever stands in a header is believed.
    pub(crate) const YES: u8 = 2;
}

/// One direction of a socket: where the frame walker stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    /// Offset of the next byte.
    pub(crate) offset: u64,
    /// TCP sequence number of the next byte.
    pub(crate) seq: u32,
    /// Bytes of the current preface, payload or skipped run still to come.
    pub(crate) left: u32,
    /// The frame's stream id.
    pub(crate) stream: u32,
    /// Bytes of the current gRPC message still to come.
    pub(crate) message_left: u32,
    /// Bytes of the current frame that may still be copied.
    pub(crate) copy_left: u32,
    /// Entries of this direction in `MESSAGES` (at most: LRU may have dropped some).
    pub(crate) tracked: u32,
    /// Message prefixes seen in this frame.
    pub(crate) prefixes: u16,
    /// One of [`mode`].
    pub(crate) mode: u8,
    /// The frame's type.
    pub(crate) frame_type: u8,
    /// The frame's flags.
    pub(crate) flags: u8,
    /// Bytes of `partial` in use.
    pub(crate) partial_len: u8,
    /// Padding at the frame's end; 0 until the pad length was read.
    pub(crate) pad: u8,
    /// 1: the pad length comes next.
    pub(crate) pad_pending: u8,
    /// 1: this DATA frame is copied whole.
    pub(crate) whole: u8,
    /// 1: this stream carries no gRPC messages, or their place was lost.
    pub(crate) no_messages: u8,
    /// Bytes of `prefix` in use.
    pub(crate) prefix_len: u8,
    /// 1: the stream has an entry in `MESSAGES`.
    pub(crate) had_entry: u8,
    /// Plausible headers seen in a row.
    pub(crate) plausible: u8,
    /// One of [`trusted`].
    pub(crate) trusted: u8,
    /// 1: the next frame is the first one and must be SETTINGS.
    pub(crate) first: u8,
    /// 1: `seq` is not known: this direction's next call places it.
    pub(crate) unplaced: u8,
    /// The frame header as far as it was read.
    pub(crate) partial: [u8; 9],
    /// The message prefix as far as it was read.
    pub(crate) prefix: [u8; 5],
    /// Mode START: what was read of a beginning that is no HTTP/2's.
    pub(crate) opening: Opening,
}
const _: () = assert!(size_of::<Walk>() == 64);

/// What is known of a socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Socket {
    /// When it was first seen.
    pub(crate) born_ns: u64,
    /// Its inode number: tells a reused AF_UNIX address apart.
    pub(crate) inode: u64,
    /// Its `struct file`: tells a call on this socket from one on another descriptor.
    pub(crate) file: u64,
    /// The filter's epoch when it was judged.
    pub(crate) epoch: u32,
    /// The process it was judged for.
    pub(crate) tgid: u32,
    /// `AF_` number.
    pub(crate) family: u16,
    /// One of [`verdict`].
    pub(crate) verdict: u8,
    /// One of `event::opened`.
    pub(crate) opened: u8,
    /// 1: both directions are seen from their first byte.
    pub(crate) from_start: u8,
    /// One of `event::confidence`.
    pub(crate) confidence: u8,
    /// Calls that showed nothing recognisable.
    pub(crate) calls: u8,
    /// Bits of [`told`].
    pub(crate) told: u8,
    /// 1: TCP, so sequence numbers place the bytes.
    pub(crate) placed: u8,
    /// 1: recvmmsg or sendmmsg was used on it.
    pub(crate) multi: u8,
    /// Padding.
    pub(crate) _pad: [u8; 6],
    /// 1 while a task is at work on that direction.
    pub(crate) busy: [u64; 2],
    /// Bytes that went by while another task was at work (only counted when not `placed`).
    pub(crate) missed: [u64; 2],
    /// Where each direction stands, by `event::direction`.
    pub(crate) walks: [Walk; 2],
}
const _: () = assert!(size_of::<Socket>() == 208);

/// Key of `MESSAGES`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MessageKey {
    /// The socket.
    pub(crate) sk: u64,
    /// When it was first seen: addresses are reused.
    pub(crate) born_ns: u64,
    /// The stream.
    pub(crate) stream: u32,
    /// One of `event::direction`.
    pub(crate) direction: u32,
}

/// A stream in the middle of a message.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Message {
    /// Bytes of the message still to come.
    pub(crate) left: u32,
    /// See [`Walk::no_messages`].
    pub(crate) no_messages: u8,
    /// Bytes of `prefix` in use.
    pub(crate) prefix_len: u8,
    /// The prefix as far as it was read.
    pub(crate) prefix: [u8; 5],
    /// Padding.
    pub(crate) _pad: u8,
}
const _: () = assert!(size_of::<Message>() == 12);

/// A thread in the middle of recvmmsg or sendmmsg.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Multi {
    /// The vector.
    pub(crate) vector: u64,
    /// Index of the message that comes next.
    pub(crate) next: u32,
    /// Padding.
    pub(crate) _pad: u32,
}

/// Bytes that one step copies at most.
pub(crate) const CHUNK: u32 = 4_096;

/// Positions in [`Scratch::out`] are masked with this, for the verifier; no record is longer.
pub(crate) const POSITION_MASK: u64 = RECORD_MAX as u64 - 1;

/// Lengths of one copy are masked with this, for the verifier; [`CHUNK`] is not more.
pub(crate) const LENGTH_MASK: u64 = 8_191;

/// Values of [`Scratch::segment_kind`].
pub(crate) mod segment {
    /// The record has no segment yet.
    pub(crate) const NONE: u32 = 0;
    /// The last segment holds copied bytes.
    pub(crate) const COPIED: u32 = 1;
    /// The last segment is a hole.
    pub(crate) const HOLE: u32 = 2;
}

/// The work space of one socket call.
#[repr(C)]
pub(crate) struct Scratch {
    /// 1 while in use: a program that interrupts another one on this CPU must not touch it.
    pub(crate) busy: u32,
    /// Bytes of the call still to walk.
    pub(crate) remaining: u32,
    /// User address of the bytes that come next.
    pub(crate) chunk: u64,
    /// Bytes left there.
    pub(crate) chunk_len: u64,
    /// User address of the next `struct iovec`.
    pub(crate) iovec: u64,
    /// How many there are.
    pub(crate) iovecs: u32,
    /// One of `event::direction`.
    pub(crate) direction: u32,
    /// When the call had finished.
    pub(crate) at_ns: u64,
    /// The socket.
    pub(crate) sk: u64,
    /// When it was first seen.
    pub(crate) born_ns: u64,
    /// tgid and tid.
    pub(crate) task: u64,
    /// v2 cgroup id.
    pub(crate) cgroup: u64,
    /// Where the next byte of the record goes.
    pub(crate) position: u32,
    /// Stream bytes in the record.
    pub(crate) total: u32,
    /// Where the last segment's length word stands.
    pub(crate) segment: u32,
    /// The last segment's length.
    pub(crate) segment_len: u32,
    /// One of [`segment`].
    pub(crate) segment_kind: u32,
    /// 1: the walker lost its place.
    pub(crate) desync: u8,
    /// Not 0: the bytes are not HTTP/2; one of `event::class`.
    pub(crate) class: u8,
    /// One of `event::confidence`, as the socket has it and as this call raised it.
    pub(crate) confidence: u8,
    /// 1: a record is begun.
    pub(crate) begun: u8,
    /// The search for the end of an HTTP/1 head: the last four bytes.
    pub(crate) window: u32,
    /// Length of the head, once its end was found.
    pub(crate) head_len: u32,
    /// `h2c` was seen in the head.
    pub(crate) h2c: u32,
    /// Bytes to search.
    pub(crate) searched: u32,
    /// 1: the call is recvmmsg or sendmmsg.
    pub(crate) multi: u32,
    /// What the call returned, in bytes.
    pub(crate) returned: u32,
    /// Its MSG_ flags.
    pub(crate) flags: u32,
    /// Where its direction stood in the TCP sequence space when the hook began.
    pub(crate) sequence: Option<u32>,
    /// The socket's `struct file`.
    pub(crate) file: u64,
    /// One of `event::unseen`.
    pub(crate) unseen: u8,
    /// Padding.
    pub(crate) _pad: [u8; 7],
    /// Where a search found a frame.
    pub(crate) found: u32,
    /// The direction at hand, while the call is walked.
    pub(crate) walk: Walk,
    /// A socket's entry, while it is made.
    pub(crate) fresh: Socket,
    /// The first bytes of the call.
    pub(crate) peek: [u8; 64],
    /// The record. Twice the mask, so that what the verifier believes possible stays inside.
    pub(crate) out: [u8; RECORD_MAX + 8_192],
}
const _: () = assert!(
    size_of::<Scratch>() <= 32_768,
    "a per-CPU value is at most 32 KiB"
);
