//! Hostile capture files: whatever stands in them, they are read to an end, in bounded memory, and nothing panics.
//!
//! `H2TRACE_SCALE=full cargo test --release -p tracer-tests --test hostile files` reads a million of them.

use std::io::{Cursor, Write as _};

use h2trace::capture::{Capture, Reassembly};
use h2trace_core::event::Timestamp;
use h2trace_core::pipeline::{Output, Pipeline, PipelineSettings, Sink};
use tracer_tests::conversation::pcap::{Captured, each_packet, header};
use tracer_tests::conversation::{Conversation, Plan, Random};
use tracer_tests::heap::peak_of;
use tracer_tests::scaled;

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

/// Counts, and keeps nothing.
#[derive(Default)]
struct Heard(u64);

impl Sink for Heard {
    fn accept(&mut self, _: &Output) {
        self.0 += 1;
    }
}

/// A file as h2trace replay reads it: how many packets there were, and whether it was read to its end.
fn replayed(file: &[u8]) -> (u64, bool) {
    let mut heard = Heard::default();
    let mut pipeline = Pipeline::new(PipelineSettings {
        memory: 16 * MIB,
        ..PipelineSettings::default()
    });
    let mut reassembly = Reassembly::new(None);
    let Ok(mut capture) = Capture::open(Cursor::new(file)) else {
        return (0, false);
    };
    let (mut now, mut n) = (Timestamp(0), 0);
    let whole = loop {
        match capture.packet() {
            Ok(Some(packet)) => {
                n += 1;
                now = now.max(packet.at);
                reassembly.packet(&packet, &mut |event| pipeline.handle(event, &mut heard));
                pipeline.advance(reassembly.settled(), &mut heard);
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    reassembly.finish(&mut |event| pipeline.handle(event, &mut heard));
    pipeline.finish(now, &mut heard);
    (n, whole)
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

/// The file of this number. Of two in three the records are well-formed, and what is in packets is not.
fn hostile(number: u64) -> Vec<u8> {
    let mut random = Random(number);
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
                    spoil(&mut packets[one][at..], &mut random);
                }
            }
        }
    }
    let mut file = header();
    file.extend(packets.concat());
    if outside {
        match random.below(3) {
            0 => file.truncate(random.below(file.len())),
            1 => spoil(&mut file[..24], &mut random),
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
    let n_files = scaled(3_000, 1_000_000);
    let (mut packets, mut to_their_end, mut most) = (0, 0_u64, 0);
    for number in 0..n_files {
        let file = hostile(number);
        // What panics says which file it was: the test's output has the last number.
        if number % 10_000 == 0 {
            println!("file {number}");
        }
        let read = std::panic::catch_unwind(|| peak_of(|| replayed(&file)));
        let ((n, whole), peak) = read.unwrap_or_else(|_| panic!("file {number} makes it panic"));
        packets += n;
        to_their_end += u64::from(whole);
        most = most.max(peak);
        assert!(peak < 24 * MIB, "file {number}: {peak}");
    }
    println!(
        "{n_files} files, {packets} packets, {to_their_end} read to their end, {} KiB at most",
        most / 1024
    );
    // They are no heap of rubbish that the first look refuses.
    assert!(to_their_end > n_files / 3 && packets > 10 * n_files);
}
