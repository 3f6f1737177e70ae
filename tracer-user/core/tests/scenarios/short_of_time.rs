//! The same scenarios where there is not the time for all of it: what is counted is counted all the same, and nothing is
//! found that is not there.

use std::collections::BTreeMap;
use std::ops::Range;

use h2trace_core::anomaly::kind::{Finding, Verdict};
use h2trace_core::event::SocketKey;
use h2trace_core::pipeline::{Depth, Output, is_sampled};
use h2trace_core::stream::record::StreamRecord;

use crate::parse::{self, Names, Node, Scenario};
use crate::play::Player;
use crate::{InScenario, THEMES};

/// For what there is time.
#[derive(Default)]
pub(crate) struct Time {
    /// Events so far.
    pub(crate) n_events: u64,
    /// During these there is no time for more than counts.
    short: Range<u64>,
    /// Nor is there now.
    pub(crate) is_short: bool,
    /// Behind this event a socket is let go.
    let_go: Option<(u64, SocketKey)>,
}

impl Time {
    /// There is an event. How closely streams are followed then.
    pub(crate) fn passes(&mut self) -> Depth {
        let is_short = self.is_short || self.short.contains(&self.n_events);
        self.n_events += 1;
        if is_short {
            Depth::Counts
        } else {
            Depth::Whole
        }
    }

    /// The socket that is let go now.
    pub(crate) fn lets_go(&mut self) -> Option<SocketKey> {
        let (_, socket) = self.let_go.take_if(|(at, _)| *at < self.n_events)?;
        Some(socket)
    }
}

/// Scenarios with more lines are floods, which take their time, and tell nothing else.
const LONG: usize = 300;

/// How many lines are played.
fn size(nodes: &[Node]) -> usize {
    let each = |node: &Node| match node {
        Node::Line { .. } => 1,
        Node::For { values, body, .. } => values.len() * size(body),
        Node::Case { body, .. } | Node::Together { body } => size(body),
    };
    nodes.iter().map(each).sum()
}

/// Calls `check` with each scenario in each of its variants.
fn each(check: impl Fn(&Scenario, &Names)) {
    for (_, path) in THEMES {
        let text = std::fs::read_to_string(path).unwrap();
        let scenarios = parse::file(&text).1;
        for scenario in scenarios.iter().filter(|of| size(&of.body) <= LONG) {
            let _named = InScenario(&scenario.name);
            for names in parse::variants(&scenario.axes) {
                check(scenario, &names);
            }
        }
    }
}

fn outputs(player: Player) -> Vec<Output> {
    let told = player.told.into_iter().flat_map(|(_, told, _)| told);
    told.chain(player.said.0).collect()
}

fn played(scenario: &Scenario, names: &Names, short: Range<u64>) -> Vec<Output> {
    let end = scenario.lines.len();
    let time = Time {
        short,
        ..Time::default()
    };
    outputs(Player::play_in(time, names, &scenario.body, end))
}

/// What is counted of an output; None where that is not told any more.
fn counted(output: &Output) -> Option<String> {
    match output {
        Output::Stream {
            record, findings, ..
        } => {
            let record = StreamRecord {
                story: [].into_iter().collect(),
                ..StreamRecord::clone(record)
            };
            let found: Vec<_> = findings.iter().map(named).collect();
            Some(format!("{record:?} {found:?}"))
        }
        Output::Hop { .. } | Output::Lone(_) | Output::Finding { .. } => None,
        // A limit of what joins, or of stories.
        Output::Loss(loss) if !loss.hides_traffic() || loss.connection.is_none() => None,
        output => Some(format!("{output:?}")),
    }
}

fn named(finding: &Finding) -> String {
    let (kind, verdict) = (finding.kind.as_str(), finding.verdict.as_str());
    format!("{kind} {verdict} {}", finding.stream_id)
}

fn findings(outputs: &[Output]) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for output in outputs {
        let findings = match output {
            Output::Stream { findings, .. } | Output::Hop { findings, .. } => &findings[..],
            Output::Finding { finding, .. } => std::slice::from_ref(finding),
            _ => &[],
        };
        for finding in findings
            .iter()
            .filter(|finding| finding.verdict >= Verdict::Suspicious)
        {
            *all.entry(named(finding)).or_default() += 1;
        }
    }
    all
}

