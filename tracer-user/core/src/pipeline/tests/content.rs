//! What messages say, from the bytes on: scenarios whose point is in the bytes.

use super::*;

/// A client that sends the preface and gets another protocol, as the kernel tells it.
fn answered_otherwise(opened: Opened, protocol: OtherProtocol, first: &[u8]) -> Driver {
    let mut driver = Driver::new();
    driver.open(opened, true);
    let (client, server) = match opened {
        Opened::Passive => (Direction::Rx, Direction::Tx),
        Opened::Unseen | Opened::Active => (Direction::Tx, Direction::Rx),
    };
    let asked = [PREFACE, &settings(), &request(1), &message(1, 3, true)].concat();
    driver.send(client, &asked);
    let other = |direction, protocol, first| {
        What::Unrecognised(Unrecognised {
            direction,
            protocol,
            first,
        })
    };
    driver.event(other(server, protocol, first));
    // Of HTTP/1 the kernel tells the beginning of what the client says next, too.
    let go_away = frame(frame_type::GOAWAY, 0, 0, &[0; 8]);
    driver.event(other(client, OtherProtocol::Http1, &go_away));
    driver.event(other(server, protocol, first));
    // What the client says before it has understood.
    driver.lose(client, 9);
    driver.boundary = Boundary::Unknown;
    driver.send(client, &request(3));
    driver.end(EndCause::Desync(client));
    driver.end(EndCause::PeerFin);
    // Where both directions stood at the end: beyond what was told.
    driver.event(What::End(End {
        cause: EndCause::Closed,
        tx_offset: Some(500),
        rx_offset: Some(500),
    }));
    driver.pass(CONNECTION_LINGER_NS * 2);
    driver
}

#[test]
fn a_server_that_answers_the_preface_in_another_protocol_is_found_once() {
    let refusal = &b"HTTP/1.1 400 Bad Request\r\n"[..];
    for opened in [Opened::Active, Opened::Passive, Opened::Unseen] {
        for (protocol, first) in [
            (OtherProtocol::Http1, refusal),
            (OtherProtocol::Tls, &[]),
            (OtherProtocol::Other, &[]),
        ] {
            let driver = answered_otherwise(opened, protocol, first);
            assert_eq!(driver.loud_findings(), vec!["not_http2"], "{opened:?}");
            assert_eq!(driver.protocols(), vec![Protocol::Http2]);
            assert_eq!(driver.losses(), Vec::<&str>::new());
            assert_eq!(driver.streams().len(), 1);
            assert_eq!(driver.pipeline.live(), Live::default());
        }
    }
}

/// A literal field of any length, without indexing.
fn long_literal(name: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x00, u8::try_from(name.len()).unwrap()];
    bytes.extend_from_slice(name.as_bytes());
    // RFC 7541 section 5.1: an integer with a prefix of 7 bits.
    bytes.push(0x7f);
    let mut rest = len - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes.extend(std::iter::repeat_n(b'x', len));
    bytes
}

/// The request of a page, whole.
fn get(stream_id: u32) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    block.extend(literal(":path", "/page"));
    block.extend(literal(":authority", "a"));
    frame(
        frame_type::HEADERS,
        END_HEADERS | END_STREAM,
        stream_id,
        &block,
    )
}

/// A response's HEADERS with a content-length.
fn with_length(stream_id: u32, length: &str) -> Vec<u8> {
    let block = [vec![0x88], literal("content-length", length)].concat();
    frame(frame_type::HEADERS, END_HEADERS, stream_id, &block)
}

/// Sends byte by byte.
fn dribble(driver: &mut Driver, direction: Direction, bytes: &[u8]) {
    for byte in bytes {
        driver.send(direction, &[*byte]);
        driver.boundary = Boundary::Unknown;
    }
    driver.boundary = RIGHT_HERE;
}

