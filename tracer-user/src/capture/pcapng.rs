//! The pcapng format (draft-ietf-opsawg-pcapng): sections of blocks; interfaces with their own link
//! type and clock.

use h2trace_core::event::Timestamp;
use h2trace_core::limits;
use h2trace_core::tls::{KeyLog, KeyLogReader};

use super::Endian;
use super::file::{CaptureError, Input, PacketLocation};
use super::link::LinkType;

/// Section Header Block; the same in either byte order.
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
/// Obsolete, still found.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;
/// Secrets of this type are a TLS key log ("TLSK").
const TLS_KEY_LOG: u32 = 0x544c_534b;
/// How much of a block of secrets is read at once.
const SECRETS_AT_ONCE: u32 = 65_536;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Options of an Interface Description Block.
const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;
/// Type and length before a block's body, and the length again after it.
const BLOCK_OVERHEAD: u32 = 12;

#[derive(Clone, Copy)]
struct Interface {
    link: Option<LinkType>,
    snaplen: u32,
    clock: Clock,
}

/// How an interface counts time.
#[derive(Clone, Copy)]
struct Clock {
    units_per_second: u64,
    offset_seconds: i64,
}

impl Clock {
    fn at(self, units: u64) -> Timestamp {
        let ns = u128::from(units) * 1_000_000_000 / u128::from(self.units_per_second.max(1));
        let ns = i128::try_from(ns).unwrap_or(i128::MAX);
        let ns = ns.saturating_add(i128::from(self.offset_seconds) * 1_000_000_000);
        Timestamp(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }
}

pub(super) struct Pcapng {
    endian: Endian,
    interfaces: Vec<Interface>,
    /// For Simple Packet Blocks, which have no time of their own.
    last_at: Timestamp,
    n_bad_secrets: u64,
}

impl Pcapng {
    pub(super) fn new() -> Pcapng {
        Pcapng {
            endian: Endian::Little,
            interfaces: Vec::new(),
            last_at: Timestamp(0),
            n_bad_secrets: 0,
        }
    }

    /// Reads blocks until one is a packet.
    pub(super) fn next(
        &mut self,
        input: &mut Input<'_>,
        keys: &mut KeyLog,
    ) -> Result<Option<PacketLocation>, CaptureError> {
        loop {
            if input.at_end()? {
                return Ok(None);
            }
            let head: [u8; 8] = input.exactly()?;
            if Endian::Big.u32(&head, 0) == Some(SECTION_HEADER) {
                self.section(&head, input)?;
                continue;
            }
            let kind = self.endian.u32(&head, 0).unwrap_or(0);
            let total = self.endian.u32(&head, 4).unwrap_or(0);
            let Some(body) = total.checked_sub(BLOCK_OVERHEAD) else {
                return Err(input.corrupt(format!("a block claims {total} bytes")));
            };
            // Some writers forget the padding in the length; the bytes are there all the same.
            let body = body.next_multiple_of(4);
            let found = match kind {
                INTERFACE_DESCRIPTION => {
                    input.fill(body)?;
                    self.interface(input)?;
                    None
                }
                ENHANCED_PACKET | PACKET => {
                    input.fill(body)?;
                    Some(self.packet(kind, input)?)
                }
                SIMPLE_PACKET => {
                    input.fill(body)?;
                    Some(self.simple_packet(input)?)
                }
                DECRYPTION_SECRETS => {
                    self.secrets(body, input, keys)?;
                    None
                }
                _ => {
                    input.skip(body)?;
                    None
                }
            };
            self.trailer(total, input)?;
            if let Some(found) = found {
                self.last_at = found.at;
                return Ok(Some(found));
            }
        }
    }

    /// A section begins: its byte order is its own, and so are its interfaces.
    fn section(&mut self, head: &[u8; 8], input: &mut Input<'_>) -> Result<(), CaptureError> {
        let magic: [u8; 4] = input.exactly()?;
        self.endian = [Endian::Little, Endian::Big]
            .into_iter()
            .find(|endian| endian.u32(&magic, 0) == Some(BYTE_ORDER_MAGIC))
            .ok_or_else(|| input.corrupt("a section has no byte-order magic"))?;
        self.interfaces.clear();
        let total = self.endian.u32(head, 4).unwrap_or(0);
        let rest = total.checked_sub(BLOCK_OVERHEAD + 4);
        let rest = rest.ok_or_else(|| input.corrupt("a section header is too short"))?;
        input.skip(rest.next_multiple_of(4))?;
        self.trailer(total, input)
    }

    /// Lines of secrets that are none of a key log.
    pub(super) const fn bad_secrets(&self) -> u64 {
        self.n_bad_secrets
    }