/// The same is said, in the same order.
fn assert_same(whole: &[String], short: &[String], when: &Range<u64>) {
    for (whole, short) in whole.iter().zip(short) {
        assert_eq!(whole, short, "without time within {when:?}");
    }
    assert_eq!(whole.len(), short.len(), "without time within {when:?}");
}

/// Each of these is among those.
fn assert_among(
    some: &BTreeMap<String, usize>,
    all: &BTreeMap<String, usize>,
    when: &dyn std::fmt::Debug,
) {
    for (finding, n) in some {
        let known = all.get(finding).copied().unwrap_or(0);
        assert!(
            *n <= known,
            "{finding} is found without time within {when:?}: {all:?}"
        );
    }
}

#[test]
fn without_time_the_same_is_counted() {
    each(|scenario, names| {
        let whole = played(scenario, names, 0..0);
        let short = played(scenario, names, 0..u64::MAX);
        let of = |outputs: &[Output]| outputs.iter().filter_map(counted).collect::<Vec<_>>();
        assert_same(&of(&whole), &of(&short), &(0..u64::MAX));
        assert_among(&findings(&short), &findings(&whole), &(0..u64::MAX));
        let is_left_out = |output: &Output| match output {
            Output::Hop { .. } | Output::Lone(_) => false,
            Output::Stream { record, .. } => {
                record.story.is_empty() || is_sampled(record.connection, record.stream_id)
            }
            _ => true,
        };
        assert!(short.iter().all(is_left_out));
    });
}

/// Two sides are watched.
fn is_joined(watched: &str) -> bool {
    ["proxy", "mesh"]
        .iter()
        .any(|what| watched.starts_with(what))
}

#[test]
fn nothing_is_found_that_is_not_there_when_time_runs_out_and_comes_back() {
    /// How finely a scenario is divided.
    const PARTS: u64 = 5;
    each(|scenario, names| {
        // Of the others nothing is joined, and what is counted is another test's.
        if !names
            .iter()
            .any(|(name, value)| name == "watched" && is_joined(value))
        {
            return;
        }
        let end = scenario.lines.len();
        let player = Player::play(names, &scenario.body, end);
        let n = player.time.n_events;
        let whole = outputs(player);
        let all = findings(&whole);
        let counted_of =
            |outputs: &[Output]| outputs.iter().filter_map(counted).collect::<Vec<_>>();
        let (mut from, counts) = (0, counted_of(&whole));
        while from < PARTS {
            for until in from + 1..=PARTS {
                let when = n * from / PARTS..n * until / PARTS;
                let short = played(scenario, names, when.clone());
                assert_same(&counts, &counted_of(&short), &when);
                assert_among(&findings(&short), &all, &when);
            }
            from += 1;
        }
    });
}

/// Whoever sees one side of a proxy alone from some moment on, or nothing at all, finds nothing that the whole does not show.
#[test]
fn nothing_is_found_that_is_not_there_when_a_connection_is_let_go() {
    const PARTS: u64 = 6;
    each(|scenario, names| {
        let end = scenario.lines.len();
        let player = Player::play(names, &scenario.body, end);
        let n = player.time.n_events;
        let all = findings(&outputs(player));
        for sk in 1..=2 {
            for part in 0..PARTS {
                let socket = SocketKey { sk, born_ns: 1 };
                let let_go = Some((n * part / PARTS, socket));
                let time = Time {
                    let_go,
                    ..Time::default()
                };
                let part = outputs(Player::play_in(time, names, &scenario.body, end));
                let mut found = findings(&part);
                // That less is known of a method is said with it. And a stream too many is told by itself where it is not
                // seen that it was reset for another reason.
                found.retain(|finding, _| {
                    let kind = finding.split(' ').next().unwrap_or_default();
                    !["response_overdue", "concurrency_exceeded"].contains(&kind)
                });
                assert_among(&found, &all, &let_go);
            }
        }
    });
}
