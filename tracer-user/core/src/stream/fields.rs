//! Which rule of RFC 9113 sections 8.2 and 8.3, or of gRPC, the fields of a header block break. Only what
//! was seen counts: a name that is unseen breaks nothing, and nothing is missed in a block of which a part
//! is unseen.

use crate::frame::{Field, HeaderBlock, Rule};
use crate::stream::grpc::media::Media;

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// The request's HEADERS, or a PUSH_PROMISE.
    Request,
    /// HEADERS with a 1xx :status.
    Informational,
    /// The final HEADERS of the response.
    Response { end_stream: bool },
    /// What comes after them.
    Trailers { end_stream: bool },
}

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokenFieldRule {
    pub(super) rule: Rule,
    /// False for what many receivers bear.
    pub(super) grave: bool,
}

const fn grave(rule: Rule) -> Option<BrokenFieldRule> {
    Some(BrokenFieldRule { rule, grave: true })
}

const fn light(rule: Rule) -> Option<BrokenFieldRule> {
    Some(BrokenFieldRule { rule, grave: false })
}

/// A message prefix of gRPC whose first byte is no Compressed-Flag.
pub(super) const NO_COMPRESSED_FLAG: BrokenFieldRule = BrokenFieldRule {
    rule: Rule::CompressedFlag,
    grave: true,
};
/// A compressed message, and no word of how.
pub(super) const COMPRESSED_WITHOUT_ENCODING: BrokenFieldRule = BrokenFieldRule {
    rule: Rule::CompressedWithoutEncoding,
    grave: true,
};

/// Fields that belong to an HTTP/1.1 connection (RFC 9113 section 8.2.2).
const CONNECTION_SPECIFIC: &[&[u8]] = &[
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
];

/// The pseudo-header fields of a request (RFC 9113 section 8.3.1, RFC 8441 section 4).
const OF_REQUEST: &[&[u8]] = &[
    b":method",
    b":scheme",
    b":path",
    b":authority",
    b":protocol",
];

/// The pseudo-header field of a response (RFC 9113 section 8.3.2).
const OF_RESPONSE: &[&[u8]] = &[b":status"];

/// The worst rule that the block breaks.
pub(super) fn broken(block: &HeaderBlock, section: Section) -> Option<BrokenFieldRule> {
    let trailing = match section {
        Section::Trailers { end_stream: false } => grave(Rule::TrailersWithoutEndStream),
        _ => None,
    };
    trailing
        .or_else(|| each_field(block, section))
        .or_else(|| missing(block, section))
        .or_else(|| of_grpc(block, section))
}

fn each_field(block: &HeaderBlock, section: Section) -> Option<BrokenFieldRule> {
    let pseudo = match section {
        Section::Request => OF_REQUEST,
        Section::Informational | Section::Response { .. } => OF_RESPONSE,
        Section::Trailers { .. } => &[],
    };
    let mut regular_seen = false;
    for (at, field) in block.fields.iter().enumerate() {
        let Some(name) = field.name.as_deref() else {
            continue;
        };
        if name.starts_with(b":") {
            if section == (Section::Trailers { end_stream: true }) {
                return grave(Rule::PseudoFieldInTrailers);
            }
            if !pseudo.contains(&name) {
                return grave(Rule::PseudoFieldUndefined);
            }
            if regular_seen {
                return grave(Rule::PseudoFieldLate);
            }
            let earlier = block.fields.get(..at).unwrap_or_default();
            if earlier.iter().any(|f| f.name.as_deref() == Some(name)) {
                return grave(Rule::PseudoFieldTwice);
            }
        } else {
            regular_seen = true;
            let broken = of_name(name).or_else(|| of_connection(name, field, section));
            if broken.is_some() {
                return broken;
            }
        }
        let value = field.value.as_deref().unwrap_or_default();
        if any(value, |byte| matches!(byte, 0 | b'\r' | b'\n')) {
            return grave(Rule::FieldValue);
        }
    }
    None
}

fn of_name(name: &[u8]) -> Option<BrokenFieldRule> {
    let forbidden = |byte: u8| matches!(byte, 0..=0x20 | b':' | 0x7f..=0xff);
    if !name.is_empty() && !any(name, |byte| byte.is_ascii_uppercase() | forbidden(byte)) {
        return None;
    }
    if name.iter().any(u8::is_ascii_uppercase) {
        return grave(Rule::UppercaseName);
    }
    grave(Rule::FieldName)
}

/// Some byte is bad. All are looked at: that is faster for what is as short as fields are, and mostly good.
fn any(bytes: &[u8], bad: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |any, byte| any | bad(*byte))
}

