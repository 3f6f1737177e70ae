//! `cargo xtask bench --hops`: what the join of a proxy's two sides costs in the pipeline.
//!
//! The records of a proxy's requests, made in memory, go through the pipeline with the join and without it, in
//! turn. Counted is the processor time of this thread, which other programs on the machine disturb less than
//! the clock; the ratios hold better than the figures.
//!
//! With several pairs it fails when the join costs more than [`BOUND`].
//!
//! Arguments: how many pairs of runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2trace_core::event::{
    Address, Boundary, Bytes, Direction, Event, Open, Opened, ProtocolConfidence, SocketKey, Task,
    Timestamp, What,
};
use h2trace_core::field::Shown;
use h2trace_core::pipeline::{NoNames, Output, Pipeline, PipelineSettings, Sink};
use tracer_ebpf::http2::{PREFACE, frame_type};
use tracer_tests::measure::processor_time;

/// Requests of a run; each is a stream at either side.
const REQUESTS: u32 = 40_000;
/// Threads of the proxy, each with one connection of either side.
const THREADS: u64 = 4;
/// Requests that a thread reads before it writes them on.
const BURST: u32 = 8;
/// Time between two records, in nanoseconds: 12,500 requests a second.
const STEP_NS: u64 = 20_000;
/// Bytes of a message; the kernel programs copy its prefix alone.
const MESSAGE: u32 = 100;
/// Records that are read from the ring at once.
const RECORDS_AT_ONCE: usize = 16;
const PID: u32 = 4_242;
/// What the processor time with the join may be, as a multiple of that without it: the mean over all loads.
const BOUND: f64 = 1.35;
/// So few pairs are no measurement.
const PAIRS: usize = 5;

/// What tells a request from another one.
#[derive(Clone, Copy)]
enum ToldBy {
    /// `x-request-id`, which the proxy passes on.
    Id,
    /// A field of the client's own; the proxy adds an `x-request-id` and more.
    Field,
    /// Nothing: the order in which the thread works.
    Order,
}

struct Record {
    at: u64,
    connection: u64,
    direction: Direction,
    offset: u64,
    total: u32,
    encoded: Vec<u8>,
}

/// One connection of the proxy.
struct Connection {
    number: u64,
    by_direction: [u64; 2],
    encoders: [loona_hpack::Encoder<'static>; 2],
}

impl Connection {
    fn new(number: u64) -> Connection {
        Connection {
            number,
            by_direction: [0; 2],
            encoders: [loona_hpack::Encoder::new(), loona_hpack::Encoder::new()],
        }
    }

    /// One call: these parts are copied, and so many bytes of DATA after each are not.
    fn call(&mut self, at: u64, direction: Direction, parts: &[(Vec<u8>, u32)]) -> Record {
        let mut encoded = Vec::new();
        let mut total = 0;
        for (copied, hole) in parts {
            let len = u32::try_from(copied.len()).expect("a few frames");
            encoded.extend(len.to_le_bytes());
            encoded.extend(copied);
            if *hole > 0 {
                encoded.extend((1 << 31 | hole).to_le_bytes());
            }
            total += len + hole;
        }
        let offset = self.by_direction[direction.index()];
        self.by_direction[direction.index()] += u64::from(total);
        Record {
            at,
            connection: self.number,
            direction,
            offset,
            total,
            encoded,
        }
    }

