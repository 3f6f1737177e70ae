//! Header blocks, one after the other: what two decoders accept they read alike, and a decoder that came
//! late knows nothing that is not so and blames nobody.
//!
//! Input: where the late decoder begins; then blocks with their length (one byte) before them. Length 255:
//! the next byte is a new limit of the table.

use h2trace_core::frame::Field;
use h2trace_core::frame::hpack::Decoder;
use h2trace_core::limits;

use crate::bounded;

/// Blocks as input.
pub fn encode(late: u8, blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut input = vec![late];
    for block in blocks {
        for part in block.chunks(254) {
            input.push(part.len() as u8);
            input.extend(part);
        }
    }
    input
}

pub fn run(data: &[u8]) {
    bounded(data.len(), 16 << 20, 256, || decode(data));
}

fn decode(data: &[u8]) {
    let Some((late_from, mut rest)) = data.split_first() else {
        return;
    };
    let late_from = usize::from(*late_from % 16);
    let mut whole = Decoder::new(true);
    let mut late = Decoder::new(false);
    let mut other = Some(loona_hpack::Decoder::new());
    let mut n = 0;
    while let Some((len, after)) = rest.split_first() {
        if *len == 255 {
            let Some((limit, after)) = after.split_first() else {
                return;
            };
            let limit = u32::from(*limit) << 6;
            whole.set_limit(limit);
            // One that came late may not have seen it.
            if limit >= 4_096 || n >= late_from {
                late.set_limit(limit);
            }
            other = None;
            rest = after;
            continue;
        }
        let (block, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        let decoded = whole.decode(block, false);
        check(&decoded.block.fields, decoded.block.list_size);
        if let Some(decoder) = &mut other {
            match (decoder.decode(block), &decoded.error) {
                (Ok(theirs), None) => {
                    let ours = decoded.block.fields.iter().map(|field| {
                        let part = |part: Option<&[u8]>| part.expect("unseen").to_vec();
                        (part(field.name()), part(field.value()))
                    });
                    if !decoded.list_limited {
                        assert_eq!(ours.collect::<Vec<_>>(), theirs);
                    }
                }
                _ => other = None,
            }
        }
        if n >= late_from {
            let seen = late.decode(block, false);
            if decoded.error.is_none() {
                assert_eq!(seen.error, None, "one that came late blames the sender");
                let (knows, is) = (&seen.block.fields, &decoded.block.fields);
                if !seen.list_limited && !decoded.list_limited {
                    assert_eq!(knows.len(), is.len());
                }
                for (knows, is) in knows.iter().zip(is) {
                    assert!(
                        knows.name().is_none() || knows.name() == is.name(),
                        "{knows:?} {is:?}"
                    );
                    assert!(
                        knows.value().is_none() || knows.value() == is.value(),
                        "{knows:?} {is:?}"
                    );
                    assert_eq!(knows.never_indexed, is.never_indexed);
                }
            }
        }
        if decoded.error.is_some() {
            return;
        }
        n += 1;
    }
}

fn check(fields: &[Field], list_size: u64) {
    let kept: usize = fields.iter().map(Field::size).sum();
    assert!(kept <= limits::HEADER_LIST);
    assert!(kept as u64 <= list_size);
}
