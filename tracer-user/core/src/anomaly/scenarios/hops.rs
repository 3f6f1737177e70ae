//! Scenarios of a proxy's two hops: what becomes of the response.

use super::is;
use super::proxied::{Proxied, passed_on, request};
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::ConnectionEnd;
use crate::frame::ErrorCode;
use crate::hop::{By, Confidence, EndStreamLag, ProxyKey};
use crate::stream::record::{RequestPhase, ResponsePhase, StreamEnd, Tier};
use crate::stream::script::*;

use RequestPhase::{Q1, Q2};
use ResponsePhase::{R0, R1, R3, Rb, Rm};
use Verdict::{Anomaly, Benign, Expected, Suspicious, Unknown};

/// A response of the reference incident: 5 + 11,117 bytes.
const MESSAGE: u32 = 11_117;

/// The proxy passes on `passed` bytes of the response (None: not even its HEADERS), then resets.
fn cut(proxy: &mut Proxied, passed: Option<usize>, code: ErrorCode) {
    proxy.down(|s| {
        if let Some(passed) = passed {
            s.headers(S, 1, grpc_response(), false);
            if passed > 0 {
                s.data(S, 1, &message(MESSAGE)[..passed], false);
            }
        }
        s.rst(S, 1, code);
    });
}

/// One stream's finding and one request's, and what they have in common with all of these.
fn is_cut(proxy: &mut Proxied, kind: Kind, phase: ResponsePhase, code: ErrorCode) {
    proxy.settle();
    is(proxy.finding(), kind, Anomaly, S, (Q1, phase), Tier::T2);
    assert_eq!(proxy.finding().code, Some(code));
    // The stream's own finding is the symptom; nothing else was found, and the server is not blamed.
    let trouble: Vec<_> = proxy
        .single
        .iter()
        .filter(|f| f.verdict > Expected)
        .map(|f| (f.kind, f.connection.0))
        .collect();
    let symptom = match phase {
        R0 => Kind::ResetBeforeResponse,
        _ => Kind::ResponseCutByReset,
    };
    assert_eq!(trouble, [(symptom, 1)]);
}

#[test]
fn scenario_27_the_reference_incident_whatever_the_code() {
    for code in [ErrorCode::NO_ERROR, ErrorCode::INTERNAL_ERROR] {
        let mut proxy = Proxied::new();
        proxy.open(1, 1, "call-7").early_answer(1, MESSAGE);
        cut(&mut proxy, Some(9_925), code);
        is_cut(&mut proxy, Kind::ProxyTruncatedCompleteResponse, Rm, code);
        let hop = proxy.request();
        assert_eq!(hop.missing_bytes(), Some(1_197));
        assert!(hop.trailers_dropped());
        assert_eq!(hop.early_response(), Some(true));
        assert!(matches!(hop.end_stream_lag(), EndStreamLag::Never(_)));
        assert_eq!(hop.join.unwrap().confidence, Confidence::UniqueField);
        let summary = &proxy.finding().summary;
        for part in [
            "11122 bytes",
            "9925 bytes",
            "1197 bytes are missing",
            "grpc-status 0",
        ] {
            assert!(summary.contains(part), "{summary}");
        }
    }
}

#[test]
fn scenario_27_the_windows_say_why() {
    let mut proxy = Proxied::new();
    proxy.open(1, 1, "").early_answer(1, 70_000);
    proxy.down(|s| {
        s.settings(C, &[(4, 1_000_000)])
            .headers(S, 1, grpc_response(), false)
            .data(S, 1, &message(70_000)[..65_535], false)
            .wait_ms(7)
            .rst(S, 1, ErrorCode::NO_ERROR);
    });
    proxy.settle();
    let finding = proxy.finding();
    assert_eq!(finding.kind, Kind::ProxyTruncatedCompleteResponse);
    assert_eq!(finding.windows.connection, Some(0));
    let blocked = proxy.request().blocked_ns().unwrap();
    assert!((7 * MS..8 * MS).contains(&blocked), "{blocked}");
    assert!(
        finding.summary.contains("connection window was used up"),
        "{}",
        finding.summary
    );
}

