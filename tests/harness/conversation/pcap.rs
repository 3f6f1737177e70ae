//! Conversations as a capture file (pcap, raw IP, nanoseconds).

use std::net::Ipv4Addr;

use super::{Conversation, Side};

/// 2026-01-01T00:00:00Z.
const START_NS: u64 = 1_767_225_600_000_000_000;
const LINK_RAW_IP: u32 = 101;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
pub const SERVER_PORT: u16 = 8_080;

/// The beginning of a pcap file, before its packets.
#[must_use]
pub fn header() -> Vec<u8> {
    let words: [u32; 6] = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, LINK_RAW_IP];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// How a conversation is captured.
#[derive(Clone, Copy, Debug)]
pub struct Captured {
    /// The client's address below 10.0.0.0, to tell connections apart.
    pub client: u32,
    /// When it begins, in nanoseconds since the first one.
    pub at_ns: u64,
    /// Longest TCP payload.
    pub segment: usize,
    /// The handshake is in the capture.
    pub handshake: bool,
}

impl Captured {
    /// The whole of it, in segments of Ethernet's size.
    #[must_use]
    pub const fn whole() -> Captured {
        Captured {
            client: 1,
            at_ns: 0,
            segment: 1_448,
            handshake: true,
        }
    }
}

/// Packets of a conversation. `keep(side, offset, len)` says of each payload whether the capture has it.
#[must_use]
pub fn packets(
    conversation: &Conversation,
    captured: &Captured,
    keep: impl FnMut(Side, usize, usize) -> bool,
) -> Vec<u8> {
    each_packet(conversation, captured, keep).concat()
}

/// The same, each packet by itself.
#[must_use]
pub fn each_packet(
    conversation: &Conversation,
    captured: &Captured,
    mut keep: impl FnMut(Side, usize, usize) -> bool,
) -> Vec<Vec<u8>> {
    let mut line = Line {
        client: Ipv4Addr::from_bits(0x0a00_0000 | captured.client),
        now: captured.at_ns,
        sequence: [1_000, 2_000],
        packets: Vec::new(),
    };
    if captured.handshake {
        line.packet(Side::Client, SYN, &[]);
        line.sequence[0] += 1;
        line.packet(Side::Server, SYN | ACK, &[]);
        line.sequence[1] += 1;
        line.packet(Side::Client, ACK, &[]);
    }
    let mut offsets = [0, 0];
    for write in &conversation.writes {
        line.now = captured.at_ns + write.at_ns;
        for payload in write.bytes.chunks(captured.segment.max(1)) {
            let at = write.by.index();
            if keep(write.by, offsets[at], payload.len()) {
                line.packet(write.by, ACK, payload);
            }
            offsets[at] += payload.len();
            line.sequence[at] = line.sequence[at].wrapping_add(payload.len() as u32);
        }
    }
    if conversation.closes {
        for by in [Side::Client, Side::Server] {
            line.packet(by, FIN | ACK, &[]);
            line.sequence[by.index()] = line.sequence[by.index()].wrapping_add(1);
        }
        line.packet(Side::Client, ACK, &[]);
    }
    line.packets
}

/// A whole capture file of one conversation.
#[must_use]
pub fn file(conversation: &Conversation, captured: &Captured) -> Vec<u8> {
    let mut file = header();
    file.extend(packets(conversation, captured, |_, _, _| true));
    file
}

struct Line {
    client: Ipv4Addr,
    now: u64,
    sequence: [u32; 2],
    packets: Vec<Vec<u8>>,
}

impl Line {
    fn packet(&mut self, by: Side, flags: u8, payload: &[u8]) {
        self.now += 100;
        let server = Ipv4Addr::new(10, 255, 0, 1);
        let (ends, ports) = match by {
            Side::Client => ([self.client, server], [40_000, SERVER_PORT]),
            Side::Server => ([server, self.client], [SERVER_PORT, 40_000]),
        };
        let total = 40 + payload.len();
        let mut packet = vec![0x45, 0];
        packet.extend((total as u16).to_be_bytes());
        packet.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(ends.iter().flat_map(Ipv4Addr::octets));
        packet.extend(ports.iter().flat_map(|port: &u16| port.to_be_bytes()));
        packet.extend(self.sequence[by.index()].to_be_bytes());
        packet.extend(self.sequence[by.other().index()].to_be_bytes());
        packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(payload);
        let at = START_NS + self.now;
        let len = packet.len() as u32;
        let mut record = Vec::new();
        for word in [
            (at / 1_000_000_000) as u32,
            (at % 1_000_000_000) as u32,
            len,
            len,
        ] {
            record.extend(word.to_le_bytes());
        }
        record.extend(packet);
        self.packets.push(record);
    }
}
