//! String literals (RFC 7541 section 5.2).

use super::{Error, huffman, integer};

/// A string as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Octets<'a> {
    is_huffman: bool,
    octets: &'a [u8],
}

impl<'a> Octets<'a> {
    /// No octet.
    pub(super) const EMPTY: Octets<'static> = Octets {
        is_huffman: false,
        octets: &[],
    };

    /// Takes a string off `input`.
    pub(super) fn take(input: &mut &'a [u8]) -> Result<Octets<'a>, Error> {
        let Some((&first, rest)) = input.split_first() else {
            return Err(Error::Truncated);
        };
        *input = rest;
        let len = integer::decode(first, 7, input)? as usize;
        let Some((octets, rest)) = input.split_at_checked(len) else {
            return Err(Error::Truncated);
        };
        *input = rest;
        Ok(Octets {
            is_huffman: first & 0x80 != 0,
            octets,
        })
    }

    /// As it was sent.
    pub(super) const fn encoded(self) -> (bool, &'a [u8]) {
        (self.is_huffman, self.octets)
    }

    /// Puts it into `memory`, in place of what is there.
    pub(super) fn decode(self, memory: &mut Vec<u8>) -> Result<(), Error> {
        memory.clear();
        if self.is_huffman {
            return huffman::decode(self.octets, memory);
        }
        memory.extend_from_slice(self.octets);
        Ok(())
    }
}
