//! What a GOAWAY says beside its code.

/// Debug data of GOAWAY that is known; nothing else of it is kept.
pub(super) fn reason(debug: &[u8]) -> &'static str {
    const KNOWN: &[&str] = &[
        "app_requested",
        "graceful_stop",
        "max_age",
        "max_idle",
        "session_timed_out",
        "too_many_continuations",
        "too_many_data_frames",
        "too_many_internal_resets",
        "too_many_pings",
        "too_many_resets",
        "too_many_rststreams",
    ];
    KNOWN
        .iter()
        .find(|known| known.as_bytes() == debug)
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_debug_data_is_kept() {
        assert_eq!(reason(b"too_many_pings"), "too_many_pings");
        assert_eq!(reason(b"user hunter2 is gone"), "");
        assert_eq!(reason(b""), "");
    }
}
