//! Handshakes that failed, as far as that is in clear.

use crate::endpoint::Endpoint;

/// How a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// One side said why.
    Alert {
        /// Who said it.
        sender: Endpoint,
        /// What.
        alert: Alert,
    },
    /// The server answered in something that is no TLS.
    Foreign,
    /// The connection ended before the server had said anything.
    Unanswered,
}

/// An alert, by its number (RFC 8446 section 6, and IANA, "TLS Alerts").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alert(pub u8);

impl Alert {
    /// From a record in clear: level and number. None: it is no end of a handshake.
    pub(super) fn fatal(fragment: &[u8]) -> Option<Alert> {
        const FATAL: u8 = 2;
        const CLOSE_NOTIFY: u8 = 0;
        const USER_CANCELED: u8 = 90;
        match fragment {
            [FATAL, CLOSE_NOTIFY | USER_CANCELED] => None,
            [FATAL, number] => Some(Alert(*number)),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self.0 {
            10 => "unexpected_message",
            20 => "bad_record_mac",
            22 => "record_overflow",
            40 => "handshake_failure",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            109 => "missing_extension",
            110 => "unsupported_extension",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            121 => "ech_required",
            _ => "an alert without a name",
        }
    }

    /// What it means, where that is more than its name says. `sender` said it.
    #[must_use]
    pub const fn meaning(self) -> Option<&'static str> {
        Some(match self.0 {
            40 => "no cipher suite, group or signature that both have, or a certificate is missing",
            42 | 43 | 46 => "it does not take the other side's certificate",
            44 => "the other side's certificate is revoked",
            45 => "the other side's certificate has expired",
            48 => "it does not know who signed the other side's certificate",
            70 => "no version of TLS that both have",
            71 => "no cipher suite that is strong enough for it",
            112 => "it has no such server name",
            116 => "the client sent no certificate",
            120 => "no application protocol that both have",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_no_handshake_is_no_failure() {
        for fragment in [&[1, 112][..], &[2, 0], &[2, 90], &[2], &[2, 40, 0], &[]] {
            assert_eq!(Alert::fatal(fragment), None, "{fragment:?}");
        }
        assert_eq!(
            Alert::fatal(&[2, 48]).map(Alert::as_str),
            Some("unknown_ca")
        );
    }
}
