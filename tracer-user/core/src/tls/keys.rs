//! Secrets from key logs, keys from secrets, and records opened with them. Everything that is secret stands here.
//!
//! Secrets and keys are wiped when they are dropped. Both stand in their place from the moment that they are read or derived
//! ([`opener`](super::opener)).

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use ring::{hkdf, hmac};
use smallvec::SmallVec;
use zeroize::{Zeroize as _, Zeroizing};

pub use super::found::FoundKey;
use super::hello::Random;
use super::info::KeySource;
pub use super::label::Label;
use super::opener::{
    Heap, Kept, KeptSecret, KeyPlace, LONGEST_SECRET, Opener, wipe_stack_of_record,
};
use super::record::HEADER;
use super::session::Epoch;
use super::suite::{Cipher, Hash};
use crate::endpoint::Endpoint;
use crate::limits;

/// Length of a nonce of every cipher that is decoded.
pub(super) const NONCE: usize = 12;
/// Bytes that sealing adds at the end.
pub(super) const TAG: usize = 16;
/// Bytes of the part of the nonce that TLS 1.2's AES-GCM sends in each record (RFC 5288 section 3).
pub(super) const EXPLICIT: usize = 8;

impl Cipher {
    const fn key_len(self) -> usize {
        match self {
            Cipher::Aes128Gcm => 16,
            Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => 32,
        }
    }
}

impl Hash {
    pub(super) const fn len(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
        }
    }
}

/// In its place, and wiped when it is dropped. Never shown: it has no `Debug`.
struct Secret(KeptSecret);

