//! The bounded table of connections. When it is full, the longest idle one goes.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::event::{SocketKey, Timestamp};

/// Connections by socket, at most `capacity` of them.
#[derive(Debug)]
pub struct Table<C> {
    capacity: usize,
    entries: HashMap<SocketKey, TableEntry<C>, RandomState>,
    /// By a socket's address: when the last one there was born.
    born: HashMap<u64, u64, RandomState>,
    /// Second-chance order: a key stands here once; its stamp is what `last_at` was when it was put in.
    order: VecDeque<(SocketKey, Timestamp)>,
}

#[derive(Debug)]
struct TableEntry<C> {
    last_at: Timestamp,
    value: C,
}

impl<C> Table<C> {
    #[must_use]
    pub fn new(capacity: usize) -> Table<C> {
        Table {
            capacity: capacity.max(1),
            entries: HashMap::default(),
            born: HashMap::default(),
            order: VecDeque::new(),
        }
    }

    /// The connection of `key`, marked as used at `at`.
    pub fn touch(&mut self, key: &SocketKey, at: Timestamp) -> Option<&mut C> {
        let entry = self.entries.get_mut(key)?;
        entry.last_at = entry.last_at.max(at);
        Some(&mut entry.value)
    }

    /// The connection of `key`, to be looked at.
    #[must_use]
    pub fn peek(&self, key: &SocketKey) -> Option<&C> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The connection of `key`, not marked as used.
    pub fn peek_mut(&mut self, key: &SocketKey) -> Option<&mut C> {
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// The key of the connection whose socket has this address, the youngest one.
    #[must_use]
    pub fn at(&self, sk: u64) -> Option<SocketKey> {
        let born_ns = *self.born.get(&sk)?;
        Some(SocketKey { sk, born_ns })
    }

    /// All connections, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (SocketKey, &C)> {
        self.entries.iter().map(|(key, entry)| (*key, &entry.value))
    }

    /// Puts a connection in; gives back the one that had to go for it, or that had the same key.
    pub fn insert(&mut self, key: SocketKey, at: Timestamp, value: C) -> Option<(SocketKey, C)> {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.last_at = at;
            return Some((key, std::mem::replace(&mut entry.value, value)));
        }
        let evicted = (self.entries.len() >= self.capacity)
            .then(|| self.evict())
            .flatten();
        self.entries.insert(key, TableEntry { last_at: at, value });
        self.born.insert(key.sk, key.born_ns);
        self.order.push_back((key, at));
        evicted
    }

    /// Takes a connection out.
    pub fn remove(&mut self, key: &SocketKey) -> Option<C> {
        let entry = self.take(key)?;
        // Keys of removed connections stay in `order` until they come up; do not let them pile up.
        if self.order.len() > 2 * self.entries.len() + 1_024 {
            let entries = &self.entries;
            self.order.retain(|(key, _)| entries.contains_key(key));
        }
        Some(entry.value)
    }

    fn take(&mut self, key: &SocketKey) -> Option<TableEntry<C>> {
        let entry = self.entries.remove(key)?;
        if self.born.get(&key.sk) == Some(&key.born_ns) {
            self.born.remove(&key.sk);
        }
        Some(entry)
    }

    /// Takes all connections out.
    pub fn drain(&mut self) -> impl Iterator<Item = C> + '_ {
        self.order.clear();
        self.born.clear();
        self.entries.drain().map(|(_, entry)| entry.value)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes the longest idle connection out.
    pub fn evict(&mut self) -> Option<(SocketKey, C)> {
        // Every pass of a used entry renews its stamp, so this ends after one round at the latest.
        for _ in 0..=self.order.len() {
            let (key, stamp) = self.order.pop_front()?;
            let Some(entry) = self.entries.get(&key) else {
                continue;
            };
            if entry.last_at > stamp {
                self.order.push_back((key, entry.last_at));
            } else {
                return self.take(&key).map(|entry| (key, entry.value));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> SocketKey {
        SocketKey { sk: n, born_ns: 0 }
    }

    #[test]
    fn the_longest_idle_connection_goes_first() {
        let mut table = Table::new(2);
        table.insert(key(1), Timestamp(1), "a");
        table.insert(key(2), Timestamp(2), "b");
        table.touch(&key(1), Timestamp(3));
        assert_eq!(table.insert(key(3), Timestamp(4), "c"), Some((key(2), "b")));
        assert_eq!(table.len(), 2);
        assert!(table.touch(&key(1), Timestamp(5)).is_some());
    }

    #[test]
    fn an_address_is_the_youngest_sockets() {
        let mut table = Table::new(8);
        let [old, young] = [1, 2].map(|born_ns| SocketKey { sk: 7, born_ns });
        table.insert(old, Timestamp(1), ());
        assert_eq!(table.at(7), Some(old));
        table.insert(young, Timestamp(2), ());
        table.remove(&old);
        assert_eq!(table.at(7), Some(young));
        table.remove(&young);
        assert_eq!(table.at(7), None);
    }

    #[test]
    fn memory_stays_bounded_when_connections_come_and_go() {
        let mut table = Table::new(16);
        for n in 0..100_000 {
            table.insert(key(n), Timestamp(n), ());
            if n % 2 == 0 {
                table.remove(&key(n));
            }
        }
        assert!(table.len() <= 16 && table.born.len() <= 16);
        assert!(table.order.len() <= 2 * 16 + 1_025);
    }
}
