//! What rules remember of methods: by process, so that nobody can teach them what another one's calls look like.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::limits;

/// The methods of one process.
#[derive(Debug)]
struct OfProcess<V> {
    by_path: HashMap<String, V, RandomState>,
    /// Oldest first.
    order: VecDeque<String>,
}

/// A value for each method of each process. When there are too many, the oldest goes: of the process itself when
/// it has too many, else of the process that has the most.
#[derive(Debug)]
pub(super) struct Methods<V> {
    of_process: HashMap<u32, OfProcess<V>, RandomState>,
    len: usize,
    most: usize,
}

impl<V> Methods<V> {
    /// No more than `most` of them.
    pub(super) fn new(most: usize) -> Methods<V> {
        Methods {
            of_process: HashMap::default(),
            len: 0,
            most,
        }
    }

    /// What is known of a method.
    pub(super) fn get(&self, pid: u32, path: &str) -> Option<&V> {
        self.of_process.get(&pid)?.by_path.get(path)
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, pid: u32, path: &str) -> Option<&mut V> {
        self.of_process.get_mut(&pid)?.by_path.get_mut(path)
    }

    /// Remembers a method that is not known. True when another one had to go for it.
    pub(super) fn insert(&mut self, pid: u32, path: &str, value: V) -> bool {
        let own = self.of_process.get(&pid).map_or(0, |own| own.order.len());
        let from = if own >= limits::METHODS_OF_PROCESS {
            Some(pid)
        } else if self.len >= self.most {
            let most = |(_, of): &(&u32, &OfProcess<V>)| of.order.len();
            self.of_process.iter().max_by_key(most).map(|(pid, _)| *pid)
        } else {
            None
        };
        if let Some(from) = from {
            self.forget_oldest(from);
        }
        let own = self.of_process.entry(pid).or_insert_with(|| OfProcess {
            by_path: HashMap::default(),
            order: VecDeque::new(),
        });
        own.by_path.insert(path.to_owned(), value);
        own.order.push_back(path.to_owned());
        self.len += 1;
        from.is_some()
    }

    fn forget_oldest(&mut self, pid: u32) {
        let Some(of) = self.of_process.get_mut(&pid) else {
            return;
        };
        if let Some(oldest) = of.order.pop_front() {
            of.by_path.remove(&oldest);
            self.len = self.len.saturating_sub(1);
        }
        if of.order.is_empty() {
            self.of_process.remove(&pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_too_many_forgets_its_own() {
        let mut methods = Methods::new(4_096);
        assert!(!methods.insert(1, "/a", 1));
        let n_forgotten = (0..10_000)
            .filter(|n| methods.insert(2, &format!("/made/{n}"), 0))
            .count();
        assert_eq!(n_forgotten, 10_000 - limits::METHODS_OF_PROCESS);
        assert_eq!(methods.get(1, "/a"), Some(&1));
        assert_eq!(methods.get(2, "/a"), None);
        assert_eq!(methods.get(2, "/made/9999"), Some(&0));
    }

    #[test]
    fn with_many_processes_the_one_with_the_most_pays() {
        let mut methods = Methods::new(64);
        assert!(!methods.insert(1, "/a", ()));
        for n in 0..100 {
            methods.insert(2, &format!("/b/{n}"), ());
        }
        assert!(methods.insert(3, "/c", ()));
        assert!(methods.get(1, "/a").is_some() && methods.get(3, "/c").is_some());
        assert_eq!(methods.len, 64);
    }
}
