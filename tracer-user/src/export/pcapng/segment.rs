//! TCP segments in IP packets, made up around bytes that socket calls passed.

use std::net::{IpAddr, SocketAddr};

/// Flags of RFC 9293 section 3.1.
pub(super) mod flag {
    /// No more bytes follow.
    pub(in crate::export::pcapng) const FIN: u8 = 0x01;
    /// The connection begins.
    pub(in crate::export::pcapng) const SYN: u8 = 0x02;
    /// The connection is broken off.
    pub(in crate::export::pcapng) const RST: u8 = 0x04;
    /// The bytes are handed to the application at once.
    pub(in crate::export::pcapng) const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub(in crate::export::pcapng) const ACK: u8 = 0x10;
}

/// Payload of one segment at most: with its headers it fits into an IP packet.
pub(super) const PAYLOAD_MAX: usize = 60_000;

/// Options of a SYN: the largest window scale (RFC 7323 section 2.2), so that no reader takes the window,
/// of which nothing is known, for full.
const SYN_OPTIONS: [u8; 4] = [1, 3, 3, 14];
/// Maximum segment size (RFC 9293 section 3.7.1).
const SYN_SEGMENT_SIZE: [u8; 4] = [2, 4, 0xff, 0xd7];
const HOP_LIMIT: u8 = 64;
const TCP: u8 = 6;
const TCP_HEADER: usize = 20;
const IPV4_HEADER: usize = 20;

#[derive(Clone, Copy, Debug)]
pub(super) struct NewSegment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) acknowledges: u32,
    /// Bits of [`flag`].
    pub(super) flags: u8,
    pub(super) payload: &'a [u8],
}

impl NewSegment<'_> {
    /// The IP packet, its checksums right.
    pub(super) fn packet(&self) -> Vec<u8> {
        let tcp = self.tcp();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let (from, to) = (from.octets(), to.octets());
                let total = u16::try_from(IPV4_HEADER + tcp.len()).unwrap_or(u16::MAX);
                let mut packet = Vec::with_capacity(IPV4_HEADER + tcp.len());
                packet.extend_from_slice(&[0x45, 0]);
                packet.extend_from_slice(&total.to_be_bytes());
                // No identification: it is never fragmented (RFC 6864 section 4.1).
                packet.extend_from_slice(&[0, 0, 0x40, 0, HOP_LIMIT, TCP, 0, 0]);
                packet.extend_from_slice(&from);
                packet.extend_from_slice(&to);
                let sum = checksum(&[&packet]);
                put(&mut packet, 10, sum);
                with_checksum(packet, tcp, &from, &to)
            }
            (from, to) => {
                let (from, to) = (ipv6(from), ipv6(to));
                let len = u16::try_from(tcp.len()).unwrap_or(u16::MAX);
                let mut packet = Vec::with_capacity(2 * IPV4_HEADER + tcp.len());
                packet.extend_from_slice(&[0x60, 0, 0, 0]);
                packet.extend_from_slice(&len.to_be_bytes());
                packet.extend_from_slice(&[TCP, HOP_LIMIT]);
                packet.extend_from_slice(&from);
                packet.extend_from_slice(&to);
                with_checksum(packet, tcp, &from, &to)
            }
        }
    }

    fn tcp(&self) -> Vec<u8> {
        let is_syn = self.flags & flag::SYN != 0;
        let options = if is_syn { 2 * SYN_OPTIONS.len() } else { 0 };
        let words = u8::try_from((TCP_HEADER + options) / 4).unwrap_or(5);
        let mut tcp = Vec::with_capacity(TCP_HEADER + options + self.payload.len());
        tcp.extend_from_slice(&self.from.port().to_be_bytes());
        tcp.extend_from_slice(&self.to.port().to_be_bytes());
        tcp.extend_from_slice(&self.sequence.to_be_bytes());
        let acknowledges = if self.flags & flag::ACK == 0 {
            0
        } else {
            self.acknowledges
        };
        tcp.extend_from_slice(&acknowledges.to_be_bytes());
        // The window is the largest; checksum and urgent pointer follow.
        tcp.extend_from_slice(&[words << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        if is_syn {
            tcp.extend_from_slice(&SYN_SEGMENT_SIZE);
            tcp.extend_from_slice(&SYN_OPTIONS);
        }
        tcp.extend_from_slice(self.payload);
        tcp
    }
}

/// Lets a packet between made-up addresses, which are IPv4, go the other way. Checksums are sums of 16-bit words
/// (RFC 1071), so they stay right.
pub(super) fn turn(packet: &mut [u8]) {
    const SOURCE: usize = 12;
    for (at, len) in [(SOURCE, 4), (IPV4_HEADER, 2)] {
        if let Some((source, destination)) = packet
            .get_mut(at..at + 2 * len)
            .map(|both| both.split_at_mut(len))
        {
            source.swap_with_slice(destination);
        }
    }
}

fn ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Appends the segment with its checksum, which covers the addresses (RFC 9293 section 3.1).
fn with_checksum(mut packet: Vec<u8>, mut tcp: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let len = u32::try_from(tcp.len()).unwrap_or(0).to_be_bytes();
    let sum = checksum(&[from, to, &len, &[0, 0, 0, TCP], &tcp]);
    put(&mut tcp, 16, sum);
    packet.append(&mut tcp);
    packet
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// The Internet checksum (RFC 1071). Every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        let mut pairs = part.chunks_exact(2);
        for pair in &mut pairs {
            if let [high, low] = pair {
                sum += u64::from(u16::from_be_bytes([*high, *low]));
            }
        }
        if let [last] = pairs.remainder() {
            sum += u64::from(u16::from_be_bytes([*last, 0]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_that_of_rfc_1071() {
        // The example of its section 3, and an odd last byte.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&[&bytes]), !0xddf2);
        assert_eq!(checksum(&[&bytes, &[0x01]]), !0xdef2);
    }

    #[test]
    fn checksums_of_a_packet_add_up_to_nothing() {
        for (from, to) in [
            ("10.0.0.1:40000", "10.0.0.2:50051"),
            ("[::1]:40000", "[::1]:50051"),
        ] {
            for flags in [flag::SYN, flag::ACK | flag::PSH] {
                let segment = NewSegment {
                    from: from.parse().unwrap(),
                    to: to.parse().unwrap(),
                    sequence: 0xffff_fff0,
                    acknowledges: 7,
                    flags,
                    payload: b"odd",
                };
                let packet = segment.packet();
                let (ip, addresses) = if segment.from.is_ipv4() {
                    assert_eq!(checksum(&[&packet[..20]]), 0);
                    (20, &packet[12..20])
                } else {
                    (40, &packet[8..40])
                };
                let tcp = &packet[ip..];
                let len = (tcp.len() as u32).to_be_bytes();
                assert_eq!(checksum(&[addresses, &len, &[0, 0, 0, TCP], tcp]), 0);
                let header = usize::from(tcp[12] >> 4) * 4;
                assert_eq!(&tcp[header..], b"odd");
            }
        }
    }
}
