//! Header block decoder (RFC 7541 sections 3 and 6).

use bytes::{Bytes, BytesMut};

use crate::frame::{Field, HeaderBlock};
use crate::limits;

use super::dynamic_table::{DynamicTable, Entry};
use super::{Error, huffman, integer, static_table};

/// The limit before the receiver announced one (RFC 9113 section 6.5.2).
const DEFAULT_LIMIT: u32 = 4_096;
/// Short strings share memory of this size, so that most cost no allocation of their own. One that is kept
/// keeps so much alive.
const ARENA: usize = 1_024;
/// Longer strings have their own memory.
const ARENA_STRING: usize = ARENA / 4;

/// Decodes the header blocks of one direction of a connection in order.
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
    history_seen: bool,
    /// Largest size that the sender may have been told (RFC 7541 section 4.2).
    limit: u32,
    /// A lower limit that the sender may not have acknowledged yet.
    lower_limit: Option<u32>,
    table_limit_told: bool,
    /// What is left of the memory for short strings; empty between two strings.
    arena: BytesMut,
}

/// A decoded header block and what happened on the way.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The fields. `n_frames` is left 0: framing knows it.
    pub block: HeaderBlock,
    /// The block is malformed from here on; the table is unseen now.
    pub error: Option<Error>,
    /// `limits::HEADER_LIST` was reached: further fields are counted in `list_size` only.
    pub list_limited: bool,
    /// `limits::HPACK_TABLE` made us evict entries that the peers keep (told once a connection).
    pub table_limited: bool,
}

impl Decoder {
    /// A decoder that sees the direction from its first header block when `history_seen`, or that
    /// attached later: then older entries are unseen and no block is the peer's error.
    #[must_use]
    pub fn new(history_seen: bool) -> Decoder {
        Decoder {
            table: if history_seen {
                DynamicTable::new()
            } else {
                DynamicTable::unseen()
            },
            history_seen,
            limit: DEFAULT_LIMIT,
            lower_limit: None,
            table_limit_told: false,
            arena: BytesMut::new(),
        }
    }

    /// Whether every header block of this direction was seen and decoded.
    #[must_use]
    pub fn history_seen(&self) -> bool {
        self.history_seen
    }

    /// An unknown number of header blocks went by: every entry is unseen from here on.
    pub fn forget(&mut self) {
        self.table = DynamicTable::unseen();
        self.history_seen = false;
    }

    /// The receiver announced SETTINGS_HEADER_TABLE_SIZE. A lower limit counts only from the sender's next
    /// size update, since when the sender learns of it is not known here.
    pub fn set_limit(&mut self, bytes: u32) {
        if bytes >= self.limit {
            self.limit = bytes;
            self.lower_limit = None;
        } else {
            self.lower_limit = Some(bytes);
        }
    }

    /// Decodes one header block, or with `cut` the captured beginning of one: then what follows is
    /// unknown and the table is unseen afterwards.
    pub fn decode(&mut self, block: &[u8], cut: bool) -> Decoded {
        let mut decoded = Decoded::default();
        decoded.block.encoded_len = u32::try_from(block.len()).unwrap_or(u32::MAX);
        decoded.block.complete = true;
        decoded.block.fields.reserve(block.len().min(8));
        let mut input = block;
        let mut fields_begun = false;
        while let Some((&first, rest)) = input.split_first() {
            input = rest;
            if let Err(error) = self.representation(first, &mut input, fields_begun, &mut decoded) {
                if !(cut && error == Error::Truncated) {
                    decoded.error = Some(error);
                }
                decoded.block.complete = false;
                break;
            }
            fields_begun |= first >> 5 != 0b001;
        }
        if cut || decoded.error.is_some() {
            decoded.block.complete = false;
            self.forget();
        }
        if self.table.was_bitten() && !self.table_limit_told {
            self.table_limit_told = true;
            decoded.table_limited = true;
        }
        decoded
    }

