//! `cargo xtask bench --cardinality`: what the labels of pods and methods cost.
//!
//! The exporter alone, fed with what the pipeline says of a healthy unary gRPC call, said again of other pods,
//! methods and statuses. Counted are the series on the page, its bytes, the processor time to write it, and the
//! memory that is kept and that writing takes. Then pods that come and go, and what a stream costs.
//!
//! Arguments: how many rounds.

use std::sync::Arc;
use std::time::Duration;

use h2trace::export::prometheus::Exporter;
use h2trace_core::anomaly::kind::{Finding, Kind};
use h2trace_core::attribution::{Owner, Workload, WorkloadHandle};
use h2trace_core::connection::{ConnectionEnd, ConnectionId, Endpoint};
use h2trace_core::event::decode::decode;
use h2trace_core::event::{Timestamp, UnseenBytes};
use h2trace_core::field::Shown;
use h2trace_core::limits;
use h2trace_core::pipeline::{ConnectionInfo, NoNames, Output, Pipeline, PipelineSettings, Sink};
use h2trace_core::stream::record::{Seen, StreamRecord, Windows};
use tracer_tests::conversation::records::{self, Observed};
use tracer_tests::conversation::{Conversation, Plan, Side};
use tracer_tests::heap::{self, Heap};
use tracer_tests::measure::processor_time;

#[global_allocator]
static HEAP: Heap = Heap;

/// Pods of a full node (kubelet's maxPods is 110, of large nodes 250).
const PODS: u64 = 250;
/// Methods of each.
const METHODS: usize = 100;
/// Streams of a round of the last measurement.
const STREAMS: u32 = 500_000;

#[derive(Default)]
struct Kept(Vec<Output>);

impl Sink for Kept {
    fn accept(&mut self, output: &Output) {
        self.0.push(output.clone());
    }
}

fn pipeline() -> Pipeline {
    Pipeline::new(PipelineSettings {
        shown: Arc::new(Shown::nothing()),
        names: Box::new(NoNames),
        ..PipelineSettings::default()
    })
}

/// What the pipeline says of unary calls, and how long it took to find it out.
fn said(calls: u32) -> (Vec<Output>, Duration) {
    let talk = Conversation::of(&Plan::unary(calls, 100));
    let records = records::of(&talk, &Observed::from_start(Side::Server));
    let mut kept = Kept::default();
    let mut pipeline = pipeline();
    let mut now = Timestamp(0);
    let begun = processor_time();
    for record in records {
        let event = decode(&record.bytes).expect("a record that is one");
        now = event.at;
        pipeline.handle(&event, &mut kept);
    }
    pipeline.finish(Timestamp(now.0 + 120_000_000_000), &mut kept);
    (kept.0, processor_time().saturating_sub(begun))
}

/// A call as the pipeline tells of it.
fn call() -> (ConnectionInfo, StreamRecord) {
    let (said, _) = said(1);
    let call = said.iter().find_map(|output| match output {
        Output::Stream { info, record, .. } => Some(((**info).clone(), (**record).clone())),
        _ => None,
    });
    call.expect("the pipeline tells of a stream")
}

/// A connection end of a pod, as long as names of real ones are.
fn pod(info: &ConnectionInfo, n: u64, id: u64, role: Endpoint) -> Arc<ConnectionInfo> {
    let name = format!("checkout-service-{}-7d9f8b6c5d-x{n:04}", n % PODS);
    let handle = WorkloadHandle::to_pod(&name, &name);
    handle.name(Arc::new(Workload {
        namespace: "shop-production".into(),
        pod: name.clone(),
        pod_uid: name,
        container: "checkout-service".into(),
        owner: Owner {
            kind: "Deployment".into(),
            name: format!("checkout-service-{}", n % PODS),
        },
        ..Workload::default()
    }));
    Arc::new(ConnectionInfo {
        id: ConnectionId(id),
        role: Some(role),
        comm: "checkout".into(),
        workload: handle,
        ..info.clone()
    })
}

