//! Scenarios of a proxy's two hops: what becomes of the request, of cancels, and of retries.

use super::proxied::{Proxied, passed_on, request};
use crate::anomaly::kind::{Kind, Verdict};
use crate::connection::ConnectionEnd;
use crate::frame::ErrorCode;
use crate::hop::{By, Confidence};
use crate::limits;
use crate::stream::script::*;

use Verdict::{Anomaly, Expected, Suspicious};

/// A whole request comes in and goes out.
fn whole_request(proxy: &mut Proxied, down: u32, up: u32, id: &str) {
    proxy
        .down(|s| {
            s.headers(C, down, request(id), false)
                .data(C, down, &message(11), true);
        })
        .up(|s| {
            s.headers(C, up, passed_on(id, up), false)
                .data(C, up, &message(11), true);
        });
}

#[test]
fn scenario_53_a_cancel_that_changes_its_code() {
    let mut proxy = Proxied::new();
    whole_request(&mut proxy, 1, 1, "call-7");
    proxy
        .down(|s| {
            s.rst(C, 1, ErrorCode::CANCEL);
        })
        .up(|s| {
            s.rst(C, 1, ErrorCode::NO_ERROR);
        })
        .settle();
    assert_eq!(proxy.kinds(), [(Kind::ProxyTranslatedCode, Expected)]);
    let [_, to_server] = proxy.request().codes();
    assert_eq!(
        to_server,
        (Some(ErrorCode::CANCEL), Some(ErrorCode::NO_ERROR))
    );
}

#[test]
fn scenario_53_a_cancel_that_keeps_its_code_is_nothing() {
    let mut proxy = Proxied::new();
    whole_request(&mut proxy, 1, 1, "call-7");
    proxy
        .down(|s| {
            s.rst(C, 1, ErrorCode::CANCEL);
        })
        .up(|s| {
            s.rst(C, 1, ErrorCode::CANCEL);
        })
        .settle();
    assert_eq!(proxy.kinds(), []);
}

#[test]
fn an_error_that_is_told_as_no_error_is_suspicious() {
    for (came, sent, want) in [
        (
            ErrorCode::INTERNAL_ERROR,
            ErrorCode::NO_ERROR,
            Some(Suspicious),
        ),
        (ErrorCode::CANCEL, ErrorCode::INTERNAL_ERROR, Some(Expected)),
        (ErrorCode::INTERNAL_ERROR, ErrorCode::INTERNAL_ERROR, None),
    ] {
        let mut proxy = Proxied::new();
        whole_request(&mut proxy, 1, 1, "call-7");
        proxy
            .up(|s| {
                s.rst(S, 1, came);
            })
            .down(|s| {
                s.rst(S, 1, sent);
            })
            .settle();
        let want: Vec<_> = want
            .map(|v| (Kind::ProxyTranslatedCode, v))
            .into_iter()
            .collect();
        assert_eq!(proxy.kinds(), want);
    }
}

#[test]
fn scenario_54_the_upstream_stream_stays_open_after_the_client_has_gone() {
    for by_reset in [true, false] {
        let mut proxy = Proxied::new();
        whole_request(&mut proxy, 1, 1, "call-7");
        proxy.down(|s| {
            if by_reset {
                s.rst(C, 1, ErrorCode::CANCEL)
            } else {
                s.close(ConnectionEnd::PeerFin)
            };
        });
        proxy.settle();
        proxy.pass(limits::HOP_WAIT_NS - limits::HOP_SETTLE_NS - 2 * limits::STREAM_LINGER_NS);
        assert!(proxy.requests.is_empty(), "too early");
        proxy.pass(limits::HOP_SETTLE_NS + 2 * limits::STREAM_LINGER_NS);
        assert_eq!(proxy.kinds(), [(Kind::CancelNotPropagated, Suspicious)]);
        // What ends after all, much later, changes nothing.
        proxy.pass(50_000 * MS).up(|s| {
            s.response(1);
        });
        proxy.settle();
        assert_eq!(proxy.findings.len(), 1);
        assert_eq!(proxy.requests.len(), 1);
    }
}

