//! Takes header blocks apart, as far as is needed to say of what sorts their representations are
//! (RFC 7541 section 6). Independent of the decoder that is tested, and for valid blocks only.

use std::collections::{BTreeMap, VecDeque};

/// What a field's octets do with the dynamic table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// An entry, name and value (section 6.1).
    Indexed,
    /// With incremental indexing (section 6.2.1).
    Inserted,
    /// Without indexing (section 6.2.2).
    NotIndexed,
    /// Never indexed (section 6.2.3).
    NeverIndexed,
}

/// The last entry of the static table.
const STATIC: usize = 61;

/// How often there is what.
pub(crate) type Counts = BTreeMap<String, usize>;

/// The octets that are left of a block.
struct BlockReader<'a> {
    rest: &'a [u8],
    counts: &'a mut Counts,
}

/// A block taken apart.
pub(crate) struct Parts {
    /// The sizes of the dynamic table that it begins with (section 6.3).
    pub(crate) updates: Vec<usize>,
    /// The form of each field.
    pub(crate) forms: Vec<Form>,
}

/// Takes a block apart. What it is made of is added to `counts`.
pub(crate) fn parts(block: &[u8], counts: &mut Counts) -> Parts {
    let mut block = BlockReader {
        rest: block,
        counts,
    };
    let mut forms = Vec::new();
    let mut updates = Vec::new();
    while let Some(&first) = block.rest.first() {
        if first >> 5 == 0b001 {
            updates.push(block.integer(5, "size"));
            continue;
        }
        forms.push(block.field(first));
    }
    match updates.len() {
        0 => {}
        1 => block.count("size update".to_owned()),
        _ => block.count("size updates in a row".to_owned()),
    }
    Parts { updates, forms }
}

/// An indexed field (section 6.1) with an index of less than 255.
pub(crate) fn indexed(index: usize) -> Vec<u8> {
    match index.checked_sub(127) {
        None => vec![0x80 | index as u8],
        Some(rest) => vec![0xff, u8::try_from(rest).unwrap()],
    }
}

/// How large the entries of the dynamic table are, newest first, by section 4.
pub(crate) struct Sizes {
    entries: VecDeque<usize>,
    limit: usize,
}

impl Sizes {
    /// Those of an empty table of so many octets.
    pub(crate) fn new(limit: usize) -> Sizes {
        Sizes {
            entries: VecDeque::new(),
            limit,
        }
    }

    /// A block goes by, whose fields count so many octets each.
    pub(crate) fn block(&mut self, block: &[u8], fields: impl Iterator<Item = usize>) {
        let Parts { updates, forms } = parts(block, &mut Counts::new());
        for limit in updates {
            self.limit = limit;
            self.evict();
        }
        for (form, size) in forms.into_iter().zip(fields) {
            if form == Form::Inserted {
                self.entries.push_front(size);
                self.evict();
            }
        }
    }

    fn evict(&mut self) {
        while self.entries.iter().sum::<usize>() > self.limit {
            self.entries.pop_back();
        }
    }

    /// The index of the oldest entry; the last of the static table when there is none.
    pub(crate) fn last_index(&self) -> usize {
        STATIC + self.entries.len()
    }
}

impl BlockReader<'_> {
    fn count(&mut self, what: String) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn field(&mut self, first: u8) -> Form {
        let (form, prefix) = match first >> 4 {
            0b0000 => (Form::NotIndexed, 4),
            0b0001 => (Form::NeverIndexed, 4),
            0b0100..=0b0111 => (Form::Inserted, 6),
            _ => (Form::Indexed, 7),
        };
        let index = self.integer(prefix, "index");
        let from = match index {
            0 => "new name",
            1..=STATIC => "static table",
            _ => "dynamic table",
        };
        self.count(format!("{form:?}, {from}"));
        if index == 0 {
            self.string("name");
        }
        if form != Form::Indexed {
            self.string("value");
        }
        form
    }

    fn string(&mut self, what: &str) {
        let is_huffman = self.rest[0] & 0x80 != 0;
        let len = self.integer(7, "length");
        let coding = match (is_huffman, len) {
            (_, 0) => "empty",
            (true, _) => "Huffman",
            (false, _) => "plain",
        };
        self.count(format!("{what} {coding}"));
        self.rest = &self.rest[len..];
    }

    /// Section 5.1.
    fn integer(&mut self, prefix: u32, what: &str) -> usize {
        let mask = (1 << prefix) - 1;
        let mut value = usize::from(self.rest[0]) & mask;
        let mut octets = 1;
        if value == mask {
            loop {
                let octet = self.rest[octets];
                value += usize::from(octet & 0x7f) << (7 * (octets - 1));
                octets += 1;
                if octet & 0x80 == 0 {
                    break;
                }
            }
        }
        self.count(format!("{what} of {octets}"));
        self.rest = &self.rest[octets..];
        value
    }
}
