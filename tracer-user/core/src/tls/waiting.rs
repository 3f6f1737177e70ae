//! Records that wait until the key that opens them is found.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::info::Version;
use super::record::{HEADER, Lost, Record};
use crate::endpoint::Endpoint;
use crate::limits;

/// Records by which a key is known. One may be of another key: two are needed.
const SAMPLES: usize = 4;

/// Bytes that a connection may keep whatever others do.
const SURE: usize = 32_768;

/// Bytes that wait, of all connections.
pub(super) type AllWaiting = Arc<AtomicUsize>;

/// A record as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) header: [u8; HEADER],
    /// When its last byte went by.
    pub(super) at: u64,
    /// What was lost before it.
    pub(super) lost: Lost,
    pub(super) fragment: Vec<u8>,
    /// Its sequence number (TLS 1.2), where none can have been missed.
    pub(super) number: Option<u64>,
    /// Among those of both directions.
    pub(super) order: u64,
}

impl Sealed {
    /// As it stood among the others.
    pub(super) const fn record(&self) -> Record {
        Record {
            header: self.header,
            at: self.at,
            certain: true,
        }
    }
}

/// Records of one direction, by which its key is known when it is found. They are as they went over the network.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "there is no key to try")
)]
pub struct Sample {
    pub(super) records: Vec<Sealed>,
    /// Bytes of the key, if the suite is known.
    pub(super) key_len: Option<usize>,
    pub(super) version: Option<Version>,
}

impl Sample {
    /// Nothing was seen of the handshake.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.version.is_none()
    }
}

/// Both directions of one connection, in the order in which their records went by.
#[derive(Default)]
pub(super) struct WaitingRecords {
    /// From the first one on.
    first: VecDeque<(Endpoint, Sealed)>,
    /// By direction the newest ones, when `first` is full. What was between is lost.
    newest: [VecDeque<Sealed>; 2],
    n_bytes: usize,
    /// Records of each direction in `first`.
    n_first: [usize; 2],
    n_records: u64,
    /// `n_bytes` counts there, too.
    all: Option<AllWaiting>,
}

/// What one record takes, beside the bytes that it has.
const EACH: usize = size_of::<(Endpoint, Sealed)>();

fn bytes_of(record: &Sealed) -> usize {
    EACH + record.fragment.len()
}

impl Drop for WaitingRecords {
    fn drop(&mut self) {
        self.keeps(0);
    }
}

impl WaitingRecords {
    /// There is no place for what comes next, but for a few.
    pub(super) fn is_full(&self) -> bool {
        self.newest.iter().any(|newest| !newest.is_empty())
    }

    /// Something of a direction waits.
    pub(super) fn has(&self, sender: Endpoint) -> bool {
        let is_there = |n: &usize| *n > 0;
        let newest = self.newest.get(sender.index());
        self.n_first.get(sender.index()).is_some_and(is_there)
            || newest.is_some_and(|newest| !newest.is_empty())
    }

    /// So many bytes are kept now.
    fn keeps(&mut self, n: usize) {
        if let Some(all) = &self.all {
            all.fetch_add(n, Ordering::Relaxed);
            all.fetch_sub(self.n_bytes, Ordering::Relaxed);
        }
        self.n_bytes = n;
    }

    /// There is a place for so many bytes more: where few wait, each may keep much, and something is left for the next one.
    fn has_place(&self, n: usize) -> bool {
        let own = self.n_bytes + n;
        let all = self.all.as_ref();
        let all = all.map_or(0, |all| all.load(Ordering::Relaxed));
        let left = limits::TLS_KEYLESS_ALL.saturating_sub(all);
        let may_take = limits::TLS_WAITING.max(left / 2);
        !self.is_full() && (own <= SURE || (n <= left && own <= may_take))
    }

    pub(super) fn push(&mut self, sender: Endpoint, mut record: Sealed, all: &AllWaiting) {
        self.all.get_or_insert_with(|| Arc::clone(all));
        record.order = self.n_records;
        self.n_records += 1;
        let n = bytes_of(&record);
        if self.has_place(n) {
            self.keeps(self.n_bytes + n);
            if let Some(n_first) = self.n_first.get_mut(sender.index()) {
                *n_first += 1;
            }
            return self.first.push_back((sender, record));
        }
        let Some(newest) = self.newest.get_mut(sender.index()) else {
            return;
        };
        newest.push_back(record);
        if newest.len() > SAMPLES
            && let Some(out) = newest.pop_front()
            && let Some(next) = newest.front_mut()
        {
            let lost = out.lost.and(Lost::of_record(out.fragment.len()));
            next.lost = lost.and(next.lost);
        }
    }

