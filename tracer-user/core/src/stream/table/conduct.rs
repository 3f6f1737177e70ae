//! Who keeps to the rules of RFC 9113, and how often what comes.

use super::StreamTable;
use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::field::Known;
use crate::frame::settings::setting;
use crate::frame::{
    ErrorCode, Frame, FrameKind, HeaderBlock, Priority, Rule, Settings, Step, StreamId, Violation,
};
use crate::limits::Limit;
use crate::stream::ids::initiator;
use crate::stream::live::{CROSSING_NS, View};
use crate::stream::rate::{self, Counted, Flood, FloodKind};
use crate::stream::record::{BeforeGoAway, GoAway, StreamEvent};
use crate::stream::violation::{Answer, Offence, OffenceKind};

/// Who goes on sending has heeded what it read so long ago,
const GO_AWAY_READ_NS: u64 = 1_000_000_000;
/// and has read what was sent to it so long ago.
const GO_AWAY_SENT_NS: u64 = 5_000_000_000;

impl StreamTable {
    /// Looks at a step before anything is made of it.
    pub(super) fn observe(&mut self, sender: Endpoint, step: &Step, at: Timestamp) {
        match step {
            Step::Frame { frame, .. } => {
                self.watch.on_frame(sender);
                self.flow.on_frame(sender, at);
                self.watch.control.on_frame(sender, at);
                self.observe_frame(sender, frame, at);
            }
            Step::DataBegin(head) => {
                self.watch.on_frame(sender);
                self.flow.on_frame(sender, at);
                self.watch.control.on_frame(sender, at);
                self.count(sender, Counted::Data, at);
                if head.flow_len == 0 && !head.end_stream {
                    self.count(sender, Counted::EmptyData, at);
                }
            }
            Step::Violation(violation) => self.violation(sender, violation, at),
            Step::LongBlock {
                stream_id,
                n_frames,
            } => self.flood(Flood {
                kind: FloodKind::Continuation,
                sender,
                stream_id: *stream_id,
                at,
                n: *n_frames,
                within_ns: 0,
                n_data_of_peer: 0,
                n_headers_of_client: 0,
            }),
            Step::DataBody { .. }
            | Step::DataEnd(_)
            | Step::Preface
            | Step::Fault(_)
            | Step::Resynced { .. } => {}
        }
    }

    /// What is known of `sender` where it comes to a stream's end.
    pub(super) fn view(&self, sender: Endpoint, id: StreamId) -> View {
        let certain = self.watch.is_certain(sender);
        View {
            certain,
            told_as_flood: sender == Endpoint::Client && self.watch.rates.provokes(),
            processed_reset: certain
                && self.watch.is_certain(sender.peer())
                && self.watch.control.has_processed_reset(sender, id),
        }
    }

    /// What came before a GOAWAY; and what it answers is told. `heeded`: what it says is wrong is looked for on streams.
    pub(super) fn before_go_away(&mut self, go_away: &GoAway, heeded: bool) -> BeforeGoAway {
        let GoAway {
            sender, code, at, ..
        } = *go_away;
        for offence in self.watch.ledger.on_go_away(sender, code) {
            self.tell(offence);
        }
        if heeded {
            let conducts = self.streams.iter_mut();
            let mut offences: Vec<Offence> = conducts
                .filter_map(|stream| stream.conduct.as_mut()?.go_away(sender, code, at).copied())
                .collect();
            offences.sort_by_key(|offence| offence.stream_id);
            for offence in offences {
                self.watch.ledger.note(&offence);
            }
        }
        BeforeGoAway {
            pings: self.watch.control.pings(sender.peer()),
            unacknowledged_settings: self.watch.control.unacknowledged_settings(sender),
            // What it says itself it is about is not guessed.
            provoked: go_away.reason.is_none() && self.watch.ledger.explains(sender, code, at),
        }
    }

    /// Offences that nobody answered in time.
    #[inline]
    pub(super) fn tell_unanswered(&mut self, now: Timestamp) {
        if self.watch.ledger.is_idle() {
            return;
        }
        for offence in self.watch.ledger.advance(now) {
            self.tell(offence);
        }
    }

    /// `sender` ended a message that is not as long as it said: what answers that is told of the stream.
    #[cold]
    pub(super) fn note_length(&mut self, sender: Endpoint, at: Timestamp) {
        let ledger = &mut self.watch.ledger;
        ledger.note_other(sender, ErrorCode::PROTOCOL_ERROR, at);
    }

    /// An extended CONNECT, and the server has not said that it knows such.
    pub(super) fn extends_unannounced(&self, block: &HeaderBlock) -> bool {
        self.watch.is_certain(Endpoint::Server)
            && self.watch.sees_both()
            && self.settings.server.enable_connect_protocol != Some(1)
            && block.facts(&self.shown).names & Known::Protocol.bit() != 0
    }

