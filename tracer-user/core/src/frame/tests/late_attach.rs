use super::*;

#[test]
fn a_late_attach_never_accuses_the_peer_before_the_place_is_certain() {
    for bytes in [
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(SETTINGS, 0, 1, &[]),
        frame(DATA, PADDED, 1, &[9, 0]),
        frame(HEADERS, PADDED | END_HEADERS, 1, &[9, 0]),
        frame(HEADERS, 0, 1, &[])
            .into_iter()
            .chain(frame(SETTINGS, 0, 0, &[]))
            .collect(),
        frame(0x42, 0, 1, &[0; 16_385]),
    ] {
        let mut reader = FrameReader::new(Start::Boundary { first: false });
        let steps = read(&mut reader, &bytes);
        assert!(
            !steps.iter().any(|s| matches!(s, Step::Violation(_))),
            "{steps:?}"
        );
        assert!(
            steps.contains(&Step::Fault(Fault::Implausible)),
            "{steps:?}"
        );
        assert!(!reader.is_synchronised());
    }
}

#[test]
fn after_enough_plausible_frames_a_violation_is_one() {
    let mut reader = FrameReader::new(Start::Boundary { first: false });
    for _ in 0..limits::PLAUSIBLE_FRAMES {
        read(&mut reader, &frame(SETTINGS, ACK, 0, &[]));
    }
    assert_eq!(reader.plausible_frames(), limits::PLAUSIBLE_FRAMES);
    let bytes = frame(SETTINGS, 0, 1, &[]);
    check(&mut reader, &bytes, &["connection_error 1 PROTOCOL_ERROR"]);
    check(&mut reader, &bytes, &["connection_error 1 PROTOCOL_ERROR"]);
}

#[test]
fn after_a_late_attach_a_block_that_does_not_decode_is_a_fault() {
    let mut reader = FrameReader::new(Start::Boundary { first: false });
    for _ in 0..limits::PLAUSIBLE_FRAMES {
        read(&mut reader, &frame(SETTINGS, ACK, 0, &[]));
    }
    let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x82, 0xbe, 0x80]);
    let want = [
        "fault HeaderBlockLost",
        "headers 1 end_stream [:method=GET ?=?] incomplete",
    ];
    check(&mut reader, &bytes, &want);
}

#[test]
fn a_continuation_right_after_a_late_attach_is_no_violation() {
    let mut reader = FrameReader::new(Start::Boundary { first: false });
    check(
        &mut reader,
        &frame(CONTINUATION, 0, 1, BLOCK),
        &["fault HeaderBlockLost"],
    );
    check(
        &mut reader,
        &frame(CONTINUATION, END_HEADERS, 1, BLOCK),
        &["fault HeaderBlockLost"],
    );
    check(
        &mut reader,
        &frame(HEADERS, END_HEADERS, 3, BLOCK),
        &[&format!("headers 3 {BLOCK_LINE}")],
    );
}

#[test]
fn a_boundary_within_a_header_gives_its_first_bytes() {
    let mut reader = FrameReader::new(Start::Unknown);
    let bytes = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    let mut told = [0; 9];
    told[..7].copy_from_slice(&bytes[..7]);
    reader.gap(
        Some(0),
        Boundary::InHeader {
            len: 7,
            bytes: told,
        },
    );
    reader.push(&bytes[7..]);
    assert_eq!(
        lines(&mut reader),
        ["resynced Some(0)", "rst_stream 1 CANCEL"]
    );
}

#[test]
fn a_gap_to_an_unknown_place_loses_it_until_frames_are_found() {
    let mut reader = from_start();
    reader.gap(Some(1_000), Boundary::Unknown);
    assert!(!reader.is_synchronised());
    reader.push(&[0xff; 100]);
    assert_eq!(lines(&mut reader), ["fault Gap"]);
    reader.push(&frame(HEADERS, END_HEADERS, 1, BLOCK));
    reader.push(&frame(DATA, 0, 1, b"xyz"));
    assert_eq!(lines(&mut reader), [""; 0]);
    reader.push(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    let want = [
        "resynced Some(1100)",
        "headers 1 [:method=GET :path=/]",
        "data 1 3",
        "body xyz",
        "data_end 1",
        "rst_stream 1 CANCEL",
    ];
    assert_eq!(lines(&mut reader), want);
}

#[test]
fn the_search_finds_frames_across_holes_in_data() {
    let mut reader = FrameReader::new(Start::Unknown);
    reader.push(b"garbage");
    reader.push(&frame(HEADERS, END_HEADERS, 1, BLOCK));
    let bytes = frame(DATA, END_STREAM, 1, &[b'x'; 50_000]);
    reader.push(&bytes[..14]);
    reader.hole(49_995);
    reader.push(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9]));
    let want = [
        "resynced Some(7)",
        "headers 1 [:method=GET :path=/]",
        "data 1 50000",
        "body xxxxx",
        "body 49995 unseen",
        "data_end 1 end_stream",
        "window_update 0 9",
    ];
    assert_eq!(lines(&mut reader), want);
}

#[test]
fn a_hole_over_a_header_breaks_the_chain_of_a_search() {
    let mut reader = FrameReader::new(Start::Unknown);
    let one = frame(SETTINGS, ACK, 0, &[]);
    reader.push(&one);
    reader.push(&one);
    reader.hole(9);
    reader.push(&one);
    reader.push(&one);
    assert!(!reader.is_synchronised());
    reader.push(&one);
    assert_eq!(
        lines(&mut reader),
        [
            "resynced Some(27)",
            "settings ack",
            "settings ack",
            "settings ack"
        ]
    );
}

#[test]
fn what_is_no_frame_after_all_is_passed_over_whole_however_it_is_divided() {
    // More padding than there is payload: no frame, in a place that is not certain.
    let no_frame = frame(HEADERS, END_HEADERS | PADDED, 1, &[64; 30]);
    let follows = frame(HEADERS, END_HEADERS, 3, BLOCK);
    let bytes = [no_frame, follows].concat();
    let [whole, divided] = [bytes.len(), 7].map(|size| {
        let mut reader = FrameReader::new(Start::Unknown);
        reader.gap(Some(0), at(0, 0, 0, 0));
        for piece in bytes.chunks(size) {
            reader.push(piece);
        }
        (lines(&mut reader), reader.whole_frames())
    });
    assert_eq!(whole.1, Some(1));
    assert_eq!(divided, whole);
}
