//! Hostile capture files: whatever stands in them, they are read to an end, in bounded memory, and nothing panics.
//!
//! `cargo xtask fuzz --files 1000000` reads a million of them.

use std::fs;
use std::io::{Cursor, Write};
use std::time::{Duration, Instant};

use h2trace::cli::args::{Cli, Command, ReplayArgs};
use h2trace::cli::replay;
use tracer_tests::conversation::pcap::{Captured, each_packet, header};
use tracer_tests::conversation::{Conversation, Plan, Random};
use tracer_tests::heap::peak_of;
use tracer_tests::workspace;

use crate::{MIB, ONE_AT_A_TIME};

/// Lengths, times and numbers at which something overflows.
const EXTREMES: [u64; 10] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// How many files are read, and the number of the first one.
const FILES: &str = "H2TRACE_HOSTILE_FILES";
const FIRST: &str = "H2TRACE_HOSTILE_FIRST";

/// Each option of `replay`, with what may be said of it.
const OPTIONS: [&[&[&str]]; 8] = [
    &[&["--output=json"], &["--output=text"]],
    &[
        &["--show=connections,streams,findings"],
        &["--show=connections,frames,streams,hops,findings"],
        &["--show=frames"],
        &["--show=hops,findings"],
    ],
    &[&["--headers=allowed"], &["--headers=all"]],
    &[&[], &["--findings=all"], &["--fail-on=anomaly"]],
    &[&[], &["--port=8080"], &["--port=1"]],
    &[&[], &["--http2=8080"], &["--http2=1", "--http2=40000"]],
    &[&[], &["--header=x-call-id", "--header=from"]],
    &[&[], &["--keylog"]],
];

/// All options in all combinations, read once: that takes longer than most of the files.
struct Combinations(Vec<ReplayArgs>);

impl Combinations {
    /// The first so many, or all.
    fn first(n: u64, keylog: &str) -> Combinations {
        let all: usize = OPTIONS.iter().map(|choices| choices.len()).product();
        let numbers = 0..n.clamp(1, all as u64);
        Combinations(numbers.map(|number| options(number, keylog)).collect())
    }

    /// Those of the file of this number: with many files, each of them comes in turn.
    fn of(&self, number: u64) -> &ReplayArgs {
        &self.0[(number % self.0.len() as u64) as usize]
    }
}

