//! One TLS connection: both directions, what their handshake says, and their plain text.

use std::collections::VecDeque;

use super::failure::{Alert, Failure};
use super::half::{Half, RecordOutcome, Source};
use super::handshake::message;
use super::hello::Random;
use super::info::{KeySource, TlsInfo, Version, Why};
use super::keys::{KeyLog, Randoms};
use super::opaque::{Opaque, Walker};
use super::record::{Record, content};
use super::scan::Scan;
use super::suite::{Cipher, Hash};
use super::waiting::AllWaiting;
use crate::endpoint::Endpoint;
use crate::limits;

/// The keys of TLS 1.3 follow each other. Of TLS 1.2 the only ones are those of `Application`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Epoch {
    /// What the client sends before the server has answered.
    Early,
    Handshake,
    Application,
}

impl Epoch {
    /// This one, and those that may follow it.
    pub(super) fn and_later(self, version: Version) -> &'static [Epoch] {
        const ALL: [Epoch; 3] = [Epoch::Early, Epoch::Handshake, Epoch::Application];
        let from = if version == Version::TLS1_3 {
            self as usize
        } else {
            Epoch::Application as usize
        };
        ALL.get(from..).unwrap_or_default()
    }
}

/// What the client sent before the server had answered (RFC 8446 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EarlyData {
    Absent,
    /// It is not known yet whether the server takes it.
    Offered,
    Taken,
    /// The server passes it over, or it cannot be known whether it does.
    Untold,
}

/// A piece of plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Who sent it.
    pub sender: Endpoint,
    /// When the last byte of its record went by, as the bytes came with it.
    pub at: u64,
    /// Where it stands in the plain text of its direction. A jump says how much is missing; an offset before the
    /// expected one, that it is not known.
    pub offset: u64,
    /// The plain text.
    pub bytes: &'a [u8],
}

/// Bytes of one direction as they were captured, and how many after them were not.
struct HeldPiece {
    at: u64,
    bytes: Vec<u8>,
    missing: u64,
}

/// Follows one TLS connection from its first byte.
pub struct Session {
    pub(super) info: TlsInfo,
    pub(super) client_random: Option<Random>,
    pub(super) server_random: Random,
    pub(super) suite: Option<(Cipher, Hash)>,
    pub(super) early: EarlyData,
    pub(super) client: Half,
    pub(super) server: Half,
    /// Its keys are looked for.
    pub(super) scan: Option<Box<Scan>>,
    /// The next offset of each direction.
    expected: [u64; 2],
    /// What of the client waits for what the server says.
    held: VecDeque<HeldPiece>,
    n_held: usize,
    is_over: bool,
    /// What goes by of both directions, opened or not.
    walkers: [Walker; 2],
}

impl Default for Session {
    fn default() -> Session {
        Session {
            info: TlsInfo::default(),
            client_random: None,
            server_random: Random::default(),
            suite: None,
            early: EarlyData::Absent,
            client: Half::new(Endpoint::Client),
            server: Half::new(Endpoint::Server),
            scan: None,
            expected: [0; 2],
            held: VecDeque::new(),
            n_held: 0,
            is_over: false,
            walkers: [Walker::default(); 2],
        }
    }
}

/// Space for a record, and for what is in it. One serves all connections.
#[derive(Default)]
pub struct Scratch {
    fragment: Vec<u8>,
    pub(super) plain: Vec<u8>,
    pub(super) waiting: AllWaiting,
}

/// The secrets that open records, and where plain text goes.
pub struct Context<'a> {
    /// The secrets that are known so far.
    pub keys: &'a KeyLog,
    /// Space for one record.
    pub scratch: &'a mut Scratch,
    /// Takes plain text.
    pub out: &'a mut dyn FnMut(Plain<'_>),
}

impl Session {
    /// Whether the first bytes of a direction are a client's: a record with a ClientHello.
    #[must_use]
    pub fn is_client(bytes: &[u8]) -> bool {
        bytes.first() == Some(&content::HANDSHAKE) && bytes.get(5) == Some(&message::CLIENT_HELLO)
    }

    /// Bytes of a direction that [`Session::client_random`] needs.
    pub const HELLO_LOOKED_AT: usize = 43;

    /// What names the connection in key logs, from the first bytes of its client.
    #[must_use]
    pub fn client_random(bytes: &[u8]) -> Option<Random> {
        // Behind the headers of record and message, and the version.
        let random = bytes.get(11..Session::HELLO_LOOKED_AT)?;
        let random = Random::try_from(random).ok();
        random.filter(|_| Session::is_client(bytes))
    }

    /// What names the connection in key logs, when its client has said it.
    #[must_use]
    pub const fn random(&self) -> Option<Random> {
        self.client_random
    }

