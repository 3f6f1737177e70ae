//! What must hold of every record and every finding.

use h2trace_core::anomaly::kind::{Finding, Verdict};
use h2trace_core::limits;
use h2trace_core::stream::record::StreamRecord;

/// Holds for every record.
pub fn record_is_sound(record: &StreamRecord) {
    assert!(record.resets.len() <= limits::RESETS);
    assert!(record.story.len() <= limits::STORY_MOMENTS);
    assert!(record.first_at <= record.last_at, "{record:?}");
    for half in [&record.request, &record.response] {
        assert!(half.messages.sizes.len() <= limits::MESSAGE_SIZES);
    }
    let shown = record.shown.by_name();
    for value in shown.values() {
        assert!(value.len() <= limits::SHOWN_VALUE);
    }
    let secret = |name: &&str| name.contains("cookie") || **name == *"authorization";
    assert!(!shown.keys().any(secret));
}

/// Holds for every finding.
pub fn finding_is_sound(finding: &Finding) {
    let allowed = finding.kind.verdicts();
    assert!(
        finding.verdict == Verdict::Unknown || allowed.contains(&finding.verdict),
        "{} may not be {}",
        finding.kind.as_str(),
        finding.verdict.as_str()
    );
    assert!(!finding.summary.is_empty());
    assert!(
        !finding.summary.contains(char::is_control),
        "{:?}",
        finding.summary
    );
    assert!(finding.story.len() <= limits::STORY_MOMENTS);
}
