//! When has a connection ended, and who ended it?

use super::ConnectionEnd;
use crate::event::{EndCause, Timestamp};
use crate::limits::{CONNECTION_LINGER_NS, HALF_CLOSED_QUIET_NS};

/// Follows the signs of a connection's end. The first sign is the cause; the last decides when nothing
/// more can follow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending {
    cause: Option<(ConnectionEnd, Timestamp)>,
    gone: Option<Timestamp>,
}

impl Ending {
    /// Takes a sign.
    pub fn sign(&mut self, cause: EndCause, at: Timestamp) {
        let end = match cause {
            EndCause::LocalClose => Some(ConnectionEnd::LocalClose),
            EndCause::PeerFin | EndCause::Eof => Some(ConnectionEnd::PeerFin),
            EndCause::PeerReset | EndCause::Broken => Some(ConnectionEnd::PeerReset),
            EndCause::LocalReset => Some(ConnectionEnd::LocalReset),
            EndCause::Closed => None,
            EndCause::Desync(_) => return,
        };
        if let (None, Some(end)) = (self.cause, end) {
            self.cause = Some((end, at));
        }
        // A reset leaves nothing to follow, like the socket's own end.
        if matches!(
            cause,
            EndCause::Closed | EndCause::PeerReset | EndCause::LocalReset
        ) {
            self.gone.get_or_insert(at);
        }
    }

    /// The cause, once the end has begun.
    #[must_use]
    pub fn cause(&self) -> Option<ConnectionEnd> {
        self.cause.map(|(why, _)| why)
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.cause.is_some() || self.gone.is_some()
    }

    /// When to look again whether it is over, given the time of the last bytes.
    #[must_use]
    pub fn due(&self, last_bytes: Timestamp) -> Option<Timestamp> {
        match (self.gone, self.cause) {
            (Some(gone), _) => Some(Timestamp(gone.0.saturating_add(CONNECTION_LINGER_NS))),
            (None, Some((_, at))) => Some(Timestamp(
                at.max(last_bytes).0.saturating_add(HALF_CLOSED_QUIET_NS),
            )),
            (None, None) => None,
        }
    }

    /// Over at `now`? Then why, and when it was.
    #[must_use]
    pub fn over(
        &self,
        now: Timestamp,
        last_bytes: Timestamp,
    ) -> Option<(ConnectionEnd, Timestamp)> {
        let due = self.due(last_bytes)?;
        (now >= due).then(|| self.verdict(now))
    }

    /// Why and when it ended, as far as is known now.
    #[must_use]
    pub fn verdict(&self, now: Timestamp) -> (ConnectionEnd, Timestamp) {
        let (why, at) = self
            .cause
            .unwrap_or((ConnectionEnd::Unknown, self.gone.unwrap_or(now)));
        (why, self.gone.unwrap_or(at).max(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp(1_000);

    #[test]
    fn the_first_sign_is_the_cause() {
        let mut ending = Ending::default();
        ending.sign(EndCause::PeerFin, T);
        ending.sign(EndCause::LocalClose, Timestamp(2_000));
        ending.sign(EndCause::Closed, Timestamp(3_000));
        let now = Timestamp(3_000 + CONNECTION_LINGER_NS);
        assert_eq!(
            ending.over(now, T),
            Some((ConnectionEnd::PeerFin, Timestamp(3_000)))
        );
    }

    #[test]
    fn a_half_close_is_no_end_while_bytes_flow() {
        let mut ending = Ending::default();
        ending.sign(EndCause::LocalClose, T);
        let bytes = Timestamp(T.0 + HALF_CLOSED_QUIET_NS);
        assert_eq!(ending.over(Timestamp(bytes.0 + 1), bytes), None);
        let quiet = Timestamp(bytes.0 + HALF_CLOSED_QUIET_NS);
        assert_eq!(
            ending.over(quiet, bytes).map(|(why, _)| why),
            Some(ConnectionEnd::LocalClose)
        );
    }

    #[test]
    fn a_lost_place_is_no_end() {
        let mut ending = Ending::default();
        ending.sign(EndCause::Desync(crate::event::Direction::Tx), T);
        assert!(!ending.begun());
    }
}
