use super::*;

#[test]
fn a_pad_length_in_a_hole_is_a_fault_and_the_frame_is_counted_whole() {
    let mut reader = from_start();
    reader.push(&frame(DATA, PADDED, 5, &[0; 20])[..9]);
    reader.hole(20);
    let want = [
        "data 5 20",
        "fault HoleInFrame",
        "body 20 unseen",
        "data_end 5",
    ];
    assert_eq!(lines(&mut reader), want);
}

#[test]
fn a_hole_in_a_header_block_keeps_what_came_before_it_and_end_stream() {
    let mut reader = from_start();
    // An entry is inserted, so that the table has something to forget.
    let insert = frame(HEADERS, END_HEADERS, 1, b"\x40\x01a\x01b");
    check(&mut reader, &insert, &["headers 1 [a=b]"]);
    let bytes = frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        b"\xbe\x82\x40\x01c\x05defgh",
    );
    reader.push(&bytes[..bytes.len() - 5]);
    reader.hole(5);
    let want = [
        "fault HoleInFrame",
        "fault HeaderBlockLost",
        "headers 1 end_stream [a=b :method=GET] incomplete",
    ];
    assert_eq!(lines(&mut reader), want);
    assert!(reader.is_synchronised());
    // Old entries are unseen, new ones resolve.
    let bytes = frame(HEADERS, END_HEADERS, 3, b"\xbe\x40\x01e\x01f\xbe");
    check(&mut reader, &bytes, &["headers 3 [?=? e=f e=f] incomplete"]);
}

#[test]
fn a_hole_in_padding_of_headers_loses_nothing() {
    let mut reader = from_start();
    reader.push(&frame(HEADERS, END_HEADERS | PADDED, 1, &[4, 0x82, 0, 0, 0, 0])[..11]);
    reader.hole(4);
    assert_eq!(lines(&mut reader), ["headers 1 [:method=GET]"]);
}

#[test]
fn a_hole_in_a_continuation_loses_the_block_but_not_the_place() {
    let mut reader = from_start();
    reader.push(&frame(HEADERS, END_STREAM, 1, BLOCK));
    reader.push(&frame(CONTINUATION, 0, 1, &[0; 10])[..9]);
    reader.hole(10);
    reader.push(&frame(CONTINUATION, END_HEADERS, 1, BLOCK));
    let want = [
        "fault HoleInFrame",
        "fault HeaderBlockLost",
        "headers 1 end_stream [:method=GET :path=/] incomplete",
    ];
    assert_eq!(lines(&mut reader), want);
}

#[test]
fn a_hole_in_a_control_frame_skips_it_and_stays_synchronised() {
    for bytes in [
        frame(SETTINGS, 0, 0, &[0; 12]),
        frame(PING, 0, 0, &[0; 8]),
        frame(PRIORITY, 0, 1, &[0; 5]),
    ] {
        let mut reader = from_start();
        reader.push(&bytes[..10]);
        reader.hole(bytes.len() as u32 - 10);
        assert_eq!(lines(&mut reader), ["fault HoleInFrame"]);
        goes_on(&mut reader);
    }
}

#[test]
fn a_hole_in_a_frame_that_ends_streams_may_have_ended_any() {
    for bytes in [
        frame(RST_STREAM, 0, 1, &[0; 4]),
        frame(GOAWAY, 0, 0, &[0; 8]),
    ] {
        let mut reader = from_start();
        reader.push(&bytes[..10]);
        reader.hole(bytes.len() as u32 - 10);
        let want = ["fault HoleInFrame", "fault Gap", "resynced Some(0)"];
        assert_eq!(lines(&mut reader), want);
        goes_on(&mut reader);
    }
}

#[test]
fn a_hole_in_what_is_not_wanted_is_no_fault() {
    let mut reader = from_start();
    reader.push(&frame(0x42, 0, 1, &[0; 10])[..9]);
    reader.hole(10);
    assert_eq!(lines(&mut reader), ["unknown 0x42 1 10"]);
    reader.push(&frame(GOAWAY, 0, 0, &[0; 500])[..100]);
    reader.hole(409);
    assert_eq!(drain(&mut reader).len(), 1);
}

