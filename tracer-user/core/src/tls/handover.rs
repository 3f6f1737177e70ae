//! Connections whose records somebody else goes on to open: the kernel programs, which copy what is needed alone. What
//! they have to know for it, and how a session goes on where they give a connection back.

use zeroize::Zeroizing;

use super::found::FoundKey;
use super::half::Half;
use super::keys::NONCE;
use super::session::{Epoch, Session};
use crate::endpoint::Endpoint;

/// Records that it has to be good for.
const WORTH: u64 = 32;

/// What opens the next records of a direction. It has no `Debug`.
pub struct Handover<'a> {
    /// The key, of AES-GCM.
    pub key: &'a [u8],
    /// The nonce of the record that has the number zero; of TLS 1.2 the first four bytes of each.
    pub iv: Zeroizing<[u8; NONCE]>,
    /// Records bring the rest of their nonce.
    pub is_tls12: bool,
    /// The number of the record that comes next.
    pub number: u64,
    /// For so many records.
    pub left: u64,
}

/// Where a connection was given back.
#[derive(Clone, Copy, Debug)]
pub struct GivenBack<'a> {
    /// Offset of the byte that comes next.
    pub offset: u64,
    /// What came before it of a record's header.
    pub header: &'a [u8],
    /// Bytes still to come of a record that nobody opens.
    pub left: u64,
    /// The number of the record that begins then, as what was handed over counts.
    pub number: u64,
    /// How many records were opened elsewhere.
    pub skipped: u64,
    /// Where the plain text ends that was told so far. None: something of it is lost.
    pub plain: Option<u64>,
}

/// A record whose beginning is of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// How many records came before it.
    pub records: u32,
    /// Where its plain text begins, if a frame begins there for certain.
    pub begins_frame: Option<u64>,
}

/// What the nonces of a key that was found say of the sequence numbers that they are made with (RFC 8446 section 5.3):
/// from one to the next all bits change up to the lowest one that was 0.
#[derive(Clone, Default)]
pub(super) struct Numbering {
    last: Option<Zeroizing<[u8; NONCE]>>,
    /// The number of the last one, as far as these bits go; 0: nothing is known of it.
    modulus: u64,
    number: u64,
}

const fn low(nonce: &[u8; NONCE]) -> u64 {
    let [_, _, _, _, low @ ..] = nonce;
    u64::from_be_bytes(*low)
}

impl Numbering {
    /// A record with this nonce went by, behind the one before it or (`is_next` is false) somewhere.
    pub(super) fn learn(&mut self, nonce: &[u8; NONCE], is_next: bool) {
        let last = self.last.as_ref().filter(|_| is_next);
        let changed = last.map_or(0, |last| low(last) ^ low(nonce));
        let known = self.number ^ (self.number + 1);
        self.number += 1;
        let is_known = self.number < self.modulus;
        if changed == 0 || changed & changed.wrapping_add(1) != 0 || (is_known && changed != known)
        {
            self.modulus = 0;
        } else if changed >= self.modulus {
            self.modulus = changed.saturating_add(1);
            self.number = self.modulus / 2;
        }
        self.last = Some(Zeroizing::new(*nonce));
    }

    /// So many records went by elsewhere.
    fn skip(&mut self, n: u64) {
        let number = self.number.saturating_add(n);
        let Some(last) = self.last.as_mut().filter(|_| number < self.modulus) else {
            *self = Numbering::default();
            return;
        };
        let low = low(last) ^ self.number ^ number;
        if let Some(tail) = last.last_chunk_mut() {
            *tail = low.to_be_bytes();
        }
        self.number = number;
    }

    /// The nonce of number zero, the number of the record that comes next, and for how many records that is right.
    fn next(&self) -> Option<(Zeroizing<[u8; NONCE]>, u64, u64)> {
        let mut iv = self.last.clone().filter(|_| self.modulus > 0)?;
        let of_zero = low(&iv) ^ self.number;
        let tail: &mut [u8; 8] = iv.last_chunk_mut()?;
        *tail = of_zero.to_be_bytes();
        let next = self.number + 1;
        Some((iv, next, self.modulus - next))
    }
}

impl Half {
    fn hand_over(&self) -> Option<Handover<'_>> {
        let is_whole = self.records.are_whole() && self.is_placed();
        if self.over.is_some() || self.epoch != Epoch::Application || !is_whole {
            return None;
        }
        let handover = match &self.found {
            None => {
                let keys = self.keys()?;
                Handover {
                    key: keys.aes_key()?,
                    iv: keys.iv(),
                    is_tls12: keys.is_tls12(),
                    number: self.number,
                    left: u64::MAX,
                }
            }
            Some(found) => self.of_found(found)?,
        };
        (self.has_opened && handover.left >= WORTH).then_some(handover)
    }

    fn of_found<'a>(&self, found: &'a FoundKey) -> Option<Handover<'a>> {
        let (iv, number, left) = match found.salt() {
            Some(salt) => (salt, 0, u64::MAX),
            None => self.numbering.next()?,
        };
        Some(Handover {
            key: found.key(),
            iv,
            is_tls12: found.salt().is_some(),
            number,
            left,
        })
    }

    /// The next record that is opened begins so.
    pub(super) fn watch_content(&mut self, offset: u64) {
        if let Some(watched) = &mut self.watched
            && watched.records.wrapping_add(1) == self.n_taken
        {
            let is_frame = self.frames.are_at_boundary(offset);
            watched.begins_frame = is_frame.then_some(offset);
            self.has_watched = true;
        }
    }
}

