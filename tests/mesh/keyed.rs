//! The same with keys that the tracer finds in the sidecars' memory: each failed call and no other, with the sidecar that
//! broke it.

use std::collections::{BTreeMap, BTreeSet};

use tracer_tests::call::failed_ids;
use tracer_tests::chance::until_a_call_fails;
use tracer_tests::envoy::Envoy;
use tracer_tests::trace::Trace;
use tracer_tests::tracer::Tracer;
use tracer_tests::{eventually, scaled};

use crate::parts::{Mesh, Recorded, SETTLE, Setting};
use crate::replayed::{Key, Truth, broken, key, number, require_parts};

/// Which sidecar, the client's or the server's.
type Named = BTreeMap<String, BTreeSet<usize>>;

/// By call, the sidecars that are said to have broken it. Which call a stream of the leg is of is what the capture says:
/// the tracer's own joins may be open.
fn named(trace: &Trace, sidecars: [u32; 2], truth: &BTreeMap<String, Truth>) -> Named {
    let of_client = |pid| sidecars.iter().position(|sidecar| *sidecar == pid);
    let ids: BTreeMap<u64, &String> = truth
        .iter()
        .map(|(id, truth)| (truth.stream_on_leg, id))
        .collect();
    let hops: BTreeMap<Key, (usize, String)> = trace
        .hops
        .iter()
        .filter_map(|hop| {
            let down = hop.downstream();
            let at = of_client(hop.proxy())?;
            let id = match at {
                0 => down.call_id().map(str::to_owned),
                _ => ids.get(&down.stream_id()).copied().cloned(),
            };
            // One that cannot be told is no failed call's.
            let id = id.unwrap_or_else(|| format!("unknown {:?}", key(&down)));
            Some((key(&down), (at, id)))
        })
        .collect();
    let mut named = Named::new();
    for finding in &trace.findings {
        let line = &finding.0;
        if finding.verdict() != "anomaly" || line["hop"].is_null() {
            continue;
        }
        let at = (number(&line["conn"]), number(&line["stream_id"]));
        let (at, id) = hops.get(&at).unwrap_or_else(|| panic!("of no hop: {line}"));
        named.entry(id.clone()).or_default().insert(*at);
    }
    named
}

/// Who broke it in truth: where both dropped something, the client's sidecar had got no complete response.
fn truly(truth: &BTreeMap<String, Truth>) -> Named {
    let broke = |truth: &Truth, at: usize| truth.dropped[at] > 0 || truth.trailers_dropped[at];
    let broken = truth.iter().filter_map(|(id, truth)| {
        let at = [1, 0].into_iter().find(|at| broke(truth, *at))?;
        Some((id.clone(), BTreeSet::from([at])))
    });
    broken.collect()
}

/// When the tracer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attached {
    /// Before all connections, which carry little until their keys are found.
    First,
    /// Before all connections, which carry all they can from their first moment on.
    FirstToABurst,
    /// When each connection has carried some calls.
    Last,
}

/// A run, what was said of it, and the sidecars.
fn traced(setting: Setting, attached: Attached) -> (Recorded, Trace, [u32; 2]) {
    let mesh = Mesh::start(setting);
    let sidecars = mesh.sidecars.each_ref().map(Envoy::pid);
    let pids = [sidecars[0], sidecars[1], mesh.server.pid()];
    let start = || Tracer::finding_keys(&pids, &[]);
    let mut tracer = (attached != Attached::Last).then(start);
    let is_warm = attached != Attached::FirstToABurst;
    let recorded = mesh.recorded_with(is_warm, || {
        let tracer = tracer.get_or_insert_with(start);
        if attached == Attached::First {
            let is_open = || {
                let lines = tracer.process.lines();
                lines
                    .iter()
                    .filter(|line| line.contains(r#""key":"scan""#))
                    .count()
                    >= 2
            };
            assert!(eventually(SETTLE, is_open), "the leg is not opened");
        }
    });
    let tracer = tracer.expect("it was started when the client was ready");
    let n_calls = recorded.calls.len();
    tracer.wait_for_streams(sidecars[0], "server", n_calls, SETTLE);
    tracer.wait_for_streams(sidecars[1], "client", n_calls, SETTLE);
    (recorded, tracer.finish(), sidecars)
}

/// What was said by name of each call, and what is true.
fn outcome(setting: Setting, attached: Attached) -> (Named, Named) {
    let run = || traced(setting, attached);
    let (recorded, trace, sidecars) = until_a_call_fails(run, |made| &made.0.calls);
    let truth = broken(setting, &recorded);
    if attached == Attached::First {
        trace.assert_lossless();
    }
    let (named, truly) = (named(&trace, sidecars, &truth), truly(&truth));
    let by = |named: &Named, at: usize| named.values().filter(|by| by.contains(&at)).count();
    println!(
        "{setting:?} {attached:?}: {} of {} calls failed; named the client's sidecar {} of {}, the server's {} of {}",
        failed_ids(&recorded.calls).len(),
        recorded.calls.len(),
        by(&named, 0),
        by(&truly, 0),
        by(&named, 1),
        by(&truly, 1),
    );
    (named, truly)
}

/// One of them in each run of the gate, all with `H2TRACE_SCALE=full`.
#[test]
fn each_failed_call_is_named_with_its_sidecar_by_found_keys() {
    require_parts!();
    let windows: &[u32] = scaled(&[65_535], &[65_535, 256 << 20]);
    for window in windows {
        let setting = Setting {
            window: *window,
            hide_ids: true,
        };
        let (named, truly) = outcome(setting, Attached::First);
        assert_eq!(named, truly, "{setting:?}");
        if scaled(true, false) {
            continue;
        }
        // What went by before its key was found may be lost: not all can be told then, and nothing false.
        for attached in [Attached::FirstToABurst, Attached::Last] {
            let (named, truly) = outcome(setting, attached);
            for (id, by) in named {
                let truly = truly.get(&id);
                assert_eq!(truly, Some(&by), "{setting:?} {attached:?}: call {id}");
            }
        }
    }
}
