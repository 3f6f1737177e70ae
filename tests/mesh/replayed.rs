//! A tcpdump of all three legs, and the tracer at the sidecars and the server.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tracer_tests::call::failed_ids;
use tracer_tests::chance::until_a_call_fails;
use tracer_tests::envoy::Envoy;
use tracer_tests::skip::note_that_it_runs;
use tracer_tests::trace::{Hop, Stream, Trace};
use tracer_tests::tracer::{Tracer, replay};

use crate::parts::{Mesh, Recorded, SETTLE, SIDECARS, Setting};

/// A stream of the client.
pub(crate) type Key = (u64, u64);

/// Bytes of DATA that each sidecar dropped of a response, and whether it passed the trailers on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Truth {
    /// Its stream on the leg between the sidecars.
    pub(crate) stream_on_leg: u64,
    pub(crate) dropped: [u64; 2],
    pub(crate) trailers_dropped: [bool; 2],
}

pub(crate) fn key(stream: &Stream) -> Key {
    (stream.connection(), stream.stream_id())
}

pub(crate) fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// What each sidecar did, seen with the leg between them open.
fn truth(recorded: &Recorded) -> BTreeMap<String, Truth> {
    let keys = recorded.keys.display().to_string();
    let trace = Trace::read(&replay(
        &recorded.capture,
        &["--show", "hops,streams", "--keylog", &keys],
    ));
    trace.assert_lossless();
    let at = |host: &str| {
        let hops = trace.hops.iter();
        hops.filter(|hop| {
            let address = hop.0["proxy"]["address"].as_str().unwrap_or_default();
            address.starts_with(&format!("{host}:"))
        })
        .collect::<Vec<&Hop>>()
    };
    let [of_client, of_server] = SIDECARS.map(at);
    let beyond: BTreeMap<Key, &Hop> = of_server
        .iter()
        .map(|hop| (key(&hop.downstream()), *hop))
        .collect();
    assert_eq!(
        beyond.len(),
        recorded.calls.len(),
        "requests at the server's sidecar"
    );
    let of = |hop: &Hop| {
        let came = number(&hop.0["received_bytes"]);
        let passed = number(&hop.0["forwarded_bytes"]);
        let trailers = hop.0["received_trailers"] == true && hop.0["forwarded_trailers"] == false;
        (came - passed, trailers)
    };
    let told = of_client.iter().map(|hop| {
        let down = hop.downstream();
        let up = hop.upstream();
        let [up] = up.as_slice() else {
            panic!("not one stream on the leg: {}", hop.0)
        };
        let (client, server) = (of(hop), of(beyond[&key(up)]));
        let truth = Truth {
            stream_on_leg: up.stream_id(),
            dropped: [client.0, server.0],
            trailers_dropped: [client.1, server.1],
        };
        let id = down.call_id().unwrap_or_else(|| panic!("{}", down.0));
        (id.to_owned(), truth)
    });
    told.collect()
}

/// How many calls were named with which sidecar.
type Named = BTreeMap<String, usize>;

/// What is said without a key is held against the truth: of all calls.
fn check(
    setting: Setting,
    recorded: &Recorded,
    truth: &BTreeMap<String, Truth>,
    trace: &Trace,
) -> Named {
    let failed = failed_ids(&recorded.calls);
    trace.assert_lossless();
    let ids: BTreeMap<Key, &str> = trace
        .streams
        .iter()
        .filter_map(|stream| Some((key(stream), stream.call_id()?)))
        .collect();
    let mut named = Named::new();
    let mut told = BTreeSet::new();
    for finding in &trace.findings {
        let line = &finding.0;
        if finding.verdict() != "anomaly" || line["hop"].is_null() {
            continue;
        }
        let id = ids[&(number(&line["conn"]), number(&line["stream_id"]))];
        let of_call = truth[id];
        assert!(
            told.insert(id.to_owned()),
            "{setting:?}: told twice: {line}"
        );
        let mesh = &line["hop"]["mesh"];
        let by = mesh["dropped_by"].as_str();
        let by = by.unwrap_or_else(|| panic!("{setting:?}: nobody dropped it: {line}"));
        *named.entry(by.to_owned()).or_default() += 1;
        let [client, server] = of_call.dropped;
        let of_client = mesh["dropped_client_side"].as_u64().unwrap_or(0);
        let of_server = mesh["dropped_server_side"].as_u64().unwrap_or(0);
        assert!(
            of_client <= client && of_server <= server,
            "{setting:?}: call {id}: {of_call:?}, and said {mesh}"
        );
        if mesh["together"] == recorded.calls.len() && !mesh["together_missing"].is_null() {
            let of_server: u64 = truth.values().map(|truth| truth.dropped[1]).sum();
            let said = number(&mesh["together_server_side_least"])
                ..=number(&mesh["together_server_side_most"]);
            assert!(
                said.contains(&of_server),
                "{setting:?}: {of_server} and not {said:?}"
            );
        }
        let is_named = [
            ["client_side", "both"].contains(&by),
            ["server_side", "both"].contains(&by),
        ];
        for (is_named, dropped) in is_named.into_iter().zip(of_call.dropped) {
            assert!(
                !is_named || dropped > 0,
                "{setting:?}: call {id}: {of_call:?}, and said {mesh}"
            );
        }
    }
    assert_eq!(told, failed, "{setting:?}: calls told to be cut");
    println!(
        "{setting:?}: {} of {} calls failed, {named:?}; in truth cut at the server's sidecar: {}",
        failed.len(),
        recorded.calls.len(),
        truth.values().filter(|truth| truth.dropped[1] > 0).count(),
    );
    // The server is not blamed, and no other process.
    let diagnosis = trace
        .diagnosis
        .as_ref()
        .map(|diagnosis| &diagnosis["cases"]);
    assert_eq!(diagnosis, Some(&Value::Array(Vec::new())), "{setting:?}");
    // With the wide window nothing was dropped at the server's end.
    let blames = |by: &String| by == "server_side" || by == "both";
    assert!(
        setting.window == 65_535 || !named.keys().any(blames),
        "{named:?}"
    );
    named
}

