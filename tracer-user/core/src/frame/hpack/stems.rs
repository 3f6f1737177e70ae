//! What the header blocks of one direction begin with: the same bytes at the same state of the dynamic table are the
//! same fields.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::field::{HeaderBlock, Stem};
use crate::limits;

/// Where in a block each of its fields ends.
pub(super) type Ends = SmallVec<[u16; 16]>;

/// Fields that are worth remembering.
const WORTH: usize = 3;

/// A beginning that came at least twice.
#[derive(Debug)]
struct Known {
    encoded: Vec<u8>,
    n_changes: u64,
    stem: Arc<Stem>,
}

impl Known {
    fn memory(&self) -> usize {
        self.encoded.capacity() + self.stem.memory()
    }
}

/// Beginnings of blocks.
#[derive(Debug, Default)]
pub(super) struct Stems {
    known: Vec<Known>,
    /// Which of them is replaced next.
    next: usize,
    /// The last block that began with none of them, and how often the table had changed.
    last: Vec<u8>,
    last_n_changes: u64,
    memory: usize,
}

impl Stems {
    /// Bytes of memory that they take, about.
    pub(super) fn memory(&self) -> usize {
        self.memory + self.last.capacity()
    }

    /// What this block begins with, and the rest of it.
    pub(super) fn find<'a>(
        &self,
        encoded: &'a [u8],
        n_changes: u64,
    ) -> Option<(&Arc<Stem>, &'a [u8])> {
        self.known
            .iter()
            .filter(|known| known.n_changes == n_changes)
            .find_map(|known| Some((&known.stem, encoded.strip_prefix(&*known.encoded)?)))
    }

    /// A block that changed nothing of the dynamic table, holds nothing sensitive and began with none of them.
    pub(super) fn learn(
        &mut self,
        encoded: &[u8],
        ends: &Ends,
        n_changes: u64,
        block: &HeaderBlock,
    ) {
        if encoded.len() > limits::RECENT_BLOCK {
            return;
        }
        if self.last_n_changes == n_changes {
            let pairs = self.last.iter().zip(encoded);
            let n_alike = pairs.take_while(|(one, other)| one == other).count();
            let alike = |end: &&u16| usize::from(**end) <= n_alike;
            let n = ends.iter().take_while(alike).count();
            let end = n.checked_sub(1).and_then(|last| ends.get(last));
            if (WORTH..ends.len()).contains(&n)
                && let Some(begins) = end.and_then(|end| encoded.get(..usize::from(*end)))
            {
                self.keep(begins, n_changes, Stem::of(block, n));
            }
        }
        self.last.clear();
        self.last.extend_from_slice(encoded);
        self.last_n_changes = n_changes;
    }

    fn keep(&mut self, begins: &[u8], n_changes: u64, stem: Stem) {
        let known = Known {
            encoded: begins.to_vec(),
            n_changes,
            stem: Arc::new(stem),
        };
        self.memory += known.memory();
        if self.known.len() < limits::RECENT_BLOCKS {
            self.known.push(known);
        } else if let Some(oldest) = self.known.get_mut(self.next) {
            self.memory = self.memory.saturating_sub(oldest.memory());
            *oldest = known;
            self.next = (self.next + 1) % limits::RECENT_BLOCKS;
        }
    }
}
