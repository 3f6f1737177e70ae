//! Header lists that the receiver did not take (RFC 9113 sections 6.5.2 and 10.5.1).

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::{finding, receivers};
use crate::connection::Endpoint;
use crate::frame::ErrorCode;
use crate::stream::record::{GoAway, Half, Reset, Seen, StreamRecord, Tier};

/// Request Header Fields Too Large (RFC 6585 section 5).
const TOO_LARGE: u16 = 431;

/// A reset of a stream by who got too large a list, or status 431.
pub(super) fn judge(record: &StreamRecord) -> Option<Finding> {
    if let Some(reset) = record.resets.first()
        && let Some(summary) = refused(record, reset)
    {
        let kind = Kind::HeaderListTooLarge;
        let mut found = finding(record, kind, Verdict::Anomaly, summary);
        found.sender = Some(reset.sender);
        found.code = Some(reset.code);
        found.request_phase = reset.request_phase;
        found.response_phase = reset.response_phase;
        found.windows = reset.response_windows;
        return Some(found);
    }
    if record.http_status != Seen::Value(TOO_LARGE) {
        return None;
    }
    let summary = format!(
        "the server answered :status 431 to the client's header list{}",
        size(record, &record.request)
    );
    let mut found = finding(record, Kind::HeaderListTooLarge, Verdict::Anomaly, summary);
    found.sender = Some(Endpoint::Server);
    Some(found)
}

/// What to say if the reset refuses a header list.
fn refused(record: &StreamRecord, reset: &Reset) -> Option<String> {
    let half = match reset.sender {
        Endpoint::Client => &record.response,
        Endpoint::Server => &record.request,
    };
    let limit = half.header_list_limit.map(u64::from);
    let is_for_size = match reset.code {
        // What grpc-go says of a list that is too large for it; no frame of a stream is too large for a
        // stream error alone.
        ErrorCode::FRAME_SIZE_ERROR => half.header_list > limit.unwrap_or(receivers::HEADER_LIST),
        ErrorCode::PROTOCOL_ERROR | ErrorCode::INTERNAL_ERROR | ErrorCode::ENHANCE_YOUR_CALM => {
            limit.is_some_and(|limit| half.header_list > limit)
        }
        _ => false,
    };
    is_for_size.then(|| {
        format!(
            "the {} refused the {}'s header list with {}{}",
            reset.sender,
            reset.sender.peer(),
            reset.code,
            size(record, half)
        )
    })
}

/// `: 9300 bytes (RFC 9113 6.5.2), where 8192 are allowed`.
fn size(record: &StreamRecord, half: &Half) -> String {
    let at_least = match record.tier {
        Tier::T0 => "at least ",
        Tier::T1 | Tier::T2 => "",
    };
    let allowed = match half.header_list_limit {
        Some(limit) => format!("SETTINGS_MAX_HEADER_LIST_SIZE is {limit}"),
        None => "SETTINGS_MAX_HEADER_LIST_SIZE was not announced".to_owned(),
    };
    format!(": {at_least}{} bytes, {allowed}", half.header_list)
}

/// What to say of an error GOAWAY right after too large a list.
pub(super) fn go_away(go_away: &GoAway) -> Option<String> {
    let list = go_away.header_list?;
    let for_size = matches!(
        go_away.code,
        ErrorCode::ENHANCE_YOUR_CALM
            | ErrorCode::INTERNAL_ERROR
            | ErrorCode::PROTOCOL_ERROR
            | ErrorCode::FRAME_SIZE_ERROR
            | ErrorCode::COMPRESSION_ERROR
    );
    // These say what else it is.
    (for_size && go_away.reason.is_none()).then(|| {
        format!(
            "the {} ended the connection with GOAWAY {} after the {}'s header list on stream {}: {} bytes, \
             SETTINGS_MAX_HEADER_LIST_SIZE is {}",
            go_away.sender,
            go_away.code,
            go_away.sender.peer(),
            list.stream_id,
            list.size,
            list.limit
        )
    })
}
