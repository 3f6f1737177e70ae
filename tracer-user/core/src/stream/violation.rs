//! Rules of RFC 9113 that an endpoint broke, and what the other made of it.

use crate::connection::Endpoint;
use crate::event::Timestamp;
use crate::frame::{ErrorCode, FrameKind, Rule, StreamId};
use crate::limits;
use crate::stream::pair::Pair;

/// How long the other end's answer to a broken rule is waited for, in event time.
pub(super) const ANSWER_NS: u64 = 1_000_000_000;

/// What kind of rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffenceKind {
    /// Size, stream id, order, flags or value of a frame.
    Framing,
    /// HEADERS or DATA after the sender's own END_STREAM.
    AfterEndStream,
    /// HEADERS or DATA after the stream was reset, by who sent or has processed the reset.
    AfterReset,
    /// DATA before HEADERS, or a PUSH_PROMISE that nobody wants.
    Unexpected,
    /// A header block that cannot be decoded.
    Compression,
}

/// What the other end did about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Nothing (yet).
    #[default]
    None,
    /// It reset the stream.
    Reset(ErrorCode),
    /// It gave up the connection.
    GoAway(ErrorCode),
    /// The connection ended without a word.
    Closed,
}

/// A rule that an endpoint broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// What kind of rule.
    pub kind: OffenceKind,
    pub sender: Endpoint,
    /// The stream; 0 for the connection.
    pub stream_id: StreamId,
    pub at: Timestamp,
    /// The error code that the RFC demands of the other end.
    pub code: ErrorCode,
    /// A connection error (section 5.4.1), or else a stream error (5.4.2).
    pub connection_error: bool,
    pub rule: Rule,
    /// The frame that broke it.
    pub frame: FrameKind,
    /// What the other end did about it.
    pub answer: Answer,
}

/// How the endpoints of a stream behaved. Nothing in nearly all streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conduct {
    /// The first rule that was broken on the stream by a frame that came too late or too early.
    pub offence: Option<Offence>,
    /// Who had just broken a rule of the connection when the other end closed it.
    pub ended_connection: Option<Endpoint>,
    /// When each endpoint last broke a rule on the stream, of whatever kind.
    broke_at: Pair<Option<Timestamp>>,
    /// By each endpoint: it reset the stream because the other had broken a rule on it.
    provoked: Pair<bool>,
}

impl Conduct {
    /// `sender` broke a rule on the stream.
    pub(super) fn broke(&mut self, sender: Endpoint, at: Timestamp) {
        *self.broke_at.of_mut(sender) = Some(at);
    }

    /// `sender` broke a rule on the stream.
    #[must_use]
    pub fn has_broken(&self, sender: Endpoint) -> bool {
        self.broke_at.of(sender).is_some() || self.offence.is_some_and(|it| it.sender == sender)
    }

    /// `sender` resets the stream. True when its peer had just broken a rule.
    pub(super) fn reset(&mut self, sender: Endpoint, code: ErrorCode, at: Timestamp) -> bool {
        let broke_at = *self.broke_at.of(sender.peer());
        let provoked = broke_at.is_some_and(|broke_at| at.since(broke_at) <= ANSWER_NS);
        *self.provoked.of_mut(sender) |= provoked;
        if let Some(offence) = &mut self.offence
            && offence.sender != sender
            && offence.answer == Answer::None
        {
            offence.answer = Answer::Reset(code);
        }
        provoked
    }

    /// `sender` gives up the connection. What its peer did on this stream just before, if anything.
    pub(super) fn go_away(
        &mut self,
        sender: Endpoint,
        code: ErrorCode,
        at: Timestamp,
    ) -> Option<&Offence> {
        let offence = self.offence.as_mut()?;
        if offence.sender == sender || at.since(offence.at) > ANSWER_NS {
            return None;
        }
        if offence.answer == Answer::None {
            offence.answer = Answer::GoAway(code);
        }
        Some(offence)
    }

    /// `sender` reset the stream because its peer had broken a rule on it, which is told elsewhere.
    #[must_use]
    pub fn provoked(&self, sender: Endpoint) -> bool {
        *self.provoked.of(sender)
    }
}

