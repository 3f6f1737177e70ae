use super::*;

#[test]
fn violations_carry_the_code_and_scope_that_the_rfc_demands() {
    let continued = |last: Vec<u8>| [frame(HEADERS, 0, 1, BLOCK), last].concat();
    let setting = |id: u8, value: u32| {
        frame(
            SETTINGS,
            0,
            0,
            &[&[0, id], &value.to_be_bytes()[..]].concat(),
        )
    };
    let breaks = |bytes: Vec<u8>, want: &str| {
        let mut reader = from_start();
        reader.push(&bytes);
        assert_eq!(lines(&mut reader).join(" | "), want, "{bytes:?}");
        // The length is known, so reading goes on.
        goes_on(&mut reader);
    };
    for bytes in [
        frame(DATA, 0, 0, b"x"),
        frame(HEADERS, END_HEADERS, 0, BLOCK),
        frame(PRIORITY, 0, 0, &[0; 5]),
        frame(RST_STREAM, 0, 0, &[0; 4]),
        frame(PUSH_PROMISE, END_HEADERS, 0, &[0, 0, 0, 2]),
    ] {
        breaks(bytes, "connection_error 0 PROTOCOL_ERROR");
    }
    for bytes in [
        frame(RST_STREAM, 0, 1, &[0; 5]),
        frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 2]),
        frame(WINDOW_UPDATE, 0, 1, &[0; 3]),
    ] {
        breaks(bytes, "connection_error 1 FRAME_SIZE_ERROR");
    }
    for bytes in [
        frame(SETTINGS, 0, 1, &[]),
        frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 3]),
        frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 0]),
        frame(PING, 0, 1, &[0; 8]),
        frame(GOAWAY, 0, 1, &[0; 8]),
        frame(CONTINUATION, END_HEADERS, 1, BLOCK),
        frame(PRIORITY_UPDATE, 0, 1, &[0, 0, 0, 1]),
    ] {
        breaks(bytes, "connection_error 1 PROTOCOL_ERROR");
    }
    for bytes in [
        frame(SETTINGS, 0, 0, &[0; 7]),
        frame(SETTINGS, ACK, 0, &[0; 6]),
        frame(PING, 0, 0, &[0; 9]),
        frame(GOAWAY, 0, 0, &[0; 7]),
        frame(PRIORITY_UPDATE, 0, 0, &[0, 0, 0]),
    ] {
        breaks(bytes, "connection_error 0 FRAME_SIZE_ERROR");
    }
    breaks(
        frame(DATA, PADDED, 1, &[4, 0, 0, 0]),
        "data 1 4 | connection_error 1 PROTOCOL_ERROR | data_end 1",
    );
    breaks(
        frame(DATA, PADDED, 1, &[]),
        "data 1 0 | stream_error 1 FRAME_SIZE_ERROR | data_end 1",
    );
    breaks(
        frame(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, &[3, 0x82, 0]),
        "connection_error 1 PROTOCOL_ERROR | headers 1 end_stream [] incomplete",
    );
    breaks(
        frame(HEADERS, flag::PRIORITY | END_HEADERS, 1, &[0, 0, 0, 0]),
        "connection_error 1 FRAME_SIZE_ERROR | headers 1 [] incomplete",
    );
    breaks(
        frame(PRIORITY, 0, 1, &[0; 4]),
        "stream_error 1 FRAME_SIZE_ERROR",
    );
    breaks(
        setting(2, 2),
        "connection_error 0 PROTOCOL_ERROR | settings [(2, 2)]",
    );
    breaks(
        setting(4, 1 << 31),
        "connection_error 0 FLOW_CONTROL_ERROR | settings [(4, 2147483648)]",
    );
    breaks(
        setting(5, 16_383),
        "connection_error 0 PROTOCOL_ERROR | settings [(5, 16383)]",
    );
    breaks(
        setting(5, 1 << 24),
        "connection_error 0 PROTOCOL_ERROR | settings [(5, 16777216)]",
    );
    breaks(
        setting(9, 2),
        "connection_error 0 PROTOCOL_ERROR | settings [(9, 2)]",
    );
    breaks(
        frame(WINDOW_UPDATE, 0, 1, &[0; 4]),
        "stream_error 1 PROTOCOL_ERROR | window_update 1 0",
    );
    breaks(
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        "connection_error 0 PROTOCOL_ERROR | window_update 0 0",
    );
    breaks(
        continued(frame(CONTINUATION, END_HEADERS, 3, BLOCK)),
        "headers 1 [:method=GET :path=/] incomplete | connection_error 1 PROTOCOL_ERROR",
    );
    breaks(
        continued(frame(PING, 0, 0, &[0; 8])),
        "headers 1 [:method=GET :path=/] incomplete | connection_error 1 PROTOCOL_ERROR | ping false [0, 0, 0, 0, 0, 0, 0, 0]",
    );
    breaks(
        continued(frame(0x42, 0, 1, &[])),
        "headers 1 [:method=GET :path=/] incomplete | connection_error 1 PROTOCOL_ERROR | unknown 0x42 1 0",
    );
    breaks(
        frame(PRIORITY_UPDATE, 0, 0, &[0; 4]),
        "connection_error 0 PROTOCOL_ERROR | priority_update 0",
    );
    breaks(
        frame(HEADERS, END_HEADERS, 1, &[0x82, 0x80]),
        "connection_error 1 COMPRESSION_ERROR | headers 1 [:method=GET] incomplete",
    );
}

