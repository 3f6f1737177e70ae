//! Which header fields' values may be kept and shown.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Field, Known};
use crate::limits;

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
    "dpop",
    "proxy-authentication-info",
    "proxy-authorization",
    "sec-websocket-protocol",
    "set-cookie",
    "set-cookie2",
    "sec-websocket-key",
    "sid",
    "x-amz-signature",
    "x-auth",
    "x-forwarded-client-cert",
    "x-sid",
];

/// Parts of names that mark a credential.
const CREDENTIAL_PARTS: &[&str] = &[
    "access-key",
    "account-key",
    "api-key",
    "apikey",
    "assertion",
    "auth-key",
    "authorization",
    "cookie",
    "credential",
    "csrf",
    "functions-key",
    "jwt",
    "passwd",
    "password",
    "private-key",
    "secret",
    "session",
    "subscription-key",
    "token",
    "xsrf",
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
    /// Those of them that are known, as a set of their bits.
    known: u64,
    /// Whatever their names are.
    all: bool,
    stories: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Shown::of(DEFAULT.iter().map(|name| (*name).to_owned()).collect())
    }
}

impl Shown {
    fn of(names: BTreeSet<String>) -> Shown {
        let bits = names
            .iter()
            .map(|name| Known::of(name.as_bytes()).bit_if_known());
        Shown {
            known: bits.fold(0, |bits, bit| bits | bit),
            names,
            all: false,
            stories: true,
        }
    }

    /// The values of all fields, credentials included, and what stands in place of a gRPC message: for files that belong
    /// to who reads them.
    #[must_use]
    pub fn everything() -> Self {
        Shown {
            all: true,
            ..Shown::default()
        }
    }

    /// No value of any field, and no story: where streams are only counted, nobody would read them.
    #[must_use]
    pub fn nothing() -> Self {
        Shown {
            stories: false,
            ..Shown::of(BTreeSet::new())
        }
    }

    /// Whether bytes of bodies may be kept.
    #[must_use]
    pub const fn bodies(&self) -> bool {
        self.all
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
        let mut shown = Shown::default().names;
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
            shown.insert(name);
        }
        Ok(Shown::of(shown))
    }

    /// Whether the value of a field of this name may be kept.
    #[must_use]
    pub fn allows(&self, name: &[u8]) -> bool {
        self.all || std::str::from_utf8(name).is_ok_and(|name| self.names.contains(name))
    }

    /// Whether the value of this field may be kept.
    pub(crate) fn allows_field(&self, field: &Field) -> bool {
        match (field.known(), field.name()) {
            (Known::Other, Some(name)) => self.allows(name),
            (Known::Other, None) => false,
            (known, _) => self.all || self.known & known.bit() != 0,
        }
    }
}

/// A value that nothing has to be taken from: nearly all are.
pub(super) fn plain(value: &[u8]) -> Option<&str> {
    let short = value.len() <= limits::SHOWN_VALUE;
    let printable = value
        .iter()
        .fold(true, |all, byte| all & matches!(byte, b' '..=b'~'));
    std::str::from_utf8(value)
        .ok()
        .filter(|_| short && printable)
}

/// The value of such a field is not kept whole.
pub(super) fn is_cut(known: Known, value: &[u8]) -> bool {
    match known {
        Known::Path => value.iter().any(ends_path),
        Known::Authority => value.contains(&b'@'),
        _ => false,
    }
}

/// The query, a fragment, or the parameters of a segment (`;jsessionid=`, RFC 3986 section 3.3) begin here.
const fn ends_path(byte: &u8) -> bool {
    matches!(byte, b'?' | b'#' | b';')
}

/// A value as it may be kept: text, of bounded length, of `:path` without what may follow it, and of `:authority`
/// without the user, both of which may carry a credential.
pub(super) fn text(known: Known, value: &[u8]) -> Arc<str> {
    let value = match known {
        Known::Path => value.split(ends_path).next().unwrap_or_default(),
        Known::Authority => value.rsplit(|b| *b == b'@').next().unwrap_or_default(),
        _ => value,
    };
    let cut = value.get(..limits::SHOWN_VALUE).unwrap_or(value);
    if let Some(text) = plain(cut) {
        return text.into();
    }
    let mut text = String::from_utf8_lossy(cut).into_owned();
    text.retain(|c| !c.is_control());
    // A character cut in the middle became a replacement character, which is longer than what was cut.
    while text.len() > limits::SHOWN_VALUE {
        text.pop();
    }
    text.into()
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
        assert!(shown.allows(b":path"));
        assert!(shown.allows(b"x-request-id"));
        assert!(!shown.allows(b"authorization"));
        assert!(!shown.allows(b"cookie"));
        assert!(!shown.allows(b"grpc-message"));
        assert!(!shown.allows(b"\xff"));
        assert_eq!(Shown::with(DEFAULT), Ok(Shown::default()));
    }

    #[test]
    fn a_field_is_allowed_as_its_name_is() {
        let shown = Shown::with(["x-call-id"]).unwrap();
        for name in DEFAULT.iter().copied().chain([
            "x-call-id",
            "authorization",
            "cookie",
            "upgrade",
            "x-other",
            "\u{fc}",
        ]) {
            let field = Field::new(Some(name.as_bytes()), Some(b"v"));
            let allowed = shown.allows(name.as_bytes());
            assert_eq!(shown.allows_field(&field), allowed, "{name}");
            assert!(!Shown::nothing().allows_field(&field), "{name}");
        }
        assert!(!shown.allows_field(&Field::unseen()));
    }

    #[test]
    fn long_and_odd_values_are_cut_and_cleaned() {
        let long = "é".repeat(limits::SHOWN_VALUE);
        for value in [long.as_bytes(), &[0xff; 1000], b"a\x1b[31m\n"] {
            let kept = text(Known::UserAgent, value);
            assert!(kept.len() <= limits::SHOWN_VALUE);
            assert!(!kept.contains(char::is_control));
        }
        for path in [
            "/a?token=hunter2",
            "/a;jsessionid=hunter2",
            "/a#hunter2",
            "/a;b/c?d",
        ] {
            assert!(is_cut(Known::Path, path.as_bytes()));
            assert_eq!(&*text(Known::Path, path.as_bytes()), "/a");
        }
        for authority in ["me:hunter2@host:80", "a@b@host:80"] {
            assert!(is_cut(Known::Authority, authority.as_bytes()));
            assert_eq!(&*text(Known::Authority, authority.as_bytes()), "host:80");
        }
        assert!(!is_cut(Known::Path, b"/a.B/C") && !is_cut(Known::Authority, b"host:80"));
    }

    #[test]
    fn a_name_asked_for_is_added_in_lower_case() {
        let shown = Shown::with(["X-Call-Id"]).unwrap();
        assert!(shown.allows(b"x-call-id"));
        assert!(shown.allows(b":path"));
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
            "x-vault-token",
            "token",
            "refresh-token",
            "x-auth",
            "x-auth-key",
            "session",
            "sid",
            "dpop",
            "x-private-key",
            "x-xsrf-token",
            "x-access-key",
            "x-functions-key",
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
