//! The scenarios of the taxonomy: conversations, and what h2trace says of them.
//!
//! Each file here is a theme. A scenario is a conversation, line by line; below it, and below each `settle`,
//! stands what h2trace says of it until then (`>`). README.md beside this file tells how to read and write
//! them. The bytes of a conversation go through the whole pipeline, as records of the kernel programs do.

mod parse;
mod play;
mod short_of_time;
mod tell;
mod wire;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use expect_test::expect_file;
use h2trace_core::anomaly::kind::Kind;
use parse::Scenario;
use play::Player;

/// The files, and a test of each.
macro_rules! themes {
    ($($theme:ident)+) => {
        /// All files of scenarios, by name and path.
        const THEMES: &[(&str, &str)] = &[
            $((stringify!($theme), concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios/", stringify!($theme), ".txt")),)+
        ];

        $(#[test]
        fn $theme() {
            check(stringify!($theme));
        })+
    };
}

/// Lines shown before the first that differs.
const CONTEXT: usize = 3;

themes! {
    abuse anomalies answers benign benign_resets completion concurrency conduct connections content fields flow_control
    hops hops_deadline hops_gave_up hops_late hops_order hops_requests hops_short_of_time hops_tls idle late_attach pings receivers refusals windows
}

/// Plays all scenarios of a file and compares what is said with what stands there.
fn check(theme: &str) {
    let (_, path) = THEMES.iter().find(|(name, _)| *name == theme).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let (head, scenarios) = parse::file(&text);
    let mut written = head.join("\n") + "\n";
    let mut differences = String::new();
    for scenario in &scenarios {
        let played = play(scenario);
        differences += &difference(&scenario.name, &text, &played);
        written += &played;
        written += "\n";
    }
    // The whole file, as `expect_file` shows it, would hide what is otherwise.
    let is_rewritten = std::env::var_os("UPDATE_EXPECT").is_some();
    assert!(
        differences.is_empty() || is_rewritten,
        "{path} (UPDATE_EXPECT=1 rewrites it)\n{differences}"
    );
    let written = written.trim_end().to_owned() + "\n";
    expect_file![path].assert_eq(&written);
}

/// What is said of a scenario and does not stand in the file, and the other way round.
fn difference(name: &str, text: &str, played: &str) -> String {
    let begin = format!("=== {name}\n");
    let stood = text.split_once(&begin).map_or("", |(_, after)| after);
    let stood = stood.split("\n=== ").next().unwrap_or_default().trim_end();
    let played = played.strip_prefix(&begin).unwrap_or(played).trim_end();
    let (mut stood, mut played): (Vec<_>, Vec<_>) =
        (stood.lines().collect(), played.lines().collect());
    if stood == played {
        return String::new();
    }
    let same = stood
        .iter()
        .zip(&played)
        .take_while(|(a, b)| a == b)
        .count();
    let before = same.saturating_sub(CONTEXT);
    let (context, _) = stood.split_at(same);
    let context: String = context
        .iter()
        .skip(before)
        .map(|line| format!(" {line}\n"))
        .collect();
    stood.drain(..same);
    played.drain(..same);
    while stood.last().is_some_and(|last| played.last() == Some(last)) {
        stood.pop();
        played.pop();
    }
    let lines = |sign: char, lines: &[&str]| -> String {
        lines.iter().map(|line| format!("{sign}{line}\n")).collect()
    };
    format!(
        "\n{begin}{context}{}{}",
        lines('-', &stood),
        lines('+', &played)
    )
}

/// Names the scenario when something in it panics.
struct InScenario<'a>(&'a str);

impl Drop for InScenario<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in scenario {}", self.0);
        }
    }
}

/// The scenario with what is said of it.
fn play(scenario: &Scenario) -> String {
    let _named = InScenario(&scenario.name);
    let variants = parse::variants(&scenario.axes);
    let played: Vec<_> = variants
        .iter()
        .map(|names| {
            let player = Player::play(names, &scenario.body, scenario.lines.len());
            (
                variant_name(names, &scenario.axes),
                tell::tell(&player, &scenario.lines),
            )
        })
        .collect();
    let mut text = format!("=== {}\n", scenario.name);
    for at in 0..=scenario.lines.len() {
        if let Some(line) = scenario.lines.get(at) {
            text += line;
            text += "\n";
        }
        let of_line = |told: &[(usize, String)]| {
            told.iter()
                .find(|(line, _)| *line == at)
                .map(|(_, told)| told.clone())
        };
        // Variants of which the same is said stand together.
        let mut groups: Vec<(Vec<&str>, String)> = Vec::new();
        for (name, told) in &played {
            let Some(told) = of_line(told) else { continue };
            match groups.iter_mut().find(|(_, other)| *other == told) {
                Some((names, _)) => names.push(name),
                None => groups.push((vec![name], told)),
            }
        }
        let one = matches!(&groups[..], [(names, _)] if names.len() == played.len());
        for (names, told) in groups {
            if !one {
                for name in names {
                    writeln!(text, "{} with {name}:", parse::TOLD).unwrap();
                }
            }
            for line in told.lines() {
                writeln!(text, "{} {line}", parse::TOLD).unwrap();
            }
        }
    }
    text
}

/// The values of a variant, where there are others.
fn variant_name(names: &parse::Names, axes: &[(String, Vec<String>)]) -> String {
    let vary = names
        .iter()
        .zip(axes)
        .filter(|(_, (_, values))| values.len() > 1);
    let said = vary.map(|((name, value), _)| match name.starts_with("case ") {
        true => value.clone(),
        false if value.is_empty() => format!("no {name}"),
        false => format!("{name} {value}"),
    });
    said.collect::<Vec<_>>().join("; ")
}

#[test]
fn every_kind_of_finding_has_a_scenario() {
    let mut missing: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    for (_, path) in THEMES {
        let text = std::fs::read_to_string(path).unwrap();
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix(parse::TOLD))
        {
            missing.retain(|kind| !line.split([' ', ':']).any(|word| word == *kind));
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_scenario_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for (_, path) in THEMES {
        let text = std::fs::read_to_string(path).unwrap();
        for scenario in parse::file(&text).1 {
            assert!(names.insert(scenario.name.clone()), "{}", scenario.name);
        }
    }
}
