//! Keys that are looked for where a key log says nothing, and of one direction before the other.

use super::talk::{Heard, Talk, key_log_without};
use crate::endpoint::Endpoint;
use crate::tls::{
    Context, FoundKey, KeyLog, KeySource, Opener, Scratch, Session, Trial, Tries, Version, Why,
};

const BOTH: [Endpoint; 2] = [Endpoint::Client, Endpoint::Server];
const SUITE: u16 = 0x1301;

fn exchange() -> Talk {
    let mut talk = Talk::begun(Version::TLS1_3, SUITE);
    for _ in 0..5 {
        talk.say(Endpoint::Client, b"question, ");
        talk.say(Endpoint::Server, b"answer, ");
    }
    talk
}

fn found(talk: &Talk, session: &Session, side: Endpoint) -> Option<FoundKey> {
    let (key, sample) = (talk.key(side), session.wanted(side)?);
    let mut tries = Tries { each: 0, left: 0 };
    let proof = Trial::new(&key)?.fits(&sample, &mut tries)?;
    Some(FoundKey::new(Box::new(Opener::found(&key)?), proof))
}

/// What is heard of it with a log for each record, and with what is in memory at the end.
fn heard(talk: &Talk, log_of: impl Fn(usize) -> KeyLog, is_scanned: bool) -> Heard {
    let (mut session, mut scratch) = (Session::awaiting_keys(), Scratch::default());
    let mut heard = Heard::default();
    let mut offsets = [0_u64; 2];
    let mut with = |log: &KeyLog, act: &mut dyn FnMut(&mut Context<'_>)| {
        act(&mut Context {
            keys: log,
            scratch: &mut scratch,
            out: &mut |plain| heard.take(plain),
        });
    };
    for (n, (side, record)) in talk.sent.iter().enumerate() {
        let offset = &mut offsets[side.index()];
        with(&log_of(n), &mut |context| {
            session.take(*side, 0, (*offset, record, 0), context);
        });
        *offset += record.len() as u64;
    }
    for side in BOTH {
        if is_scanned && session.wanted(side).is_some() {
            let mut key = found(talk, &session, side);
            with(&KeyLog::default(), &mut |context| {
                session.give_key(side, key.take().unwrap(), context);
            });
        }
    }
    with(&log_of(usize::MAX), &mut |context| session.finish(context));
    heard.info = session.info();
    heard
}

fn log() -> KeyLog {
    key_log_without(SUITE, Version::TLS1_3, &[])
}

fn assert_whole(heard: &Heard, key: KeySource) {
    assert_eq!(heard.text(Endpoint::Client), b"question, ".repeat(5));
    assert_eq!(heard.text(Endpoint::Server), b"answer, ".repeat(5));
    assert_eq!((heard.info.key, heard.info.why), (key, None));
}

#[test]
fn a_key_log_goes_before_a_search() {
    let talk = exchange();
    assert_whole(&heard(&talk, |_| log(), true), KeySource::KeyLog);
    assert_whole(&heard(&talk, |_| KeyLog::default(), true), KeySource::Scan);
    let alone = heard(&talk, |_| KeyLog::default(), false);
    assert_eq!(alone.info.why, Some(Why::EndedBeforeKey));
}

#[test]
fn half_of_what_opens_a_connection_leaves_it_to_the_search() {
    let part = || key_log_without(SUITE, Version::TLS1_3, &["SERVER_TRAFFIC_SECRET_0"]);
    assert_whole(&heard(&exchange(), |_| part(), true), KeySource::Scan);
}

#[test]
fn what_a_key_log_brings_when_the_search_has_begun_changes_nothing() {
    let talk = exchange();
    for at in 4..talk.sent.len() {
        let log_of = |n: usize| if n < at { KeyLog::default() } else { log() };
        let heard = heard(&talk, log_of, true);
        assert_eq!(
            heard.text(Endpoint::Client),
            b"question, ".repeat(5),
            "{at}"
        );
        assert_eq!(heard.text(Endpoint::Server), b"answer, ".repeat(5), "{at}");
        assert_eq!(heard.info.why, None);
    }
}

/// Told afterwards, what a peer said before would be too late: a WINDOW_UPDATE, say.
#[test]
fn what_was_said_before_is_told_before_however_much_it_is() {
    let mut talk = Talk::begun(Version::TLS1_3, SUITE);
    for _ in 0..100 {
        talk.say(Endpoint::Client, b"more, ");
        talk.say(Endpoint::Server, &[b'x'; 16_000]);
    }
    let (mut session, mut scratch) = (Session::awaiting_keys(), Scratch::default());
    let (mut sides, log) = (Vec::new(), KeyLog::default());
    let mut context = Context {
        keys: &log,
        scratch: &mut scratch,
        out: &mut |plain| sides.push(plain.sender),
    };
    let mut offsets = [0_u64; 2];
    for (side, record) in &talk.sent {
        let offset = &mut offsets[side.index()];
        session.take(*side, 0, (*offset, record, 0), &mut context);
        *offset += record.len() as u64;
    }
    for side in [Endpoint::Server, Endpoint::Client] {
        let key = found(&talk, &session, side).unwrap();
        session.give_key(side, key, &mut context);
    }
    // What did not fit is lost of both.
    assert!(sides.len() > 120, "{}", sides.len());
    let turns = sides.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(turns > 120, "{turns} of {}", sides.len());
}
