//! Connections that are opened: whatever way the bytes come, the frames in the records are told as in clear.

use h2trace_core::{
    connection::Endpoint,
    event::OpenedRecord,
    tls::{Context, FoundKey, KeyLog, Opener, Scratch as Space, Session, Trial, Tries},
};
use proptest::prelude::*;
use ring::aead;
use std::collections::BTreeMap;

use super::{
    properties::{MESSAGES, any_frames},
    *,
};
use crate::{
    aes, config,
    opened::{Way, phase},
    tls::content,
};

/// What a record is sealed with.
#[derive(Clone, Debug)]
struct Sealing {
    key: Vec<u8>,
    iv: [u8; 12],
    is_tls12: bool,
    /// Number of the next record.
    number: u64,
}

impl Sealing {
    fn new(len: usize, is_tls12: bool, number: u64) -> Sealing {
        Sealing {
            key: (0..len as u8).map(|i| i.wrapping_mul(37) ^ 0x5a).collect(),
            iv: *b"sealed by me",
            is_tls12,
            number,
        }
    }

    /// A record of `plain`, padded with so many zeros (TLS 1.3).
    fn record(&mut self, kind: u8, plain: &[u8], padding: usize) -> Vec<u8> {
        let algorithm = match self.key.len() {
            16 => &aead::AES_128_GCM,
            _ => &aead::AES_256_GCM,
        };
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, &self.key).unwrap());
        let number = self.number.to_be_bytes();
        self.number += 1;
        let mut nonce = self.iv;
        let mut sealed = plain.to_vec();
        let (mut bytes, said) = if self.is_tls12 {
            nonce[4..].copy_from_slice(&number);
            let [high, low] = (plain.len() as u16).to_be_bytes();
            let [len_high, len_low] = (plain.len() as u16 + 24).to_be_bytes();
            let said = [&number[..], &[kind, 3, 3, high, low]].concat();
            let head = [&[kind, 3, 3, len_high, len_low], &number[..]].concat();
            (head, said)
        } else {
            for (to, from) in nonce[4..].iter_mut().zip(number) {
                *to ^= from;
            }
            sealed.push(kind);
            sealed.extend(vec![0; padding]);
            let [high, low] = (sealed.len() as u16 + 16).to_be_bytes();
            let head = vec![content::APPLICATION_DATA, 3, 3, high, low];
            (head.clone(), head)
        };
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, aead::Aad::from(said), &mut sealed)
            .unwrap();
        bytes.extend(sealed);
        bytes
    }

    /// What user space hands over; the first record that is walked has the number `first`.
    fn way(&self, first: u64) -> Way {
        // SAFETY: plain data, for which zero is a value.
        let mut way: Way = unsafe { core::mem::zeroed() };
        way.keys.generation = 1;
        way.keys.rounds = aes::expand(&self.key, &mut way.keys.round_keys).unwrap();
        way.keys.ahead = first;
        way.keys.until = u32::MAX;
        way.keys.is_tls12 = u32::from(self.is_tls12);
        for (word, bytes) in way.keys.iv.iter_mut().zip(self.iv.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        way
    }
}

/// What goes over the wire: records, each with the place of its first byte of plain text, and that text.
#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    plain: Vec<u8>,
    /// By the number of records before it, where a record's plain text begins.
    begins: BTreeMap<u32, usize>,
    /// Where records begin.
    starts: Vec<usize>,
}

impl Wire {
    fn record(&mut self, sealing: &mut Sealing, plain: &[u8]) {
        let bytes = sealing.record(content::APPLICATION_DATA, plain, 0);
        self.begins
            .insert(self.starts.len() as u32, self.plain.len());
        self.plain.extend(plain);
        self.raw(&bytes);
    }

    /// A record that carries no frames.
    fn raw(&mut self, bytes: &[u8]) {
        self.starts.push(self.bytes.len());
        self.bytes.extend(bytes);
    }
}

/// User space, as far as a test needs one.
struct Opened {
    walked: Walked,
    /// Where frames begin in the plain text.
    boundaries: Vec<usize>,
    begins: BTreeMap<u32, usize>,
    /// How many records had been written when a trial was confirmed, and where its plain text begins.
    bases: Vec<(usize, usize)>,
    /// User space is so many calls behind.
    late: usize,
    calls: usize,
}

