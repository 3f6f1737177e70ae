//! The diagnosis of the reference incident, as its exporters see it.

use std::sync::Arc;

use h2trace_core::anomaly::Rules;
use h2trace_core::hop::Carried;
use h2trace_core::pipeline::Output;
use h2trace_core::stream::record::{Reset, StreamEnd};

use super::*;
use crate::export::clock::WallClock;
use crate::export::sample;
use crate::export::text::{COLUMNS, Paint, Text};

fn gathered(outputs: &[Output]) -> Report {
    let mut diagnosis = Diagnosis::default();
    for output in outputs {
        diagnosis.accept(output);
    }
    diagnosis.report()
}

fn text(report: &Report) -> String {
    let clock = WallClock::with_boot(0);
    let mut text = Text::new(clock, Paint::new(false), COLUMNS, Verdict::Suspicious);
    text.diagnosis(report);
    let text = String::from_utf8(text.take()).unwrap();
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
    // Where lines are broken does not matter here.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn stream(info: &ConnectionInfo, record: StreamRecord, findings: Vec<Finding>) -> Output {
    Output::Stream {
        info: Arc::new(info.clone()),
        record: Arc::new(record),
        findings,
    }
}

#[test]
fn what_a_proxy_cut_is_told_once_with_what_was_seen() {
    let (record, findings) = sample::cut(17);
    // The same stream at the client's end, before or after the proxy's two sides are joined.
    let symptom = stream(&sample::connection(), record, findings);
    for outputs in [
        [symptom.clone(), sample::hop(17)],
        [sample::hop(17), symptom],
    ] {
        let report = gathered(&outputs);
        assert_eq!(report.cases.len(), 0, "{:?}", report.cases);
        let [proxy] = report.proxies.as_slice() else {
            panic!("{} proxies", report.proxies.len());
        };
        let cut = &proxy.cut;
        assert_eq!((cut.responses, cut.missing_bytes), (1, 531));
        assert_eq!((cut.trailers_dropped, cut.with_status_ok), (1, 1));
        assert_eq!(
            (cut.connection_window_used_up, cut.stream_window_used_up),
            (1, 0)
        );
        let text = text(&report);
        for words in [
            "envoy in shop/gateway-5c (pid 77) broke 1 of 1 request",
            "1 response was complete when it came to envoy in shop/gateway-5c (pid 77), with grpc-status 0",
            "envoy in shop/gateway-5c (pid 77) dropped 531 bytes and the trailers",
            "1 of 1 was cut while the client's connection window was used up",
            "client <-> proxy, stream 17",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }
}

#[test]
fn advice_is_marked_by_what_the_run_supports() {
    let report = gathered(&[sample::hop(17)]);
    let supported = |at| {
        let mut advice = report.proxies[0].advice.iter();
        advice.find(|advice| advice.at == at).unwrap().supported
    };
    // In this sample the proxy had ended the request before the response was complete.
    assert!(!supported(AdviceAt::Server));
    assert!(supported(AdviceAt::Window) && supported(AdviceAt::Proxy));
}

#[test]
fn a_failure_on_one_hop_names_both_ends_and_no_proxy() {
    let (record, findings) = sample::cut(17);
    let info = sample::connection();
    let report = gathered(&[stream(&info, record, findings)]);
    assert!(report.proxies.is_empty());
    let [case] = report.cases.as_slice() else {
        panic!("{:?}", report.cases);
    };
    assert_eq!((case.at_client, case.at_server), (1, 0));
    let text = text(&report);
    for words in [
        "1 x response_cut_by_reset (anomaly)",
        "client node (pid 4242), server 127.0.0.1:8080; seen at the client's end",
        "whether that server is one, or a proxy with another behind it",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[test]
fn a_failure_at_a_host_that_is_known_as_a_proxy_says_nothing_of_what_is_behind_it() {
    let (record, findings) = sample::cut(17);
    let info = sample::connection();
    let Output::Hop {
        mut request,
        findings: of_hop,
    } = sample::hop(33)
    else {
        panic!("no hop");
    };
    request.proxy = ProxyKey::Host("127.0.0.1".parse().unwrap(), 0);
    let hop = Output::Hop {
        request,
        findings: of_hop,
    };
    let failure = stream(&info, record, findings);
    let words = "whether that server is one, or a proxy with another behind it";
    assert!(text(&gathered(std::slice::from_ref(&failure))).contains(words));
    let report = gathered(&[hop, failure]);
    assert_eq!(report.cases.len(), 1);
    assert!(!text(&report).contains(words));
}

#[test]
fn requests_that_bypass_the_proxy_are_counted_apart() {
    let Output::Hop { request, findings } = sample::hop(17) else {
        panic!("no hop");
    };
    let upstream = &request.upstream[0].stream.as_ref().unwrap().tag.info;
    let proxied = stream(upstream, sample::complete(33), Vec::new());
    // Another client of the same server.
    let direct = ConnectionInfo {
        id: ConnectionId(90),
        pid: 5_000,
        local: Address::Inet("127.0.0.1:41000".parse().unwrap()),
        ..sample::connection()
    };
    let hop = Output::Hop { request, findings };
    let report = gathered(&[proxied.clone(), hop.clone()]);
    assert_eq!(report.proxies[0].directly, None);
    let directly = stream(&direct, sample::complete(1), Vec::new());
    let report = gathered(&[proxied, directly, hop]);
    let expected = Directly {
        requests: 1,
        broken: 0,
    };
    assert_eq!(report.proxies[0].directly, Some(expected));
}

#[test]
fn nothing_broken_is_one_sentence() {
    let report = gathered(&[stream(
        &sample::connection(),
        sample::complete(15),
        Vec::new(),
    )]);
    assert_eq!(text(&report), "diagnosis: nothing broke in 1 stream");
    assert_eq!(text(&Report::default()), "");
}

#[test]
fn early_responses_without_a_proxy_in_sight_are_a_hint_and_no_failure() {
    let mut record = sample::complete(15);
    record.request.end_stream_at = Some(sample::at(6_000));
    let report = gathered(&[stream(&sample::connection(), record, Vec::new())]);
    let text = text(&report);
    assert!(text.starts_with(
        "diagnosis: nothing broke in 1 stream 1 response was complete before the request had ended: legal"
    ), "{text}");
}

#[test]
fn memory_is_bounded_and_what_is_not_told_apart_is_said() {
    let mut diagnosis = Diagnosis::default();
    let n = u32::try_from(limits::DIAGNOSIS_WAITING).unwrap() + 10;
    for id in 0..n {
        let (mut record, findings) = sample::cut(17);
        record.stream_id = StreamId(id);
        diagnosis.accept(&stream(&sample::connection(), record, findings));
    }
    assert_eq!(diagnosis.waiting.len(), limits::DIAGNOSIS_WAITING);
    let report = diagnosis.report();
    assert_eq!(report.limit_hits.get("waiting"), Some(&10));
    assert_eq!(report.cases[0].at_client, u64::from(n));
}

#[test]
fn nothing_broke_is_not_said_of_what_was_not_read() {
    let mut old = sample::connection();
    old.beginning_seen = false;
    old.protocol = Protocol::Other(OtherProtocol::Other);
    let old = Output::Connection(Arc::new(old));
    let healthy = stream(&sample::connection(), sample::complete(15), Vec::new());
    let report = gathered(&[old.clone(), healthy]);
    assert_eq!(report.undecided_connections, 1);
    assert_eq!(
        text(&report),
        "diagnosis: nothing broke in what could be read: 1 stream Not read: of 1 connection neither the beginning nor \
         enough frames were seen to tell what is spoken there"
    );
    let nothing = text(&gathered(&[old]));
    assert!(
        nothing.starts_with("diagnosis: nothing can be said"),
        "{nothing}"
    );
}

#[test]
fn a_server_whose_other_side_is_not_followed_is_not_called_the_cause() {
    let (record, findings) = sample::cut(17);
    let mut at_server = sample::connection();
    at_server.role = Some(Endpoint::Server);
    let broken = stream(&at_server, record, findings);
    assert!(text(&gathered(std::slice::from_ref(&broken))).contains("Caused by the server"));
    let mut behind = sample::connection();
    (behind.role, behind.protocol) = (Some(Endpoint::Client), Protocol::Other(OtherProtocol::Tls));
    let text = text(&gathered(&[Output::Connection(Arc::new(behind)), broken]));
    assert!(!text.contains("Caused by the server"), "{text}");
    assert!(
        text.contains("not known: the server's process speaks TLS"),
        "{text}"
    );
}

#[test]
fn a_host_of_a_file_that_speaks_tls_behind_is_not_called_the_cause_either() {
    let (record, findings) = sample::cut(17);
    let at = |address: &str| Address::Inet(address.parse().unwrap());
    let mut in_file = sample::connection();
    (in_file.role, in_file.pid) = (Some(Endpoint::Client), 0);
    in_file.peer = at("10.1.2.3:8080");
    let broken = stream(&in_file, record, findings);
    assert!(text(&gathered(std::slice::from_ref(&broken))).contains("Caused by the server"));
    let mut behind = in_file.clone();
    behind.protocol = Protocol::Other(OtherProtocol::Tls);
    (behind.local, behind.peer) = (at("10.1.2.3:40000"), at("10.1.2.4:15006"));
    let text = text(&gathered(&[Output::Connection(Arc::new(behind)), broken]));
    assert!(!text.contains("Caused by the server"), "{text}");
}

#[test]
fn of_two_proxies_the_one_that_dropped_is_named_or_both_are() {
    let of = |least, most| Some(Carried { least, most });
    for (carried, broke) in [
        (
            of(11_011, 11_011),
            "diagnosis: envoy in shop/gateway-5c (pid 77) broke 1 of 1 request",
        ),
        (
            of(10_480, 10_480),
            "diagnosis: envoy (pid 78) broke 1 of 1 request",
        ),
        (
            of(10_480, 11_011),
            "diagnosis: envoy in shop/gateway-5c (pid 77) or envoy (pid 78) broke 1 of 1 request",
        ),
        (
            None,
            "diagnosis: envoy in shop/gateway-5c (pid 77) or envoy (pid 78) broke 1 of 1 request",
        ),
    ] {
        let whole = stream(&sample::connection(), sample::complete(1), Vec::new());
        let text = text(&gathered(&[whole, sample::mesh(17, carried)]));
        assert!(text.starts_with(broke), "{carried:?}: {text}");
    }
}

#[test]
fn how_a_proxy_gave_up_is_told_once_with_its_sentence() {
    let Output::Hop { mut request, .. } = sample::hop(17) else {
        panic!("no hop");
    };
    request.upstream.truncate(1);
    let cut = request.downstream.record.resets[0];
    let serving = request.upstream[0].stream.as_mut().unwrap();
    let up = Arc::make_mut(&mut serving.record);
    up.response.end_stream_at = None;
    (up.end, up.response_phase) = (StreamEnd::Reset, cut.response_phase);
    up.resets = vec![Reset {
        sender: Endpoint::Client,
        ..cut
    }];
    // On the server's hop it reads like a client's complaint.
    let info = Arc::clone(&serving.tag.info);
    let (_, findings) = sample::cut(17);
    let symptom = stream(&info, up.clone(), findings);
    let findings = Rules::new().judge_hop(&request);
    assert_eq!(findings[0].kind, Kind::ProxyGaveUp);
    let report = gathered(&[symptom, Output::Hop { request, findings }]);
    assert_eq!(report.cases.len(), 0, "{:?}", report.cases);
    let text = text(&report);
    assert!(
        text.contains("One of them: the proxy gave up by itself"),
        "{text}"
    );
}
