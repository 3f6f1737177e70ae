use h2trace_core::event::Timestamp;
use serde_json::{Value, json};

use super::super::sample;
use super::super::tally::{Kernel, Shed, StoppedBy, Tally};
use super::*;
use crate::diagnosis::Diagnosis;

fn lines(shown_from: Verdict) -> Vec<Value> {
    let mut json = Json::new(WallClock::with_boot(1_735_689_600_000_000_000), shown_from);
    for output in sample::outputs() {
        json.accept(&output);
    }
    json.kernel_loss("ring_full", 3);
    let mut diagnosis = Diagnosis::default();
    for output in sample::outputs() {
        diagnosis.accept(&output);
    }
    json.diagnosis(&diagnosis.report(), Timestamp(7), true);
    json.summary(&Summary {
        tally: &Tally::default(),
        kernel: &Kernel::default(),
        at: Timestamp(8),
        duration: std::time::Duration::from_millis(1_500),
        stopped_by: StoppedBy::Time,
        output_dropped: 0,
        shed: Shed::default(),
        filtered: true,
        pods: Some(crate::export::tally::SelectedPods {
            words: "pods with app=cart".into(),
            positive: true,
            ever: 3,
            now: 1,
        }),
    });
    let text = String::from_utf8(json.take()).unwrap();
    assert!(text.ends_with('\n') && json.is_empty());
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn of_type(lines: &[Value], line_type: &str) -> Vec<Value> {
    lines
        .iter()
        .filter(|line| line["type"] == line_type)
        .cloned()
        .collect()
}

fn pod(pod: &str, container: Option<&str>) -> Value {
    json!({
        "namespace": "shop", "pod": pod, "container": container, "node": "n1", "owner_kind": "Deployment",
        "owner": "gateway", "pod_uid": "2c48913c-b29f-11e7-9350-020968147796", "container_id": "5d3ae4a1",
    })
}

fn no_pod() -> Value {
    json!({
        "namespace": null, "pod": null, "container": null, "node": null, "owner_kind": null, "owner": null,
        "pod_uid": null, "container_id": null,
    })
}

#[test]
fn end_in_a_pod_without_names_carries_its_ids() {
    let mut info = sample::connection();
    info.workload = h2trace_core::attribution::WorkloadHandle::to_pod("uid-1", "c1");
    info.peer_workload = h2trace_core::attribution::WorkloadHandle::to_address();
    let mut json = Json::new(WallClock::with_boot(0), Verdict::Benign);
    json.accept(&Output::Connection(std::sync::Arc::new(info)));
    let line: Value = serde_json::from_slice(&json.take()).unwrap();
    let mut want = no_pod();
    want["pod_uid"] = json!("uid-1");
    want["container_id"] = json!("c1");
    for (key, want) in want.as_object().unwrap() {
        assert_eq!(&line[key], want, "{key}");
    }
    assert_eq!(line["peer_workload"], json!(null));
}

#[test]
fn connection_that_stays_undecided_says_how_much_went_by() {
    let mut info = sample::connection();
    assert_eq!(line_of(info.clone())["undecided"], json!(null));
    info.protocol = sample::undecided();
    let line = line_of(info);
    assert_eq!(line["protocol"], "other");
    assert_eq!(line["undecided"], json!({"bytes": 1_234, "first": "text"}));
}

fn line_of(info: h2trace_core::pipeline::ConnectionInfo) -> Value {
    let mut json = Json::new(WallClock::with_boot(0), Verdict::Benign);
    json.accept(&Output::Connection(std::sync::Arc::new(info)));
    serde_json::from_slice(&json.take()).unwrap()
}

#[test]
fn bytes_that_are_not_seen_have_their_reason() {
    let lines = of_type(&lines(Verdict::Benign), "connection");
    let with = |event: &str| lines.iter().find(|line| line["event"] == event).unwrap();
    assert_eq!(with("ended")["unseen_bytes"], json!({"splice": 70_000}));
    assert_eq!(with("bytes_unseen")["unseen"], "io_uring");
    assert_eq!(with("seen")["unseen_bytes"], json!(null));
}

#[test]
fn stream_line_has_the_promised_keys() {
    let streams = of_type(&lines(Verdict::Suspicious), "stream");
    assert_eq!(streams.len(), 4);
    let (ok, cut, unseen) = (&streams[0], &streams[1], &streams[3]);
    for (key, of_ok, of_cut, of_unseen) in [
        ("v", json!(1), json!(1), json!(1)),
        ("conn", json!(3), json!(3), json!(3)),
        ("stream_id", json!(15), json!(17), json!(21)),
        ("role", json!("client"), json!("client"), json!(null)),
        ("pid", json!(4_242), json!(4_242), json!(4_242)),
        ("comm", json!("node"), json!("node"), json!("node")),
        (
            "local",
            json!("127.0.0.1:40000"),
            json!("127.0.0.1:40000"),
            json!("127.0.0.1:40000"),
        ),
        (
            "peer",
            json!("127.0.0.1:8080"),
            json!("127.0.0.1:8080"),
            json!("127.0.0.1:8080"),
        ),
        (
            "headers",
            json!({"x-call-id": "call-7"}),
            json!({"x-call-id": "call-7"}),
            json!({}),
        ),
        ("request_phase", json!("Q2"), json!("Q1"), json!(null)),
        ("response_phase", json!("R3"), json!("Rm"), json!(null)),
        ("trailers", json!(true), json!(false), json!(null)),
        ("grpc_status", json!(0), json!(null), json!(null)),
        ("request_bytes", json!(16), json!(16), json!(0)),
        ("response_bytes", json!(11_011), json!(10_480), json!(7)),
        ("bytes_known", json!(true), json!(true), json!(false)),
        ("outcome", json!("ok"), json!("reset"), json!("unknown")),
        ("tier", json!("T1"), json!("T1"), json!("T0")),
        (
            "time",
            json!("2025-01-01T00:00:01.005000Z"),
            json!("2025-01-01T00:00:01.005000Z"),
            json!("2025-01-01T00:00:01.005000Z"),
        ),
        (
            "at_ns",
            json!(1_005_000_000),
            json!(1_005_000_000),
            json!(1_005_000_000),
        ),
        ("duration_ms", json!(4.9), json!(4.9), json!(null)),
        ("ttfb_ms", json!(2.5), json!(2.5), json!(null)),
        ("timeout_ms", json!(1_500.0), json!(1_500.0), json!(null)),
        ("end", json!("complete"), json!("reset"), json!("unseen")),
        (
            "findings",
            json!([]),
            json!([
                "response_cut_by_reset",
                "truncated_response",
                "redundant_reset"
            ]),
            json!([]),
        ),
    ] {
        assert_eq!(ok[key], of_ok, "{key}");
        assert_eq!(cut[key], of_cut, "{key}");
        assert_eq!(unseen[key], of_unseen, "{key}");
    }
    let path = json!("/grpc.testing.TestService/UnaryCall");
    assert_eq!(
        (&ok["method"], &cut["method"], &unseen["method"]),
        (&path, &path, &Value::Null)
    );
    assert_eq!(
        (&ok["reset"], &unseen["reset"]),
        (&Value::Null, &Value::Null)
    );
    let reset = &cut["reset"][0];
    assert_eq!(
        (&reset["code"], &reset["name"], &reset["sender"]),
        (&json!(0), &json!("NO_ERROR"), &json!("server"))
    );
    assert_eq!(
        cut["messages"]["response"]["open"],
        json!({"promised": 11_006, "got": 10_475})
    );
    assert_eq!(
        cut["windows"]["response"],
        json!({"stream": 55_055, "connection": 0})
    );
}

#[test]
fn finding_line_tells_the_story() {
    let findings = of_type(&lines(Verdict::Suspicious), "finding");
    let cut = &findings[0];
    assert_eq!(cut["kind"], "response_cut_by_reset");
    assert_eq!(cut["verdict"], "anomaly");
    assert_eq!(
        (&cut["conn"], &cut["stream_id"], &cut["tier"]),
        (&json!(3), &json!(17), &json!("T1"))
    );
    assert_eq!(cut["story"].as_array().unwrap().len(), 5);
    assert_eq!(
        cut["story"][3],
        json!({
            "t_us": 2600.0, "sender": "server", "frame": "DATA", "n_frames": 1, "bytes": 10_480, "end_stream": false,
            "stream_window": 55_055, "connection_window": 0, "note": "message 10475 of 11006 bytes",
        })
    );
}

#[test]
fn benign_findings_are_printed_only_when_asked_for() {
    let kinds = |shown_from| -> Vec<String> {
        let findings = of_type(&lines(shown_from), "finding");
        findings
            .iter()
            .map(|line| line["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        kinds(Verdict::Suspicious),
        [
            "response_cut_by_reset",
            "truncated_response",
            "connection_lost_streams",
            "proxy_truncated_complete_response"
        ]
    );
    assert_eq!(
        kinds(Verdict::Benign),
        [
            "response_cut_by_reset",
            "truncated_response",
            "redundant_reset",
            "connection_lost_streams",
            "proxy_truncated_complete_response"
        ]
    );
}

#[test]
fn every_line_is_valid_by_the_schema() {
    let mut compiler = boon::Compiler::new();
    compiler
        .add_resource("schema.json", serde_json::from_str(SCHEMA).unwrap())
        .unwrap();
    let mut schemas = boon::Schemas::new();
    let schema = compiler.compile("schema.json", &mut schemas).unwrap();
    let mut lines = lines(Verdict::Benign);
    lines.extend(mesh_lines());
    for line_type in [
        "connection",
        "stream",
        "hop",
        "finding",
        "loss",
        "diagnosis",
        "summary",
    ] {
        assert!(!of_type(&lines, line_type).is_empty(), "{line_type}");
    }
    for line in &lines {
        if let Err(error) = schemas.validate(line, schema) {
            panic!("{error:#}\n{line:#}");
        }
    }
    // The schema is no rubber stamp: a key less, a key more, or another type is refused.
    let stream = of_type(&lines, "stream").remove(1);
    for (key, value) in [
        ("outcome", None),
        ("surprise", Some(json!(1))),
        ("trailers", Some(json!("yes"))),
    ] {
        let mut wrong = stream.clone();
        match value {
            Some(value) => drop(wrong.as_object_mut().unwrap().insert(key.into(), value)),
            None => drop(wrong.as_object_mut().unwrap().remove(key)),
        }
        assert!(schemas.validate(&wrong, schema).is_err(), "{key}");
    }
}

/// A request at two proxies, its finding and the diagnosis: known and not known who dropped what is missing.
fn mesh_lines() -> Vec<Value> {
    let mut json = Json::new(WallClock::with_boot(0), Verdict::Benign);
    let carried = h2trace_core::hop::Carried {
        least: 10_480,
        most: 10_480,
    };
    let mut diagnosis = Diagnosis::default();
    for output in [sample::mesh(17, Some(carried)), sample::mesh(19, None)] {
        json.accept(&output);
        diagnosis.accept(&output);
    }
    json.diagnosis(&diagnosis.report(), Timestamp(7), true);
    let text = String::from_utf8(json.take()).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn of_two_proxies_the_line_says_which_dropped_what_is_missing() {
    let lines = mesh_lines();
    let [known, unknown] = &of_type(&lines, "hop")[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(known["mesh"]["server_side"]["pid"], 78);
    assert_eq!(known["mesh"]["dropped_by"], "server_side");
    assert_eq!(known["mesh"]["dropped_server_side"], 531);
    assert_eq!(unknown["mesh"]["dropped_by"], "either");
    assert_eq!(unknown["mesh"]["carried_least"], Value::Null);
    let proxies = &of_type(&lines, "diagnosis")[0]["proxies"];
    let ors: Vec<_> = proxies
        .as_array()
        .unwrap()
        .iter()
        .map(|proxy| &proxy["or"]["process"]["pid"])
        .collect();
    assert!(
        ors.contains(&&json!(78)) && ors.contains(&&Value::Null),
        "{proxies}"
    );
}

#[test]
fn schema_names_every_finding_and_outcome() {
    for kind in h2trace_core::anomaly::kind::Kind::ALL {
        assert!(
            SCHEMA.contains(&format!("\"{}\"", kind.as_str())),
            "{}",
            kind.as_str()
        );
    }
}

#[test]
fn hop_line_and_its_finding_tell_of_both_sides() {
    let lines = lines(Verdict::Suspicious);
    let hop = of_type(&lines, "hop").remove(0);
    let finding = of_type(&lines, "finding").pop().unwrap();
    let joined = |mut left: Value, right: &Value| {
        let right = right.as_object().unwrap().clone();
        left.as_object_mut().unwrap().extend(right);
        left
    };
    for (key, want) in [
        (
            "proxy",
            joined(
                json!({"pid": 77, "comm": "envoy", "cgroup": 17, "netns": 4_026_531_840_u32, "address": "127.0.0.1:40000"}),
                &pod("gateway-5c", Some("envoy")),
            ),
        ),
        (
            "client",
            joined(
                json!({"pid": 4_242, "comm": "node", "address": "127.0.0.1:8080"}),
                &no_pod(),
            ),
        ),
        (
            "server",
            joined(
                json!({"pid": null, "comm": null, "address": "127.0.0.1:8080"}),
                &pod("cart-7d9f", None),
            ),
        ),
        (
            "join",
            json!({"by": "fields", "confidence": "unique_field"}),
        ),
        ("received_bytes", json!(11_011)),
        ("forwarded_bytes", json!(10_480)),
        ("missing_bytes", json!(531)),
        ("received_trailers", json!(true)),
        ("forwarded_trailers", json!(false)),
        ("end_stream_came", json!(false)),
        ("symptoms", json!(["response_cut_by_reset"])),
        (
            "codes",
            json!({
                "to_client": {"received": null, "sent": 0},
                "to_server": {"received": null, "sent": null}
            }),
        ),
    ] {
        assert_eq!(hop[key], want, "{key}");
        assert_eq!(finding["hop"][key], want, "{key}");
    }
    // The finding names the proxy's pod, and so does each side's stream.
    for line in [
        &finding,
        &hop["upstream"][0]["stream"],
        &hop["downstream"]["stream"],
    ] {
        for (key, want) in pod("gateway-5c", Some("envoy")).as_object().unwrap() {
            assert_eq!(&line[key], want, "{key}");
        }
    }
    assert_eq!(
        hop["upstream"][0]["stream"]["peer_workload"],
        pod("cart-7d9f", None)
    );
    assert_eq!(hop["downstream"]["stream"]["peer_workload"], json!(null));
    assert_eq!(hop["method"], finding["method"]);
    assert_eq!(hop["downstream"]["stream"]["response_phase"], "Rm");
    assert_eq!(hop["upstream"][0]["stream"]["response_phase"], "R3");
    assert_eq!(
        (
            &hop["upstream"][1]["stream_id"],
            &hop["upstream"][1]["stream"]
        ),
        (&json!(35), &json!(null))
    );
    assert_eq!(
        hop["findings"],
        json!(["proxy_truncated_complete_response"])
    );
    assert_eq!(
        (&finding["conn"], &finding["stream_id"], &finding["tier"]),
        (&json!(5), &json!(17), &json!("T2"))
    );
    assert_eq!(finding["hop"]["story"].as_array().unwrap().len(), 2);
}
