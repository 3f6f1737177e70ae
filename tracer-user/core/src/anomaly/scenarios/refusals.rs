//! Connections whose two ends do not understand each other: header lists, header compression, protocols.

use super::{Judged, is, judge};
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::{ConnectionEnd, Endpoint};
use crate::event::{OtherProtocol, Timestamp};
use crate::frame::{ErrorCode, Fault, HeaderBlock, Step, StreamId};
use crate::stream::record::{Outcome, RequestPhase, ResponsePhase, Seen, Tier};
use crate::stream::script::*;

use RequestPhase::Q2;
use ResponsePhase::{R0, R3};
use Verdict::{Anomaly, Expected, Unknown};

/// SETTINGS_MAX_HEADER_LIST_SIZE.
const MAX_HEADER_LIST_SIZE: u16 = 0x6;

/// Trailers with a long message, and their size as RFC 9113 section 6.5.2 counts it.
fn large_trailers(len: usize) -> (HeaderBlock, usize) {
    let text = "x".repeat(len);
    let trailers = block(&[("grpc-status", "3"), ("grpc-message", &text)]);
    (trailers, "grpc-status3grpc-message".len() + len + 64)
}

#[test]
fn scenario_48_trailers_that_are_too_large_for_the_client() {
    let cases = [
        (None, ErrorCode::FRAME_SIZE_ERROR),
        (Some(8_192), ErrorCode::FRAME_SIZE_ERROR),
        (Some(8_192), ErrorCode::PROTOCOL_ERROR),
        (Some(8_192), ErrorCode::INTERNAL_ERROR),
        (Some(8_192), ErrorCode::ENHANCE_YOUR_CALM),
    ];
    for (limit, code) in cases {
        for role in [C, S] {
            let (trailers, size) = large_trailers(9 * 1024);
            let mut script = Script::at(Some(role), true);
            if let Some(limit) = limit {
                script.settings(C, &[(MAX_HEADER_LIST_SIZE, limit)]);
            }
            script
                .request(1)
                .headers(S, 1, grpc_response(), false)
                .headers(S, 1, trailers, true)
                .rst(C, 1, code);
            let judged = judge(&mut script);
            let finding = judged.finding();
            is(
                finding,
                Kind::HeaderListTooLarge,
                Anomaly,
                C,
                (Q2, R3),
                Tier::T1,
            );
            assert_eq!(finding.code, Some(code));
            let allowed = match limit {
                Some(limit) => format!("{size} bytes, SETTINGS_MAX_HEADER_LIST_SIZE is {limit}"),
                None => format!("{size} bytes, SETTINGS_MAX_HEADER_LIST_SIZE was not announced"),
            };
            assert!(finding.summary.contains(&allowed), "{}", finding.summary);
        }
    }
}

#[test]
fn a_list_that_was_small_enough_was_refused_for_something_else() {
    for (limit, code, len) in [
        (None, ErrorCode::FRAME_SIZE_ERROR, 1_000),
        (None, ErrorCode::PROTOCOL_ERROR, 9 * 1024),
        (Some(16_384), ErrorCode::FRAME_SIZE_ERROR, 9 * 1024),
    ] {
        let mut script = Script::new();
        if let Some(limit) = limit {
            script.settings(C, &[(MAX_HEADER_LIST_SIZE, limit)]);
        }
        let mut head = grpc_response();
        head.list_size = len;
        script.request(1).headers(S, 1, head, false).rst(C, 1, code);
        let judged = judge(&mut script);
        assert_eq!(judged.finding().kind, Kind::ClientRejectedResponse);
    }
}

#[test]
fn a_request_whose_header_list_is_too_large() {
    let large = || {
        let mut block = grpc_request();
        block.list_size = 70_000;
        block
    };
    // Refused with a reset.
    let mut script = Script::new();
    script
        .settings(S, &[(MAX_HEADER_LIST_SIZE, 16_384)])
        .headers(C, 1, large(), true)
        .rst(S, 1, ErrorCode::PROTOCOL_ERROR);
    let judged = judge(&mut script);
    is(
        judged.finding(),
        Kind::HeaderListTooLarge,
        Anomaly,
        S,
        (Q2, R0),
        Tier::T1,
    );
    // Answered with 431: gRPC or not, it is not also an answer that is no gRPC.
    for early in [false, true] {
        let mut script = Script::new();
        script
            .headers(C, 1, large(), !early)
            .headers(S, 1, block(&[(":status", "431")]), true);
        if early {
            script.rst(S, 1, ErrorCode::NO_ERROR);
        }
        let judged = judge(&mut script);
        assert_eq!(judged.trouble(), [(Kind::HeaderListTooLarge, Anomaly)]);
        assert_eq!(judged.stream().http_status, Seen::Value(431));
    }
    // Refused with the whole connection.
    for code in [
        ErrorCode::ENHANCE_YOUR_CALM,
        ErrorCode::INTERNAL_ERROR,
        ErrorCode::PROTOCOL_ERROR,
    ] {
        let mut script = Script::new();
        script
            .settings(S, &[(MAX_HEADER_LIST_SIZE, 16_384)])
            .headers(C, 1, large(), true)
            .go_away(S, 0, code, "")
            .close(ConnectionEnd::PeerFin);
        let judged = judge(&mut script);
        assert_eq!(judged.trouble(), [(Kind::HeaderListTooLarge, Anomaly)]);
        let finding = &judged.findings[0];
        assert_eq!((finding.sender, finding.code), (Some(S), Some(code)));
        assert!(
            finding.summary.contains("on stream 1: 70000 bytes"),
            "{}",
            finding.summary
        );
        assert_eq!(judged.n(Kind::StreamUnprocessed, Expected), 1);
    }
}

