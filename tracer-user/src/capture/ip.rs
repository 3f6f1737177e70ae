//! IPv4 (RFC 791) and IPv6 (RFC 8200): whose TCP segment is it, and how long was it?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Endian, be16, link};

const PROTOCOL_TCP: u8 = 6;
/// Tunnels: IPv4 in IP (RFC 2003), IPv6 in IP (RFC 4213), GRE (RFC 2784), MPLS in IP (RFC 4023), and what UDP ports
/// tell.
const PROTOCOL_IPV4: u8 = 4;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_IPV6: u8 = 41;
const PROTOCOL_GRE: u8 = 47;
/// IPsec: encrypted (RFC 4303), also in UDP (RFC 3948).
const PROTOCOL_ESP: u8 = 50;
const PORT_ESP: u16 = 4500;
const PROTOCOL_MPLS: u8 = 137;
/// VXLAN (RFC 7348), and the port that Linux uses when none is given.
const PORT_VXLAN: [u16; 2] = [4789, 8472];
/// Geneve (RFC 8926).
const PORT_GENEVE: u16 = 6081;
/// The same with a next protocol in its header (draft-ietf-nvo3-vxlan-gpe).
const PORT_VXLAN_GPE: u16 = 4790;
/// The user plane of mobile networks (3GPP TS 29.281).
const PORT_GTP_U: u16 = 2152;
/// MPLS in UDP (RFC 7510).
const PORT_MPLS: u16 = 6635;
/// What GRE carries: mirrored Ethernet frames, version I and II, and III; PPP in its version 1 (RFC 2637).
const ERSPAN: u16 = 0x88be;
const ERSPAN_III: u16 = 0x22eb;
const GRE_PPP: u16 = 0x880b;
/// Tunnels in tunnels; more are not believed.
const TUNNELS: usize = 4;
/// Extension headers of RFC 8200 section 4 that have a length of their own.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// Extension headers of one packet; more are not believed.
const EXTENSION_HEADERS: usize = 8;
/// The option of a packet longer than 65,535 bytes (RFC 2675 section 2), as Linux's BIG TCP makes them.
const JUMBO_PAYLOAD: u8 = 0xc2;

/// What a packet carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Carried<'a> {
    Tcp(Datagram<'a>),
    /// The first fragment of a TCP segment: its header and some of its payload.
    FirstFragment(Datagram<'a>),
    /// A later fragment: it cannot be told whose.
    Fragment,
    /// So many bytes that nobody reads without their key.
    Encrypted(usize),
    /// Something else, or cut before it can be told.
    Other,
}

/// The payload of an IP packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// How many routers it may still pass.
    pub(super) hops: u8,
    /// The number of the overlay network that it is of, if it is of one.
    pub(super) network: Option<u32>,
    pub(super) payload: &'a [u8],
    /// Its length on the wire.
    pub(super) wire_len: usize,
}

/// An IP packet, whatever it carries.
struct IpPacket<'a> {
    protocol: u8,
    datagram: Datagram<'a>,
    /// It is the first of several fragments.
    first_fragment: bool,
    later_fragment: bool,
}

/// Reads an IP packet, and the one in it when it is a tunnel's. `missing` bytes at its end were not captured.
pub(super) fn read(mut packet: &[u8], mut missing: usize) -> Carried<'_> {
    let mut network = None;
    for _ in 0..=TUNNELS {
        let read = match packet.first().map(|first| first >> 4) {
            Some(4) => v4(packet, missing),
            Some(6) => v6(packet, missing),
            _ => None,
        };
        let Some(mut read) = read else {
            return Carried::Other;
        };
        read.datagram.network = network;
        let carries_tcp = read.protocol == PROTOCOL_TCP;
        if carries_tcp {
            return match (read.later_fragment, read.first_fragment) {
                (true, _) => Carried::Fragment,
                (false, true) => Carried::FirstFragment(read.datagram),
                (false, false) => Carried::Tcp(read.datagram),
            };
        }
        if read.later_fragment {
            return Carried::Other;
        }
        let payload = read.datagram.payload;
        if is_encrypted(read.protocol, payload) {
            return Carried::Encrypted(read.datagram.wire_len);
        }
        missing = read.datagram.wire_len.saturating_sub(payload.len());
        network = overlay(read.protocol, payload).or(network);
        match inner(read.protocol, payload) {
            Some(inner) => packet = inner,
            None => return Carried::Other,
        }
    }
    Carried::Other
}

