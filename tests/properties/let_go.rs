//! Conversations that are let go for a while, because there is not the time for them, with what comes late and what is lost
//! then: nothing is found in those that break no rule.

use h2trace_core::event::decode::decode;
use h2trace_core::event::{SocketKey, Timestamp};
use h2trace_core::pipeline::{Depth, Frames, Pipeline};
use proptest::prelude::*;
use tracer_tests::conversation::records::{self, Observed, Record};
use tracer_tests::conversation::{Conversation, Plan, Random, Side, Write};

use super::driver::{LATER_NS, Outputs, pipeline, side};

/// Where the birth of its socket stands in a record, and where an END record has its offsets.
const BORN: std::ops::Range<usize> = 24..32;
const OFFSETS: usize = 56;

/// Until then calls of a record's socket are seen, and from then on again, if ever: by number of writes.
#[derive(Clone, Copy, Debug)]
struct Absence {
    from: usize,
    until: Option<usize>,
}

/// What the kernel programs write of it, before it is let go and after it was taken up again.
fn lives(talk: &Conversation, end: Side, absence: Absence) -> [Vec<Record>; 2] {
    let observed = Observed::from_start(end);
    let part = |writes: &[Write], closes| Conversation {
        writes: writes.to_vec(),
        closes,
    };
    let mut first = records::of(&part(&talk.writes[..absence.from], false), &observed);
    let said = |writes: &[Write], by| {
        let own = writes.iter().filter(|write| write.by == by);
        own.map(|write| write.bytes.len()).sum::<usize>()
    };
    let Some(until) = absence.until else {
        // Nobody counts its bytes any more, and its end is told all the same.
        let by_end = [end, end.other()].map(|by| said(&talk.writes[..absence.from], by));
        let last_at = talk.writes.last().map_or(0, |write| write.at_ns);
        let ended = Observed {
            at_ns: observed.at_ns + last_at,
            ..observed
        };
        for mut record in records::of(&part(&[], talk.closes), &ended) {
            record.bytes[BORN].copy_from_slice(&observed.at_ns.to_le_bytes());
            for (n, offset) in by_end.into_iter().enumerate() {
                let at = OFFSETS + n * 8;
                record.bytes[at..at + 8].copy_from_slice(&(offset as u64).to_le_bytes());
            }
            first.push(record);
        }
        return [first, Vec::new()];
    };
    let unseen = [Side::Client, Side::Server].map(|by| said(&talk.writes[..until], by));
    let observed = Observed { unseen, ..observed };
    let again = until < talk.writes.len();
    let mut second = records::of(talk, &observed);
    // Its next call opens it anew; without one nobody tells of its end.
    second.retain(|_| again);
    for record in &mut second {
        record.bytes[BORN].copy_from_slice(&(observed.at_ns + 1).to_le_bytes());
    }
    [first, second]
}

/// Puts both through a pipeline that lets the connection go when it has taken `taken` of its records, and is told of
/// `passed_over` more no more than their number.
fn drive(
    lives: &[Vec<Record>; 2],
    key: SocketKey,
    (taken, passed_over, at): (usize, usize, Timestamp),
    random: &mut Random,
) -> Outputs {
    let mut said = Outputs::default();
    let mut pipeline: Pipeline = pipeline(Frames::Untold);
    let mut now = Timestamp(0);
    let mut take = |pipeline: &mut Pipeline, said: &mut Outputs, record: &Record| {
        let event = decode(&record.bytes).unwrap();
        now = now.max(event.at);
        pipeline.handle(&event, said);
        pipeline.advance(now, said);
    };
    let [first, second] = lives;
    let (before, late) = first.split_at(taken.min(first.len()));
    for record in before {
        take(&mut pipeline, &mut said, record);
    }
    if random.once_in(2) {
        pipeline.set_depth(Depth::Counts, at);
    }
    pipeline.look_away(key, at, &mut said);
    let mut left = passed_over;
    for record in late {
        if record.is_bytes && left > 0 {
            left -= 1;
        } else {
            take(&mut pipeline, &mut said, record);
        }
    }
    for record in second {
        if random.once_in(100) {
            pipeline.set_depth(Depth::Whole, at);
        }
        take(&mut pipeline, &mut said, record);
    }
    now = Timestamp(now.0.saturating_add(LATER_NS));
    pipeline.advance(now, &mut said);
    pipeline.finish(now, &mut said);
    said.check();
    said
}

fn plan() -> impl Strategy<Value = Plan> {
    (any::<u64>(), 4..30_u32, 1..12_usize).prop_map(|(seed, calls, at_once)| Plan {
        calls,
        at_once,
        ..Plan::small(seed)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_let_go_and_taken_up_again_accuses_nobody(
        plan in plan(),
        end in side(),
        seed in any::<u64>(),
        size in 20..4_000_usize,
    ) {
        let mut random = Random(seed);
        let talk = Conversation::of(&plan).cut(|| 1 + random.below(size));
        let n = talk.writes.len();
        let from = 1 + random.below(n);
        let until = (!random.once_in(3)).then(|| from + random.below(n - from + 1));
        let [mut first, mut second] = lives(&talk, end, Absence { from, until });
        if random.once_in(2) {
            let once_in = [3, 20][random.below(2)];
            first.retain(|_| !random.once_in(once_in));
            second.retain(|_| !random.once_in(once_in));
        }
        // It was measured. Most of what waits then is older than that; some of it comes of calls since.
        let measured = first.iter().position(|record| record.is_bytes);
        prop_assume!(measured.is_some());
        let measured = measured.unwrap_or(0);
        let taken = measured + 1 + random.below(first.len() - measured);
        let passed_over = random.below(first.len()) * random.below(2);
        let told = random.below(from);
        let at = Timestamp(1_000_000_000 + talk.writes[told].at_ns);
        let key = SocketKey { sk: 0xffff_0000_0000_0001, born_ns: 1_000_000_000 };
        let said = drive(&[first, second], key, (taken, passed_over, at), &mut random);
        prop_assert_eq!(said.loud(), Vec::<String>::new());
    }
}