impl Opened {
    fn new(sealing: &Sealing, first: u64, late: usize) -> Opened {
        let mut walked = Walked::in_mode(mode::RECORD);
        walked.socket.verdict = verdict::TLS;
        walked.world.get_mut().tls = config::tls::FULL;
        walked.world.get_mut().ways = Some(Box::new(Slot {
            ways: [sealing.way(first); 2],
        }));
        Opened {
            walked,
            boundaries: Vec::new(),
            begins: BTreeMap::new(),
            bases: Vec::new(),
            late,
            calls: 0,
        }
    }

    fn call(&mut self, buffers: &[&[u8]]) {
        self.walked.call(buffers);
        self.calls += 1;
        if !self.calls.is_multiple_of(self.late + 1) {
            return;
        }
        let world = self.walked.world.get_mut();
        let n = world.records.len();
        let Some(slot) = &mut world.ways else {
            return;
        };
        let way = &mut slot.ways[0];
        if way.place.phase != phase::TRIAL {
            return;
        }
        let begin = self.begins.get(&way.place.trial);
        if let Some(begin) = begin.filter(|begin| self.boundaries.contains(begin)) {
            way.keys.confirmed = way.place.trial + 1;
            self.bases.push((n, *begin));
        } else {
            way.keys.rejected = way.place.trial + 1;
        }
    }

    fn phase(&mut self) -> u32 {
        let slot = self.walked.world.get_mut().ways.as_ref().unwrap();
        slot.ways[0].place.phase
    }

    /// What was told: the bytes of records, with gaps where frames were told instead; and each time that it was opened the
    /// place of a trial in the plain text, and what is told of each byte behind it, as [`Walked::told`] does.
    fn told(&self) -> (BTreeMap<usize, u8>, Vec<(usize, Told)>) {
        let (mut sealed, mut told) = (BTreeMap::new(), Vec::new());
        let mut unsure: Vec<Vec<u8>> = Vec::new();
        let mut is_opened = false;
        for (nth, record) in self.walked.world.borrow().records.iter().enumerate() {
            let event = decode::decode(record).expect("a record");
            match event.what {
                What::TlsBytes(bytes, _) => {
                    unsure.clear();
                    is_opened = false;
                    let mut at = bytes.offset as usize;
                    if let Boundary::InHeader { len, bytes } = bytes.boundary {
                        for (i, byte) in bytes[..usize::from(len)].iter().enumerate() {
                            sealed.insert(at - usize::from(len) + i, *byte);
                        }
                    }
                    for segment in bytes.segments() {
                        match segment {
                            Segment::Bytes(bytes) => {
                                for byte in bytes {
                                    let before = sealed.insert(at, *byte);
                                    assert_eq!(before, None, "a byte is told twice");
                                    at += 1;
                                }
                            }
                            Segment::Hole(_) => panic!("all of it is copied"),
                        }
                    }
                }
                What::OpenedBytes(_, how) => {
                    if !std::mem::replace(&mut is_opened, true) {
                        let base = self.bases.iter().rfind(|(n, _)| *n <= nth);
                        told.push((base.expect("a trial was confirmed").1, Told::new()));
                    }
                    unsure.push(record.clone());
                    if how == OpenedRecord::Sure {
                        for record in unsure.drain(..) {
                            take(&mut told.last_mut().unwrap().1, &record);
                        }
                    }
                }
                _ => panic!("{event:?}"),
            }
        }
        (sealed, told)
    }
}

/// Of each byte whether it was told, and what it is if it was copied.
type Told = Vec<Option<Option<u8>>>;

fn take(told: &mut Told, record: &[u8]) {
    let event = decode::decode(record).unwrap();
    let What::OpenedBytes(bytes, _) = event.what else {
        panic!("{event:?}");
    };
    let offset = bytes.offset as usize;
    assert!(offset >= told.len(), "a byte is told twice");
    told.resize(offset, None);
    for segment in bytes.segments() {
        match segment {
            Segment::Bytes(bytes) => told.extend(bytes.iter().map(|byte| Some(Some(*byte)))),
            Segment::Hole(len) => told.resize(told.len() + len as usize, Some(None)),
        }
    }
}

