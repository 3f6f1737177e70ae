//! The whole path on hand-built events: no kernel, no sockets.

mod beside;
mod hops;
mod hostile;
mod loss;
mod stalls;
mod tunnels;
mod unseen;
mod witness;

use std::sync::Arc;

use super::{Live, Output, Pipeline, PipelineSettings, Protocol, Sink};
use crate::connection::{ConnectionEnd, Endpoint};
use crate::event::{
    Address, Boundary, Bytes, Direction, End, EndCause, Event, Open, Opened, OtherProtocol,
    ProtocolConfidence, SocketKey, Task, Timestamp, Unrecognised, Unseen, What,
};
use crate::frame::head::flag::{END_HEADERS, END_STREAM};
use crate::frame::head::frame_type;
use crate::limits::{CONNECTION_LINGER_NS, STREAM_LINGER_NS};
use crate::stream::record::{Outcome, ResponsePhase, Seen, Tier};
use crate::stream::table::Shown;

mod content;

const KEY: SocketKey = SocketKey { sk: 1, born_ns: 1 };
const PREFACE: &[u8] = crate::frame::PREFACE;

#[derive(Default)]
struct Collected(Vec<Output>);

impl Sink for Collected {
    fn accept(&mut self, output: &Output) {
        self.0.push(output.clone());
    }
}

/// Drives a pipeline as the kernel side would: keeps offsets and time.
struct Driver {
    pipeline: Pipeline,
    out: Collected,
    at: u64,
    offsets: [u64; 2],
    key: SocketKey,
    pid: u32,
    /// What the kernel says of frame boundaries with each run.
    boundary: Boundary,
    confidence: ProtocolConfidence,
    unseen: Option<Unseen>,
}

const RIGHT_HERE: Boundary = Boundary::At {
    after: 0,
    frame_type: 0,
    flags: 0,
    stream_id: 0,
};

impl Driver {
    fn new() -> Driver {
        Driver::showing(Shown::default())
    }

    fn showing(shown: Shown) -> Driver {
        let settings = PipelineSettings {
            shown: Arc::new(shown),
            ..PipelineSettings::default()
        };
        Driver {
            pipeline: Pipeline::new(settings),
            out: Collected::default(),
            at: 1_000,
            offsets: [0, 0],
            key: KEY,
            pid: 7,
            boundary: RIGHT_HERE,
            confidence: ProtocolConfidence::Preface,
            unseen: None,
        }
    }

    fn event(&mut self, what: What<'_>) {
        self.at += 1_000;
        let event = Event {
            at: Timestamp(self.at),
            socket: self.key,
            task: Task {
                pid: self.pid,
                tid: self.pid,
                cgroup: 1,
            },
            what,
        };
        self.pipeline.handle(&event, &mut self.out);
    }

    fn open(&mut self, opened: Opened, from_start: bool) {
        self.event(What::Open(Box::new(Open {
            opened,
            from_start,
            local: Address::Unix("local".to_owned()),
            peer: Address::Unix("peer".to_owned()),
            netns: 1,
            inode: 1,
            unix_peer_sk: 0,
            comm: "worker".to_owned(),
            peer_process: None,
        })));
    }

    fn send(&mut self, direction: Direction, bytes: &[u8]) {
        let mut encoded = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
        encoded.extend_from_slice(bytes);
        self.send_encoded(direction, &encoded, bytes.len());
    }

    fn send_encoded(&mut self, direction: Direction, encoded: &[u8], total: usize) {
        let offset = self.offsets[direction.index()];
        self.offsets[direction.index()] += total as u64;
        let boundary = self.boundary;
        let confidence = self.confidence;
        self.event(What::Bytes(Bytes {
            direction,
            offset,
            total: u32::try_from(total).unwrap(),
            boundary,
            confidence,
            unseen: self.unseen,
            encoded,
        }));
    }

    /// Bytes of a call whose buffer is not known.
    fn send_unseen(&mut self, direction: Direction, total: usize, reason: Unseen) {
        let hole = tracer_ebpf::event::SEGMENT_HOLE | u32::try_from(total).unwrap();
        self.unseen = Some(reason);
        self.send_encoded(direction, &hole.to_le_bytes(), total);
        self.unseen = None;
    }

    /// Bytes that went by without a record.
    fn lose(&mut self, direction: Direction, len: u64) {
        self.offsets[direction.index()] += len;
    }

    fn end(&mut self, cause: EndCause) {
        self.event(What::End(End {
            cause,
            tx_offset: None,
            rx_offset: None,
        }));
    }

    fn pass(&mut self, ns: u64) {
        self.at += ns;
        self.pipeline.advance(Timestamp(self.at), &mut self.out);
    }

