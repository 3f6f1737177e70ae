//! Stage 7: findings and streams become metrics, text and JSON.

pub mod clock;
pub mod http;
pub mod json;
pub mod labels;
pub mod metrics;
pub mod pcapng;
pub mod prometheus;
pub mod tally;
pub mod text;

#[cfg(test)]
mod hostile;
#[cfg(test)]
pub(crate) mod sample;

use h2trace_core::stream::record::{StreamEnd, StreamRecord};

/// From a stream's first frame to its last in ns; None when its beginning or its end was not seen, or may have gone by in
/// a gap.
#[must_use]
pub fn duration_ns(record: &StreamRecord) -> Option<u64> {
    let end_seen = !matches!(record.end, StreamEnd::Evicted | StreamEnd::Unseen);
    (record.beginning_seen && record.whole && end_seen)
        .then(|| record.last_at.since(record.first_at))
}

/// From the request's HEADERS to the response's final HEADERS in ns; None when one of them was not seen.
#[must_use]
pub fn first_byte_ns(record: &StreamRecord) -> Option<u64> {
    Some(
        record
            .response
            .headers_at?
            .since(record.request.headers_at?),
    )
}