#[test]
fn scenario_28_crossing_resets_upstream_blame_the_proxy_alone() {
    for code in [ErrorCode::NO_ERROR, ErrorCode::INTERNAL_ERROR] {
        for server_resets in [true, false] {
            let mut proxy = Proxied::new();
            proxy.open(1, 1, "call-7").up(|s| {
                s.headers(S, 1, grpc_response(), false)
                    .data(S, 1, &message(MESSAGE), false)
                    .headers(S, 1, trailers("0"), true);
            });
            cut(&mut proxy, Some(9_925), code);
            proxy.up(|s| {
                s.rst(C, 1, code);
                if server_resets {
                    s.rst(S, 1, ErrorCode::NO_ERROR);
                }
            });
            proxy.settle();
            is(
                proxy.finding(),
                Kind::ProxyTruncatedCompleteResponse,
                Anomaly,
                S,
                (Q1, Rm),
                Tier::T2,
            );
            let upstream: Vec<_> = proxy
                .single
                .iter()
                .filter(|f| f.connection.0 == 2)
                .collect();
            assert!(
                upstream
                    .iter()
                    .all(|f| f.verdict == Benign || server_resets || f.verdict == Suspicious),
                "{upstream:#?}"
            );
        }
    }
}

#[test]
fn scenario_28b_a_reset_after_a_forwarded_response_is_benign() {
    for code in [ErrorCode::NO_ERROR, ErrorCode::INTERNAL_ERROR] {
        let mut proxy = Proxied::new();
        proxy
            .open(1, 1, "call-7")
            .early_answer(1, MESSAGE)
            .forward(1, MESSAGE)
            .down(|s| {
                s.rst(S, 1, code);
            })
            .settle();
        assert_eq!(proxy.kinds(), [(Kind::EarlyResponseUpstream, Benign)]);
        proxy.no_trouble();
    }
}

#[test]
fn scenario_29_headers_alone() {
    let mut proxy = Proxied::new();
    proxy.open(1, 1, "call-7").early_answer(1, MESSAGE);
    cut(&mut proxy, Some(0), ErrorCode::NO_ERROR);
    is_cut(
        &mut proxy,
        Kind::ProxyTruncatedCompleteResponse,
        R1,
        ErrorCode::NO_ERROR,
    );
    assert_eq!(proxy.request().missing_bytes(), Some(11_122));
}

#[test]
fn scenario_29_nothing_at_all() {
    let mut proxy = Proxied::new();
    proxy.open(1, 1, "call-7").early_answer(1, MESSAGE);
    cut(&mut proxy, None, ErrorCode::INTERNAL_ERROR);
    is_cut(
        &mut proxy,
        Kind::ProxyTruncatedCompleteResponse,
        R0,
        ErrorCode::INTERNAL_ERROR,
    );
}

#[test]
fn scenario_30_all_data_and_a_reset_for_trailers() {
    let mut proxy = Proxied::new();
    proxy.open(1, 1, "call-7").early_answer(1, MESSAGE);
    cut(&mut proxy, Some(11_122), ErrorCode::NO_ERROR);
    is_cut(
        &mut proxy,
        Kind::ProxyDroppedTrailers,
        Rb,
        ErrorCode::NO_ERROR,
    );
    assert_eq!(proxy.request().missing_bytes(), Some(0));
}

#[test]
fn scenario_30_end_stream_in_place_of_trailers() {
    let mut proxy = Proxied::new();
    proxy
        .open(1, 1, "call-7")
        .early_answer(1, MESSAGE)
        .down(|s| {
            s.headers(S, 1, grpc_response(), false)
                .data(S, 1, &message(MESSAGE), false)
                .data(S, 1, &[], true)
                .data(C, 1, &[], true);
        });
    proxy.settle();
    assert_eq!(proxy.kinds(), [(Kind::ProxyDroppedTrailers, Anomaly)]);
}

