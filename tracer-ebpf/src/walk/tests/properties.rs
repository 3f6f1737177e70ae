//! Whatever way the bytes come, the records are the same; whatever is missing, no frame is made up.

use proptest::prelude::*;

use super::*;
use crate::http2::PREFACE;

/// Bodies of 0xee are no gRPC; those of 1 are, whatever their length: messages that never end.
const NO_MESSAGES: u8 = 0xee;
pub(super) const MESSAGES: u8 = 1;

/// Frames that break no rule. No payload holds what may be taken for a frame header.
pub(super) fn any_frames(body: u8) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let stream = || (0u32..8).prop_map(|n| 2 * n + 1);
    let data = (
        stream(),
        prop::option::of(0u8..40),
        0usize..400,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(move |(stream, pad, len, grpc, end)| {
            let mut payload: Vec<u8> = pad.into_iter().collect();
            if grpc {
                // A message that may be shorter or longer than its frame.
                payload.extend([0, 0, 0, 0, len as u8]);
            }
            payload.extend(std::iter::repeat_n(
                body,
                len + usize::from(pad.unwrap_or(0)),
            ));
            let padded = if pad.is_some() { flag::PADDED } else { 0 };
            let end = if end { flag::END_STREAM } else { 0 };
            frame(frame_type::DATA, padded | end, stream, &payload)
        });
    let headers = (stream(), 1usize..300, any::<bool>()).prop_map(|(stream, len, end)| {
        let end = if end { flag::END_STREAM } else { 0 };
        // Entry 6 of the static table, over and over.
        frame(
            frame_type::HEADERS,
            flag::END_HEADERS | end,
            stream,
            &vec![0x86; len],
        )
    });
    let other = prop_oneof![
        stream().prop_map(|id| frame(frame_type::RST_STREAM, 0, id, &[0xee; 4])),
        stream().prop_map(|id| frame(frame_type::WINDOW_UPDATE, 0, id, &[0x6e; 4])),
        Just(frame(frame_type::SETTINGS, flag::ACK, 0, &[])),
        Just(frame(frame_type::PING, 0, 0, &[0xee; 8])),
        Just(frame(frame_type::GOAWAY, 0, 0, &[0x6e; 20])),
    ];
    prop::collection::vec(prop_oneof![3 => data, 2 => headers, 2 => other], 1..14)
}

/// The bytes of a client, and where its frames begin.
fn wire(frames: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = PREFACE.to_vec();
    let mut begins = Vec::new();
    for frame in std::iter::once(&settings()).chain(frames) {
        begins.push(bytes.len());
        bytes.extend(frame);
    }
    begins.push(bytes.len());
    (bytes, begins)
}

fn any_cuts() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((1usize..60, 1usize..30), 1..20)
}

/// Calls of these lengths, each in buffers of that length, as long as there are bytes.
fn in_calls(walked: &mut Walked, mut bytes: &[u8], cuts: &[(usize, usize)]) {
    for (call, buffer) in cuts.iter().cycle() {
        if bytes.is_empty() {
            return;
        }
        let (now, later) = bytes.split_at((*call).min(bytes.len()));
        let buffers: Vec<_> = now.chunks(*buffer).collect();
        walked.call(&buffers);
        bytes = later;
    }
}

/// A frame header holds zeros that, with bytes before or behind them, may be one of another frame.
fn is_ambiguous(begins: &[usize], at: usize) -> bool {
    begins
        .iter()
        .any(|begin| *begin != at && (begin - 8..begin + 9).contains(&at))
}

/// The rest of the frame that `from` is in, then calls of so many whole frames.
fn in_frames(walked: &mut Walked, bytes: &[u8], from: usize, begins: &[usize], together: usize) {
    let mut ends: Vec<_> = begins.iter().copied().filter(|at| *at > from).collect();
    if begins.contains(&from) {
        ends.insert(0, from);
    }
    let mut at = from;
    for end in ends
        .chunks(together)
        .map(|some| some[0])
        .chain([bytes.len()])
    {
        if end > at {
            walked.call(&[&bytes[at..end]]);
            at = end;
        }
    }
}

fn whole(bytes: &[u8]) -> Walked {
    let mut walked = Walked::from_start();
    walked.call(&[bytes]);
    walked
}

