//! What a reader takes of memory.

use super::Step;
use super::reader::FrameReader;

impl FrameReader {
    /// Bytes of memory that it takes beside itself, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        let block = self.block.as_ref();
        self.hpack.memory()
            + self.buffer.capacity()
            + self.steps.capacity() * size_of::<Step>()
            + block.map_or(0, |block| block.fragment.capacity())
            + self.search.as_ref().map_or(0, |search| search.memory())
    }
}