    fn headers(
        &mut self,
        direction: Direction,
        id: u32,
        end_stream: bool,
        fields: &[(&str, &str)],
    ) -> Vec<u8> {
        let fields = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let block = self.encoders[direction.index()].encode(fields);
        frame(frame_type::HEADERS, 4 | u8::from(end_stream), id, &block, 0)
    }
}

/// A frame; of its payload, so many bytes more than these follow.
fn frame(frame_type: u8, flags: u8, id: u32, payload: &[u8], more: u32) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a short payload") + more;
    let mut bytes = len.to_be_bytes()[1..].to_vec();
    bytes.extend([frame_type, flags]);
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// DATA with one gRPC message, of which its prefix is copied.
fn data(id: u32, end_stream: bool) -> Vec<u8> {
    let mut prefix = vec![0];
    prefix.extend(MESSAGE.to_be_bytes());
    frame(frame_type::DATA, u8::from(end_stream), id, &prefix, MESSAGE)
}

/// The requests of a proxy, as the records of its sockets.
fn records(told: ToldBy) -> Vec<Record> {
    let mut records = Vec::new();
    let mut downs: Vec<_> = (0..THREADS).map(|n| Connection::new(2 * n)).collect();
    let mut ups: Vec<_> = (0..THREADS).map(|n| Connection::new(2 * n + 1)).collect();
    let mut at = 1_000_000_000;
    let mut next = move || {
        at += STEP_NS;
        at
    };
    for (down, up) in downs.iter_mut().zip(&mut ups) {
        for (connection, client, server) in [
            (down, Direction::Rx, Direction::Tx),
            (up, Direction::Tx, Direction::Rx),
        ] {
            let mut preface = PREFACE.to_vec();
            preface.extend(frame(frame_type::SETTINGS, 0, 0, &[], 0));
            // SETTINGS_INITIAL_WINDOW_SIZE and the connection's window: flow control is in nobody's way.
            let window = [0, 4, 0x7f, 0xff, 0xff, 0xff];
            let mut settings = frame(frame_type::SETTINGS, 0, 0, &window, 0);
            settings.extend(frame(
                frame_type::WINDOW_UPDATE,
                0,
                0,
                &0x7fff_0000_u32.to_be_bytes(),
                0,
            ));
            preface.extend(&settings[..]);
            records.push(connection.call(next(), client, &[(preface, 0)]));
            records.push(connection.call(next(), server, &[(settings, 0)]));
        }
    }
    let mut n = 0;
    while n < REQUESTS {
        let thread = usize::try_from(u64::from(n / BURST) % THREADS).expect("a few threads");
        let (down, up) = (&mut downs[thread], &mut ups[thread]);
        let burst: Vec<(u32, String)> = (n..n + BURST)
            .map(|n| (2 * n + 1, format!("6b8f0f5e-{n:08x}-4c1d-9f0a")))
            .collect();
        n += BURST;
        let common = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/helloworld.Greeter/SayHello"),
            (":authority", "greeter.example:50051"),
            ("content-type", "application/grpc"),
            ("user-agent", "grpc-go/1.71.0"),
            ("te", "trailers"),
        ];
        for (id, value) in &burst {
            let mut fields = common.to_vec();
            match told {
                ToldBy::Id => fields.push(("x-request-id", value)),
                ToldBy::Field => fields.push(("x-call-id", value)),
                ToldBy::Order => {}
            }
            let headers = down.headers(Direction::Rx, *id, false, &fields);
            let parts = [([headers, data(*id, true)].concat(), MESSAGE)];
            records.push(down.call(next(), Direction::Rx, &parts));
        }
        for (id, value) in &burst {
            let made = format!("{value}-made");
            let mut fields = common.to_vec();
            match told {
                ToldBy::Id => fields.push(("x-request-id", value)),
                ToldBy::Field => fields.extend([
                    ("x-call-id", value.as_str()),
                    ("x-request-id", &made),
                    ("x-forwarded-proto", "http"),
                    ("x-envoy-expected-rq-timeout-ms", "15000"),
                ]),
                ToldBy::Order => {}
            }
            let headers = up.headers(Direction::Tx, *id, false, &fields);
            let parts = [([headers, data(*id, true)].concat(), MESSAGE)];
            records.push(up.call(next(), Direction::Tx, &parts));
        }
        for (id, _) in &burst {
            for (connection, direction) in [(&mut *up, Direction::Rx), (&mut *down, Direction::Tx)]
            {
                let response = [(":status", "200"), ("content-type", "application/grpc")];
                let headers = connection.headers(direction, *id, false, &response);
                let trailers = [("grpc-status", "0"), ("grpc-message", "")];
                let trailers = connection.headers(direction, *id, true, &trailers);
                let parts = [
                    ([headers, data(*id, false)].concat(), MESSAGE),
                    (trailers, 0),
                ];
                records.push(connection.call(next(), direction, &parts));
            }
        }
    }
    records
}

#[derive(Default)]
struct HopCount {
    streams: u32,
    joined: u32,
    findings: u32,
}

impl Sink for HopCount {
    fn accept(&mut self, output: &Output) {
        match output {
            Output::Stream { findings, .. } => {
                self.streams += 1;
                self.findings += u32::try_from(findings.len()).unwrap_or(0);
            }
            Output::Hop { request, findings } => {
                self.joined += u32::from(!request.upstream.is_empty());
                self.findings += u32::try_from(findings.len()).unwrap_or(0);
            }
            _ => {}
        }
    }
}

fn event<'a>(record: &Record, what: What<'a>) -> Event<'a> {
    Event {
        at: Timestamp(record.at),
        socket: SocketKey {
            sk: 0xffff_0000 | record.connection << 7,
            born_ns: 1,
        },
        task: Task {
            pid: PID,
            tid: PID + u32::try_from(record.connection / 2).unwrap_or(0),
            cgroup: 1,
        },
        what,
    }
}