proptest! {
    #[test]
    fn any_calls_give_the_same_records(frames in any_frames(MESSAGES), cuts in any_cuts()) {
        let (bytes, begins) = wire(&frames);
        let want = whole(&bytes).told();
        prop_assert_eq!(want.len(), bytes.len());
        let mut walked = Walked::from_start();
        in_calls(&mut walked, &bytes, &cuts);
        prop_assert_eq!(walked.told(), want);
        prop_assert_eq!(walked.socket.confidence, confidence::PREFACE);
        prop_assert!(walked.boundaries().iter().all(|at| begins.contains(at) || *at == PREFACE.len()));
    }

    #[test]
    fn user_space_reads_of_the_records_what_it_reads_of_the_bytes(
        frames in any_frames(NO_MESSAGES),
        cuts in any_cuts(),
    ) {
        let (bytes, _) = wire(&frames);
        let mut reader = FrameReader::new(Start::Preface);
        reader.push(&bytes);
        let mut walked = Walked::from_start();
        in_calls(&mut walked, &bytes, &cuts);
        prop_assert_eq!(walked.read(Start::Preface), counted(reader));
    }

    #[test]
    fn any_hole_is_survived(
        frames in any_frames(NO_MESSAGES),
        cuts in any_cuts(),
        hole in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        hooked in any::<bool>(),
        together in 1usize..4,
    ) {
        let (bytes, begins) = wire(&frames);
        let (a, b) = (hole.0.index(bytes.len() + 1), hole.1.index(bytes.len() + 1));
        let first = begins[1];
        let hole = a.min(b).max(first)..a.max(b).max(first);
        prop_assume!(!is_ambiguous(&begins, hole.end));
        let mut walked = Walked::from_start();
        in_calls(&mut walked, &bytes[..hole.start], &cuts);
        if hooked && !hole.is_empty() {
            walked.unlocated(hole.len() as u32);
        } else {
            walked.unhooked(hole.len() as u32);
        }
        in_frames(&mut walked, &bytes, hole.end, &begins, together);
        // Then a call that begins with a frame, which is found again at the latest.
        let ping = frame(frame_type::PING, flag::ACK, 0, &[0xee; 8]);
        walked.call(&[&ping]);

        for at in walked.boundaries() {
            prop_assert!(begins.contains(&at) || at == 0, "{at} of {begins:?}, without {hole:?}");
        }
        let told = walked.told();
        prop_assert_eq!(told.len(), bytes.len() + ping.len());
        let copied: Vec<_> = ping.iter().map(|byte| Some(Some(*byte))).collect();
        prop_assert_eq!(&told[bytes.len()..], copied);
        // What is copied stands where it stood.
        for (byte, told) in bytes.iter().zip(&told) {
            prop_assert!(told.flatten().is_none_or(|told| told == *byte));
        }
        // A hole within one payload costs nothing but itself.
        let within = begins.windows(2).any(|frame| {
            frame[0] + 9 <= hole.start && hole.end <= frame[1] && hole.start < frame[1]
        });
        if within || hole.is_empty() {
            for at in begins.iter().filter(|at| **at < bytes.len()) {
                prop_assert!(told[*at..*at + 9].iter().all(|told| told.flatten().is_some()));
            }
        }
    }

    #[test]
    fn a_late_attach_finds_true_frames_alone(
        frames in any_frames(NO_MESSAGES),
        from in any::<prop::sample::Index>(),
        together in 1usize..4,
    ) {
        let (bytes, begins) = wire(&frames);
        let from = begins[0] + from.index(bytes.len() - begins[0]);
        prop_assume!(!is_ambiguous(&begins, from));
        let mut walked = Walked::late();
        in_frames(&mut walked, &bytes, from, &begins, together);
        let boundaries = walked.boundaries();
        for at in &boundaries {
            prop_assert!(begins.contains(&(at + from)), "{at} behind {from} of {begins:?}");
        }
        // The first call that begins with a frame is followed, and all behind it.
        let found = begins.iter().filter(|at| **at >= from).count() > 1;
        prop_assert_eq!(!boundaries.is_empty(), found);
    }

    #[test]
    fn any_bytes_are_survived(
        calls in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 1..60),
                any_frames(NO_MESSAGES).prop_map(|frames| frames.concat()),
                any_frames(NO_MESSAGES).prop_map(|frames| wire(&frames).0),
            ],
            1..12,
        ),
        late in any::<bool>(),
        cuts in any_cuts(),
    ) {
        let mut walked = if late { Walked::late() } else { Walked::from_start() };
        for call in &calls {
            if walked.socket.verdict == verdict::OTHER {
                break;
            }
            in_calls(&mut walked, call, &cuts);
        }
        walked.told();
    }
}

/// What a record tells of these frames behind the beginning of a client: copied or not.
fn copied(frames: &[Vec<u8>]) -> (Walked, Vec<bool>) {
    let (bytes, begins) = wire(frames);
    let walked = whole(&bytes);
    let told = walked.told();
    assert_eq!(told.len(), bytes.len());
    let copied = told[begins[1]..]
        .iter()
        .map(|told| told.flatten().is_some());
    let copied = copied.collect();
    (walked, copied)
}

