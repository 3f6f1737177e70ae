//! What stands around the header block fragment of HEADERS and PUSH_PROMISE (RFC 9113 sections 6.2, 6.6).

use super::head::{Broken, Head, flag, frame_type};
use super::{ErrorCode, Priority, Rule, StreamId};

/// The parts of a HEADERS, PUSH_PROMISE or CONTINUATION payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// Priority fields, if sent and captured.
    pub(super) priority: Option<Priority>,
    /// The promised stream (PUSH_PROMISE), if captured.
    pub(super) promised: Option<StreamId>,
    /// The captured beginning of the fragment.
    pub(super) fragment: &'a [u8],
    /// The fragment's length in the frame, captured or not; an upper bound when the pad length is unseen.
    pub(super) fragment_len: u32,
}

impl Parts<'_> {
    /// Those of a frame of whose payload nothing was captured.
    pub(super) fn unseen(head: &Head) -> Parts<'static> {
        Parts {
            priority: None,
            promised: None,
            fragment: &[],
            fragment_len: head.len,
        }
    }

    /// Whether the whole fragment was captured.
    pub(super) fn is_whole(&self) -> bool {
        self.fragment.len() as u64 == u64::from(self.fragment_len)
    }
}

/// Reads the five bytes of priority fields.
pub(super) const fn priority(bytes: [u8; 5]) -> Priority {
    let [d0, d1, d2, d3, weight] = bytes;
    Priority {
        exclusive: d0 & 0x80 != 0,
        depends_on: StreamId(u32::from_be_bytes([d0 & 0x7f, d1, d2, d3])),
        weight,
    }
}

/// Splits a payload of which `captured` is the beginning (or all).
pub(super) fn split<'a>(head: &Head, captured: &'a [u8]) -> Result<Parts<'a>, Broken> {
    const TOO_SHORT: Broken =
        Broken::connection(ErrorCode::FRAME_SIZE_ERROR, Rule::TooShortForFields);
    let mut parts = Parts {
        priority: None,
        promised: None,
        fragment: &[],
        fragment_len: head.len,
    };
    if head.frame_type == frame_type::CONTINUATION {
        parts.fragment = captured;
        return Ok(parts);
    }
    let padded = head.has(flag::PADDED);
    let has_priority = head.frame_type == frame_type::HEADERS && head.has(flag::PRIORITY);
    let has_promised = head.frame_type == frame_type::PUSH_PROMISE;
    let fixed = u32::from(padded) + 5 * u32::from(has_priority) + 4 * u32::from(has_promised);
    let Some(mut fragment_len) = head.len.checked_sub(fixed) else {
        return Err(TOO_SHORT);
    };
    let mut rest = captured;
    if padded {
        let Some((&pad, after)) = rest.split_first() else {
            // The pad length was not captured, so nothing after it was either.
            return Ok(Parts {
                fragment_len,
                ..parts
            });
        };
        rest = after;
        fragment_len = fragment_len
            .checked_sub(u32::from(pad))
            .ok_or(Broken::connection(
                ErrorCode::PROTOCOL_ERROR,
                Rule::HeadersPadding,
            ))?;
    }
    parts.fragment_len = fragment_len;
    if has_priority {
        let Some((fields, after)) = rest.split_first_chunk::<5>() else {
            return Ok(parts);
        };
        parts.priority = Some(priority(*fields));
        rest = after;
    }
    if has_promised {
        let Some((&[p0, p1, p2, p3], after)) = rest.split_first_chunk::<4>() else {
            return Ok(parts);
        };
        parts.promised = Some(StreamId(u32::from_be_bytes([p0 & 0x7f, p1, p2, p3])));
        rest = after;
    }
    parts.fragment = rest.get(..fragment_len as usize).unwrap_or(rest);
    Ok(parts)
}
