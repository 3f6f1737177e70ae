//! Conversations in which calls break.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tracer_tests::conversation::pcap::{self, Captured};
use tracer_tests::conversation::records::{self, Observed};
use tracer_tests::conversation::{Conversation, Plan, Random, Side};

use super::driver::{of_any_capture, of_any_records, of_capture, of_records, side};

fn plan() -> impl Strategy<Value = Plan> {
    (any::<u64>(), 1..12_u32, any::<bool>()).prop_map(|(seed, calls, shut_down)| Plan {
        calls,
        broken: true,
        shut_down,
        ..Plan::small(seed)
    })
}

fn is_subset(part: &[String], whole: &[String]) -> bool {
    let whole: BTreeSet<&String> = whole.iter().collect();
    part.iter().all(|finding| whole.contains(finding))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_does_not_depend_on_how_the_bytes_are_cut(plan in plan(), end in side(), size in 1..300_usize) {
        let talk = Conversation::of(&plan);
        let whole = of_records(&records::of(&talk, &Observed::from_start(end)));
        let mut random = Random(plan.seed);
        let cut = talk.cut(|| 1 + random.below(size));
        let cut = of_records(&records::of(&cut, &Observed::from_start(end)));
        prop_assert_eq!(whole.lines(), cut.lines());
    }

    #[test]
    fn with_lost_records_nothing_is_found_that_is_not_there(
        plan in plan(),
        end in side(),
        seed in any::<u64>(),
        size in 1..600_usize,
    ) {
        let mut random = Random(seed);
        let talk = Conversation::of(&plan).cut(|| 1 + random.below(size));
        let mut records = records::of(&talk, &Observed::from_start(end));
        let whole = of_records(&records).loud();
        let once_in = [4, 15][random.below(2)];
        records.retain(|record| !(record.is_bytes && random.once_in(once_in)));
        let part = of_records(&records).loud();
        prop_assert!(is_subset(&part, &whole), "{part:?} of {whole:?}");
    }

    #[test]
    fn with_lost_segments_nothing_is_found_that_is_not_there(plan in plan(), seed in any::<u64>()) {
        let mut random = Random(seed);
        let talk = Conversation::of(&plan);
        let captured = Captured { segment: 1 + random.below(300), ..Captured::whole() };
        let mut file = pcap::header();
        let whole = [pcap::header(), pcap::packets(&talk, &captured, |_, _, _| true)].concat();
        let whole = of_capture(&whole).loud();
        file.extend(pcap::packets(&talk, &captured, |_, _, _| !random.once_in(10)));
        let part = of_capture(&file).loud();
        prop_assert!(is_subset(&part, &whole), "{part:?} of {whole:?}");
    }

    /// Any change of any byte: nothing panics, and what is said is well-formed.
    #[test]
    fn changed_bytes_are_survived(plan in plan(), end in side(), seed in any::<u64>(), n in 1..20_usize) {
        let mut random = Random(seed);
        let mut talk = Conversation::of(&plan);
        let mut file = pcap::file(&talk, &Captured::whole());
        for _ in 0..n {
            let at = random.below(talk.writes.len());
            let bytes = &mut talk.writes[at].bytes;
            let at = random.below(bytes.len());
            bytes[at] = random.bits() as u8;
            let at = random.below(file.len());
            file[at] = random.bits() as u8;
        }
        let mut records = records::of(&talk, &Observed::from_start(end));
        of_records(&records);
        for record in &mut records {
            if random.once_in(5) {
                let at = random.below(record.bytes.len());
                record.bytes[at] = random.bits() as u8;
            }
        }
        of_any_records(&records);
        of_any_capture(&file);
    }
}

#[test]
fn every_way_to_break_is_found() {
    let mut found = BTreeSet::new();
    for seed in 0..60 {
        let plan = Plan {
            broken: true,
            ..Plan::small(seed)
        };
        let talk = Conversation::of(&plan);
        let said = of_records(&records::of(&talk, &Observed::from_start(Side::Server)));
        let kinds = said.loud();
        found.extend(
            kinds
                .iter()
                .filter_map(|line| line.split(' ').next())
                .map(str::to_owned),
        );
    }
    for kind in [
        "missing_grpc_status",
        "missing_trailers",
        "reset_before_response",
        "response_cut_by_reset",
    ] {
        assert!(found.contains(kind), "{kind} is not among {found:?}");
    }
}
