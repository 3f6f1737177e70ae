//! Link layers: where the IP packet begins.

use super::{Endian, be16, wifi};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q, 802.1ad (QinQ), and the number that QinQ had before.
const ETHERTYPE_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// MPLS (RFC 3032), unicast and multicast.
const ETHERTYPE_MPLS: [u16; 2] = [0x8847, 0x8848];
/// A session of PPP over Ethernet (RFC 2516).
const ETHERTYPE_PPPOE: u16 = 0x8864;
/// An Ethernet frame in a tunnel (RFC 7637).
const ETHERTYPE_BRIDGED: u16 = 0x6558;
/// IEEE 802.1AE: encrypted from switch to switch.
const ETHERTYPE_MACSEC: u16 = 0x88e5;
/// Below this an ethertype is a length, and LLC follows (IEEE 802.3).
const FIRST_ETHERTYPE: u16 = 0x0600;
/// SNAP behind LLC (RFC 1042), up to its ethertype.
const SNAP: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];
/// Headers between a link and IP; more are not believed.
const HEADERS: usize = 8;
/// The protocols of PPP that are followed.
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;
const PPP_MPLS: [u16; 2] = [0x0281, 0x0283];
/// The attribute of a netfilter log message that holds the packet.
const NFLOG_PAYLOAD: u16 = 9;

/// What a packet's first bytes are (the registry at tcpdump.org, "LINKTYPE_").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// BSD loopback: an address family in the byte order of the capturing machine.
    Null,
    Ethernet,
    /// Raw IP, version 4 or 6.
    Raw,
    /// OpenBSD loopback: the same as `Null` in network byte order.
    Loop,
    /// Linux cooked capture v1 (`tcpdump -i any`).
    LinuxSll,
    /// Linux cooked capture v2.
    LinuxSll2,
    /// PPP, with or without its HDLC address.
    Ppp,
    /// PPP over Ethernet, from its header on.
    Pppoe,
    /// Cisco's HDLC.
    Hdlc,
    /// MPLS labels.
    Mpls,
    /// PPP as Linux's pppd has it: who sent it in place of the HDLC address.
    Pppd,
    /// OpenBSD's log of its packet filter.
    Pflog,
    /// OpenBSD's packets before and after encryption.
    Enc,
    /// Apple's `tcpdump -i any`: each packet says which link it is of.
    Pktap,
    /// IEEE 802.11, with nothing before it.
    Wifi,
    /// The same behind a radiotap header, behind AVS's, and behind that of PPI, which says which link it is of.
    Radiotap,
    WifiAvs,
    Ppi,
    /// Packets that netfilter logs (`tcpdump -i nflog`): attributes in the byte order of the capturing machine.
    Nflog,
}

impl LinkType {
    /// From its number in a file.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<LinkType> {
        Some(match number {
            0 => LinkType::Null,
            1 => LinkType::Ethernet,
            9 | 50 => LinkType::Ppp,
            51 => LinkType::Pppoe,
            104 => LinkType::Hdlc,
            109 => LinkType::Enc,
            105 => LinkType::Wifi,
            117 => LinkType::Pflog,
            127 => LinkType::Radiotap,
            163 => LinkType::WifiAvs,
            192 => LinkType::Ppi,
            149 | 258 => LinkType::Pktap,
            166 => LinkType::Pppd,
            219 => LinkType::Mpls,
            239 => LinkType::Nflog,
            // 12 and 14 are DLT_RAW of some systems, which old files carry.
            12 | 14 | 101 | 228 | 229 => LinkType::Raw,
            108 => LinkType::Loop,
            113 => LinkType::LinuxSll,
            276 => LinkType::LinuxSll2,
            _ => return None,
        })
    }
}

/// The IP packet in `data`; None when it carries something else, or is cut before it.
pub(super) fn network(link: LinkType, data: &[u8]) -> Option<&[u8]> {
    match link {
        LinkType::Raw => Some(data),
        // The IP version itself says more than the family, whose numbers differ from system to system.
        LinkType::Null | LinkType::Loop => data.get(4..),
        LinkType::Ethernet => ethernet(data),
        LinkType::LinuxSll => of_ethertype(be16(data, 14)?, data.get(16..)?),
        LinkType::LinuxSll2 => of_ethertype(be16(data, 0)?, data.get(20..)?),
        LinkType::Hdlc => of_ethertype(be16(data, 2)?, data.get(4..)?),
        LinkType::Ppp => packet(Inside::Ppp, data),
        LinkType::Pppd => packet(Inside::Ppp, data.get(2..)?),
        LinkType::Mpls => of_ethertype(ETHERTYPE_MPLS[0], data),
        // Family, parameter and flags.
        LinkType::Enc => data.get(12..),
        LinkType::Pflog => data.get(usize::from(*data.first()?).next_multiple_of(4)..),
        LinkType::Pktap => pktap(data),
        LinkType::Pppoe => of_ethertype(ETHERTYPE_PPPOE, data),
        LinkType::Nflog => nflog(data),
        LinkType::Ppi => {
            let (link, data) = ppi(data)?;
            network(link, data)
        }
        LinkType::Wifi | LinkType::Radiotap | LinkType::WifiAvs => {
            let (frame, is_padded) = wifi_frame(link, data)?;
            wifi::network(frame, is_padded)
        }
    }
}

/// Nobody reads what the packet carries without the key of the link.
pub(super) fn is_encrypted(link: LinkType, data: &[u8]) -> bool {
    match link {
        LinkType::Ethernet => be16(data, 12) == Some(ETHERTYPE_MACSEC),
        LinkType::Wifi | LinkType::Radiotap | LinkType::WifiAvs => {
            wifi_frame(link, data).is_some_and(|(frame, _)| wifi::is_encrypted(frame))
        }
        LinkType::Ppi => ppi(data).is_some_and(|(link, data)| is_encrypted(link, data)),
        _ => false,
    }
}