    /// `by` closed the connection, and all that it had said before was seen: nothing more of it excuses what its peer did.
    pub fn closed(&mut self, by: Endpoint, at: Timestamp) {
        self.watch.ledger.on_frame(by);
        self.flow.on_frame(by, at);
    }

    /// The connection is over: nothing more answers.
    pub(super) fn tell_last(&mut self) {
        for offence in self.watch.ledger.on_end() {
            self.tell(offence);
        }
    }

    fn observe_frame(&mut self, sender: Endpoint, frame: &Frame, at: Timestamp) {
        match frame {
            Frame::Headers {
                stream_id,
                priority,
                block,
                ..
            } => self.observe_headers(sender, *stream_id, *priority, block, at),
            Frame::Priority {
                stream_id,
                priority,
            } => {
                self.count(sender, Counted::Priority, at);
                self.observe_priority(sender, *stream_id, *priority, FrameKind::Priority, at);
            }
            Frame::RstStream { stream_id, code } => {
                self.observe_reset(sender, *stream_id, *code, at);
            }
            Frame::Settings(settings) => {
                self.count(sender, Counted::Settings, at);
                self.watch.control.on_settings(sender, at);
                self.excuse_by_settings(sender, settings, at);
                match sender {
                    Endpoint::Client => self.watch.on_client_settings(settings),
                    Endpoint::Server => {
                        let rule = if settings.contains(&(setting::ENABLE_PUSH, 1)) {
                            Some(Rule::EnablePushOfServer)
                        } else if self.settings.server.enable_connect_protocol == Some(1)
                            && settings.contains(&(setting::ENABLE_CONNECT_PROTOCOL, 0))
                        {
                            Some(Rule::ConnectProtocolTakenBack)
                        } else {
                            None
                        };
                        if let Some(rule) = rule {
                            let rule = (OffenceKind::Framing, rule);
                            self.offence(sender, StreamId(0), rule, FrameKind::Settings, at);
                        }
                    }
                }
            }
            Frame::SettingsAck => {
                self.watch.control.on_settings_ack(sender);
                if sender == Endpoint::Server {
                    self.watch.on_server_settings_ack();
                }
            }
            Frame::PushPromise {
                stream_id,
                promised,
                ..
            } => self.observe_push(sender, *stream_id, *promised, at),
            Frame::Ping { ack: false, data } => {
                self.count(sender, Counted::Ping, at);
                let idle = self.live() == 0;
                self.watch.control.on_ping(sender, *data, idle, at);
            }
            Frame::Ping { ack: true, data } => self.watch.control.on_ping_ack(sender, *data, at),
            Frame::WindowUpdate {
                stream_id,
                increment,
            } => {
                if *increment < rate::TINY_INCREMENT {
                    self.count(sender, Counted::TinyUpdate, at);
                }
                self.observe_idle(sender, *stream_id, FrameKind::WindowUpdate, at);
            }
            Frame::GoAway { .. } => self.watch.control.on_go_away(sender, at),
            Frame::PriorityUpdate { .. } if sender == Endpoint::Server => {
                let rule = (OffenceKind::Framing, Rule::PriorityUpdateByServer);
                self.offence(sender, StreamId(0), rule, FrameKind::PriorityUpdate, at);
            }
            Frame::PriorityUpdate { .. } | Frame::Unknown { .. } => {}
        }
    }

    pub(super) fn observe_headers(
        &mut self,
        sender: Endpoint,
        id: StreamId,
        priority: Option<Priority>,
        block: &HeaderBlock,
        at: Timestamp,
    ) {
        self.count(sender, Counted::Headers, at);
        if block.encoded_len == 0 && block.complete {
            self.count(sender, Counted::EmptyHeaders, at);
        }
        if let Some(priority) = priority {
            self.observe_priority(sender, id, priority, FrameKind::Headers, at);
        }
        if sender == Endpoint::Server {
            return self.observe_idle(sender, id, FrameKind::Headers, at);
        }
        self.excuse_by_opening(sender, id);
        let even = initiator(id) == Endpoint::Server && !self.streams.contains(id);
        let rule = match even {
            true => Rule::EvenId,
            false if self.ids.was_skipped(id) => Rule::FallingId,
            false if self.opens_after_go_away(id, at) => Rule::OpenedAfterGoAway,
            false => return,
        };
        self.offence(
            sender,
            id,
            (OffenceKind::Framing, rule),
            FrameKind::Headers,
            at,
        );
    }

