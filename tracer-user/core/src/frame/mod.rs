//! Stage 3: RFC 9113 frames from the sparse bytes of one direction, header blocks decoded.
//!
//! The reader never fails as a whole. What the peer did wrong is a [`Violation`] (data, on its way to
//! stage 6); what we could not see is a [`Fault`] (on its way to the tracer's own metrics).

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

pub use crate::field::{Field, HeaderBlock};
use crate::limits::Limit;

pub mod head;
pub mod settings;

mod begin;
mod control;
mod data;
mod field_block;
mod gap;
mod headers;
mod kind;
mod memory;
mod ordinary;
mod reader;
mod rule;
mod search;
#[cfg(test)]
mod tests;

pub mod hpack;

pub use field_block::LONG_BLOCK_FRAMES;
pub use kind::FrameKind;
pub(crate) use ordinary::Ordinary;
pub use reader::{FrameReader, Start};
pub use rule::Rule;
pub use tracer_ebpf::http2::PREFACE;

/// A stream identifier; 0 is the connection (RFC 9113 section 5.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An error code of RFC 9113 section 7; unknown ones keep their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Graceful shutdown, or a reset after a complete response.
    pub const NO_ERROR: ErrorCode = ErrorCode(0x0);
    /// Protocol error detected.
    pub const PROTOCOL_ERROR: ErrorCode = ErrorCode(0x1);
    /// Implementation fault.
    pub const INTERNAL_ERROR: ErrorCode = ErrorCode(0x2);
    /// Flow-control limits exceeded.
    pub const FLOW_CONTROL_ERROR: ErrorCode = ErrorCode(0x3);
    /// Settings not acknowledged.
    pub const SETTINGS_TIMEOUT: ErrorCode = ErrorCode(0x4);
    /// Frame received for a closed stream.
    pub const STREAM_CLOSED: ErrorCode = ErrorCode(0x5);
    /// Frame size incorrect.
    pub const FRAME_SIZE_ERROR: ErrorCode = ErrorCode(0x6);
    /// Stream not processed.
    pub const REFUSED_STREAM: ErrorCode = ErrorCode(0x7);
    /// Stream cancelled.
    pub const CANCEL: ErrorCode = ErrorCode(0x8);
    /// Compression state not updated.
    pub const COMPRESSION_ERROR: ErrorCode = ErrorCode(0x9);
    /// TCP connection error for CONNECT method.
    pub const CONNECT_ERROR: ErrorCode = ErrorCode(0xa);
    /// Processing capacity exceeded.
    pub const ENHANCE_YOUR_CALM: ErrorCode = ErrorCode(0xb);
    /// Negotiated TLS parameters not acceptable.
    pub const INADEQUATE_SECURITY: ErrorCode = ErrorCode(0xc);
    /// Use HTTP/1.1 for the request.
    pub const HTTP_1_1_REQUIRED: ErrorCode = ErrorCode(0xd);

    /// The RFC's name, `UNKNOWN` for a number it does not have: a closed set of label values.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.known_name() {
            Some(name) => name,
            None => "UNKNOWN",
        }
    }

    /// The RFC's name; None for a number it does not have.
    #[must_use]
    pub const fn known_name(self) -> Option<&'static str> {
        let name = match self.0 {
            0x0 => "NO_ERROR",
            0x1 => "PROTOCOL_ERROR",
            0x2 => "INTERNAL_ERROR",
            0x3 => "FLOW_CONTROL_ERROR",
            0x4 => "SETTINGS_TIMEOUT",
            0x5 => "STREAM_CLOSED",
            0x6 => "FRAME_SIZE_ERROR",
            0x7 => "REFUSED_STREAM",
            0x8 => "CANCEL",
            0x9 => "COMPRESSION_ERROR",
            0xa => "CONNECT_ERROR",
            0xb => "ENHANCE_YOUR_CALM",
            0xc => "INADEQUATE_SECURITY",
            0xd => "HTTP_1_1_REQUIRED",
            _ => return None,
        };
        Some(name)
    }
}

impl std::fmt::Display for ErrorCode {
    /// `NO_ERROR`, or `error code 77`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.known_name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {}", self.0),
        }
    }
}

/// The parameters of a SETTINGS frame in order: (identifier, value).
pub type Settings = Vec<(u16, u32)>;

/// Priority fields of HEADERS and PRIORITY (deprecated, still sent).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    pub exclusive: bool,
    pub depends_on: StreamId,
    /// Weight as on the wire (0 to 255).
    pub weight: u8,
}

