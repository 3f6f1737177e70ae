//! Link layers: where the IP packet begins.

use super::be16;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q, 802.1ad (QinQ), and the number that QinQ had before.
const ETHERTYPE_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Tags on one packet; more are not believed.
const VLAN_TAGS: usize = 4;

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
}

impl LinkType {
    /// From its number in a file.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<LinkType> {
        Some(match number {
            0 => LinkType::Null,
            1 => LinkType::Ethernet,
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
        LinkType::Ethernet => tagged(be16(data, 12)?, data, 14),
        LinkType::LinuxSll => tagged(be16(data, 14)?, data, 16),
        LinkType::LinuxSll2 => tagged(be16(data, 0)?, data, 20),
    }
}

/// What follows an ethertype and its VLAN tags; the payload begins at `at`.
fn tagged(mut ethertype: u16, data: &[u8], mut at: usize) -> Option<&[u8]> {
    for _ in 0..=VLAN_TAGS {
        if !ETHERTYPE_VLAN.contains(&ethertype) {
            let is_ip = matches!(ethertype, ETHERTYPE_IPV4 | ETHERTYPE_IPV6);
            return if is_ip { data.get(at..) } else { None };
        }
        ethertype = be16(data, at + 2)?;
        at += 4;
    }
    None
}