#[test]
fn a_cancel_that_is_passed_on_in_time_is_nothing() {
    let mut proxy = Proxied::new();
    whole_request(&mut proxy, 1, 1, "call-7");
    proxy.down(|s| {
        s.close(ConnectionEnd::PeerReset);
    });
    proxy.pass(limits::HOP_WAIT_NS / 2).up(|s| {
        s.rst(C, 1, ErrorCode::CANCEL);
    });
    proxy.settle();
    assert_eq!(proxy.kinds(), []);
}

#[test]
fn scenario_55_a_retry_that_succeeds_hides_a_failure() {
    for id in ["call-7", ""] {
        let mut proxy = Proxied::new();
        whole_request(&mut proxy, 1, 1, id);
        proxy.up(|s| {
            s.rst(S, 1, ErrorCode::INTERNAL_ERROR);
        });
        proxy
            .up(|s| {
                s.wait_ms(25);
                // Envoy gives each attempt the same x-request-id.
                s.headers(C, 3, passed_on(id, 1), false)
                    .data(C, 3, &message(11), true);
            })
            .up(|s| {
                s.response(3);
            });
        proxy
            .down(|s| {
                s.response(1);
            })
            .settle();
        assert_eq!(
            proxy.kinds(),
            [(Kind::RetryHiddenFailure, Expected)],
            "{id}"
        );
        let hop = proxy.request();
        let attempts: Vec<_> = hop.upstream.iter().map(|a| a.stream_id.0).collect();
        assert_eq!(attempts, [1, 3]);
        assert_eq!(hop.serving().unwrap().stream_id.0, 3);
    }
}

#[test]
fn scenario_55_alike_retries_are_told_apart_by_the_proxys_own_id() {
    let mut proxy = Proxied::new();
    for id in [1, 3] {
        whole_request(&mut proxy, id, id, "");
    }
    proxy.up(|s| {
        s.rst(S, 1, ErrorCode::REFUSED_STREAM);
        // While a third call is read and not passed on yet.
    });
    proxy.down(|s| {
        s.headers(C, 5, request(""), false)
            .data(C, 5, &message(11), true);
    });
    proxy.up(|s| {
        s.headers(C, 5, passed_on("", 1), false)
            .data(C, 5, &message(11), true);
        s.headers(C, 7, passed_on("", 5), false)
            .data(C, 7, &message(11), true);
        for id in [3, 5, 7] {
            s.response(id);
        }
    });
    proxy.down(|s| {
        for id in [1, 3, 5] {
            s.response(id);
        }
    });
    proxy.settle();
    assert_eq!(proxy.requests.len(), 3);
    for hop in &proxy.requests {
        let attempts: Vec<_> = hop.upstream.iter().map(|a| a.stream_id.0).collect();
        let want: &[u32] = match hop.downstream.record.stream_id.0 {
            1 => &[1, 5],
            3 => &[3],
            _ => &[7],
        };
        assert_eq!(attempts, want);
    }
    assert_eq!(
        proxy
            .requests
            .iter()
            .flat_map(|hop| &hop.upstream)
            .filter(|a| a.join.by == By::EarlierAttempt)
            .count(),
        1
    );
    assert_eq!(proxy.kinds(), [(Kind::RetryHiddenFailure, Expected)]);
}

#[test]
fn a_hedge_that_lost_is_no_failure() {
    let mut proxy = Proxied::new();
    whole_request(&mut proxy, 1, 1, "call-7");
    proxy.up(|s| {
        s.headers(C, 3, passed_on("call-7", 1), false)
            .data(C, 3, &message(11), true);
        s.response(3).rst(C, 1, ErrorCode::CANCEL);
    });
    proxy
        .down(|s| {
            s.response(1);
        })
        .settle();
    assert_eq!(proxy.request().upstream.len(), 2);
    assert_eq!(proxy.kinds(), []);
}

#[test]
fn a_request_that_the_proxy_cut_is_found() {
    let mut proxy = Proxied::new();
    proxy.down(|s| {
        s.headers(C, 1, request("call-7"), false)
            .data(C, 1, &message(50_000), true);
    });
    proxy.up(|s| {
        s.headers(C, 1, passed_on("call-7", 1), false)
            .data(C, 1, &message(50_000)[..20_000], false)
            .rst(C, 1, ErrorCode::INTERNAL_ERROR);
    });
    proxy
        .down(|s| {
            s.rst(S, 1, ErrorCode::INTERNAL_ERROR);
        })
        .settle();
    assert_eq!(proxy.kinds(), [(Kind::ProxyTruncatedRequest, Anomaly)]);
    assert!(
        proxy.finding().summary.contains("20000 of its 50005 bytes"),
        "{}",
        proxy.finding().summary
    );
}

