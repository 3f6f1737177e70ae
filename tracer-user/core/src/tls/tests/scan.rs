//! Keys that are found while the connection goes on.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::talk::{Heard, Talk, message};
use crate::endpoint::Endpoint;
use crate::limits;
use crate::tls::{
    Context, FoundKey, KeyLog, KeySource, Opener, Sample, Scratch, Session, Suite, Trial, Tries,
    Version, Why,
};

const BOTH: [Endpoint; 2] = [Endpoint::Client, Endpoint::Server];

/// Versions and suites whose keys have a schedule.
const AES: [(Version, u16); 4] = [
    (Version::TLS1_3, 0x1301),
    (Version::TLS1_3, 0x1302),
    (Version::TLS1_2, 0xc02f),
    (Version::TLS1_2, 0xc030),
];

/// A session, and what is in the memory of the process that it belongs to.
struct Scanned {
    session: Session,
    scratch: Scratch,
    memory: Vec<Vec<u8>>,
    heard: Heard,
    offsets: [u64; 2],
    now: u64,
    /// Keys that fit.
    n_found: usize,
}

impl Scanned {
    fn new(session: Session, memory: Vec<Vec<u8>>) -> Scanned {
        Scanned {
            session,
            scratch: Scratch::default(),
            memory,
            heard: Heard::default(),
            offsets: [0; 2],
            now: 0,
            n_found: 0,
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Session, &mut Context<'_>)) {
        let heard = &mut self.heard;
        let mut context = Context {
            keys: &KeyLog::default(),
            scratch: &mut self.scratch,
            out: &mut |plain| heard.take(plain),
        };
        act(&mut self.session, &mut context);
    }

    fn take(&mut self, side: Endpoint, bytes: &[u8]) {
        let (offset, now) = (self.offsets[side.index()], self.now);
        self.offsets[side.index()] += bytes.len() as u64;
        self.now += 1;
        self.with(|session, context| session.take(side, now, (offset, bytes, 0), context));
    }

    fn lose(&mut self, side: Endpoint, len: usize) {
        self.offsets[side.index()] += len as u64;
    }

    /// Looks for what is wanted; two keys never fit.
    fn scan(&mut self) {
        for side in BOTH {
            let Some(sample) = self.session.wanted(side) else {
                continue;
            };
            let fitting: Vec<FoundKey> = self
                .memory
                .iter()
                .filter_map(|key| fits(key, &sample))
                .collect();
            assert!(fitting.len() <= 1);
            self.n_found += fitting.len();
            for key in fitting {
                self.with(|session, context| session.give_key(side, key, context));
            }
        }
    }

    fn finish(mut self) -> Heard {
        self.with(Session::finish);
        self.heard.info = self.session.info();
        self.heard.ends = (
            self.session.end(Endpoint::Client),
            self.session.end(Endpoint::Server),
        );
        self.heard
    }
}

fn fits(key: &[u8], sample: &Sample) -> Option<FoundKey> {
    let trial = Trial::new(key).unwrap();
    // Few are enough here.
    let mut tries = Tries { each: 64, left: 64 };
    let proof = trial.fits(sample, &mut tries)?;
    Some(FoundKey::new(Box::new(Opener::found(key)?), proof))
}

/// What processes have in memory beside the keys of a connection.
fn others() -> impl Iterator<Item = Vec<u8>> {
    (0..4_u8).flat_map(|n| [vec![n; 16], vec![n ^ 0x80; 32]])
}

/// A connection on which both say something, and what they say.
struct Words {
    talk: Talk,
    said: [Vec<u8>; 2],
    /// Keys that were in use, with what came to be used later.
    keys: Vec<Vec<u8>>,
}

impl Words {
    fn begun(version: Version, suite: u16) -> Words {
        let mut words = Words {
            talk: Talk::begun(version, suite),
            said: [Vec::new(), Vec::new()],
            keys: others().collect(),
        };
        words.note_keys();
        words
    }

    fn note_keys(&mut self) {
        for side in BOTH {
            let key = self.talk.key(side);
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        }
    }

    fn say(&mut self, side: Endpoint, text: &[u8]) {
        self.talk.say(side, text);
        self.said[side.index()].extend(text);
    }

