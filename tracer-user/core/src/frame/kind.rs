//! The kinds of frames.

use super::head::frame_type;

/// A kind of frame: the types of RFC 9113 section 6, RFC 7838, RFC 8336 and RFC 9218.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameKind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    AltSvc,
    Origin,
    PriorityUpdate,
    /// Of another type: to be ignored (RFC 9113 section 5.5).
    Unknown,
}

impl FrameKind {
    /// The kind of this type.
    #[must_use]
    pub const fn of(frame_type: u8) -> FrameKind {
        match frame_type {
            frame_type::DATA => FrameKind::Data,
            frame_type::HEADERS => FrameKind::Headers,
            frame_type::PRIORITY => FrameKind::Priority,
            frame_type::RST_STREAM => FrameKind::RstStream,
            frame_type::SETTINGS => FrameKind::Settings,
            frame_type::PUSH_PROMISE => FrameKind::PushPromise,
            frame_type::PING => FrameKind::Ping,
            frame_type::GOAWAY => FrameKind::GoAway,
            frame_type::WINDOW_UPDATE => FrameKind::WindowUpdate,
            frame_type::CONTINUATION => FrameKind::Continuation,
            frame_type::ALTSVC => FrameKind::AltSvc,
            frame_type::ORIGIN => FrameKind::Origin,
            frame_type::PRIORITY_UPDATE => FrameKind::PriorityUpdate,
            _ => FrameKind::Unknown,
        }
    }

    /// Its name in the RFC.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FrameKind::Data => "DATA",
            FrameKind::Headers => "HEADERS",
            FrameKind::Priority => "PRIORITY",
            FrameKind::RstStream => "RST_STREAM",
            FrameKind::Settings => "SETTINGS",
            FrameKind::PushPromise => "PUSH_PROMISE",
            FrameKind::Ping => "PING",
            FrameKind::GoAway => "GOAWAY",
            FrameKind::WindowUpdate => "WINDOW_UPDATE",
            FrameKind::Continuation => "CONTINUATION",
            FrameKind::AltSvc => "ALTSVC",
            FrameKind::Origin => "ORIGIN",
            FrameKind::PriorityUpdate => "PRIORITY_UPDATE",
            FrameKind::Unknown => "UNKNOWN",
        }
    }
}

impl std::fmt::Display for FrameKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