#[test]
fn an_answer_of_the_proxy_itself_is_expected() {
    let mut proxy = Proxied::new();
    // Before anything of this path was passed on, the process may be no proxy at all.
    proxy.down(|s| {
        s.headers(C, 1, request("a"), true)
            .headers(S, 1, trailers_only("14"), true);
    });
    proxy.settle();
    assert!(proxy.requests.is_empty());
    whole_request(&mut proxy, 3, 1, "b");
    proxy.up(|s| {
        s.response(1);
    });
    proxy.down(|s| {
        s.response(3);
    });
    proxy.settle();
    proxy.down(|s| {
        s.headers(C, 5, request("c"), true)
            .headers(S, 5, trailers_only("14"), true);
    });
    proxy.settle();
    assert_eq!(proxy.kinds(), [(Kind::SynthesizedAnswer, Expected)]);
    assert!(proxy.requests[1].upstream.is_empty() && proxy.requests[1].join.is_none());
}

fn trailers_only(status: &str) -> crate::frame::HeaderBlock {
    block(&[
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", status),
    ])
}

#[test]
fn an_answer_after_the_server_failed_is_the_proxys_own() {
    let mut proxy = Proxied::new();
    whole_request(&mut proxy, 1, 1, "call-7");
    proxy
        .up(|s| {
            s.rst(S, 1, ErrorCode::INTERNAL_ERROR);
        })
        .down(|s| {
            s.headers(S, 1, trailers_only("14"), true);
        })
        .settle();
    assert_eq!(proxy.kinds(), [(Kind::SynthesizedAnswer, Expected)]);
}

#[test]
fn a_refused_stream_that_is_not_tried_again_is_suspicious() {
    let mut proxy = Proxied::new();
    whole_request(&mut proxy, 1, 1, "call-7");
    proxy
        .up(|s| {
            s.rst(S, 1, ErrorCode::REFUSED_STREAM);
        })
        .down(|s| {
            s.rst(S, 1, ErrorCode::INTERNAL_ERROR);
        })
        .settle();
    assert_eq!(proxy.kinds(), [(Kind::RefusedNotRetried, Suspicious)]);
}

#[test]
fn what_a_service_calls_to_serve_its_caller_is_another_request() {
    let mut proxy = Proxied::new();
    let traced = |path: &str| {
        block(&[
            (":method", "POST"),
            (":path", path),
            ("content-type", "application/grpc"),
            ("x-request-id", "6b5f"),
        ])
    };
    proxy
        .down(|s| {
            s.headers(C, 1, traced("/shop.Shop/Buy"), true);
        })
        .up(|s| {
            s.headers(C, 1, traced("/bank.Bank/Pay"), true).response(1);
        })
        .down(|s| {
            s.headers(S, 1, grpc_response(), false)
                .rst(S, 1, ErrorCode::INTERNAL_ERROR);
        })
        .settle();
    assert_eq!(proxy.request().join.unwrap().confidence, Confidence::Id);
    assert_eq!(proxy.kinds(), []);
}

#[test]
fn scenario_58_two_tracers_leave_records_that_can_be_joined_by_request_id() {
    // At the server's node: the proxy's upstream connection ends there, and the middle hop is opaque.
    let mut server = Script::on(1, Some(S), true);
    server
        .headers(C, 1, passed_on("call-7", 9), false)
        .data(C, 1, &message(11), false);
    server.response(1).rst(S, 1, ErrorCode::NO_ERROR);
    let server = server.one();
    // At the client's node: a proxy that makes an id of its own shows it in its answer, or passes on the client's.
    let mut client = Script::on(1, Some(C), true);
    client
        .headers(C, 1, passed_on("call-7", 9), false)
        .data(C, 1, &message(11), false);
    client
        .headers(S, 1, grpc_response(), false)
        .rst(S, 1, ErrorCode::NO_ERROR);
    let client = client.one();
    let id =
        |record: &crate::stream::record::StreamRecord| record.shown.get("x-request-id").cloned();
    assert!(id(&server).is_some());
    assert_eq!(id(&server), id(&client));
    assert_eq!(
        server.response_phase,
        Some(crate::stream::record::ResponsePhase::R3)
    );
    assert_eq!(
        client.response_phase,
        Some(crate::stream::record::ResponsePhase::R1)
    );
}

