//! Hostile peers: whatever they send, the memory of the pipeline stays below a stated number of bytes.
//!
//! The heap is counted by the allocator, so that these tests run one at a time.

mod files;
mod remembered;

use std::sync::{Mutex, PoisonError};

use h2trace::diagnosis::Diagnosis;
use h2trace::session::memory::{Purpose, Shares};
use h2trace_core::event::{
    Boundary, Bytes, Direction, Event, Open, Opened, ProtocolConfidence, SocketKey, Task,
    Timestamp, What,
};
use h2trace_core::limits;
use h2trace_core::pipeline::{LossCause, Output, Pipeline, PipelineSettings, Sink};
use tracer_ebpf::http2::{PREFACE, frame_type};
use tracer_tests::heap::{Heap, peak_of};
use tracer_tests::workspace;

#[global_allocator]
static HEAP: Heap = Heap;

const MIB: usize = 1 << 20;

/// Only one test may allocate while another one counts.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Counts the outputs and keeps none, but for what a diagnosis is made of, if one is.
#[derive(Default)]
struct Counted {
    streams: u64,
    limits: u64,
    diagnosis: Option<Diagnosis>,
}

impl Sink for Counted {
    fn accept(&mut self, output: &Output) {
        if let Some(diagnosis) = &mut self.diagnosis {
            diagnosis.accept(output);
        }
        match output {
            Output::Stream { .. } => self.streams += 1,
            Output::Loss(loss) if matches!(loss.cause, LossCause::Limit(_)) => self.limits += 1,
            _ => {}
        }
    }
}

/// A server's end of a connection that is seen from its first byte.
fn opening() -> Open {
    Open {
        opened: Opened::Passive,
        from_start: true,
        ..Open::unseen()
    }
}

/// Many connections into one pipeline.
struct Attack {
    pipeline: Pipeline,
    said: Counted,
    at: u64,
    /// Whose events they are.
    pid: u32,
}

impl Attack {
    fn new() -> Attack {
        Attack::within(limits::MEMORY)
    }

    /// With so many bytes for all connections.
    fn within(memory: usize) -> Attack {
        Attack {
            pipeline: Pipeline::new(PipelineSettings {
                memory,
                ..PipelineSettings::default()
            }),
            said: Counted::default(),
            at: 1_000_000_000,
            pid: 0,
        }
    }

    fn event(&mut self, socket: u64, what: What<'_>) {
        self.at += 1_000;
        let event = Event {
            at: Timestamp(self.at),
            socket: SocketKey {
                sk: socket,
                born_ns: 1,
            },
            task: Task {
                pid: self.pid,
                tid: self.pid,
                cgroup: 0,
            },
            what,
        };
        self.pipeline.handle(&event, &mut self.said);
        self.pipeline.advance(Timestamp(self.at), &mut self.said);
    }

    /// A client's connection, up to its SETTINGS.
    fn connect(&mut self, socket: u64) -> HostileClient {
        self.event(socket, What::Open(Box::new(opening())));
        let mut client = HostileClient {
            socket,
            offset: 0,
            answered: 0,
        };
        client.send(
            self,
            &[&PREFACE[..], &frame(frame_type::SETTINGS, 0, 0, &[])].concat(),
        );
        client
    }
}

struct HostileClient {
    socket: u64,
    offset: u64,
    answered: u64,
}

impl HostileClient {
    fn send(&mut self, attack: &mut Attack, bytes: &[u8]) {
        self.pass(attack, Direction::Rx, bytes);
    }

    /// The server answers.
    fn answer(&mut self, attack: &mut Attack, bytes: &[u8]) {
        self.pass(attack, Direction::Tx, bytes);
    }

