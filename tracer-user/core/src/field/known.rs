//! The names of fields that this program asks for.

/// Declares the names, so that none is without its text.
macro_rules! known {
    ($($variant:ident = $name:literal,)*) => {
        /// A name that this program asks for, or another one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Known {
            $(#[doc = $name] $variant,)*
            /// Any other name, or one that is unseen.
            Other,
        }

        impl Known {
            /// The one of this name.
            pub(crate) fn of(name: &[u8]) -> Known {
                match name {
                    $(name if name == $name.as_bytes() => Known::$variant,)*
                    _ => Known::Other,
                }
            }

            /// Its text.
            pub(crate) const fn name(self) -> Option<&'static [u8]> {
                match self {
                    $(Known::$variant => Some($name.as_bytes()),)*
                    Known::Other => None,
                }
            }
        }
    };
}

known! {
    // The pseudo-header fields come first: `is_pseudo` counts on it.
    Method = ":method",
    Scheme = ":scheme",
    Path = ":path",
    Authority = ":authority",
    Protocol = ":protocol",
    Status = ":status",
    // Those of an HTTP/1.1 connection come next (RFC 9113 section 8.2.2).
    Connection = "connection",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentType = "content-type",
    GrpcAcceptEncoding = "grpc-accept-encoding",
    GrpcEncoding = "grpc-encoding",
    GrpcPreviousRpcAttempts = "grpc-previous-rpc-attempts",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Host = "host",
    Server = "server",
    Te = "te",
    Traceparent = "traceparent",
    UserAgent = "user-agent",
    XB3Spanid = "x-b3-spanid",
    XB3Traceid = "x-b3-traceid",
    XEnvoyAttemptCount = "x-envoy-attempt-count",
    XEnvoyUpstreamServiceTime = "x-envoy-upstream-service-time",
    XRequestId = "x-request-id",
}

impl Known {
    /// A pseudo-header field of RFC 9113 or RFC 8441.
    pub(crate) const fn is_pseudo(self) -> bool {
        (self as u8) <= Known::Status as u8
    }

    /// It belongs to an HTTP/1.1 connection.
    pub(crate) const fn is_connection_specific(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::Upgrade
        )
    }

    /// Its place in a set of names.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// The same, and nothing for a name that is not known.
    pub(crate) const fn bit_if_known(self) -> u64 {
        match self {
            Known::Other => 0,
            known => known.bit(),
        }
    }
}
