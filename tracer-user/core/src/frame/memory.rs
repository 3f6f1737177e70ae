//! What a reader takes of memory, and what it hands back.

use std::sync::Arc;

use super::Step;
use super::reader::FrameReader;
use crate::field::Entry;

impl FrameReader {
    /// Bytes of memory that it takes beside itself, about.
    #[inline]
    #[must_use]
    pub fn memory(&self) -> usize {
        let block = self.block.as_ref();
        self.hpack.memory()
            + self.buffer.capacity()
            + self.steps.capacity() * size_of::<Step>()
            + block.map_or(0, |block| block.fragment.capacity())
            + self.search.as_ref().map_or(0, |search| search.memory())
    }

    /// Takes entries that nobody needs any more, so that their memory is used again.
    pub(crate) fn take_spare_entries(&mut self, entries: &mut Vec<Arc<Entry>>) {
        self.hpack.take_spare_entries(entries);
    }

    /// No step is ready to be taken.
    #[inline]
    #[must_use]
    pub(crate) const fn has_no_steps(&self) -> bool {
        self.steps.is_empty() && self.late.is_empty()
    }
}
