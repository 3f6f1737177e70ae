//! Frames as bytes (RFC 9113 sections 4 and 6).

use tracer_ebpf::http2::Head;
use tracer_ebpf::http2::flag::{ACK, END_HEADERS, END_STREAM, PADDED};
use tracer_ebpf::http2::frame_type::{CONTINUATION, DATA, HEADERS, SETTINGS};

use super::Random;

pub(super) fn frame(frame_type: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let head = Head::new(len, frame_type, flags, stream_id);
    let mut bytes = head.to_bytes().to_vec();
    bytes.extend(payload);
    bytes
}

pub(super) fn settings(parameters: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in parameters {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

pub(super) fn settings_ack() -> Vec<u8> {
    frame(SETTINGS, ACK, 0, &[])
}

/// DATA, with `pad` bytes of padding.
pub(super) fn data(id: u32, bytes: &[u8], pad: Option<usize>, end_stream: bool) -> Vec<u8> {
    let end = if end_stream { END_STREAM } else { 0 };
    let Some(pad) = pad else {
        return frame(DATA, end, id, bytes);
    };
    let mut payload = vec![u8::try_from(pad).unwrap_or(0)];
    payload.extend(bytes);
    payload.resize(payload.len() + usize::from(payload[0]), 0);
    frame(DATA, end | PADDED, id, &payload)
}

/// HEADERS; with some randomness also in CONTINUATIONs.
pub(super) fn headers(
    id: u32,
    block: &[u8],
    end_stream: bool,
    random: Option<&mut Random>,
) -> Vec<u8> {
    let end = if end_stream { END_STREAM } else { 0 };
    let mut cut = block.len();
    if let Some(random) = random
        && random.once_in(6)
    {
        cut = random.below(block.len());
    }
    let (first, second) = block.split_at(cut);
    if second.is_empty() {
        return frame(HEADERS, end | END_HEADERS, id, block);
    }
    let mut bytes = frame(HEADERS, end, id, first);
    bytes.extend(frame(CONTINUATION, END_HEADERS, id, second));
    bytes
}

/// Encodes header blocks with a dynamic table, as a real end does.
pub(super) struct Encoder(loona_hpack::Encoder<'static>);

impl Encoder {
    pub(super) fn new() -> Encoder {
        Encoder(loona_hpack::Encoder::new())
    }

    pub(super) fn encode(&mut self, fields: &[(&'static str, String)]) -> Vec<u8> {
        let fields = fields.iter();
        self.0
            .encode(fields.map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }
}
