//! Keys that were found, and not told: which connection one belongs to, and its records opened with it.
//!
//! AES-GCM's tag is GHASH of what was sealed, exclusive or the encrypted first counter (NIST SP 800-38D, section 7.1).
//! So whoever has the key gets the counter block back: a nonce, and the number one. That number is a test of 32 bits
//! which needs neither IV nor sequence number, and what is known of nonces makes it a proof: those of TLS 1.3 differ in
//! their low bits alone (RFC 8446, section 5.3), and TLS 1.2 sends eight bytes of each (RFC 5288, section 3).

use aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _};
use ghash::GHash;
use ghash::universal_hash::UniversalHash as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::info::Version;
use super::keys::{EXPLICIT, NONCE, TAG, said};
use super::opener::{Kept, Opener, wipe_stack_of_record};
use super::record::HEADER;
use super::suite::{Cipher, Suite};
use super::waiting::{Sample, Sealed};

/// The four bytes behind the nonce in the block that encrypts the tag.
const FIRST: [u8; 4] = [0, 0, 0, 1];

/// So far at most is one nonce of TLS 1.2 from the one before it, in number or in the bits below, records that were lost
/// among them.
const COUNTED: u64 = 1 << 16;

/// Bytes at the beginning of a TLS 1.3 nonce that the sequence number leaves as they are: nobody counts to 2^48.
const STEADY: usize = 6;

type Block = [u8; 16];

enum Aes {
    Short(aes::Aes128),
    Long(aes::Aes256),
}

impl Aes {
    fn new(key: &[u8]) -> Option<Aes> {
        match key.len() {
            16 => aes::Aes128::new_from_slice(key).ok().map(Aes::Short),
            32 => aes::Aes256::new_from_slice(key).ok().map(Aes::Long),
            _ => None,
        }
    }

    fn encrypt(&self, block: Block) -> Block {
        let mut block = block.into();
        match self {
            Aes::Short(aes) => aes.encrypt_block(&mut block),
            Aes::Long(aes) => aes.encrypt_block(&mut block),
        }
        block.into()
    }

    fn decrypt(&self, block: Block) -> Block {
        let mut block = block.into();
        match self {
            Aes::Short(aes) => aes.decrypt_block(&mut block),
            Aes::Long(aes) => aes.decrypt_block(&mut block),
        }
        block.into()
    }
}

/// What is known of the nonces that a key goes with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nonces {
    /// They begin like this.
    Tls13([u8; STEADY]),
    /// They begin with the salt. The part that records carry is what its sender makes of the sequence number: OpenSSL
    /// counts from a random number, rustls mixes one in, and from one record both are possible. The sequence number is
    /// so much `ahead` of that part, or differs from it in the bits of `mixed`.
    Tls12 {
        salt: [u8; 4],
        ahead: u64,
        mixed: u64,
    },
}

/// How many sequence numbers may be tried that nothing speaks for, as a connection of TLS 1.2 older than the tracer may
/// need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// For one key and one direction.
    pub each: u64,
    /// For all of them.
    pub left: u64,
}

/// A key that belongs to a connection's direction, and why.
#[derive(Clone, Copy)]
pub struct Proof(Nonces);

/// A key that may be a connection's, ready to be tried. It is wiped when it is dropped.
pub struct Trial {
    aes: Aes,
    ghash: GHash,
    len: usize,
}

