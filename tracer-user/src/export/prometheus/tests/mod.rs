use std::collections::BTreeMap;
use std::time::Duration;

use h2trace_core::anomaly::kind::Verdict;
use h2trace_core::frame::ErrorCode;
use h2trace_core::limits;
use h2trace_core::stream::record::{Reset, ResponsePhase, Seen};

use super::super::metrics::METRICS;
use super::super::sample;
use super::counts::verdict_of;
use super::*;

mod deployed;
mod pods;

fn exported(exporter: &Exporter) -> String {
    String::from_utf8(exporter.scrape().encode(Duration::ZERO).unwrap()).unwrap()
}

/// Name, labels and value of a line of the exposition. Values hold no comma here.
fn sample_of(line: &str) -> (String, BTreeMap<String, String>, String) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap();
    let labels = labels.split(',').filter_map(|label| {
        let (name, value) = label.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    });
    (name.to_owned(), labels.collect(), value.to_owned())
}

/// The same as Prometheus takes it: an empty label is none.
fn taken(line: &str) -> (String, BTreeMap<String, String>, String) {
    let (name, mut labels, value) = sample_of(line);
    labels.retain(|_, value| !value.is_empty());
    (name, labels, value)
}

fn after_sample() -> Exporter {
    let mut exporter = Exporter::new().unwrap();
    let pods = crate::workload::kubernetes::PodSource::of_test();
    exporter.show_pods(pods).unwrap();
    for output in sample::outputs() {
        exporter.accept(&output);
    }
    exporter.set_live(2, 1);
    exporter.set_attached("h2t_sock_send");
    exporter.scrape().set_confined(Confined {
        seccomp: true,
        ..Confined::default()
    });
    exporter.set_programs(&[ProgramRuns {
        name: "h2t_sock_send".into(),
        runs: 10,
        run_ns: 1_500_000_000,
    }]);
    exporter
}

#[track_caller]
fn assert_series(text: &str, series: &str) {
    let wanted = taken(series);
    assert!(
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .any(|line| taken(line) == wanted),
        "no line {series:?} in\n{text}"
    );
}

#[test]
fn of_two_proxies_the_one_that_dropped_is_counted_or_none_by_name() {
    let found = |carried: Option<u64>| {
        let carried = carried.map(|n| h2trace_core::hop::Carried { least: n, most: n });
        let mut exporter = Exporter::new().unwrap();
        exporter.accept(&sample::mesh(17, carried));
        let text = exported(&exporter);
        let of_kind = |line: &&str| {
            line.starts_with("h2trace_findings_total{") && line.contains("proxy_truncated")
        };
        let lines: Vec<String> = text.lines().filter(of_kind).map(str::to_owned).collect();
        assert_eq!(lines.len(), 1, "{text}");
        lines[0].clone()
    };
    assert!(found(Some(11_011)).contains("pod=\"gateway-5c\""));
    let of_server = found(Some(10_480));
    assert!(
        of_server.contains("comm=\"envoy\"") && !of_server.contains("gateway"),
        "{of_server}"
    );
    let unknown = found(None);
    assert!(
        !unknown.contains("envoy") && !unknown.contains("gateway"),
        "{unknown}"
    );
}

