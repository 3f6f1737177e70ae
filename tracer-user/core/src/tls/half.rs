//! One direction: its records, the keys that open them, and where its plain text stands.

#[cfg(feature = "tls")]
use super::frames::Frames;
#[cfg(feature = "tls")]
use super::handover::{Numbering, Watched};
use super::handshake::{Message, Messages};
use super::info::{Version, Why};
use super::keys::{FoundKey, Keys, Randoms, Secrets};
use super::record::{Lost, Record, Records, content};
use super::session::Epoch;
use super::suite::{Cipher, Hash};
use crate::endpoint::Endpoint;
use crate::limits;

/// What both directions derive their keys from.
pub(super) struct Source<'a> {
    pub(super) secrets: &'a Secrets,
    pub(super) version: Version,
    pub(super) suite: (Cipher, Hash),
    pub(super) randoms: Randoms,
}

impl Source<'_> {
    fn keys(&self, sender: Endpoint, epoch: Epoch) -> Option<Keys> {
        if self.version == Version::TLS1_3 {
            Keys::tls13(self.suite, self.secrets, sender, epoch)
        } else {
            Keys::tls12(self.suite, self.secrets, sender, &self.randoms)
        }
    }
}

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RecordOutcome {
    /// It is open; what it carries.
    Opened(u8),
    Refused,
    /// No record of this direction will be opened any more.
    Over(Why),
}

/// Where plain text is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Nothing,
    /// How many bytes, by the lengths of the lost records.
    Bytes(u64),
    Unknown,
}

/// Bytes of plain text in what was lost, if it was `records` records.
fn plain_in(lost: Lost, records: u64, overhead: usize) -> u64 {
    let overhead = overhead as u64;
    lost.bytes.saturating_sub(records.saturating_mul(overhead))
}

pub(super) struct Half {
    sender: Endpoint,
    pub(super) records: Records,
    pub(super) messages: Messages,
    /// TLS 1.2: its ChangeCipherSpec went by.
    pub(super) is_protected: bool,
    pub(super) epoch: Epoch,
    keys: Option<Keys>,
    /// A key that was found opens it.
    pub(super) found: Option<FoundKey>,
    /// Sequence number of the next record.
    pub(super) number: u64,
    /// No record was missed since it counts from zero.
    pub(super) is_numbered: bool,
    pub(super) has_opened: bool,
    n_refused: u32,
    /// What the key that was found did not open since the last record that it did.
    unopened: Lost,
    /// Bytes that may still be deciphered in search of what opens a record.
    budget: u64,
    /// Records of this direction are padded: how much plain text a lost one carried cannot be told.
    is_padded: bool,
    /// Offset of the next byte of plain text.
    next: u64,
    missing: Missing,
    /// Some was missing, now or before.
    has_missed: bool,
    pub(super) over: Option<Why>,
    /// Records that were taken.
    pub(super) n_taken: u32,
    /// Where its frames are.
    #[cfg(feature = "tls")]
    pub(super) frames: Frames,
    /// What its nonces say.
    #[cfg(feature = "tls")]
    pub(super) numbering: Numbering,
    #[cfg(feature = "tls")]
    pub(super) watched: Option<Watched>,
    /// That record has come.
    #[cfg(feature = "tls")]
    pub(super) has_watched: bool,
}

impl Half {
    pub(super) fn new(sender: Endpoint) -> Half {
        Half {
            sender,
            records: Records::default(),
            messages: Messages::default(),
            is_protected: false,
            epoch: Epoch::Handshake,
            keys: None,
            found: None,
            number: 0,
            is_numbered: true,
            has_opened: false,
            n_refused: 0,
            unopened: Lost::default(),
            budget: limits::TLS_SEARCH,
            is_padded: false,
            next: 0,
            missing: Missing::Nothing,
            has_missed: false,
            over: None,
            n_taken: 0,
            #[cfg(feature = "tls")]
            frames: Frames::default(),
            #[cfg(feature = "tls")]
            numbering: Numbering::default(),
            #[cfg(feature = "tls")]
            watched: None,
            #[cfg(feature = "tls")]
            has_watched: false,
        }
    }

    /// Other keys from the next record on.
    pub(super) fn enter(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.keys = None;
        self.found = None;
        self.number = 0;
        self.is_numbered = true;
    }

    /// Other keys open it, from its first record on.
    #[cfg(feature = "tls")]
    pub(super) fn forget_found(&mut self) {
        self.found = None;
        self.over = None;
        self.number = 0;
        self.is_numbered = true;
        self.n_refused = 0;
        self.unopened = Lost::default();
    }

    /// A KeyUpdate went by.
    pub(super) fn update(&mut self) {
        if self.found.take().is_some() {
            // The next one is not made from it: it has to be found, too.
            self.number = 0;
            return;
        }
        self.keys = self.keys.as_ref().and_then(Keys::next);
        self.number = 0;
        if self.keys.is_none() {
            self.over = Some(Why::NoKey);
        }
    }