impl Trial {
    /// None: it is no key of AES.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Trial> {
        let aes = Aes::new(key)?;
        let mut hash = aes.encrypt([0; 16]);
        let ghash = GHash::new(&hash.into());
        hash.zeroize();
        let len = key.len();
        Some(Trial { aes, ghash, len })
    }

    /// The block that the tag was encrypted with, if this is the key.
    fn counter(&self, said: &[u8], sealed: &[u8]) -> Option<Block> {
        let (content, tag) = sealed.split_last_chunk::<TAG>()?;
        let mut ghash = self.ghash.clone();
        ghash.update_padded(said);
        ghash.update_padded(content);
        let bits = |bytes: &[u8]| 8 * bytes.len() as u64;
        let lens = (u128::from(bits(said)) << 64) | u128::from(bits(content));
        ghash.update(&[lens.to_be_bytes().into()]);
        let hash = u128::from_be_bytes(ghash.finalize().into());
        let encrypted = hash ^ u128::from_be_bytes(*tag);
        Some(self.aes.decrypt(encrypted.to_be_bytes()))
    }

    /// The nonce of a record of TLS 1.3.
    fn nonce(&self, header: &[u8], fragment: &[u8]) -> Option<[u8; NONCE]> {
        let counter = self.counter(header, fragment)?;
        let (nonce, rest) = counter.split_first_chunk::<NONCE>()?;
        (rest == FIRST).then_some(*nonce)
    }

    /// The salt of a record of TLS 1.2 with that sequence number.
    fn salt(&self, number: u64, header: [u8; HEADER], fragment: &[u8]) -> Option<[u8; 4]> {
        let (explicit, sealed) = fragment.split_first_chunk::<EXPLICIT>()?;
        let said = said(number, header, sealed.len().checked_sub(TAG)?)?;
        let counter = self.counter(&said, sealed)?;
        let (salt, rest) = counter.split_first_chunk::<4>()?;
        let (nonce, rest) = rest.split_first_chunk::<EXPLICIT>()?;
        (rest == FIRST && nonce == explicit).then_some(*salt)
    }

    /// Whether it is the key of a direction.
    #[must_use]
    pub fn fits(&self, sample: &Sample, tries: &mut Tries) -> Option<Proof> {
        if sample.key_len.is_some_and(|len| len != self.len) {
            return None;
        }
        let tls13 = sample
            .version
            .is_none_or(|version| version == Version::TLS1_3);
        let nonces = tls13.then(|| self.fits_tls13(&sample.records)).flatten();
        let tls12 = sample.version != Some(Version::TLS1_3);
        let nonces = nonces.or_else(|| {
            let records = tls12.then_some(&sample.records);
            records.and_then(|records| self.fits_tls12(records, tries))
        });
        nonces.map(Proof)
    }

    /// Two records of it have nonces that differ in their low bits alone.
    fn fits_tls13(&self, records: &[Sealed]) -> Option<Nonces> {
        let mut before: Option<[u8; NONCE]> = None;
        for record in records {
            let Some(nonce) = self.nonce(&record.header, &record.fragment) else {
                continue;
            };
            let steady = nonce.first_chunk()?;
            if let Some(before) = before
                && before != nonce
                && before.first_chunk() == Some(steady)
            {
                return Some(Nonces::Tls13(*steady));
            }
            before = Some(nonce);
        }
        None
    }

    /// One record of it has the nonce that it says.
    fn fits_tls12(&self, records: &[Sealed], tries: &mut Tries) -> Option<Nonces> {
        let likely = records.iter().find_map(|record| {
            let explicit = explicit(&record.fragment)?;
            let numbers = [record.number.unwrap_or(explicit), explicit];
            self.numbered(record, numbers.into_iter())
        });
        likely.or_else(|| {
            // A sender whose nonces do not begin where its numbers do, and is older than the tracer. It counts, which
            // what is encrypted does not.
            let counted = records.iter().map(|record| explicit(&record.fragment));
            let counted: Option<Vec<u64>> = counted.collect();
            let is_next = |[one, next]: &[u64; 2]| {
                let between = [next.wrapping_sub(*one), next ^ one];
                between.iter().any(|far| (1..COUNTED).contains(far))
            };
            let counted = counted.filter(|counted| counted.len() > 1)?;
            if !counted.array_windows::<2>().all(is_next) {
                return None;
            }
            let of_unknown = records.iter().filter(|record| record.number.is_none());
            let record = of_unknown.min_by_key(|record| record.fragment.len())?;
            let n = tries.each.min(tries.left);
            tries.left -= n;
            self.numbered(record, 0..n)
        })
    }

    fn numbered(&self, record: &Sealed, mut numbers: impl Iterator<Item = u64>) -> Option<Nonces> {
        let explicit = explicit(&record.fragment)?;
        numbers.find_map(|number| {
            let salt = self.salt(number, record.header, &record.fragment)?;
            Some(Nonces::Tls12 {
                salt,
                ahead: number.wrapping_sub(explicit),
                mixed: number ^ explicit,
            })
        })
    }
}

