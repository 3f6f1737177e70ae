//! Connections whose keys are looked for elsewhere while they go on: what comes before its key waits for it.
//!
//! Neither the hellos nor the first records have to have been seen. What a key opens says which version it is; each
//! record says its nonce. What is sealed with the keys of the handshake stays closed.

use super::half::Half;
use super::info::{KeySource, Version, Why};
use super::keys::FoundKey;
use super::record::{Lost, Record};
use super::session::{Context, Plain, Session};
use super::suite::{Cipher, Suite};
use super::waiting::{Sample, Sealed, WaitingRecords};
use crate::endpoint::Endpoint;

const BOTH: [Endpoint; 2] = [Endpoint::Client, Endpoint::Server];

/// What is kept of such a connection.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) waiting: WaitingRecords,
    /// Its hellos were not seen.
    is_late: bool,
    /// Something was sealed with keys that no key log had: what it brings later is not looked at any more.
    has_begun: bool,
    /// The secrets of its handshake may come.
    expects_secrets: bool,
}

impl Session {
    /// One whose keys are looked for (see [`Session::wanted`]), if no key log has them.
    #[must_use]
    pub fn awaiting_keys() -> Session {
        let mut session = Session::default();
        session.scan = Some(Box::default());
        session
    }

    /// The same, of a connection that is older than what is seen of it.
    #[must_use]
    pub fn late() -> Session {
        let mut session = Session::awaiting_keys();
        if let Some(scan) = &mut session.scan {
            scan.is_late = true;
        }
        for sender in BOTH {
            session.half(sender).records.begins_inside();
        }
        session
    }

    /// The secrets of its handshake may come ([`Session::told`]), so that a cipher is waited for whose keys nobody finds.
    pub fn expect_secrets(&mut self) {
        if let Some(scan) = &mut self.scan {
            scan.expects_secrets = true;
        }
    }

    /// They do not come.
    pub fn expect_no_secrets(&mut self) {
        if let Some(scan) = &mut self.scan {
            scan.expects_secrets = false;
            let waits = BOTH.iter().any(|sender| scan.waiting.has(*sender));
            if waits && self.is_unfindable() {
                self.fail(Why::KeyNotFindable);
            }
        }
    }

    /// Its cipher leaves no schedule.
    fn is_unfindable(&self) -> bool {
        let protection = self.info.suite.map(Suite::protection);
        matches!(protection, Some(Ok((Cipher::ChaCha20Poly1305, _))))
    }

    /// A key may be looked for, now or later.
    #[must_use]
    pub const fn may_want_key(&self) -> bool {
        self.scan.is_some()
    }

    /// Whether a protected record is for a key that is found. Else a key log opens it, and all that follows.
    pub(super) fn is_scanned(&mut self, is_told: bool) -> bool {
        let Some(scan) = &mut self.scan else {
            return false;
        };
        scan.has_begun |= !is_told;
        let has_begun = scan.has_begun;
        if !has_begun {
            self.scan = None;
        }
        has_begun
    }

    /// No key opens a direction yet, and it is not given up.
    #[must_use]
    pub fn wants_key(&self, sender: Endpoint) -> bool {
        self.scan.is_some() && self.of(sender).wants_key()
    }

    /// Something of a direction waits for its key, and enough of it is there to tell it by.
    #[must_use]
    pub fn wanted(&self, sender: Endpoint) -> Option<Sample> {
        let scan = self.scan.as_ref()?;
        if !self.of(sender).wants_key() || self.is_unfindable() {
            return None;
        }
        let records = scan.waiting.sample(sender);
        let least = match self.info.version {
            Some(Version::TLS1_2) => 1,
            _ => 2,
        };
        let key_len = match self.info.suite.map(Suite::protection) {
            Some(Ok((Cipher::Aes128Gcm, _))) => Some(16),
            Some(Ok((Cipher::Aes256Gcm, _))) => Some(32),
            _ => None,
        };
        (records.len() >= least).then_some(Sample {
            records,
            key_len,
            version: self.info.version,
        })
    }

    /// The key of a direction was found: what waits for it is opened, and what follows.
    pub fn give_key(&mut self, sender: Endpoint, key: FoundKey, context: &mut Context<'_>) {
        if self.scan.is_some() && self.of(sender).wants_key() {
            self.half(sender).found = Some(key);
            self.open_waiting(context);
        }
    }

    /// The key of a direction will not be found.
    pub fn give_up(&mut self, sender: Endpoint, why: Why, context: &mut Context<'_>) {
        let Some(scan) = &mut self.scan else {
            return;
        };
        let wanted = BOTH.map(|of| of == sender);
        let waited = scan.waiting.take(wanted);
        let is_heard = self.is_open();
        let half = self.half(sender);
        if half.wants_key() {
            half.over = Some(why);
        }
        if let Some((_, record)) = waited.back() {
            // Nobody may think that this direction was silent.
            half.miss();
            if is_heard {
                (context.out)(Plain {
                    sender,
                    at: record.at,
                    offset: half.place(0),
                    bytes: &[],
                });
            }
        }
        if self.client.over.is_some() && self.server.over.is_some() && !self.is_open() {
            return self.fail(why);
        }
        self.open_waiting(context);
    }

    pub(super) fn is_late(&self) -> bool {
        self.scan.as_ref().is_some_and(|scan| scan.is_late)
    }

