//! Recordings read back by the reader of captures.

use std::sync::Arc;

use h2trace_core::anomaly::kind::Verdict;
use h2trace_core::event::{
    Address, Boundary, Bytes, Direction, End, EndCause, Event, Open, Opened, OtherProtocol,
    ProtocolConfidence, Segment, SocketKey, Task, Timestamp, Unrecognised, What,
};
use h2trace_core::frame::PREFACE;
use h2trace_core::pipeline::{Output, Sink as _};

use super::{Recorder, RecordingSettings};
use crate::capture::{Capture, Reassembly};
use crate::export::clock::WallClock;
use crate::export::sample;

mod unix;

const MS: u64 = 1_000_000;
const BOOT: u64 = 1_767_225_600_000_000_000;

/// Plays events to a recorder.
struct Play {
    recorder: Recorder,
    at: u64,
}

/// A piece of a direction: copied, or only counted.
enum RunPart<'a> {
    Copied(&'a [u8]),
    Hole(u32),
}

impl Play {
    fn new() -> Play {
        Play::limited(u64::MAX)
    }

    fn limited(max_bytes: u64) -> Play {
        Play {
            recorder: Recorder::new(RecordingSettings {
                clock: WallClock::with_boot(BOOT),
                shown_from: Verdict::Suspicious,
                max_bytes,
                max_waiting: h2trace_core::limits::RECORD_WAITING,
            }),
            at: 1_000 * MS,
        }
    }

    fn event(&mut self, sk: u64, what: What<'_>) {
        self.at += MS;
        self.recorder.event(&Event {
            at: Timestamp(self.at),
            socket: key(sk),
            task: Task::default(),
            what,
        });
    }

    fn open(&mut self, sk: u64, open: Open) {
        self.event(sk, What::Open(Box::new(open)));
    }

    fn parts(&mut self, sk: u64, direction: Direction, offset: u64, parts: &[RunPart<'_>]) {
        let (mut encoded, mut total) = (Vec::new(), 0);
        for part in parts {
            match part {
                RunPart::Copied(bytes) => {
                    total += bytes.len() as u32;
                    encoded.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                    encoded.extend_from_slice(bytes);
                }
                RunPart::Hole(len) => {
                    total += len;
                    encoded.extend_from_slice(&(len | 1 << 31).to_le_bytes());
                }
            }
        }
        let bytes = Bytes {
            direction,
            offset,
            total,
            boundary: Boundary::Unknown,
            confidence: ProtocolConfidence::Preface,
            unseen: None,
            encoded: &encoded,
        };
        self.event(sk, What::Bytes(bytes));
    }

    fn bytes(&mut self, sk: u64, direction: Direction, offset: u64, bytes: &[u8]) {
        self.parts(sk, direction, offset, &[RunPart::Copied(bytes)]);
    }

    fn end(&mut self, sk: u64, cause: EndCause) {
        let end = End {
            cause,
            tx_offset: None,
            rx_offset: None,
        };
        self.event(sk, What::End(end));
    }

    fn file(&mut self) -> Vec<u8> {
        self.recorder.finish(Timestamp(self.at), 0);
        self.recorder.take().bytes
    }
}

fn key(sk: u64) -> SocketKey {
    SocketKey { sk, born_ns: 7 }
}

fn tcp(opened: Opened, local: &str, peer: &str, netns: u32) -> Open {
    Open {
        opened,
        from_start: opened != Opened::Unseen,
        local: Address::Inet(local.parse().unwrap()),
        peer: Address::Inet(peer.parse().unwrap()),
        netns,
        inode: 1,
        unix_peer_sk: 0,
        comm: "peer".to_owned(),
        peer_process: None,
    }
}

fn client() -> Open {
    tcp(Opened::Active, "127.0.0.1:40000", "127.0.0.1:50051", 1)
}

fn server() -> Open {
    tcp(Opened::Passive, "127.0.0.1:50051", "127.0.0.1:40000", 1)
}

/// What a reader of captures sees of one connection, from the client's end.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    ends: Option<(Address, Address)>,
    from_start: bool,
    sent: Vec<u8>,
    received: Vec<u8>,
    causes: Vec<EndCause>,
    lost: u64,
}