/// The truth of all calls of a run, in which each failed call and no other was broken by a sidecar.
pub(crate) fn broken(setting: Setting, recorded: &Recorded) -> BTreeMap<String, Truth> {
    let truth = truth(recorded);
    assert_eq!(truth.len(), recorded.calls.len());
    let is_broken = |truth: &Truth| truth.dropped != [0; 2] || truth.trailers_dropped != [false; 2];
    let broken: BTreeSet<String> = truth
        .iter()
        .filter(|(_, truth)| is_broken(truth))
        .map(|(id, _)| id.clone())
        .collect();
    let failed = failed_ids(&recorded.calls);
    assert_eq!(broken, failed, "{setting:?}: broken with the leg open");
    truth
}

/// What a mesh is made of.
macro_rules! require_parts {
    () => {
        tracer_tests::require!(
            tracer_tests::skip::Privileges,
            tracer_tests::skip::Program("tcpdump"),
            tracer_tests::skip::Program("openssl"),
            tracer_tests::peer::Peer::GrpcGo1_70,
            tracer_tests::peer::Peer::GrpcJs1_12,
            $crate::parts::ENVOY
        );
    };
}
pub(crate) use require_parts;

const SHOWN: [&str; 2] = ["--show", "hops,streams,findings"];

#[test]
fn each_failed_call_of_a_capture_is_named_with_its_sidecar_or_left_open() {
    require_parts!();
    note_that_it_runs();
    for hide_ids in [false, true] {
        for window in [65_535, 256 << 20] {
            let setting = Setting { window, hide_ids };
            let recorded =
                until_a_call_fails(|| Mesh::start(setting).recorded(), |made| &made.calls);
            let truth = broken(setting, &recorded);
            let trace = Trace::read(&replay(&recorded.capture, &SHOWN));
            check(setting, &recorded, &truth, &trace);
        }
    }
}

#[test]
fn each_failed_call_is_named_live_with_its_sidecar_or_left_open() {
    require_parts!();
    for window in [65_535, 256 << 20] {
        let setting = Setting {
            window,
            hide_ids: true,
        };
        let run = || {
            let mesh = Mesh::start(setting);
            let [client_side, server_side] = mesh.sidecars.each_ref().map(Envoy::pid);
            let tracer = Tracer::start(&[client_side, server_side, mesh.server.pid()]);
            let recorded = mesh.recorded();
            let n_calls = recorded.calls.len();
            tracer.wait_for_streams(client_side, "server", n_calls, SETTLE);
            tracer.wait_for_streams(server_side, "client", n_calls, SETTLE);
            (recorded, tracer.finish(), server_side)
        };
        let (recorded, trace, server_side) = until_a_call_fails(run, |made| &made.0.calls);
        let truth = broken(setting, &recorded);
        let at: BTreeSet<Option<u64>> = trace
            .findings
            .iter()
            .filter(|finding| finding.verdict() == "anomaly" && !finding.0["hop"].is_null())
            .map(|finding| finding.0["hop"]["mesh"]["server_side"]["pid"].as_u64())
            .collect();
        assert_eq!(at, [Some(u64::from(server_side))].into(), "{setting:?}");
        check(setting, &recorded, &truth, &trace);
    }
}
