//! hpack-test-case: header blocks of other encoders, one table a story.

use h2trace_core::frame::hpack::Decoder;
use h2trace_core::frame::{Field, Frame, FrameReader, Start, Step};
use serde_json::Value;

use super::{frame, hex, json_files, vectors};

struct Case {
    wire: Vec<u8>,
    table_size: Option<u32>,
    fields: Vec<(String, String)>,
}

fn story(json: &Value) -> Vec<Case> {
    let cases = json["cases"].as_array().unwrap();
    cases
        .iter()
        .map(|case| Case {
            wire: hex(&case["wire"]),
            table_size: case["header_table_size"]
                .as_u64()
                .map(|size| size.try_into().unwrap()),
            fields: case["headers"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|field| field.as_object().unwrap())
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                .collect(),
        })
        .collect()
}

/// The stories of all encoders; empty when there are no vectors.
fn stories() -> Vec<(String, Vec<Case>)> {
    let Some(folder) = vectors("hpack-test-case") else {
        return Vec::new();
    };
    let stories: Vec<_> = json_files(&folder)
        .into_iter()
        .map(|(name, json)| (name, story(&json)))
        .collect();
    assert!(
        stories.len() >= 64,
        "only {} stories in {}",
        stories.len(),
        folder.display()
    );
    stories
}

fn text(part: Option<&[u8]>) -> Option<String> {
    part.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn whole(fields: &[Field]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|f| {
            (
                text(f.name.as_deref()).unwrap(),
                text(f.value.as_deref()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn every_story_is_decoded() {
    for (name, cases) in stories() {
        let mut decoder = Decoder::new(true);
        for (i, case) in cases.iter().enumerate() {
            if let Some(size) = case.table_size {
                decoder.set_limit(size);
            }
            let decoded = decoder.decode(&case.wire, false);
            assert_eq!(decoded.error, None, "{name} case {i}");
            assert!(decoded.block.complete, "{name} case {i}");
            assert_eq!(whole(&decoded.block.fields), case.fields, "{name} case {i}");
            let size: usize = case
                .fields
                .iter()
                .map(|(n, v)| n.len() + v.len() + 32)
                .sum();
            assert_eq!(decoded.block.list_size, size as u64, "{name} case {i}");
        }
    }
}

#[test]
fn every_story_is_read_from_frames_whose_blocks_are_cut_anywhere() {
    for (name, cases) in stories() {
        let mut reader = FrameReader::new(Start::Boundary { first: true });
        reader.push(&frame(4, 0, 0, &[]));
        assert!(matches!(
            reader.poll(),
            Some(Step::Frame {
                frame: Frame::Settings(_),
                ..
            })
        ));
        for (i, case) in cases.iter().enumerate() {
            reader.set_hpack_limit(case.table_size.unwrap_or(4_096));
            let (first, second) = case.wire.split_at(case.wire.len() * i / cases.len());
            reader.push(&frame(1, 0x1, 1, first));
            reader.push(&frame(9, 0x4, 1, second));
            let steps: Vec<Step> = std::iter::from_fn(|| reader.poll()).collect();
            let [
                Step::Frame {
                    frame:
                        Frame::Headers {
                            end_stream: true,
                            block,
                            ..
                        },
                    ..
                },
            ] = &steps[..]
            else {
                panic!("{name} case {i}: {steps:?}");
            };
            assert!(block.complete && block.n_frames == 2, "{name} case {i}");
            assert_eq!(whole(&block.fields), case.fields, "{name} case {i}");
        }
    }
}

/// Who attaches later sees what was inserted since, and says None, never something else, for the rest.
#[test]
fn a_late_attach_at_any_block_resolves_only_what_is_true() {
    let (mut n_resolved, mut n_unseen) = (0u64, 0u64);
    let stories = stories();
    for (name, cases) in &stories {
        for attach in 0..cases.len() {
            let mut decoder = Decoder::new(false);
            // The blocks that follow soon tell it all, and keep the test short.
            for (i, case) in cases.iter().enumerate().skip(attach).take(30) {
                let decoded = decoder.decode(&case.wire, false);
                assert_eq!(decoded.error, None, "{name} attach {attach} case {i}");
                let fields = &decoded.block.fields;
                assert_eq!(
                    fields.len(),
                    case.fields.len(),
                    "{name} attach {attach} case {i}"
                );
                let mut complete = true;
                for (field, (true_name, true_value)) in fields.iter().zip(&case.fields) {
                    for (part, truth) in [(&field.name, true_name), (&field.value, true_value)] {
                        match part {
                            Some(part) => {
                                assert_eq!(
                                    part,
                                    truth.as_bytes(),
                                    "{name} attach {attach} case {i}"
                                );
                                n_resolved += 1;
                            }
                            None => {
                                n_unseen += 1;
                                complete = false;
                            }
                        }
                    }
                }
                assert_eq!(
                    decoded.block.complete, complete,
                    "{name} attach {attach} case {i}"
                );
            }
        }
    }
    // Most of it resolves, since encoders prefer what they inserted lately.
    assert!(
        stories.is_empty() || n_resolved > 4 * n_unseen,
        "{n_resolved} against {n_unseen}"
    );
    println!("late attach: {n_resolved} parts resolved, {n_unseen} unseen");
}

/// A lost block leaves nothing wrong behind either.
#[test]
fn after_a_lost_block_only_what_is_true_resolves() {
    for (name, cases) in stories() {
        for lost in (0..cases.len()).step_by(cases.len() / 8 + 1) {
            let mut decoder = Decoder::new(true);
            for (i, case) in cases.iter().enumerate() {
                if let Some(size) = case.table_size {
                    decoder.set_limit(size);
                }
                if i == lost {
                    // Half of it was captured.
                    decoder.decode(&case.wire[..case.wire.len() / 2], true);
                    continue;
                }
                let decoded = decoder.decode(&case.wire, false);
                assert_eq!(decoded.error, None, "{name} lost {lost} case {i}");
                for (field, (true_name, true_value)) in
                    decoded.block.fields.iter().zip(&case.fields)
                {
                    for (part, truth) in [(&field.name, true_name), (&field.value, true_value)] {
                        let wrong = part.as_ref().is_some_and(|part| part != truth.as_bytes());
                        assert!(!wrong, "{name} lost {lost} case {i}: {field:?}");
                    }
                }
                assert!(
                    i > lost || decoded.block.complete,
                    "{name} lost {lost} case {i}"
                );
            }
        }
    }
}