fn read(file: &[u8]) -> Vec<Seen> {
    let mut capture = Capture::open(file).unwrap();
    let mut reassembly = Reassembly::new(None);
    let mut seen: Vec<(SocketKey, Seen)> = Vec::new();
    let mut take = |event: &Event<'_>| {
        if let What::Open(open) = &event.what {
            let ends = Some((open.local.clone(), open.peer.clone()));
            let from_start = open.from_start;
            seen.push((
                event.socket,
                Seen {
                    ends,
                    from_start,
                    ..Seen::default()
                },
            ));
        }
        let (_, seen) = seen
            .iter_mut()
            .find(|(key, _)| *key == event.socket)
            .unwrap();
        match &event.what {
            What::Bytes(bytes) => {
                for segment in bytes.segments() {
                    if let Segment::Bytes(piece) = segment {
                        match bytes.direction {
                            Direction::Tx => seen.sent.extend(piece),
                            Direction::Rx => seen.received.extend(piece),
                        }
                    }
                }
            }
            What::End(end) => seen.causes.push(end.cause),
            _ => {}
        }
    };
    while let Some(packet) = capture.packet().unwrap() {
        reassembly.packet(&packet, &mut take);
    }
    reassembly.finish(&mut take);
    let lost = reassembly.counts().lost_bytes;
    let mut seen: Vec<Seen> = seen.into_iter().map(|(_, seen)| seen).collect();
    if let Some(first) = seen.first_mut() {
        first.lost = lost;
    }
    seen
}

const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

fn hello() -> Vec<u8> {
    [&PREFACE[..], SETTINGS].concat()
}

fn has(file: &[u8], text: &str) -> bool {
    file.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn connection_comes_back_byte_for_byte() {
    let mut play = Play::new();
    play.open(1, client());
    play.bytes(1, Direction::Tx, 0, &hello());
    play.bytes(1, Direction::Rx, 0, SETTINGS);
    // More than one segment holds.
    let mut data = vec![1, 0x11, 0x70, 0, 0, 0, 0, 0, 1];
    data.resize(9 + 70_000, 7);
    play.bytes(1, Direction::Tx, 33, &data);
    play.end(1, EndCause::PeerFin);
    // Read only now, though it arrived before the FIN.
    play.bytes(1, Direction::Rx, 9, b"\0\0\0\x04\x01\0\0\0\0");
    play.end(1, EndCause::Eof);
    play.end(1, EndCause::LocalClose);
    play.end(1, EndCause::Closed);
    let file = play.file();
    let seen = read(&file);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].sent, [hello(), data].concat());
    assert_eq!(
        seen[0].received,
        [SETTINGS, b"\0\0\0\x04\x01\0\0\0\0"].concat()
    );
    assert!(seen[0].from_start);
    assert_eq!(
        seen[0].causes,
        [EndCause::PeerFin, EndCause::LocalClose, EndCause::Closed]
    );
    assert_eq!(seen[0].lost, 0);
    let counts = play.recorder.counts();
    assert_eq!((counts.connections, counts.missing_bytes), (1, 0));
    assert_eq!(counts.payload_bytes, 33 + 70_009 + 18);
    assert!(has(&file, "nothing is missing"));
}

#[test]
fn server_end_is_shown_as_the_same_conversation() {
    let mut play = Play::new();
    play.open(1, server());
    play.bytes(1, Direction::Tx, 0, SETTINGS);
    play.bytes(1, Direction::Rx, 0, &hello());
    play.end(1, EndCause::LocalReset);
    play.end(1, EndCause::Closed);
    let seen = read(&play.file());
    assert_eq!(
        (&seen[0].sent[..], &seen[0].received[..]),
        (&hello()[..], SETTINGS)
    );
    let Some((Address::Inet(client), _)) = seen[0].ends else {
        panic!("no address");
    };
    assert_eq!(client.port(), 40_000);
    assert_eq!(seen[0].causes, [EndCause::PeerReset]);
}

#[test]
fn connection_of_two_traced_ends_stands_there_once_from_the_client_s() {
    for server_first in [false, true] {
        let mut play = Play::new();
        if server_first {
            play.open(2, server());
            play.bytes(2, Direction::Tx, 0, SETTINGS);
        }
        play.open(1, client());
        play.bytes(1, Direction::Tx, 0, &hello());
        if !server_first {
            play.open(2, server());
            play.bytes(2, Direction::Tx, 0, SETTINGS);
        }
        play.bytes(2, Direction::Rx, 0, &hello());
        play.bytes(1, Direction::Rx, 0, SETTINGS);
        play.end(2, EndCause::LocalClose);
        play.end(1, EndCause::PeerFin);
        play.end(1, EndCause::Eof);
        let seen = read(&play.file());
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (&seen[0].sent[..], &seen[0].received[..]),
            (&hello()[..], SETTINGS)
        );
        assert_eq!(play.recorder.counts().payload_bytes, 33 + 9);
        assert_eq!(seen[0].causes, [EndCause::PeerFin]);
    }
}

