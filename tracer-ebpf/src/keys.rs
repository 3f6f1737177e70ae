//! Keys of TLS that user space has handed over: they go with their socket.

use tracer_ebpf::opened::{Keys, Owner};

use crate::maps::{OPENED_TLS, SLOTS};

/// Overwrites the keys of a socket that is gone. Its place is user space's to give away again.
#[inline(never)]
pub(crate) fn wipe(sk: u64, born_ns: u64) {
    let owner = Owner { sk, born_ns };
    // SAFETY: a number, read at once.
    let Some(slot) = (unsafe { OPENED_TLS.get(owner) }).copied() else {
        return;
    };
    let Some(slot) = SLOTS.get_ptr_mut(slot) else {
        return;
    };
    let mut way = 0;
    while way < 2 {
        let mut word = 0;
        while word < size_of::<Keys>() / 8 {
            // SAFETY: within the map's value. Volatile: of other writes the compiler makes a call of `memset`.
            unsafe {
                (&raw mut (*slot).ways[way].keys)
                    .cast::<u64>()
                    .add(word)
                    .write_volatile(0);
            }
            word += 1;
        }
        way += 1;
    }
}