/// An offence that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    offence: Offence,
    /// Frames of the peer that were not captured may have allowed it. They would be missed before the next one of
    /// it: until that comes nothing is told.
    doubted: bool,
}

/// The last rule that an endpoint broke.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: Timestamp,
    /// The error code that the RFC demands of the other end.
    code: ErrorCode,
    /// The connection cannot go on.
    connection_error: bool,
    /// The stream; 0 for the connection.
    stream_id: StreamId,
}

impl Last {
    /// Whoever resets this stream with this code answers it.
    fn is_of(&self, id: StreamId, code: ErrorCode) -> bool {
        let on_connection = self.connection_error && self.stream_id == StreamId(0);
        self.stream_id == id || (on_connection && self.code == code)
    }

    /// The other end may mean it when it gives up the connection with this code. After a connection error it has to
    /// give up, and which code it says differs; a stream error it may take for a connection error (section 5.4.1).
    fn explains(&self, code: ErrorCode) -> bool {
        match code {
            ErrorCode::NO_ERROR
            | ErrorCode::SETTINGS_TIMEOUT
            | ErrorCode::INADEQUATE_SECURITY
            | ErrorCode::HTTP_1_1_REQUIRED => false,
            ErrorCode::PROTOCOL_ERROR
            | ErrorCode::FLOW_CONTROL_ERROR
            | ErrorCode::FRAME_SIZE_ERROR
            | ErrorCode::STREAM_CLOSED
            | ErrorCode::COMPRESSION_ERROR => true,
            _ => self.connection_error || code == self.code,
        }
    }
}

/// The rules that were broken on one connection: each is told once, with its answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    told: Vec<(Endpoint, Rule)>,
    waiting: Vec<Waiting>,
    /// The last offence of each endpoint, told or not.
    last: Pair<Option<Last>>,
}

impl Ledger {
    /// Notes an offence that is told elsewhere.
    pub(super) fn note(&mut self, offence: &Offence) {
        *self.last.of_mut(offence.sender) = Some(Last {
            at: offence.at,
            code: offence.code,
            connection_error: offence.connection_error,
            stream_id: offence.stream_id,
        });
    }

    /// Notes that `sender` broke a rule of a stream that is told elsewhere, which demands this code.
    pub(super) fn note_other(&mut self, sender: Endpoint, code: ErrorCode, at: Timestamp) {
        *self.last.of_mut(sender) = Some(Last {
            at,
            code,
            connection_error: false,
            stream_id: StreamId(0),
        });
    }

    /// The last rule that `sender` broke, not long before `at`, was of this stream, or of the connection and demands
    /// this code.
    pub(super) fn broke_on(
        &self,
        sender: Endpoint,
        (id, code): (StreamId, ErrorCode),
        at: Timestamp,
    ) -> bool {
        let last = self.last.of(sender);
        last.is_some_and(|last| last.is_of(id, code) && at.since(last.at) <= ANSWER_NS)
    }

    /// Takes an offence. `doubted`: not before the next frame of the peer is it certain. False when the bound of
    /// distinct rules is reached.
    pub(super) fn take(&mut self, offence: Offence, doubted: bool) -> bool {
        self.note(&offence);
        let name = (offence.sender, offence.rule);
        if self.told.contains(&name) {
            return true;
        }
        if self.told.len() >= limits::BROKEN_RULES {
            return false;
        }
        self.told.push(name);
        self.waiting.push(Waiting { offence, doubted });
        true
    }

    /// These offences, if nothing has answered them yet, turned out to be none.
    pub(super) fn excuse(&mut self, is: impl Fn(&Offence) -> bool) {
        let told = &mut self.told;
        self.waiting.retain(|Waiting { offence, .. }| {
            let excused = is(offence);
            if excused {
                told.retain(|name| *name != (offence.sender, offence.rule));
            }
            !excused
        });
    }

    /// A frame of `sender` came, and nothing of it was missed before.
    pub(super) fn on_frame(&mut self, sender: Endpoint) {
        for waiting in &mut self.waiting {
            waiting.doubted &= waiting.offence.sender == sender;
        }
    }

