//! What rules remember of methods: by process, so that nobody can teach them what another one's calls look like.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::limits;

/// Methods that are found without their names being compared: as many as are mostly called at a time.
const AT_HAND: usize = 8;

/// Where the value of a method stands.
type MethodIndex = usize;

/// The methods of one process.
#[derive(Debug)]
struct OfProcess {
    by_path: HashMap<String, MethodIndex, RandomState>,
    /// Oldest first.
    order: VecDeque<String>,
}

/// A value for each method of each process. When there are too many, the oldest goes: of the process itself when
/// it has too many, else of the process that has the most.
#[derive(Debug)]
pub(super) struct Methods<V> {
    of_process: HashMap<u32, OfProcess, RandomState>,
    values: Vec<V>,
    /// Indices of which the method was forgotten.
    free: Vec<MethodIndex>,
    /// The last ones that were asked for by names that many streams share.
    at_hand: [Option<(u32, Arc<str>, MethodIndex)>; AT_HAND],
    next_at_hand: usize,
    len: usize,
    most: usize,
}

impl<V> Methods<V> {
    /// No more than `most` of them.
    pub(super) fn new(most: usize) -> Methods<V> {
        Methods {
            of_process: HashMap::default(),
            values: Vec::new(),
            free: Vec::new(),
            at_hand: Default::default(),
            next_at_hand: 0,
            len: 0,
            most,
        }
    }

    /// What is known of a method.
    pub(super) fn get(&self, pid: u32, path: &str) -> Option<&V> {
        self.values.get(self.place(pid, path)?)
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, pid: u32, path: &str) -> Option<&mut V> {
        let place = self.place(pid, path)?;
        self.values.get_mut(place)
    }

    /// The same for a name that many streams share: it is found by where it lies.
    pub(super) fn get_shared(&mut self, pid: u32, path: &Arc<str>) -> Option<&mut V> {
        let is_it =
            |(of, name, _): &&(u32, Arc<str>, MethodIndex)| *of == pid && Arc::ptr_eq(name, path);
        if let Some((_, _, place)) = self.at_hand.iter().flatten().find(is_it) {
            return self.values.get_mut(*place);
        }
        let place = self.place(pid, path)?;
        if let Some(oldest) = self.at_hand.get_mut(self.next_at_hand) {
            *oldest = Some((pid, Arc::clone(path), place));
        }
        self.next_at_hand = (self.next_at_hand + 1) % AT_HAND;
        self.values.get_mut(place)
    }

    fn place(&self, pid: u32, path: &str) -> Option<MethodIndex> {
        self.of_process.get(&pid)?.by_path.get(path).copied()
    }

    /// Remembers a method that is not known. True when another one had to go for it.
    pub(super) fn insert(&mut self, pid: u32, path: &str, value: V) -> bool {
        let own = self.of_process.get(&pid).map_or(0, |own| own.order.len());
        let from = if own >= limits::METHODS_OF_PROCESS {
            Some(pid)
        } else if self.len >= self.most {
            let most = |(_, of): &(&u32, &OfProcess)| of.order.len();
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
        let place = match self.free.pop() {
            Some(place) => place,
            None => self.values.len(),
        };
        match self.values.get_mut(place) {
            Some(free) => *free = value,
            None => self.values.push(value),
        }
        own.by_path.insert(path.to_owned(), place);
        own.order.push_back(path.to_owned());
        self.len += 1;
        from.is_some()
    }

    fn forget_oldest(&mut self, pid: u32) {
        let Some(of) = self.of_process.get_mut(&pid) else {
            return;
        };
        if let Some(oldest) = of.order.pop_front() {
            self.free.extend(of.by_path.remove(&oldest));
            self.at_hand = Default::default();
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
    fn a_shared_name_is_found_where_it_lies_and_forgotten_with_its_method() {
        let mut methods = Methods::new(2);
        let path: Arc<str> = "/a".into();
        methods.insert(1, &path, 7);
        for _ in 0..2 {
            assert_eq!(methods.get_shared(1, &path), Some(&mut 7));
        }
        assert_eq!(methods.get_shared(2, &path), None);
        let again: Arc<str> = "/a".into();
        assert_eq!(methods.get_shared(1, &again), Some(&mut 7));
        methods.insert(1, "/b", 8);
        methods.insert(1, "/c", 9);
        assert_eq!(methods.get_shared(1, &path), None);
        assert_eq!(methods.get(1, "/c"), Some(&9));
        assert_eq!(methods.get(1, "/b"), Some(&8));
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
