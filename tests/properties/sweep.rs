//! Captures that begin late or lack a packet: what is said of the rest is what is said of the whole, or less.
//!
//! Every capture is begun at every packet, and every single packet is left out.

use std::collections::{BTreeMap, BTreeSet};

use h2trace::export::duration_ns;
use h2trace_core::anomaly::kind::Verdict;
use h2trace_core::connection::Endpoint;
use h2trace_core::event::Timestamp;
use h2trace_core::frame::FrameKind;
use h2trace_core::pipeline::Output;
use h2trace_core::stream::record::{Moment, StreamRecord};
use tracer_tests::conversation::pcap::{self, Captured};
use tracer_tests::conversation::{Conversation, Plan};
use tracer_tests::scaled;

use super::driver::{Outputs, of_capture_with_frames};

/// A packet that a capture lacks: when it went by, and when its sender's next one did. What ended in it is known to have
/// ended by then, or by when it was answered.
#[derive(Clone, Copy)]
struct Missing {
    at: Timestamp,
    next: Timestamp,
}

/// The time of the part is that of the whole.
fn is_same(part: Timestamp, whole: Timestamp, missing: Option<Missing>) -> bool {
    let ended_in =
        |missing: Missing| whole == missing.at && (missing.at..=missing.next).contains(&part);
    part == whole || missing.is_some_and(ended_in)
}

/// A frame: when, by whom, what, on which stream.
type FrameTold = (Timestamp, Endpoint, String, u32);

/// What is said of a capture.
struct Statements {
    /// In the order they are told.
    frames: Vec<FrameTold>,
    streams: BTreeMap<u32, StreamRecord>,
    /// Findings that say more than unknown: the kind, the stream, the verdict, and the sentence.
    findings: Vec<(&'static str, u32, Verdict, String)>,
}

impl Statements {
    fn of(said: &Outputs) -> Statements {
        let frames = said.0.iter().filter_map(|output| match output {
            Output::Frame { frame, .. } => Some((
                frame.at,
                frame.sender,
                frame.name().to_string(),
                frame.head.stream_id.0,
            )),
            _ => None,
        });
        let findings = said.findings().into_iter();
        let findings = findings
            .filter(|finding| finding.verdict != Verdict::Unknown)
            .map(|finding| {
                let id = finding.stream_id.0;
                let summary = finding.summary.clone();
                (finding.kind.as_str(), id, finding.verdict, summary)
            });
        Statements {
            frames: frames.collect(),
            streams: said
                .streams()
                .into_iter()
                .map(|record| (record.stream_id.0, record.clone()))
                .collect(),
            findings: findings.collect(),
        }
    }

