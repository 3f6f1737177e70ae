//! `h2trace replay` of captures in which nothing goes by for long.

use std::io::Write as _;

use h2trace_core::frame::PREFACE;
use serde_json::Value;

use super::binary::h2trace;

/// An address below 10.0.0.0, and a port.
type End = (u8, u16);

const CLIENT: End = (1, 40_000);
const PROXY: End = (5, 8_080);
const PROXY_UP: End = (5, 41_000);
const SERVER: End = (9, 9_090);

/// What goes by, as a pcap file of raw IP.
struct File {
    bytes: Vec<u8>,
    seconds: u32,
    micros: u32,
    /// The next sequence number of each end towards its peer.
    sequence: Vec<(End, u32)>,
}

impl File {
    fn new() -> File {
        let head = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 101];
        File {
            bytes: head.iter().flat_map(|word| word.to_le_bytes()).collect(),
            seconds: 1_767_225_600,
            micros: 0,
            sequence: [CLIENT, PROXY, PROXY_UP, SERVER]
                .map(|end| (end, 1_000))
                .to_vec(),
        }
    }

    fn packet(&mut self, from: End, to: End, flags: u8, payload: &[u8]) {
        self.micros += 100;
        let len = 40 + payload.len();
        for word in [self.seconds, self.micros, len as u32, len as u32] {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        let next = self.sequence.iter_mut().find(|(end, _)| *end == from);
        let (_, sequence) = next.unwrap();
        self.bytes.extend_from_slice(&[0x45, 0]);
        self.bytes.extend_from_slice(&(len as u16).to_be_bytes());
        self.bytes.extend_from_slice(&[0, 1, 0x40, 0, 64, 6, 0, 0]);
        for (address, _) in [from, to] {
            self.bytes.extend_from_slice(&[10, 0, 0, address]);
        }
        for (_, port) in [from, to] {
            self.bytes.extend_from_slice(&port.to_be_bytes());
        }
        self.bytes.extend_from_slice(&sequence.to_be_bytes());
        self.bytes
            .extend_from_slice(&[0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        self.bytes.extend_from_slice(payload);
        *sequence += payload.len() as u32 + u32::from(flags & 0x02 != 0);
    }

    /// A connection begins: SYN, prefaces, SETTINGS and their acknowledgements.
    fn open(&mut self, client: End, server: End) {
        const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
        const ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
        self.packet(client, server, 0x02, b"");
        self.packet(server, client, 0x12, b"");
        self.packet(client, server, 0x18, &[PREFACE, SETTINGS].concat());
        self.packet(server, client, 0x18, &[SETTINGS, ACK].concat());
        self.packet(client, server, 0x18, ACK);
    }
}

/// HEADERS that end the stream, of literal fields.
fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        for part in [name, value] {
            if part == name {
                block.push(0);
            }
            block.push(u8::try_from(part.len()).unwrap());
            block.extend_from_slice(part.as_bytes());
        }
    }
    let len = u8::try_from(block.len()).unwrap();
    [&[0, 0, len, 1, 5, 0, 0, 0, 1][..], &block].concat()
}

#[test]
fn what_a_proxy_leaves_open_through_a_silence_is_told() {
    let request = headers(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/report"),
        (":authority", "a"),
        ("x-request-id", "7"),
    ]);
    let mut file = File::new();
    file.open(CLIENT, PROXY);
    file.open(PROXY_UP, SERVER);
    file.packet(CLIENT, PROXY, 0x18, &request);
    file.packet(PROXY_UP, SERVER, 0x18, &request);
    file.packet(CLIENT, PROXY, 0x18, b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08");
    file.seconds += 60;
    file.packet(SERVER, PROXY_UP, 0x18, &headers(&[(":status", "200")]));
    file.seconds += 12;
    for (from, to) in [(CLIENT, PROXY), (PROXY_UP, SERVER)] {
        file.packet(from, to, 0x11, b"");
        file.packet(to, from, 0x11, b"");
    }
    let mut written = tempfile::NamedTempFile::new().unwrap();
    written.write_all(&file.bytes).unwrap();
    let path = written.path().to_str().unwrap();
    let said = h2trace(&["replay", path, "-o", "json"]);
    let found: Vec<Value> = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["type"] == "finding")
        .collect();
    let kinds: Vec<&str> = found
        .iter()
        .map(|finding| finding["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["cancel_not_propagated"], "{}", said.stdout);
    // When it had lasted ten seconds, not when the silence was over.
    let summary = found[0]["summary"].as_str().unwrap();
    assert!(summary.contains("10 s later"), "{summary}");
}
