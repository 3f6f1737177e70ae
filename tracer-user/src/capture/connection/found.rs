//! Keys that are looked for elsewhere while the connection goes on.

use h2trace_core::connection::Endpoint;
use h2trace_core::event::Timestamp;
use h2trace_core::tls::{FoundKey, Sample, Why};

use super::{Connection, Out};

impl Connection {
    /// If it is TLS, its keys will be looked for.
    pub(in crate::capture) const fn await_keys(&mut self) {
        self.awaits_keys = true;
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
