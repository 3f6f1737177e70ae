//! Whatever way the input is cut, the steps are the same; whatever the input is, nothing breaks.

use proptest::prelude::*;

use super::*;

/// A piece of input.
#[derive(Clone, Debug)]
enum Input {
    Push(Vec<u8>),
    Hole(u32),
    Gap(Option<u64>, Boundary),
}

fn feed(reader: &mut FrameReader, input: &Input) {
    match input {
        Input::Push(bytes) => reader.push(bytes),
        Input::Hole(len) => reader.hole(*len),
        Input::Gap(lost, boundary) => reader.gap(*lost, *boundary),
    }
}

/// Frames of a connection that break no rule, as bytes; for DATA where its payload lies.
#[derive(Clone, Debug)]
struct Wire {
    bytes: Vec<u8>,
    data: Vec<std::ops::Range<usize>>,
}

fn any_frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let stream = || (0u32..50).prop_map(|n| 2 * n + 1);
    let literal = (any::<bool>(), "[a-z]{1,8}", "[ -~]{0,20}").prop_map(|(insert, name, value)| {
        let mut bytes = vec![if insert { 0x40 } else { 0x00 }, name.len() as u8];
        bytes.extend(name.bytes());
        bytes.push(value.len() as u8);
        bytes.extend(value.bytes());
        bytes
    });
    let field = prop_oneof![(1u8..=61).prop_map(|index| vec![0x80 | index]), literal];
    let block = prop::collection::vec(field, 0..6).prop_map(|fields| fields.concat());
    let headers = (
        stream(),
        block,
        any::<bool>(),
        0u8..20,
        prop::collection::vec(0usize..40, 0..3),
    )
        .prop_map(|(stream_id, block, end, pad, cuts)| {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(block.len())).collect();
            cuts.sort_unstable();
            cuts.insert(0, 0);
            cuts.push(block.len());
            let last = cuts.len() - 2;
            let mut frames = Vec::new();
            for (i, pair) in cuts.windows(2).enumerate() {
                let fragment = &block[pair[0]..pair[1]];
                let ends = if i == last { END_HEADERS } else { 0 };
                frames.extend(if i == 0 {
                    let mut payload = vec![pad];
                    payload.extend(fragment);
                    payload.extend(std::iter::repeat_n(0, usize::from(pad)));
                    let end = if end { END_STREAM } else { 0 };
                    frame(HEADERS, ends | PADDED | end, stream_id, &payload)
                } else {
                    frame(CONTINUATION, ends, stream_id, fragment)
                });
            }
            frames
        });
    let data = (
        stream(),
        prop::option::of(0u8..50),
        0usize..300,
        any::<bool>(),
    )
        .prop_map(|(stream_id, pad, len, end)| {
            let end = if end { END_STREAM } else { 0 };
            let mut payload: Vec<u8> = pad.into_iter().collect();
            payload.extend((0..len).map(|i| i as u8));
            payload.extend(std::iter::repeat_n(0, usize::from(pad.unwrap_or(0))));
            frame(
                DATA,
                end | if pad.is_some() { PADDED } else { 0 },
                stream_id,
                &payload,
            )
        });
    let other = prop_oneof![
        stream().prop_map(|s| frame(RST_STREAM, 0, s, &[0, 0, 0, 8])),
        stream().prop_map(|s| frame(WINDOW_UPDATE, 0, s, &[0, 0, 1, 0])),
        stream().prop_map(|s| frame(PRIORITY, 0, s, &[0, 0, 0, 0, 3])),
        Just(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        Just(frame(SETTINGS, ACK, 0, &[])),
        Just(frame(PING, 0, 0, b"12345678")),
        Just(frame(GOAWAY, 0, 0, b"\0\0\0\x09\0\0\0\x0bdebug data")),
        Just(frame(0x42, 1, 3, b"extension")),
    ];
    prop::collection::vec(prop_oneof![headers, data, other], 1..12)
}

fn wire(frames: &[Vec<u8>]) -> Wire {
    let mut wire = Wire {
        bytes: frame(SETTINGS, 0, 0, &[]),
        data: Vec::new(),
    };
    for bytes in frames {
        if bytes[3] == DATA {
            // The pad length must not be in a hole.
            let from = wire.bytes.len() + 9 + usize::from(bytes[4] & PADDED != 0);
            wire.data.push(from..wire.bytes.len() + bytes.len());
        }
        wire.bytes.extend(bytes);
    }
    wire
}

/// Adjacent pieces of DATA put together; with `counted`, as holes.
fn merged(steps: Vec<Step>, counted: bool) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::new();
    for step in steps {
        let step = match step {
            Step::DataBody {
                stream_id,
                piece: DataPiece::Bytes(bytes),
            } if counted => Step::DataBody {
                stream_id,
                piece: DataPiece::Hole(bytes.len() as u32),
            },
            step => step,
        };
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

fn any_boundary() -> impl Strategy<Value = Boundary> {
    prop_oneof![
        Just(Boundary::Unknown),
        (
            prop_oneof![Just(0), 0u32..100, any::<u32>()],
            0u8..12,
            any::<u8>(),
            prop_oneof![0u32..4, any::<u32>()]
        )
            .prop_map(|(after, frame_type, flags, stream_id)| at(
                after, frame_type, flags, stream_id
            )),
        (any::<u8>(), any::<[u8; 9]>()).prop_map(|(len, bytes)| Boundary::InHeader { len, bytes }),
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => any_frames().prop_map(|frames| Input::Push(frames.concat())),
        2 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Input::Push),
        1 => (0u32..40).prop_map(Input::Hole),
        1 => any::<u32>().prop_map(Input::Hole),
        1 => (prop::option::of(prop_oneof![0u64..50, any::<u64>()]), any_boundary())
            .prop_map(|(lost, boundary)| Input::Gap(lost, boundary)),
    ]
}