    fn streams(&self) -> Vec<&crate::stream::record::StreamRecord> {
        self.out
            .0
            .iter()
            .filter_map(|output| match output {
                Output::Stream { record, .. } => Some(&**record),
                _ => None,
            })
            .collect()
    }

    fn loud_findings(&self) -> Vec<&'static str> {
        let loud = |f: &crate::anomaly::kind::Finding| {
            (f.verdict >= crate::anomaly::kind::Verdict::Suspicious).then(|| f.kind.as_str())
        };
        self.out
            .0
            .iter()
            .flat_map(|output| match output {
                Output::Stream { findings, .. } => findings.iter().filter_map(loud).collect(),
                Output::Finding { finding, .. } => loud(finding).into_iter().collect::<Vec<_>>(),
                _ => Vec::new(),
            })
            .collect()
    }

    fn losses(&self) -> Vec<&'static str> {
        self.out
            .0
            .iter()
            .filter_map(|output| match output {
                Output::Loss(loss) => Some(loss.cause.as_str()),
                _ => None,
            })
            .collect()
    }

    fn protocols(&self) -> Vec<Protocol> {
        self.out
            .0
            .iter()
            .filter_map(|output| match output {
                Output::Connection(info) => Some(info.protocol),
                _ => None,
            })
            .collect()
    }
}

fn frame(frame_type: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], frame_type, flags];
    bytes.extend_from_slice(&stream_id.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0x00, u8::try_from(name.len()).unwrap()];
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(u8::try_from(value.len()).unwrap());
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

fn request(stream_id: u32) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    block.extend(literal(":path", "/a.B/C"));
    block.extend(literal(":authority", "a"));
    block.extend(literal("content-type", "application/grpc"));
    block.extend(literal("te", "trailers"));
    frame(frame_type::HEADERS, END_HEADERS, stream_id, &block)
}

fn message(stream_id: u32, len: usize, end_stream: bool) -> Vec<u8> {
    let mut payload = vec![0];
    payload.extend_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
    payload.extend(std::iter::repeat_n(b'x', len));
    frame(frame_type::DATA, u8::from(end_stream), stream_id, &payload)
}

fn response_headers(stream_id: u32) -> Vec<u8> {
    let mut block = vec![0x88];
    block.extend(literal("content-type", "application/grpc"));
    frame(frame_type::HEADERS, END_HEADERS, stream_id, &block)
}

fn trailers(stream_id: u32, status: &str) -> Vec<u8> {
    frame(
        frame_type::HEADERS,
        END_HEADERS | END_STREAM,
        stream_id,
        &literal("grpc-status", status),
    )
}

fn reset(stream_id: u32, code: u32) -> Vec<u8> {
    frame(frame_type::RST_STREAM, 0, stream_id, &code.to_be_bytes())
}

fn settings() -> Vec<u8> {
    frame(frame_type::SETTINGS, 0, 0, &[])
}

fn hello(driver: &mut Driver) {
    driver.open(Opened::Active, true);
    driver.send(Direction::Tx, &[PREFACE, &settings()].concat());
    driver.send(Direction::Rx, &settings());
}

#[test]
fn a_healthy_call_is_one_ok_stream_without_a_finding() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    assert_eq!(driver.pipeline.live().streams, 1);
    driver.send(
        Direction::Rx,
        &[response_headers(1), message(1, 5, false), trailers(1, "0")].concat(),
    );
    driver.pass(STREAM_LINGER_NS * 2);
    let streams = driver.streams();
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].outcome, Outcome::Ok);
    assert_eq!(streams[0].role, Some(Endpoint::Client));
    assert_eq!(streams[0].path.as_deref(), Some("/a.B/C"));
    assert_eq!(streams[0].grpc_status, Seen::Value(0));
    assert_eq!(streams[0].tier, Tier::T1);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
    assert_eq!(driver.losses(), Vec::<&str>::new());
    assert_eq!(driver.pipeline.live().streams, 0);
}

#[test]
fn a_connection_that_is_told_twice_is_one() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    driver.open(Opened::Active, true);
    driver.send(
        Direction::Rx,
        &[response_headers(1), message(1, 5, false), trailers(1, "0")].concat(),
    );
    driver.pass(STREAM_LINGER_NS * 2);
    assert_eq!(driver.protocols(), vec![Protocol::Http2]);
    assert_eq!(driver.streams().len(), 1);
    assert_eq!(driver.streams()[0].outcome, Outcome::Ok);
}

