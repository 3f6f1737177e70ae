//! DATA that is not as long as content-length says (RFC 9113 section 8.1.1).

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::finding;
use crate::connection::Endpoint;
use crate::stream::record::{Half, Seen, StreamRecord, Tier};

/// A message that ended with another length than it announced.
pub(super) fn judge(record: &StreamRecord) -> Option<Finding> {
    of(record, Endpoint::Client).or_else(|| of(record, Endpoint::Server))
}

/// A reset cut a response that is not gRPC, of which content-length says how much is missing: the same
/// finding says so. (A client may take such a response for whole.)
pub(super) fn in_place_of(record: &StreamRecord, cut: &mut Finding) {
    let half = &record.response;
    if record.grpc == Seen::Absent
        && cut.kind == Kind::ResponseCutByReset
        && known(record, half)
        && let Some(announced) = half.content_length
        && half.data_bytes < announced
    {
        cut.kind = Kind::ContentLengthMismatch;
        cut.summary = format!("{}; {}", length(half, announced), cut.summary);
    }
}

fn of(record: &StreamRecord, sender: Endpoint) -> Option<Finding> {
    let half = match sender {
        Endpoint::Client => &record.request,
        Endpoint::Server => &record.response,
    };
    let announced = half.content_length?;
    // Without END_STREAM it was cut, which is another matter, unless there is too much already.
    let ended = half.end_stream_at.is_some();
    let wrong = half.data_bytes > announced || (ended && half.data_bytes < announced);
    // DATA that may not be there at all, or not like this, is another finding.
    let stray = record.conduct.has_broken(sender);
    if !wrong || stray || !known(record, half) {
        return None;
    }
    let message = match sender {
        Endpoint::Client => "request",
        Endpoint::Server => "response",
    };
    let summary = format!(
        "the {sender}'s {message} is not as long as it says: {}",
        length(half, announced)
    );
    let mut found = finding(
        record,
        Kind::ContentLengthMismatch,
        Verdict::Anomaly,
        summary,
    );
    found.sender = Some(sender);
    Some(found)
}

fn known(record: &StreamRecord, half: &Half) -> bool {
    record.tier == Tier::T1 && half.data_known
}

fn length(half: &Half, announced: u64) -> String {
    format!(
        "{} bytes of DATA, content-length {announced}",
        half.data_bytes
    )
}