/// The bytes behind a place in clear, as they are told of a connection whose place is known there.
fn in_clear(plain: &[u8]) -> Told {
    let mut walked = Walked::in_mode(mode::HEADER);
    walked.socket.verdict = verdict::HTTP2;
    walked.socket.confidence = confidence::PREFACE;
    walked.socket.walks[0].trusted = super::super::state::trusted::YES;
    for piece in plain.chunks(30_000) {
        walked.call(&[piece]);
    }
    walked.told()
}

/// What the engine of user space opens of the same bytes, with the key as one that was found.
fn engine(sealing: &Sealing, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut space = Space::default();
    let mut session = Session::late();
    let (none, mut offset) = (KeyLog::default(), 0);
    let mut out = |heard: h2trace_core::tls::Plain<'_>| plain.extend_from_slice(heard.bytes);
    for piece in bytes.chunks(1_000) {
        let mut context = Context {
            keys: &none,
            scratch: &mut space,
            out: &mut out,
        };
        session.take(Endpoint::Client, 1, (offset, piece, 0), &mut context);
        offset += piece.len() as u64;
        if let Some(sample) = session.wanted(Endpoint::Client) {
            let mut tries = Tries {
                each: 1_000,
                left: 1_000,
            };
            let trial = Trial::new(&sealing.key).unwrap();
            let proof = trial.fits(&sample, &mut tries).expect("its key");
            let key = FoundKey::new(Box::new(Opener::found(&sealing.key).unwrap()), proof);
            session.give_key(Endpoint::Client, key, &mut context);
        }
    }
    plain
}

fn any_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..40, 20usize..1_500], 1..12)
}

fn any_calls() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let call = prop_oneof![1usize..60, 30usize..3_000];
    prop::collection::vec((call, 1usize..2_000), 1..12)
}

/// Calls of these lengths, each in buffers of that length.
fn in_calls(opened: &mut Opened, mut bytes: &[u8], calls: &[(usize, usize)]) {
    for (call, buffer) in calls.iter().cycle() {
        if bytes.is_empty() {
            return;
        }
        let (now, later) = bytes.split_at((*call).min(bytes.len()));
        let buffers: Vec<_> = now.chunks(*buffer).collect();
        opened.call(&buffers);
        bytes = later;
    }
}

proptest! {
    #[test]
    fn frames_in_records_are_told_as_in_clear(
        frames in any_frames(MESSAGES),
        sizes in any_sizes(),
        calls in any_calls(),
        (is_long, is_tls12, late, first) in (any::<bool>(), any::<bool>(), 0usize..4, 0u64..1 << 40),
        odd in prop::option::of((any::<prop::sample::Index>(), 0usize..4)),
    ) {
        let mut sealing = Sealing::new(if is_long { 32 } else { 16 }, is_tls12, first);
        let frames: Vec<Vec<u8>> = frames.iter().cycle().take(40).cloned().collect();
        let (mut plain, mut boundaries) = (Vec::new(), Vec::new());
        for frame in &frames {
            boundaries.push(plain.len());
            plain.extend(frame);
        }
        let mut wire = Wire::default();
        let mut rest = &plain[..];
        let mut sizes_of = sizes.iter().cycle();
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (record, later) = rest.split_at((*sizes_of.next().unwrap()).min(rest.len()));
            records.push(record);
            rest = later;
        }
        let odd = odd.map(|(at, which)| (at.index(records.len()), which));
        for (nth, record) in records.iter().enumerate() {
            wire.record(&mut sealing, record);
            let Some((at, which)) = odd else { continue };
            if at != nth {
                continue;
            }
            let bytes = match which {
                // An alert, a ticket, and a record of padding alone.
                0 => sealing.record(content::ALERT, &[1, 0], 0),
                1 => sealing.record(content::HANDSHAKE, &[4; 230], 0),
                2 => sealing.record(content::APPLICATION_DATA, &[], if is_tls12 { 0 } else { 60 }),
                _ => sealing.record(content::APPLICATION_DATA, &[], 0),
            };
            wire.raw(&bytes);
        }
        let mut opened = Opened::new(&sealing, first, late);
        opened.boundaries = boundaries;
        opened.begins = wire.begins.clone();
        in_calls(&mut opened, &wire.bytes, &calls);
        let (sealed, told) = opened.told();
        // Nothing is made up: bytes of records are those of the wire, bytes of frames those of the plain text.
        for (at, byte) in &sealed {
            prop_assert_eq!(wire.bytes[*at], *byte, "at {}", at);
        }
        if records.len() > 1 {
            // By one record alone it does not know the key.
            prop_assert_eq!(engine(&sealing, &wire.bytes), wire.plain.clone());
        }
        let world = opened.walked.world.borrow();
        prop_assert_eq!(world.counters[Counter::Desync as usize], 0);
        drop(world);
        let mut end = None;
        for (base, told) in &told {
            let Some(from) = told.iter().position(Option::is_some) else { continue };
            let want = in_clear(&wire.plain[*base..]);
            for at in from..told.len() {
                // What is no message's prefix is copied up to where that is seen: in pieces sooner.
                let is_no_prefix = told[at.saturating_sub(4).max(from)..at]
                    .iter()
                    .any(|told| told.flatten().is_some_and(|flag| flag > 1));
                let is_left_out = told[at] == Some(None) && want[at].is_some() && is_no_prefix;
                prop_assert!(told[at] == want[at] || is_left_out, "{}: {:?}", at, told[at]);
            }
            end = Some((base + from, base + told.len()));
        }
        let (Some((from, to)), None) = (end, odd) else { return Ok(()) };
        // What was told in neither way is nothing: the frames begin with the record where the last one that was told as
        // such ends.
        let (record, _) = wire.begins.iter().find(|(_, begin)| **begin == from).expect("a record");
        prop_assert_eq!(sealed.len(), wire.starts[*record as usize]);
        prop_assert_eq!(sealed.keys().next_back().copied(), sealed.len().checked_sub(1));
        prop_assert_eq!(to, wire.plain.len());
    }
}