#[test]
fn same_addresses_in_two_network_namespaces_are_two_connections() {
    let mut play = Play::new();
    play.open(1, client());
    play.bytes(1, Direction::Tx, 0, &hello());
    play.open(
        2,
        tcp(Opened::Active, "127.0.0.1:40000", "127.0.0.1:50051", 2),
    );
    play.bytes(2, Direction::Tx, 0, &hello());
    play.bytes(1, Direction::Rx, 0, SETTINGS);
    let seen = read(&play.file());
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0].ends, seen[1].ends);
    assert_eq!(seen[0].received, SETTINGS);
    assert_eq!(seen[1].received, b"");
}

#[test]
fn address_that_is_used_again_is_a_new_connection() {
    let mut play = Play::new();
    for sk in [1, 2] {
        play.open(sk, client());
        play.bytes(sk, Direction::Tx, 0, &hello());
        play.bytes(sk, Direction::Rx, 0, SETTINGS);
        play.end(sk, EndCause::LocalClose);
        play.end(sk, EndCause::Closed);
    }
    let seen = read(&play.file());
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.sent == hello()));
}

#[test]
fn what_is_missing_is_missing_in_the_file_too() {
    let mut play = Play::new();
    play.open(1, client());
    play.bytes(1, Direction::Tx, 0, &hello());
    let head = [0, 1, 0, 0, 0, 0, 0, 0, 1];
    play.parts(
        1,
        Direction::Tx,
        33,
        &[
            RunPart::Copied(&head),
            RunPart::Hole(256),
            RunPart::Copied(SETTINGS),
        ],
    );
    // A record that was lost.
    play.bytes(1, Direction::Tx, 400, SETTINGS);
    play.bytes(1, Direction::Rx, 0, SETTINGS);
    let file = play.file();
    let counts = play.recorder.counts();
    assert_eq!((counts.holes, counts.missing_bytes), (2, 256 + 93));
    assert!(has(&file, "missing are 349 bytes in 2 places"));
    let seen = read(&file);
    assert_eq!(seen[0].lost, 349);
    assert_eq!(
        seen[0].sent,
        [&hello(), &head[..], SETTINGS, SETTINGS].concat()
    );
}

#[test]
fn connection_from_before_the_recording_has_no_beginning() {
    let mut play = Play::new();
    // Without a SYN the reader takes the lower port for the server's.
    let open = tcp(Opened::Unseen, "127.0.0.1:60000", "127.0.0.1:50051", 1);
    play.open(1, open);
    // 500 bytes went by before a frame was recognised.
    for (direction, offset) in [(Direction::Tx, 500), (Direction::Rx, 0)] {
        play.bytes(1, direction, offset, &SETTINGS.repeat(5));
    }
    play.bytes(1, Direction::Tx, 545, SETTINGS);
    let seen = read(&play.file());
    assert!(!seen[0].from_start);
    assert_eq!(seen[0].sent, SETTINGS.repeat(6));
    assert_eq!((seen[0].lost, play.recorder.counts().missing_bytes), (0, 0));
}

#[test]
fn upgraded_connection_keeps_its_http_1_beginning() {
    let request = b"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n";
    let response = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    let first_call = [&response[..], SETTINGS].concat();
    let mut play = Play::new();
    play.open(1, client());
    for (direction, first) in [
        (Direction::Tx, &request[..]),
        (Direction::Rx, &first_call[..]),
    ] {
        let what = What::Unrecognised(Unrecognised {
            direction,
            protocol: OtherProtocol::Http1,
            first,
        });
        play.event(1, what);
    }
    let head = RunPart::Hole(response.len() as u32);
    play.parts(1, Direction::Rx, 0, &[head, RunPart::Copied(SETTINGS)]);
    play.bytes(1, Direction::Tx, request.len() as u64, &hello());
    play.file();
    let counts = play.recorder.counts();
    assert_eq!(counts.missing_bytes, 0);
    assert_eq!(
        counts.payload_bytes as usize,
        request.len() + first_call.len() + hello().len()
    );
}