/// What is said of the pods.
struct PodLoad {
    name: &'static str,
    pods: u64,
    methods: usize,
    roles: &'static [Endpoint],
    statuses: &'static [u32],
    /// Every pod shows every finding.
    findings: bool,
}

const EVERY_STATUS: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

const LOADS: [PodLoad; 4] = [
    PodLoad {
        name: "250 pods, 5 methods, one status",
        pods: PODS,
        methods: 5,
        roles: &[Endpoint::Server],
        statuses: &[0],
        findings: false,
    },
    PodLoad {
        name: "250 pods, 100 methods, one status",
        pods: PODS,
        methods: METHODS,
        roles: &[Endpoint::Server],
        statuses: &[0],
        findings: false,
    },
    PodLoad {
        name: "the same, client and server, 2 statuses",
        pods: PODS,
        methods: METHODS,
        roles: &[Endpoint::Client, Endpoint::Server],
        statuses: &[0, 14],
        findings: false,
    },
    PodLoad {
        name: "everything beyond its bound",
        pods: limits::ENDS as u64 + 100,
        methods: limits::END_METHODS + 10,
        roles: &[Endpoint::Client, Endpoint::Server],
        statuses: EVERY_STATUS,
        findings: true,
    },
];

fn finding(kind: Kind) -> Vec<Finding> {
    let of = |verdict| Finding {
        kind,
        verdict,
        tier: kind.tier(),
        connection: ConnectionId(0),
        role: None,
        stream_id: h2trace_core::frame::StreamId(1),
        at: Timestamp(0),
        sender: None,
        code: None,
        request_phase: None,
        response_phase: None,
        windows: Windows::default(),
        summary: String::new(),
        story: h2trace_core::stream::record::Story::default(),
    };
    kind.verdicts().iter().copied().map(of).collect()
}

impl PodLoad {
    fn run(&self, exporter: &mut Exporter, info: &ConnectionInfo, record: &StreamRecord) {
        let mut id = 0;
        for n in 0..self.pods {
            for role in self.roles {
                id += 1;
                let info = pod(info, n, id, *role);
                exporter.accept(&Output::Connection(Arc::clone(&info)));
                for kind in Kind::ALL.iter().filter(|_| self.findings) {
                    for finding in finding(*kind) {
                        let info = Arc::clone(&info);
                        exporter.accept(&Output::Finding { info, finding });
                    }
                }
                for method in 0..self.methods {
                    for status in self.statuses {
                        exporter.accept(&Output::Stream {
                            info: Arc::clone(&info),
                            record: Arc::new(StreamRecord {
                                path: Some(path(method).into()),
                                grpc_status: Seen::Value(*status),
                                ..record.clone()
                            }),
                            findings: Vec::new(),
                        });
                    }
                }
            }
        }
    }
}

fn path(method: usize) -> String {
    format!("/shop.checkout.v1.CheckoutService/CalculateTotal{method}")
}

fn page(exporter: &Exporter) -> Vec<u8> {
    let page = exporter.scrape().encode(Duration::ZERO);
    page.expect("a page of metrics")
}

fn series(page: &[u8]) -> usize {
    let lines = page.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty() && line[0] != b'#')
        .count()
}

