//! A capture file through the whole of `h2trace replay`: the same output however the file is read.
//!
//! Input: one byte (gzip it first or not), then the file.

use std::io::{Cursor, Read, Write as _};

use h2trace::capture::{Capture, Reassembly};
use h2trace_core::event::Timestamp;
use h2trace_core::pipeline::Frames;
use tracer_tests::conversation::Random;

use crate::checker::{Checker, pipeline};
use crate::{bounded, seed};

/// gzip of a small input may be 1,000 times as long; no more of it than this is looked at.
const INFLATED_MAX: u64 = 1 << 20;

pub fn run(data: &[u8]) {
    let Some((first, file)) = data.split_first() else {
        return;
    };
    let gzipped;
    let file = if first % 2 == 1 {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(file).expect("memory takes all");
        gzipped = encoder.finish().expect("memory takes all");
        &gzipped[..]
    } else {
        file
    };
    let mut inflated = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(file);
    if file.starts_with(&[0x1f, 0x8b])
        && let Ok(n) = (&mut decoder).take(INFLATED_MAX).read_to_end(&mut inflated)
        && n as u64 == INFLATED_MAX
    {
        return;
    }
    let len = file.len().max(inflated.len());
    let once = bounded(len, 16 << 20, 512, || replay(Cursor::new(file)));
    let mut random = Random(seed(data));
    let cut = replay(Slowly {
        rest: file,
        size: 1 + random.below(64),
    });
    assert_eq!(once, cut, "read differently, understood differently");
}

fn replay(reader: impl Read) -> Vec<String> {
    let Ok(mut capture) = Capture::open(reader) else {
        return Vec::new();
    };
    let mut pipeline = pipeline(Frames::Whole);
    let mut reassembly = Reassembly::new(None);
    let mut said = Checker::default();
    let mut last = Timestamp(0);
    while let Ok(Some(packet)) = capture.packet_and_keys(reassembly.keys()) {
        last = last.max(packet.at);
        reassembly.packet(&packet, &mut |event| pipeline.handle(event, &mut said));
        pipeline.advance(reassembly.settled(), &mut said);
    }
    reassembly.finish(&mut |event| pipeline.handle(event, &mut said));
    pipeline.finish(last, &mut said);
    said.over(&pipeline);
    said.lines
}

/// Gives few bytes at once.
struct Slowly<'a> {
    rest: &'a [u8],
    size: usize,
}

impl Read for Slowly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.size.min(buffer.len()).min(self.rest.len());
        let (now, later) = self.rest.split_at(n);
        buffer[..n].copy_from_slice(now);
        self.rest = later;
        Ok(n)
    }
}
