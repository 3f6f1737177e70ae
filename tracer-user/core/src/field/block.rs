//! A decoded header block.

use std::sync::{Arc, OnceLock};

use super::{Facts, Field, Known, Seen, Shown, Stem};

/// Entries whose memory is kept for the next ones.
pub(crate) const SPARE_ENTRIES: usize = 16;

/// What a block says: read when it was decoded, or else when that is asked for first.
#[derive(Debug, Default)]
struct BlockFacts {
    /// When it was decoded. Otherwise what lies here is what an earlier block in this memory said.
    read: Option<Arc<Facts>>,
    is_read: bool,
    late: OnceLock<Arc<Facts>>,
}

impl BlockFacts {
    /// Nothing is read of the next block in this memory.
    fn forget(&mut self) {
        self.is_read = false;
        if self.late.get().is_some() {
            self.late = OnceLock::new();
        }
    }
}

/// What it takes to read what a block says.
pub(crate) struct BlockReading<'a> {
    /// What may be kept.
    pub(crate) shown: &'a Shown,
    /// Memory that nobody needs any more.
    pub(crate) spare: &'a mut Vec<Arc<Facts>>,
}

/// A decoded header block (HEADERS or PUSH_PROMISE with its CONTINUATIONs).
#[derive(Debug, Default)]
pub struct HeaderBlock {
    /// The fields in order, as far as they could be decoded.
    pub fields: Vec<Field>,
    /// Every field was decoded and none is unseen.
    pub complete: bool,
    /// The block's length in encoded form.
    pub encoded_len: u32,
    /// Frames it took: 1 and its CONTINUATIONs.
    pub n_frames: u32,
    /// Size as RFC 9113 section 6.5.2 counts it; a lower bound when not `complete`.
    pub list_size: u64,
    facts: BlockFacts,
    /// What it begins with, if other blocks do too.
    pub(super) stem: Option<Arc<Stem>>,
}

impl HeaderBlock {
    /// Bytes of memory that it takes, about. Fields that share an entry count as if each had its own.
    pub(crate) fn memory(&self) -> usize {
        let list = usize::try_from(self.list_size).unwrap_or(usize::MAX);
        list.saturating_add(self.fields.capacity() * size_of::<Field>())
    }

    /// A block of these fields, in one frame.
    #[must_use]
    pub fn new(fields: Vec<Field>, complete: bool, encoded_len: u32) -> HeaderBlock {
        let sizes = fields.iter().map(|field| field.entry.size() as u64);
        HeaderBlock {
            list_size: sizes.sum(),
            fields,
            complete,
            encoded_len,
            n_frames: 1,
            facts: BlockFacts::default(),
            stem: None,
        }
    }

    /// The block without its fields.
    pub(crate) fn without_fields(&self) -> HeaderBlock {
        HeaderBlock {
            fields: Vec::new(),
            facts: BlockFacts::default(),
            stem: None,
            ..*self
        }
    }

    /// The first field with this name (lower case), among those whose name is seen.
    #[must_use]
    pub fn field(&self, name: &[u8]) -> Option<&Field> {
        self.fields.iter().find(|field| field.name() == Some(name))
    }

    /// The field is there, whether or not its value is seen.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        self.field(name).is_some()
    }

    /// Its value, if it is there and seen.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.field(name)?.value()
    }

    /// The first field with this name.
    pub(crate) fn get(&self, known: Known) -> Option<&Field> {
        self.fields.iter().find(|field| field.known() == known)
    }

    /// The value of the first field with this name: absent only if the whole block was decoded.
    pub(crate) fn seen(&self, known: Known) -> Seen<&[u8]> {
        match self.get(known).map(Field::value) {
            Some(Some(value)) => Seen::Value(value),
            None if self.complete => Seen::Absent,
            None | Some(None) => Seen::Unknown,
        }
    }

    /// What the block says, with what may be shown of it.
    #[inline]
    pub(crate) fn facts(&self, shown: &Shown) -> &Arc<Facts> {
        match &self.facts.read {
            Some(facts) if self.facts.is_read => facts,
            _ => {
                let facts = || Arc::new(Facts::of(self, shown));
                self.facts.late.get_or_init(facts)
            }
        }
    }

    /// Reads what the block says at once, in the memory of facts that nobody needs any more.
    pub(crate) fn read_now(&mut self, BlockReading { shown, spare }: BlockReading<'_>) {
        let is_free = |facts: &Arc<Facts>| Arc::strong_count(facts) == 1;
        let own = self.facts.read.take().filter(is_free);
        let mut facts = own.or_else(|| spare.pop());
        match facts.as_mut().and_then(Arc::get_mut) {
            Some(facts) => facts.renew(self, shown),
            None => facts = Some(Arc::new(Facts::of(self, shown))),
        }
        self.facts.read = facts;
        self.facts.is_read = true;
    }

    /// The same where it was not read at once.
    pub(crate) fn read(&self, BlockReading { shown, spare }: BlockReading<'_>) {
        let is_read = self.facts.is_read || self.facts.late.get().is_some();
        let Some(mut facts) = (!is_read).then(|| spare.pop()).flatten() else {
            return;
        };
        if let Some(facts) = Arc::get_mut(&mut facts) {
            facts.renew(self, shown);
        } else {
            facts = Arc::new(Facts::of(self, shown));
        }
        // Only this thread has the block.
        self.facts.late.get_or_init(|| facts);
    }

    /// Takes another block, of which nothing is decoded yet but what it begins with, into the memory of this one. Its
    /// fields stay in the list, to be replaced. True: those that it begins with are there already.
    pub(crate) fn renew(&mut self, encoded_len: u32, stem: Option<&Arc<Stem>>) -> bool {
        self.encoded_len = encoded_len;
        self.n_frames = 1;
        self.facts.forget();
        let stays = match (&self.stem, stem) {
            (Some(last), Some(stem)) => Arc::ptr_eq(last, stem),
            _ => false,
        };
        (self.complete, self.list_size) = stem.map_or((true, 0), |stem| stem.sums());
        if !stays {
            self.stem = stem.cloned();
        }
        stays
    }
}

impl Clone for HeaderBlock {
    /// The copy's fields may be changed: what was read from them is read again.
    fn clone(&self) -> HeaderBlock {
        HeaderBlock {
            fields: self.fields.clone(),
            facts: BlockFacts::default(),
            stem: None,
            ..*self
        }
    }
}

impl PartialEq for HeaderBlock {
    fn eq(&self, other: &HeaderBlock) -> bool {
        self.fields == other.fields
            && self.complete == other.complete
            && self.encoded_len == other.encoded_len
            && self.n_frames == other.n_frames
            && self.list_size == other.list_size
    }
}

impl Eq for HeaderBlock {}