#[test]
fn of_a_message_over_several_frames_only_the_prefix_is_copied() {
    // 100 bytes: 20 in the first frame behind the prefix, 50 in the second, 30 in the third before the next message,
    // whose prefix goes on in the fourth.
    let first = [&[0, 0, 0, 0, 100][..], &[0xee; 20]].concat();
    let third = [&[0xee; 30][..], &[0, 0, 0]].concat();
    let fourth = [&[0, 30][..], &[0xee; 30]].concat();
    let data = |flags, payload: &[u8]| frame(frame_type::DATA, flags, 1, payload);
    let other = frame(
        frame_type::DATA,
        0,
        3,
        &[&[0, 0, 0, 0, 15][..], &[0xee; 15]].concat(),
    );
    let frames = [
        data(0, &first),
        other,
        data(0, &[0xee; 50]),
        data(0, &third),
        data(flag::END_STREAM, &fourth),
    ];
    let (walked, is) = copied(&frames);
    let parts = [(9 + 5, 20), (9 + 5, 15), (9, 50), (9, 30), (3 + 9 + 2, 30)];
    let want: Vec<bool> = parts
        .iter()
        .flat_map(|(copied, counted)| [vec![true; *copied], vec![false; *counted]].concat())
        .collect();
    assert_eq!(is, want);
    assert!(walked.world.borrow().messages.is_empty());
    assert_eq!(walked.socket.walks[0].tracked, 0);
}

#[test]
fn a_stream_that_ends_within_a_message_is_forgotten() {
    let start = [&[0, 0, 0, 0, 100][..], &[0xee; 20]].concat();
    let data = frame(frame_type::DATA, 0, 1, &start);
    for end in [
        frame(frame_type::RST_STREAM, 0, 1, &[0; 4]),
        frame(
            frame_type::HEADERS,
            flag::END_HEADERS | flag::END_STREAM,
            1,
            &[0x86],
        ),
        frame(frame_type::DATA, flag::END_STREAM, 1, &[]),
    ] {
        let (walked, _) = copied(std::slice::from_ref(&data));
        assert_eq!(walked.world.borrow().messages.len(), 1);
        let (walked, _) = copied(&[data.clone(), end]);
        assert!(walked.world.borrow().messages.is_empty());
        assert_eq!(walked.socket.walks[0].tracked, 0);
    }
}

#[test]
fn padding_is_no_message_and_no_state_of_the_stream() {
    let padded = [&[40][..], &[0, 0, 0, 0, 1, 7], &[0; 40]].concat();
    let frames = [
        frame(frame_type::DATA, flag::PADDED, 1, &padded),
        frame(
            frame_type::DATA,
            0,
            1,
            &[&[0, 0, 0, 0, 20][..], &[0xee; 20]].concat(),
        ),
    ];
    let (walked, is) = copied(&frames);
    let parts = [(9 + 1 + 5, 1 + 40), (9 + 5, 20)];
    let want: Vec<bool> = parts
        .iter()
        .flat_map(|(copied, counted)| [vec![true; *copied], vec![false; *counted]].concat())
        .collect();
    assert_eq!(is, want);
    assert!(walked.world.borrow().messages.is_empty());
}

#[test]
fn a_hole_beyond_the_frames_end_loses_the_place() {
    let data = frame(frame_type::DATA, 0, 1, &[0xee; 100]);
    for (hole, mode) in [
        (99, mode::DATA),
        (100, mode::HEADER),
        (101, mode::SEEK),
        (109, mode::SEEK),
    ] {
        let mut walked = Walked::from_start();
        walked.call(&[PREFACE, &settings(), &data[..9]]);
        walked.unhooked(hole);
        assert_eq!(walked.socket.walks[0].mode, mode, "{hole}");
    }
}

#[test]
fn a_frame_in_the_middle_of_a_call_is_found_where_the_next_one_follows() {
    let mut walked = Walked::from_start();
    walked.call(&[PREFACE, &settings()]);
    walked.unhooked(50);
    let two = [
        frame(frame_type::PING, 0, 0, &[0xee; 8]),
        frame(frame_type::PING, 1, 0, &[0xee; 8]),
    ]
    .concat();
    walked.call(&[&[&[0xee; 20][..], &two].concat()]);
    let told = walked.told();
    let from = PREFACE.len() + 9 + 50;
    assert!(told[from..from + 20].iter().all(|told| *told == Some(None)));
    let want: Vec<_> = two.iter().map(|byte| Some(Some(*byte))).collect();
    assert_eq!(told[from + 20..], want);
}
