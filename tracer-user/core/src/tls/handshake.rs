//! Handshake messages from the records that carry them: several in one, or one in several (RFC 8446 section 5.1).

use crate::limits;

/// Types of messages that are read.
pub(super) mod message {
    pub(in crate::tls) const CLIENT_HELLO: u8 = 1;
    pub(in crate::tls) const SERVER_HELLO: u8 = 2;
    pub(in crate::tls) const NEW_SESSION_TICKET: u8 = 4;
    pub(in crate::tls) const END_OF_EARLY_DATA: u8 = 5;
    pub(in crate::tls) const ENCRYPTED_EXTENSIONS: u8 = 8;
    pub(in crate::tls) const FINISHED: u8 = 20;
    pub(in crate::tls) const KEY_UPDATE: u8 = 24;
}

/// Type and length before a message's body.
const HEADER: usize = 4;

/// A message, whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    /// Empty where nobody reads it, or where it is longer than is kept.
    pub(super) body: Vec<u8>,
}

impl Message {
    /// Begins one that is sent after the handshake alone (RFC 8446 section 4.6).
    pub(super) fn is_after_handshake(bytes: &[u8]) -> bool {
        matches!(
            bytes.first(),
            Some(&(message::NEW_SESSION_TICKET | message::KEY_UPDATE))
        )
    }
}

/// Whether anything is read of a message's body. Certificates and tickets are passed over.
const fn is_read(kind: u8) -> bool {
    matches!(
        kind,
        message::CLIENT_HELLO | message::SERVER_HELLO | message::ENCRYPTED_EXTENSIONS
    )
}

/// Puts messages together, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Messages {
    header: Vec<u8>,
    body: Vec<u8>,
    /// Bytes of the body that are still to come.
    left: usize,
    kept: bool,
}

impl Messages {
    /// Takes what a record carries and adds the messages that it completes.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<Message>) {
        while !bytes.is_empty() {
            if self.header.len() < HEADER {
                let n = bytes.len().min(HEADER - self.header.len());
                let (taken, rest) = bytes.split_at_checked(n).unwrap_or((bytes, &[]));
                self.header.extend_from_slice(taken);
                bytes = rest;
                let &[kind, a, b, c] = self.header.as_slice() else {
                    return;
                };
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                self.kept = is_read(kind) && self.left <= limits::TLS_MESSAGE;
            }
            let n = bytes.len().min(self.left);
            let (taken, rest) = bytes.split_at_checked(n).unwrap_or((bytes, &[]));
            if self.kept {
                self.body.extend_from_slice(taken);
            }
            bytes = rest;
            self.left -= n;
            if self.left == 0 {
                out.push(Message {
                    kind: self.header.first().copied().unwrap_or(0),
                    body: std::mem::take(&mut self.body),
                });
                self.header.clear();
            }
        }
    }

    /// Records were lost: the next one is taken to begin with a message.
    pub(super) fn lose(&mut self) {
        *self = Messages::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_division_gives_the_same_messages() {
        let bytes = [
            &[message::SERVER_HELLO, 0, 0, 3, 1, 2, 3][..],
            // A certificate: nobody reads it.
            &[11, 0, 1, 0],
            &[7; 256],
            &[message::FINISHED, 0, 0, 0],
            &[message::ENCRYPTED_EXTENSIONS, 0, 0, 2, 0, 0],
        ]
        .concat();
        let mut whole = Vec::new();
        Messages::default().push(&bytes, &mut whole);
        let kinds: Vec<_> = whole.iter().map(|m| (m.kind, m.body.len())).collect();
        assert_eq!(kinds, [(2, 3), (11, 0), (20, 0), (8, 2)]);
        for len in 1..bytes.len() {
            let (mut messages, mut out) = (Messages::default(), Vec::new());
            for part in bytes.chunks(len) {
                messages.push(part, &mut out);
            }
            assert_eq!(out, whole, "{len}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_passed_over() {
        let (mut messages, mut out) = (Messages::default(), Vec::new());
        messages.push(&[message::CLIENT_HELLO, 0xff, 0xff, 0xff], &mut out);
        for _ in 0..256 {
            messages.push(&[0; 65_536], &mut out);
        }
        assert!(messages.body.capacity() == 0);
        assert_eq!(out.first().map(|m| m.body.len()), Some(0));
    }
}