impl Secret {
    fn bytes(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

/// Where secrets are kept, and the keys that come of them.
#[derive(Clone, Default)]
struct Home(Option<Arc<dyn KeyPlace>>);

impl Home {
    fn keep_secret(&self, secret: &[u8]) -> Option<Secret> {
        let kept = match &self.0 {
            Some(place) => place.keep_secret(secret),
            None => Heap.keep_secret(secret),
        };
        kept.map(Secret)
    }

    fn keep(&self, make: &mut dyn FnMut() -> Option<Opener>) -> Option<Kept> {
        match &self.0 {
            Some(place) => place.keep(make),
            None => Heap.keep(make),
        }
    }
}

/// The secrets of one connection.
#[derive(Default)]
pub(super) struct Secrets {
    place: Home,
    /// Since when no connection is there that has them, as far as that is asked.
    unused_since: Option<u64>,
    master: Option<Secret>,
    early: Option<Secret>,
    /// They are of a probe.
    is_probed: bool,
    handshake: [Option<Secret>; 2],
    application: [Option<Secret>; 2],
}

impl Secrets {
    fn of(&self, sender: Endpoint, epoch: Epoch) -> Option<&Secret> {
        let of_both = match epoch {
            Epoch::Early if sender == Endpoint::Client => return self.early.as_ref(),
            Epoch::Early => return None,
            Epoch::Handshake => &self.handshake,
            Epoch::Application => &self.application,
        };
        of_both.get(sender.index())?.as_ref()
    }

    fn any(&self) -> bool {
        let of_both = self.handshake.iter().chain(&self.application);
        [&self.master, &self.early]
            .into_iter()
            .chain(of_both)
            .any(Option::is_some)
    }

    const fn named(&mut self, label: Label) -> &mut Option<Secret> {
        let [client_handshake, server_handshake] = &mut self.handshake;
        let [client, server] = &mut self.application;
        match label {
            Label::Master => &mut self.master,
            Label::ClientEarly => &mut self.early,
            Label::ClientHandshake => client_handshake,
            Label::ServerHandshake => server_handshake,
            Label::Client => client,
            Label::Server => server,
        }
    }

    /// Takes one that it has not. False: it has such a one already.
    pub(super) fn take(&mut self, label: Label, secret: &[u8]) -> bool {
        let is_free = self.named(label).is_none();
        if is_free && label.fits(secret.len()) {
            self.put(label, secret);
        }
        is_free
    }

    fn put(&mut self, label: Label, secret: &[u8]) {
        *self.named(label) = self.place.keep_secret(secret);
    }

    /// What the server seals first.
    pub(super) const fn opens_handshake(&self) -> bool {
        let [_, server] = &self.handshake;
        self.master.is_some() || server.is_some()
    }

    /// Where they came from.
    pub(super) const fn source(&self) -> KeySource {
        if self.is_probed {
            KeySource::Probe
        } else {
            KeySource::KeyLog
        }
    }
}

/// The secrets of key logs, by the connection's client random. Wiped when it is dropped.
#[derive(Default)]
pub struct KeyLog {
    secrets: HashMap<Random, Secrets, RandomState>,
    n_beyond: u64,
    place: Home,
}

impl KeyLog {
    /// One whose secrets and keys are kept there.
    #[must_use]
    pub fn with_place(place: Arc<dyn KeyPlace>) -> KeyLog {
        KeyLog {
            place: Home(Some(place)),
            ..KeyLog::default()
        }
    }

    /// Drops the secrets of which `is_used` has said no for `limits::TLS_SECRETS_UNUSED_NS`; to be called now and then.
    pub fn drop_unused(&mut self, now: u64, mut is_used: impl FnMut(&Random) -> bool) {
        self.secrets.retain(|random, secrets| {
            if is_used(random) {
                secrets.unused_since = None;
                return true;
            }
            let since = *secrets.unused_since.get_or_insert(now);
            now.saturating_sub(since) < limits::TLS_SECRETS_UNUSED_NS
        });
    }

    /// Connections of which no secret was kept: `limits::TLS_CONNECTIONS` was reached.
    #[must_use]
    pub const fn n_beyond(&self) -> u64 {
        self.n_beyond
    }

    /// There is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// It has the secrets that open what the application says, of both sides.
    #[must_use]
    pub fn opens(&self, random: &Random) -> bool {
        self.secrets.get(random).is_some_and(|secrets| {
            secrets.master.is_some() || secrets.application.iter().all(Option::is_some)
        })
    }

    pub(super) fn secrets(&self, random: &Random) -> Option<&Secrets> {
        self.secrets.get(random)
    }

    /// Takes a line. None: it is none of a key log.
    fn line(&mut self, line: &[u8]) -> Option<()> {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return Some(());
        }
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let (label, random, secret) = (words.next()?, words.next()?, words.next()?);
        let is_label = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if words.next().is_some() || !label.chars().all(is_label) {
            return None;
        }
        let (random, secret) = (hex(random)?, hex(secret)?);
        let Some(label) = Label::named(label) else {
            return Some(());
        };
        let fits = label.fits(secret.len());
        let random = Random::try_from(random.as_slice()).ok().filter(|_| fits)?;
        if let Some(known) = self.of(random) {
            known.put(label, &secret);
        }
        Some(())
    }

    /// The secrets of a connection, as far as they are known. None: there is no room for one more.
    fn of(&mut self, random: Random) -> Option<&mut Secrets> {
        if self.secrets.len() >= limits::TLS_CONNECTIONS && !self.secrets.contains_key(&random) {
            self.n_beyond += 1;
            return None;
        }
        let known = self.secrets.entry(random).or_default();
        known.place.clone_from(&self.place);
        known.unused_since = None;
        Some(known)
    }

    /// No secrets, and the place of those to be taken.
    pub(super) fn nothing(&self) -> Secrets {
        Secrets {
            place: self.place.clone(),
            ..Secrets::default()
        }
    }

    /// Takes one secret from a probe. A key log's stay.
    pub fn take_probed(&mut self, random: Random, label: Label, secret: &[u8]) {
        let mut probed = self.nothing();
        if probed.take(label, secret) {
            self.give(random, probed);
        }
    }

    /// Takes secrets from a probe. Those that are there stay.
    pub(super) fn give(&mut self, random: Random, mut probed: Secrets) {
        let Some(known) = self.of(random) else {
            return;
        };
        known.is_probed |= !known.any();
        for label in Label::ALL {
            let place = known.named(label);
            if place.is_none() {
                *place = probed.named(label).take();
            }
        }
    }
}

fn hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.as_bytes().chunks(2) {
        let &[high, low] = pair else { return None };
        bytes.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
    }
    Some(bytes)
}

/// Reads a key log (NSS' format, SSLKEYLOGFILE) piece by piece.
#[derive(Default)]
pub struct KeyLogReader {
    line: Zeroizing<Vec<u8>>,
    /// It is longer than any line of a key log.
    too_long: bool,
    n_lines: u64,
    bad: Vec<u64>,
    n_bad: u64,
}

impl KeyLogReader {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], log: &mut KeyLog) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.capacity() == 0 {
                // Growing would leave copies that are not wiped.
                self.line.reserve_exact(limits::TLS_LINE);
            }
            if self.line.len() + part.len() <= limits::TLS_LINE {
                self.line.extend_from_slice(part);
            } else {
                self.too_long = true;
            }
            if part.ends_with(b"\n") {
                self.end_line(log);
            }
        }
    }

    /// Nothing follows: the last line may have no end.
    pub fn finish(&mut self, log: &mut KeyLog) {
        if self.too_long || !self.line.is_empty() {
            self.end_line(log);
        }
    }

    /// Numbers of lines that are none of a key log, the first ones of them, and how many there are.
    #[must_use]
    pub fn bad(&self) -> (&[u64], u64) {
        (&self.bad, self.n_bad)
    }

    fn end_line(&mut self, log: &mut KeyLog) {
        /// Enough to find what is wrong.
        const NAMED: usize = 5;
        self.n_lines += 1;
        let too_long = std::mem::take(&mut self.too_long);
        let read = log.line(&self.line).filter(|()| !too_long);
        if read.is_none() {
            self.n_bad += 1;
            if self.bad.len() < NAMED {
                self.bad.push(self.n_lines);
            }
        }
        // Wiping also empties it, and keeps its memory.
        self.line.zeroize();
    }
}