impl Session {
    /// What opens the next records of a direction: where all before them was opened, and it is of use.
    #[must_use]
    pub fn hand_over(&self, sender: Endpoint) -> Option<Handover<'_>> {
        let is_scanned = self.scan.is_some();
        if self.is_over() || (is_scanned && !self.is_ready(sender)) {
            return None;
        }
        self.of(sender).hand_over()
    }

    /// How many records of a direction have been taken, if the next byte that comes, which stands at `offset`, is of the
    /// next one.
    #[must_use]
    pub fn n_taken(&self, sender: Endpoint, offset: u64) -> Option<u32> {
        let half = self.of(sender);
        let is_next = self.expects(sender) == offset;
        (is_next && half.records.are_whole()).then_some(half.n_taken)
    }

    /// How many records of a direction have been taken.
    #[must_use]
    pub const fn n_taken_so_far(&self, sender: Endpoint) -> u32 {
        self.of(sender).n_taken
    }

    /// So many records before it have been taken when the one comes of which [`Session::watched`] is to tell.
    pub fn watch(&mut self, sender: Endpoint, records: u32) {
        let half = self.half(sender);
        if half
            .watched
            .is_none_or(|watched| watched.records != records)
        {
            half.has_watched = false;
            half.watched = Some(Watched {
                records,
                begins_frame: None,
            });
        }
    }

    /// What was watched for, if it has come.
    pub fn watched(&mut self, sender: Endpoint) -> Option<Watched> {
        let half = self.half(sender);
        let has_come = std::mem::take(&mut half.has_watched);
        half.watched.filter(|_| has_come)
    }

    /// Somebody else has opened plain text that stands at `offset`, and copied it.
    pub fn opened_elsewhere(&mut self, sender: Endpoint, offset: u64, bytes: &[u8]) {
        let half = self.half(sender);
        half.frames.push(offset, bytes);
        half.reach(offset.saturating_add(bytes.len() as u64));
    }

    /// Likewise, and counted it.
    pub fn counted_elsewhere(&mut self, sender: Endpoint, offset: u64, n: u64) {
        let half = self.half(sender);
        half.frames.pass(offset, n);
        half.reach(offset.saturating_add(n));
    }

    /// From here on the session opens a direction again by itself.
    pub fn take_back(&mut self, sender: Endpoint, given: &GivenBack<'_>) {
        let begins = given.offset.saturating_sub(given.header.len() as u64);
        self.expect(sender, begins);
        let half = self.half(sender);
        half.records.begin_at(given.left);
        half.number = given.number;
        half.numbering.skip(given.skipped);
        match given.plain {
            Some(plain) => half.reach(plain),
            None => half.miss(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody says with which number a connection was taken up: the nonces do, bit by bit.
    #[test]
    fn numbers_are_learnt_from_nonces() {
        for first in [0, 1, 5, 0x7ffe, 0x1_2345] {
            let iv = *b"initial vect";
            let nonce = |number: u64| {
                let mut nonce = iv;
                let tail: &mut [u8; 8] = nonce.last_chunk_mut().unwrap();
                *tail = (u64::from_be_bytes(*tail) ^ number).to_be_bytes();
                nonce
            };
            let mut numbering = Numbering::default();
            let mut n_known = 0;
            for number in first..first + 3_000 {
                if let Some((of_zero, next, left)) = numbering.next() {
                    n_known += u64::from(left > 0);
                    for ahead in 0..left.min(300) {
                        let mut said = *of_zero;
                        let tail: &mut [u8; 8] = said.last_chunk_mut().unwrap();
                        *tail = (u64::from_be_bytes(*tail) ^ (next + ahead)).to_be_bytes();
                        assert_eq!(said, nonce(number + ahead), "{number} and {ahead}");
                    }
                }
                numbering.learn(&nonce(number), true);
            }
            assert!(n_known > 2_900, "{n_known}");
            // Where it goes on elsewhere, more is known when it comes back.
            let last = first + 2_999;
            let (_, next, left) = numbering.next().unwrap();
            numbering.skip(left);
            assert_eq!(numbering.next().map(|(_, _, left)| left), Some(0));
            numbering.learn(&nonce(last + left + 1), true);
            let (_, _, more) = numbering.next().unwrap();
            assert!(more >= next + left - 1, "{more} {next} {left}");
            // One that is missing makes it unknown.
            let mut missed = numbering.clone();
            missed.learn(&nonce(last + left + 8), true);
            assert!(missed.next().is_none());
            numbering.learn(&nonce(last + left + 2), false);
            assert!(numbering.next().is_none());
        }
    }
}