/// A long answer costs its frame headers, and no body.
#[test]
fn bodies_are_not_copied() {
    for (len, is_tls12) in [(16, false), (32, false), (16, true), (32, true)] {
        let mut sealing = Sealing::new(len, is_tls12, 0);
        let mut opened = Opened::new(&sealing, 0, 0);
        let body = frame(frame_type::DATA, 0, 1, &[0xee; 16_000]);
        for nth in 0..30_u32 {
            opened.begins.insert(nth, nth as usize);
            opened.boundaries.push(nth as usize);
            let record = sealing.record(content::APPLICATION_DATA, &body, 0);
            opened.call(&[&record]);
        }
        assert_eq!(opened.phase(), phase::OPENED);
        let (sealed, told) = opened.told();
        // The first record is the trial's, and with the second one it is over.
        assert_eq!(sealed.len(), body.len() + if is_tls12 { 29 } else { 22 });
        let [(0, told)] = &told[..] else { panic!() };
        assert_eq!(told.len(), 30 * body.len());
        let copied = told.iter().flatten().flatten().count();
        // Header, and what may have been a message's prefix.
        assert!(copied <= 29 * (9 + 5), "{copied}");
    }
}

/// The records go to user space again from where something else comes than frames, and it is known which one it is.
#[test]
fn what_is_unusual_is_given_back() {
    let mut sealing = Sealing::new(16, false, 7);
    let mut opened = Opened::new(&sealing, 7, 0);
    let frames = frame(frame_type::PING, 0, 0, &[7; 8]);
    for nth in 0..4 {
        opened.begins.insert(nth, 0);
        opened.boundaries.push(0);
        let record = sealing.record(content::APPLICATION_DATA, &frames, 0);
        opened.call(&[&record]);
    }
    assert_eq!(opened.phase(), phase::OPENED);
    let n = opened.walked.world.borrow().records.len();
    // As part of a call with frames before and behind it.
    let before = sealing.record(content::APPLICATION_DATA, &frames, 0);
    let update = sealing.record(content::HANDSHAKE, &[24, 0, 0, 1, 0], 0);
    let behind = sealing.record(content::APPLICATION_DATA, &frames, 0);
    opened.call(&[&[&before[..], &update, &behind].concat()]);
    assert_eq!(opened.phase(), phase::IDLE);
    let records: Vec<_> = opened.walked.world.borrow().records[n..].to_vec();
    let events: Vec<_> = records
        .iter()
        .map(|record| decode::decode(record).unwrap().what)
        .collect();
    let [What::OpenedBytes(told, how), What::TlsBytes(given, records)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        (told.total as usize, *how),
        (frames.len(), OpenedRecord::Sure)
    );
    assert_eq!(records.count, 5);
    let Boundary::InHeader { len: 5, bytes } = given.boundary else {
        panic!("{given:?}");
    };
    assert_eq!(bytes[..5], update[..5]);
    assert_eq!(given.total as usize, update.len() - 5 + behind.len());
}