#[test]
fn scenario_31_all_in_one_segment() {
    let mut proxy = Proxied::new();
    proxy.open(1, 1, "call-7").up(|s| {
        // One write of the server is one read of the proxy: one time.
        let now = s.now;
        s.headers(S, 1, grpc_response(), false);
        s.now = now;
        s.data(S, 1, &message(1_995), false);
        s.now = now;
        s.headers(S, 1, trailers("0"), true);
        s.now = now;
        s.rst(S, 1, ErrorCode::NO_ERROR);
    });
    let upstream = proxy.single.len();
    cut(&mut proxy, Some(0), ErrorCode::NO_ERROR);
    is_cut(
        &mut proxy,
        Kind::ProxyTruncatedCompleteResponse,
        R1,
        ErrorCode::NO_ERROR,
    );
    assert_eq!(upstream, 0);
    let up = proxy.requests[0].serving().unwrap().record().unwrap();
    assert_eq!((up.response_phase, up.end), (Some(R3), StreamEnd::Reset));
}

#[test]
fn scenario_34_an_error_that_became_a_success() {
    for (said, told, want) in [("5", "0", Anomaly), ("5", "13", Expected)] {
        let mut proxy = Proxied::new();
        proxy.open(1, 1, "call-7").up(|s| {
            s.data(C, 1, &[], true)
                .headers(S, 1, grpc_response(), false)
                .data(S, 1, &message(100), false)
                .headers(S, 1, trailers(said), true);
        });
        proxy.down(|s| {
            s.data(C, 1, &[], true)
                .headers(S, 1, grpc_response(), false)
                .data(S, 1, &message(100), false)
                .headers(S, 1, trailers(told), true);
        });
        proxy.settle();
        assert_eq!(proxy.kinds(), [(Kind::StatusChanged, want)]);
        assert_eq!(proxy.finding().tier, Tier::T2);
    }
}

#[test]
fn scenario_26_a_proxy_that_compresses_or_transcodes_loses_nothing() {
    let json = block(&[(":status", "200"), ("content-type", "application/json")]);
    let mut gzip = grpc_response();
    gzip.fields
        .extend(block(&[("grpc-encoding", "gzip")]).fields);
    for (head, ends_on_data) in [(json, true), (gzip, false)] {
        let mut proxy = Proxied::new();
        proxy.open(1, 1, "call-7").up(|s| {
            s.data(C, 1, &[], true).response(1);
        });
        proxy.down(|s| {
            s.data(C, 1, &[], true).headers(S, 1, head, false).data(
                S,
                1,
                &message(20),
                ends_on_data,
            );
            if !ends_on_data {
                s.headers(S, 1, trailers("0"), true);
            }
        });
        proxy.settle();
        assert_eq!(proxy.kinds(), []);
        assert_eq!(proxy.request().missing_bytes(), None);
    }
}

#[test]
fn fewer_messages_in_order_are_lost_bytes() {
    let mut proxy = Proxied::new();
    proxy.open(1, 1, "call-7").up(|s| {
        s.data(C, 1, &[], true)
            .headers(S, 1, grpc_response(), false)
            .data(S, 1, &message(100), false)
            .data(S, 1, &message(100), false)
            .headers(S, 1, trailers("0"), true);
    });
    proxy.down(|s| {
        s.data(C, 1, &[], true);
    });
    proxy.forward(1, 100).settle();
    assert_eq!(proxy.kinds(), [(Kind::ProxyLostBytes, Anomaly)]);
    assert_eq!(proxy.request().missing_bytes(), Some(105));
}

#[test]
fn scenario_62_nothing_is_said_before_the_downstream_stream_has_ended() {
    let mut proxy = Proxied::new();
    proxy
        .open(1, 1, "call-7")
        .up(|s| {
            s.window_update(C, 0, 1 << 20)
                .window_update(C, 1, 1 << 20)
                .data(C, 1, &[], true)
                .headers(S, 1, grpc_response(), false)
                .data(S, 1, &message(70_000), false)
                .headers(S, 1, trailers("0"), true);
        })
        .down(|s| {
            s.data(C, 1, &[], true)
                .headers(S, 1, grpc_response(), false)
                .data(S, 1, &message(70_000)[..65_535], false);
        });
    proxy.pass(1_000 * MS);
    assert!(proxy.requests.is_empty() && proxy.findings.is_empty());
    proxy
        .down(|s| {
            s.window_update(C, 1, 65_535)
                .window_update(C, 0, 65_535)
                .pieces(
                    S,
                    1,
                    &[crate::frame::DataPiece::Hole(70_005 - 65_535)],
                    70_005 - 65_535,
                    false,
                )
                .headers(S, 1, trailers("0"), true);
        })
        .settle();
    assert_eq!(proxy.request().missing_bytes(), Some(0));
    assert_eq!(proxy.kinds(), []);
    proxy.no_trouble();
}

