//! Builds captures byte by byte, for the tests.

use std::net::{IpAddr, SocketAddr};

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

pub(super) const MS: u64 = 1_000_000;
/// 2026-01-01T00:00:00Z.
pub(super) const START_NS: u64 = 1_767_225_600_000_000_000;

/// A packet on its way into a file.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) at_ns: u64,
    pub(super) bytes: Vec<u8>,
    /// Bytes kept of it.
    pub(super) snaplen: usize,
}

/// One TCP segment in an IP packet.
pub(super) fn ip_packet(
    from: SocketAddr,
    to: SocketAddr,
    sequence: u32,
    acknowledges: u32,
    flags: u8,
    stamp: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend_from_slice(&from.port().to_be_bytes());
    tcp.extend_from_slice(&to.port().to_be_bytes());
    tcp.extend_from_slice(&sequence.to_be_bytes());
    tcp.extend_from_slice(&acknowledges.to_be_bytes());
    // A timestamp option, as almost every segment has one.
    tcp.extend_from_slice(&[0x80, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend_from_slice(&[1, 1, 8, 10]);
    tcp.extend_from_slice(&stamp.to_be_bytes());
    tcp.extend_from_slice(&[0, 0, 0, 2]);
    tcp.extend_from_slice(payload);
    ip_around(from.ip(), to.ip(), &tcp)
}

fn ip_around(from: IpAddr, to: IpAddr, tcp: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            // Four bytes of options (NOP).
            let total = u16::try_from(24 + tcp.len()).unwrap();
            packet.extend_from_slice(&[0x46, 0]);
            packet.extend_from_slice(&total.to_be_bytes());
            packet.extend_from_slice(&[0, 1, 0x40, 0, 64, 6, 0, 0]);
            packet.extend_from_slice(&from.octets());
            packet.extend_from_slice(&to.octets());
            packet.extend_from_slice(&[1, 1, 1, 0]);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let len = u16::try_from(8 + tcp.len()).unwrap();
            packet.extend_from_slice(&[0x60, 0, 0, 0]);
            packet.extend_from_slice(&len.to_be_bytes());
            // Destination options before TCP.
            packet.extend_from_slice(&[60, 64]);
            packet.extend_from_slice(&from.octets());
            packet.extend_from_slice(&to.octets());
            packet.extend_from_slice(&[6, 0, 1, 4, 0, 0, 0, 0]);
        }
        _ => panic!("both ends have one IP version"),
    }
    packet.extend_from_slice(tcp);
    packet
}

/// An outer IPv4 packet of another pair of ends, as tunnels have it.
pub(super) fn outer_ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&total.to_be_bytes());
    packet.extend_from_slice(&[0, 1, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend_from_slice(payload);
    packet
}

/// A datagram to a port, for [`outer_ipv4`] with protocol 17.
pub(super) fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    let mut datagram = vec![0xc0, 0];
    datagram.extend_from_slice(&port.to_be_bytes());
    datagram.extend_from_slice(&len.to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    datagram
}

/// The modified pcap format of old Linux libpcap, little-endian.
pub(super) fn pcap_modified(link: u32, frames: &[Frame]) -> Vec<u8> {
    let mut file = pcap(link, &[]);
    file[..4].copy_from_slice(&0xa1b2_cd34_u32.to_le_bytes());
    for frame in frames {
        let record = pcap(link, std::slice::from_ref(frame));
        file.extend_from_slice(&record[24..40]);
        file.extend_from_slice(&[2, 0, 0, 0, 8, 0, 0, 0]);
        file.extend_from_slice(&record[40..]);
    }
    file
}

/// A conversation between two ends, packet by packet.
pub(super) struct Talk {
    pub(super) frames: Vec<Frame>,
    ends: [SocketAddr; 2],
    /// Next sequence number of the client and the server.
    pub(super) sequence: [u32; 2],
    at_ns: u64,
    /// The value of its TCP timestamps.
    pub(super) stamp: u32,
}

pub(super) const CLIENT: usize = 0;
pub(super) const SERVER: usize = 1;

impl Talk {
    pub(super) fn new() -> Talk {
        Talk::between("10.0.0.1:40000", "10.0.0.2:50051")
    }

    pub(super) fn between(client: &str, server: &str) -> Talk {
        Talk {
            frames: Vec::new(),
            ends: [client.parse().unwrap(), server.parse().unwrap()],
            // Both wrap within the first kilobyte.
            sequence: [0xffff_ff00, 0xffff_fe00],
            at_ns: START_NS,
            stamp: 1,
        }
    }

    pub(super) fn pass(&mut self, ns: u64) {
        self.at_ns += ns;
    }

    /// A packet as it stands; nothing moves on.
    pub(super) fn raw(&mut self, side: usize, sequence: u32, flags: u8, payload: &[u8]) {
        self.at_ns += 1_000;
        let (from, to) = (self.ends[side], self.ends[1 - side]);
        let acknowledges = self.sequence[1 - side];
        self.frames.push(Frame {
            at_ns: self.at_ns,
            bytes: ip_packet(from, to, sequence, acknowledges, flags, self.stamp, payload),
            snaplen: usize::MAX,
        });
    }

    pub(super) fn handshake(&mut self) {
        self.raw(CLIENT, self.sequence[CLIENT], SYN, b"");
        self.sequence[CLIENT] = self.sequence[CLIENT].wrapping_add(1);
        self.raw(SERVER, self.sequence[SERVER], SYN | ACK, b"");
        self.sequence[SERVER] = self.sequence[SERVER].wrapping_add(1);
        self.raw(CLIENT, self.sequence[CLIENT], ACK, b"");
    }

    pub(super) fn send(&mut self, side: usize, payload: &[u8]) {
        self.raw(side, self.sequence[side], ACK, payload);
        self.moved(side, payload.len());
    }

    /// Bytes that the capture lacks.
    pub(super) fn lose(&mut self, side: usize, len: usize) {
        self.moved(side, len);
    }

    pub(super) fn ack(&mut self, side: usize) {
        self.raw(side, self.sequence[side], ACK, b"");
    }

    pub(super) fn fin(&mut self, side: usize) {
        self.raw(side, self.sequence[side], FIN | ACK, b"");
        self.moved(side, 1);
    }

    pub(super) fn reset(&mut self, side: usize) {
        self.raw(side, self.sequence[side], RST | ACK, b"");
    }

    fn moved(&mut self, side: usize, len: usize) {
        self.sequence[side] = self.sequence[side].wrapping_add(u32::try_from(len).unwrap());
    }

    pub(super) fn pcap(&self) -> Vec<u8> {
        pcap(101, &self.frames)
    }
}

/// A pcap file of microseconds, little-endian.
pub(super) fn pcap(link: u32, frames: &[Frame]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, link] {
        file.extend_from_slice(&u32::to_le_bytes(word));
    }
    for frame in frames {
        let kept = &frame.bytes[..frame.snaplen.min(frame.bytes.len())];
        let seconds = u32::try_from(frame.at_ns / 1_000_000_000).unwrap();
        let micros = u32::try_from(frame.at_ns % 1_000_000_000 / 1_000).unwrap();
        let (captured, wire) = (kept.len() as u32, frame.bytes.len() as u32);
        for word in [seconds, micros, captured, wire] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(kept);
    }
    file
}