    /// The client opens a stream although it knows the server's GOAWAY.
    fn opens_after_go_away(&self, id: StreamId, at: Timestamp) -> bool {
        // At the client's end a GOAWAY is seen when it was read; elsewhere it is still on its way then.
        let long_enough_ns = match self.role {
            Some(Endpoint::Client) => GO_AWAY_READ_NS,
            Some(Endpoint::Server) | None => GO_AWAY_SENT_NS,
        };
        let control = &self.watch.control;
        control.has_processed_go_away(Endpoint::Client, at, long_enough_ns)
            && self.ids.is_idle(id)
            && !self.streams.contains(id)
    }

    /// A frame that may not come on an idle stream. What opens the stream of the other end may have been recorded
    /// after it: that excuses it.
    fn observe_idle(&mut self, sender: Endpoint, id: StreamId, frame: FrameKind, at: Timestamp) {
        let idle = id != StreamId(0) && self.ids.is_idle(id) && !self.streams.contains(id);
        if idle && self.watch.is_certain(sender.peer()) {
            self.offence(
                sender,
                id,
                (OffenceKind::Framing, Rule::IdleStream),
                frame,
                at,
            );
        }
    }

    /// A stream that depends on itself was an error in RFC 7540 (section 5.3.1), and servers still answer it.
    fn observe_priority(
        &mut self,
        sender: Endpoint,
        id: StreamId,
        priority: Priority,
        frame: FrameKind,
        at: Timestamp,
    ) {
        if priority.depends_on != id || !self.watch.is_certain(sender) {
            return;
        }
        if let Some(stream) = self.streams.get_mut(id) {
            stream.conduct_mut().broke(sender, at);
        }
        self.take(Offence {
            kind: OffenceKind::Framing,
            sender,
            stream_id: id,
            at,
            code: ErrorCode::PROTOCOL_ERROR,
            connection_error: false,
            rule: Rule::DependsOnItself,
            frame,
            answer: Answer::None,
        });
    }

    fn observe_push(&mut self, sender: Endpoint, id: StreamId, promised: StreamId, at: Timestamp) {
        if !self.watch.is_certain(sender) {
            return;
        }
        if sender == Endpoint::Client {
            let rule = (OffenceKind::Framing, Rule::PushByClient);
            return self.offence(sender, id, rule, FrameKind::PushPromise, at);
        }
        if initiator(id) == Endpoint::Server {
            let rule = (OffenceKind::Framing, Rule::PushOnOwnStream);
            return self.offence(sender, id, rule, FrameKind::PushPromise, at);
        }
        if self.ids.was_skipped(promised) || !self.ids.is_new(promised) {
            let rule = (OffenceKind::Framing, Rule::FallingId);
            return self.offence(sender, promised, rule, FrameKind::PushPromise, at);
        }
        self.excuse_by_opening(sender, promised);
        self.observe_idle(sender, id, FrameKind::PushPromise, at);
        let view = self.view(sender, id);
        let forbidden = self.watch.push_is_forbidden();
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let rule = match (forbidden, stream.takes_no_push()) {
            (true, _) => Rule::PushForbidden,
            (false, true) => Rule::PushToGrpc,
            (false, false) => {
                stream.check_frame_allowed(sender, FrameKind::PushPromise, view, at);
                return;
            }
        };
        let error = (ErrorCode::PROTOCOL_ERROR, rule);
        stream.offend(
            OffenceKind::Unexpected,
            sender,
            error,
            FrameKind::PushPromise,
            at,
        );
    }

    fn observe_reset(&mut self, sender: Endpoint, id: StreamId, code: ErrorCode, at: Timestamp) {
        self.watch.control.on_reset(sender, id);
        let broke = self.watch.ledger.broke_on(sender.peer(), (id, code), at);
        if !broke {
            // What broke a rule on an idle stream is answered there, too.
            self.observe_idle(sender, id, FrameKind::RstStream, at);
        }
        for offence in self.watch.ledger.on_reset(sender, id, code) {
            self.tell(offence);
        }
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if broke {
            // Perhaps with the frame that opened it.
            stream.conduct_mut().broke(sender.peer(), at);
        }
        let again = stream.resets.iter().any(|reset| reset.sender == sender);
        let first = stream.resets.is_empty();
        let own = initiator(id) == Endpoint::Client;
        let short = stream.beginning_seen && at.since(stream.first_at) < rate::SHORT_LIFE_NS;
        let provoked = stream
            .conduct
            .as_mut()
            .is_some_and(|conduct| conduct.reset(sender, code, at));
        if again {
            return;
        }
        match sender {
            Endpoint::Client if own => {
                if short && first {
                    self.count(sender, Counted::ShortReset, at);
                }
                if let Some(flood) = self.watch.rates.count_reset(at) {
                    self.flood(flood);
                }
            }
            Endpoint::Server if provoked => {
                self.count(Endpoint::Client, Counted::ProvokedReset, at);
            }
            Endpoint::Client | Endpoint::Server => {}
        }
    }

