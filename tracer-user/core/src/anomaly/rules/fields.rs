//! Fields and message prefixes that RFC 9113 or gRPC forbids.

use crate::anomaly::kind::{Finding, Kind, Verdict};
use crate::anomaly::rules::finding;
use crate::connection::Endpoint;
use crate::stream::record::{EndStreamOn, Seen, StreamRecord, Tier};

/// At most one finding, and only of what was certainly seen.
pub(super) fn judge(record: &StreamRecord) -> Option<Finding> {
    if record.tier != Tier::T1 {
        return None;
    }
    informational_end(record).or_else(|| malformed(record))
}

fn informational_end(record: &StreamRecord) -> Option<Finding> {
    let Seen::Value(status @ 100..=199) = record.http_status else {
        return None;
    };
    if record.response.end_stream_on != Some(EndStreamOn::Headers) {
        return None;
    }
    let summary = format!(
        "the server ended the stream with an informational response (:status {status}); \
         the final one never came"
    );
    let kind = Kind::InformationalEndStream;
    let mut found = finding(record, kind, Verdict::Anomaly, summary);
    found.sender = Some(Endpoint::Server);
    Some(found)
}

/// Text, or else hexadecimal digits.
fn words(bytes: &[u8]) -> String {
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t');
    if bytes.iter().all(is_text) {
        return format!("{:?}", String::from_utf8_lossy(bytes));
    }
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().join(" ")
}

fn malformed(record: &StreamRecord) -> Option<Finding> {
    let malformed = record.malformed?;
    let verdict = if malformed.grave {
        Verdict::Anomaly
    } else {
        Verdict::Suspicious
    };
    let rule = malformed.rule.as_str();
    // The section stands last.
    let (said, section) = rule.split_once(" (").unwrap_or((rule, ""));
    let mut summary = format!("the {} sent {said}", malformed.sender);
    match (malformed.field, malformed.name) {
        (Some(field), _) => summary.push_str(&format!(": {field}")),
        (None, Some(name)) => summary.push_str(&format!(": {}", words(name.bytes()))),
        (None, None) => {}
    }
    summary.push_str(&format!(" ({section}"));
    if let Some(stray) = malformed.stray.filter(|stray| stray.bytes().len() > 1) {
        summary.push_str("; it begins with ");
        summary.push_str(&words(stray.bytes()));
    }
    let mut found = finding(record, Kind::MalformedFields, verdict, summary);
    found.sender = Some(malformed.sender);
    Some(found)
}