fn options(mut number: u64, keylog: &str) -> ReplayArgs {
    let mut arguments = vec!["h2trace", "replay", "-"];
    for choices in OPTIONS {
        let n = choices.len() as u64;
        for argument in choices[(number % n) as usize] {
            arguments.push(argument);
            if *argument == "--keylog" {
                arguments.push(keylog);
            }
        }
        number /= n;
    }
    match Cli::read(&arguments).map(|cli| cli.command) {
        Ok(Command::Replay(args)) => args,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

/// Counts what is printed.
struct Printed(usize);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file as h2trace replay reads it: how many streams there were, how much was printed, and whether it was read to its
/// end.
fn replayed(args: &ReplayArgs, file: &[u8]) -> (u64, usize, bool) {
    let mut printed = Printed(0);
    match replay::read(args, Cursor::new(file), &mut printed) {
        Ok(replayed) => {
            let whole = replayed.error.is_none();
            (replayed.tally.ended(), printed.0, whole)
        }
        Err(_) => (0, 0, false),
    }
}

/// Captures that the fuzz targets begin with.
fn seeds() -> Vec<Vec<u8>> {
    let folder = workspace().join("tests/fuzz/corpus/capture_file");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the seeds are there")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    // The first byte is not the file's.
    let seeds = paths
        .into_iter()
        .map(|path| fs::read(path).expect("a file").split_off(1));
    seeds.filter(|seed| seed.len() > 24).collect()
}

/// Writes over some bytes: noise, or a number at which something overflows, in either order of bytes.
fn spoil(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let value = if random.once_in(2) {
            EXTREMES[random.below(EXTREMES.len())]
        } else {
            random.bits()
        };
        let width = [1, 2, 3, 4, 8][random.below(5)];
        let value = if random.once_in(2) {
            value.to_be_bytes()[8 - width..].to_vec()
        } else {
            value.to_le_bytes()[..width].to_vec()
        };
        for (byte, value) in bytes.iter_mut().skip(at).zip(value) {
            *byte = value;
        }
    }
}

/// The file of this number: one in four is a seed that was spoiled.
fn hostile(number: u64, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Random(number);
    if random.once_in(4) {
        let mut file = seeds[random.below(seeds.len())].clone();
        for _ in 0..random.below(4) {
            spoil(&mut file, &mut random);
        }
        if random.once_in(4) {
            let (from, n) = (random.below(file.len()), random.below(512));
            let part = file[from..file.len().min(from + n)].to_vec();
            let at = random.below(file.len());
            file.splice(at..at, part);
        }
        return file;
    }
    conversation(&mut random)
}

/// A capture of a conversation. Of two in three the records are well-formed, and what is in packets is not.
fn conversation(random: &mut Random) -> Vec<u8> {
    let conversation = Conversation::of(&Plan {
        broken: random.once_in(2),
        ..Plan::small(random.bits())
    });
    let captured = Captured {
        segment: 1 + random.below(1_448),
        handshake: random.once_in(2),
        ..Captured::whole()
    };
    let mut packets = each_packet(&conversation, &captured, |_, _, _| true);
    let outside = random.once_in(3);
    for _ in 0..=random.below(6) {
        let (one, other) = (random.below(packets.len()), random.below(packets.len()));
        match random.below(5) {
            0 => packets.swap(one, other),
            1 => packets.insert(one, packets[other].clone()),
            2 if packets.len() > 1 => drop(packets.remove(one)),
            // Behind the 16 bytes of a record's head stands the packet.
            _ => {
                let at = if outside {
                    0
                } else {
                    16.min(packets[one].len())
                };
                if packets[one].len() > at {
                    spoil(&mut packets[one][at..], random);
                }
            }
        }
    }
    let mut file = header();
    file.extend(packets.concat());
    if outside {
        match random.below(3) {
            0 => file.truncate(random.below(file.len())),
            1 => spoil(&mut file[..24], random),
            _ => {}
        }
    }
    match random.below(8) {
        0 => packed(&file),
        1 => packed(&packed(&file)),
        _ => file,
    }
}

fn packed(file: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(file).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

#[test]
fn hostile_files_are_read_in_bounded_memory_and_nothing_panics() {
    let alone = ONE_AT_A_TIME.lock();
    let _alone = alone.unwrap_or_else(std::sync::PoisonError::into_inner);
    let given = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let n_files = given(FILES).unwrap_or(2_000);
    let first = given(FIRST).unwrap_or(0);
    let folder = tempfile::tempdir().unwrap();
    let keylog = folder.path().join("keys");
    fs::write(&keylog, keys()).unwrap();
    let (seeds, keylog) = (seeds(), keylog.to_str().unwrap());
    let combinations = Combinations::first(first + n_files, keylog);
    let (mut streams, mut printed, mut to_their_end) = (0, 0, 0_u64);
    let (mut most, mut longest) = ((0, 0), (Duration::ZERO, 0));
    for number in first..first + n_files {
        let (file, args) = (hostile(number, &seeds), combinations.of(number));
        // Of one that is never over this is the last that is said.
        if number % 10_000 == 0 {
            println!("file {number}");
        }
        let began = Instant::now();
        let read = std::panic::catch_unwind(|| peak_of(|| replayed(args, &file)));
        let ((n, bytes, whole), peak) =
            read.unwrap_or_else(|_| panic!("file {number} makes it panic"));
        streams += n;
        printed += bytes;
        to_their_end += u64::from(whole);
        most = most.max((peak, number));
        longest = longest.max((began.elapsed(), number));
        assert!(peak < 24 * MIB, "file {number}: {peak}");
    }
    println!(
        "{n_files} files, {streams} streams, {printed} bytes printed, {to_their_end} read to their end, {} KiB at most (file \
         {}), {} ms at most (file {})",
        most.0 / 1024,
        most.1,
        longest.0.as_millis(),
        longest.1
    );
    // They are no heap of rubbish that the first look refuses.
    assert!(to_their_end > n_files / 3 && streams > n_files);
}

/// A key log with one line of each label.
fn keys() -> String {
    let labels = [
        ("CLIENT_RANDOM", 96),
        ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 64),
        ("SERVER_HANDSHAKE_TRAFFIC_SECRET", 64),
        ("CLIENT_TRAFFIC_SECRET_0", 64),
        ("SERVER_TRAFFIC_SECRET_0", 96),
    ];
    let line = |(label, n): &(&str, usize)| {
        let (random, secret) = ("ab".repeat(32), "c".repeat(*n));
        format!("{label} {random} {secret}\n")
    };
    labels.iter().map(line).collect()
}
