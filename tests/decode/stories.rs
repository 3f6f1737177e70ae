//! Stories: header blocks one after another, with one dynamic table, and the fields they mean. Some stand in
//! RFC 7541; the others are made at set-up, by encoders that know nothing of this decoder, from the lists in `fields`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use tracer_ebpf::http2::frame_type;
use tracer_tests::require;

use super::reader::hpack::{Decoder, Error};
use super::reader::{Field, Frame, FrameReader, Start, Step};
use super::representations::{self, Counts, Form, Sizes};
use super::{Made, fields, frame, json, made, octets};

/// Encoders, each with how many lists it encodes: h2 sends requests alone.
const ENCODERS: [(&str, usize); 8] = [
    ("go", 46),
    ("h2", 17),
    ("httlib-hpack", 46),
    ("netty-huffman", 46),
    ("netty-plain", 46),
    ("nghttp2", 46),
    ("python-huffman", 46),
    ("python-plain", 46),
];

/// What the made stories are made of, and how often at least: so that what is tested does not shrink unseen.
const KINDS: [(&str, usize); 29] = [
    ("Indexed, static table", 10_000),
    ("Indexed, dynamic table", 16_000),
    ("Inserted, static table", 15_000),
    ("Inserted, dynamic table", 23_000),
    ("Inserted, new name", 30_000),
    ("NotIndexed, static table", 7_000),
    ("NotIndexed, dynamic table", 700),
    ("NotIndexed, new name", 13_000),
    ("NeverIndexed, static table", 4_000),
    ("NeverIndexed, dynamic table", 1_000),
    ("NeverIndexed, new name", 4_500),
    ("size update", 400),
    ("size updates in a row", 60),
    ("name Huffman", 27_000),
    ("name plain", 20_000),
    ("value Huffman", 50_000),
    ("value plain", 40_000),
    ("value empty", 1_500),
    // Octets that an integer takes (RFC 7541 section 5.1).
    ("index of 1", 90_000),
    ("index of 2", 30_000),
    ("index of 3", 900),
    ("length of 1", 140_000),
    ("length of 2", 1_000),
    ("length of 3", 1_300),
    ("length of 4", 150),
    ("size of 1", 140),
    ("size of 2", 80),
    ("size of 3", 200),
    ("size of 4", 100),
];

/// Payload of the frames that stories are read from: the most that any receiver takes (RFC 9113 section 4.2).
const FRAME: usize = 16_384;

struct Story {
    name: String,
    cases: Vec<BlockCase>,
}

struct BlockCase {
    /// The sizes of the table that the receiver announced before.
    tables: Vec<u32>,
    wire: Vec<u8>,
    fields: Vec<fields::Field>,
}

/// The examples of RFC 7541.
fn of_the_rfc() -> Vec<Story> {
    let json = json(Path::new("written/rfc7541.json"));
    let list = |value: &serde_json::Value| value.as_array().unwrap().clone();
    let bytes = |value: &serde_json::Value| value.as_str().unwrap().as_bytes().to_vec();
    let case = |block: &serde_json::Value| BlockCase {
        tables: Vec::new(),
        wire: octets(block["wire"].as_str().unwrap()),
        fields: list(&block["fields"])
            .iter()
            .map(|field| fields::Field {
                name: bytes(&field[0]),
                value: bytes(&field[1]),
                secret: field[2] == "never indexed",
            })
            .collect(),
    };
    let story = |story: &serde_json::Value| {
        let mut cases: Vec<BlockCase> = list(&story["blocks"]).iter().map(case).collect();
        let table = story["table"]
            .as_u64()
            .map(|size| u32::try_from(size).unwrap());
        cases[0].tables.extend(table);
        Story {
            name: format!("RFC 7541 {}", story["section"]),
            cases,
        }
    };
    list(&json["stories"]).iter().map(story).collect()
}

/// The stories that other encoders made.
fn of_others() -> &'static [Story] {
    static STORIES: OnceLock<Vec<Story>> = OnceLock::new();
    STORIES.get_or_init(|| {
        let folder = made();
        let mut stories = Vec::new();
        for list in fields::lists() {
            let file = format!("{}.txt", list.name);
            let given = fs::read_to_string(folder.join("lists").join(&file)).unwrap_or_default();
            assert!(
                given == fields::text(&list),
                "the stories are of other field lists than {}; `cargo xtask setup --only stories` makes them anew",
                list.name
            );
            for (encoder, _) in ENCODERS {
                let path = folder.join("stories").join(encoder).join(&file);
                if let Ok(blocks) = fs::read_to_string(path) {
                    let name = format!("{encoder}/{}", list.name);
                    stories.push(story(name, &list, &blocks));
                }
            }
        }
        stories
    })
}

fn story(name: String, list: &fields::List, blocks: &str) -> Story {
    let wires: Vec<Vec<u8>> = blocks.lines().map(octets).collect();
    assert_eq!(wires.len(), list.blocks.len(), "{name}");
    let cases = list.blocks.iter().zip(wires);
    let cases = cases
        .map(|(block, wire)| BlockCase {
            tables: block.tables.clone(),
            wire,
            fields: block.fields.clone(),
        })
        .collect();
    Story { name, cases }
}

