//! Integers with a prefix (RFC 7541 section 5.1).

use super::Error;

/// Reads an integer whose first octet is `first` with a prefix of `prefix` bits; its other octets are
/// taken off `input`. Values of 2^31 and above, and more than five octets after the prefix, are errors.
pub(super) fn decode(first: u8, prefix: u32, input: &mut &[u8]) -> Result<u32, Error> {
    let mask = (1u32 << prefix) - 1;
    let mut value = u64::from(u32::from(first) & mask);
    if value < u64::from(mask) {
        return Ok(value as u32);
    }
    for shift in [0u32, 7, 14, 21, 28] {
        let Some((&octet, rest)) = input.split_first() else {
            return Err(Error::Truncated);
        };
        *input = rest;
        value += u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return u32::try_from(value)
                .ok()
                .filter(|&v| v < 1 << 31)
                .ok_or(Error::Integer);
        }
    }
    Err(Error::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], prefix: u32) -> (Result<u32, Error>, usize) {
        let mut rest = &bytes[1..];
        let result = decode(bytes[0], prefix, &mut rest);
        (result, rest.len())
    }

    #[test]
    fn examples_of_rfc_7541_appendix_c_1() {
        assert_eq!(read(&[0b1110_1010], 5), (Ok(10), 0));
        assert_eq!(
            read(&[0b0001_1111, 0b1001_1010, 0b0000_1010], 5),
            (Ok(1337), 0)
        );
        assert_eq!(read(&[42, 7], 8), (Ok(42), 1));
    }

    #[test]
    fn the_bound_is_two_to_the_31() {
        assert_eq!(
            read(&[0xff, 0x80, 0xff, 0xff, 0xff, 0x07], 7),
            (Ok((1 << 31) - 1), 0)
        );
        assert_eq!(
            read(&[0xff, 0x81, 0xff, 0xff, 0xff, 0x07], 7),
            (Err(Error::Integer), 0)
        );
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00], 7).0,
            Err(Error::Integer)
        );
    }

    #[test]
    fn trailing_zero_octets_are_allowed_within_the_length_bound() {
        assert_eq!(read(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x00], 7), (Ok(127), 0));
        assert_eq!(
            read(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 7).0,
            Err(Error::Integer)
        );
    }

    #[test]
    fn an_integer_that_does_not_end_is_truncated() {
        assert_eq!(read(&[0x1f, 0x9a], 5).0, Err(Error::Truncated));
    }
}