#[test]
fn padding_and_prefixes_split_over_reads_and_frames_are_exact() {
    let padded = |data: &[u8], padding: usize| {
        let payload = [&[u8::try_from(padding).unwrap()], data, &vec![0; padding]].concat();
        frame(frame_type::DATA, 0x8, 1, &payload)
    };
    let whole = message(1, 100, false);
    let body = &whole[9..];
    let response = [
        response_headers(1),
        padded(&body[..1], 9),
        frame(frame_type::DATA, 0, 1, &body[1..5]),
        padded(&body[5..50], 200),
        frame(frame_type::DATA, 0, 1, &body[50..]),
        trailers(1, "0"),
    ]
    .concat();
    for in_one_read in [true, false] {
        let mut driver = Driver::new();
        hello(&mut driver);
        driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
        if in_one_read {
            driver.send(Direction::Rx, &response);
        } else {
            dribble(&mut driver, Direction::Rx, &response);
        }
        driver.pass(STREAM_LINGER_NS * 2);
        let streams = driver.streams();
        assert_eq!(streams.len(), 1);
        let half = &streams[0].response;
        assert_eq!((half.data_bytes, half.data_frames), (105, 4));
        assert_eq!(
            (half.messages.complete, &half.messages.sizes[..]),
            (1, &[100][..])
        );
        assert_eq!(streams[0].outcome, Outcome::Ok);
        assert_eq!(driver.loud_findings(), Vec::<&str>::new());
        assert_eq!(driver.losses(), Vec::<&str>::new());
    }
}

#[test]
fn headers_and_three_continuations_are_one_request() {
    let whole = request(1);
    let block = &whole[9..];
    let parts: Vec<&[u8]> = block.chunks(block.len().div_ceil(4)).collect();
    assert_eq!(parts.len(), 4);
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &frame(frame_type::HEADERS, 0, 1, parts[0]));
    driver.send(
        Direction::Tx,
        &frame(frame_type::CONTINUATION, 0, 1, parts[1]),
    );
    driver.send(
        Direction::Tx,
        &frame(frame_type::CONTINUATION, 0, 1, parts[2]),
    );
    driver.send(
        Direction::Tx,
        &frame(frame_type::CONTINUATION, END_HEADERS, 1, parts[3]),
    );
    driver.send(Direction::Tx, &message(1, 3, true));
    let answer = [response_headers(1), message(1, 5, false), trailers(1, "0")];
    driver.send(Direction::Rx, &answer.concat());
    driver.pass(STREAM_LINGER_NS * 2);
    let record = driver.streams()[0];
    assert_eq!(record.path.as_deref(), Some("/a.B/C"));
    assert_eq!((record.outcome, record.tier), (Outcome::Ok, Tier::T1));
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
}

#[test]
fn content_length_is_held_against_the_data_that_came() {
    let cases = [
        (frame(frame_type::DATA, 0, 1, &[7; 60]), reset(1, 0)),
        (frame(frame_type::DATA, END_STREAM, 1, &[7; 60]), Vec::new()),
        (
            frame(frame_type::DATA, END_STREAM, 1, &[7; 101]),
            reset(1, 0),
        ),
    ];
    for (data, after) in cases {
        let mut driver = Driver::new();
        hello(&mut driver);
        driver.send(Direction::Tx, &get(1));
        driver.send(
            Direction::Rx,
            &[with_length(1, "100"), data, after].concat(),
        );
        driver.pass(STREAM_LINGER_NS * 2);
        assert_eq!(driver.loud_findings(), ["content_length_mismatch"]);
    }
    let mut driver = Driver::new();
    hello(&mut driver);
    driver.send(Direction::Tx, &get(1));
    // Padding is no content.
    let padded = frame(
        frame_type::DATA,
        END_STREAM | 0x8,
        1,
        &[&[3][..], &[7; 100], &[0; 3]].concat(),
    );
    driver.send(Direction::Rx, &[with_length(1, "100"), padded].concat());
    driver.pass(STREAM_LINGER_NS * 2);
    assert_eq!(driver.loud_findings(), Vec::<&str>::new());
}

#[test]
fn a_block_that_nobody_can_decode_is_one_finding() {
    let mut driver = Driver::new();
    hello(&mut driver);
    // An index outside of both tables.
    driver.send(
        Direction::Tx,
        &frame(
            frame_type::HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &[0xff, 0x20],
        ),
    );
    let go_away = [[0, 0, 0, 0], 9_u32.to_be_bytes()].concat();
    driver.send(Direction::Rx, &frame(frame_type::GOAWAY, 0, 0, &go_away));
    driver.end(EndCause::PeerFin);
    driver.end(EndCause::Closed);
    driver.pass(CONNECTION_LINGER_NS * 2);
    assert_eq!(driver.loud_findings(), ["hpack_failure"]);
}

