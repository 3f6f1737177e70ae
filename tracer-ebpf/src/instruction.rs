//! Single instructions that the compiler does not give: bounds that the verifier sees, atomics.
//!
//! The walker runs on the host too, in tests, where plain Rust says the same.

/// `value & MASK`, in an instruction that the compiler cannot remove because it "knows" the value is
/// smaller: the verifier does not know.
#[cfg(target_arch = "bpf")]
#[inline(always)]
#[must_use]
pub fn bound<const MASK: u64>(mut value: u64) -> u64 {
    // SAFETY: one arithmetic instruction on a register.
    unsafe {
        core::arch::asm!("{value} &= {mask}", value = inout(reg) value, mask = const MASK, options(pure, nomem, nostack));
    }
    value
}

/// `value & MASK`.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
#[must_use]
pub const fn bound<const MASK: u64>(value: u64) -> u64 {
    value & MASK
}

/// All ones when `a < b`, else 0, without a branch: the verifier follows both ways of each branch.
/// Both are below 2^63.
#[cfg(target_arch = "bpf")]
#[inline(always)]
#[must_use]
pub fn mask_below(a: u64, b: u64) -> u64 {
    let mut difference = a.wrapping_sub(b);
    // SAFETY: one arithmetic instruction on a register.
    unsafe {
        core::arch::asm!("{difference} s>>= 63", difference = inout(reg) difference, options(pure, nomem, nostack));
    }
    difference
}

/// All ones when `a < b`, else 0. Both are below 2^63.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
#[must_use]
pub const fn mask_below(a: u64, b: u64) -> u64 {
    if a < b { u64::MAX } else { 0 }
}

/// What is called next may change `value` behind the compiler's back. A move of a register to itself, because line
/// information must not name a place without an instruction.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn hand_over<T>(value: &mut T) {
    // SAFETY: nothing is done with the pointer.
    unsafe { core::arch::asm!("{0} = {0}", in(reg) &raw mut *value, options(nostack)) };
}

/// What is called next may change `value`.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
pub const fn hand_over<T>(_: &mut T) {}

/// Stores `value` and returns what stood there, as one atomic operation.
///
/// # Safety
/// `word` points to an aligned word of a map's value. (Rust's BPF target has no atomic exchange yet.)
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub unsafe fn exchange(word: *mut u64, mut value: u64) -> u64 {
    // SAFETY: as the caller promises.
    unsafe {
        core::arch::asm!("{value} = xchg_64({word} + 0, {value})", word = in(reg) word, value = inout(reg) value, options(nostack));
    }
    value
}

/// Adds `value` as one atomic operation.
///
/// # Safety
/// As [`exchange`].
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub unsafe fn atomic_add(word: *mut u64, value: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        core::arch::asm!("lock *(u64 *)({word} + 0) += {value}", word = in(reg) word, value = in(reg) value, options(nostack));
    }
}