/// IPsec with encryption. In UDP what begins with zeros is the exchange of its keys.
fn is_encrypted(protocol: u8, payload: &[u8]) -> bool {
    match protocol {
        PROTOCOL_ESP => true,
        PROTOCOL_UDP => {
            let to_port = [0, 2].map(|at| be16(payload, at)).contains(&Some(PORT_ESP));
            to_port && Endian::Big.u32(payload, 8).is_some_and(|index| index != 0)
        }
        _ => false,
    }
}

/// The number of the network that a tunnel's packet is of: VXLAN's and Geneve's.
fn overlay(protocol: u8, payload: &[u8]) -> Option<u32> {
    let port = be16(payload, 2).filter(|_| protocol == PROTOCOL_UDP)?;
    let has_number = PORT_VXLAN.contains(&port) || [PORT_GENEVE, PORT_VXLAN_GPE].contains(&port);
    let number = Endian::Big.u32(payload, 12).filter(|_| has_number)?;
    Some(number >> 8)
}

/// The IP packet that a tunnel carries.
fn inner(protocol: u8, payload: &[u8]) -> Option<&[u8]> {
    match protocol {
        PROTOCOL_IPV4 | PROTOCOL_IPV6 => Some(payload),
        PROTOCOL_MPLS => link::of_ethertype(0x8847, payload),
        PROTOCOL_GRE => in_gre(payload),
        PROTOCOL_UDP => {
            let (port, data) = (be16(payload, 2)?, payload.get(8..)?);
            let first = *data.first()?;
            match port {
                _ if PORT_VXLAN.contains(&port) && first & 0x08 != 0 => {
                    link::ethernet(data.get(8..)?)
                }
                PORT_VXLAN_GPE if first & 0x08 != 0 => match (first & 0x04, *data.get(3)?) {
                    (0, _) | (_, 3) => link::ethernet(data.get(8..)?),
                    (_, 1 | 2) => data.get(8..),
                    _ => None,
                },
                PORT_GENEVE if first >> 6 == 0 => {
                    let options = usize::from(first & 0x3f) * 4;
                    link::of_ethertype(be16(data, 2)?, data.get(8 + options..)?)
                }
                PORT_GTP_U => in_gtp(data),
                PORT_MPLS => link::of_ethertype(0x8847, data),
                _ => None,
            }
        }
        _ => None,
    }
}

fn in_gre(payload: &[u8]) -> Option<&[u8]> {
    let (flags, carries) = (be16(payload, 0)?, be16(payload, 2)?);
    let lengths = |flags_of: &[u16]| {
        let n = flags_of.iter().filter(|flag| flags & **flag != 0).count();
        4 * n
    };
    // Of version 1 the key is there, and an acknowledgement may be.
    if (flags & 7, carries) == (1, GRE_PPP) {
        return link::of_ppp(payload.get(8 + lengths(&[0x1000, 0x0080])..)?);
    }
    // Version 0. Checksum, key and sequence number (RFC 2890) are there when their flags say so.
    if flags & 0x4007 != 0 {
        return None;
    }
    let data = payload.get(4 + lengths(&[0x8000, 0x2000, 0x1000])..)?;
    match carries {
        // Version I has neither a number nor a header.
        ERSPAN if flags & 0x1000 == 0 => link::ethernet(data),
        ERSPAN => link::ethernet(data.get(8..)?),
        ERSPAN_III => {
            let more = usize::from(*data.get(11)? & 1) * 8;
            link::ethernet(data.get(12 + more..)?)
        }
        _ => link::of_ethertype(carries, data),
    }
}

