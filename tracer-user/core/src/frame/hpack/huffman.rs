//! Huffman code (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: symbols of equal code length have consecutive codes in the order of their
//! values. So the lengths of appendix B's list determine it; the tables are computed from them at
//! compile time.

use super::Error;

/// End of string. It must never occur (section 5.2).
const EOS: u16 = 256;
const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// Code length of each symbol in bits: the last column of appendix B, EOS last.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, // 0
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, // 16
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // 32
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // 48
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // 64
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // 80
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // 96
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, // 112
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, // 128
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, // 144
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, // 160
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, // 176
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, // 192
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, // 208
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, // 224
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, // 240
    30, // EOS
];

/// The codes of one length: the first of them, how many, and where their symbols begin.
#[derive(Clone, Copy)]
struct Length {
    first: u32,
    count: u32,
    symbols_at: u32,
}

struct Tables {
    /// By the next eight bits: symbol and code length (high byte); 0 for a longer code.
    short: [u16; 256],
    /// By code length.
    by_length: [Length; LONGEST + 1],
    symbols: [u16; 257],
    codes: [u32; 257],
}

static TABLES: Tables = tables();

#[expect(
    clippy::indexing_slicing,
    reason = "run by the compiler: a wrong index fails the build"
)]
const fn tables() -> Tables {
    let mut tables = Tables {
        short: [0; 256],
        by_length: [Length {
            first: 0,
            count: 0,
            symbols_at: 0,
        }; LONGEST + 1],
        symbols: [0; 257],
        codes: [0; 257],
    };
    let (mut code, mut n_symbols) = (0u32, 0usize);
    let mut length = SHORTEST;
    while length <= LONGEST {
        tables.by_length[length] = Length {
            first: code,
            count: 0,
            symbols_at: n_symbols as u32,
        };
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                tables.symbols[n_symbols] = symbol as u16;
                tables.codes[symbol] = code;
                if length <= 8 {
                    // Every value of the eight bits that begins with this code.
                    let from = (code as usize) << (8 - length);
                    let mut i = from;
                    while i < from + (1 << (8 - length)) {
                        tables.short[i] = (length as u16) << 8 | symbol as u16;
                        i += 1;
                    }
                }
                n_symbols += 1;
                code += 1;
            }
            symbol += 1;
        }
        tables.by_length[length].count = code - tables.by_length[length].first;
        code <<= 1;
        length += 1;
    }
    // A complete prefix code ends with the code of all ones, which is EOS.
    assert!(n_symbols == 257 && tables.codes[256] == (1 << LONGEST) - 1);
    tables
}

/// The symbol whose code the left end of `bits` begins with, and the code's length.
#[inline]
fn symbol(bits: u64) -> (u16, u32) {
    let short = TABLES
        .short
        .get((bits >> 56) as usize)
        .copied()
        .unwrap_or(0);
    if short != 0 {
        return (short & 0xff, u32::from(short >> 8));
    }
    long_symbol(bits)
}

#[cold]
fn long_symbol(bits: u64) -> (u16, u32) {
    let top = (bits >> 32) as u32;
    for (length, codes) in (0u32..).zip(&TABLES.by_length).skip(9) {
        let nth = (top >> (32 - length)).wrapping_sub(codes.first);
        if nth < codes.count {
            let at = (codes.symbols_at + nth) as usize;
            return (TABLES.symbols.get(at).copied().unwrap_or(EOS), length);
        }
    }
    (EOS, LONGEST as u32)
}

/// Room that [`decode`] needs for a string of `len` octets.
pub(super) const fn longest(len: usize) -> usize {
    len * 8 / SHORTEST
}

