//! Stage 2: the bytes of one socket in order, who is the client, what it speaks.

pub mod end;
pub mod order;
pub mod role;
pub mod table;
pub mod upgrade;

pub use crate::endpoint::Endpoint;

/// h2trace's own number of a connection end, counted from 1 in the order they were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl std::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a connection ended, as seen from the observed end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionEnd {
    /// The observed process closed it first.
    LocalClose,
    /// The peer's FIN came first (AF_UNIX: a receive returned 0).
    PeerFin,
    /// The peer reset it (TCP RST, or EPIPE / ECONNRESET).
    PeerReset,
    /// A TCP RST was sent from here.
    LocalReset,
    /// Evicted from the table, or lost from sight.
    Unknown,
}

impl ConnectionEnd {
    /// Label value and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ConnectionEnd::LocalClose => "local_close",
            ConnectionEnd::PeerFin => "peer_fin",
            ConnectionEnd::PeerReset => "peer_reset",
            ConnectionEnd::LocalReset => "local_reset",
            ConnectionEnd::Unknown => "unknown",
        }
    }
}