    /// From here on it is one whose hellos were not seen. False: its keys are not looked for.
    pub(super) fn begin_late(&mut self, sender: Endpoint, context: &mut Context<'_>) -> bool {
        let Some(scan) = &mut self.scan else {
            return false;
        };
        let was_late = std::mem::replace(&mut scan.is_late, true);
        if !was_late && sender == Endpoint::Server {
            // The client does not wait for a hello any more.
            self.release(context);
        }
        true
    }

    /// Where a record begins cannot be told by opening it.
    pub(super) fn cannot_open_yet(&self, sender: Endpoint) -> bool {
        self.scan.is_some() && !self.is_ready(sender)
    }

    pub(super) const fn of(&self, sender: Endpoint) -> &Half {
        match sender {
            Endpoint::Client => &self.client,
            Endpoint::Server => &self.server,
        }
    }

    /// A protected record.
    pub(super) fn sealed(
        &mut self,
        sender: Endpoint,
        record: Record,
        fragment: &[u8],
        context: &mut Context<'_>,
    ) {
        if sender == Endpoint::Server {
            self.pass_over_early(context);
        }
        let expects_secrets = self.scan.as_ref().is_some_and(|scan| scan.expects_secrets);
        if self.is_unfindable() && !expects_secrets {
            return self.fail(Why::KeyNotFindable);
        }
        let is_ready = self.is_ready(sender);
        let half = self.half(sender);
        let lost = half.records.lost();
        if record.certain || !is_ready {
            half.records.opened(&record);
        }
        if is_ready {
            let is_open = self.open_sealed(sender, &record, lost, fragment, context);
            let half = self.half(sender);
            match (record.certain, is_open) {
                (true, _) => {}
                (false, true) => half.records.opened(&record),
                (false, false) => match half.records.is_chained(&record) {
                    Some(true) => {
                        half.records.opened(&record);
                        half.not_opened(lost, fragment.len());
                    }
                    Some(false) => half.records.refused(&record),
                    // It stays until what is behind it has come.
                    None => {}
                },
            }
            return;
        }
        let half = self.half(sender);
        half.is_protected = true;
        if lost.any() {
            half.is_numbered = false;
        }
        let number = half.is_numbered.then_some(half.number);
        half.number += 1;
        let number = number.filter(|_| !self.is_late());
        if let Some(scan) = &mut self.scan {
            scan.waiting.push(
                sender,
                Sealed {
                    header: record.header,
                    at: record.at,
                    lost,
                    fragment: fragment.to_vec(),
                    number,
                    order: 0,
                },
                &context.scratch.waiting,
            );
        }
    }

    /// A direction has its key, and nothing of the other one that went by before waits for another.
    pub(super) fn is_ready(&self, sender: Endpoint) -> bool {
        let Some(scan) = &self.scan else {
            return false;
        };
        let peer = sender.peer();
        let waits = self.of(peer).wants_key() && scan.waiting.has(peer);
        // What the peer said comes first, however long that takes: told afterwards, its WINDOW_UPDATEs would be too late.
        self.of(sender).found.is_some() && !waits
    }

    /// Opens what waits and has its key by now.
    fn open_waiting(&mut self, context: &mut Context<'_>) {
        loop {
            let ready = BOTH.map(|sender| self.is_ready(sender));
            let Some(scan) = &mut self.scan else {
                return;
            };
            let mut waiting = scan.waiting.take(ready);
            if waiting.is_empty() {
                return;
            }
            while let Some((sender, sealed)) = waiting.pop_front() {
                if self.of(sender).found.is_none() {
                    // The key has changed: what follows waits for the next one.
                    waiting.push_front((sender, sealed));
                    break;
                }
                let record = sealed.record();
                self.open_sealed(sender, &record, sealed.lost, &sealed.fragment, context);
            }
            let Some(scan) = &mut self.scan else {
                return;
            };
            for (sender, mut sealed) in waiting {
                sealed.number = None;
                scan.waiting.push(sender, sealed, &context.scratch.waiting);
            }
        }
    }

    /// Opens a record with the key that is there. False: it is of another key, or none.
    fn open_sealed(
        &mut self,
        sender: Endpoint,
        record: &Record,
        lost: Lost,
        fragment: &[u8],
        context: &mut Context<'_>,
    ) -> bool {
        let is_late = self.is_late();
        let mut plain = std::mem::take(&mut context.scratch.plain);
        let half = self.half(sender);
        let key = half.found.as_ref();
        let (version, suite) = (key.map(FoundKey::version), key.and_then(FoundKey::suite));
        let opened = half.open_found(record, (lost, is_late), fragment, &mut plain);
        if let Some(kind) = opened {
            self.info.key = KeySource::Scan;
            self.info.version = self.info.version.or(version);
            self.info.suite = self.info.suite.or(suite);
            self.opened(sender, record, kind, &plain, context);
        }
        context.scratch.plain = plain;
        opened.is_some()
    }

    /// Nothing more will come: what has no key stays closed.
    pub(super) fn finish_scan(&mut self, context: &mut Context<'_>) {
        self.expect_no_secrets();
        for sender in BOTH {
            let waits = self.scan.as_ref();
            if waits.is_some_and(|scan| scan.waiting.has(sender)) && self.of(sender).wants_key() {
                if self.of(sender).has_opened {
                    // Of another key, which came later.
                    self.half(sender).miss();
                }
                self.give_up(sender, Why::EndedBeforeKey, context);
            }
        }
        self.open_waiting(context);
    }
}

impl Half {
    /// No key opens it yet, and it is not given up.
    const fn wants_key(&self) -> bool {
        self.found.is_none() && self.over.is_none()
    }
}