    /// Plain text went by that cannot be told, of unknown length.
    pub(super) fn miss(&mut self) {
        self.lacks(Missing::Unknown);
    }

    fn lacks(&mut self, missing: Missing) {
        self.missing = missing;
        self.has_missed = true;
    }

    /// The offset of `len` bytes of plain text that follow now.
    pub(super) fn place(&mut self, len: usize) -> u64 {
        let at = match std::mem::replace(&mut self.missing, Missing::Nothing) {
            Missing::Nothing => self.next,
            Missing::Bytes(n) => self.next.saturating_add(n),
            // An offset before the expected one says that the place is not known; the first one must not be 0.
            Missing::Unknown if self.next == 0 => 1,
            Missing::Unknown => self.next - 1,
        };
        self.next = at.saturating_add(len as u64);
        at
    }

    /// What opens it now, if that was told.
    #[cfg(feature = "tls")]
    pub(super) const fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// It is known where the next byte of plain text stands.
    #[cfg(feature = "tls")]
    pub(super) fn is_placed(&self) -> bool {
        self.missing == Missing::Nothing && !self.unopened.any()
    }

    /// Plain text was told up to this offset.
    #[cfg(feature = "tls")]
    pub(super) const fn reach(&mut self, next: u64) {
        self.missing = Missing::Nothing;
        self.next = next;
    }

    /// Where its plain text ends, with what was lost at its end.
    pub(super) fn end(&self) -> u64 {
        let missing = match self.missing {
            Missing::Nothing => 0,
            Missing::Bytes(n) => n,
            Missing::Unknown => 1,
        };
        let lost = self.records.lost();
        let lost = match self.overhead() {
            Some(n) if self.epoch == Epoch::Application => plain_in(lost, lost.range().0, n),
            _ => 0,
        };
        self.next.saturating_add(missing).saturating_add(lost)
    }

    /// Something of its plain text was lost.
    pub(super) fn has_lost(&self) -> bool {
        self.has_missed || (self.has_opened && self.records.lost().any())
    }

    /// Opens a record with the keys that it may have been sealed with. Its content is then in `plain`.
    pub(super) fn open(
        &mut self,
        record: &Record,
        fragment: &[u8],
        source: &Source<'_>,
        plain: &mut Vec<u8>,
    ) -> RecordOutcome {
        let lost = self.records.lost();
        let (least, most) = lost.range();
        // Before the first one is open, what was lost may have been in clear.
        let least = if self.has_opened { least } else { 0 };
        let mut had_keys = false;
        for &epoch in self.epoch.and_later(source.version) {
            let is_current = epoch == self.epoch;
            let kept = if is_current { self.keys.take() } else { None };
            let keys = kept.or_else(|| source.keys(self.sender, epoch));
            let Some(keys) = keys else { continue };
            had_keys = true;
            let (first, least) = if is_current {
                (self.number, least)
            } else {
                (0, 0)
            };
            let found = self.search((first, least, most), &keys, record, fragment, plain);
            if let Some(number) = found {
                self.keys = Some(keys);
                let skipped = is_current.then_some(number - first);
                self.account(lost, skipped, number, epoch);
                return self.accept(record, epoch, number, source, plain);
            }
            // A KeyUpdate may have been among what was lost.
            let may_be_next = lost.any() && epoch == Epoch::Application && self.has_opened;
            let next = may_be_next.then(|| keys.next()).flatten();
            if let Some(next) = next
                && let Some(number) = self.search((0, 0, most), &next, record, fragment, plain)
            {
                self.keys = Some(next);
                self.messages.lose();
                self.miss();
                return self.accept(record, epoch, number, source, plain);
            }
            if is_current {
                self.keys = Some(keys);
            }
        }
        if !had_keys {
            return self.end_with(Why::NoKey);
        }
        self.records.refused(record);
        self.n_refused += 1;
        if !self.has_opened && self.n_refused > limits::TLS_REFUSED {
            return self.end_with(Why::KeyDoesNotFit);
        }
        if self.budget < limits::TLS_SEARCH / 256 {
            return self.end_with(Why::LostBytes);
        }
        RecordOutcome::Refused
    }

    fn end_with(&mut self, why: Why) -> RecordOutcome {
        self.over = Some(why);
        RecordOutcome::Over(why)
    }

    /// Tries the sequence numbers from `first + least` to `first + most`, as far as the budget goes.
    fn search(
        &mut self,
        (first, least, most): (u64, u64, u64),
        keys: &Keys,
        record: &Record,
        fragment: &[u8],
        plain: &mut Vec<u8>,
    ) -> Option<u64> {
        let cost = fragment.len() as u64 + 64;
        // Not all of it for one: the next may be the first true one. The one that is due is always tried.
        let affordable = (self.budget / 4 / cost).max(1);
        let from = first.checked_add(least)?;
        let tries = (most.saturating_sub(least).saturating_add(1)).min(affordable);
        let found = keys.open(
            from..from.checked_add(tries)?,
            record.header,
            fragment,
            plain,
        );
        match found {
            Some(_) => self.budget = self.budget.saturating_add(cost).min(limits::TLS_SEARCH),
            None => self.budget = self.budget.saturating_sub(tries.saturating_mul(cost)),
        }
        found
    }

