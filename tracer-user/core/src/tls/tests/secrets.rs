//! Secrets of handshakes, which come while their connections go on.

use super::talk::{Heard, LABELS};
use super::{every, long_talk, wanted};
use crate::endpoint::Endpoint;
use crate::tls::keys::Label;
use crate::tls::{Context, HandshakeSecrets, KeyLog, KeySource, Scratch, Session, Version, Why};

/// The secrets of the handshake that every conversation has, or (`mixed` is not 0) of another one.
fn secrets(log: &KeyLog, (version, suite): (Version, u16), mixed: u8) -> HandshakeSecrets {
    let len = if suite == 0x1302 { 48 } else { 32 };
    let mut secrets = log.handshake();
    if version == Version::TLS1_2 {
        assert!(secrets.take(Label::Master, &[9 ^ mixed; 48]));
    } else {
        for (label, byte) in LABELS {
            let label = Label::named(label).unwrap();
            assert!(secrets.take(label, &vec![byte ^ mixed; len]));
            assert!(!secrets.take(label, &vec![byte; len]), "it has one");
        }
    }
    secrets
}

/// A session whose keys are looked for, and which may be told them.
struct Asker {
    session: Session,
    log: KeyLog,
    scratch: Scratch,
    heard: Heard,
    offsets: [u64; 2],
}

impl Asker {
    fn new() -> Asker {
        let mut session = Session::awaiting_keys();
        session.expect_secrets();
        Asker {
            session,
            log: KeyLog::default(),
            scratch: Scratch::default(),
            heard: Heard::default(),
            offsets: [0; 2],
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Session, &mut Context<'_>)) {
        let heard = &mut self.heard;
        let mut context = Context {
            keys: &self.log,
            scratch: &mut self.scratch,
            out: &mut |plain| heard.take(plain),
        };
        act(&mut self.session, &mut context);
    }

    fn take(&mut self, sent: &[(Endpoint, Vec<u8>)]) {
        for (side, bytes) in sent {
            let offset = self.offsets[side.index()];
            self.offsets[side.index()] += bytes.len() as u64;
            self.with(|session, context| session.take(*side, 7, (offset, bytes, 0), context));
        }
    }

    /// The secrets are the connection's.
    fn tell(&mut self, secrets: HandshakeSecrets) {
        assert!(self.session.is_of(&secrets, &mut Vec::new()));
        self.log.adopt(self.session.random().unwrap(), secrets);
        self.with(Session::told);
    }

    fn finish(mut self) -> Heard {
        self.with(Session::finish);
        self.heard.info = self.session.info();
        self.heard
    }
}

#[test]
fn secrets_open_what_waited_for_them_and_what_follows() {
    for (version, suite) in every() {
        let sent = long_talk(version, suite).sent;
        let first = sent.iter().position(|(_, record)| record[0] == 23).unwrap();
        for n in [first + 1, first + 6, sent.len()] {
            let mut told = Asker::new();
            told.take(&sent[..n]);
            assert!(told.session.is_ready_for_secrets(), "{suite:x} {n}");
            let own = secrets(&told.log, (version, suite), 0);
            told.tell(own);
            told.take(&sent[n..]);
            let heard = told.finish();
            let [client, server] = wanted();
            assert_eq!(heard.text(Endpoint::Client), client, "{suite:x} {n}");
            assert_eq!(heard.text(Endpoint::Server), server, "{suite:x} {n}");
            assert_eq!((heard.info.key, heard.info.why), (KeySource::Probe, None));
            assert_eq!(heard.info.alpn.as_deref(), Some("h2"));
        }
    }
}

#[test]
fn secrets_of_another_handshake_open_nothing() {
    for (version, suite) in every() {
        let sent = long_talk(version, suite).sent;
        let mut told = Asker::new();
        told.take(&sent);
        let others = secrets(&told.log, (version, suite), 0x40);
        assert!(others.is_enough());
        assert!(!told.session.is_of(&others, &mut Vec::new()), "{suite:x}");
        // Even if somebody takes them for its own.
        told.log.adopt(told.session.random().unwrap(), others);
        told.with(Session::told);
        let heard = told.finish();
        assert!(heard.client.is_empty() && heard.server.is_empty());
        assert_eq!(heard.info.key, KeySource::None);
    }
}

#[test]
fn what_no_search_finds_waits_for_secrets_and_no_longer() {
    let (version, suite) = (Version::TLS1_3, 0x1303);
    let sent = long_talk(version, suite).sent;
    let mut told = Asker::new();
    told.take(&sent);
    assert!(told.session.info().why.is_none());
    for side in [Endpoint::Client, Endpoint::Server] {
        assert!(told.session.wanted(side).is_none(), "it has no schedule");
    }
    told.with(|session, _| session.expect_no_secrets());
    assert_eq!(told.session.info().why, Some(Why::KeyNotFindable));
    let mut told = Asker::new();
    told.take(&sent);
    assert_eq!(told.finish().info.why, Some(Why::KeyNotFindable));
}
