//! What is wrong with a field's value, as far as the field itself shows it.

use super::{Known, any, timeout};

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueFault {
    /// NUL, CR or LF (RFC 9113 section 8.2.1).
    Character,
    /// Another control character (RFC 9110 section 5.5).
    Control,
    /// White space before or after it (RFC 9113 section 8.2.1).
    Whitespace,
    /// A `:path` that is empty (RFC 9113 section 8.3.1).
    EmptyPath,
    /// A `:path` that does not begin with "/" (RFC 9113 section 8.3.1).
    PathWithoutSlash,
    /// A `:path` with a blank, a control character or a fragment (RFC 9113 section 8.3.1).
    PathCharacter,
    /// A `:path` with octets above 127 (RFC 3986 section 3.3).
    PathNotAscii,
    /// A `:method` that is no token (RFC 9110 section 9.1).
    Method,
    /// An `:authority` or a `host` that is empty (RFC 9113 section 8.3.1).
    EmptyAuthority,
    /// An `:authority` with user information (RFC 9113 section 8.3.1).
    UserInformation,
    /// An `:authority` with a path or a query (RFC 3986 section 3.2).
    PathInAuthority,
    /// A `:path` of "*", which only OPTIONS has (RFC 9113 section 8.3.1).
    Asterisk,
    /// A `:scheme` that is none (RFC 3986 section 3.1).
    Scheme,
    /// An `:authority` or a `host` that is no host and port (RFC 3986 section 3.2).
    Authority,
    /// A `:status` that is none (RFC 9110 section 15).
    Status,
    /// A `content-length` that is no number (RFC 9110 section 8.6).
    ContentLength,
    /// A `grpc-timeout` that is none.
    GrpcTimeout,
}

impl ValueFault {
    /// What is wrong with this value of a field of this name.
    pub(super) fn of(known: Known, value: &[u8]) -> Option<ValueFault> {
        if any(value, |byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return Some(ValueFault::Character);
        }
        let of_name = ValueFault::of_text(known, value);
        let is_control = |byte| matches!(byte, 1..=8 | 0x0b | 0x0c | 0x0e..=0x1f | 0x7f);
        of_name.or_else(|| any(value, is_control).then_some(ValueFault::Control))
    }

    /// The same of a value without control characters.
    pub(super) fn of_text(known: Known, value: &[u8]) -> Option<ValueFault> {
        let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if blank(value.first()) || blank(value.last()) {
            return Some(ValueFault::Whitespace);
        }
        match known {
            Known::Path => of_path(value),
            Known::Authority => of_authority(value),
            Known::Host if value.is_empty() => Some(ValueFault::EmptyAuthority),
            Known::Host => (!is_host_and_port(value)).then_some(ValueFault::Authority),
            Known::Scheme => (!is_scheme(value)).then_some(ValueFault::Scheme),
            Known::Method => (!is_token(value)).then_some(ValueFault::Method),
            Known::Status => (!is_status(value)).then_some(ValueFault::Status),
            Known::ContentLength => (!is_length(value)).then_some(ValueFault::ContentLength),
            Known::GrpcTimeout if timeout::parse(value).is_none() => Some(ValueFault::GrpcTimeout),
            _ => None,
        }
    }
}

/// "*" is that of OPTIONS.
fn of_path(path: &[u8]) -> Option<ValueFault> {
    match path {
        [] => Some(ValueFault::EmptyPath),
        [b'/', ..] if any(path, |byte| matches!(byte, 0..=b' ' | b'#' | 0x7f)) => {
            Some(ValueFault::PathCharacter)
        }
        [b'/', ..] => any(path, |byte| byte > 0x7f).then_some(ValueFault::PathNotAscii),
        b"*" => Some(ValueFault::Asterisk),
        _ => Some(ValueFault::PathWithoutSlash),
    }
}

fn of_authority(authority: &[u8]) -> Option<ValueFault> {
    if authority.is_empty() {
        return Some(ValueFault::EmptyAuthority);
    }
    // A password may hold what begins a path.
    if authority.contains(&b'@') {
        return Some(ValueFault::UserInformation);
    }
    if any(authority, |byte| matches!(byte, b'/' | b'?' | b'#')) {
        return Some(ValueFault::PathInAuthority);
    }
    (!is_host_and_port(authority)).then_some(ValueFault::Authority)
}

/// A name or an address, and perhaps a port (RFC 3986 sections 3.2.2 and 3.2.3).
fn is_host_and_port(value: &[u8]) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let rest = match value {
        // An address of IPv6, perhaps with its zone.
        [b'[', inner @ ..] => {
            let mut parts = inner.splitn(2, |byte| *byte == b']');
            let address = parts.next().unwrap_or_default();
            let is_address = !address.is_empty()
                && address
                    .iter()
                    .all(|byte| *byte == b':' || is_of_name(*byte));
            match parts.next() {
                Some(rest) if is_address => rest,
                _ => return false,
            }
        }
        _ => {
            let n = value.iter().take_while(|byte| is_of_name(**byte)).count();
            value.get(n..).unwrap_or_default()
        }
    };
    match rest {
        [] => true,
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// A letter, and then letters, digits and some signs (RFC 3986 section 3.1).
fn is_scheme(value: &[u8]) -> bool {
    let is_of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    value.first().is_some_and(u8::is_ascii_alphabetic) && value.iter().all(is_of_scheme)
}

/// What a method or a field name may be made of (RFC 9110 section 5.6.2).
fn is_token(value: &[u8]) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !value.is_empty() && value.iter().all(|byte| is_of_token(*byte))
}