#[test]
fn a_hole_over_a_frame_header_loses_the_place() {
    let mut reader = from_start();
    reader.push(&frame(DATA, END_STREAM, 1, &[0; 20])[..9]);
    reader.hole(21);
    let want = [
        "data 1 20",
        "body 20 unseen",
        "data_end 1 end_stream",
        "fault Gap",
    ];
    assert_eq!(lines(&mut reader), want);
    assert!(!reader.is_synchronised());
    reader.gap(Some(0), at(0, DATA, 0, 0));
    assert_eq!(lines(&mut reader), ["resynced Some(1)"]);
    assert!(reader.is_synchronised());
}

#[test]
fn a_loss_within_data_is_a_hole() {
    for boundary in [Boundary::Unknown, at(40, DATA, END_STREAM, 1)] {
        let mut reader = from_start();
        let bytes = frame(DATA, END_STREAM, 1, &[b'x'; 100]);
        reader.push(&bytes[..11]);
        reader.gap(Some(58), boundary);
        reader.push(&bytes[109 - 40..109 - 38]);
        reader.hole(38);
        let want = [
            "data 1 100",
            "body xx",
            "body 58 unseen",
            "body xx",
            "body 38 unseen",
            "data_end 1 end_stream",
        ];
        assert_eq!(lines(&mut reader), want);
    }
}

#[test]
fn a_loss_up_to_the_very_end_of_data_is_a_hole() {
    for boundary in [Boundary::Unknown, at(0, 0, 0, 0)] {
        let mut reader = from_start();
        reader.push(&frame(DATA, 0, 1, &[b'x'; 100])[..9]);
        reader.gap(Some(100), boundary);
        assert_eq!(
            lines(&mut reader),
            ["data 1 100", "body 100 unseen", "data_end 1"]
        );
        assert!(reader.is_synchronised());
    }
}

#[test]
fn a_loss_that_ends_in_the_next_frame_header_is_a_hole_when_the_header_is_told() {
    let mut reader = from_start();
    reader.push(&frame(DATA, 0, 1, &[b'x'; 100])[..9]);
    let next = frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    let mut bytes = [0; 9];
    bytes[..4].copy_from_slice(&next[..4]);
    reader.gap(Some(104), Boundary::InHeader { len: 4, bytes });
    reader.push(&next[4..]);
    assert_eq!(
        lines(&mut reader),
        [
            "data 1 100",
            "body 100 unseen",
            "data_end 1",
            "rst_stream 1 CANCEL"
        ]
    );
    // Within a header, likewise.
    reader.push(&next[..2]);
    reader.gap(Some(2), Boundary::InHeader { len: 4, bytes });
    reader.push(&next[4..]);
    assert_eq!(lines(&mut reader), ["rst_stream 1 CANCEL"]);
}

#[test]
fn a_longer_loss_ends_the_data_and_makes_the_table_unseen() {
    let mut reader = from_start();
    check(
        &mut reader,
        &frame(HEADERS, END_HEADERS, 1, b"\x40\x01a\x01b"),
        &["headers 1 [a=b]"],
    );
    reader.push(&frame(DATA, 0, 1, &[b'x'; 100])[..9]);
    reader.gap(Some(500), at(0, 0, 0, 0));
    let want = [
        "data 1 100",
        "body 100 unseen",
        "data_end 1",
        "fault Gap",
        "resynced Some(500)",
    ];
    assert_eq!(lines(&mut reader), want);
    check(
        &mut reader,
        &frame(HEADERS, END_HEADERS, 1, &[0xbe]),
        &["headers 1 [?=?] incomplete"],
    );
}

#[test]
fn a_boundary_that_contradicts_the_lost_length_is_believed() {
    let mut reader = from_start();
    reader.push(&frame(DATA, 0, 1, &[b'x'; 100])[..9]);
    reader.gap(Some(50), at(7, DATA, END_STREAM, 3));
    let want = ["data 1 100", "fault Gap", "resynced Some(50)", "data 3 7"];
    assert_eq!(lines(&mut reader), want);
}

