//! What is told of a TLS connection.

use super::failure::Failure;
use super::suite::Suite;

/// A version of TLS, as negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16);

impl Version {
    /// RFC 5246.
    pub const TLS1_2: Version = Version(0x0303);
    /// RFC 8446.
    pub const TLS1_3: Version = Version(0x0304);

    /// Its number as people write it; None: no version of TLS.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self.0 {
            0x0300 => Some("SSL 3.0"),
            0x0301 => Some("1.0"),
            0x0302 => Some("1.1"),
            0x0303 => Some("1.2"),
            0x0304 => Some("1.3"),
            _ => None,
        }
    }
}

/// Where the keys of a connection came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeySource {
    /// Nothing was opened.
    #[default]
    None,
    /// A key log opened its records.
    KeyLog,
    /// Keys that were found in the memory of one of its ends.
    Scan,
    /// Secrets that one of its ends made in the handshake, from a probe.
    Probe,
}

impl KeySource {
    /// JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            KeySource::None => "none",
            KeySource::KeyLog => "keylog",
            KeySource::Scan => "scan",
            KeySource::Probe => "probe",
        }
    }

    /// For people: what opened it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            KeySource::None => "nothing",
            KeySource::KeyLog => "a key log",
            KeySource::Scan => "keys found in memory",
            KeySource::Probe => "secrets of its handshake",
        }
    }
}

/// Why something of a TLS connection was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Its hellos were not seen: the capture begins in the middle of it, or they are no hellos.
    HandshakeUnseen,
    /// It ended before its keys were in use.
    HandshakeUnfinished,
    /// No key log has its secrets.
    NoKey,
    /// The key log's secrets open none of its records.
    KeyDoesNotFit,
    /// A suite with CBC, which hides where a message ends.
    Cbc,
    /// A suite that is not decoded.
    UnknownSuite,
    /// A version before TLS 1.2, or an unknown one.
    UnknownVersion,
    /// Bytes of it were not captured.
    LostBytes,
    /// Its keys were looked for in memory, and were not there.
    KeyNotFound,
    /// Keys of its suite cannot be found in memory: they have no schedule.
    KeyNotFindable,
    /// The memory of its process could not be read.
    MemoryUnreadable,
    /// It ended before its keys were found.
    EndedBeforeKey,
}

impl Why {
    /// All, in the order of the enumeration.
    pub const ALL: [Why; 12] = [
        Why::HandshakeUnseen,
        Why::HandshakeUnfinished,
        Why::NoKey,
        Why::KeyDoesNotFit,
        Why::Cbc,
        Why::UnknownSuite,
        Why::UnknownVersion,
        Why::LostBytes,
        Why::KeyNotFound,
        Why::KeyNotFindable,
        Why::MemoryUnreadable,
        Why::EndedBeforeKey,
    ];

    /// JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Why::HandshakeUnseen => "handshake_unseen",
            Why::HandshakeUnfinished => "handshake_unfinished",
            Why::NoKey => "no_key",
            Why::KeyDoesNotFit => "key_does_not_fit",
            Why::Cbc => "cbc",
            Why::UnknownSuite => "unknown_suite",
            Why::UnknownVersion => "unknown_version",
            Why::LostBytes => "lost_bytes",
            Why::KeyNotFound => "key_not_found",
            Why::KeyNotFindable => "key_not_findable",
            Why::MemoryUnreadable => "memory_unreadable",
            Why::EndedBeforeKey => "ended_before_key",
        }
    }

    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Why::HandshakeUnseen => "its handshake was not seen",
            Why::HandshakeUnfinished => "its handshake did not finish",
            Why::NoKey => "no key",
            Why::KeyDoesNotFit => "the key log's secrets do not open it",
            Why::Cbc => "CBC suites are not decoded",
            Why::UnknownSuite => "its cipher suite is not decoded",
            Why::UnknownVersion => "its version is not decoded",
            Why::LostBytes => "bytes of it were not captured",
            Why::KeyNotFound => "its key was not found in memory",
            Why::KeyNotFindable => "keys of its cipher suite cannot be found in memory",
            Why::MemoryUnreadable => "its process's memory could not be read",
            Why::EndedBeforeKey => "it ended before its key was found",
        }
    }
}

impl TlsInfo {
    /// Nothing that was said in clear rules out that HTTP/2 is spoken in it (RFC 7301; proxies of a mesh have names of
    /// their own for it).
    #[must_use]
    pub fn may_be_http2(&self) -> bool {
        let is_such = |name: &String| name.contains("h2") || name.contains("istio");
        match &self.alpn {
            Some(chosen) => is_such(chosen),
            None => self.alpn_offered.is_empty() || self.alpn_offered.iter().any(is_such),
        }
    }
}

/// What is known of a TLS connection. Of its handshake nothing but this is kept; certificates are not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// The random of its ClientHello, which goes in clear and is the same at both ends, through NAT too: its name.
    pub client_random: Option<[u8; 32]>,
    /// The version that the server chose.
    pub version: Option<Version>,
    /// The cipher suite that it chose.
    pub suite: Option<Suite>,
    /// The application protocol that it chose (RFC 7301); from TLS 1.3 on the server says it encrypted.
    pub alpn: Option<String>,
    /// The application protocols that the client offered, in its order.
    pub alpn_offered: Vec<String>,
    /// The server that the client asked for (RFC 6066 section 3).
    pub sni: Option<String>,
    /// What opened it.
    pub key: KeySource,
    /// Why something of it was not opened.
    pub why: Option<Why>,
    /// How its handshake failed, as far as that is in clear.
    pub failure: Option<Failure>,
}