#[test]
fn a_response_that_comes_after_the_cut_is_not_the_proxys_loss() {
    let mut proxy = Proxied::new();
    proxy.open(1, 1, "call-7");
    cut(&mut proxy, None, ErrorCode::INTERNAL_ERROR);
    proxy.early_answer(1, MESSAGE).settle();
    assert!(
        proxy.findings.iter().all(|f| f.verdict <= Expected),
        "{:#?}",
        proxy.findings
    );
}

#[test]
fn a_proxy_that_closes_the_connection_has_cut_the_response() {
    let mut proxy = Proxied::new();
    proxy
        .open(1, 1, "call-7")
        .early_answer(1, MESSAGE)
        .down(|s| {
            s.headers(S, 1, grpc_response(), false)
                .data(S, 1, &message(MESSAGE)[..100], false)
                .close(ConnectionEnd::LocalClose);
        });
    proxy.settle();
    assert_eq!(
        proxy.kinds(),
        [(Kind::ProxyTruncatedCompleteResponse, Anomaly)]
    );
    assert!(
        proxy.finding().summary.contains("closed the connection"),
        "{}",
        proxy.finding().summary
    );
}

#[test]
fn a_client_that_gives_up_is_not_the_proxys_loss() {
    for code in [
        ErrorCode::CANCEL,
        ErrorCode::NO_ERROR,
        ErrorCode::INTERNAL_ERROR,
    ] {
        let mut proxy = Proxied::new();
        proxy
            .open(1, 1, "call-7")
            .early_answer(1, MESSAGE)
            .down(|s| {
                s.headers(S, 1, grpc_response(), false)
                    .data(S, 1, &message(MESSAGE)[..100], false)
                    .rst(C, 1, code);
            });
        proxy.settle();
        assert!(
            proxy.findings.iter().all(|f| f.verdict <= Expected),
            "{:#?}",
            proxy.findings
        );
    }
}

#[test]
fn a_gap_on_either_hop_leaves_it_unknown() {
    for downstream in [true, false] {
        let mut proxy = Proxied::new();
        proxy.open(1, 1, "call-7");
        if downstream {
            proxy.down(|s| {
                s.gap(C);
            })
        } else {
            proxy.up(|s| {
                s.gap(C);
            })
        };
        proxy.early_answer(1, MESSAGE);
        cut(&mut proxy, Some(9_925), ErrorCode::NO_ERROR);
        proxy.settle();
        assert_eq!(
            proxy.kinds(),
            [(Kind::ProxyTruncatedCompleteResponse, Unknown)]
        );
    }
}

