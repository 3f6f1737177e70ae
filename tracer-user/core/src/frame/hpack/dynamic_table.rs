//! Dynamic table (RFC 7541 sections 2.3.2 and 4).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::field::Entry;
use crate::limits;

/// The table's size before anything was agreed (RFC 9113 section 6.5.2).
const DEFAULT_SIZE: usize = 4_096;

/// The entries that are known, newest first.
#[derive(Debug)]
pub(super) struct DynamicTable {
    entries: VecDeque<Arc<Entry>>,
    size: usize,
    max_size: usize,
    /// The agreed size is above our own bound.
    capped: bool,
    /// An entry was evicted that the agreed size would have kept.
    bitten: bool,
    /// How often something changed.
    n_changes: u64,
}

impl DynamicTable {
    /// An empty table of the initial size.
    pub(super) fn new() -> DynamicTable {
        DynamicTable {
            entries: VecDeque::new(),
            size: 0,
            max_size: DEFAULT_SIZE,
            capped: false,
            bitten: false,
            n_changes: 0,
        }
    }

    /// A table of unknown content and size. Evictions happen at the old end and never shift indices, so
    /// a size that is too large costs memory only.
    pub(super) fn unseen() -> DynamicTable {
        DynamicTable {
            max_size: limits::HPACK_TABLE,
            ..DynamicTable::new()
        }
    }

    /// The entry at `place`, 0 being the newest.
    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&Arc<Entry>> {
        self.entries.get(place as usize)
    }

    /// Adds an entry and evicts what no longer fits (section 4.4): gives the last entry that was.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        self.n_changes += 1;
        let size = entry.size();
        let evicted = self.evict_to(self.max_size.saturating_sub(size));
        if size <= self.max_size {
            self.size += size;
            self.entries.push_front(entry);
        } else if self.capped {
            self.bitten = true;
        }
        evicted
    }

    /// A size update (section 6.3).
    pub(super) fn set_max_size(&mut self, max_size: u32) {
        self.n_changes += 1;
        let max_size = max_size as usize;
        self.capped = max_size > limits::HPACK_TABLE;
        self.max_size = max_size.min(limits::HPACK_TABLE);
        self.evict_to(self.max_size);
    }

    fn evict_to(&mut self, size: usize) -> Option<Arc<Entry>> {
        let mut evicted = None;
        while self.size > size {
            let Some(oldest) = self.entries.pop_back() else {
                self.size = 0;
                break;
            };
            self.size = self.size.saturating_sub(oldest.size());
            self.bitten |= self.capped;
            evicted = Some(oldest);
        }
        evicted
    }

    /// Everything is unseen from here on.
    pub(super) fn forget(&mut self) {
        *self = DynamicTable {
            n_changes: self.n_changes + 1,
            ..DynamicTable::unseen()
        };
    }

    /// Bytes of memory that it takes, about. Entries that several fields share count here.
    pub(super) fn memory(&self) -> usize {
        // A name and a value are allocations of their own; RFC 7541 counts 32 bytes for what surrounds them.
        self.size + self.entries.len() * (size_of::<Entry>() + 64)
    }

    /// How often something changed: at the same count, the same index names the same entry.
    pub(super) fn n_changes(&self) -> u64 {
        self.n_changes
    }

    /// Whether entries that the peers still have were evicted because of `limits::HPACK_TABLE`.
    pub(super) fn was_bitten(&self) -> bool {
        self.bitten
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;

    fn entry(name: &str, value: &str) -> Arc<Entry> {
        Arc::new(Entry::literal(name.as_bytes(), value.as_bytes()))
    }

    fn value(table: &DynamicTable, place: u32) -> Option<Vec<u8>> {
        let field = Field::of(Arc::clone(table.get(place)?));
        field.value().map(<[u8]>::to_vec)
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut table = DynamicTable::new();
        table.set_max_size(100);
        table.insert(entry("a", "b"));
        assert_eq!((table.len(), table.size()), (1, 34));
        table.insert(entry("a", &"x".repeat(68)));
        assert_eq!((table.len(), table.size()), (0, 0));
    }

    #[test]
    fn the_oldest_entry_is_evicted_first() {
        let mut table = DynamicTable::new();
        table.set_max_size(70);
        for value in ["1", "2", "3"] {
            table.insert(entry("n", value));
        }
        assert_eq!(table.len(), 2);
        assert_eq!(value(&table, 0), Some(b"3".to_vec()));
        assert_eq!(value(&table, 1), Some(b"2".to_vec()));
        table.set_max_size(34);
        assert_eq!(value(&table, 0), Some(b"3".to_vec()));
        assert!(table.get(1).is_none());
        assert!(!table.was_bitten());
    }

    #[test]
    fn a_larger_agreed_size_is_capped_and_the_bite_is_told() {
        let mut table = DynamicTable::new();
        table.set_max_size(u32::MAX >> 1);
        let value = "v".repeat(limits::HPACK_TABLE / 2);
        table.insert(entry("n", &value));
        assert!(!table.was_bitten());
        table.insert(entry("n", &value));
        assert!(table.was_bitten());
        assert_eq!(table.len(), 1);
        assert!(table.size() <= limits::HPACK_TABLE);
    }
}