    fn exchange(&mut self, n: usize) {
        for n in 0..n {
            self.say(Endpoint::Client, format!("question {n}, ").as_bytes());
            self.say(
                Endpoint::Server,
                &vec![b'a' + (n % 26) as u8; 30 + 97 * (n % 7)],
            );
        }
    }

    fn assert_heard(&self, heard: &Heard) {
        for side in BOTH {
            assert_eq!(heard.text(side), self.said[side.index()], "{side}");
        }
        assert_eq!(heard.info.why, None);
        assert_eq!(heard.info.key, KeySource::Scan);
    }
}

#[test]
fn what_waits_for_its_key_is_opened_when_it_is_found() {
    for (version, suite) in AES {
        let mut words = Words::begun(version, suite);
        words.exchange(9);
        let n = words.talk.sent.len();
        // Before the handshake's end, in the middle, and at the end.
        for at in [n / 3, n / 2, n - 1] {
            let mut scanned = Scanned::new(Session::awaiting_keys(), words.keys.clone());
            for (nth, (side, record)) in words.talk.sent.iter().enumerate() {
                scanned.take(*side, record);
                if nth >= at {
                    scanned.scan();
                }
            }
            assert_eq!(scanned.n_found, 2, "{suite:x}");
            let heard = scanned.finish();
            words.assert_heard(&heard);
            assert_eq!(heard.info.suite, Some(Suite(suite)));
        }
    }
}

#[test]
fn keys_of_the_handshake_lead_to_those_after_it() {
    // A JVM keeps them: the first keys that fit are those.
    let mut talk = Talk::new(Version::TLS1_3, 0x1302);
    let mut keys = Vec::new();
    talk.client_hello(false);
    talk.server_hello();
    talk.enter(Endpoint::Server, crate::tls::session::Epoch::Handshake);
    keys.push(talk.key(Endpoint::Server));
    talk.server_flight(false);
    keys.push(talk.key(Endpoint::Server));
    talk.finished(Endpoint::Client);
    keys.push(talk.key(Endpoint::Client));
    for n in 0..4_u8 {
        talk.say(Endpoint::Server, &[b'a' + n]);
        talk.say(Endpoint::Client, &[b'A' + n]);
    }
    let mut scanned = Scanned::new(Session::awaiting_keys(), keys);
    for (side, record) in &talk.sent {
        scanned.take(*side, record);
        scanned.scan();
    }
    assert_eq!(scanned.n_found, 3);
    let heard = scanned.finish();
    assert_eq!(heard.text(Endpoint::Server), b"abcd");
    assert_eq!(heard.text(Endpoint::Client), b"ABCD");
    assert_eq!(heard.info.alpn.as_deref(), Some("h2"));
}

#[test]
fn connections_older_than_the_tracer_are_opened() {
    for (version, suite) in AES {
        let mut words = Words::begun(version, suite);
        let n_before = words.talk.sent.len() + 7;
        words.exchange(12);
        let after = &words.talk.sent[n_before..];
        // From a record's beginning, and from its middle.
        for cut in [0, 3, 11] {
            let mut scanned = Scanned::new(Session::late(), words.keys.clone());
            let mut begun = [false; 2];
            for (side, record) in after {
                let cut = if std::mem::replace(&mut begun[side.index()], true) {
                    0
                } else {
                    cut
                };
                scanned.take(*side, &record[cut..]);
                scanned.scan();
            }
            assert_eq!(scanned.n_found, 2, "{suite:x} {cut}");
            let heard = scanned.finish();
            for side in BOTH {
                let said = &words.said[side.index()];
                let text = heard.text(side);
                assert!(said.ends_with(text) && text.len() > 60, "{suite:x} {cut}");
            }
            assert_eq!(heard.info.version, Some(version));
            let known = version == Version::TLS1_3;
            assert_eq!(heard.info.suite, known.then_some(Suite(suite)));
        }
    }
}

#[test]
fn both_directions_are_heard_in_the_order_in_which_they_spoke() {
    let mut words = Words::begun(Version::TLS1_3, 0x1301);
    words.exchange(5);
    let mut scanned = Scanned::new(Session::awaiting_keys(), words.keys.clone());
    for (side, record) in &words.talk.sent {
        scanned.take(*side, record);
    }
    // The server's key alone is found at first.
    let client = scanned
        .memory
        .iter()
        .position(|key| *key == words.talk.key(Endpoint::Client));
    let client = scanned.memory.remove(client.unwrap());
    scanned.scan();
    assert_eq!((scanned.n_found, scanned.heard.server.len()), (1, 0));
    scanned.memory.push(client);
    let mut order = Vec::new();
    let sample = scanned.session.wanted(Endpoint::Client).unwrap();
    let key = fits(&words.talk.key(Endpoint::Client), &sample).unwrap();
    let mut context = Context {
        keys: &KeyLog::default(),
        scratch: &mut scanned.scratch,
        out: &mut |plain| order.push((plain.sender, plain.at)),
    };
    scanned
        .session
        .give_key(Endpoint::Client, key, &mut context);
    assert!(order.is_sorted_by_key(|(_, at)| *at));
    assert_eq!(order.len(), 10);
}

#[test]
fn after_a_key_update_a_key_is_wanted_again() {
    let mut words = Words::begun(Version::TLS1_3, 0x1301);
    words.exchange(4);
    words.talk.key_update(Endpoint::Server);
    words.note_keys();
    words.exchange(4);
    words.talk.key_update(Endpoint::Client);
    words.note_keys();
    words.exchange(4);
    for every in [1, 2, 7] {
        let mut scanned = Scanned::new(Session::awaiting_keys(), words.keys.clone());
        for (nth, (side, record)) in words.talk.sent.iter().enumerate() {
            scanned.take(*side, record);
            if nth % every == every - 1 {
                scanned.scan();
            }
        }
        // What is at the end has been looked for twice by then.
        scanned.scan();
        scanned.scan();
        scanned.scan();
        assert_eq!(scanned.n_found, 4);
        words.assert_heard(&scanned.finish());
    }
}

#[test]
fn no_key_that_fits_is_said() {
    let mut words = Words::begun(Version::TLS1_3, 0x1301);
    words.exchange(9);
    let run = |memory: Vec<Vec<u8>>, why: Option<Why>| {
        let mut scanned = Scanned::new(Session::awaiting_keys(), memory);
        for (side, record) in &words.talk.sent {
            scanned.take(*side, record);
            scanned.scan();
        }
        for side in BOTH {
            if let Some(why) = why {
                scanned.with(|session, context| session.give_up(side, why, context));
            }
        }
        scanned.finish()
    };
    for (why, told) in [
        (Some(Why::KeyNotFound), Why::KeyNotFound),
        (None, Why::EndedBeforeKey),
    ] {
        let heard = run(others().collect(), why);
        assert_eq!((heard.client.len(), heard.server.len()), (0, 0));
        assert_eq!(
            (heard.info.key, heard.info.why),
            (KeySource::None, Some(told))
        );
    }
    // One direction alone: it is heard.
    let heard = run(
        vec![words.talk.key(Endpoint::Server)],
        Some(Why::KeyNotFound),
    );
    assert_eq!(heard.text(Endpoint::Server), words.said[1]);
    assert_eq!(heard.info.why, Some(Why::KeyNotFound));
    // Of the other one something is missing: it was not silent.
    assert!(heard.ends.0 > 0);
}

#[test]
fn suites_without_a_schedule_are_not_waited_for() {
    let mut words = Words::begun(Version::TLS1_3, 0x1303);
    words.exchange(3);
    let mut scanned = Scanned::new(Session::awaiting_keys(), Vec::new());
    for (side, record) in &words.talk.sent {
        scanned.take(*side, record);
    }
    assert!(scanned.session.is_over());
    assert_eq!(scanned.finish().info.why, Some(Why::KeyNotFindable));
}

#[test]
fn a_record_that_does_not_authenticate_is_missed() {
    for (version, suite) in AES {
        let mut words = Words::begun(version, suite);
        words.exchange(9);
        let n = words.talk.sent.len() - 5;
        let (side, record) = &mut words.talk.sent[n];
        assert_eq!(*side, Endpoint::Server);
        record[20] ^= 1;
        let mut scanned = Scanned::new(Session::awaiting_keys(), words.keys.clone());
        for (side, record) in &words.talk.sent {
            scanned.take(*side, record);
            scanned.scan();
        }
        let heard = scanned.finish();
        assert_eq!(heard.text(Endpoint::Client), words.said[0]);
        assert_eq!(heard.info.why, Some(Why::LostBytes));
        let [(0, before), (after, rest)] = &heard.server[..] else {
            panic!("{:?}", heard.server);
        };
        let missed = usize::try_from(*after).unwrap() - before.len();
        let whole = [&before[..], &words.said[1][before.len()..][..missed], rest].concat();
        assert_eq!(whole, words.said[1]);
    }
}

#[test]
fn a_key_that_changed_unseen_is_looked_for_again() {
    let mut words = Words::begun(Version::TLS1_3, 0x1301);
    words.exchange(4);
    let lost_from = words.talk.sent.len();
    words.talk.key_update(Endpoint::Server);
    words.note_keys();
    let heard_from = words.said[1].len();
    words.exchange(20);
    let mut scanned = Scanned::new(Session::awaiting_keys(), words.keys.clone());
    for (nth, (side, record)) in words.talk.sent.iter().enumerate() {
        if nth == lost_from {
            scanned.lose(*side, record.len());
        } else {
            scanned.take(*side, record);
        }
        scanned.scan();
    }
    assert_eq!(scanned.n_found, 3);
    let heard = scanned.finish();
    assert_eq!(heard.text(Endpoint::Client), words.said[0]);
    let (_, last) = heard.server.last().unwrap();
    assert!(words.said[1].ends_with(last) && last.len() > 1_000);
    assert_eq!(heard.server[0].1.len(), heard_from);
    assert_eq!(heard.info.why, Some(Why::LostBytes));
}

#[test]
fn what_waits_is_bounded() {
    let mut words = Words::begun(Version::TLS1_3, 0x1301);
    words.exchange(2);
    for n in 0..100_u8 {
        words.say(Endpoint::Server, &[n; 16_000]);
        words.say(Endpoint::Client, b"more, ");
    }
    let mut scanned = Scanned::new(Session::awaiting_keys(), words.keys.clone());
    // Others leave so much.
    let of_others = limits::TLS_KEYLESS_ALL - 2 * limits::TLS_WAITING;
    scanned.scratch.waiting.store(of_others, Ordering::Relaxed);
    for (side, record) in &words.talk.sent {
        scanned.take(*side, record);
    }
    let sample = scanned.session.wanted(Endpoint::Server).unwrap();
    assert_eq!(sample.records.len(), 4);
    scanned.scan();
    let heard = scanned.finish();
    let [(0, before), (after, rest)] = &heard.server[..] else {
        panic!("{}", heard.server.len());
    };
    let kept = before.len() + rest.len();
    assert!(
        (200_000..=limits::TLS_WAITING + 4 * 16_000).contains(&kept),
        "{kept}"
    );
    // Of what is missing it is known how much it is.
    assert_eq!(*after as usize + rest.len(), words.said[1].len());
    assert!(words.said[1].ends_with(rest));
}

#[test]
fn a_nonce_that_is_not_counted_from_zero_is_tried_for() {
    // Sealing here says nonces that are far from the numbers: of an old connection nothing says them.
    let mut words = Words::begun(Version::TLS1_2, 0xc02f);
    let n_before = words.talk.sent.len();
    words.exchange(3);
    let mut scanned = Scanned::new(Session::late(), Vec::new());
    for (side, record) in &words.talk.sent[n_before..] {
        scanned.take(*side, record);
    }
    let sample = scanned.session.wanted(Endpoint::Server).unwrap();
    let key = Trial::new(&words.talk.key(Endpoint::Server)).unwrap();
    let other = Trial::new(&words.talk.key(Endpoint::Client)).unwrap();
    let mut tries = Tries { each: 30, left: 60 };
    assert!(other.fits(&sample, &mut tries).is_none());
    assert!(key.fits(&sample, &mut tries).is_some());
    assert_eq!(tries.left, 0);
    // There is nothing left to try with.
    assert!(key.fits(&sample, &mut tries).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_division_and_any_time_give_the_same(
        lens in prop::collection::vec(1_usize..700, 1..40),
        which in 0_usize..4,
        scans in prop::collection::vec(any::<bool>(), 1..20),
        is_late in any::<bool>(),
    ) {
        let (version, suite) = AES[which];
        let mut words = Words::begun(version, suite);
        let n_before = words.talk.sent.len();
        words.exchange(12);
        let (session, sent) = if is_late {
            (Session::late(), &words.talk.sent[n_before..])
        } else {
            (Session::awaiting_keys(), &words.talk.sent[..])
        };
        let mut scanned = Scanned::new(session, words.keys.clone());
        let (mut lens, mut scans) = (lens.iter().cycle(), scans.iter().cycle());
        for (side, record) in sent {
            let mut rest = record.as_slice();
            while !rest.is_empty() {
                let (part, after) = rest.split_at(*lens.next().unwrap().min(&rest.len()));
                scanned.take(*side, part);
                if *scans.next().unwrap() {
                    scanned.scan();
                }
                rest = after;
            }
        }
        scanned.scan();
        let heard = scanned.finish();
        prop_assert_eq!(heard.text(Endpoint::Client), &words.said[0]);
        prop_assert_eq!(heard.text(Endpoint::Server), &words.said[1]);
    }

    #[test]
    fn lost_bytes_cost_what_they_touch(
        from in 0_usize..40,
        n in 1_usize..6,
        cut in 0_usize..30,
        which in 0_usize..4,
        every in 1_usize..50,
    ) {
        let (version, suite) = AES[which];
        let mut words = Words::begun(version, suite);
        words.exchange(24);
        let mut scanned = Scanned::new(Session::awaiting_keys(), words.keys.clone());
        let mut server = 0;
        for (nth, (side, record)) in words.talk.sent.iter().enumerate() {
            let is_lost = *side == Endpoint::Server && (from..from + n).contains(&server);
            server += usize::from(*side == Endpoint::Server);
            if is_lost {
                // The end of the last one is seen.
                let seen = if server == from + n { cut.min(record.len()) } else { 0 };
                let (lost, rest) = record.split_at(record.len() - seen);
                scanned.lose(*side, lost.len());
                scanned.take(*side, rest);
            } else {
                scanned.take(*side, record);
            }
            if nth % every == 0 {
                scanned.scan();
            }
        }
        scanned.scan();
        let heard = scanned.finish();
        for (_, text) in &heard.server {
            let found = words.said[1].windows(text.len().max(1)).any(|part| part == text);
            prop_assert!(found);
        }
        // The hellos may have been among them.
        if heard.info.key == KeySource::Scan {
            let text: usize = heard.server.iter().map(|(_, text)| text.len()).sum();
            prop_assert!(text + n * 700 >= words.said[1].len(), "{text} {:?}", heard.info);
        }
    }

    #[test]
    fn garbage_opens_nothing_and_breaks_nothing_while_keys_are_looked_for(
        garbage in prop::collection::vec(any::<u8>(), 0..600),
        at in 0_usize..30,
        which in 0_usize..4,
        late in any::<bool>(),
    ) {
        let (version, suite) = AES[which];
        let mut words = Words::begun(version, suite);
        words.exchange(9);
        let session = if late { Session::late() } else { Session::awaiting_keys() };
        let mut scanned = Scanned::new(session, words.keys.clone());
        for (nth, (side, record)) in words.talk.sent.iter().enumerate() {
            if nth == at {
                scanned.take(Endpoint::Server, &garbage);
            }
            scanned.take(*side, record);
            scanned.scan();
        }
        let heard = scanned.finish();
        for (_, text) in &heard.server {
            let found = words.said[1].windows(text.len().max(1)).any(|part| part == text);
            prop_assert!(found, "{:?}", text);
        }
    }
}

/// A message that nobody reads, for the tests above.
#[test]
fn tickets_are_passed_over() {
    let mut words = Words::begun(Version::TLS1_3, 0x1301);
    words
        .talk
        .handshake(Endpoint::Server, &message(4, &[7; 200]));
    words.exchange(4);
    let mut scanned = Scanned::new(Session::awaiting_keys(), words.keys.clone());
    for (side, record) in &words.talk.sent {
        scanned.take(*side, record);
        scanned.scan();
    }
    words.assert_heard(&scanned.finish());
}
