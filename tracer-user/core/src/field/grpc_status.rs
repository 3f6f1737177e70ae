//! `grpc-status`.

/// What a grpc-status field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrpcStatus {
    /// A number of 0 to 16 without leading zeros.
    WellFormed(u32),
    /// A number, but not of that form.
    OddNumber(u32),
    NoNumber,
}

impl GrpcStatus {
    /// Reads the field's value.
    pub(crate) fn of(value: &[u8]) -> GrpcStatus {
        let number = match value {
            [] => None,
            digits if digits.iter().all(u8::is_ascii_digit) => std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse::<u32>().ok()),
            _ => None,
        };
        match (number, value) {
            (Some(n @ 0..=9), [_]) | (Some(n @ 10..=16), [_, _]) => GrpcStatus::WellFormed(n),
            (Some(n), _) => GrpcStatus::OddNumber(n),
            (None, _) => GrpcStatus::NoNumber,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_and_foreign_numbers_are_odd() {
        for (value, want) in [
            ("0", GrpcStatus::WellFormed(0)),
            ("16", GrpcStatus::WellFormed(16)),
            ("17", GrpcStatus::OddNumber(17)),
            ("00", GrpcStatus::OddNumber(0)),
            ("05", GrpcStatus::OddNumber(5)),
            ("", GrpcStatus::NoNumber),
            ("-1", GrpcStatus::NoNumber),
            ("+1", GrpcStatus::NoNumber),
            ("OK", GrpcStatus::NoNumber),
            ("99999999999999999999", GrpcStatus::NoNumber),
        ] {
            assert_eq!(GrpcStatus::of(value.as_bytes()), want, "{value:?}");
        }
    }
}