    /// `by` reset a stream. What that answered.
    pub(super) fn on_reset(&mut self, by: Endpoint, id: StreamId, code: ErrorCode) -> Vec<Offence> {
        self.answered(Answer::Reset(code), |offence| {
            let on_connection = offence.stream_id == StreamId(0) && offence.code == code;
            offence.sender != by && (offence.stream_id == id || on_connection)
        })
    }

    /// `by` gave up the connection. What that answered.
    pub(super) fn on_go_away(&mut self, by: Endpoint, code: ErrorCode) -> Vec<Offence> {
        if code == ErrorCode::NO_ERROR {
            return Vec::new();
        }
        self.answered(Answer::GoAway(code), |offence| offence.sender != by)
    }

    /// The connection ended.
    pub(super) fn on_end(&mut self) -> Vec<Offence> {
        self.answered(Answer::Closed, |_| true)
    }

    /// A GOAWAY with this code by `by` is an answer to what its peer did.
    pub(super) fn explains(&self, by: Endpoint, code: ErrorCode, at: Timestamp) -> bool {
        let last = self.last.of(by.peer());
        last.is_some_and(|last| at.since(last.at) <= ANSWER_NS && last.explains(code))
    }

    /// `sender` had just broken a rule after which the connection cannot go on.
    pub(super) fn ended_connection(&self, sender: Endpoint, at: Timestamp) -> bool {
        let last = self.last.of(sender);
        last.is_some_and(|last| last.connection_error && at.since(last.at) <= ANSWER_NS)
    }

    /// Nothing waits for an answer.
    #[inline]
    pub(super) const fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What waited for an answer long enough.
    pub(super) fn advance(&mut self, now: Timestamp) -> Vec<Offence> {
        if self.is_idle() {
            return Vec::new();
        }
        self.answered(Answer::None, |offence| now >= due(offence))
    }

    /// When the next has waited long enough.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let certain = self.waiting.iter().filter(|waiting| !waiting.doubted);
        certain.map(|waiting| due(&waiting.offence)).min()
    }

    fn answered(&mut self, answer: Answer, is: impl Fn(&Offence) -> bool) -> Vec<Offence> {
        let (answered, waiting): (Vec<Waiting>, _) = self
            .waiting
            .iter()
            .partition(|waiting| !waiting.doubted && is(&waiting.offence));
        self.waiting = waiting;
        let minded = match answer {
            Answer::None | Answer::Closed => false,
            Answer::Reset(code) | Answer::GoAway(code) => !matches!(
                code,
                ErrorCode::NO_ERROR
                    | ErrorCode::CANCEL
                    | ErrorCode::REFUSED_STREAM
                    | ErrorCode::ENHANCE_YOUR_CALM
            ),
        };
        let offences = answered.into_iter().map(|waiting| waiting.offence);
        offences
            .filter(|offence| minded || !offence.rule.is_obsolete())
            .map(|offence| Offence { answer, ..offence })
            .collect()
    }
}

