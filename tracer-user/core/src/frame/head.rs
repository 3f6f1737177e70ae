//! Frame header (RFC 9113 section 4.1), and the rules that it alone can break.

use tracer_ebpf::http2;
pub use tracer_ebpf::http2::{DEFAULT_MAX_FRAME_SIZE, flag, frame_type};

use super::{ErrorCode, FrameKind, Rule, StreamId, Violation};

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
    pub const LEN: usize = http2::Head::LEN;

    /// Reads a frame header.
    #[must_use]
    pub const fn parse(bytes: &[u8; Head::LEN]) -> Head {
        let head = http2::Head::parse(*bytes);
        Head {
            len: head.len,
            frame_type: head.frame_type,
            flags: head.flags,
            stream_id: StreamId(head.stream()),
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
    pub fn is_known_type(&self) -> bool {
        http2::rule(self.frame_type).is_known()
    }

    /// The first rule of RFC 9113 section 6 (RFC 9218 section 7.1) that the header itself breaks.
    pub(super) fn broken_rule(&self) -> Option<Broken> {
        const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
        const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
        let rule = http2::rule(self.frame_type);
        let misplaced = !rule.may_stand_on(self.stream_id.0);
        let wrong_size = rule.is_wrong_size(self.len);
        let broken = match self.frame_type {
            frame_type::DATA if misplaced => Broken::connection(PROTOCOL, Rule::DataOnConnection),
            frame_type::HEADERS if misplaced => {
                Broken::connection(PROTOCOL, Rule::HeadersOnConnection)
            }
            frame_type::PRIORITY if misplaced => {
                Broken::connection(PROTOCOL, Rule::PriorityOnConnection)
            }
            frame_type::PRIORITY if wrong_size => Broken::stream(SIZE, Rule::PriorityLength),
            frame_type::RST_STREAM if misplaced => {
                Broken::connection(PROTOCOL, Rule::ResetOnConnection)
            }
            frame_type::RST_STREAM if wrong_size => Broken::connection(SIZE, Rule::ResetLength),
            frame_type::SETTINGS if misplaced => {
                Broken::connection(PROTOCOL, Rule::SettingsOnStream)
            }
            frame_type::SETTINGS if self.has(flag::ACK) && self.len != 0 => {
                Broken::connection(SIZE, Rule::SettingsAckWithPayload)
            }
            frame_type::SETTINGS if !self.len.is_multiple_of(6) => {
                Broken::connection(SIZE, Rule::SettingsLength)
            }
            frame_type::PUSH_PROMISE if misplaced => {
                Broken::connection(PROTOCOL, Rule::PushOnConnection)
            }
            frame_type::PING if misplaced => Broken::connection(PROTOCOL, Rule::PingOnStream),
            frame_type::PING if wrong_size => Broken::connection(SIZE, Rule::PingLength),
            frame_type::GOAWAY if misplaced => Broken::connection(PROTOCOL, Rule::GoAwayOnStream),
            frame_type::GOAWAY if wrong_size => Broken::connection(SIZE, Rule::GoAwayLength),
            frame_type::WINDOW_UPDATE if wrong_size => {
                Broken::connection(SIZE, Rule::WindowUpdateLength)
            }
            frame_type::CONTINUATION if misplaced => {
                Broken::connection(PROTOCOL, Rule::ContinuationOnConnection)
            }
            frame_type::PRIORITY_UPDATE if misplaced => {
                Broken::connection(PROTOCOL, Rule::PriorityUpdateOnStream)
            }
            frame_type::PRIORITY_UPDATE if wrong_size => {
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

    /// Whether nine bytes found anywhere may be a frame header, where the place in the stream is not known.
    #[must_use]
    pub fn is_plausible(&self, max_frame_size: Option<u32>) -> bool {
        let longest = match max_frame_size {
            Some(max) => max.max(DEFAULT_MAX_FRAME_SIZE),
            None if self.frame_type == frame_type::DATA => PLAUSIBLE_DATA,
            None => DEFAULT_MAX_FRAME_SIZE * 4,
        };
        http2::Head::new(self.len, self.frame_type, self.flags, self.stream_id.0)
            .is_plausible(longest)
    }
}
