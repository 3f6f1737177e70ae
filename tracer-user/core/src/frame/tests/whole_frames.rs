use super::*;

#[test]
fn preface_in_pieces_then_settings() {
    let mut reader = FrameReader::new(Start::Preface);
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
    for byte in bytes {
        reader.push(&[byte]);
    }
    assert_eq!(lines(&mut reader), ["preface", "settings [(3, 100)]"]);
    assert!(reader.is_synchronised());
}

#[test]
fn bytes_that_are_no_preface_are_our_fault_and_lose_the_place() {
    let mut reader = FrameReader::new(Start::Preface);
    check(&mut reader, b"PRI * HTTP/1.1\r\n", &["fault Implausible"]);
    assert!(!reader.is_synchronised());
}

#[test]
fn every_frame_type_is_read() {
    let mut reader = from_start();
    let mut goaway = vec![0x80, 0, 0, 9, 0, 0, 0, 0xb];
    goaway.extend(b"too_many_pings");
    for (bytes, want) in [
        (
            frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0, 0, 99, 0, 0, 0, 1]),
            "settings [(4, 65536), (99, 1)]",
        ),
        (frame(SETTINGS, ACK, 0, &[]), "settings ack"),
        (
            frame(HEADERS, END_HEADERS, 1, BLOCK),
            "headers 1 [:method=GET :path=/]",
        ),
        (
            frame(PRIORITY, 0, 3, &[0x80, 0, 0, 5, 200]),
            "priority 3 on 5 200",
        ),
        (
            frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            "rst_stream 1 CANCEL",
        ),
        (
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
            "push_promise 1 2 [:method=GET]",
        ),
        (
            frame(PING, ACK, 0, b"abcdefgh"),
            "ping true [97, 98, 99, 100, 101, 102, 103, 104]",
        ),
        (
            frame(GOAWAY, 0, 0, &goaway),
            "goaway 9 ENHANCE_YOUR_CALM too_many_pings",
        ),
        (
            frame(WINDOW_UPDATE, 0, 0, &[0x80, 0, 0, 1]),
            "window_update 0 1",
        ),
        (
            frame(WINDOW_UPDATE, 0, 7, &[0x7f, 0xff, 0xff, 0xff]),
            "window_update 7 2147483647",
        ),
        (
            frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x05u=1"),
            "priority_update 5",
        ),
        (frame(ALTSVC, 0, 0, b"xyz"), "unknown 0xa 0 3"),
        (frame(0x42, 0xff, 77, b""), "unknown 0x42 77 0"),
    ] {
        check(&mut reader, &bytes, &[want]);
    }
}

#[test]
fn the_reserved_bit_of_the_stream_id_is_ignored() {
    check(
        &mut from_start(),
        &frame(RST_STREAM, 0, 0x8000_0001, &[0; 4]),
        &["rst_stream 1 NO_ERROR"],
    );
}

#[test]
fn length_and_flags_of_the_frame_headers_are_told() {
    let mut bytes = frame(HEADERS, END_STREAM | PADDED, 1, &[3, 0x82, 0, 0, 0]);
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &[0x84]));
    let steps = read(&mut from_start(), &bytes);
    let [
        Step::Frame {
            len: 6,
            flags: 0x9,
            frame: Frame::Headers { block, .. },
        },
    ] = &steps[..]
    else {
        panic!("{steps:?}");
    };
    assert_eq!(
        (block.encoded_len, block.n_frames, block.complete),
        (2, 2, true)
    );
}

#[test]
fn priority_fields_of_headers_are_read() {
    let payload = [0x80, 0, 0, 20, 9, 0x82];
    let steps = read(
        &mut from_start(),
        &frame(HEADERS, END_HEADERS | flag::PRIORITY, 3, &payload),
    );
    let [
        Step::Frame {
            frame: Frame::Headers { priority, .. },
            ..
        },
    ] = &steps[..]
    else {
        panic!("{steps:?}");
    };
    let want = Priority {
        exclusive: true,
        depends_on: StreamId(20),
        weight: 9,
    };
    assert_eq!(*priority, Some(want));
}

#[test]
fn goaway_debug_data_is_cut_at_its_bound() {
    let steps = read(&mut from_start(), &frame(GOAWAY, 0, 0, &[b'x'; 5_000]));
    let [
        Step::Frame {
            frame: Frame::GoAway { debug, .. },
            len: 5_000,
            ..
        },
    ] = &steps[..]
    else {
        panic!("{steps:?}");
    };
    assert_eq!(debug.len(), limits::GOAWAY_DEBUG);
}

#[test]
fn data_is_streamed_without_its_padding() {
    let mut reader = from_start();
    let bytes = frame(DATA, END_STREAM | PADDED, 5, b"\x04hello....");
    let head = DataHead {
        stream_id: StreamId(5),
        flow_len: 10,
        end_stream: true,
        padded: true,
    };
    reader.push(&bytes[..12]);
    assert_eq!(lines(&mut reader), ["data 5 10", "body he"]);
    reader.push(&bytes[12..17]);
    assert_eq!(lines(&mut reader), ["body llo"]);
    reader.push(&bytes[17..]);
    assert_eq!(drain(&mut reader), [Step::DataEnd(head)]);
}

#[test]
fn holes_in_data_are_counted_and_padding_in_them_is_taken_off() {
    let mut reader = from_start();
    let bytes = frame(DATA, PADDED, 5, &[7; 1_000]);
    reader.push(&bytes[..15]);
    reader.hole(990);
    reader.push(&bytes[1_005..]);
    let want = [
        "data 5 1000",
        "body \x07\x07\x07\x07\x07",
        "body 987 unseen",
        "data_end 5",
    ];
    assert_eq!(lines(&mut reader), want);
    check(
        &mut reader,
        &frame(RST_STREAM, 0, 1, &[0; 4]),
        &["rst_stream 1 NO_ERROR"],
    );
}

#[test]
fn empty_data_begins_and_ends() {
    check(
        &mut from_start(),
        &frame(DATA, END_STREAM, 1, &[]),
        &["data 1 0", "data_end 1 end_stream"],
    );
}

#[test]
fn an_unknown_error_code_keeps_its_number() {
    let mut reader = from_start();
    let steps = read(&mut reader, &frame(RST_STREAM, 0, 1, &[0xff, 0, 0, 1]));
    let want = Frame::RstStream {
        stream_id: StreamId(1),
        code: ErrorCode(0xff00_0001),
    };
    assert_eq!(
        steps,
        [Step::Frame {
            len: 4,
            flags: 0,
            frame: want
        }]
    );
}