    /// Decodes what begins with the octet `first` (section 6).
    fn representation(
        &mut self,
        first: u8,
        input: &mut &[u8],
        fields_begun: bool,
        decoded: &mut Decoded,
    ) -> Result<(), Error> {
        if first & 0x80 != 0 {
            let index = integer::decode(first, 7, input)?;
            return self.indexed(index, decoded);
        }
        if first >> 5 == 0b001 {
            let size = integer::decode(first, 5, input)?;
            return self.size_update(size, fields_begun);
        }
        let (prefix, insert, never_indexed) = match first >> 4 {
            0b0000 => (4, false, false),
            0b0001 => (4, false, true),
            _ => (6, true, false),
        };
        let name = match integer::decode(first, prefix, input)? {
            0 => Some(self.string(input)?),
            index => self.indexed_name(index)?,
        };
        let value = self.string(input)?;
        if insert {
            let entry = Entry {
                name: name.clone(),
                value: value.clone(),
            };
            self.table.insert(entry);
        }
        add_field(decoded, name, Some(value), never_indexed);
        Ok(())
    }

    fn entry(&self, index: u32) -> Result<Option<&Entry>, Error> {
        let Some(place) = index.checked_sub(static_table::LEN + 1) else {
            return Err(Error::Index);
        };
        match self.table.get(place) {
            None if self.history_seen && !self.table.was_bitten() => Err(Error::Index),
            entry => Ok(entry),
        }
    }

    fn indexed(&self, index: u32, decoded: &mut Decoded) -> Result<(), Error> {
        let (name, value) = match static_table::entry(index) {
            Some((name, value)) => (
                Some(Bytes::from_static(name)),
                Some(Bytes::from_static(value)),
            ),
            None => match self.entry(index)? {
                Some(entry) => (entry.name.clone(), Some(entry.value.clone())),
                None => (None, None),
            },
        };
        add_field(decoded, name, value, false);
        Ok(())
    }

    /// The name of an entry; None if unseen.
    fn indexed_name(&self, index: u32) -> Result<Option<Bytes>, Error> {
        Ok(match static_table::entry(index) {
            Some((name, _)) => Some(Bytes::from_static(name)),
            None => self.entry(index)?.and_then(|entry| entry.name.clone()),
        })
    }

    /// A string (section 5.2).
    fn string(&mut self, input: &mut &[u8]) -> Result<Bytes, Error> {
        let Some((&first, rest)) = input.split_first() else {
            return Err(Error::Truncated);
        };
        *input = rest;
        let len = integer::decode(first, 7, input)? as usize;
        let Some((octets, rest)) = input.split_at_checked(len) else {
            return Err(Error::Truncated);
        };
        *input = rest;
        let is_huffman = first & 0x80 != 0;
        let longest = if is_huffman {
            huffman::longest(len)
        } else {
            len
        };
        if longest == 0 {
            return Ok(Bytes::new());
        }
        let mut own;
        let memory = if longest > ARENA_STRING {
            own = BytesMut::with_capacity(longest);
            &mut own
        } else {
            if self.arena.capacity() < longest {
                self.arena = BytesMut::with_capacity(ARENA);
            }
            &mut self.arena
        };
        if is_huffman {
            let decoded = huffman::decode(octets, memory);
            if decoded.is_err() {
                memory.clear();
            }
            decoded?;
        } else {
            memory.extend_from_slice(octets);
        }
        Ok(memory.split().freeze())
    }

    fn size_update(&mut self, size: u32, fields_begun: bool) -> Result<(), Error> {
        if fields_begun {
            return Err(Error::SizeUpdatePlace);
        }
        if let Some(lower) = self.lower_limit
            && size <= lower
        {
            self.limit = lower;
            self.lower_limit = None;
        }
        // After a late attach the limit may have been announced before.
        if self.history_seen && size > self.limit {
            return Err(Error::SizeUpdateLimit);
        }
        self.table.set_max_size(size);
        Ok(())
    }
}

/// Adds a field, or only counts it when the list has grown too large.
fn add_field(
    decoded: &mut Decoded,
    name: Option<Bytes>,
    value: Option<Bytes>,
    never_indexed: bool,
) {
    let len = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    let block = &mut decoded.block;
    let size = (len(&name) + len(&value) + 32) as u64;
    block.list_size = block.list_size.saturating_add(size);
    if block.list_size > limits::HEADER_LIST as u64 {
        decoded.list_limited = true;
        block.complete = false;
        return;
    }
    block.complete &= name.is_some() && value.is_some();
    block.fields.push(Field {
        name,
        value,
        never_indexed,
    });
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
