//! The stream states of RFC 9113 section 5.1, one machine for each direction.
//!
//! The RFC draws one machine for an endpoint; seen from between the two there are two halves, one for
//! what each endpoint sends:
//!
//! ```text
//!   Idle --HEADERS--> Open --END_STREAM--> Ended(EndStream)
//!     \                 \---RST_STREAM---> Ended(Reset)        (either endpoint's: ends both halves)
//!      \                 \--connection---> Ended(ConnectionGone)
//!       \--HEADERS with END_STREAM-------> Ended(EndStream)
//!
//!   Unseen: frames of this half may have gone by unseen (late attach, gap). Any of the above may be
//!           true. A frame that proves the half open leads to Open; END_STREAM ends it as usual.
//! ```
//!
//! `open` of the RFC is both halves Open, `half-closed` is one of them Ended, `closed` both, `reserved`
//! is a request half that a PUSH_PROMISE ended and a response half still Idle.

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::{ErrorCode, Rule};
use crate::stream::record::EndStreamOn;

/// One direction of a stream. A state holds only what is true in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfState {
    /// Certainly nothing was sent yet.
    Idle,
    /// What was sent may have gone by unseen.
    Unseen,
    /// Open for its sender.
    Open {
        /// When the first frame that showed it went by.
        since: Timestamp,
    },
    /// Nothing may follow.
    Ended(HalfEnd),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfEnd {
    EndStream {
        /// On which frame.
        on: EndStreamOn,
        at: Timestamp,
    },
    Reset {
        /// Sent by whom.
        by: Endpoint,
        code: ErrorCode,
    },
    /// The connection ended.
    ConnectionGone,
    /// We lost it from sight.
    Unseen,
}

impl HalfState {
    /// HEADERS (final ones or trailers), whole.
    #[must_use]
    pub const fn on_headers(
        self,
        at: Timestamp,
        end_stream: bool,
        on: EndStreamOn,
    ) -> (HalfState, Option<Rule>) {
        match (self, end_stream) {
            (HalfState::Ended(_), _) => (self, Some(Rule::AfterEndStream)),
            (_, true) => (HalfState::Ended(HalfEnd::EndStream { on, at }), None),
            (HalfState::Open { .. }, false) => (self, None),
            (HalfState::Idle | HalfState::Unseen, false) => (HalfState::Open { since: at }, None),
        }
    }

    /// A DATA frame's header.
    #[must_use]
    pub const fn on_data_begin(self, at: Timestamp) -> (HalfState, Option<Rule>) {
        match self {
            HalfState::Idle => (HalfState::Open { since: at }, Some(Rule::DataBeforeHeaders)),
            HalfState::Unseen => (HalfState::Open { since: at }, None),
            HalfState::Open { .. } => (self, None),
            HalfState::Ended(_) => (self, Some(Rule::AfterEndStream)),
        }
    }

    /// A DATA frame is whole and carried END_STREAM.
    #[must_use]
    pub const fn on_data_end_stream(self, at: Timestamp) -> HalfState {
        match self {
            HalfState::Ended(_) => self,
            HalfState::Idle | HalfState::Unseen | HalfState::Open { .. } => {
                HalfState::Ended(HalfEnd::EndStream {
                    on: EndStreamOn::Data,
                    at,
                })
            }
        }
    }

    /// RST_STREAM of either endpoint.
    #[must_use]
    pub const fn on_reset(self, by: Endpoint, code: ErrorCode) -> HalfState {
        self.ended_by(HalfEnd::Reset { by, code })
    }

    #[must_use]
    pub const fn on_connection_end(self) -> HalfState {
        self.ended_by(HalfEnd::ConnectionGone)
    }

    /// Frames of this half may have gone by unseen.
    #[must_use]
    pub const fn on_loss(self) -> HalfState {
        match self {
            HalfState::Ended(_) => self,
            HalfState::Idle | HalfState::Unseen | HalfState::Open { .. } => HalfState::Unseen,
        }
    }

    /// We stop following it.
    #[must_use]
    pub const fn on_leave(self) -> HalfState {
        self.ended_by(HalfEnd::Unseen)
    }

    /// END_STREAM went by.
    #[must_use]
    pub const fn end_stream_sent(self) -> bool {
        matches!(self, HalfState::Ended(HalfEnd::EndStream { .. }))
    }

    const fn ended_by(self, end: HalfEnd) -> HalfState {
        match self {
            HalfState::Ended(_) => self,
            HalfState::Idle | HalfState::Unseen | HalfState::Open { .. } => HalfState::Ended(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(7);
    const OPEN: HalfState = HalfState::Open { since: AT };
    const DONE: HalfState = HalfState::Ended(HalfEnd::EndStream {
        on: EndStreamOn::Data,
        at: AT,
    });

    #[test]
    fn headers_open_a_half_and_end_stream_ends_it() {
        assert_eq!(
            HalfState::Idle.on_headers(AT, false, EndStreamOn::Headers),
            (OPEN, None)
        );
        assert_eq!(
            HalfState::Unseen.on_headers(AT, false, EndStreamOn::Headers),
            (OPEN, None)
        );
        for state in [HalfState::Idle, HalfState::Unseen, OPEN] {
            let (ended, broken) = state.on_headers(AT, true, EndStreamOn::Trailers);
            assert!(ended.end_stream_sent());
            assert_eq!(broken, None);
        }
    }

    #[test]
    fn data_before_headers_is_a_violation_only_when_nothing_was_missed() {
        assert_eq!(
            HalfState::Idle.on_data_begin(AT),
            (OPEN, Some(Rule::DataBeforeHeaders))
        );
        assert_eq!(HalfState::Unseen.on_data_begin(AT), (OPEN, None));
    }

    #[test]
    fn nothing_leaves_an_ended_half() {
        assert_eq!(
            DONE.on_headers(AT, false, EndStreamOn::Headers),
            (DONE, Some(Rule::AfterEndStream))
        );
        assert_eq!(DONE.on_data_begin(AT), (DONE, Some(Rule::AfterEndStream)));
        assert_eq!(DONE.on_data_end_stream(Timestamp(9)), DONE);
        assert_eq!(DONE.on_reset(Endpoint::Server, ErrorCode::CANCEL), DONE);
        assert_eq!(DONE.on_connection_end(), DONE);
        assert_eq!(DONE.on_loss(), DONE);
        assert_eq!(DONE.on_leave(), DONE);
    }

    #[test]
    fn a_loss_is_a_state_of_its_own() {
        assert_eq!(OPEN.on_loss(), HalfState::Unseen);
        assert_eq!(HalfState::Idle.on_loss(), HalfState::Unseen);
        assert!(!HalfState::Unseen.end_stream_sent());
    }

    #[test]
    fn a_reset_and_a_lost_connection_are_not_end_stream() {
        assert!(
            !OPEN
                .on_reset(Endpoint::Client, ErrorCode::CANCEL)
                .end_stream_sent()
        );
        assert!(!OPEN.on_connection_end().end_stream_sent());
        assert!(!OPEN.on_leave().end_stream_sent());
    }
}
