//! Memory for what nobody else is to see: never swapped, in no core dump, overwritten when it is given back.

use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use h2trace_core::limits;
use h2trace_core::tls::{Kept, KeyPlace, Opener, wipe_stack};
use zeroize::Zeroize as _;

/// Bytes of a key in its place.
const SLOT: usize = size_of::<Opener>();

/// Bytes that are locked at once: keys take their place as they come.
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

/// A place for keys, which grows up to a number of them.
#[derive(Clone)]
pub struct Vault(Arc<Mutex<Slots>>);

struct Slots {
    pages: Vec<Pages>,
    free: Vec<NonNull<Opener>>,
    n_more: usize,
    is_told: bool,
}

// SAFETY: what `free` points to is in `pages`, and is used by nobody.
unsafe impl Send for Slots {}

impl Slots {
    fn take(&mut self) -> Option<NonNull<Opener>> {
        if self.free.is_empty() {
            self.grow();
        }
        self.free.pop()
    }

    fn grow(&mut self) {
        let n = (AT_ONCE / SLOT).min(self.n_more);
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
        let slots = pages.bytes().chunks_exact_mut(SLOT).take(n);
        let slots = slots.map(|slot| NonNull::from(slot).cast::<Opener>());
        self.free.extend(slots);
        self.pages.push(pages);
    }
}

impl Vault {
    /// For the keys of all connections: two for each direction, while they change.
    #[must_use]
    pub fn for_all() -> Vault {
        Vault::new(4 * limits::CONNECTIONS)
    }

    /// For so many keys.
    #[must_use]
    pub fn new(keys: usize) -> Vault {
        Vault(Arc::new(Mutex::new(Slots {
            pages: Vec::new(),
            free: Vec::new(),
            n_more: keys,
            is_told: false,
        })))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyPlace for Vault {
    fn keep(&self, make: &mut dyn FnMut() -> Option<Opener>) -> Option<Kept> {
        let at = self.lock().take()?;
        let is_made = fill(at, make);
        wipe_stack();
        if !is_made {
            self.lock().free.push(at);
            return None;
        }
        let vault = self.clone();
        Some(Box::new(InVault { vault, at }))
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
        self.vault.lock().free.push(self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the vault's pages that are not zero.
    fn used(vault: &Vault) -> usize {
        let mut slots = vault.lock();
        let pages = slots.pages.iter_mut();
        let bytes = pages.flat_map(|pages| pages.bytes().iter());
        bytes.filter(|byte| **byte != 0).count()
    }

    fn keep(vault: &Vault, byte: u8, len: usize) -> Option<Kept> {
        vault.keep(&mut || Opener::found(&vec![byte; len]))
    }

    #[test]
    fn keys_are_gone_when_they_are_given_back() {
        let vault = Vault::new(2);
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
    fn a_vault_grows() {
        let vault = Vault::new(3 * AT_ONCE / SLOT);
        let keys: Vec<Kept> = (0..AT_ONCE / SLOT + 1)
            .filter_map(|_| keep(&vault, 7, 16))
            .collect();
        assert_eq!(keys.len(), AT_ONCE / SLOT + 1);
        assert_eq!(vault.lock().pages.len(), 2);
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
