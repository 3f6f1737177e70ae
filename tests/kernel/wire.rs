//! Hand-built HTTP/2 bytes, and where a trace of them may have holes.

use tracer_ebpf::http2::{
    DEFAULT_MAX_FRAME_SIZE, Head,
    flag::{END_HEADERS, END_STREAM, PADDED},
    frame_type::{DATA, HEADERS, SETTINGS},
};

pub(crate) use tracer_ebpf::http2::PREFACE;

/// Payloads of DATA frames up to this are copied whole.
pub(crate) const COPIED_WHOLE: usize = tracer_ebpf::event::DATA_COPY_WHOLE_MAX as usize;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a frame's length");
    let mut bytes = Head::new(len, kind, flags, stream).to_bytes().to_vec();
    bytes.extend(payload);
    bytes
}

/// SETTINGS without parameters.
pub(crate) fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

pub(crate) fn headers(stream: u32, end_stream: bool) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS | end(end_stream),
        stream,
        &[0x82, 0x86, 0x84, 0x41, 0x01, b'x'],
    )
}

fn end(end_stream: bool) -> u8 {
    if end_stream { END_STREAM } else { 0 }
}

pub(crate) fn data(stream: u32, end_stream: bool, payload: &[u8]) -> Vec<u8> {
    frame(DATA, end(end_stream), stream, payload)
}

/// A gRPC message of `len` bytes with its prefix.
pub(crate) fn message(len: u32) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(len.to_be_bytes());
    // Looks like a frame header of every kind now and then, as real payload may.
    bytes.extend((0..len).map(|i| (i % 251) as u8));
    bytes
}

/// A unary call of stream `stream`, client to server, whose request has `len` bytes.
pub(crate) fn call(stream: u32, len: u32) -> Vec<u8> {
    [headers(stream, false), split(stream, true, &message(len))].concat()
}

/// DATA frames of at most 16,384 bytes.
pub(crate) fn split(stream: u32, end_stream: bool, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunks = body.chunks(DEFAULT_MAX_FRAME_SIZE as usize).peekable();
    while let Some(chunk) = chunks.next() {
        bytes.extend(data(stream, end_stream && chunks.peek().is_none(), chunk));
    }
    bytes
}

/// What the kernel programs must copy of `bytes`: all but what follows the message prefixes in DATA
/// longer than 16 bytes. Written without knowledge of how the kernel side does it.
pub(crate) fn must_copy(bytes: &[u8], preface: bool) -> Vec<bool> {
    let mut must = vec![true; bytes.len()];
    let mut at = if preface { PREFACE.len() } else { 0 };
    let mut left_of: std::collections::HashMap<u32, (Vec<u8>, usize)> =
        std::collections::HashMap::new();
    while at + 9 <= bytes.len() {
        let head = Head::parse(bytes[at..at + 9].try_into().expect("nine bytes"));
        let (len, stream) = (head.len as usize, head.stream());
        let start = at + 9;
        let end = (start + len).min(bytes.len());
        if head.frame_type == DATA {
            let (mut first, mut last) = (start, end);
            if head.flags & PADDED != 0 {
                last = end - usize::from(bytes[start]);
                first += 1;
            }
            let (prefix, left) = left_of.entry(stream).or_default();
            for i in first..end {
                let mut needed = len <= COPIED_WHOLE;
                if i < last {
                    if *left > 0 {
                        *left -= 1;
                    } else {
                        needed = true;
                        prefix.push(bytes[i]);
                        if prefix.len() == 5 {
                            *left = u32::from_be_bytes(prefix[1..].try_into().expect("four bytes"))
                                as usize;
                            prefix.clear();
                        }
                    }
                }
                must[i] = needed;
            }
        }
        at = end;
    }
    must
}
