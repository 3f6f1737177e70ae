//! Counting.

use tracer_ebpf::counter::Counter;

use crate::maps::COUNTERS;

/// Adds `n` to a counter of this CPU.
#[inline(always)]
pub(crate) fn add(counter: Counter, n: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a per-CPU slot; a program that interrupts this one may cost a count, never more.
        unsafe { *value = (*value).wrapping_add(n) };
    }
}

/// Adds one.
#[inline(always)]
pub(crate) fn bump(counter: Counter) {
    add(counter, 1);
}
