//! Records that wait until the key that opens them is found.

use std::collections::VecDeque;

use super::info::Version;
use super::record::{HEADER, Lost};
use crate::endpoint::Endpoint;
use crate::limits;

/// Records by which a key is known. One may be of another key: two are needed.
const SAMPLES: usize = 4;

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

/// Both directions of one connection, in the order in which their records went by.
#[derive(Default)]
pub(super) struct WaitingRecords {
    /// From the first one on.
    first: VecDeque<(Endpoint, Sealed)>,
    /// By direction the newest ones, when `first` is full. What was between is lost.
    newest: [VecDeque<Sealed>; 2],
    n_bytes: usize,
    n_records: u64,
}

impl WaitingRecords {
    /// There is no place for what comes next, but for a few.
    pub(super) fn is_full(&self) -> bool {
        self.newest.iter().any(|newest| !newest.is_empty())
    }

    /// Something of a direction waits.
    pub(super) fn has(&self, sender: Endpoint) -> bool {
        self.of(sender).next().is_some()
    }

    pub(super) fn push(&mut self, sender: Endpoint, mut record: Sealed) {
        record.order = self.n_records;
        self.n_records += 1;
        let n = HEADER + record.fragment.len();
        if !self.is_full() && self.n_bytes + n <= limits::TLS_WAITING {
            self.n_bytes += n;
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
        for sender in [Endpoint::Client, Endpoint::Server] {
            if is_wanted(sender)
                && let Some(newest) = self.newest.get_mut(sender.index())
            {
                taken.extend(newest.drain(..).map(|record| (sender, record)));
            }
        }
        let held = self.first.iter();
        self.n_bytes = held.map(|(_, record)| HEADER + record.fragment.len()).sum();
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

    /// By which the key of a direction is known.
    pub(super) fn sample(&self, sender: Endpoint) -> Vec<Sealed> {
        let mut records: Vec<Sealed> = self.of(sender).take(SAMPLES).cloned().collect();
        records.reverse();
        records
    }
}