/// The part of the nonce that a record of TLS 1.2 carries.
fn explicit(fragment: &[u8]) -> Option<u64> {
    fragment.first_chunk().copied().map(u64::from_be_bytes)
}

/// A key that was found and proven. Nobody sees it: it has no `Debug`. It is kept where the one who found it wants it, and
/// wiped by what keeps it there.
pub struct FoundKey {
    key: Kept,
    nonces: Nonces,
}

impl FoundKey {
    /// The key of the direction that `proof` is about.
    #[must_use]
    pub fn new(key: Kept, proof: Proof) -> FoundKey {
        let Proof(nonces) = proof;
        FoundKey { key, nonces }
    }

    fn opener(&self) -> &Opener {
        (*self.key).as_ref()
    }

    fn cipher(&self) -> Cipher {
        match self.opener().key_len() {
            16 => Cipher::Aes128Gcm,
            _ => Cipher::Aes256Gcm,
        }
    }

    pub(super) const fn version(&self) -> Version {
        match self.nonces {
            Nonces::Tls13(_) => Version::TLS1_3,
            Nonces::Tls12 { .. } => Version::TLS1_2,
        }
    }

    /// The suite, where the key says it: TLS 1.3 has one for each length.
    pub(super) fn suite(&self) -> Option<Suite> {
        match (self.nonces, self.cipher()) {
            (Nonces::Tls12 { .. }, _) => None,
            (Nonces::Tls13(_), Cipher::Aes128Gcm) => Some(Suite(0x1301)),
            (Nonces::Tls13(_), _) => Some(Suite(0x1302)),
        }
    }

    /// Bytes of a record that are no plain text, its header among them.
    pub(super) const fn overhead(&self) -> usize {
        match self.nonces {
            Nonces::Tls13(_) => HEADER + TAG + 1,
            Nonces::Tls12 { .. } => HEADER + EXPLICIT + TAG,
        }
    }

    /// Opens a record by the nonce that its tag gives back. Its content is then in `plain`.
    pub(super) fn open(
        &self,
        header: [u8; HEADER],
        fragment: &[u8],
        plain: &mut Vec<u8>,
    ) -> Option<[u8; NONCE]> {
        let opened = self.open_here(header, fragment, plain);
        wipe_stack_of_record();
        opened
    }

    /// What each nonce of TLS 1.2 begins with.
    pub(super) fn salt(&self) -> Option<Zeroizing<[u8; NONCE]>> {
        let Nonces::Tls12 { salt, .. } = self.nonces else {
            return None;
        };
        let mut iv = Zeroizing::new([0; NONCE]);
        iv.first_chunk_mut().map(|of_salt| *of_salt = salt)?;
        Some(iv)
    }

    /// The key itself.
    pub(super) fn key(&self) -> &[u8] {
        self.opener().key_bytes()
    }

    #[inline(never)]
    fn open_here(
        &self,
        header: [u8; HEADER],
        fragment: &[u8],
        plain: &mut Vec<u8>,
    ) -> Option<[u8; NONCE]> {
        let opener = self.opener();
        let (nonce, is_open) = match self.nonces {
            Nonces::Tls13(steady) => {
                let nonce = opener.trial()?.nonce(&header, fragment)?;
                let is_open = nonce.starts_with(&steady);
                (
                    nonce,
                    is_open && opener.open(nonce, &header, fragment, plain),
                )
            }
            Nonces::Tls12 { salt, ahead, mixed } => {
                let (explicit, sealed) = fragment.split_first_chunk::<EXPLICIT>()?;
                let mut nonce = [0; NONCE];
                let (of_salt, rest) = nonce.split_first_chunk_mut()?;
                *of_salt = salt;
                rest.copy_from_slice(explicit);
                let explicit = u64::from_be_bytes(*explicit);
                let (counted, mixed) = (explicit.wrapping_add(ahead), explicit ^ mixed);
                let len = sealed.len().checked_sub(TAG)?;
                let mut numbered = |number| {
                    let said = said(number, header, len)?;
                    Some(opener.open(nonce, &said, sealed, plain))
                };
                // A number that is not the record's does not open it.
                let is_open = numbered(counted)? || (mixed != counted && numbered(mixed)?);
                (nonce, is_open)
            }
        };
        is_open.then_some(nonce)
    }
}
