//! AES in plain instructions: for the kernel programs, which have no other, and for who makes round keys for them.
//!
//! By tables, so how long it takes depends on what is in the processor's caches. Words are big endian, as in FIPS 197.

/// Round keys of the longest key: four words for each of 14 rounds, and for the beginning.
pub const ROUND_KEYS: usize = 60;

/// The most rounds.
const ROUNDS_MAX: u32 = 14;

const fn double(byte: u8) -> u8 {
    byte << 1 ^ if byte & 0x80 != 0 { 0x1b } else { 0 }
}

/// FIPS 197 section 5.1.1: powers of a generator and of its inverse go round the field together.
const SBOX: [u8; 256] = {
    let mut table = [0; 256];
    table[0] = 0x63;
    let (mut power, mut inverse) = (1_u8, 1_u8);
    loop {
        // Times 3, and divided by 3.
        power ^= double(power);
        inverse ^= inverse << 1;
        inverse ^= inverse << 2;
        inverse ^= inverse << 4;
        if inverse & 0x80 != 0 {
            inverse ^= 9;
        }
        let mixed = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4);
        table[power as usize] = mixed ^ 0x63;
        if power == 1 {
            break;
        }
    }
    table
};

/// What a byte of the state comes to in a round, by its row.
static TABLES: [[u32; 256]; 4] = {
    let mut tables = [[0; 256]; 4];
    let mut i = 0;
    while i < 256 {
        let s = SBOX[i];
        let word = u32::from_be_bytes([double(s), s, s, double(s) ^ s]);
        let mut row = 0;
        while row < 4 {
            tables[row][i] = word.rotate_right(8 * row as u32);
            row += 1;
        }
        i += 1;
    }
    tables
};

/// The byte of a word that is in this row.
#[inline(always)]
const fn byte(word: u32, row: u32) -> usize {
    (word >> (24 - 8 * row) & 0xff) as usize
}

/// One word of the state after a round, of which each row is from another word.
#[inline(always)]
fn mixed(a: u32, b: u32, c: u32, d: u32) -> u32 {
    TABLES[0][byte(a, 0)] ^ TABLES[1][byte(b, 1)] ^ TABLES[2][byte(c, 2)] ^ TABLES[3][byte(d, 3)]
}

/// The same in the last round, which mixes no columns.
#[inline(always)]
fn substituted(a: u32, b: u32, c: u32, d: u32) -> u32 {
    // Where a table's word has the plain substitute.
    TABLES[2][byte(a, 0)] & 0xff00_0000
        | TABLES[3][byte(b, 1)] & 0x00ff_0000
        | TABLES[0][byte(c, 2)] & 0x0000_ff00
        | TABLES[1][byte(d, 3)] & 0x0000_00ff
}

/// Encrypts the block at `block` in its place. `rounds` is 10 or 14.
///
/// The state stays in memory, where a kernel program would put it on its stack, of which there is little.
///
/// # Safety
/// `keys` points to [`ROUND_KEYS`] words, `block` to four that nobody else uses.
#[inline(always)]
pub unsafe fn encrypt(keys: *const u32, rounds: u32, block: *mut u32) {
    // SAFETY: the last word that is read is 4 * 14 + 3.
    let key = |word: u32| unsafe { *keys.add(word as usize) };
    // SAFETY: one of the four words.
    let word = |nth: usize| unsafe { block.add(nth).read_volatile() };
    // SAFETY: as above.
    let put = |nth: usize, word: u32| unsafe { block.add(nth).write_volatile(word) };
    let mut nth = 0;
    while nth < 4 {
        put(nth, word(nth) ^ key(nth as u32));
        nth += 1;
    }
    let mut at = 4;
    while at < 4 * ROUNDS_MAX {
        if at >= 4 * rounds {
            break;
        }
        let (a, b, c, d) = (word(0), word(1), word(2), word(3));
        put(0, mixed(a, b, c, d) ^ key(at));
        put(1, mixed(b, c, d, a) ^ key(at + 1));
        put(2, mixed(c, d, a, b) ^ key(at + 2));
        put(3, mixed(d, a, b, c) ^ key(at + 3));
        at += 4;
    }
    let (a, b, c, d) = (word(0), word(1), word(2), word(3));
    put(0, substituted(a, b, c, d) ^ key(at));
    put(1, substituted(b, c, d, a) ^ key(at + 1));
    put(2, substituted(c, d, a, b) ^ key(at + 2));
    put(3, substituted(d, a, b, c) ^ key(at + 3));
}

/// Writes the round keys of a key (FIPS 197 section 5.2); how many rounds they are for. None: it is no key of 16 or 32
/// bytes. Nothing of it is kept elsewhere.
#[must_use]
pub fn expand(key: &[u8], keys: &mut [u32; ROUND_KEYS]) -> Option<u32> {
    let words = key.len() / 4;
    let rounds = match key.len() {
        16 => 10,
        32 => 14,
        _ => return None,
    };
    for (word, bytes) in keys.iter_mut().zip(key.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    let substitute = |word: u32| {
        let [a, b, c, d] = word.to_be_bytes();
        u32::from_be_bytes([
            SBOX[a as usize],
            SBOX[b as usize],
            SBOX[c as usize],
            SBOX[d as usize],
        ])
    };
    let mut constant = 1_u8;
    for at in words..4 * (rounds as usize + 1) {
        let mut word = keys[at - 1];
        if at % words == 0 {
            word = substitute(word.rotate_left(8)) ^ (constant as u32) << 24;
            constant = double(constant);
        } else if words > 6 && at % words == 4 {
            word = substitute(word);
        }
        keys[at] = keys[at - words] ^ word;
    }
    Some(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> std::vec::Vec<u8> {
        let digits: std::vec::Vec<u8> = text
            .chars()
            .filter_map(|c| c.to_digit(16))
            .map(|digit| digit as u8)
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    fn encrypted(key: &str, block: &str) -> std::vec::Vec<u8> {
        let mut keys = [0; ROUND_KEYS];
        let rounds = expand(&hex(key), &mut keys).unwrap();
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(hex(block).as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        // SAFETY: so many words.
        unsafe { encrypt(keys.as_ptr(), rounds, words.as_mut_ptr()) };
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// FIPS 197, appendix C.
    #[test]
    fn blocks_are_encrypted_as_the_standard_says() {
        let block = "00112233445566778899aabbccddeeff";
        assert_eq!(
            encrypted("000102030405060708090a0b0c0d0e0f", block),
            hex("69c4e0d86a7b0430d8cdb78070b4c55a")
        );
        assert_eq!(
            encrypted(
                "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
                block
            ),
            hex("8ea2b7ca516745bfeafc49904b496089")
        );
    }

    #[test]
    fn other_lengths_are_no_keys() {
        assert_eq!(expand(&[0; 24], &mut [0; ROUND_KEYS]), None);
        assert_eq!(expand(&[], &mut [0; ROUND_KEYS]), None);
    }
}