/// A count of a bench is far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
fn mb(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

fn loads(rounds: usize, info: &ConnectionInfo, record: &StreamRecord) {
    println!(
        "{:<40} {:>8} {:>8} {:>10} {:>9} {:>12}",
        "", "series", "page MB", "encode ms", "kept MB", "encoding MB"
    );
    for load in &LOADS {
        let before = heap::live();
        let mut exporter = Exporter::new().expect("an exporter");
        load.run(&mut exporter, info, record);
        let kept = heap::live() - before;
        let (page, encoding) = heap::peak_of(|| page(&exporter));
        let times = (0..rounds).map(|_| {
            let begun = processor_time();
            std::hint::black_box(self::page(&exporter));
            processor_time().saturating_sub(begun).as_secs_f64() * 1e3
        });
        let n = series(&page);
        println!(
            "{:<40} {n:>8} {:>8.1} {:>10.1} {:>9.1} {:>12.1}",
            load.name,
            mb(page.len()),
            median(times.collect()),
            mb(kept),
            mb(encoding),
        );
        // SERIES, what stands for all others, and what h2trace says of itself.
        assert!(n <= limits::SERIES + 1_000, "{n} series");
    }
}

/// 10,000 pods, 200 a minute, each with a connection and a call of every method.
fn churn(info: &ConnectionInfo, record: &StreamRecord) {
    println!("\npods that come and go, 200 a minute, {METHODS} methods each");
    println!("{:>8} {:>8} {:>9}", "pods", "series", "kept MB");
    let before = heap::live();
    let mut exporter = Exporter::new().expect("an exporter");
    let records: Vec<Arc<StreamRecord>> = (0..METHODS).map(|n| with_path(record, n)).collect();
    let own = heap::live() - before;
    for n in 0..10_000 {
        exporter.advance(Timestamp(n * 300_000_000));
        let info = pod(info, n, n, Endpoint::Server);
        exporter.accept(&Output::Connection(Arc::clone(&info)));
        for record in &records {
            exporter.accept(&Output::Stream {
                info: Arc::clone(&info),
                record: Arc::clone(record),
                findings: Vec::new(),
            });
        }
        exporter.accept(&Output::ConnectionEnded {
            info,
            why: ConnectionEnd::PeerFin,
            at: Timestamp(n),
            open_streams: 0,
            unseen: UnseenBytes::default(),
        });
        if [100, 1_000, 2_500, 5_000, 10_000].contains(&(n + 1)) {
            let kept = mb(heap::live() - before - own);
            let n_series = series(&page(&exporter));
            println!("{:>8} {n_series:>8} {kept:>9.1}", n + 1);
        }
    }
}

fn with_path(record: &StreamRecord, method: usize) -> Arc<StreamRecord> {
    Arc::new(StreamRecord {
        path: Some(path(method).into()),
        ..record.clone()
    })
}

/// What a stream costs: its opening and its end.
fn a_stream(rounds: usize, info: &ConnectionInfo, record: &StreamRecord) {
    let calls = 20_000;
    let decoding = (0..rounds).map(|_| said(calls).1.as_secs_f64() / f64::from(calls) * 1e9);
    let decoding = median(decoding.collect());
    println!("\na stream, processor time; the pipeline before the exporter takes {decoding:.0} ns");
    let records: Vec<Arc<StreamRecord>> = (0..METHODS).map(|n| with_path(record, n)).collect();
    for connections in [1, 1_000] {
        let ends = (0..connections).map(|n| pod(info, n % PODS, n, Endpoint::Server));
        let ends: Vec<Arc<ConnectionInfo>> = ends.collect();
        let mut exporter = Exporter::new().expect("an exporter");
        for info in &ends {
            exporter.accept(&Output::Connection(Arc::clone(info)));
        }
        let both: Vec<[Output; 2]> = (0..10_000)
            .map(|n| {
                let info = &ends[n * 7 % ends.len()];
                [
                    Output::StreamOpened {
                        info: Arc::clone(info),
                    },
                    Output::Stream {
                        info: Arc::clone(info),
                        record: Arc::clone(&records[n % METHODS]),
                        findings: Vec::new(),
                    },
                ]
            })
            .collect();
        let times = (0..rounds).map(|_| {
            let begun = processor_time();
            for _ in 0..STREAMS / 10_000 {
                both.iter()
                    .flatten()
                    .for_each(|output| exporter.accept(output));
            }
            let took = processor_time().saturating_sub(begun);
            took.as_secs_f64() / f64::from(STREAMS) * 1e9
        });
        let took = median(times.collect());
        println!(
            "{connections:>6} connections of {PODS} pods: {took:.0} ns, {:.3} of the pipeline's",
            took / decoding
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok());
    let rounds = rounds.unwrap_or(5);
    let (info, record) = call();
    loads(rounds, &info, &record);
    churn(&info, &record);
    a_stream(rounds, &info, &record);
}
