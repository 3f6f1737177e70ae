//! A host whose connections have both ends on it, in a file that knows no processes: loopback.
//!
//! There every stream is one that the host is asked for and one that it opens, and whether the two ends of a
//! request are a proxy's or those of a client with several servers cannot be seen. Order and time say nothing
//! then. Streams are joined if all their fields are the same, no third stream ever had these, neither
//! contradicts the other, and so do several requests: a client that says the same to two servers says it
//! again.

use std::collections::VecDeque;

use super::fast::Map;
use super::index::Found;
use super::place::Place;
use super::{Hop, Join};
use crate::limits;
use crate::stream::digest::{FieldsDigest, Opening};

/// Requests of which each must have been joined by fields of its own before any of them is told.
const PROVEN_BY: usize = 3;

/// What is known of such a host.
#[derive(Debug)]
pub(super) struct Shared<T> {
    /// How many streams have these fields.
    seen: Map<u64, u8>,
    /// Requests that wait for the proof, with their fields.
    held: VecDeque<(u64, Hop<T>)>,
    proven: bool,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Shared {
            seen: Map::default(),
            held: VecDeque::new(),
            proven: false,
        }
    }
}

impl<T> Shared<T> {
    /// For which request was this stream opened, if `found` says which has its fields?
    pub(super) fn find(&self, found: Found, place: &Place<T>, up: &Opening) -> Option<(u64, Join)> {
        let Found::One(key) = found else { return None };
        let is_second = self.seen.get(&up.digest.whole?) == Some(&1);
        let is_other = key >> 31 != up.connection.0;
        let fits = is_second && is_other && place.fits(key, up);
        fits.then(|| (key, place.same_fields(key, up)))
    }

    /// A request was joined: what may be told now.
    pub(super) fn joined(&mut self, whole: u64, hop: Hop<T>) -> VecDeque<(u64, Hop<T>)> {
        let seen = &self.seen;
        // One at each of two hops.
        let is_one = |whole: &u64| seen.get(whole) == Some(&2);
        self.held.push_back((whole, hop));
        self.held.retain(|(whole, _)| is_one(whole));
        self.proven |= self.held.len() >= PROVEN_BY;
        match self.proven {
            true => std::mem::take(&mut self.held),
            false => VecDeque::new(),
        }
    }
}

/// The host was asked for something. `opened`: by itself, so that it is such a host. False when the fields cannot
/// be kept.
pub(super) fn asked<T>(of: &mut Option<Shared<T>>, opened: bool, digest: &FieldsDigest) -> bool {
    if opened {
        of.get_or_insert_default();
    }
    let (Some(shared), Some(whole)) = (of, digest.whole) else {
        return true;
    };
    if shared.seen.len() >= limits::HOP_SHARED && !shared.seen.contains_key(&whole) {
        return false;
    }
    let n = shared.seen.entry(whole).or_default();
    *n = n.saturating_add(1);
    true
}
