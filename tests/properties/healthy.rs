//! Conversations that break no rule.

use h2trace_core::pipeline::Output;
use h2trace_core::stream::record::Outcome;
use proptest::prelude::*;
use tracer_tests::conversation::pcap::{self, Captured};
use tracer_tests::conversation::records::{self, Observed, Record};
use tracer_tests::conversation::{Conversation, Plan, Random, Side};

use super::driver::{Ends, of_capture, of_records, of_records_by_steps, of_records_until, side};

/// A conversation of any size and kind.
fn plan() -> impl Strategy<Value = Plan> {
    let sizes = prop::sample::select(vec![20, 300, 3_000, 40_000]);
    (
        any::<u64>(),
        1..12_u32,
        1..6_usize,
        sizes.clone(),
        sizes,
        any::<bool>(),
    )
        .prop_map(
            |(seed, calls, at_once, request, response, shut_down)| Plan {
                calls,
                at_once,
                request: 0..request,
                response: 0..response,
                shut_down,
                ..Plan::small(seed)
            },
        )
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        cases,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn nothing_is_found_in_the_whole_of_one(plan in plan(), end in side()) {
        let talk = Conversation::of(&plan);
        let said = of_records(&records::of(&talk, &Observed::from_start(end)));
        prop_assert_eq!(said.loud(), Vec::<String>::new());
        prop_assert_eq!(said.streams().len(), plan.calls as usize);
        prop_assert_eq!(said.outcomes(Outcome::Unknown), 0);
        let lost = said.0.iter().any(|output| matches!(output, Output::Loss(_)));
        prop_assert!(!lost, "{:?}", said.lines());
        let captured = of_capture(&pcap::file(&talk, &Captured::whole()));
        prop_assert_eq!(captured.loud(), Vec::<String>::new());
        prop_assert_eq!(captured.streams().len(), plan.calls as usize);
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut(plan in plan(), end in side(), size in 1..2_000_usize) {
        let talk = Conversation::of(&plan);
        let whole = of_records(&records::of(&talk, &Observed::from_start(end)));
        let mut random = Random(plan.seed);
        let cut = talk.cut(|| 1 + random.below(size));
        let cut = of_records(&records::of(&cut, &Observed::from_start(end)));
        prop_assert_eq!(whole.lines(), cut.lines());
    }

    #[test]
    fn it_does_not_matter_what_of_the_payload_is_copied(plan in plan(), end in side()) {
        let talk = Conversation::of(&plan);
        let sparse = of_records(&records::of(&talk, &Observed::from_start(end)));
        let observed = Observed { copies_all: true, ..Observed::from_start(end) };
        let copied = of_records(&records::of(&talk, &observed));
        prop_assert_eq!(sparse.lines(), copied.lines());
    }

    #[test]
    fn nothing_is_found_in_a_prefix(plan in plan(), end in side(), until in any::<prop::sample::Index>()) {
        let talk = Conversation::of(&plan);
        let mut left = until.index(talk.len() + 1);
        // One byte more or less than a record is another matter than whole records.
        let mut talk = talk;
        talk.closes = false;
        for write in &mut talk.writes {
            let kept = write.bytes.len().min(left);
            left -= kept;
            write.bytes.truncate(kept);
        }
        talk.writes.retain(|write| !write.bytes.is_empty());
        let records = records::of(&talk, &Observed::from_start(end));
        let said = of_records_until(&records, Ends::AtOnce);
        prop_assert_eq!(said.loud(), Vec::<String>::new());
    }
}

/// Some of the records, as when the ring was full: any at all, or all but some runs of them.
fn lossy(records: &[Record], random: &mut Random, only_bytes: bool) -> Vec<Record> {
    let once_in = [3, 10, 40][random.below(3)];
    let mut burst = 0;
    let mut kept = Vec::new();
    for record in records {
        if burst == 0 && random.once_in(once_in) {
            burst = 1 + random.below(4);
        }
        if burst > 0 && (record.is_bytes || !only_bytes) {
            burst -= 1;
        } else {
            kept.push(record.clone());
        }
    }
    kept
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn lost_records_accuse_nobody(plan in plan(), end in side(), seed in any::<u64>(), size in 1..4_000_usize) {
        let mut random = Random(seed);
        let talk = Conversation::of(&plan).cut(|| 1 + random.below(size));
        let records = records::of(&talk, &Observed::from_start(end));
        for only_bytes in [true, false] {
            let said = of_records(&lossy(&records, &mut random, only_bytes));
            prop_assert_eq!(said.loud(), Vec::<String>::new());
        }
    }

    #[test]
    fn ordinary_frames_say_what_their_steps_say(
        plan in plan(),
        broken in any::<bool>(),
        plain in any::<bool>(),
        end in side(),
        seed in any::<u64>(),
        size in prop::sample::select(vec![40_usize, 700, 100_000]),
    ) {
        let mut random = Random(seed);
        let plan = Plan { broken, plain, ..plan };
        let talk = Conversation::of(&plan).cut(|| 1 + random.below(size));
        let records = records::of(&talk, &Observed::from_start(end));
        for records in [lossy(&records, &mut random, true), records] {
            for ends in [Ends::AtOnce, Ends::Late] {
                let whole = of_records_until(&records, ends);
                let by_steps = of_records_by_steps(&records, ends);
                prop_assert_eq!(whole.lines(), by_steps.lines());
            }
        }
    }

    #[test]
    fn a_late_attach_accuses_nobody(plan in plan(), end in side(), seed in any::<u64>()) {
        let mut random = Random(seed);
        let talk = Conversation::of(&plan);
        let from = random.below(talk.writes.len());
        let mut unseen = [1, 0];
        for write in &talk.writes[..from] {
            unseen[write.by.index()] += write.bytes.len();
        }
        if from > 0 {
            unseen[0] -= 1;
        }
        let observed = Observed { unseen, ..Observed::from_start(end) };
        let said = of_records(&records::of(&talk, &observed));
        prop_assert_eq!(said.loud(), Vec::<String>::new());
    }

    #[test]
    fn a_capture_that_begins_anywhere_and_has_holes_accuses_nobody(
        plan in plan(),
        seed in any::<u64>(),
        segment in prop::sample::select(vec![1_usize, 9, 100, 1_448, 60_000]),
    ) {
        // One byte a packet makes large files of large messages.
        let plan = if segment < 100 { Plan { request: 0..50, response: 0..200, ..plan } } else { plan };
        let mut random = Random(seed);
        let talk = Conversation::of(&plan);
        let begins = random.below(talk.len() / 2);
        let once_in = [5, 50, 1_000_000][random.below(3)];
        let captured = Captured { handshake: begins == 0, segment, ..Captured::whole() };
        let mut seen = 0;
        let mut file = pcap::header();
        file.extend(pcap::packets(&talk, &captured, |_, _, len| {
            seen += len;
            seen > begins && !random.once_in(once_in)
        }));
        let said = of_capture(&file);
        prop_assert_eq!(said.loud(), Vec::<String>::new());
    }

    #[test]
    fn a_capture_whose_server_is_not_seen_accuses_nobody(plan in plan(), unseen in side()) {
        let talk = Conversation::of(&plan);
        let mut file = pcap::header();
        file.extend(pcap::packets(&talk, &Captured::whole(), |by, _, _| by != unseen));
        prop_assert_eq!(of_capture(&file).loud(), Vec::<String>::new());
    }
}

#[test]
fn the_conversations_are_of_all_kinds() {
    let mut outcomes = std::collections::BTreeMap::new();
    for seed in 0..40 {
        let talk = Conversation::of(&Plan::small(seed));
        let said = of_records(&records::of(&talk, &Observed::from_start(Side::Client)));
        for record in said.streams() {
            *outcomes.entry(record.outcome).or_insert(0) += 1;
        }
    }
    let kinds: Vec<Outcome> = outcomes.into_keys().collect();
    assert_eq!(
        kinds,
        [Outcome::Ok, Outcome::ErrorStatus, Outcome::Cancelled]
    );
}