/// The server answers, and the proxy keeps the answer until the client gives up after so long.
fn kept(proxy: &mut Proxied, ns: u64) {
    whole_request(proxy, 1, 1, "call-7");
    proxy.up(|s| {
        s.response(1);
    });
    proxy.pass(ns).down(|s| {
        s.rst(C, 1, ErrorCode::CANCEL);
    });
    proxy.settle();
}

#[test]
fn scenario_54_the_server_answered_and_the_client_waited_until_it_gave_up() {
    let mut proxy = Proxied::new();
    kept(&mut proxy, limits::HOP_HELD_NS);
    assert_eq!(proxy.kinds(), [(Kind::ProxyLeftClientWaiting, Suspicious)]);
    let summary = &proxy.finding().summary;
    assert!(
        summary.contains("told the client nothing, until the client gave up"),
        "{summary}"
    );
}

#[test]
fn scenario_54_the_server_reset_its_stream_and_the_client_waited_until_it_gave_up() {
    let mut proxy = Proxied::new();
    whole_request(&mut proxy, 1, 1, "call-7");
    proxy.up(|s| {
        s.rst(S, 1, ErrorCode::INTERNAL_ERROR);
    });
    proxy.pass(limits::HOP_HELD_NS).down(|s| {
        s.close(ConnectionEnd::PeerFin);
    });
    proxy.settle();
    assert_eq!(proxy.kinds(), [(Kind::ProxyLeftClientWaiting, Suspicious)]);
}

#[test]
fn a_client_that_gives_up_as_the_answer_comes_was_not_kept_waiting() {
    let mut proxy = Proxied::new();
    kept(&mut proxy, limits::HOP_HELD_NS / 2);
    assert_eq!(proxy.kinds(), []);
}

#[test]
fn a_client_whose_window_is_used_up_keeps_itself_waiting() {
    let mut proxy = Proxied::new();
    whole_request(&mut proxy, 1, 1, "call-7");
    proxy.up(|s| {
        s.headers(S, 1, grpc_response(), false)
            .data(S, 1, &message(65_530), false)
            .data(S, 1, &message(65_530), false)
            .headers(S, 1, trailers("0"), true);
    });
    proxy.down(|s| {
        s.headers(S, 1, grpc_response(), false)
            .data(S, 1, &message(65_530), false);
    });
    proxy.pass(limits::HOP_HELD_NS * 2).down(|s| {
        s.rst(C, 1, ErrorCode::CANCEL);
    });
    proxy.settle();
    assert_eq!(proxy.kinds(), []);
}

#[test]
fn a_client_that_has_not_ended_its_request_does_not_only_wait() {
    let mut proxy = Proxied::new();
    proxy.open(1, 1, "call-7").early_answer(1, 100);
    proxy.pass(limits::HOP_HELD_NS * 2).down(|s| {
        s.rst(C, 1, ErrorCode::CANCEL);
    });
    proxy.settle();
    assert_eq!(
        proxy.kinds(),
        [(Kind::EarlyResponseUpstream, Verdict::Benign)]
    );
}

#[test]
fn scenario_54_a_request_that_hangs_though_the_server_has_answered() {
    let mut proxy = Proxied::new();
    whole_request(&mut proxy, 1, 1, "call-7");
    proxy.up(|s| {
        s.response(1);
    });
    proxy.pass(limits::STREAM_LINGER_NS * 2);
    proxy.pass(crate::stream::condition::RESPONSE_OVERDUE_NS + limits::HOP_WAIT_NS);
    assert_eq!(proxy.kinds(), [(Kind::ProxyLeftClientWaiting, Suspicious)]);
    assert!(proxy.requests.is_empty(), "the request is over");
}
