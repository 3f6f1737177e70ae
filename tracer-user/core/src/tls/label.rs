//! The names that secrets have in key logs.

use super::opener::LONGEST_SECRET;
use super::suite::Hash;

/// Length of TLS 1.2's master secret (RFC 5246 section 8.1).
const MASTER: usize = LONGEST_SECRET;

/// What a secret is for, by its name in key logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// TLS 1.2.
    Master,
    /// TLS 1.3: what the client sends before the server has answered.
    ClientEarly,
    /// What the client sends in the handshake.
    ClientHandshake,
    /// What the server does.
    ServerHandshake,
    /// What the client sends afterwards.
    Client,
    /// What the server does.
    Server,
}

impl Label {
    /// How many there are.
    pub const COUNT: usize = Label::ALL.len();

    pub(super) const ALL: [Label; 6] = [
        Label::Master,
        Label::ClientEarly,
        Label::ClientHandshake,
        Label::ServerHandshake,
        Label::Client,
        Label::Server,
    ];

    /// None: one of another use, such as exporters, QUIC and keys of RSA.
    #[must_use]
    pub fn named(name: &str) -> Option<Label> {
        Some(match name {
            "CLIENT_RANDOM" => Label::Master,
            "CLIENT_EARLY_TRAFFIC_SECRET" => Label::ClientEarly,
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => Label::ClientHandshake,
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => Label::ServerHandshake,
            "CLIENT_TRAFFIC_SECRET_0" => Label::Client,
            "SERVER_TRAFFIC_SECRET_0" => Label::Server,
            _ => return None,
        })
    }

    /// A secret for it has such a length.
    pub(super) const fn fits(self, len: usize) -> bool {
        match self {
            Label::Master => len == MASTER,
            _ => len == Hash::Sha256.len() || len == Hash::Sha384.len(),
        }
    }
}