/// Version 1, a packet of a user.
fn in_gtp(data: &[u8]) -> Option<&[u8]> {
    let (flags, kind) = (*data.first()?, *data.get(1)?);
    if flags & 0xf0 != 0x30 || kind != 255 {
        return None;
    }
    if flags & 0x07 == 0 {
        return data.get(8..);
    }
    // Sequence number, N-PDU number, and the type of the first extension header.
    let (mut at, mut next) = (12, *data.get(11)?);
    for _ in 0..EXTENSION_HEADERS {
        if next == 0 || flags & 0x04 == 0 {
            return data.get(at..);
        }
        let len = usize::from(*data.get(at)?) * 4;
        if len == 0 {
            return None;
        }
        at += len;
        next = *data.get(at - 1)?;
    }
    None
}

fn v4(packet: &[u8], missing: usize) -> Option<IpPacket<'_>> {
    let mut header_len = usize::from(packet.first()? & 0xf) * 4;
    if header_len < 20 {
        return None;
    }
    let on_wire = packet.len() + missing;
    // 0: the network card was to cut it into segments and fill the length in.
    let total = match usize::from(be16(packet, 2)?) {
        0 => on_wire,
        total => total.min(on_wire),
    };
    let fragment = be16(packet, 6)?;
    let (more, offset) = (fragment & 0x2000 != 0, fragment & 0x1fff);
    let mut protocol = *packet.get(9)?;
    if protocol == AUTHENTICATION && offset == 0 {
        // It only signs what follows (RFC 4302).
        protocol = *packet.get(header_len)?;
        header_len += 8 + usize::from(*packet.get(header_len + 1)?) * 4;
    }
    let source: [u8; 4] = *packet.get(12..)?.first_chunk()?;
    let destination: [u8; 4] = *packet.get(16..)?.first_chunk()?;
    let datagram = Datagram {
        source: IpAddr::V4(Ipv4Addr::from(source)),
        destination: IpAddr::V4(Ipv4Addr::from(destination)),
        hops: *packet.get(8)?,
        network: None,
        payload: packet.get(header_len..total.min(packet.len()))?,
        wire_len: total.checked_sub(header_len)?,
    };
    Some(IpPacket {
        protocol,
        datagram,
        first_fragment: more && offset == 0,
        later_fragment: offset != 0,
    })
}

fn v6(packet: &[u8], missing: usize) -> Option<IpPacket<'_>> {
    let on_wire = packet.len() + missing;
    let source: [u8; 16] = *packet.get(8..)?.first_chunk()?;
    let destination: [u8; 16] = *packet.get(24..)?.first_chunk()?;
    let mut total = match usize::from(be16(packet, 4)?) {
        0 => on_wire,
        payload => (40 + payload).min(on_wire),
    };
    let mut next = *packet.get(6)?;
    let mut at = 40;
    let (mut first_fragment, mut later_fragment) = (false, false);
    for _ in 0..EXTENSION_HEADERS {
        let len = match next {
            HOP_BY_HOP => {
                let len = 8 + usize::from(*packet.get(at + 1)?) * 8;
                if *packet.get(at + 2)? == JUMBO_PAYLOAD {
                    let jumbo = Endian::Big.u32(packet, at + 4)?;
                    total = (40 + jumbo as usize).min(on_wire);
                }
                len
            }
            ROUTING | DESTINATION => 8 + usize::from(*packet.get(at + 1)?) * 8,
            AUTHENTICATION => 8 + usize::from(*packet.get(at + 1)?) * 4,
            FRAGMENT => {
                let fragment = be16(packet, at + 2)?;
                let (offset, more) = (fragment >> 3, fragment & 1 != 0);
                first_fragment = more && offset == 0;
                later_fragment = offset != 0;
                8
            }
            _ => break,
        };
        next = *packet.get(at)?;
        at += len;
        if later_fragment {
            break;
        }
    }
    let datagram = Datagram {
        source: IpAddr::V6(Ipv6Addr::from(source)),
        destination: IpAddr::V6(Ipv6Addr::from(destination)),
        hops: *packet.get(7)?,
        network: None,
        payload: packet.get(at..total.min(packet.len()))?,
        wire_len: total.checked_sub(at)?,
    };
    Some(IpPacket {
        protocol: next,
        datagram,
        first_fragment,
        later_fragment,
    })
}
