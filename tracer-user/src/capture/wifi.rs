//! IEEE 802.11: data frames in clear, as monitor mode captures them.

use super::{Endian, link};

/// Data frames, and those without payload among them.
const TYPE_DATA: u8 = 0x08;
const SUBTYPE_NO_DATA: u8 = 0x40;
const SUBTYPE_QOS: u8 = 0x80;
/// In the second byte: from one access point to another, so that a fourth address follows; encrypted; QoS control goes
/// on with HT control.
const BETWEEN_POINTS: u8 = 0x03;
const PROTECTED: u8 = 0x40;
const ORDER: u8 = 0x80;
/// Several frames of Ethernet in one, in QoS control.
const AGGREGATE: u8 = 0x80;
/// In radiotap: there are bytes between header and payload.
const PADDED: u8 = 0x20;

/// Where the payload of a data frame begins, and its frame control and QoS control. None: it has none.
fn payload(frame: &[u8], is_padded: bool) -> Option<(usize, u8, u8)> {
    let (kind, flags) = (*frame.first()?, *frame.get(1)?);
    if kind & 0x0f != TYPE_DATA || kind & SUBTYPE_NO_DATA != 0 {
        return None;
    }
    let mut at = 24;
    if flags & BETWEEN_POINTS == BETWEEN_POINTS {
        at += 6;
    }
    let mut control = 0;
    if kind & SUBTYPE_QOS != 0 {
        control = *frame.get(at)?;
        at += if flags & ORDER == 0 { 2 } else { 6 };
    }
    if is_padded {
        at = at.next_multiple_of(4);
    }
    Some((at, flags, control))
}

/// The IP packet in a frame; None when it is encrypted, or several frames in one.
pub(super) fn network(frame: &[u8], is_padded: bool) -> Option<&[u8]> {
    let (at, flags, control) = payload(frame, is_padded)?;
    if flags & PROTECTED != 0 || control & AGGREGATE != 0 {
        return None;
    }
    // LLC and SNAP.
    link::of_ethertype(0, frame.get(at..)?)
}

/// It has payload that nobody reads without its key.
pub(super) fn is_encrypted(frame: &[u8]) -> bool {
    payload(frame, false).is_some_and(|(_, flags, _)| flags & PROTECTED != 0)
}

/// The frame behind a radiotap header (radiotap.org), and whether its header is padded.
pub(super) fn behind_radiotap(data: &[u8]) -> Option<(&[u8], bool)> {
    let len = usize::from(Endian::Little.u16(data, 2)?);
    let present = Endian::Little.u32(data, 4)?;
    // Each word of what is present says whether another one follows.
    let (mut at, mut word) = (8, present);
    while word >> 31 != 0 && at < len {
        word = Endian::Little.u32(data, at)?;
        at += 4;
    }
    // The first two fields are a time of eight bytes, and flags.
    if present & 1 != 0 {
        at = at.next_multiple_of(8) + 8;
    }
    let flags = if present & 2 != 0 { *data.get(at)? } else { 0 };
    Some((data.get(len..)?, flags & PADDED != 0))
}
