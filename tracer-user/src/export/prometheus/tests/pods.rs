//! Series of pods: under their names, whenever these come, and never too many of them.

use h2trace_core::attribution::{Owner, Workload, WorkloadHandle};
use h2trace_core::connection::{ConnectionEnd, ConnectionId};
use h2trace_core::pipeline::HopEnd;

use super::*;

/// A second, in ns.
const SECOND: u64 = 1_000_000_000;

fn workload(pod: &str) -> Workload {
    Workload {
        namespace: "shop".into(),
        pod: pod.into(),
        pod_uid: format!("uid-{pod}"),
        container: "app".into(),
        container_id: format!("id-{pod}"),
        node: "node-1".into(),
        owner: Owner {
            kind: "Deployment".into(),
            name: "cart".into(),
        },
    }
}

fn unnamed(pod: &str) -> WorkloadHandle {
    let workload = workload(pod);
    WorkloadHandle::to_pod(&workload.pod_uid, &workload.container_id)
}

fn named(pod: &str) -> WorkloadHandle {
    let handle = unnamed(pod);
    handle.name(Arc::new(workload(pod)));
    handle
}

fn connection(id: u64, handle: &WorkloadHandle) -> Arc<ConnectionInfo> {
    Arc::new(ConnectionInfo {
        id: ConnectionId(id),
        workload: handle.clone(),
        ..sample::connection()
    })
}

fn call(exporter: &mut Exporter, info: &Arc<ConnectionInfo>) {
    exporter.accept(&Output::StreamOpened {
        info: Arc::clone(info),
    });
    exporter.accept(&Output::Stream {
        info: Arc::clone(info),
        record: Arc::new(sample::complete(1)),
        findings: sample::cut(1).1,
    });
}

fn close(exporter: &mut Exporter, info: &Arc<ConnectionInfo>) {
    exporter.accept(&Output::ConnectionEnded {
        info: Arc::clone(info),
        why: ConnectionEnd::PeerReset,
        at: sample::at(7_000),
        open_streams: 0,
        unseen: h2trace_core::event::UnseenBytes::default(),
    });
}

fn second(exporter: &mut Exporter, n: u64) {
    exporter.advance(Timestamp(n * SECOND));
}

fn n_series(text: &str) -> usize {
    let of_ends = |line: &&str| line.contains("comm=\"");
    text.lines().filter(of_ends).count()
}

/// The labels of `pod`.
fn of(pod: &str) -> String {
    format!(
        r#"comm="node",namespace="shop",pod="{pod}",container="app",owner_kind="Deployment",owner="cart",role="client""#
    )
}

#[test]
fn every_metric_of_an_end_names_its_pod_and_histograms_its_owner() {
    let mut exporter = Exporter::new().unwrap();
    let info = connection(1, &named("cart-1"));
    exporter.accept(&Output::Connection(Arc::clone(&info)));
    call(&mut exporter, &info);
    let text = exported(&exporter);
    let end = of("cart-1");
    for series in [
        format!("h2trace_connections_total{{{end}}} 1"),
        format!("h2trace_streams_opened_total{{{end}}} 1"),
        format!("h2trace_streams_ended_total{{{end},outcome=\"ok\"}} 1"),
        format!(
            "h2trace_findings_total{{{end},kind=\"response_cut_by_reset\",verdict=\"anomaly\"}} 1"
        ),
        format!("h2trace_stream_duration_seconds_count{{{}}} 1", of("")),
    ] {
        assert_series(&text, &series);
    }
}

