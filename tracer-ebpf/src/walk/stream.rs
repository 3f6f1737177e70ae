//! The key stream of AES-GCM in counter mode (NIST SP 800-38D section 7.1), made where bytes of a record are copied.

use super::{
    Machine, Part, Step,
    frames::least,
    state::{POSITION_MASK, Scratch},
};
use crate::{
    aes,
    instruction::{bound, hand_over, mask_below},
};

/// The counter of a record's first block: 1 is the tag's.
const FIRST_BLOCK: u32 = 2;

/// Opens `n` bytes of the record's content, which were copied from the next byte on to the place `at` of `out`.
#[inline(always)]
pub(super) fn unseal<M: Machine>(m: M, s: &mut Scratch, at: u64, n: u32) {
    let place = s.place.len - s.place.left - s.content_at;
    unseal_here(m, s, at, place, n);
}

/// Opens `n` bytes at the place `at` of `out`; the first one has that place in the content.
#[inline(always)]
pub(super) fn unseal_here<M: Machine>(m: M, s: &mut Scratch, at: u64, place: u32, n: u32) {
    s.sealed_at = at;
    s.sealed_place = place;
    s.sealed_left = n;
    m.run(s, Part::Unseal);
}

/// Opens what `unseal_here` was asked for.
#[inline(always)]
pub fn unseal_all<M: Machine>(m: M, s: &mut Scratch) -> u64 {
    let blocks = s.sealed_left / 16 + 2;
    m.repeat(s, blocks, Step::Block);
    0
}

/// Opens the bytes of one block.
#[inline(always)]
pub fn block_step<M: Machine>(m: M, s: &mut Scratch) -> bool {
    if s.sealed_left == 0 {
        return false;
    }
    let block = s.sealed_place / 16;
    if s.stream_block != block + 1 && !make_stream(m, s, block) {
        s.sealed_left = 0;
        return false;
    }
    let skipped = s.sealed_place as u64 & 15;
    let n = least(16 - skipped as u32, s.sealed_left);
    let at = bound::<POSITION_MASK>(s.sealed_at);
    let mut i = 0;
    while i < 16 {
        let of_stream = bound::<15>(skipped + i) as usize;
        // SAFETY: within the key stream, and within `out`, where behind each place there is room for a block.
        unsafe {
            let of_stream = *s.stream.as_ptr().cast::<u8>().add(of_stream);
            let byte = s.out.as_mut_ptr().add((at + i) as usize);
            *byte ^= of_stream & mask_below(i, n as u64) as u8;
        }
        // One after the other: on the stack there is no room for all of them.
        hand_over(s);
        i += 1;
    }
    s.sealed_at = at + n as u64;
    s.sealed_place = s.sealed_place.wrapping_add(n);
    s.sealed_left = s.sealed_left.wrapping_sub(n);
    true
}

/// Makes the key stream of a block of the record at hand.
#[inline(always)]
fn make_stream<M: Machine>(m: M, s: &mut Scratch, block: u32) -> bool {
    let Some(keys) = m.keys(s) else { return false };
    // SAFETY: a value of the map.
    let keys = unsafe { &*keys };
    let [first, mut high, mut low] = keys.iv;
    if keys.is_tls12 != 0 {
        let [n0, n1, n2, n3, n4, n5, n6, n7, ..] = s.place.nonce;
        high = u32::from_be_bytes([n0, n1, n2, n3]);
        low = u32::from_be_bytes([n4, n5, n6, n7]);
    } else {
        let number = keys.ahead.wrapping_add(s.place.records as u64);
        high ^= (number >> 32) as u32;
        low ^= number as u32;
    }
    s.stream = [first, high, low, block.wrapping_add(FIRST_BLOCK)];
    // SAFETY: so many words.
    unsafe { aes::encrypt(keys.round_keys.as_ptr(), keys.rounds, s.stream.as_mut_ptr()) };
    s.stream = s.stream.map(u32::to_be);
    s.stream_block = block + 1;
    hand_over(s);
    true
}