#[test]
fn every_kind_of_output_is_counted() {
    let mut exporter = after_sample();
    let mut kernel = [0; COUNTERS as usize];
    kernel[KernelCounter::RingFull as usize] = 5;
    kernel[KernelCounter::BytesSeen as usize] = 100;
    exporter.set_kernel(&kernel);
    kernel[KernelCounter::RingFull as usize] = 7;
    exporter.set_kernel(&kernel);
    exporter.set_output_dropped(3);
    exporter.set_output_dropped(4);
    exporter.set_memory_read(1, 4_096);
    exporter.set_memory_read(2, 8_192);
    exporter.set_probed(3);
    let text = exported(&exporter);
    let end = r#"comm="node",role="client""#;
    for series in [
        format!("h2trace_connections_total{{{end}}} 1"),
        r#"h2trace_connections_undecoded_total{comm="node",reason="tls"} 1"#.to_owned(),
        r#"h2trace_connections_ended_total{cause="peer_reset",comm="node",role="client"} 1"#.to_owned(),
        r#"h2trace_connections_ended_with_open_streams_total{cause="peer_reset",comm="node",role="client"} 1"#
            .to_owned(),
        r#"h2trace_go_aways_total{code="ENHANCE_YOUR_CALM",comm="node",role="client",sender="server"} 1"#.to_owned(),
        r#"h2trace_hop_requests_total{comm="envoy",container="envoy",namespace="shop",owner="gateway",owner_kind="Deployment",pod="gateway-5c",join="unique_field"} 1"#.to_owned(),
        r#"h2trace_hop_missing_bytes_total{comm="envoy",container="envoy",namespace="shop",owner="gateway",owner_kind="Deployment",pod="gateway-5c"} 531"#.to_owned(),
        r#"h2trace_hop_reset_codes_total{code_in="none",code_out="NO_ERROR",comm="envoy",container="envoy",namespace="shop",owner="gateway",owner_kind="Deployment",pod="gateway-5c",towards="client"} 1"#.to_owned(),
        r#"h2trace_findings_total{comm="envoy",container="envoy",namespace="shop",owner="gateway",owner_kind="Deployment",pod="gateway-5c",kind="proxy_truncated_complete_response",role="server",verdict="anomaly"} 1"#
            .to_owned(),
        format!("h2trace_streams_opened_total{{{end}}} 4"),
        r#"h2trace_streams_ended_total{comm="node",outcome="ok",role="client"} 1"#.to_owned(),
        r#"h2trace_streams_ended_total{comm="node",outcome="reset",role="client"} 1"#.to_owned(),
        format!(r#"h2trace_stream_duration_seconds_bucket{{{end},le="0.005"}} 3"#),
        format!("h2trace_stream_duration_seconds_count{{{end}}} 3"),
        format!("h2trace_stream_first_byte_seconds_count{{{end}}} 3"),
        r#"h2trace_resets_total{code="NO_ERROR",comm="node",request_phase="Q1",response_phase="Rm",role="client",sender="server",verdict="anomaly"} 1"#.to_owned(),
        r#"h2trace_missing_trailers_total{comm="node",end="reset",role="client"} 1"#.to_owned(),
        r#"h2trace_truncated_messages_total{comm="node",direction="response",end="reset",role="client"} 1"#.to_owned(),
        r#"h2trace_grpc_status_total{comm="node",grpc_code="OK",grpc_method="UnaryCall",grpc_service="grpc.testing.TestService",role="client"} 2"#.to_owned(),
        r#"h2trace_grpc_status_total{comm="node",grpc_code="missing",grpc_method="UnaryCall",grpc_service="grpc.testing.TestService",role="client"} 1"#.to_owned(),
        r#"h2trace_data_bytes_total{comm="node",direction="response",role="client"} 32509"#.to_owned(),
        r#"h2trace_findings_total{comm="node",kind="response_cut_by_reset",role="client",verdict="anomaly"} 1"#
            .to_owned(),
        r#"h2trace_findings_total{comm="node",kind="connection_lost_streams",role="client",verdict="anomaly"} 1"#
            .to_owned(),
        "h2trace_live_connections 2".to_owned(),
        "h2trace_live_streams 1".to_owned(),
        r#"h2trace_self_events_lost_total{cause="ring_full"} 7"#.to_owned(),
        r#"h2trace_self_events_lost_total{cause="fault"} 0"#.to_owned(),
        "h2trace_self_bytes_seen_total 100".to_owned(),
        r#"h2trace_self_undecoded_total{cause="desync"} 1"#.to_owned(),
        "h2trace_self_undecoded_bytes_total 512".to_owned(),
        "h2trace_self_resync_total 1".to_owned(),
        "h2trace_self_hpack_unseen_total 1".to_owned(),
        r#"h2trace_self_limit_hits_total{limit="streams"} 1"#.to_owned(),
        "h2trace_self_output_dropped_total 4".to_owned(),
        "h2trace_self_memory_read_processes_total 2".to_owned(),
        "h2trace_self_memory_read_bytes_total 8192".to_owned(),
        "h2trace_self_probed_processes_total 3".to_owned(),
        "h2trace_self_pods 0".to_owned(),
        r#"h2trace_self_pods_source{source="none"} 1"#.to_owned(),
        r#"h2trace_self_pods_source{source="api"} 0"#.to_owned(),
        r#"h2trace_self_pod_watch_errors_total{reason="forbidden"} 0"#.to_owned(),
        r#"h2trace_self_program_attached{program="h2t_sock_send"} 1"#.to_owned(),
        r#"h2trace_self_confined{by="seccomp"} 1"#.to_owned(),
        r#"h2trace_self_confined{by="landlock"} 0"#.to_owned(),
        r#"h2trace_self_program_run_seconds_total{program="h2t_sock_send"} 1.5"#.to_owned(),
    ] {
        assert_series(&text, &series);
    }
}

#[test]
fn all_metrics_of_the_table_are_registered_and_no_other() {
    let exporter = after_sample();
    let early = StreamRecord {
        request: h2trace_core::stream::record::Half {
            end_stream_at: None,
            ..Default::default()
        },
        request_phase: Some(h2trace_core::stream::record::RequestPhase::Q1),
        ..sample::complete(99)
    };
    let mut exporter = exporter;
    let info = Arc::new(sample::connection());
    exporter.accept(&Output::Stream {
        info,
        record: early.into(),
        findings: Vec::new(),
    });
    exporter.set_kernel(&[1; COUNTERS as usize]);
    let text = exported(&exporter);
    let mut exposed: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .collect();
    let mut table: Vec<(&str, &str)> = METRICS
        .iter()
        .map(|metric| (metric.name, metric.metric_type.as_str()))
        .collect();
    exposed.sort_unstable();
    table.sort_unstable();
    assert_eq!(exposed, table);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels, _) = sample_of(line);
        let of = |metric: &&metrics::Metric| {
            let parts = ["", "_bucket", "_sum", "_count"];
            parts
                .iter()
                .any(|part| name == format!("{}{part}", metric.name))
        };
        let metric = METRICS.iter().find(of).unwrap();
        let mut wanted: Vec<&str> = [metric.about.labels(), metric.labels].concat();
        if name.ends_with("_bucket") {
            wanted.push("le");
        }
        wanted.sort_unstable();
        assert_eq!(labels.keys().collect::<Vec<_>>(), wanted, "{line}");
    }
    assert_series(
        &text,
        r#"h2trace_early_responses_total{comm="node",role="client"} 1"#,
    );
}