    fn pass(&mut self, attack: &mut Attack, direction: Direction, bytes: &[u8]) {
        for bytes in bytes.chunks(15_000) {
            let mut encoded = (bytes.len() as u32).to_le_bytes().to_vec();
            encoded.extend(bytes);
            let at = match direction {
                Direction::Rx => &mut self.offset,
                Direction::Tx => &mut self.answered,
            };
            let offset = *at;
            *at += bytes.len() as u64;
            let what = What::Bytes(Bytes {
                direction,
                offset,
                total: bytes.len() as u32,
                boundary: Boundary::Unknown,
                confidence: ProtocolConfidence::Preface,
                unseen: None,
                encoded: &encoded,
            });
            attack.event(self.socket, what);
        }
    }
}

fn frame(frame_type: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([frame_type, flags]);
    bytes.extend(stream_id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Runs an attack and says by how much the heap grew at most, and what was said.
fn attack(act: impl FnOnce(&mut Attack)) -> (Counted, usize) {
    attack_on(Attack::new, act)
}

fn attack_on(new: impl FnOnce() -> Attack, act: impl FnOnce(&mut Attack)) -> (Counted, usize) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (said, peak) = peak_of(|| {
        let mut attack = new();
        act(&mut attack);
        attack.said
    });
    println!("peak {} KiB, {} limit hits", peak / 1024, said.limits);
    (said, peak)
}

fn literal(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x40, name.len() as u8];
    bytes.extend(name.bytes());
    // A length of the 7-bit prefix form (RFC 7541 section 5.1).
    let mut rest = value.len();
    if rest < 127 {
        bytes.push(rest as u8);
    } else {
        bytes.push(127);
        rest -= 127;
        while rest >= 128 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes.extend(value);
    bytes
}

/// A request that enters nothing into the table.
const REQUEST: &[u8] = &[0x83, 0x86, 0x84, 0x01, 1, b'a'];

/// 4 KB entered into the table once, then named 16,000 times a block: 64 MB for 16 KB (RFC 7541 section 7.3).
#[test]
fn an_hpack_bomb_stays_below_8_mib() {
    let (said, peak) = attack(|attack| {
        let mut client = attack.connect(1);
        let first = [REQUEST, &literal("bomb", &[b'x'; 4_000])].concat();
        client.send(attack, &frame(frame_type::HEADERS, 5, 1, &first));
        for id in 1..20 {
            let block = [REQUEST, &[0xbe; 16_000]].concat();
            client.send(attack, &frame(frame_type::HEADERS, 5, 2 * id + 1, &block));
        }
    });
    assert!(said.limits > 0, "the bound of a header list did not bite");
    assert!(peak < 8 * MIB, "{peak}");
}

#[test]
fn a_flood_of_continuations_stays_below_2_mib() {
    let (said, peak) = attack(|attack| {
        let mut client = attack.connect(1);
        client.send(attack, &frame(frame_type::HEADERS, 0, 1, REQUEST));
        for _ in 0..2_000 {
            client.send(
                attack,
                &frame(frame_type::CONTINUATION, 0, 1, &[0x84; 8_000]),
            );
        }
        for _ in 0..100_000 {
            client.send(attack, &frame(frame_type::CONTINUATION, 0, 1, &[]));
        }
    });
    assert!(said.limits > 0, "no bound of a header block bit");
    assert!(peak < 2 * MIB, "{peak}");
}

/// One connection, a million streams that never end.
#[test]
fn a_million_streams_of_one_connection_stay_below_24_mib() {
    let (said, peak) = attack(|attack| {
        let mut client = attack.connect(1);
        for n in 0..1_000 {
            let ids = 1_000 * n..1_000 * (n + 1);
            let requests = ids.flat_map(|id| frame(frame_type::HEADERS, 4, 2 * id + 1, REQUEST));
            client.send(attack, &requests.collect::<Vec<u8>>());
        }
        assert!(attack.pipeline.live().streams <= limits::STREAMS_PER_CONNECTION);
    });
    assert!(said.streams >= 1_000_000 - limits::STREAMS_PER_CONNECTION as u64);
    assert!(peak < 24 * MIB, "{peak}");
}

/// The largest table that the peers may agree on, and a block that fills it, again and again.
#[test]
fn giant_tables_stay_below_1_mib_a_connection() {
    const CONNECTIONS: usize = 20;
    let (_, peak) = attack(|attack| {
        for socket in 0..CONNECTIONS as u64 {
            let mut client = attack.connect(socket);
            // The client lets the server have 4 GB, and sends in the other direction as much.
            client.send(
                attack,
                &frame(frame_type::SETTINGS, 0, 0, &[0, 1, 0xff, 0xff, 0xff, 0xff]),
            );
            for id in 0..200_u32 {
                let value = vec![b'a' + (id % 26) as u8; 14_000];
                let block = [REQUEST, &literal("big", &value)].concat();
                client.send(attack, &frame(frame_type::HEADERS, 5, 2 * id + 1, &block));
            }
        }
    });
    assert!(peak < CONNECTIONS * MIB, "{peak}");
}

/// Frames that are announced as long as can be and never end.
#[test]
fn frames_that_never_end_stay_below_160_kib_a_connection() {
    const CONNECTIONS: usize = 100;
    let (_, peak) = attack(|attack| {
        for socket in 0..CONNECTIONS as u64 {
            let mut client = attack.connect(socket);
            let mut head = vec![0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 1];
            head.extend(vec![0x84; 200_000]);
            client.send(attack, &head);
        }
    });
    assert!(peak < CONNECTIONS * 160 * 1024, "{peak}");
}

/// Connections of which nobody knows who is the client: their header blocks name entries that were never seen, one byte a
/// field. Each sends so many blocks of so many fields.
fn without_a_role(connections: u64, blocks: u32, fields: usize) -> (Counted, usize) {
    attack(|attack| {
        for socket in 0..connections {
            let open = Open {
                opened: Opened::Unseen,
                from_start: false,
                ..opening()
            };
            attack.event(socket, What::Open(Box::new(open)));
            let mut end = HostileClient {
                socket,
                offset: 0,
                answered: 0,
            };
            for id in 0..blocks {
                let block = vec![0xbe; fields];
                let headers = frame(frame_type::HEADERS, 4, 2 * id + 1, &block);
                end.send(attack, &headers);
            }
        }
    })
}

#[test]
fn connections_without_a_role_stay_below_40_mib_together() {
    let (said, peak) = without_a_role(60, 12, 14_000);
    assert!(said.limits > 0, "the bound of what waits did not bite");
    assert!(peak < 40 * MIB, "{peak}");
}

/// None of them reaches the bound of one.
#[test]
fn very_many_connections_without_a_role_stay_below_40_mib_together() {
    let (said, peak) = without_a_role(400, 4, 6_000);
    assert!(said.limits > 0, "the bound of what waits did not bite");
    assert!(peak < 40 * MIB, "{peak}");
}

/// What the chart's limit leaves for connections (`tests/live/memory_limit.rs` has the whole of it).
fn budget() -> usize {
    let chart = workspace().join("tracer-user/deploy/chart/values.yaml");
    let values: serde_json::Value =
        serde_saphyr::from_str(&std::fs::read_to_string(chart).unwrap()).unwrap();
    let limit = values["resources"]["limits"]["memory"].as_str().unwrap();
    let mib = limit.strip_suffix("Mi").unwrap().parse().unwrap();
    let ring = u32::try_from(values["ringMib"].as_u64().unwrap()).unwrap();
    Shares::of(Some(mib), Purpose::Serve, ring << 20).connections
}

/// Runs the same on many connections: the worst that the bounds of one allow is bounded for all.
fn assert_bounded(what: &str, connections: u64, act: impl Fn(&mut Attack, &mut HostileClient)) {
    let budget = budget();
    let (said, peak) = attack_on(
        || Attack::within(budget),
        |attack| {
            for socket in 0..connections {
                let mut client = attack.connect(socket);
                act(attack, &mut client);
                assert!(attack.pipeline.memory() <= budget, "{what}");
            }
        },
    );
    assert!(said.limits > 0, "{what}: the budget did not bite");
    // The limit leaves as much again for what joins the two sides of proxies, which is accounted to no connection.
    assert!(peak < 2 * budget, "{what}: {peak}");
    // And what is accounted is there: else healthy connections would pay for nothing.
    assert!(peak > budget / 2, "{what}: {peak}");
}

#[test]
fn open_streams_of_all_connections_stay_below_the_budget() {
    assert_bounded("open streams", 60, |attack, client| {
        let ids = 0..limits::STREAMS_PER_CONNECTION as u32;
        let requests = ids.flat_map(|id| frame(frame_type::HEADERS, 4, 2 * id + 1, REQUEST));
        client.send(attack, &requests.collect::<Vec<u8>>());
    });
}

#[test]
fn streams_with_long_values_of_all_connections_stay_below_the_budget() {
    let block = [
        &[0x83, 0x86, 0x04, 120][..],
        &[b'/'; 120],
        &literal("user-agent", &[b'u'; 200])[1..],
    ]
    .concat();
    let mut block = block;
    block.insert(124, 0);
    assert_bounded("long values", 60, |attack, client| {
        let ids = 0..limits::STREAMS_PER_CONNECTION as u32;
        let requests = ids.flat_map(|id| frame(frame_type::HEADERS, 4, 2 * id + 1, &block));
        client.send(attack, &requests.collect::<Vec<u8>>());
    });
}

#[test]
fn tables_of_small_entries_of_all_connections_stay_below_the_budget() {
    assert_bounded("tables", 600, |attack, client| {
        let largest = [0, 1, 0, 1, 0, 0];
        client.answer(attack, &frame(frame_type::SETTINGS, 0, 0, &largest));
        // A size update to 65,536, and entries of a name of one letter.
        let mut block = vec![0x3f, 0xe1, 0xff, 0x03];
        block.extend(REQUEST);
        for n in 0..2_000_u32 {
            block.extend([0x40, 1, b'a' + (n % 26) as u8, 0]);
        }
        client.send(attack, &frame(frame_type::HEADERS, 5, 1, &block));
    });
}

#[test]
fn header_blocks_without_an_end_of_all_connections_stay_below_the_budget() {
    assert_bounded("header blocks", 800, |attack, client| {
        client.send(attack, &frame(frame_type::HEADERS, 0, 1, REQUEST));
        for _ in 0..20 {
            let more = frame(frame_type::CONTINUATION, 0, 1, &[0x84; 14_000]);
            client.send(attack, &more);
        }
    });
}

#[test]
fn idle_connections_stay_below_the_budget() {
    assert_bounded("idle", 65_536, |_, _| {});
}

/// A connection that gives up what it has is followed on.
#[test]
fn a_connection_that_pays_is_followed_on() {
    let (said, _) = attack_on(
        || Attack::within(2 * MIB),
        |attack| {
            let mut client = attack.connect(1);
            let mut quiet = attack.connect(2);
            let ids = 0..limits::STREAMS_PER_CONNECTION as u32;
            let requests = ids.flat_map(|id| frame(frame_type::HEADERS, 4, 2 * id + 1, REQUEST));
            client.send(attack, &requests.collect::<Vec<u8>>());
            let streams = attack.pipeline.live().streams;
            assert!(streams < limits::STREAMS_PER_CONNECTION, "{streams}");
            assert_eq!(attack.pipeline.live().connections, 2);
            // Who did not have much does not pay.
            quiet.send(attack, &frame(frame_type::HEADERS, 5, 1, REQUEST));
            for id in 10_000..10_010 {
                let request = frame(frame_type::HEADERS, 5, 2 * id + 1, REQUEST);
                client.send(attack, &request);
            }
            assert!(attack.pipeline.live().streams > 1);
        },
    );
    assert!(said.limits > 0 && said.streams > 1_000);
}