    /// What was lost before the record with this number: `skipped` records of the keys so far, or (None) some of others.
    fn account(&mut self, lost: Lost, skipped: Option<u64>, number: u64, epoch: Epoch) {
        if !lost.any() {
            return;
        }
        self.messages.lose();
        if epoch == Epoch::Handshake {
            // Of a handshake nothing is missed, but early data may have been before it.
            if self.epoch == Epoch::Early {
                self.miss();
            }
            return;
        }
        let skipped = match skipped {
            Some(0) | None if number == 0 && self.epoch != Epoch::Early => return,
            Some(skipped) if self.has_opened && !self.is_padded => skipped,
            _ => return self.miss(),
        };
        let n = self.overhead();
        self.lacks_bytes(n.map_or(0, |overhead| plain_in(lost, skipped, overhead)));
    }

    /// Bytes of a record that are no plain text.
    fn overhead(&self) -> Option<usize> {
        let found = self.found.as_ref().map(FoundKey::overhead);
        found.or_else(|| self.keys.as_ref().map(Keys::overhead))
    }

    /// So many bytes are missing; of none it is not known how many.
    fn lacks_bytes(&mut self, n: u64) {
        let before = match self.missing {
            Missing::Nothing => 0,
            Missing::Bytes(n) => n,
            Missing::Unknown => return,
        };
        self.lacks(match n {
            0 => Missing::Unknown,
            n => Missing::Bytes(before.saturating_add(n)),
        });
    }

    /// A record is open, with the keys that are in place.
    fn accept(
        &mut self,
        record: &Record,
        epoch: Epoch,
        number: u64,
        source: &Source<'_>,
        plain: &mut Vec<u8>,
    ) -> RecordOutcome {
        self.records.opened(record);
        self.epoch = epoch;
        self.number = number.saturating_add(1);
        self.has_opened = true;
        self.is_protected = true;
        RecordOutcome::Opened(self.content(source.version, record.kind(), plain))
    }

    /// What an opened record carries; that alone is then in `plain`.
    fn content(&mut self, version: Version, kind: u8, plain: &mut Vec<u8>) -> u8 {
        if version != Version::TLS1_3 {
            return kind;
        }
        // RFC 8446 section 5.2: the content, its type, and zeros.
        let sealed = plain.len();
        let end = plain.iter().rposition(|byte| *byte != 0);
        self.is_padded |= end.is_some_and(|end| end + 1 < sealed);
        let kind = end.and_then(|end| plain.get(end)).copied();
        plain.truncate(end.unwrap_or(0));
        kind.unwrap_or(content::ALERT)
    }

    /// A record of that many bytes is not opened by the key that was found.
    pub(super) fn not_opened(&mut self, lost: Lost, len: usize) {
        self.n_refused += 1;
        if !self.has_opened {
            return;
        }
        self.unopened = self.unopened.and(lost).and(Lost::of_record(len));
        if self.n_refused == limits::TLS_REFUSED_RUN {
            // It was changed, and nobody saw it.
            self.n_refused = 0;
            self.found = None;
        }
    }

    /// Opens a record with the key that was found; what it carries, if it is open. `is_late`: what was before the first
    /// one is missed by nobody.
    pub(super) fn open_found(
        &mut self,
        record: &Record,
        (lost, is_late): (Lost, bool),
        fragment: &[u8],
        plain: &mut Vec<u8>,
    ) -> Option<u8> {
        let key = self.found.as_ref()?;
        let (version, overhead) = (key.version(), key.overhead());
        let opened = key.open(record.header, fragment, plain);
        #[cfg(feature = "tls")]
        if let Some(nonce) = &opened {
            let is_next = record.certain && !lost.any() && !self.unopened.any();
            self.numbering.learn(nonce, is_next);
        }
        if opened.is_none() {
            if record.certain {
                self.not_opened(lost, fragment.len());
            }
            return None;
        }
        // Before the first one, keys of the handshake were in use. They seal a few records.
        let has_skipped = !self.has_opened && self.n_refused > limits::TLS_REFUSED_RUN;
        self.n_refused = 0;
        if has_skipped && !is_late {
            self.miss();
        }
        let lost = std::mem::take(&mut self.unopened).and(lost);
        if lost.any() {
            self.messages.lose();
            match lost.exactly() {
                _ if !self.has_opened && is_late => {}
                Some(n) if self.has_opened && !self.is_padded => {
                    self.lacks_bytes(plain_in(lost, n, overhead));
                }
                _ => self.miss(),
            }
        }
        self.has_opened = true;
        self.is_protected = true;
        let kind = self.content(version, record.kind(), plain);
        let is_after = kind == content::APPLICATION_DATA
            || (kind == content::HANDSHAKE && Message::is_after_handshake(plain));
        if version == Version::TLS1_2 || is_after {
            self.epoch = Epoch::Application;
        }
        Some(kind)
    }
}