fn calling(exporter: &mut Exporter, info: &ConnectionInfo, path: &str) {
    let record = StreamRecord {
        path: Some(path.into()),
        ..sample::complete(1)
    };
    exporter.accept(&Output::Stream {
        info: Arc::new(info.clone()),
        record: record.into(),
        findings: Vec::new(),
    });
}

#[test]
fn methods_that_clients_make_up_take_no_place_of_those_that_there_are() {
    let mut exporter = Exporter::new().unwrap();
    let call = |exporter: &mut Exporter, path: String, status: Seen<u32>| {
        let record = StreamRecord {
            path: Some(path.into()),
            grpc_status: status,
            ..sample::complete(1)
        };
        exporter.accept(&Output::Stream {
            info: Arc::new(sample::connection()),
            record: Arc::new(record),
            findings: Vec::new(),
        });
    };
    for n in 0..2 * limits::END_METHODS {
        call(&mut exporter, format!("/evil/absent{n}"), Seen::Value(12));
        call(&mut exporter, format!("/evil/cut{n}"), Seen::Absent);
    }
    call(&mut exporter, "/shop/Get".into(), Seen::Value(0));
    call(&mut exporter, "/shop/Get".into(), Seen::Value(12));
    let text = exported(&exporter);
    let of = |method: &str, service: &str, code: &str| {
        format!(
            r#"h2trace_grpc_status_total{{comm="node",grpc_code="{code}",grpc_method="{method}",grpc_service="{service}",role="client"}}"#
        )
    };
    assert_series(&text, &format!("{} 1", of("Get", "shop", "OK")));
    assert_series(&text, &format!("{} 1", of("Get", "shop", "UNIMPLEMENTED")));
    let absent = 2 * limits::END_METHODS;
    assert_series(
        &text,
        &format!("{} {absent}", of("other", "other", "UNIMPLEMENTED")),
    );
    // A method whose calls are all cut has its name.
    assert_series(&text, &format!("{} 1", of("cut0", "evil", "missing")));
}

