//! Frame header (RFC 9113 section 4.1), and the rules that it alone can break.

use super::{ErrorCode, FrameKind, Rule, StreamId, Violation};

/// Frame types of RFC 9113 section 6, and those of RFC 7838, 8336 and 9218.
pub mod frame_type {
    /// DATA.
    pub const DATA: u8 = 0x0;
    /// HEADERS.
    pub const HEADERS: u8 = 0x1;
    /// PRIORITY.
    pub const PRIORITY: u8 = 0x2;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 0x3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 0x4;
    /// PUSH_PROMISE.
    pub const PUSH_PROMISE: u8 = 0x5;
    /// PING.
    pub const PING: u8 = 0x6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 0x7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 0x8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 0x9;
    /// ALTSVC (RFC 7838).
    pub const ALTSVC: u8 = 0xa;
    /// ORIGIN (RFC 8336).
    pub const ORIGIN: u8 = 0xc;
    /// PRIORITY_UPDATE (RFC 9218).
    pub const PRIORITY_UPDATE: u8 = 0x10;
}

/// Frame flags.
pub mod flag {
    /// END_STREAM: DATA, HEADERS.
    pub const END_STREAM: u8 = 0x1;
    /// ACK: SETTINGS, PING.
    pub const ACK: u8 = 0x1;
    /// END_HEADERS: HEADERS, PUSH_PROMISE, CONTINUATION.
    pub const END_HEADERS: u8 = 0x4;
    /// PADDED: DATA, HEADERS, PUSH_PROMISE.
    pub const PADDED: u8 = 0x8;
    /// PRIORITY: HEADERS.
    pub const PRIORITY: u8 = 0x20;
}

/// Largest payload that a peer may send before it was allowed more (RFC 9113 section 4.2).
pub const DEFAULT_MAX_FRAME_SIZE: u32 = 16_384;

/// Larger DATA frames than this are not believed while the place is unknown, unless the setting is known.
const PLAUSIBLE_DATA: u32 = 1 << 22;

/// A rule that a frame breaks, not yet bound to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) code: ErrorCode,
    pub(super) connection_error: bool,
    pub(super) rule: Rule,
}

impl Broken {
    pub(super) const fn connection(code: ErrorCode, rule: Rule) -> Broken {
        Broken {
            code,
            connection_error: true,
            rule,
        }
    }

    pub(super) const fn stream(code: ErrorCode, rule: Rule) -> Broken {
        Broken {
            code,
            connection_error: false,
            rule,
        }
    }

    pub(super) const fn on(self, stream_id: StreamId, frame: Head) -> Violation {
        Violation {
            frame,
            stream_id,
            code: self.code,
            connection_error: self.connection_error,
            rule: self.rule,
        }
    }
}

/// A frame header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Payload length.
    pub len: u32,
    /// Type.
    pub frame_type: u8,
    /// Flags.
    pub flags: u8,
    /// Stream; the reserved bit is taken off.
    pub stream_id: StreamId,
}

impl Head {
    /// Length of a frame header.
    pub const LEN: usize = 9;

    /// Reads a frame header.
    #[must_use]
    pub const fn parse(bytes: &[u8; Head::LEN]) -> Head {
        let [l0, l1, l2, frame_type, flags, s0, s1, s2, s3] = *bytes;
        Head {
            len: u32::from_be_bytes([0, l0, l1, l2]),
            frame_type,
            flags,
            stream_id: StreamId(u32::from_be_bytes([s0 & 0x7f, s1, s2, s3])),
        }
    }