    /// A block of secrets, `body` bytes of it.
    fn secrets(
        &mut self,
        body: u32,
        input: &mut Input<'_>,
        keys: &mut KeyLog,
    ) -> Result<(), CaptureError> {
        let Some(room) = body.checked_sub(8) else {
            return Err(input.corrupt("a block of secrets is too short"));
        };
        let head: [u8; 8] = input.exactly()?;
        let kind = self.endian.u32(&head, 0);
        let len = self.endian.u32(&head, 4).filter(|len| *len <= room);
        let len = len.ok_or_else(|| input.corrupt("secrets are longer than their block"))?;
        if kind != Some(TLS_KEY_LOG) {
            return input.skip(room);
        }
        let mut reader = KeyLogReader::default();
        let mut left = len;
        while left > 0 {
            let n = left.min(SECRETS_AT_ONCE);
            input.fill(n)?;
            reader.push(&input.buffer, keys);
            input.buffer.fill(0);
            left -= n;
        }
        reader.finish(keys);
        self.n_bad_secrets += reader.bad().1;
        input.skip(room - len)
    }

    fn trailer(&self, total: u32, input: &mut Input<'_>) -> Result<(), CaptureError> {
        let again: [u8; 4] = input.exactly()?;
        if self.endian.u32(&again, 0) == Some(total) {
            return Ok(());
        }
        Err(input.corrupt("a block's two lengths differ"))
    }

    fn interface(&mut self, input: &Input<'_>) -> Result<(), CaptureError> {
        if self.interfaces.len() >= limits::CAPTURE_INTERFACES {
            return Err(input.corrupt("too many interfaces"));
        }
        let body = input.buffer.as_slice();
        let endian = self.endian;
        let (Some(link), Some(snaplen)) = (endian.u16(body, 0), endian.u32(body, 4)) else {
            return Err(input.corrupt("an interface description is too short"));
        };
        let mut clock = Clock {
            units_per_second: 1_000_000,
            offset_seconds: 0,
        };
        let mut at = 8;
        while let (Some(code), Some(len)) = (endian.u16(body, at), endian.u16(body, at + 2)) {
            let value = body.get(at + 4..).unwrap_or_default();
            match (code, len) {
                (0, _) => break,
                (IF_TSRESOL, 1) => {
                    let resolution = value.first().copied().unwrap_or(6);
                    let exponent = u32::from(resolution & 0x7f);
                    let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
                    clock.units_per_second = base
                        .checked_pow(exponent)
                        .ok_or_else(|| input.corrupt("an interface's clock is too fine"))?;
                }
                (IF_TSOFFSET, 8) => {
                    clock.offset_seconds = endian.u64(value, 0).unwrap_or(0).cast_signed();
                }
                _ => {}
            }
            at += 4 + usize::from(len).next_multiple_of(4);
        }
        self.interfaces.push(Interface {
            link: LinkType::from_number(link),
            snaplen,
            clock,
        });
        Ok(())
    }

    fn packet(&self, kind: u32, input: &Input<'_>) -> Result<PacketLocation, CaptureError> {
        let body = input.buffer.as_slice();
        let number = if kind == PACKET {
            self.endian.u16(body, 0).map(u32::from)
        } else {
            self.endian.u32(body, 0)
        };
        let field = |at| self.endian.u32(body, at);
        let (Some(number), Some(high), Some(low), Some(captured), Some(wire_len)) =
            (number, field(4), field(8), field(12), field(16))
        else {
            return Err(input.corrupt("its block is too short"));
        };
        let interface = self.interface_of(number, input)?;
        if captured as usize > body.len().saturating_sub(20) {
            return Err(input.corrupt("it is longer than its block"));
        }
        Ok(PacketLocation {
            at: interface.clock.at(u64::from(high) << 32 | u64::from(low)),
            link: interface.link,
            wire_len,
            from: 20,
            len: captured as usize,
            options: Some((20 + (captured as usize).next_multiple_of(4), self.endian)),
        })
    }

    fn simple_packet(&self, input: &Input<'_>) -> Result<PacketLocation, CaptureError> {
        let body = input.buffer.as_slice();
        let interface = self.interface_of(0, input)?;
        let Some(wire_len) = self.endian.u32(body, 0) else {
            return Err(input.corrupt("its block is too short"));
        };
        let mut captured = body.len().saturating_sub(4).min(wire_len as usize);
        if interface.snaplen != 0 {
            captured = captured.min(interface.snaplen as usize);
        }
        Ok(PacketLocation {
            at: self.last_at,
            link: interface.link,
            wire_len,
            from: 4,
            len: captured,
            options: None,
        })
    }

    fn interface_of(&self, number: u32, input: &Input<'_>) -> Result<Interface, CaptureError> {
        let interface = usize::try_from(number)
            .ok()
            .and_then(|number| self.interfaces.get(number));
        interface.copied().ok_or_else(|| {
            input.corrupt(format!(
                "it names interface {number}, which is not described"
            ))
        })
    }
}
