//! Memory for what nobody else is to see: never swapped, in no core dump, overwritten when it is given back.

use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroize as _;

/// Bytes of the longest key.
const SLOT: usize = 32;

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

/// A place for keys.
pub struct Vault {
    pages: Pages,
    free: Mutex<Vec<usize>>,
}

impl Vault {
    /// For so many keys.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(keys: usize) -> io::Result<Arc<Vault>> {
        let pages = Pages::new(keys * SLOT)?;
        if !pages.is_locked() {
            tracing::warn!(
                "keys may be swapped: their pages cannot be locked (raise RLIMIT_MEMLOCK, or turn swap off)"
            );
        }
        let free = Mutex::new((0..keys).rev().collect());
        Ok(Arc::new(Vault { pages, free }))
    }

    /// Keeps a key until the value is dropped. None: the vault is full, or it is longer than keys are.
    #[must_use]
    pub fn keep(self: &Arc<Vault>, key: &[u8]) -> Option<Kept> {
        if key.len() > SLOT {
            return None;
        }
        let slot = self.lock().pop()?;
        let kept = Kept {
            vault: Arc::clone(self),
            slot,
            len: key.len(),
        };
        // SAFETY: the slot lies in the pages, is `SLOT` bytes, and is nobody else's until `kept` is dropped.
        unsafe { std::ptr::copy_nonoverlapping(key.as_ptr(), kept.at(), key.len()) };
        Some(kept)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key in a vault. It has no `Debug`.
pub struct Kept {
    vault: Arc<Vault>,
    slot: usize,
    len: usize,
}

impl Kept {
    fn at(&self) -> *mut u8 {
        // SAFETY: slots are numbered below what the pages have room for.
        unsafe { self.vault.pages.at.as_ptr().add(self.slot * SLOT) }
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the slot was filled with `len` bytes, and is written to by nobody until this is dropped.
        unsafe { std::slice::from_raw_parts(self.at(), self.len) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the slot is `SLOT` bytes of this value alone.
        unsafe { std::slice::from_raw_parts_mut(self.at(), SLOT) }.zeroize();
        self.vault.lock().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(vault: &Vault) -> Vec<u8> {
        // SAFETY: nobody writes meanwhile.
        unsafe { std::slice::from_raw_parts(vault.pages.at.as_ptr(), vault.pages.len) }.to_vec()
    }

    #[test]
    fn keys_are_gone_when_they_are_given_back() {
        let vault = Vault::new(2).unwrap();
        let (one, two) = (vault.keep(&[1; 16]).unwrap(), vault.keep(&[2; 32]).unwrap());
        assert_eq!((one.as_ref(), two.as_ref()), (&[1; 16][..], &[2; 32][..]));
        assert!(vault.keep(&[3; 16]).is_none());
        drop(one);
        assert_eq!(slots(&vault), [[0; 32], [2; 32]].concat());
        let three = vault.keep(&[3; 16]).unwrap();
        drop(two);
        assert_eq!(three.as_ref(), [3; 16]);
        assert!(vault.keep(&[4; 33]).is_none());
        drop(three);
        assert_eq!(slots(&vault), [0; 64]);
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