    /// The frame reader saw a broken rule.
    fn violation(&mut self, sender: Endpoint, violation: &Violation, at: Timestamp) {
        let certain = self.watch.is_certain(sender);
        if certain && let Some(stream) = self.streams.get_mut(violation.stream_id) {
            stream.conduct_mut().broke(sender, at);
        }
        // SETTINGS that allow it may have gone by unseen.
        let may_be_allowed = is_allowed_by_settings(violation.rule) && !self.flow.is_whole();
        if !certain || may_be_allowed {
            return;
        }
        let kind = match violation.code {
            ErrorCode::COMPRESSION_ERROR => OffenceKind::Compression,
            _ => OffenceKind::Framing,
        };
        let offence = Offence {
            kind,
            sender,
            stream_id: violation.stream_id,
            at,
            code: violation.code,
            connection_error: violation.connection_error,
            rule: violation.rule,
            frame: violation.frame.kind(),
            answer: Answer::None,
        };
        if is_told_elsewhere(violation) {
            self.watch.ledger.note(&offence);
        } else {
            self.take(offence);
        }
    }

    /// SETTINGS of `receiver` that were recorded after a frame which they allow: what the peer did with them may be
    /// recorded before.
    fn excuse_by_settings(&mut self, receiver: Endpoint, settings: &Settings, at: Timestamp) {
        if settings
            .iter()
            .any(|(id, _)| matches!(*id, setting::HEADER_TABLE_SIZE | setting::MAX_FRAME_SIZE))
        {
            self.watch.ledger.excuse(|offence| {
                is_allowed_by_settings(offence.rule)
                    && offence.sender != receiver
                    && at.since(offence.at) <= CROSSING_NS
            });
        }
    }

    /// `sender` opens the stream: what its peer did with it may have been recorded before.
    fn excuse_by_opening(&mut self, sender: Endpoint, id: StreamId) {
        self.watch.ledger.excuse(|offence| {
            offence.rule == Rule::IdleStream && offence.stream_id == id && offence.sender != sender
        });
    }

    /// Frames of `sender` that may have gone by unseen may have allowed what its peer did.
    pub(super) fn excuse_by_hidden(&mut self, sender: Endpoint) {
        self.watch.ledger.excuse(|offence| {
            (offence.rule == Rule::IdleStream || is_allowed_by_settings(offence.rule))
                && offence.sender != sender
        });
    }

    /// A connection error of type PROTOCOL_ERROR, if it is certain.
    fn offence(
        &mut self,
        sender: Endpoint,
        stream_id: StreamId,
        (kind, rule): (OffenceKind, Rule),
        frame: FrameKind,
        at: Timestamp,
    ) {
        if self.watch.is_certain(sender) {
            self.take(Offence {
                kind,
                sender,
                stream_id,
                at,
                code: ErrorCode::PROTOCOL_ERROR,
                connection_error: true,
                rule,
                frame,
                answer: Answer::None,
            });
        }
    }

    fn take(&mut self, offence: Offence) {
        // The peer's SETTINGS may allow it, or its HEADERS have opened the stream.
        let doubted = is_allowed_by_settings(offence.rule)
            || (offence.rule == Rule::IdleStream && initiator(offence.stream_id) != offence.sender);
        if !self.watch.ledger.take(offence, doubted) {
            self.out.push_back(StreamEvent::Limit(Limit::BrokenRules));
        }
    }

    fn tell(&mut self, offence: Offence) {
        let (connection, role) = (self.connection, self.role);
        self.out.push_back(StreamEvent::Offence {
            connection,
            role,
            offence: Box::new(offence),
        });
    }

    pub(super) fn count(&mut self, sender: Endpoint, what: Counted, at: Timestamp) {
        if self.watch.sees_both()
            && let Some(flood) = self.watch.rates.count(sender, what, at)
        {
            self.flood(flood);
        }
    }

    fn flood(&mut self, flood: Flood) {
        let (connection, role) = (self.connection, self.role);
        self.out.push_back(StreamEvent::Flood {
            connection,
            role,
            flood: Box::new(flood),
        });
    }
}

/// SETTINGS of the receiver may allow what this rule forbids.
const fn is_allowed_by_settings(rule: Rule) -> bool {
    matches!(rule, Rule::FrameTooLong | Rule::SizeUpdateLimit)
}

/// WINDOW_UPDATE with increment 0 is a matter of flow control.
fn is_told_elsewhere(violation: &Violation) -> bool {
    violation.rule == Rule::WindowUpdateOfZero
}