#[test]
fn alike_calls_are_told_apart_by_the_thread_and_its_order() {
    // Fifty calls in one read, and their requests in one write, in the same order: Envoy.
    let mut proxy = Proxied::new();
    let ids: Vec<u32> = (0..50).map(|n| 2 * n + 1).collect();
    proxy.down(|s| {
        let now = s.now;
        for id in &ids {
            s.headers(C, *id, request(""), false)
                .data(C, *id, &message(11), false);
            s.now = now;
        }
    });
    proxy.up(|s| {
        for id in &ids {
            s.headers(C, id + 1_000, passed_on("", *id), false).data(
                C,
                id + 1_000,
                &message(11),
                false,
            );
        }
    });
    for id in &ids {
        proxy.early_answer(id + 1_000, 1_000);
    }
    // Every third is cut.
    let cut: Vec<u32> = ids.iter().copied().filter(|id| id % 3 == 0).collect();
    for id in &ids {
        proxy.down(|s| {
            s.headers(S, *id, grpc_response(), false);
            if cut.contains(id) {
                s.rst(S, *id, ErrorCode::NO_ERROR);
            } else {
                s.data(S, *id, &message(1_000), false)
                    .headers(S, *id, trailers("0"), true);
            }
        });
    }
    proxy.down(|s| {
        for id in &ids {
            s.data(C, *id, &[], true);
        }
    });
    proxy.settle();
    assert_eq!(proxy.requests.len(), 50);
    for hop in &proxy.requests {
        let [attempt] = hop.upstream.as_slice() else {
            panic!("{hop:#?}");
        };
        assert_eq!(
            attempt.stream_id.0,
            hop.downstream.record.stream_id.0 + 1_000
        );
        assert_eq!(
            (attempt.join.by, attempt.join.confidence),
            (By::Order, Confidence::ThreadOrder)
        );
    }
    let found: Vec<u32> = proxy
        .findings
        .iter()
        .filter(|f| (f.kind, f.verdict) == (Kind::ProxyTruncatedCompleteResponse, Anomaly))
        .map(|f| f.stream_id.0)
        .collect();
    assert_eq!(found, cut);
}

#[test]
fn alike_calls_of_other_threads_get_a_verdict_that_holds_for_all_or_none() {
    for (all_whole, want) in [(true, Anomaly), (false, Unknown)] {
        let mut proxy = Proxied::new();
        proxy.down(|s| {
            s.headers(C, 1, request(""), false)
                .headers(C, 3, request(""), false);
        });
        proxy.up(|s| {
            s.tid = 12;
            for id in [1, 3] {
                s.headers(C, id, passed_on("", id), false);
            }
        });
        proxy.early_answer(1, MESSAGE);
        proxy.up(|s| {
            s.headers(S, 3, grpc_response(), false);
            if all_whole {
                s.data(S, 3, &message(MESSAGE), false)
                    .headers(S, 3, trailers("0"), true);
            } else {
                s.data(S, 3, &message(MESSAGE)[..50], false);
            }
            s.rst(S, 3, ErrorCode::NO_ERROR);
        });
        for id in [1, 3] {
            proxy.down(|s| {
                s.headers(S, id, grpc_response(), false)
                    .rst(S, id, ErrorCode::NO_ERROR);
            });
        }
        proxy.settle();
        proxy.pass(crate::limits::HOP_SETTLE_NS);
        let verdicts: Vec<_> = proxy
            .findings
            .iter()
            .filter(|f| f.kind == Kind::ProxyTruncatedCompleteResponse)
            .map(|f| f.verdict)
            .collect();
        assert_eq!(
            verdicts,
            [want, want],
            "{:?} {:#?}",
            proxy.requests,
            proxy.single
        );
        for hop in &proxy.requests {
            assert_eq!(hop.join.unwrap().confidence, Confidence::Ambiguous);
        }
    }
}

#[test]
fn in_a_file_the_proxy_is_the_host_between() {
    let host = ProxyKey::Host("10.0.0.2".parse().unwrap(), 0);
    let mut proxy = Proxied::at(host, true);
    (proxy.down.tid, proxy.up.tid) = (0, 0);
    proxy.open(1, 1, "").early_answer(1, MESSAGE);
    cut(&mut proxy, Some(9_925), ErrorCode::NO_ERROR);
    is_cut(
        &mut proxy,
        Kind::ProxyTruncatedCompleteResponse,
        Rm,
        ErrorCode::NO_ERROR,
    );
    assert_eq!(proxy.request().proxy, host);
}

#[test]
fn an_early_response_that_is_passed_on_whole_is_a_risk_and_no_more() {
    let mut proxy = Proxied::new();
    proxy
        .open(1, 1, "call-7")
        .early_answer(1, 100)
        .forward(1, 100);
    proxy
        .down(|s| {
            s.data(C, 1, &[], true);
        })
        .settle();
    is(
        proxy.finding(),
        Kind::EarlyResponseUpstream,
        Benign,
        S,
        (Q2, R3),
        Tier::T2,
    );
}
