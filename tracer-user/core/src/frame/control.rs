//! Payloads of the frames that are neither DATA nor part of a header block.

use bytes::Bytes;

use crate::limits;

use super::head::{Broken, Head, flag, frame_type};
use super::{ErrorCode, Frame, Rule, StreamId, headers, settings};

/// What a payload says: the frame, unless too little of it was captured, and the rules it breaks.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) frame: Option<Frame>,
    pub(super) broken: Option<Broken>,
    /// Something that is wanted was not captured.
    pub(super) cut: bool,
}

fn stream_id(bytes: [u8; 4]) -> StreamId {
    StreamId(u32::from_be_bytes(bytes) & 0x7fff_ffff)
}

/// Reads a payload of which `captured` is the beginning (or all). The header broke no rule.
pub(super) fn parse(head: &Head, captured: &[u8]) -> Parsed {
    let whole = captured.len() as u64 == u64::from(head.len);
    let mut parsed = Parsed::default();
    let four = captured.first_chunk::<4>().copied();
    parsed.frame = match head.frame_type {
        frame_type::PRIORITY => captured.first_chunk::<5>().map(|&bytes| Frame::Priority {
            stream_id: head.stream_id,
            priority: headers::priority(bytes),
        }),
        frame_type::RST_STREAM => four.map(|bytes| Frame::RstStream {
            stream_id: head.stream_id,
            code: ErrorCode(u32::from_be_bytes(bytes)),
        }),
        frame_type::SETTINGS if head.has(flag::ACK) => Some(Frame::SettingsAck),
        frame_type::SETTINGS if whole => {
            let list = settings::parse(captured);
            parsed.broken = list
                .iter()
                .find_map(|&(id, value)| settings::broken_rule(id, value));
            Some(Frame::Settings(list))
        }
        frame_type::PING => captured.first_chunk::<8>().map(|&data| Frame::Ping {
            ack: head.has(flag::ACK),
            data,
        }),
        frame_type::GOAWAY => captured.split_first_chunk::<8>().map(|(fixed, debug)| {
            let [l0, l1, l2, l3, c0, c1, c2, c3] = *fixed;
            let kept = debug.get(..limits::GOAWAY_DEBUG).unwrap_or(debug);
            parsed.cut = !whole && kept.len() < limits::GOAWAY_DEBUG;
            Frame::GoAway {
                last_stream_id: stream_id([l0, l1, l2, l3]),
                code: ErrorCode(u32::from_be_bytes([c0, c1, c2, c3])),
                debug: Bytes::copy_from_slice(kept),
            }
        }),
        frame_type::WINDOW_UPDATE => four.map(|bytes| {
            let increment = u32::from_be_bytes(bytes) & 0x7fff_ffff;
            if increment == 0 {
                parsed.broken = Some(Broken {
                    code: ErrorCode::PROTOCOL_ERROR,
                    connection_error: head.stream_id.0 == 0,
                    rule: Rule::WindowUpdateOfZero,
                });
            }
            Frame::WindowUpdate {
                stream_id: head.stream_id,
                increment,
            }
        }),
        frame_type::PRIORITY_UPDATE => four.map(|bytes| {
            let prioritized = stream_id(bytes);
            if prioritized.0 == 0 {
                parsed.broken = Some(Broken::connection(
                    ErrorCode::PROTOCOL_ERROR,
                    Rule::PriorityUpdateOfConnection,
                ));
            }
            Frame::PriorityUpdate {
                stream_id: prioritized,
            }
        }),
        _ => None,
    };
    parsed.cut |= parsed.frame.is_none();
    parsed
}
