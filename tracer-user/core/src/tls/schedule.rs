//! AES key schedules in memory: words that follow from one another as the key expansion says (FIPS 197, section 5.2).
//!
//! A cipher that is in use has its round keys somewhere in memory. They are the key itself and what follows from it, so
//! that nothing else looks like them: no symbol, no offset and no version of a library has to be known. Two forms are in
//! use, both found here: the bytes as they are, and each word's bytes turned round (a JVM, and C without instructions
//! for AES, keep big-endian numbers).

use zeroize::Zeroize as _;

/// Bytes of the longest schedule, of AES-256. Pieces of memory that are searched one after another overlap by this, less
/// a word.
pub const LONGEST_SCHEDULE: usize = 4 * words_of(8);

/// Words that are looked at together.
const BLOCK: usize = 64;

/// Words that the first look at a place needs.
const LOOK: usize = 11;

/// Words of a schedule: four for each round and the first (FIPS 197, figure 4).
const fn words_of(key_words: usize) -> usize {
    4 * (key_words + 7)
}

/// What a search of a piece of memory came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Schedules that were told of.
    pub found: usize,
    /// The piece has more of them than are wanted; where it was stopped, in bytes.
    pub stopped_at: Option<usize>,
}

/// Tells of the key of each schedule in `memory`, which begins at a whole word, and where the schedule begins. Stops
/// when there would be more than `most`. The key is gone when `found` returns.
pub fn schedules(memory: &[u8], most: usize, found: &mut dyn FnMut(usize, &[u8])) -> Searched {
    let (words, _) = memory.as_chunks::<4>();
    let mut searched = Searched::default();
    let mut at = 0;
    while let Some(rest) = words.get(at..).filter(|rest| rest.len() >= LOOK) {
        let block = rest.get(..BLOCK + LOOK - 1).unwrap_or(rest);
        let next = at + block.len() - (LOOK - 1);
        if looks_like_one(block) {
            while at < next {
                let Some(schedule) = words.get(at..).and_then(Schedule::at) else {
                    at += 1;
                    continue;
                };
                if searched.found == most {
                    searched.stopped_at = Some(4 * at);
                    return searched;
                }
                searched.found += 1;
                found(4 * at, schedule.key());
                at += words_of(schedule.len / 4);
            }
        }
        at = at.max(next);
    }
    searched
}

/// One of the places may be the beginning of a schedule. Of the words that are no more than the exclusive or of two
/// others, two are looked at for each length; that does not depend on the order of bytes. Zeros, which a process has
/// much of, are passed over.
fn looks_like_one(words: &[[u8; 4]]) -> bool {
    let mut any = false;
    for words in words.array_windows::<LOOK>() {
        let [_, w1, w2, _, w4, w5, w6, _, w8, w9, w10] = words.map(u32::from_ne_bytes);
        let short = (w5 ^ w4 ^ w1) | (w6 ^ w5 ^ w2);
        let long = (w9 ^ w8 ^ w1) | (w10 ^ w9 ^ w2);
        any |= (short == 0) & ((w4 | w5) != 0) | (long == 0) & ((w8 | w9) != 0);
    }
    any
}

/// How a word of a schedule is read.
type Read = fn([u8; 4]) -> u32;

/// The key of a schedule that was found.
struct Schedule {
    key: [u8; 32],
    len: usize,
}

impl Schedule {
    /// The one that begins here.
    fn at(words: &[[u8; 4]]) -> Option<Schedule> {
        const FORMS: [Read; 2] = [u32::from_be_bytes, u32::from_le_bytes];
        [4, 8].into_iter().find_map(|key_words| {
            let words = words.get(..words_of(key_words))?;
            let read = FORMS
                .into_iter()
                .find(|read| follows(words, key_words, *read))?;
            let mut key = [0; 32];
            let to = key.as_chunks_mut::<4>().0.iter_mut();
            for (to, word) in to.zip(words.iter().take(key_words)) {
                *to = read(*word).to_be_bytes();
            }
            let len = 4 * key_words;
            Some(Schedule { key, len })
        })
    }

    fn key(&self) -> &[u8] {
        self.key.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// Each word behind the key's follows from those before it (FIPS 197, figure 11).
fn follows(words: &[[u8; 4]], key_words: usize, read: Read) -> bool {
    let mut constant = 1_u8;
    let before = words.iter().skip(key_words - 1);
    let words = words.iter().zip(words.iter().skip(key_words)).zip(before);
    words.enumerate().all(|(n, ((back, word), before))| {
        let before = read(*before);
        let added = match n % key_words {
            0 => {
                let round = u32::from(constant) << 24;
                constant = double(constant);
                substituted(before.rotate_left(8)) ^ round
            }
            4 => substituted(before),
            _ => before,
        };
        read(*word) == read(*back) ^ added
    })
}

/// SubWord of FIPS 197.
fn substituted(word: u32) -> u32 {
    let byte = |byte: u8| S_BOX.get(usize::from(byte)).copied().unwrap_or_default();
    u32::from_be_bytes(word.to_be_bytes().map(byte))
}

/// Times x in the field of AES (FIPS 197, section 4.2.1).
const fn double(byte: u8) -> u8 {
    (byte << 1) ^ if byte & 0x80 == 0 { 0 } else { 0x1b }
}

static S_BOX: [u8; 256] = s_box();

/// FIPS 197, section 5.1.1: the inverse, and an affine transformation of it. `of` goes through the field by times 3,
/// `inverse` by the inverse of 3.
#[expect(
    clippy::indexing_slicing,
    reason = "run by the compiler: a wrong index fails the build"
)]
const fn s_box() -> [u8; 256] {
    let mut table = [0x63; 256];
    let (mut of, mut inverse) = (1_u8, 1_u8);
    loop {
        of ^= double(of);
        inverse ^= inverse << 1;
        inverse ^= inverse << 2;
        inverse ^= inverse << 4;
        if inverse & 0x80 != 0 {
            inverse ^= 0x09;
        }
        let turned = inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4);
        table[of as usize] = inverse ^ turned ^ 0x63;
        if of == 1 {
            return table;
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
