//! TLS: what a key log opens goes on as if it had been captured in clear. Of what stays closed it is told how much it is.

use std::sync::Arc;

use h2trace_core::connection::Endpoint;
use h2trace_core::event::{Direction, OtherProtocol, Timestamp, What};
use h2trace_core::tls::{ClientRandom, Context, Plain, Session, TlsInfo};

use super::speech::{Piece, Speech};
use super::{Connection, Out};
use crate::capture::flow::Run;

/// A connection that began as TLS.
pub(super) struct Tls {
    pub(super) session: Session,
    /// Bytes before the client's hello, of the PROXY protocol.
    pub(super) skip: u64,
    /// What was told of it last.
    told: Option<TlsInfo>,
}

impl Tls {
    /// Where the plain text of a direction ends.
    pub(super) fn end(&self, direction: Direction) -> u64 {
        self.session.end(sender(direction))
    }
}

/// The observed end is the client's.
const fn sender(direction: Direction) -> Endpoint {
    match direction {
        Direction::Tx => Endpoint::Client,
        Direction::Rx => Endpoint::Server,
    }
}

impl Connection {
    /// What names its TLS in key logs.
    pub(in crate::capture) fn client_random(&self) -> Option<ClientRandom> {
        let tls = self.tls.as_ref()?;
        tls.session.random()
    }

    /// The first bytes of `first` are TLS, those that wait among them.
    pub(super) fn begin_tls(
        &mut self,
        first: Direction,
        skip: usize,
        mut held: Vec<(Direction, Run)>,
        out: &mut Out<'_>,
    ) {
        if !self.from_syn {
            let bytes = held.iter().find(|(direction, _)| *direction == first);
            let says_hello = bytes.is_some_and(|(_, run)| Session::is_client(&run.bytes));
            if says_hello && first == Direction::Rx {
                self.turn(&mut held);
            }
            // A client that says hello has just connected.
            self.from_syn = says_hello;
        }
        let mut session = match (self.awaits_keys, self.from_syn) {
            (false, _) => Session::default(),
            (true, true) => Session::awaiting_keys(),
            (true, false) => Session::late(),
        };
        if self.expects_secrets {
            session.expect_secrets();
        }
        self.tls = Some(Tls {
            session,
            skip: skip as u64,
            told: None,
        });
        self.speech = Speech::undecided();
        let mut skip = skip;
        for (direction, mut run) in held {
            if direction == Direction::Tx && skip > 0 {
                let n = skip.min(run.bytes.len());
                run.bytes.drain(..n);
                run.offset += n as u64;
                skip -= n;
            }
            self.open_tls(direction, Piece::from(&run), out);
        }
    }

    /// Bytes of a TLS connection, or (later) of one that was.
    pub(super) fn open_tls(&mut self, direction: Direction, piece: Piece<'_>, out: &mut Out<'_>) {
        let Some(tls) = &mut self.tls else {
            return self.speak(direction, piece, out);
        };
        let skipped = match direction {
            Direction::Tx => tls.skip,
            Direction::Rx => 0,
        };
        let offset = piece.offset.saturating_sub(skipped);
        let bytes = (offset, piece.bytes, piece.cut);
        self.with_session(piece.at, out, |session, context| {
            session.take(sender(direction), piece.at.0, bytes, context);
        });
    }

    /// Tells what comes of `act`.
    pub(super) fn with_session(
        &mut self,
        at: Timestamp,
        out: &mut Out<'_>,
        act: impl FnOnce(&mut Session, &mut Context<'_>),
    ) {
        let Some(is_opaque) = self.speak_of_session(out, act) else {
            return;
        };
        if is_opaque {
            self.opaque(at, out);
            self.tell_opaque(at, out);
        }
    }

    /// Nothing more will come of a TLS connection.
    pub(super) fn finish_tls(&mut self, out: &mut Out<'_>) {
        let (is_foreign, is_ending) = (self.is_foreign, self.is_ending);
        let finished = self.speak_of_session(out, |session, context| {
            if is_foreign {
                session.answered_otherwise();
            }
            if is_ending {
                session.ended();
            }
            session.finish(context);
        });
        if finished.is_none() {
            return;
        }
        self.decide(true, out);
        if self.tls.is_some() && !self.opened {
            self.opaque(self.last_at, out);
            self.tell_opaque(self.last_at, out);
        }
    }

    /// Plain text that comes of `act` is spoken. Whether the session stays closed; None: there is none.
    fn speak_of_session(
        &mut self,
        out: &mut Out<'_>,
        act: impl FnOnce(&mut Session, &mut Context<'_>),
    ) -> Option<bool> {
        let mut opened = Vec::new();
        let tls = self.tls.as_mut()?;
        let mut context = Context {
            keys: out.keys,
            scratch: out.scratch,
            out: &mut |plain| opened.push(run(&plain)),
        };
        act(&mut tls.session, &mut context);
        let is_opaque = tls.session.is_opaque();
        self.speak_plain(opened, out);
        Some(is_opaque)
    }

    fn speak_plain(&mut self, opened: Vec<(Direction, Run)>, out: &mut Out<'_>) {
        for (direction, run) in opened {
            self.speak(direction, Piece::from(&run), out);
        }
        let is_opaque = self.tls.as_ref().is_some_and(|tls| tls.session.is_opaque());
        if matches!(self.speech, Speech::Other | Speech::Refused) && !is_opaque {
            // Its keys are not needed any more.
            self.tls = None;
        }
    }

    /// It stays encrypted, or says nothing: its facts are told, and from then on how much goes by.
    fn opaque(&mut self, at: Timestamp, out: &mut Out<'_>) {
        if matches!(self.speech, Speech::Other) {
            return;
        }
        self.open(out);
        self.unrecognised(Direction::Tx, OtherProtocol::Tls, &[], at, out);
        self.speech = Speech::Other;
        let is_counted = self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.session.is_opaque() && tls.session.info().may_be_http2());
        if !is_counted {
            self.tls = None;
        }
    }

    /// Tells how much went by of what stays closed.
    fn tell_opaque(&mut self, at: Timestamp, out: &mut Out<'_>) {
        for direction in [Direction::Tx, Direction::Rx] {
            let Some(tls) = &mut self.tls else {
                return;
            };
            let opaque = tls.session.take_opaque(sender(direction));
            if opaque.is_empty() {
                continue;
            }
            let told = self.told_direction(direction);
            self.event(at, What::Opaque(told, opaque), out);
            if opaque.is_lost {
                // Nothing more can be told of it.
                self.tls = None;
            }
        }
    }

    /// Tells what is known of its TLS, if that is more than was told.
    pub(super) fn tell_tls(&mut self, at: Timestamp, out: &mut Out<'_>) {
        let Some(tls) = &mut self.tls else {
            return;
        };
        let info = tls.session.info();
        if tls.told.as_ref() == Some(&info) {
            return;
        }
        tls.told = Some(info.clone());
        self.event(at, What::Tls(Arc::new(info)), out);
    }
}

fn run(plain: &Plain<'_>) -> (Direction, Run) {
    let direction = match plain.sender {
        Endpoint::Client => Direction::Tx,
        Endpoint::Server => Direction::Rx,
    };
    let run = Run {
        at: Timestamp(plain.at),
        offset: plain.offset,
        bytes: plain.bytes.to_vec(),
        cut: 0,
    };
    (direction, run)
}