#[test]
fn a_response_cut_by_a_reset_is_found_once() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, false)].concat());
    let mut cut = message(1, 11_117, false);
    // 9,920 of 11,117 bytes, in a DATA frame of their own length.
    cut.truncate(9 + 5 + 9_920);
    let len = u32::try_from(5 + 9_920).unwrap().to_be_bytes();
    cut[..3].copy_from_slice(&len[1..]);
    driver.send(
        Direction::Rx,
        &[response_headers(1), cut, reset(1, 0)].concat(),
    );
    driver.pass(STREAM_LINGER_NS * 2);
    let streams = driver.streams();
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].response_phase, Some(ResponsePhase::Rm));
    assert_eq!(streams[0].trailers, Seen::Absent);
    let open = streams[0].response.messages.open.unwrap();
    assert_eq!((open.promised, open.got), (Some(11_117), 9_920));
    assert_eq!(driver.loud_findings(), vec!["response_cut_by_reset"]);
}

#[test]
fn frames_of_a_late_attach_wait_until_the_role_is_proven() {
    let mut driver = Driver::new();
    driver.confidence = ProtocolConfidence::Tentative;
    driver.open(Opened::Unseen, false);
    driver.send(
        Direction::Rx,
        &[
            frame(frame_type::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
            trailers(3, "0"),
        ]
        .concat(),
    );
    assert!(driver.protocols().is_empty());
    driver.send(Direction::Tx, &[request(5), message(5, 3, true)].concat());
    driver.send(
        Direction::Rx,
        &[response_headers(5), message(5, 5, false), trailers(5, "0")].concat(),
    );
    driver.pass(STREAM_LINGER_NS * 2);
    assert_eq!(driver.protocols(), vec![Protocol::Http2]);
    let ids: Vec<u32> = driver.streams().iter().map(|s| s.stream_id.0).collect();
    assert!(ids.contains(&5), "{ids:?}");
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
}

#[test]
fn frames_of_a_late_attach_that_come_in_one_run_are_not_too_many_to_wait() {
    let mut driver = Driver::new();
    driver.open(Opened::Unseen, false);
    let ids = (0..500).map(|n| 2 * n + 5);
    let calls = ids
        .clone()
        .map(|id| [request(id), message(id, 3, true)].concat());
    driver.send(Direction::Rx, &calls.collect::<Vec<_>>().concat());
    let answers = ids.map(|id| {
        [
            response_headers(id),
            message(id, 5, false),
            trailers(id, "0"),
        ]
        .concat()
    });
    driver.send(Direction::Tx, &answers.collect::<Vec<_>>().concat());
    driver.pass(STREAM_LINGER_NS * 2);
    assert_eq!(driver.losses(), Vec::<&str>::new());
    let streams = driver.streams();
    assert_eq!(streams.len(), 500);
    assert!(
        streams
            .iter()
            .all(|stream| stream.beginning_seen && stream.outcome == Outcome::Ok)
    );
}

#[test]
fn what_only_looked_like_frames_is_told_as_undecided_alone() {
    let mut driver = Driver::new();
    driver.confidence = ProtocolConfidence::Tentative;
    driver.open(Opened::Unseen, false);
    driver.send(
        Direction::Rx,
        &frame(frame_type::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
    );
    driver.end(EndCause::Desync(Direction::Rx));
    driver.end(EndCause::Closed);
    driver.pass(CONNECTION_LINGER_NS * 2);
    let is_told = |output: &Output| match output {
        Output::Connection(info) | Output::ConnectionEnded { info, .. } => {
            matches!(info.protocol, Protocol::Undecided(_))
        }
        _ => false,
    };
    assert!(driver.out.0.iter().all(is_told), "{:?}", driver.out.0);
    assert_eq!(driver.out.0.len(), 2);
}

#[test]
fn lost_bytes_make_a_stream_unknown_not_broken() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    driver.send(Direction::Rx, &response_headers(1));
    driver.lose(Direction::Rx, 400);
    driver.send(Direction::Rx, &trailers(1, "0"));
    driver.pass(STREAM_LINGER_NS * 2);
    assert_eq!(driver.losses().first(), Some(&"gap"));
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
    assert_eq!(driver.streams().len(), 1);
}

#[test]
fn a_connection_lost_in_mid_stream_is_found_with_its_cause() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    driver.send(Direction::Rx, &response_headers(1));
    driver.end(EndCause::PeerReset);
    driver.end(EndCause::Closed);
    driver.pass(CONNECTION_LINGER_NS * 2);
    assert_eq!(driver.streams()[0].outcome, Outcome::ConnectionLost);
    let ended = driver.out.0.iter().find_map(|output| match output {
        Output::ConnectionEnded {
            why, open_streams, ..
        } => Some((*why, *open_streams)),
        _ => None,
    });
    assert_eq!(ended, Some((ConnectionEnd::PeerReset, 1)));
    assert!(driver.loud_findings().contains(&"connection_lost_streams"));
    assert_eq!(driver.pipeline.live(), Live::default());
}

#[test]
fn other_protocols_are_said_once_and_forgotten() {
    let mut driver = Driver::new();
    driver.open(Opened::Active, true);
    for direction in [Direction::Tx, Direction::Rx] {
        driver.event(What::Unrecognised(Unrecognised {
            direction,
            protocol: OtherProtocol::Tls,
            first: &[],
        }));
    }
    assert_eq!(
        driver.protocols(),
        vec![Protocol::Other(OtherProtocol::Tls)]
    );
}

