//! Client and server, in HTTP/2 as in TLS.

/// One of the two endpoints of a connection (RFC 9113 section 2.2; RFC 8446 section 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Opened the connection.
    Client,
    /// Accepted it.
    Server,
}

impl Endpoint {
    /// 0 for the client, 1 for the server: for arrays with one element an endpoint.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Endpoint::Client => 0,
            Endpoint::Server => 1,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn peer(self) -> Endpoint {
        match self {
            Endpoint::Client => Endpoint::Server,
            Endpoint::Server => Endpoint::Client,
        }
    }

    /// `client` or `server`: label value and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Endpoint::Client => "client",
            Endpoint::Server => "server",
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