    /// What this part of a capture says and `whole` does not.
    fn more_than(&self, whole: &Statements, missing: Option<Missing>) -> Vec<String> {
        let mut more = Vec::new();
        // Each frame has its own packet's time, and stands where it stands in the whole.
        let mut rest = whole.frames.iter();
        for frame in &self.frames {
            let (at, sender, name, id) = frame;
            let is_it = |other: &FrameTold| {
                (sender, name, id) == (&other.1, &other.2, &other.3)
                    && is_same(*at, other.0, missing)
            };
            if !rest.any(is_it) {
                more.push(format!("frame out of place or time: {frame:?}"));
                break;
            }
        }
        for (id, part) in &self.streams {
            match whole.streams.get(id) {
                Some(of_whole) => {
                    more.extend(of_stream(part, of_whole, &whole.frames, missing));
                }
                None => more.push(format!("stream {id}")),
            }
        }
        for (kind, id, verdict, summary) in &self.findings {
            let same = whole
                .findings
                .iter()
                .filter(|(other, of, as_bad, _)| (other, of) == (kind, id) && verdict <= as_bad);
            let told: Vec<&str> = same.map(|(.., told)| told.as_str()).collect();
            if told.is_empty() {
                let verdict = verdict.as_str();
                more.push(format!("{kind} on stream {id}: {verdict} {summary}"));
                continue;
            }
            if *kind == "graceful_go_away" {
                // Of two GOAWAY frames one is told: the second where the first is missing.
                continue;
            }
            let told = told.join("; ");
            let (clauses_told, mut numbers_told) = (words(&told), numbers(&told));
            // Where the lengths of messages are not known, all that came is told.
            let stream = whole.streams.get(id);
            let data_bytes = stream
                .map_or(0, |stream| stream.response.data_bytes)
                .to_string();
            numbers_told.insert(&data_bytes);
            for clause in words(summary).difference(&clauses_told) {
                // The same in other words, since less is known: but nothing is denied, and no number is another.
                let denies = ["no ", "not ", "never", "before", "without"];
                let is_lower_bound = clause.ends_with(" seen") || clause.starts_with("at least ");
                // How long after something that ended in the packet that is missing.
                let is_since_missing = missing.is_some() && clause.ends_with(" after the request");
                let is_new = denies.iter().any(|word| clause.contains(word))
                    || !(is_lower_bound
                        || is_since_missing
                        || numbers(clause).is_subset(&numbers_told));
                if is_new {
                    more.push(format!(
                        "{kind} on stream {id} says {clause:?} instead of {told:?}"
                    ));
                }
            }
        }
        more
    }
}

/// The parts of a sentence.
fn words(summary: &str) -> BTreeSet<&str> {
    let parts = summary.split([';', ',', ':', '(', ')']);
    let clauses = parts.flat_map(|part| part.split(". ")).map(str::trim);
    clauses.filter(|clause| !clause.is_empty()).collect()
}

/// The numbers in it, with what stands right behind them.
fn numbers(summary: &str) -> BTreeSet<&str> {
    let words = summary.split([' ', ',', ';', ':', '(', ')']);
    words
        .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .collect()
}

/// What is said of a stream and not in the whole.
fn of_stream(
    part: &StreamRecord,
    whole: &StreamRecord,
    frames: &[FrameTold],
    missing: Option<Missing>,
) -> Vec<String> {
    let mut more = Vec::new();
    let id = part.stream_id;
    if part.first_at < whole.first_at {
        more.push(format!("stream {id} began earlier"));
    }
    let is_as_long = is_same(part.first_at, whole.first_at, missing)
        && is_same(part.last_at, whole.last_at, missing);
    if let Some(took) = duration_ns(part).filter(|_| !is_as_long) {
        let whole = duration_ns(whole);
        more.push(format!("stream {id} took {took} ns and not {whole:?}"));
    }
    for (part, whole) in [
        (&part.request, &whole.request),
        (&part.response, &whole.response),
    ] {
        for (part, whole, what) in [
            (part.headers_at, whole.headers_at, "HEADERS"),
            (part.end_stream_at, whole.end_stream_at, "END_STREAM"),
        ] {
            // What crosses a reset does not count where the reset was seen.
            let crossed = |at: Timestamp| {
                let is_it = |frame: &FrameTold| frame.3 == id.0 && is_same(at, frame.0, missing);
                whole.is_none() && frames.iter().any(is_it)
            };
            if let Some(part) = part
                && !whole.is_some_and(|whole| is_same(part, whole, missing))
                && !crossed(part)
            {
                more.push(format!("stream {id}: {what} at {part:?} and not {whole:?}"));
            }
        }
    }
    let of_whole = whole.story.moments();
    let moments = part.story.moments().into_iter();
    for moment in moments.filter(|moment| moment.frame != FrameKind::Data) {
        let is_it = |other: &Moment| {
            (moment.sender, moment.frame) == (other.sender, other.frame)
                && is_same(moment.at, other.at, missing)
        };
        if !of_whole.iter().any(is_it) {
            more.push(format!("stream {id}: {moment:?}"));
        }
    }
    more
}

/// What captures of which a part is missing say more than the whole one.
fn sweep(plan: &Plan, segment: usize, said: &mut Vec<String>) {
    let talk = Conversation::of(plan);
    let captured = Captured {
        segment,
        ..Captured::whole()
    };
    let packets = pcap::each_packet(&talk, &captured, |_, _, _| true);
    let replay = |packets: &[&[Vec<u8>]]| {
        let mut file = pcap::header();
        file.extend(packets.iter().flat_map(|packets| packets.concat()));
        Statements::of(&of_capture_with_frames(&file))
    };
    let whole = replay(&[&packets]);
    for n in 0..packets.len() {
        let (before, after) = packets.split_at(n);
        let (this, behind) = (&after[0], &after[1..]);
        let next = behind.iter().find(|other| sender(other) == sender(this));
        let missing = next.map(|next| Missing {
            at: time(this),
            next: time(next),
        });
        for (how, part, missing) in [
            ("begins at", vec![after], None),
            ("lacks", vec![before, behind], missing),
        ] {
            let more = replay(&part).more_than(&whole, missing);
            if !more.is_empty() {
                said.push(format!(
                    "seed {}, segments of {segment}: a capture that {how} packet {n} of {} says {more:#?}",
                    plan.seed,
                    packets.len()
                ));
            }
        }
    }
}

/// When a packet went by: seconds and nanoseconds stand before it.
fn time(packet: &[u8]) -> Timestamp {
    let word = |at: usize| u64::from(u32::from_le_bytes(packet[at..at + 4].try_into().unwrap()));
    Timestamp(word(0) * 1_000_000_000 + word(4))
}

/// Its source address.
fn sender(packet: &[u8]) -> &[u8] {
    &packet[16 + 12..16 + 16]
}

#[test]
fn what_is_said_of_a_part_of_a_capture_is_said_of_the_whole() {
    let mut said = Vec::new();
    for seed in 0..u64::from(scaled(6_u32, 200)) {
        let plan = Plan {
            broken: seed % 2 == 1,
            ..Plan::small(seed)
        };
        sweep(&plan, [1_448, 60][usize::from(seed % 3 == 0)], &mut said);
    }
    assert!(said.is_empty(), "{} times: {}", said.len(), said.join("\n"));
}
