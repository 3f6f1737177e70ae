//! Frames of PyPI's hyperframe, made at set-up, and frames that break the rules, written by hand.

use std::path::Path;

use serde_json::{Value, json};
use tracer_ebpf::http2::frame_type;
use tracer_tests::require;

use super::limits;
use super::reader::head::DEFAULT_MAX_FRAME_SIZE;
use super::reader::{
    DataHead, DataPiece, Field, Frame, FrameReader, HeaderBlock, Priority, Start, Step,
};
use super::{Made, frame, made, octets};

/// The types that hyperframe's cases must have, and how many of each at least.
const TYPES: [(&str, usize); 12] = [
    ("DATA", 80),
    ("HEADERS", 1_400),
    ("PRIORITY", 100),
    ("RST_STREAM", 20),
    ("SETTINGS", 6),
    ("PUSH_PROMISE", 90),
    ("PING", 8),
    ("GOAWAY", 150),
    ("WINDOW_UPDATE", 30),
    ("PRIORITY_UPDATE", 1),
    ("UNKNOWN", 14),
    ("CONTINUATION", 1_000),
];

/// A connection's direction that began properly.
fn reader() -> FrameReader {
    let mut reader = FrameReader::new(Start::Boundary { first: true });
    reader.set_max_frame_size(DEFAULT_MAX_FRAME_SIZE);
    reader.push(&frame(frame_type::SETTINGS, 0, 0, &[]));
    drop(reader.steps());
    reader
}

fn hex(bytes: &[u8]) -> String {
    super::fields::hex(bytes)
}

fn fields(list: &[Field]) -> Vec<[String; 2]> {
    let text = |part: Option<&[u8]>| String::from_utf8(part.unwrap().to_vec()).unwrap();
    list.iter()
        .map(|field| [text(field.name()), text(field.value())])
        .collect()
}

fn block(block: &HeaderBlock) -> Value {
    assert!(block.complete);
    json!({ "fields": fields(&block.fields), "n_frames": block.n_frames })
}

fn priority(priority: &Priority) -> Value {
    json!({
        "depends_on": priority.depends_on.0,
        "stream_weight": priority.weight,
        "exclusive": priority.exclusive,
    })
}

/// A frame in the words of the cases, but for its length and flags.
fn described(frame: &Frame) -> [Value; 2] {
    match frame {
        Frame::Headers {
            stream_id,
            end_stream: _,
            priority: fields,
            block: list,
        } => {
            let mut more = block(list);
            more["priority"] = fields.as_ref().map(priority).into();
            [json!({ "frame": "HEADERS", "stream": stream_id.0 }), more]
        }
        Frame::Priority {
            stream_id,
            priority: fields,
        } => [
            json!({ "frame": "PRIORITY", "stream": stream_id.0 }),
            json!({ "priority": priority(fields) }),
        ],
        Frame::RstStream { stream_id, code } => [
            json!({ "frame": "RST_STREAM", "stream": stream_id.0 }),
            json!({ "code": code.0 }),
        ],
        Frame::Settings(list) => [
            json!({ "frame": "SETTINGS", "stream": 0 }),
            json!({ "settings": list }),
        ],
        Frame::SettingsAck => [
            json!({ "frame": "SETTINGS", "stream": 0 }),
            json!({ "settings": null }),
        ],
        Frame::PushPromise {
            stream_id,
            promised,
            block: list,
        } => {
            let mut more = block(list);
            more["promised"] = promised.0.into();
            [
                json!({ "frame": "PUSH_PROMISE", "stream": stream_id.0 }),
                more,
            ]
        }
        Frame::Ping { ack, data } => [
            json!({ "frame": "PING", "stream": 0 }),
            json!({ "ack": ack, "data": hex(data) }),
        ],
        Frame::GoAway {
            last_stream_id,
            code,
            debug,
        } => [
            json!({ "frame": "GOAWAY", "stream": 0 }),
            json!({ "last_stream": last_stream_id.0, "code": code.0, "debug": hex(debug) }),
        ],
        Frame::WindowUpdate {
            stream_id,
            increment,
        } => [
            json!({ "frame": "WINDOW_UPDATE", "stream": stream_id.0 }),
            json!({ "increment": increment }),
        ],
        Frame::PriorityUpdate { stream_id } => [
            json!({ "frame": "PRIORITY_UPDATE", "stream": 0 }),
            json!({ "prioritized": stream_id.0 }),
        ],
        Frame::Unknown {
            frame_type,
            stream_id,
            len: _,
        } => [
            json!({ "frame": "UNKNOWN", "stream": stream_id.0 }),
            json!({ "type": frame_type }),
        ],
    }
}

