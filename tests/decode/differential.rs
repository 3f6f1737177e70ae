//! Our HPACK decoder against one that others wrote.

use h2trace_core::frame::hpack::Decoder;
use proptest::prelude::*;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn ours(decoder: &mut Decoder, block: &[u8]) -> Option<Fields> {
    let decoded = decoder.decode(block, false);
    if decoded.error.is_some() {
        return None;
    }
    let fields = decoded.block.fields.iter();
    Some(
        fields
            .map(|f| (f.name().unwrap().to_vec(), f.value().unwrap().to_vec()))
            .collect(),
    )
}

/// An integer with a prefix, below the octet's other bits.
fn integer(bits: u8, prefix: u32, value: usize) -> Vec<u8> {
    let max = (1usize << prefix) - 1;
    if value < max {
        return vec![bits | value as u8];
    }
    let mut bytes = vec![bits | max as u8];
    let mut rest = value - max;
    while rest >= 128 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = integer(0, 7, text.len());
    bytes.extend(text.bytes());
    bytes
}

/// One representation of RFC 7541 section 6.
fn representation() -> impl Strategy<Value = Vec<u8>> {
    let literal = (0usize..4, 0usize..75, "[a-z-]{1,12}", "[ -~]{0,200}").prop_map(
        |(form, index, name, value)| {
            let mut bytes = match form {
                0 => integer(0x40, 6, index),
                1 => integer(0x00, 4, index),
                2 => integer(0x10, 4, index),
                _ => integer(0x40, 6, 0),
            };
            if index == 0 || form == 3 {
                bytes.extend(string(&name));
            }
            bytes.extend(string(&value));
            bytes
        },
    );
    prop_oneof![2 => (1usize..80).prop_map(|index| integer(0x80, 7, index)), 3 => literal]
}

fn blocks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let update = prop::option::weighted(0.2, 0usize..4_097);
    let block =
        (update, prop::collection::vec(representation(), 1..8)).prop_map(|(update, fields)| {
            let mut bytes = update.map_or(Vec::new(), |size| integer(0x20, 5, size));
            bytes.extend(fields.concat());
            bytes
        });
    prop::collection::vec(block, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_decoders_say_the_same_of_valid_representations(blocks in blocks()) {
        let (mut decoder, mut other) = (Decoder::new(true), loona_hpack::Decoder::new());
        for block in blocks {
            let (ours, theirs) = (ours(&mut decoder, &block), other.decode(&block).ok());
            prop_assert_eq!(&ours, &theirs, "{:02x?}", block);
            if ours.is_none() {
                break;
            }
        }
    }

    #[test]
    fn what_both_accept_of_any_bytes_they_read_alike(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
    ) {
        let (mut decoder, mut other) = (Decoder::new(true), loona_hpack::Decoder::new());
        for block in blocks {
            let (Some(ours), Ok(theirs)) = (ours(&mut decoder, &block), other.decode(&block)) else {
                break;
            };
            prop_assert_eq!(ours, theirs, "{:02x?}", block);
        }
    }
}
