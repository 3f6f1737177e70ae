//! A key in the form that opens records, and the place where it stays, as the secret does that it comes of.
//!
//! A value that is moved leaves a copy behind. So a key is brought into this form where it is kept until its connection is
//! over, and never moved; what making it leaves on the stack, and each record that it opens, is overwritten at once.

use ring::aead;
use zeroize::Zeroizing;

use super::found::Trial;
use super::keys::{NONCE, TAG};
use super::suite::Cipher;

/// Bytes of the stack that making a key uses at most, also in a build without optimisation.
const MAKING: usize = 131_072;
/// The same of opening a record.
const OPENING: usize = 16_384;

/// Bytes of the longest key.
const LONGEST_KEY: usize = 32;

/// Opens records with one key. Nobody sees it: it has no `Debug`.
pub struct Opener {
    aead: aead::LessSafeKey,
    /// Of a key that was derived, and not found.
    iv: Zeroizing<[u8; NONCE]>,
    /// The key itself, for who opens records elsewhere.
    key_bytes: Zeroizing<[u8; LONGEST_KEY]>,
    /// Of a key that was found: gives nonces back.
    trial: Option<Trial>,
    #[cfg(test)]
    pub(super) key: Vec<u8>,
}

impl Opener {
    pub(super) fn derived(cipher: Cipher, key: &[u8], iv: &[u8; NONCE]) -> Option<Opener> {
        let unbound = aead::UnboundKey::new(cipher.algorithm(), key).ok()?;
        let mut key_bytes = Zeroizing::new([0; LONGEST_KEY]);
        for (to, from) in key_bytes.iter_mut().zip(key) {
            *to = *from;
        }
        Some(Opener {
            key_bytes,
            aead: aead::LessSafeKey::new(unbound),
            iv: Zeroizing::new(*iv),
            trial: None,
            #[cfg(test)]
            key: key.to_vec(),
        })
    }

    /// Of a key of AES that was found. None: it is none.
    #[must_use]
    pub fn found(key: &[u8]) -> Option<Opener> {
        let cipher = match key.len() {
            16 => Cipher::Aes128Gcm,
            _ => Cipher::Aes256Gcm,
        };
        let trial = Some(Trial::new(key)?);
        let opener = Opener::derived(cipher, key, &[0; NONCE])?;
        Some(Opener { trial, ..opener })
    }

    pub(super) fn iv(&self) -> &[u8; NONCE] {
        &self.iv
    }

    pub(super) const fn trial(&self) -> Option<&Trial> {
        self.trial.as_ref()
    }

    /// The key.
    pub(super) fn key_bytes(&self) -> &[u8] {
        self.key_bytes.get(..self.key_len()).unwrap_or_default()
    }

    pub(super) fn key_len(&self) -> usize {
        self.aead.algorithm().key_len()
    }

    /// Opens what was sealed; its content is then in `plain`.
    pub(super) fn open(
        &self,
        nonce: [u8; NONCE],
        said: &[u8],
        sealed: &[u8],
        plain: &mut Vec<u8>,
    ) -> bool {
        plain.clear();
        plain.extend_from_slice(sealed);
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let opened = self.aead.open_in_place(nonce, aead::Aad::from(said), plain);
        let len = opened.map(|content| content.len());
        plain.truncate(len.unwrap_or(0));
        len.is_ok()
    }

    /// Seals as the sender does.
    #[cfg(test)]
    pub(super) fn seal(&self, nonce: [u8; NONCE], said: &[u8], content: &mut Vec<u8>) {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let said = aead::Aad::from(said);
        self.aead
            .seal_in_place_append_tag(nonce, said, content)
            .unwrap();
    }
}

impl Cipher {
    const fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }
}

const _: () = assert!(TAG == aead::MAX_TAG_LEN);

/// Bytes of the longest secret: one of a suite with SHA-384, or a master secret.
pub const LONGEST_SECRET: usize = 48;

/// A key in its place. When it is dropped, the place is overwritten.
pub type Kept = Box<dyn AsRef<Opener> + Send>;

/// A secret in its place, likewise.
pub type KeptSecret = Box<dyn AsRef<[u8]> + Send>;

/// Where keys are kept, and the secrets that they come of.
pub trait KeyPlace: Send + Sync {
    /// Keeps what `make` makes, which is called once at most and moved to its place from the stack: whoever keeps it
    /// overwrites the stack with [`wipe_stack`]. None: there is no place, or nothing was made.
    fn keep(&self, make: &mut dyn FnMut() -> Option<Opener>) -> Option<Kept>;

    /// Keeps a secret. None: there is no place, or it is longer than [`LONGEST_SECRET`].
    fn keep_secret(&self, secret: &[u8]) -> Option<KeptSecret>;
}

/// For who names no place. (`ring`'s form of a key cannot be overwritten here.)
pub(super) struct Heap;

/// A secret on the heap.
struct OnHeap(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for OnHeap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<Opener> for Opener {
    fn as_ref(&self) -> &Opener {
        self
    }
}

impl KeyPlace for Heap {
    fn keep(&self, make: &mut dyn FnMut() -> Option<Opener>) -> Option<Kept> {
        Some(Box::new(make()?))
    }

    fn keep_secret(&self, secret: &[u8]) -> Option<KeptSecret> {
        Some(Box::new(OnHeap(Zeroizing::new(secret.to_vec()))))
    }
}

/// Overwrites what calls that have returned left of keys on the stack. The caller itself must not have had any: it calls
/// what has in a function that is not inlined.
#[inline(never)]
pub fn wipe_stack() {
    wipe::<MAKING>();
}

/// The same behind a record.
#[inline(never)]
pub(super) fn wipe_stack_of_record() {
    wipe::<OPENING>();
}

#[inline(always)]
fn wipe<const LEN: usize>() {
    let mut space = [0_u8; LEN];
    // As if somebody read it: it has to be written.
    std::hint::black_box(&mut space);
}
