//! The TCP header (RFC 9293 section 3.1).

use super::{Endian, be16};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    /// Sequence number of the first byte of `payload` (after SYN, which has one of its own).
    pub(super) sequence: u32,
    /// Acknowledgement number, when the segment has one.
    pub(super) acknowledges: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    /// The sender's clock (RFC 7323 section 3), when the segment tells it.
    pub(super) timestamp: Option<u32>,
    pub(super) payload: &'a [u8],
    /// Bytes of the payload that follow and were not captured.
    pub(super) cut: u32,
}

impl<'a> Segment<'a> {
    /// Reads a segment of `wire_len` bytes, of which `bytes` were captured. None when its header was not.
    pub(super) fn read(bytes: &'a [u8], wire_len: usize) -> Option<Segment<'a>> {
        let sequence = Endian::Big.u32(bytes, 4)?;
        let acknowledgement = Endian::Big.u32(bytes, 8)?;
        let header_len = usize::from(bytes.get(12)? >> 4) * 4;
        let flags = *bytes.get(13)?;
        if header_len < 20 || header_len > wire_len {
            return None;
        }
        // Options may be cut away; the payload then is too.
        let payload = bytes.get(header_len..).unwrap_or_default();
        let cut = wire_len - header_len - payload.len().min(wire_len - header_len);
        let syn = flags & SYN != 0;
        Some(Segment {
            source_port: be16(bytes, 0)?,
            destination_port: be16(bytes, 2)?,
            sequence: sequence.wrapping_add(u32::from(syn)),
            acknowledges: (flags & ACK != 0).then_some(acknowledgement),
            syn,
            fin: flags & FIN != 0,
            rst: flags & RST != 0,
            timestamp: timestamp(bytes.get(20..header_len.min(bytes.len()))),
            payload,
            cut: u32::try_from(cut).unwrap_or(u32::MAX),
        })
    }
}

/// The value of the timestamps option.
fn timestamp(options: Option<&[u8]>) -> Option<u32> {
    let mut options = options?;
    loop {
        options = match options {
            [0, ..] | [] => return None,
            [1, rest @ ..] => rest,
            [8, 10, value @ ..] => return Endian::Big.u32(value, 0),
            [_, len, ..] => options.get(usize::from(*len).max(2)..)?,
            [_] => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_found_among_options() {
        let of = |options: &[u8]| timestamp(Some(options));
        let stamp = [8, 10, 0, 1, 0, 2, 0, 0, 0, 9];
        assert_eq!(of(&[&[1, 1][..], &stamp].concat()), Some(0x0001_0002));
        assert_eq!(
            of(&[&[2, 4, 5, 180, 4, 2][..], &stamp].concat()),
            Some(0x0001_0002)
        );
        for none in [
            &[][..],
            &[0, 8, 10],
            &[1],
            &[8],
            &[3, 0],
            &[3, 200, 1],
            &stamp[..5],
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
        assert_eq!(timestamp(None), None);
    }
}