fn any_start() -> impl Strategy<Value = Start> {
    prop_oneof![
        Just(Start::Preface),
        any::<bool>().prop_map(|first| Start::Boundary { first }),
        Just(Start::Unknown),
    ]
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_steps(
        frames in any_frames(),
        chunks in prop::collection::vec(1usize..40, 1..20),
    ) {
        let bytes = wire(&frames).bytes;
        let mut whole = FrameReader::new(Start::Boundary { first: true });
        let want = merged(read(&mut whole, &bytes), false);
        prop_assert!(
            !want.iter().any(|step| matches!(step, Step::Fault(_) | Step::Violation(_))),
            "{want:?}"
        );

        let mut reader = FrameReader::new(Start::Boundary { first: true });
        let mut steps = Vec::new();
        let mut rest = &bytes[..];
        for len in chunks.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*len).min(rest.len()));
            steps.extend(read(&mut reader, chunk));
            rest = after;
        }
        prop_assert_eq!(merged(steps, false), want);
    }

    #[test]
    fn any_holes_within_data_give_the_same_steps(
        frames in any_frames(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 12),
    ) {
        let wire = wire(&frames);
        let mut whole = FrameReader::new(Start::Boundary { first: true });
        let want = merged(read(&mut whole, &wire.bytes), true);

        let mut reader = FrameReader::new(Start::Boundary { first: true });
        let mut pushed = 0;
        for (data, (a, b)) in wire.data.iter().zip(&cuts) {
            let (a, b) = (data.start + a.index(data.len() + 1), data.start + b.index(data.len() + 1));
            let hole = a.min(b)..a.max(b);
            reader.push(&wire.bytes[pushed..hole.start]);
            // Every other one is a loss that provably lies within DATA.
            if hole.len() % 2 == 0 {
                reader.hole(hole.len() as u32);
            } else {
                reader.gap(Some(hole.len() as u64), Boundary::Unknown);
            }
            pushed = hole.end;
        }
        reader.push(&wire.bytes[pushed..]);
        prop_assert_eq!(merged(drain(&mut reader), true), want);
    }

    #[test]
    fn any_input_is_survived_within_bounds(
        start in any_start(),
        inputs in prop::collection::vec(any_input(), 0..20),
    ) {
        let mut reader = FrameReader::new(start);
        for input in &inputs {
            feed(&mut reader, input);
            drain(&mut reader);
            prop_assert!(reader.buffer.len() <= limits::FRAME_PAYLOAD);
            let remembered = reader.search.as_ref().map_or(0, |search| search.remembered());
            prop_assert!(remembered <= 3 * limits::FRAME_PAYLOAD);
            prop_assert_eq!(reader.is_synchronised(), reader.search.is_none());
            prop_assert!(reader.is_synchronised() || reader.block.is_none());
        }
        // However bad it was, a known boundary makes whole frames readable again.
        reader.gap(None, at(0, 0, 0, 0));
        drain(&mut reader);
        reader.push(&frame(SETTINGS, ACK, 0, &[]));
        prop_assert_eq!(lines(&mut reader), ["settings ack"]);
    }

    #[test]
    fn a_late_attach_at_any_byte_finds_the_frames_and_accuses_nobody(
        frames in prop::collection::vec(any_frames(), 3),
        from in any::<prop::sample::Index>(),
    ) {
        let bytes = wire(&frames.concat()).bytes;
        let from = from.index(bytes.len());
        let mut reader = FrameReader::new(Start::Unknown);
        let steps = read(&mut reader, &bytes[from..]);
        prop_assert!(!steps.iter().any(|step| matches!(step, Step::Violation(_))), "{steps:?}");
        if let Some(Step::Resynced { skipped }) = steps.first() {
            // From there on it agrees with a reader that was told the place, until one of them notices
            // that payload was taken for frames.
            let until_doubt = |steps: &[Step]| {
                let doubt = Step::Fault(Fault::Implausible);
                merged(steps.iter().take_while(|step| **step != doubt).cloned().collect(), false)
            };
            let start = from + skipped.unwrap() as usize;
            let mut other = FrameReader::new(Start::Boundary { first: false });
            prop_assert_eq!(until_doubt(&read(&mut other, &bytes[start..])), until_doubt(&steps[1..]));
        }
    }
}

#[test]
fn random_bytes_do_not_make_a_search_grow() {
    let mut reader = FrameReader::new(Start::Unknown);
    let mut state = 1u64;
    for _ in 0..200 {
        let bytes: Vec<u8> = (0..4_096)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                // Small values, so that many places look like frame headers.
                ((state >> 33) % 3) as u8
            })
            .collect();
        reader.push(&bytes);
        drain(&mut reader);
        let remembered = reader
            .search
            .as_ref()
            .map_or(0, |search| search.remembered());
        assert!(remembered <= 3 * limits::FRAME_PAYLOAD, "{remembered}");
    }
}
