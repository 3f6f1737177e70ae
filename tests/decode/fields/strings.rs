//! Strings of every octet, and of every length that matters.

use super::{BASE64, Block, Field, Numbers, block, field};

/// Every octet, alone, repeated, and beside others: each code of the Huffman table at each place in an octet.
pub(super) fn octets() -> Vec<Block> {
    let mut blocks = Vec::new();
    for first in (0..=255u8).step_by(8) {
        let run: Vec<u8> = (first..=first + 7).collect();
        let mut fields = vec![field("x-run", &run)];
        for octet in run {
            fields.push(field("x-octet", vec![octet; 1 + usize::from(octet % 8)]));
        }
        blocks.push(block(fields));
    }
    let all: Vec<u8> = (0..=255).collect();
    let back: Vec<u8> = all.iter().rev().copied().collect();
    blocks.push(block(vec![field("x-all", &all), field("x-back", back)]));
    blocks.push(block(vec![
        field("x-ascii", &all[32..127]),
        field("x-utf8", "Zürich, 東京, Ελλάδα 🙂"),
    ]));
    // A name is any octets too, as far as HPACK is concerned.
    let strange = Field {
        name: vec![0xff, 0x00, b'~', 0x80],
        ..field("", "value")
    };
    blocks.push(block(vec![strange.clone(), strange]));
    for before in [b'0', b'a', b':', b'A', b'X', b'!', b'#', 0x00] {
        let pairs: Vec<u8> = (0..=255).flat_map(|octet| [before, octet]).collect();
        blocks.push(block(vec![field("x-pairs", pairs)]));
    }
    blocks
}

/// Lengths on both sides of where an integer takes another octet (RFC 7541 section 5.1), for strings that the
/// Huffman code makes shorter, leaves as they are, and makes longer.
pub(super) fn long() -> Vec<Block> {
    let mut numbers = Numbers(6);
    let lengths = [
        1, 62, 63, 64, 126, 127, 128, 129, 202, 203, 204, 205, 254, 255, 256, 382, 383, 16_382,
        16_383, 16_384, 16_509, 16_510, 16_511, 16_512, 26_414, 26_416, 26_418,
    ];
    let one = |len: usize| {
        let name = format!("x-{}", "n".repeat(len.min(600)));
        block(vec![
            field("x-five-bits", "a".repeat(len)),
            field("x-eight-bits", "X".repeat(len)),
            field("x-many-bits", vec![0xff; len.min(5_000)]),
            field("x-mixed", numbers.text(BASE64, len)),
            field(&name, "v"),
        ])
    };
    lengths.into_iter().map(one).collect()
}

pub(super) fn empty() -> Vec<Block> {
    let one = |n: usize| {
        block(vec![
            field(":authority", ""),
            field("accept-charset", ""),
            field("cookie", ""),
            field("x-empty", ""),
            field("x-empty", ""),
            field(&format!("x-empty-{n}"), ""),
            field("x-empty", format!("not, {n}")),
        ])
    };
    (0..12).map(one).collect()
}
