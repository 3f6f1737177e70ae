//! Header block decoder (RFC 7541 sections 3 and 6).

use std::sync::Arc;

use crate::field::{BlockReading, Entry, FIELD_OVERHEAD, Field, HeaderBlock, SPARE_ENTRIES, Stem};
use crate::limits;

use super::dynamic_table::DynamicTable;
use super::literals::Literals;
use super::octets::Octets;
use super::recent::Recent;
use super::stems::{Ends, Stems};
use super::{Error, integer, static_table};

/// The limit before the receiver announced one (RFC 9113 section 6.5.2).
const DEFAULT_LIMIT: u32 = 4_096;
/// Fields that a block has room for at first.
const FIELDS: usize = 16;
/// Blocks, and bytes of the list of each at most, whose memory is used again.
const SPARE_BLOCKS: usize = 2;
/// See [`SPARE_BLOCKS`].
const SPARE_BLOCK: usize = 2_048;
/// Bytes of memory for literals that are kept between two blocks.
const SCRATCH_KEPT: usize = 256;

/// Decodes the header blocks of one direction of a connection in order.
#[derive(Debug)]
pub struct Decoder {
    table: DynamicTable,
    history_seen: bool,
    /// Largest size that the sender may have been told (RFC 7541 section 4.2).
    limit: u32,
    /// A lower limit that the sender may not have acknowledged yet.
    lower_limit: Option<u32>,
    /// It has acknowledged it, and no block came since.
    awaits_update: bool,
    table_limit_told: bool,
    /// Blocks that came before and may come again.
    recent: Recent,
    /// What blocks begin with.
    stems: Stems,
    literals: Literals,
    /// The blocks that were handed out last: the memory of those that nobody holds any more is used again.
    spare_blocks: Vec<Arc<HeaderBlock>>,
    /// Entries that nobody needs any more.
    spare_entries: Vec<Arc<Entry>>,
    /// The block that was decoded last has a field that its sender marked as sensitive.
    is_sensitive: bool,
    /// Bytes of memory that all this takes, about.
    memory: usize,
    /// Memory for the name and the value of a literal.
    name: Vec<u8>,
    value: Vec<u8>,
    /// Entries that were looked up or made.
    #[cfg(test)]
    n_entries: std::cell::Cell<usize>,
}

/// A decoded header block and what happened on the way.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The fields, as if they had come in one frame.
    pub block: Arc<HeaderBlock>,
    /// The block is malformed from here on; the table is unseen now.
    pub error: Option<Error>,
    /// `limits::HEADER_LIST` was reached: further fields are counted in `list_size` only.
    pub list_limited: bool,
    /// It does not begin with the size update that it must begin with (RFC 9113 section 4.3.1).
    pub update_missing: bool,
    /// `limits::HPACK_TABLE` made us evict entries that the peers keep (told once a connection).
    pub table_limited: bool,
}