#[test]
fn connection_that_does_not_speak_http_2_leaves_nothing() {
    let mut play = Play::new();
    play.open(1, client());
    for protocol in [OtherProtocol::Http1, OtherProtocol::Tls] {
        let what = What::Unrecognised(Unrecognised {
            direction: Direction::Tx,
            protocol,
            first: b"GET / HTTP/1.1",
        });
        play.event(1, what);
    }
    let file = play.file();
    assert_eq!(play.recorder.counts().packets, 0);
    assert!(!has(&file, "GET /"));
}

fn info_of(play: &mut Play, sk: u64) -> Arc<h2trace_core::pipeline::ConnectionInfo> {
    let info = sample::outputs()
        .into_iter()
        .find_map(|output| match output {
            Output::Stream { info, .. } => Some(info),
            _ => None,
        })
        .unwrap();
    assert!(play.recorder.wants_id(&key(sk)));
    play.recorder.name(&key(sk), info.id);
    assert!(!play.recorder.wants_id(&key(sk)));
    info
}

#[test]
fn findings_stand_on_the_packet_that_they_are_about_or_on_their_own() {
    for late in [false, true] {
        let mut play = Play::new();
        play.open(1, client());
        play.bytes(1, Direction::Tx, 0, &hello());
        play.bytes(1, Direction::Rx, 0, SETTINGS);
        let info = info_of(&mut play, 1);
        play.recorder.accept(&Output::Connection(Arc::clone(&info)));
        if late {
            play.recorder.advance(Timestamp(play.at + 1_000 * MS));
        }
        let bad = sample::outputs()
            .into_iter()
            .find_map(|output| match output {
                Output::Stream { findings, .. } => findings
                    .into_iter()
                    .find(|finding| finding.verdict >= Verdict::Suspicious),
                _ => None,
            });
        let mut finding = bad.unwrap();
        finding.at = Timestamp(play.at);
        let summary = finding.summary.clone();
        play.recorder.accept(&Output::Finding { info, finding });
        let mut file = play.recorder.take().bytes;
        file.extend(play.file());
        assert!(has(&file, &summary) && has(&file, "h2trace: the "));
        let counts = play.recorder.counts();
        assert_eq!(counts.findings, 1);
        // Three of the handshake, two with bytes, and one for the finding that came late.
        assert_eq!(counts.packets, 5 + u64::from(late));
        assert_eq!(read(&file)[0].received, SETTINGS);
    }
}

#[test]
fn file_of_limited_size_keeps_to_it() {
    let limit = 5_000;
    let mut play = Play::limited(limit);
    play.open(1, client());
    play.bytes(1, Direction::Tx, 0, &hello());
    for n in 0..100 {
        play.bytes(1, Direction::Tx, 33 + 90 * n, &SETTINGS.repeat(10));
    }
    assert!(!play.recorder.is_full());
    let file = play.file();
    assert!(play.recorder.is_full());
    assert!(file.len() as u64 <= limit && file.len() as u64 > limit - 1_000);
    let counts = play.recorder.counts();
    assert_eq!(counts.packets + counts.beyond_size, 3 + 101);
    assert!(has(&file, "beyond the file's limit"));
    assert_eq!(read(&file).len(), 1);
}

#[test]
fn packets_wait_for_findings_and_no_longer() {
    let mut play = Play::new();
    play.open(1, client());
    play.recorder.take();
    play.bytes(1, Direction::Tx, 0, &hello());
    play.recorder.advance(Timestamp(play.at + 100 * MS));
    assert_eq!(play.recorder.ready(), 0);
    play.recorder.advance(Timestamp(play.at + 400 * MS));
    assert_eq!(play.recorder.take().packets, 4);
}

#[test]
fn what_is_over_is_forgotten() {
    let mut play = Play::new();
    for sk in 1..100 {
        play.open(sk, client());
        play.bytes(sk, Direction::Tx, 0, &hello());
        play.end(sk, EndCause::LocalClose);
        play.end(sk, EndCause::Closed);
    }
    play.recorder.advance(Timestamp(play.at + 3_000 * MS));
    assert!(play.recorder.conversations.is_empty() && play.recorder.sockets.is_empty());
    assert!(play.recorder.queue.is_empty() && play.recorder.over.is_empty());
    assert_eq!(play.recorder.waiting, 0);
}