    /// Takes out those of the directions that are asked for, in their order.
    pub(super) fn take(&mut self, wanted: [bool; 2]) -> VecDeque<(Endpoint, Sealed)> {
        let is_wanted = |sender: Endpoint| wanted.get(sender.index()).copied().unwrap_or(false);
        let (mut taken, left) = std::mem::take(&mut self.first)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(sender, _)| is_wanted(*sender));
        self.first = left;
        for (n_first, is_taken) in self.n_first.iter_mut().zip(wanted) {
            if is_taken {
                *n_first = 0;
            }
        }
        for sender in [Endpoint::Client, Endpoint::Server] {
            if is_wanted(sender)
                && let Some(newest) = self.newest.get_mut(sender.index())
            {
                taken.extend(newest.drain(..).map(|record| (sender, record)));
            }
        }
        let held = self.first.iter();
        self.keeps(held.map(|(_, record)| bytes_of(record)).sum());
        taken
            .make_contiguous()
            .sort_by_key(|(_, record)| record.order);
        taken
    }

    /// The newest ones of a direction, the last one first.
    fn of(&self, sender: Endpoint) -> impl Iterator<Item = &Sealed> {
        let newest = self.newest.get(sender.index()).into_iter().flatten();
        let first = self.first.iter().filter(move |(from, _)| *from == sender);
        newest.rev().chain(first.rev().map(|(_, record)| record))
    }

    /// The record of a direction that has the number zero.
    #[cfg(feature = "tls")]
    pub(super) fn numbered(&self, sender: Endpoint) -> Option<&Sealed> {
        let mut first = self.first.iter().filter(|(from, _)| *from == sender);
        let (_, record) = first.next()?;
        (record.number == Some(0)).then_some(record)
    }

    /// By which the key of a direction is known.
    pub(super) fn sample(&self, sender: Endpoint) -> Vec<Sealed> {
        let mut records: Vec<Sealed> = self.of(sender).take(SAMPLES).cloned().collect();
        records.reverse();
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Sealed {
        Sealed {
            header: [23, 3, 3, 0x40, 0],
            at: 0,
            lost: Lost::default(),
            fragment: vec![7; 16_384],
            number: None,
            order: 0,
        }
    }

    #[test]
    fn who_waits_is_known_by_direction() {
        let all = AllWaiting::default();
        let mut waiting = WaitingRecords::default();
        let both = [Endpoint::Client, Endpoint::Server];
        let has = |waiting: &WaitingRecords| both.map(|sender| waiting.has(sender));
        assert_eq!(has(&waiting), [false; 2]);
        while !waiting.is_full() {
            waiting.push(Endpoint::Client, sealed(), &all);
        }
        assert_eq!(has(&waiting), [true, false]);
        waiting.push(Endpoint::Server, sealed(), &all);
        assert_eq!(has(&waiting), [true; 2], "of the newest");
        waiting.take([true, false]);
        assert_eq!(has(&waiting), [false, true]);
        waiting.push(Endpoint::Client, sealed(), &all);
        waiting.take([false, true]);
        waiting.push(Endpoint::Server, sealed(), &all);
        assert_eq!(has(&waiting), [true; 2]);
        waiting.take([true; 2]);
        assert_eq!(has(&waiting), [false; 2]);
    }

    /// What a record takes beside its bytes counts, too.
    #[test]
    fn short_records_do_not_outgrow_the_bound() {
        let all = AllWaiting::default();
        let mut waiting = WaitingRecords::default();
        let mut n = 0;
        while !waiting.is_full() {
            let short = Sealed {
                fragment: vec![7; 18],
                ..sealed()
            };
            waiting.push(Endpoint::Client, short, &all);
            n += 1;
        }
        let each = size_of::<(Endpoint, Sealed)>() + 18;
        assert!(n * each <= limits::TLS_KEYLESS_ALL / 2, "{n}");
    }

    #[test]
    fn what_waits_is_bounded_for_each_connection_and_for_all() {
        let all = AllWaiting::default();
        let kept = || all.load(Ordering::Relaxed);
        let mut connections: Vec<WaitingRecords> = Vec::new();
        for nth in 0..100 {
            let mut waiting = WaitingRecords::default();
            for _ in 0..1_000 {
                waiting.push(Endpoint::Client, sealed(), &all);
            }
            let before = connections.iter().map(|other| other.n_bytes).sum::<usize>();
            let own = kept() - before;
            assert_eq!(own, waiting.n_bytes);
            let left = limits::TLS_KEYLESS_ALL.saturating_sub(before);
            let most = limits::TLS_WAITING.max(left / 2);
            assert!((16_384..=most).contains(&own), "{own}");
            // The first ones keep what came in a second, and leave some for others.
            let much = [10 << 20, 7 << 20, 4 << 20, 3 << 20];
            assert!(own >= much.get(nth).copied().unwrap_or(0), "{nth}: {own}");
            connections.push(waiting);
        }
        assert!(connections.iter().all(WaitingRecords::is_full));
        assert!(kept() > limits::TLS_KEYLESS_ALL * 9 / 10);
        assert!(kept() <= limits::TLS_KEYLESS_ALL + 100 * SURE);
        // What goes makes room.
        let taken = connections[0].take([true; 2]);
        assert!(taken.len() > 500 && connections[0].n_bytes == 0);
        connections.clear();
        assert_eq!(kept(), 0);
    }
}