fn same(ours: &[Field], theirs: &[fields::Field]) -> bool {
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(ours, theirs)| {
            ours.name() == Some(&theirs.name[..]) && ours.value() == Some(&theirs.value[..])
        })
}

/// A part that was decoded is the true one. Says whether it was decoded at all.
fn is_seen(part: Option<&[u8]>, truth: &[u8], at: &dyn Fn() -> String) -> bool {
    if let Some(part) = part {
        assert_eq!(part, truth, "{}", at());
    }
    part.is_some()
}

/// What a field counts in a header list and in the table.
fn size(field: &fields::Field) -> usize {
    field.name.len() + field.value.len() + fields::ENTRY_OVERHEAD
}

fn decode_whole(stories: &[Story]) {
    for Story { name, cases } in stories {
        let mut decoder = Decoder::new(true);
        for (i, case) in cases.iter().enumerate() {
            for &size in &case.tables {
                decoder.set_limit(size);
            }
            let decoded = decoder.decode(&case.wire, false);
            assert_eq!(decoded.error, None, "{name} case {i}");
            assert!(decoded.block.complete, "{name} case {i}");
            let (ours, theirs) = (&decoded.block.fields, &case.fields);
            assert!(same(ours, theirs), "{name} case {i}: {ours:?}");
            let list_size: usize = theirs.iter().map(size).sum();
            assert_eq!(decoded.block.list_size, list_size as u64, "{name} case {i}");
        }
    }
}

#[test]
fn the_examples_of_the_rfc_are_decoded() {
    decode_whole(&of_the_rfc());
}

#[test]
fn every_made_story_is_decoded() {
    require!(Made);
    decode_whole(of_others());
}

#[test]
fn each_encoder_made_as_many_stories_as_it_should() {
    require!(Made);
    let mut counts = BTreeMap::new();
    for story in of_others() {
        let (encoder, _) = story.name.split_once('/').unwrap();
        *counts.entry(encoder).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from(ENCODERS));
}

#[test]
fn the_made_stories_have_every_kind_of_representation() {
    require!(Made);
    let mut counts = Counts::new();
    for case in of_others().iter().flat_map(|story| &story.cases) {
        representations::parts(&case.wire, &mut counts);
    }
    let list: Vec<String> = counts
        .iter()
        .map(|(what, n)| format!("{what}: {n}"))
        .collect();
    println!("{}", list.join("\n"));
    for (what, least) in KINDS {
        let n = counts.get(what).copied().unwrap_or(0);
        assert!(n >= least, "{what}: {n}, not {least}");
    }
}

/// Sensitive fields are never inserted, and what is said of a field is what its octets say.
fn never_indexed(stories: &[Story]) -> usize {
    let mut n_never = 0;
    for Story { name, cases } in stories {
        let mut decoder = Decoder::new(true);
        for (i, case) in cases.iter().enumerate() {
            for &size in &case.tables {
                decoder.set_limit(size);
            }
            let decoded = decoder.decode(&case.wire, false);
            let decoded = &decoded.block.fields;
            let forms = representations::parts(&case.wire, &mut Counts::new()).forms;
            assert_eq!(forms.len(), case.fields.len(), "{name} case {i}");
            for ((ours, theirs), form) in decoded.iter().zip(&case.fields).zip(forms) {
                let is_never = form == Form::NeverIndexed;
                assert_eq!(ours.never_indexed, is_never, "{name} case {i}: {ours:?}");
                assert!(
                    !theirs.secret || is_never || form == Form::Indexed,
                    "{name} case {i}: {form:?} of {ours:?}"
                );
                n_never += usize::from(is_never);
            }
        }
    }
    n_never
}

#[test]
fn never_indexed_fields_are_told() {
    require!(Made);
    assert_eq!(never_indexed(&of_the_rfc()), 1);
    assert!(never_indexed(of_others()) > 1_000);
}

/// The index of the oldest entry resolves, and the next one is an error: nothing is kept that was evicted, which
/// valid blocks cannot show.
#[test]
fn what_does_not_fit_the_table_is_gone() {
    require!(Made);
    let mut n_probes = 0;
    let is_about_sizes =
        |story: &&Story| story.name.contains("/sizes") || story.name.contains("/brim");
    for Story { name, cases } in of_others().iter().filter(is_about_sizes) {
        let mut sizes = Sizes::new(fields::DEFAULT_TABLE as usize);
        for (i, case) in cases.iter().enumerate() {
            sizes.block(&case.wire, case.fields.iter().map(size));
            let last = sizes.last_index();
            for (index, error) in [(last, None), (last + 1, Some(Error::Index))] {
                let mut decoder = Decoder::new(true);
                for case in &cases[..=i] {
                    for &size in &case.tables {
                        decoder.set_limit(size);
                    }
                    decoder.decode(&case.wire, false);
                }
                let probe = representations::indexed(index);
                let decoded = decoder.decode(&probe, false);
                assert_eq!(decoded.error, error, "{name} case {i} index {index}");
                n_probes += 1;
            }
        }
    }
    assert!(n_probes > 2_000, "{n_probes}");
}