/// Processor time of one run.
fn run(records: &[Record], joins: bool, shown: &Arc<Shown>) -> Duration {
    let settings = PipelineSettings {
        shown: Arc::clone(shown),
        names: Box::new(NoNames),
        ..PipelineSettings::default()
    };
    let mut pipeline = Pipeline::new(settings);
    if !joins {
        pipeline = pipeline.without_hops();
    }
    let mut count = HopCount::default();
    let begun = processor_time();
    for (nth, record) in records.iter().enumerate() {
        if record.offset == 0 && pipeline.id_of(&event(record, nothing()).socket).is_none() {
            let is_down = record.connection.is_multiple_of(2);
            let end = |port: u16| Address::Inet(SocketAddr::from(([127, 0, 0, 1], port)));
            let port = 40_000 + u16::try_from(record.connection).expect("few connections");
            let open = Open {
                opened: if is_down {
                    Opened::Passive
                } else {
                    Opened::Active
                },
                from_start: true,
                local: end(port),
                peer: end(50_051),
                netns: 1,
                inode: 1,
                unix_peer_sk: 0,
                peer_process: None,
                comm: "proxy".to_owned(),
            };
            pipeline.handle(&event(record, What::Open(Box::new(open))), &mut count);
        }
        let bytes = Bytes {
            direction: record.direction,
            offset: record.offset,
            total: record.total,
            boundary: Boundary::At {
                after: 0,
                frame_type: 0,
                flags: 0,
                stream_id: 0,
            },
            confidence: ProtocolConfidence::Preface,
            unseen: None,
            encoded: &record.encoded,
        };
        pipeline.handle(&event(record, What::Bytes(bytes)), &mut count);
        if nth.is_multiple_of(RECORDS_AT_ONCE) {
            pipeline.advance(Timestamp(record.at), &mut count);
        }
    }
    let last = records.last().map_or(0, |record| record.at);
    pipeline.finish(Timestamp(last + 20_000_000_000), &mut count);
    let took = processor_time().saturating_sub(begun);
    let joined = if joins { REQUESTS } else { 0 };
    assert_eq!(
        (count.streams, count.joined, count.findings),
        (2 * REQUESTS, joined, 0),
        "the load is not what it should be"
    );
    took
}

fn nothing() -> What<'static> {
    What::End(h2trace_core::event::End {
        cause: h2trace_core::event::EndCause::Closed,
        tx_offset: None,
        rx_offset: None,
    })
}

fn main() {
    // `cargo test --benches` runs this too, with arguments of its own; so does `cargo bench`.
    let pairs = std::env::args().skip(1).find_map(|n| n.parse().ok());
    let pairs: usize = pairs.unwrap_or(1);
    println!("{REQUESTS} requests a run, microseconds of processor time for each (2 streams)");
    println!(
        "{:<34}  {:>8}  {:>8}  {:>6}",
        "medians of the pairs", "without", "with", "ratio"
    );
    let mut ratios = Vec::new();
    for (told, what) in [
        (ToldBy::Id, "x-request-id passed on"),
        (ToldBy::Field, "x-request-id made, another field"),
        (ToldBy::Order, "alike, by order"),
    ] {
        let records = records(told);
        for (shown, kept) in [(Shown::nothing(), ""), (Shown::default(), ", stories")] {
            let shown = Arc::new(shown);
            run(&records, true, &shown);
            let mut runs: Vec<(f64, f64)> = Vec::new();
            for nth in 0..pairs {
                let us =
                    |joins| run(&records, joins, &shown).as_secs_f64() * 1e6 / f64::from(REQUESTS);
                // The order changes from pair to pair, so that a drift of the machine favours neither.
                runs.push(if nth % 2 == 0 {
                    let without = us(false);
                    (without, us(true))
                } else {
                    let with = us(true);
                    (us(false), with)
                });
            }
            let ratio = median(runs.iter().map(|run| run.1 / run.0));
            println!(
                "{:<34}  {:>8.2}  {:>8.2}  {ratio:>6.3}",
                format!("{what}{kept}"),
                median(runs.iter().map(|run| run.0)),
                median(runs.iter().map(|run| run.1)),
            );
            ratios.push(ratio);
        }
    }
    let n = f64::from(u32::try_from(ratios.len()).expect("a few loads"));
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / n).exp();
    println!("mean ratio {mean:.3}, bound {BOUND}");
    assert!(
        pairs < PAIRS || mean <= BOUND,
        "the join costs more than it should"
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
