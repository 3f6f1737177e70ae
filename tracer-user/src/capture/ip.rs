//! IPv4 (RFC 791) and IPv6 (RFC 8200): whose TCP segment is it, and how long was it?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::be16;

const PROTOCOL_TCP: u8 = 6;
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
    /// Something else, or cut before it can be told.
    Other,
}

/// The payload of an IP packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) payload: &'a [u8],
    /// Its length on the wire.
    pub(super) wire_len: usize,
}

/// Reads an IP packet. `missing` bytes at its end were not captured.
pub(super) fn read(packet: &[u8], missing: usize) -> Carried<'_> {
    let read = match packet.first().map(|first| first >> 4) {
        Some(4) => v4(packet, missing),
        Some(6) => v6(packet, missing),
        _ => None,
    };
    read.unwrap_or(Carried::Other)
}

fn v4(packet: &[u8], missing: usize) -> Option<Carried<'_>> {
    let header_len = usize::from(packet.first()? & 0xf) * 4;
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
    if *packet.get(9)? != PROTOCOL_TCP {
        return None;
    }
    if offset != 0 {
        return Some(Carried::Fragment);
    }
    let source: [u8; 4] = *packet.get(12..)?.first_chunk()?;
    let destination: [u8; 4] = *packet.get(16..)?.first_chunk()?;
    let datagram = Datagram {
        source: IpAddr::V4(Ipv4Addr::from(source)),
        destination: IpAddr::V4(Ipv4Addr::from(destination)),
        payload: packet.get(header_len..total.min(packet.len()))?,
        wire_len: total.checked_sub(header_len)?,
    };
    Some(if more {
        Carried::FirstFragment(datagram)
    } else {
        Carried::Tcp(datagram)
    })
}

fn v6(packet: &[u8], missing: usize) -> Option<Carried<'_>> {
    let on_wire = packet.len() + missing;
    let source: [u8; 16] = *packet.get(8..)?.first_chunk()?;
    let destination: [u8; 16] = *packet.get(24..)?.first_chunk()?;
    let mut total = match usize::from(be16(packet, 4)?) {
        0 => on_wire,
        payload => (40 + payload).min(on_wire),
    };
    let mut next = *packet.get(6)?;
    let mut at = 40;
    let mut first_fragment = false;
    for _ in 0..EXTENSION_HEADERS {
        let len = match next {
            HOP_BY_HOP => {
                let len = 8 + usize::from(*packet.get(at + 1)?) * 8;
                if *packet.get(at + 2)? == JUMBO_PAYLOAD {
                    let jumbo = super::Endian::Big.u32(packet, at + 4)?;
                    total = (40 + jumbo as usize).min(on_wire);
                }
                len
            }
            ROUTING | DESTINATION => 8 + usize::from(*packet.get(at + 1)?) * 8,
            AUTHENTICATION => 8 + usize::from(*packet.get(at + 1)?) * 4,
            FRAGMENT => {
                let fragment = be16(packet, at + 2)?;
                let (offset, more) = (fragment >> 3, fragment & 1 != 0);
                if offset != 0 {
                    let is_tcp = *packet.get(at)? == PROTOCOL_TCP;
                    return is_tcp.then_some(Carried::Fragment);
                }
                first_fragment = more;
                8
            }
            _ => break,
        };
        next = *packet.get(at)?;
        at += len;
    }
    if next != PROTOCOL_TCP {
        return None;
    }
    let datagram = Datagram {
        source: IpAddr::V6(Ipv6Addr::from(source)),
        destination: IpAddr::V6(Ipv6Addr::from(destination)),
        payload: packet.get(at..total.min(packet.len()))?,
        wire_len: total.checked_sub(at)?,
    };
    Some(if first_fragment {
        Carried::FirstFragment(datagram)
    } else {
        Carried::Tcp(datagram)
    })
}
