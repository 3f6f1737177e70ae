use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use proptest::prelude::*;

use super::*;

/// The schedule of a key, by the standard's recursion.
fn expanded(key: &[u8]) -> Vec<[u8; 4]> {
    let (key_words, mut constant) = (key.len() / 4, 1);
    let mut words: Vec<[u8; 4]> = key.as_chunks::<4>().0.to_vec();
    for n in key_words..words_of(key_words) {
        let mut word = words[n - 1];
        if n % key_words == 0 {
            word.rotate_left(1);
        }
        if n % key_words == 0 || n % key_words == 4 {
            word = word.map(|byte| S_BOX[usize::from(byte)]);
        }
        if n % key_words == 0 {
            word[0] ^= constant;
            constant = double(constant);
        }
        let back = words[n - key_words];
        words.push(std::array::from_fn(|at| word[at] ^ back[at]));
    }
    words
}

/// The same as bytes, as they are or with each word turned round.
fn in_memory(key: &[u8], turned: bool) -> Vec<u8> {
    let turn = |mut word: [u8; 4]| {
        if turned {
            word.reverse();
        }
        word
    };
    expanded(key).into_iter().flat_map(turn).collect()
}

fn found(memory: &[u8], most: usize) -> (Vec<(usize, Vec<u8>)>, Searched) {
    let mut all = Vec::new();
    let searched = schedules(memory, most, &mut |at, key| all.push((at, key.to_vec())));
    (all, searched)
}

/// What looks like nothing, the same for the same seed.
fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn the_schedules_of_fips_197_are_followed() {
    // Appendix A.1 and A.3: the key, and its last word.
    let short = "2b7e151628aed2a6abf7158809cf4f3c";
    let long = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
    let bytes = crate::tls::tests::rfc8448::bytes;
    for (key, last) in [(short, "b6630ca6"), (long, "706c631e")] {
        let key = bytes(key);
        assert_eq!(expanded(&key).last().unwrap()[..], bytes(last));
        for turned in [false, true] {
            let memory = in_memory(&key, turned);
            assert_eq!(found(&memory, 9).0, [(0, key.clone())]);
            // The last byte belongs to it.
            let mut other = memory.clone();
            *other.last_mut().unwrap() ^= 1;
            assert_eq!(found(&other, 9).0, []);
            assert_eq!(found(&memory[..memory.len() - 4], 9).0, []);
        }
    }
}

#[test]
fn the_table_is_the_one_of_the_cipher() {
    // One block by the schedule's table and by the cipher: the first round key of zeros is 0x62 in each byte but the
    // others of S_BOX[0].
    assert_eq!((S_BOX[0], S_BOX[0x53], S_BOX[0xff]), (0x63, 0xed, 0x16));
    let mut sorted = S_BOX;
    sorted.sort_unstable();
    assert!(
        sorted
            .iter()
            .enumerate()
            .all(|(n, byte)| n == usize::from(*byte))
    );
    let mut block = aes::Block::default();
    aes::Aes128::new(&[0; 16].into()).encrypt_block(&mut block);
    assert_eq!(block[0], 0x66);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_schedule_is_found_wherever_it_stands(
        keys in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 32), any::<bool>(), any::<bool>(), 0_usize..120),
            1..6,
        ),
        seed in any::<u64>(),
        zeros in any::<bool>(),
    ) {
        let mut memory = Vec::new();
        let mut wanted = Vec::new();
        for (key, is_short, turned, before) in &keys {
            let key = if *is_short { &key[..16] } else { &key[..] };
            let before = 4 * before;
            memory.extend(if zeros { vec![0; before] } else { noise(before, seed) });
            wanted.push((memory.len(), key.to_vec()));
            memory.extend(in_memory(key, *turned));
        }
        memory.extend(noise(7, seed));
        let (told, searched) = found(&memory, 100);
        prop_assert_eq!(told, wanted);
        prop_assert_eq!(searched, Searched { found: keys.len(), stopped_at: None });
    }

    #[test]
    fn nothing_is_found_where_nothing_is(seed in any::<u64>(), byte in any::<u8>()) {
        prop_assert_eq!(found(&noise(65_536, seed), 9).0, []);
        prop_assert_eq!(found(&vec![byte; 16_384], 9).0, []);
        // Exclusive or of neighbours, without the key expansion.
        let mut words: Vec<u32> = (1..9).map(|n| n * 0x0101_0307).collect();
        for n in 8..2_000 {
            words.push(words[n - 4] ^ words[n - 1]);
        }
        let memory: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
        prop_assert_eq!(found(&memory, 9).0, []);
    }

    #[test]
    fn memory_full_of_them_is_told_in_part(most in 0_usize..40, turned in any::<bool>()) {
        let memory: Vec<u8> = (0..60_u8).flat_map(|n| in_memory(&[n; 32], turned)).collect();
        let (told, searched) = found(&memory, most);
        prop_assert_eq!(told.len(), most);
        prop_assert_eq!(searched.stopped_at, Some(most * LONGEST_SCHEDULE));
    }

    #[test]
    fn pieces_that_overlap_find_what_the_whole_has(
        key in prop::collection::vec(any::<u8>(), 32),
        at in 0_usize..1_000,
    ) {
        let mut memory = noise(4 * at, 1);
        memory.extend(in_memory(&key, false));
        memory.extend(noise(4_000, 2));
        let mut times = 0;
        let mut from = 0;
        while from < memory.len() {
            let to = memory.len().min(from + 1_024 + LONGEST_SCHEDULE - 4);
            times += found(&memory[from..to], 9).0.len();
            from += 1_024;
        }
        prop_assert_eq!(times, 1);
    }
}
