//! Memory for what nobody else is to see: never swapped, in no core dump, overwritten when it is given back.

use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use h2trace_core::limits;
use h2trace_core::tls::{Kept, KeptSecret, KeyPlace, LONGEST_SECRET, Label, Opener, wipe_stack};
use zeroize::Zeroize as _;

/// Bytes of a key in its place.
const SLOT: usize = size_of::<Opener>();

/// Bytes that are locked at once: keys and secrets take their place as they come.
const AT_ONCE: usize = 65_536;

/// Pages of their own.
pub struct Pages {
    at: NonNull<u8>,
    len: usize,
    locked: bool,
}

// SAFETY: the pages belong to this value alone, as those of a `Box<[u8]>` would.
unsafe impl Send for Pages {}
// SAFETY: as for `Send`; what is shared is only read, or goes through the slots of a `Vault`.
unsafe impl Sync for Pages {}

impl Pages {
    /// So many bytes of zeros.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(len: usize) -> io::Result<Pages> {
        // SAFETY: a new mapping, of which nobody else knows.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        let at = match NonNull::new(at.cast::<u8>()) {
            Some(at) if at.as_ptr().cast() != libc::MAP_FAILED => at,
            _ => return Err(io::Error::last_os_error()),
        };
        // SAFETY: the mapping was just made, and is `len` bytes.
        let (locked, dumped, forked) = unsafe {
            (
                libc::mlock(at.as_ptr().cast(), len),
                libc::madvise(at.as_ptr().cast(), len, libc::MADV_DONTDUMP),
                libc::madvise(at.as_ptr().cast(), len, libc::MADV_WIPEONFORK),
            )
        };
        if dumped != 0 || forked != 0 {
            tracing::debug!("pages for keys are not kept out of dumps and children");
        }
        let locked = locked == 0;
        Ok(Pages { at, len, locked })
    }

    /// They are never swapped.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.locked
    }

    /// All of them.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is `len` bytes, readable and writable, and borrowed as this value is.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.bytes().zeroize();
        // SAFETY: the mapping was made by `new` and is not used any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// A place for keys and for the secrets that they come of, which grows up to a number of each.
#[derive(Clone)]
pub struct Vault(Arc<Kinds>);

struct Kinds {
    keys: Mutex<Slots>,
    secrets: Mutex<Slots>,
}

/// Places of one size.
struct Slots {
    len: usize,
    pages: Vec<Pages>,
    free: Vec<NonNull<u8>>,
    n_more: usize,
    is_told: bool,
}

// SAFETY: what `free` points to is in `pages`, and is used by nobody.
unsafe impl Send for Slots {}

impl Slots {
    /// Up to `n` of `len` bytes.
    const fn new(len: usize, n: usize) -> Mutex<Slots> {
        Mutex::new(Slots {
            len,
            pages: Vec::new(),
            free: Vec::new(),
            n_more: n,
            is_told: false,
        })
    }

    fn take(&mut self) -> Option<NonNull<u8>> {
        if self.free.is_empty() {
            self.grow();
        }
        self.free.pop()
    }

    fn grow(&mut self) {
        let n = (AT_ONCE / self.len).min(self.n_more);
        if n == 0 {
            return;
        }
        let mut pages = match Pages::new(AT_ONCE) {
            Ok(pages) => pages,
            Err(error) => return tracing::warn!(%error, "there is no memory for keys"),
        };
        if !pages.is_locked() && !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                "keys may be swapped: their pages cannot be locked (raise RLIMIT_MEMLOCK, or turn swap off)"
            );
        }
        self.n_more -= n;
        // Pages begin where everything may, and a key's size is a multiple of what it is aligned to.
        let slots = pages.bytes().chunks_exact_mut(self.len).take(n);
        self.free
            .extend(slots.map(|slot| NonNull::from(slot).cast::<u8>()));
        self.pages.push(pages);
    }

    /// A place was wiped, and is free again.
    fn give_back(slots: &Mutex<Slots>, at: NonNull<u8>) {
        locked(slots).free.push(at);
    }
}

fn locked(slots: &Mutex<Slots>) -> MutexGuard<'_, Slots> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Vault {
    /// For all connections: two keys for each direction, while they change, each with its secret; and those of a key log.
    #[must_use]
    pub fn for_all() -> Vault {
        let keys = 4 * limits::CONNECTIONS;
        Vault::new(keys, keys + Label::COUNT * limits::TLS_CONNECTIONS)
    }

    /// For so many keys and secrets.
    #[must_use]
    pub fn new(keys: usize, secrets: usize) -> Vault {
        Vault(Arc::new(Kinds {
            keys: Slots::new(SLOT, keys),
            secrets: Slots::new(LONGEST_SECRET, secrets),
        }))
    }
}

impl KeyPlace for Vault {
    fn keep(&self, make: &mut dyn FnMut() -> Option<Opener>) -> Option<Kept> {
        let slot = locked(&self.0.keys).take()?;
        let at = slot.cast();
        let is_made = fill(at, make);
        wipe_stack();
        if !is_made {
            Slots::give_back(&self.0.keys, slot);
            return None;
        }
        let vault = self.clone();
        Some(Box::new(InVault { vault, at }))
    }

    fn keep_secret(&self, secret: &[u8]) -> Option<KeptSecret> {
        if secret.len() > LONGEST_SECRET {
            return None;
        }
        let at = locked(&self.0.secrets).take()?;
        // SAFETY: the slot is nobody else's, and long enough.
        unsafe { at.copy_from_nonoverlapping(NonNull::from(secret).cast(), secret.len()) };
        Some(Box::new(SecretInVault {
            vault: self.clone(),
            at,
            len: secret.len(),
        }))
    }
}

