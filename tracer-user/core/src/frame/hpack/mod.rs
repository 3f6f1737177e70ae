//! RFC 7541: header compression, alive after a late attach.
//!
//! Dynamic indices count from the newest entry (RFC 7541 section 2.3.3), so every entry whose insertion
//! was seen resolves, whatever came before. What is older is unseen, and decoding goes on.

mod decoder;
mod dynamic_table;
mod huffman;
mod integer;
mod static_table;

pub use decoder::{Decoded, Decoder};

/// Why a header block cannot be decoded. All are COMPRESSION_ERROR (RFC 9113 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The block ends inside a field.
    #[error("header block ends inside a field (RFC 7541 section 3.2)")]
    Truncated,
    /// An integer above the bound.
    #[error("integer too large (RFC 7541 section 5.1)")]
    Integer,
    /// EOS, or padding that is longer than 7 bits or not all ones.
    #[error("malformed Huffman code (RFC 7541 section 5.2)")]
    Huffman,
    /// Index 0, or past the end of the tables.
    #[error("index outside of the tables (RFC 7541 section 2.3.3)")]
    Index,
    /// A size update after the first field.
    #[error("dynamic table size update after a field (RFC 7541 section 4.2)")]
    SizeUpdatePlace,
    /// A size update above the limit.
    #[error("dynamic table size update above the limit (RFC 7541 section 6.3)")]
    SizeUpdateLimit,
}

impl Error {
    /// The rule as constant text, with its section.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Error::Truncated => "header block ends inside a field (RFC 7541 section 3.2)",
            Error::Integer => "integer too large (RFC 7541 section 5.1)",
            Error::Huffman => "malformed Huffman code (RFC 7541 section 5.2)",
            Error::Index => "index outside of the tables (RFC 7541 section 2.3.3)",
            Error::SizeUpdatePlace => {
                "dynamic table size update after a field (RFC 7541 section 4.2)"
            }
            Error::SizeUpdateLimit => {
                "dynamic table size update above the limit (RFC 7541 section 6.3)"
            }
        }
    }
}