#[test]
fn trailers_of_nine_kilobytes_are_measured() {
    let block = [
        literal("grpc-status", "3"),
        long_literal("grpc-message", 9 * 1024),
    ]
    .concat();
    let large = frame(frame_type::HEADERS, END_HEADERS | END_STREAM, 1, &block);
    for announced in [true, false] {
        let mut driver = Driver::new();
        driver.open(Opened::Active, true);
        let limit = if announced {
            frame(frame_type::SETTINGS, 0, 0, &[0, 6, 0, 0, 0x20, 0])
        } else {
            settings()
        };
        driver.send(Direction::Tx, &[PREFACE.to_vec(), limit].concat());
        driver.send(Direction::Rx, &settings());
        driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
        driver.send(
            Direction::Rx,
            &[response_headers(1), large.clone()].concat(),
        );
        driver.send(Direction::Tx, &reset(1, 6));
        driver.pass(STREAM_LINGER_NS * 2);
        assert_eq!(driver.loud_findings(), ["header_list_too_large"]);
        let half = &driver.streams()[0].response;
        assert_eq!(half.header_list, 11 + 1 + 32 + 12 + 9 * 1024 + 32);
        assert_eq!(half.header_list_limit, announced.then_some(8_192));
    }
}

#[test]
fn malformed_fields_and_prefixes_are_found_in_the_bytes() {
    let odd_flag = {
        let mut bytes = message(1, 5, false);
        bytes[9] = 2;
        [response_headers(1), bytes, trailers(1, "0")].concat()
    };
    let unfinished = {
        let mut bytes = trailers(1, "0");
        bytes[4] &= !END_STREAM;
        let end = frame(frame_type::DATA, END_STREAM, 1, &[]);
        [response_headers(1), message(1, 5, false), bytes, end].concat()
    };
    let uppercase = {
        let block = [vec![0x88], literal("Server", "x")].concat();
        let headers = frame(frame_type::HEADERS, END_HEADERS, 1, &block);
        [headers, message(1, 5, false), trailers(1, "0")].concat()
    };
    for response in [odd_flag, unfinished, uppercase] {
        let mut driver = Driver::new();
        hello(&mut driver);
        driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
        driver.send(Direction::Rx, &response);
        driver.pass(STREAM_LINGER_NS * 2);
        assert_eq!(driver.loud_findings(), ["malformed_fields"]);
    }
}

/// What is found of a call that this answers.
fn summary(shown: Shown, response: &[u8]) -> String {
    let mut driver = Driver::showing(shown);
    hello(&mut driver);
    driver.send(Direction::Tx, &[request(1), message(1, 3, true)].concat());
    driver.send(Direction::Rx, response);
    driver.pass(STREAM_LINGER_NS * 2);
    let findings = driver.out.0.iter().find_map(|output| match output {
        Output::Stream { findings, .. } => findings.first().map(|f| f.summary.clone()),
        _ => None,
    });
    findings.unwrap().to_string()
}

#[test]
fn the_field_that_breaks_a_rule_is_named_as_far_as_names_may_be() {
    let with = |name: &str| {
        let block = [vec![0x88], literal(name, "hunter2")].concat();
        let headers = frame(frame_type::HEADERS, END_HEADERS, 1, &block);
        [headers, message(1, 5, false), trailers(1, "0")].concat()
    };
    let known = summary(Shown::default(), &with("proxy-connection"));
    let want = "a connection-specific field: proxy-connection (RFC 9113 8.2.2)";
    assert!(known.ends_with(want), "{known}");
    let quiet = summary(Shown::default(), &with("X-Customer-Smith-Account"));
    assert!(quiet.ends_with("a field name (RFC 9113 8.2.1)"), "{quiet}");
    let told = summary(Shown::everything(), &with("X-Customer-Smith-Account"));
    let want = r#"a field name: "X-Customer-Smith" (RFC 9113 8.2.1)"#;
    assert!(told.ends_with(want), "{told}");
}

#[test]
fn what_stands_in_place_of_a_message_is_told_where_all_values_are() {
    let sent = |data: &[u8]| {
        let data = frame(frame_type::DATA, 0, 1, data);
        [response_headers(1), data, trailers(1, "0")].concat()
    };
    let page = sent(b"<html>\r\n<p>account 12345678</p>");
    let told = summary(Shown::everything(), &page);
    assert!(
        told.ends_with(r#"; it begins with "<html>\r\n<p>accou""#),
        "{told}"
    );
    let bytes = summary(Shown::everything(), &sent(b"\x1f\x8b\x08\x00\xff"));
    assert!(
        bytes.ends_with("; it begins with 1f 8b 08 00 ff"),
        "{bytes}"
    );
    let quiet = summary(Shown::default(), &page);
    assert!(
        !quiet.contains("html") && !quiet.contains("begins"),
        "{quiet}"
    );
}