#[test]
fn after_a_gap_the_rest_of_an_unseen_data_frame_is_counted() {
    let mut reader = from_start();
    reader.gap(None, at(10, DATA, END_STREAM, 7));
    reader.push(b"0123");
    reader.hole(6);
    let want = [
        "fault Gap",
        "resynced None",
        "data 7 10",
        "body 0123",
        "body 6 unseen",
        "data_end 7 end_stream",
    ];
    assert_eq!(lines(&mut reader), want);
    goes_on(&mut reader);
}

#[test]
fn a_gap_of_unknown_length_within_one_data_frame_does_not_begin_it_twice() {
    let mut reader = from_start();
    reader.push(&frame(DATA, END_STREAM, 7, &[b'x'; 100])[..9]);
    reader.gap(None, at(10, DATA, END_STREAM, 7));
    reader.hole(10);
    let want = [
        "data 7 100",
        "fault Gap",
        "resynced None",
        "body 90 unseen",
        "body 10 unseen",
        "data_end 7 end_stream",
    ];
    assert_eq!(lines(&mut reader), want);
}

#[test]
fn a_gap_in_headers_still_tells_of_the_headers_and_their_end_stream() {
    let mut reader = from_start();
    let bytes = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x82, 0x84, 0x86]);
    reader.push(&bytes[..10]);
    reader.gap(None, at(0, 0, 0, 0));
    let want = [
        "fault HeaderBlockLost",
        "headers 1 end_stream [:method=GET] incomplete",
        "fault Gap",
        "resynced None",
    ];
    assert_eq!(lines(&mut reader), want);
}

#[test]
fn a_gap_between_headers_and_continuation_tells_of_the_headers_once() {
    let mut reader = from_start();
    reader.push(&frame(HEADERS, END_STREAM, 1, BLOCK));
    reader.gap(Some(30), at(0, 0, 0, 0));
    reader.push(&frame(CONTINUATION, END_HEADERS, 1, BLOCK));
    let want = [
        "fault HeaderBlockLost",
        "headers 1 end_stream [:method=GET :path=/] incomplete",
        "fault Gap",
        "resynced Some(30)",
        "fault HeaderBlockLost",
    ];
    assert_eq!(lines(&mut reader), want);
    goes_on(&mut reader);
}

#[test]
fn headers_whose_frame_header_was_lost_are_told_from_the_boundary() {
    let mut reader = from_start();
    reader.gap(
        Some(12),
        at(3, HEADERS, END_HEADERS | END_STREAM | PADDED, 9),
    );
    reader.push(&[0x82, 0, 0]);
    let want = [
        "fault Gap",
        "resynced Some(12)",
        "fault HeaderBlockLost",
        "headers 9 end_stream [] incomplete",
    ];
    assert_eq!(lines(&mut reader), want);
    goes_on(&mut reader);
}

#[test]
fn telling_the_boundary_to_a_synchronised_reader_does_nothing() {
    let mut reader = from_start();
    reader.gap(Some(0), at(0, 0, 0, 0));
    reader.push(&frame(DATA, 0, 1, b"0123456789")[..13]);
    reader.gap(Some(0), at(6, DATA, 0, 1));
    reader.push(b"456789");
    assert_eq!(
        lines(&mut reader),
        ["data 1 10", "body 0123", "body 456789", "data_end 1"]
    );
}

#[test]
fn an_open_block_is_told_of_before_the_place_is_lost() {
    for (what_follows, broken) in [
        // No frame that HTTP/2 knows, and longer than it may be.
        (
            b"PRI * HTTP/2.0\r\n\r\n".to_vec(),
            Some("connection_error 0 FRAME_SIZE_ERROR"),
        ),
        (frame(0x42, 0, 1, &[0; 16_385]), None),
    ] {
        let mut reader = from_start();
        reader.push(&frame(HEADERS, 0, 1, BLOCK));
        reader.push(&what_follows);
        let block = format!("headers 1 {BLOCK_LINE} incomplete");
        let want = ["fault HeaderBlockLost", &block, "fault Implausible"];
        let want: Vec<&str> = broken.into_iter().chain(want).collect();
        assert_eq!(lines(&mut reader), want);
    }
}
