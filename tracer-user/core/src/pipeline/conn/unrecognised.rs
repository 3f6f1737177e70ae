//! First bytes that are not HTTP/2.

use std::sync::Arc;

use super::Conn;
use super::protocol::Spoken;
use super::waiting::Waiting;
use crate::anomaly::rules;
use crate::connection::Endpoint;
use crate::connection::upgrade;
use crate::event::{Direction, OtherProtocol, Timestamp, Unrecognised};
use crate::frame::{Frame, Step};
use crate::pipeline::analysis::Analysis;
use crate::pipeline::{Output, Protocol, Sink};

impl Conn {
    /// The first bytes are not HTTP/2. True when nothing of this connection is worth following.
    pub(crate) fn unrecognised(
        &mut self,
        at: Timestamp,
        unrecognised: &Unrecognised<'_>,
        analysis: &mut Analysis,
        sink: &mut dyn Sink,
    ) -> bool {
        if self.spoken.is_announced() {
            self.let_go(sink);
            self.answered_otherwise(at, unrecognised);
            self.events(analysis, sink);
            return false;
        }
        if unrecognised.protocol == OtherProtocol::Http1 {
            if let Some(request) = upgrade::read_request(unrecognised.first) {
                self.upgrade = Some(request);
                self.role.prove(unrecognised.direction, Endpoint::Client);
                return false;
            }
            if self.upgrade.is_some() && upgrade::agrees(unrecognised.first) {
                return false;
            }
        }
        if unrecognised.protocol == OtherProtocol::Http1 && self.role.get().is_none() {
            let is_answer = unrecognised.first.starts_with(b"HTTP/");
            let sender = if is_answer {
                Endpoint::Server
            } else {
                Endpoint::Client
            };
            self.role.prove(unrecognised.direction, sender);
        }
        let of_server = self.role.sender(unrecognised.direction) == Some(Endpoint::Server);
        let greeted = !of_server && self.is_greeted(unrecognised.direction.opposite());
        if greeted {
            self.role.prove(unrecognised.direction, Endpoint::Client);
        }
        let mut info = (*self.info).clone();
        let other = Protocol::Other(unrecognised.protocol);
        let undecided = self
            .as_undecided()
            .filter(|_| unrecognised.protocol == OtherProtocol::Other);
        info.protocol = undecided.unwrap_or(other);
        info.role = self.role.get();
        self.info = Arc::new(info);
        sink.accept(&Output::Connection(Arc::clone(&self.info)));
        analysis.speaks_other(&self.info, unrecognised.protocol);
        analysis.decided(&self.info, None);
        let tls = self.info.tls.as_deref();
        let connection = (self.info.id, self.info.role);
        let failed = tls.and_then(|tls| rules::tls::handshake(connection, at, tls));
        self.say(failed, sink);
        if greeted {
            self.streams.set_role(self.role.get());
            let spoke = unrecognised.protocol;
            self.streams.not_http2(Endpoint::Client, spoke, at);
            self.events(analysis, sink);
        }
        true
    }

    /// The first frame of this direction was SETTINGS, as a server begins: it takes this for HTTP/2.
    fn is_greeted(&self, direction: Direction) -> bool {
        let mut steps = self.waiting.iter().filter(|it| it.direction == direction);
        let begins = |waiting: &Waiting| match &waiting.step {
            Step::Frame { frame, .. } => matches!(frame, Frame::Settings(_)),
            _ => false,
        };
        self.info.beginning_seen && steps.next().is_some_and(begins)
    }

    /// The client spoke HTTP/2, and the first bytes of the server are another protocol.
    fn answered_otherwise(&mut self, at: Timestamp, unrecognised: &Unrecognised<'_>) {
        let spoke = unrecognised.protocol;
        let direction = unrecognised.direction;
        let is_server = self.role.sender(direction) == Some(Endpoint::Server);
        // After an upgrade, HTTP/1.1 is how the connection began.
        if is_server && self.upgrade.is_none() && self.lane(direction).reader.is_none() {
            self.spoken = Spoken::Foreign;
            self.streams.not_http2(Endpoint::Server, spoke, at);
        }
    }
}