/// What TLS 1.2 derives its keys from, beside the secret.
#[derive(Clone, Copy)]
pub(super) struct Randoms {
    pub(super) client: Random,
    pub(super) server: Random,
}

/// What opens the records of one direction, until keys change.
pub(super) struct Keys {
    cipher: Cipher,
    hash: Hash,
    opener: Kept,
    place: Home,
    /// What the next keys come from; None: TLS 1.2.
    secret: Option<Secret>,
}

impl Keys {
    /// RFC 8446 section 7.3.
    pub(super) fn tls13(
        suite: (Cipher, Hash),
        secrets: &Secrets,
        sender: Endpoint,
        epoch: Epoch,
    ) -> Option<Keys> {
        let secret = secrets.of(sender, epoch)?;
        if secret.bytes().len() != suite.1.len() {
            return None;
        }
        let secret = secrets.place.keep_secret(secret.bytes())?;
        Keys::derived(suite, &secrets.place, secret)
    }

    fn derived((cipher, hash): (Cipher, Hash), place: &Home, secret: Secret) -> Option<Keys> {
        let opener = place.keep(&mut || {
            let (mut key, mut iv) = (Zeroizing::new([0; 32]), Zeroizing::new([0; NONCE]));
            let key = key.get_mut(..cipher.key_len())?;
            expand_label(hash, secret.bytes(), "key", key)?;
            expand_label(hash, secret.bytes(), "iv", iv.as_mut())?;
            Opener::derived(cipher, key, &iv)
        })?;
        Some(Keys {
            cipher,
            hash,
            opener,
            place: place.clone(),
            secret: Some(secret),
        })
    }

    /// Those after a KeyUpdate (RFC 8446 section 7.2).
    pub(super) fn next(&self) -> Option<Keys> {
        let secret = self.next_secret();
        wipe_stack_of_record();
        Keys::derived((self.cipher, self.hash), &self.place, secret?)
    }

    #[inline(never)]
    fn next_secret(&self) -> Option<Secret> {
        let secret = self.secret.as_ref()?;
        let mut next = Zeroizing::new([0; LONGEST_SECRET]);
        let next = next.get_mut(..self.hash.len())?;
        expand_label(self.hash, secret.bytes(), "traffic upd", next)?;
        self.place.keep_secret(next)
    }

