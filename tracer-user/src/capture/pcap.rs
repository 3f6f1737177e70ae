//! The pcap format (draft-ietf-opsawg-pcap): a 24-byte header, then records.

use h2trace_core::event::Timestamp;

use super::Endian;
use super::file::{CaptureError, Input, PacketLocation};
use super::link::LinkType;

/// Times in microseconds.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
/// Times in nanoseconds.
const NANOSECONDS: u32 = 0xa1b2_3c4d;

/// The modified format of old Linux libpcap, in microseconds: longer record headers.
const MODIFIED: u32 = 0xa1b2_cd34;
/// What its record headers have more: interface, protocol, packet type, padding.
const MODIFIED_EXTRA: usize = 8;

pub(super) struct Pcap {
    endian: Endian,
    /// Record headers have [`MODIFIED_EXTRA`] bytes more.
    modified: bool,
    /// Nanoseconds of one unit of a record's fraction of a second.
    unit_ns: u64,
    link: LinkType,
}

impl Pcap {
    /// Reads the file header when `magic` is one of pcap's.
    pub(super) fn open(magic: &[u8], input: &mut Input<'_>) -> Result<Option<Pcap>, CaptureError> {
        let known = [Endian::Little, Endian::Big]
            .into_iter()
            .find_map(|endian| match endian.u32(magic, 0)? {
                MICROSECONDS => Some((endian, 1_000, false)),
                NANOSECONDS => Some((endian, 1, false)),
                MODIFIED => Some((endian, 1_000, true)),
                _ => None,
            });
        let Some((endian, unit_ns, modified)) = known else {
            return Ok(None);
        };
        let header: [u8; 24] = input.exactly()?;
        // The upper half tells the length of the frame check sequence, which an IP length cuts off.
        let link = endian.u32(&header, 20).unwrap_or(0) & 0xffff;
        let link = u16::try_from(link).unwrap_or(u16::MAX);
        let link = LinkType::from_number(link).ok_or(CaptureError::LinkType(link))?;
        Ok(Some(Pcap {
            endian,
            modified,
            unit_ns,
            link,
        }))
    }

    pub(super) fn next(
        &mut self,
        input: &mut Input<'_>,
    ) -> Result<Option<PacketLocation>, CaptureError> {
        if input.at_end()? {
            return Ok(None);
        }
        let header: [u8; 16] = input.exactly()?;
        let field = |at| self.endian.u32(&header, at).unwrap_or(0);
        let (seconds, fraction) = (u64::from(field(0)), u64::from(field(4)));
        let (captured, wire_len) = (field(8), field(12));
        if self.modified {
            let _: [u8; MODIFIED_EXTRA] = input.exactly()?;
        }
        input.fill(captured)?;
        Ok(Some(PacketLocation {
            at: Timestamp(seconds * 1_000_000_000 + fraction * self.unit_ns),
            link: Some(self.link),
            wire_len,
            from: 0,
            len: captured as usize,
            options: None,
        }))
    }
}