#[test]
fn an_error_go_away_after_lists_of_the_allowed_size_is_what_it_was() {
    let mut script = Script::new();
    script
        .settings(S, &[(MAX_HEADER_LIST_SIZE, 16_384)])
        .request(1)
        .response(1)
        .go_away(S, 1, ErrorCode::PROTOCOL_ERROR, "");
    let judged = judge(&mut script);
    assert_eq!(judged.trouble(), [(Kind::ErrorGoAway, Anomaly)]);
}

#[test]
fn scenario_47_a_header_block_that_could_not_be_decoded() {
    for (by, role) in [(S, C), (S, S), (C, C)] {
        let mut script = Script::at(Some(role), true);
        script
            .request(1)
            .response(1)
            .go_away(by, 1, ErrorCode::COMPRESSION_ERROR, "hunter2");
        script
            .go_away(by, 1, ErrorCode::COMPRESSION_ERROR, "")
            .close(ConnectionEnd::PeerFin);
        let judged = judge(&mut script);
        let finding = judged.finding();
        assert_eq!(
            (finding.kind, finding.verdict),
            (Kind::HpackFailure, Anomaly)
        );
        assert_eq!(
            (finding.sender, finding.code),
            (Some(by), Some(ErrorCode::COMPRESSION_ERROR))
        );
        assert_eq!((finding.stream_id, finding.tier), (StreamId(0), Tier::T0));
        assert!(
            finding.summary.starts_with(&format!(
                "the {by} could not decode a header block that the {} encoded",
                by.peer()
            )),
            "{}",
            finding.summary
        );
        judged
            .streams
            .iter()
            .for_each(|stream| assert_eq!(stream.outcome, Outcome::Ok));
    }
}

#[test]
fn scenario_47_what_the_tracer_could_not_decode_accuses_nobody() {
    for mut script in [Script::new(), Script::late()] {
        script.step(S, &Step::Fault(Fault::HeaderBlockLost));
        script
            .request(1)
            .headers(S, 1, unseen_block(3), false)
            .data(S, 1, &message(3), false)
            .headers(S, 1, unseen_block(2), true);
        judge(&mut script).nothing(Outcome::CompleteUnknown);
    }
}

/// What comes of a connection whose server answered the preface otherwise.
fn answered(spoke: OtherProtocol, act: fn(&mut Script)) -> Judged {
    let mut script = Script::new();
    script.settings(C, &[]).request(1).request(3);
    let at = Timestamp(script.now);
    script.table.not_http2(S, spoke, at);
    act(&mut script);
    judge(&mut script)
}

#[test]
fn scenario_49_a_server_that_speaks_another_protocol_is_one_finding() {
    let ends: [fn(&mut Script); 5] = [
        |s| {
            // A keepalive that nobody answers.
            s.ping(C, false)
                .wait_ms(20_000)
                .close(ConnectionEnd::LocalClose);
        },
        |s| {
            s.close(ConnectionEnd::PeerFin);
        },
        |s| {
            s.rst(C, 1, ErrorCode::CANCEL)
                .close(ConnectionEnd::LocalReset);
        },
        |s| {
            s.go_away(C, 0, ErrorCode::PROTOCOL_ERROR, "")
                .close(ConnectionEnd::LocalClose);
        },
        |s| {
            let at = Timestamp(s.now);
            s.table.not_http2(S, OtherProtocol::Tls, at);
            s.close(ConnectionEnd::Unknown);
        },
    ];
    for (spoke, name) in [
        (OtherProtocol::Http1, "HTTP/1.x"),
        (OtherProtocol::Tls, "TLS"),
    ] {
        for act in ends {
            let judged = answered(spoke, act);
            let finding = judged.finding();
            assert_eq!(
                (finding.kind, finding.verdict, finding.tier),
                (Kind::NotHttp2, Anomaly, Tier::T0)
            );
            assert_eq!(finding.sender, Some(Endpoint::Server));
            assert_eq!(finding.stream_id, StreamId(0));
            assert!(finding.summary.contains(name), "{}", finding.summary);
            assert_eq!(judged.streams.len(), 2);
        }
    }
}

#[test]
fn a_gap_makes_a_refused_list_unknown() {
    let (trailers, _) = large_trailers(9 * 1024);
    let mut script = Script::new();
    script
        .request(1)
        .gap(S)
        .headers(S, 1, trailers, true)
        .rst(C, 1, ErrorCode::FRAME_SIZE_ERROR);
    let judged = judge(&mut script);
    assert_eq!(judged.finding().verdict, Unknown);
}
