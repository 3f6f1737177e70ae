//! httlib-hpack, which leaves the form of each field to its caller: all of them come by turns.

use httlib_hpack::Encoder;

use crate::Result;
use crate::fields::List;

/// Looked up in the tables, Huffman coded name and value, inserted: of these each field gets some.
const OPEN: [u8; 12] = [
    Encoder::BEST_FORMAT | Encoder::WITH_INDEXING | Encoder::HUFFMAN_NAME | Encoder::HUFFMAN_VALUE,
    Encoder::BEST_FORMAT | Encoder::WITH_INDEXING,
    Encoder::BEST_FORMAT,
    Encoder::WITH_INDEXING | Encoder::HUFFMAN_NAME,
    Encoder::BEST_FORMAT | Encoder::HUFFMAN_VALUE,
    Encoder::BEST_FORMAT | Encoder::WITH_INDEXING | Encoder::HUFFMAN_VALUE,
    0,
    Encoder::BEST_FORMAT | Encoder::NEVER_INDEXED,
    Encoder::WITH_INDEXING | Encoder::HUFFMAN_VALUE,
    Encoder::NEVER_INDEXED,
    Encoder::HUFFMAN_NAME | Encoder::HUFFMAN_VALUE,
    Encoder::BEST_FORMAT | Encoder::WITH_INDEXING | Encoder::HUFFMAN_VALUE,
];

const SECRET: [u8; 4] = [
    Encoder::NEVER_INDEXED | Encoder::BEST_FORMAT,
    Encoder::NEVER_INDEXED | Encoder::HUFFMAN_NAME,
    Encoder::NEVER_INDEXED | Encoder::BEST_FORMAT | Encoder::HUFFMAN_VALUE,
    Encoder::NEVER_INDEXED,
];

pub(crate) fn encode(list: &List) -> Result<Vec<Vec<u8>>> {
    let mut encoder = Encoder::default();
    let mut blocks = Vec::new();
    let mut turn = 0;
    for block in &list.blocks {
        let mut bytes = Vec::new();
        for &size in smallest_and_last(&block.tables).iter() {
            encoder.update_max_dynamic_size(size, &mut bytes)?;
        }
        for field in &block.fields {
            let flags = if field.secret {
                SECRET[turn % SECRET.len()]
            } else {
                OPEN[turn % OPEN.len()]
            };
            // Not in step with how many fields a block has.
            turn += 1 + usize::from(turn % 7 == 3);
            encoder.encode((field.name.clone(), field.value.clone(), flags), &mut bytes)?;
        }
        blocks.push(bytes);
    }
    Ok(blocks)
}

/// Of several sizes between two blocks these are what must be told (RFC 7541 section 4.2).
fn smallest_and_last(sizes: &[u32]) -> Vec<u32> {
    match (sizes.iter().min(), sizes.last()) {
        (Some(&smallest), Some(&last)) if smallest < last => vec![smallest, last],
        (_, Some(&last)) => vec![last],
        _ => Vec::new(),
    }
}