fn of_connection(name: &[u8], field: &Field, section: Section) -> Option<BrokenFieldRule> {
    let may_be = matches!(name.first(), Some(b'c' | b'k' | b'p' | b't' | b'u'));
    if may_be && CONNECTION_SPECIFIC.contains(&name) {
        return grave(Rule::ConnectionSpecificField);
    }
    let other_te = name == b"te"
        && section == Section::Request
        && field
            .value
            .as_ref()
            .is_some_and(|value| !value.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    if other_te {
        return grave(Rule::TeValue);
    }
    None
}

/// Pseudo-header fields that must be there.
fn missing(block: &HeaderBlock, section: Section) -> Option<BrokenFieldRule> {
    let absent = |name: &[u8]| !block.has(name);
    if !block.complete {
        return None;
    }
    match section {
        Section::Request => {
            let connect = block
                .value(b":method")
                .is_some_and(|method| method.as_ref() == b"CONNECT");
            // CONNECT has an authority alone (section 8.5), unless it is extended (RFC 8441).
            let broken = if connect && absent(b":protocol") {
                absent(b":authority") || !absent(b":scheme") || !absent(b":path")
            } else {
                absent(b":method") || absent(b":scheme") || absent(b":path")
            };
            broken.then_some(BrokenFieldRule {
                rule: Rule::PseudoFieldsOfRequest,
                grave: true,
            })
        }
        Section::Response { .. } if absent(b":status") => grave(Rule::NoStatus),
        Section::Response { .. } | Section::Informational | Section::Trailers { .. } => None,
    }
}

/// What gRPC demands beyond HTTP/2.
fn of_grpc(block: &HeaderBlock, section: Section) -> Option<BrokenFieldRule> {
    let grpc = block
        .value(b"content-type")
        .is_some_and(|value| Media::of(value) == Media::Grpc);
    if !grpc {
        return None;
    }
    match section {
        Section::Request if block.complete && !block.has(b"te") => light(Rule::GrpcWithoutTe),
        Section::Response { end_stream: false } if block.has(b"grpc-status") => {
            light(Rule::GrpcStatusTooEarly)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::script::{block, grpc_request, grpc_response, trailers, unseen_block};

    const GET: &[(&str, &str)] = &[(":method", "GET"), (":scheme", "http"), (":path", "/")];

    fn with(begin: &[(&str, &str)], more: &[(&str, &str)]) -> HeaderBlock {
        block(&[begin, more].concat())
    }

    #[test]
    fn well_formed_messages_break_nothing() {
        let end = Section::Trailers { end_stream: true };
        for (block, section) in [
            (grpc_request(), Section::Request),
            (grpc_response(), Section::Response { end_stream: false }),
            (trailers("0"), end),
            (with(GET, &[("te", "trailers")]), Section::Request),
            (with(GET, &[("te", "Trailers")]), Section::Request),
            (
                block(&[(":method", "CONNECT"), (":authority", "a:1")]),
                Section::Request,
            ),
            (
                block(&[
                    (":method", "CONNECT"),
                    (":protocol", "websocket"),
                    (":scheme", "https"),
                    (":path", "/chat"),
                    (":authority", "a"),
                ]),
                Section::Request,
            ),
            (
                block(&[(":status", "103"), ("link", "</a>")]),
                Section::Informational,
            ),
            (
                block(&[
                    (":status", "200"),
                    ("content-type", "application/grpc"),
                    ("grpc-status", "5"),
                ]),
                Section::Response { end_stream: true },
            ),
            (
                block(&[(":status", "200"), ("upgrade-insecure-requests", "1")]),
                Section::Response { end_stream: false },
            ),
        ] {
            assert_eq!(broken(&block, section), None, "{block:?}");
        }
    }

    #[test]
    fn each_rule_is_named() {
        let response = Section::Response { end_stream: false };
        let end = Section::Trailers { end_stream: true };
        let grpc = [("content-type", "application/grpc")];
        let breaks = |block: &HeaderBlock, section, want: &str, is_grave| {
            let found = broken(block, section).unwrap_or_else(|| panic!("{want}"));
            assert!(found.rule.as_str().contains(want), "{want}: {}", found.rule);
            assert_eq!(found.grave, is_grave, "{want}");
        };
        for (block, want) in [
            (with(GET, &[("X-Id", "1")]), "uppercase"),
            (with(GET, &[("x id", "1")]), "character"),
            (with(GET, &[("x", "a\r\nb")]), "CR or LF"),
            (with(GET, &[("connection", "close")]), "connection-specific"),
            (with(GET, &[("te", "gzip")]), "te with another value"),
            (
                with(GET, &[("a", "b"), (":authority", "c")]),
                "after a regular one",
            ),
            (with(GET, &[(":path", "/")]), "twice"),
            (with(GET, &[(":status", "200")]), "not defined"),
            (block(&GET[..2]), "8.3.1"),
            (
                block(&[(":method", "CONNECT"), (":authority", "a"), (":path", "/")]),
                "8.3.1",
            ),
        ] {
            breaks(&block, Section::Request, want, true);
        }
        for (block, want) in [
            (
                block(&[(":status", "200"), ("transfer-encoding", "chunked")]),
                "connection-specific",
            ),
            (block(&[(":status", "200"), (":path", "/")]), "not defined"),
            (block(&[("server", "x")]), "without :status"),
        ] {
            breaks(&block, response, want, true);
        }
        breaks(
            &block(&[(":status", "200"), ("grpc-status", "0")]),
            end,
            "in trailers",
            true,
        );
        breaks(
            &trailers("0"),
            Section::Trailers { end_stream: false },
            "without END_STREAM",
            true,
        );
        breaks(
            &with(GET, &grpc),
            Section::Request,
            "without te: trailers",
            false,
        );
        breaks(
            &with(&[(":status", "200"), ("grpc-status", "0")], &grpc),
            response,
            "do not end the response",
            false,
        );
    }

    #[test]
    fn what_is_unseen_is_not_missed() {
        let mut part = block(&[(":method", "POST"), ("content-type", "application/grpc")]);
        part.complete = false;
        assert_eq!(broken(&part, Section::Request), None);
        for section in [
            Section::Request,
            Section::Response { end_stream: false },
            Section::Trailers { end_stream: true },
        ] {
            assert_eq!(broken(&unseen_block(3), section), None);
        }
    }
}
