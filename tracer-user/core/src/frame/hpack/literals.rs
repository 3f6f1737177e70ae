//! Literals that came before and may come again: some encoders put hardly anything into the dynamic table, and send
//! the same fields as literals with every request.

use std::sync::Arc;

use super::octets::Octets;
use crate::field::Entry;
use crate::limits;

/// Index of the name in the static table or 0, name, and value, as they were sent.
type Encoded<'a> = (u32, Octets<'a>, Octets<'a>);

/// A literal that came before.
#[derive(Debug)]
struct Known {
    index: u32,
    is_huffman: [bool; 2],
    /// The octets of the name, and those of the value.
    octets: Vec<u8>,
    name_len: usize,
    entry: Arc<Entry>,
    /// It came again since another one wanted its place.
    again: bool,
}

impl Known {
    fn is(&self, (index, name, value): Encoded<'_>) -> bool {
        let ((is_huffman, name), (value_is_huffman, value)) = (name.encoded(), value.encoded());
        self.index == index
            && self.is_huffman == [is_huffman, value_is_huffman]
            && self.octets.split_at_checked(self.name_len) == Some((name, value))
    }
}

/// Literals of one direction.
#[derive(Debug, Default)]
pub(super) struct Literals {
    /// Each may stand in one place only; empty until the first one comes. On most connections few places are taken.
    places: Vec<Option<Box<Known>>>,
}

impl Literals {
    /// Bytes of memory that they take, about.
    pub(super) fn memory(&self) -> usize {
        let each = size_of::<Known>() + size_of::<Entry>() + limits::RECENT_LITERAL;
        self.places.len() * each
    }

    /// The entry that these octets are, if they came before.
    pub(super) fn find(&mut self, encoded: Encoded<'_>) -> Option<Arc<Entry>> {
        let known = self.places.get_mut(place(encoded))?.as_mut()?;
        if !known.is(encoded) {
            return None;
        }
        known.again = true;
        Some(Arc::clone(&known.entry))
    }

    /// Keeps an entry, unless it is long. One that came again stays when its place is wanted for the first time.
    pub(super) fn keep(&mut self, encoded: Encoded<'_>, entry: &Arc<Entry>) {
        let (index, name, value) = encoded;
        let ((is_huffman, name), (value_is_huffman, value)) = (name.encoded(), value.encoded());
        if name.len() + value.len() > limits::RECENT_LITERAL {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(limits::RECENT_LITERALS, || None);
        }
        let Some(place) = self.places.get_mut(place(encoded)) else {
            return;
        };
        let mut octets = Vec::new();
        if let Some(known) = place {
            if std::mem::take(&mut known.again) {
                return;
            }
            octets = std::mem::take(&mut known.octets);
            octets.clear();
        }
        octets.extend_from_slice(name);
        octets.extend_from_slice(value);
        let known = Known {
            index,
            is_huffman: [is_huffman, value_is_huffman],
            octets,
            name_len: name.len(),
            entry: Arc::clone(entry),
            again: false,
        };
        match place {
            Some(place) => **place = known,
            None => *place = Some(Box::new(known)),
        }
    }
}

/// Where a literal may stand. Whoever chooses literals that want one place makes only their decoding slower.
fn place((index, name, value): Encoded<'_>) -> usize {
    let ends = |(_, octets): (bool, &[u8])| {
        let last = octets
            .last_chunk::<4>()
            .map(|last| u32::from_le_bytes(*last));
        last.unwrap_or(0) ^ (octets.len() as u32).wrapping_mul(0x01_01_01)
    };
    let mixed = (index ^ ends(name.encoded()).rotate_left(16) ^ ends(value.encoded()))
        .wrapping_mul(0x9e37_79b9);
    mixed as usize % limits::RECENT_LITERALS
}
