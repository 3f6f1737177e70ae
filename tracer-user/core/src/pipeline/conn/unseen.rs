//! What is not seen of a connection: requests that may go by untold, and bytes whose buffer the kernel programs do not
//! know.

use std::sync::Arc;

use super::Conn;
use super::protocol::Spoken;
use crate::connection::Endpoint;
use crate::event::{Bytes, Direction, Timestamp, Unseen};
use crate::frame::{Fault, Frame, Step};
use crate::pipeline::analysis::Analysis;
use crate::pipeline::{Output, Protocol, Sink};

impl Conn {
    /// The client's frames are known from here on, or no more.
    pub(super) fn know_requests(&mut self, sender: Endpoint, step: &Step, at: Timestamp) {
        let frame = match step {
            Step::Frame { frame, .. } => Some(frame),
            _ => None,
        };
        match (sender, frame) {
            (Endpoint::Client, Some(Frame::Headers { stream_id, .. })) => {
                self.requests.headers(*stream_id, at);
            }
            (
                Endpoint::Server,
                Some(Frame::Headers { stream_id, .. } | Frame::RstStream { stream_id, .. }),
            ) => {
                let from_start = self.info.beginning_seen;
                self.requests.answered(*stream_id, at, from_start);
            }
            (Endpoint::Server, _) => {}
            (Endpoint::Client, _) => match step {
                Step::Preface | Step::Frame { .. } => self.requests.frame(at),
                Step::Fault(Fault::Gap | Fault::Implausible) => self.requests.lose(),
                _ => {}
            },
        }
    }

    /// Bytes went by. Requests among them may not have been told: what is spoken is not known, the place is lost, or
    /// steps wait.
    pub(super) fn doubt_requests(&mut self, at: Timestamp, analysis: &mut Analysis) {
        let is_old = !self.info.beginning_seen || self.spoken.is_announced();
        let is_unknown =
            self.requests.known_from().is_none() && is_old && self.spoken != Spoken::Foreign;
        if is_unknown || !self.waiting.is_empty() {
            self.is_doubted = true;
            analysis.undecided(&self.info, self.role.get(), at);
        }
    }

    /// All requests have been told, those that waited too, from some moment on.
    pub(super) fn settle_requests(&mut self, analysis: &mut Analysis) {
        let from = self
            .requests
            .known_from()
            .filter(|_| self.waiting.is_empty());
        if self.is_doubted && from.is_some() {
            self.is_doubted = false;
            analysis.decided(&self.info, from);
        }
    }

    /// Counts bytes that are a hole for a reason.
    pub(super) fn count_unseen(&mut self, bytes: &Bytes<'_>, at: Timestamp) {
        if let Some(reason) = bytes.unseen
            && self.unseen.add(reason, u64::from(bytes.total))
        {
            self.unseen_untold.push((reason, at));
        }
    }

    /// What the observed end throws away, unread, without a loss before it; or that it reads on.
    pub(super) fn note_thrown_away(&mut self, bytes: &Bytes<'_>) {
        if bytes.direction != Direction::Rx || bytes.total == 0 {
            return;
        }
        let all_told = self.lane(Direction::Rx).order.missing_until(bytes.offset) == 0;
        match bytes.unseen {
            Some(Unseen::ThrownAway) if all_told => self.streams.throws_away(),
            Some(Unseen::ThrownAway) => {}
            _ => self.streams.reads_on(),
        }
    }

    /// Tells of each reason once, as soon as the connection is known.
    pub(super) fn tell_unseen(&mut self, sink: &mut dyn Sink) {
        if !self.spoken.is_announced() {
            return;
        }
        for (reason, at) in self.unseen_untold.drain(..) {
            sink.accept(&Output::BytesUnseen {
                info: Arc::clone(&self.info),
                at,
                reason,
            });
        }
    }

    /// The connection is over, or the trace is, and what it spoke never became known. True when that is because its
    /// bytes were not seen, or prove nothing: then it is told.
    pub(super) fn conclude_unseen(&mut self, sink: &mut dyn Sink) -> bool {
        if self.spoken.is_announced() {
            return false;
        }
        let unseen = self.unseen.most().map(Protocol::Unseen);
        let Some(protocol) = unseen.or_else(|| self.as_undecided()) else {
            return false;
        };
        let mut info = (*self.info).clone();
        info.protocol = protocol;
        info.role = self.role.get();
        self.info = Arc::new(info);
        sink.accept(&Output::Connection(Arc::clone(&self.info)));
        true
    }
}
