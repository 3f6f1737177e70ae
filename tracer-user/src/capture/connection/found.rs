//! Keys that are looked for elsewhere while the connection goes on.

use h2trace_core::connection::Endpoint;
use h2trace_core::event::Timestamp;
use h2trace_core::tls::{ClientRandom, FoundKey, HandshakeSecrets, Sample, Why};

use super::{Connection, Out};

/// When a connection can take the secrets of its handshake.
pub(in crate::capture) enum Expects {
    /// Not any more.
    Nothing,
    /// Perhaps, when more of it has gone by.
    NotYet,
    /// Now; so it is called in key logs.
    Now(ClientRandom),
}

impl Connection {
    /// If it is TLS, its keys will be looked for.
    pub(in crate::capture) const fn await_keys(&mut self, may_be_told: bool) {
        self.awaits_keys = true;
        self.expects_secrets = may_be_told;
    }

    /// Whether secrets of its handshake can be given to it.
    pub(in crate::capture) fn expects_secrets(&self) -> Expects {
        if self.is_other() {
            return Expects::Nothing;
        }
        let Some(tls) = &self.tls else {
            return Expects::NotYet;
        };
        let session = &tls.session;
        match session.random() {
            _ if !session.may_be_told() => Expects::Nothing,
            Some(random) if session.is_ready_for_secrets() => Expects::Now(random),
            _ => Expects::NotYet,
        }
    }

    /// These are the secrets of its handshake.
    pub(in crate::capture) fn is_of(
        &self,
        secrets: &HandshakeSecrets,
        plain: &mut Vec<u8>,
    ) -> bool {
        let tls = self.tls.as_ref();
        tls.is_some_and(|tls| tls.session.is_of(secrets, plain))
    }

    /// The secrets of its handshake are known now.
    pub(in crate::capture) fn told(&mut self, at: Timestamp, out: &mut Out<'_>) {
        self.with_session(at, out, h2trace_core::tls::Session::told);
    }

    /// They are not, and will not be.
    pub(in crate::capture) fn expect_no_secrets(&mut self, at: Timestamp, out: &mut Out<'_>) {
        self.with_session(at, out, |session, _| session.expect_no_secrets());
    }

    /// By what the key of a direction is known, if it is wanted now. None: no key will be wanted any more.
    pub(in crate::capture) fn wanted(&self, sender: Endpoint) -> Option<Option<Sample>> {
        if self.is_other() {
            return None;
        }
        let session = self.tls.as_ref().map(|tls| &tls.session);
        if session.is_some_and(|session| !session.may_want_key()) {
            return None;
        }
        Some(session.and_then(|session| session.wanted(sender)))
    }

    /// The key of a direction was found.
    pub(in crate::capture) fn give_key(
        &mut self,
        sender: Endpoint,
        key: FoundKey,
        at: Timestamp,
        out: &mut Out<'_>,
    ) {
        self.with_session(at, out, |session, context| {
            session.give_key(sender, key, context);
        });
    }

    /// The key of a direction will not be found.
    pub(in crate::capture) fn give_no_key(
        &mut self,
        sender: Endpoint,
        why: Why,
        at: Timestamp,
        out: &mut Out<'_>,
    ) {
        self.with_session(at, out, |session, context| {
            session.give_up(sender, why, context);
        });
    }
}