#[test]
fn a_proxy_is_named_by_its_pod() {
    let mut exporter = Exporter::new().unwrap();
    let Output::Hop {
        mut request,
        findings,
    } = sample::hop(17)
    else {
        panic!("no hop");
    };
    let tag: &mut HopEnd = &mut request.downstream.tag;
    tag.info = Arc::new(ConnectionInfo {
        workload: named("envoy-1"),
        ..(*tag.info).clone()
    });
    exporter.accept(&Output::Hop { request, findings });
    let text = exported(&exporter);
    for line in text.lines().filter(|line| line.contains("comm=\"envoy\"")) {
        assert_eq!(taken(line).1["pod"], "envoy-1", "{line}");
    }
    let of_pod = r#"comm="envoy",container="app",namespace="shop",owner="cart",owner_kind="Deployment",pod="envoy-1""#;
    for series in [
        format!("h2trace_hop_missing_bytes_total{{{of_pod}}} 531"),
        format!(r#"h2trace_hop_requests_total{{{of_pod},join="unique_field"}} 1"#),
        format!(
            r#"h2trace_findings_total{{{of_pod},kind="proxy_truncated_complete_response",role="server",verdict="anomaly"}} 1"#
        ),
    ] {
        assert_series(&text, &series);
    }
}

#[test]
fn pod_is_not_shown_before_it_has_its_name_and_nothing_is_lost() {
    let mut exporter = Exporter::new().unwrap();
    second(&mut exporter, 1);
    let handle = unnamed("cart-1");
    let first = connection(1, &handle);
    exporter.accept(&Output::Connection(Arc::clone(&first)));
    call(&mut exporter, &first);
    // One that is over before the name comes, of a handle of its own.
    let own = unnamed("cart-1");
    let short = connection(2, &handle);
    exporter.accept(&Output::Connection(Arc::clone(&short)));
    call(&mut exporter, &short);
    close(&mut exporter, &short);
    second(&mut exporter, 2);
    assert_eq!(n_series(&exported(&exporter)), 0);
    assert_series(
        &exported(&exporter),
        "h2trace_self_connections_without_names 1",
    );

    handle.name(Arc::new(workload("cart-1")));
    own.name(Arc::new(workload("cart-1")));
    // One that finds the name at once, before what waits for it is shown.
    let late = connection(3, &own);
    exporter.accept(&Output::Connection(Arc::clone(&late)));
    call(&mut exporter, &late);
    second(&mut exporter, 3);
    call(&mut exporter, &first);
    let text = exported(&exporter);
    let end = of("cart-1");
    assert_series(&text, &format!("h2trace_connections_total{{{end}}} 3"));
    assert_series(&text, &format!("h2trace_streams_opened_total{{{end}}} 4"));
    assert_series(
        &text,
        &format!("h2trace_stream_duration_seconds_count{{{}}} 4", of("")),
    );
    assert!(!text.contains("pod=\"unknown\""), "{text}");
    assert_series(&text, "h2trace_self_ends 1");
    second(&mut exporter, 4);
    assert_series(
        &exported(&exporter),
        "h2trace_self_connections_without_names 0",
    );
}

#[test]
fn pod_without_a_name_for_long_is_unknown_and_counts_under_its_name_from_then_on() {
    let mut exporter = Exporter::new().unwrap();
    second(&mut exporter, 1);
    let handle = unnamed("cart-1");
    let info = connection(1, &handle);
    exporter.accept(&Output::Connection(Arc::clone(&info)));
    call(&mut exporter, &info);
    second(&mut exporter, 11);
    let unknown = r#"comm="node",namespace="unknown",pod="unknown",container="unknown",owner_kind="unknown",owner="unknown",role="client""#;
    let before = format!("h2trace_streams_opened_total{{{unknown}}} 1");
    assert_series(&exported(&exporter), &before);

    handle.name(Arc::new(workload("cart-1")));
    second(&mut exporter, 12);
    call(&mut exporter, &info);
    call(&mut exporter, &info);
    let text = exported(&exporter);
    assert_series(&text, &before);
    let after = format!("h2trace_streams_opened_total{{{}}} 2", of("cart-1"));
    assert_series(&text, &after);
    // What was shown as unknown has no connection any more, so it goes.
    second(&mut exporter, 12 + 15 * 60 + 1);
    let text = exported(&exporter);
    assert!(!text.contains("pod=\"unknown\""), "{text}");
    assert_series(&text, &after);
}

#[test]
fn series_stay_while_a_connection_is_open_and_go_a_while_after_the_last() {
    let mut exporter = Exporter::new().unwrap();
    second(&mut exporter, 1);
    let info = connection(1, &named("cart-1"));
    exporter.accept(&Output::Connection(Arc::clone(&info)));
    call(&mut exporter, &info);
    second(&mut exporter, 7_200);
    assert!(n_series(&exported(&exporter)) > 40);
    close(&mut exporter, &info);
    second(&mut exporter, 7_200 + 15 * 60);
    assert!(n_series(&exported(&exporter)) > 40);
    second(&mut exporter, 7_200 + 15 * 60 + 1);
    assert_eq!(n_series(&exported(&exporter)), 0);
    // It comes back from 0, and all its room was given back.
    call(&mut exporter, &info);
    let again = format!("h2trace_streams_opened_total{{{}}} 1", of("cart-1"));
    assert_series(&exported(&exporter), &again);
}

#[test]
fn ten_thousand_pods_leave_no_trace_and_the_last_ones_have_their_names() {
    let mut exporter = Exporter::new().unwrap();
    // 200 a minute, each for a second.
    for n in 0..10_000_u64 {
        second(&mut exporter, n * 60 / 200);
        let info = connection(n, &named(&format!("cart-{n}")));
        exporter.accept(&Output::Connection(Arc::clone(&info)));
        call(&mut exporter, &info);
        close(&mut exporter, &info);
    }
    let text = exported(&exporter);
    let ends: usize = 1_000;
    assert_series(&text, &format!("h2trace_self_ends {ends}"));
    assert_series(&text, r#"h2trace_self_label_overflow_total{label="end"} 0"#);
    assert_series(
        &text,
        r#"h2trace_self_label_overflow_total{label="series"} 0"#,
    );
    let newest = format!("h2trace_streams_opened_total{{{}}} 1", of("cart-9999"));
    assert_series(&text, &newest);
    // All are of one owner, of which there is one histogram that forgets none of them.
    let times = format!("h2trace_stream_duration_seconds_count{{{}}} 10000", of(""));
    assert_series(&text, &times);
    let of_one = n_series(&text) / ends;
    assert!(of_one < 20, "{of_one} series of one pod");
    // 15 minutes are 3,000 pods: the bound of ends bites first.
    let evicted = text
        .lines()
        .find_map(|line| line.strip_prefix("h2trace_self_limit_hits_total{limit=\"ends\"} "));
    assert!(evicted.is_some(), "{text}");
    exporter.advance(Timestamp(u64::MAX));
    assert_eq!(n_series(&exported(&exporter)), 0);
}

#[test]
fn ends_beyond_the_bound_that_all_have_connections_are_other() {
    let mut exporter = Exporter::new().unwrap();
    for n in 0..limits::ENDS as u64 + 5 {
        let info = connection(n, &named(&format!("cart-{n}")));
        exporter.accept(&Output::Connection(Arc::clone(&info)));
    }
    let host = connection(9_999_999, &WorkloadHandle::to_host());
    exporter.accept(&Output::Connection(host));
    let text = exported(&exporter);
    for series in [
        r#"h2trace_connections_total{comm="other",namespace="other",pod="other",container="other",owner_kind="other",owner="other",role="client"} 5"#,
        r#"h2trace_connections_total{comm="other",role="client"} 1"#,
    ] {
        assert_series(&text, series);
    }
    let first = format!("h2trace_connections_total{{{}}} 1", of("cart-0"));
    assert_series(&text, &first);
}

#[test]
fn nobody_takes_the_places_of_all_ends() {
    let mut exporter = Exporter::new().unwrap();
    let of_process = |n: u64, comm: &str, pod: &WorkloadHandle| {
        let info = ConnectionInfo::clone(&connection(n, pod));
        Arc::new(ConnectionInfo {
            comm: comm.into(),
            ..info
        })
    };
    let evil = named("evil");
    let mut first = None;
    for n in 0..limits::ENDS as u64 {
        let info = of_process(n, &format!("evil-{n}"), &evil);
        exporter.accept(&Output::Connection(Arc::clone(&info)));
        first.get_or_insert(info);
    }
    exporter.advance(Timestamp(1_000_000_000));
    // Of another pod, and of the same.
    let connections = [
        connection(10_000, &named("cart-1")),
        of_process(10_001, "new", &evil),
    ];
    for info in &connections {
        exporter.accept(&Output::Connection(Arc::clone(info)));
    }
    let text = exported(&exporter);
    assert_series(
        &text,
        &format!("h2trace_connections_total{{{}}} 1", of("cart-1")),
    );
    assert!(text.contains(r#"{comm="new""#) && !text.contains(r#"{comm="evil-1","#));
    // What had to go is counted on.
    let other = r#"h2trace_connections_total{comm="other",namespace="other",pod="other",container="other",owner_kind="other",owner="other",role="client"} 2"#;
    assert_series(&text, other);
    // It has a place again when it speaks, and somebody else of its pod has not.
    exporter.advance(Timestamp(2_000_000_000));
    calling(&mut exporter, &first.unwrap(), "/s/m");
    let text = exported(&exporter);
    assert!(
        text.contains(r#"{comm="evil-0","#) && text.contains(r#"{comm="new""#),
        "{text}"
    );
    assert_series(&text, r#"h2trace_self_limit_hits_total{limit="ends"} 2"#);
}

#[test]
fn page_is_bounded_and_who_has_the_most_on_it_is_left_out() {
    let mut exporter = Exporter::new().unwrap();
    let long = "m".repeat(60);
    for n in 0..3 {
        let info = connection(n, &named(&format!("cart-{n}")));
        exporter.accept(&Output::Connection(Arc::clone(&info)));
        let methods = if n == 1 { limits::END_METHODS } else { 1 };
        for method in 0..methods {
            calling(&mut exporter, &info, &format!("/{long}/{method}"));
        }
    }
    let scrape = exporter.scrape();
    let (ends, _) = scrape.shared.all();
    let size = |end: &Arc<EndSeries>| end.counts().page_bytes(end.labels.len());
    let all: usize = ends.iter().map(size).sum();
    let text = exported(&exporter);
    // Not less than what comes, or the page could be longer than its bound.
    let lines = text.lines().filter(|line| line.contains("cart-"));
    let is: usize = lines.map(|line| line.len() + 1).sum();
    assert!(is <= all && is > all / 3, "{is} of {all}: {text}");
    let n_ends = ends.len();
    assert_eq!(scrape.within(ends.clone(), all).len(), n_ends);
    let kept = scrape.within(ends, all - 1);
    let of_cart = |n| {
        let pod = format!("pod=\"cart-{n}\"");
        kept.iter().any(|end| end.labels.contains(&pod))
    };
    assert_eq!([0, 1, 2].map(of_cart), [true, false, true]);
    assert_series(
        &exported(&exporter),
        r#"h2trace_self_label_overflow_total{label="page"} 1"#,
    );
}

#[test]
fn series_in_all_are_bounded_and_none_of_the_counts_is_lost() {
    let mut exporter = Exporter::new().unwrap();
    let mut n_calls = 0;
    for n in 0..900 {
        let info = connection(n, &named(&format!("cart-{n}")));
        exporter.accept(&Output::Connection(Arc::clone(&info)));
        for method in 0..limits::END_METHODS {
            calling(&mut exporter, &info, &format!("/s/m{method}"));
            n_calls += 1;
        }
    }
    let text = exported(&exporter);
    let n = n_series(&text);
    assert!(
        n <= limits::SERIES + 1_000 && n > limits::SERIES * 8 / 10,
        "{n} series"
    );
    for metric in ["h2trace_grpc_status_total{", "h2trace_streams_ended_total{"] {
        let counted = text.lines().filter(|line| line.starts_with(metric));
        let counted: u64 = counted
            .map(|line| taken(line).2.parse::<u64>().unwrap())
            .sum();
        assert_eq!(counted, n_calls, "{metric}");
    }
    // When they go, there is room for others.
    for n in 0..900 {
        close(&mut exporter, &connection(n, &named(&format!("cart-{n}"))));
    }
    second(&mut exporter, 1_000_000);
    let info = connection(5_000, &named("cart-5000"));
    exporter.accept(&Output::Connection(Arc::clone(&info)));
    call(&mut exporter, &info);
    let text = exported(&exporter);
    let end = format!("h2trace_grpc_status_total{{{}", of("cart-5000"));
    assert!(text.lines().any(|line| line.starts_with(&end)), "{text}");
}
