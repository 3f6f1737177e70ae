//! Cipher suites: their names, and which of them are decoded.

use super::info::Why;

/// A cipher suite by its number (IANA, "TLS Cipher Suites").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Suite(pub u16);

/// An AEAD that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

/// The hash of a suite's key derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
}

/// How a suite protects records, as far as h2trace decodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Aead(Cipher, Hash),
    Cbc,
    Other,
}

const AES_128: Kind = Kind::Aead(Cipher::Aes128Gcm, Hash::Sha256);
const AES_256: Kind = Kind::Aead(Cipher::Aes256Gcm, Hash::Sha384);
const CHACHA20: Kind = Kind::Aead(Cipher::ChaCha20Poly1305, Hash::Sha256);

/// The suites that are in use, sorted by number. Others are shown by number.
const SUITES: &[(u16, &str, Kind)] = &[
    (0x000a, "TLS_RSA_WITH_3DES_EDE_CBC_SHA", Kind::Cbc),
    (0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA", Kind::Cbc),
    (0x0033, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA", Kind::Cbc),
    (0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA", Kind::Cbc),
    (0x0039, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA", Kind::Cbc),
    (0x003c, "TLS_RSA_WITH_AES_128_CBC_SHA256", Kind::Cbc),
    (0x003d, "TLS_RSA_WITH_AES_256_CBC_SHA256", Kind::Cbc),
    (0x0067, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256", Kind::Cbc),
    (0x006b, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256", Kind::Cbc),
    (0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256", AES_128),
    (0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384", AES_256),
    (0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", AES_128),
    (0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", AES_256),
    (0x00a8, "TLS_PSK_WITH_AES_128_GCM_SHA256", AES_128),
    (0x00a9, "TLS_PSK_WITH_AES_256_GCM_SHA384", AES_256),
    (0x1301, "TLS_AES_128_GCM_SHA256", AES_128),
    (0x1302, "TLS_AES_256_GCM_SHA384", AES_256),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256", CHACHA20),
    (0x1304, "TLS_AES_128_CCM_SHA256", Kind::Other),
    (0x1305, "TLS_AES_128_CCM_8_SHA256", Kind::Other),
    (0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", Kind::Cbc),
    (0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", Kind::Cbc),
    (0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", Kind::Cbc),
    (0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", Kind::Cbc),
    (0xc023, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", Kind::Cbc),
    (0xc024, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384", Kind::Cbc),
    (0xc027, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", Kind::Cbc),
    (0xc028, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", Kind::Cbc),
    (0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", AES_128),
    (0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", AES_256),
    (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", AES_128),
    (0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", AES_256),
    (0xc09c, "TLS_RSA_WITH_AES_128_CCM", Kind::Other),
    (0xc09d, "TLS_RSA_WITH_AES_256_CCM", Kind::Other),
    (0xc0ac, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM", Kind::Other),
    (0xc0ad, "TLS_ECDHE_ECDSA_WITH_AES_256_CCM", Kind::Other),
    (0xc0ae, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", Kind::Other),
    (0xc0af, "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8", Kind::Other),
    (
        0xcca8,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CHACHA20,
    ),
    (
        0xcca9,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CHACHA20,
    ),
    (
        0xccaa,
        "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CHACHA20,
    ),
    (0xccab, "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256", CHACHA20),
    (
        0xccac,
        "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
        CHACHA20,
    ),
    (0xd001, "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256", AES_128),
    (0xd002, "TLS_ECDHE_PSK_WITH_AES_256_GCM_SHA384", AES_256),
];

impl Suite {
    fn known(self) -> Option<&'static (u16, &'static str, Kind)> {
        let at = SUITES.binary_search_by_key(&self.0, |(number, ..)| *number);
        SUITES.get(at.ok()?)
    }

    /// Its cipher and hash, or why it is not decoded.
    pub(super) fn protection(self) -> Result<(Cipher, Hash), Why> {
        match self.known() {
            Some((_, _, Kind::Aead(cipher, hash))) => Ok((*cipher, *hash)),
            Some((_, _, Kind::Cbc)) => Err(Why::Cbc),
            Some((_, _, Kind::Other)) | None => Err(Why::UnknownSuite),
        }
    }
}

impl Suite {
    /// What a record of TLS 1.2 has besides its data, in bytes: at least, and at most.
    pub(super) fn overhead_tls12(self) -> (u64, u64) {
        match self.known() {
            Some((_, _, Kind::Aead(Cipher::ChaCha20Poly1305, _))) => (16, 16),
            Some((_, name, Kind::Other)) if name.ends_with("CCM_8") => (16, 16),
            // The nonce's explicit part, and the tag.
            Some((_, _, Kind::Aead(..) | Kind::Other)) => (24, 24),
            // A block for the initialisation vector, a hash, and a block of padding.
            Some((_, _, Kind::Cbc)) => (29, 80),
            None => (0, 80),
        }
    }
}

impl std::fmt::Display for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.known() {
            Some((_, name, _)) => f.write_str(name),
            None => write!(f, "0x{:04x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_found_by_number() {
        assert!(SUITES.is_sorted_by_key(|(number, ..)| *number));
        assert_eq!(Suite(0x1301).to_string(), "TLS_AES_128_GCM_SHA256");
        assert_eq!(Suite(0x4a4a).to_string(), "0x4a4a");
        assert_eq!(Suite(0xc013).protection(), Err(Why::Cbc));
        assert_eq!(Suite(0x1304).protection(), Err(Why::UnknownSuite));
        assert_eq!(
            Suite(0xc030).protection(),
            Ok((Cipher::Aes256Gcm, Hash::Sha384))
        );
    }
}
