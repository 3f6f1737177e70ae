//! RFC 7541: header compression, alive after a late attach.
//!
//! Dynamic indices count from the newest entry (RFC 7541 section 2.3.3), so every entry whose insertion
//! was seen resolves, whatever came before. What is older is unseen, and decoding goes on.

mod decoder;
mod dynamic_table;
mod huffman;
mod integer;
mod literals;
mod octets;
mod recent;
mod static_table;
mod stems;

use super::Rule;
pub use decoder::{Decoded, Decoder};

/// Why a header block cannot be decoded. All are COMPRESSION_ERROR (RFC 9113 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The block ends inside a field.
    Truncated,
    /// An integer above the bound.
    Integer,
    /// EOS, or padding that is longer than 7 bits or not all ones.
    Huffman,
    /// Index 0, or past the end of the tables.
    Index,
    /// A size update after the first field.
    SizeUpdatePlace,
    /// A size update above the limit.
    SizeUpdateLimit,
}

impl Error {
    /// The rule that it breaks.
    #[must_use]
    pub const fn rule(self) -> Rule {
        match self {
            Error::Truncated => Rule::BlockTruncated,
            Error::Integer => Rule::IntegerTooLarge,
            Error::Huffman => Rule::HuffmanCode,
            Error::Index => Rule::TableIndex,
            Error::SizeUpdatePlace => Rule::SizeUpdatePlace,
            Error::SizeUpdateLimit => Rule::SizeUpdateLimit,
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.rule().as_str())
    }
}

impl std::error::Error for Error {}