/// The frame of IEEE 802.11, and whether its header is padded.
fn wifi_frame(link: LinkType, data: &[u8]) -> Option<(&[u8], bool)> {
    match link {
        LinkType::Radiotap => wifi::behind_radiotap(data),
        LinkType::WifiAvs => {
            let len = usize::try_from(Endian::Big.u32(data, 4)?).ok()?;
            Some((data.get(len..)?, false))
        }
        _ => Some((data, false)),
    }
}

/// Behind its own header, of which it says the length and the number of the link.
fn ppi(data: &[u8]) -> Option<(LinkType, &[u8])> {
    let len = usize::from(Endian::Little.u16(data, 2)?);
    let number = u16::try_from(Endian::Little.u32(data, 4)?).ok()?;
    let link = LinkType::from_number(number).filter(|link| *link != LinkType::Ppi)?;
    Some((link, data.get(len..)?))
}

/// The IP packet in an Ethernet frame.
pub(super) fn ethernet(frame: &[u8]) -> Option<&[u8]> {
    packet(Inside::Ethernet, frame)
}

/// The IP packet in what an ethertype stands before.
pub(super) fn of_ethertype(ethertype: u16, data: &[u8]) -> Option<&[u8]> {
    packet(Inside::Of(ethertype), data)
}

/// What the bytes are.
#[derive(Clone, Copy)]
enum Inside {
    Ethernet,
    Ppp,
    Of(u16),
}

fn packet(mut inside: Inside, mut data: &[u8]) -> Option<&[u8]> {
    for _ in 0..=HEADERS {
        (inside, data) = match inside {
            Inside::Of(ETHERTYPE_IPV4 | ETHERTYPE_IPV6) => return Some(data),
            Inside::Of(tag) if ETHERTYPE_VLAN.contains(&tag) => {
                (Inside::Of(be16(data, 2)?), data.get(4..)?)
            }
            Inside::Of(label) if ETHERTYPE_MPLS.contains(&label) => labelled(data)?,
            // Version and type, code, session, length.
            Inside::Of(ETHERTYPE_PPPOE) if data.get(1) == Some(&0) => (Inside::Ppp, data.get(6..)?),
            Inside::Of(ETHERTYPE_BRIDGED) => (Inside::Ethernet, data),
            Inside::Of(length) if length < FIRST_ETHERTYPE => {
                let data = data.strip_prefix(&SNAP)?;
                (Inside::Of(be16(data, 0)?), data.get(2..)?)
            }
            Inside::Of(_) => return None,
            Inside::Ethernet => (Inside::Of(be16(data, 12)?), data.get(14..)?),
            Inside::Ppp => ppp(data)?,
        };
    }
    None
}

/// Behind the last of these labels. Nothing tells what that is but its first bits.
fn labelled(mut data: &[u8]) -> Option<(Inside, &[u8])> {
    for _ in 0..=HEADERS {
        let is_last = data.get(2)? & 1 != 0;
        data = data.get(4..)?;
        if is_last {
            return match data.first()? >> 4 {
                4 => Some((Inside::Of(ETHERTYPE_IPV4), data)),
                6 => Some((Inside::Of(ETHERTYPE_IPV6), data)),
                // The control word of a pseudowire (RFC 4385).
                0 => Some((Inside::Ethernet, data.get(4..)?)),
                _ => None,
            };
        }
    }
    None
}

fn ppp(data: &[u8]) -> Option<(Inside, &[u8])> {
    let data = data.strip_prefix(&[0xff, 0x03]).unwrap_or(data);
    // A protocol of one byte is odd (RFC 1661 section 6.5).
    let (protocol, data) = match *data.first()? {
        short if short & 1 != 0 => (u16::from(short), data.get(1..)?),
        _ => (be16(data, 0)?, data.get(2..)?),
    };
    let ethertype = match protocol {
        PPP_IPV4 => ETHERTYPE_IPV4,
        PPP_IPV6 => ETHERTYPE_IPV6,
        label if PPP_MPLS.contains(&label) => 0x8847,
        _ => return None,
    };
    Some((Inside::Of(ethertype), data))
}

/// Its own length, a type, and the number of the link whose packet follows.
fn pktap(data: &[u8]) -> Option<&[u8]> {
    let len = usize::try_from(Endian::Little.u32(data, 0)?).ok()?;
    let number = u16::try_from(Endian::Little.u32(data, 8)?).ok()?;
    let link = LinkType::from_number(number).filter(|link| *link != LinkType::Pktap)?;
    network(link, data.get(len..)?)
}

/// The IP packet in PPP.
pub(super) fn of_ppp(data: &[u8]) -> Option<&[u8]> {
    packet(Inside::Ppp, data)
}

/// Family, version and resource; then attributes: length, type, value.
fn nflog(data: &[u8]) -> Option<&[u8]> {
    // A length in the wrong byte order reaches beyond the message.
    [Endian::Little, Endian::Big]
        .into_iter()
        .find_map(|endian| {
            let mut at = 4;
            loop {
                let len = usize::from(endian.u16(data, at)?);
                if len < 4 {
                    return None;
                }
                if endian.u16(data, at + 2)? == NFLOG_PAYLOAD {
                    let end = (at + len).min(data.len());
                    return data.get(at + 4..end);
                }
                at += len.next_multiple_of(4);
            }
        })
}