/// A block in frames: cut at `at`, and where a frame is full.
fn in_frames(wire: &[u8], at: usize) -> Vec<Vec<u8>> {
    let (first, second) = wire.split_at(at);
    let (first, rest) = first.split_at(first.len().min(FRAME));
    let continued: Vec<&[u8]> = rest.chunks(FRAME).chain(second.chunks(FRAME)).collect();
    let mut frames = vec![frame(frame_type::HEADERS, 0x1, 1, first)];
    for (i, part) in continued.iter().enumerate() {
        let flags = if i + 1 == continued.len() { 0x4 } else { 0 };
        frames.push(frame(frame_type::CONTINUATION, flags, 1, part));
    }
    frames
}

fn read_from_frames(stories: &[Story]) {
    for Story { name, cases } in stories {
        let mut reader = FrameReader::new(Start::Boundary { first: true });
        reader.push(&frame(frame_type::SETTINGS, 0, 0, &[]));
        let begun = reader.steps();
        let [Step::Frame { frame: begun, .. }] = &begun[..] else {
            panic!("{name}: {begun:?}");
        };
        assert_eq!(*begun, Frame::Settings(Vec::new()));
        for (i, case) in cases.iter().enumerate() {
            for &size in &case.tables {
                reader.set_hpack_limit(size, 1);
            }
            let frames = in_frames(&case.wire, case.wire.len() * i / cases.len());
            for frame in &frames {
                reader.push(frame);
            }
            let steps = reader.steps();
            let [Step::Frame { frame, .. }] = &steps[..] else {
                panic!("{name} case {i}: {steps:?}");
            };
            let Frame::Headers {
                end_stream, block, ..
            } = frame
            else {
                panic!("{name} case {i}: {frame:?}");
            };
            assert!(*end_stream && block.complete, "{name} case {i}");
            assert_eq!(block.n_frames as usize, frames.len(), "{name} case {i}");
            assert!(
                same(&block.fields, &case.fields),
                "{name} case {i}: {block:?}"
            );
        }
    }
}

#[test]
fn stories_are_read_from_frames_whose_blocks_are_cut_anywhere() {
    require!(Made);
    read_from_frames(&of_the_rfc());
    read_from_frames(of_others());
}

/// Who attaches later sees what was inserted since, and says None, never something else, for the rest.
#[test]
fn a_late_attach_at_any_block_resolves_only_what_is_true() {
    require!(Made);
    let (mut n_seen, mut n_unseen) = (0u64, 0u64);
    for Story { name, cases } in of_others() {
        for attach in 0..cases.len() {
            let mut decoder = Decoder::new(false);
            // The blocks that follow soon tell it all, and keep the test short.
            for (i, case) in cases.iter().enumerate().skip(attach).take(12) {
                let at = || format!("{name} attach {attach} case {i}");
                let decoded = decoder.decode(&case.wire, false);
                assert_eq!(decoded.error, None, "{}", at());
                let ours = &decoded.block.fields;
                assert_eq!(ours.len(), case.fields.len(), "{}", at());
                let unseen_before = n_unseen;
                for (ours, theirs) in ours.iter().zip(&case.fields) {
                    let name = is_seen(ours.name(), &theirs.name, &at);
                    let value = is_seen(ours.value(), &theirs.value, &at);
                    n_seen += u64::from(name) + u64::from(value);
                    n_unseen += u64::from(!name) + u64::from(!value);
                }
                let complete = n_unseen == unseen_before;
                assert_eq!(decoded.block.complete, complete, "{}", at());
            }
        }
    }
    // Most of it resolves, since encoders prefer what they inserted lately.
    assert!(n_seen > 4 * n_unseen, "{n_seen} against {n_unseen}");
    println!("late attach: {n_seen} parts seen, {n_unseen} unseen");
}

/// A lost block leaves nothing wrong behind either.
#[test]
fn after_a_lost_block_only_what_is_true_resolves() {
    require!(Made);
    for Story { name, cases } in of_others() {
        for lost in (0..cases.len()).step_by(cases.len() / 8 + 1) {
            let mut decoder = Decoder::new(true);
            for (i, case) in cases.iter().enumerate() {
                for &size in &case.tables {
                    decoder.set_limit(size);
                }
                if i == lost {
                    // Half of it was captured.
                    decoder.decode(&case.wire[..case.wire.len() / 2], true);
                    continue;
                }
                let at = || format!("{name} lost {lost} case {i}");
                let decoded = decoder.decode(&case.wire, false);
                assert_eq!(decoded.error, None, "{}", at());
                assert_eq!(decoded.block.fields.len(), case.fields.len(), "{}", at());
                for (ours, theirs) in decoded.block.fields.iter().zip(&case.fields) {
                    is_seen(ours.name(), &theirs.name, &at);
                    is_seen(ours.value(), &theirs.value, &at);
                }
                assert!(i > lost || decoded.block.complete, "{}", at());
            }
        }
    }
}