/// When an offence has waited long enough.
const fn due(offence: &Offence) -> Timestamp {
    Timestamp(offence.at.0.saturating_add(ANSWER_NS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Endpoint::{Client, Server};

    fn offence(sender: Endpoint, rule: Rule, at: u64) -> Offence {
        Offence {
            kind: OffenceKind::Framing,
            sender,
            stream_id: StreamId(3),
            at: Timestamp(at),
            code: ErrorCode::FRAME_SIZE_ERROR,
            connection_error: false,
            rule,
            frame: FrameKind::Ping,
            answer: Answer::None,
        }
    }

    #[test]
    fn each_rule_is_told_once_with_its_answer() {
        let mut ledger = Ledger::default();
        assert!(
            ledger.take(offence(Client, Rule::PingLength, 0), false)
                && ledger.take(offence(Client, Rule::PingLength, 1), false)
        );
        assert!(ledger.take(offence(Server, Rule::PingLength, 1), false));
        // Only the other end answers, and only on the same stream.
        assert_eq!(ledger.on_reset(Client, StreamId(5), ErrorCode::CANCEL), []);
        let answered = ledger.on_reset(Server, StreamId(3), ErrorCode::FRAME_SIZE_ERROR);
        assert_eq!(answered.len(), 1);
        assert_eq!(
            (answered[0].sender, answered[0].answer),
            (Client, Answer::Reset(ErrorCode::FRAME_SIZE_ERROR))
        );
        assert_eq!(ledger.on_go_away(Client, ErrorCode::NO_ERROR), []);
        assert_eq!(ledger.due(), Some(Timestamp(1 + ANSWER_NS)));
        assert_eq!(ledger.advance(Timestamp(ANSWER_NS)), []);
        assert_eq!(
            ledger.advance(Timestamp(1 + ANSWER_NS)),
            [offence(Server, Rule::PingLength, 1)]
        );
        assert_eq!(ledger.due(), None);
        assert_eq!(ledger.on_end(), []);
    }

    #[test]
    fn the_number_of_rules_is_bounded() {
        let mut ledger = Ledger::default();
        let mut taken = 0;
        for rule in Rule::ALL {
            taken += usize::from(ledger.take(offence(Client, *rule, 0), false));
        }
        assert_eq!(taken, limits::BROKEN_RULES);
    }

    #[test]
    fn a_go_away_is_explained_by_what_came_just_before() {
        let mut ledger = Ledger::default();
        let size = ErrorCode::FRAME_SIZE_ERROR;
        assert!(!ledger.explains(Server, size, Timestamp(5)));
        ledger.take(offence(Client, Rule::PingLength, 5), false);
        assert!(ledger.explains(Server, size, Timestamp(6)));
        assert!(ledger.explains(Server, ErrorCode::PROTOCOL_ERROR, Timestamp(6)));
        // Implementations differ in the code.
        assert!(ledger.explains(Server, ErrorCode::STREAM_CLOSED, Timestamp(6)));
        assert!(!ledger.explains(Server, ErrorCode::INTERNAL_ERROR, Timestamp(6)));
        assert!(!ledger.explains(Client, size, Timestamp(6)));
        assert!(!ledger.explains(Server, size, Timestamp(6 + ANSWER_NS)));
        let broke_on = |ledger: &Ledger, sender, id| {
            ledger.broke_on(sender, (StreamId(id), size), Timestamp(6))
        };
        assert!(broke_on(&ledger, Client, 3));
        assert!(!broke_on(&ledger, Client, 5));
        assert!(!broke_on(&ledger, Server, 3));
        // After a connection error whatever ends the connection is the answer.
        let fatal = Offence {
            connection_error: true,
            ..offence(Client, Rule::PingLength, 5)
        };
        ledger.take(fatal, false);
        for code in [ErrorCode::INTERNAL_ERROR, ErrorCode::ENHANCE_YOUR_CALM] {
            assert!(ledger.explains(Server, code, Timestamp(6)), "{code}");
        }
        assert!(!ledger.explains(Server, ErrorCode::SETTINGS_TIMEOUT, Timestamp(6)));
    }

    #[test]
    fn an_obsolete_rule_is_told_only_when_it_is_minded() {
        let mut ledger = Ledger::default();
        let own = offence(Client, Rule::DependsOnItself, 0);
        ledger.take(own, false);
        let mut minded = ledger.clone();
        assert_eq!(ledger.advance(Timestamp(ANSWER_NS)), []);
        let protocol = ErrorCode::PROTOCOL_ERROR;
        assert_eq!(minded.on_reset(Server, StreamId(3), protocol).len(), 1);
    }

    #[test]
    fn what_is_doubted_waits_for_the_peers_next_frame() {
        let mut ledger = Ledger::default();
        let taken = ledger.take(offence(Client, Rule::FrameTooLong, 0), true);
        assert!(taken && ledger.due().is_none());
        ledger.on_frame(Client);
        assert_eq!(ledger.advance(Timestamp(ANSWER_NS)), []);
        let mut silent = ledger.clone();
        assert_eq!(silent.on_end(), []);
        ledger.on_frame(Server);
        assert_eq!(ledger.due(), Some(Timestamp(ANSWER_NS)));
        assert_eq!(ledger.advance(Timestamp(ANSWER_NS)).len(), 1);
        assert!(ledger.take(offence(Server, Rule::FrameTooLong, 0), true));
        ledger.excuse(|offence| offence.sender == Client);
        ledger.on_frame(Client);
        ledger.excuse(|offence| offence.sender == Server);
        assert_eq!(ledger.on_end(), []);
    }
}
