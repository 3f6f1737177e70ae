//! Records of the ring through decoding and the pipeline: the same output of each connection when each run of bytes is
//! told in several events.
//!
//! Input: for each record a control byte, its length (two bytes, little-endian), its bytes.

use h2trace_core::event::decode::decode;
use h2trace_core::event::{Boundary, Bytes, Event, Segment, Timestamp, What};
use h2trace_core::pipeline::{Frames, Pipeline};

use crate::bounded;
use crate::checker::{Checker, pipeline};

/// A record, with its control byte.
pub fn encode(input: &mut Vec<u8>, control: u8, record: &[u8]) {
    input.push(control);
    input.extend((record.len() as u16).to_le_bytes());
    input.extend(record);
}

/// The control byte's bits.
pub mod control {
    /// The record's own length is put right before it is decoded.
    pub const MEND: u8 = 1;
    /// Time passes after it.
    pub const PASS: u8 = 2;
    /// Much time passes after it.
    pub const PASS_LONG: u8 = 4;
}

pub fn run(data: &[u8]) {
    let once = bounded(data.len(), 16 << 20, 512, || drive(data, false));
    let cut = drive(data, true);
    assert_eq!(
        by_connection(once),
        by_connection(cut),
        "told in pieces, understood differently"
    );
}

/// The same lines, connection by connection. What is held back for a proof is told when that comes, and in pieces it may
/// come in front of what another connection says.
fn by_connection(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_by_key(|line| {
        let (_, id) = line.split_once("ConnectionId(")?;
        id.split_once(')')?.0.parse::<u64>().ok()
    });
    lines
}

fn drive(data: &[u8], in_pieces: bool) -> Vec<String> {
    let mut said = Checker::default();
    let mut pipeline = pipeline(Frames::Whole);
    let mut rest = data;
    let mut now = Timestamp(0);
    while let Some(([control, low, high], after)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        let (record, after) = after.split_at(len.min(after.len()));
        rest = after;
        let mut record = record.to_vec();
        if control & control::MEND != 0 && record.len() >= 8 {
            let len = record.len() as u32;
            record[4..8].copy_from_slice(&len.to_le_bytes());
        }
        if let Ok(event) = decode(&record) {
            // A clock that runs far ahead or back is another target's matter (stream_ops).
            now = now.max(Timestamp(event.at.0 % (1 << 60)));
            let event = Event { at: now, ..event };
            take(&mut pipeline, &event, in_pieces, &mut said);
        }
        if control & control::PASS != 0 {
            now = Timestamp(now.0 + 200_000_000);
        }
        if control & control::PASS_LONG != 0 {
            now = Timestamp(now.0 + 90_000_000_000);
        }
        pipeline.advance(now, &mut said);
    }
    pipeline.finish(now, &mut said);
    said.over(&pipeline);
    said.lines
}

fn take(pipeline: &mut Pipeline, event: &Event<'_>, in_pieces: bool, said: &mut Checker) {
    let What::Bytes(bytes) = &event.what else {
        pipeline.handle(event, said);
        return;
    };
    if !in_pieces {
        pipeline.handle(event, said);
        return;
    }
    let mut offset = bytes.offset;
    let mut boundary = bytes.boundary;
    let mut any = false;
    let mut piece = |total: u32, encoded: &[u8]| {
        any = true;
        let event = Event {
            what: What::Bytes(Bytes {
                offset,
                total,
                boundary,
                encoded,
                ..bytes.clone()
            }),
            ..event.clone()
        };
        offset = offset.saturating_add(u64::from(total));
        boundary = Boundary::Unknown;
        pipeline.handle(&event, said);
    };
    for segment in bytes.segments() {
        match segment {
            Segment::Bytes(copied) => {
                for part in copied.chunks(7) {
                    let mut encoded = (part.len() as u32).to_le_bytes().to_vec();
                    encoded.extend(part);
                    piece(part.len() as u32, &encoded);
                }
            }
            Segment::Hole(len) => piece(len, &(len | 1 << 31).to_le_bytes()),
        }
    }
    // Nothing but empty segments is an event too: it says that nothing passed up to its offset.
    if !any {
        pipeline.handle(event, said);
    }
}