/// What a reader handed on, in the words of the cases: DATA put together again.
fn frames(reader: &mut FrameReader) -> Vec<Value> {
    let mut frames = Vec::new();
    let mut open: Option<(DataHead, Vec<u8>)> = None;
    for step in reader.steps() {
        match step {
            Step::Frame { len, flags, frame } => {
                let [mut whole, more] = described(&frame);
                let more = more.as_object().unwrap().clone();
                whole.as_object_mut().unwrap().extend(more);
                whole["length"] = len.into();
                whole["flags"] = flags.into();
                frames.push(whole);
            }
            Step::DataBegin(head) => assert_eq!(open.replace((head, Vec::new())), None),
            Step::DataBody {
                stream_id,
                piece: DataPiece::Bytes(bytes),
            } => {
                let (head, data) = open.as_mut().unwrap();
                assert_eq!(head.stream_id, stream_id);
                data.extend(bytes);
            }
            Step::DataEnd(end) => {
                let (head, data) = open.take().unwrap();
                assert_eq!(head, end);
                frames.push(json!({
                    "frame": "DATA",
                    "stream": head.stream_id.0,
                    "length": head.flow_len,
                    "end_stream": head.end_stream,
                    "padded": head.padded,
                    "data": hex(&data),
                }));
            }
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(open, None);
    frames
}

struct FrameCase {
    what: String,
    wire: Vec<u8>,
    frames: Vec<Value>,
}

fn cases() -> Vec<FrameCase> {
    let json = super::json(&made().join("frames.json"));
    let cases = json["cases"].as_array().unwrap().iter();
    cases
        .map(|case| {
            let mut frames = case["frames"].as_array().unwrap().clone();
            for frame in &mut frames {
                // Of the debug data a reader keeps the beginning.
                if let Some(debug) = frame["debug"].as_str() {
                    frame["debug"] = debug[..debug.len().min(2 * limits::GOAWAY_DEBUG)].into();
                }
            }
            FrameCase {
                what: case["what"].as_str().unwrap().to_owned(),
                wire: octets(case["wire"].as_str().unwrap()),
                frames,
            }
        })
        .collect()
}

#[test]
fn every_made_frame_is_read_whole_and_octet_by_octet() {
    require!(Made);
    for FrameCase {
        what,
        wire,
        frames: want,
    } in cases()
    {
        let mut whole = reader();
        whole.push(&wire);
        assert_eq!(frames(&mut whole), want, "{what}");
        let mut slow = reader();
        for octet in wire {
            slow.push(&[octet]);
        }
        assert_eq!(frames(&mut slow), want, "{what}, octet by octet");
    }
}

#[test]
fn all_made_frames_are_read_one_after_another() {
    require!(Made);
    let cases = cases();
    let mut reader = reader();
    let all = cases
        .iter()
        .map(|case| case.wire.as_slice())
        .collect::<Vec<_>>()
        .concat();
    // Pieces that have nothing to do with where frames begin.
    for piece in all.chunks(1_009) {
        reader.push(piece);
    }
    let want: Vec<Value> = cases.into_iter().flat_map(|case| case.frames).collect();
    let read = frames(&mut reader);
    assert_eq!(read.len(), want.len());
    for (read, want) in read.iter().zip(&want) {
        assert_eq!(read, want);
    }
}

#[test]
fn the_made_frames_are_of_every_type_and_flag() {
    require!(Made);
    let frames: Vec<Value> = cases().into_iter().flat_map(|case| case.frames).collect();
    let continued = |frame: &Value| frame["n_frames"].as_u64().unwrap_or(1) - 1;
    for (name, least) in TYPES {
        let n = match name {
            "CONTINUATION" => frames.iter().map(continued).sum::<u64>() as usize,
            _ => frames.iter().filter(|frame| frame["frame"] == name).count(),
        };
        assert!(n >= least, "{name}: {n}, not {least}");
    }
    for (name, flags) in [
        ("HEADERS", &[0x1, 0x4, 0x8, 0x20][..]),
        ("PUSH_PROMISE", &[0x4, 0x8]),
        ("SETTINGS", &[0x1]),
        ("PING", &[0x1]),
    ] {
        for flag in flags {
            let of = |set: bool| {
                frames.iter().any(|frame| {
                    let is_set = frame["flags"].as_u64().unwrap_or(0) & flag != 0;
                    frame["frame"] == name && is_set == set
                })
            };
            assert!(of(true) && of(false), "{name} with and without {flag:#x}");
        }
    }
    for key in ["end_stream", "padded"] {
        for set in [true, false] {
            assert!(
                frames.iter().any(|frame| frame[key] == set),
                "DATA, {key} {set}"
            );
        }
    }
}

/// The first rule that is broken: its code, and whether it is the connection's.
fn violation(before: &[u8], wire: &[u8]) -> Option<(u32, bool)> {
    let mut reader = reader();
    reader.push(before);
    for step in reader.steps() {
        let is_well = !matches!(step, Step::Violation(_) | Step::Fault(_));
        assert!(is_well, "{step:?}");
    }
    reader.push(wire);
    let mut violation = None;
    for step in reader.steps() {
        match step {
            Step::Violation(broken) if violation.is_none() => {
                violation = Some((broken.code.0, broken.connection_error));
            }
            Step::Fault(fault) => panic!("{fault:?}"),
            _ => {}
        }
    }
    violation
}

#[test]
fn each_bad_frame_raises_the_error_that_its_section_names_and_its_neighbour_none() {
    let json = super::json(Path::new("written/bad-frames.json"));
    let cases = json["cases"].as_array().unwrap();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    for case in cases {
        let name = format!("RFC {}: {}", case["section"], case["what"]);
        let with_zeros = |key: &str, i: usize| {
            let mut wire = octets(case[key].as_str().unwrap());
            let zeros = case["zeros"][i].as_u64().unwrap_or(0);
            wire.resize(wire.len() + zeros as usize, 0);
            wire
        };
        let before = octets(case["before"].as_str().unwrap_or_default());
        let raised = violation(&before, &with_zeros("wire", 0));
        let code = case["error"].as_u64().unwrap() as u32;
        assert_eq!(raised, Some((code, case["of"] == "connection")), "{name}");
        assert_eq!(
            violation(&before, &with_zeros("good", 1)),
            None,
            "{name}: its neighbour"
        );
    }
}