    /// What is known of the connection so far.
    #[must_use]
    pub fn info(&self) -> TlsInfo {
        let halves = [&self.client, &self.server];
        let over = halves.iter().find_map(|half| half.over);
        let lost = halves.iter().any(|half| half.has_lost());
        let why = self.info.why.or(over);
        TlsInfo {
            why: why.or(lost.then_some(Why::LostBytes)),
            ..self.info.clone()
        }
    }

    /// Nothing of it will be opened any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Something of it was opened.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.info.key != KeySource::None
    }

    /// None of it will be opened.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        self.is_over && !self.is_open()
    }

    /// Application data of a direction that went by since this was asked last and will not be opened.
    pub fn take_opaque(&mut self, sender: Endpoint) -> Opaque {
        let is_opaque = self.is_opaque();
        let walker = self.walkers.get_mut(sender.index());
        walker
            .filter(|_| is_opaque)
            .map_or_else(Opaque::default, Walker::take)
    }

    /// Where the plain text of a direction ends, with what was lost of it.
    #[must_use]
    pub fn end(&self, sender: Endpoint) -> u64 {
        match sender {
            Endpoint::Client => self.client.end(),
            Endpoint::Server => self.server.end(),
        }
    }

    /// The connection is over: nothing is waited for any more.
    pub fn finish(&mut self, context: &mut Context<'_>) {
        if self.early == EarlyData::Offered && self.info.version.is_some() {
            self.early = EarlyData::Untold;
            self.release(context);
        }
        self.finish_scan(context);
        if !self.is_open() && self.info.why.is_none() {
            let over = self.client.over.or(self.server.over);
            let unopened = if self.is_late() {
                Why::HandshakeUnseen
            } else {
                Why::HandshakeUnfinished
            };
            self.fail(over.unwrap_or(unopened));
        }
    }

    /// The offset of the next byte of a direction.
    #[cfg(feature = "tls")]
    pub(super) fn expects(&self, sender: Endpoint) -> u64 {
        self.expected
            .get(sender.index())
            .copied()
            .unwrap_or_default()
    }

    /// It is this one.
    #[cfg(feature = "tls")]
    pub(super) fn expect(&mut self, sender: Endpoint, offset: u64) {
        if let Some(expected) = self.expected.get_mut(sender.index()) {
            *expected = offset;
        }
    }

    /// Takes bytes of a direction, which stand at `offset` of it; `cut` bytes after them were not captured.
    pub fn take(
        &mut self,
        sender: Endpoint,
        at: u64,
        (offset, bytes, cut): (u64, &[u8], u32),
        context: &mut Context<'_>,
    ) {
        let Some(expected) = self.expected.get_mut(sender.index()) else {
            return;
        };
        let before = offset.saturating_sub(*expected);
        let begins = *expected == 0 && before == 0;
        *expected = offset
            .saturating_add(bytes.len() as u64)
            .saturating_add(u64::from(cut));
        if before > 0 {
            self.piece(sender, at, (&[], before), context);
        }
        let kind = bytes
            .first()
            .filter(|_| begins && sender == Endpoint::Server);
        if kind.is_some_and(|kind| !content::ALL.contains(kind)) {
            self.answered_otherwise();
        }
        self.piece(sender, at, (bytes, u64::from(cut)), context);
        if sender == Endpoint::Server {
            self.release(context);
        }
        // After what it says of the version has been read.
        if self.info.key == KeySource::None
            && let Some(walker) = self.walkers.get_mut(sender.index())
        {
            walker.pass(&[], before, &self.info);
            walker.pass(bytes, u64::from(cut), &self.info);
        }
    }

    fn piece(
        &mut self,
        sender: Endpoint,
        at: u64,
        (bytes, missing): (&[u8], u64),
        context: &mut Context<'_>,
    ) {
        if self.is_over {
            return;
        }
        if sender == Endpoint::Client && self.holds_client() {
            return self.hold(at, bytes, missing);
        }
        self.half(sender).records.push(at, bytes);
        self.records(sender, context);
        if missing > 0 {
            if sender == Endpoint::Client && self.holds_client() {
                return self.hold(at, &[], missing);
            }
            if let Some(why) = self.sealed_for_good(sender, context) {
                return self.fail(why);
            }
            self.half(sender).records.hole(missing);
            let early = self.early == EarlyData::Offered && self.info.version.is_some();
            if sender == Endpoint::Server && early {
                // What it says to early data may be among what was lost.
                self.early = EarlyData::Untold;
            }
        }
    }

    /// Bytes of a record were not captured. Why nothing of the connection will be opened, if that record shows it.
    fn sealed_for_good(&self, sender: Endpoint, context: &Context<'_>) -> Option<Why> {
        let records = match sender {
            Endpoint::Client => &self.client.records,
            Endpoint::Server => &self.server.records,
        };
        if self.is_open() || self.scan.is_some() || !records.are_at(content::APPLICATION_DATA) {
            return None;
        }
        let random = self.client_random.filter(|_| self.suite.is_some());
        match random {
            Some(random) => context
                .keys
                .secrets(&random)
                .is_none()
                .then_some(Why::NoKey),
            None if records.lost().any() => Some(Why::LostBytes),
            None => Some(Why::HandshakeUnseen),
        }
    }

    /// Until the server has chosen a suite, and has said what it does with early data, nothing of what the client sends
    /// behind its hello can be read.
    fn holds_client(&self) -> bool {
        let early = self.early == EarlyData::Offered;
        let waits = self.info.version.is_none() && !self.is_late();
        self.client_random.is_some() && (waits || early)
    }

    /// What the client sent before the server had answered cannot be told.
    pub(super) fn pass_over_early(&mut self, context: &mut Context<'_>) {
        if self.early == EarlyData::Offered {
            self.early = EarlyData::Untold;
            self.client.enter(Epoch::Handshake);
            self.release(context);
        }
    }

    fn hold(&mut self, at: u64, bytes: &[u8], missing: u64) {
        let n = bytes.len();
        if self.n_held + n <= limits::TLS_HELD && self.held.len() < limits::TLS_HELD_PIECES {
            self.n_held += n;
            let bytes = bytes.to_vec();
            return self.held.push_back(HeldPiece { at, bytes, missing });
        }
        let missing = missing.saturating_add(n as u64);
        match self.held.back_mut() {
            Some(last) => last.missing = last.missing.saturating_add(missing),
            None => {
                let bytes = Vec::new();
                self.held.push_back(HeldPiece { at, bytes, missing });
            }
        }
    }

    pub(super) fn release(&mut self, context: &mut Context<'_>) {
        if self.holds_client() {
            return;
        }
        // What was in one piece with the hello.
        self.records(Endpoint::Client, context);
        while !self.holds_client()
            && let Some(HeldPiece { at, bytes, missing }) = self.held.pop_front()
        {
            self.n_held -= bytes.len();
            self.piece(Endpoint::Client, at, (&bytes, missing), context);
        }
    }

    pub(super) const fn half(&mut self, sender: Endpoint) -> &mut Half {
        match sender {
            Endpoint::Client => &mut self.client,
            Endpoint::Server => &mut self.server,
        }
    }

    /// Nothing of it will be opened.
    pub(super) fn fail(&mut self, why: Why) {
        self.info.why.get_or_insert(why);
        self.is_over = true;
        self.held = VecDeque::new();
        self.scan = None;
        for half in [&mut self.client, &mut self.server] {
            // Its keys and buffers go.
            let next = Half::new(Endpoint::Client);
            let old = std::mem::replace(half, next);
            half.over = old.over;
        }
    }

    /// Takes the records that are whole.
    fn records(&mut self, sender: Endpoint, context: &mut Context<'_>) {
        let mut fragment = std::mem::take(&mut context.scratch.fragment);
        loop {
            let waits = sender == Endpoint::Client && self.holds_client();
            if self.is_over || waits {
                break;
            }
            let Some(record) = self.half(sender).records.next(&mut fragment) else {
                break;
            };
            if self.half(sender).over.is_some() {
                self.half(sender).records.refused(&record);
                continue;
            }
            if !record.certain && self.cannot_open_yet(sender) {
                match self.half(sender).records.is_chained(&record) {
                    None => break,
                    Some(true) => {}
                    Some(false) => {
                        self.half(sender).records.refused(&record);
                        continue;
                    }
                }
            }
            let before = self.half(sender).records.taken();
            let half = self.half(sender);
            half.n_taken = half.n_taken.wrapping_add(u32::from(record.certain));
            self.record(sender, record, &fragment, context);
            if !record.certain && self.half(sender).records.taken() == before {
                break;
            }
            if sender == Endpoint::Server && !self.holds_client() {
                // Before what the server says next.
                self.release(context);
            }
        }
        context.scratch.fragment = fragment;
    }

    fn record(
        &mut self,
        sender: Endpoint,
        record: Record,
        fragment: &[u8],
        context: &mut Context<'_>,
    ) {
        let version = self.info.version;
        let lost = self.half(sender).records.lost().any();
        let in_doubt = lost || !record.certain || record.kind() == content::APPLICATION_DATA;
        let begins_late = version.is_none() && in_doubt && self.begin_late(sender, context);
        if begins_late || self.is_late() {
            return self.sealed(sender, record, fragment, context);
        }
        let half = self.half(sender);
        let is_protected = match version {
            Some(Version::TLS1_3) => record.kind() == content::APPLICATION_DATA,
            // The ChangeCipherSpec may be among what was lost.
            Some(_) => half.is_protected || lost,
            None => false,
        };
        if is_protected || !record.certain {
            return self.protected(sender, record, fragment, context);
        }
        if lost && version.is_none() {
            return self.fail(Why::LostBytes);
        }
        half.records.opened(&record);
        match record.kind() {
            content::HANDSHAKE => self.handshake(sender, fragment),
            content::CHANGE_CIPHER_SPEC if version != Some(Version::TLS1_3) => {
                half.is_protected = version.is_some();
            }
            content::CHANGE_CIPHER_SPEC => {}
            content::ALERT => self.alert(sender, fragment),
            _ => self.fail(Why::HandshakeUnseen),
        }
    }

    /// An alert in clear.
    fn alert(&mut self, sender: Endpoint, fragment: &[u8]) {
        if let Some(alert) = Alert::fatal(fragment).filter(|_| self.client_random.is_some()) {
            let failure = Failure::Alert { sender, alert };
            self.info.failure.get_or_insert(failure);
        }
    }

    /// The server answered in something that is no TLS.
    pub fn answered_otherwise(&mut self) {
        if self.client_random.is_some() {
            self.info.failure.get_or_insert(Failure::Foreign);
        }
    }

    /// The connection has ended, and [`Session::finish`] comes next.
    pub fn ended(&mut self) {
        let is_unanswered = self.client_random.is_some() && self.expected == [self.expected[0], 0];
        if is_unanswered {
            self.info.failure.get_or_insert(Failure::Unanswered);
        }
    }

    /// A record that a key opens, or nothing.
    pub(super) fn protected(
        &mut self,
        sender: Endpoint,
        record: Record,
        fragment: &[u8],
        context: &mut Context<'_>,
    ) {
        let random = self.client_random.as_ref();
        let is_told = random.is_some_and(|random| context.keys.opens(random));
        if self.is_scanned(is_told) {
            return self.sealed(sender, record, fragment, context);
        }
        let (Some(version), Some(suite), Some(client)) =
            (self.info.version, self.suite, self.client_random)
        else {
            return self.fail(Why::LostBytes);
        };
        let Some(secrets) = context.keys.secrets(&client) else {
            if self.is_open() {
                // Renegotiated: what was opened before stays good.
                self.half(sender).over = Some(Why::NoKey);
                return;
            }
            return self.fail(Why::NoKey);
        };
        let server = self.server_random;
        let source = Source {
            secrets,
            version,
            suite,
            randoms: Randoms { client, server },
        };
        let mut plain = std::mem::take(&mut context.scratch.plain);
        let outcome = self
            .half(sender)
            .open(&record, fragment, &source, &mut plain);
        match outcome {
            RecordOutcome::Opened(kind) => {
                self.info.key = secrets.source();
                self.opened(sender, &record, kind, &plain, context);
            }
            RecordOutcome::Refused => {}
            RecordOutcome::Over(why) => {
                if self.client.over.is_some() && self.server.over.is_some() && !self.is_open() {
                    self.fail(why);
                } else if sender == Endpoint::Server && self.early == EarlyData::Offered {
                    self.early = EarlyData::Untold;
                }
            }
        }
        context.scratch.plain = plain;
    }

    pub(super) fn opened(
        &mut self,
        sender: Endpoint,
        record: &Record,
        kind: u8,
        plain: &[u8],
        context: &mut Context<'_>,
    ) {
        let answers = sender == Endpoint::Server && self.server.epoch == Epoch::Application;
        if answers && self.early == EarlyData::Offered {
            // What it said to early data was not opened.
            self.early = EarlyData::Untold;
            self.release(context);
        }
        let is_taken = self.early == EarlyData::Taken;
        let half = self.half(sender);
        let is_untold = half.epoch == Epoch::Early && !is_taken;
        match kind {
            content::APPLICATION_DATA if plain.is_empty() => {}
            content::APPLICATION_DATA if is_untold => half.miss(),
            content::APPLICATION_DATA => {
                let offset = half.place(plain.len());
                #[cfg(feature = "tls")]
                {
                    half.watch_content(offset);
                    half.frames.push(offset, plain);
                }
                (context.out)(Plain {
                    sender,
                    at: record.at,
                    offset,
                    bytes: plain,
                });
            }
            content::HANDSHAKE => self.handshake(sender, plain),
            // A renegotiation (TLS 1.2): the hellos in it were read.
            content::CHANGE_CIPHER_SPEC => half.enter(Epoch::Application),
            _ => {}
        }
    }
}
