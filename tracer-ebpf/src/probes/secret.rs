//! Secrets of TLS handshakes, at the function that would write them to a key log: it is called for each of them, also
//! when there is no key log. Loaded with `--tls` alone, and attached to the programs of selected processes.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_copy_from_user, bpf_get_attach_cookie, bpf_ktime_get_ns, bpf_probe_read_user_str,
        },
    },
    macros::uprobe,
    programs::ProbeContext,
};
use tracer_ebpf::{
    counter::Counter,
    instruction::{atomic_add, exchange},
    secret::{LABEL, NO_REGISTER, RANDOM, SLOTS, Secret, place, register, state},
};

use crate::{count, filter, kernel_struct::field, maps::SECRETS};

/// Places that are tried in search of a free one.
const TRIES: u32 = 8;

/// Lengths of secrets: SHA-256's and SHA-384's, which is a master secret's, too.
const SHORT: u64 = 32;
const LONG: u64 = 48;

/// The first bytes of each label that is wanted.
const OF_CLIENT: [u8; 7] = *b"CLIENT_";
const OF_SERVER: [u8; 7] = *b"SERVER_";

/// hook: uprobe (ssl, label, secret, secret_len) of BoringSSL and OpenSSL 3; (config, label, random, secret) of Go
#[uprobe(sleepable)]
pub(crate) fn tls_secret(context: ProbeContext) -> u32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if filter::wants_secrets(tgid) {
        take(&context, tgid);
    }
    0
}

/// The arguments of the call.
struct Arguments {
    registers: u64,
    cookie: u64,
}

impl Arguments {
    #[inline(always)]
    fn get(&self, place: u32) -> Option<u64> {
        let register = register(self.cookie, place);
        if register == NO_REGISTER as u64 {
            return None;
        }
        field(self.registers, register as u32 * 8)
    }
}

#[inline(always)]
fn take(context: &ProbeContext, tgid: u32) -> Option<()> {
    let arguments = Arguments {
        registers: context.as_ptr() as u64,
        // SAFETY: the context is the one that the program was called with.
        cookie: unsafe { bpf_get_attach_cookie(context.as_ptr()) },
    };
    let label = label(&arguments)?;
    let len = arguments.get(place::SECRET_LEN)?;
    if len != SHORT && len != LONG {
        return None;
    }
    let from = arguments.get(place::SECRET)?;
    let Some(slot) = free_slot() else {
        count::bump(Counter::SecretsLost);
        return None;
    };
    // SAFETY: the slot is this call's until its state says otherwise.
    let secret = unsafe { &mut *slot };
    secret.tgid = tgid;
    secret.owner = arguments.get(place::OWNER).unwrap_or(0);
    // SAFETY: the helper has no arguments.
    secret.at_ns = unsafe { bpf_ktime_get_ns() };
    secret.label = label;
    secret.secret_len = len as u32;
    secret.has_random = 0;
    if let Some(random) = arguments.get(place::RANDOM) {
        // SAFETY: the field has so many bytes.
        let read = unsafe {
            bpf_copy_from_user(
                secret.random.as_mut_ptr().cast(),
                RANDOM as u32,
                random as *const _,
            )
        };
        secret.has_random = (read == 0) as u64;
    }
    let to = secret.secret.as_mut_ptr().cast();
    // SAFETY: the field has room for the longer one.
    let read = unsafe {
        if len == LONG {
            bpf_copy_from_user(to, LONG as u32, from as *const _)
        } else {
            bpf_copy_from_user(to, SHORT as u32, from as *const _)
        }
    };
    let is_whole = read == 0;
    let next = if is_whole { state::FULL } else { state::FREE };
    // SAFETY: the word is aligned, and in the map's value.
    unsafe { exchange(&raw mut (*slot).state, next) };
    if is_whole {
        if let Some(first) = SECRETS.get_ptr_mut(0) {
            // SAFETY: likewise.
            unsafe { atomic_add(&raw mut (*first).state, 1) };
        }
    } else {
        count::bump(Counter::SecretsLost);
    }
    Some(())
}

/// The label, if it is one of those that are wanted.
#[inline(always)]
fn label(arguments: &Arguments) -> Option<[u8; LABEL]> {
    let mut label = [0_u8; LABEL];
    let to = label.as_mut_ptr().cast();
    let from = arguments.get(place::LABEL)? as *const _;
    let read = match arguments.get(place::LABEL_LEN) {
        Some(len) if len < LABEL as u64 => {
            // SAFETY: the label has more bytes than that.
            unsafe { bpf_copy_from_user(to, len as u32 & (LABEL as u32 - 1), from) }
        }
        Some(_) => return None,
        // SAFETY: the label has so many bytes.
        None => unsafe {
            // What is behind the NUL may be anything, and does not matter; only it may be nothing.
            let read = bpf_copy_from_user(to, LABEL as u32, from);
            if read == 0 {
                0
            } else {
                bpf_probe_read_user_str(to, LABEL as u32, from)
            }
        },
    };
    let begins = |with: [u8; 7]| {
        let mut is_same = true;
        let mut nth = 0;
        while nth < with.len() {
            is_same &= label[nth] == with[nth];
            nth += 1;
        }
        is_same
    };
    if read < 0 || !(begins(OF_CLIENT) || begins(OF_SERVER)) {
        return None;
    }
    Some(label)
}

/// A place that nobody has, from now on this call's.
#[inline(always)]
fn free_slot() -> Option<*mut Secret> {
    // SAFETY: a word of the map's value, which others change: any of its values will do.
    let written = unsafe { (*SECRETS.get_ptr_mut(0)?).state };
    let mut tries = 0;
    while tries < TRIES {
        let nth = written.wrapping_add(tries as u64) as u32 & (SLOTS - 1);
        tries += 1;
        if nth == 0 {
            continue;
        }
        let slot = SECRETS.get_ptr_mut(nth)?;
        // SAFETY: the word is aligned, and in the map's value.
        let before = unsafe {
            if (*slot).state != state::FREE {
                continue;
            }
            exchange(&raw mut (*slot).state, state::TAKEN)
        };
        if before == state::FREE {
            return Some(slot);
        }
        if before == state::FULL {
            // SAFETY: likewise. Whoever reads takes it only while it is full.
            unsafe { exchange(&raw mut (*slot).state, state::FULL) };
        }
    }
    None
}