#[test]
fn methods_beyond_the_bound_are_counted_under_other() {
    let mut exporter = Exporter::new().unwrap();
    for n in 0..limits::END_METHODS + 10 {
        calling(&mut exporter, &sample::connection(), &format!("/s/m{n}"));
    }
    let text = exported(&exporter);
    let series = text
        .lines()
        .filter(|line| line.starts_with("h2trace_grpc_status_total{"))
        .count();
    assert_eq!(series, limits::END_METHODS + 1);
    assert_series(
        &text,
        r#"h2trace_grpc_status_total{comm="node",grpc_code="OK",grpc_method="other",grpc_service="other",role="client"} 10"#,
    );
    assert_series(
        &text,
        r#"h2trace_self_label_overflow_total{label="grpc_method"} 10"#,
    );
}

#[test]
fn sorts_of_resets_beyond_the_bound_are_counted_under_other() {
    let mut exporter = Exporter::new().unwrap();
    let (record, _) = sample::cut(1);
    let phases = [
        ResponsePhase::R0,
        ResponsePhase::R1,
        ResponsePhase::Rm,
        ResponsePhase::Rb,
        ResponsePhase::R3,
    ];
    for n in 0..80_u32 {
        let reset = Reset {
            code: ErrorCode(n % 16),
            response_phase: Some(phases[(n / 16) as usize]),
            ..record.resets[0]
        };
        let record = StreamRecord {
            resets: vec![reset],
            ..record.clone()
        };
        exporter.accept(&Output::Stream {
            info: Arc::new(sample::connection()),
            record: record.into(),
            findings: Vec::new(),
        });
    }
    let text = exported(&exporter);
    // The codes 14 and 15 have no names: they are one.
    let n_other = 5 * 15 - limits::END_RESETS;
    assert_series(
        &text,
        &format!(
            r#"h2trace_resets_total{{code="other",comm="node",request_phase="other",response_phase="other",role="client",sender="server",verdict="unknown"}} {}"#,
            n_other + 1
        ),
    );
    let series = text
        .lines()
        .filter(|line| line.starts_with("h2trace_resets_total{"))
        .count();
    assert_eq!(series, limits::END_RESETS + 1);
}

#[test]
fn paths_that_are_no_method_do_not_become_labels() {
    let mut exporter = Exporter::new().unwrap();
    for path in ["/favicon.ico", "/a b/c", "*"] {
        calling(&mut exporter, &sample::connection(), path);
    }
    assert_series(
        &exported(&exporter),
        r#"h2trace_grpc_status_total{comm="node",grpc_code="OK",grpc_method="other",grpc_service="other",role="client"} 3"#,
    );
}

#[test]
fn verdict_of_a_reset_is_the_worst_that_names_it() {
    let (record, findings) = sample::cut(1);
    let reset = record.resets[0];
    assert_eq!(verdict_of(&reset, &findings), Verdict::Anomaly);
    let by_client = Reset {
        sender: Endpoint::Client,
        ..reset
    };
    assert_eq!(verdict_of(&by_client, &findings), Verdict::Unknown);
    let cancel = Reset {
        code: ErrorCode::CANCEL,
        ..reset
    };
    assert_eq!(verdict_of(&cancel, &findings), Verdict::Unknown);
}
