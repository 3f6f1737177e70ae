//! Bytes whose buffer the kernel programs do not know: how many of a connection, and why.

use std::sync::Arc;

use super::Conn;
use crate::event::{Bytes, Timestamp};
use crate::pipeline::{Output, Protocol, Sink};

impl Conn {
    /// Counts bytes that are a hole for a reason.
    pub(super) fn count_unseen(&mut self, bytes: &Bytes<'_>) {
        if let Some(reason) = bytes.unseen
            && self.unseen.add(reason, u64::from(bytes.total))
        {
            self.unseen_untold.push(reason);
        }
    }

    /// Tells of each reason once, as soon as the connection is known.
    pub(super) fn tell_unseen(&mut self, at: Timestamp, sink: &mut dyn Sink) {
        if !self.spoken.is_announced() {
            return;
        }
        for reason in self.unseen_untold.drain(..) {
            sink.accept(&Output::BytesUnseen {
                info: Arc::clone(&self.info),
                at,
                reason,
            });
        }
    }

    /// The connection is over, or the trace is, and what it spoke never became known. True when that is because its
    /// bytes were not seen: then it is told.
    pub(super) fn conclude_unseen(&mut self, sink: &mut dyn Sink) -> bool {
        let Some(reason) = self.unseen.most() else {
            return false;
        };
        if self.spoken.is_announced() {
            return false;
        }
        let mut info = (*self.info).clone();
        info.protocol = Protocol::Unseen(reason);
        info.role = self.role.get();
        self.info = Arc::new(info);
        sink.accept(&Output::Connection(Arc::clone(&self.info)));
        true
    }
}