#[test]
fn frames_longer_than_the_receiver_allows_are_violations_once_it_is_known() {
    let bytes = frame(DATA, 0, 1, &[0; 16_385]);
    let mut reader = from_start();
    assert_eq!(read(&mut reader, &bytes).len(), 3);
    reader.set_max_frame_size(16_384);
    let steps = read(&mut reader, &bytes);
    assert_eq!(line(&steps[0]), "stream_error 1 FRAME_SIZE_ERROR");
    assert_eq!(steps.len(), 4, "and the frame is read");
    let steps = read(
        &mut reader,
        &frame(HEADERS, END_HEADERS, 1, &[0x82; 16_385]),
    );
    assert_eq!(line(&steps[0]), "connection_error 1 FRAME_SIZE_ERROR");
    reader.set_max_frame_size(20_000);
    assert_eq!(read(&mut reader, &bytes).len(), 3);
}

#[test]
fn a_direction_must_begin_with_settings() {
    let mut reader = FrameReader::new(Start::Boundary { first: true });
    let bytes = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    check(
        &mut reader,
        &bytes,
        &["connection_error 0 PROTOCOL_ERROR", "window_update 0 1"],
    );
    // A server that answers in HTTP/1.1.
    let mut reader = FrameReader::new(Start::Boundary { first: true });
    reader.push(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let steps = lines(&mut reader);
    assert_eq!(steps[1..], ["fault Implausible"]);
    assert!(steps[0].starts_with("connection_error") && steps[0].ends_with("PROTOCOL_ERROR"));
    assert!(!reader.is_synchronised());
}

#[test]
fn header_blocks_of_discarded_frames_still_feed_the_table() {
    let mut reader = from_start();
    reader.push(&frame(HEADERS, END_HEADERS, 0, b"\x40\x01a\x01b"));
    assert_eq!(drain(&mut reader).len(), 1);
    check(
        &mut reader,
        &frame(HEADERS, END_HEADERS, 1, &[0xbe]),
        &["headers 1 [a=b]"],
    );
}

#[test]
fn padding_that_cannot_be_is_told_before_the_rest_of_its_frame() {
    // nghttp2 gives the connection up at the pad length, and never reads what follows it.
    for frame_type in [HEADERS, PUSH_PROMISE] {
        let bytes = frame(
            frame_type,
            PADDED | END_HEADERS,
            1,
            &[200, 0, 0, 0, 2, 0x82],
        );
        let mut whole = from_start();
        whole.push(&bytes);
        let want = lines(&mut whole);
        assert!(want.contains(&"connection_error 1 PROTOCOL_ERROR".to_owned()));
        let mut reader = from_start();
        reader.push(&bytes[..10]);
        assert_eq!(lines(&mut reader), want);
        reader.push(&bytes[10..]);
        assert_eq!(lines(&mut reader), Vec::<String>::new());
        goes_on(&mut reader);
    }
}
