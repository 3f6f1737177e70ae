//! Single instructions that the compiler does not give: bounds that the verifier sees, atomics.

/// `value & MASK`, in an instruction that the compiler cannot remove because it "knows" the value is
/// smaller: the verifier does not know.
#[inline(always)]
pub(crate) fn bound<const MASK: u64>(mut value: u64) -> u64 {
    // SAFETY: one arithmetic instruction on a register.
    unsafe {
        core::arch::asm!("{value} &= {mask}", value = inout(reg) value, mask = const MASK, options(pure, nomem, nostack));
    }
    value
}

/// All ones when `a < b`, else 0, without a branch: the verifier follows both ways of each branch.
/// Both are below 2^63.
#[inline(always)]
pub(crate) fn mask_below(a: u64, b: u64) -> u64 {
    let mut difference = a.wrapping_sub(b);
    // SAFETY: one arithmetic instruction on a register.
    unsafe {
        core::arch::asm!("{difference} s>>= 63", difference = inout(reg) difference, options(pure, nomem, nostack));
    }
    difference
}

/// Stores `value` and returns what stood there, as one atomic operation.
///
/// # Safety
/// `word` points to an aligned word of a map's value. (Rust's BPF target has no atomic exchange yet.)
#[inline(always)]
pub(crate) unsafe fn exchange(word: *mut u64, mut value: u64) -> u64 {
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
#[inline(always)]
pub(crate) unsafe fn atomic_add(word: *mut u64, value: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        core::arch::asm!("lock *(u64 *)({word} + 0) += {value}", word = in(reg) word, value = in(reg) value, options(nostack));
    }
}
