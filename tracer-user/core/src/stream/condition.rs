//! What stands on a connection or on one of its streams for longer than it should, and what a sender
//! did against flow control (RFC 9113 sections 5.1.2, 5.2 and 6.9).
//!
//! A condition is told while it stands, not when the stream ends: what hangs does not end.

use crate::connection::{ConnectionId, Endpoint};
use crate::event::Timestamp;
use crate::stream::record::StreamRecord;

/// How long a sender with more to send must have no window, and get none, to be called stalled. Slow
/// readers give a little window now and then; what gets none for so long is stuck.
pub(crate) const WINDOW_STALL_NS: u64 = 10_000_000_000;

/// How long a window that looks overdrawn (or too large) must stay so before its sender is blamed. The
/// frame that allows it goes the other way: at the observed end a send is recorded when the call returns,
/// and what the peer did with it may be recorded before. That takes milliseconds, not a second.
pub(crate) const CROSSING_GRACE_NS: u64 = 1_000_000_000;

/// How long as many streams must be open as the peer allows.
pub(crate) const SATURATION_NS: u64 = 30_000_000_000;

/// A stream that is opened within this time after another one's end had waited for it.
pub(crate) const REOPENED_AT_ONCE_NS: u64 = 50_000_000;

/// So often a stream must have been opened at once after another one's end: before, streams may just be
/// as many as are allowed.
pub(crate) const SATURATION_REOPENED: u32 = 3;

/// How long after the last frame of a stream with a complete response its request may stay open.
pub(crate) const LEFT_OPEN_NS: u64 = 300_000_000_000;

/// How long a response may take that has no deadline. Long polls are answered or begun anew each minute
/// or so.
pub(crate) const RESPONSE_OVERDUE_NS: u64 = 300_000_000_000;

/// A condition that holds, as it is reported.
#[derive(Clone, Debug)]
pub struct ConditionReport {
    pub connection: ConnectionId,
    /// Role of the observed end.
    pub role: Option<Endpoint>,
    /// When it was reported.
    pub at: Timestamp,
    pub what: Condition,
    /// The stream as it is, when it is about one (its `end` and `outcome` mean nothing yet).
    pub stream: Option<Box<StreamRecord>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A sender waits for a window in the middle of a message.
    Stalled(Stall),
    /// A sender broke a rule of flow control; `ConditionReport::stream` is the one it did so on, if it is still
    /// there.
    Fault(FlowFault),
    /// As many streams are open as the server allows, and each end lets another one begin at once.
    Saturated {
        /// SETTINGS_MAX_CONCURRENT_STREAMS.
        cap: u32,
        since: Timestamp,
        /// How often a stream was opened at once after another one's end.
        n_reopened: u32,
    },
    /// The client opened more streams than the server allows, and the server had its acknowledgement.
    OverCap(OverCap),
    /// The response is complete, the request is not, and nothing comes.
    LeftOpen {
        /// Since when nothing comes.
        since: Timestamp,
    },
    /// The request is complete, and no response comes.
    Overdue {
        /// When the request ended.
        since: Timestamp,
    },
}

/// Which of the two windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowOf {
    Stream,
    Connection,
}

/// A sender that has more of a message to send and no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    pub sender: Endpoint,
    pub window: WindowOf,
    /// Since when it was not given any.
    pub since: Timestamp,
    /// Streams whose sender is certainly waiting: in the middle of a message.
    pub n_waiting: u32,
}

/// What was done against flow control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowFault {
    pub sender: Endpoint,
    pub window: WindowOf,
    pub at: Timestamp,
    pub breach: FlowBreach,
    /// A [`ConditionReport`] has told it already.
    pub told: bool,
}

/// Rules of flow control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowBreach {
    /// DATA beyond the window (RFC 9113 section 6.9.1).
    Overrun {
        /// By so many bytes at most.
        by: u64,
    },
    /// WINDOW_UPDATE made a window larger than 2^31-1 (RFC 9113 section 6.9.1).
    TooLarge,
    /// WINDOW_UPDATE with increment 0 (RFC 9113 section 6.9).
    ZeroIncrement,
}

/// A stream opened beyond SETTINGS_MAX_CONCURRENT_STREAMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverCap {
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub cap: u32,
    /// Streams open, this one included.
    pub n_open: u32,
    /// The client had acknowledged the SETTINGS before. Else it may not have known them.
    pub acknowledged: bool,
    pub since: Timestamp,
}

/// What flow control and the limit of streams had to do with the end of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowNotes {
    /// What a sender did against flow control, if it is certain.
    pub fault: Option<FlowFault>,
    /// When the stream ended, a sender had waited for so long that it was stalled.
    pub stalled: Option<Stall>,
    /// The stream was one too many when it was opened, and still when it ended.
    pub over_cap: Option<OverCap>,
}