/// A whole frame, DATA excepted (its payload is not waited for: see [`Step`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// HEADERS with its CONTINUATIONs, decoded.
    Headers {
        stream_id: StreamId,
        end_stream: bool,
        /// Priority fields, if sent.
        priority: Option<Priority>,
        /// The decoded block.
        block: Arc<HeaderBlock>,
    },
    Priority {
        stream_id: StreamId,
        priority: Priority,
    },
    RstStream {
        stream_id: StreamId,
        code: ErrorCode,
    },
    /// SETTINGS without ACK.
    Settings(Settings),
    SettingsAck,
    /// PUSH_PROMISE with its CONTINUATIONs, decoded.
    PushPromise {
        /// The stream it came on.
        stream_id: StreamId,
        promised: StreamId,
        /// The decoded block.
        block: Arc<HeaderBlock>,
    },
    Ping {
        ack: bool,
        /// Opaque data.
        data: [u8; 8],
    },
    GoAway {
        /// Last stream id that was or might be processed.
        last_stream_id: StreamId,
        code: ErrorCode,
        /// Debug data, cut at `limits::GOAWAY_DEBUG`.
        debug: Bytes,
    },
    WindowUpdate {
        /// The stream, or 0 for the connection.
        stream_id: StreamId,
        /// Increment (0 is a violation, reported beside it).
        increment: u32,
    },
    /// PRIORITY_UPDATE (RFC 9218).
    PriorityUpdate {
        /// The prioritized stream.
        stream_id: StreamId,
    },
    /// A type that this program does not know; ignored as section 5.5 demands.
    Unknown {
        frame_type: u8,
        stream_id: StreamId,
        len: u32,
    },
}

/// What the sender did that RFC 9113 or RFC 7541 forbids, and the error it must raise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The stream it happened on; 0 for the connection.
    pub stream_id: StreamId,
    /// The error code that the RFC demands.
    pub code: ErrorCode,
    /// A connection error (section 5.4.1), or else a stream error (5.4.2).
    pub connection_error: bool,
    pub rule: Rule,
    /// The header of the frame that broke it; of a header block, its last frame.
    pub frame: head::Head,
}

/// What this tracer could not see or follow. Never the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes that may have held frames were not captured.
    Gap,
    /// A frame header or a frame other than DATA had a hole in it.
    HoleInFrame,
    /// A header block had bytes missing: the dynamic table is unseen from here on.
    HeaderBlockLost,
    /// A limit was reached.
    Limit(Limit),
    /// The bytes are no plausible frames: the reader has lost its place.
    Implausible,
}

/// Flags and length of a DATA frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHead {
    pub stream_id: StreamId,
    /// Payload length as in the frame header, padding included: what flow control counts. Of a frame whose
    /// header was lost in a gap: the length of what is left of it.
    pub flow_len: u32,
    pub end_stream: bool,
    pub padded: bool,
}

/// A piece of a DATA frame's data, padding taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataPiece {
    /// Copied bytes: mostly the prefix of a message.
    Bytes(SmallVec<[u8; 16]>),
    /// Counted bytes.
    Hole(u32),
}

impl Step {
    /// Bytes of memory that it takes while it waits, about. Fields that share an entry count as if each had its own.
    pub(crate) fn weight(&self) -> usize {
        let more = match self {
            Step::Frame {
                frame: Frame::Headers { block, .. } | Frame::PushPromise { block, .. },
                ..
            } => usize::try_from(block.list_size).unwrap_or(usize::MAX),
            Step::Frame {
                frame: Frame::Settings(settings),
                ..
            } => settings.len().saturating_mul(size_of::<(u16, u32)>()),
            Step::DataBody {
                piece: DataPiece::Bytes(bytes),
                ..
            } => bytes.len(),
            _ => 0,
        };
        size_of::<Step>().saturating_add(more)
    }
}

impl DataPiece {
    /// A copy of these bytes.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> DataPiece {
        DataPiece::Bytes(SmallVec::from_slice(bytes))
    }
}

/// What a reader hands on, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client's connection preface (section 3.4) went by.
    Preface,
    Frame {
        /// Its payload length as in the frame header(s), CONTINUATIONs added.
        len: u32,
        /// Its flags as in the (first) frame header.
        flags: u8,
        frame: Frame,
    },
    /// A DATA frame's header went by.
    DataBegin(DataHead),
    /// Some of its data (without padding) went by.
    DataBody {
        stream_id: StreamId,
        piece: DataPiece,
    },
    /// The DATA frame is whole (padding included).
    DataEnd(DataHead),
    /// A header block goes on and on: it has so many frames and no END_HEADERS. Said once of a block, when
    /// it has more than [`LONG_BLOCK_FRAMES`].
    LongBlock {
        stream_id: StreamId,
        /// Its frames so far.
        n_frames: u32,
    },
    /// The sender broke a rule.
    Violation(Violation),
    /// We could not see something.
    Fault(Fault),
    /// After a fault: frames are read again from here; `skipped` bytes went by undecoded (None: unknown).
    Resynced {
        /// Bytes passed over.
        skipped: Option<u64>,
    },
}