/// Not inlined: what it leaves on the stack is to be overwritten by who calls it.
#[inline(never)]
fn fill(at: NonNull<Opener>, make: &mut dyn FnMut() -> Option<Opener>) -> bool {
    let made = make();
    let is_made = made.is_some();
    if let Some(opener) = made {
        // SAFETY: the slot is large enough, aligned, and nobody else's.
        unsafe { at.write(opener) };
    }
    is_made
}

/// A key in a vault. It has no `Debug`.
struct InVault {
    vault: Vault,
    at: NonNull<Opener>,
}

// SAFETY: the slot belongs to this value alone, as what is in a `Box<Opener>` would, and `Opener` may be sent.
unsafe impl Send for InVault where Opener: Send {}

impl AsRef<Opener> for InVault {
    fn as_ref(&self) -> &Opener {
        // SAFETY: the slot was filled, and is written to by nobody until this is dropped.
        unsafe { self.at.as_ref() }
    }
}

impl Drop for InVault {
    fn drop(&mut self) {
        // SAFETY: the slot was filled, and is not used any more.
        unsafe { self.at.drop_in_place() };
        // Not all that a key is made of overwrites itself.
        // SAFETY: the slot is `SLOT` bytes of this value alone, and what was in it is gone.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr().cast::<u8>(), SLOT) }.zeroize();
        Slots::give_back(&self.vault.0.keys, self.at.cast());
    }
}

/// A secret in a vault. It has no `Debug`.
struct SecretInVault {
    vault: Vault,
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the slot belongs to this value alone, as what is in a `Box<[u8]>` would.
unsafe impl Send for SecretInVault {}

impl AsRef<[u8]> for SecretInVault {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: so many bytes of the slot were filled, and are written to by nobody until this is dropped.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl Drop for SecretInVault {
    fn drop(&mut self) {
        // SAFETY: as for `as_ref`; and nobody has a reference any more.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }.zeroize();
        Slots::give_back(&self.vault.0.secrets, self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the vault's pages that are not zero.
    fn used(vault: &Vault) -> usize {
        let of = |slots: &Mutex<Slots>| {
            let mut slots = locked(slots);
            let pages = slots.pages.iter_mut();
            let bytes = pages.flat_map(|pages| pages.bytes().iter());
            bytes.filter(|byte| **byte != 0).count()
        };
        of(&vault.0.keys) + of(&vault.0.secrets)
    }

    fn keep(vault: &Vault, byte: u8, len: usize) -> Option<Kept> {
        vault.keep(&mut || Opener::found(&vec![byte; len]))
    }

    #[test]
    fn keys_are_gone_when_they_are_given_back() {
        let vault = Vault::new(2, 0);
        assert_eq!(used(&vault), 0);
        let (one, two) = (keep(&vault, 1, 16).unwrap(), keep(&vault, 2, 32).unwrap());
        assert!(keep(&vault, 3, 16).is_none(), "it is full");
        let both = used(&vault);
        assert!(both > 0);
        drop(one);
        let one = used(&vault);
        assert!(one > 0 && one < both);
        let three = keep(&vault, 3, 16).unwrap();
        drop(two);
        assert!(vault.keep(&mut || None).is_none());
        assert!(keep(&vault, 4, 33).is_none(), "it is no key");
        drop(three);
        assert_eq!(used(&vault), 0);
    }

    #[test]
    fn secrets_are_gone_when_they_are_given_back() {
        let vault = Vault::new(0, 2);
        let secrets = [[7; LONGEST_SECRET], [8; LONGEST_SECRET]];
        let kept = secrets.map(|secret| vault.keep_secret(&secret[..32]).unwrap());
        for (kept, secret) in kept.iter().zip(&secrets) {
            assert_eq!((**kept).as_ref(), &secret[..32]);
        }
        assert_eq!(used(&vault), 64);
        assert!(vault.keep_secret(&[9; 32]).is_none(), "it is full");
        let [one, two] = kept;
        drop(one);
        assert_eq!(used(&vault), 32);
        let longest = vault.keep_secret(&secrets[0]).unwrap();
        assert_eq!(used(&vault), 80);
        drop([two, longest]);
        assert_eq!(used(&vault), 0);
        assert!(vault.keep_secret(&[9; LONGEST_SECRET + 1]).is_none());
    }

    #[test]
    fn a_vault_grows() {
        let vault = Vault::new(3 * AT_ONCE / SLOT, 0);
        let keys: Vec<Kept> = (0..AT_ONCE / SLOT + 1)
            .filter_map(|_| keep(&vault, 7, 16))
            .collect();
        assert_eq!(keys.len(), AT_ONCE / SLOT + 1);
        assert_eq!(locked(&vault.0.keys).pages.len(), 2);
        drop(keys);
        assert_eq!(used(&vault), 0);
    }

    #[test]
    fn pages_are_locked_and_not_dumped() {
        let pages = Pages::new(65_536).unwrap();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let at = format!("{:x}-", pages.at.as_ptr() as usize);
        let mapping = smaps.split_once(&at).unwrap().1;
        let flags = mapping.split_once("VmFlags:").unwrap().1;
        let flags: Vec<&str> = flags.lines().next().unwrap().split(' ').collect();
        assert!(flags.contains(&"dd") && flags.contains(&"wf"), "{flags:?}");
        assert!(flags.contains(&"lo") || !pages.is_locked(), "{flags:?}");
    }
}