/// A trial that user space confirms when keys have changed since: of what came after them it knows more than is seen here.
#[test]
fn a_trial_ends_where_keys_may_have_changed() {
    let mut sealing = Sealing::new(16, false, 0);
    let mut opened = Opened::new(&sealing, 0, usize::MAX - 1);
    let mut next = Sealing::new(32, false, 0);
    let frames = frame(frame_type::PING, 0, 0, &[7; 8]);
    let trial = sealing.record(content::APPLICATION_DATA, &frames, 0);
    let update = sealing.record(content::HANDSHAKE, &[24, 0, 0, 1, 0], 0);
    let behind = next.record(content::APPLICATION_DATA, &frames, 0);
    opened.call(&[&trial]);
    assert_eq!(opened.phase(), phase::TRIAL);
    opened.call(&[&update]);
    opened.call(&[&behind]);
    let world = opened.walked.world.get_mut();
    let way = &mut world.ways.as_mut().unwrap().ways[0];
    way.keys.confirmed = way.place.trial + 1;
    let last = next.record(content::APPLICATION_DATA, &frames, 0);
    opened.call(&[&last[..30]]);
    assert_ne!(opened.phase(), phase::OPENED);
    opened.call(&[&last[30..]]);
    let (sealed, told) = opened.told();
    assert_eq!(
        sealed.len(),
        trial.len() + update.len() + behind.len() + last.len()
    );
    assert!(told.is_empty(), "{told:?}");
}

/// Of a record that comes in pieces it is known at its end what it carried.
#[test]
fn a_record_in_pieces_is_unsure_until_it_ends() {
    for kind in [content::APPLICATION_DATA, content::HANDSHAKE] {
        let mut sealing = Sealing::new(16, false, 0);
        let mut opened = Opened::new(&sealing, 0, 0);
        let frames = frame(frame_type::PING, 0, 0, &[7; 8]);
        for nth in 0..3 {
            opened.begins.insert(nth, 0);
            opened.boundaries.push(0);
            let record = sealing.record(content::APPLICATION_DATA, &frames, 0);
            opened.call(&[&record]);
        }
        let n = opened.told().1[0].1.len();
        let record = sealing.record(kind, &[&frames[..], &frames].concat(), 0);
        opened.call(&[&record[..30]]);
        assert_eq!(opened.told().1[0].1.len(), n, "nothing is sure");
        opened.call(&[&record[30..]]);
        let is_frames = kind == content::APPLICATION_DATA;
        let told = if is_frames { n + 2 * frames.len() } else { n };
        assert_eq!(opened.told().1[0].1.len(), told);
        let phase = if is_frames {
            phase::OPENED
        } else {
            phase::IDLE
        };
        assert_eq!(opened.phase(), phase);
        if !is_frames {
            // Its tag alone is told, as a record's end.
            let world = opened.walked.world.borrow();
            let event = decode::decode(world.records.last().unwrap()).unwrap();
            let What::TlsBytes(given, records) = event.what else {
                panic!("{event:?}");
            };
            assert_eq!((given.total, records.count), (16, 3));
        }
    }
}

/// Where frames begin is believed from nobody but user space.
#[test]
fn a_trial_that_is_wrong_opens_nothing() {
    let mut sealing = Sealing::new(16, false, 0);
    let mut opened = Opened::new(&sealing, 0, 0);
    // What stands in a body looks like a frame.
    let frames = frame(frame_type::PING, 0, 0, &[7; 8]);
    for _ in 0..20 {
        let record = sealing.record(content::APPLICATION_DATA, &frames, 0);
        opened.call(&[&record]);
        assert_ne!(opened.phase(), phase::OPENED);
    }
    assert_eq!(opened.told().0.len(), 20 * (frames.len() + 22));
    // A key that is another one's opens nothing, either.
    let mut opened = Opened::new(&Sealing::new(32, false, 0), 0, 0);
    let mut sealing = Sealing::new(16, false, 0);
    for nth in 0..20 {
        opened.begins.insert(nth, 0);
        opened.boundaries.push(0);
        let record = sealing.record(content::APPLICATION_DATA, &frames, 0);
        opened.call(&[&record]);
        assert_eq!(opened.phase(), phase::IDLE);
    }
}