impl Decoder {
    /// Bytes of memory that what it remembers takes, about.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.memory
    }

    /// Measures that: after each block, since it is asked for with every record.
    fn measure(&mut self) {
        let spare = self.spare_blocks.len() * SPARE_BLOCK
            + self.spare_entries.len() * (size_of::<Entry>() + limits::RECENT_LITERAL);
        let recent = self.recent.memory() + self.stems.memory();
        self.memory = self.table.memory() + self.literals.memory() + recent + spare;
    }

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
            awaits_update: false,
            table_limit_told: false,
            recent: Recent::default(),
            stems: Stems::default(),
            literals: Literals::default(),
            spare_blocks: Vec::new(),
            spare_entries: Vec::new(),
            is_sensitive: false,
            memory: 0,
            name: Vec::new(),
            value: Vec::new(),
            #[cfg(test)]
            n_entries: std::cell::Cell::default(),
        }
    }

    /// Whether every header block of this direction was seen and decoded.
    #[must_use]
    pub fn history_seen(&self) -> bool {
        self.history_seen
    }

    /// An unknown number of header blocks went by: every entry is unseen from here on.
    pub fn forget(&mut self) {
        self.table.forget();
        self.history_seen = false;
        self.awaits_update = false;
        self.measure();
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

    /// The sender has acknowledged the lower limit: its next block has to begin with a size update.
    pub fn acknowledged(&mut self) {
        self.awaits_update = self.history_seen && self.lower_limit.is_some();
    }

    /// Decodes one header block, or with `cut` the captured beginning of one: then what follows is
    /// unknown and the table is unseen afterwards.
    pub fn decode(&mut self, block: &[u8], cut: bool) -> Decoded {
        self.decode_and_read(block, cut, None)
    }

    /// The same; what the block says is read at once.
    pub(crate) fn decode_and_read(
        &mut self,
        block: &[u8],
        cut: bool,
        reading: Option<BlockReading<'_>>,
    ) -> Decoded {
        let awaited = std::mem::take(&mut self.awaits_update);
        if !cut && let Some(block) = self.recent.find(block, self.table.n_changes()) {
            self.is_sensitive = false;
            // Not the default with another block: that would allocate one.
            return Decoded {
                block,
                error: None,
                list_limited: false,
                update_missing: awaited && self.lower_limit.is_some(),
                table_limited: false,
            };
        }
        let n_changes = self.table.n_changes();
        let stem = self.stems.find(block, n_changes).filter(|_| !cut);
        let mut header_block = new_block(&mut self.spare_blocks, block.len());
        let mut error = None;
        let mut input = block;
        let mut fields_begun = false;
        let mut ends = Ends::new();
        let has_stem = stem.is_some();
        let encoded_len = u32::try_from(block.len()).unwrap_or(u32::MAX);
        let mut list = List::begin(
            Arc::make_mut(&mut header_block),
            std::mem::take(&mut self.spare_entries),
        );
        list.renew(encoded_len, stem.map(|(stem, _)| stem));
        if let Some((_, rest)) = stem {
            (input, fields_begun) = (rest, true);
        }
        while let Some((&first, rest)) = input.split_first() {
            input = rest;
            let taken = match first {
                0x81..=0xfe if list.limited => self.indexed_again(first, &mut input, &mut list),
                // An index of one octet: most fields are that.
                0x81..=0xfe => self.indexed(u32::from(first & 0x7f), &mut list),
                _ => self.representation(first, &mut input, fields_begun, &mut list),
            };
            if let Err(broken) = taken {
                if !(cut && broken == Error::Truncated) {
                    error = Some(broken);
                }
                list.block.complete = false;
                break;
            }
            fields_begun |= first >> 5 != 0b001;
            if !has_stem && block.len() <= limits::RECENT_BLOCK {
                ends.push((block.len() - input.len()) as u16);
            }
        }
        for scratch in [&mut self.name, &mut self.value] {
            scratch.clear();
            scratch.shrink_to(SCRATCH_KEPT);
        }
        let (limited, is_sensitive) = (list.limited, list.is_sensitive);
        self.is_sensitive = is_sensitive;
        let done;
        (done, self.spare_entries) = list.end();
        if cut || error.is_some() {
            done.complete = false;
            self.forget();
        }
        if let Some(reading) = reading {
            done.read_now(reading);
        }
        let table_limited = self.table.was_bitten() && !self.table_limit_told;
        self.table_limit_told |= table_limited;
        if n_changes == self.table.n_changes() && !limited && !is_sensitive {
            self.recent.keep(block, n_changes, &header_block);
            if !has_stem {
                self.stems.learn(block, &ends, n_changes, &header_block);
            }
        }
        self.measure();
        Decoded {
            block: header_block,
            error,
            list_limited: limited,
            update_missing: awaited && self.lower_limit.is_some(),
            table_limited,
        }
    }

    /// The block that was decoded last was handed out, and its memory may be used again when nobody holds it any more.
    pub fn handed_out(&mut self, block: &Arc<HeaderBlock>) {
        let is_kept_elsewhere = Arc::strong_count(block) > 1;
        if self.spare_blocks.len() < SPARE_BLOCKS
            && !is_kept_elsewhere
            && block.list_size <= SPARE_BLOCK as u64
            && !self.is_sensitive
        {
            self.spare_blocks.push(Arc::clone(block));
        }
    }

    /// Takes entries that nobody needs any more: their memory is used for the next ones.
    pub(crate) fn take_spare_entries(&mut self, entries: &mut Vec<Arc<Entry>>) {
        let room = SPARE_ENTRIES.saturating_sub(self.spare_entries.len());
        let from = entries.len().saturating_sub(room);
        self.spare_entries.extend(entries.drain(from..));
        entries.clear();
    }

    /// A literal was decoded: its name by itself, unless an entry has it.
    fn new_entry(&self, named: Option<Option<&Entry>>, spare: &mut Vec<Arc<Entry>>) -> Arc<Entry> {
        self.count_entry();
        if let Some(mut spare) = spare.pop()
            && let Some(entry) = Arc::get_mut(&mut spare)
        {
            match named {
                None => entry.renew(&self.name, &self.value),
                Some(named) => entry.renew_named_by(named, &self.value),
            }
            return spare;
        }
        Arc::new(match named {
            None => Entry::literal(&self.name, &self.value),
            Some(named) => Entry::named_by(named, &self.value),
        })
    }

    /// An entry is looked up or made.
    #[inline]
    fn count_entry(&self) {
        #[cfg(test)]
        self.n_entries.update(|n| n + 1);
    }

    /// Decodes what begins with the octet `first` (section 6).
    fn representation(
        &mut self,
        first: u8,
        input: &mut &[u8],
        fields_begun: bool,
        list: &mut List<'_>,
    ) -> Result<(), Error> {
        if first & 0x80 != 0 {
            let index = integer::decode(first, 7, input)?;
            return self.indexed(index, list);
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
        let index = integer::decode(first, prefix, input)?;
        // What it says depends on nothing that came before, or on an entry of the dynamic table.
        let alone = index <= static_table::LEN;
        let named = match index {
            0 => None,
            _ => {
                self.count_entry();
                Some(entry(&self.table, self.history_seen, index)?.map(|entry| &**entry))
            }
        };
        let (name, value) = match index {
            0 => (Octets::take(input)?, Octets::take(input)?),
            _ => (Octets::EMPTY, Octets::take(input)?),
        };
        let encoded = (index, name, value);
        let known = alone.then(|| self.literals.find(encoded)).flatten();
        let entry = match known {
            Some(entry) => entry,
            None => {
                value.decode(&mut self.value)?;
                if named.is_none() {
                    name.decode(&mut self.name)?;
                }
                if list.limited && !insert {
                    // Nobody will read it, nor any field that comes after it.
                    list.is_sensitive |= never_indexed;
                    list.count(self.size_of_literal(named));
                    return Ok(());
                }
                let entry = self.new_entry(named, &mut list.spare);
                if alone && !never_indexed {
                    self.literals.keep(encoded, &entry);
                }
                entry
            }
        };
        if insert {
            let evicted = self.table.insert(Arc::clone(&entry));
            if let Some(evicted) = evicted {
                list.spare_if_last(evicted);
            }
        }
        list.add(&entry, never_indexed);
        Ok(())
    }

    #[inline]
    fn indexed(&self, index: u32, list: &mut List<'_>) -> Result<(), Error> {
        self.count_entry();
        let entry = entry(&self.table, self.history_seen, index)?;
        list.add(entry.unwrap_or(Field::unseen_entry()), false);
        Ok(())
    }

    /// The same where fields are only counted: all that the octet `first` says until another one comes.
    #[cold]
    fn indexed_again(
        &self,
        first: u8,
        input: &mut &[u8],
        list: &mut List<'_>,
    ) -> Result<(), Error> {
        self.count_entry();
        let entry = entry(&self.table, self.history_seen, u32::from(first & 0x7f))?;
        let n_more = input.iter().take_while(|octet| **octet == first).count();
        *input = input.split_at_checked(n_more).map_or(&[], |(_, rest)| rest);
        let size = entry.map_or(FIELD_OVERHEAD, |entry| entry.size());
        list.count(size.saturating_mul(n_more + 1));
        Ok(())
    }

    /// The size of the literal that was decoded last; of a name that is unseen, without it.
    fn size_of_literal(&self, named: Option<Option<&Entry>>) -> usize {
        let name = match named {
            None => self.name.len(),
            Some(entry) => entry.map_or(0, Entry::name_len),
        };
        name + self.value.len() + FIELD_OVERHEAD
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

/// The entry of either table; None if unseen.
#[inline]
fn entry(
    table: &DynamicTable,
    history_seen: bool,
    index: u32,
) -> Result<Option<&Arc<Entry>>, Error> {
    if let Some(entry) = static_table::entry(index) {
        return Ok(Some(entry));
    }
    let Some(place) = index.checked_sub(static_table::LEN + 1) else {
        return Err(Error::Index);
    };
    match table.get(place) {
        None if history_seen && !table.was_bitten() => Err(Error::Index),
        entry => Ok(entry),
    }
}

/// Memory for a block of so many bytes: that of an earlier one, if nobody holds it any more.
fn new_block(spare: &mut Vec<Arc<HeaderBlock>>, encoded_len: usize) -> Arc<HeaderBlock> {
    let is_free = |block: &Arc<HeaderBlock>| Arc::strong_count(block) == 1;
    if let Some(nth) = spare.iter().position(is_free) {
        return spare.swap_remove(nth);
    }
    let room = Vec::with_capacity(encoded_len.min(FIELDS));
    Arc::new(HeaderBlock::new(room, true, 0))
}

/// The fields of a block, as they are decoded.
struct List<'a> {
    block: &'a mut HeaderBlock,
    /// How many there are. What comes after them is of the block in whose memory this one lies: of many blocks of a
    /// connection most fields are the same, and those stay where they are.
    n: usize,
    /// Entries that nobody needs any more.
    spare: Vec<Arc<Entry>>,
    /// `limits::HEADER_LIST` was reached.
    limited: bool,
    /// A field is one that its sender marked as sensitive.
    is_sensitive: bool,
}

impl<'a> List<'a> {
    /// An empty one.
    fn begin(block: &'a mut HeaderBlock, spare: Vec<Arc<Entry>>) -> List<'a> {
        List {
            block,
            n: 0,
            spare,
            limited: false,
            is_sensitive: false,
        }
    }

    /// Begins another block, of which nothing is decoded yet but what it begins with.
    fn renew(&mut self, encoded_len: u32, stem: Option<&Arc<Stem>>) {
        let fields = stem.map_or(&[][..], |stem| stem.fields());
        if self.block.renew(encoded_len, stem) {
            self.n = fields.len();
            return;
        }
        for field in fields {
            self.put(field.shared_entry(), field.never_indexed);
        }
    }

    /// There are no more.
    fn end(mut self) -> (&'a mut HeaderBlock, Vec<Arc<Entry>>) {
        while self.block.fields.len() > self.n
            && let Some(field) = self.block.fields.pop()
        {
            self.spare_if_last(field.into_entry());
        }
        (self.block, self.spare)
    }

    /// Keeps an entry's memory for another one, unless somebody needs the entry.
    #[inline]
    fn spare_if_last(&mut self, entry: Arc<Entry>) {
        if Arc::strong_count(&entry) == 1 && self.spare.len() < SPARE_ENTRIES {
            self.spare.push(entry);
        }
    }

    /// Adds a field, or only counts it when the list has grown too large.
    #[inline]
    fn add(&mut self, entry: &Arc<Entry>, never_indexed: bool) {
        self.is_sensitive |= never_indexed;
        self.count(entry.size());
        if self.limited {
            return;
        }
        self.block.complete &= entry.is_whole();
        self.put(entry, never_indexed);
    }

    #[inline]
    fn put(&mut self, entry: &Arc<Entry>, never_indexed: bool) {
        match self.block.fields.get_mut(self.n) {
            Some(field) if field.is_of(entry) => field.never_indexed = never_indexed,
            Some(field) => {
                let before = field.become_of(entry, never_indexed);
                self.spare_if_last(before);
            }
            None => self.block.fields.push(Field::with(entry, never_indexed)),
        }
        self.n += 1;
    }

    /// Counts fields of so many bytes.
    #[inline]
    fn count(&mut self, size: usize) {
        let block = &mut *self.block;
        block.list_size = block.list_size.saturating_add(size as u64);
        if block.list_size > limits::HEADER_LIST as u64 {
            self.limited = true;
            block.complete = false;
        }
    }
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
