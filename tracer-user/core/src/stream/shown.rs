//! Which header fields' values may be kept and shown.

use std::collections::BTreeSet;

/// Fields whose values are kept without being asked for. None of them carries a credential.
const DEFAULT: &[&str] = &[
    ":authority",
    ":method",
    ":path",
    ":scheme",
    ":status",
    "content-encoding",
    "content-length",
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-previous-rpc-attempts",
    "grpc-status",
    "grpc-timeout",
    "server",
    "te",
    "traceparent",
    "user-agent",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-envoy-attempt-count",
    "x-envoy-upstream-service-time",
    "x-request-id",
];

/// Fields that carry credentials by their definition or by common use.
const CREDENTIALS: &[&str] = &[
    "authentication-info",
    "authorization",
    "cookie",
    "cookie2",
    "proxy-authentication-info",
    "proxy-authorization",
    "set-cookie",
    "set-cookie2",
    "sec-websocket-key",
    "x-amz-security-token",
    "x-forwarded-client-cert",
];

/// Parts of names that mark a credential.
const CREDENTIAL_PARTS: &[&str] = &[
    "api-key",
    "apikey",
    "auth-token",
    "access-token",
    "password",
    "passwd",
    "secret",
    "authorization",
    "cookie",
    "jwt",
    "csrf-token",
    "session-token",
    "id-token",
    "private-token",
    "credential",
];

/// Why a field may not be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShownError {
    /// It carries a credential.
    #[error("cannot show header {0:?}: it carries a credential; leave it out")]
    Credential(String),
    /// It is no field name (RFC 9110 section 5.1).
    #[error("cannot show header {0:?}: it is no header name; give a name such as x-request-id")]
    NotAName(String),
}

/// The allow-list of header names whose values may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    names: BTreeSet<String>,
    stories: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Shown {
            names: DEFAULT.iter().map(|name| (*name).to_owned()).collect(),
            stories: true,
        }
    }
}

impl Shown {
    /// No value of any field, and no story: where streams are only counted, nobody would read them.
    #[must_use]
    pub fn nothing() -> Self {
        Shown {
            names: BTreeSet::new(),
            stories: false,
        }
    }

    /// Whether stories of streams are kept.
    #[must_use]
    pub const fn stories(&self) -> bool {
        self.stories
    }

    /// The default names and these.
    ///
    /// # Errors
    /// A name that carries a credential, or that is no header name, is refused.
    pub fn with<I, S>(names: I) -> Result<Self, ShownError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let mut shown = Shown::default();
        for name in names {
            let name = name.as_ref().trim().to_ascii_lowercase();
            let bare = name.strip_prefix(':').unwrap_or(&name);
            if bare.is_empty() || !bare.bytes().all(is_token) {
                return Err(ShownError::NotAName(name));
            }
            if CREDENTIALS.contains(&name.as_str())
                || CREDENTIAL_PARTS.iter().any(|part| name.contains(part))
            {
                return Err(ShownError::Credential(name));
            }
            shown.names.insert(name);
        }
        Ok(shown)
    }

    /// The name as text, if its value may be kept.
    #[must_use]
    pub fn allows(&self, name: &[u8]) -> Option<&str> {
        let name = std::str::from_utf8(name).ok()?;
        self.names.get(name).map(String::as_str)
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_carry_no_credential() {
        let shown = Shown::default();
        assert_eq!(shown.allows(b":path"), Some(":path"));
        assert_eq!(shown.allows(b"x-request-id"), Some("x-request-id"));
        assert_eq!(shown.allows(b"authorization"), None);
        assert_eq!(shown.allows(b"cookie"), None);
        assert_eq!(shown.allows(b"grpc-message"), None);
        assert_eq!(shown.allows(b"\xff"), None);
        assert_eq!(Shown::with(DEFAULT), Ok(Shown::default()));
    }

    #[test]
    fn a_name_asked_for_is_added_in_lower_case() {
        let shown = Shown::with(["X-Call-Id"]).unwrap();
        assert_eq!(shown.allows(b"x-call-id"), Some("x-call-id"));
        assert_eq!(shown.allows(b":path"), Some(":path"));
    }

    #[test]
    fn a_credential_is_refused() {
        for name in [
            "Authorization",
            "cookie",
            "set-cookie",
            "proxy-authorization",
            "x-api-key",
            "X-Auth-Token",
            "my-client-secret",
        ] {
            let refused = Shown::with([name]).unwrap_err();
            assert_eq!(refused, ShownError::Credential(name.to_ascii_lowercase()));
            assert!(refused.to_string().contains("credential"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", ":", "a b", "x:y", "ü", "x\ny"] {
            assert!(
                matches!(Shown::with([name]), Err(ShownError::NotAName(_))),
                "{name:?}"
            );
        }
    }
}
