//! What a GOAWAY says beside its code.

/// A reason that servers give in the debug data of GOAWAY. Nothing else of that data is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GoAwayReason {
    AppRequested,
    GracefulStop,
    MaxAge,
    MaxIdle,
    SessionTimedOut,
    TooManyContinuations,
    TooManyDataFrames,
    TooManyInternalResets,
    TooManyPings,
    TooManyResets,
    TooManyRstStreams,
}

impl GoAwayReason {
    pub const ALL: [GoAwayReason; 11] = [
        GoAwayReason::AppRequested,
        GoAwayReason::GracefulStop,
        GoAwayReason::MaxAge,
        GoAwayReason::MaxIdle,
        GoAwayReason::SessionTimedOut,
        GoAwayReason::TooManyContinuations,
        GoAwayReason::TooManyDataFrames,
        GoAwayReason::TooManyInternalResets,
        GoAwayReason::TooManyPings,
        GoAwayReason::TooManyResets,
        GoAwayReason::TooManyRstStreams,
    ];

    /// As it stands in the debug data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            GoAwayReason::AppRequested => "app_requested",
            GoAwayReason::GracefulStop => "graceful_stop",
            GoAwayReason::MaxAge => "max_age",
            GoAwayReason::MaxIdle => "max_idle",
            GoAwayReason::SessionTimedOut => "session_timed_out",
            GoAwayReason::TooManyContinuations => "too_many_continuations",
            GoAwayReason::TooManyDataFrames => "too_many_data_frames",
            GoAwayReason::TooManyInternalResets => "too_many_internal_resets",
            GoAwayReason::TooManyPings => "too_many_pings",
            GoAwayReason::TooManyResets => "too_many_resets",
            GoAwayReason::TooManyRstStreams => "too_many_rststreams",
        }
    }

    /// The reason that this debug data is, if it is a known one.
    pub(super) fn of(debug: &[u8]) -> Option<GoAwayReason> {
        GoAwayReason::ALL
            .into_iter()
            .find(|reason| reason.as_str().as_bytes() == debug)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_debug_data_is_kept() {
        let pings = Some(GoAwayReason::TooManyPings);
        assert_eq!(GoAwayReason::of(b"too_many_pings"), pings);
        assert_eq!(GoAwayReason::of(b"user hunter2 is gone"), None);
        assert_eq!(GoAwayReason::of(b""), None);
    }
}
