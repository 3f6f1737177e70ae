//! One direction's bytes with cuts, holes and gaps anywhere: the steps are well-formed, and the same
//! however the bytes are cut.
//!
//! Input: start, how many operations, three bytes for each (what; where; how long), then the wire.

use h2trace_core::event::Boundary;
use h2trace_core::frame::head::frame_type;
use h2trace_core::frame::{DataPiece, Fault, Field, Frame, FrameReader, Start, Step, Violation};
use h2trace_core::limits;
use tracer_tests::conversation::Random;

use crate::{bounded, seed};

/// What happens at a place of the wire.
#[derive(Clone, Copy, Debug)]
struct WireOperation {
    what: u8,
    at: usize,
    len: usize,
}

/// Operations on the wire, as input.
pub fn encode(start: u8, operations: &[(u8, u8, u8)], wire: &[u8]) -> Vec<u8> {
    let mut input = vec![start, operations.len() as u8];
    for (what, at, len) in operations {
        input.extend([*what, *at, *len]);
    }
    input.extend(wire);
    input
}

pub fn run(data: &[u8]) {
    let Some(([start, n], rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let n = usize::from(*n % 16).min(rest.len() / 3);
    let (operations, wire) = rest.split_at(3 * n);
    let mut operations: Vec<WireOperation> = operations
        .chunks_exact(3)
        .map(|bytes| WireOperation {
            what: bytes[0],
            at: usize::from(bytes[1]) * wire.len() / 255,
            len: usize::from(bytes[2]),
        })
        .collect();
    operations.sort_by_key(|operation| operation.at);
    let once = bounded(data.len(), 8 << 20, 64, || {
        read(*start, &operations, wire, || usize::MAX)
    });
    check(&once);
    let mut random = Random(seed(data));
    let most = [1, 3, 16, 300][random.below(4)];
    let cut = read(*start, &operations, wire, || 1 + random.below(most));
    assert_eq!(
        merged(once),
        merged(cut),
        "cut differently, read differently"
    );
}

/// Reads the wire, cut into pieces of `size()` bytes.
fn read(
    start: u8,
    operations: &[WireOperation],
    wire: &[u8],
    mut size: impl FnMut() -> usize,
) -> Vec<Step> {
    let start = match start % 4 {
        0 => Start::Preface,
        1 => Start::Boundary { first: true },
        2 => Start::Boundary { first: false },
        _ => Start::Unknown,
    };
    let mut reader = FrameReader::new(start);
    let mut steps = Vec::new();
    let mut at = 0;
    let end = WireOperation {
        what: 255,
        at: wire.len(),
        len: 0,
    };
    for operation in operations.iter().chain([&end]) {
        let mut piece = &wire[at.min(operation.at)..operation.at];
        at = at.max(operation.at);
        while !piece.is_empty() {
            let (now, later) = piece.split_at(size().min(piece.len()));
            reader.push(now);
            drain(&mut reader, &mut steps);
            piece = later;
        }
        let lost = operation.len.min(wire.len() - at);
        let here = Boundary::At {
            after: 0,
            frame_type: 0,
            flags: 0,
            stream_id: 0,
        };
        match operation.what % 8 {
            0 => {
                let mut left = operation.len;
                while left > 0 {
                    let now = size().min(left);
                    reader.hole(now as u32);
                    drain(&mut reader, &mut steps);
                    left -= now;
                }
                at += lost;
            }
            1 => {
                reader.gap(Some(operation.len as u64), Boundary::Unknown);
                at += lost;
            }
            2 => reader.gap(None, Boundary::Unknown),
            3 => {
                reader.gap(Some(operation.len as u64), here);
                at += lost;
            }
            4 => {
                // In the middle of a DATA frame of stream 1.
                let boundary = Boundary::At {
                    after: operation.len as u32,
                    frame_type: operation.what / 8 % 10,
                    flags: 0,
                    stream_id: 1,
                };
                reader.gap(None, boundary);
            }
            5 => {
                let mut bytes = [0; 9];
                let len = (operation.len % 9).min(wire.len() - at);
                bytes[..len].copy_from_slice(&wire[at..at + len]);
                reader.gap(
                    Some(len as u64),
                    Boundary::InHeader {
                        len: len as u8,
                        bytes,
                    },
                );
                at += len;
            }
            6 => reader.set_hpack_limit((operation.len as u32) << (operation.what / 8), 1),
            _ => reader.set_max_frame_size((operation.len as u32) << 10),
        }
        drain(&mut reader, &mut steps);
    }
    steps
}

fn drain(reader: &mut FrameReader, steps: &mut Vec<Step>) {
    steps.extend(reader.steps());
}

/// What every reader's steps must be.
fn check(steps: &[Step]) {
    let mut data: Option<(u32, u64)> = None;
    for step in steps {
        match step {
            Step::DataBegin(head) => {
                assert_ne!(head.stream_id.0, 0, "DATA on stream 0");
                data = Some((head.stream_id.0, u64::from(head.flow_len)));
            }
            Step::DataBody { stream_id, piece } => {
                let (stream, left) = data.as_mut().expect("DATA without its beginning");
                assert_eq!(stream_id.0, *stream);
                let len = match piece {
                    DataPiece::Bytes(bytes) => bytes.len() as u64,
                    DataPiece::Hole(len) => u64::from(*len),
                };
                assert!(len > 0, "an empty piece of DATA");
                *left = left.checked_sub(len).expect("more DATA than announced");
            }
            Step::DataEnd(head) => {
                let (stream, _) = data.take().expect("DATA ends without its beginning");
                assert_eq!(head.stream_id.0, stream);
            }
            Step::Frame { frame, .. } => check_frame(frame),
            Step::Violation(violation) => check_violation(violation),
            Step::Fault(Fault::Limit(limit)) => assert!(limit.counter().is_some()),
            _ => {}
        }
    }
}

fn check_frame(frame: &Frame) {
    match frame {
        Frame::Headers { block, .. } | Frame::PushPromise { block, .. } => {
            let kept: usize = block.fields.iter().map(Field::size).sum();
            assert!(kept <= limits::HEADER_LIST, "{kept} bytes of fields");
            assert!(kept as u64 <= block.list_size);
            let unseen = |field: &Field| field.name().is_none() || field.value().is_none();
            assert!(!block.complete || !block.fields.iter().any(unseen));
        }
        Frame::GoAway { debug, .. } => assert!(debug.len() <= limits::GOAWAY_DEBUG),
        Frame::Unknown { frame_type, .. } => assert_ne!(*frame_type, frame_type::DATA),
        _ => {}
    }
}

fn check_violation(violation: &Violation) {
    assert!(violation.connection_error || violation.stream_id.0 != 0);
}

/// Neighbouring pieces of DATA as one.
fn merged(steps: Vec<Step>) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::new();
    for step in steps {
        match (merged.last_mut(), step) {
            (
                Some(Step::DataBody {
                    piece: DataPiece::Bytes(before),
                    ..
                }),
                Step::DataBody {
                    piece: DataPiece::Bytes(after),
                    ..
                },
            ) => *before = [&before[..], &after].concat().into(),
            (
                Some(Step::DataBody {
                    piece: DataPiece::Hole(before),
                    ..
                }),
                Step::DataBody {
                    piece: DataPiece::Hole(after),
                    ..
                },
            ) => *before += after,
            (_, step) => merged.push(step),
        }
    }
    merged
}
