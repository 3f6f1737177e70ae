//! The fields with which many header blocks of one connection begin, read once for all of them: most requests differ in
//! their last fields alone.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::digest::FieldsDigest;
use super::facts::Reading;
use super::{Facts, Field, HeaderBlock, Shown};

/// The first fields of header blocks.
pub(crate) struct Stem {
    fields: Vec<Field>,
    complete: bool,
    list_size: u64,
    /// What they say, and how far that was read.
    facts: OnceLock<(Arc<Facts>, Reading)>,
    digest: OnceLock<(FieldsDigest, u64)>,
}

impl Stem {
    /// The first `n` fields of a block.
    pub(crate) fn of(block: &HeaderBlock, n: usize) -> Stem {
        let fields: Vec<Field> = block.fields.iter().take(n).cloned().collect();
        Stem {
            complete: fields.iter().all(|field| field.entry().is_whole()),
            list_size: fields.iter().map(|field| field.size() as u64).sum(),
            fields,
            facts: OnceLock::new(),
            digest: OnceLock::new(),
        }
    }

    /// Bytes of memory that it takes, about. Entries count as if none were shared.
    pub(crate) fn memory(&self) -> usize {
        let list = usize::try_from(self.list_size).unwrap_or(usize::MAX);
        let fields = self.fields.capacity() * size_of::<Field>();
        list.saturating_add(fields)
            .saturating_add(size_of::<Stem>())
    }

    /// The fields.
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// All of them were seen, and the size of their list.
    pub(super) fn sums(&self) -> (bool, u64) {
        (self.complete, self.list_size)
    }

    /// What they say of a block that was seen whole.
    pub(super) fn facts(&self, shown: &Shown) -> &(Arc<Facts>, Reading) {
        self.facts.get_or_init(|| {
            let mut facts = Facts::none(true);
            let mut reading = Reading::default();
            facts.add(&self.fields, &mut reading, shown);
            (Arc::new(facts), reading)
        })
    }

    /// The digest of them, and the sum of those that intermediaries leave as they are.
    pub(super) fn digest(&self) -> &(FieldsDigest, u64) {
        self.digest.get_or_init(|| {
            let (mut digest, mut whole) = (FieldsDigest::default(), 0);
            digest.add(&self.fields, &mut whole);
            (digest, whole)
        })
    }
}

impl HeaderBlock {
    /// What it begins with, if all of the block was seen.
    pub(super) fn whole_stem(&self) -> Option<&Stem> {
        self.stem.as_deref().filter(|_| self.complete)
    }
}

impl fmt::Debug for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.fields).finish()
    }
}
