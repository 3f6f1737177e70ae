//! Header blocks that came before and may come again: the same bytes at the same state of the dynamic table are the
//! same fields. A client that makes the same call again and again sends the same few bytes each time.

use std::sync::Arc;

use crate::field::HeaderBlock;
use crate::limits;

/// A block that changed nothing of the dynamic table.
#[derive(Debug)]
struct Known {
    encoded: Vec<u8>,
    /// How often the table had changed.
    n_changes: u64,
    block: Arc<HeaderBlock>,
}

/// The blocks of one direction that were decoded lately.
#[derive(Debug, Default)]
pub(super) struct Recent {
    blocks: Vec<Known>,
    /// Of all of them: asked for with every record.
    memory: usize,
    /// Which of them is replaced next.
    next: usize,
}

impl Known {
    fn memory(&self) -> usize {
        self.encoded.capacity() + self.block.memory()
    }
}

impl Recent {
    /// Bytes of memory that they take, about.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// The block that these bytes are, if it came before.
    pub(super) fn find(&self, encoded: &[u8], n_changes: u64) -> Option<Arc<HeaderBlock>> {
        self.blocks
            .iter()
            .find(|known| known.n_changes == n_changes && known.encoded == encoded)
            .map(|known| Arc::clone(&known.block))
    }

    /// Keeps a block, unless it is long, or holds what its sender marked as sensitive.
    pub(super) fn keep(&mut self, encoded: &[u8], n_changes: u64, block: &Arc<HeaderBlock>) {
        let sensitive = block.fields.iter().any(|field| field.never_indexed);
        if sensitive || encoded.len() > limits::RECENT_BLOCK {
            return;
        }
        if self.blocks.len() < limits::RECENT_BLOCKS {
            let known = Known {
                encoded: encoded.to_vec(),
                n_changes,
                block: Arc::clone(block),
            };
            self.memory += known.memory();
            self.blocks.push(known);
        } else if let Some(oldest) = self.blocks.get_mut(self.next) {
            let before = oldest.memory();
            oldest.encoded.clear();
            oldest.encoded.extend_from_slice(encoded);
            oldest.n_changes = n_changes;
            oldest.block = Arc::clone(block);
            self.memory = (self.memory + oldest.memory()).saturating_sub(before);
            self.next = (self.next + 1) % limits::RECENT_BLOCKS;
        }
    }
}
