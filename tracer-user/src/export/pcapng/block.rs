//! The blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian.

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Raw IP, version 4 or 6: no link layer has to be made up.
const LINKTYPE_RAW: u16 = 101;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_OS: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// Timestamps count 10^-9 s.
const NANOSECONDS: u8 = 9;

/// An option's length has 16 bits; longer comments are cut.
const OPTION_MAX: usize = 65_532;

/// Appends a block to a file: its body is what `fill` writes.
fn block(file: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = file.len();
    file.extend_from_slice(&kind.to_le_bytes());
    let length_at = file.len();
    file.extend_from_slice(&[0; 4]);
    fill(file);
    pad(file, start);
    let total = u32::try_from(file.len() - start + 4).unwrap_or(u32::MAX);
    file.extend_from_slice(&total.to_le_bytes());
    if let Some(length) = file.get_mut(length_at..length_at + 4) {
        length.copy_from_slice(&total.to_le_bytes());
    }
}

/// Fields begin at a multiple of four bytes.
fn pad(file: &mut Vec<u8>, start: usize) {
    while !(file.len() - start).is_multiple_of(4) {
        file.push(0);
    }
}

fn option(file: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..value.len().min(OPTION_MAX)).unwrap_or(value);
    let start = file.len();
    file.extend_from_slice(&code.to_le_bytes());
    file.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    file.extend_from_slice(value);
    pad(file, start);
}

fn options_end(file: &mut Vec<u8>) {
    option(file, OPT_END, &[]);
}

/// Section Header Block.
pub(super) fn section(file: &mut Vec<u8>, application: &str, system: &str, comment: &str) {
    block(file, SECTION_HEADER, |file| {
        file.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        // Version 1.0; the section's length is not told.
        file.extend_from_slice(&[1, 0, 0, 0]);
        file.extend_from_slice(&[0xff; 8]);
        option(file, OPT_COMMENT, comment.as_bytes());
        option(file, SHB_OS, system.as_bytes());
        option(file, SHB_USERAPPL, application.as_bytes());
        options_end(file);
    });
}

/// Interface Description Block of the one interface: raw IP, nanoseconds.
pub(super) fn interface(file: &mut Vec<u8>, name: &str) {
    block(file, INTERFACE_DESCRIPTION, |file| {
        file.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
        // Reserved; no limit of a packet's length.
        file.extend_from_slice(&[0; 6]);
        option(file, IF_NAME, name.as_bytes());
        option(file, IF_TSRESOL, &[NANOSECONDS]);
        options_end(file);
    });
}

fn timestamp(file: &mut Vec<u8>, at_ns: u64) {
    let (high, low) = (at_ns >> 32, at_ns & 0xffff_ffff);
    for half in [high, low] {
        file.extend_from_slice(&u32::try_from(half).unwrap_or(0).to_le_bytes());
    }
}

/// Enhanced Packet Block; `at_ns` since 1970.
pub(super) fn packet(file: &mut Vec<u8>, at_ns: u64, bytes: &[u8], comments: &[String]) {
    block(file, ENHANCED_PACKET, |file| {
        let start = file.len();
        file.extend_from_slice(&[0; 4]);
        timestamp(file, at_ns);
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        file.extend_from_slice(&len.to_le_bytes());
        file.extend_from_slice(&len.to_le_bytes());
        file.extend_from_slice(bytes);
        pad(file, start);
        for comment in comments {
            option(file, OPT_COMMENT, comment.as_bytes());
        }
        if !comments.is_empty() {
            options_end(file);
        }
    });
}

/// Interface Statistics Block: how many packets there were, and how many of them the file lacks.
pub(super) fn statistics(
    file: &mut Vec<u8>,
    at_ns: u64,
    received: u64,
    dropped: u64,
    comment: &str,
) {
    block(file, INTERFACE_STATISTICS, |file| {
        file.extend_from_slice(&[0; 4]);
        timestamp(file, at_ns);
        option(file, OPT_COMMENT, comment.as_bytes());
        option(file, ISB_IFRECV, &received.to_le_bytes());
        option(file, ISB_IFDROP, &dropped.to_le_bytes());
        options_end(file);
    });
}
