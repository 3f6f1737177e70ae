//! Header block decoder (RFC 7541 sections 3 and 6).

use std::ops::Range;

use bytes::Bytes;

use crate::frame::{Field, HeaderBlock};
use crate::limits;

use super::dynamic_table::{DynamicTable, Entry};
use super::{Error, huffman, integer, static_table};

/// The limit before the receiver announced one (RFC 9113 section 6.5.2).
const DEFAULT_LIMIT: u32 = 4_096;
/// Scratch space that is kept from block to block.
const SCRATCH_KEPT: usize = 8_192;

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
    /// Decoded literals of the current block.
    scratch: Vec<u8>,
    /// Fields of the current block whose parts are still in `scratch`.
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    field: usize,
    name: Option<Range<usize>>,
    value: Option<Range<usize>>,
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

/// A field's name, as it stands in the block.
enum Name {
    Static(&'static [u8]),
    Entry(Bytes),
    Unseen,
    Literal(Range<usize>),
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
            scratch: Vec::new(),
            pending: Vec::new(),
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
        self.fill_in_literals(&mut decoded.block.fields);
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
        let from = self.scratch.len();
        let name = match integer::decode(first, prefix, input)? {
            0 => Name::Literal(self.string(input)?),
            index => self.indexed_name(index)?,
        };
        let value = self.string(input)?;
        if insert {
            self.inserted(&name, value, decoded);
            self.scratch.truncate(from);
        } else {
            self.literal(name, value, never_indexed, from, decoded);
        }
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

    fn indexed(&mut self, index: u32, decoded: &mut Decoded) -> Result<(), Error> {
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
        if is_limited(
            decoded,
            name.as_deref(),
            value.as_deref().unwrap_or_default(),
        ) {
            return Ok(());
        }
        decoded.block.complete &= name.is_some() && value.is_some();
        decoded.block.fields.push(Field {
            name,
            value,
            never_indexed: false,
        });
        Ok(())
    }

    fn indexed_name(&self, index: u32) -> Result<Name, Error> {
        if let Some((name, _)) = static_table::entry(index) {
            return Ok(Name::Static(name));
        }
        Ok(
            match self.entry(index)?.and_then(|entry| entry.name.clone()) {
                Some(name) => Name::Entry(name),
                None => Name::Unseen,
            },
        )
    }

    /// A string (section 5.2), left in `scratch`.
    fn string(&mut self, input: &mut &[u8]) -> Result<Range<usize>, Error> {
        let Some((&first, rest)) = input.split_first() else {
            return Err(Error::Truncated);
        };
        *input = rest;
        let len = integer::decode(first, 7, input)? as usize;
        let Some((octets, rest)) = input.split_at_checked(len) else {
            return Err(Error::Truncated);
        };
        *input = rest;
        let from = self.scratch.len();
        if first & 0x80 != 0 {
            huffman::decode(octets, &mut self.scratch)?;
        } else {
            self.scratch.extend_from_slice(octets);
        }
        Ok(from..self.scratch.len())
    }

    fn scratched(&self, range: Range<usize>) -> &[u8] {
        self.scratch.get(range).unwrap_or_default()
    }

    /// A literal with incremental indexing (section 6.2.1). Table entries have their own memory, so that
    /// a small one never keeps a large block alive.
    fn inserted(&mut self, name: &Name, value: Range<usize>, decoded: &mut Decoded) {
        let name = match name {
            Name::Static(name) => Some(Bytes::from_static(name)),
            Name::Entry(name) => Some(name.clone()),
            Name::Unseen => None,
            Name::Literal(range) => Some(Bytes::copy_from_slice(self.scratched(range.clone()))),
        };
        let value = Bytes::copy_from_slice(self.scratched(value));
        if !is_limited(decoded, name.as_deref(), &value) {
            decoded.block.complete &= name.is_some();
            decoded.block.fields.push(Field {
                name: name.clone(),
                value: Some(value.clone()),
                never_indexed: false,
            });
        }
        self.table.insert(Entry { name, value });
    }

    /// A literal without indexing or never indexed (sections 6.2.2 and 6.2.3).
    fn literal(
        &mut self,
        name: Name,
        value: Range<usize>,
        never_indexed: bool,
        from: usize,
        decoded: &mut Decoded,
    ) {
        let known_name = match &name {
            Name::Static(name) => Some(*name),
            Name::Entry(name) => Some(name.as_ref()),
            Name::Unseen => None,
            Name::Literal(range) => Some(self.scratched(range.clone())),
        };
        if is_limited(decoded, known_name, self.scratched(value.clone())) {
            self.scratch.truncate(from);
            return;
        }
        decoded.block.complete &= known_name.is_some();
        let field = decoded.block.fields.len();
        let (name, name_at) = match name {
            Name::Static(name) => (Some(Bytes::from_static(name)), None),
            Name::Entry(name) => (Some(name), None),
            Name::Unseen => (None, None),
            Name::Literal(range) => (Some(Bytes::new()), Some(range)),
        };
        decoded.block.fields.push(Field {
            name,
            value: Some(Bytes::new()),
            never_indexed,
        });
        self.pending.push(Pending {
            field,
            name: name_at,
            value: Some(value),
        });
    }

    /// Gives the literals of this block one allocation, shared by its fields.
    fn fill_in_literals(&mut self, fields: &mut [Field]) {
        if !self.pending.is_empty() {
            let arena = Bytes::copy_from_slice(&self.scratch);
            let slice = |range: Range<usize>| arena.slice(range);
            for pending in self.pending.drain(..) {
                let Some(field) = fields.get_mut(pending.field) else {
                    continue;
                };
                if let Some(range) = pending.name {
                    field.name = Some(slice(range));
                }
                if let Some(range) = pending.value {
                    field.value = Some(slice(range));
                }
            }
        }
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_KEPT);
        self.pending.shrink_to(SCRATCH_KEPT / size_of::<Pending>());
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

/// Counts a field; says whether the list has grown too large for it to be kept.
fn is_limited(decoded: &mut Decoded, name: Option<&[u8]>, value: &[u8]) -> bool {
    let size = name.map_or(0, <[u8]>::len) + value.len() + 32;
    let block = &mut decoded.block;
    block.list_size = block.list_size.saturating_add(size as u64);
    if block.list_size > limits::HEADER_LIST as u64 {
        decoded.list_limited = true;
        block.complete = false;
    }
    decoded.list_limited
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
