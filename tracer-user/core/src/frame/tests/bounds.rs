use super::*;

#[test]
fn a_payload_beyond_its_bound_is_a_limit_and_the_place_is_kept() {
    let mut reader = from_start();
    let bytes = frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &[0x82; limits::FRAME_PAYLOAD + 1],
    );
    let steps = read(&mut reader, &bytes);
    assert_eq!(line(&steps[0]), "fault Limit(FramePayload)");
    let Some(Step::Frame {
        frame:
            Frame::Headers {
                end_stream: true,
                block,
                ..
            },
        ..
    }) = steps.last()
    else {
        panic!("{:?}", steps.last());
    };
    assert!(!block.complete);
    goes_on(&mut reader);
}

#[test]
fn what_is_not_copied_beyond_the_bound_is_the_same_limit() {
    let mut reader = from_start();
    let bytes = frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &[0x82; limits::FRAME_PAYLOAD + 7],
    );
    let (copied, rest) = bytes.split_at(bytes.len() - 7);
    reader.push(copied);
    reader.hole(rest.len() as u32);
    assert_eq!(line(&drain(&mut reader)[0]), "fault Limit(FramePayload)");
    goes_on(&mut reader);
}

#[test]
fn a_header_block_beyond_its_bound_is_a_limit_and_end_stream_is_told() {
    let mut reader = from_start();
    reader.push(&frame(HEADERS, END_STREAM, 1, &[0x82; 16_384]));
    for _ in 0..20 {
        reader.push(&frame(CONTINUATION, 0, 1, &[0x84; 16_384]));
    }
    reader.push(&frame(CONTINUATION, END_HEADERS, 1, &[0x84; 16_384]));
    let steps = drain(&mut reader);
    assert_eq!(line(&steps[0]), "fault Limit(HeaderBlock)");
    let Some(Step::Frame {
        frame:
            Frame::Headers {
                end_stream: true,
                block,
                ..
            },
        len,
        ..
    }) = steps.last()
    else {
        panic!("{:?}", steps.last());
    };
    assert_eq!(
        (block.complete, block.n_frames, *len),
        (false, 22, 22 * 16_384)
    );
    goes_on(&mut reader);
}

#[test]
fn a_flood_of_continuations_is_a_limit() {
    let mut reader = from_start();
    reader.push(&frame(HEADERS, 0, 1, BLOCK));
    for _ in 0..limits::CONTINUATIONS {
        reader.push(&frame(CONTINUATION, 0, 1, &[]));
    }
    assert_eq!(lines(&mut reader), ["long_block 1 33"]);
    check(
        &mut reader,
        &frame(CONTINUATION, 0, 1, &[]),
        &["fault Limit(Continuations)"],
    );
    let last = frame(CONTINUATION, END_HEADERS, 1, &[]);
    check(
        &mut reader,
        &last,
        &["headers 1 [:method=GET :path=/] incomplete"],
    );
}

#[test]
fn a_long_header_block_is_told_once_while_it_goes_on() {
    // 32 frames, the last with END_HEADERS, are ordinary; so is a block whose 33rd frame ends it.
    for n in [30, 31] {
        let mut reader = from_start();
        reader.push(&frame(HEADERS, 0, 1, BLOCK));
        for _ in 0..n {
            reader.push(&frame(CONTINUATION, 0, 1, &[]));
        }
        let last = frame(CONTINUATION, END_HEADERS, 1, &[]);
        check(&mut reader, &last, &["headers 1 [:method=GET :path=/]"]);
    }
    let mut reader = from_start();
    reader.push(&frame(HEADERS, 0, 1, BLOCK));
    for _ in 0..40 {
        reader.push(&frame(CONTINUATION, 0, 1, &[]));
    }
    assert_eq!(lines(&mut reader), ["long_block 1 33"]);
    // Large ones: what is kept of the block is bounded.
    let mut reader = from_start();
    reader.push(&frame(HEADERS, 0, 1, BLOCK));
    for _ in 0..40 {
        reader.push(&frame(CONTINUATION, 0, 1, &[0; 16_384]));
    }
    assert_eq!(
        lines(&mut reader),
        ["fault Limit(HeaderBlock)", "long_block 1 33"]
    );
}
