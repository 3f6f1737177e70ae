//! Hand-built HTTP/2 bytes, and where a trace of them may have holes.

/// RFC 9113 section 3.4.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Payloads of DATA frames up to this are copied whole.
pub(crate) const COPIED_WHOLE: usize = tracer_ebpf::event::DATA_COPY_WHOLE_MAX as usize;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a frame's length");
    let mut bytes = len.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// SETTINGS without parameters.
pub(crate) fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

pub(crate) fn headers(stream: u32, end_stream: bool) -> Vec<u8> {
    frame(
        1,
        4 | u8::from(end_stream),
        stream,
        &[0x82, 0x86, 0x84, 0x41, 0x01, b'x'],
    )
}

pub(crate) fn data(stream: u32, end_stream: bool, payload: &[u8]) -> Vec<u8> {
    frame(0, u8::from(end_stream), stream, payload)
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
    let mut chunks = body.chunks(16_384).peekable();
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
        let len = u32::from_be_bytes([0, bytes[at], bytes[at + 1], bytes[at + 2]]) as usize;
        let (kind, flags) = (bytes[at + 3], bytes[at + 4]);
        let stream = u32::from_be_bytes(bytes[at + 5..at + 9].try_into().expect("four bytes"));
        let start = at + 9;
        let end = (start + len).min(bytes.len());
        if kind == 0 {
            let (mut first, mut last) = (start, end);
            if flags & 8 != 0 {
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