    /// RFC 5246 section 6.3: the key block, of suites without a MAC of their own.
    pub(super) fn tls12(
        (cipher, hash): (Cipher, Hash),
        secrets: &Secrets,
        sender: Endpoint,
        randoms: &Randoms,
    ) -> Option<Keys> {
        let master = secrets.master.as_ref()?;
        let iv_len = match cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => NONCE - EXPLICIT,
            Cipher::ChaCha20Poly1305 => NONCE,
        };
        let seed = [&b"key expansion"[..], &randoms.server, &randoms.client].concat();
        let opener = secrets.place.keep(&mut || {
            let mut block = Zeroizing::new(vec![0; 2 * (cipher.key_len() + iv_len)]);
            prf(hash, master.bytes(), &seed, &mut block);
            let (of_keys, of_ivs) = block.split_at_checked(2 * cipher.key_len())?;
            let key = of_keys.chunks(cipher.key_len()).nth(sender.index())?;
            let mut iv = Zeroizing::new([0; NONCE]);
            let own = of_ivs.chunks(iv_len).nth(sender.index())?;
            iv.get_mut(..iv_len)?.copy_from_slice(own);
            Opener::derived(cipher, key, &iv)
        })?;
        Some(Keys {
            cipher,
            hash,
            opener,
            place: secrets.place.clone(),
            secret: None,
        })
    }

    fn opener(&self) -> &Opener {
        (*self.opener).as_ref()
    }

    /// The key, if it is of AES-GCM.
    pub(super) fn aes_key(&self) -> Option<&[u8]> {
        let is_aes = self.cipher != Cipher::ChaCha20Poly1305;
        is_aes.then(|| self.opener().key_bytes())
    }

    /// The nonce of the record with the number zero; of TLS 1.2 what is the same in each.
    pub(super) fn iv(&self) -> Zeroizing<[u8; NONCE]> {
        Zeroizing::new(*self.opener().iv())
    }

    pub(super) const fn is_tls12(&self) -> bool {
        self.secret.is_none()
    }

    /// Bytes of the nonce that each record carries.
    const fn explicit(&self) -> usize {
        match self.cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm if self.is_tls12() => EXPLICIT,
            _ => 0,
        }
    }

    /// Bytes of a record that are no plain text, its header among them. (TLS 1.3's inner type is one of them, too.)
    pub(super) const fn overhead(&self) -> usize {
        let inner_type = if self.is_tls12() { 0 } else { 1 };
        HEADER + self.explicit() + TAG + inner_type
    }

    /// Opens a record whose sequence number is one of `numbers`, and says which. Its content is then in `plain`.
    pub(super) fn open(
        &self,
        numbers: impl Iterator<Item = u64>,
        header: [u8; HEADER],
        fragment: &[u8],
        plain: &mut Vec<u8>,
    ) -> Option<u64> {
        let opened = self.open_here(numbers, header, fragment, plain);
        wipe_stack_of_record();
        opened
    }

    #[inline(never)]
    fn open_here(
        &self,
        mut numbers: impl Iterator<Item = u64>,
        header: [u8; HEADER],
        fragment: &[u8],
        plain: &mut Vec<u8>,
    ) -> Option<u64> {
        let (explicit, sealed) = fragment.split_at_checked(self.explicit())?;
        let len = sealed.len().checked_sub(TAG)?;
        numbers.find(|number| {
            let nonce = self.nonce(*number, explicit);
            let said = self.said(*number, header, len);
            nonce
                .zip(said)
                .is_some_and(|(nonce, said)| self.opener().open(nonce, &said, sealed, plain))
        })
    }

    fn said(&self, number: u64, header: [u8; HEADER], len: usize) -> Option<SmallVec<[u8; 13]>> {
        if self.is_tls12() {
            said(number, header, len)
        } else {
            Some(header.iter().copied().collect())
        }
    }

    /// RFC 5288 section 3 with an explicit part; else RFC 8446 section 5.3 and RFC 7905 section 2.
    fn nonce(&self, number: u64, explicit: &[u8]) -> Option<[u8; NONCE]> {
        let mut nonce = *self.opener().iv();
        let tail = nonce.last_chunk_mut::<8>()?;
        let mixed = match explicit.first_chunk() {
            Some(explicit) => *explicit,
            None => (u64::from_be_bytes(*tail) ^ number).to_be_bytes(),
        };
        *tail = mixed;
        Some(nonce)
    }
}

/// What TLS 1.2 authenticates beside the content, which is `len` bytes: RFC 5246 section 6.2.3.3. TLS 1.3 takes the
/// header as it is (RFC 8446 section 5.2).
pub(super) fn said(
    number: u64,
    [kind, major, minor, ..]: [u8; HEADER],
    len: usize,
) -> Option<SmallVec<[u8; 13]>> {
    let [high, low] = u16::try_from(len).ok()?.to_be_bytes();
    let number = number.to_be_bytes().into_iter();
    Some(number.chain([kind, major, minor, high, low]).collect())
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label without a context (RFC 8446 section 7.1).
fn expand_label(hash: Hash, secret: &[u8], label: &str, out: &mut [u8]) -> Option<()> {
    let algorithm = match hash {
        Hash::Sha256 => hkdf::HKDF_SHA256,
        Hash::Sha384 => hkdf::HKDF_SHA384,
    };
    let len = u16::try_from(out.len()).ok()?.to_be_bytes();
    let prefix: &[u8] = b"tls13 ";
    let label_len = [u8::try_from(prefix.len() + label.len()).ok()?];
    let info = [&len, &label_len[..], prefix, label.as_bytes(), &[0]];
    let prk = hkdf::Prk::new_less_safe(algorithm, secret);
    let okm = prk.expand(&info, Len(out.len())).ok()?;
    okm.fill(out).ok()
}

/// P_hash of RFC 5246 section 5; `seed` begins with the label.
fn prf(hash: Hash, secret: &[u8], seed: &[u8], out: &mut [u8]) {
    let algorithm = match hash {
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
    };
    let key = hmac::Key::new(algorithm, secret);
    let mut a = hmac::sign(&key, seed);
    for chunk in out.chunks_mut(hash.len()) {
        let mut context = hmac::Context::with_key(&key);
        context.update(a.as_ref());
        context.update(seed);
        for (to, from) in chunk.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        a = hmac::sign(&key, a.as_ref());
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
