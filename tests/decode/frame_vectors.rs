//! http2-frame-test-case: one frame a file, and the error that each bad one must raise.

use h2trace_core::frame::head::DEFAULT_MAX_FRAME_SIZE;
use h2trace_core::frame::{DataPiece, Frame, FrameReader, Start, Step};
use serde_json::Value;

use super::{frame, hex, json_files, vectors};

/// Reads one frame on a connection whose direction began properly.
fn read(wire: &[u8], before: &[u8]) -> Vec<Step> {
    let mut reader = FrameReader::new(Start::Boundary { first: true });
    reader.set_max_frame_size(DEFAULT_MAX_FRAME_SIZE);
    reader.push(&frame(4, 0, 0, &[]));
    reader.push(before);
    while reader.poll().is_some() {}
    reader.push(wire);
    std::iter::from_fn(|| reader.poll()).collect()
}

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap().try_into().unwrap()
}

#[test]
fn every_bad_frame_raises_the_error_that_the_vector_names() {
    let Some(folder) = vectors("http2-frame-test-case/error") else {
        return;
    };
    let files = json_files(&folder);
    assert!(files.len() >= 22, "only {} files", files.len());
    for (name, json) in files {
        let allowed: Vec<u32> = json["error"]
            .as_array()
            .unwrap()
            .iter()
            .map(number)
            .collect();
        let steps = read(&hex(&json["wire"]), &[]);
        let raised: Vec<u32> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Violation(violation) => Some(violation.code.0),
                _ => None,
            })
            .collect();
        assert!(
            raised.first().is_some_and(|code| allowed.contains(code)),
            "{name}: {steps:?}"
        );
    }
}

#[test]
fn every_good_frame_is_read_as_the_vector_says() {
    let Some(folder) = vectors("http2-frame-test-case") else {
        return;
    };
    let mut n_frames = 0;
    for (name, json) in json_files(&folder) {
        let want = &json["frame"];
        if want.is_null() {
            continue;
        }
        n_frames += 1;
        let stream_id = number(&want["stream_identifier"]);
        let frame_type = number(&want["type"]);
        // A CONTINUATION alone would be an error; the vectors' END_HEADERS flag is not set.
        let before = if frame_type == 9 {
            frame(1, 0, stream_id, &[])
        } else {
            Vec::new()
        };
        let mut wire = hex(&json["wire"]);
        if matches!(frame_type, 1 | 5) {
            // Their fragments are no HPACK: cut them down to what is; framing is what is tested here.
            blank_fragment(&mut wire, want);
        }
        let steps = read(&wire, &before);
        if frame_type == 9 {
            assert_eq!(steps, [], "{name}: the block goes on");
            continue;
        }
        if frame_type == 0 {
            check_data(&name, want, &steps);
            continue;
        }
        let [Step::Frame { len, flags, frame }] = &steps[..] else {
            panic!("{name}: {steps:?}")
        };
        assert_eq!(
            (*len, u32::from(*flags)),
            (number(&want["length"]), number(&want["flags"])),
            "{name}"
        );
        check_frame(&name, stream_id, &want["frame_payload"], frame);
    }
    assert!(n_frames >= 12, "only {n_frames} frames");
}

/// Replaces the header block fragment, which the vectors fill with text, by indexed fields.
fn blank_fragment(wire: &mut [u8], want: &Value) {
    let fragment = want["frame_payload"]["header_block_fragment"]
        .as_str()
        .unwrap()
        .as_bytes();
    let at = wire
        .windows(fragment.len())
        .position(|window| window == fragment)
        .unwrap();
    wire[at..at + fragment.len()].fill(0x82);
}

fn check_data(name: &str, want: &Value, steps: &[Step]) {
    let [
        Step::DataBegin(head),
        Step::DataBody {
            piece: DataPiece::Bytes(data),
            ..
        },
        Step::DataEnd(end),
    ] = steps
    else {
        panic!("{name}: {steps:?}");
    };
    assert_eq!(head, end, "{name}");
    assert_eq!(head.flow_len, number(&want["length"]), "{name}");
    assert_eq!(
        head.stream_id.0,
        number(&want["stream_identifier"]),
        "{name}"
    );
    assert_eq!(
        data,
        want["frame_payload"]["data"].as_str().unwrap(),
        "{name}"
    );
}

fn check_frame(name: &str, stream: u32, want: &Value, frame: &Frame) {
    match frame {
        Frame::Headers {
            stream_id,
            priority,
            block,
            ..
        } => {
            assert_eq!(stream_id.0, stream, "{name}");
            let fragment = want["header_block_fragment"].as_str().unwrap();
            assert_eq!(block.fields.len(), fragment.len(), "{name}");
            assert!(block.complete, "{name}");
            match priority {
                None => assert!(want["stream_dependency"].is_null(), "{name}"),
                Some(priority) => {
                    assert_eq!(
                        priority.depends_on.0,
                        number(&want["stream_dependency"]),
                        "{name}"
                    );
                    // The vectors count the weight from 1.
                    assert_eq!(
                        u32::from(priority.weight) + 1,
                        number(&want["weight"]),
                        "{name}"
                    );
                    assert_eq!(
                        Some(priority.exclusive),
                        want["exclusive"].as_bool(),
                        "{name}"
                    );
                }
            }
        }
        Frame::Priority {
            stream_id,
            priority,
        } => {
            assert_eq!(stream_id.0, stream, "{name}");
            assert_eq!(
                priority.depends_on.0,
                number(&want["stream_dependency"]),
                "{name}"
            );
            assert_eq!(
                u32::from(priority.weight) + 1,
                number(&want["weight"]),
                "{name}"
            );
            assert_eq!(
                Some(priority.exclusive),
                want["exclusive"].as_bool(),
                "{name}"
            );
        }
        Frame::RstStream { stream_id, code } => {
            assert_eq!(
                (stream_id.0, code.0),
                (stream, number(&want["error_code"])),
                "{name}"
            );
        }
        Frame::Settings(list) => {
            let wanted: Vec<(u16, u32)> = want["settings"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (number(&pair[0]).try_into().unwrap(), number(&pair[1])))
                .collect();
            assert_eq!(*list, wanted, "{name}");
        }
        Frame::PushPromise {
            stream_id,
            promised,
            ..
        } => {
            let wanted = (stream, number(&want["promised_stream_id"]));
            assert_eq!((stream_id.0, promised.0), wanted, "{name}");
        }
        Frame::Ping { data, .. } => {
            assert_eq!(
                &data[..],
                want["opaque_data"].as_str().unwrap().as_bytes(),
                "{name}"
            );
        }
        Frame::GoAway {
            last_stream_id,
            code,
            debug,
        } => {
            assert_eq!(last_stream_id.0, number(&want["last_stream_id"]), "{name}");
            assert_eq!(code.0, number(&want["error_code"]), "{name}");
            assert_eq!(
                debug,
                want["additional_debug_data"].as_str().unwrap(),
                "{name}"
            );
        }
        Frame::WindowUpdate {
            stream_id,
            increment,
        } => {
            let wanted = (stream, number(&want["window_size_increment"]));
            assert_eq!((stream_id.0, *increment), wanted, "{name}");
        }
        Frame::SettingsAck | Frame::PriorityUpdate { .. } | Frame::Unknown { .. } => {
            panic!("{name}: {frame:?}");
        }
    }
}
