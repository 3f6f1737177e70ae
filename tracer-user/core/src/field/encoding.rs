//! Message encodings of gRPC.

/// A set of encodings. One whose name this program does not know is in every set that has such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encoding(u8);

impl Encoding {
    pub(crate) const IDENTITY: Encoding = Encoding(1);
    /// One that this program does not know, or that is unseen.
    pub(super) const OTHER: Encoding = Encoding(1 << 7);

    /// The encoding of this name.
    pub(super) fn of(name: &[u8]) -> Encoding {
        match name.to_ascii_lowercase().as_slice() {
            b"identity" => Encoding::IDENTITY,
            b"gzip" => Encoding(1 << 1),
            b"deflate" => Encoding(1 << 2),
            b"snappy" => Encoding(1 << 3),
            b"zstd" => Encoding(1 << 4),
            b"br" => Encoding(1 << 5),
            _ => Encoding::OTHER,
        }
    }

    /// The encodings of a list with commas; identity is always one.
    pub(super) fn all_of(list: &[u8]) -> Encoding {
        list.split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty())
            .fold(Encoding::IDENTITY, |all, name| all.and(Encoding::of(name)))
    }

    pub(super) const fn and(self, other: Encoding) -> Encoding {
        Encoding(self.0 | other.0)
    }

    /// `one` is certainly not among these.
    pub(crate) const fn leaves_out(self, one: Encoding) -> bool {
        self.0 & one.0 == 0 && one.0 != Encoding::OTHER.0 && one.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_left_out_only_when_its_name_is_known() {
        let gzip = Encoding::of(b"gzip");
        for (list, left_out) in [
            ("identity", true),
            ("", true),
            ("identity, deflate", true),
            ("identity,gzip", false),
            ("GZIP", false),
        ] {
            assert_eq!(
                Encoding::all_of(list.as_bytes()).leaves_out(gzip),
                left_out,
                "{list}"
            );
        }
        let identity = Encoding::all_of(b"gzip");
        assert!(!identity.leaves_out(Encoding::IDENTITY));
        assert!(!identity.leaves_out(Encoding::of(b"mine")));
    }
}