    /// The kind of frame.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        FrameKind::of(self.frame_type)
    }

    /// The frame's name; `UNKNOWN` for a type that has none.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind().as_str()
    }

    /// Whether a flag is set.
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether the frame carries a part of a header block.
    #[must_use]
    pub const fn carries_field_block(&self) -> bool {
        matches!(
            self.frame_type,
            frame_type::HEADERS | frame_type::PUSH_PROMISE | frame_type::CONTINUATION
        )
    }

    /// Whether the type is one that this reader knows.
    #[must_use]
    pub const fn is_known_type(&self) -> bool {
        self.frame_type <= frame_type::ALTSVC
            || self.frame_type == frame_type::ORIGIN
            || self.frame_type == frame_type::PRIORITY_UPDATE
    }

    /// The first rule of RFC 9113 section 6 (RFC 9218 section 7.1) that the header itself breaks.
    pub(super) fn broken_rule(&self) -> Option<Broken> {
        const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
        const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
        let on_connection = self.stream_id.0 == 0;
        let broken = match self.frame_type {
            frame_type::DATA if on_connection => {
                Broken::connection(PROTOCOL, Rule::DataOnConnection)
            }
            frame_type::HEADERS if on_connection => {
                Broken::connection(PROTOCOL, Rule::HeadersOnConnection)
            }
            frame_type::PRIORITY if on_connection => {
                Broken::connection(PROTOCOL, Rule::PriorityOnConnection)
            }
            frame_type::PRIORITY if self.len != 5 => Broken::stream(SIZE, Rule::PriorityLength),
            frame_type::RST_STREAM if on_connection => {
                Broken::connection(PROTOCOL, Rule::ResetOnConnection)
            }
            frame_type::RST_STREAM if self.len != 4 => Broken::connection(SIZE, Rule::ResetLength),
            frame_type::SETTINGS if !on_connection => {
                Broken::connection(PROTOCOL, Rule::SettingsOnStream)
            }
            frame_type::SETTINGS if self.has(flag::ACK) && self.len != 0 => {
                Broken::connection(SIZE, Rule::SettingsAckWithPayload)
            }
            frame_type::SETTINGS if !self.len.is_multiple_of(6) => {
                Broken::connection(SIZE, Rule::SettingsLength)
            }
            frame_type::PUSH_PROMISE if on_connection => {
                Broken::connection(PROTOCOL, Rule::PushOnConnection)
            }
            frame_type::PING if !on_connection => Broken::connection(PROTOCOL, Rule::PingOnStream),
            frame_type::PING if self.len != 8 => Broken::connection(SIZE, Rule::PingLength),
            frame_type::GOAWAY if !on_connection => {
                Broken::connection(PROTOCOL, Rule::GoAwayOnStream)
            }
            frame_type::GOAWAY if self.len < 8 => Broken::connection(SIZE, Rule::GoAwayLength),
            frame_type::WINDOW_UPDATE if self.len != 4 => {
                Broken::connection(SIZE, Rule::WindowUpdateLength)
            }
            frame_type::CONTINUATION if on_connection => {
                Broken::connection(PROTOCOL, Rule::ContinuationOnConnection)
            }
            frame_type::PRIORITY_UPDATE if !on_connection => {
                Broken::connection(PROTOCOL, Rule::PriorityUpdateOnStream)
            }
            frame_type::PRIORITY_UPDATE if self.len < 4 => {
                Broken::connection(SIZE, Rule::PriorityUpdateLength)
            }
            _ => return None,
        };
        Some(broken)
    }

    /// The error of a frame that is longer than the receiver allows (RFC 9113 section 4.2).
    pub(super) fn too_long(&self) -> Broken {
        // Section 4.2 makes it a connection error where the state of the whole connection is touched.
        let connection_error = self.carries_field_block()
            || self.frame_type == frame_type::SETTINGS
            || self.stream_id.0 == 0;
        Broken {
            code: ErrorCode::FRAME_SIZE_ERROR,
            connection_error,
            rule: Rule::FrameTooLong,
        }
    }

    /// Flags that RFC 9113 gives a meaning on this type; senders must leave the others unset (section 4.1).
    const fn defined_flags(&self) -> u8 {
        match self.frame_type {
            frame_type::DATA => flag::END_STREAM | flag::PADDED,
            frame_type::HEADERS => {
                flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY
            }
            frame_type::SETTINGS | frame_type::PING => flag::ACK,
            frame_type::PUSH_PROMISE => flag::END_HEADERS | flag::PADDED,
            frame_type::CONTINUATION => flag::END_HEADERS,
            _ => 0,
        }
    }

    /// Whether nine bytes found anywhere may be a frame header: stricter than the RFC is to a receiver,
    /// since it is used where the place in the stream is not known.
    #[must_use]
    pub fn is_plausible(&self, max_frame_size: Option<u32>) -> bool {
        let longest = match max_frame_size {
            Some(max) => max.max(DEFAULT_MAX_FRAME_SIZE),
            None if self.frame_type == frame_type::DATA => PLAUSIBLE_DATA,
            None => DEFAULT_MAX_FRAME_SIZE * 4,
        };
        self.is_known_type()
            && self.len <= longest
            && self.flags & !self.defined_flags() == 0
            && self.broken_rule().is_none()
    }
}