/// Three digits; none of them begins with 0.
const fn is_status(value: &[u8]) -> bool {
    matches!(value, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'])
}

/// A number, or the same one several times: a recipient may take that for it.
fn is_length(value: &[u8]) -> bool {
    let first = value.split(|byte| *byte == b',').next();
    let mut all = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    all.all(|one| !one.is_empty() && one.iter().all(u8::is_ascii_digit) && Some(one) == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_a_value_is_told_and_what_is_well_formed_is_not() {
        for (known, good, bad) in [
            (
                Known::Other,
                "a\tb",
                vec![
                    ("a\nb", ValueFault::Character),
                    ("a\u{1b}b", ValueFault::Control),
                    ("a\u{7f}", ValueFault::Control),
                ],
            ),
            (
                Known::Other,
                "",
                vec![
                    (" a", ValueFault::Whitespace),
                    ("a\t", ValueFault::Whitespace),
                ],
            ),
            (
                Known::Status,
                "200",
                ["", "20", "2000", "099", "2o0", "+20"]
                    .map(|bad| (bad, ValueFault::Status))
                    .to_vec(),
            ),
            (
                Known::Path,
                "/a.B/C?d=%c3%a4",
                vec![
                    ("", ValueFault::EmptyPath),
                    ("a.B/C", ValueFault::PathWithoutSlash),
                    ("/a b", ValueFault::PathCharacter),
                    ("/a#b", ValueFault::PathCharacter),
                    ("/a\u{7f}", ValueFault::PathCharacter),
                ],
            ),
            (
                Known::Path,
                "/%c3%a4%20?q=a/b",
                vec![
                    ("/\t", ValueFault::Whitespace),
                    ("/\u{e4}", ValueFault::PathNotAscii),
                ],
            ),
            (
                Known::Method,
                "M-SEARCH",
                ["", "G ET", "GET/"]
                    .map(|bad| (bad, ValueFault::Method))
                    .to_vec(),
            ),
            (Known::Host, "a", vec![("", ValueFault::EmptyAuthority)]),
            (
                Known::Path,
                "/*",
                vec![
                    ("*a", ValueFault::PathWithoutSlash),
                    ("*", ValueFault::Asterisk),
                ],
            ),
            (
                Known::Scheme,
                "coap+tcp",
                ["", "1a", "ht tp", "http:"]
                    .map(|bad| (bad, ValueFault::Scheme))
                    .to_vec(),
            ),
            (
                Known::Host,
                "a_b:",
                ["a b", "a:b", "a/b", "::1", "me@a", "\u{e4}"]
                    .map(|bad| (bad, ValueFault::Authority))
                    .to_vec(),
            ),
            (
                Known::Authority,
                "[fe80::1%25eth0]:80",
                ["[::1", "[]", "[::1]80", "a<b>", "a\\b", "10.0.0.1:80:81"]
                    .map(|bad| (bad, ValueFault::Authority))
                    .to_vec(),
            ),
            (
                Known::Authority,
                "10.0.0.1,10.0.0.2:80",
                vec![("ipv4:10.0.0.1:80", ValueFault::Authority)],
            ),
            (
                Known::Authority,
                "[::1]:80",
                vec![
                    ("me:hunter2@a", ValueFault::UserInformation),
                    ("me:hun/ter2@a", ValueFault::UserInformation),
                    ("/run/a.sock", ValueFault::PathInAuthority),
                    ("a/b/c", ValueFault::PathInAuthority),
                    ("", ValueFault::EmptyAuthority),
                ],
            ),
            (
                Known::Authority,
                "%2Frun%2Fa.sock",
                vec![("a?b", ValueFault::PathInAuthority)],
            ),
            (
                Known::ContentLength,
                "42",
                vec![
                    ("", ValueFault::ContentLength),
                    ("+42", ValueFault::ContentLength),
                    ("42,43", ValueFault::ContentLength),
                    ("42,", ValueFault::ContentLength),
                ],
            ),
            (
                Known::ContentLength,
                "42, 42",
                vec![("4 2", ValueFault::ContentLength)],
            ),
            (
                Known::GrpcTimeout,
                "99999999n",
                vec![
                    ("100000000n", ValueFault::GrpcTimeout),
                    ("1", ValueFault::GrpcTimeout),
                ],
            ),
        ] {
            assert_eq!(ValueFault::of(known, good.as_bytes()), None, "{good}");
            for (value, want) in bad {
                assert_eq!(
                    ValueFault::of(known, value.as_bytes()),
                    Some(want),
                    "{value:?}"
                );
            }
        }
    }
}
