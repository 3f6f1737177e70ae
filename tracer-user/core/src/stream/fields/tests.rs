//! The rules that the fields of a block break.

use super::*;
use crate::field::Shown;
use crate::stream::script::{block, grpc_request, grpc_response, trailers, unseen_block};

const GET: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "a"),
];

fn with(begin: &[(&str, &str)], more: &[(&str, &str)]) -> HeaderBlock {
    block(&[begin, more].concat())
}

/// The rule that is broken; what is clean at first sight breaks none.
fn broken(block: &HeaderBlock, section: Section) -> Option<BrokenFieldRule> {
    let found = super::broken(block, section);
    let is_clean = is_clean(block.facts(&Shown::default()), block.complete, section);
    assert!(!is_clean || found.is_none(), "{block:?}: {found:?}");
    found
}

#[test]
fn what_nearly_all_send_is_clean_at_first_sight() {
    for (block, section) in [
        (grpc_request(), Section::Request),
        (grpc_response(), Section::Response { end_stream: false }),
        (trailers("0"), Section::Trailers { end_stream: true }),
    ] {
        let facts = block.facts(&Shown::default());
        assert!(is_clean(facts, block.complete, section), "{block:?}");
    }
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
        (with(&GET[..3], &[("host", "a")]), Section::Request),
        (
            block(&[(":method", "GET"), (":scheme", "x-a"), (":path", "/")]),
            Section::Request,
        ),
        (
            block(&[(":status", "204"), ("content-length", "0")]),
            Section::Response { end_stream: true },
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
fn what_is_borne_unless_refused_hides_no_other_rule() {
    const WANT: Option<BrokenFieldRule> = light(Rule::PathCharacter);
    let asks = |authority: &[(&str, &str)], path| {
        let begin = [(":method", "GET"), (":scheme", "http")];
        broken(
            &block(&[&begin[..], authority, &[(":path", path)]].concat()),
            Section::Request,
        )
    };
    assert_eq!(asks(&[(":authority", "")], "/a b"), WANT);
    assert_eq!(asks(&[], "/a b"), WANT);
    assert_eq!(asks(&[], "/"), light(Rule::NoAuthority));
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
            "8.5",
        ),
        (
            with(GET, &[(":protocol", "websocket")]),
            ":protocol in a request that is no CONNECT",
        ),
    ] {
        breaks(&block, Section::Request, want, true);
    }
    for (block, want) in [
        (block(&GET[..3]), "neither :authority nor host"),
        (
            with(&GET[..3], &[(":authority", "")]),
            "an empty :authority",
        ),
        (
            with(&GET[..3], &[("host", "")]),
            "an empty :authority or host",
        ),
        (with(&GET[1..], &[(":method", "G ET")]), "no token"),
    ] {
        breaks(&block, Section::Request, want, false);
    }
    for (block, section) in [
        (
            block(&[(":status", "204"), ("content-length", "5")]),
            Section::Response { end_stream: true },
        ),
        (
            block(&[(":status", "100"), ("content-length", "5")]),
            Section::Informational,
        ),
    ] {
        breaks(&block, section, "content-length in a response", false);
    }
    breaks(
        &block(&[(":status", "101")]),
        Section::Informational,
        "101",
        false,
    );
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
        "another :method than POST",
        false,
    );
    breaks(
        &with(&[&[(":method", "POST")], &GET[1..]].concat(), &grpc),
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