/// A pcap file of nanoseconds, big-endian.
pub(super) fn pcap_of_nanoseconds(link: u32, frames: &[Frame]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_3c4d, 0x0002_0004, 0, 0, 262_144, link] {
        file.extend_from_slice(&u32::to_be_bytes(word));
    }
    for frame in frames {
        let seconds = u32::try_from(frame.at_ns / 1_000_000_000).unwrap();
        let nanos = u32::try_from(frame.at_ns % 1_000_000_000).unwrap();
        let len = frame.bytes.len() as u32;
        for word in [seconds, nanos, len, len] {
            file.extend_from_slice(&word.to_be_bytes());
        }
        file.extend_from_slice(&frame.bytes);
    }
    file
}

/// A block of a pcapng file.
pub(super) fn block(kind: u32, body: &[u8], big_endian: bool) -> Vec<u8> {
    let word = |word: u32| {
        if big_endian {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        }
    };
    let mut block = Vec::new();
    let total = 12 + body.len().next_multiple_of(4) as u32;
    block.extend_from_slice(&word(kind));
    block.extend_from_slice(&word(total));
    block.extend_from_slice(body);
    block.resize(block.len().next_multiple_of(4), 0);
    block.extend_from_slice(&word(total));
    block
}

/// The header of a section.
pub(super) fn section(big_endian: bool) -> Vec<u8> {
    let mut body = Vec::new();
    if big_endian {
        body.extend_from_slice(&0x1a2b_3c4d_u32.to_be_bytes());
        body.extend_from_slice(&[0, 1, 0, 0]);
    } else {
        body.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        body.extend_from_slice(&[1, 0, 0, 0]);
    }
    body.extend_from_slice(&[0xff; 8]);
    block(0x0a0d_0d0a, &body, big_endian)
}

/// Describes an interface of a little-endian section.
pub(super) fn interface(link: u16, resolution: Option<u8>, offset_seconds: i64) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&link.to_le_bytes());
    body.extend_from_slice(&[0, 0, 0, 0, 4, 0]);
    if let Some(resolution) = resolution {
        body.extend_from_slice(&[9, 0, 1, 0, resolution, 0, 0, 0]);
    }
    body.extend_from_slice(&[14, 0, 8, 0]);
    body.extend_from_slice(&offset_seconds.to_le_bytes());
    body.extend_from_slice(&[0, 0, 0, 0]);
    block(1, &body, false)
}

/// An Enhanced Packet Block of a little-endian section.
pub(super) fn enhanced_packet(interface: u32, units: u64, bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let len = bytes.len() as u32;
    for word in [interface, (units >> 32) as u32, units as u32, len, len] {
        body.extend_from_slice(&word.to_le_bytes());
    }
    body.extend_from_slice(bytes);
    block(6, &body, false)
}