#[test]
fn an_upgrade_to_h2c_makes_the_request_stream_one() {
    let mut driver = Driver::new();
    driver.open(Opened::Unseen, true);
    let ask =
        b"GET /up HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-PipelineSettings: AAMAAABk\r\n\r\n";
    let http1 = |direction, first| {
        What::Unrecognised(Unrecognised {
            direction,
            protocol: OtherProtocol::Http1,
            first,
        })
    };
    driver.event(http1(Direction::Tx, &ask[..]));
    let agree = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    driver.event(http1(Direction::Rx, &agree[..]));
    driver.offsets = [ask.len() as u64, agree.len() as u64];
    driver.send(Direction::Rx, &settings());
    driver.send(Direction::Tx, &[PREFACE, &settings()].concat());
    let answer = [
        frame(frame_type::HEADERS, END_HEADERS, 1, &[0x88]),
        frame(frame_type::DATA, END_STREAM, 1, b"hi"),
    ]
    .concat();
    driver.send(Direction::Rx, &answer);
    driver.pass(STREAM_LINGER_NS * 2);
    assert_eq!(driver.protocols(), vec![Protocol::Http2]);
    let streams = driver.streams();
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].path.as_deref(), Some("/up"));
    assert_eq!(streams[0].outcome, Outcome::Ok);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
}

#[test]
fn data_that_was_counted_is_counted_and_its_message_known() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    let body = message(1, 10_000, false);
    let mut encoded = (14u32).to_le_bytes().to_vec();
    encoded.extend_from_slice(&body[..14]);
    encoded.extend_from_slice(&(10_000u32 | tracer_ebpf::event::SEGMENT_HOLE).to_le_bytes());
    driver.send(Direction::Rx, &response_headers(1));
    driver.send_encoded(Direction::Rx, &encoded, body.len());
    driver.send(Direction::Rx, &trailers(1, "0"));
    driver.pass(STREAM_LINGER_NS * 2);
    let record = driver.streams()[0];
    assert_eq!(record.response.data_bytes, 10_005);
    assert_eq!(record.response.messages.complete, 1);
    assert!(record.response.messages.known);
    assert_eq!(record.outcome, Outcome::Ok);
}

#[test]
fn a_trace_that_ends_blames_nobody() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    driver
        .pipeline
        .finish(Timestamp(driver.at + 1), &mut driver.out);
    assert_eq!(driver.streams()[0].outcome, Outcome::Unknown);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
}

#[test]
fn too_many_streams_of_all_connections_give_up_the_oldest_and_say_so() {
    let mut driver = Driver::new();
    driver.pipeline.max_streams = 3;
    hello(&mut driver);
    for id in [1, 3, 5, 7, 9] {
        driver.send(Direction::Tx, &request(id));
    }
    assert_eq!(driver.pipeline.live().streams, 3);
    assert_eq!(driver.losses(), vec!["limit_streams", "limit_streams"]);
    let outcomes: Vec<Outcome> = driver.streams().iter().map(|s| s.outcome).collect();
    assert_eq!(outcomes, vec![Outcome::Unknown, Outcome::Unknown]);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
}

#[test]
fn a_reset_that_answers_the_peers_end_is_not_taken_for_the_cause() {
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    driver.send(Direction::Rx, &response_headers(1));
    driver.end(EndCause::PeerFin);
    driver.send(Direction::Tx, &reset(1, 7));
    driver.end(EndCause::Closed);
    driver.pass(CONNECTION_LINGER_NS * 2);
    assert_eq!(driver.streams().len(), 1);
    assert_eq!(driver.streams()[0].outcome, Outcome::ConnectionLost);
    assert_eq!(driver.loud_findings(), vec!["connection_lost_streams"]);
    let open = driver.out.0.iter().find_map(|output| match output {
        Output::ConnectionEnded { open_streams, .. } => Some(*open_streams),
        _ => None,
    });
    assert_eq!(open, Some(1));
}

#[test]
fn where_streams_are_only_counted_no_value_and_no_story_is_kept() {
    let mut driver = Driver::showing(Shown::nothing());
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, false)].concat());
    let cut = message(1, 5, false);
    driver.send(
        Direction::Rx,
        &[response_headers(1), cut, reset(1, 0)].concat(),
    );
    driver.pass(STREAM_LINGER_NS * 2);
    let record = driver.streams()[0];
    assert!(record.shown.by_name().is_empty() && record.story.is_empty());
    assert_eq!(record.path.as_deref(), Some("/a.B/C"));
    assert_eq!(driver.loud_findings(), vec!["response_cut_by_reset"]);
}
