//! What a healthy stream costs the pipeline once it has warmed up, in what does not depend on the machine's load:
//! allocations, and instructions.

mod load;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use h2trace_core::pipeline::Depth;
use tracer_tests::heap::{Heap, made};
use tracer_tests::require;
use tracer_tests::skip::Program;

#[global_allocator]
static HEAP: Heap = Heap;

/// Loads, and allocations a stream that each may take, in hundredths.
const ALLOCATIONS: [(&str, usize); 4] =
    [("unary", 5), ("both_ends", 5), ("serve", 5), ("mixed", 720)];
/// Findings of a load: so many cancellations at once are a flood.
const LOUD: u32 = 8;
/// Calls of a load.
const CALLS: u32 = 4_000;
/// Loads, and the part of their instructions that may be left where there is only the time to count, in percent.
const COUNTED: [(&str, u64); 2] = [("proxy", 70), ("both_ends", 90)];
/// How many instructions more are too many, in percent.
const WORSE: u64 = 3;
/// What renews the file of instructions when this is set.
const RENEW: &str = "UPDATE_EXPECT";

#[test]
fn a_healthy_stream_takes_few_allocations() {
    let mut too_many = String::new();
    for (name, bound) in ALLOCATIONS {
        let records = load::records(name, CALLS);
        let (first, second) = records.split_at(records.len() / 2);
        let mut run = load::Run::new(name, Depth::Whole);
        run.take(first);
        let (streams, before) = (run.count.streams, made());
        run.take(second);
        let n = made() - before;
        let streams = (run.count.streams - streams) as usize;
        assert!(
            streams > 1_000 && run.count.loud < LOUD,
            "{name} is not what it should be"
        );
        let each = n * 100 / streams;
        println!(
            "{name}: {}.{:02} allocations a stream",
            each / 100,
            each % 100
        );
        if each > bound {
            too_many.push_str(&format!("{name}: {each} hundredths, {bound} are allowed\n"));
        }
    }
    assert!(too_many.is_empty(), "{too_many}");
}

#[test]
fn a_stream_takes_no_more_instructions_than_it_did() {
    require!(Program("valgrind"));
    let hot = hot();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("cost/instructions.txt");
    let text = std::fs::read_to_string(&file).expect("cannot read the file of instructions");
    let known: BTreeMap<&str, u64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, n)| Some((name, n.parse().ok()?)))
        .collect();
    let (mut now, mut worse) = (String::new(), String::new());
    for (name, _) in ALLOCATIONS {
        let n = instructions(&hot, name, None);
        println!("{name}: {n} instructions a stream");
        now.push_str(&format!("{name} {n}\n"));
        let before = known.get(name).copied().unwrap_or(0);
        if n * 100 > before * (100 + WORSE) {
            worse.push_str(&format!(
                "{name}: {n} instructions a stream; it was {before}\n"
            ));
        }
    }
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&file, now).expect("cannot write the file of instructions");
        return;
    }
    assert!(
        worse.is_empty(),
        "{worse}if it has to be so: {RENEW}=1 cargo test -p tracer-tests --test cost"
    );
}

#[test]
fn to_count_alone_takes_less() {
    require!(Program("valgrind"));
    let hot = hot();
    for (name, part) in COUNTED {
        let whole = instructions(&hot, name, None);
        let counts = instructions(&hot, name, Some("counts"));
        println!("{name}: {counts} of {whole} instructions a stream");
        assert!(counts * 100 <= whole * part, "{name}: {counts} of {whole}");
    }
}

/// The program that is counted, as users' builds are optimised.
fn hot() -> PathBuf {
    let cargo = std::env::var_os("CARGO").expect("cargo runs the tests");
    let built = Command::new(cargo)
        .args([
            "build",
            "--locked",
            "--release",
            "--package",
            "tracer-tests",
            "--bin",
            "hot",
        ])
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cannot run cargo");
    assert!(built.success(), "cannot build the program that is counted");
    let test = std::env::current_exe().expect("a test has a path");
    let target = test.ancestors().nth(3).expect("target/debug/deps");
    target.join("release/hot")
}

/// What valgrind counts for one stream. `depth`: how closely it is followed.
fn instructions(hot: &Path, load: &str, depth: Option<&str>) -> u64 {
    let folder = tempfile::tempdir().expect("cannot make a folder");
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--collect-atstart=no",
            "--toggle-collect=hot::measured",
        ])
        .arg(format!(
            "--callgrind-out-file={}",
            folder.path().join("out").display()
        ))
        .arg(hot)
        .args([load, &CALLS.to_string()])
        .args(depth)
        .output()
        .expect("cannot run valgrind");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "valgrind: {said}");
    let streams: u64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("the program says how many streams it counted");
    let all = said
        .lines()
        .find_map(|line| line.split_once("refs:"))
        .and_then(|(_, n)| n.trim().replace(',', "").parse::<u64>().ok());
    all.expect("valgrind says what it counted") / streams
}