/// Appends the decoded string to `out`.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    out.resize(start + longest(input.len()), 0);
    let mut n_symbols = 0;
    let mut slots = out.get_mut(start..).unwrap_or_default().iter_mut();
    let mut rest = input;
    // The next bits of the string, left-aligned, and how many there are.
    let (mut bits, mut have) = (0u64, 0u32);
    loop {
        if let Some((chunk, after)) = rest.split_first_chunk::<4>() {
            bits |= u64::from(u32::from_be_bytes(*chunk)) << (32 - have);
            have += 32;
            rest = after;
        } else {
            for &octet in rest {
                bits |= u64::from(octet) << (56 - have);
                have += 8;
            }
            break;
        }
        // Decode until the next four octets fit; no code is longer than what is left until then.
        while have > 32 {
            let (symbol, length) = symbol(bits);
            let Some(slot) = slots.next().filter(|_| symbol != EOS) else {
                return Err(Error::Huffman);
            };
            *slot = symbol as u8;
            n_symbols += 1;
            bits <<= length;
            have -= length;
        }
    }
    // Ones after the end make the padding look like the beginning of EOS.
    bits |= u64::MAX.checked_shr(have).unwrap_or(0);
    while bits != u64::MAX {
        let (symbol, length) = symbol(bits);
        if length > have {
            break;
        }
        let Some(slot) = slots.next().filter(|_| symbol != EOS) else {
            return Err(Error::Huffman);
        };
        *slot = symbol as u8;
        n_symbols += 1;
        bits = bits << length | ((1 << length) - 1);
        have -= length;
    }
    out.truncate(start + n_symbols);
    if have < 8 && bits == u64::MAX {
        Ok(())
    } else {
        Err(Error::Huffman)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(symbols: &[u16]) -> Vec<u8> {
        let mut bits = String::new();
        for &s in symbols {
            let s = usize::from(s);
            bits += &format!(
                "{:0width$b}",
                TABLES.codes[s],
                width = usize::from(LENGTHS[s])
            );
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|b| u8::from_str_radix(std::str::from_utf8(b).unwrap(), 2).unwrap())
            .collect()
    }

    fn decoded(input: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = b"before".to_vec();
        decode(input, &mut out).map(|()| out.split_off(6))
    }

    #[test]
    fn codes_are_those_of_appendix_b() {
        for (symbol, code, length) in [
            (0, 0x1ff8, 13),
            (10, 0x3fff_fffc, 30),
            (32, 0x14, 6),
            (48, 0x0, 5),
            (92, 0x7fff0, 19),
            (124, 0x7fc, 11),
            (195, 0x7fff1, 19),
            (249, 0x0fff_fffe, 28),
            (255, 0x3ff_ffee, 26),
            (256, 0x3fff_ffff, 30),
        ] {
            assert_eq!(
                (TABLES.codes[symbol], LENGTHS[symbol]),
                (code, length),
                "symbol {symbol}"
            );
        }
    }

    #[test]
    fn every_symbol_in_every_alignment_is_decoded() {
        for symbol in 0..256u16 {
            for shift in 0..8 {
                // Symbol '0' takes five bits: eight shifts give eight alignments.
                let mut text = vec![48u16; shift];
                text.extend([symbol, 97, symbol]);
                let want: Vec<u8> = text.iter().map(|&s| s as u8).collect();
                assert_eq!(
                    decoded(&encode(&text)),
                    Ok(want),
                    "symbol {symbol} shift {shift}"
                );
            }
        }
    }

    #[test]
    fn empty_string_is_empty() {
        assert_eq!(decoded(&[]), Ok(vec![]));
    }

    #[test]
    fn eos_is_an_error() {
        assert_eq!(decoded(&encode(&[97, 256, 97])), Err(Error::Huffman));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(Error::Huffman));
        assert_eq!(decoded(&[0xff; 40]), Err(Error::Huffman));
    }

    #[test]
    fn padding_longer_than_seven_bits_is_an_error() {
        let mut input = encode(&[97, 98, 99, 100, 101, 102, 103, 104]);
        assert!(decoded(&input).is_ok());
        input.push(0xff);
        assert_eq!(decoded(&input), Err(Error::Huffman));
    }

    #[test]
    fn padding_with_a_zero_is_an_error() {
        // 'a' is 00011; then 111 is right.
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()));
        assert_eq!(decoded(&[0b0001_1110]), Err(Error::Huffman));
        assert_eq!(decoded(&[0b0001_1011]), Err(Error::Huffman));
    }
}
